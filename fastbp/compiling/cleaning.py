"""Caches that are not in use any more: those of other versions of fastbp or Numba, other processors, other settings."""

import math
import os
import re
import time
from contextlib import suppress
from pathlib import Path

#: What the names of kernels end with, and those of kernels that are being written.
KERNEL, UNFINISHED = ".kernel", ".unfinished"

#: The days without use after which a cache is removed unasked.
UNUSED_DAYS = 30

#: The hours without use after which one is removed where that is asked for, and with them what a killed process left.
UNUSED_HOURS = 24

# The names that `identity` gives: anything else is not ours to remove.
_IDENTITY = re.compile(r"[0-9a-f]{32}")


def other_caches(base: Path, keep: Path) -> list[Path]:
    """The folders of kernels in a folder, other than `keep`.

    Only a folder of this user that has the name of an identity, and holds nothing but kernels, is such a folder.
    """
    return [folder for folder in sorted(base.iterdir()) if folder != keep and _is_cache(folder)]


def _is_cache(folder: Path) -> bool:
    try:
        return (_IDENTITY.fullmatch(folder.name) is not None and folder.is_dir() and not folder.is_symlink()
                and (os.name != "posix" or folder.stat().st_uid == os.geteuid())
                and all(file.name.endswith((KERNEL, UNFINISHED)) and file.is_file() and not file.is_symlink()
                        for file in folder.iterdir()))
    except OSError:  # removed meanwhile, or not to be read
        return False


def unused_seconds() -> float:
    """The seconds without use after which a cache is removed unasked.

    There is no end to them in NUMBA_CACHE_DIR: where others may share it, they may have chosen to keep what is there.
    """
    return math.inf if os.environ.get("NUMBA_CACHE_DIR") else 86400.0 * UNUSED_DAYS


def size_of(folder: Path) -> tuple[int, int]:
    """(number of kernels, bytes of all files) in a folder; what another process removes meanwhile may be counted."""
    kernels, nbytes = 0, 0
    for file in folder.iterdir():
        try:
            nbytes += file.stat().st_size
        except OSError:
            continue
        kernels += file.name.endswith(KERNEL)
    return kernels, nbytes


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left in a folder.

    Raises
    ------
    OSError
        If that is not possible.
    """
    for file in folder.glob(f"*{UNFINISHED}"):
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - file.stat().st_mtime > 3600.0 * UNUSED_HOURS:
                file.unlink()


def remove_caches(base: Path, keep: Path, unused: float) -> int:
    """Remove `other_caches` that no process has begun to use, or written to, for a number of seconds; how many.

    In `keep`, what killed processes left is removed. A process that uses what is removed compiles anew.
    """
    removed, now = 0, time.time()
    try:
        remove_unfinished(keep)
        for folder in other_caches(base, keep):
            if now - folder.stat().st_mtime > unused:
                removed += _removed(folder)
    except OSError:
        pass
    return removed


def _removed(folder: Path) -> bool:
    """Whether a folder could be removed; it cannot where another process has written to it in the meantime."""
    try:
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return False
    return True
