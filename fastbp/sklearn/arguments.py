"""The arguments of the estimators: checked before anything is trained, and named in errors as users know them."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ..backends.reading import rows_of
from ..checks.arrays import kernel_array, require_unmasked
from ..checks.samples import NO_LABELS, READABLE, Samples, checked_rows, no_numbers, no_rows
from ..checks.sparse_rows import require_sound
from ..checks.standardization import Standardization

#: The dtypes of weights that stay as they are; others become the first.
FLOATS = (np.float64, np.float32)

#: Those of X, which the core reads as they lie; others become the first.
NUMBERS = (*FLOATS, *(np.dtype(name).type for name in READABLE if name not in ("float32", "float64")))


def checked_validation_data(estimator: Any, X: Any, y: Any) -> tuple[Any, np.ndarray]:
    """X_val and y_val as `validate_data` takes X and y, for an estimator that knows its features.

    Raises
    ------
    TypeError, ValueError
        If they do not go together, or with X; or as `sklearn.utils.check_array`.
    """
    rows = check_array(X, accept_sparse=["csr", "csc"], dtype=NUMBERS, input_name="X_val", estimator=estimator)
    if rows.shape[1] != estimator.n_features_in_:
        raise ValueError(f"X_val: expected {estimator.n_features_in_} features as X has, found shape {rows.shape}")
    validate_data(estimator, X, skip_check_array=True, reset=False)  # the names of its columns
    y = check_array(y, accept_sparse="csr", ensure_2d=False, dtype=None, input_name="y_val", estimator=estimator)
    if y.shape[0] != rows.shape[0]:
        raise ValueError(f"y_val: expected as many targets as X_val has samples, {rows.shape[0]}, found shape "
                         f"{y.shape}")
    return rows, y


def checked_weights(name: str, given: Any, n: int) -> np.ndarray | None:
    """The weight of each of n samples, None where none are given; one number is the weight of all.

    Raises
    ------
    TypeError, ValueError
        If they are not (n,) finite numbers of at least 0.
    """
    if given is None:
        return None
    weight = np.full(n, float(given)) if isinstance(given, Real) else given
    weight = check_array(weight, ensure_2d=False, dtype=FLOATS, input_name=name)
    if weight.shape != (n,):
        raise ValueError(f"{name}: expected one weight for each of {n} samples, found shape {weight.shape}")
    if weight.min() < 0:
        raise ValueError(f"{name}: expected no negative weight, found {weight.min()} at [{int(weight.argmin())}]")
    return weight


def as_samples(X: Any, d: np.ndarray, weight: np.ndarray | None, dtype: np.dtype, outputs: int, suffix: str,
               weight_name: str, standardization: Standardization | None) -> Samples:
    """The samples of a call, as kernels take them.

    X : (n, N_0), dense or sparse; d : (n,) labels, or (n, outputs) targets; weight : (n,) or None.
    suffix : what follows X and y in the names of the arguments.
    standardization : that of the network.

    Raises
    ------
    ValueError
        If a number is too large for the dtype, or all weights are 0 in it.
    """
    X, largest, rows = checked_rows(f"X{suffix}", X, dtype, rows_of, standardization=standardization)
    labels, targets, weights = NO_LABELS, no_rows(dtype, outputs), no_numbers(dtype)
    if d.ndim == 1:
        labels = np.ascontiguousarray(d, np.int64)
    elif outputs == 1:  # which users pass as a vector
        targets = kernel_array(f"y{suffix}", d.ravel(), dtype, ndim=1)[0].reshape(-1, 1)
    else:
        targets, _ = kernel_array(f"y{suffix}", d, dtype, ndim=2)
    if weight is not None:
        weights, _ = kernel_array(weight_name, weight, dtype, ndim=1)
        if not weights.any():
            found = f"{weight.max()} at most, which is 0 in {dtype}" if weight.any() else "only 0"
            raise ValueError(f"{weight_name}: expected weights that are not all zero, found {found}")
    return Samples(X, labels, targets, weights, largest, rows)


def part_of(samples: Samples, numbers: np.ndarray) -> Samples:
    """The samples with these numbers, in this order."""
    labels, targets, weights = (part[numbers] if len(part) else part
                                for part in (samples.labels, samples.targets, samples.weights))
    standardization = samples.rows.standardization if samples.rows is not None else None
    X, largest, rows = checked_rows("X", samples.X[numbers], targets.dtype, rows_of, standardization=standardization)
    return Samples(X, labels, targets, weights, largest, rows)


def require_sound_arguments(**given: Any) -> None:
    """Refuse masked arrays, and damaged sparse ones, among the arguments of a call.

    Raises what `require_unmasked` and `require_sound` do.
    """
    for name, value in given.items():
        require_unmasked(name, value)
        require_sound(name, value)
