"""Batches of a few samples: each goes through the network alone, and vectors run along the inputs of a layer.

In a row of steps of one sample each, W_1, which often has most of the weights, is left behind in a step and catches up
in the next one's forward pass, where its rows are read anyway: `forward_row`.

Unit i of layer k of sample s lies at s · in_row + places[k] + i. The last layer is the exception: its outputs are put
into one panel, because a softmax and the losses take panels.
"""

import math
from typing import Any

import numpy as np

from ...compiling.addresses import invoke, pointer
from ...compiling.decorators import inlined, subkernel
from ..sample import clip_factor
from .job import Data, Room, Shape
from .panels import evaluate, unit_vector

#: As many rows of W_1 catch up before they are used: a multiple of those that `dot_rows` takes at once.
ROWS_IN_CACHE = 8


@inlined
def input_row(shape: Any, data: Any, room: Any, s: Any, k: Any) -> Any:
    """h_k of a sample: a row of X, or a row of the workspace."""
    if k == 0:
        return pointer(data.X, room.rows[room.lanes + s] * shape.widths[0])
    return pointer(room.h, s * room.in_row + shape.places[k])


@subkernel
def propagate_rows(theta: Any, shape: Shape, data: Data, room: Room) -> None:
    """What `propagate_group` does, for a few samples one by one."""
    depth, width, outputs = shape.depth, room.lanes, shape.widths[shape.depth]
    last = shape.places[depth]
    before = room.rows[width]
    for s in range(width):  # the panel of the outputs has a sample in every lane
        sample = data.first + min(s, data.samples - 1)
        room.rows[width + s] = data.order[sample] if data.has_order else sample
    for s in range(data.samples):
        for k in range(1, depth + 1):
            forward_row(theta, shape, data, room, s, k, before)
            if k < depth:
                units, here = shape.widths[k], s * room.in_row + shape.places[k]
                h_k = pointer(room.h, here)
                invoke(shape.apply[k], (pointer(room.a, here), h_k, (units + width - 1) // width))
                if data.noted:
                    invoke(room.note_largest, (h_k, units, pointer(room.largest, k)))
    a_L, h_L = room.a_panel, room.h_panel
    for s in range(data.samples):  # what the other lanes hold is computed with, and not used
        row = pointer(room.a, s * room.in_row + last)
        for i in range(outputs):
            a_L[i * width + s] = row[i]
    invoke(shape.apply[depth], (a_L, h_L, outputs))
    if data.has_Y:
        for s in range(data.samples):
            for i in range(outputs):
                data.Y[room.rows[width + s] * outputs + i] = h_L[i * width + s]
    if data.has_targets:
        evaluate(shape, data, room, h_L, np.int64(0), np.int64(0))  # a literal would be a type of its own
    if data.lowest > depth:
        return
    block = outputs if data.jacobian else 1
    for o in range(block):
        if data.jacobian:
            unit_vector(room.e, o, outputs, width)
        invoke(shape.delta[depth], (a_L, h_L, room.e, room.delta, outputs))
        for s in range(data.samples):
            delta = pointer(room.delta_rows, s * room.in_row)
            for i in range(outputs):
                delta[last + i] = room.delta[i * width + s]
            for k in range(depth, 0, -1):
                delta_k = pointer(delta, shape.places[k])
                if data.noted:
                    invoke(room.note_largest, (delta_k, shape.widths[k], pointer(room.largest, room.in_largest + k)))
                if k > data.lowest:
                    backward_row(theta, shape, room, delta, s, k)
            if data.clips:
                clip_row(shape, data, room, delta, s)
            if data.has_E0:
                e_0 = pointer(data.E0, (room.rows[width + s] * block + o) * shape.widths[0])
                for j in range(shape.widths[0]):
                    e_0[j] = room.e[j]


@subkernel
def clip_row(shape: Shape, data: Data, room: Room, delta: Any, s: int) -> None:
    """‖∇L‖ of a sample, which is written down where wanted, and its δ clipped."""
    total = 0.0
    for k in range(1, shape.depth + 1):
        h_prev, delta_k = input_row(shape, data, room, s, k - 1), pointer(delta, shape.places[k])
        of_delta, of_h = 0.0, 1.0
        for i in range(shape.widths[k]):
            value = np.float64(delta_k[i])
            of_delta += value * value
        for j in range(shape.widths[k - 1]):
            value = np.float64(h_prev[j])
            of_h += value * value
        total += of_delta * of_h
    norm = math.sqrt(total)
    if data.has_norms:
        data.norms[room.rows[room.lanes + s]] = norm
    factor = clip_factor(norm, data.clip_norm)
    for k in range(1, shape.depth + 1):
        delta_k = pointer(delta, shape.places[k])
        for i in range(shape.widths[k]):
            delta_k[i] = type(delta_k[i])(factor * delta_k[i])


@inlined
def forward_row(theta: Any, shape: Any, data: Any, room: Any, s: Any, k: Any, before: Any) -> None:
    """a_k = W_k h_{k-1} + b_k, after the step that W_1 lacks if it is behind; `before` is the sample of that step."""
    units, inputs, here = shape.widths[k], shape.widths[k - 1], s * room.in_row + shape.places[k]
    h_prev = input_row(shape, data, room, s, k - 1)
    behind = data.behind and k == 1
    rows = ROWS_IN_CACHE if behind else units
    for i in range(0, units, rows):
        count, W = min(rows, units - i), pointer(theta, shape.weights[k] + i * inputs)
        if behind:
            invoke(room.add_outer, (count, data.alpha, pointer(room.delta_rows, shape.places[1] + i),
                                    pointer(data.X, before * inputs), inputs, W, inputs))
        invoke(room.dot_rows, (count, pointer(theta, shape.biases[k] + i), pointer(room.a, here + i), W, inputs,
                               h_prev, inputs))


@inlined
def backward_row(theta: Any, shape: Any, room: Any, delta: Any, s: Any, k: Any) -> None:
    """e_{k-1} = W_kᵀ δ_k, and δ_{k-1} = e_{k-1} ⊙ g'_{k-1}(a_{k-1}) below the first layer's."""
    inputs, width = shape.widths[k - 1], room.lanes
    invoke(room.combine_rows, (shape.widths[k], pointer(delta, shape.places[k]), pointer(theta, shape.weights[k]),
                               inputs, room.e, inputs))
    if k > 1:
        here = s * room.in_row + shape.places[k - 1]
        invoke(shape.delta[k - 1], (pointer(room.a, here), pointer(room.h, here), room.e,
                                    pointer(delta, shape.places[k - 1]), (inputs + width - 1) // width))


@subkernel
def add_outer_products(target: Any, shape: Shape, data: Data, room: Room, alpha: Any) -> None:
    """target += alpha ∂E/∂W and alpha ∂E/∂b, sample after sample; not yet of W_1 if it is behind."""
    for s in range(data.samples):
        for k in range(1, shape.depth + 1):
            units, inputs = shape.widths[k], shape.widths[k - 1]
            delta_k = pointer(room.delta_rows, s * room.in_row + shape.places[k])
            if k > 1 or not data.behind:
                invoke(room.add_outer, (units, alpha, delta_k, input_row(shape, data, room, s, k - 1), inputs,
                                        pointer(target, shape.weights[k]), inputs))
            b = pointer(target, shape.biases[k])
            for i in range(units):
                b[i] += alpha * delta_k[i]
