"""Archives of arrays and text: what all files of fastbp are.

An archive is a zip file of uncompressed members NAME.npy, one array in each, as `numpy.savez` writes them, so that
`numpy.load` opens it. Its member "format" says what kind of file it is. Its last member, "digest", holds the SHA-256 of
one line for each other member, ``NAME BYTES CRC32``. The checksum of a member finds every wrong byte in it, and the
digest members that are missing, added or of another file. A digest of all bytes would take as long as the rest of a
save: 22 ms for 40 MB at 1.8 GB/s, and four times that on processors without instructions for it.

Files are read in parts, and only members that are asked for by name, dtype and shape. The directory of the archive is
checked when it is opened, each member when it is read, and both before memory is allocated. Nothing in a file is ever
executed, unpickled or unpacked. Files of older versions have no digest, and the same checks otherwise.
"""

import hashlib
import json
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from os import PathLike
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from .zip_members import Member, members_of

#: The members that every archive has, and the suffix of all.
_FORMAT, _DIGEST, _SUFFIX = "format", "digest", ".npy"

#: Bytes that are written and read at a time.
_PART = 2**20

#: The header of an array, as NumPy has always written it. It is not evaluated as Python, as NumPy would do.
_HEADER = re.compile(rb"\{'descr': '(<[iuf][248]|[<|][iu]1|<U\d{1,10})', 'fortran_order': False, "
                     rb"'shape': \(((?:\d{1,19}, ?)*\d{0,19})\), \} *\n")

#: Bytes of a header that are read at the most.
_LONGEST_HEADER = 4096

#: The most containers in each other that JSON in an archive may have. Python's own limit depends on who calls it.
DEEPEST = 100

#: Text in quotation marks, and brackets, of JSON. Without backtracking, for which long text would take much memory.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


def write_archive(file: BinaryIO, members: Mapping[str, Any]) -> None:
    """Write an archive to a file that is open to write, and may be sought in.

    Parameters
    ----------
    file : binary file
    members : mapping
        By name: arrays of real numbers, numbers, text, or sequences of text. There has to be "format". Equal members
        make equal files.

    Raises
    ------
    ValueError
        If a member is something else.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> write_archive(file, {"format": "two numbers", "x": np.array([1.5, 2.0])})
    >>> file.seek(0)
    0
    >>> np.load(file)["x"]
    array([1.5, 2. ])
    """
    lines = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, value in members.items():
            lines.append(_write_member(archive, name, value))
        _write_member(archive, _DIGEST, _digest_of(lines))


def _write_member(archive: zipfile.ZipFile, name: str, value: Any) -> str:
    """Write one array; returns its line of the digest."""
    array = np.asarray(value)
    if array.dtype.kind not in "iufU":
        raise ValueError(f"{name}: expected real numbers or text, found {array.dtype}")
    # One order of bytes and of axes in all files. `ascontiguousarray` would make vectors of numbers.
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    info = zipfile.ZipInfo(name + _SUFFIX)  # with one date for all, so that equal networks make equal files
    info.file_size = array.nbytes + _LONGEST_HEADER  # zipfile asks beforehand whether it will need 64 bits
    with archive.open(info, "w") as member:
        npy.write_array_header_1_0(member, npy.header_data_from_array_1_0(array))
        data = array.reshape(-1).view(np.uint8).data
        for begin in range(0, len(data), _PART):
            member.write(data[begin : begin + _PART])
    return _line(name, info.file_size, info.CRC)


def _line(name: str, size: int, checksum: int) -> str:
    return f"{name} {size} {checksum:08x}\n"


def _digest_of(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def opened(path: "str | PathLike[str]", kind: str, of_others: Mapping[str, str] | None = None) -> "Iterator[Archive]":
    """A context with an archive, whose directory, digest and format have been checked.

    Parameters
    ----------
    path : path
    kind : str
        What its member "format" says.
    of_others : mapping, optional
        What else the error says of archives of another format.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no archive of this kind, or damaged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastbp.storage.writing import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "numbers.npz")
    ...     with replacing(path) as file:
    ...         write_archive(file, {"format": "numbers", "x": np.array([1.5, 2.0]), "what": "two of them"})
    ...     with opened(path, "numbers") as archive:
    ...         archive.array("x", dtype=np.float64, shape=(None,)), archive.text("what", most=100)
    (array([1.5, 2. ]), 'two of them')
    """
    found = os.stat(path).st_mode
    if not (stat.S_ISREG(found) or stat.S_ISDIR(found)):  # which could wait for ever
        raise ValueError(f"{path}: expected a file, found a device, a pipe or the like")
    with open(path, "rb") as file:
        try:
            archive = Archive(str(path), file)
            text = archive.text(_FORMAT, most=1000)
            if text != kind:
                raise ValueError(f"its 'format' is {shortened(text)}{(of_others or {}).get(text, '')}")
            archive.require_digest()
        except ValueError as error:
            raise ValueError(f"{path}: not a {kind}, {str(error).removeprefix(f'{path}: ')}") from None
        yield archive


class Archive:
    """An archive that is open to be read; see `opened`.

    Errors of its methods are ValueErrors that name the file and the member. What they return has been compared with the
    member's checksum.

    Attributes
    ----------
    names : tuple of str
        Of all members; of those that are never asked for, no byte is read.
    """

    def __init__(self, path: str, file: BufferedReader) -> None:
        self._path, self._file = path, file
        self._members = {name.removesuffix(_SUFFIX): member for name, member in members_of(file).items()
                         if name.endswith(_SUFFIX)}
        self.names = tuple(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def require_digest(self) -> None:
        """Refuse members that are not those of which there is a digest. Old files have none."""
        if _DIGEST in self._members:
            lines = [_line(name, member.size, member.checksum) for name, member in self._members.items()
                     if name != _DIGEST]
            if self.text(_DIGEST, most=64) != _digest_of(lines):
                raise self.error(_DIGEST, "expected that of the other members, found another: the file is damaged")

    def error(self, name: str, problem: str) -> ValueError:
        """A ValueError that names the file and the member."""
        return ValueError(f"{self._path}: {name}: {problem}")

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of an array, by its header."""
        return self._header(name).shape

    def dtype_of(self, name: str) -> np.dtype:
        """The dtype of an array, by its header."""
        return np.dtype(self._header(name).code)

    def array(self, name: str, *, dtype: Any, shape: Sequence[int | None], most: int | None = None) -> np.ndarray:
        """An array of this dtype and shape.

        Parameters
        ----------
        name : str
        dtype : dtype
            Of integers or floating-point numbers.
        shape : sequence of int or None
            None where any length will do.
        most : int, optional
            Elements that it may have. In any case they are as many as the file has bytes for.
        """
        header = self._numbers(name, dtype, shape, most)
        out = np.empty(header.shape, dtype)
        self.into(name, out)
        return out

    def into(self, name: str, out: np.ndarray) -> None:
        """Read an array of the dtype and shape of `out` into it, part by part; after an error it holds anything.

        Parameters
        ----------
        name : str
        out : ndarray
            C-contiguous.
        """
        if not out.flags.c_contiguous:
            raise ValueError("out: expected a C-contiguous array, found another")
        vector, begin = out.reshape(-1), 0
        for part in self.parts(name, dtype=out.dtype, shape=out.shape):
            vector[begin : begin + part.size] = part
            begin += part.size

    def parts(self, name: str, *, dtype: Any, shape: Sequence[int | None]) -> Iterator[np.ndarray]:
        """The numbers of an array in order, in vectors that are good until the next one is asked for.

        Only after the last one has the checksum been compared.
        """
        header = self._numbers(name, dtype, shape, None)
        for data in self._data(name, header):
            yield np.frombuffer(data, header.code)

    def integer(self, name: str) -> int:
        """An integer, of any dtype of integers."""
        header = self._header(name)
        if header.code[1] not in "iu" or header.shape != ():
            raise self.error(name, f"expected an integer, found {header}")
        return int(self.array(name, dtype=np.dtype(header.code).newbyteorder("="), shape=())[()])

    def text(self, name: str, *, most: int) -> str:
        """Text of at most this number of characters."""
        return self._texts(name, (), most)[0]

    def texts(self, name: str, *, count: int, most: int) -> list[str]:
        """A vector of `count` texts, of at most this number of characters each."""
        return self._texts(name, (count,), most)

    def json(self, name: str, *, most: int) -> Any:
        """What JSON text of at most this number of characters says: no NaN, no infinity, at most `DEEPEST` levels."""
        text = self.text(name, most=most)
        try:
            _require_shallow(text)
            return json.loads(text, parse_constant=_finite, parse_float=_finite)
        except ValueError as error:
            raise self.error(name, f"expected JSON, found {shortened(str(error))}") from None

    def _texts(self, name: str, shape: tuple[int, ...], most: int) -> list[str]:
        header = self._header(name)
        if header.code[1] != "U" or header.shape != shape:
            raise self.error(name, f"expected text{f' of shape {shape}' if shape else ''}, found {header}")
        length = header.itemsize // 4
        if length > most:
            raise self.error(name, f"expected at most {most} characters, found {length}")
        data = b"".join(self._data(name, header))
        try:
            return [data[begin : begin + 4 * length].decode("utf-32-le").rstrip("\0")
                    for begin in range(0, len(data), 4 * length)] if length else [""] * math.prod(shape)
        except UnicodeDecodeError:
            raise self.error(name, "expected text, found bytes that are none") from None

    def _member(self, name: str) -> Member:
        if name not in self._members:
            raise self.error(name, "expected this member, found none")
        return self._members[name]

    def _numbers(self, name: str, dtype: Any, shape: Sequence[int | None], most: int | None) -> "_Header":
        """The header of an array, which has to be of this dtype and shape."""
        header, expected = self._header(name), np.dtype(dtype)
        if (np.dtype(header.code) != expected.newbyteorder("<") or len(header.shape) != len(shape)
                or any(b not in (None, a) for a, b in zip(header.shape, shape, strict=True))):
            lengths = ", ".join("any" if n is None else str(n) for n in shape)
            raise self.error(name, f"expected {expected.name} of shape ({lengths}), found {header}")
        if most is not None and math.prod(header.shape) > most:
            raise self.error(name, f"expected at most {most} numbers, found {header}")
        return header

    def _header(self, name: str) -> "_Header":
        """The header of an array, checked against the bytes of the member."""
        member = self._member(name)
        self._file.seek(member.offset)
        data = self._file.read(min(member.size, _LONGEST_HEADER))
        version, wide = data[:8], data[6:7] == b"\2"
        begin = 12 if wide else 10
        length = int.from_bytes(data[8:begin], "little")
        found = _HEADER.fullmatch(data, begin, begin + length) if len(data) >= begin + length else None
        if version not in (b"\x93NUMPY\1\0", b"\x93NUMPY\2\0") or found is None:
            raise self.error(name, f"expected an array of numbers or text as np.save writes it, found "
                             f"{shortened(repr(data[:80]))}")
        shape = tuple(int(length) for length in found[2].replace(b",", b" ").split())
        header = _Header(found[1].decode(), shape, begin + length)
        # An array without numbers may have any other lengths, such as averages (0, P); NumPy takes none that are huge.
        if max(shape, default=0) >= 2**48 or header.begin + math.prod(shape) * header.itemsize != member.size:
            raise self.error(name, f"expected {header} as its header says, found {member.size - header.begin} bytes")
        return header

    def _data(self, name: str, header: "_Header") -> Iterator[memoryview]:
        """The bytes after the header, in parts; the checksum is compared after the last."""
        member = self._member(name)
        self._file.seek(member.offset)
        checksum = zlib.crc32(self._file.read(header.begin))
        left, buffer = member.size - header.begin, memoryview(bytearray(min(_PART, member.size)))
        while left > 0:
            part = buffer[: min(left, _PART)]
            if self._file.readinto(part) != len(part):
                raise self.error(name, f"expected {left} bytes more, found the end of the file")
            checksum, left = zlib.crc32(part, checksum), left - len(part)
            yield part
        if checksum != member.checksum:
            raise self.error(name, f"expected the checksum {member.checksum:08x}, found {checksum:08x}: the file is "
                             f"damaged")


class _Header(NamedTuple):
    """What the header of an array says."""

    code: str                # the dtype, such as "<f4"
    shape: tuple[int, ...]
    begin: int               # of the numbers in the member

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return int(self.code[2:]) * (4 if self.code[1] == "U" else 1)

    def __str__(self) -> str:
        return f"{self.code} of shape {self.shape}"


def shortened(text: str) -> str:
    """The beginning of a text, for an error message."""
    return text if len(text) <= 80 else f"{text[:79]}…"


def json_text(name: str, value: Any) -> str:
    """JSON that `Archive.json` reads.

    Raises
    ------
    ValueError
        If JSON cannot hold the value, or it has more than `DEEPEST` levels; named.

    Examples
    --------
    >>> json_text("metadata", {"classes": ["a", "b"]})
    '{"classes": ["a", "b"]}'
    """
    try:
        text = json.dumps(value, allow_nan=False)
        _require_shallow(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected what JSON can hold ({shortened(str(error))})") from None
    return text


def _require_shallow(text: str) -> None:
    """Refuse JSON of too many levels."""
    level = 0
    for found in _BRACKETS.finditer(text):
        level += (found[0] in "[{") - (found[0] in "]}") if len(found[0]) == 1 else 0
        if level > DEEPEST:
            raise ValueError(f"more than {DEEPEST} lists and dicts in each other")


def _finite(text: str) -> float:
    """A number of JSON, which has to be finite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shortened(text)}, which is not finite")
    return number
