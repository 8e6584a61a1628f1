"""Standardised inputs, h_0 = (x - μ) / σ of every feature: the numbers that a network keeps, and the formula."""

import sys
from typing import Any

import numpy as np

from .arrays import numeric_array

#: The least σ: below it float64 loses digits.
SMALLEST_SCALE = sys.float_info.min


class Standardization:
    """μ and σ of every feature.

        h_0 = (x/2 - μ/2) · (2/σ)

    in float64, rounded once to the network's dtype. Halves, because a difference of the largest numbers overflows.
    Elsewhere they change no bit of (x - μ) · (1/σ). Numbers do not change once they are here.

    Attributes
    ----------
    mean, scale : ndarray (N_0,) float64
        μ and σ; read-only.
    shift, factor : ndarray (N_0,) float64
        μ/2 and 2/σ, which kernels read.
    slope : ndarray (N_0,) float64
        1/σ, by which ∂E/∂h_0 becomes ∂E/∂x.
    key : tuple
        Equal where the numbers are.
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.mean, self.scale = np.array(mean, np.float64), np.array(scale, np.float64)
        self.mean.flags.writeable = self.scale.flags.writeable = False
        self.shift, self.factor = self.mean / 2.0, 2.0 / self.scale
        self.slope = self.factor / 2.0
        self.key = self.mean.tobytes(), self.scale.tobytes()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.mean, self.scale)  # copies of arrays could be written to

    def applied(self, X: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The standardised rows of X (n, N_0), C-contiguous; infinite where they are too large for the dtype."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            Z = np.multiply(X, 0.5, dtype=np.float64, order="C")
            Z -= self.shift
            Z *= self.factor
            return Z.astype(dtype, copy=False)


def checked_standardization(mean: Any, scale: Any, features: int) -> Standardization:
    """The standardisation by numbers that a user gives: one for each feature, or one for all.

    Raises
    ------
    TypeError, ValueError
        If they are not finite, or a scale is not above 0; named, with the place.
    """
    given = [_one_each(name, value, features) for name, value in (("mean", mean), ("scale", scale))]
    wrong = np.flatnonzero(given[1] < SMALLEST_SCALE)
    if wrong.size:
        j = int(wrong[0])
        raise ValueError(f"scale: expected numbers of at least {SMALLEST_SCALE:.3g}, below which float64 loses digits, "
                         f"found {given[1][j]:g} for feature {j}")
    return Standardization(*given)


def _one_each(name: str, value: Any, features: int) -> np.ndarray:
    """A finite float64 for each feature."""
    if value is None:
        raise TypeError(f"{name}: expected a number, or one for each of {features} features, found None; mean and "
                        f"scale go together")
    given = numeric_array(name, value)
    if given.shape not in ((), (features,)):
        raise ValueError(f"{name}: expected a number, or one for each of {features} features, found shape "
                         f"{given.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.broadcast_to(given.astype(np.float64), (features,))
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        j = int(wrong[0])
        raise ValueError(f"{name}: expected finite numbers, found {numbers[j]} for feature {j}")
    return numbers
