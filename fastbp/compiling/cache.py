"""The kernel cache: compiled code on disk, under a digest of the whole package."""

import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.misc.appdirs import AppDirs


@functools.cache
def package_digest() -> str:
    """A digest of every source file of fastbp: compiled kernels belong to exactly this text."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """The directory of the compiled kernels, or None (with one warning) where it cannot be written.

    It is ``fastbp/<digest of the package>`` in NUMBA_CACHE_DIR where that is set, else in the user's cache directory.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(given, "fastbp") if given else AppDirs("fastbp", appauthor=False).user_cache_dir
    folder = Path(base) / package_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"no permission to write {folder}")
    except OSError as error:
        warnings.warn(f"fastbp compiles its kernels anew in every process, because its cache cannot be written "
                      f"({error}); set NUMBA_CACHE_DIR to a folder of yours", RuntimeWarning, stacklevel=2)
        return None
    return folder


class _PackageLocator(_CacheLocator):
    """Puts a kernel under the digest of the whole package.

    Numba's own locators look only at the file that holds the kernel, so that an edit of a formula in another file
    would leave a stale kernel in use.
    """

    def __init__(self, line: int, py_file: str) -> None:
        self._line = line
        self._py_file = py_file  # Numba names it where it warns that something cannot be cached

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return package_digest()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_PackageLocator":
        return cls(py_func.__code__.co_firstlineno, py_file)


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes: Any = (_PackageLocator,)


def kernel_cache(function: Callable[..., Any]) -> FunctionCache:
    """The cache of a function's compiled versions on disk."""
    return _KernelCache(function)


class _KernelCache(FunctionCache):
    _impl_class = _KernelCacheImpl

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # The stamp covers all bytecode, and the file is named after the kernel. Numba's own key also pickles the
        # closure, which for a closure over compiled functions differs in every process.
        return sig, codegen.magic_tuple()

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self.disable()
            warnings.warn(f"fastbp could not cache a compiled kernel: {error}", RuntimeWarning, stacklevel=2)
