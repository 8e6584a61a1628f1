"""`History`: the records of a training, epoch by epoch."""

import itertools
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np

from ..checks.figures import new_figure
from ..checks.messages import shown
from ..checks.saved import Saved


class History:
    """The losses and metrics of a training run.

    Attributes
    ----------
    records : dict of str to list of float
        One number for each completed epoch. "loss" is the mean over the samples of w_i L_i, each before its batch's
        update; it is divided by Σ w_i with ``weighted_mean``, and has the penalty where there is one. "accuracy" is
        likewise before each update, where the loss classifies. "validation_loss", the same mean without a penalty, and
        "validation_accuracy" are of the network after the epoch. So are metrics, and what callbacks record.
    stop_reason : str
        "epochs" when all were done, else "callback", "interrupted", "diverged", or "failed" where a stream, a callback,
        a metric or anything else raised an exception. `LevenbergMarquardt` and `LBFGS` have reasons of their own.
    seconds : float
        The time of training; in a callback, so far.
    samples : int
        The number of samples that training went through; in a callback, so far.
    optimizer_state : OptimizerState
        Give it to the next `fit` to go on where this one ended.

    Examples
    --------
    >>> history = History()
    >>> history.record("loss", 0.5); history.record("loss", 0.25)
    >>> history["loss"], history.epochs
    ([0.5, 0.25], 2)
    """

    def __init__(self) -> None:
        self.records: dict[str, list[float]] = {}
        self.stop_reason = "epochs"
        self.seconds = 0.0
        self.samples = 0
        self.optimizer_state: Any = None

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return len(self.records.get("loss", ()))

    def record(self, name: str, value: float) -> None:
        """Append the value of one epoch.

        Raises
        ------
        TypeError
            If the name is no text, or the value no number; NaN and infinity are.
        """
        if not isinstance(name, str):
            raise TypeError(f"name: expected a text, found {shown(name)}")
        number = value if type(value) is float else _number(name, value)
        self.records.setdefault(name, []).append(number)

    def extend(self, name: str, values: np.ndarray) -> None:
        """Append the values of several epochs."""
        if len(values):
            self.records.setdefault(name, []).extend(values.tolist())

    def keep(self, epochs: int) -> None:
        """Remove the records of later epochs."""
        for name in list(self.records):
            del self.records[name][epochs:]
            if not self.records[name]:
                del self.records[name]

    def state(self, epochs: int | None = None) -> dict[str, Any]:
        """The history as values, for checkpoints, of all epochs or the first ones; without the optimizer's state."""
        kept = {name: values[:epochs] for name, values in self.records.items() if values[:epochs]}
        return {"names": list(kept), "lengths": np.array([len(values) for values in kept.values()], np.int64),
                "values": np.array([value for values in kept.values() for value in values], np.float64),
                "stop_reason": self.stop_reason, "seconds": self.seconds, "samples": self.samples}

    def restore(self, saved: Saved) -> None:
        """Take the values of `state` in place of one's own.

        Raises
        ------
        ValueError
            If they do not go together; the history is then as it was.
        """
        names = saved.texts("names")
        lengths = saved.array("lengths", np.int64, (len(names),)).tolist()
        values = saved.array("values", np.float64, (sum(map(abs, lengths)),)).tolist()
        if len(set(names)) < len(names) or min(lengths, default=0) < 0:
            raise saved.error("its records do not go together")
        ends = itertools.accumulate(lengths)
        stop_reason, seconds, samples = saved.text("stop_reason"), saved.number("seconds"), saved.whole("samples")
        self.records = {name: values[end - length : end]
                        for name, length, end in zip(names, lengths, ends, strict=True)}
        self.stop_reason, self.seconds, self.samples = stop_reason, seconds, samples

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.records:
            raise KeyError(f"{shown(name)} was not recorded; there are {', '.join(self.records) or 'no records'}")
        return self.records[name]

    def __contains__(self, name: object) -> bool:
        return name in self.records

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.records.items() if values)
        return f"<History of {self.epochs} epochs: {last}; ended by {self.stop_reason}>"

    def plot(self, path: "str | PathLike[str]") -> None:
        """Draw loss, and accuracy where it was recorded, against epochs, and write the picture.

        Parameters
        ----------
        path : path
            The suffix says the format: .png, .svg, .pdf, …

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no epoch was completed.
        """
        quantities = [name for name in ("loss", "accuracy") if name in self.records]
        figure = new_figure(5.0 * len(quantities), 3.8)
        if not self.epochs:
            raise ValueError("history: expected at least one completed epoch to plot, found none")
        from matplotlib.ticker import MaxNLocator
        for axes, name in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            epochs = np.arange(1, self.epochs + 1)
            marker = "o" if self.epochs <= 30 else None
            axes.plot(epochs, self.records[name], label="training", marker=marker, markersize=3)
            validation = self.records.get(f"validation_{name}")
            if validation:
                axes.plot(epochs[: len(validation)], validation, label="validation", marker=marker, markersize=3)
            if name == "loss" and 0 < 10 * min(self.records[name]) < max(self.records[name]):
                axes.set_yscale("log")  # over less than a decade its labels would say less than plain numbers
            axes.set_xlabel("epoch")
            axes.set_ylabel("mean loss of a sample" if name == "loss" else "accuracy")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(path, dpi=150)


def _number(name: str, value: Any) -> float:
    """A value to record as a float."""
    try:
        if isinstance(value, np.ma.MaskedArray | list | tuple) or np.iscomplexobj(value):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"value: expected a number for {shown(name)}, found {shown(value)}") from None
