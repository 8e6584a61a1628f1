"""`StoredArray`: an array in a file of NumPy's, of which rows are read without the others.

Files are read, and not mapped into memory: what was mapped counts as memory of the process, which may be limited.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

#: The bytes of a local file header of a zip archive before the name, and where in it the lengths of the name and of
#: what follows the name are.
_LOCAL_HEADER, _LENGTHS = 30, 26


#: What reading a damaged archive raises.
DAMAGED = zipfile.BadZipFile, zlib.error, EOFError


class StoredArray(NamedTuple):
    """Where an array lies in a file, after its header has been read."""

    path: Path
    member: str        # of an archive, or ""
    offset: int        # of the numbers in the file, or in the unpacked member of a compressed archive
    compressed: bool
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
        if not self.compressed:
            return files.enter_context(open(self.path, "rb", buffering=0))
        archive = files.enter_context(zipfile.ZipFile(self.path))
        return files.enter_context(archive.open(self.member))

    def read(self, file: Any, start: int, stop: int) -> np.ndarray:
        """The rows from start to stop, from a file that `opened` gave.

        Of a compressed archive, rows are read in their order, because to go back is to unpack it all again.
        """
        count = stop - start
        if not self.by_columns:
            rows = np.empty((count, *self.shape[1:]), self.dtype)
            file.seek(self.offset + start * self.row_bytes)
            self._fill(file, rows)
            return rows
        columns = np.empty((count, *self.shape[1:]), self.dtype, order="F")
        for j in range(self.shape[1]):
            file.seek(self.offset + (j * self.shape[0] + start) * self.dtype.itemsize)
            self._fill(file, columns[:, j])
        return columns

    def _fill(self, file: Any, numbers: np.ndarray) -> None:
        """Read as many bytes as the numbers have."""
        left = numbers.reshape(-1).view(np.uint8).data
        while len(left):
            count = file.readinto(left)
            if not count:
                raise ValueError(f"{self.name}: expected {len(left)} bytes more, found the end of the file")
            left = left[count:]


def stored_array(path: Path) -> StoredArray:
    """The array in a .npy file.

    Raises
    ------
    ValueError
        If it is none, or not of real numbers, or shorter than its header says.
    """
    with open(path, "rb") as file:
        return _described(path, "", file, False, 0, path.stat().st_size)


def stored_members(path: Path, names: Sequence[str]) -> dict[str, StoredArray]:
    """Those arrays in a .npz archive that have one of the names; raises what `stored_array` does."""
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            found = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name not in names:
                    continue
                compressed = member.compress_type != zipfile.ZIP_STORED
                with archive.open(member) as unpacked:
                    begin = 0 if compressed else _begin_of(file, member)
                    found[name] = _described(path, member.filename, unpacked, compressed, begin,
                                             begin + member.file_size)
            return found
    except (*DAMAGED, struct.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: expected an archive that np.savez wrote, found one that cannot be read: "
                         f"{error}") from error


def _begin_of(file: Any, member: zipfile.ZipInfo) -> int:
    """Where in an archive the bytes of a member begin that is not compressed."""
    file.seek(member.header_offset)
    name_length, extra_length = struct.unpack("<HH", file.read(_LOCAL_HEADER)[_LENGTHS:])
    return int(member.header_offset) + _LOCAL_HEADER + int(name_length) + int(extra_length)


def _described(path: Path, member: str, file: Any, compressed: bool, begin: int, end: int) -> StoredArray:
    """The array whose header is read from a file, and whose bytes are from `begin` to `end`."""
    where = f"{path}: {member}" if member else str(path)
    try:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read_header(file)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{where}: expected an array that np.save wrote, found {error}") from error
    if dtype.kind not in "biuf":
        raise ValueError(f"{where}: expected real numbers, found dtype {dtype}")
    if not shape or (by_columns and len(shape) > 2):
        raise ValueError(f"{where}: expected rows, found shape {shape}" + (" in Fortran's order" if by_columns else ""))
    array = StoredArray(path, member, begin + file.tell(), compressed, shape, dtype, by_columns and len(shape) == 2)
    if (missing := array.offset + shape[0] * array.row_bytes - end) > 0:
        raise ValueError(f"{where}: expected shape {shape} of {dtype} as its header says, found {missing} bytes "
                         f"too few")
    return array
