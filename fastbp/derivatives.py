"""Users' formulas: the records that hold them, how they are compiled, and how their derivatives are checked."""

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from .compilation import formula

#: Points on both sides of 0, small, moderate and large, and none where formulas are likely to have a kink.
POINTS = tuple(sign * size for size in (0.013, 0.11, 0.37, 0.81, 1.27, 2.3, 4.1, 9.7) for sign in (-1.0, 1.0))

#: Half the distance of a finite difference; how far two one-sided ones may differ where there is no kink, and how far
#: the derivative may be off, for values of about 1.
STEP, KINK, TOLERANCE = 1e-5, 1e-3, 1e-5

#: What a formula has to compile for.
FLOATS = (np.float32, np.float64)


class Record:
    """What an activation and a loss have in common: a name, and whether fastbp or a user made it.

    There is one of each, which copies share, so that its kernels are compiled once.
    """

    name: str
    symbol: str                    # its part in the names of compiled functions
    given: tuple[Any, ...] | None  # what a user's own was made of

    @property
    def is_cached(self) -> bool:
        """Whether compiled code of it may be kept on disk."""
        return self.given is None

    def __str__(self) -> str:
        return self.symbol

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def compiled_formula(name: str, function: Any) -> Any:
    """A user's function as kernels inline it; `name` is the argument that held it.

    Raises
    ------
    TypeError
        If it is not a function.
    """
    if isinstance(function, Dispatcher):
        function = function.py_func
    if not callable(function) or not hasattr(function, "__code__"):
        raise TypeError(f"{name}: expected a function of numbers, compiled by numba.njit or not, found {function!r}")
    return formula(function)


def value_of(name: str, compiled: Any, dtype: type, arguments: Sequence[float]) -> float:
    """What a formula gives for some numbers of a dtype.

    Raises
    ------
    TypeError
        If it does not compile, or gives anything but a real number.
    ValueError
        If that is not finite.
    """
    try:
        value = compiled(*(dtype(argument) for argument in arguments))
    except (NumbaError, TypeError) as error:
        raise TypeError(f"{name}: Numba cannot compile it for {len(arguments)} numbers of {dtype.__name__}: "
                        f"{error}") from None
    if isinstance(value, complex) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a real number as its value, found {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected finite values, found {value} at {_shown(arguments)}")
    return float(value)


def require_derivative(names: tuple[str, str], value: Callable[[float], float], derivative: Callable[[float], float],
                       points: Iterable[float], others: Sequence[float] = ()) -> None:
    """Refuse a derivative that is not that of the value; points where the value has a kink are passed over.

    others : the arguments beside the one that is varied, for the message.

    Raises
    ------
    ValueError
        That names the function, the point, and both numbers.
    """
    for x in points:
        h = STEP * max(1.0, abs(x))
        below, here, above = value(x - h), value(x), value(x + h)
        left, right = (here - below) / h, (above - here) / h
        size = max(1.0, abs(here), abs(left), abs(right))
        if abs(right - left) > KINK * size:
            continue
        found, expected = derivative(x), (above - below) / (2 * h)
        if abs(found - expected) > TOLERANCE * size:
            raise ValueError(f"{names[1]}: expected the derivative of {names[0]}, which is {expected:.6g} at "
                             f"{_shown((x, *others))} by finite differences, found {found:.6g}")


def _shown(arguments: Sequence[float]) -> str:
    return ", ".join(f"{argument:g}" for argument in arguments)


def require_new_name(kind: str, name: Any, built_in: Iterable[str]) -> None:
    """Refuse what is not a name, or one that fastbp uses itself."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected the name of the {kind}, found {name!r}")
    if not name.strip() or name in built_in:
        raise ValueError(f"name: expected a name that is not empty and none of {', '.join(built_in)}, found {name!r}")
