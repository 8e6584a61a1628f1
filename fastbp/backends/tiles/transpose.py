"""Blocks of lanes × lanes numbers transposed in registers: samples into panels, and panels into samples.

A transpose of 2^m × 2^m numbers takes m rounds; round d exchanges, in rows r and r + d, the elements of columns c + d
and c (bit d of r and c clear). Element by element it took eight times as long (0.65 against 0.08 ns, AVX-512).
"""

from typing import Any

import numpy as np
from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer_to, pointer_type
from ...compiling.decorators import inlined
from ..conversion import READING_TYPE, converted, loaded_scaling, number_at, stored_as
from .host import host
from .vectors import I64, Vectors

#: Columns of a narrow block.
NARROW = 4

#: Rows of X come from memory; they are prefetched AHEAD blocks before their use.
AHEAD = 6


def transpose_block(dtype: str, copies: bool) -> Any:
    """The function that transposes a block of lanes × lanes numbers, for `address_of`.

    Its arguments are (source, source_rows, columns, target, target_rows, rows, copy). It loads `columns` numbers of row
    r = 0 … lanes - 1 of the block from source + source_rows[r], and takes the others as 0. It writes `rows` numbers of
    column c to target + target_rows[c]. It touches no other memory. All 2 · lanes places must exist, and may be given
    more than once. With `copies`, the rows are also written as they are, one after another, at copy.

    source, target, copy : numbers
    source_rows, target_rows : (lanes,) int64, counted in numbers
    """
    lanes = host().lanes(dtype)

    def transpose(source, source_rows, columns, target, target_rows, rows, copy):
        _transpose(lanes, copies, source, source_rows, columns, target, target_rows, rows, copy)

    numbers, places = pointer_type(dtype), types.CPointer(INTEGER)
    return transpose, (numbers, places, INTEGER, numbers, places, INTEGER, numbers)


@inlined
def transpose(address: Any, source: Any, source_rows: Any, columns: Any, target: Any, target_rows: Any, rows: Any,
              copy: Any) -> None:
    """target = the transposed source, by the function at an address that `transpose_block` describes."""
    invoke(address, (source, source_rows, columns, target, target_rows, rows, copy))


def transpose_narrow(dtype: str) -> Any:
    """The function that transposes up to four columns of `lanes` rows, for `address_of`.

    Its arguments are (source, source_rows, columns, target). Row r is read from source + source_rows[r], and no memory
    after its `columns` numbers. The target has four rows of `lanes` numbers; those after `columns` become 0. To
    transpose a whole block took 2.5 times as long.
    """
    lanes = host().lanes(dtype)

    def transpose(source, source_rows, columns, target):
        _transpose_narrow(lanes, source, source_rows, columns, target)

    numbers = pointer_type(dtype)
    return transpose, (numbers, types.CPointer(INTEGER), INTEGER, numbers)


@inlined
def transpose_columns(address: Any, source: Any, source_rows: Any, columns: Any, target: Any) -> None:
    """target = a few transposed columns, by the function at an address that `transpose_narrow` describes."""
    invoke(address, (source, source_rows, columns, target))


def gather_block(dtype: str, source: str, standardized: bool = False) -> Any:
    """The function that converts and transposes a block of lanes × lanes numbers of another dtype, for `address_of`.

    Its arguments are (reading, source_rows, first, target, target_rows, copy). The block has the columns of X from
    `first` on, all `lanes` of them; its rows, converted, are also written one after another at copy.

    reading : `conversion.Reading`
    source_rows, target_rows : (lanes,) int64, where the rows of X begin, in bytes; and where columns of the block go
    standardized : as for `conversion.row_reader`
    """
    lanes, itemsize = host().lanes(dtype), np.dtype(source).itemsize
    stored, is_half = stored_as(source)

    def gather(reading, source_rows, first, target, target_rows, copy):
        source = pointer_to(reading.X + first * itemsize, np.uint8)
        _gather(lanes, is_half, itemsize, standardized, stored, source, source_rows, target, target_rows, lanes, copy,
                number_at(reading.shift, first), number_at(reading.factor, first))

    numbers, places = pointer_type(dtype), types.CPointer(INTEGER)
    return gather, (READING_TYPE, places, INTEGER, numbers, places, numbers)


@inlined
def gather_converted(address: Any, reading: Any, source_rows: Any, first: Any, target: Any, target_rows: Any,
                     copy: Any) -> None:
    """A converted and transposed block of X, by the function at an address that `gather_block` describes."""
    invoke(address, (reading, source_rows, first, target, target_rows, copy))


@intrinsic(prefer_literal=True)
def _transpose_narrow(typing_context, lanes, source, source_rows, columns, target):
    signature = types.void(lanes, source, source_rows, columns, target)

    def codegen(context, builder, signature, values):
        _, source, source_rows, columns, target = values
        number = context.get_value_type(source_type.dtype)
        v = Vectors(builder, number, lanes.literal_value)
        short = Vectors(builder, number, min(NARROW, v.lanes))
        places = [_place(builder, v, source, source_rows, r) for r in range(v.lanes)]
        rows = _load_rows(builder, short, places, columns)
        while len(rows) > short.lanes:  # at the end rows r, r + 4, r + 8, … are side by side
            both = range(2 * rows[0].type.count)
            rows = [v.shuffle(rows[r], rows[r + short.lanes], both) for r in range(len(rows)) if not r & short.lanes]
        for c, column in enumerate(transposed(v, rows)):
            v.store(column, v.at(target, c * v.lanes))
        return context.get_dummy_value()

    source_type = source
    return signature, codegen


@intrinsic(prefer_literal=True)
def _transpose(typing_context, lanes, copies, source, source_rows, columns, target, target_rows, rows, copy):
    signature = types.void(lanes, copies, source, source_rows, columns, target, target_rows, rows, copy)

    def codegen(context, builder, signature, values):
        _, _, source, source_rows, columns, target, target_rows, rows, copy = values
        v = Vectors(builder, context.get_value_type(source_type.dtype), lanes.literal_value)
        places = [_place(builder, v, source, source_rows, r) for r in range(v.lanes)]
        if copies.literal_value:
            for place in places:
                v.prefetch(v.at(place, AHEAD * v.lanes))
        block = _load_rows(builder, v, places, columns)
        if copies.literal_value:
            for r, row in enumerate(block):
                v.store(row, v.at(copy, r * v.lanes))
        targets = [_place(builder, v, target, target_rows, c) for c in range(v.lanes)]
        _store_rows(builder, v, transposed(v, block), targets, rows)
        return context.get_dummy_value()

    source_type = source
    return signature, codegen


@intrinsic(prefer_literal=True)
def _gather(typing_context, lanes, is_half, itemsize, standardized, stored, source, source_rows, target, target_rows,
            rows, copy, shift, factor):
    signature = types.void(lanes, is_half, itemsize, standardized, stored, source, source_rows, target, target_rows,
                           rows, copy, shift, factor)

    def codegen(context, builder, signature, values):
        source, source_rows, target, target_rows, rows, copy, shift, factor = values[5:]
        v = Vectors(builder, context.get_value_type(signature.args[7].dtype), lanes.literal_value)
        scaling = loaded_scaling(builder, shift, factor, v.type) if standardized.literal_value else None
        places = [builder.gep(source, [builder.load(builder.gep(source_rows, [I64(r)]))]) for r in range(v.lanes)]
        for place in places:
            v.prefetch(builder.gep(place, [I64(AHEAD * v.lanes * itemsize.literal_value)]))
        block = [converted(builder, place, stored.instance_type, is_half.literal_value, v.type, scaling)
                 for place in places]
        for r, row in enumerate(block):
            v.store(row, v.at(copy, r * v.lanes))
        targets = [_place(builder, v, target, target_rows, c) for c in range(v.lanes)]
        _store_rows(builder, v, transposed(v, block), targets, rows)
        return context.get_dummy_value()

    return signature, codegen


def _place(builder, v, base, places, number):
    return v.at(base, builder.load(builder.gep(places, [I64(number)])))


def transposed(v, block):
    """The rows of the transposed block, in log2(rows) rounds; of several square ones side by side likewise."""
    rows, columns, d = list(block), range(v.lanes), len(block) // 2
    while d:
        for r in range(len(rows)):
            if not r & d:
                a, b = rows[r], rows[r + d]
                rows[r] = v.shuffle(a, b, [v.lanes + c - d if c & d else c for c in columns])
                rows[r + d] = v.shuffle(a, b, [v.lanes + c if c & d else c + d for c in columns])
        d //= 2
    return rows


def _load_rows(builder, v, places, columns):
    """A vector from each place: `columns` numbers from memory, and 0 in the other lanes."""
    full, ragged = builder.append_basic_block("load_full"), builder.append_basic_block("load_ragged")
    joined = builder.append_basic_block("loaded")
    builder.cbranch(builder.icmp_signed(">=", columns, I64(v.lanes)), full, ragged)
    builder.position_at_end(full)
    whole = [v.load(place) for place in places]
    builder.branch(joined)
    builder.position_at_end(ragged)
    mask = v.lanes_below(columns)
    part = [v.masked_load(place, mask) for place in places]
    builder.branch(joined)
    builder.position_at_end(joined)
    rows = []
    for a, b in zip(whole, part, strict=True):
        phi = builder.phi(v.type)
        phi.add_incoming(a, full)
        phi.add_incoming(b, ragged)
        rows.append(phi)
    return rows


def _store_rows(builder, v, rows, places, count):
    full, ragged = builder.append_basic_block("store_full"), builder.append_basic_block("store_ragged")
    end = builder.append_basic_block("stored")
    builder.cbranch(builder.icmp_signed(">=", count, I64(v.lanes)), full, ragged)
    builder.position_at_end(full)
    for row, place in zip(rows, places, strict=True):
        v.store(row, place)
    builder.branch(end)
    builder.position_at_end(ragged)
    mask = v.lanes_below(count)
    for row, place in zip(rows, places, strict=True):
        v.masked_store(row, place, mask)
    builder.branch(end)
    builder.position_at_end(end)
