"""Tuples in compiled code, whose lengths are constants: loops over them are unrolled."""

from collections.abc import Callable
from typing import Any

from .decorators import subkernel


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
