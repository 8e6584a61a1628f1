"""The losses: records, compiled for panels of samples.

Evaluating a loss gives E and ∇_y E together, and whether each sample is classified correctly. E of a batch is the sum
over its samples everywhere in the core. To add a componentwise loss, write its two formulas in `formulas.py` and add
a line to `LOSSES`.

Panels are (units, samples) as in `activations`. What a loss finds out about each sample goes into the rows of
`outcome`, (OUTCOME_ROWS, samples).
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray

from . import formulas
from .by_address import INTEGER, pointer_type
from .compilation import named, panel_loop
from .derivatives import FLOATS, POINTS, Record, compiled_formula, require_derivative, require_new_name, value_of
from .elementary import exp, log

#: Rows of an outcome: E and 1 or 0 for correct; the others are room to work in.
SAMPLE_E, SAMPLE_CORRECT, BEST_OUTPUT, BEST_TARGET, LARGEST_TARGET, LARGEST, TOTAL, LOG_TOTAL, MASS, OUTCOME_ROWS = \
    range(10)


class Loss(Record):
    """A loss of your own: E = Σ_i L(y_i, d_i) over the outputs of a sample, from two functions of numbers.

    Give it to `MLP` as `loss`, or its name from then on: it is known by its name in this process, to `fastbp.load` too.
    It works with every backend that runs on the processor and in `fastbp.jit`. Another one of the same name takes its
    place in networks that are made later.

    Parameters
    ----------
    name : str
        None of the names that fastbp uses itself.
    loss : function
        L(y, d), of two numbers; compiled by `numba.njit` or not. What it gives is taken in the network's dtype, so that
        plain literals do no harm.
    loss_prime : function
        ∂L/∂y (y, d).
    targets : "values" or "bits"
        What d may be: any numbers, or numbers from 0 to 1.

    Raises
    ------
    TypeError
        If the functions cannot be compiled for float32 and float64 or give no real numbers.
    ValueError
        If ∂L/∂y is not the derivative of L by finite differences at some points from -10 to 10 (a kink is passed over),
        a value there is not finite, or the name is taken.

    Notes
    -----
    Its kernels are compiled in every process anew: fastbp's cache cannot see when your functions change.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import MLP, Loss
    >>> log_cosh = Loss("log_cosh", lambda y, d: np.log(np.cosh(y - d)), lambda y, d: np.tanh(y - d))
    >>> net = MLP([3, 8, 1], activation="tanh", loss=log_cosh, dtype="float64", initializer="zeros")
    >>> round(net.loss_value(np.ones((1, 3)), [2.0]), 4)
    1.325
    """

    evaluate: Callable[..., Any]  # evaluate(y, d, e, outcome): E, e = ∇_y E, correct, on panels
    targets: str                  # "values" (real numbers), "classes" (labels, or rows of sum 1), or "bits" (0 to 1)
    requires: str | None          # the only output activation it is defined on
    refuses: tuple[str, ...]      # output activations that it already includes

    def __init__(self, name: str, loss: Callable[..., Any], loss_prime: Callable[..., Any],
                 targets: str = "values") -> None:
        require_new_name("loss", name, [record.name for record in LOSSES])
        if targets not in ("values", "bits"):
            raise ValueError(f"targets: expected 'values' or 'bits', found {targets!r}")
        own_loss, own_prime = compiled_formula("loss", loss), compiled_formula("loss_prime", loss_prime)
        for d in POINTS if targets == "values" else (0.0, 0.3, 1.0):
            for T in FLOATS:
                for y in POINTS:
                    value_of("loss", own_loss, T, (y, d))
                    value_of("loss_prime", own_prime, T, (y, d))

            def value(y: float, d: float = d) -> float:
                return value_of("loss", own_loss, np.float64, (y, d))

            def derivative(y: float, d: float = d) -> float:
                return value_of("loss_prime", own_prime, np.float64, (y, d))

            require_derivative(("loss", "loss_prime"), value, derivative, POINTS, (d,))
        symbol = f"custom_loss_{next(_NUMBERS)}"
        self._set(name, symbol, _summed(symbol, own_loss, own_prime), targets, None, (),
                  (name, loss, loss_prime, targets))
        BY_NAME[name] = self

    def _set(self, name: str, symbol: str, evaluate: Any, targets: str, requires: str | None, refuses: tuple[str, ...],
             given: Any = None) -> "Loss":
        self.name, self.symbol, self.evaluate, self.targets, self.given = name, symbol, evaluate, targets, given
        self.requires, self.refuses = requires, refuses
        return self

    @property
    def is_classification(self) -> bool:
        """Whether the history records an accuracy."""
        return self.targets != "values" and self.given is None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_of_name, (self.name,)) if self.given is None else (Loss, self.given)


_NUMBERS = itertools.count()


def _summed(symbol: str, loss: Any, loss_prime: Any) -> Any:
    """evaluate of a loss that is a sum over outputs; no sample of it is correct or not."""
    def evaluate(y: Any, d: Any, e: Any, outcome: Any) -> None:
        T = type(y[0, 0])
        for s in range(y.shape[1]):
            outcome[SAMPLE_E, s], outcome[SAMPLE_CORRECT, s] = T(0.0), T(0.0)
        for i in range(y.shape[0]):
            for s in range(y.shape[1]):
                outcome[SAMPLE_E, s] += T(loss(y[i, s], d[i, s]))
                e[i, s] = T(loss_prime(y[i, s], d[i, s]))

    return panel_loop(named(f"{symbol}_evaluate", evaluate))


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


def _built_in(name: str, evaluate: Any, targets: str, requires: str | None, refuses: tuple[str, ...]) -> Loss:
    return object.__new__(Loss)._set(name, name, evaluate, targets, requires, refuses)


LOSSES = (
    _built_in("squared_error", _summed("squared_error", formulas.squared_error, formulas.squared_error_prime), "values",
              None, ()),
    _built_in("cross_entropy", evaluate_cross_entropy, "classes", "softmax", ()),
    _built_in("softmax_cross_entropy", evaluate_softmax_cross_entropy, "classes", None, ("softmax",)),
    _built_in("binary_cross_entropy", evaluate_binary_cross_entropy, "bits", None, ("logistic", "softmax")),
)

BY_NAME = {loss.name: loss for loss in LOSSES}


def _of_name(name: str) -> Loss:
    return BY_NAME[name]


def evaluate_panel(loss: Loss, dtype: str, samples: int) -> Any:
    """The function (y, d, e, outcome, units) that evaluates a panel, for `address_of`."""
    evaluate, numbers = loss.evaluate, pointer_type(dtype)

    def panel(y: Any, d: Any, e: Any, outcome: Any, units: int) -> None:
        shape = (units, samples)
        evaluate(carray(y, shape), carray(d, shape), carray(e, shape), carray(outcome, (OUTCOME_ROWS, samples)))

    return panel, (numbers, numbers, numbers, numbers, INTEGER)


def loss_named(name: str | Loss, output_activation: str, outputs: int) -> Loss:
    """The loss itself, or the one of that name, for a network whose last layer has this activation and width.

    Raises
    ------
    ValueError
        If no loss has that name, or it does not go with the last layer.
    """
    if not isinstance(name, str | Loss):
        raise TypeError(f"loss: expected the name of a loss, found {name!r}")
    if isinstance(name, str) and name not in BY_NAME:
        raise ValueError(f"loss: unknown loss {name!r}; expected one of {', '.join(BY_NAME)}, or one of your own, made "
                         f"before with fastbp.Loss")
    loss = BY_NAME[name] if isinstance(name, str) else name
    if loss.requires is not None and output_activation != loss.requires:
        raise ValueError(f"loss {loss.name!r} is defined on a {loss.requires} layer, found output activation "
                         f"{output_activation!r}; use output_activation={loss.requires!r}, or the loss "
                         f"'softmax_cross_entropy' on an identity layer")
    if output_activation in loss.refuses:
        raise ValueError(f"loss {loss.name!r} includes the {output_activation}, found output activation "
                         f"{output_activation!r} before it; use output_activation='identity'")
    if loss.targets == "classes" and outputs < 2:
        raise ValueError(f"loss {loss.name!r} needs at least 2 classes, found a last layer of width {outputs}; "
                         f"for two classes on one output use 'binary_cross_entropy'")
    return loss
