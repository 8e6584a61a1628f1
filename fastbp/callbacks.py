"""What can be called after each epoch of training, and stop it.

A callback is anything that can be called as ``callback(net, history)``; training stops when it returns True. A
callback that also has methods ``start(net)`` and ``finish(net)`` has them called before the first epoch, and after
the last one, after Ctrl-C or when training diverged.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .history import History
from .inputs import require_number, require_whole
from .network import MLP


def checked_callbacks(callbacks: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """The callbacks as a list.

    Raises
    ------
    TypeError
        If they are not a sequence of callables; a class, which would be made anew by a call, is none.
    """
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks: expected a sequence of callables, found {callbacks!r}")
    for callback in callbacks:
        if not callable(callback) or isinstance(callback, type):
            raise TypeError(f"callbacks: expected callables that take (net, history), found {callback!r}")
    return list(callbacks)


def ask_to_stop(callbacks: Sequence[Callable[..., Any]], net: MLP, history: History) -> bool:
    """Call them all; whether one of them returned True, NumPy's included."""
    wishes = [callback(net, history) for callback in callbacks]
    return any(isinstance(wish, bool | np.bool_) and bool(wish) for wish in wishes)


def call_if_there(callbacks: Sequence[Callable[..., Any]], method: str, net: MLP) -> None:
    """``start(net)`` or ``finish(net)`` of those that have it."""
    for callback in callbacks:
        if hasattr(callback, method):
            getattr(callback, method)(net)


class EarlyStopping:
    """Stop when a recorded quantity has not become better for some epochs, and take the best weights.

    Parameters
    ----------
    monitor : str
        What to watch: a name in the history. An accuracy should grow; everything else should fall.
    patience : int
        How many epochs without a better value to wait.
    min_delta : float
        By how much a value has to be better to count.
    restore_best : bool
        Whether the weights of the best epoch are put in place at the end, also when no early stop came, Ctrl-C did,
        or training diverged.

    Attributes
    ----------
    best_epoch : int or None
        Counted from 0.
    best_value : float

    Examples
    --------
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

    def __init__(self, monitor: str = "validation_loss", *, patience: int = 10, min_delta: float = 0.0,
                 restore_best: bool = True) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a name in the history, found {monitor!r}")
        self.monitor = monitor
        self.patience = require_whole("patience", patience, at_least=1)
        self.min_delta = require_number("min_delta", min_delta, at_least=0.0)
        self.restore_best = restore_best
        self._sign = -1.0 if monitor.endswith("accuracy") else 1.0
        self._forget()

    def _forget(self) -> None:
        self.best_epoch: int | None = None
        self.best_value = self._sign * math.inf
        self._best_theta: np.ndarray | None = None

    def start(self, net: MLP) -> None:
        """Forget what an earlier training saw."""
        self._forget()

    def __call__(self, net: MLP, history: History) -> bool:
        if self.monitor not in history:
            hint = "; give fit its validation_data" if self.monitor.startswith("validation_") else ""
            raise ValueError(f"monitor: {self.monitor!r} is not recorded, only {', '.join(history)}{hint}")
        value, epoch = history[self.monitor][-1], len(history[self.monitor]) - 1
        if self._sign * (self.best_value - value) > self.min_delta:
            self.best_value, self.best_epoch = value, epoch
            self._best_theta = net.theta_on_host().copy() if self.restore_best else None
        return epoch - (-1 if self.best_epoch is None else self.best_epoch) >= self.patience

    def finish(self, net: MLP) -> None:
        """Put the best weights in place."""
        if self._best_theta is not None:
            net.backend_module.memory.write(net.theta, self._best_theta)
