"""The kernels around the products: gather, outputs and loss, dropout, norms, sums.

Values of layers are matrices (units, samples). Samples are read at the places start … of an order of the rows of X.
The places first … of `numbers` give their numbers, by which results are written and units dropped. Both are the same,
except for samples that are copied in chunks. In trainings both count from a place in `totals`, so that the launches of
all steps have the same arguments; otherwise that is 0.

Where a formula needs all units of a sample, a thread has the sample, so that neighbouring threads read neighbouring
numbers.
"""

import functools
import math
from typing import Any

import numpy as np

from ...formulas.activations import SUMS
from ...formulas.dropout import unit_is_kept
from ...formulas.sample_gradients import clip_factor
from ...functions.activations import Activation
from ...functions.loss_panels import SAMPLE_CORRECT, SAMPLE_E
from ...functions.losses import Loss
from .device import device_function, inlined, kernel
from .driver import SIMULATED, cuda

#: Threads of a block, with a sample or a number each.
THREADS = 128 if not SIMULATED else 4

#: The side of the square of samples and inputs that a block transposes, and the rows of threads that do so.
SQUARE, SQUARE_ROWS = (32, 8) if not SIMULATED else (4, 2)

#: The places of a call's `totals`, (TOTALS,) float64: E, the number of correct samples, and the place from which those
#: in orders count.
TOTAL_E, TOTAL_CORRECT, PLACE, TOTALS = range(4)


def blocks_for(count: int) -> int:
    """How many blocks of THREADS threads have at least `count` threads in all."""
    return -(-count // THREADS)


@inlined
def sample_at(order: Any, place: int) -> Any:
    """The number of the sample at a place of an order; an empty order is that of X."""
    return order[place] if order.shape[0] > 0 else place


@functools.cache
def gather(dtype: np.dtype) -> Any:
    """A kernel: h_0 = the rows of X at the places start … start + samples - 1 of the order, transposed."""
    T, size, step, row = dtype.type, (SQUARE, SQUARE + 1), SQUARE_ROWS, SQUARE

    @kernel
    def gather_inputs(X: Any, order: Any, start: int, samples: int, totals: Any, h: Any) -> None:
        start += int(totals[PLACE])
        square = cuda.shared.array(size, T)
        s0, j0 = cuda.blockIdx.y * row, cuda.blockIdx.x * row  # y is the axis that a grid has fewer blocks of
        for r in range(cuda.threadIdx.y, row, step):
            j = j0 + cuda.threadIdx.x
            if s0 + r < samples and j < X.shape[1]:
                square[r, cuda.threadIdx.x] = X[sample_at(order, start + s0 + r), j]
        cuda.syncthreads()
        for r in range(cuda.threadIdx.y, row, step):
            s = s0 + cuda.threadIdx.x
            if s < samples and j0 + r < X.shape[1]:
                h[j0 + r, s] = square[cuda.threadIdx.x, r]

    return gather_inputs


def outputs_of_sample(dtype: np.dtype, activation: Activation, loss: Loss) -> Any:
    """The functions for h_L of a sample, if the activation takes all units, and for its E and δ_L.

    y, delta, d, e, outcome : (units, 1); y and delta hold a_L or h_L, and g'(a_L). The second writes the weighted E to
    the outcome.
    """
    T, by_unit = dtype.type, activation.g is not None
    over_units: Any = [None if by_unit else device_function(f) for f in (activation.apply, activation.delta)]
    apply, apply_delta = over_units
    evaluate = device_function(loss.evaluate)

    @inlined
    def finish(y: Any) -> None:
        """h_L = g(a_L)."""
        if not by_unit:
            apply(y, y, cuda.local.array((SUMS, 1), T))

    @inlined
    def weigh(y: Any, delta: Any, d: Any, e: Any, outcome: Any, sample: int, labels: Any, targets: Any,
              weights: Any) -> None:
        """w L(y; d), and δ_L = w ∇_y L ⊙ g'(a_L)."""
        for i in range(y.shape[0]):
            d[i, 0] = targets[sample, i] if targets.shape[0] > 0 else T(0)
        if labels.shape[0] > 0:
            d[labels[sample], 0] = T(1)
        evaluate(y, d, e, outcome)
        weight = weights[sample] if weights.shape[0] > 0 else T(1)
        outcome[SAMPLE_E, 0] *= weight
        for i in range(y.shape[0]):
            e[i, 0] *= weight
        if by_unit:
            for i in range(y.shape[0]):
                delta[i, 0] *= e[i, 0]
        else:
            apply_delta(y, y, e, delta, cuda.local.array((SUMS, 1), T))

    return finish, weigh


@functools.cache
def outputs(dtype: np.dtype, activation: Activation, loss: Loss) -> Any:
    """A kernel: h_L where the activation takes all units of a sample; y, E and δ_L where they are wanted.

    Arrays that are not wanted are empty. h and delta hold a_L or h_L, and g'(a_L), from row `here` on.
    """
    finish, weigh = outputs_of_sample(dtype, activation, loss)

    @kernel
    def evaluate_outputs(h: Any, delta: Any, here: int, width: int, order: Any, start: int, numbers: Any, first: int,
                         samples: int, totals: Any, labels: Any, targets: Any, weights: Any, d: Any, e: Any,
                         outcome: Any, Y: Any, E: Any, correct: Any) -> None:
        s = cuda.grid(1)
        if s >= samples:
            return
        sample = sample_at(order, int(totals[PLACE]) + start + s)
        y = h[here : here + width, s : s + 1]
        finish(y)
        if Y.shape[0] > 0:
            number = sample_at(numbers, first + s)
            for i in range(width):
                Y[number, i] = y[i, 0]
        if labels.shape[0] > 0 or targets.shape[0] > 0:
            weigh(y, delta[here : here + width, s : s + 1], d[:, s : s + 1], e[:, s : s + 1], outcome[:, s : s + 1],
                  sample, labels, targets, weights)
            E[s], correct[s] = outcome[SAMPLE_E, s], outcome[SAMPLE_CORRECT, s]

    return evaluate_outputs


@functools.cache
def drop(dtype: np.dtype) -> Any:
    """A kernel: h_k ← m ⊙ h_k / (1 - p) of layer k, and its g'(a_k) likewise; see `dropout`."""
    T, is_kept = dtype.type, device_function(unit_is_kept)

    @kernel
    def drop_units(h: Any, slope: Any, here: int, width: int, numbers: Any, first: int, samples: int, totals: Any,
                   key: int, k: int, rate: float) -> None:
        s = cuda.grid(1)
        if s < samples:
            number, scale = sample_at(numbers, int(totals[PLACE]) + first + s), T(1.0 / (1.0 - rate))
            for i in range(width):
                factor = scale if is_kept(key, number, k, i, rate) else T(0)
                h[here + i, s] *= factor
                slope[here + i, s] *= factor

    return drop_units


@kernel
def write_errors(e: Any, numbers: Any, first: int, samples: int, E0: Any) -> None:
    """The rows of e_0 = ∇_x E of the samples, from e (N_0, samples)."""
    s = cuda.grid(1)
    if s < samples:
        number = sample_at(numbers, first + s)
        for j in range(E0.shape[1]):
            E0[number, j] = e[j, s]


@kernel
def fill(values: Any, begin: int, rows: int, samples: int, value: float) -> None:
    """values[begin : begin + rows, :samples] = value."""
    s = cuda.grid(1)
    if s < samples:
        for i in range(begin, begin + rows):
            values[i, s] = value


@kernel
def start_at(place: float, totals: Any) -> None:
    """Let orders count from a place; by one thread."""
    totals[PLACE] = place


@functools.cache
def gradient_norms(dtype: np.dtype) -> Any:
    """A kernel: ‖∇L‖ = √(Σ_k ‖δ_k‖² (‖h_{k-1}‖² + 1)) of every sample, and its δ clipped where clip_norm is above 0.

    widths, rows : (L+1,) and (L+2,), of `DeviceLayout`.
    """
    T, factor_of = dtype.type, device_function(clip_factor)

    @kernel
    def find_gradient_norms(h: Any, delta: Any, widths: Any, rows: Any, numbers: Any, first: int, samples: int,
                            norms: Any, clip_norm: float) -> None:
        s = cuda.grid(1)
        if s >= samples:
            return
        total = 0.0
        for k in range(1, widths.shape[0]):
            inputs, errors = 1.0, 0.0
            for j in range(widths[k - 1]):
                inputs += np.float64(h[rows[k - 1] + j, s]) * np.float64(h[rows[k - 1] + j, s])
            for i in range(widths[k]):
                errors += np.float64(delta[rows[k] + i, s]) * np.float64(delta[rows[k] + i, s])
            total += errors * inputs
        norm = math.sqrt(total)
        if norms.shape[0] > 0:
            norms[sample_at(numbers, first + s)] = norm
        if clip_norm > 0.0 and not norm <= clip_norm:
            factor = factor_of(norm, clip_norm)
            for k in range(1, widths.shape[0]):
                for i in range(rows[k], rows[k] + widths[k]):
                    delta[i, s] = T(factor * np.float64(delta[i, s]))  # the factor may be below float32

    return find_gradient_norms


@kernel
def add_outcomes(E: Any, correct: Any, samples: int, totals: Any) -> None:
    """totals += (Σ E, Σ correct), by one block: each thread sums every THREADS-th sample, then one thread all sums."""
    parts = cuda.shared.array((2, THREADS), np.float64)
    t = cuda.threadIdx.x
    parts[0, t], parts[1, t] = 0.0, 0.0
    for s in range(t, samples, THREADS):
        parts[0, t] += E[s]
        parts[1, t] += correct[s]
    cuda.syncthreads()
    if t < 2:
        total = 0.0
        for thread in range(THREADS):
            total += parts[t, thread]
        totals[t] += total


@kernel
def add_slices(part: Any, slices: int, begin: int, end: int, grad: Any) -> None:
    """grad[begin:end] += Σ over the slices of part (slices, P), in their order."""
    p = begin + cuda.grid(1)
    if p < end:
        total = part[0, p]
        for piece in range(1, slices):
            total += part[piece, p]
        grad[p] += total
