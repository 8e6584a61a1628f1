"""How fastbp's functions are compiled: three decorators, the switch over records, and the kernel cache.

`formula` is for the scalar equations, `inlined` for functions that give views and are used from Python too,
`kernel` for everything that loops. Nothing is compiled at import; each kernel is compiled at its first call
for a dtype and then kept on disk.
"""

import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.misc.appdirs import AppDirs

# A named subset of fast-math: the full set lets LLVM assume that NaN does not exist, and isfinite(nan) becomes true.
KERNEL_FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})

# The formulas must not be reassociated: x - n*hi - n*lo with hi + lo = ln 2 in two parts is exact only in that order.
FORMULA_FASTMATH = frozenset({"contract"})

inlined = numba.extending.register_jitable


def formula(function: Callable[..., Any]) -> Any:
    """Compile a scalar equation; kernels inline it, and it may be called from Python.

    Inlining is forced, because a loop over a call does not vectorise (gelu took 6 ns per element instead of 0.5).
    """
    return numba.njit(error_model="numpy", fastmath=set(FORMULA_FASTMATH), forceinline=True)(function)


def panel_loop(function: Callable[..., Any]) -> Any:
    """Compile a loop over a panel into what calls it, where the number of samples is a constant.

    Inlining is forced: only so LLVM knows that panels are whole vectors and do not overlap; relu took three times as
    long without.
    """
    return numba.njit(error_model="numpy", fastmath=set(KERNEL_FASTMATH), forceinline=True)(function)


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that is made more than once a name of its own in the package, before it is compiled.

    Compiled symbols and cached files carry this name. Two functions that share it could be taken for each other when a
    kernel that was compiled in another process is loaded from the cache.
    """
    function.__name__ = function.__qualname__ = name
    return function


def kernel(function: Callable[..., Any] | None = None, *, name: str | None = None, parallel: bool = False,
           inline: bool = False) -> Any:
    """Compile a kernel, cache it on disk, and release the GIL while it runs.

    Parameters
    ----------
    function : callable
        The loop.
    name : str, optional
        As for `named`, where the function is made more than once.
    parallel : bool
        Whether `numba.prange` runs on threads. Only prange does: array expressions stay serial.
    """
    if function is None:
        return functools.partial(kernel, name=name, parallel=parallel, inline=inline)
    if name is not None:
        named(name, function)
    only_prange: Any = {"prange": True, "comprehension": False, "reduction": False, "inplace_binop": False,
                        "setitem": False, "numpy": False, "stencil": False}
    dispatcher: Any = numba.njit(error_model="numpy", fastmath=set(KERNEL_FASTMATH), nogil=True,
                                 forceinline=inline, parallel=only_prange if parallel else False)(function)
    if cache_folder() is not None:
        dispatcher._cache = kernel_cache(function)
    return dispatcher


def switch(name: str, functions: Sequence[Callable[..., Any]]) -> Any:
    """A compiled function of two or more arrays that calls the function with a given code.

    ``switch("f", [f0, f1, f2])(code, x, y)`` is ``[f0, f1, f2][code](x, y)`` in compiled code: a chain of comparisons
    whose branches are known when it is compiled, so that each loop is inlined and vectorised. The last function takes
    every code that no other has.
    """
    head = functions[0]
    if len(functions) == 1:
        def choose(code: int, *arrays: Any) -> Any:
            return head(*arrays)
    else:
        tail = switch(f"{name}_", functions[1:])

        def choose(code: int, *arrays: Any) -> Any:
            if code == 0:
                return head(*arrays)
            return tail(code - 1, *arrays)
    return numba.njit(error_model="numpy", fastmath=set(KERNEL_FASTMATH))(named(name, choose))


@functools.cache
def package_digest() -> str:
    """A digest of every source file of fastbp: compiled kernels belong to exactly this text."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """The folder of the compiled kernels, or None (with one warning) where it cannot be written.

    It is ``fastbp/<digest of the package>`` in NUMBA_CACHE_DIR where that is set, else in the user's cache folder.
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

    def __init__(self, line: int) -> None:
        self._line = line

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return package_digest()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_PackageLocator":
        return cls(py_func.__code__.co_firstlineno)


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes: Any = (_PackageLocator,)


def kernel_cache(function: Callable[..., Any]) -> FunctionCache:
    """Where compiled versions of a function are kept on disk."""
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
