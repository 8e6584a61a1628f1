"""Phase 1: groups of panels go through the network, forward and back.

    rows of X, turned over into panels                    `gather_inputs`
    a_k = W_k h_{k-1} + b_k;  e_{k-1} = W_kᵀ δ_k          `affine_product`
    h_k = g_k(a_k);  δ_k = e_k ⊙ g'_k(a_k)                by address, in `propagate_group`
    h_k ← m ⊙ h_k / (1 - p), and e_k likewise             `drop`, where a training drops units
    E = w L(y; d), e_L = w ∇_y L                          `evaluate`

Element (i, s) of layer k of a panel lies at (places[k] + i) · lanes + s, where places rounds every layer up to whole
vectors. All arguments are pointers and numbers: see `job`.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import invoke, pointer, pointer_to
from ...compiling.decorators import inlined, subkernel
from ...functions.loss_panels import SAMPLE_E
from .gradients import sums_by_lanes
from .job import DROP, KEY, RATES, Data, Room, Shape, job_of
from .product import FROM_BIAS, FROM_ZERO
from .transpose import NARROW

#: Steps of one tile. The rows of W_k that W_kᵀ δ_k goes down are far apart in memory; so many of them are used again by
#: the next columns before they leave the cache, even where they lie a power of two apart and share a few places in it.
COLUMN_STEPS, ROW_STEPS = 128, 1024


@inlined
def slot_rows(room: Any, p: Any) -> Any:
    """Of the p-th panel of a group: where the rows of its samples begin, and the numbers of its samples."""
    return pointer(room.rows, p * room.in_rows), pointer(room.rows, p * room.in_rows + room.lanes)


@inlined
def drops(shape: Any) -> Any:
    """Whether units are dropped."""
    return job_of(shape)[DROP] != 0


@inlined
def drop(shape: Any, room: Any, k: Any, p: Any, values: Any) -> None:
    """h_k ← m ⊙ h_k / (1 - p), and e_k likewise, of a panel."""
    job = job_of(shape)
    invoke(job[DROP], (values, shape.widths[k], slot_rows(room, p)[1], job[KEY], k,
                       pointer_to(job[RATES], np.float64)))


@inlined
def gather_rows(source: Any, units: Any, begins: Any, panel: Any, room: Any) -> None:
    """A panel of the rows of a source (n, units) that begin at `begins`."""
    width = room.lanes
    if 2 * units <= width:
        for i in range(0, units, NARROW):
            invoke(room.transpose_narrow, (pointer(source, i), begins, min(NARROW, units - i),
                                           pointer(panel, i * width)))
        return
    for i in range(0, units, width):
        invoke(room.transpose, (pointer(source, i), begins, min(width, units - i), pointer(panel, i * width),
                                room.steps, width, panel))


@subkernel(inline=True)
def gather_inputs(shape: Shape, data: Data, room: Room, panel: int, p: int) -> None:
    """h_0 of a panel from rows of X; the lanes beyond the last sample repeat it. Kept for phase 2 where wanted."""
    width, inputs = room.lanes, shape.widths[0]
    begins, numbers = slot_rows(room, p)
    begin = panel * width
    last = min(width, data.samples - begin) - 1
    for s in range(width):
        sample = data.first + begin + min(s, last)
        if data.has_order:
            sample = data.order[sample]
        numbers[s] = sample
        begins[s] = sample * inputs
    keeps = data.keep and not sums_by_lanes(job_of(shape))
    h = pointer(room.h, p * room.in_panel)
    if not keeps:
        gather_rows(data.X, inputs, begins, h, room)
        return
    for j in range(0, inputs, width):
        invoke(room.gather, (pointer(data.X, j), begins, min(width, inputs - j), pointer(h, j * width), room.steps,
                             width, pointer(room.h_rows, j // width * room.in_block + begin * width)))


@subkernel(inline=True)
def keep_rows(shape: Shape, room: Room, k: int, panel: int, p: int) -> None:
    """h_k of a panel, sample after sample, for phase 2."""
    width = room.lanes
    for i in range(shape.places[k], shape.places[k] + shape.widths[k], width):
        invoke(room.transpose, (pointer(room.h, p * room.in_panel + i * width), room.steps, width,
                                pointer(room.h_rows, i // width * room.in_block + panel * width * width), room.steps,
                                width, room.h))


@subkernel
def scatter(values: Any, units: int, target: Any, room: Room, p: int, block: int, i: int) -> None:
    """Rows of target (n, block, units) from a panel, each sample to the i-th of its own."""
    width = room.lanes
    begins, numbers = slot_rows(room, p)
    for s in range(width):
        begins[s] = (numbers[s] * block + i) * units
    for j in range(0, units, width):
        invoke(room.transpose, (pointer(values, j * width), room.steps, width, pointer(target, j), begins,
                                min(width, units - j), values))


@subkernel(inline=True)
def evaluate(shape: Shape, data: Data, room: Room, y: Any, panel: int, p: int) -> None:
    """E of every sample of a panel with outputs y, and e_L = w ∇_y L."""
    width, outputs = room.lanes, shape.widths[shape.depth]
    begins, numbers = slot_rows(room, p)
    d, e = pointer(room.d, p * room.in_target), pointer(room.e, p * room.in_error)
    outcome = room.outcome
    if data.has_labels:
        for s in range(width):
            begins[s] = data.labels[numbers[s]]
        for i in range(outputs):
            for s in range(width):
                d[i * width + s] = 1 if begins[s] == i else 0
    else:
        for s in range(width):
            begins[s] = numbers[s] * outputs
        gather_rows(data.targets, outputs, begins, d, room)
    invoke(room.evaluate, (y, d, e, outcome, outputs))
    if data.has_weights:
        for s in range(width):
            weight = data.weights[numbers[s]]
            outcome[SAMPLE_E * width + s] *= weight
            for i in range(outputs):
                e[i * width + s] *= weight
    begin = panel * width
    invoke(room.keep_outcomes, (outcome, pointer(room.E, begin), pointer(room.correct, begin),
                                min(width, data.samples - begin)))


@subkernel
def clip(shape: Shape, data: Data, room: Room, panel: int, p: int) -> None:
    """‖∇L‖ of every sample of a panel, which is written down where wanted, and its δ clipped."""
    squares = pointer(room.squares, p * room.in_squares)
    invoke(room.clip, (pointer(room.h, p * room.in_panel), pointer(room.delta, panel * room.in_delta), shape.widths,
                       shape.places, shape.units, shape.depth, data.clip_norm, squares))
    if data.has_norms:
        numbers = slot_rows(room, p)[1]
        for s in range(min(room.lanes, data.samples - panel * room.lanes)):
            data.norms[numbers[s]] = squares[s]


@subkernel
def propagate_group(theta: Any, shape: Shape, data: Data, room: Room, panel: int, panels: int) -> None:
    """Some panels forward, their loss if they have targets, and back to e_lowest.

    panel, panels : the first and their number.
    """
    width, depth = room.lanes, shape.depth
    for p in range(panels):
        gather_inputs(shape, data, room, panel + p, p)
    for k in range(1, depth + 1):
        forward_layer(theta, shape, data, room, k, panel, panels)
    for p in range(panels):
        y = pointer(room.h, p * room.in_panel + shape.places[depth] * width)
        if data.has_Y:
            scatter(y, shape.widths[depth], data.Y, room, p, np.int64(1), np.int64(0))
        if data.has_targets:
            evaluate(shape, data, room, y, panel + p, p)
    if data.lowest > depth:
        return
    block = shape.widths[depth] if data.jacobian else 1
    for i in range(block):
        if data.jacobian:
            for p in range(panels):
                unit_vector(pointer(room.e, p * room.in_error), i, block, width)
        for k in range(depth, 0, -1):
            backward_layer(theta, shape, data, room, k, panel, panels)
        if data.has_E0:
            for p in range(panels):
                scatter(pointer(room.e, p * room.in_error), shape.widths[0], data.E0, room, p, block, i)
    if data.clips:
        for p in range(panels):
            clip(shape, data, room, panel + p, p)
    if data.keep and sums_by_lanes(job_of(shape)):
        for p in range(panels):
            end_delta(shape, data, room, panel + p)


@inlined
def end_delta(shape: Any, data: Any, room: Any, panel: Any) -> None:
    """δ = 0 in the lanes of a panel beyond the last sample, whose h are of that sample."""
    width = room.lanes
    begin, end = shape.units[1] * width, shape.units[shape.depth + 1] * width
    delta = pointer(room.delta, panel * room.in_delta)
    for s in range(data.samples - panel * width, width):
        for i in range(begin, end, width):
            delta[i + s] = 0


@inlined
def unit_vector(e: Any, i: Any, outputs: Any, width: Any) -> None:
    """The i-th one in every lane of a panel."""
    for p in range(outputs * width):
        e[p] = 0
    for s in range(width):
        e[i * width + s] = 1


@inlined
def forward_layer(theta: Any, shape: Any, data: Any, room: Any, k: Any, panel: Any, panels: Any) -> None:
    """a_k = W_k h_{k-1} + b_k and h_k = g_k(a_k) of some panels."""
    width, units, inputs = room.lanes, shape.widths[k], shape.widths[k - 1]
    here = shape.places[k] * width
    invoke(room.affine, (units, FROM_BIAS, pointer(theta, shape.biases[k]), pointer(room.a, here), room.in_panel,
                         pointer(theta, shape.weights[k]), inputs, 1, pointer(room.h, shape.places[k - 1] * width),
                         room.in_panel, inputs, panels, ROW_STEPS))
    for p in range(panels):
        h_k = pointer(room.h, p * room.in_panel + here)
        invoke(shape.apply[k], (pointer(room.a, p * room.in_panel + here), h_k, units))
        if drops(shape):
            drop(shape, room, k, p, h_k)
        if k < shape.depth and data.keep:
            if not sums_by_lanes(job_of(shape)):
                keep_rows(shape, room, k, panel + p, p)
            if data.noted:
                invoke(room.note_largest, (h_k, units * width, pointer(room.largest, k)))


@inlined
def backward_layer(theta: Any, shape: Any, data: Any, room: Any, k: Any, panel: Any, panels: Any) -> None:
    """δ_k = e_k ⊙ g'_k(a_k) and, where it is wanted, e_{k-1} = W_kᵀ δ_k of some panels."""
    width, units, inputs = room.lanes, shape.widths[k], shape.widths[k - 1]
    here = shape.units[k] * width
    for p in range(panels):
        delta_k = pointer(room.delta, (panel + p) * room.in_delta + here)
        values = p * room.in_panel + shape.places[k] * width
        a_k, h_k, e_k = pointer(room.a, values), pointer(room.h, values), pointer(room.e, p * room.in_error)
        if drops(shape):
            invoke(shape.apply[k], (a_k, h_k, units))  # g' takes the h of the formula
            drop(shape, room, k, p, e_k)
        invoke(shape.delta[k], (a_k, h_k, e_k, delta_k, units))
        if drops(shape) and (data.clips or sums_by_lanes(job_of(shape))):
            drop(shape, room, k, p, h_k)
        if data.noted:
            invoke(room.note_largest, (delta_k, units * width, pointer(room.largest, room.in_largest + k)))
    if k > data.lowest:
        invoke(room.affine, (inputs, FROM_ZERO, theta, room.e, room.in_error, pointer(theta, shape.weights[k]), 1,
                             inputs, pointer(room.delta, panel * room.in_delta + here), room.in_delta, units, panels,
                             COLUMN_STEPS))
