"""What can be called after each epoch of training, and stop it.

A callback is anything that can be called as ``callback(net, history)``; training stops when it returns True. A
callback that also has methods ``start(net)`` and ``finish(net)`` has them called before the first epoch, and after
the last one or after Ctrl-C.
"""

import math

import numpy as np

from .history import History
from .inputs import require_number, require_whole
from .network import MLP


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
        Whether the weights of the best epoch are put in place at the end, also when no early stop came or Ctrl-C did.

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
            self._best_theta = net.theta.copy() if self.restore_best else None
        return epoch - (-1 if self.best_epoch is None else self.best_epoch) >= self.patience

    def finish(self, net: MLP) -> None:
        """Put the best weights in place."""
        if self._best_theta is not None:
            net.theta[:] = self._best_theta
