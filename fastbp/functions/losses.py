"""The losses: records of how they are evaluated, and of which targets and output activations they take.

To add a componentwise loss, write its two formulas in `formulas/losses.py` and add a line to `LOSSES`. A loss with a
parameter is a record for each value of it; its name says the value, and is all that files and other processes need.
"""

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

from numba import carray

from ..checks.arguments import require_number
from ..checks.derivatives import POINTS, checked_formulas
from ..checks.messages import shown
from ..compiling.addresses import INTEGER, invoke, pointer_type
from ..compiling.decorators import inlined, own_formula, own_panel_loop
from ..formulas import losses as formulas
from .loss_panels import (
    OUTCOME_ROWS,
    curved,
    evaluate_binary_cross_entropy,
    evaluate_cross_entropy,
    evaluate_softmax_cross_entropy,
    summed,
)
from .record import Record, require_new_name, restored

#: The targets d at which a user's formulas are checked.
_CHECKED_TARGETS = {"values": POINTS, "bits": (0.0, 0.3, 1.0), "counts": (0.0, 1.0, 2.3, 7.0)}


class Loss(Record):
    """A loss of your own: E = Σ_i L(y_i, d_i) over the outputs of a sample, from two functions of numbers.

    Give it to `MLP` as `loss`. Its name will do as well, which this process knows from then on, `fastbp.load` too.
    Another loss of the same name takes its place in networks that are made later. It works with every backend, on a GPU
    if Numba compiles its functions there, and in `fastbp.jit`.

    Parameters
    ----------
    name : str
        None of the names that fastbp uses itself.
    loss : function
        L(y, d), of two numbers; compiled by `numba.njit` or not. It must not raise, which kernels cannot. Its values
        are converted to the network's dtype, so that plain literals do no harm.
    loss_prime : function
        ∂L/∂y (y, d); it must not raise either.
    targets : "values", "bits" or "counts"
        What d may be: any numbers, numbers from 0 to 1, or numbers of at least 0.

    Raises
    ------
    TypeError
        If the functions cannot be compiled for float32 and float64 or give no real numbers, or an argument is not of
        the type described.
    ValueError
        If ∂L/∂y is not the derivative of L by finite differences at some points from -10 to 10 (a kink is passed over),
        a value there is not finite, a function may raise as far as its compiled code shows, or the name is taken.

    Notes
    -----
    Its kernels are compiled in every process anew: fastbp's cache cannot see when your functions change.

    Unpickling, of a network too, gives the loss that was made of equal arguments in this process, if there is one, and
    makes one otherwise. A name that another loss has stays with that one.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import MLP, Loss
    >>> log_cosh = Loss("log_cosh", lambda y, d: np.log(np.cosh(y - d)), lambda y, d: np.tanh(y - d))
    >>> net = MLP([3, 8, 1], activation="tanh", loss=log_cosh, dtype="float64", initializer="zeros")
    >>> round(net.loss_value(np.ones((1, 3)), [2.0]), 4)
    1.325
    """

    targets: str                  # "values", "classes" (labels, or rows of sum 1), "bits" (0 to 1), "counts" (>= 0)
    requires: str | None          # the only output activation it is defined on
    includes: str                 # what it applies to y itself
    refuses: tuple[str, ...]      # output activations that make no sense before that
    curvature: Any                # the function (y, d, c) of its Gauss-Newton form, see `loss_panels.curved`; or None

    def __init__(self, name: str, loss: Callable[..., Any], loss_prime: Callable[..., Any],
                 targets: str = "values") -> None:
        require_new_name("loss", name, [record.name for record in LOSSES])
        if _PARAMETER.fullmatch(name):
            raise ValueError(f"name: expected none that is a loss with a parameter, found {shown(name)}")
        if not isinstance(targets, str):
            raise TypeError(f"targets: expected one of {', '.join(_CHECKED_TARGETS)}, found {shown(targets)}")
        if targets not in _CHECKED_TARGETS:
            raise ValueError(f"targets: expected one of {', '.join(_CHECKED_TARGETS)}, found {shown(targets)}")
        checked = checked_formulas(("loss", "loss_prime"), (loss, loss_prime),
                                   [(d,) for d in _CHECKED_TARGETS[targets]])
        symbol = f"custom_loss_{next(_SERIALS)}"
        self._formulas = checked
        self._set(name, symbol, None, targets, given=(name, loss, loss_prime, targets))
        self.register()

    def _set(self, name: str, symbol: str, evaluate: Any, targets: str, *, requires: str | None = None,
             includes: str = "", refuses: tuple[str, ...] = (), curvature: Any = None, given: Any = None) -> "Loss":
        self.name, self.symbol, self._evaluate, self.targets, self.given = name, symbol, evaluate, targets, given
        self.requires, self.includes, self.refuses, self.curvature = requires, includes, refuses, curvature
        return self

    @property
    def evaluate(self) -> Any:
        """The compiled function evaluate(y, d, e, outcome): E, e = ∇_y E, correct, on panels.

        A user's own is a new one each time, so that what was compiled does not stay.
        """
        if self.given is None:
            return self._evaluate
        return summed(self.symbol, *map(own_formula, self._formulas), compiled=own_panel_loop)

    @property
    def is_classification(self) -> bool:
        """Whether the history records an accuracy."""
        return self.targets in ("classes", "bits") and self.given is None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.given is None:
            return record_named, (self.name,)
        return restored, (Loss, *self.given)


_SERIALS = itertools.count()


def _built_in(name: str, evaluate: Any, targets: str, **settings: Any) -> Loss:
    return object.__new__(Loss)._set(name, name, evaluate, targets, **settings)


def _componentwise(name: str, targets: str, *parameters: float, **settings: Any) -> Loss:
    """The record of a loss from its two formulas, with the parameters that its name stands for."""
    loss, loss_prime = getattr(formulas, name), getattr(formulas, f"{name}_prime")
    return _built_in(name, summed(name, loss, loss_prime, *parameters), targets,
                     curvature=_curvature_of(name, name, *parameters), **settings)


#: What stands for d²E/dy² in a Gauss-Newton step. Beyond the bound of "huber" that is 0, and samples there would have
#: no say: the weight of iteratively reweighted least squares takes its place.
_CURVATURES = {"squared_error": formulas.squared_error_second, "huber": formulas.huber_weight,
               "poisson": formulas.poisson_second, "binary_cross_entropy": formulas.binary_cross_entropy_second}


def _curvature_of(name: str, symbol: str, *parameters: float) -> Any:
    """The function `curvature` of a loss, None where it has no Gauss-Newton form."""
    return curved(symbol, _CURVATURES[name], *parameters) if name in _CURVATURES else None


#: The parameter of a loss that is named without one.
_DEFAULTS = {"huber": 1.0, "quantile": 0.5}

LOSSES = (
    _componentwise("squared_error", "values"),
    _built_in("cross_entropy", evaluate_cross_entropy, "classes", requires="softmax"),
    _built_in("softmax_cross_entropy", evaluate_softmax_cross_entropy, "classes", includes="softmax",
              refuses=("softmax",)),
    _built_in("binary_cross_entropy", evaluate_binary_cross_entropy, "bits", includes="logistic",
              refuses=("logistic", "softmax"),
              curvature=_curvature_of("binary_cross_entropy", "binary_cross_entropy")),
    _componentwise("absolute_error", "values"),
    _componentwise("huber", "values", _DEFAULTS["huber"]),
    _componentwise("quantile", "values", _DEFAULTS["quantile"]),
    # After an activation that is never negative no mean would be below 1.
    _componentwise("poisson", "counts", includes="exponential", refuses=("logistic", "relu", "softplus", "softmax")),
)

#: E = Σ_i d_i y_i, with ∇_y E = d for any d: what `MLP.backward` takes errors back with. It has no name for users.
LINEAR = _componentwise("linear", "slopes")

BY_NAME = Loss.by_name = {loss.name: loss for loss in LOSSES}


def HuberLoss(delta: float) -> Loss:
    """The loss "huber" with another bound: E = Σ_i ½ r_i² where |r_i| ≤ δ, else δ (|r_i| - ½ δ), with r = y - d [1]_.

    Parameters
    ----------
    delta : float
        δ > 0, the |r| from which the square goes on as a line; 1 for the name "huber".

    Returns
    -------
    Loss
        For `MLP`; its name, such as "huber(0.5)", will do there as well.

    Raises
    ------
    TypeError, ValueError
        If delta is not a finite number above 0.

    .. [1] Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
    >>> from fastbp import MLP, HuberLoss
    >>> net = MLP([3, 8, 1], loss=HuberLoss(0.5), initializer="zeros")
    >>> net.loss, net.loss_value([[1.0, 2.0, 3.0]], [2.0])
    ('huber(0.5)', 0.875)
    """
    return _with_parameter("huber", require_number("delta", delta, above=0.0))


def QuantileLoss(q: float) -> Loss:
    """The loss "quantile" for any quantile: E = Σ_i max(q r_i, (q - 1) r_i), with r = d - y [1]_.

    It is least where a share q of the targets lies below the output.

    Parameters
    ----------
    q : float
        Between 0 and 1; 0.5, the median, for the name "quantile".

    Returns
    -------
    Loss
        For `MLP`; its name, such as "quantile(0.9)", will do there as well.

    Raises
    ------
    TypeError, ValueError
        If q is not a number between 0 and 1.

    .. [1] Koenker & Bassett, "Regression quantiles", 1978.

    Examples
    --------
    >>> from fastbp import MLP, QuantileLoss
    >>> net = MLP([3, 8, 1], loss=QuantileLoss(0.75), initializer="zeros", dtype="float64")
    >>> net.loss, net.loss_value([[1.0, 2.0, 3.0]], [2.0]), net.loss_value([[1.0, 2.0, 3.0]], [-2.0])
    ('quantile(0.75)', 1.5, 0.5)
    """
    return _with_parameter("quantile", require_number("q", q, above=0.0, below=1.0))


#: The functions that make losses with a parameter, and the form of their names.
_WITH_PARAMETER: dict[str, Callable[[float], Loss]] = {"huber": HuberLoss, "quantile": QuantileLoss}
_PARAMETER = re.compile(rf"({'|'.join(_WITH_PARAMETER)})\((.*)\)")


@functools.cache
def _with_parameter(name: str, value: float) -> Loss:
    """The one record of a loss with this parameter."""
    if value == _DEFAULTS[name]:
        return BY_NAME[name]
    loss, loss_prime = getattr(formulas, name), getattr(formulas, f"{name}_prime")
    # Letters and digits: it is a part of the names of compiled functions and of their files.
    symbol = f"{name}_{value!r}".replace(".", "p").replace("-", "m").replace("+", "")
    return object.__new__(Loss)._set(f"{name}({value!r})", symbol, summed(symbol, loss, loss_prime, value), "values",
                                     curvature=_curvature_of(name, symbol, value))


def name_and_parameters(loss: Loss) -> tuple[str, tuple[float, ...]]:
    """The name of a built-in loss's formulas, and the parameters that they take after y and d."""
    with_parameter = _PARAMETER.fullmatch(loss.name)
    if with_parameter:
        return with_parameter[1], (float(with_parameter[2]),)
    return loss.name, (_DEFAULTS[loss.name],) if loss.name in _DEFAULTS else ()


def record_named(name: str) -> Loss:
    """The loss of that name, which may hold a parameter as in "huber(0.5)".

    Raises
    ------
    ValueError
        If there is none, or it does not take this parameter.
    """
    with_parameter = _PARAMETER.fullmatch(name)
    if with_parameter:
        make, text = _WITH_PARAMETER[with_parameter[1]], with_parameter[2]
        try:
            return make(float(text))
        except ValueError as error:
            raise ValueError(f"loss: no loss {shown(name)} ({error})") from None
    if name not in BY_NAME:
        raise ValueError(f"loss: unknown loss {shown(name)}; expected one of {', '.join(BY_NAME)}, or one of your own, "
                         f"made before with fastbp.Loss")
    return BY_NAME[name]


def evaluate_panel(loss: Loss, dtype: str, samples: int) -> Any:
    """The function (y, d, e, outcome, units) that evaluates a panel, for `address_of`."""
    evaluate, vector = loss.evaluate, pointer_type(dtype)

    def panel(y: Any, d: Any, e: Any, outcome: Any, units: int) -> None:
        shape = (units, samples)
        evaluate(carray(y, shape), carray(d, shape), carray(e, shape), carray(outcome, (OUTCOME_ROWS, samples)))

    return panel, (vector, vector, vector, vector, INTEGER)


@inlined
def loss_of_panel(address: Any, y: Any, d: Any, e: Any, outcome: Any, units: Any) -> None:
    """The loss of a panel and e = ∇_y L, by the function at an address that `evaluate_panel` describes."""
    invoke(address, (y, d, e, outcome, units))


def curvature_panel(loss: Loss, dtype: str, samples: int) -> Any:
    """The function (y, d, c, units) that gives the curvatures of a panel, for `address_of`."""
    curvature, vector = loss.curvature, pointer_type(dtype)

    def panel(y: Any, d: Any, c: Any, units: int) -> None:
        shape = (units, samples)
        curvature(carray(y, shape), carray(d, shape), carray(c, shape))

    return panel, (vector, vector, vector, INTEGER)


@inlined
def curvature_of_panel(address: Any, y: Any, d: Any, c: Any, units: Any) -> None:
    """The curvatures of a panel, by the function at an address that `curvature_panel` describes."""
    invoke(address, (y, d, c, units))


def loss_named(name: str | Loss, output_activation: str, outputs: int) -> Loss:
    """The loss itself, or the one of that name, for a network whose last layer has this activation and width.

    Raises
    ------
    ValueError
        If no loss has that name, or it does not go with the last layer.
    """
    if not isinstance(name, str | Loss):
        raise TypeError(f"loss: expected the name of a loss, found {shown(name)}")
    loss = record_named(name) if isinstance(name, str) else name
    if loss.requires is not None and output_activation != loss.requires:
        raise ValueError(f"loss {loss.name!r} is defined on a {loss.requires} layer, found output activation "
                         f"{output_activation!r}; use output_activation={loss.requires!r}, or the loss "
                         f"'softmax_cross_entropy' on an identity layer")
    if output_activation in loss.refuses:
        raise ValueError(f"loss {loss.name!r} includes the {loss.includes}, found output activation "
                         f"{output_activation!r} before it; use output_activation='identity'")
    if loss.targets == "classes" and outputs < 2:
        raise ValueError(f"loss {loss.name!r} needs at least 2 classes, found a last layer of width {outputs}; "
                         f"for two classes on one output use 'binary_cross_entropy'")
    return loss
