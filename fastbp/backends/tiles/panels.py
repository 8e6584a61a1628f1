"""Phase 1: groups of panels go through the network, forward and back.

    rows of X, transposed into panels                     `gather_inputs`
    a_k = W_k h_{k-1} + b_k;  e_{k-1} = W_kᵀ δ_k          `affine_product`
    h_k = g_k(a_k);  δ_k = e_k ⊙ g'_k(a_k)                by address, in `propagate_group`
    h_k ← m ⊙ h_k / (1 - p), and e_k likewise             `drop`, where a training drops units
    E = w L(y; d), e_L = w ∇_y L                          `evaluate`

Element (i, s) of layer k of a panel lies at (places[k] + i) · lanes + s, where places rounds every layer up to whole
vectors. See `job` for the fields.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from ...formulas.dropout import drop_of_panel
from ...functions.activations import activate_panel, delta_of_panel
from ...functions.loss_panels import SAMPLE_E
from ...functions.losses import loss_of_panel
from ..conversion import read_rows, reading_at
from .clipping import clip_gradients
from .gradients import sums_by_lanes
from .jacobian import ROW_STEPS, by_columns, write_columns
from .job import Slot, is_given
from .magnitude import raise_to_largest
from .outcomes import copy_outcomes
from .packing import errors_product
from .product import FROM_BIAS, FROM_ZERO, affine
from .sparse import copy_sums, is_sparse, sum_rows
from .transpose import NARROW, gather_converted, transpose, transpose_columns


@inlined
def slot_rows(job: Any, slot: Any, p: Any) -> Any:
    """Where the rows of the samples of a group's p-th panel begin, and the numbers of these samples."""
    begins = pointer(slot.rows, p * job.in_rows)
    return begins, pointer(begins, job.lanes)


@inlined
def drop(job: Any, slot: Any, k: Any, p: Any, values: Any) -> None:
    """h_k ← m ⊙ h_k / (1 - p), and e_k likewise, of a panel."""
    drop_of_panel(job.drop_units, values, job.widths[k], slot_rows(job, slot, p)[1], job.key, k, job.rates)


@inlined
def gather_rows(job: Any, source: Any, units: Any, begins: Any, panel: Any) -> None:
    """panel = the transposed rows of a source (n, units) that begin at `begins`."""
    width = job.lanes
    if 2 * units <= width:
        for i in range(0, units, NARROW):
            transpose_columns(job.transpose_narrow, pointer(source, i), begins, min(NARROW, units - i),
                              pointer(panel, i * width))
        return
    for i in range(0, units, width):
        transpose(job.transpose_block, pointer(source, i), begins, min(width, units - i), pointer(panel, i * width),
                  job.steps, width, panel)


@inlined
def stores_rows(job: Any) -> Any:
    """Whether phase 2 needs h of every layer, sample after sample."""
    return job.keeps and not sums_by_lanes(job)


@subkernel(inline=True)
def gather_inputs(job: Any, slot: Slot, panel: int, p: int, stores: bool) -> None:
    """h_0 of a panel from rows of X; lanes after the last sample repeat it.

    stores : whether phase 2 needs them too, sample after sample.
    """
    width, inputs, order = job.lanes, job.inputs, job.order
    begins, numbers = slot_rows(job, slot, p)
    begin = panel * width
    first, last = job.first + begin, min(width, job.count - begin) - 1
    for s in range(width):
        sample = first + min(s, last)
        if is_given(order):
            sample = order[sample]
        numbers[s] = sample
        begins[s] = sample * inputs
    h = pointer(slot.h, p * job.in_panel)
    if job.reading != 0:
        read_panel(job, slot, h, begins, begin, stores)
        return
    if not stores:
        gather_rows(job, job.X, inputs, begins, h)
        return
    for j in range(0, inputs, width):
        transpose(job.gather, pointer(job.X, j), begins, min(width, inputs - j), pointer(h, j * width), job.steps,
                  width, pointer(job.h_rows, j // width * job.in_block + begin * width))


@subkernel
def read_panel(job: Any, slot: Slot, h: Any, begins: Any, begin: int, stores: bool) -> None:
    """h_0 of a panel from rows of X that are not as kernels take them."""
    width, inputs, numbers, reading = job.lanes, job.inputs, pointer(begins, job.lanes), reading_at(job.reading, None)
    for s in range(width):
        begins[s] = numbers[s] * reading.row_bytes
    for j in range(0, inputs, width):
        block, h_block = slot.e, pointer(h, j * width)
        if stores:
            block = pointer(job.h_rows, j // width * job.in_block + begin * width)
        if reading.gather != 0 and j + width <= inputs:
            gather_converted(reading.gather, reading, begins, j, h_block, job.steps, block)
        else:
            columns = min(width, inputs - j)
            read_rows(reading.read, reading, numbers, width, j, columns, block, width)
            transpose(job.transpose_block, block, job.steps, columns, h_block, job.steps, width, block)


@subkernel(inline=True)
def keep_rows(job: Any, slot: Slot, k: int, panel: int, p: int) -> None:
    """Store h_k of a panel, sample after sample, for phase 2."""
    width = job.lanes
    for i in range(job.places[k], job.places[k] + job.widths[k], width):
        transpose(job.transpose_block, pointer(slot.h, p * job.in_panel + i * width), job.steps, width,
                  pointer(job.h_rows, i // width * job.in_block + panel * width * width), job.steps, width, slot.h)


@subkernel
def scatter(job: Any, slot: Slot, p: int, values: Any, units: int, target: Any, block: int, i: int) -> None:
    """target[s, i] = the values of sample s of a panel, where target is (n, block, units)."""
    width = job.lanes
    begins, numbers = slot_rows(job, slot, p)
    for s in range(width):
        begins[s] = (numbers[s] * block + i) * units
    for j in range(0, units, width):
        transpose(job.transpose_block, pointer(values, j * width), job.steps, width, pointer(target, j), begins,
                  min(width, units - j), values)


@subkernel(inline=True)
def evaluate(job: Any, slot: Slot, y: Any, panel: int, p: int) -> None:
    """E of every sample of a panel with outputs y, and e_L = w ∇_y L."""
    width, outputs, labels, weights = job.lanes, job.outputs, job.labels, job.weights
    begins, numbers = slot_rows(job, slot, p)
    d, e = pointer(slot.d, p * job.in_target), pointer(slot.e, p * job.in_error)
    outcome = slot.outcome
    if is_given(labels):
        for s in range(width):
            begins[s] = labels[numbers[s]]
        for i in range(outputs):
            for s in range(width):
                d[i * width + s] = 1 if begins[s] == i else 0
    else:
        for s in range(width):
            begins[s] = numbers[s] * outputs
        gather_rows(job, job.targets, outputs, begins, d)
    loss_of_panel(job.evaluate, y, d, e, outcome, outputs)
    if is_given(weights):
        for s in range(width):
            weight = weights[numbers[s]]
            outcome[SAMPLE_E * width + s] *= weight
            for i in range(outputs):
                e[i * width + s] *= weight
    begin = panel * width
    copy_outcomes(job.keep_outcomes, outcome, pointer(job.E, begin), pointer(job.correct, begin),
                  min(width, job.count - begin))


@subkernel
def clip(job: Any, slot: Slot, panel: int, p: int) -> None:
    """‖∇L‖ of every sample of a panel, written where it is wanted, and its δ clipped to clip_norm."""
    squares, norms = pointer(slot.squares, p * job.in_squares), job.norms
    clip_gradients(job.clip_panel, pointer(slot.h, p * job.in_panel), pointer(job.delta, panel * job.in_delta),
                   job.widths, job.places, job.units, job.depth, job.clip_norm, squares)
    if is_given(norms):
        numbers = slot_rows(job, slot, p)[1]
        for s in range(min(job.lanes, job.count - panel * job.lanes)):
            norms[numbers[s]] = squares[s]


@subkernel
def propagate_group(job: Any, slot: Slot, panel: int, panels: int) -> None:
    """Take some panels forward, evaluate their loss if they have targets, and take them back to e_lowest.

    panel, panels : the first panel and the number of panels.
    """
    width, depth = job.lanes, job.depth
    for p in range(panels):
        gather_inputs(job, slot, panel + p, p, stores_rows(job))
    for k in range(1, depth + 1):
        forward_layer(job, slot, k, panel, panels)
    end_forward(job, slot, panel, panels)
    if job.lowest > depth:
        return
    if by_columns(job):
        write_columns(job, slot, panel, panels)
        return
    block = job.outputs if job.jacobian else 1
    for i in range(block):
        if job.jacobian:
            for p in range(panels):
                unit_vector(pointer(slot.e, p * job.in_error), i, block, width)
        for k in range(depth, 0, -1):
            backward_layer(job, slot, k, panel, panels)
        write_errors(job, slot, panels, block, i)
    if clips(job):
        for p in range(panels):
            clip(job, slot, panel + p, p)
    if job.keeps and sums_by_lanes(job):
        for p in range(panels):
            end_delta(job, panel + p)


@inlined
def end_forward(job: Any, slot: Any, panel: Any, panels: Any) -> None:
    """Write y of some panels where it is wanted, and evaluate their loss if they have targets."""
    for p in range(panels):
        y = pointer(slot.h, p * job.in_panel + job.places[job.depth] * job.lanes)
        if is_given(job.Y):
            scatter(job, slot, p, y, job.outputs, job.Y, np.int64(1), np.int64(0))
        if has_targets(job):
            evaluate(job, slot, y, panel + p, p)


@inlined
def write_errors(job: Any, slot: Any, panels: Any, block: Any, i: Any) -> None:
    """Write e_0 of some panels where it is wanted; see `scatter`."""
    if is_given(job.E0):
        for p in range(panels):
            scatter(job, slot, p, pointer(slot.e, p * job.in_error), job.inputs, job.E0, block, i)


@inlined
def has_targets(job: Any) -> Any:
    """Whether there is a loss to evaluate."""
    return is_given(job.labels) or is_given(job.targets)


@inlined
def clips(job: Any) -> Any:
    """Whether norms of gradients are computed, to be results or to clip."""
    return is_given(job.norms) or job.clip_norm > 0.0


@inlined
def end_delta(job: Any, panel: Any) -> None:
    """δ = 0 in the lanes of a panel after the last sample, where h repeats that sample."""
    width = job.lanes
    begin, end = job.units[1] * width, job.units[job.depth + 1] * width
    delta = pointer(job.delta, panel * job.in_delta)
    for s in range(job.count - panel * width, width):
        for i in range(begin, end, width):
            delta[i + s] = 0


@inlined
def unit_vector(e: Any, i: Any, outputs: Any, width: Any) -> None:
    """e = the i-th unit vector, in every lane of a panel."""
    for p in range(outputs * width):
        e[p] = 0
    for s in range(width):
        e[i * width + s] = 1


@inlined
def first_sums(job: Any, slot: Any, panel: Any, p: Any, a: Any) -> None:
    """a_1 of a panel of sparse rows."""
    if is_given(job.transposed):
        begins, numbers = slot_rows(job, slot, p)
        rows = pointer(slot.e, p * job.in_error)
        sum_rows(job, numbers, begins, rows)
        gather_rows(job, rows, job.widths[1], begins, a)
    else:
        copy_sums(job, panel, a)


@inlined
def forward_layer(job: Any, slot: Any, k: Any, panel: Any, panels: Any) -> None:
    """a_k = W_k h_{k-1} + b_k and h_k = g_k(a_k) of some panels."""
    width, units, inputs = job.lanes, job.widths[k], job.widths[k - 1]
    here = job.places[k] * width
    if k == 1 and is_sparse(job):
        for p in range(panels):
            first_sums(job, slot, panel + p, p, pointer(slot.a, p * job.in_panel + here))
    else:
        affine(job.affine, units, FROM_BIAS, pointer(job.theta, job.biases_at[k]), pointer(slot.a, here), job.in_panel,
               pointer(job.theta, job.weights_at[k]), inputs, 1, pointer(slot.h, job.places[k - 1] * width),
               job.in_panel, inputs, panels, ROW_STEPS)
    for p in range(panels):
        activate_layer(job, slot, k, p)
        if k < job.depth and stores_rows(job):
            keep_rows(job, slot, k, panel + p, p)


@inlined
def activate_layer(job: Any, slot: Any, k: Any, p: Any) -> None:
    """h_k = g_k(a_k) of a panel."""
    here = p * job.in_panel + job.places[k] * job.lanes
    h_k = pointer(slot.h, here)
    activate_panel(job.apply[k], pointer(slot.a, here), h_k, job.widths[k])
    if job.drop_units != 0:
        drop(job, slot, k, p, h_k)
    if k < job.depth and job.keeps and job.notes_largest:
        raise_to_largest(job.note_largest, h_k, job.widths[k] * job.lanes, pointer(slot.largest, k))


@inlined
def backward_layer(job: Any, slot: Any, k: Any, panel: Any, panels: Any) -> None:
    """δ_k = e_k ⊙ g'_k(a_k) and, where it is wanted, e_{k-1} = W_kᵀ δ_k of some panels."""
    here = job.units[k] * job.lanes
    for p in range(panels):
        delta_layer(job, slot, k, panel + p, p)
    if k > job.lowest:
        errors_product(job, k, FROM_ZERO, slot.e, job.in_error, pointer(job.theta, job.weights_at[k]),
                       pointer(job.delta, panel * job.in_delta + here), job.in_delta, panels)


@inlined
def delta_layer(job: Any, slot: Any, k: Any, panel: Any, p: Any) -> None:
    """δ_k = e_k ⊙ g'_k(a_k) of a panel."""
    width, units = job.lanes, job.widths[k]
    delta_k = pointer(job.delta, panel * job.in_delta + job.units[k] * width)
    values = p * job.in_panel + job.places[k] * width
    a_k, h_k, e_k = pointer(slot.a, values), pointer(slot.h, values), pointer(slot.e, p * job.in_error)
    if job.drop_units != 0:
        activate_panel(job.apply[k], a_k, h_k, units)  # g' takes the h of the formula
        drop(job, slot, k, p, e_k)
    delta_of_panel(job.apply_delta[k], a_k, h_k, e_k, delta_k, units)
    if job.drop_units != 0 and (clips(job) or sums_by_lanes(job)):
        drop(job, slot, k, p, h_k)
    if job.notes_largest:
        raise_to_largest(job.note_largest, delta_k, units * width, pointer(slot.largest, job.in_largest + k))
