"""The weight that a sample has from its class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks.arguments import require_number
from ..checks.messages import shown


def weights_of_classes(given: Any, classes: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """The weight of every class, by its place, for each column of places.

    Parameters
    ----------
    given : "balanced" or mapping
        "balanced" is n / (k n_c) for a class with n_c of the n samples, where k classes have some; a mapping has
        weights of classes, and 1 for those that it leaves out.
    classes : ndarray
        All classes, also those without a sample.
    places : ndarray (n, columns)
        Of the samples' classes among all; with several labels, a column for each of them, of 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If a weight is no number of at least 0, or a mapping names what is no class and leaves classes out, or there are
        several labels.
    """
    if not isinstance(given, Mapping):
        return [_balanced(column) for column in places.T]
    if places.shape[1] > 1:
        raise ValueError(f"class_weight: expected 'balanced' or None for several labels at a time, found "
                         f"{shown(given)}")
    names = classes.tolist()
    unknown = [name for name in given if name not in names]
    if unknown and any(name not in given for name in names):
        raise ValueError(f"class_weight: expected some of the classes {shown(names)} as keys, found {shown(unknown)}")
    return [np.array([require_number(f"class_weight[{shown(name)}]", given.get(name, 1.0), at_least=0.0)
                      for name in names])]


def _balanced(column: np.ndarray) -> np.ndarray:
    counts = np.bincount(column, minlength=2)
    return np.where(counts > 0, len(column) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)


def as_places(d: np.ndarray) -> np.ndarray:
    """The places of classes (n, columns) of encoded targets: labels (n,), or (n, columns) of 0 and 1."""
    return d.reshape(len(d), -1).astype(np.int64)


def weights_by_class(of_classes: list[np.ndarray], places: np.ndarray) -> np.ndarray:
    """The weight (n,) of samples by their classes, the product over several labels."""
    weights = [of_column[column] for of_column, column in zip(of_classes, places.T, strict=True)]
    return np.asarray(np.prod(weights, axis=0))
