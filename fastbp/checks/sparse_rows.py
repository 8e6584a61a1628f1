"""Sparse X: the rows of a CSR matrix of SciPy, checked."""

import math
import sys
from typing import Any

import numpy as np

from .messages import shortened

#: The dtypes of entries that kernels read as they are; others are converted.
_AS_THEY_ARE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


class CsrRows:
    """Rows (n, N_0), of which only what is not zero is stored: row r has the entries indptr[r] … indptr[r+1] - 1.

    Parameters
    ----------
    values : (entries,)
    columns : (entries,) int32 or int64, ascending within a row
    indptr : (n+1,) int64, from 0 to the number of entries
    features : int
        N_0.
    """

    def __init__(self, values: np.ndarray, columns: np.ndarray, indptr: np.ndarray, features: int) -> None:
        self.values, self.columns, self.indptr = values, columns, indptr
        self.shape = len(indptr) - 1, features

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def density(self) -> float:
        """The share of the numbers that are stored."""
        return len(self.values) / (self.shape[0] * self.shape[1])

    @staticmethod
    def joined(parts: "list[CsrRows]") -> "CsrRows":
        """The rows of several, one after another, copied."""
        values, columns, lengths = (np.concatenate(arrays) for arrays in zip(
            *((part.values, part.columns, np.diff(part.indptr)) for part in parts), strict=True))
        return CsrRows(values, columns, np.concatenate([[0], np.cumsum(lengths)]), parts[0].shape[1])

    def __getitem__(self, numbers: np.ndarray | slice) -> "CsrRows":
        """The rows with these numbers, copied."""
        begins, lengths = self.indptr[:-1][numbers], np.diff(self.indptr)[numbers]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(begins - indptr[:-1], lengths) + np.arange(indptr[-1])
        return CsrRows(self.values[places], self.columns[places], indptr, self.shape[1])


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse matrix or array of SciPy, or rows of one that was checked."""
    module = sys.modules.get("scipy.sparse")  # if nobody has imported it, X is none of it
    return isinstance(X, CsrRows) or (module is not None and bool(module.issparse(X)))


def checked_csr(name: str, X: Any, dtype: np.dtype) -> tuple[CsrRows, float]:
    """The rows of a sparse matrix, and its largest magnitude.

    The arrays of a CSR matrix are used as they are. Matrices of other formats, with entries given twice or out of
    order, or of dtypes that kernels do not read, are converted to CSR in a copy.

    Raises
    ------
    TypeError, ValueError
        If it is no matrix of real numbers that are finite in the dtype, or its columns and rows are none.
    """
    rows = csr_rows(name, X, dtype)
    values, largest = rows.values, 0.0
    if len(values):
        with np.errstate(over="ignore", invalid="ignore"):
            largest = float(max(abs(dtype.type(values.min())), abs(dtype.type(values.max()))))
    if not math.isfinite(largest):
        with np.errstate(over="ignore", invalid="ignore"):
            entry = int(np.argmin(np.isfinite(values.astype(dtype))))
        place = [int(np.searchsorted(rows.indptr, entry, side="right")) - 1, int(rows.columns[entry])]
        reason = f"which is beyond {dtype}" if np.isfinite(values[entry]) else "expected finite numbers"
        raise ValueError(f"{name}: found {values[entry]} at {place}, {reason}")
    return rows, largest


def csr_rows(name: str, X: Any, dtype: np.dtype) -> CsrRows:
    """The rows of a sparse matrix, whose structure is checked: kernels trust it, and so does SciPy."""
    if isinstance(X, CsrRows):
        return X
    if X.ndim != 2:
        raise ValueError(f"{name}: expected 2 dimensions, found shape {X.shape}")
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, found dtype {X.dtype}")
    require_sound(name, X)
    X = X.tocsr()
    count = _checked_entries(name, X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
        count = _checked_entries(name, X)
    values = np.ascontiguousarray(X.data[:count])
    if values.dtype.name not in _AS_THEY_ARE or not (values.dtype.isnative and values.flags.aligned):
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype(dtype)
    columns = np.ascontiguousarray(X.indices[:count], np.int32 if X.indices.dtype.itemsize <= 4 else np.int64)
    return CsrRows(values, columns, np.ascontiguousarray(X.indptr, np.int64), X.shape[1])


def require_sound(name: str, value: Any) -> None:
    """Refuse a CSR or CSC matrix whose arrays do not go together: SciPy's functions would write beyond memory.

    Raises
    ------
    ValueError
    """
    if is_sparse(value) and getattr(value, "format", None) in ("csr", "csc"):
        _checked_entries(name, value)


def _checked_entries(name: str, X: Any) -> int:
    """How many entries a CSR or CSC matrix has; refuses one whose arrays do not go together."""
    (along, across), (count_along, count_across) = ("row", "column"), X.shape
    if X.format == "csc":
        along, across, count_along, count_across = across, along, count_across, count_along
    indptr, indices = X.indptr, X.indices
    count = int(indptr[-1]) if len(indptr) else 0
    if (len(indptr) != count_along + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any()
            or len(indices) < count or len(X.data) < count):
        raise ValueError(f"{name}: expected indptr that counts the entries of each {along} of a {X.format.upper()} "
                         f"matrix, from 0 to at most {min(len(indices), len(X.data))}, found {shortened(indptr)}")
    if count and not 0 <= indices[:count].min() <= indices[:count].max() < count_across:
        wrong = int(np.argmax((indices[:count] < 0) | (indices[:count] >= count_across)))
        raise ValueError(f"{name}: expected {across}s 0 to {count_across - 1}, found {indices[wrong]} in entry {wrong}")
    return count
