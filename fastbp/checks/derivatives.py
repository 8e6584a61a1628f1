"""Users' formulas: compiled, and their derivatives checked by finite differences."""

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numba.core.errors import NumbaError
from numba.extending import is_jitted

from ..compiling.decorators import formula, require_compiler, undisturbed
from ..compiling.engines import PassingCompiler
from ..compiling.inspection import may_raise
from .messages import shown

#: Points on both sides of 0, small, moderate and large, and none where formulas are likely to have a kink.
POINTS = tuple(sign * size for size in (0.013, 0.11, 0.37, 0.81, 1.27, 2.3, 4.1, 9.7) for sign in (-1.0, 1.0))

#: Half the distance of a finite difference; how far two one-sided ones may differ where there is no kink, and how far
#: the derivative may be off, for values of about 1.
DIFFERENCE_STEP, KINK, TOLERANCE = 1e-5, 1e-3, 1e-5

#: What a formula has to compile for.
FLOATS = (np.float32, np.float64)


@undisturbed()
def checked_formulas(names: tuple[str, str], functions: tuple[Any, Any], others: Iterable[tuple[float, ...]] = ((),), *,
                     takes_value: bool = False) -> tuple[Any, Any]:
    """A user's function of a number, and its derivative, as Python; compiled here for the checks alone.

    names : the arguments that held them.
    others : the arguments that both take after the number, one tuple for each case to check.
    takes_value : whether the derivative takes the function's value as its last argument.

    Raises
    ------
    TypeError
        If they are not functions, do not compile, or give anything but real numbers.
    ValueError
        If a value is not finite, they may raise, or the second is not the derivative of the first.
    """
    require_compiler()
    own, own_prime = (compiled_formula(name, function) for name, function in zip(names, functions, strict=True))
    cases = list(others)

    def value(x: float, rest: tuple[float, ...], dtype: type = np.float64) -> float:
        return value_of(names[0], own, dtype, (x, *rest))

    def derivative(x: float, rest: tuple[float, ...], dtype: type = np.float64) -> float:
        last = (value(x, rest, dtype),) if takes_value else ()
        return value_of(names[1], own_prime, dtype, (x, *rest, *last))

    for rest in cases:
        for dtype in FLOATS:
            for x in POINTS:
                value(x, rest, dtype)
                derivative(x, rest, dtype)
    require_no_raise(names[0], own)
    require_no_raise(names[1], own_prime)
    for rest in cases:
        require_derivative(names, value, derivative, rest)
    return own.py_func, own_prime.py_func


def compiled_formula(name: str, function: Any) -> Any:
    """A user's function, compiled for the checks.

    name : the argument that held it.

    Raises
    ------
    TypeError
        If it is not a function.
    """
    if is_jitted(function):
        function = function.py_func
    if not callable(function) or not hasattr(function, "__code__"):
        raise TypeError(f"{name}: expected a function of numbers, compiled by numba.njit or not, found "
                        f"{shown(function)}")
    return formula(function, PassingCompiler)


def value_of(name: str, compiled: Any, dtype: type, arguments: Sequence[float]) -> float:
    """The value of a formula for numbers of a dtype.

    Raises
    ------
    TypeError
        If it does not compile, or gives anything but a real number.
    ValueError
        If that is not finite, or it raises.
    """
    try:
        value = compiled(*(dtype(argument) for argument in arguments))
    except (NumbaError, TypeError) as error:
        raise TypeError(f"{name}: Numba cannot compile it for {len(arguments)} numbers of {dtype.__name__}: "
                        f"{error}") from None
    except Exception as error:
        raise ValueError(f"{name}: must not raise, because kernels cannot; found {shown(error)} at "
                         f"{_shown(arguments)}") from None
    if isinstance(value, complex) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a real number as its value, found {shown(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected finite values, found {value} at {_shown(arguments)}")
    return float(value)


def require_no_raise(name: str, compiled: Any) -> None:
    """Refuse a formula that may raise, in any of the versions compiled so far.

    Kernels cannot raise: the numbers after the one that does would be missing without a word.

    Raises
    ------
    ValueError
        That names the function.
    """
    if may_raise(compiled):
        raise ValueError(f"{name}: must not raise, because kernels cannot; found a raise, an assert, an index that "
                         f"may be beyond a tuple, memory that may be lacking for an array, or a call of a function "
                         f"compiled before that divides with error_model='python' (use "
                         f"numba.njit(error_model='numpy'))")


def require_derivative(names: tuple[str, str], value: Callable[..., float], derivative: Callable[..., float],
                       others: tuple[float, ...]) -> None:
    """Refuse a derivative that is not that of the value; points where the value has a kink are passed over.

    The derivative has to lie between that from the left and that from the right, within TOLERANCE. Both are of second
    order, 2 D(h) - D(2h) with the difference quotient D over one and two steps. Where the second derivative jumps by J
    they are exact; the quotient over both sides is off by J h / 4.

    others : the arguments beside the one that is varied.

    Raises
    ------
    ValueError
        That names the function, the point, and both numbers.
    """
    for x in POINTS:
        h = DIFFERENCE_STEP * max(1.0, abs(x))
        below, here, above = value(x - h, others), value(x, others), value(x + h, others)
        left, right = (here - below) / h, (above - here) / h
        size = max(1.0, abs(here), abs(left), abs(right))
        if abs(right - left) > KINK * size:
            continue
        found, expected = derivative(x, others), (above - below) / (2 * h)
        one_sided = (2 * left - (here - value(x - 2 * h, others)) / (2 * h),
                     2 * right - (value(x + 2 * h, others) - here) / (2 * h))
        lowest, highest = min(expected, *one_sided), max(expected, *one_sided)
        if not lowest - TOLERANCE * size <= found <= highest + TOLERANCE * size:
            raise ValueError(f"{names[1]}: expected the derivative of {names[0]}, which is {expected:.6g} at "
                             f"{_shown((x, *others))} by finite differences, found {found:.6g}")


def _shown(arguments: Sequence[float]) -> str:
    return ", ".join(f"{argument:g}" for argument in arguments)
