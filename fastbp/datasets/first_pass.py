"""The first pass over samples in files: what training needs to know of all rows, and the rows that are held out.

The rows are read chunk by chunk, and those for training are let go. Which rows are held out is drawn from the seed and
the number of the chunk, so that every later pass over the same files draws the same.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..backends.moments import Moments
from ..streams.files import Files, Part, joined
from ..streams.sources import close
from .in_files import InFiles, require_finite, require_finite_targets
from .targets import MOST_CLASSES, not_whole, require_one_label, require_several

#: The rows, and the bytes of X, that are kept in memory for the test at the most, about, and as many for validation.
MOST_ROWS, MOST_BYTES = 100_000, 2**28

#: The distinct targets, beyond which they cannot be classes.
MOST_LABELS = 2**16

#: What a row is for.
TRAINING, VALIDATION, TEST = range(3)


class Shares(NamedTuple):
    """The shares of all rows that are held out, each row by a draw of its own."""

    seed: int
    validation: float
    test: float

    def parts_of(self, files: Files, place: int) -> Iterator[tuple[Part, np.ndarray]]:
        """The parts of a chunk, with what each row is for, (n,)."""
        rng = np.random.default_rng((self.seed, place))
        for part in files.parts_of(place):
            u = rng.random(len(part.X))
            yield part, np.where(u < self.test, TEST, np.where(u < self.test + self.validation, VALIDATION, TRAINING))


class TrainingRows(Files):
    """The rows of files that are for training, as chunks for `fit`.

    Parameters
    ----------
    files : Files
    shares : Shares
    rows : int
        How many they are.
    encode : callable
        Makes of the targets in the files those that the network takes.
    """

    def __init__(self, files: Files, shares: Shares, rows: int, encode: Callable[[np.ndarray], np.ndarray]) -> None:
        self._files, self._shares, self._encode = files, shares, encode
        self.rows = rows

    def __len__(self) -> int:
        return len(self._files)

    def name_of(self, place: int) -> str:
        return self._files.name_of(place)

    def name_of_row(self, place: int, row: int) -> str:
        return f"{self.name_of(place)}, row {row} of those for training"

    def parts_of(self, place: int) -> Iterator[Part]:
        for part, purpose in self._shares.parts_of(self._files, place):
            if (chosen := purpose == TRAINING).any():  # of a chunk of a few rows there may be none
                yield Part(part.X[chosen], self._encode(part.d[chosen]))


class Summary(NamedTuple):
    """What is known after the first pass."""

    shares: Shares
    rows: tuple[int, int, int]                                 # for training, validation and test
    inputs: Moments                                            # of the rows for training
    smallest: np.ndarray                                       # (features,) of all rows
    largest: np.ndarray                                        # (features,)
    whole: np.ndarray                                          # (features,) whether all are whole numbers
    classes: np.ndarray | None                                 # sorted; None for quantities
    of_classes: np.ndarray                                     # (2, classes) rows: all, and those for training
    quantities: Moments | None                                 # of the rows for training; None for classes
    smallest_target: float                                     # of all rows
    held_out: dict[int, tuple[np.ndarray, np.ndarray]]         # X and targets, as read, by purpose

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Targets as read as labels of their classes, or as they are for quantities."""
        return y if self.classes is None else np.searchsorted(self.classes, y.reshape(len(y)))


def shares_of(data: InFiles, seed: int, test_fraction: float, validation_fraction: float) -> Shares:
    """The shares to hold out: the fractions, of all rows and of the rest, or less where that is too much for memory."""
    parts = data.files.parts_of(0)
    X = next(parts).X
    close(parts)
    most = max(1, min(MOST_ROWS, MOST_BYTES // (X.shape[1] * X.itemsize))) / data.files.rows
    test = min(test_fraction, most)
    return Shares(seed, min((1.0 - test) * validation_fraction, most), test)


def first_pass(data: InFiles, shares: Shares, task: str) -> Summary:
    """Go over all rows once.

    Parameters
    ----------
    data : InFiles
        With targets.
    shares : Shares
    task : {"auto", "classification", "regression"}
        What the targets are, as for `load`; True and False are 1 and 0.

    Raises
    ------
    ValueError
        If there are sample weights, or numbers that are NaN or infinite; if targets do not suit the task; or if no row
        is drawn for one of the purposes that has a share. Files and rows are named.
    """
    columns, targets, inputs = _Columns(), _Targets(data, task), Moments()
    kept: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {VALIDATION: [], TEST: []}
    rows = np.zeros(3, np.int64)
    for place in range(len(data.files)):
        first = 0
        for part, purpose in shares.parts_of(data.files, place):
            if part.weight is not None:
                raise ValueError(f"source {data.source!r} has weights of samples, expected X and targets alone: leave "
                                 "the weights out, or train with MLP.fit, which takes them")
            require_finite(data, place, first, part.X)
            require_finite_targets(data, place, first, part.d)
            rows += np.bincount(purpose, minlength=3)
            columns.add(part.X)
            training = purpose == TRAINING
            targets.add(part.d, training, place, first)
            if training.any():
                inputs.add(part.X[training], "--data")
            for wanted, found in kept.items():
                if (chosen := purpose == wanted).any():
                    found.append((part.X[chosen], part.d[chosen]))
            first += len(part.X)
    for wanted, words, share in ((TEST, "to test on", shares.test), (TRAINING, "to train on", 1.0),
                                 (VALIDATION, "for validation", shares.validation)):
        if share and not rows[wanted]:
            raise ValueError(f"source {data.source!r} has {rows.sum()} rows, of which none were drawn {words}: choose "
                             "other fractions or another seed, or add rows")
    classes = targets.classes()
    held_out = {wanted: _joined(kept.pop(wanted)) for wanted in (VALIDATION, TEST) if kept[wanted]}
    return Summary(shares, (int(rows[TRAINING]), int(rows[VALIDATION]), int(rows[TEST])), inputs, columns.smallest,
                   columns.largest, columns.whole, classes, targets.rows,
                   targets.moments if classes is None else None, targets.smallest, held_out)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """X and y of parts one after another."""
    X, y = zip(*parts, strict=True)
    return joined(X), joined(y)


class _Columns:
    """The extremes of every feature, and whether it has whole numbers alone."""

    def __init__(self) -> None:
        self.smallest = self.largest = self.whole = np.empty(0)

    def add(self, X: np.ndarray) -> None:
        if not self.whole.size:
            self.smallest, self.largest, self.whole = X[0], X[0], np.ones(X.shape[1], bool)
        self.smallest = np.minimum(self.smallest, X.min(axis=0))
        self.largest = np.maximum(self.largest, X.max(axis=0))
        if X.dtype.kind == "f":
            for j in np.flatnonzero(self.whole):
                self.whole[j] = (X[:, j] == np.rint(X[:, j])).all()


class _Targets:
    """What targets are; while they may be classes, which they are and how many rows have each."""

    def __init__(self, data: InFiles, task: str) -> None:
        self._data, self._task = data, task
        self._most = MOST_LABELS if task == "classification" else MOST_CLASSES
        self._may_be_classes = task != "regression"
        self._values: np.ndarray = np.empty(0, np.uint8)  # to which bools are 0 and 1
        self._shape: tuple[int, ...] = ()
        self.rows = np.zeros((2, 0), np.int64)  # of each value: all, and those for training
        self.moments = Moments()
        self.smallest = math.inf

    def add(self, y: np.ndarray, training: np.ndarray, place: int, first: int) -> None:
        """Take in the targets of some rows, which begin at the row `first` of the chunk at `place`."""
        self._shape = (self._data.files.rows, *y.shape[1:])
        self.smallest = min(self.smallest, float(y.min()))
        if self._task != "classification" and training.any():
            self.moments.add(y.reshape(len(y), -1)[training], "--data")
        if not self._may_be_classes:
            return
        numbers = y.reshape(len(y), -1)  # (n, outputs)
        if y.dtype.kind == "f" and not (whole := numbers == np.rint(numbers)).all():
            self._may_be_classes = False
            if self._task == "classification":
                require_one_label(self._data.source, self._shape)
                i = int(np.argmin(whole))
                raise not_whole(self._data.source, f"{self._data.files.name_of_row(place, first + i)}, the target",
                                numbers[i, 0])
            return
        self._count(numbers, training)
        if len(self._values) > self._most:
            self._may_be_classes = False
            if self._task == "classification":
                raise ValueError(f"task is 'classification', but the targets of {self._data.source!r} have more than "
                                 f"{self._most} distinct values, expected fewer classes: choose another target, or "
                                 "pass task='regression'")

    def _count(self, numbers: np.ndarray, training: np.ndarray) -> None:
        """Count the rows of each value; numbers : (n, outputs), training : (n,)."""
        values, place = np.unique(numbers, return_inverse=True)
        place = place.reshape(numbers.shape)
        both = np.union1d(self._values, values)
        rows = np.zeros((2, len(both)), np.int64)
        rows[:, np.searchsorted(both, self._values)] = self.rows
        for row, counted in enumerate((place, place[training])):
            rows[row, np.searchsorted(both, values)] += np.bincount(counted.ravel(), minlength=len(values))
        self._values, self.rows = both, rows

    def classes(self) -> np.ndarray | None:
        """The classes in their order, or None for quantities, after all rows."""
        if not self._may_be_classes:
            return None
        require_one_label(self._data.source, self._shape)
        require_several(self._data.source, self._values)
        return self._values
