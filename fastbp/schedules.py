"""Learning-rate schedules γ(t), t = 0, 1, 2, … the number of updates made so far.

A schedule is a small immutable object. Compiled code takes it as five numbers: its kind, γ_0, two parameters of the
kind, and the number of warm-up updates. From them it evaluates γ(t) before each update.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .checks.arguments import require_number, require_whole
from .checks.messages import shown
from .compiling.decorators import formula

#: The place of γ_0 among the five numbers.
LEARNING_RATE = 1

CONSTANT, STEP_DECAY, COSINE, INVERSE_SCALING = 0, 1, 2, 3


@dataclass(frozen=True)
class Constant:
    """γ(t) = γ_0.

    >>> value_at(Constant(0.1), 1000)
    0.1
    """

    learning_rate: float

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, at_least=0.0)

    def spec(self) -> np.ndarray:
        return np.array([CONSTANT, self.learning_rate, 0.0, 0.0, 0.0], np.float64)


@dataclass(frozen=True)
class Step:
    """γ(t) = γ_0 · factor^⌊t / every⌋.

    >>> value_at(Step(0.1, every=100, factor=0.5), 250)
    0.025
    """

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, at_least=0.0)
        _require_updates("every", self.every)
        require_number("factor", self.factor, at_least=0.0)

    def spec(self) -> np.ndarray:
        return np.array([STEP_DECAY, self.learning_rate, self.every, self.factor, 0.0], np.float64)


@dataclass(frozen=True)
class Cosine:
    """γ(t) = γ_end + (γ_0 - γ_end)(1 + cos(π t / updates)) / 2, and γ_end from t = updates on.

    Loshchilov & Hutter, "SGDR" (2017), without restarts.

    >>> value_at(Cosine(0.1, updates=100), 50)
    0.05
    """

    learning_rate: float
    updates: int
    final: float = 0.0

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, at_least=0.0)
        _require_updates("updates", self.updates)
        require_number("final", self.final, at_least=0.0)

    def spec(self) -> np.ndarray:
        return np.array([COSINE, self.learning_rate, self.updates, self.final, 0.0], np.float64)


@dataclass(frozen=True)
class InverseScaling:
    """γ(t) = γ_0 / (t + 1)^power.

    >>> value_at(InverseScaling(0.1, power=0.5), 99)
    0.01
    """

    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, at_least=0.0)
        require_number("power", self.power, at_least=0.0)

    def spec(self) -> np.ndarray:
        return np.array([INVERSE_SCALING, self.learning_rate, self.power, 0.0, 0.0], np.float64)


PlainSchedule = Constant | Step | Cosine | InverseScaling


@dataclass(frozen=True)
class WarmUp:
    """γ(t) = γ_s(0) · (t + 1) / updates for the first updates, then the schedule s from its beginning.

    >>> [value_at(WarmUp(Constant(0.5), updates=4), t) for t in range(6)]
    [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    """

    schedule: PlainSchedule
    updates: int

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, PlainSchedule):
            raise TypeError(f"schedule: expected a schedule that is not itself a WarmUp, found {shown(self.schedule)}")
        _require_updates("updates", self.updates)

    def spec(self) -> np.ndarray:
        spec = self.schedule.spec().copy()
        spec[4] = self.updates
        return spec


Schedule = PlainSchedule | WarmUp


def _require_updates(name: str, value: int) -> None:
    """Refuse what is no number of updates that float64 holds."""
    require_number(name, require_whole(name, value, at_least=1))


def as_schedule(learning_rate: float | Schedule) -> Schedule:
    """The schedule given, or the constant one of a number.

    Raises
    ------
    TypeError, ValueError
        If it is neither a schedule nor a non-negative finite number.
    """
    if isinstance(learning_rate, Schedule):
        return learning_rate
    return Constant(require_number("learning_rate", learning_rate, at_least=0.0))


def value_at(schedule: Schedule, t: int) -> float:
    """γ(t), of a number too; raises what `as_schedule` does, and if t is no whole number from 0 to below 2^63."""
    t = require_whole("t", t, at_least=0)
    require_number("t", t, below=2.0**63)
    return float(learning_rate_at(as_schedule(schedule).spec(), t))


@formula
def learning_rate_at(spec: Any, t: Any) -> Any:
    """γ(t) of a schedule's spec, in compiled code."""
    kind, rate, p, q, warm_up = spec[0], spec[1], spec[2], spec[3], spec[4]
    if t < warm_up:
        # The schedule's first rate is γ_0 for every kind.
        return rate * (t + 1.0) / warm_up
    t = t - warm_up
    if kind == STEP_DECAY:
        return rate * q ** math.floor(t / p)
    if kind == COSINE:
        return q + (rate - q) * 0.5 * (1.0 + math.cos(math.pi * min(t / p, 1.0)))
    if kind == INVERSE_SCALING:
        return rate / (t + 1.0) ** p
    return rate


@formula
def has_constant_rate(spec: Any, t: Any) -> Any:
    """Whether γ is the same from t on, in compiled code."""
    return spec[0] == CONSTANT and t >= spec[4]
