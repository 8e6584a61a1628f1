"""Checkpoints that are damaged, or hold values that do not go together."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp.storage.checkpoints import read_checkpoint, write_checkpoint

from . import mutation, values
from .kind import Wrong, outcome_of
from .values import one_of

X, LABELS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32), np.arange(50) % 2


class Case(NamedTuple):
    """What is done to a checkpoint: its bytes are changed, or values at some places are others."""

    content: bytes | None
    changed: list[tuple[list[str], Any]]

    def __str__(self) -> str:
        if self.content is not None:
            return f"a checkpoint of {len(self.content)} bytes"
        return "a checkpoint with other values: " + ", ".join(
            f"{'/'.join(place)} = {value!r:.100}" for place, value in self.changed)


class Checkpoints:
    """`fit(resume=…)` of damaged checkpoints."""

    name, seconds = "checkpoints", 30.0

    def prepare(self, folder: Path) -> None:
        self.path = folder / "run.fastbp"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the interrupt
            self.train(_Interrupt(), checkpoint=self.path)
        self.good = self.path.read_bytes()
        self.saved = read_checkpoint(self.path, "training").values
        self.places = list(_places(self.saved, []))
        self.train(resume=self.path)

    def train(self, *callbacks: Any, net: Any = None, **given: Any) -> Any:
        """A training, of which half is in the checkpoint."""
        net = net or fastbp.MLP([3, 4, 2], backend="loops", seed=1)
        return net.fit(X, LABELS, optimizer=fastbp.Adam(0.01), epochs=6, batch_size=8, dropout=0.1, progress=False,
                       validation_data=(X[:9], LABELS[:9]),
                       callbacks=[fastbp.EarlyStopping(patience=9), *callbacks], **given)

    def case(self, rng: np.random.Generator) -> Case:
        if rng.random() < 0.4:
            return Case(mutation.damaged(rng, self.good), [])
        changed = []
        for _ in range(int(rng.integers(1, 3))):
            place = one_of(rng, self.places)
            before: Any = self.saved
            for name in place:
                before = before[name]
            changed.append((place, _another(rng, before)))
        return Case(None, changed)

    def run(self, case: Case) -> str:
        if case.content is not None:
            self.path.write_bytes(case.content)
        else:
            changed: Any = self.saved
            for place, value in case.changed:
                changed = _replaced(changed, place, value)
            try:
                write_checkpoint(self.path, "training", changed)
            except (TypeError, ValueError):
                return "cannot be written"
        net = fastbp.MLP([3, 4, 2], backend="loops", seed=1)
        before, histories = net.theta.copy(), []
        word = outcome_of(lambda: histories.append(self.train(net=net, resume=self.path)))
        if not np.isfinite(net.theta).all():
            raise Wrong("theta is not finite")
        if word == "refused" and net.theta.tobytes() != before.tobytes():
            raise Wrong("theta has changed, though the checkpoint was refused")
        for history in histories:
            if history.stop_reason == "epochs" and history.epochs != 6:
                raise Wrong(f"{history.epochs} epochs were recorded")
        return word


class _Interrupt:
    """A callback that interrupts training."""

    def __call__(self, net: Any, history: Any) -> None:
        if history.epochs == 3:
            raise KeyboardInterrupt


def _places(part: Any, place: list[str]) -> Any:
    """The places of all values, and of groups of values."""
    for name, value in part.items():
        yield [*place, name]
        if isinstance(value, dict):
            yield from _places(value, [*place, name])


def _replaced(part: Any, place: list[str], value: Any) -> Any:
    """Values, of which one is another; as they were, where that place is gone."""
    if not place:
        return value
    if not isinstance(part, dict) or place[0] not in part:
        return part
    return part | {place[0]: _replaced(part[place[0]], place[1:], value)}


def _another(rng: np.random.Generator, before: Any) -> Any:
    """Another value for one."""
    if isinstance(before, np.ndarray) and before.size and rng.random() < 0.6:
        array = before.copy()
        edges = [0, -1, 1, np.iinfo(np.int64).max, np.iinfo(np.int64).min, 2**31] if array.dtype.kind == "i" else [
            0.0, -1.0, 1.0, np.nan, np.inf, -np.inf, np.finfo(array.dtype).max, -np.finfo(array.dtype).tiny]
        array.reshape(-1)[int(rng.integers(array.size))] = one_of(rng, edges)
        return array
    if isinstance(before, int) and rng.random() < 0.7:
        return before + int(one_of(rng, [-1, 1, 2, 10, -10, 2**31, 2**62, -(2**62), 2**64]))
    return one_of(rng, [None, True, -1, 0, 2**63, 0.5, np.nan, "", "text", "x" * 10_000, [], [1, "a"], {}, {"a": 1},
                        np.zeros(3), np.zeros((2, 26), np.float32), np.zeros((0, 26), np.float32),
                        values.odd_array(rng, (26,))])
