"""Numbers of any real dtype, converted to the network's: single rows, and the code of vectors of them.

Every number is rounded once, to the nearest of the network's dtype, as NumPy's `astype` does.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ..compiling.addresses import INTEGER, intrinsic, invoke, pointer, pointer_to, pointer_type
from ..compiling.decorators import inlined
from ..compiling.records import Code, RecordType, fields_of, record_at, record_dtype

#: The bytes of the numbers that `row_reader` converts at once.
VECTOR_BYTES = 64


class Reading:
    """Where the rows of X (n, N_0) lie, and how they are read."""

    read: Code         # what `row_reader` describes
    gather: Code       # what `transpose.gather_block` describes, or 0
    X: int             # the address of the first number, or of the entries
    row_bytes: int     # from one row to the next
    column_bytes: int  # from one column to the next
    columns: int       # of sparse rows, see `checks.sparse_rows`: the address of the column of each entry
    begins: int        # where the entries of each row begin
    affine: Code       # what `entries.affine_entries` describes
    affine_transposed: Code
    add: Code          # what `entries.add_entries` describes


FIELDS = fields_of(Reading)

READING_DTYPE, READING_TYPE = record_dtype(FIELDS), RecordType(Reading)

#: The function (address, None): the record at an address.
reading_at = record_at(Reading)


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

    Its arguments are (reading, numbers, count, first, columns, target, target_row). It writes
    target[r, c] = X[numbers[r], first + c].

    reading : `Reading`.
    numbers : (count,) int64.
    target : (count, columns), rows target_row apart.
    contiguous : whether the columns lie one after another.
    """
    lanes, itemsize = VECTOR_BYTES // np.dtype(dtype).itemsize, np.dtype(source).itemsize
    stored, is_half = stored_as(source)

    def read(reading: Any, numbers: Any, count: int, first: int, columns: int, target: Any, target_row: int) -> None:
        row_bytes, column_bytes = reading.row_bytes, reading.column_bytes
        begin, whole = reading.X + first * column_bytes, columns - columns % lanes if contiguous else 0
        for r in range(count):
            row, out = begin + numbers[r] * row_bytes, pointer(target, r * target_row)
            for c in range(0, whole, lanes):
                convert(lanes, is_half, pointer_to(row + c * itemsize, stored), pointer(out, c))
        for c in range(whole, columns):  # of columns that lie apart, one after another: their rows share pages
            column, out = begin + c * column_bytes, pointer(target, c)
            for r in range(count):
                convert(1, is_half, pointer_to(column + numbers[r] * row_bytes, stored), pointer(out, r * target_row))

    return read, (READING_TYPE, types.CPointer(INTEGER), INTEGER, INTEGER, INTEGER, pointer_type(dtype), INTEGER)


@inlined
def read_rows(address: Any, reading: Any, numbers: Any, count: Any, first: Any, columns: Any, target: Any,
              target_row: Any) -> None:
    """target = some columns of rows of X, by the function at an address that `row_reader` describes."""
    invoke(address, (reading, numbers, count, first, columns, target, target_row))


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
