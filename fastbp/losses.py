"""The losses: records, compiled for panels of samples.

Evaluating a loss gives E and ∇_y E together, and whether each sample is classified correctly. E of a batch is the sum
over its samples everywhere in the core. To add a componentwise loss, write its two formulas in `formulas.py` and add
a line to `LOSSES`.

Panels are (units, samples) as in `activations`. What a loss finds out about each sample goes into the rows of
`outcome`, (OUTCOME_ROWS, samples).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import carray

from . import formulas
from .by_address import INTEGER, pointer_type
from .compilation import panel_loop
from .elementary import exp, log

#: Rows of an outcome: E and 1 or 0 for correct; the others are room to work in.
SAMPLE_E, SAMPLE_CORRECT, BEST_OUTPUT, BEST_TARGET, LARGEST_TARGET, LARGEST, TOTAL, LOG_TOTAL, MASS, OUTCOME_ROWS = \
    range(10)


class Loss(NamedTuple):
    """One loss, as a function on a panel of outputs."""

    name: str
    evaluate: Callable[..., Any]  # evaluate(y, d, e, outcome): E, e = ∇_y E, correct
    targets: str                  # "values" (real numbers), "classes" (labels, or rows of sum 1), or "bits" (0 to 1)
    requires: str | None          # the only output activation it is defined on
    refuses: tuple[str, ...]      # output activations that it already includes

    @property
    def is_classification(self) -> bool:
        """Whether the history records an accuracy."""
        return self.targets != "values"


@panel_loop
def evaluate_squared_error(y: Any, d: Any, e: Any, outcome: Any) -> None:
    """E = Σ_i (y_i - d_i)² / 2, e = y - d."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[SAMPLE_E, s], outcome[SAMPLE_CORRECT, s] = T(0.0), T(0.0)
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            outcome[SAMPLE_E, s] += formulas.squared_error(y[i, s], d[i, s])
            e[i, s] = formulas.squared_error_prime(y[i, s], d[i, s])


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
        outcome[LARGEST, s] = y[0, s]
        outcome[SAMPLE_E, s], outcome[TOTAL, s], outcome[MASS, s] = T(0.0), T(0.0), T(0.0)
    for i in range(1, y.shape[0]):
        for s in range(y.shape[1]):
            outcome[LARGEST, s] = max(outcome[LARGEST, s], y[i, s])
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            e[i, s] = exp(y[i, s] - outcome[LARGEST, s])
            outcome[TOTAL, s] += e[i, s]
            outcome[MASS, s] += d[i, s]
    for s in range(y.shape[1]):
        outcome[LOG_TOTAL, s] = log(outcome[TOTAL, s])
        outcome[MASS, s] /= outcome[TOTAL, s]
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            log_p = formulas.negative_log_softmax(y[i, s], outcome[LARGEST, s], outcome[LOG_TOTAL, s])
            outcome[SAMPLE_E, s] += d[i, s] * log_p
            e[i, s] = e[i, s] * outcome[MASS, s] - d[i, s]
    _compare_classes(y, d, outcome)


@panel_loop
def evaluate_binary_cross_entropy(y: Any, d: Any, e: Any, outcome: Any) -> None:
    """E = Σ_i of the binary cross-entropy of logit y_i and target d_i; correct when every output is on its side."""
    T = type(y[0, 0])
    for s in range(y.shape[1]):
        outcome[SAMPLE_E, s], outcome[SAMPLE_CORRECT, s] = T(0.0), T(1.0)
    for i in range(y.shape[0]):
        for s in range(y.shape[1]):
            outcome[SAMPLE_E, s] += formulas.binary_cross_entropy(y[i, s], d[i, s])
            e[i, s] = formulas.binary_cross_entropy_prime(y[i, s], d[i, s])
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
            # All are read before one is chosen: a read inside a choice is a branch, and took four times as long.
            output, target = y[i, s], d[i, s]
            best_output, best_target = outcome[BEST_OUTPUT, s], outcome[BEST_TARGET, s]
            better = output > best_output
            outcome[BEST_OUTPUT, s] = output if better else best_output
            outcome[BEST_TARGET, s] = target if better else best_target
            outcome[LARGEST_TARGET, s] = max(outcome[LARGEST_TARGET, s], target)
    for s in range(y.shape[1]):
        outcome[SAMPLE_CORRECT, s] = T(1.0) if outcome[BEST_TARGET, s] >= outcome[LARGEST_TARGET, s] else T(0.0)


LOSSES = (
    Loss("squared_error", evaluate_squared_error, "values", None, ()),
    Loss("cross_entropy", evaluate_cross_entropy, "classes", "softmax", ()),
    Loss("softmax_cross_entropy", evaluate_softmax_cross_entropy, "classes", None, ("softmax",)),
    Loss("binary_cross_entropy", evaluate_binary_cross_entropy, "bits", None, ("logistic", "softmax")),
)

BY_NAME = {loss.name: loss for loss in LOSSES}


def evaluate_panel(name: str, dtype: str, samples: int) -> Any:
    """The function (y, d, e, outcome, units) that evaluates a panel, for `address_of`."""
    evaluate, numbers = BY_NAME[name].evaluate, pointer_type(dtype)

    def panel(y: Any, d: Any, e: Any, outcome: Any, units: int) -> None:
        shape = (units, samples)
        evaluate(carray(y, shape), carray(d, shape), carray(e, shape), carray(outcome, (OUTCOME_ROWS, samples)))

    return panel, (numbers, numbers, numbers, numbers, INTEGER)


def loss_named(name: str, output_activation: str, outputs: int) -> Loss:
    """The record of that name, for a network whose last layer has this activation and width.

    Raises
    ------
    ValueError
        If no loss has that name, or it does not go with the last layer.
    """
    if not isinstance(name, str):
        raise TypeError(f"loss: expected the name of a loss, found {name!r}")
    if name not in BY_NAME:
        raise ValueError(f"loss: unknown loss {name!r}; expected one of {', '.join(BY_NAME)}")
    loss = BY_NAME[name]
    if loss.requires is not None and output_activation != loss.requires:
        raise ValueError(f"loss {name!r} is defined on a {loss.requires} layer, found output activation "
                         f"{output_activation!r}; use output_activation={loss.requires!r}, or the loss "
                         f"'softmax_cross_entropy' on an identity layer")
    if output_activation in loss.refuses:
        raise ValueError(f"loss {name!r} includes the {output_activation}, found output activation "
                         f"{output_activation!r} before it; use output_activation='identity'")
    if loss.targets == "classes" and outputs < 2:
        raise ValueError(f"loss {name!r} needs at least 2 classes, found a last layer of width {outputs}; "
                         f"for two classes on one output use 'binary_cross_entropy'")
    return loss
