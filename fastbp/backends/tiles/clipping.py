"""‖∇L‖ of every sample of a panel, and its gradient clipped: ‖∇L‖² = Σ_k ‖δ_k‖² (‖h_{k-1}‖² + 1)."""

import math
from typing import Any

from llvmlite import ir
from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer, pointer_type
from ...compiling.decorators import inlined
from ...formulas.sample_gradients import clip_factor
from .host import host
from .row_products import Loop
from .vectors import I64, Vectors

#: The rows of `squares`: the norms, and the sums of squares of δ and h of one layer.
NORM, OF_DELTA, OF_H, SQUARES_ROWS = range(4)

#: Rows whose squares are summed at once, into separate sums: each addition waits for the one before it in its sum.
AT_ONCE = 4


def clip_panel(dtype: str) -> Any:
    """The function that computes ‖∇L‖ of a panel's samples and clips their δ, for `address_of`.

    Its arguments are (h, delta, widths, places, units, depth, clip_norm, squares). It writes the norms to the first row
    of squares, and multiplies δ of all layers of a sample by min(1, C / ‖∇L‖) where C is not 0.

    h, delta : a panel of all layers, which begin at places and at units; widths, places, units : see `job.Job`.
    squares : (SQUARES_ROWS, lanes) float64, in which squares of float32 neither overflow nor vanish.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def clip(h: Any, delta: Any, widths: Any, places: Any, units: Any, depth: int, clip_norm: float,
             squares: Any) -> None:
        of_delta, of_h = OF_DELTA * lanes, OF_H * lanes
        for s in range(lanes):
            squares[s] = 0.0
        for k in range(1, depth + 1):
            _sum_squares(lanes, pointer(delta, units[k] * lanes), widths[k], pointer(squares, of_delta))
            _sum_squares(lanes, pointer(h, places[k - 1] * lanes), widths[k - 1], pointer(squares, of_h))
            for s in range(lanes):
                squares[s] += squares[of_delta + s] * (squares[of_h + s] + 1.0)
        for s in range(lanes):
            squares[s] = math.sqrt(squares[s])
        if clip_norm > 0.0:
            for s in range(lanes):
                squares[of_h + s] = clip_factor(squares[s], clip_norm)
            _scale_rows(lanes, pointer(delta, units[1] * lanes), units[depth + 1] - units[1], pointer(squares, of_h))

    integers = types.CPointer(INTEGER)
    return clip, (numbers, numbers, integers, integers, integers, INTEGER, types.float64,
                  types.CPointer(types.float64))


@inlined
def clip_gradients(address: Any, h: Any, delta: Any, widths: Any, places: Any, units: Any, depth: Any, clip_norm: Any,
                   squares: Any) -> None:
    """Write the norms to squares and clip δ, by the function at an address that `clip_panel` describes."""
    invoke(address, (h, delta, widths, places, units, depth, clip_norm, squares))


@intrinsic(prefer_literal=True)
def _sum_squares(typing_context, lanes, values, rows, sums):
    """sums (lanes,) float64 = Σ_r values[r]² over rows of a panel."""
    signature = types.void(lanes, values, rows, sums)
    numbers = values

    def codegen(context, builder, signature, arguments):
        _, values, rows, sums = arguments
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        wide = Vectors(builder, ir.DoubleType(), lanes.literal_value)

        def added(row, total):
            value = v.load(v.at(values, builder.mul(row, I64(v.lanes))))
            value = value if v.bytes == 8 else builder.fpext(value, wide.type)
            return wide.multiply_add(value, value, total)

        loop = Loop(builder, rows, AT_ONCE, [wide.zero] * AT_ONCE)
        place, parts = loop.end([added(builder.add(loop.place, I64(n)), total) for n, total in enumerate(loop.phis)])
        rest = Loop(builder, builder.sub(rows, place), 1, parts[:1])
        _, parts[:1] = rest.end([added(builder.add(place, rest.place), rest.phis[0])])
        total = parts[0]
        for part in parts[1:]:
            total = builder.fadd(total, part)
        wide.store(total, sums)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _scale_rows(typing_context, lanes, values, rows, factors):
    """values[r] times factors (lanes,) float64, multiplied in float64: a factor may be less than a float32 can be."""
    signature = types.void(lanes, values, rows, factors)
    numbers = values

    def codegen(context, builder, signature, arguments):
        _, values, rows, factors = arguments
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        wide = Vectors(builder, ir.DoubleType(), lanes.literal_value)
        factor = wide.load(factors)
        loop = Loop(builder, rows, 1, [])
        place = v.at(values, builder.mul(loop.place, I64(v.lanes)))
        value = v.load(place)
        scaled = builder.fmul(factor, value if v.bytes == 8 else builder.fpext(value, wide.type))
        v.store(scaled if v.bytes == 8 else builder.fptrunc(scaled, v.type), place)
        loop.end([])
        return context.get_dummy_value()

    return signature, codegen
