"""Σ_s δ(s) of single units: a vector of partial sums over the panels, and at the end the sum of its lanes."""

from typing import Any

from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .vectors import I64, Vectors


def add_row_sums(dtype: str) -> Any:
    """The function target[r] += alpha Σ_s δ_r(s) over `count` samples, for `address_of`.

    Its arguments are (target, alpha, delta, rows, in_panel, count). Panels of δ lie in_panel apart; element (r, s) of a
    panel lies at r · lanes + s.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def add(target, alpha, delta, rows, in_panel, count):
        for r in range(rows):
            _add_row_sum(lanes, target, r, alpha, delta, in_panel, count)

    return add, (numbers, numbers.dtype, numbers, INTEGER, INTEGER, INTEGER)


def add_no_sums(dtype: str) -> Any:
    """The function of these arguments that adds nothing, for jobs whose sums are made by another one."""
    numbers = pointer_type(dtype)

    def add(target, alpha, delta, rows, in_panel, count):
        return

    return add, (numbers, numbers.dtype, numbers, INTEGER, INTEGER, INTEGER)


@inlined
def add_sums(address: Any, target: Any, alpha: Any, delta: Any, rows: Any, in_panel: Any, count: Any) -> None:
    """target += alpha Σ_s δ, by the function at an address that `add_row_sums` describes."""
    invoke(address, (target, alpha, delta, rows, in_panel, count))


@intrinsic(prefer_literal=True)
def _add_row_sum(typing_context, lanes, target, r, alpha, delta, in_panel, count):
    signature = types.void(lanes, target, r, alpha, delta, in_panel, count)
    numbers = target

    def codegen(context, builder, signature, values):
        _, target, r, alpha, delta, in_panel, count = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        first = v.at(delta, builder.mul(r, I64(v.lanes)))
        entry, body, done = builder.block, builder.append_basic_block("panel"), builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_signed(">=", count, I64(v.lanes)), body, done)
        builder.position_at_end(body)
        left, place, total = builder.phi(I64), builder.phi(first.type), builder.phi(v.type)
        rest, further = builder.sub(left, I64(v.lanes)), v.at(place, in_panel)
        added = builder.fadd(total, v.load(place))
        for phi, start, following in ((left, count, rest), (place, first, further), (total, v.zero, added)):
            phi.add_incoming(start, entry)
            phi.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed(">=", rest, I64(v.lanes)), body, done)
        builder.position_at_end(done)
        last, at_last, sums = builder.phi(I64), builder.phi(first.type), builder.phi(v.type)
        for phi, start, following in ((last, count, rest), (at_last, first, further), (sums, v.zero, added)):
            phi.add_incoming(start, entry)
            phi.add_incoming(following, body)
        # Lanes of the last panel without a sample are taken as 0; their memory may be read.
        sums = builder.fadd(sums, builder.select(v.lanes_below(last), v.load(at_last), v.zero))
        place = v.at(target, r)
        builder.store(v.builder.fadd(builder.load(place), builder.fmul(alpha, v.sum(sums))), place)
        return context.get_dummy_value()

    return signature, codegen
