"""One-sample steps of gradient descent, compiled for one list of widths.

A network of a few units spends its time on loops and calls, not on arithmetic. With its widths as constants every loop
is unrolled, and all of θ stays in registers from step to step: 2-8-1 took a twentieth of the time.
The formulas are those of all backends; only the loops around them are written here, one layer nested in the other:

    a_k = W_k h_{k-1} + b_k;  h_k = g_k(a_k);  deeper layers give e_k;  δ_k = e_k ⊙ g'_k(a_k);  e_{k-1} = W_kᵀ δ_k;
    W_k ← W_k - γ δ_k h_{k-1}ᵀ;  b_k ← b_k - γ δ_k

It takes a second to compile, once for an architecture.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import carray, types

from ...compiling.addresses import INTEGER, invoke, local_numbers, pointer, pointer_to, pointer_type, short_loops
from ...compiling.decorators import inlined, named, panel_loop, subkernel
from ...functions import activations, loss_panels
from ...functions.losses import record_named
from ...layout import make_layout

#: The widest layer, the most parameters, and the fewest steps, for which it is worth compiling.
MAX_WIDTH, MAX_PARAMETERS, MIN_STEPS = 16, 400, 2**18

#: The elements of the result, a vector of float64: E, and the number of correct samples.
TOTAL_E, TOTAL_CORRECT, RESULT_SIZE = range(3)


def is_worth_compiling(widths: Sequence[int], batch_size: int, steps: int) -> bool:
    """Whether enough steps of one sample are taken for a kernel of these widths to pay for its compilation."""
    if batch_size > 1 or max(widths) > MAX_WIDTH or steps < MIN_STEPS:
        return False
    return make_layout(widths).size <= MAX_PARAMETERS


def scratch_size(widths: Any) -> int:
    """How many numbers of scratch memory the function needs."""
    return 4 * sum(widths) + loss_panels.OUTCOME_ROWS


@short_loops
def online_steps(dtype: str, widths: tuple[int, ...], names: tuple[str, ...], loss: str) -> Any:
    """The function that takes a step for each of the samples order[first : first + count], for `address_of`.

    Its arguments are (theta, X, labels, targets, weights, order, has_labels, has_weights, has_order, first, count,
    rate, scratch, result).

    scratch : (scratch_size(widths),); result : (RESULT_SIZE,) float64; the E of each sample is added to TOTAL_E.
    """
    T, units, inputs, outputs = np.dtype(dtype).type, sum(widths), widths[0], widths[-1]
    step = _loss_of(loss, outputs)
    for k in range(len(widths) - 1, 0, -1):
        step = _layer(T, widths, names[k - 1], k, step)

    def run(theta: Any, X: Any, labels: Any, targets: Any, weights: Any, order: Any, has_labels: int,
            has_weights: int, has_order: int, first: int, count: int, rate: Any, scratch: Any, result: Any) -> None:
        h, e, a, d = scratch, pointer(scratch, units), pointer(scratch, 2 * units), pointer(scratch, 3 * units)
        outcome = pointer(scratch, 4 * units)
        total, correct = result[TOTAL_E], T(0.0)
        for s in range(first, first + count):
            sample = order[s] if has_order else s
            for j in range(inputs):
                h[j] = X[sample * inputs + j]
            if has_labels:
                for i in range(outputs):
                    d[i] = T(1.0) if labels[sample] == i else T(0.0)
            else:
                for i in range(outputs):
                    d[i] = targets[sample * outputs + i]
            weight = weights[sample] if has_weights else T(1.0)
            step(theta, h, e, a, d, weight, rate, outcome)
            total += weight * outcome[loss_panels.SAMPLE_E]
            correct += outcome[loss_panels.SAMPLE_CORRECT]
        result[TOTAL_E], result[TOTAL_CORRECT] = total, correct

    numbers, integers = pointer_type(dtype), types.CPointer(INTEGER)
    return run, (numbers, numbers, integers, numbers, numbers, integers, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER,
                 numbers.dtype, numbers, types.CPointer(types.float64))


@inlined
def take_steps(address: Any, theta: Any, batch: Any, count: Any, rate: Any, scratch: Any, result: Any) -> None:
    """Take steps for `count` samples of a batch, by the function at an address that `online_steps` describes."""
    samples, order = batch.samples, batch.order
    X = pointer_to(samples.address, theta.dtype.type)
    invoke(address, (theta, X, samples.labels, samples.targets, samples.weights, order,
                     np.int64(samples.labels.shape[0] > 0), np.int64(samples.weights.shape[0] > 0),
                     np.int64(order.shape[0] > 0), batch.start, count, theta.dtype.type(rate), scratch, result))


def _loss_of(loss: str, outputs: int) -> Callable[..., Any]:
    """The innermost layer: e_L = w ∇_y L."""
    evaluate = record_named(loss).evaluate

    @subkernel(inline=True)
    def innermost(theta: Any, y: Any, e: Any, a: Any, d: Any, weight: Any, rate: Any, outcome: Any) -> None:
        one = (outputs, 1)
        evaluate(carray(y, one), carray(d, one), carray(e, one), carray(outcome, (loss_panels.OUTCOME_ROWS, 1)))
        for i in range(outputs):
            e[i] *= weight

    return innermost


def _layer(T: Any, widths: Sequence[int], name: str, k: int, deeper: Callable[..., Any]) -> Callable[..., Any]:
    """Layer k around the deeper ones; h_prev, e_prev and a_prev are layer k-1's, and layer k's follow them."""
    rows, columns, layout = widths[k], widths[k - 1], make_layout(widths)
    W, b, goes_on = int(layout.weights[k]), int(layout.biases[k]), k > 1
    activate, delta_of = (
        panel_loop(named(f"{make.__name__}_inlined_{name}", make(activations.BY_NAME[name], np.dtype(T).name, 1)[0]))
        for make in (activations.apply_panel, activations.delta_panel))

    @subkernel(inline=True)
    def layer(theta: Any, h_prev: Any, e_prev: Any, a_prev: Any, d: Any, weight: Any, rate: Any, outcome: Any) -> None:
        a, h, e = pointer(a_prev, columns), pointer(h_prev, columns), pointer(e_prev, columns)
        for i in range(rows):
            total = theta[b + i]
            for j in range(columns):
                total += theta[W + i * columns + j] * h_prev[j]
            a[i] = total
        activate(a, h, rows)
        deeper(theta, h, e, a, d, weight, rate, outcome)
        delta = local_numbers(a, rows)
        delta_of(a, h, e, delta, rows)
        if goes_on:
            for j in range(columns):
                e_prev[j] = T(0.0)
            for i in range(rows):
                for j in range(columns):
                    e_prev[j] += theta[W + i * columns + j] * delta[i]
        for i in range(rows):
            change = rate * delta[i]
            theta[b + i] -= change
            for j in range(columns):
                theta[W + i * columns + j] -= change * h_prev[j]

    return layer
