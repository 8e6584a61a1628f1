"""Batches of a few samples: each goes through the network alone, and vectors run along the inputs of a layer.

In consecutive steps of one sample each, the step of W_1, which often has most of the weights, is deferred to the next
sample's forward pass, which reads the rows of W_1 anyway: see `forward_row`.

Unit i of layer k of sample s lies at s · in_row + places[k] + i. The last layer is the exception: its outputs are put
into one panel, because a softmax and the losses take panels.
"""

import math
from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from ...formulas.sample_gradients import clip_factor
from ...functions.activations import activate_panel, delta_of_panel
from ..conversion import read_rows, reading_at
from .job import is_given, slot_of
from .magnitude import raise_to_largest
from .panels import clips, evaluate, has_targets, unit_vector
from .row_products import add_outer_product, affine_row, transposed_product

#: Rows of W_1 that take their deferred step before they are used: a multiple of those that `dot_rows` takes at once.
ROWS_IN_CACHE = 8


@inlined
def input_row(job: Any, s: Any, k: Any) -> Any:
    """h_k of a sample: a row of X, or a row of the workspace."""
    if k == 0 and job.reading == 0:
        return pointer(job.X, job.rows[job.lanes + s] * job.inputs)
    return pointer(job.h, s * job.in_row + job.places[k])


@subkernel
def propagate_rows(job: Any) -> None:
    """Take a few samples forward and back, one by one, as `propagate_group` takes panels."""
    depth, width, outputs, samples, order = job.depth, job.lanes, job.outputs, job.count, job.order
    last, e, numbers = job.places[depth], job.e, pointer(job.rows, job.lanes)
    before = numbers[0]
    for s in range(width):  # the panel of the outputs has a sample in every lane
        sample = job.first + min(s, samples - 1)
        numbers[s] = order[sample] if is_given(order) else sample
    for s in range(samples):
        if job.reading != 0:
            reading = reading_at(job.reading, None)
            read_rows(reading.read, reading, pointer(numbers, s), 1, 0, job.inputs, pointer(job.h, s * job.in_row), 0)
        for k in range(1, depth + 1):
            forward_row(job, s, k, before)
            if k < depth:
                units, here = job.widths[k], s * job.in_row + job.places[k]
                h_k = pointer(job.h, here)
                activate_panel(job.apply[k], pointer(job.a, here), h_k, (units + width - 1) // width)
                if job.notes_largest:
                    raise_to_largest(job.note_largest, h_k, units, pointer(job.largest, k))
    a_L, h_L = job.a_panel, job.h_panel
    for s in range(samples):  # results of the other lanes are not used
        row = pointer(job.a, s * job.in_row + last)
        for i in range(outputs):
            a_L[i * width + s] = row[i]
    activate_panel(job.apply[depth], a_L, h_L, outputs)
    Y = job.Y
    if is_given(Y):
        for s in range(samples):
            for i in range(outputs):
                Y[numbers[s] * outputs + i] = h_L[i * width + s]
    if has_targets(job):
        evaluate(job, slot_of(job, 0, 0), h_L, np.int64(0), np.int64(0))  # a literal would be a type of its own
    if job.lowest > depth:
        return
    block = outputs if job.jacobian else 1
    for o in range(block):
        if job.jacobian:
            unit_vector(e, o, outputs, width)
        delta_L = job.delta
        delta_of_panel(job.apply_delta[depth], a_L, h_L, e, delta_L, outputs)
        for s in range(samples):
            delta = pointer(job.delta_rows, s * job.in_row)
            for i in range(outputs):
                delta[last + i] = delta_L[i * width + s]
            for k in range(depth, 0, -1):
                delta_k = pointer(delta, job.places[k])
                if job.notes_largest:
                    raise_to_largest(job.note_largest, delta_k, job.widths[k], pointer(job.largest, job.in_largest + k))
                if k > job.lowest:
                    backward_row(job, delta, s, k)
            if clips(job):
                clip_row(job, delta, s)
            if is_given(job.E0):
                e_0 = pointer(job.E0, (numbers[s] * block + o) * job.inputs)
                for j in range(job.inputs):
                    e_0[j] = e[j]


@subkernel
def clip_row(job: Any, delta: Any, s: int) -> None:
    """‖∇L‖ of a sample, written where it is wanted, and its δ clipped to clip_norm."""
    total = 0.0
    for k in range(1, job.depth + 1):
        h_prev, delta_k = input_row(job, s, k - 1), pointer(delta, job.places[k])
        of_delta, of_h = 0.0, 1.0
        for i in range(job.widths[k]):
            value = np.float64(delta_k[i])
            of_delta += value * value
        for j in range(job.widths[k - 1]):
            value = np.float64(h_prev[j])
            of_h += value * value
        total += of_delta * of_h
    norm, norms = math.sqrt(total), job.norms
    if is_given(norms):
        norms[job.rows[job.lanes + s]] = norm
    factor = clip_factor(norm, job.clip_norm)
    for k in range(1, job.depth + 1):
        delta_k = pointer(delta, job.places[k])
        for i in range(job.widths[k]):
            delta_k[i] = type(delta_k[i])(factor * delta_k[i])


@inlined
def forward_row(job: Any, s: Any, k: Any, before: Any) -> None:
    """a_k = W_k h_{k-1} + b_k, for k = 1 after a deferred step of W_1; `before` is the sample of that step."""
    units, inputs, here = job.widths[k], job.widths[k - 1], s * job.in_row + job.places[k]
    theta, h_prev = job.theta, input_row(job, s, k - 1)
    is_deferred = job.behind != 0 and k == 1
    rows = ROWS_IN_CACHE if is_deferred else units
    for i in range(0, units, rows):
        count, W = min(rows, units - i), pointer(theta, job.weights_at[k] + i * inputs)
        if is_deferred:
            add_outer_product(job.add_outer, count, type(theta[0])(job.alpha),
                              pointer(job.delta_rows, job.places[1] + i), pointer(job.X, before * inputs), inputs, W,
                              inputs)
        affine_row(job.dot_rows, count, pointer(theta, job.biases_at[k] + i), pointer(job.a, here + i), W, inputs,
                   h_prev, inputs)


@inlined
def backward_row(job: Any, delta: Any, s: Any, k: Any) -> None:
    """e_{k-1} = W_kᵀ δ_k, and δ_{k-1} = e_{k-1} ⊙ g'_{k-1}(a_{k-1}) below the first layer's."""
    inputs, width = job.widths[k - 1], job.lanes
    transposed_product(job.combine_rows, job.widths[k], pointer(delta, job.places[k]),
                       pointer(job.theta, job.weights_at[k]), inputs, job.e, inputs)
    if k > 1:
        here = s * job.in_row + job.places[k - 1]
        delta_of_panel(job.apply_delta[k - 1], pointer(job.a, here), pointer(job.h, here), job.e,
                       pointer(delta, job.places[k - 1]), (inputs + width - 1) // width)


@subkernel
def add_outer_products(job: Any, alpha: Any) -> None:
    """target += alpha ∂E/∂W and alpha ∂E/∂b, sample after sample; not of W_1 if its step is deferred."""
    target = job.target
    for s in range(job.count):
        for k in range(1, job.depth + 1):
            units, inputs = job.widths[k], job.widths[k - 1]
            delta_k = pointer(job.delta_rows, s * job.in_row + job.places[k])
            if k > 1 or not job.behind:
                add_outer_product(job.add_outer, units, alpha, delta_k, input_row(job, s, k - 1), inputs,
                                  pointer(target, job.weights_at[k]), inputs)
            b = pointer(target, job.biases_at[k])
            for i in range(units):
                b[i] += alpha * delta_k[i]
