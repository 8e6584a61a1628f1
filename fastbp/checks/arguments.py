"""Checks of single arguments: numbers, flags, names, and what goes together."""

import math
import numbers
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..formulas.initializers import INITIALIZERS
from .messages import shown

#: What counts as a number in Python's or NumPy's types, and is none for users.
_NO_NUMBERS = (bool, np.bool_, np.timedelta64)


def require_number(name: str, value: Any, *, at_least: float | None = None, above: float | None = None,
                   below: float | None = None, at_most: float | None = None) -> float:
    """The finite real number passed as an argument.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not finite or outside the bounds.
    """
    if type(value) is not float and (isinstance(value, _NO_NUMBERS) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{name}: expected a number, found {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer, or a fraction, beyond float64
        number = math.inf
    if (math.isfinite(number) and (at_least is None or number >= at_least) and (above is None or number > above)
            and (below is None or number < below) and (at_most is None or number <= at_most)):
        return number
    bounds = [f"at least {at_least:g}"] if at_least is not None else []
    bounds += [f"above {above:g}"] if above is not None else []
    bounds += [f"below {below:g}"] if below is not None else []
    bounds += [f"at most {at_most:g}"] if at_most is not None else []
    raise ValueError(f"{name}: expected a finite number {' and '.join(bounds)}, found {shown(value)}")


def require_flag(name: str, value: Any) -> bool:
    """True or False, as Python's or as NumPy's.

    Raises
    ------
    TypeError
        If it is neither: "no" would count as true.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, found {shown(value)}")
    return bool(value)


def require_whole(name: str, value: Any, *, at_least: int) -> int:
    """The whole number passed as an argument.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is too small.
    """
    if isinstance(value, _NO_NUMBERS) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected a whole number, found {shown(value)}")
    if value < at_least:
        raise ValueError(f"{name}: expected at least {at_least}, found {shown(value)}")
    return int(value)


def checked_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """N_0 … N_L, at least two."""
    if isinstance(widths, str | bytes | bytearray) or not hasattr(widths, "__iter__") or (
            hasattr(widths, "shape") and len(widths.shape) != 1) or hasattr(widths, "tocsr"):
        raise TypeError(f"widths: expected a sequence of whole numbers N_0 … N_L, found {shown(widths)}")
    checked = tuple(require_whole(f"widths[{k}]", width, at_least=1) for k, width in enumerate(widths))
    if len(checked) < 2:
        raise ValueError(f"widths: expected at least the number of inputs and of outputs, found {shown(list(checked))}")
    if sum(n_out * (n_in + 1) for n_in, n_out in pairwise(checked)) >= 2**48:
        raise ValueError(f"widths: expected fewer than 2^48 parameters, found {shown(list(checked))}")
    return checked


def checked_dtype(dtype: Any) -> np.dtype:
    """float32 or float64."""
    try:
        checked = np.dtype(dtype)
    except Exception:  # of NumPy, for descriptions that it cannot read
        raise TypeError(f"dtype: expected 'float32' or 'float64', found {shown(dtype)}") from None
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected 'float32' or 'float64', found {shown(dtype)}")
    return checked


#: The numbers in which a network's products may be computed, beside its own.
PRODUCTS = ("bfloat16",)


def checked_products(products: Any, dtype: np.dtype) -> str | None:
    """The numbers in which a network of this dtype computes its products, or None for its own.

    Raises
    ------
    TypeError, ValueError
        If they are others, or the network is not of float32.
    """
    if products is None:
        return None
    if not isinstance(products, str):
        raise TypeError(f"products: expected 'bfloat16' or None, found {shown(products)}")
    if products not in PRODUCTS:
        raise ValueError(f"products: expected 'bfloat16' or None, found {shown(products)}")
    if dtype != np.float32:
        raise ValueError(f"products: {products} products are of float32 networks, found dtype {dtype}")
    return products


def checked_rates(dropout: float | Sequence[float] | None, depth: int) -> np.ndarray:
    """The rate of every layer k = 0 … L, (L+1,) float64; (0,) where no unit is ever dropped.

    Raises
    ------
    TypeError, ValueError
        If it is neither a number from 0 to below 1, nor such a number for each of the L - 1 hidden layers.

    Examples
    --------
    >>> checked_rates(0.5, 3), checked_rates([0.1, 0.2], 3), checked_rates(None, 3)
    (array([0. , 0.5, 0.5, 0. ]), array([0. , 0.1, 0.2, 0. ]), array([], dtype=float64))
    """
    hidden = depth - 1
    if dropout is None:
        rates = []
    elif (isinstance(dropout, Sequence) and not isinstance(dropout, str | bytes)) or (
            isinstance(dropout, np.ndarray) and dropout.ndim > 0):
        if len(dropout) != hidden:
            raise ValueError(f"dropout: expected one rate, or one for each of the {hidden} hidden layers, found "
                             f"{len(dropout)}")
        rates = [require_number(f"dropout[{place}]", rate, at_least=0.0, below=1.0)
                 for place, rate in enumerate(dropout)]
    else:
        rate = require_number("dropout", dropout, at_least=0.0, below=1.0)
        if rate > 0.0 and hidden == 0:
            raise ValueError(f"dropout: expected 0 for a network without hidden layers, found {shown(dropout)}")
        rates = [rate] * hidden
    return np.array([0.0, *rates, 0.0]) if any(rates) else np.empty(0)


def checked_clip_norm(name: str, clip_norm: float | None) -> float:
    """The norm C as kernels take it, 0 for None.

    Raises
    ------
    TypeError, ValueError
        If it is not a finite number above 0.
    """
    return 0.0 if clip_norm is None else require_number(name, clip_norm, above=0.0)


def require_initializer(name: str) -> None:
    """Refuse what is neither "auto" nor the name of an initializer.

    Raises
    ------
    TypeError, ValueError
    """
    if not isinstance(name, str):
        raise TypeError(f"initializer: expected a name, found {shown(name)}")
    if name != "auto" and name not in INITIALIZERS:
        raise ValueError(f"initializer: unknown initializer {shown(name)}; expected one of auto, "
                         f"{', '.join(INITIALIZERS)}")
