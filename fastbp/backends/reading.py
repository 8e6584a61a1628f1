"""X as it lies: rows of any real dtype and any strides, converted while kernels read them.

Kernels see numbers alone: an address, strides, and the addresses of functions that convert. So they are compiled once
for all X, and a training never holds a converted copy of X. Rows of the network's dtype, one after another in memory,
are read without such functions.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from ..checks.arrays import Samples
from ..compiling.addresses import address_in_memory, address_of, pointer_to
from ..compiling.decorators import inlined
from .conversion import read_rows, row_reader
from .tiles.transpose import gather_block


class Rows(NamedTuple):
    """Where the rows of X (n, N_0) lie, and how they are read."""

    address: int       # of the first number
    n: int
    row_bytes: int     # from one row to the next
    column_bytes: int  # from one column to the next
    read: int          # the address of the function that converts rows, `row_reader`; 0 if nothing has to be done
    gather: int        # of the one that converts and transposes blocks, `gather_block`; 0 also if columns lie apart


#: The rows of a call that takes X as it is.
PLAIN = Rows(0, 0, 0, 0, 0, 0)


class KernelSamples(NamedTuple):
    """`Samples` as compiled code takes them: `Rows`, without a tuple of their own, and arrays."""

    address: int
    n: int
    row_bytes: int
    column_bytes: int
    read: int
    gather: int
    labels: Any
    targets: Any
    weights: Any
    largest: float


def rows_of(X: np.ndarray, dtype: np.dtype) -> Rows:
    """The rows of an array that `arrays.checked_rows` has checked, for a network of a dtype."""
    row_bytes, column_bytes = X.strides
    is_plain = X.dtype == dtype and X.flags.c_contiguous
    read, gather = (0, 0) if is_plain else _readers(dtype, X.dtype, column_bytes == X.itemsize)
    return Rows(X.__array_interface__["data"][0], len(X), row_bytes, column_bytes, read, gather)


@functools.cache
def _readers(dtype: np.dtype, source: np.dtype, contiguous: bool) -> tuple[int, int]:
    """The addresses of the functions that read a dtype; the names of dtypes take 4 µs each."""
    return (address_of(row_reader, dtype.name, source.name, contiguous),
            address_of(gather_block, dtype.name, source.name) if contiguous else 0)


def for_kernels(samples: Samples) -> KernelSamples:
    """The samples as compiled code takes them; `samples` keeps their memory alive."""
    X, labels, targets, weights, largest, given = samples
    rows: Rows = given or rows_of(X, targets.dtype)
    return KernelSamples(*rows, labels, targets, weights, largest)


@inlined
def kernel_samples(X: Any, rows: Any, labels: Any, targets: Any, weights: Any) -> Any:
    """The samples of a call from Python: of an array X that kernels take as it is, or of other rows."""
    row_bytes = X.shape[1] * X.itemsize
    plain = Rows(address_in_memory(X), X.shape[0], row_bytes, X.itemsize, 0, 0)
    address, n, row_bytes, column_bytes, read, gather = plain if rows.read == 0 else rows
    return KernelSamples(address, n, row_bytes, column_bytes, read, gather, labels, targets, weights, np.nan)


@inlined
def read_row(rows: Any, number: Any, target: Any) -> None:
    """target (N_0,) = the row whose number lies at a pointer. `rows` has the fields of `Rows`."""
    if rows.read != 0:
        read_rows(rows.read, pointer_to(rows.address, np.uint8), number, rows.row_bytes, rows.column_bytes, 1,
                  target.shape[0], target, 0)
    else:
        x = pointer_to(rows.address + number[0] * rows.row_bytes, target.dtype.type)
        for j in range(target.shape[0]):
            target[j] = x[j]
