"""The kernel cache: compiled code on disk, one file for each kernel and signature.

A file is written whole or not at all, and says what it was compiled for. Reading one runs what is in it. So nothing is
read that another user may have written, or that is not what was written once: such a kernel is compiled anew.
"""

import functools
import hashlib
import os
import pickle
import re
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.misc.appdirs import AppDirs

from .cleaning import KERNEL, UNFINISHED, remove_caches, remove_unfinished, unused_seconds
from .identity import identity, settings_are_unchanged, source_is_unchanged

#: The first line of a file. Another format has another one.
_FORMAT = b"fastbp kernel 1"

#: The seconds after which a process says again that it uses a folder.
_USED_AGAIN = 3600.0

#: Names in files are shortened to this number of characters.
_LONGEST_NAME = 120

#: The user who may write anywhere: of a cache that an image of a container has, every user may run kernels.
_SYSTEM = 0

#: No link is followed, and nothing is waited for.
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_WARNED: set[str] = set()


def _warn_once(subject: str, text: str) -> None:
    """Warn, unless this process has warned of this subject before."""
    if subject not in _WARNED:
        _WARNED.add(subject)
        warnings.warn(text, RuntimeWarning, stacklevel=3)


@functools.cache
def cache_folder() -> Path | None:
    """The directory of the compiled kernels, or None (with one warning) where there can be none.

    It is ``fastbp/<name of the identity>`` in NUMBA_CACHE_DIR where that is set, else in the user's cache directory.
    It may be one that cannot be written to: then kernels are only read.
    """
    known = identity()
    if known is None:
        _warn_once("folder", "fastbp compiles its kernels anew in every process, because nothing tells of which source "
                             "they are: this program's import system gives neither its source nor its code")
        return None
    try:
        base = cache_base()
        folder = base / known.name
        is_new = not folder.exists()
        for own in (base, folder):
            _make_own(own)
        is_rested = time.time() - folder.stat().st_mtime > _USED_AGAIN
    except OSError as error:
        _warn_once("folder", f"fastbp compiles its kernels anew in every process, because its cache cannot be used "
                             f"({error}); set NUMBA_CACHE_DIR to a folder of yours")
        return None
    if is_rested:
        with suppress(OSError):  # it may only be read
            os.utime(folder)
            remove_unfinished(folder)
    if is_new:
        remove_caches(base, folder, unused_seconds())
    return folder


def may_store() -> bool:
    """Whether there is a cache, and kernels can be stored in it."""
    folder = cache_folder()
    return folder is not None and os.access(folder, os.W_OK | os.X_OK)


def cache_base() -> Path:
    """The absolute folder of the caches of all identities.

    Raises
    ------
    FileNotFoundError
        If the user has no home directory.
    """
    given = _absolute("NUMBA_CACHE_DIR")
    if given is not None:
        return given / "fastbp"
    if os.name == "nt":
        return Path(AppDirs("fastbp", appauthor=False).user_cache_dir)
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "fastbp"
    return (_absolute("XDG_CACHE_HOME") or _home() / ".cache") / "fastbp"


def _absolute(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is not set, empty, or not an absolute path.

    A relative one would be in the working folder, where anybody may have put kernels.
    """
    given = os.environ.get(variable, "")
    if given and not Path(given).is_absolute():
        _warn_once(variable, f"{variable}: expected an absolute path, found {given[:80]!r}; fastbp ignores it")
        return None
    return Path(given) if given else None


def _home() -> Path:
    given = _absolute("HOME")
    if given is not None:
        return given
    import pwd  # not on Windows
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        raise FileNotFoundError("this user has no home directory") from None


def _make_own(folder: Path) -> None:
    """Make a folder, and those above it, for this user alone.

    Raises
    ------
    OSError
        If it cannot be made, or is another user's.
    """
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":
        state = folder.stat()
        if state.st_uid == os.geteuid() and state.st_mode & 0o022:
            folder.chmod(0o700)
        _require_own(folder.stat(), str(folder))


def _require_own(state: os.stat_result, what: str) -> None:
    """Check that only this user or the system's can have written a file or to a folder, where that is known.

    Raises
    ------
    PermissionError
        If that is not so.
    """
    if os.name == "posix":
        if state.st_uid not in (os.geteuid(), _SYSTEM):
            raise PermissionError(f"{what} belongs to another user")
        if state.st_mode & 0o022:
            raise PermissionError(f"others may write to {what}")


@functools.cache
def _processor(codegen: Any) -> tuple[str, ...]:
    """(triple, name, instruction sets) of the processor that Numba compiles for; asking for them takes 70 µs."""
    return tuple(codegen.magic_tuple())


def kernel_cache(function: Callable[..., Any]) -> "KernelCache":
    """The cache of a function's compiled versions on disk, in the `cache_folder`."""
    folder = cache_folder()
    assert folder is not None
    return KernelCache(function, folder)


class KernelCache(NullCache):
    """What Numba asks for a function's compiled versions, and gives new ones to."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._folder = folder
        self._function = f"{function.__module__}.{function.__qualname__}:{function.__code__.co_firstlineno}"
        self._name = re.sub(r"[^0-9A-Za-z_]", "_", function.__qualname__)[:_LONGEST_NAME]

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def _key(self, sig: Any, codegen: Any) -> bytes:
        """What a version is for: the identity, the function, the types of its arguments, and the processor.

        The function's closure is no part of it: the identity covers all code, and kernels have names of their own.
        """
        arguments, result = normalize_signature(sig)
        return repr((self._folder.name, self._function, str(arguments), str(result), _processor(codegen))).encode()

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{self._name}.{hashlib.sha256(key).hexdigest()[:32]}{KERNEL}"

    def is_stored(self, sig: Any, target_context: Any) -> bool:
        """Whether there is a file for a signature."""
        return self._path(self._key(sig, target_context.codegen())).exists()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The version for a signature; None, with one warning in a process, where its file cannot be trusted."""
        target_context.refresh()  # which makes it complete
        if not settings_are_unchanged():
            return None
        key = self._key(sig, target_context.codegen())
        path = self._path(key)
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(_read(path, key)))
        except FileNotFoundError:
            return None
        except MemoryError:
            raise
        except Exception as error:  # whatever unpickling may raise
            _warn_once("read", f"fastbp compiles a kernel anew, because it cannot use {path}: "
                               f"{type(error).__name__}: {str(error)[:200]}")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a version, where that is possible; one warning in a process where it is not."""
        if any(not part.can_cache for part in data.lifted) or data.library.has_dynamic_globals:
            return
        if not settings_are_unchanged() or not source_is_unchanged():
            return  # compiled from other code than the identity names
        key = self._key(sig, data.codegen)
        try:
            _make_own(self._folder)  # it may have been removed
            _write(self._path(key), key, data)
        except OSError as error:
            _warn_once("write", f"fastbp could not cache a compiled kernel: {error}")


def _read(path: Path, key: bytes) -> bytes:
    """What was pickled into a file.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, if another user may have written it, or if it is not as it was written for the key.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _CAREFULLY)) as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is not a file")
        _require_own(state, "it")
        head, found_key, checksum = (file.readline().removesuffix(b"\n") for _ in range(3))
        payload = file.read(state.st_size)  # which copies it once, not twice
    if head != _FORMAT or checksum != hashlib.sha256(payload).hexdigest().encode():
        raise ValueError("it is damaged")
    if found_key != key:
        raise ValueError("it holds another kernel, or one for another processor")
    return payload


def _write(path: Path, key: bytes, compiled: Any) -> None:
    """Write a file, so that others find it whole or not at all."""
    descriptor, name = tempfile.mkstemp(UNFINISHED, "", path.parent)  # with mode 0600
    try:
        with open(descriptor, "wb") as file:
            payload = dumps(compiled._reduce())
            file.write(b"\n".join([_FORMAT, key, hashlib.sha256(payload).hexdigest().encode(), payload]))
        try:
            os.replace(name, path)
        except PermissionError:  # on Windows, where another process reads the same kernel just now
            if not path.is_file():
                raise
            os.unlink(name)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
