"""What `fastbp train` knows of its data: those that are loaded, and those in files, of which parts are in memory."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import datasets
from ..backends.moments import Moments
from ..datasets.first_pass import TEST, VALIDATION, TrainingRows, first_pass, shares_of
from ..datasets.in_files import InFiles
from . import cautions
from .scaling import moments_of, target_name

#: Makes of targets as read those that a network takes.
Encode = Callable[[np.ndarray], np.ndarray]


class Part(NamedTuple):
    """Samples with their targets: labels, or quantities as read."""

    X: np.ndarray
    y: np.ndarray


class TrainingData(NamedTuple):
    """Data in their three parts, of which the training rows need not be in memory."""

    name: str
    classes: list[Any] | None
    features: list[str] | None
    rows: tuple[int, int, int]                      # for training, validation and test
    inputs: Moments                                 # of training rows
    quantities: Moments | None                      # the targets of training rows; None for classes
    of_classes: np.ndarray | None                   # the training rows of each class; None for quantities
    smallest_target: float                          # of all rows
    validation: Part
    test: Part
    for_fit: Callable[[Encode], tuple[Any, ...]]    # X and d of training, or a stream alone
    warned: list[str]

    @property
    def usual(self) -> Any:
        """What a baseline always says: the commonest class of the training rows, or their mean."""
        if self.of_classes is not None:
            return int(self.of_classes.argmax())
        assert self.quantities is not None
        return self.quantities.mean_and_scale(lambda i: f"--data: {target_name(i)}")[0]


def of_dataset(dataset: datasets.Dataset, options: argparse.Namespace) -> TrainingData:
    """The parts of a data set in memory, where its test rows are drawn, and the validation rows from the rest."""
    X, y, *held_out = datasets.split(dataset, options.test_fraction, options.seed)
    test = Part(*held_out)
    train, validation = Part(X, y), Part(X[:0], y[:0])
    if options.validation_fraction != 0.0:
        X, y, *held_out = datasets.split(dataset._replace(X=X, y=y, split=None), options.validation_fraction,
                                         options.seed + 1)
        train, validation = Part(X, y), Part(*held_out)
    assert dataset.y is not None
    is_classes = dataset.classes is not None
    return TrainingData(
        dataset.name, dataset.classes, dataset.features, (len(train.X), len(validation.X), len(test.X)),
        moments_of(train.X), None if is_classes else moments_of(train.y.reshape(len(train.y), -1)),
        np.bincount(train.y) if is_classes else None, float(dataset.y.min()),
        validation, test, lambda encode: (train.X, encode(train.y)), cautions.of_data(dataset))


def of_files(data: InFiles, options: argparse.Namespace) -> TrainingData:
    """What the first pass over files tells, and the rows that it holds out."""
    shares = shares_of(data, options.seed, options.test_fraction, options.validation_fraction)
    found = first_pass(data, shares, options.task)
    X, y = found.held_out[TEST]
    test = Part(X, found.labels(y))
    validation = Part(X[:0], test.y[:0])
    if VALIDATION in found.held_out:
        X, y = found.held_out[VALIDATION]
        validation = Part(X, found.labels(y))

    def stream(encode: Encode) -> tuple[Any, ...]:
        return (TrainingRows(data.files, shares, found.rows[0], lambda y: encode(found.labels(y))),)

    return TrainingData(
        data.name, None if found.classes is None else [int(value) for value in found.classes], data.features,
        found.rows, found.inputs, found.quantities, None if found.classes is None else found.of_classes[1],
        found.smallest_target, validation, test, stream, cautions.of_summary(found, data.features))


def require_apart(option: str, path: Path, data: InFiles) -> None:
    """Refuse to write a file into the folder of the data, all of whose files are read."""
    if path.resolve().parent == Path(data.source).resolve():
        raise ValueError(f"{option}: {path} is in the folder of the data, whose files are all read as such; name a "
                         "file in another folder")
