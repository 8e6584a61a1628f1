"""Callbacks: what training calls after each epoch, and what may stop it.

A callback is anything that can be called as ``callback(net, history)``; training stops when it returns True. A callback
may also have the methods ``start(net)`` and ``finish(net)``. They are called before the first epoch, and after the last
one, after Ctrl-C, or when training diverged.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks.arguments import require_flag, require_number, require_whole
from ..checks.messages import shown
from ..network import Network
from .history import History


def checked_callbacks(callbacks: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """The callbacks as a list.

    Raises
    ------
    TypeError
        If they are not a sequence of callables. A class is refused: to call it would only make an instance.
    """
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks: expected a sequence of callables, found {shown(callbacks)}")
    for callback in callbacks:
        if not callable(callback) or isinstance(callback, type):
            raise TypeError(f"callbacks: expected callables that take (net, history), found {shown(callback)}")
    return list(callbacks)


def ask_to_stop(callbacks: Sequence[Callable[..., Any]], net: Network, history: History) -> bool:
    """Whether a callback returned True, Python's or NumPy's; all of them are called."""
    answers = [callback(net, history) for callback in callbacks]
    return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)


def call_method(callbacks: Sequence[Callable[..., Any]], method: str, net: Network) -> None:
    """Call ``start(net)`` or ``finish(net)`` of the callbacks that have it."""
    for callback in callbacks:
        if hasattr(callback, method):
            getattr(callback, method)(net)


#: What fastbp records itself, and whether its smallest or its largest value is the best.
MODES = {"loss": "min", "accuracy": "max", "validation_loss": "min", "validation_accuracy": "max",
         "validation_score": "max"}

#: Quantities that are recorded during an epoch, of the weights before each update; all others are of those after it.
BEFORE_UPDATES = ("loss", "accuracy")


class EarlyStopping:
    """Stop when a recorded quantity has not become better for some epochs, and take the best weights.

    Parameters
    ----------
    monitor : str
        The quantity to watch: a name in the history.
    mode : "min" or "max"
        Whether its smallest or its largest value is the best. It may be left out for what fastbp records itself: loss,
        accuracy, validation_loss, validation_accuracy, and validation_score of the estimators.
    patience : int
        The number of epochs without a better value after which training stops.
    min_delta : float
        By how much a value has to be better to count.
    restore_best : bool
        Whether the best weights are put in place at the end: also when training went through all epochs, was
        interrupted by Ctrl-C, or diverged. They are the weights after the best epoch, of which its value was recorded.
        For "loss" and "accuracy", which are recorded before each update, they are the weights before the best epoch.
        With one batch an epoch the value is exactly of those weights; with several, it is a mean over the weights from
        there on.

    Attributes
    ----------
    best_epoch : int or None
        Counted from 0.
    best_value : float

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the mode of a quantity is neither known nor given.

    Examples
    --------
    >>> from fastbp import MLP
    >>> stopping = EarlyStopping("loss", patience=1)
    >>> net, history = MLP([1, 1], loss="squared_error", seed=0), History()
    >>> stopping.start(net)
    >>> for loss in (3.0, 1.0, 2.0):
    ...     history.record("loss", loss)
    ...     print(stopping(net, history))
    False
    False
    True
    """

    def __init__(self, monitor: str = "validation_loss", *, mode: str | None = None, patience: int = 10,
                 min_delta: float = 0.0, restore_best: bool = True) -> None:
        self.monitor, self.mode = monitor, _checked_mode(monitor, mode)
        self.patience = require_whole("patience", patience, at_least=1)
        self.min_delta = require_number("min_delta", min_delta, at_least=0.0)
        self.restore_best = require_flag("restore_best", restore_best)
        self._sign = -1.0 if self.mode == "max" else 1.0
        self._reset()

    def _reset(self) -> None:
        self.best_epoch: int | None = None
        self.best_value = self._sign * math.inf
        self._best_theta: np.ndarray | None = None
        self._theta_before: np.ndarray | None = None  # before the present epoch

    def start(self, net: Network) -> None:
        """Forget an earlier training."""
        self._reset()
        self._store_theta_before(net)

    def _store_theta_before(self, net: Network) -> None:
        if self.restore_best and self.monitor in BEFORE_UPDATES:
            self._theta_before = net.theta_on_host().copy()

    def __call__(self, net: Network, history: History) -> bool:
        if self.monitor not in history:
            hint = "; give fit its validation_data" if self.monitor.startswith("validation_") else ""
            raise ValueError(f"monitor: {shown(self.monitor)} is not recorded, only {', '.join(history)}{hint}")
        value, epoch = history[self.monitor][-1], len(history[self.monitor]) - 1
        if self._sign * (self.best_value - value) > self.min_delta:
            self.best_value, self.best_epoch = value, epoch
            if self.restore_best:
                before = self._theta_before
                self._best_theta = net.theta_on_host().copy() if before is None else before
        self._store_theta_before(net)
        return epoch - (-1 if self.best_epoch is None else self.best_epoch) >= self.patience

    def finish(self, net: Network) -> None:
        """Put the best weights in place."""
        if self._best_theta is not None:
            net.backend_module.memory.write(net.theta, self._best_theta)


def _checked_mode(monitor: str, mode: str | None) -> str:
    """Whether the smallest or the largest value of a quantity is the best."""
    if not isinstance(monitor, str):
        raise TypeError(f"monitor: expected a name in the history, found {shown(monitor)}")
    if not isinstance(mode, str | None):
        raise TypeError(f"mode: expected 'min' or 'max', found {shown(mode)}")
    known = MODES.get(monitor)
    if mode is None and known is None:
        raise ValueError(f"mode: expected 'min' or 'max' for the monitor {shown(monitor)}; it is known only of "
                         f"{', '.join(MODES)}")
    if mode not in ("min", "max", None):
        raise ValueError(f"mode: expected 'min' or 'max', found {shown(mode)}")
    if None not in (mode, known) and mode != known:
        raise ValueError(f"mode: expected {shown(known)} for the monitor {shown(monitor)}, found {shown(mode)}")
    return mode or known or ""
