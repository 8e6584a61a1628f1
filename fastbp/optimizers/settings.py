"""Optimizers: small immutable objects that hold the settings of the compiled updates in `updates.py`.

What an optimizer remembers from update to update is kept apart, in an `OptimizerState`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import threads
from ..checks.arguments import require_number
from ..schedules import Schedule, as_schedule
from .rules import ADAM, DESCENT, MOMENTUM, NADAM, RMSPROP, RPROP, Rule
from .updates import OptimizerSpec, OptimizerState, spec_of, update


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share: a learning rate or schedule γ, weight decay λ, and a bound C on the gradient's norm.

    With clip_norm = C the gradient g of all parameters together becomes g · min(1, C / ‖g‖) before anything else.
    """

    learning_rate: float | Schedule = 0.001
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)


    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        require_number("weight_decay", self.weight_decay, at_least=0.0)
        if self.clip_norm is not None:
            require_number("clip_norm", self.clip_norm, above=0.0)

    @property
    def rule(self) -> Rule:
        """How it turns gradients into updates."""
        raise TypeError(f"{type(self).__name__} is not an optimizer by itself; use {names_of_optimizers()}")

    @property
    def coupled_decay(self) -> float:
        """λ of the weight decay that is a part of the gradient."""
        return self.weight_decay

    def _settings(self) -> list[float]:
        """The settings of the rule, and λ."""
        return [*(float(getattr(self, name)) for name in self.rule.settings), float(self.coupled_decay)]

    def _is_plain(self) -> bool:
        """Whether it only subtracts γ g."""
        return False

    def spec(self, dtype: np.dtype) -> OptimizerSpec:
        """The settings as compiled code sees them, for theta of a dtype."""
        return spec_of(self.rule, dtype, self._settings(), as_schedule(self.learning_rate).spec(),
                       float(self.clip_norm or 0.0), self._is_plain())

    def start(self, theta: np.ndarray) -> OptimizerState:
        """The state before the first update of theta."""
        return OptimizerState(np.zeros(1, np.int64), np.zeros(self.averages_shape(theta), theta.dtype))

    def averages_shape(self, theta: np.ndarray) -> tuple[int, int]:
        """Of the running averages in a state for theta."""
        return len(self.rule.averages), theta.size

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
            If the update is not finite; theta is left as it was. Start the state anew then.
        """
        for name, array in (("theta", theta), ("grad", grad)):
            if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
                raise TypeError(f"{name}: expected an array of float32 or float64, found {array!r}")
        if theta.ndim != 1 or not (theta.flags.c_contiguous and theta.flags.writeable):
            raise ValueError(f"theta: expected a contiguous vector that can be written, found shape {theta.shape}, "
                             f"strides {theta.strides}, writeable {theta.flags.writeable}")
        if grad.shape != theta.shape or grad.dtype != theta.dtype \
                or not (grad.flags.c_contiguous and grad.flags.writeable):
            raise ValueError(f"grad: expected a contiguous, writeable vector of shape {theta.shape} and dtype "
                             f"{theta.dtype} as theta, found {grad.shape} and {grad.dtype}")
        self.require_state(state, theta)
        threads.threading_layer()  # started before a kernel that may use it
        if not update(theta, grad, 1.0, self.spec(theta.dtype), state, 1):
            raise DivergenceError("the update is not finite; theta is left as it was")

    def require_state(self, state: OptimizerState, theta: np.ndarray) -> None:
        """Refuse a state that kernels could not update as one that this optimizer starts with for such a theta, and
        settings that vanish in theta's dtype.

        Raises
        ------
        TypeError, ValueError
        """
        origin = f"from {type(self).__name__}.start(theta)"
        if not isinstance(state, OptimizerState):
            raise TypeError(f"state: expected an OptimizerState {origin}, found {type(state)}")
        expected = (((1,), np.dtype(np.int64)), (self.averages_shape(theta), theta.dtype))
        for name, array, (shape, dtype) in zip(state._fields, state, expected, strict=True):
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
                found = f"{array.shape} and {array.dtype}" if isinstance(array, np.ndarray) else repr(array)
                raise ValueError(f"state: expected {name} of shape {shape} and dtype {dtype} {origin}, found {found}")
            if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
                raise ValueError(f"state: expected {name} as a contiguous array that can be written, found strides "
                                 f"{array.strides}, writeable {array.flags.writeable}; use a copy")
        if state.updates[0] < 0:
            raise ValueError(f"state: expected a number of updates of at least 0, found {state.updates[0]}")
        if any(setting != 0.0 and theta.dtype.type(setting) == 0 for setting in self._settings()):
            raise ValueError(f"optimizer: expected no settings that are 0 in {theta.dtype}, found {self!r}")


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
        μ in [0, 1]. Polyak (1964); Sutskever et al. (2013) for Nesterov's.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("momentum", self.momentum, at_least=0.0, at_most=1.0)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: expected a momentum above 0 with it, found momentum=0.0")

    @property
    def rule(self) -> Rule:
        return MOMENTUM if self.momentum > 0.0 else DESCENT

    def _is_plain(self) -> bool:
        return self.momentum == 0.0 and self.weight_decay == 0.0 and self.clip_norm is None


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

    rule = RMSPROP

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("decay", self.decay, at_least=0.0, below=1.0)
        require_number("epsilon", self.epsilon, above=0.0)

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
    epsilon_hat : bool
        Whether ε is added before the correction, as the ε̂ at the end of the paper's section 2:
        θ ← θ - γ m̂ / ((√s + ε̂) / √(1 - β₂ᵗ)). scikit-learn and Keras do so, PyTorch and optax do not.
    """

    learning_rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = field(default=False, kw_only=True)

    rule = ADAM

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("beta1", self.beta1, at_least=0.0, below=1.0)
        require_number("beta2", self.beta2, at_least=0.0, below=1.0)
        require_number("epsilon", self.epsilon, above=0.0)

    @property
    def decoupled_decay(self) -> float:
        """λ of the weight decay beside the gradient."""
        return 0.0


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

    @property
    def coupled_decay(self) -> float:
        return 0.0

    @property
    def decoupled_decay(self) -> float:
        return self.weight_decay


@dataclass(frozen=True)
class Nadam(Optimizer):
    """Adam with Nesterov's momentum: θ ← θ - γ ((1 - μ_t) g / (1 - Π_t) + μ_{t+1} m / (1 - Π_{t+1})) / (√ŝ + ε) [1]_.

    g, m and s are those of `Adam`; μ_t = β₁ (1 - ½ · 0.96^(t ψ)), and Π_t = μ_1 ⋯ μ_t.

    Parameters
    ----------
    learning_rate : float or Schedule
        γ.
    beta1, beta2, epsilon, weight_decay, clip_norm
        As for `Adam`.
    momentum_decay : float
        ψ, at least 0: how soon μ_t grows from ½ β₁ to β₁.

    .. [1] Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    learning_rate: float | Schedule = 0.002
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum_decay: float = 0.004

    rule = NADAM

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("beta1", self.beta1, at_least=0.0, below=1.0)
        require_number("beta2", self.beta2, at_least=0.0, below=1.0)
        require_number("epsilon", self.epsilon, above=0.0)
        require_number("momentum_decay", self.momentum_decay, at_least=0.0)


@dataclass(frozen=True)
class Rprop(Optimizer):
    """Resilient backpropagation, iRprop⁻ [1]_: each parameter has a step Δ of its own, θ ← θ - sign(g) Δ.

    Δ ← min(η⁺ Δ, Δ_max) where g has the sign of the update before, and Δ ← max(η⁻ Δ, Δ_min) where it has the other;
    there g ← 0, so that this update leaves the parameter, and the next leaves Δ. It is for whole gradients: the signs
    of small batches' gradients are mostly noise, so give `fit` a batch_size of all samples.

    Parameters
    ----------
    learning_rate : float
        Δ before the first update; no schedule, because steps adapt themselves.
    eta_minus, eta_plus : float
        η⁻ between 0 and 1, and η⁺ above 1.
    smallest_step, largest_step : float
        Δ_min above 0, and Δ_max.
    weight_decay, clip_norm
        As for `Adam`.

    .. [1] Igel and Hüsken, "Empirical evaluation of the improved Rprop learning algorithms", 2003.

    Examples
    --------
    >>> theta, rprop = np.array([1.0, 2.0]), Rprop(0.1)
    >>> state = rprop.start(theta)
    >>> for grad in ([3.0, -0.01], [2.0, 0.01], [1.0, 0.01]):
    ...     rprop.step(theta, np.array(grad), state)
    >>> theta.round(3)
    array([0.636, 2.05 ])
    """

    learning_rate: float = 0.01
    eta_minus: float = 0.5
    eta_plus: float = 1.2
    smallest_step: float = 1e-6
    largest_step: float = 50.0

    rule = RPROP

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, at_least=0.0)
        super().__post_init__()
        require_number("eta_minus", self.eta_minus, above=0.0, below=1.0)
        require_number("eta_plus", self.eta_plus, above=1.0)
        require_number("smallest_step", self.smallest_step, above=0.0)
        require_number("largest_step", self.largest_step, at_least=self.smallest_step)

    def start(self, theta: np.ndarray) -> OptimizerState:
        state = super().start(theta)
        state.averages[1] = self.learning_rate
        return state


#: All optimizers by their names in the command; what goes over them finds a new one here.
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW, "nadam": Nadam,
                                        "rprop": Rprop}


def names_of_optimizers() -> str:
    """For messages: SGD, … or the last of them."""
    *names, last = (kind.__name__ for kind in OPTIMIZERS.values())
    return f"{', '.join(names)} or {last}"
