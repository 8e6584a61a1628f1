"""Functions that are compiled once for a dtype and then called by their address.

A kernel that calls another by name contains all of it, compiled and optimised once more. A function that is called by
address is compiled once: a network compiles only the activations and the loss that it uses, kernels stay small, and
which function runs is data. Such a function takes numbers, and pointers that must not overlap. It returns nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import ccallback, cgutils
from numba.core.registry import cpu_target
from numba.core.typing import signature
from numba.extending import intrinsic as _intrinsic

from .cache import cache_folder, kernel_cache
from .decorators import FORMULA_FASTMATH, KERNEL_FASTMATH, KernelCompiler, WideCompiler, named, undisturbed
from .engines import LastingCompiler, forget_constants

INTEGER = types.int64

#: A function that makes another, and its arguments; see `address_of`.
Piece = tuple[Any, ...]

_ccallback: Any = ccallback
intrinsic: Any = _intrinsic  # the intrinsics take fewer arguments than the functions that describe them


def pointer_type(dtype: Any) -> Any:
    """The type of a pointer to numbers of a dtype."""
    return types.CPointer(numba.from_dtype(np.dtype(dtype)))


#: What `in_order` was called for.
_IN_ORDER: set[Callable[..., Any]] = set()


def in_order(make: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the function that `make` describes with the sums in the order in which they are written."""
    _IN_ORDER.add(make)
    return make


#: What `short_loops` was called for.
_SHORT_LOOPS: set[Callable[..., Any]] = set()


def short_loops(make: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the function that `make` describes with vectors that LLVM prefers; its loops do not fill wider ones."""
    _SHORT_LOOPS.add(make)
    return make


#: The addresses of the functions that were compiled, or read from the cache, in this process.
_ADDRESSES: dict[Piece, int] = {}


def address_of(make: Callable[..., Any], *settings: Any) -> int:
    """The address of the compiled function that ``make(*settings)`` describes, compiled or read from the cache once.

    Parameters
    ----------
    make : callable
        Returns the function, and the types of its arguments.
    settings : hashable
        The arguments of `make`. They become part of the function's name, and so of its place in the cache. With one
        whose `is_cached` is false the function is not stored on disk.
    """
    return addresses_of([(make, *settings)])[0]


def addresses_of(pieces: Sequence[Piece]) -> tuple[int, ...]:
    """`address_of` of several functions.

    Those that are new are compiled before the first address is asked for, with which LLVM closes pages of memory:
    users' own functions share them.
    """
    new = [piece for piece in dict.fromkeys(pieces) if piece not in _ADDRESSES]
    if new:
        with undisturbed():
            compiled = {piece: compiled_function(*piece) for piece in new}
            if not all(_is_stored(piece[1:]) for piece in new):
                forget_constants()
            _ADDRESSES.update({piece: _address_in(found, piece[1:]) for piece, found in compiled.items()})
    return tuple(_ADDRESSES[piece] for piece in pieces)


def _address_in(compiled: Any, settings: tuple[Any, ...]) -> int:
    """The address of a compiled function, which stays there."""
    # The function itself, not the C function around it, which passes all arguments once more.
    address = int(compiled._library.get_pointer_to_function(compiled.native_name.removeprefix("cfunc.")))
    if address == 0:
        raise RuntimeError(f"fastbp does not find the machine code of {compiled.native_name!r} as Numba "
                           f"{numba.__version__} compiles it; take another release of Numba")
    if _is_stored(settings):
        _KEPT.append(compiled)
    _SETTINGS[address] = settings
    return address


def compiled_function(make: Callable[..., Any], *settings: Any) -> Any:
    """What Numba makes of the function that ``make(*settings)`` describes.

    Of one that is not stored on disk, of which a process may compile any number, only the machine code stays for ever.
    """
    function, arguments = make(*settings)
    named(_symbol(make.__name__, settings), function)
    fastmath = FORMULA_FASTMATH if make in _IN_ORDER else KERNEL_FASTMATH
    options = {"error_model": "numpy", "fastmath": set(fastmath)}
    compiled = _ccallback.CFunc(function, (tuple(arguments), types.void), locals={}, options=options)
    compiler = KernelCompiler if make in _SHORT_LOOPS else WideCompiler
    compiled._compiler = _Compiler(function, compiled._targetdescr, options, {},
                                   compiler if _is_stored(settings) else LastingCompiler)
    if cache_folder() is not None and _is_stored(settings):
        compiled._cache = kernel_cache(function)
    compiled.compile()
    return compiled


def _is_stored(settings: tuple[Any, ...]) -> bool:
    """Whether a function with these settings is stored on disk, where there is a kernel cache."""
    return all(getattr(setting, "is_cached", True) for setting in settings)


def is_cached(make: Callable[..., Any], *settings: Any) -> bool:
    """Whether the function that ``make(*settings)`` describes lies in the kernel cache, compiled for this processor.

    Nothing is compiled for the answer.
    """
    if cache_folder() is None:
        return False
    function, arguments = make(*settings)
    cache = kernel_cache(named(_symbol(make.__name__, settings), function))
    return cache.is_stored(signature(types.void, *arguments), cpu_target.target_context)


def settings_at(address: int) -> tuple[Any, ...]:
    """The settings of the function whose address this is, as `address_of` gave it in this process."""
    return _SETTINGS[address]


#: Longer names are shortened: the cache makes file names of them, which may have 255 bytes.
LONGEST_SYMBOL = 120


def _symbol(name: str, settings: tuple[Any, ...]) -> str:
    """The name of a function that is compiled for settings, of which there may be one for each layer."""
    whole = "_".join([name, *map(str, settings)])
    if len(whole.encode()) <= LONGEST_SYMBOL:
        return whole
    return f"{name}_{hashlib.sha256(whole.encode()).hexdigest()}"


class _Compiler(_ccallback._CFuncCompiler):
    """Compiles without a wrapper for C, and for pointers that do not overlap: loops vectorise without a test."""

    def _customize_flags(self, flags: Any) -> Any:
        flags = super()._customize_flags(flags)
        flags.noalias = flags.no_cfunc_wrapper = True
        return flags


_KEPT: list[Any] = []  # what was compiled, but for functions that are not stored on disk
_SETTINGS: dict[int, tuple[Any, ...]] = {}


@intrinsic
def invoke(typing_context: Any, address: Any, arguments: Any) -> Any:
    """Call the function at an address with a tuple of pointers, arrays (their first element) and numbers."""
    signature = types.void(address, arguments)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        passed = []
        for place, kind in enumerate(arguments):
            value = builder.extract_value(values[1], place)
            if isinstance(kind, types.Array):
                value = context.make_array(kind)(context, builder, value).data
            passed.append(value)
        # Numba's convention: a status is returned, and pointers to a result and an exception come first, here unused.
        anything = ir.IntType(8).as_pointer()
        places = [cgutils.alloca_once(builder, anything), cgutils.alloca_once(builder, anything)]
        function_type = ir.FunctionType(ir.IntType(32), [value.type for value in [*places, *passed]])
        _require_convention(context, arguments, function_type)
        builder.call(builder.inttoptr(values[0], function_type.as_pointer()), [*places, *passed])
        return context.get_dummy_value()

    return signature, codegen


def _require_convention(context: Any, arguments: Any, function_type: Any) -> None:
    """Check that Numba passes arguments and returns a status as `invoke` does: another way would end the process.

    Raises
    ------
    RuntimeError
        If this release of Numba does so in another way.
    """
    kinds = [types.CPointer(kind.dtype) if isinstance(kind, types.Array) else kind for kind in arguments]
    compiled = context.call_conv.get_function_type(types.void, kinds)
    found, expected = ([_in_words(part) for part in (one.return_type, *one.args)] for one in (compiled, function_type))
    if found != expected:
        raise RuntimeError(f"fastbp cannot call by address what Numba {numba.__version__} compiles: expected a result "
                           f"and arguments {', '.join(expected)}, found {', '.join(found)}; take another release of "
                           f"Numba")


def _in_words(kind: Any) -> str:
    """An LLVM type in words; pointers are all alike."""
    return "pointer" if isinstance(kind, ir.PointerType) else str(kind)


@intrinsic
def pointer(typing_context: Any, base: Any, offset: Any) -> Any:
    """A pointer to the element at an offset from an array's first one or from a pointer."""
    signature = types.CPointer(base.dtype)(base, INTEGER)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = values[0]
        if isinstance(base, types.Array):
            data = context.make_array(base)(context, builder, data).data
        return builder.gep(data, [values[1]])

    return signature, codegen


@intrinsic
def pointer_to(typing_context: Any, address: Any, number: Any) -> Any:
    """An address as a pointer to numbers of a type, such as np.float32."""
    signature = types.CPointer(number.instance_type)(address, number)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return signature, codegen


@intrinsic
def address_in_memory(typing_context: Any, base: Any) -> Any:
    """The address of an array's first element, or a pointer's, as a number."""
    signature = types.int64(base)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = values[0]
        if isinstance(base, types.Array):
            data = context.make_array(base)(context, builder, data).data
        return builder.ptrtoint(data, ir.IntType(64))

    return signature, codegen


@intrinsic(prefer_literal=True)
def local_numbers(typing_context: Any, like: Any, count: Any) -> Any:
    """A pointer, of the type of another, to memory for `count` numbers, a literal, until the function returns."""
    signature = types.CPointer(like.dtype)(like, count)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = context.get_value_type(signature.return_type.dtype)
        with builder.goto_entry_block():  # `cgutils.alloca_once` would fill it with zeros, which takes 1 µs
            memory = builder.alloca(ir.ArrayType(number, count.literal_value))
        memory.align = 64
        return builder.bitcast(memory, number.as_pointer())

    return signature, codegen
