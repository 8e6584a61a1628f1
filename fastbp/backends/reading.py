"""X as it lies: rows of any real dtype and any strides, or sparse ones, converted and standardised while they are read.

Kernels see one address, of a `Reading`: a record that says where the rows lie, and which functions convert them. So
they are compiled once for all X, and a training never holds a converted copy of X. Rows of the network's dtype, one
after another in memory, are read without a record; its address is 0 then. A network that standardises reads all rows by
a record, or from a standardised copy where they are few; `Samples.X` is as it was given in either case.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..checks.arrays import largest_magnitude
from ..checks.samples import Samples
from ..checks.sparse_rows import CsrRows
from ..checks.standardization import Standardization
from ..compiling.addresses import address_in_memory, address_of, pointer, pointer_to
from ..compiling.decorators import inlined, kernel
from .conversion import FIELDS, READING_DTYPE, read_rows, reading_at, row_reader
from .entries import add_entries, add_to_transpose, affine_entries, affine_from_transpose, csr_reader
from .tiles.transpose import gather_block


class Rows(NamedTuple):
    """How kernels read an X that is not as they take it."""

    address: int              # of the record
    record: np.ndarray        # `conversion.Reading`
    density: float = 1.0      # the share of the numbers that are stored, of which kernels may take each
    standardization: Standardization | None = None  # whose numbers the record refers to
    largest: float = math.nan                       # of standardised rows, the largest |h_0|
    copy: np.ndarray | None = None                  # the standardised rows, where they are few; then no record is read


#: In place of a record that is not read.
NO_RECORD = np.empty(0, np.int64)


class KernelSamples(NamedTuple):
    """`Samples` as compiled code takes them: the address of X, or that of a `Reading` of it, and arrays."""

    address: int
    reading: int
    n: int
    labels: Any
    targets: Any
    weights: Any
    largest: float


def rows_of(X: np.ndarray | CsrRows, dtype: np.dtype, standardization: Standardization | None = None,
            copies: bool = False, largest: float | None = None) -> Rows:
    """How a network of a dtype reads rows that `samples.checked_rows` has checked, or checks where it standardises.

    copies : whether to standardise the rows of an array now.
    largest : of standardised rows that were checked before, the largest |h_0|; they are not read for it then.
    """
    if standardization is not None and copies and not isinstance(X, CsrRows):
        copy = standardization.applied(X, dtype)
        return Rows(0, NO_RECORD, 1.0, standardization, largest_magnitude(copy), copy)
    density, place = _entries_of(X, dtype, standardization) if isinstance(X, CsrRows) else _place_of(
        X, dtype, standardization)
    if standardization is None:
        return _rows(density, **place)
    rows = _rows(density, **place, **scaling_of(standardization))._replace(standardization=standardization)
    if largest is None:
        found = [largest_magnitude(block) for block in blocks_of(rows, len(X), X.shape[1], dtype)]
        largest = max(found) if all(map(math.isfinite, found)) else math.nan
    return rows._replace(largest=largest)


def _place_of(X: np.ndarray, dtype: np.dtype, standardization: Standardization | None) -> tuple[float, dict[str, int]]:
    """The density of an array, and where it lies: fields of a record."""
    row_bytes, column_bytes = X.strides
    read, gather = readers(dtype, X.dtype, column_bytes == X.itemsize, standardization is not None)
    return 1.0, {"read": read, "gather": gather, "X": _address(X), "row_bytes": row_bytes,
                 "column_bytes": column_bytes}


def _entries_of(X: CsrRows, dtype: np.dtype, standardization: Standardization | None) -> tuple[float, dict[str, int]]:
    """The density of sparse rows, and where they lie. What is zero and becomes another number is counted as stored."""
    centred = standardization is not None and bool(standardization.mean.any())
    read, affine, transposed, add, add_transposed = _readers_of_entries(dtype, X.values.dtype, X.columns.dtype,
                                                                        standardization is not None)
    return 1.0 if centred else X.density, {
        "read": read, "affine": affine, "affine_transposed": transposed, "add": add,
        "add_transposed": add_transposed, "X": _address(X.values),
        "columns": _address(X.columns), "begins": _address(X.indptr)}


def scaling_of(standardization: Standardization) -> dict[str, int]:
    """The fields of a record that say how it standardises."""
    return {"shift": standardization.shift.ctypes.data, "factor": standardization.factor.ctypes.data}


#: The bytes of a block of `blocks_of`, about, and its fewest and its most rows.
BLOCK_BYTES, FEWEST_ROWS, MOST_ROWS = 2**18, 8, 1024


def blocks_of(rows: Rows, n: int, features: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """The n rows of X as they are read, in blocks (rows, features), each in the place of the one before."""
    size = min(max(BLOCK_BYTES // (features * dtype.itemsize), FEWEST_ROWS), MOST_ROWS)
    block, numbers = np.empty((min(size, n), features), dtype), np.empty(size, np.int64)
    for begin in range(0, n, size):
        count = min(size, n - begin)
        read_block(rows.address, begin, numbers[:count], block)
        yield block[:count]


def standardised_rows(samples: Samples) -> np.ndarray:
    """The rows of samples that a network standardises, as it takes them, (n, N_0)."""
    rows, dtype = samples.rows, samples.targets.dtype
    if rows.copy is not None:
        found: np.ndarray = rows.copy
        return found
    block = np.empty(samples.X.shape, dtype)
    read_block(rows.address, 0, np.empty(len(block), np.int64), block)
    return block


@kernel
def read_block(address: int, begin: int, numbers: Any, block: Any) -> None:
    """block = the rows of X with the numbers begin + `numbers`, which are counted from 0."""
    reading = reading_at(address, None)
    for r in range(numbers.shape[0]):
        numbers[r] = begin + r
    read_rows(reading.read, reading, pointer(numbers, 0), numbers.shape[0], 0, block.shape[1], pointer(block, 0),
              block.shape[1])


def rows_at(samples: Samples, numbers: np.ndarray) -> Any:
    """The rows of X with these numbers, as a network of the dtype of `samples` takes them: an array, or sparse rows."""
    X, rows = samples.X, samples.rows
    if isinstance(X, CsrRows) or rows is None:
        return X[numbers]
    if rows.copy is not None:
        return rows.copy[numbers]
    found = np.empty((len(numbers), X.shape[1]), samples.targets.dtype)
    read_numbered(rows.address, numbers, found)
    return found


@kernel
def read_numbered(address: int, numbers: Any, block: Any) -> None:
    """block = the rows of X with these numbers."""
    reading = reading_at(address, None)
    read_rows(reading.read, reading, pointer(numbers, 0), numbers.shape[0], 0, block.shape[1], pointer(block, 0),
              block.shape[1])


def _address(array: np.ndarray) -> int:
    """The address of an array, which may be read-only."""
    address, _ = array.__array_interface__["data"]
    return int(address)


def _rows(density: float, **given: int) -> Rows:
    """A record with these fields, and its address."""
    record = record_of(**given)
    return Rows(_address(record), record, density)


def record_of(**given: int) -> np.ndarray:
    """A `conversion.Reading` with these fields; the others are 0."""
    record = np.zeros(len(FIELDS), np.int64)
    for name, value in given.items():
        setattr(record.view(READING_DTYPE)[0], name, value)
    return record


@functools.cache
def readers(dtype: np.dtype, source: np.dtype, contiguous: bool, standardized: bool) -> tuple[int, int]:
    """The addresses of the functions that read a dtype; the names of dtypes take 4 µs each."""
    return (address_of(row_reader, dtype.name, source.name, contiguous, standardized),
            address_of(gather_block, dtype.name, source.name, standardized) if contiguous else 0)


@functools.cache
def _readers_of_entries(dtype: np.dtype, source: np.dtype, index: np.dtype, standardized: bool) -> tuple[int, ...]:
    """The addresses of the functions that read entries and columns of these dtypes."""
    return tuple(address_of(make, dtype.name, source.name, index.name, standardized)
                 for make in (csr_reader, affine_entries, affine_from_transpose, add_entries, add_to_transpose))


def for_kernels(samples: Samples) -> KernelSamples:
    """The samples as compiled code takes them; `samples` keeps their memory alive."""
    X, labels, targets, weights, largest, rows = samples
    if rows is not None and rows.copy is not None:
        X, rows = rows.copy, None
    return KernelSamples(0 if rows else _address(X), rows.address if rows else 0, len(X), labels, targets, weights,
                         largest)


def as_arguments(samples: Samples) -> tuple[np.ndarray, int]:
    """X and the address of its `Reading`, as a call from Python hands them on: X has the network's dtype, or no rows.

    Calls with arrays of other dtypes would be compiled anew.
    """
    rows = samples.rows
    if rows is None:
        return samples.X, 0
    return (samples.targets[:0], rows.address) if rows.copy is None else (rows.copy, 0)


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
