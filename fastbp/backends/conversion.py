"""Numbers of any real dtype, converted to the network's: single rows, and the code of vectors of them.

Every number is rounded once, to the nearest of the network's dtype, as NumPy's `astype` does.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ..compiling.addresses import INTEGER, address_in_memory, intrinsic, invoke, pointer, pointer_to, pointer_type
from ..compiling.decorators import inlined

#: The bytes of the numbers that `row_reader` converts at once.
VECTOR_BYTES = 64


def stored_as(source: str) -> tuple[Any, bool]:
    """The type whose numbers have the bits of a dtype's, and whether these are of half precision.

    On the processor Numba has no numbers of half precision, and no pointers to bools.
    """
    dtype = np.dtype(source)
    if dtype == np.float16:
        return np.uint16, True
    return (np.uint8 if dtype == np.bool_ else dtype.type), False


def row_reader(dtype: str, source: str, contiguous: bool) -> Any:
    """The function that reads some rows of X, for `address_of`.

    Its arguments are (X, numbers, row_bytes, column_bytes, count, columns, target, target_row). It writes
    target[r, c] = X[numbers[r], c].

    X : the first number of the first column that is read, as bytes; rows and columns row_bytes and column_bytes apart.
    numbers : (count,) int64.
    target : (count, columns), rows target_row apart.
    contiguous : whether the columns lie one after another.
    """
    lanes, itemsize = VECTOR_BYTES // np.dtype(dtype).itemsize, np.dtype(source).itemsize
    stored, is_half = stored_as(source)

    def read(X: Any, numbers: Any, row_bytes: int, column_bytes: int, count: int, columns: int, target: Any,
             target_row: int) -> None:
        whole = columns - columns % lanes if contiguous else 0
        for r in range(count):
            row, out = address_in_memory(pointer(X, numbers[r] * row_bytes)), pointer(target, r * target_row)
            for c in range(0, whole, lanes):
                convert(lanes, is_half, pointer_to(row + c * itemsize, stored), pointer(out, c))
        for c in range(whole, columns):  # of columns that lie apart, one after another: their rows share pages
            column, out = address_in_memory(pointer(X, c * column_bytes)), pointer(target, c)
            for r in range(count):
                convert(1, is_half, pointer_to(column + numbers[r] * row_bytes, stored), pointer(out, r * target_row))

    target = pointer_type(dtype)
    return read, (types.CPointer(types.uint8), types.CPointer(INTEGER), INTEGER, INTEGER, INTEGER, INTEGER, target,
                  INTEGER)


@inlined
def read_rows(address: Any, X: Any, numbers: Any, row_bytes: Any, column_bytes: Any, count: Any, columns: Any,
              target: Any, target_row: Any) -> None:
    """target = some rows of X, by the function at an address that `row_reader` describes."""
    invoke(address, (X, numbers, row_bytes, column_bytes, count, columns, target, target_row))


@intrinsic(prefer_literal=True)
def convert(typing_context: Any, count: Any, is_half: Any, source: Any, target: Any) -> Any:
    """Convert some numbers that lie one after another."""
    signature = types.void(count, is_half, source, target)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = vector_of(context.get_value_type(target.dtype), count.literal_value)
        value = converted(builder, values[2], source.dtype, is_half.literal_value, kind)
        builder.store(value, builder.bitcast(values[3], kind.as_pointer()), align=target.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature, codegen


def vector_of(number: Any, count: int) -> Any:
    """The LLVM type of some numbers; of one, that of the number."""
    return number if count == 1 else ir.VectorType(number, count)


def converted(builder: Any, place: Any, stored: Any, is_half: bool, kind: Any) -> Any:
    """The code that loads numbers from a place and converts them.

    stored : Numba's type of them; see `stored_as`.
    kind : the LLVM type of the result, a vector or a number.
    """
    count, wanted = (kind.count, kind.element) if isinstance(kind, ir.VectorType) else (1, kind)
    wanted_bits = 32 if isinstance(wanted, ir.FloatType) else 64
    if is_half or isinstance(stored, types.Float):
        bits = 16 if is_half else stored.bitwidth
        number = {16: ir.HalfType, 32: ir.FloatType, 64: ir.DoubleType}[bits]()
        change = None if bits == wanted_bits else builder.fpext if bits < wanted_bits else builder.fptrunc
    else:
        number = ir.IntType(stored.bitwidth)
        change = builder.sitofp if stored.signed else builder.uitofp
    loaded = builder.load(builder.bitcast(place, vector_of(number, count).as_pointer()), align=1)
    return loaded if change is None else change(loaded, kind)
