"""X as it lies: rows of any real dtype and any strides, or sparse ones, converted while kernels read them.

Kernels see one address, of a `Reading`: a record that says where the rows lie, and which functions convert them. So
they are compiled once for all X, and a training never holds a converted copy of X. Rows of the network's dtype, one
after another in memory, are read without a record; its address is 0 then.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from ..checks.arrays import Samples
from ..checks.sparse_rows import CsrRows
from ..compiling.addresses import address_in_memory, address_of, pointer_to
from ..compiling.decorators import inlined
from .conversion import FIELDS, READING_DTYPE, read_rows, reading_at, row_reader
from .entries import add_entries, affine_entries, affine_from_transpose, csr_reader
from .tiles.transpose import gather_block


class Rows(NamedTuple):
    """How kernels read an X that is not as they take it."""

    address: int        # of the record
    record: np.ndarray  # `conversion.Reading`
    density: float      # the share of the numbers that are stored


class KernelSamples(NamedTuple):
    """`Samples` as compiled code takes them: the address of X, or that of a `Reading` of it, and arrays."""

    address: int
    reading: int
    n: int
    labels: Any
    targets: Any
    weights: Any
    largest: float


def rows_of(X: np.ndarray | CsrRows, dtype: np.dtype) -> Rows:
    """How a network of a dtype reads rows that `arrays.checked_rows` has checked."""
    if isinstance(X, CsrRows):
        read, affine, transposed, add = _readers_of_entries(dtype, X.values.dtype, X.columns.dtype)
        return _record(X.density, read=read, affine=affine, affine_transposed=transposed, add=add,
                       X=_address(X.values), columns=_address(X.columns), begins=_address(X.indptr))
    row_bytes, column_bytes = X.strides
    read, gather = _readers(dtype, X.dtype, column_bytes == X.itemsize)
    return _record(1.0, read=read, gather=gather, X=_address(X), row_bytes=row_bytes, column_bytes=column_bytes)


def _address(array: np.ndarray) -> int:
    """The address of an array, which may be read-only."""
    address, _ = array.__array_interface__["data"]
    return int(address)


def _record(density: float, **given: int) -> Rows:
    """A record with these fields, and its address."""
    record = np.zeros(len(FIELDS), np.int64)
    for name, value in given.items():
        setattr(record.view(READING_DTYPE)[0], name, value)
    return Rows(_address(record), record, density)


@functools.cache
def _readers(dtype: np.dtype, source: np.dtype, contiguous: bool) -> tuple[int, int]:
    """The addresses of the functions that read a dtype; the names of dtypes take 4 µs each."""
    return (address_of(row_reader, dtype.name, source.name, contiguous),
            address_of(gather_block, dtype.name, source.name) if contiguous else 0)


@functools.cache
def _readers_of_entries(dtype: np.dtype, source: np.dtype, index: np.dtype) -> tuple[int, ...]:
    """The addresses of the functions that read entries and columns of these dtypes."""
    return tuple(address_of(make, dtype.name, source.name, index.name)
                 for make in (csr_reader, affine_entries, affine_from_transpose, add_entries))


def for_kernels(samples: Samples) -> KernelSamples:
    """The samples as compiled code takes them; `samples` keeps their memory alive."""
    X, labels, targets, weights, largest, rows = samples
    return KernelSamples(0 if rows else _address(X), rows.address if rows else 0, len(X), labels, targets, weights,
                         largest)


def as_arguments(samples: Samples) -> tuple[np.ndarray, int]:
    """X and the address of its `Reading`, as a call from Python hands them on: X has the network's dtype, or no rows.

    Calls with arrays of other dtypes would be compiled anew.
    """
    rows = samples.rows
    return (samples.X, 0) if rows is None else (samples.targets[:0], rows.address)


@inlined
def kernel_samples(X: Any, reading: Any, n: Any, labels: Any, targets: Any, weights: Any) -> Any:
    """The samples of a call from Python, by what `as_arguments` gives."""
    return KernelSamples(address_in_memory(X), reading, n, labels, targets, weights, np.nan)


@inlined
def read_row(samples: Any, number: Any, target: Any) -> None:
    """target (N_0,) = the row whose number lies at a pointer."""
    if samples.reading != 0:
        reading = reading_at(samples.reading, None)
        read_rows(reading.read, reading, number, 1, 0, target.shape[0], target, 0)
    else:
        x = pointer_to(samples.address, target.dtype.type)
        for j in range(target.shape[0]):
            target[j] = x[number[0] * target.shape[0] + j]
