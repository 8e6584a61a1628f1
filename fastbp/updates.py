"""From a gradient to an update of theta, in compiled code on flat vectors.

Every optimizer has one function that turns the gradient into the change of theta, in place; `update` clips before it
and applies after it. To add an optimizer, write its function, add it to `_CHANGES`, and write a dataclass in
`optimizers.py` that names its place there.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .compilation import inlined, kernel, switch
from .elementary import is_finite
from .schedules import learning_rate_at


class OptimizerSpec(NamedTuple):
    """An optimizer's settings as compiled code sees them."""

    kind: int               # the place in _CHANGES
    settings: np.ndarray    # (4,) float64, their meaning belongs to the kind
    schedule: np.ndarray    # (5,) float64, the learning-rate schedule
    clip_norm: float        # the largest norm of the gradient, or 0 for no clipping


class OptimizerState(NamedTuple):
    """What an optimizer remembers: the number of updates t, and its running averages in the shape of theta."""

    updates: np.ndarray  # (1,) int64
    averages: np.ndarray  # (slots, P)


@kernel
def update(theta: Any, grad: Any, factor: float, optimizer: OptimizerSpec, state: OptimizerState) -> bool:
    """θ ← θ - change(factor · grad), then grad = 0; False, and θ as it was, where that is not finite.

    theta, grad : (P,). The gradient becomes the change in place; θ is written only after the whole change is known to
    be finite, so a diverging network keeps its last finite parameters.
    """
    beyond = 0
    for p in range(grad.shape[0]):
        beyond += not is_finite(grad[p])
    if beyond:
        return False
    if optimizer.clip_norm > 0.0:
        norm = factor * norm_of(grad)
        if norm > optimizer.clip_norm:
            factor = factor * optimizer.clip_norm / norm
    rate = learning_rate_at(optimizer.schedule, state.updates[0])
    change_of(optimizer.kind, theta, grad, factor, rate, state.updates[0] + 1, optimizer.settings, state.averages)
    if not apply_change(theta, grad):
        return False
    state.updates[0] += 1
    return True


@kernel
def apply_change(theta: Any, change: Any) -> bool:
    """θ ← θ - change, then change = 0; False, and both as they were, where that is not finite."""
    T = theta.dtype.type
    beyond = 0
    for p in range(theta.shape[0]):
        beyond += not is_finite(theta[p] - change[p])
    if beyond:
        return False
    for p in range(theta.shape[0]):
        theta[p] -= change[p]
        change[p] = T(0.0)
    return True


@inlined
def is_plain_descent(optimizer: OptimizerSpec) -> bool:
    """Whether an update is θ ← θ - γ g and nothing else."""
    no_settings = optimizer.settings[0] == 0.0 and optimizer.settings[2] == 0.0  # momentum and weight decay
    return optimizer.kind == 0 and no_settings and optimizer.clip_norm == 0.0


@kernel
def largest_of(values: Any) -> float:
    """max |x|."""
    largest = 0.0
    for p in range(values.shape[0]):
        largest = max(largest, abs(np.float64(values[p])))
    return largest


@kernel
def norm_of(grad: Any) -> float:
    """‖grad‖ in float64, scaled by the largest coordinate, so that no square overflows or vanishes."""
    largest = largest_of(grad)
    if largest == 0.0:
        return 0.0
    total = 0.0
    for p in range(grad.shape[0]):
        ratio = np.float64(grad[p]) / largest
        total += ratio * ratio
    return largest * math.sqrt(total)


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
    adam_change(theta, grad, factor, rate, t, settings[0], settings[1], settings[2], averages, settings[3], 0.0)


def _adamw_change(theta: Any, grad: Any, factor: float, rate: float, t: int, settings: Any, averages: Any) -> None:
    adam_change(theta, grad, factor, rate, t, settings[0], settings[1], settings[2], averages, 0.0, settings[3])


@kernel
def adam_change(theta: Any, grad: Any, factor: float, rate: float, t: int, decay_m: float, decay_s: float,
                stabilizer: float, averages: Any, coupled: float, decoupled: float) -> None:
    """The gradient becomes the change of Adam's update t, with weight decay in the gradient or beside it."""
    T = theta.dtype.type
    beta1, beta2, epsilon = T(decay_m), T(decay_s), T(stabilizer)
    rest1, rest2 = T(1.0 - decay_m), T(1.0 - decay_s)
    # m̂ / (√ŝ + ε) = (m / (1 - β₁ᵗ)) / (√s / √(1 - β₂ᵗ) + ε): both corrections are one number per update.
    correction1, correction2 = T(1.0 / (1.0 - decay_m**t)), T(1.0 / math.sqrt(1.0 - decay_s**t))
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
