"""The update of theta on the GPU: the rules of `optimizers.rules`, a thread for each parameter.

As on the processor, θ and the running averages are written only after the whole update is known to be finite: `look`
computes it, and `write` computes it once more. What was found lies in `control` on the device, so that steps follow
each other without waiting for the processor.
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
from .panels import PLACE, THREADS, TOTAL_CORRECT, TOTAL_E, blocks_for, sample_at

#: The places of `control`, (CONTROLS,) float64: whether something was not finite, the factor of the gradient, the
#: number of samples of the batch or their total weight, ½ α Σ ‖W_k‖², how many steps were taken, the largest |∂E/∂θ|,
#: and of the present step, or the one that was not finite, how many were taken before it, and E.
NOT_FINITE, FACTOR, TOTAL_WEIGHT, PENALTY, TAKEN, LARGEST, BEFORE, PRESENT_E, CONTROLS = range(9)

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


@on_processor
def write_nothing(averages: Any, k: int, p: int, value: Any) -> None:
    """Leave average k of parameter p as it is."""


@functools.cache
def change_at(rule: Rule, write: Any = write_average) -> Any:
    """`rules.change_of` for the GPU."""
    return inlined(change_of(rule, average_at, write, device_function))


@functools.cache
def coefficients_of(rule: Rule) -> Any:
    """`rules.rounded` for the GPU, where the row is an array or a tuple."""
    return device_function(gathered(rule.count, rounded_at))


@functools.cache
def update_kernels(dtype: np.dtype, rule: Rule) -> tuple[Any, Any]:
    """The kernels `look`, which records whether the update is not finite, and `write`, which makes it if it is."""
    T, coefficients, decay = dtype.type, coefficients_of(rule), rule.count
    change, change_and_write = change_at(rule, write_nothing), change_at(rule)

    @kernel
    def look(theta: Any, grad: Any, averages: Any, rows: Any, control: Any) -> None:
        p = cuda.grid(1)
        if p < theta.size:
            row = rows[int(control[BEFORE])]
            g = T(control[FACTOR]) * grad[p] + T(row[decay]) * theta[p]
            after = theta[p] - change(theta[p], g, averages, averages, p, coefficients(row, theta[p]))
            if not (math.isfinite(grad[p]) and math.isfinite(after)):
                control[NOT_FINITE] = 1.0

    @kernel
    def write(theta: Any, grad: Any, averages: Any, rows: Any, control: Any, totals: Any, records: Any,
              stride: int) -> None:
        """θ, the averages, and grad = 0; the first thread also ends the step, where it is recorded."""
        p = cuda.grid(1)
        if p < theta.size and control[NOT_FINITE] == 0.0:
            row = rows[int(control[BEFORE])]
            g = T(control[FACTOR]) * grad[p] + T(row[decay]) * theta[p]
            theta[p] -= change_and_write(theta[p], g, averages, averages, p, coefficients(row, theta[p]))
            grad[p] = 0
            if p == 0 and records.shape[0] > 0:
                record = records[int(control[BEFORE])]
                record[RECORD_E], record[RECORD_CORRECT] = totals[TOTAL_E], totals[TOTAL_CORRECT]
                record[RECORD_WEIGHT], record[RECORD_PENALTY] = control[TOTAL_WEIGHT], control[PENALTY]
                totals[TOTAL_E], totals[TOTAL_CORRECT] = 0.0, 0.0
                totals[PLACE] += stride
                control[TAKEN] += 1.0

    return look, write


@inlined
def begin_update(total_weight: float, totals: Any, control: Any) -> None:
    """Set what the update of a batch with a total weight needs, and record whether its E is not finite."""
    if control[NOT_FINITE] == 0.0:
        control[TOTAL_WEIGHT], control[FACTOR], control[PENALTY] = total_weight, 1.0 / total_weight, 0.0
        control[BEFORE], control[PRESENT_E] = control[TAKEN], totals[TOTAL_E]
        if not math.isfinite(totals[TOTAL_E]):
            control[NOT_FINITE] = 1.0


@kernel
def set_weight(total_weight: float, totals: Any, control: Any) -> None:
    """`begin_update` with a given total weight; by one thread."""
    begin_update(total_weight, totals, control)


@kernel
def sum_weights(weights: Any, order: Any, samples: int, totals: Any, control: Any) -> None:
    """`begin_update` with Σ w of a batch, or the number of samples where that is 0; by one block."""
    parts = cuda.shared.array(THREADS, np.float64)
    t, start = cuda.threadIdx.x, int(totals[PLACE])
    parts[t] = 0.0
    for s in range(t, samples, THREADS):
        parts[t] += weights[sample_at(order, start + s)]
    cuda.syncthreads()
    if t == 0:
        total_weight = 0.0
        for thread in range(THREADS):
            total_weight += parts[thread]
        begin_update(total_weight if total_weight > 0.0 else float(samples), totals, control)


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


class Update:
    """Launches an optimizer's updates."""

    def __init__(self, dtype: np.dtype, optimizer: OptimizerSpec, parameters: int, launch: Any) -> None:
        self.clip_norm, self.blocks, self.launched = optimizer.clip_norm, blocks_for(parameters), launch
        self.look, self.write = update_kernels(dtype, rule_of(optimizer))
        self.parts = cuda.device_array((SUMMING_BLOCKS, THREADS), np.float64) if self.clip_norm > 0.0 else None

    def launch(self, theta: Any, grad: Any, averages: Any, rows: Any, control: Any, totals: Any, records: Any,
               stride: int = 0) -> None:
        """θ ← θ - change(factor · grad) by the factor in control, and the row of the steps that were taken.

        records : (steps, RECORDS), or no rows where the step is not recorded; stride : by which `PLACE` moves on
        """
        launch, blocks, arguments = self.launched, self.blocks, (theta, grad, averages, rows, control)
        if self.clip_norm > 0.0:
            launch(find_largest, SUMMING_BLOCKS, THREADS, grad, self.parts)
            launch(end_largest, 1, 1, self.parts, control)
            launch(sum_squares, SUMMING_BLOCKS, THREADS, grad, control, self.parts)
            launch(clip, 1, 1, self.parts, self.clip_norm, control)
        launch(self.look, blocks, THREADS, *arguments)
        launch(self.write, blocks, THREADS, *arguments, totals, records, stride)
