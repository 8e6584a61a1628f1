"""Files that are replaced as a whole: whoever reads one finds the old file or the new one, whatever happens."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

#: The age in seconds from which a temporary file is litter where no lock can tell.
_A_DAY = 86_400.0

#: Bytes of a name that go into the names of its temporary files; a file system allows 255 for all.
_LONGEST_NAME = 200


@contextmanager
def replacing(path: "str | PathLike[str]") -> Iterator[BinaryIO]:
    """A context with a binary file to write, which takes the place of the one at the path when the context ends well.

    It is written in the same folder under another name, ``.NAME.HEX.tmp`` with 128 random bits. From its first byte it
    has the permissions of the file that it replaces, or those that the umask gives a new one. At the end it is flushed
    to the disk and renamed, and so is the folder (on POSIX systems), so that a crash never leaves half a file. Of a
    link, the file that it points to is replaced. On any exception the temporary file is removed.

    A process that is killed leaves its temporary file. The next call for the same path removes it, and no file that
    another one is writing: that holds a lock on its own (`flock`), and Windows removes no open file. On file systems
    without locks, temporary files of other calls are removed after a day.

    Parameters
    ----------
    path : path
        No suffix is added.

    Yields
    ------
    file
        Open to write and read; it may be sought in.

    Raises
    ------
    ValueError
        If there is a device or a pipe at the path, which would be replaced.
    OSError
        If there is a folder at the path, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "numbers.txt")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"1 2 3")
    ...     path.read_bytes(), os.listdir(folder)
    (b'1 2 3', ['numbers.txt'])
    """
    path = Path(path)
    mode = _mode_of(path)
    target = Path(os.path.realpath(path))
    _remove_litter(target)
    temporary, file = _created(target, mode)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform != "win32":
                os.replace(temporary, target)  # before it is closed, which would unlock it
        if sys.platform == "win32":
            os.replace(temporary, target)  # where no open file can be renamed
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def _mode_of(path: Path) -> int | None:
    """The permissions of the file at the path, None if there is none; what must not be replaced is refused."""
    try:
        found = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found):
        raise ValueError(f"path: expected a file or nothing at {path}, found a device, a pipe or the like")
    return stat.S_IMODE(found)


def _created(target: Path, mode: int | None) -> tuple[Path, BinaryIO]:
    """A new temporary file beside the target, with these permissions, locked where that can be."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(16)}.tmp")
        # 0o666 less the umask is what `open` gives. Of a given mode the umask may take some, which fchmod gives back.
        given = 0o666 if mode is None or sys.platform == "win32" else mode & 0o777
        file = os.fdopen(os.open(temporary, flags, given), "w+b")
        try:
            if sys.platform == "win32":
                return temporary, file
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:  # else it was taken for litter before it was locked
                return temporary, file
            file.close()
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise


def _prefix(target: Path) -> str:
    """How the names of the target's temporary files begin; a long name is cut, and told from others by a digest."""
    name = os.fsencode(target.name)
    if len(name) <= _LONGEST_NAME:
        return f".{target.name}."
    return f".{target.name[:32]}.{hashlib.sha256(name).hexdigest()[:32]}."


def _remove_litter(target: Path) -> None:
    """Remove temporary files of the target that nobody is writing; what cannot be removed stays."""
    ours = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{32}\.tmp")
    try:
        names = os.listdir(target.parent)
    except OSError:  # a folder that may be written and not read, or none, which is refused later
        return
    for name in names:
        if ours.fullmatch(name):
            with contextlib.suppress(OSError):
                litter = target.with_name(name)
                if sys.platform == "win32":
                    litter.unlink()  # an error, if it is open
                else:
                    _remove_unless_written(litter)


def _remove_unless_written(temporary: Path) -> None:
    """Remove a temporary file if nobody holds a lock on it."""
    assert sys.platform != "win32"
    file = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            if time.time() - os.fstat(file).st_mtime < _A_DAY:
                return
        os.unlink(temporary)
    finally:
        os.close(file)


def _flush_folder(folder: Path) -> None:
    """Make a rename in the folder last through a crash of the machine, where folders can be flushed.

    The new file is in its place already, so that an error would only mislead.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
