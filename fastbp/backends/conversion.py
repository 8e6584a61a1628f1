"""Numbers of any real dtype, converted to the network's: single rows, and the code of vectors of them.

Every number is rounded once, to the nearest of the network's dtype, as NumPy's `astype` does. Numbers of networks that
standardise are computed in float64 before; see `checks.standardization`.
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
    shift: int         # the address of μ/2 of every column, float64, or 0 where X is not standardised
    factor: int        # that of 2/σ
    columns: int       # of sparse rows, see `checks.sparse_rows`: the address of the column of each entry
    begins: int        # where the entries of each row begin
    affine: Code       # what `entries.affine_entries` describes
    affine_transposed: Code  # what `entries.affine_from_transpose` describes
    add: Code          # what `entries.add_entries` describes
    add_transposed: Code     # what `entries.add_to_transpose` describes


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


def row_reader(dtype: str, source: str, contiguous: bool, standardized: bool = False) -> Any:
    """The function that reads some rows of X, for `address_of`.

    Its arguments are (reading, numbers, count, first, columns, target, target_row). It writes
    target[r, c] = X[numbers[r], first + c].

    reading : `Reading`.
    numbers : (count,) int64.
    target : (count, columns), rows target_row apart.
    contiguous : whether the columns lie one after another.
    standardized : whether the numbers are standardised, by the record's shift and factor.
    """
    lanes, itemsize = VECTOR_BYTES // np.dtype(dtype).itemsize, np.dtype(source).itemsize
    stored, is_half = stored_as(source)

    def read(reading: Any, numbers: Any, count: int, first: int, columns: int, target: Any, target_row: int) -> None:
        row_bytes, column_bytes = reading.row_bytes, reading.column_bytes
        begin, whole = reading.X + first * column_bytes, columns - columns % lanes if contiguous else 0
        for r in range(count):
            row, out = begin + numbers[r] * row_bytes, pointer(target, r * target_row)
            for c in range(0, whole, lanes):
                convert(lanes, is_half, standardized, pointer_to(row + c * itemsize, stored),
                        number_at(reading.shift, first + c), number_at(reading.factor, first + c), pointer(out, c))
        for c in range(whole, columns):  # of columns that lie apart, one after another: their rows share pages
            column, out = begin + c * column_bytes, pointer(target, c)
            shift, factor = number_at(reading.shift, first + c), number_at(reading.factor, first + c)
            for r in range(count):
                convert(1, is_half, standardized, pointer_to(column + numbers[r] * row_bytes, stored), shift, factor,
                        pointer(out, r * target_row))

    return read, (READING_TYPE, types.CPointer(INTEGER), INTEGER, INTEGER, INTEGER, pointer_type(dtype), INTEGER)


@inlined
def read_rows(address: Any, reading: Any, numbers: Any, count: Any, first: Any, columns: Any, target: Any,
              target_row: Any) -> None:
    """target = some columns of rows of X, by the function at an address that `row_reader` describes."""
    invoke(address, (reading, numbers, count, first, columns, target, target_row))


@inlined
def number_at(address: Any, place: Any) -> Any:
    """A pointer to one of the float64 at an address."""
    return pointer_to(address + 8 * place, np.float64)


@intrinsic(prefer_literal=True)
def convert(typing_context: Any, count: Any, is_half: Any, standardized: Any, source: Any, shift: Any, factor: Any,
            target: Any) -> Any:
    """Convert some numbers that lie one after another, standardised or as they are."""
    signature = types.void(count, is_half, standardized, source, shift, factor, target)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = vector_of(context.get_value_type(target.dtype), count.literal_value)
        scaling = loaded_scaling(builder, values[4], values[5], kind) if standardized.literal_value else None
        value = converted(builder, values[3], source.dtype, is_half.literal_value, kind, scaling)
        builder.store(value, builder.bitcast(values[6], kind.as_pointer()), align=target.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature, codegen


def loaded_scaling(builder: Any, shift: Any, factor: Any, kind: Any) -> tuple[Any, Any]:
    """The code that loads μ/2 and 2/σ of as many columns as a vector of a kind has, at two pointers."""
    doubles = vector_of(ir.DoubleType(), getattr(kind, "count", 1))
    shifts, factors = (builder.load(builder.bitcast(place, doubles.as_pointer()), align=8) for place in (shift, factor))
    return shifts, factors


def vector_of(number: Any, count: int) -> Any:
    """The LLVM type of some numbers; of one, that of the number."""
    return number if count == 1 else ir.VectorType(number, count)


def converted(builder: Any, place: Any, stored: Any, is_half: bool, kind: Any,
              scaling: tuple[Any, Any] | None = None) -> Any:
    """The code that loads numbers from a place and converts them.

    stored : Numba's type of them; see `stored_as`.
    kind : the LLVM type of the result, a vector or a number.
    scaling : what `loaded_scaling` gives, where they are standardised.
    """
    if scaling is not None:
        shift, factor = scaling
        halves = builder.fmul(converted(builder, place, stored, is_half, shift.type), _constant(shift.type, 0.5))
        standardised = builder.fmul(builder.fsub(halves, shift), factor)
        return standardised if kind == shift.type else builder.fptrunc(standardised, kind)
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


def _constant(kind: Any, value: float) -> Any:
    """A number in every lane of an LLVM type."""
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count if isinstance(kind, ir.VectorType)
                       else value)
