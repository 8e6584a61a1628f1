"""The base class of optimizers, and the error of an update that is not finite.

An optimizer is immutable; its running averages and number of updates are in an `OptimizerState`.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import threads
from ..checks.arguments import require_number
from ..checks.arrays import largest_magnitude
from ..checks.messages import shown
from ..layout import aligned_zeros
from ..schedules import Schedule, as_schedule
from .rules import DESCENT, SQUARES, Rule
from .updates import OptimizerSpec, OptimizerState, spec_of, update


@dataclass(frozen=True)
class Optimizer:
    """The base class: a learning rate or schedule γ, weight decay λ, and a bound C on the gradient's norm.

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
        """The rule that turns gradients into updates."""
        raise TypeError(f"{type(self).__name__} is not an optimizer by itself; use SGD, Adam or another of fastbp's")

    @property
    def coupled_decay(self) -> float:
        """λ of the weight decay that is added to the gradient."""
        return self.weight_decay

    def _settings(self) -> list[float]:
        """The settings of the rule, and λ."""
        return [*(float(getattr(self, name)) for name in self.rule.settings), float(self.coupled_decay)]

    def _is_plain(self) -> bool:
        """Whether an update is θ ← θ - γ g and nothing else."""
        return self.rule is DESCENT and self.coupled_decay == 0.0 and self.clip_norm is None

    def spec(self, dtype: np.dtype | None) -> OptimizerSpec:
        """The settings as compiled code sees them, for theta of a dtype; None compiles nothing, and takes no steps."""
        return spec_of(self.rule, dtype, self._settings(), as_schedule(self.learning_rate).spec(),
                       float(self.clip_norm or 0.0), self._is_plain())

    def start(self, theta: np.ndarray) -> OptimizerState:
        """The state before the first update of theta."""
        slots, size = self.averages_shape(theta)
        averages = aligned_zeros(slots * size, theta.dtype).reshape(slots, size)
        return OptimizerState(np.zeros(1, np.int64), averages)

    def averages_shape(self, theta: np.ndarray) -> tuple[int, int]:
        """The shape of the running averages in a state for theta."""
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
                raise TypeError(f"{name}: expected an array of float32 or float64, found {shown(array)}")
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
        """Refuse a state that does not have the arrays of `start(theta)`, and settings that are 0 in theta's dtype.

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
        self.require_settings(theta.dtype)

    def require_settings(self, dtype: np.dtype) -> None:
        """Refuse settings that are 0 in a dtype and not otherwise.

        Raises
        ------
        ValueError
        """
        if any(setting != 0.0 and dtype.type(setting) == 0 for setting in self._settings()):
            raise ValueError(f"optimizer: expected no settings that are 0 in {dtype}, found {shown(self)}")

    def checked_state(self, theta: np.ndarray, state: OptimizerState | None) -> OptimizerState:
        """The state, which a training of theta may start from; `start(theta)` for None.

        Raises
        ------
        TypeError, ValueError
            As `require_state`; or if averages are not finite, or averages of squares are negative, whose root would be
            NaN.
        """
        if state is None:
            self.require_settings(theta.dtype)
            return self.start(theta)
        self.require_state(state, theta)
        if not math.isfinite(largest_magnitude(state.averages)):
            raise ValueError("optimizer_state: expected finite averages, found NaN or infinity")
        for name, values in zip(self.rule.averages, state.averages, strict=True):
            if name == SQUARES and values.size and values.min() < 0:
                place = int(values.argmin())
                raise ValueError(f"state: expected averages {name} of at least 0, found {values[place]:g} at [{place}]")
        return state


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
