"""Pairs of bfloat16 of panels and of W, as the three products take them; see `pairs`.

| product | sum over | pairs of A | pairs of B |
|---|---|---|---|
| a = W h | j | inputs j, j+1 of a row of W: `round_weights` | units j, j+1 of h: `pair_units` |
| e = Wᵀ δ | i | rows i, i+1 of W: `round_weights` | units i, i+1 of δ: `pair_units` |
| ∂E/∂W = Σ δ hᵀ | s | samples s, s+1 of δ: `pair_samples` | samples s, s+1 of h: `pair_rows` |

An odd one out is paired with 0.
"""

from typing import Any

from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .pairs import PAIRS, PairVectors
from .row_products import Loop
from .transpose import transposed
from .vectors import I64, Vectors


def pair_units(dtype: str, factors: int) -> Any:
    """The function target[q] = pairs of units 2q and 2q + 1 of a panel, for `address_of`: (units, source, target).

    source : a panel of float32; target : vectors of pairs, one after another.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def pair(units, source, target):
        _pair_units(factors, lanes, units, source, target)

    return pair, (INTEGER, numbers, numbers)


@inlined
def pair_all_units(address: Any, units: Any, source: Any, target: Any) -> None:
    """target = pairs of units, by the function at an address that `pair_units` describes."""
    invoke(address, (units, source, target))


def pair_samples(dtype: str, factors: int) -> Any:
    """The function that pairs the samples of each unit of a panel, for `address_of`.

    Its arguments are (units, source, target, row, count).

    source : a panel of float32; target : pair (i, q) at i · row + q.
    count : the number of samples; lanes after them become 0.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def pair(units, source, target, row, count):
        _pair_samples(factors, lanes, units, source, target, row, count)

    return pair, (INTEGER, numbers, numbers, INTEGER, INTEGER)


@inlined
def pair_all_samples(address: Any, units: Any, source: Any, target: Any, row: Any, count: Any) -> None:
    """target = pairs of samples, by the function at an address that `pair_samples` describes."""
    invoke(address, (units, source, target, row, count))


def pair_rows(dtype: str, factors: int) -> Any:
    """The function that pairs the samples of a panel, pair after pair, for `address_of`.

    Its arguments are (units, source, target, block).

    source : a panel of float32, with memory for whole blocks of `lanes` units.
    target : blocks of `lanes` units, `block` apart; vector q of one holds samples 2q and 2q + 1 of all its units.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def pair(units, source, target, block):
        for i in range(0, units, lanes):
            _pair_block(factors, lanes, pointer(source, i * lanes), pointer(target, i // lanes * block))

    return pair, (INTEGER, numbers, numbers, INTEGER)


@inlined
def pair_all_rows(address: Any, units: Any, source: Any, target: Any, block: Any) -> None:
    """target = pairs of samples, by the function at an address that `pair_rows` describes."""
    invoke(address, (units, source, target, block))


def round_weights(dtype: str, factors: int) -> Any:
    """The function that rounds a block of W to both kinds of pairs, for `address_of`.

    Its arguments are (rows, columns, W, w_row, by_input, input_row, by_row, row_row). The block begins at an even row,
    and at a column that is a multiple of 2 · lanes.

    W : (rows, columns) float32, rows w_row apart.
    by_input : pair (i, j / 2) holds inputs j and j + 1 of row i; rows input_row apart, whole vectors of them.
    by_row : pair (i / 2, j) holds rows i and i + 1 of input j; rows row_row apart, whole vectors two by two.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def round_block(rows, columns, W, w_row, by_input, input_row, by_row, row_row):
        for i in range(0, rows, 2):
            below, at_input = pointer(W, i * w_row), pointer(by_input, i * input_row)
            has_two = i + 1 < rows
            _round_two_rows(factors, lanes, columns, below, pointer(below, w_row if has_two else 0), has_two,
                            at_input, pointer(at_input, input_row if has_two else 0), pointer(by_row, i // 2 * row_row))

    return round_block, (INTEGER, INTEGER, numbers, INTEGER, numbers, INTEGER, numbers, INTEGER)


@inlined
def round_block(address: Any, rows: Any, columns: Any, W: Any, w_row: Any, by_input: Any, input_row: Any, by_row: Any,
                row_row: Any) -> None:
    """Round a block of W, by the function at an address that `round_weights` describes."""
    invoke(address, (rows, columns, W, w_row, by_input, input_row, by_row, row_row))


def _vectors(context, builder, factors, lanes, numbers):
    return PairVectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value,
                       factors.literal_value == PAIRS)


@intrinsic(prefer_literal=True)
def _pair_units(typing_context, factors, lanes, units, source, target):
    signature = types.void(factors, lanes, units, source, target)

    def codegen(context, builder, signature, values):
        _, _, units, source, target = values
        v = _vectors(context, builder, factors, lanes, signature.args[3])

        def pair(place, second):
            x = v.load(v.at(source, builder.mul(place, I64(v.lanes))))
            v.store(v.paired(x, second(place)), v.at(target, builder.mul(builder.lshr(place, I64(1)), I64(v.lanes))))

        loop = Loop(builder, units, 2, [])
        pair(loop.place, lambda place: v.load(v.at(source, builder.mul(builder.add(place, I64(1)), I64(v.lanes)))))
        place, _ = loop.end([])
        with builder.if_then(builder.icmp_signed("<", place, units)):
            pair(place, lambda place: v.zero)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _pair_samples(typing_context, factors, lanes, units, source, target, row, count):
    signature = types.void(factors, lanes, units, source, target, row, count)

    def codegen(context, builder, signature, values):
        _, _, units, source, target, row, count = values
        v = _vectors(context, builder, factors, lanes, signature.args[3])
        half, mask = Vectors(builder, v.number, v.lanes // 2), v.lanes_below(count)

        def write(places):
            loaded = [builder.select(mask, v.load(v.at(source, builder.mul(place, I64(v.lanes)))), v.zero)
                      for place in places]
            both = v.joined(loaded[0], loaded[-1])
            for n, place in enumerate(places):
                pairs = v.shuffle(both, both, range(n * half.lanes, (n + 1) * half.lanes))
                half.store(pairs, v.at(target, builder.mul(place, row)))

        loop = Loop(builder, units, 2, [])
        write([loop.place, builder.add(loop.place, I64(1))])
        place, _ = loop.end([])
        with builder.if_then(builder.icmp_signed("<", place, units)):
            write([place])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _pair_block(typing_context, factors, lanes, source, target):
    """Vector q of the target = pairs of samples 2q and 2q + 1 of `lanes` units."""
    signature = types.void(factors, lanes, source, target)

    def codegen(context, builder, signature, values):
        _, _, source, target = values
        v = _vectors(context, builder, factors, lanes, signature.args[2])
        half = v.lanes // 2
        # Units i and i + lanes / 2 side by side: two square blocks of pairs.
        rows = [v.joined(v.load(v.at(source, i * v.lanes)), v.load(v.at(source, (i + half) * v.lanes)))
                for i in range(half)]
        for q, pairs in enumerate(transposed(v, rows)):
            v.store(pairs, v.at(target, q * v.lanes))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _round_two_rows(typing_context, factors, lanes, columns, below, above, has_two, by_input, next_by_input, by_row):
    """Both kinds of pairs of rows i and i + 1 of W, or of row i and 0."""
    signature = types.void(factors, lanes, columns, below, above, has_two, by_input, next_by_input, by_row)

    def codegen(context, builder, signature, values):
        _, _, columns, below, above, has_two, by_input, next_by_input, by_row = values
        v = _vectors(context, builder, factors, lanes, signature.args[3])

        def write(place, load):
            rows = [v.joined(*(load(v.at(row, builder.add(place, I64(n * v.lanes))), n) for n in range(2)))
                    for row in (below, above)]
            rows[1] = builder.select(has_two, rows[1], v.zero)
            at = builder.lshr(place, I64(1))
            for row, target in zip(reversed(rows), (next_by_input, by_input), strict=True):
                v.store(row, v.at(target, at))  # row i last: without a second one, both have its place
            for n in range(2):
                v.store(v.interleaved(*rows, n), v.at(by_row, builder.add(place, I64(n * v.lanes))))

        loop = Loop(builder, columns, 2 * v.lanes, [])
        write(loop.place, lambda place, n: v.load(place))
        place, _ = loop.end([])
        rest = builder.sub(columns, place)
        with builder.if_then(builder.icmp_signed(">", rest, I64(0))):
            masks = [v.lanes_below(builder.sub(rest, I64(n * v.lanes))) for n in range(2)]
            write(place, lambda at, n: v.masked_load(at, masks[n]))
        return context.get_dummy_value()

    return signature, codegen
