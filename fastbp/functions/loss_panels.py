"""The losses of a panel: E and ∇_y E together, and whether each sample is classified correctly.

Panels are (units, samples) as in `activations`. E of each sample, and whether it is correct, are rows of `outcome`,
(OUTCOME_ROWS, samples). E of a batch is the sum over its samples everywhere in the core.
"""

from collections.abc import Callable
from typing import Any

from ..compiling.decorators import named, panel_loop
from ..formulas.elementary import exp, log
from ..formulas.losses import binary_cross_entropy, binary_cross_entropy_prime, negative_log_softmax

#: Rows of an outcome: E, and 1 or 0 for correct; the others hold intermediate results.
(SAMPLE_E, SAMPLE_CORRECT, BEST_OUTPUT, BEST_TARGET, LARGEST_TARGET, LARGEST_OUTPUT, EXP_SUM, LOG_EXP_SUM, TARGET_SUM,
 OUTCOME_ROWS) = range(10)


def summed(symbol: str, loss: Any, loss_prime: Any, *parameters: float,
           compiled: Callable[..., Any] = panel_loop) -> Any:
    """The function `evaluate` of a loss that is a sum over outputs; it counts no sample as correct.

    symbol : a part of the names of compiled functions, different for different parameters.
    parameters : constants that the two formulas take after y and d.
    compiled : compiles the loop.
    """
    def evaluate(y: Any, d: Any, e: Any, outcome: Any) -> None:
        T = type(y[0, 0])
        for s in range(y.shape[1]):
            outcome[SAMPLE_E, s], outcome[SAMPLE_CORRECT, s] = T(0.0), T(0.0)
        for i in range(y.shape[0]):
            for s in range(y.shape[1]):
                outcome[SAMPLE_E, s] += T(loss(y[i, s], d[i, s], *parameters))
                e[i, s] = T(loss_prime(y[i, s], d[i, s], *parameters))

    return compiled(named(f"{symbol}_evaluate", evaluate))


def curved(symbol: str, curvature: Any, *parameters: float) -> Any:
    """The function `curvature` (y, d, c) of a componentwise loss: c_i, by which its Gauss-Newton form weighs output i.

    symbol, parameters : as for `summed`.
    """
    def curvatures(y: Any, d: Any, c: Any) -> None:
        T = type(y[0, 0])
        for i in range(y.shape[0]):
            for s in range(y.shape[1]):
                c[i, s] = T(curvature(y[i, s], d[i, s], *parameters))

    return panel_loop(named(f"{symbol}_curvature", curvatures))


@panel_loop
def evaluate_cross_entropy(y: Any, d: Any, e: Any, outcome: Any) -> None:
    """E = -Σ_i d_i log y_i, e_i = -d_i / y_i, on the output of a softmax layer, which is never 0."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[SAMPLE_E, s] = T(0.0)
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            e[i, s] = -d[i, s] / y[i, s]
            outcome[SAMPLE_E, s] -= d[i, s] * log(y[i, s])
    _compare_classes(y, d, outcome)


@panel_loop
def evaluate_softmax_cross_entropy(y: Any, d: Any, e: Any, outcome: Any) -> None:
    """E = Σ_i d_i (log Σ_j exp y_j - y_i), e = softmax(y) Σ_i d_i - d, on logits y, their maximum subtracted."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[LARGEST_OUTPUT, s] = y[0, s]
        outcome[SAMPLE_E, s], outcome[EXP_SUM, s], outcome[TARGET_SUM, s] = T(0.0), T(0.0), T(0.0)
    for i in range(1, y.shape[0]):
        for s in range(y.shape[1]):
            outcome[LARGEST_OUTPUT, s] = max(outcome[LARGEST_OUTPUT, s], y[i, s])
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            e[i, s] = exp(y[i, s] - outcome[LARGEST_OUTPUT, s])
            outcome[EXP_SUM, s] += e[i, s]
            outcome[TARGET_SUM, s] += d[i, s]
    for s in range(y.shape[1]):
        outcome[LOG_EXP_SUM, s] = log(outcome[EXP_SUM, s])
        outcome[TARGET_SUM, s] /= outcome[EXP_SUM, s]
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            log_p = negative_log_softmax(y[i, s], outcome[LARGEST_OUTPUT, s], outcome[LOG_EXP_SUM, s])
            outcome[SAMPLE_E, s] += d[i, s] * log_p
            e[i, s] = e[i, s] * outcome[TARGET_SUM, s] - d[i, s]
    _compare_classes(y, d, outcome)


@panel_loop
def evaluate_binary_cross_entropy(y: Any, d: Any, e: Any, outcome: Any) -> None:
    """E = Σ_i of the binary cross-entropy of logit y_i and target d_i; correct when every output is on its side."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[SAMPLE_E, s], outcome[SAMPLE_CORRECT, s] = T(0.0), T(1.0)
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            outcome[SAMPLE_E, s] += binary_cross_entropy(y[i, s], d[i, s])
            e[i, s] = binary_cross_entropy_prime(y[i, s], d[i, s])
            positive, expected = T(1.0) if y[i, s] > T(0.0) else T(0.0), T(1.0) if d[i, s] > T(0.5) else T(0.0)
            outcome[SAMPLE_CORRECT, s] *= T(1.0) - abs(positive - expected)


@panel_loop
def _compare_classes(y: Any, d: Any, outcome: Any) -> None:
    """A sample is correct if the first of its largest outputs is one of its largest targets."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[BEST_OUTPUT, s], outcome[BEST_TARGET, s], outcome[LARGEST_TARGET, s] = y[0, s], d[0, s], d[0, s]
    for i in range(1, y.shape[0]):
        for s in range(y.shape[1]):
            # Everything is read before a choice: a read inside a choice is a branch, and took four times as long.
            output, target = y[i, s], d[i, s]
            best_output, best_target = outcome[BEST_OUTPUT, s], outcome[BEST_TARGET, s]
            better = output > best_output
            outcome[BEST_OUTPUT, s] = output if better else best_output
            outcome[BEST_TARGET, s] = target if better else best_target
            outcome[LARGEST_TARGET, s] = max(outcome[LARGEST_TARGET, s], target)
    for s in range(y.shape[1]):
        outcome[SAMPLE_CORRECT, s] = T(1.0) if outcome[BEST_TARGET, s] >= outcome[LARGEST_TARGET, s] else T(0.0)


def summed_second(symbol: str, loss_second: Any, *parameters: float) -> Any:
    """The function `second` of a loss that is a sum over outputs; arguments are those of `summed`."""
    def second(y: Any, d: Any, outcome: Any, Ry: Any, Re: Any) -> None:
        T = type(y[0, 0])
        for i in range(y.shape[0]):
            for s in range(y.shape[1]):
                Re[i, s] = T(loss_second(y[i, s], d[i, s], *parameters)) * Ry[i, s]

    return panel_loop(named(f"{symbol}_second", second))


@panel_loop
def cross_entropy_second(y: Any, d: Any, outcome: Any, Ry: Any, Re: Any) -> None:
    """Re_i = d_i / y_i² Ry_i, of the output of a softmax layer, in an order in which nothing overflows."""
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            Re[i, s] = d[i, s] / y[i, s] * (Ry[i, s] / y[i, s])


@panel_loop
def softmax_cross_entropy_second(y: Any, d: Any, outcome: Any, Ry: Any, Re: Any) -> None:
    """Re = Σ_i d_i p ⊙ (Ry - ⟨p, Ry⟩), p = softmax(y), by the outcome of `evaluate_softmax_cross_entropy`."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[BEST_OUTPUT, s] = T(0.0)  # ⟨p, Ry⟩
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            Re[i, s] = exp(y[i, s] - outcome[LARGEST_OUTPUT, s]) / outcome[EXP_SUM, s]
            outcome[BEST_OUTPUT, s] += Re[i, s] * Ry[i, s]
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            Re[i, s] *= (Ry[i, s] - outcome[BEST_OUTPUT, s]) * (outcome[TARGET_SUM, s] * outcome[EXP_SUM, s])
