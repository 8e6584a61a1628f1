"""Warnings of what spoils a result without being an error."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks.messages import listed, shown
from ..datasets import Dataset
from ..datasets.first_pass import Summary

COMMON = 0.75  # of the rows are of a class beside which others are rare
FEWEST = 10  # rows of a class, below which a test says little of it


def of_data(dataset: Dataset) -> list[str]:
    """The warnings before training."""
    return _numbering(dataset.X, dataset.features) + (
        [] if dataset.classes is None or dataset.y is None
        else _of_classes(dataset.classes, np.bincount(dataset.y, minlength=len(dataset.classes))))


def of_summary(found: Summary, features: list[str] | None) -> list[str]:
    """The same of rows that are not all in memory.

    A column of other whole numbers than the rows' may have their extremes by chance, but then some of the rows that are
    held out have the same number: of m rows and n numbers, about m² / 2n pairs.
    """
    n, m = sum(found.rows), sum(found.rows[1:])
    warned = []
    if len(found.whole) > 1 and m**2 >= 20 * n:
        with np.errstate(over="ignore"):
            spread = found.largest.astype(np.float64) - found.smallest.astype(np.float64)
        for j in np.flatnonzero(found.whole & (spread >= n - 1) & (spread < 2 * n)).tolist():
            if np.unique(np.concatenate([X[:, j] for X, _ in found.held_out.values()])).size == m:
                warned.append(_numbers_rows(j, features))
    return warned if found.classes is None else warned + _of_classes(found.classes.tolist(), found.of_classes[0])


def _numbering(X: np.ndarray, features: list[str] | None) -> list[str]:
    """Columns that number the rows, in any order and with gaps where rows were left out."""
    n = len(X)
    found = []
    for j in range(X.shape[1] if X.shape[1] > 1 and n >= FEWEST else 0):  # one column alone may be time
        column = X[:, j]
        if (column.min() + (n - 1) <= column.max() < column.min() + 2 * n and (column == np.rint(column)).all()
                and np.unique(column).size == n):
            found.append(_numbers_rows(j, features))
    return found


def _numbers_rows(j: int, features: list[str] | None) -> str:
    return (f"column {j if features is None else features[j]!r} seems to number the rows, with another whole number in "
            "each: what is learnt from it holds for no other rows; leave it out")


def _of_classes(classes: Sequence[str | int], rows: np.ndarray) -> list[str]:
    """Of classes that have so many rows each."""
    found = []
    if 2 * len(classes) > rows.sum():
        found.append(f"there are {len(classes)} classes in {rows.sum()} rows, as if quantities or names of rows had "
                     "been taken for classes: pass --task regression if they are numbers, or choose another target")
    elif (rows < FEWEST).any():
        few = sorted((count, str(name)) for count, name in zip(rows.tolist(), classes, strict=True) if count < FEWEST)
        named = ", ".join(f"{shown(name)} ({count})" for count, name in few[:10]) + (", …" if len(few) > 10 else "")
        found.append(f"{len(few)} of {len(classes)} classes have fewer than {FEWEST} rows, which tell little of them: "
                     f"{named}")
    for group in _alike(classes):
        found.append(f"the classes {listed(group)} may be one, written differently")
    return found


def _alike(classes: Sequence[str | int]) -> list[list[str]]:
    """Names that are the same number, or differ in nothing but case and space."""
    groups: dict[object, list[str]] = {}
    for name in map(str, classes):
        try:
            key: object = float(name)
        except ValueError:
            key = "".join(name.split()).casefold()
        groups.setdefault(key, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def of_scores(scores: dict[str, float], classes: Sequence[str | int] | None, usual: Any) -> list[str]:
    """The warning after the test: the other classes are so rare that nothing was learnt of them.

    usual : the label of the commonest class.
    """
    if classes is None or not scores["test_accuracy"] <= scores["baseline_accuracy"] >= COMMON:
        return []
    return [f"the test accuracy of {scores['test_accuracy']:.4f} is no better than that of always saying "
            f"{shown(str(classes[usual]))}, {scores['baseline_accuracy']:.4f}"]
