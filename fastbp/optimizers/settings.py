"""The optimizers: small immutable objects that hold the settings of their rules."""

from dataclasses import dataclass, field

import numpy as np

from ..checks.arguments import require_flag, require_number
from ..schedules import Schedule
from .optimizer import Optimizer
from .rules import ADAM, DESCENT, MOMENTUM, NADAM, RMSPROP, RPROP, Rule
from .updates import OptimizerState


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
        require_flag("nesterov", self.nesterov)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: expected a momentum above 0 with it, found momentum=0.0")

    @property
    def rule(self) -> Rule:
        return MOMENTUM if self.momentum > 0.0 else DESCENT


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
class _AdaptiveMoments(Optimizer):
    """The settings of optimizers that keep m and s; their learning rates differ."""

    learning_rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("beta1", self.beta1, at_least=0.0, below=1.0)
        require_number("beta2", self.beta2, at_least=0.0, below=1.0)
        require_number("epsilon", self.epsilon, above=0.0)


@dataclass(frozen=True)
class Adam(_AdaptiveMoments):
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

    epsilon_hat: bool = field(default=False, kw_only=True)

    rule = ADAM

    def __post_init__(self) -> None:
        super().__post_init__()
        require_flag("epsilon_hat", self.epsilon_hat)

    @property
    def decoupled_decay(self) -> float:
        """λ of the weight decay that is not a part of the gradient."""
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
class Nadam(_AdaptiveMoments):
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
    momentum_decay: float = 0.004

    rule = NADAM

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("momentum_decay", self.momentum_decay, at_least=0.0)


@dataclass(frozen=True)
class Rprop(Optimizer):
    """Resilient backpropagation, iRprop⁻ [1]_: each parameter has a step Δ of its own, θ ← θ - sign(g) Δ.

    Δ ← min(η⁺ Δ, Δ_max) where g has the sign of the update before, and Δ ← max(η⁻ Δ, Δ_min) where it has the other;
    then g ← 0, so that this update leaves the parameter, and the next leaves Δ. It is for whole gradients: the signs
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


#: All optimizers by their names in the command; tests and tables that list them read this.
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW, "nadam": Nadam,
                                        "rprop": Rprop}


def names_of_optimizers() -> str:
    """The names of all optimizers, for messages: SGD, … or the last of them."""
    *names, last = (kind.__name__ for kind in OPTIMIZERS.values())
    return f"{', '.join(names)} or {last}"
