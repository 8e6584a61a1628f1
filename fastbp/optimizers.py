"""Optimizers: from a gradient to an update of theta, in compiled code on flat vectors.

Each optimizer is a small immutable object that holds its settings, and one compiled function that turns the gradient
into the change of theta, in place. What it remembers from update to update is kept apart, in an `OptimizerState`.

To add one: write its function, give it a line in `_CHANGES`, and a dataclass that names that line.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .compilation import kernel, switch
from .elementary import is_finite
from .inputs import require_number
from .schedules import Schedule, as_schedule, learning_rate_at


class OptimizerSpec(NamedTuple):
    """An optimizer's settings as compiled code sees them."""

    kind: int               # the line in _CHANGES
    settings: np.ndarray    # (4,) float64, their meaning belongs to the kind
    schedule: np.ndarray    # (5,) float64, the learning-rate schedule
    clip_norm: float        # the largest norm of the gradient, or 0 for no clipping


class OptimizerState(NamedTuple):
    """What an optimizer remembers: the number of updates t, and its running averages in the shape of theta."""

    updates: np.ndarray  # (1,) int64
    averages: np.ndarray  # (slots, P)


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share: a learning rate or schedule γ, weight decay λ, and a bound C on the gradient's norm.

    With clip_norm = C the gradient g of all parameters together becomes g · min(1, C / ‖g‖) before anything else.
    """

    learning_rate: float | Schedule = 0.001
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)

    _kind: ClassVar[int]

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        require_number("weight_decay", self.weight_decay, at_least=0.0)
        if self.clip_norm is not None:
            require_number("clip_norm", self.clip_norm, above=0.0)

    def _settings(self) -> tuple[float, ...]:
        raise TypeError(f"{type(self).__name__} is not an optimizer by itself; use SGD, RMSprop, Adam or AdamW")

    def _slots(self) -> int:
        """How many running averages it keeps."""
        return 1

    def spec(self) -> OptimizerSpec:
        """The settings as compiled code sees them."""
        settings = np.zeros(4)
        settings[: len(self._settings())] = self._settings()
        return OptimizerSpec(self._kind, settings, as_schedule(self.learning_rate).spec(), float(self.clip_norm or 0.0))

    def start(self, theta: np.ndarray) -> OptimizerState:
        """The state before the first update of theta."""
        return OptimizerState(np.zeros(1, np.int64), np.zeros((self._slots(), theta.size), theta.dtype))

    def step(self, theta: np.ndarray, grad: np.ndarray, state: OptimizerState) -> None:
        """Update theta by the gradient, and set the gradient to zero.

        Parameters
        ----------
        theta, grad : ndarray (P,), C-contiguous, of one dtype
            As `MLP.theta` and `MLP.grad`; divide the gradient by the batch size first if the learning rate is meant for
            means.
        state : OptimizerState
            From `start`, updated in place.

        Raises
        ------
        ValueError
            If the shapes or dtypes do not go together.
        DivergenceError
            If the update is not finite; theta is left as it was.
        """
        if grad.shape != theta.shape or grad.dtype != theta.dtype:
            raise ValueError(f"grad: expected shape {theta.shape} and dtype {theta.dtype} as theta, "
                             f"found {grad.shape} and {grad.dtype}")
        self.require_state(state, theta)
        if not update(theta, grad, 1.0, self.spec(), state):
            raise DivergenceError("the update is not finite; theta is left as it was")

    def require_state(self, state: OptimizerState, theta: np.ndarray) -> None:
        """Refuse a state that was not started by this kind of optimizer for a theta of this size.

        Raises
        ------
        ValueError
        """
        expected = (self._slots(), theta.size)
        if state.averages.shape != expected or state.averages.dtype != theta.dtype:
            raise ValueError(f"state: expected averages of shape {expected} and dtype {theta.dtype} from "
                             f"{type(self).__name__}.start(theta), found {state.averages.shape} "
                             f"and {state.averages.dtype}")


class DivergenceError(ArithmeticError):
    """Training stopped because a loss or an update was not finite.

    Attributes
    ----------
    epoch, step : int or None
        Where it happened, counted from 0: the epoch, and the update within it. None outside `fit`.
    history : History or None
        What `fit` had recorded.
    """

    def __init__(self, message: str, epoch: int | None = None, step: int | None = None, history: Any = None) -> None:
        super().__init__(message)
        self.epoch, self.step, self.history = epoch, step, history


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: g ← g + λθ;  v ← μv + g;  θ ← θ - γv, or θ ← θ - γ(g + μv) with Nesterov.

    Parameters
    ----------
    learning_rate : float or Schedule
        γ.
    momentum : float
        μ in [0, 1). Polyak (1964); Sutskever et al. (2013) for Nesterov's.
    nesterov : bool
    weight_decay : float
        λ.
    clip_norm : float, optional
        The largest norm of the gradient.

    Examples
    --------
    >>> theta, grad = np.array([1.0, 2.0]), np.array([0.5, -0.5])
    >>> sgd = SGD(0.1)
    >>> sgd.step(theta, grad, sgd.start(theta))
    >>> theta, grad
    (array([0.95, 2.05]), array([0., 0.]))
    """

    learning_rate: float | Schedule = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    _kind: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("momentum", self.momentum, at_least=0.0, below=1.0)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: expected a momentum above 0 with it, found momentum=0.0")

    def _slots(self) -> int:
        return 1 if self.momentum > 0.0 else 0

    def _settings(self) -> tuple[float, ...]:
        return self.momentum, float(self.nesterov), self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """g ← g + λθ;  s ← ρs + (1 - ρ)g²;  θ ← θ - γ g / (√s + ε). Tieleman & Hinton (2012).

    Parameters
    ----------
    learning_rate : float or Schedule
        γ.
    decay : float
        ρ in [0, 1).
    epsilon : float
        ε above 0.
    weight_decay : float
        λ.
    clip_norm : float, optional
        The largest norm of the gradient.
    """

    learning_rate: float | Schedule = 0.001
    decay: float = 0.99
    epsilon: float = 1e-8

    _kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("decay", self.decay, at_least=0.0, below=1.0)
        require_number("epsilon", self.epsilon, above=0.0)

    def _settings(self) -> tuple[float, ...]:
        return self.decay, self.epsilon, self.weight_decay


@dataclass(frozen=True)
class Adam(Optimizer):
    """g ← g + λθ;  m ← β₁m + (1 - β₁)g;  s ← β₂s + (1 - β₂)g²;  θ ← θ - γ m̂ / (√ŝ + ε), Kingma & Ba (2015).

    m̂ = m / (1 - β₁ᵗ) and ŝ = s / (1 - β₂ᵗ) at the t-th update, t = 1, 2, …

    Parameters
    ----------
    learning_rate : float or Schedule
        γ.
    beta1, beta2 : float
        In [0, 1).
    epsilon : float
        ε above 0.
    weight_decay : float
        λ.
    clip_norm : float, optional
        The largest norm of the gradient.
    """

    learning_rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    _kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("beta1", self.beta1, at_least=0.0, below=1.0)
        require_number("beta2", self.beta2, at_least=0.0, below=1.0)
        require_number("epsilon", self.epsilon, above=0.0)

    def _slots(self) -> int:
        return 2

    def _settings(self) -> tuple[float, ...]:
        return self.beta1, self.beta2, self.epsilon, self.weight_decay


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← θ - γ(m̂ / (√ŝ + ε) + λθ). Loshchilov & Hutter (2019).

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, clip_norm
        As for `Adam`.
    weight_decay : float
        λ.
    """

    weight_decay: float = field(default=0.01, kw_only=True)

    _kind: ClassVar[int] = 3


@kernel
def update(theta: Any, grad: Any, factor: float, optimizer: OptimizerSpec, state: OptimizerState) -> bool:
    """θ ← θ - change(factor · grad), then grad = 0; False, and θ as it was, where that is not finite.

    theta, grad : (P,). The gradient becomes the change in place; θ is written only after the whole change is known to
    be finite, so a diverging network keeps its last finite parameters.
    """
    T = theta.dtype.type
    norm_squared = 0.0
    for p in range(grad.shape[0]):
        norm_squared += np.float64(grad[p]) * np.float64(grad[p])
    if not is_finite(norm_squared):
        return False
    norm = factor * math.sqrt(norm_squared)
    if optimizer.clip_norm > 0.0 and norm > optimizer.clip_norm:
        factor = factor * optimizer.clip_norm / norm
    rate = learning_rate_at(optimizer.schedule, state.updates[0])
    change_of(optimizer.kind, theta, grad, factor, rate, state.updates[0] + 1, optimizer.settings, state.averages)
    beyond = 0
    for p in range(theta.shape[0]):
        beyond += not is_finite(theta[p] - grad[p])
    if beyond:
        return False
    for p in range(theta.shape[0]):
        theta[p] -= grad[p]
        grad[p] = T(0.0)
    state.updates[0] += 1
    return True


def _sgd_change(theta: Any, grad: Any, factor: float, rate: float, t: int, settings: Any, averages: Any) -> None:
    T = theta.dtype.type
    momentum, nesterov, weight_decay = T(settings[0]), settings[1] != 0.0, T(settings[2])
    scale, gamma = T(factor), T(rate)
    if momentum == T(0.0):
        for p in range(theta.shape[0]):
            grad[p] = gamma * (scale * grad[p] + weight_decay * theta[p])
        return
    v = averages[0]
    ahead, current = (T(1.0), momentum) if nesterov else (T(0.0), T(1.0))
    for p in range(theta.shape[0]):
        g = scale * grad[p] + weight_decay * theta[p]
        v[p] = momentum * v[p] + g
        grad[p] = gamma * (ahead * g + current * v[p])


def _rmsprop_change(theta: Any, grad: Any, factor: float, rate: float, t: int, settings: Any, averages: Any) -> None:
    T = theta.dtype.type
    decay, epsilon, weight_decay = T(settings[0]), T(settings[1]), T(settings[2])
    rest = T(1.0 - settings[0])
    scale, gamma = T(factor), T(rate)
    s = averages[0]
    for p in range(theta.shape[0]):
        g = scale * grad[p] + weight_decay * theta[p]
        s[p] = decay * s[p] + rest * g * g
        grad[p] = gamma * g / (math.sqrt(s[p]) + epsilon)


def _adam_change(theta: Any, grad: Any, factor: float, rate: float, t: int, settings: Any, averages: Any) -> None:
    _adam_moments(theta, grad, factor, rate, t, settings, averages, settings[3], 0.0)


def _adamw_change(theta: Any, grad: Any, factor: float, rate: float, t: int, settings: Any, averages: Any) -> None:
    _adam_moments(theta, grad, factor, rate, t, settings, averages, 0.0, settings[3])


@kernel
def _adam_moments(theta: Any, grad: Any, factor: float, rate: float, t: int, settings: Any, averages: Any,
                  coupled: float, decoupled: float) -> None:
    T = theta.dtype.type
    beta1, beta2, epsilon = T(settings[0]), T(settings[1]), T(settings[2])
    rest1, rest2 = T(1.0 - settings[0]), T(1.0 - settings[1])
    # m̂ / (√ŝ + ε) = (m / (1 - β₁ᵗ)) / (√s / √(1 - β₂ᵗ) + ε): both corrections are one number per update.
    correction1, correction2 = T(1.0 / (1.0 - settings[0] ** t)), T(1.0 / math.sqrt(1.0 - settings[1] ** t))
    scale, gamma, weight_decay, shrink = T(factor), T(rate), T(coupled), T(rate * decoupled)
    m, s = averages[0], averages[1]
    for p in range(theta.shape[0]):
        g = scale * grad[p] + weight_decay * theta[p]
        m[p] = beta1 * m[p] + rest1 * g
        s[p] = beta2 * s[p] + rest2 * g * g
        grad[p] = gamma * (m[p] * correction1) / (math.sqrt(s[p]) * correction2 + epsilon) + shrink * theta[p]


_CHANGES = (kernel(_sgd_change), kernel(_rmsprop_change), kernel(_adam_change), kernel(_adamw_change))

#: change_of(kind, theta, grad, factor, rate, t, settings, averages): grad becomes the change of theta at update t.
change_of = switch("change_of", _CHANGES)
