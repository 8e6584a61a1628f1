"""`Archive`: members of an open archive, of which each is checked before memory is taken for it."""

import hashlib
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import Any, NamedTuple

import numpy as np

from .json_text import finite_json, shortened
from .zip_members import Member, members_of

#: The member with the digest of the others, and the suffix of all.
DIGEST, SUFFIX = "digest", ".npy"

#: Bytes that are read and written at a time.
PART = 2**20

#: The header of an array, as NumPy has always written it. It is not evaluated as Python, as NumPy would do.
_HEADER = re.compile(rb"\{'descr': '(<[iuf][248]|[<|][iu]1|<U\d{1,10})', 'fortran_order': False, "
                     rb"'shape': \(((?:\d{1,19}, ?)*\d{0,19})\), \} *\n")

#: Bytes of a header that are read at the most.
LONGEST_HEADER = 4096


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
        self._members = {name.removesuffix(SUFFIX): member for name, member in members_of(file).items()
                         if name.endswith(SUFFIX)}
        self.names = tuple(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def require_digest(self) -> None:
        """Refuse members that are not those of which there is a digest. Old files have none."""
        if DIGEST in self._members:
            lines = [digest_line(name, member.size, member.checksum) for name, member in self._members.items()
                     if name != DIGEST]
            if self.text(DIGEST, most=64) != digest_of(lines):
                raise self.error(DIGEST, "expected that of the other members, found another: the file is damaged")

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
            return finite_json(text)
        except ValueError as error:
            raise self.error(name, f"expected JSON, found {shortened(str(error))}") from None

    def _texts(self, name: str, shape: tuple[int, ...], most: int) -> list[str]:
        header = self._header(name)
        if header.code[1] != "U" or header.shape != shape:
            raise self.error(name, f"expected text{f' of shape {shape}' if shape else ''}, found {header}")
        length = header.itemsize // 4
        if length > most:
            raise self.error(name, f"expected at most {most} characters, found {length}")
        data = bytearray()
        for part in self._data(name, header):
            data += part
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
        data = self._file.read(min(member.size, LONGEST_HEADER))
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
        """The bytes after the header, in parts that are good until the next one is asked for.

        The checksum is compared after the last.
        """
        member = self._member(name)
        self._file.seek(member.offset)
        checksum = zlib.crc32(self._file.read(header.begin))
        left, buffer = member.size - header.begin, memoryview(bytearray(min(PART, member.size)))
        while left > 0:
            part = buffer[: min(left, PART)]
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


def digest_line(name: str, size: int, checksum: int) -> str:
    """What the digest has of a member."""
    return f"{name} {size} {checksum:08x}\n"


def digest_of(lines: Sequence[str]) -> str:
    """The SHA-256 of the lines of all other members."""
    return hashlib.sha256("".join(lines).encode()).hexdigest()
