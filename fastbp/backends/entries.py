"""Sparse rows: written out a few at a time, and multiplied by W_1 entry by entry.

    a_i = b_i + Σ_{j : x_j ≠ 0} w_ij x_j       `affine_entries`, `affine_from_transpose`
    ∂E/∂w_ij += δ_i x_j where x_j ≠ 0          `add_entries`, `add_to_transpose`

All functions take the rows from a `conversion.Reading`, and are compiled for the dtypes of entries and column numbers,
and for numbers as they are or standardised. Of standardised rows those alone are taken entry by entry whose μ is 0.
"""

from typing import Any

import numpy as np
from numba import types

from ..compiling.addresses import INTEGER, in_order, invoke, pointer, pointer_to, pointer_type
from ..compiling.decorators import inlined
from .conversion import READING_TYPE, number_at

#: Units whose sums over the entries of a row go on side by side: a multiply-add waits four cycles for the one before.
TOGETHER = 8


@inlined
def entries_of(reading: Any, source: Any, index: Any) -> Any:
    """The values of all entries, their columns, and where those of each row begin."""
    return (pointer_to(reading.X, source), pointer_to(reading.columns, index),
            pointer_to(reading.begins, np.int64))


def number_of(T: Any, standardized: bool) -> Any:
    """The compiled function (reading, values, places, p) that gives the number of an entry, rounded once to T."""
    @inlined
    def as_it_is(reading: Any, values: Any, places: Any, p: Any) -> Any:
        return T(values[p])

    @inlined
    def in_float64(reading: Any, values: Any, places: Any, p: Any) -> Any:
        j = places[p]
        return T((0.5 * values[p] - number_at(reading.shift, j)[0]) * number_at(reading.factor, j)[0])

    return in_float64 if standardized else as_it_is


def csr_reader(dtype: str, source: str, index: str, standardized: bool) -> Any:
    """The function that writes rows out, zeros and all: a `row_reader` of sparse rows."""
    T, S, I = (np.dtype(name).type for name in (dtype, source, index))
    number = number_of(T, standardized)

    def read(reading: Any, numbers: Any, count: int, first: int, columns: int, target: Any, target_row: int) -> None:
        values, places, begins = entries_of(reading, S, I)
        for r in range(count):
            out, begin, end = pointer(target, r * target_row), begins[numbers[r]], begins[numbers[r] + 1]
            for c in range(columns):
                out[c] = T(0.0)
                if standardized:
                    out[c] = T(-number_at(reading.shift, first + c)[0] * number_at(reading.factor, first + c)[0])
            after = end
            while begin < after:  # the first entry from column `first` on
                middle = (begin + after) // 2
                if places[middle] < first:
                    begin = middle + 1
                else:
                    after = middle
            while begin < end and places[begin] < first + columns:
                out[places[begin] - first] = number(reading, values, places, begin)
                begin += 1

    return read, (READING_TYPE, types.CPointer(INTEGER), INTEGER, INTEGER, INTEGER, pointer_type(dtype), INTEGER)


@in_order
def affine_entries(dtype: str, source: str, index: str, standardized: bool) -> Any:
    """The function that gives a_1 of some units for some samples, for `address_of`.

    Its arguments are (reading, numbers, count, units, W, in_row, b, out, in_out).

    numbers : (count,) int64, of the samples' rows.
    W : (units, N_0), rows in_row apart; b : (units,).
    out : (units, count), rows in_out apart.
    """
    T, S, I = (np.dtype(name).type for name in (dtype, source, index))
    number = number_of(T, standardized)

    def affine(reading: Any, numbers: Any, count: int, units: int, W: Any, in_row: int, b: Any, out: Any,
               in_out: int) -> None:
        values, places, begins = entries_of(reading, S, I)
        whole = units - units % TOGETHER
        for i in range(0, whole, TOGETHER):
            rows, biases = pointer(W, i * in_row), pointer(b, i)
            for s in range(count):
                a = sums_at(biases)
                for p in range(begins[numbers[s]], begins[numbers[s] + 1]):
                    a = sums_after(a, pointer(rows, np.int64(places[p])), in_row,
                                   number(reading, values, places, p))
                for u in range(TOGETHER):
                    out[(i + u) * in_out + s] = a[u]
        for i in range(whole, units):
            row = pointer(W, i * in_row)
            for s in range(count):
                total = b[i]
                for p in range(begins[numbers[s]], begins[numbers[s] + 1]):
                    total += row[places[p]] * number(reading, values, places, p)
                out[i * in_out + s] = total

    numbers = pointer_type(dtype)
    return affine, (READING_TYPE, types.CPointer(INTEGER), INTEGER, INTEGER, numbers, INTEGER, numbers, numbers,
                    INTEGER)


@in_order
def affine_from_transpose(dtype: str, source: str, index: str, standardized: bool) -> Any:
    """The function that gives the same a_1 from W_1ᵀ, sample by sample, for `address_of`.

    Its arguments are those of `affine_entries`, with W (N_0, units), whose rows are in_row apart, and out
    (count, units). An entry takes numbers of W that lie side by side.
    """
    T, S, I = (np.dtype(name).type for name in (dtype, source, index))
    number = number_of(T, standardized)

    def affine(reading: Any, numbers: Any, count: int, units: int, W: Any, in_row: int, b: Any, out: Any,
               in_out: int) -> None:
        values, places, begins = entries_of(reading, S, I)
        for s in range(count):
            a = pointer(out, s * in_out)
            for i in range(units):
                a[i] = b[i]
            for p in range(begins[numbers[s]], begins[numbers[s] + 1]):
                w, x = pointer(W, places[p] * in_row), number(reading, values, places, p)
                for i in range(units):
                    a[i] += w[i] * x

    numbers = pointer_type(dtype)
    return affine, (READING_TYPE, types.CPointer(INTEGER), INTEGER, INTEGER, numbers, INTEGER, numbers, numbers,
                    INTEGER)


@inlined
def sums_at(values: Any) -> Any:
    """The numbers that TOGETHER sums begin with."""
    return values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]


@inlined
def sums_after(a: Any, w: Any, in_row: Any, x: Any) -> Any:
    """TOGETHER sums after one entry x, whose weights lie in_row apart."""
    return (a[0] + w[0] * x, a[1] + w[in_row] * x, a[2] + w[2 * in_row] * x, a[3] + w[3 * in_row] * x,
            a[4] + w[4 * in_row] * x, a[5] + w[5 * in_row] * x, a[6] + w[6 * in_row] * x, a[7] + w[7 * in_row] * x)


@inlined
def affine_of_entries(address: Any, reading: Any, numbers: Any, count: Any, units: Any, W: Any, in_row: Any, b: Any,
                      out: Any, in_out: Any) -> None:
    """a_1 of some units, by the function at an address that `affine_entries` describes."""
    invoke(address, (reading, numbers, count, units, W, in_row, b, out, in_out))


def add_entries(dtype: str, source: str, index: str, standardized: bool) -> Any:
    """The function that adds up a row of ∂E/∂W_1, sample after sample, for `address_of`.

    Its arguments are (reading, numbers, count, alpha, delta, in_delta, lanes, target): target_j += alpha δ x_j.

    numbers : (count,) int64, of the samples' rows.
    delta : δ_i of the unit, in panels of `lanes` samples, in_delta apart.
    target : (N_0,)
    """
    T, S, I = (np.dtype(name).type for name in (dtype, source, index))
    number = number_of(T, standardized)

    def add(reading: Any, numbers: Any, count: int, alpha: Any, delta: Any, in_delta: int, lanes: int,
            target: Any) -> None:
        values, places, begins = entries_of(reading, S, I)
        for s in range(count):
            factor = alpha * delta[s // lanes * in_delta + s % lanes]
            if factor != T(0.0):
                for p in range(begins[numbers[s]], begins[numbers[s] + 1]):
                    target[places[p]] += factor * number(reading, values, places, p)

    numbers = pointer_type(dtype)
    return add, (READING_TYPE, types.CPointer(INTEGER), INTEGER, numbers.dtype, numbers, INTEGER, INTEGER, numbers)


def add_to_transpose(dtype: str, source: str, index: str, standardized: bool) -> Any:
    """The function that adds up some columns of (∂E/∂W_1)ᵀ, sample after sample, for `address_of`.

    Its arguments are (reading, numbers, count, units, delta, target, in_row): target_ji += δ_i x_j. An entry takes
    numbers that lie side by side, and the sums are those of `add_entries`.

    numbers : (count,) int64, of the samples' rows.
    delta : (count, units), times alpha.
    target : (N_0, units), rows in_row apart.
    """
    T, S, I = (np.dtype(name).type for name in (dtype, source, index))
    number = number_of(T, standardized)

    def add(reading: Any, numbers: Any, count: int, units: int, delta: Any, target: Any, in_row: int) -> None:
        values, places, begins = entries_of(reading, S, I)
        for s in range(count):
            factors = pointer(delta, s * units)
            for p in range(begins[numbers[s]], begins[numbers[s] + 1]):
                row, x = pointer(target, places[p] * in_row), number(reading, values, places, p)
                for i in range(units):
                    row[i] += factors[i] * x

    numbers = pointer_type(dtype)
    return add, (READING_TYPE, types.CPointer(INTEGER), INTEGER, INTEGER, numbers, numbers, INTEGER)


@inlined
def add_transposed_gradient(address: Any, reading: Any, numbers: Any, count: Any, units: Any, delta: Any, target: Any,
                            in_row: Any) -> None:
    """Columns of (∂E/∂W_1)ᵀ, by the function at an address that `add_to_transpose` describes."""
    invoke(address, (reading, numbers, count, units, delta, target, in_row))


@inlined
def add_gradient_of_entries(address: Any, reading: Any, numbers: Any, count: Any, alpha: Any, delta: Any,
                            in_delta: Any, lanes: Any, target: Any) -> None:
    """A row of ∂E/∂W_1, by the function at an address that `add_entries` describes."""
    invoke(address, (reading, numbers, count, alpha, delta, in_delta, lanes, target))
