"""Trainings of small networks in one launch: a block takes a few samples through the whole network and back.

    for every step:
        each block, for each of its tiles of samples:     h_0 … h_L, E, δ_L … δ_1 in shared memory,
                                                          then ∂E/∂W_k summed over the tile, into the block's own part
        all blocks wait for each other
        each thread, for its parameters:                  ∂E/∂θ = Σ of the parts in order, and the change of θ
        all blocks wait for each other

A launch costs as much as many steps of such a network take, so one launch takes many steps. The fused networks of
Müller, "tiny-cuda-nn" (2021), are the model; the schedule here is for any widths that fit in shared memory, any
activations, and float64 too.

Tile t belongs to slot t mod slots. Every slot has its own part of the gradient, which one block sums in the order of
its tiles, so that results do not depend on the number of blocks. θ and the running averages have two copies. A step
reads one and writes the other: where a step is not finite, the one it read is still valid.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...functions.activations import Activation, activation_named
from ...functions.loss_panels import OUTCOME_ROWS, SAMPLE_CORRECT, SAMPLE_E
from ...functions.losses import Loss
from ...optimizers.rules import Rule
from .device import ALIGNMENT, chosen, cooperative_kernel, device_function, divided, inlined, item, put, quad, seen
from .driver import SIMULATED, cuda
from .memory import there
from .panels import outputs_of_sample, sample_at
from .products import PADDING, Operand, bringing
from .propagation import DeviceLayout, Propagation
from .shape import DEPTH, WARP, Shape
from .updates import (
    NOT_FINITE,
    PRESENT_E,
    RECORD_CORRECT,
    RECORD_E,
    RECORD_PENALTY,
    RECORD_WEIGHT,
    TAKEN,
    change_at,
    coefficients_of,
)


@functools.cache
def _ignoring_h(g: Any) -> Any:
    """The function (a, h) of an activation's g(a)."""
    on_device = device_function(g)
    return inlined(lambda a, h: on_device(a))


@functools.cache
def _chosen(functions: tuple[Callable[..., Any], ...]) -> Any:
    """The function (number, a, h) that calls the function of that number."""
    last = functions[-1]
    if len(functions) == 1:
        return inlined(lambda number, a, h: last(a, h))
    others, own = _chosen(functions[:-1]), len(functions) - 1

    def choose(number: int, a: Any, h: Any) -> Any:
        if number == own:
            return last(a, h)
        return others(number, a, h)

    return inlined(choose)


def numbered(activations: tuple[Activation, ...]) -> tuple[tuple[Activation, ...], list[int]]:
    """The distinct activations of single units, and the number of each layer's; softmax counts as the identity."""
    identity = activation_named("identity", "activation")
    by_unit = [g if g.g is not None else identity for g in activations]
    different = tuple(dict.fromkeys(by_unit))
    return different, [0, *(different.index(g) for g in by_unit)]


@inlined
def _barrier(arrived: Any, expected: int) -> None:
    """Wait until `expected` arrivals of blocks are counted; what they wrote before it can be read after it."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        cuda.threadfence()
        cuda.atomic.add(arrived, 0, 1)
        while seen(arrived, 0) < expected:
            pass
        cuda.threadfence()
    cuda.syncthreads()


@inlined
def plus_dot(total: Any, a: Any, b: Any) -> Any:
    """total + ⟨a, b⟩ of four numbers each, one after another."""
    total += a[0] * b[0]
    total += a[1] * b[1]
    total += a[2] * b[2]
    return total + a[3] * b[3]


@functools.cache
def fused_steps(dtype: np.dtype, shape: Shape, activations: tuple[Activation, ...], output: Activation, loss: Loss,
                rule: Rule) -> Any:
    """A kernel that takes steps of a training; see the module's docstring."""
    T, tile, threads, rows = dtype.type, shape.tile, shape.threads, shape.rows
    row_size, across, each, by_fours = tile + PADDING, tile // 4, shape.each, shape.each == 4
    tile_rows = each * threads // across
    slab_row, outcome_rows, depth_of_slab = tile_rows + PADDING, OUTCOME_ROWS, DEPTH
    slab_size = DEPTH * slab_row
    g_of = _chosen(tuple(_ignoring_h(g.g) for g in activations))
    slope_of = _chosen(tuple(device_function(g.g_prime) for g in activations))
    finish, weigh = outputs_of_sample(dtype, output, loss)
    change, coefficients_from = change_at(rule), coefficients_of(rule)
    decay_at, start_at, size_at = rule.count, rule.count + 1, rule.count + 2  # in the rows of `StepMemory`

    @inlined
    def add_rank_one(total: Any, slab: Any, memory: Any, p: int, q: int) -> None:
        """total += the weights at p of the slab times the values at q."""
        b = quad(memory, q)
        if by_fours:
            a = quad(slab, p)
            for i in range(4):
                for j in range(4):
                    total[i, j] += a[i] * b[j]
        else:
            a_0 = item(slab, p)
            for j in range(4):
                total[0, j] += a_0 * b[j]

    def product(by_k: bool) -> Any:
        """The function that multiplies a matrix of W_k by values of the layer that begins at a row of shared memory."""
        operand = Operand(dtype, threads, tile_rows, depth_of_slab, by_k)
        share, (aim, fetch, store) = operand.share, bringing(operand)

        @inlined
        def multiply(total: Any, memory: Any, slab: Any, theta: Any, start: int, m_stride: int, k_stride: int,
                     begin: int, m0: int, M: int, K: int) -> None:
            """total (each, 4) = a thread's share of the product's rows from m0 on, M units from K."""
            places, exists = cuda.local.array(share, np.int64), cuda.local.array(share, np.bool_)
            ahead = cuda.local.array(share, T)
            t = cuda.threadIdx.x
            tx, ty = t % across * 4, t // across * each
            for i in range(each):
                for j in range(4):
                    total[i, j] = T(0)
            aim(t, places, exists, start, m_stride, k_stride, m0, M)
            slabs = (K + depth_of_slab - 1) // depth_of_slab
            for number in range(slabs + 1):
                if number < slabs:  # the next slab is loaded while this one is used
                    fetch(t, ahead, theta, places, exists, K - number * depth_of_slab, depth_of_slab * k_stride)
                if number > 0:
                    first = (number - 1) * depth_of_slab
                    p, q = ty, (begin + first) * row_size + tx
                    if K - first >= depth_of_slab:
                        for _ in range(depth_of_slab // 2):
                            add_rank_one(total, slab, memory, p, q)
                            add_rank_one(total, slab, memory, p + slab_row, q + row_size)
                            p, q = p + 2 * slab_row, q + 2 * row_size
                    else:
                        for _ in range(K - first):
                            add_rank_one(total, slab, memory, p, q)
                            p, q = p + slab_row, q + row_size
                cuda.syncthreads()
                if number < slabs:
                    store(t, slab, 0, ahead)
                cuda.syncthreads()

        return multiply

    forward, backward = product(True), product(False)

    @inlined
    def add_weight_gradient(memory: Any, delta: Any, h: Any, width: Any, width_before: Any, part: Any, weights: Any,
                            is_first: bool) -> None:
        """part = or += δ hᵀ summed over the tile. A thread has 4 rows and 4 columns, and takes 4 samples at a time."""
        total = cuda.local.array((4, 4), T)
        down, right = (width + 3) // 4, (width_before + 3) // 4
        for place in range(cuda.threadIdx.x, down * right, threads):
            i0, j0 = divided(place, right)
            for i in range(4):
                for j in range(4):
                    total[i, j] = T(0)
            # A thread's rows lie a quarter of the layer apart, so that neighbouring threads read from different banks.
            r0, r1 = (delta + i0) * row_size, (delta + min(i0 + down, width - 1)) * row_size
            r2 = (delta + min(i0 + 2 * down, width - 1)) * row_size
            r3 = (delta + min(i0 + 3 * down, width - 1)) * row_size
            c0, c1 = (h + j0) * row_size, (h + min(j0 + right, width_before - 1)) * row_size
            c2 = (h + min(j0 + 2 * right, width_before - 1)) * row_size
            c3 = (h + min(j0 + 3 * right, width_before - 1)) * row_size
            for s in range(0, tile, 4):
                a0, a1 = quad(memory, r0 + s), quad(memory, r1 + s)
                a2, a3 = quad(memory, r2 + s), quad(memory, r3 + s)
                b0, b1 = quad(memory, c0 + s), quad(memory, c1 + s)
                b2, b3 = quad(memory, c2 + s), quad(memory, c3 + s)
                total[0, 0] = plus_dot(total[0, 0], a0, b0)
                total[0, 1] = plus_dot(total[0, 1], a0, b1)
                total[0, 2] = plus_dot(total[0, 2], a0, b2)
                total[0, 3] = plus_dot(total[0, 3], a0, b3)
                total[1, 0] = plus_dot(total[1, 0], a1, b0)
                total[1, 1] = plus_dot(total[1, 1], a1, b1)
                total[1, 2] = plus_dot(total[1, 2], a1, b2)
                total[1, 3] = plus_dot(total[1, 3], a1, b3)
                total[2, 0] = plus_dot(total[2, 0], a2, b0)
                total[2, 1] = plus_dot(total[2, 1], a2, b1)
                total[2, 2] = plus_dot(total[2, 2], a2, b2)
                total[2, 3] = plus_dot(total[2, 3], a2, b3)
                total[3, 0] = plus_dot(total[3, 0], a3, b0)
                total[3, 1] = plus_dot(total[3, 1], a3, b1)
                total[3, 2] = plus_dot(total[3, 2], a3, b2)
                total[3, 3] = plus_dot(total[3, 3], a3, b3)
            for i in range(4):
                for j in range(4):
                    unit, before = i0 + i * down, j0 + j * right
                    if unit < width and before < width_before:
                        p = weights + unit * width_before + before
                        part[p] = total[i, j] if is_first else part[p] + total[i, j]

    @inlined
    def gather_tile(memory: Any, X: Any, order: Any, begin: int, count: int, n_in: int) -> None:
        """h_0 = x of a tile's samples.

        Columns without a sample repeat the last one: at another x a formula may be infinite, and 0 · ∞ is not 0.
        """
        for p in range(cuda.threadIdx.x, n_in * tile, threads):
            s, j = divided(p, n_in)
            memory[j, s] = X[sample_at(order, begin + min(s, count - 1)), j]

    @inlined
    def forward_layer(memory: Any, slab: Any, total: Any, theta: Any, W: int, b: int, before: int, here: int,
                      width_before: int, width: int, slope: int, number: int) -> None:
        """h_k = g(W_k h_{k-1} + b_k) and g'(a_k), whose rows lie `slope` rows after those of h."""
        t = cuda.threadIdx.x
        tx, ty = t % across * 4, t // across * each
        for m0 in range(0, width, tile_rows):
            forward(total, memory, slab, theta, W, width_before, 1, before, m0, width, width_before)
            for i in range(each):
                if m0 + ty + i < width:
                    bias, place = item(theta, b + m0 + ty + i), (here + m0 + ty + i) * row_size + tx
                    for j in range(4):
                        put(memory, place + j, total[i, j] + bias)
            for i in range(each):  # a loop of its own, as in `products`
                if m0 + ty + i < width:
                    place = (here + m0 + ty + i) * row_size + tx
                    for j in range(4):
                        a = item(memory, place + j)
                        h = T(g_of(number, a, a))
                        put(memory, place + j, h)
                        put(memory, slope * row_size + place + j, T(slope_of(number, a, h)))

    @inlined
    def backward_layer(memory: Any, slab: Any, total: Any, theta: Any, W: int, before: int, here: int,
                       width_before: int, width: int) -> None:
        """δ_{k-1} = W_kᵀ δ_k ⊙ g'(a_{k-1}), in the place of g'."""
        t = cuda.threadIdx.x
        tx, ty = t % across * 4, t // across * each
        for m0 in range(0, width_before, tile_rows):
            backward(total, memory, slab, theta, W, 1, width_before, here, m0, width_before, width)
            for i in range(each):
                if m0 + ty + i < width_before:
                    place = (before + m0 + ty + i) * row_size + tx
                    for j in range(4):
                        put(memory, place + j, item(memory, place + j) * total[i, j])

    @inlined
    def evaluate_outputs(memory: Any, scratch: Any, last: int, slope: int, n_out: int, order: Any, begin: int,
                         count: int, labels: Any, targets: Any, sample_weights: Any) -> None:
        """E and δ_L of a tile's samples, a thread for each; scratch (2 N_L + OUTCOME_ROWS, tile): d, e and outcomes."""
        for s in range(cuda.threadIdx.x, tile, threads):
            if s < count:
                sample = sample_at(order, begin + s)
                y, delta_begin = memory[last : last + n_out, s : s + 1], slope + last
                delta = memory[delta_begin : delta_begin + n_out, s : s + 1]
                d, e = scratch[0:n_out, s : s + 1], scratch[n_out : 2 * n_out, s : s + 1]
                outcome = scratch[2 * n_out : 2 * n_out + outcome_rows, s : s + 1]
                finish(y)
                weigh(y, delta, d, e, outcome, sample, labels, targets, sample_weights)
            else:  # a column without a sample adds nothing
                for i in range(n_out):
                    memory[slope + last + i, s] = T(0)

    @inlined
    def add_bias_gradient(memory: Any, delta: int, width: int, part: Any, biases: int, is_first: bool) -> None:
        """part = or += δ summed over the tile."""
        for i in range(cuda.threadIdx.x, width, threads):
            total = memory[delta + i, 0]
            for s in range(1, tile):
                total += memory[delta + i, s]
            part[biases + i] = total if is_first else part[biases + i] + total

    @inlined
    def sum_of_parts(parts: Any, p: int, used: int, parameters: int) -> Any:
        """Σ of the parts of ∂E/∂θ_p in their order; eight loads are in flight at a time."""
        g, whole = T(0), used // 8 * 8
        for slot in range(0, whole, 8):
            q = slot * parameters + p
            v0, v1, v2 = item(parts, q), item(parts, q + parameters), item(parts, q + 2 * parameters)
            v3, v4, v5 = (item(parts, q + 3 * parameters), item(parts, q + 4 * parameters),
                          item(parts, q + 5 * parameters))
            v6, v7 = item(parts, q + 6 * parameters), item(parts, q + 7 * parameters)
            g = v0 if slot == 0 else g + v0
            g = g + v1
            g = g + v2
            g = g + v3
            g = g + v4
            g = g + v5
            g = g + v6
            g = g + v7
        for slot in range(whole, used):
            g = parts[0, p] if slot == 0 else g + parts[slot, p]
        return g

    @inlined
    def record_step(outcomes: Any, used: int, sums: Any, record: Any, size: int, control: Any) -> None:
        """Record E and the correct samples of a step: a warp's threads sum over slots, then one thread over threads."""
        t = cuda.threadIdx.x
        if t < WARP:
            E, correct = 0.0, 0.0
            for slot in range(t, used, WARP):
                E += outcomes[slot, 0]
                correct += outcomes[slot, 1]
            sums[0, t], sums[1, t] = E, correct
        cuda.syncthreads()
        if t == 0:
            E, correct = 0.0, 0.0
            for thread in range(WARP):
                E += sums[0, thread]
                correct += sums[1, thread]
            record[RECORD_E], record[RECORD_CORRECT], record[RECORD_WEIGHT], record[RECORD_PENALTY] = (
                E, correct, size, 0.0)
            control[PRESENT_E] = E
            if not math.isfinite(E):
                control[NOT_FINITE] = 1.0

    @cooperative_kernel
    def take_steps(theta: Any, other: Any, averages: Any, other_averages: Any, X: Any, labels: Any, targets: Any,
                   sample_weights: Any, order: Any, first: int, steps: int, widths: Any, units: Any, weights: Any,
                   biases: Any, numbers_of_g: Any, step_rows: Any, parts: Any, scratch_of_slots: Any, outcomes: Any,
                   slots: int, arrived: Any, control: Any, records: Any) -> None:
        memory = cuda.shared.array((rows, row_size), T, alignment=ALIGNMENT)
        slab = cuda.shared.array(slab_size, T, alignment=ALIGNMENT)
        sums = cuda.shared.array((2, WARP), np.float64)
        total = cuda.local.array((each, 4), T)
        t, depth, parameters = cuda.threadIdx.x, widths.shape[0] - 1, theta.size
        n_in, n_out, last = widths[0], widths[depth], units[depth]
        slope = units[depth + 1] - n_in  # the rows from a unit's h to its g' and δ
        blocks = cuda.gridDim.x
        if control[NOT_FINITE] != 0.0:
            return
        for step in range(first, first + steps):
            row = step_rows[step]
            start, size = int(row[start_at]), int(row[size_at])
            tiles = (size + tile - 1) // tile
            is_even = step % 2 == 0
            now, then = chosen(is_even, theta, other), chosen(is_even, other, theta)
            averages_now = chosen(is_even, averages, other_averages)
            averages_then = chosen(is_even, other_averages, averages)
            for slot in range(cuda.blockIdx.x, slots, blocks):
                E, correct = 0.0, 0.0
                part, scratch = parts[slot], scratch_of_slots[slot]
                for this in range(slot, tiles, slots):
                    begin = start + this * tile
                    count, is_first = min(tile, start + size - begin), this == slot
                    gather_tile(memory, X, order, begin, count, n_in)
                    cuda.syncthreads()
                    for k in range(1, depth + 1):
                        forward_layer(memory, slab, total, now, weights[k], biases[k], units[k - 1], units[k],
                                      widths[k - 1], widths[k], slope, numbers_of_g[k])
                        cuda.syncthreads()
                    evaluate_outputs(memory, scratch, last, slope, n_out, order, begin, count, labels, targets,
                                     sample_weights)
                    cuda.syncthreads()
                    if t == 0:
                        for s in range(count):
                            E += scratch[2 * n_out + SAMPLE_E, s]
                            correct += scratch[2 * n_out + SAMPLE_CORRECT, s]
                    for k in range(depth, 0, -1):
                        delta = slope + units[k]
                        add_weight_gradient(memory, delta, units[k - 1], widths[k], widths[k - 1], part, weights[k],
                                            is_first)
                        add_bias_gradient(memory, delta, widths[k], part, biases[k], is_first)
                        if k > 1:
                            backward_layer(memory, slab, total, now, weights[k], slope + units[k - 1], delta,
                                           widths[k - 1], widths[k])
                        cuda.syncthreads()
                if t == 0 and slot < tiles:
                    outcomes[slot, 0], outcomes[slot, 1] = E, correct
            _barrier(arrived, (2 * step + 1) * blocks)
            used, scale, decay = min(slots, tiles), T(1.0 / size), T(row[decay_at])
            coefficients = coefficients_from(row, now[0])
            for p in range(cuda.grid(1), parameters, blocks * threads):
                total_gradient = sum_of_parts(parts, p, used, parameters)
                g = scale * total_gradient + decay * now[p]
                after = now[p] - change(now[p], g, averages_now, averages_then, p, coefficients)
                then[p] = after
                if not (math.isfinite(total_gradient) and math.isfinite(after)):  # Rprop takes only its sign
                    control[NOT_FINITE] = 1.0
            if cuda.blockIdx.x == 0:
                record_step(outcomes, used, sums, records[step], size, control)
            _barrier(arrived, (2 * step + 2) * blocks)
            if control[NOT_FINITE] != 0.0:
                break
            if cuda.grid(1) == 0:
                control[TAKEN] += 1.0

    return take_steps


class FusedSteps:
    """The kernel of `fused_steps` and its memory, for one network and batch size.

    Parameters
    ----------
    layout : DeviceLayout
    shape : Shape
    slots : int
        Both from `shape`.
    rule : Rule
        Of the optimizer.
    """

    def __init__(self, layout: DeviceLayout, shape: Shape, slots: int, rule: Rule) -> None:
        dtype = layout.dtype
        different, numbers = numbered(layout.activations)
        self._layout, self._threads, self._slots = layout, shape.threads, slots
        self._kernel = fused_steps(dtype, shape, different, layout.activations[-1], layout.loss, rule)
        self._numbers_of_g = there(np.array(numbers, np.int64))
        self._weights, self._biases = (there(np.array(places, np.int64)) for places in (layout.weights, layout.biases))
        self._others = (cuda.device_array(layout.size, dtype),
                        cuda.device_array((len(rule.averages), layout.size), dtype))
        self._parts = cuda.device_array((slots, layout.size), dtype)
        self._scratch = cuda.device_array((slots, 2 * layout.widths[-1] + OUTCOME_ROWS, shape.tile), dtype)
        self._outcomes = cuda.device_array((slots, 2), np.float64)
        self._blocks = 0

    def launch(self, theta: Any, averages: Any, samples: Any, parts: Iterable[Any], orders: Any,
               memory: Any, work: Propagation, interrupts: Any) -> None:
        """Launch the steps of parts that are in `memory`, those of more and more of them in one launch.

        So the first steps are taken while the orders of later ones are drawn. Each launch goes on with what the one
        before it wrote, and does nothing if that was not finite; `finish` has to follow.
        """
        layout, first, waiting, together = self._layout, 0, 0, 1
        begin = (theta, self._others[0], averages, self._others[1], samples.X, samples.labels, samples.targets,
                 samples.weights, orders.on_device)
        end = (layout.widths_there, layout.units_there, self._weights, self._biases, self._numbers_of_g, memory.rows,
               self._parts, self._scratch, self._outcomes, self._slots, memory.arrived, memory.control, memory.records)

        def launch() -> None:
            orders.copy()
            memory.copy()
            self._launch(work, (*begin, first, memory.steps - first, *end))

        for _ in parts:
            waiting += 1
            if waiting == together:
                launch()
                first, waiting, together = memory.steps, 0, 2 * together
            if interrupts:
                break
        if waiting:
            launch()

    def _launch(self, work: Propagation, arguments: tuple[Any, ...]) -> None:
        """Launch the kernel for some steps."""
        self._blocks = self._blocks or self._blocks_for(arguments)
        work.launch(self._kernel, self._blocks, self._threads, *arguments)

    def finish(self, theta: Any, averages: Any, taken: int, work: Propagation) -> None:
        """Copy what the last of the steps that were taken wrote, unless it is in its place."""
        if taken % 2:
            for own, other in zip((theta, averages), self._others, strict=True):
                if own.size:
                    own.copy_to_device(other, stream=work.stream)

    def _blocks_for(self, arguments: tuple[Any, ...]) -> int:
        """One for each slot, and more where they have parameters to update, as long as all run at the same time."""
        useful = max(self._slots, -(-self._layout.size // self._threads))
        return min(useful, self._most_blocks(arguments))

    def _most_blocks(self, arguments: tuple[Any, ...]) -> int:
        """The most blocks that run at the same time, as they must, because they wait for each other."""
        if SIMULATED:
            return 1
        return int(self._kernel.most_blocks(arguments, self._threads))
