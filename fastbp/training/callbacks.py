"""Callbacks: what training calls after each epoch, and what may stop it.

A callback is anything that can be called as ``callback(net, history)``; training stops when it returns True. A callback
may also have the methods ``start(net)`` and ``finish(net)``. They are called before the first epoch, and after the last
one, after Ctrl-C, or when training diverged.

A callback with the methods ``state()`` and ``restore(state)`` is a part of checkpoints. `state` returns a dict whose
keys are names; its values are numbers, texts, None, NumPy arrays, or lists and dicts of these. `restore` is called
instead of `start` where training goes on from a checkpoint. Where an epoch was done, but not all callbacks had
returned, they are called for it again.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.arguments import require_flag, require_number, require_whole
from ..checks.messages import shortened, shown
from ..checks.saved import Saved
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


def start_all(callbacks: Sequence[Callable[..., Any]], net: Network, history: History) -> None:
    """Call ``start(net)`` of the callbacks that have it; `EarlyStopping` also takes the optimizer's state."""
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            callback.watch(history)
        if hasattr(callback, "start"):
            callback.start(net)


def finish_all(callbacks: Sequence[Callable[..., Any]], net: Network) -> None:
    """Call ``finish(net)`` of the callbacks that have it."""
    for callback in callbacks:
        if hasattr(callback, "finish"):
            callback.finish(net)


def has_state(callback: Any) -> bool:
    """Whether a callback can be saved and restored."""
    return callable(getattr(callback, "state", None)) and callable(getattr(callback, "restore", None))


def states_of(callbacks: Sequence[Callable[..., Any]]) -> dict[str, Any]:
    """The states of the callbacks that have one, by their places."""
    having: list[tuple[int, Any]] = [(place, callback) for place, callback in enumerate(callbacks)
                                     if has_state(callback)]
    return {str(place): {"kind": type(callback).__name__, "state": callback.state()} for place, callback in having}


def restore_all(callbacks: Sequence[Callable[..., Any]], saved: Saved, history: History) -> None:
    """Call ``restore(state)`` of the callbacks that have it.

    Raises
    ------
    ValueError
        If they are not of the kinds that were saved.
    """
    expected = {place: saved.part(place).text("kind") for place in saved.values}
    found = {str(place): type(callback).__name__ for place, callback in enumerate(callbacks) if has_state(callback)}
    if found != expected:
        raise ValueError(f"callbacks: expected those with a state as in the checkpoint {saved.origin}, "
                         f"{_listed(expected)}, found {_listed(found)}")
    for place in found:
        callback: Any = callbacks[int(place)]
        if isinstance(callback, EarlyStopping):
            callback.watch(history)
        callback.restore(dict(saved.part(place).part("state").values))


def _listed(kinds: dict[str, str]) -> str:
    return shortened(", ".join(f"{kind} at [{place}]" for place, kind in kinds.items()) or "none")


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
        there on. The optimizer's state in the history is then of the same moment.

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
        self._kept: Any = None  # the optimizer's state in the history, while training
        self._reset()

    def _reset(self) -> None:
        self.best_epoch: int | None = None
        self.best_value = self._sign * math.inf
        self._best: _Moment | None = None
        self._before: _Moment | None = None  # before the present epoch

    def watch(self, history: History) -> None:
        """Take the optimizer's state that a training updates in its history."""
        self._kept = history.optimizer_state

    def start(self, net: Network) -> None:
        """Forget an earlier training."""
        self._reset()
        self._note_before(net)

    def _note_before(self, net: Network) -> None:
        if self.restore_best and self.monitor in BEFORE_UPDATES:
            self._before = _Moment.of(net, self._kept)

    def __call__(self, net: Network, history: History) -> bool:
        if self.monitor not in history:
            hint = "; give fit its validation_data" if self.monitor.startswith("validation_") else ""
            raise ValueError(f"monitor: {shown(self.monitor)} is not recorded, only {', '.join(history)}{hint}")
        value, epoch = history[self.monitor][-1], len(history[self.monitor]) - 1
        if self._sign * (self.best_value - value) > self.min_delta:
            self.best_value, self.best_epoch = value, epoch
            if self.restore_best:
                self._best = self._before or _Moment.of(net, self._kept)
        self._note_before(net)
        return epoch - (-1 if self.best_epoch is None else self.best_epoch) >= self.patience

    def finish(self, net: Network) -> None:
        """Put the best weights in place, and the optimizer's state of then."""
        if self._best is not None:
            self._best.put_back(net, self._kept)
        self._kept = None

    def state(self) -> dict[str, Any]:
        """What it has seen, for checkpoints."""
        return {"settings": self._settings(), "best_epoch": self.best_epoch, "best_value": self.best_value,
                "best": self._best and self._best._asdict(), "before": self._before and self._before._asdict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises
        ------
        ValueError
            If it is of an EarlyStopping with other settings.
        """
        saved = Saved(state, "EarlyStopping")
        settings = state.get("settings")
        if not isinstance(settings, list) or settings != self._settings():
            raise ValueError(f"EarlyStopping: expected the settings of the checkpoint, {shown(settings)}, "
                             f"found {shown(self._settings())}")
        best_value = saved.real("best_value")
        best_epoch = saved.whole("best_epoch") if "best_epoch" in saved else None
        best, before = (_Moment.from_saved(saved.part(name)) if name in saved else None for name in ("best", "before"))
        self.best_epoch, self.best_value, self._best, self._before = best_epoch, best_value, best, before

    def _settings(self) -> list[Any]:
        return [self.monitor, self.mode, self.patience, self.min_delta, self.restore_best]


class _Moment(NamedTuple):
    """A network's parameters and its optimizer's state at one moment, copied; empty where there is no state."""

    theta: np.ndarray
    updates: np.ndarray
    averages: np.ndarray

    @classmethod
    def of(cls, net: Network, kept: Any) -> "_Moment":
        theta = net.theta_on_host().copy()
        if kept is None:
            return cls(theta, np.empty(0, np.int64), np.empty((0, 0), theta.dtype))
        return cls(theta, kept.updates.copy(), kept.averages.copy())

    @classmethod
    def from_saved(cls, saved: Saved) -> "_Moment":
        found = saved.values.get("theta")
        dtype = found.dtype if isinstance(found, np.ndarray) else np.dtype(np.float32)
        return cls(saved.finite("theta", dtype, (None,)), saved.array("updates", np.int64, (None,)),
                   saved.finite("averages", dtype, (None, None)))

    def put_back(self, net: Network, kept: Any) -> None:
        """Write the parameters to the network, and the state to the one that is kept, where they are of one shape."""
        net.backend_module.memory.write(net.theta, self.theta)
        if kept is not None and kept.averages.shape == self.averages.shape:
            kept.updates[:], kept.averages[:] = self.updates, self.averages


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
