"""The losses: records, and the compiled function that evaluates the one with a given code on one sample.

Evaluating a loss gives E and ∇_y E together, and whether the sample is classified correctly. E of a batch is the sum
over its samples everywhere in the core. To add a componentwise loss, write its two formulas in `formulas.py` and add
a line to `LOSSES`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from . import formulas
from .compilation import inlined, switch
from .elementary import exp


class Loss(NamedTuple):
    """One loss, as a function on one sample's output."""

    name: str
    evaluate: Callable[..., Any]  # evaluate(y, d, e) -> E, correct; writes e = ∇_y E
    targets: str                  # "values" (real numbers), "classes" (labels, or rows of sum 1), or "bits" (0 to 1)
    requires: str | None          # the only output activation it is defined on
    refuses: tuple[str, ...]      # output activations that it already includes

    @property
    def is_classification(self) -> bool:
        """Whether the history records an accuracy."""
        return self.targets != "values"


@inlined
def evaluate_squared_error(y: Any, d: Any, e: Any) -> Any:
    """E = Σ_i (y_i - d_i)² / 2, e = y - d."""
    T = type(y[0])
    E = T(0.0)
    for i in range(y.shape[0]):
        E += formulas.squared_error(y[i], d[i])
        e[i] = formulas.squared_error_prime(y[i], d[i])
    return E, 0


@inlined
def evaluate_cross_entropy(y: Any, d: Any, e: Any) -> Any:
    """E = -Σ_i d_i log y_i, e_i = -d_i / y_i, on the output of a softmax layer, which is never 0."""
    T = type(y[0])
    E = T(0.0)
    for i in range(y.shape[0]):
        e[i] = -d[i] / y[i]
        if d[i] != T(0.0):  # the logarithm is a call
            E -= d[i] * math.log(y[i])
    return E, _same_class(y, d)


@inlined
def evaluate_softmax_cross_entropy(y: Any, d: Any, e: Any) -> Any:
    """E = Σ_i d_i (log Σ_j exp y_j - y_i), e = softmax(y) Σ_i d_i - d, on logits y, their maximum subtracted."""
    largest = y[0]
    for i in range(1, y.shape[0]):
        largest = max(largest, y[i])
    T = type(largest)
    total, mass = T(0.0), T(0.0)
    for i in range(y.shape[0]):
        e[i] = exp(y[i] - largest)
        total += e[i]
        mass += d[i]
    log_total = math.log(total)
    E = T(0.0)
    for i in range(y.shape[0]):
        E += d[i] * formulas.negative_log_softmax(y[i], largest, log_total)
        e[i] = e[i] / total * mass - d[i]
    return E, _same_class(y, d)


@inlined
def evaluate_binary_cross_entropy(y: Any, d: Any, e: Any) -> Any:
    """E = Σ_i of the binary cross-entropy of logit y_i and target d_i; correct when every output is on its side."""
    T = type(y[0])
    E = T(0.0)
    wrong = 0
    for i in range(y.shape[0]):
        E += formulas.binary_cross_entropy(y[i], d[i])
        e[i] = formulas.binary_cross_entropy_prime(y[i], d[i])
        wrong += (y[i] > T(0.0)) != (d[i] > T(0.5))
    return E, 1 if wrong == 0 else 0


@inlined
def _same_class(y: Any, d: Any) -> Any:
    """1 if the first largest output is a largest target, else 0."""
    best = 0
    for i in range(1, y.shape[0]):
        if y[i] > y[best]:
            best = i
    for i in range(d.shape[0]):
        if d[i] > d[best]:
            return 0
    return 1


LOSSES = (
    Loss("squared_error", evaluate_squared_error, "values", None, ()),
    Loss("cross_entropy", evaluate_cross_entropy, "classes", "softmax", ()),
    Loss("softmax_cross_entropy", evaluate_softmax_cross_entropy, "classes", None, ("softmax",)),
    Loss("binary_cross_entropy", evaluate_binary_cross_entropy, "bits", None, ("logistic", "softmax")),
)

CODES = {loss.name: code for code, loss in enumerate(LOSSES)}

#: evaluate_loss(code, y, d, e): returns E and whether y is correct (1 or 0), writes e = ∇_y E, one sample.
evaluate_loss = switch("evaluate_loss", [loss.evaluate for loss in LOSSES])


def loss_named(name: str, output_activation: str, outputs: int) -> Loss:
    """The record of that name, for a network whose last layer has this activation and width.

    Raises
    ------
    ValueError
        If no loss has that name, or it does not go with the last layer.
    """
    if not isinstance(name, str):
        raise TypeError(f"loss: expected the name of a loss, found {name!r}")
    if name not in CODES:
        raise ValueError(f"loss: unknown loss {name!r}; expected one of {', '.join(CODES)}")
    loss = LOSSES[CODES[name]]
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
