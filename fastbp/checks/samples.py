"""`Samples`: X, targets and weights of a call, checked before any kernel runs.

Labels are inside the classes, and all numbers finite. X alone may lie in its own way, and is converted while it is
read: see `backends/reading.py`. Arrays on a GPU are checked there, in `backends/gpu/memory.py`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .arrays import (
    finite_array,
    kernel_array,
    largest_magnitude,
    numeric_array,
    parts_of,
    readable,
    refuse_non_finite,
    require_dimensions,
)
from .frames import is_frame
from .sparse_rows import CsrRows, checked_csr, is_sparse


class Samples(NamedTuple):
    """The checked samples of a call; arrays that do not apply are empty."""

    X: Any               # (n, N_0), as it lies: an array, or `CsrRows`; on a GPU, standardised if need be
    labels: np.ndarray   # (n,) int64 class labels, or (0,)
    targets: np.ndarray  # (n, N_L), or (0, N_L) where there are labels
    weights: np.ndarray  # (n,) sample weights, or (0,) for all 1
    largest: float       # the largest |x| in X, or |h_0| where X is standardised
    rows: Any = None     # how kernels read X, where it is not as they take it; else None


#: Empty arrays stand for what is not given and not wanted. There is one of each, because making an array takes a tenth
#: of a microsecond.
NO_LABELS = np.empty(0, np.int64)


@functools.cache
def no_numbers(dtype: np.dtype) -> np.ndarray:
    """An empty vector."""
    return np.empty(0, dtype)


@functools.cache
def no_rows(dtype: np.dtype, columns: int) -> np.ndarray:
    """A matrix without rows."""
    return np.empty((0, columns), dtype)


#: X is converted at once if it takes up to this number of bytes then.
SMALL_COPY = 2**20


#: The dtypes that are read as they lie.
READABLE = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
            "float64")

#: What says how kernels read rows that lie in their own way, for a network of a dtype; of standardised rows also with
#: a standardisation, and whether they are standardised now, into a copy.
RowsOf = Callable[..., Any]


def as_input(X: Any, dtype: np.dtype, features: int, rows_of: RowsOf | None = None,
             standardization: Any = None) -> tuple[Any, float, Any]:
    """X as (n, features), n >= 1, its largest magnitude, and how it is read where it is not as kernels take it.

    A large X of another dtype or order stays as it lies, and so does a sparse one. Where there is a `Standardization`,
    X is as it was given, and the magnitude is that of the standardised numbers.

    Raises
    ------
    TypeError, ValueError
        As `kernel_array`; or if X is empty or has another number of features.
    """
    given = X if type(X) is not np.ndarray and is_sparse(X) else numeric_array("X", X, dtype)
    require_features(given.shape, features)
    require_dimensions("X", given.shape, 2)
    return checked_rows("X", given, dtype, rows_of, X if is_frame(X) else None, standardization)


def checked_rows(name: str, given: Any, dtype: np.dtype, rows_of: RowsOf | None = None,
                 frame: Any = None, standardization: Any = None) -> tuple[Any, float, Any]:
    """A matrix of real numbers, its largest magnitude, and how it is read; raises what `as_input` does.

    given : an array, or a sparse matrix.
    frame : the data frame that the matrix was made of, whose number an error shows.
    """
    if type(given) is not np.ndarray and is_sparse(given):
        return _checked_sparse_rows(name, given, dtype, rows_of, standardization)
    if standardization is not None and rows_of is not None:
        given = as_readable(given)
        rows = rows_of(given, dtype, standardization, given.size * dtype.itemsize <= SMALL_COPY)
        if not math.isfinite(rows.largest):
            refuse_non_finite(name, given, dtype, frame, standardization)
        return given, rows.largest, rows
    if given.size * dtype.itemsize <= SMALL_COPY or not _lies_otherwise(given, dtype):
        array, largest = finite_array(name, given, dtype, frame)
        return array, largest, None
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(dtype.type(_largest_as_it_lies(given)))
    if not math.isfinite(largest):
        refuse_non_finite(name, given, dtype, frame)
    return given, largest, None if rows_of is None else rows_of(given, dtype)


def _checked_sparse_rows(name: str, given: Any, dtype: np.dtype, rows_of: RowsOf | None,
                         standardization: Any) -> tuple[CsrRows, float, Any]:
    """What `checked_rows` gives for a sparse matrix."""
    if rows_of is None:
        raise TypeError(f"{name}: expected a dense array for this backend, found a sparse matrix; use {name}.toarray()")
    X, largest = checked_csr(name, given, dtype if standardization is None else np.dtype(np.float64))
    if standardization is None:
        return X, largest, rows_of(X, dtype)
    rows = rows_of(X, dtype, standardization)
    if not math.isfinite(rows.largest):
        raise ValueError(f"{name}: found a number that is beyond {dtype} when it is standardised")
    return X, rows.largest, rows


def _lies_otherwise(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether an array is not as kernels take it, but can be read as it lies."""
    return not (array.dtype == dtype and array.flags.c_contiguous) and _can_be_read(array)


def _can_be_read(array: np.ndarray) -> bool:
    """Whether an array can be read as it lies."""
    return array.dtype.name in READABLE and array.dtype.isnative and array.flags.aligned


def as_readable(array: np.ndarray) -> np.ndarray:
    """The matrix itself where it can be read as it lies, else a copy in float64."""
    if _can_be_read(array):
        return array
    with np.errstate(over="ignore", invalid="ignore"):  # an infinity is found, and named
        return np.ascontiguousarray(array, np.float64)


def _largest_as_it_lies(array: np.ndarray) -> float:
    """max |x| over a matrix of any dtype and order, without a copy; NaN if there is one."""
    if array.dtype.kind == "f" and (array.flags.c_contiguous or array.flags.f_contiguous):
        return largest_magnitude(readable(array.ravel(order="K")))
    return float(np.max([[abs(float(part.min())), abs(float(part.max()))] for part in parts_of(array)]))


def require_features(shape: tuple[int, ...], features: int) -> None:
    """Refuse an X of another number of features, or of no samples."""
    if len(shape) == 2 and shape[1] != features:
        raise ValueError(f"X: expected {features} features, found shape {shape}")
    if 0 in shape:
        raise ValueError(f"X: expected at least one sample, found shape {shape}")


def as_inputs(X: Any, dtype: np.dtype, features: int, outputs: int, standardization: Any = None,
              rows_of: RowsOf | None = None) -> Samples:
    """Samples without targets; raises what `as_input` does."""
    X, largest, rows = as_input(X, dtype, features, rows_of, standardization)
    return Samples(X, NO_LABELS, no_rows(dtype, outputs), no_numbers(dtype), largest, rows)


#: The argument that holds targets of a kind, where it is not d: ∂E/∂y itself is the target of `losses.LINEAR`.
_ARGUMENTS = {"slopes": "dE_dY"}


def argument_of(kind: str) -> str:
    """The name of the argument that holds targets of a kind."""
    return _ARGUMENTS.get(kind, "d")


def as_samples(X: Any, d: Any, sample_weight: Any, dtype: np.dtype, features: int, outputs: int, kind: str,
               standardization: Any = None, rows_of: RowsOf | None = None) -> Samples:
    """The samples of one call, checked.

    Parameters
    ----------
    X : array_like (n, features)
    d : array_like
        For kind "values", (n, outputs) numbers, or (n,) where there is one output. For "classes", (n,) integer labels
        0 … outputs - 1, or (n, outputs) rows of non-negative numbers that sum to 1. For "bits", (n, outputs) numbers
        from 0 to 1, or (n,) where there is one output; for "counts" the same with numbers of at least 0. For "slopes"
        the argument is ∂E/∂y, as for "values", and errors name it dE_dY.
    sample_weight : array_like (n,) or None
        Non-negative.
    standardization : Standardization, optional
        By which X is standardised where kernels read it.

    Raises
    ------
    TypeError, ValueError
        Named after the argument, with what was found and expected.
    """
    X, largest, rows = as_input(X, dtype, features, rows_of, standardization)
    labels, targets = as_targets(d, len(X), dtype, outputs, kind)
    return Samples(X, labels, targets, as_weights(sample_weight, len(X), dtype), largest, rows)


def as_targets(d: Any, n: int, dtype: np.dtype, outputs: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The labels and the targets of n samples, one of them empty; raises what `as_samples` does."""
    name = argument_of(kind)
    given = numeric_array(name, d)
    if are_labels(given.shape, n, outputs, kind):
        return _as_labels(given, outputs), no_rows(dtype, outputs)
    given = given.reshape(n, outputs)
    targets, _ = kernel_array(name, given, dtype, ndim=2)
    if kind == "counts":  # before the conversion, which may round a number below 0 to 0
        _require_counts(given)
    elif kind not in ("values", "slopes"):
        _require_probabilities(given, sum_to_one=kind == "classes")
    return NO_LABELS, targets


def are_labels(shape: tuple[int, ...], n: int, outputs: int, kind: str) -> bool:
    """Whether targets of this shape are labels; otherwise they are (n, outputs), or (n,) for one output.

    Raises
    ------
    ValueError
        If the shape is neither.
    """
    if not shape or shape[0] != n:
        raise ValueError(f"{argument_of(kind)}: expected as many targets as X has samples, {n}, found shape {shape}")
    if kind == "classes" and len(shape) == 1:
        return True
    if shape != (n, outputs) and not (len(shape) == 1 and outputs == 1):
        labels_hint = f" or ({n},) integer labels" if kind == "classes" else ""
        raise ValueError(f"{argument_of(kind)}: expected shape ({n}, {outputs}){labels_hint}, found {shape}")
    return False


def as_weights(sample_weight: Any, n: int, dtype: np.dtype) -> np.ndarray:
    """The weights of n samples, (0,) for none; raises what `as_samples` does."""
    if sample_weight is None:
        return no_numbers(dtype)
    given = numeric_array("sample_weight", sample_weight)
    weights, _ = kernel_array("sample_weight", given, dtype, ndim=1)
    require_weights_for(weights.shape, n)
    if given.min() < 0:
        raise ValueError(f"sample_weight: expected no negative weight, found {given.min()} at [{int(given.argmin())}]")
    if not weights.any() and given.any():
        raise ValueError(f"sample_weight: expected weights that are not all 0 in {dtype}, found {given.max()} at most")
    return weights


def total_weight(weights: np.ndarray, n: int) -> float:
    """Σ w of n samples; n, where they have no weights or only zeros."""
    return float(weights.sum(dtype=np.float64)) or float(n)


def require_weights_for(shape: tuple[int, ...], n: int) -> None:
    """Refuse weights of another shape than (n,)."""
    if shape != (n,):
        raise ValueError(f"sample_weight: expected one for each of {n} samples, found shape {shape}")


def _as_labels(given: np.ndarray, classes: int) -> np.ndarray:
    if given.dtype.kind not in "iu":
        raise TypeError(f"d: expected integer labels, found dtype {given.dtype}; use d.astype(int) if they are labels, "
                        f"or rows of shape (n, {classes})")
    for place in (int(given.argmin()), int(given.argmax())):
        if not 0 <= given[place] < classes:
            raise ValueError(f"d: expected labels from 0 to {classes - 1}, found {given[place]} at [{place}]")
    return readable(np.ascontiguousarray(given, np.int64))


def _require_counts(targets: np.ndarray) -> None:
    if targets.min() < 0:
        place = np.unravel_index(int(targets.argmin()), targets.shape)
        raise ValueError(f"d: expected numbers of at least 0, found {targets[place]} at {[int(i) for i in place]}")


def _require_probabilities(targets: np.ndarray, *, sum_to_one: bool) -> None:
    if targets.min() < 0 or targets.max() > 1:
        place = np.unravel_index(int(targets.argmin() if targets.min() < 0 else targets.argmax()), targets.shape)
        raise ValueError(f"d: expected numbers from 0 to 1, found {targets[place]} at {[int(i) for i in place]}")
    if sum_to_one:
        sums = targets.sum(axis=1, dtype=np.float64)
        wrong = int(np.abs(sums - 1.0).argmax())
        if abs(sums[wrong] - 1.0) > 1e-3:
            raise ValueError(f"d: expected rows that sum to 1, found {sums[wrong]:g} in row {wrong}")
