"""Mean and standard deviation of every feature, of samples that come in parts and are read once, as they lie.

Blocks of rows are converted to float64, and each gives its mean and its sum of squares around that mean, which are
merged with those of the blocks before [1]_:

    δ = m_b - m;  m ← m + δ n_b / (n + n_b);  S ← S + S_b + δ² n n_b / (n + n_b)

Both are counted from the first row on, so that small differences of large numbers keep their digits; and in units 2^e
of the largest |x| of the feature so far, so that no square of numbers near 1e300 or 1e-300 is lost.

.. [1] Chan, Golub and LeVeque, "Algorithms for computing the sample variance: analysis and recommendations", 1983.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks.arrays import NotFiniteError, numeric_array, require_dimensions
from ..checks.samples import as_readable
from ..checks.sparse_rows import CsrRows, checked_csr, is_sparse
from ..checks.standardization import SMALLEST_SCALE
from ..compiling.decorators import inlined, kernel, panel_loop
from .reading import blocks_of, rows_of

#: The rows of `Moments.sums`. MEAN and SQUARES are m and S in units of 2^e and 4^e; FIRST is the first sample.
FIRST, MEAN, SQUARES, ROWS = range(4)

#: Units are 2^-LARGEST_EXPONENT … 2^LARGEST_EXPONENT, whose inverses are normal numbers.
LARGEST_EXPONENT = 1000

_FLOAT64 = np.dtype(np.float64)


class Moments:
    """Mean and standard deviation of every feature of samples.

    Results have the same bits for any dtype that holds the numbers, any order in memory and any number of threads; for
    another division into parts they differ by rounding.

    Parameters
    ----------
    features : int, optional
        N_0; that of the first part if not given.

    Examples
    --------
    >>> moments = Moments()
    >>> for part in ([[1.0, 5.0], [2.0, 5.0]], [[6.0, 5.0]]):
    ...     moments.add(part)
    >>> moments.mean_and_scale()[0].tolist()
    [3.0, 5.0]
    """

    def __init__(self, features: int | None = None) -> None:
        self.features, self.samples = features, 0
        self._sums = np.empty((ROWS, 0))
        self._exponents = np.empty(0, np.int64)

    def add(self, X: Any, name: str = "X") -> None:
        """Take in some samples.

        Parameters
        ----------
        X : array_like or sparse matrix (n, N_0)
            Finite real numbers of any dtype, in any order in memory.
        name : str
            Of the argument, in errors.

        Raises
        ------
        TypeError, ValueError
            If X is not so. The moments are then of no use any more.
        """
        given = checked_csr(name, X, _FLOAT64)[0] if is_sparse(X) else numeric_array(name, X)
        require_dimensions(name, given.shape, 2)
        features = given.shape[1] if self.features is None else self.features
        if given.shape[1] != features:
            raise ValueError(f"{name}: expected {features} features, found shape {given.shape}")
        if 0 in given.shape:
            raise ValueError(f"{name}: expected at least one sample, found shape {given.shape}")
        if self.samples == 0:
            self.features, self._sums = features, np.zeros((ROWS, features))
            self._exponents = np.full(features, -LARGEST_EXPONENT)
        X, before = given if isinstance(given, CsrRows) else as_readable(given), 0
        units, of_block = np.empty(features), np.empty((3, features))
        for block in blocks_of(rows_of(X, _FLOAT64), len(X), features, _FLOAT64):
            if not add_block(block, float(self.samples), self._sums, self._exponents, units, of_block):
                row, j = (int(place) for place in np.argwhere(~np.isfinite(block))[0])
                raise NotFiniteError(f"{name}: found {block[row, j]} at {[before + row, j]}, expected finite "
                                     f"numbers", (before + row, j), block[row, j])
            before += len(block)
            self.samples += len(block)

    def mean_and_scale(self, feature: Callable[[int], str] = "X: feature {}".format) -> tuple[np.ndarray, np.ndarray]:
        """The mean of every feature, and its standard deviation √(Σ (x - μ)² / n), 1 where all numbers are equal.

        Parameters
        ----------
        feature : callable
            The words for a feature by its number, in errors.

        Returns
        -------
        mean, scale : ndarray (N_0,) float64

        Raises
        ------
        ValueError
            If there were no samples, or the numbers of a feature differ by less than what float64 holds with all
            digits.
        """
        if self.samples == 0:
            raise ValueError("X: expected at least one sample, found none")
        first, mean, squares = self._sums
        with np.errstate(over="ignore", under="ignore"):
            means = np.ldexp(np.ldexp(first, -self._exponents) + mean, self._exponents)
            deviations = np.ldexp(np.sqrt(squares / self.samples), self._exponents)
        scale = np.where(squares == 0.0, 1.0, np.minimum(deviations, sys.float_info.max))  # which rounding may pass
        wrong = np.flatnonzero(scale < SMALLEST_SCALE)
        if wrong.size:
            j = int(wrong[0])
            raise ValueError(f"{feature(j)} has the standard deviation {scale[j]:g}, expected 0 or at least "
                             f"{SMALLEST_SCALE:.3g}, below which float64 loses digits: give it in another unit")
        return means, scale


@kernel
def add_block(block: Any, before: float, sums: Any, exponents: Any, units: Any, of_block: Any) -> bool:
    """Merge the moments of a block of rows into those of `before` rows; False, and nothing done, if one is not finite.

    block : (n, N_0); sums : (ROWS, N_0); exponents : (N_0,) int64; units : (N_0,) and of_block : (3, N_0), memory.
    """
    n, features = block.shape
    largest = units
    find_largest(block, largest)
    for j in range(features):
        if not largest[j] < math.inf:
            return False
    for j in range(features):
        _, e = math.frexp(largest[j])
        exponent = max(exponents[j], min(e, LARGEST_EXPONENT)) if largest[j] > 0.0 else exponents[j]
        smaller = math.ldexp(1.0, int(max(exponents[j] - exponent, -LARGEST_EXPONENT)))
        sums[MEAN, j] *= smaller
        sums[SQUARES, j] *= smaller * smaller
        exponents[j] = exponent
        units[j] = math.ldexp(1.0, int(-exponent))
        if before == 0.0:
            sums[FIRST, j] = block[0, j]
    moments_of_block(block, sums, units, of_block)
    for j in range(features):
        merge(sums, j, before, float(n), of_block[0, j], of_block[1, j])
    return True


@panel_loop
def find_largest(block: Any, largest: Any) -> None:
    """largest (N_0,) = max |x| of every column; infinite where a number is not finite."""
    for j in range(block.shape[1]):
        largest[j] = 0.0
    for s in range(block.shape[0]):
        for j in range(block.shape[1]):
            x = abs(block[s, j])
            largest[j] = largest[j] if x <= largest[j] else (x if x < math.inf else math.inf)


@panel_loop
def moments_of_block(block: Any, sums: Any, units: Any, of_block: Any) -> None:
    """of_block = the mean of every column, from the first sample on, and the sum of squares around it.

    Σ (x - m), which would be 0 without rounding, corrects both.

    of_block : (3, N_0), the last row memory.
    """
    n = block.shape[0]
    for j in range(block.shape[1]):
        of_block[0, j], of_block[1, j], of_block[2, j] = 0.0, 0.0, 0.0
    for s in range(n):
        for j in range(block.shape[1]):
            of_block[0, j] += block[s, j] * units[j] - sums[FIRST, j] * units[j]
    for j in range(block.shape[1]):
        of_block[0, j] /= n
    for s in range(n):
        for j in range(block.shape[1]):
            beyond = (block[s, j] * units[j] - sums[FIRST, j] * units[j]) - of_block[0, j]
            of_block[1, j] += beyond * beyond
            of_block[2, j] += beyond
    for j in range(block.shape[1]):
        of_block[0, j] += of_block[2, j] / n
        of_block[1, j] = max(0.0, of_block[1, j] - of_block[2, j] * (of_block[2, j] / n))


@inlined
def merge(sums: Any, j: Any, before: Any, n: Any, mean: Any, squares: Any) -> None:
    """The moments of a column with those of n more numbers."""
    delta, both = mean - sums[MEAN, j], before + n
    sums[MEAN, j] += delta * (n / both)
    sums[SQUARES, j] += squares + delta * delta * (before * n / both)
