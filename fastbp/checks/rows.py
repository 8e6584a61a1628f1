"""X as it lies: rows of any real dtype and any strides, converted to the network's dtype while kernels read them.

Kernels see numbers alone: an address, strides, and the address of a function that converts. So they are compiled once
for all X, and a training never holds a converted copy of X. Rows of the network's dtype, one after another in memory,
are read without such a function.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from ..compiling.addresses import (
    INTEGER,
    address_in_memory,
    address_of,
    intrinsic,
    invoke,
    pointer,
    pointer_to,
    pointer_type,
)
from ..compiling.decorators import inlined

#: The dtypes that are read as they lie.
READABLE = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
            "float64")

#: The bytes of the numbers that are converted at once.
VECTOR_BYTES = 64


class Rows(NamedTuple):
    """Where the rows of X (n, N_0) lie, and how they are read."""

    address: int       # of the first number
    n: int
    row_bytes: int     # from one row to the next
    column_bytes: int  # from one column to the next
    read: int          # the address of the function that converts rows: `row_reader`; 0 if nothing has to be done


def is_readable(X: np.ndarray) -> bool:
    """Whether kernels can read an array as it lies: its dtype is one of those, in the byte order of the processor."""
    return X.dtype.name in READABLE and X.dtype.isnative and X.flags.aligned


def rows_of(X: np.ndarray, dtype: np.dtype) -> Rows:
    """The rows of an array that `is_readable`, for a network of a dtype."""
    row_bytes, column_bytes = X.strides
    is_plain = X.dtype == dtype and X.flags.c_contiguous
    read = 0 if is_plain else _reader(dtype, X.dtype, column_bytes == X.itemsize)
    return Rows(X.__array_interface__["data"][0], len(X), row_bytes, column_bytes, read)


@inlined
def rows_of_array(X: Any) -> Any:
    """The rows of an array that kernels take as it is, in compiled code."""
    itemsize = X.itemsize
    return Rows(address_in_memory(X), X.shape[0], X.shape[1] * itemsize, itemsize, 0)


@functools.cache
def _reader(dtype: np.dtype, source: np.dtype, contiguous: bool) -> int:
    """The address of the function that reads rows of a dtype; the names of dtypes take 4 µs each."""
    return address_of(row_reader, dtype.name, source.name, contiguous)


def row_reader(dtype: str, source: str, contiguous: bool) -> Any:
    """The function that reads some rows of X, for `address_of`.

    Its arguments are (X, numbers, row_bytes, column_bytes, count, columns, target, target_row). It writes
    target[r, c] = X[numbers[r], c], rounded to the nearest number of the dtype.

    X : the first number of the first column that is read, as bytes; rows and columns row_bytes and column_bytes apart.
    numbers : (count,) int64.
    target : (count, columns), rows target_row apart.
    contiguous : whether the columns lie one after another.
    """
    lanes, itemsize = VECTOR_BYTES // np.dtype(dtype).itemsize, np.dtype(source).itemsize
    stored, is_half = _stored_as(source)

    def read(X: Any, numbers: Any, row_bytes: int, column_bytes: int, count: int, columns: int, target: Any,
             target_row: int) -> None:
        whole = columns - columns % lanes if contiguous else 0
        for r in range(count):
            row, out = pointer(X, numbers[r] * row_bytes), pointer(target, r * target_row)
            for c in range(0, whole, lanes):
                convert(lanes, is_half, pointer_to(address_in_memory(row) + c * itemsize, stored), pointer(out, c))
            for c in range(whole, columns):
                convert(1, is_half, pointer_to(address_in_memory(row) + c * column_bytes, stored), pointer(out, c))

    numbers = pointer_type(dtype)
    return read, (types.CPointer(types.uint8), types.CPointer(INTEGER), INTEGER, INTEGER, INTEGER, INTEGER, numbers,
                  INTEGER)


def _stored_as(source: str) -> tuple[Any, bool]:
    """The type whose numbers have the bits of a dtype's, and whether these are of half precision.

    Numba has neither numbers of half precision nor arrays of bits on the processor.
    """
    dtype = np.dtype(source)
    if dtype == np.float16:
        return np.uint16, True
    return (np.uint8 if dtype == np.bool_ else dtype.type), False


@inlined
def read_rows(address: Any, X: Any, numbers: Any, row_bytes: Any, column_bytes: Any, count: Any, columns: Any,
              target: Any, target_row: Any) -> None:
    """target = some rows of X, by the function at an address that `row_reader` describes."""
    invoke(address, (X, numbers, row_bytes, column_bytes, count, columns, target, target_row))


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


@intrinsic(prefer_literal=True)
def convert(typing_context: Any, lanes: Any, is_half: Any, source: Any, target: Any) -> Any:
    """Convert some numbers that lie one after another."""
    signature = types.void(lanes, is_half, source, target)
    count, half = lanes.literal_value, is_half.literal_value
    given, wanted = source.dtype, target.dtype

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def several(kind: Any) -> Any:
            return kind if count == 1 else ir.VectorType(kind, count)

        stored = ir.HalfType() if half else context.get_value_type(given)
        number = context.get_value_type(wanted)
        place = builder.bitcast(values[2], several(stored).as_pointer())
        loaded = builder.load(place, align=1)
        if half or isinstance(given, types.Float):
            bits, wanted_bits = 16 if half else given.bitwidth, wanted.bitwidth
            change = None if bits == wanted_bits else builder.fpext if bits < wanted_bits else builder.fptrunc
        else:
            change = builder.sitofp if given.signed else builder.uitofp
        value = loaded if change is None else change(loaded, several(number))
        builder.store(value, builder.bitcast(values[3], several(number).as_pointer()), align=wanted.bitwidth // 8)
        return context.get_dummy_value()

    return signature, codegen
