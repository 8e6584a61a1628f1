"""The formulas as functions of the GPU, and the access to memory that kernels need and Numba lacks.

`device_function` takes a function that is compiled for the processor, and compiles the same source for the GPU: so each
equation stands once. On the GPU elementary functions are CUDA's own, which are as exact as those in `elementary`.

In the simulator kernels are Python. Scalar formulas are then the compiled ones; loops over panels, which cannot be
called from Python, run as they are written.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import is_jitted

from ...compiling.inspection import runs_from_python
from ...compiling.interrupts import compiling, safe_point
from ...formulas import elementary
from .driver import SIMULATED, FewBlocksWarning, cuda, event, intrinsic

#: As many blocks as Numba takes for many.
MANY_BLOCKS = 128

#: The alignment of shared memory from which `quad` reads, in bytes; the simulator has none.
ALIGNMENT = None if SIMULATED else 16


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function of the GPU that kernels inline."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


@contextmanager
def few_blocks() -> Iterator[None]:
    """Suppress Numba's warning of launches of few blocks: a small network has no more."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FewBlocksWarning)
        yield


if not SIMULATED:
    class _SafePoints(event.Listener):
        """Hears Ctrl-C where Numba begins a pass over a function for the GPU; see `compiling.interrupts`."""

        def on_start(self, event: Any) -> None:
            safe_point()

        def on_end(self, event: Any) -> None:
            """Do nothing: a pass that has ended is followed by another, or by the end."""

    event.register("numba-cuda:run_pass", _SafePoints())


class Kernel:
    """A kernel that is compiled when it is first launched: kernel[blocks, threads, stream](*arguments).

    Parameters
    ----------
    function : callable
    is_cooperative : bool
        Whether blocks wait for each other.
    options : of `cuda.jit`
    """

    def __init__(self, function: Callable[..., Any], is_cooperative: bool = False, **options: Any) -> None:
        self.py_func, self.options, self.compiled = function, options, cuda.jit(function, **options)
        compile_version = self.compiled.compile

        def compile_heard(signature: Any) -> Any:
            with compiling():
                version = compile_version(signature)
                if is_cooperative:
                    version.cooperative = True
                safe_point()  # of what there was while other programs compiled
            return version

        self.compiled.compile = compile_heard  # launches call it for new types of arguments

    def __getitem__(self, configuration: tuple[Any, ...]) -> Any:
        """A launch, which is not kept here, so that its stream lives no longer than those who launch in it.

        It is made for MANY_BLOCKS, of which Numba does not warn: to suppress a warning is not safe between threads.
        """
        blocks, threads, *stream = configuration
        configure = type(self.compiled).configure.__wrapped__
        launch = configure(self.compiled, MANY_BLOCKS, threads, *stream)
        launch.griddim = (*blocks, 1, 1)[:3] if isinstance(blocks, tuple) else (blocks, 1, 1)
        return launch

    def compile(self, arguments: tuple[Any, ...]) -> Any:
        """What is launched with arguments of these types."""
        return self.compiled.compile(tuple(self.compiled.typeof_pyval(argument) for argument in arguments))

    def most_blocks(self, arguments: tuple[Any, ...], threads: int) -> int:
        """How many blocks the GPU runs at the same time, if it runs nothing else."""
        return int(self.compile(arguments).max_cooperative_grid_blocks(threads))


def kernel(function: Any, **options: Any) -> Any:
    """Compile a kernel, when it is first launched; options : of `Kernel`."""
    return cuda.jit(function) if SIMULATED else Kernel(function, **options)


def cooperative_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel whose blocks wait for each other, when it is first launched.

    A launch of more blocks than run at the same time is refused, whatever the types of its arguments: they would wait
    for ever.
    """
    return kernel(function, is_cooperative=True)


@functools.cache
def device_function(function: Any) -> Any:
    """A function that is compiled for the processor, for the GPU, with all that it calls.

    Parameters
    ----------
    function : compiled function
        A formula or a loop over a panel, of fastbp or of a user.
    """
    if SIMULATED:
        return function if runs_from_python(function) else _rebuilt(function.py_func)
    return _on_the_gpu().get(function) or inlined(_rebuilt(function.py_func))


def _rebuilt(function: FunctionType) -> FunctionType:
    """A copy of a Python function that calls the GPU's functions in place of the processor's."""
    def replaced(value: Any) -> Any:
        if value is np and not SIMULATED:
            return _numpy_on_the_gpu()
        return device_function(value) if is_jitted(value) else value

    named = function.__code__.co_names
    scope = {name: replaced(value) for name, value in function.__globals__.items() if name in named}
    closure = tuple(CellType(replaced(cell.cell_contents)) for cell in function.__closure__ or ())
    return FunctionType(function.__code__, scope, function.__name__, function.__defaults__, closure)


@functools.cache
def _on_the_gpu() -> dict[Any, Any]:
    """The table from the processor's elementary functions to CUDA's."""
    erfcx, erfcxf = cuda.libdevice.erfcx, cuda.libdevice.erfcxf

    def scaled_complementary_error_function(x: Any) -> Any:
        T = type(x)
        is_float64 = T(1e-200) > T(0.0)  # known while compiling
        return T(erfcx(np.float64(x))) if is_float64 else T(erfcxf(np.float32(x)))

    own = {getattr(elementary, name): getattr(math, name) for name in ("exp", "expm1", "log", "log1p", "tanh")}
    return {**own, elementary.is_finite: math.isfinite, elementary.erfcx: inlined(scaled_complementary_error_function)}


@functools.cache
def _numpy_on_the_gpu() -> ModuleType:
    """NumPy for users' formulas, with other functions in place of those that numba.cuda does not compile."""
    def sign(x: Any) -> Any:
        T = type(x)
        return T(x > T(0)) - T(x < T(0))

    def where(condition: Any, x: Any, y: Any) -> Any:
        return x if condition else y

    own = ModuleType("numpy")
    own.__dict__.update(np.__dict__)
    for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh"):
        setattr(own, name, getattr(math, name))
    own.__dict__.update(arctan=math.atan, abs=abs, absolute=abs, sign=inlined(sign), where=inlined(where))
    return own


if SIMULATED:
    def divided(p: Any, n: Any) -> Any:
        """p // n and p % n."""
        return p // n, p % n

    def chosen(is_first: Any, first: Any, second: Any) -> Any:
        """One of two arrays of the same shape."""
        return first if is_first else second

    def seen(array: Any, p: Any) -> Any:
        """The p-th number of an array without gaps, as other blocks have written it."""
        return array[p]

    def item(array: Any, p: Any) -> Any:
        """The p-th number of an array without gaps."""
        return array.reshape(-1)[p]

    def quad(array: Any, p: Any) -> Any:
        """Four numbers of an array without gaps, from the p-th on."""
        return tuple(array.reshape(-1)[p : p + 4])

    def put(array: Any, p: Any, number: Any) -> None:
        """Write the p-th number of an array without gaps."""
        array.reshape(-1)[p] = number

    def put_quad(array: Any, p: Any, four: Any) -> None:
        """Write four numbers of an array without gaps, from the p-th on."""
        array.reshape(-1)[p : p + 4] = four
else:
    def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, Any]:
        """The address of the p-th number of an array, and the number's type."""
        memory = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.gep(memory.data, [arguments[1]]), context.get_value_type(signature.args[0].dtype)

    @intrinsic
    def divided(typing_context: Any, p: Any, n: Any) -> Any:
        """p // n and p % n of numbers from 0 to 2³¹ - 1; Numba's take 64 bits, and ten times as many instructions."""
        result = types.UniTuple(types.int64, 2)

        def divide(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            narrow, wide = ir.IntType(32), ir.IntType(64)
            p, n = (builder.trunc(context.cast(builder, argument, kind, types.int64), narrow)
                    for argument, kind in zip(arguments, signature.args, strict=True))
            parts = [builder.zext(part(p, n), wide) for part in (builder.udiv, builder.urem)]
            return context.make_tuple(builder, result, parts)

        return result(p, n), divide

    @intrinsic
    def chosen(typing_context: Any, is_first: Any, first: Any, second: Any) -> Any:
        """One of two arrays of the same shape and layout: only its address is chosen, and takes registers."""
        def choose(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            one, other = (context.make_array(signature.args[1])(context, builder, array) for array in arguments[1:])
            one.data = builder.select(arguments[0], one.data, other.data)
            return one._getvalue()

        return first(types.boolean, first, first), choose

    @intrinsic
    def seen(typing_context: Any, array: Any, p: Any) -> Any:
        """The p-th number of an array of int32 without gaps, as other blocks have written it: a volatile load."""
        def load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place, number = _place(context, builder, signature, arguments)
            form = ir.FunctionType(number, [ir.IntType(64)])
            return builder.asm(form, "ld.volatile.s32 $0, [$1];", "=r,l,~{memory}",
                               [builder.ptrtoint(place, ir.IntType(64))], True)

        return array.dtype(array, p), load

    @intrinsic
    def item(typing_context: Any, array: Any, p: Any) -> Any:
        """The p-th number of an array without gaps. (For array[p] Numba first tests whether p is negative.)"""
        def load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(_place(context, builder, signature, arguments)[0])

        return array.dtype(array, p), load

    @intrinsic
    def quad(typing_context: Any, array: Any, p: Any) -> Any:
        """Four numbers of an array without gaps, from the p-th on, which is aligned, 16 bytes at a time."""
        result = types.UniTuple(array.dtype, 4)

        def load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place, number = _place(context, builder, signature, arguments)
            four = builder.load(builder.bitcast(place, ir.VectorType(number, 4).as_pointer()), align=16)
            numbers = [builder.extract_element(four, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return context.make_tuple(builder, result, numbers)

        return result(array, p), load

    @intrinsic
    def put(typing_context: Any, array: Any, p: Any, number: Any) -> Any:
        """Write the p-th number of an array without gaps; see `item`."""
        def store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[2], _place(context, builder, signature, arguments)[0])
            return context.get_dummy_value()

        return types.none(array, p, array.dtype), store

    @intrinsic
    def put_quad(typing_context: Any, array: Any, p: Any, four: Any) -> Any:
        """Write four numbers of an array without gaps, from the p-th on, 16 bytes at a time; see `quad`."""
        def store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place, number = _place(context, builder, signature, arguments)
            vector = ir.Constant(ir.VectorType(number, 4), ir.Undefined)
            for i in range(4):
                one = builder.extract_value(arguments[2], i)
                vector = builder.insert_element(vector, one, ir.Constant(ir.IntType(32), i))
            builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=16)
            return context.get_dummy_value()

        return types.none(array, p, four), store
