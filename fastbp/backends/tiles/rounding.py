"""Pairs of bfloat16 of panels and of W, as the three products take them; see `pairs`.

| product | sum over | pairs of A | pairs of B |
|---|---|---|---|
| a = W h | j | inputs j, j+1 of a row of W: `pack_row` | units j, j+1 of h: `pair_units` |
| e = Wᵀ δ | i | rows i, i+1 of W: `pack_columns` | units i, i+1 of δ: `pair_units` |
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


def _vectors(context, builder, factors, lanes, numbers):
    return PairVectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value,
                       factors.literal_value == PAIRS)


def _by_twos(builder, count, write):
    """write(place, True) for every two of `count` places, of which the first is given, and write(place, False) for an
    odd one."""
    loop = Loop(builder, count, 2, [])
    write(loop.place, True)
    place, _ = loop.end([])
    with builder.if_then(builder.icmp_signed("<", place, count)):
        write(place, False)


@intrinsic(prefer_literal=True)
def _pair_units(typing_context, factors, lanes, units, source, target):
    signature = types.void(factors, lanes, units, source, target)

    def codegen(context, builder, signature, values):
        _, _, units, source, target = values
        v = _vectors(context, builder, factors, lanes, signature.args[3])

        def pair(place, has_two):
            first = v.at(source, builder.mul(place, I64(v.lanes)))
            second = v.load(v.at(first, v.lanes)) if has_two else v.zero
            v.store(v.paired(v.load(first), second),
                    v.at(target, builder.mul(builder.lshr(place, I64(1)), I64(v.lanes))))

        _by_twos(builder, units, pair)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _pair_samples(typing_context, factors, lanes, units, source, target, row, count):
    signature = types.void(factors, lanes, units, source, target, row, count)

    def codegen(context, builder, signature, values):
        _, _, units, source, target, row, count = values
        v = _vectors(context, builder, factors, lanes, signature.args[3])
        half, mask = Vectors(builder, v.number, v.lanes // 2), v.lanes_below(count)

        def write(first, has_two):
            places = [first, builder.add(first, I64(1))] if has_two else [first]
            loaded = [builder.select(mask, v.load(v.at(source, builder.mul(place, I64(v.lanes)))), v.zero)
                      for place in places]
            both = v.joined(loaded[0], loaded[-1])
            for n, place in enumerate(places):
                pairs = v.shuffle(both, both, range(n * half.lanes, (n + 1) * half.lanes))
                half.store(pairs, v.at(target, builder.mul(place, row)))

        _by_twos(builder, units, write)
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
def pack_row(typing_context, factors, lanes, columns, row, target):
    """target = pairs of numbers 0 and 1, 2 and 3, … of a row of W; whole vectors of them."""
    signature = types.void(factors, lanes, columns, row, target)

    def codegen(context, builder, signature, values):
        _, _, columns, row, target = values
        v = _vectors(context, builder, factors, lanes, signature.args[3])

        def pack(place, load):
            numbers = [load(v.at(v.at(row, place), n * v.lanes), n) for n in range(2)]
            v.store(v.joined(*numbers), v.at(target, builder.lshr(place, I64(1))))

        loop = Loop(builder, columns, 2 * v.lanes, [])
        pack(loop.place, lambda place, n: v.load(place))
        place, _ = loop.end([])
        rest = builder.sub(columns, place)
        with builder.if_then(builder.icmp_signed(">", rest, I64(0))):
            masks = [v.lanes_below(builder.sub(rest, I64(n * v.lanes))) for n in range(2)]
            pack(place, lambda at, n: v.masked_load(at, masks[n]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def pack_columns(typing_context, factors, lanes, vectors, rows, columns, W, w_row, target):
    """target[t] = pairs of rows 2t and 2t + 1 of some columns of W, at most `vectors` vectors of them."""
    signature = types.void(factors, lanes, vectors, rows, columns, W, w_row, target)

    def codegen(context, builder, signature, values):
        _, _, _, rows, columns, W, w_row, target = values
        v, blocks = _vectors(context, builder, factors, lanes, signature.args[5]), range(vectors.literal_value)
        masks = [v.lanes_below(builder.sub(columns, I64(n * v.lanes))) for n in blocks]

        def pack(place, has_two):
            row = v.at(W, builder.mul(place, w_row))
            for n in blocks:
                first, second = v.at(row, n * v.lanes), v.at(v.at(row, w_row), n * v.lanes)
                pairs = v.paired(v.masked_load(first, masks[n]), v.masked_load(second, masks[n]) if has_two else v.zero)
                at = builder.add(builder.mul(place, I64(len(blocks) * v.lanes // 2)), I64(n * v.lanes))
                v.store(pairs, v.at(target, at))

        _by_twos(builder, rows, pack)
        return context.get_dummy_value()

    return signature, codegen
