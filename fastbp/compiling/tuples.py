"""Tuples in compiled code, whose lengths are constants: loops over them are unrolled.

`numbers_at` and `write_numbers_at` are for numbers one after another in memory. `gathered` and `scattered` are for
elements that a function reads or writes, also on a GPU; they compile two functions for every element.
"""

from collections.abc import Callable
from typing import Any

from numba import types

from .addresses import intrinsic
from .decorators import subkernel


@intrinsic(prefer_literal=True)
def numbers_at(typing_context: Any, source: Any, count: Any, like: Any) -> Any:
    """The first `count` numbers of a tuple, or at a pointer, as a tuple of numbers of the type of `like`."""
    result, is_tuple = types.UniTuple(like, count.literal_value), isinstance(source, types.BaseTuple)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        numbers = []
        for k in range(count.literal_value):
            if is_tuple:
                number, kind = builder.extract_value(values[0], k), source.types[k]
            else:
                place = builder.gep(values[0], [context.get_constant(types.intp, k)])
                number, kind = builder.load(place), source.dtype
            numbers.append(context.cast(builder, number, kind, like))
        return context.make_tuple(builder, result, numbers)

    return result(source, count, like), codegen


@intrinsic
def write_numbers_at(typing_context: Any, numbers: Any, target: Any) -> Any:
    """Write the numbers of a tuple one after another at a pointer."""
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        for k, kind in enumerate(numbers.types):
            number = context.cast(builder, builder.extract_value(values[0], k), kind, target.dtype)
            builder.store(number, builder.gep(values[1], [context.get_constant(types.intp, k)]))
        return context.get_dummy_value()

    return types.void(numbers, target), codegen


def gathered(count: int, element: Callable[..., Any]) -> Any:
    """The compiled function (source, place) → (element(source, 0, place), …, element(source, count - 1, place))."""
    if count == 0:
        return subkernel(lambda source, place: (), inline=True)
    before, last = gathered(count - 1, element), count - 1

    def gather(source: Any, place: Any) -> Any:
        return (*before(source, place), element(source, last, place))

    return subkernel(gather, inline=True)


def scattered(count: int, store: Callable[..., Any]) -> Any:
    """The compiled function (values, target, place) that calls store(target, k, place, values[k]) for k < count."""
    if count == 0:
        return subkernel(lambda values, target, place: None, inline=True)
    before, last = scattered(count - 1, store), count - 1

    def scatter(values: Any, target: Any, place: Any) -> None:
        before(values, target, place)
        store(target, last, place, values[last])

    return subkernel(scatter, inline=True)
