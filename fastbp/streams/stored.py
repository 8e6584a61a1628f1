"""`StoredArray`: an array in a file of NumPy's, of which rows are read without the others.

Files are read, and not mapped into memory: what was mapped counts as memory of the process, which may be limited.
"""

import io
import math
import struct
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ..checks.messages import shortened
from .files import reading

#: The bytes of a local file header of a zip archive before the name, and where in it the lengths of the name and of
#: what follows the name are.
_LOCAL_HEADER, _LENGTHS = 30, 26

#: The bytes of the longest header of an array that is read: those of numbers have about a hundred.
_LONGEST_HEADER = 10_000

#: The bytes that DEFLATE makes of one at the most, and the dimensions that NumPy's arrays have at the most.
MOST_UNPACKED, _MOST_DIMENSIONS = 1032, 32

#: NumPy's letters for the kinds of real numbers, and what an archive of arrays is expected to be.
NUMBERS, ARCHIVE = "biuf", "an archive that np.savez wrote"


class StoredArray(NamedTuple):
    """Where an array lies in a file, after its header has been read."""

    path: Path
    member: str        # of an archive, or ""
    offset: int        # of the numbers in the file, or in the unpacked member
    unpacked: bool     # whether it is read through the archive, which compares its checksum
    shape: tuple[int, ...]
    dtype: np.dtype
    by_columns: bool   # in Fortran's order

    @property
    def name(self) -> str:
        """The file, and the array in it."""
        return f"{self.path}: {self.member.removesuffix('.npy')}" if self.member else str(self.path)

    @property
    def row_bytes(self) -> int:
        """The bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def opened(self, files: ExitStack) -> Any:
        """The file, or the unpacked member, at its first byte; `files` closes it."""
        if not self.unpacked:
            return files.enter_context(open(self.path, "rb", buffering=0))
        with reading(self.path, ARCHIVE):
            archive = files.enter_context(zipfile.ZipFile(self.path))
            return files.enter_context(archive.open(self.member))

    def read(self, file: Any, start: int, stop: int) -> np.ndarray:
        """The rows from start to stop, from a file that `opened` gave.

        Of a compressed archive, rows are read in their order, because to go back is to unpack it all again.
        """
        count = stop - start
        if not self.by_columns:
            rows = np.empty((count, *self.shape[1:]), self.dtype)
            self._fill(file, self.offset + start * self.row_bytes, rows)
            return rows
        columns = np.empty((count, *self.shape[1:]), self.dtype, order="F")
        for j in range(self.shape[1]):
            self._fill(file, self.offset + (j * self.shape[0] + start) * self.dtype.itemsize, columns[:, j])
        return columns

    def whole(self) -> np.ndarray:
        """All of it, of any number of dimensions."""
        flat = np.empty(math.prod(self.shape), self.dtype)
        with ExitStack() as files:
            self._fill(self.opened(files), self.offset, flat)
        return flat.reshape(self.shape, order="F" if self.by_columns else "C")

    def _fill(self, file: Any, place: int, numbers: np.ndarray) -> None:
        """Read as many bytes as the numbers have, from a place in the file on."""
        left = numbers.reshape(-1).view(np.uint8).data
        with reading(self.path, ARCHIVE if self.member else "an array that np.save wrote"):
            file.seek(place)
            while len(left) and (count := file.readinto(left)):
                left = left[count:]
        if len(left):
            raise ValueError(f"{self.name}: expected {len(left)} bytes more, found the end of the file")


def stored_array(path: Path) -> StoredArray:
    """The array in a .npy file.

    Raises
    ------
    ValueError
        If it is none, or not of real numbers, or shorter than its header says.
    """
    with open(path, "rb") as file:
        return _described(path, "", file, False, 0, path.stat().st_size, NUMBERS)


def stored_members(path: Path, kinds: Mapping[str, str], *, unpacked: bool = False) -> dict[str, StoredArray]:
    """Those arrays in a .npz archive that have one of the names; raises what `stored_array` does.

    kinds : for each name, NumPy's letters for the kinds of its dtype.
    unpacked : whether arrays that are not compressed are read through the archive too.
    """
    found: dict[str, StoredArray] = {}
    size = path.stat().st_size
    with ExitStack() as files:
        file = files.enter_context(open(path, "rb"))
        with reading(path, ARCHIVE):
            archive = files.enter_context(zipfile.ZipFile(path))
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name not in kinds:
                continue
            if name in found:
                raise ValueError(f"{path}: expected one array of the name {name}, found two")
            _require_size(path, member, size)
            through = unpacked or member.compress_type != zipfile.ZIP_STORED
            with reading(path, ARCHIVE):
                content = files.enter_context(archive.open(member))
                begin = 0 if through else _begin_of(file, member)
            end = begin + member.file_size if through else min(begin + member.file_size, size)
            found[name] = _described(path, member.filename, content, through, begin, end, kinds[name])
    return found


def names_in(path: Path) -> list[str]:
    """The names of the arrays in a .npz archive."""
    with reading(path, ARCHIVE), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _require_size(path: Path, member: zipfile.ZipInfo, size: int) -> None:
    """Refuse a member that cannot be as large as the archive says, before there is memory for it."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{path}: expected {ARCHIVE}, found a member that is compressed in another way")
    most = min(member.compress_size, size) * (1 if member.compress_type == zipfile.ZIP_STORED else MOST_UNPACKED)
    if member.file_size > most:
        raise ValueError(f"{path}: expected {ARCHIVE}, found a member of {member.file_size} bytes in "
                         f"{min(member.compress_size, size)} bytes of the file")


def _begin_of(file: Any, member: zipfile.ZipInfo) -> int:
    """Where in an archive the bytes of a member begin that is not compressed."""
    file.seek(member.header_offset)
    name_length, extra_length = struct.unpack("<HH", file.read(_LOCAL_HEADER)[_LENGTHS:])
    return int(member.header_offset) + _LOCAL_HEADER + int(name_length) + int(extra_length)


def _described(path: Path, member: str, file: Any, unpacked: bool, begin: int, end: int, kinds: str) -> StoredArray:
    """The array whose header is read from a file, and whose bytes are from `begin` to `end`."""
    where = f"{path}: {member}" if member else str(path)
    shape, by_columns, dtype = _header_of(path, where, file)
    if dtype.kind not in kinds or not dtype.itemsize:
        raise ValueError(f"{where}: expected {'real numbers' if kinds == NUMBERS else 'numbers or names'}, found dtype "
                         f"{shortened(dtype)}")
    if not 0 < len(shape) <= _MOST_DIMENSIONS or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise ValueError(f"{where}: expected rows, found shape {shortened(shape)}")
    array = StoredArray(path, member, begin + file.tell(), unpacked, shape, dtype, by_columns and len(shape) > 1)
    if (missing := array.offset + shape[0] * array.row_bytes - end) > 0:
        raise ValueError(f"{where}: expected shape {shortened(shape)} of {dtype} as its header says, found "
                         f"{shortened(missing)} bytes too few")
    return array


def _header_of(path: Path, where: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape, whether the order is Fortran's, and the dtype that an array's header names."""
    with reading(path, ARCHIVE):
        magic = file.read(npy.MAGIC_LEN)
        length = file.read(2 if magic[-2:-1] == b"\x01" else 4)
        text = file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
    with reading(where, "an array that np.save wrote"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what NumPy evaluates, and of headers by Python 2
        version = npy.read_magic(io.BytesIO(magic))
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        found: tuple[tuple[int, ...], bool, np.dtype] = read_header(io.BytesIO(length + text))
        return found
