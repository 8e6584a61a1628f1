"""How fastbp's functions are compiled: a few decorators.

`formula` is for the scalar equations. `inlined` is for functions that run as they are in Python, and are compiled where
kernels call them. `kernel` is for what Python calls, `subkernel` and `panel_loop` for loops within kernels. Nothing is
compiled at import: a kernel is compiled at its first call for a dtype, and then stored on disk.
"""

import functools
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from llvmlite.binding import ffi, newpassmanagers
from numba.core import compiler, event
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock

from .cache import cache_folder, kernel_cache
from .interrupts import compiling, safe_point

_config: Any = numba.config

# A named subset of fast-math: the full set lets LLVM assume that NaN does not exist, and isfinite(nan) becomes true.
KERNEL_FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})

# The formulas must not be reassociated: x - n*hi - n*lo with hi + lo = ln 2 in two parts is exact only in that order.
FORMULA_FASTMATH = frozenset({"contract"})


class _Library(JITCodeLibrary):
    """Compiled code, whose functions LLVM optimises one by one before it optimises the whole.

    Numba makes passes, and a builder of them, for declarations too, which LLVM leaves as they are. A builder leaves
    1.5 kB behind: together 30 kB of a small kernel.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout
        for function in module.functions:
            if not function.is_declaration:
                passes, builder = self._codegen._function_pass_manager()
                passes.run(function, builder)


class _LoopLibrary(_Library):
    """The code of a function that only kernels call, without machine code of its own.

    Machine code takes as long to make as the optimised code that kernels contain.
    """

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0  # no machine code

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: without machine code the environment has no place, and without exceptions it is not needed."""


class _PartLibrary(_LoopLibrary):
    """A `_LoopLibrary` without the last of Numba's three pipelines of LLVM.

    The kernels that contain the function go through all three themselves. A first training compiles a tenth less, and
    no step takes longer. Functions whose inlining is forced need all three: without the last one tanh and relu of
    panels took four times as long, and one-sample steps of 2-8-1 a twentieth longer.
    """

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(
            loop_vectorize=self._codegen._loopvect, slp_vectorize=False, opt=self._codegen._opt_level, cost="cheap")
        passes.run(self._final_module, builder)


class OnePipeline(JITCodeLibrary):
    """Code that goes through the last of Numba's three pipelines of LLVM alone, as users' own functions do.

    Each pipeline leaves its builder behind: a custom activation 28 kB more. Its kernels were as fast without the other
    two, with the same bits.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        safe_point()
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class _OwnLoopLibrary(OnePipeline, _LoopLibrary):
    """A `_LoopLibrary` of a user's own function."""


class KernelLibrary(_Library):
    """The code of a kernel, with safe points for Ctrl-C before each of LLVM's long calls."""

    def _optimize_final_module(self) -> None:
        safe_point()
        super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        safe_point()
        super()._finalize_final_module()


#: LLVM's attribute for vectors of 512 bits where the processor has them. For Intel's LLVM would take 256.
_WIDE_VECTORS = '"prefer-vector-width"="512"'


class WideVectors(JITCodeLibrary):
    """Code whose loops take the widest vectors that the processor has, as register tiles do.

    exp in panels took 0.65 of the time, and an update of Adam 0.85 (Emerald Rapids).
    """

    def add_ir_module(self, module: Any) -> None:
        for function in module.functions:
            if not function.is_declaration:
                set.add(function.attributes, _WIDE_VECTORS)  # llvmlite's own method knows no attributes with a value
        super().add_ir_module(module)


class _WideLibrary(WideVectors, KernelLibrary):
    """Code of a kernel that goes over whole panels or many parameters."""


class KernelCompiler(compiler.Compiler):
    """Compiles into a library of a class of fastbp's own."""

    _library: Any = KernelLibrary

    def compile_extra(self, function: Any) -> Any:
        self.state.library = self._library(self.state.targetctx.codegen(), function.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(function)


class WideCompiler(KernelCompiler):
    _library = _WideLibrary


class _LoopCompiler(KernelCompiler):
    _library = _LoopLibrary


class _OwnLoopCompiler(KernelCompiler):
    _library = _OwnLoopLibrary


class _PartCompiler(KernelCompiler):
    _library = _PartLibrary


class _PanelCompiler(_LoopCompiler):
    """Compiles for arrays that do not overlap."""

    def compile_extra(self, function: Any) -> Any:
        self.state.flags.noalias = True
        return super().compile_extra(function)


class _OwnPanelCompiler(_PanelCompiler):
    _library = _OwnLoopLibrary


class _Refused:
    """What stands for compiled code where Numba is told not to compile: using it is an error that says so."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any, **options: Any) -> None:
        require_compiler()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        require_compiler()


def require_compiler() -> None:
    """Check that Numba compiles.

    Raises
    ------
    RuntimeError
        If NUMBA_DISABLE_JIT is set.
    """
    if _config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set, and fastbp's kernels cannot run as Python, because they call "
                           "each other by the addresses of machine code; unset it before Python starts")


def _njit(**options: Any) -> Any:
    make: Any = numba.njit  # its declared types lack some of the options
    return _Refused if _config.DISABLE_JIT else make(**options)


_LOOP: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _LoopCompiler}
_OWN_LOOP: Any = {**_LOOP, "pipeline_class": _OwnLoopCompiler}
_PANEL: Any = {**_LOOP, "pipeline_class": _PanelCompiler}
_OWN_PANEL: Any = {**_LOOP, "pipeline_class": _OwnPanelCompiler}
_PART: Any = {**_LOOP, "pipeline_class": _PartCompiler}

inlined = numba.extending.register_jitable(**_PART)

#: How formulas are compiled that are written as overloads of a function.
OVERLOAD: Any = {"error_model": "numpy", "fastmath": set(FORMULA_FASTMATH), **_LOOP}


def formula(function: Callable[..., Any], compiler_class: Any = compiler.Compiler) -> Any:
    """Compile a scalar equation; kernels inline it, and it may be called from Python.

    Inlining is forced, because a loop over a call does not vectorise (gelu took 6 ns per element instead of 0.5).

    compiler_class : of Numba, or one that keeps less; see `engines`.
    """
    return _compiled_undisturbed(_njit(error_model="numpy", fastmath=set(FORMULA_FASTMATH), forceinline=True,
                                       no_cfunc_wrapper=True, pipeline_class=compiler_class)(function))


def own_formula(function: Callable[..., Any]) -> Any:
    """Compile a user's own equation as `formula` does, for kernels alone: without machine code of its own."""
    return _part_of_kernels(function, FORMULA_FASTMATH, _OWN_LOOP, inline=True)


def subkernel(function: Callable[..., Any] | None = None, *, inline: bool = False) -> Any:
    """Compile a loop that only kernels call: it becomes a part of them, also on disk.

    Without wrappers for Python and files of its own on disk it compiles a tenth faster.
    """
    if function is None:
        return functools.partial(subkernel, inline=inline)
    return _part_of_kernels(function, KERNEL_FASTMATH, _LOOP if inline else _PART, inline)


def panel_loop(function: Callable[..., Any]) -> Any:
    """Compile a loop over a panel into what calls it, where the number of samples is a constant.

    Its arrays must not overlap. With tests whether they do, before every row, the loss of 100 classes took 2.6 times as
    long, and bits of panels of one sample could depend on addresses. Inlining is forced, which tells LLVM that panels
    are whole vectors; without it relu took three times as long. Sums over units are not reassociated.
    """
    return _part_of_kernels(function, KERNEL_FASTMATH - {"reassoc"}, _PANEL, inline=True)


def own_panel_loop(function: Callable[..., Any]) -> Any:
    """Compile a `panel_loop` over a user's own equation."""
    return _part_of_kernels(function, KERNEL_FASTMATH - {"reassoc"}, _OWN_PANEL, inline=True)


def _part_of_kernels(function: Callable[..., Any], fastmath: frozenset[str], options: Any, inline: bool) -> Any:
    return _njit(error_model="numpy", fastmath=set(fastmath), nogil=True, forceinline=inline, **options)(function)


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that is made more than once a unique name in the package, before it is compiled.

    Compiled symbols and cached files have this name. Functions with the same name could be taken for each other when a
    kernel that was compiled in another process is loaded from the cache.
    """
    function.__name__ = function.__qualname__ = name
    return function


def kernel(function: Callable[..., Any] | None = None, *, name: str | None = None, parallel: bool = False,
           inline: bool = False, at_calls: Callable[..., bool] | None = None) -> Any:
    """Compile a kernel, which Python and other kernels call; it releases the GIL when Python calls it.

    It is compiled at the first call with arguments of new types, and stored on disk where there is a kernel cache.

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
        Examines each call in compiled code before the caller is compiled, and may refuse it: (call, caller, function)
        of Numba's IR. It returns False, because Numba uses it to decide whether to inline the function's Python code.
    """
    if function is None:
        return functools.partial(kernel, name=name, parallel=parallel, inline=inline, at_calls=at_calls)
    if name is not None:
        named(name, function)
    only_prange: Any = {"prange": True, "comprehension": False, "reduction": False, "inplace_binop": False,
                        "setitem": False, "numpy": False, "stencil": False}
    dispatcher = _njit(error_model="numpy", fastmath=set(KERNEL_FASTMATH), nogil=True, forceinline=inline,
                       inline=at_calls or "never", parallel=only_prange if parallel else False,
                       pipeline_class=KernelCompiler)(function)
    if not _config.DISABLE_JIT and cache_folder() is not None:
        dispatcher._cache = kernel_cache(function)
    return _compiled_undisturbed(dispatcher)


def _compiled_undisturbed(dispatcher: Any) -> Any:
    """The dispatcher, which compiles `undisturbed`."""
    if _config.DISABLE_JIT:
        return dispatcher
    compile_for = dispatcher.compile

    def compile_undisturbed(signature: Any) -> Any:
        with undisturbed():
            return compile_for(signature)

    dispatcher.compile = compile_undisturbed
    return dispatcher


@contextmanager
def undisturbed() -> Iterator[None]:
    """Switch the garbage collector off during a block that compiles, on one thread at a time; Ctrl-C waits.

    Compiling frees almost none of its objects, and the collector took a twentieth of its time. Code that compiles
    several functions should be one such block: after each block a collection would begin at once. Ctrl-C is heard
    before the next of Numba's passes, before LLVM's long calls, and at the end of the block; see `interrupts`.
    """
    require_compiler()
    with compiling(), _one_thread_at_a_time():
        _import_array_functions()
        _leave_no_passes()
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()


#: Seconds after which a thread that waits for another one to compile looks for Ctrl-C.
LOOK_EVERY = 0.05


@contextmanager
def _one_thread_at_a_time() -> Iterator[None]:
    """Hold Numba's lock, and hear Ctrl-C while waiting for it."""
    lock = global_compiler_lock._lock
    while not lock.acquire(timeout=LOOK_EVERY):
        safe_point()
    try:
        yield
    finally:
        lock.release()


class _SafePoints(event.Listener):
    """Hears Ctrl-C where Numba begins a function, or a pass over one; nothing outside of `undisturbed`."""

    def on_start(self, event: Any) -> None:
        safe_point()

    def on_end(self, event: Any) -> None:
        """Do nothing: a pass that has ended is followed by another, or by the end."""


for _kind in ("numba:compile", "numba:run_pass"):
    event.register(_kind, _SafePoints())


def _import_array_functions() -> None:
    """Import Numba's array functions, which every first kernel needs, without SciPy's linear algebra.

    Numba imports the latter only to test for a BLAS. That took half of the time of the first call of a process that
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


def _leave_no_passes() -> None:
    """Let llvmlite delete LLVM's pass managers.

    The method that does so stands behind an empty one in the order of their bases (llvmlite 0.46 to 0.50). Each left up
    to 75 kB behind, together 400 kB of a small kernel. Builders cannot be used twice instead: LLVM's callbacks of one
    run would stay in them.
    """
    for kind in (newpassmanagers.ModulePassManager, newpassmanagers.FunctionPassManager):
        if kind._dispose is ffi.ObjectRef._dispose:
            kind._dispose = newpassmanagers.NewPassManager._dispose
