"""Archives of arrays and text: what all files of fastbp are.

An archive is a zip file of uncompressed members NAME.npy, one array in each, as `numpy.savez` writes them, so that
`numpy.load` opens it. Its member "format" says what kind of file it is. Its last member, "digest", holds the SHA-256 of
one line for each other member, ``NAME BYTES CRC32``. The checksum of a member finds every wrong byte in it, and the
digest members that are missing, added or of another file. A digest of all bytes would add a third to the time of a
save: 22 ms to 72 for 40 MB, where the processor has instructions for it.

Files are read in parts, and only members that are asked for by name, dtype and shape. The directory of the archive is
checked when it is opened, each member when it is read, and both before memory is allocated. Nothing in a file is ever
executed, unpickled or unpacked. Files of older versions have no digest, and the same checks otherwise.
"""

import errno
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from .json_text import json_text, shortened
from .reading import DIGEST, LONGEST_HEADER, PART, SUFFIX, Archive, digest_line, digest_of
from .zip_members import MOST_MEMBERS

#: The member that says what kind of file it is.
_FORMAT = "format"


def write_archive(file: BinaryIO, members: Mapping[str, Any]) -> None:
    """Write an archive to a file that is open to write, and may be sought in.

    Parameters
    ----------
    file : binary file
    members : mapping
        By name: arrays of real numbers, numbers, text, sequences of text, or dicts, which are written as JSON. There
        has to be "format". Equal members make equal files.

    Raises
    ------
    ValueError
        If a member is something else, or there are `MOST_MEMBERS`.

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
    if len(members) >= MOST_MEMBERS:
        raise ValueError(f"members: expected fewer than {MOST_MEMBERS}, found {len(members)}")
    lines = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, value in members.items():
            lines.append(_write_member(archive, name, value))
        _write_member(archive, DIGEST, digest_of(lines))


def _write_member(archive: zipfile.ZipFile, name: str, value: Any) -> str:
    """Write one array; returns its line of the digest."""
    array = np.asarray(json_text(name, value) if isinstance(value, dict) else value)
    if array.dtype.kind not in "iufU":
        raise ValueError(f"{name}: expected real numbers or text, found {array.dtype}")
    if array.dtype.kind == "U":
        _require_readable(name, [value] if isinstance(value, str) else list(value))
    # One order of bytes and of axes in all files. `ascontiguousarray` would make vectors of numbers.
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    info = zipfile.ZipInfo(name + SUFFIX)  # with one date for all, so that equal networks make equal files
    info.file_size = array.nbytes + LONGEST_HEADER  # zipfile asks beforehand whether it will need 64 bits
    with archive.open(info, "w") as member:
        npy.write_array_header_1_0(member, npy.header_data_from_array_1_0(array))
        data = array.reshape(-1).view(np.uint8).data
        for begin in range(0, len(data), PART):
            member.write(data[begin : begin + PART])
    return digest_line(name, info.file_size, info.CRC)


def _require_readable(name: str, texts: list[str]) -> None:
    """Refuse text that would be read as another one, or not at all."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: expected text, found a half of a character ({error.reason})") from None
        if text.endswith("\0"):
            raise ValueError(f"{name}: expected text without zeros at its end, found {shortened(repr(text))}")


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
    require_file(path)
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


def require_file(path: "str | PathLike[str]") -> None:
    """Refuse what is no file: to read from a pipe could wait for ever.

    Raises
    ------
    OSError
        If there is nothing at the path, or a folder.
    ValueError
        If there is a device, a pipe or the like.
    """
    found = os.stat(path).st_mode
    if stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found):
        raise ValueError(f"{path}: expected a file, found a device, a pipe or the like")
