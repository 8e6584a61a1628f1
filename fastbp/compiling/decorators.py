"""How fastbp's functions are compiled: a few decorators.

`formula` is for the scalar equations. `inlined` is for functions that run as they are in Python, and are compiled where
kernels call them. `kernel` is for what Python calls, `subkernel` and `panel_loop` for loops within kernels. Nothing is
compiled at import: a kernel is compiled at its first call for a dtype, and then kept on disk.
"""

import functools
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock

from .cache import cache_folder, kernel_cache

# A named subset of fast-math: the full set lets LLVM assume that NaN does not exist, and isfinite(nan) becomes true.
KERNEL_FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})

# The formulas must not be reassociated: x - n*hi - n*lo with hi + lo = ln 2 in two parts is exact only in that order.
FORMULA_FASTMATH = frozenset({"contract"})


class _LoopLibrary(JITCodeLibrary):
    """The code of a function that only kernels call, without machine code of its own, which takes as long as to
    optimise it.
    """

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0  # not there

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing: without machine code there is no place for it, and what raises no exceptions needs none."""


class _PartLibrary(_LoopLibrary):
    """The same, without the last of the three pipelines of LLVM through which Numba takes every function, and again
    where it is contained.

    A first training compiles a tenth less, and no step takes longer. What is inlined by force needs all three: without
    the last one tanh and relu of panels took four times as long, and one-sample steps of 2-8-1 a twentieth longer.
    """

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(
            loop_vectorize=self._codegen._loopvect, slp_vectorize=False, opt=self._codegen._opt_level, cost="cheap")
        passes.run(self._final_module, builder)


class _LoopCompiler(compiler.Compiler):
    _library: Any = _LoopLibrary

    def compile_extra(self, function: Any) -> Any:
        self.state.library = self._library(self.state.targetctx.codegen(), function.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(function)


class _PartCompiler(_LoopCompiler):
    _library = _PartLibrary


_njit: Any = numba.njit  # its declared types lack some of the options
_LOOP: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _LoopCompiler}
_PART: Any = {**_LOOP, "pipeline_class": _PartCompiler}

inlined = numba.extending.register_jitable(**_PART)

#: How formulas are compiled that are written as overloads of a function.
OVERLOAD: Any = {"error_model": "numpy", "fastmath": set(FORMULA_FASTMATH), **_LOOP}


def formula(function: Callable[..., Any]) -> Any:
    """Compile a scalar equation; kernels inline it, and it may be called from Python.

    Inlining is forced, because a loop over a call does not vectorise (gelu took 6 ns per element instead of 0.5).
    """
    return _njit(error_model="numpy", fastmath=set(FORMULA_FASTMATH), forceinline=True,
                 no_cfunc_wrapper=True)(function)


def subkernel(function: Callable[..., Any] | None = None, *, inline: bool = False) -> Any:
    """Compile a loop that only kernels call: it becomes a part of them, and of what is kept on disk of them.

    Without ways to call it from Python and a place of its own on disk it compiles a tenth faster.
    """
    if function is None:
        return functools.partial(subkernel, inline=inline)
    return _part_of_kernels(function, KERNEL_FASTMATH, inline)


def panel_loop(function: Callable[..., Any]) -> Any:
    """Compile a loop over a panel into what calls it, where the number of samples is a constant.

    Inlining is forced: only so LLVM knows that panels are whole vectors and do not overlap; relu took three times as
    long without. Sums over units are not reassociated: of panels of one sample LLVM makes two versions, in vectors
    where arrays are far enough apart and one by one where they are not, and bits would depend on where memory lies.
    """
    return _part_of_kernels(function, KERNEL_FASTMATH - {"reassoc"}, inline=True)


def _part_of_kernels(function: Callable[..., Any], fastmath: frozenset[str], inline: bool) -> Any:
    return _njit(error_model="numpy", fastmath=set(fastmath), nogil=True, forceinline=inline,
                 **(_LOOP if inline else _PART))(function)


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that is made more than once a name of its own in the package, before it is compiled.

    Compiled symbols and cached files carry this name. Two functions that share it could be taken for each other when a
    kernel that was compiled in another process is loaded from the cache.
    """
    function.__name__ = function.__qualname__ = name
    return function


def kernel(function: Callable[..., Any] | None = None, *, name: str | None = None, parallel: bool = False,
           inline: bool = False, at_calls: Callable[..., bool] | None = None) -> Any:
    """A kernel, which is called from Python and from other kernels; it releases the GIL when Python calls it.

    It is compiled at the first call with arguments of new types, and kept on disk where there is a kernel cache.

    Parameters
    ----------
    function : callable
        The loop.
    name : str, optional
        As for `named`, where the function is made more than once.
    parallel : bool
        Whether `numba.prange` runs on threads. Only prange does: array expressions stay serial.
    inline : bool
        Whether LLVM has to inline it into what calls it.
    at_calls : callable, optional
        What looks at each call in compiled code before that is compiled, and may refuse it: (call, caller, function) of
        Numba's IR. It returns False: Numba asks it whether to inline the function's Python code.
    """
    if function is None:
        return functools.partial(kernel, name=name, parallel=parallel, inline=inline, at_calls=at_calls)
    if name is not None:
        named(name, function)
    only_prange: Any = {"prange": True, "comprehension": False, "reduction": False, "inplace_binop": False,
                        "setitem": False, "numpy": False, "stencil": False}
    dispatcher = _njit(error_model="numpy", fastmath=set(KERNEL_FASTMATH), nogil=True, forceinline=inline,
                       inline=at_calls or "never", parallel=only_prange if parallel else False)(function)
    if cache_folder() is not None:
        dispatcher._cache = kernel_cache(function)
    compile_for = dispatcher.compile

    def compile_undisturbed(signature: Any) -> Any:
        with undisturbed():
            return compile_for(signature)

    dispatcher.compile = compile_undisturbed
    return dispatcher


@contextmanager
def undisturbed() -> Iterator[None]:
    """Garbage is not collected meanwhile: of compiling, which keeps nearly all that it makes, that took a twentieth.

    What compiles several functions should be so as a whole: after each, garbage would be collected at once.
    """
    with global_compiler_lock:  # one thread at a time
        _import_array_functions()
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()


def _import_array_functions() -> None:
    """Import Numba's array functions, which every first kernel needs, without SciPy's linear algebra.

    Numba imports that only to see whether there is a BLAS. It took half of the time of the first call of a process that
    finds its kernels in the cache.
    """
    if "numba.np.arraymath" in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    linalg: Any = importlib.import_module("numba.np.linalg")
    ensure_blas, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        array_functions: Any = importlib.import_module("numba.np.arraymath")
        array_functions.ensure_blas = ensure_blas
    finally:
        linalg.ensure_blas = ensure_blas
