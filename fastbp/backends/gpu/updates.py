"""The update of theta on the GPU: the rules of `optimizers.rules`, a thread for each parameter.

As on the processor, θ is written only after the whole change is known to be finite. That is decided by `control` on the
device, so that steps follow each other without waiting for the processor.
"""

import functools
import math
from typing import Any

import numpy as np

from ...compiling.decorators import subkernel as on_processor
from ...compiling.tuples import gathered
from ...optimizers.rules import Rule, change_of
from ...optimizers.updates import OptimizerSpec, rule_of, write_rows
from .device import device_function, inlined, kernel
from .driver import SIMULATED, cuda
from .panels import THREADS, TOTAL_CORRECT, TOTAL_E, blocks_for, sample_at

#: The places of `control`, (CONTROLS,) float64: whether something was not finite, the factor of the gradient, the
#: number of samples of the batch or their total weight, ½ α Σ ‖W_k‖², how many steps were taken, and the largest
#: |∂E/∂θ|.
NOT_FINITE, FACTOR, TOTAL_WEIGHT, PENALTY, TAKEN, LARGEST, CONTROLS = range(7)

#: The columns of `records`, in which every step has a row.
RECORD_E, RECORD_CORRECT, RECORD_WEIGHT, RECORD_PENALTY, RECORDS = range(5)

#: The number of blocks that sum parts of a vector of any size, so that sums do not depend on the GPU.
SUMMING_BLOCKS = 64 if not SIMULATED else 2


def rows_of(optimizer: OptimizerSpec, updates: int, steps: int) -> np.ndarray:
    """The coefficients of `steps` updates after the first `updates`: (steps, count + 1) float64; see `rules.row_of`."""
    rows = np.zeros((steps, len(optimizer.row)))
    write_rows(optimizer, updates, rows)
    return rows


@on_processor
def average_at(averages: Any, k: int, p: int) -> Any:
    """Average k of parameter p."""
    return averages[k, p]


@on_processor
def write_average(averages: Any, k: int, p: int, value: Any) -> None:
    """Write average k of parameter p."""
    averages[k, p] = value


@on_processor
def rounded_at(row: Any, k: int, theta: Any) -> Any:
    """Coefficient k in theta's dtype."""
    return type(theta)(row[k])


@functools.cache
def change_at(rule: Rule) -> Any:
    """`rules.change_of` for the GPU."""
    return inlined(change_of(rule, average_at, write_average, device_function))


@functools.cache
def coefficients_of(rule: Rule) -> Any:
    """`rules.rounded` for the GPU, where the row is an array or a tuple."""
    return device_function(gathered(rule.count, rounded_at))


@functools.cache
def change(dtype: np.dtype, rule: Rule) -> Any:
    """A kernel: the gradient becomes the change of θ, in place."""
    T, change, coefficients, decay = dtype.type, change_at(rule), coefficients_of(rule), rule.count

    @kernel
    def change_parameters(theta: Any, grad: Any, averages: Any, rows: Any, step: int, control: Any) -> None:
        p = cuda.grid(1)
        if p < theta.size and control[NOT_FINITE] == 0.0:
            row = rows[step]
            g = T(control[FACTOR]) * grad[p] + T(row[decay]) * theta[p]
            grad[p] = change(theta[p], g, averages, averages, p, coefficients(row, theta[p]))

    return change_parameters


@kernel
def set_mass(total_weight: float, control: Any) -> None:
    """Set the total weight by which the gradient is divided; by one thread."""
    control[TOTAL_WEIGHT], control[FACTOR], control[PENALTY] = total_weight, 1.0 / total_weight, 0.0


@kernel
def sum_weights(weights: Any, order: Any, start: int, samples: int, control: Any) -> None:
    """Set the total weight of a batch: Σ w, or the number of samples where that is 0; by one block."""
    parts = cuda.shared.array(THREADS, np.float64)
    t = cuda.threadIdx.x
    parts[t] = 0.0
    for s in range(t, samples, THREADS):
        parts[t] += weights[sample_at(order, start + s)]
    cuda.syncthreads()
    if t == 0:
        total_weight = 0.0
        for thread in range(THREADS):
            total_weight += parts[thread]
        total_weight = total_weight if total_weight > 0.0 else float(samples)
        control[TOTAL_WEIGHT], control[FACTOR], control[PENALTY] = total_weight, 1.0 / total_weight, 0.0


@kernel
def see_loss(totals: Any, control: Any) -> None:
    """Record whether E is not finite; by one thread."""
    if not math.isfinite(totals[TOTAL_E]):
        control[NOT_FINITE] = 1.0


@kernel
def add_penalty(theta: Any, grad: Any, begin: int, end: int, alpha: float, parts: Any) -> None:
    """∂E/∂W_k += α W_k from begin to end, by SUMMING_BLOCKS blocks; parts (SUMMING_BLOCKS, THREADS) += Σ w²."""
    total = 0.0
    for p in range(begin + cuda.grid(1), end, SUMMING_BLOCKS * THREADS):
        w = theta[p]
        total += np.float64(w) * np.float64(w)
        grad[p] += grad.dtype.type(alpha) * w
    parts[cuda.blockIdx.x, cuda.threadIdx.x] += total


@kernel
def end_penalty(parts: Any, alpha: float, control: Any) -> None:
    """½ α Σ ‖W_k‖² from the parts, which are set to 0; by one thread."""
    total = 0.0
    for block in range(SUMMING_BLOCKS):
        for thread in range(THREADS):
            total += parts[block, thread]
            parts[block, thread] = 0.0
    control[PENALTY] = 0.5 * alpha * total


@kernel
def find_largest(grad: Any, parts: Any) -> None:
    """The largest |∂E/∂θ| of each thread of SUMMING_BLOCKS blocks."""
    largest = 0.0
    for p in range(cuda.grid(1), grad.size, SUMMING_BLOCKS * THREADS):
        largest = max(largest, abs(np.float64(grad[p])))
    parts[cuda.blockIdx.x, cuda.threadIdx.x] = largest


@kernel
def end_largest(parts: Any, control: Any) -> None:
    """The largest of the parts, by one thread."""
    largest = 0.0
    for block in range(SUMMING_BLOCKS):
        for thread in range(THREADS):
            largest = max(largest, parts[block, thread])
    control[LARGEST] = largest


@kernel
def sum_squares(grad: Any, control: Any, parts: Any) -> None:
    """Σ (g / max |g|)² of each thread: no square overflows or vanishes."""
    total, largest = 0.0, control[LARGEST]
    if largest > 0.0:
        for p in range(cuda.grid(1), grad.size, SUMMING_BLOCKS * THREADS):
            ratio = np.float64(grad[p]) / largest
            total += ratio * ratio
    parts[cuda.blockIdx.x, cuda.threadIdx.x] = total


@kernel
def clip(parts: Any, clip_norm: float, control: Any) -> None:
    """The factor of the gradient, so that its norm is at most clip_norm; by one thread."""
    total = 0.0
    for block in range(SUMMING_BLOCKS):
        for thread in range(THREADS):
            total += parts[block, thread]
    norm = control[FACTOR] * control[LARGEST] * math.sqrt(total)
    if norm > clip_norm:
        control[FACTOR] *= clip_norm / norm


@kernel
def see_finite(grad: Any, control: Any) -> None:
    """Record whether the gradient is not finite."""
    p = cuda.grid(1)
    if p < grad.size and not math.isfinite(grad[p]):
        control[NOT_FINITE] = 1.0


@kernel
def see_finite_after(theta: Any, change: Any, control: Any) -> None:
    """Record whether θ - change is not finite."""
    p = cuda.grid(1)
    if p < theta.size and not math.isfinite(theta[p] - change[p]):
        control[NOT_FINITE] = 1.0


@kernel
def apply(theta: Any, grad: Any, control: Any) -> None:
    """θ ← θ - change and grad = 0, if all is finite."""
    p = cuda.grid(1)
    if p < theta.size and control[NOT_FINITE] == 0.0:
        theta[p] -= grad[p]
        grad[p] = 0


@kernel
def end_step(totals: Any, control: Any, records: Any, step: int) -> None:
    """Write the record of a step if it was taken; by one thread."""
    if control[NOT_FINITE] == 0.0:
        records[step, RECORD_E], records[step, RECORD_CORRECT] = totals[TOTAL_E], totals[TOTAL_CORRECT]
        records[step, RECORD_WEIGHT], records[step, RECORD_PENALTY] = control[TOTAL_WEIGHT], control[PENALTY]
        control[TAKEN] += 1.0
        totals[TOTAL_E], totals[TOTAL_CORRECT] = 0.0, 0.0


class Update:
    """Launches an optimizer's updates."""

    def __init__(self, dtype: np.dtype, optimizer: OptimizerSpec, parameters: int, stream: Any = 0) -> None:
        self.clip_norm, self.blocks, self.stream = optimizer.clip_norm, blocks_for(parameters), stream
        self.change = change(dtype, rule_of(optimizer))
        self.parts = cuda.device_array((SUMMING_BLOCKS, THREADS), np.float64)

    def launch(self, theta: Any, grad: Any, averages: Any, rows: Any, step: int, control: Any) -> None:
        """θ ← θ - change(factor · grad) with the coefficients of a step's row and the factor in control."""
        each, many = (self.blocks, THREADS, self.stream), (SUMMING_BLOCKS, THREADS, self.stream)
        one = (1, 1, self.stream)
        see_finite[each](grad, control)
        if self.clip_norm > 0.0:
            find_largest[many](grad, self.parts)
            end_largest[one](self.parts, control)
            sum_squares[many](grad, control, self.parts)
            clip[one](self.parts, self.clip_norm, control)
        self.change[each](theta, grad, averages, rows, step, control)
        see_finite_after[each](theta, grad, control)
        apply[each](theta, grad, control)
