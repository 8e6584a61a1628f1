"""Data sets by name or path: scikit-learn's bundled sets, CSV tables, NumPy archives and MNIST's IDX files.

Every source is read into a `Table` as it stands (`sources.py`, `tables.py`); `load` then checks the numbers and turns
targets into labels, so that the rules about them (`targets.py`) are the same for all sources.

What need not fit into memory, shards of NumPy's files and Parquet files, is not loaded: `in_files.py` opens it, and
`first_pass.py` goes over its chunks once.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..checks.arguments import require_whole
from ..checks.messages import shown
from .sources import (
    ACCEPTED,
    BUNDLED,
    TABLES,
    existing,
    imported,
    read_bundled,
    read_idx_folder,
    read_npz,
)
from .tables import MISSING, Form, read_table
from .targets import as_floats, encoded, not_finite

TASKS = ("auto", "classification", "regression")
HEADERS = ("auto", "yes", "no")
DECIMALS = (".", ",")


class Dataset(NamedTuple):
    """Samples with their targets."""

    name: str
    X: np.ndarray                           # (n, features) float32 or float64, not scaled
    y: np.ndarray | None                    # (n,) int64 labels, or (n,) or (n, outputs) floats; None without targets
    classes: list[str] | list[int] | None   # the name of label k; None in regression and without targets
    features: list[str] | None              # the columns' names where the source has them
    split: int | None                       # rows [split:] are the source's own test set; None where it has none


def load(source: str, *, target: str | None = None, task: str = "auto", header: str = "auto",
         delimiter: str | None = None, decimal: str = ".", na_values: Sequence[str] = MISSING,
         names: Sequence[str] | None = None, with_targets: bool = True) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str
        One of

        - `digits`, `iris`, `wine`, `breast_cancer` or `diabetes`, which scikit-learn brings along. A file or folder
          with such a name is written `./digits`.
        - A path to a table, `.csv` or `.tsv`, also with `.gz`: UTF-8, one sample per row, all features numbers (True
          and False count as 1 and 0). Spaces around a field do not count, nor do blank lines, delimiters at the ends of
          all rows, and lines before the table that begin with # and have another number of fields.
        - A path to an `.npz` archive with the arrays X and y. X of more than two dimensions, such as (n, 28, 28)
          images, is flattened to (n, features). Pickled objects are not read.
        - A folder with the files of MNIST or a set of its family: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`
          and, where there is a test set, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`; with or without `.gz`,
          also `train-images.idx3-ubyte`. Pixels keep their values 0 … 255. The labels are always classes.
    target : str, optional
        The target column of a table: its name, or its index from 0, or from -1 backwards. The last column by default,
        none by default if `with_targets` is False.
    task : {"auto", "classification", "regression"}
        What the targets are. "auto" takes names for classes, whole numbers with up to 50 distinct values or with
        leading zeros for classes, and other numbers for quantities. It refuses text among numbers that are not whole.
    header : {"auto", "yes", "no"}
        Whether a table's first row names the columns. "auto" takes it for names if it alone has text in a column of
        numbers, or if it has no number, and for a sample if it has numbers where the other rows have them. It refuses
        what may be either: 0, 1, 2, …, which pandas writes for columns without names; whole numbers at equal distances,
        such as years, above numbers that are not; a number or a text of its own above the names of classes.
    delimiter : str, optional
        What separates the fields of a table: one character, or "tab". By default the tab in a `.tsv` and the comma in a
        `.csv` file, and a file that another one fits better is refused.
    decimal : {".", ","}
        What marks the decimals in a table.
    na_values : sequence of str
        The words in a table that stand for a missing value, as the empty field does. A target that is one of them is
        refused; `na_values=()` lets it be a class.
    names : sequence of str, optional
        Names that the columns of samples to predict have. A table's first row is names if it has all of them.
    with_targets : bool
        False reads samples to predict: y is None, and no source needs targets. A table then loses the column `target`
        if that is given; else every column is a feature.

    Returns
    -------
    Dataset
        In classification, y indexes the sorted `classes`. Those of a table are its text: whole numbers only if all
        are written as such (or as np.savetxt writes them), so that 007 and 1.0 stay text.

    Raises
    ------
    ValueError
        If the source is of no known kind, has no column `target`, or its content is empty, malformed, not numeric where
        numbers are needed, NaN or infinite, or does not suit `task`; or if it cannot be known how a table is meant.
    FileNotFoundError
        If a file is missing.
    TypeError
        If `na_values` is a string.
    ImportError
        If the source needs pandas or scikit-learn and that is not installed.

    Examples
    --------
    >>> iris = load("iris")
    >>> iris.X.shape, iris.y[:3].tolist(), iris.classes
    ((150, 4), [0, 0, 0], ['setosa', 'versicolor', 'virginica'])
    """
    if task not in TASKS:
        raise ValueError(f"task is {shown(task)}, expected one of {', '.join(TASKS)}")
    if header not in HEADERS:
        raise ValueError(f"header is {shown(header)}, expected one of {', '.join(HEADERS)}")
    if decimal not in DECIMALS:
        raise ValueError(f"decimal is {shown(decimal)}, expected one of {' '.join(DECIMALS)}")
    if isinstance(na_values, str):
        raise TypeError(f"na_values is {shown(na_values)}, expected a sequence of words, such as {shown((na_values,))}")
    path = Path(source)
    tabular = source not in BUNDLED and path.name.lower().endswith(TABLES)
    if target is not None and not tabular:
        raise ValueError(f"target is {shown(target)}, but source is {source!r}, and only a table ({', '.join(TABLES)}) "
                         "or a .parquet file has a target column to choose: leave target out")
    if source in BUNDLED:
        table = read_bundled(source)
    elif path.is_dir():
        table = read_idx_folder(path, with_targets)
    elif tabular:
        form = Form(header, delimiter, decimal, tuple(na_values), names)
        table = read_table(existing(path), target, form, task, with_targets)
    elif path.suffix.lower() == ".npz":
        table = read_npz(existing(path), with_targets)
    else:
        if len(path.parts) > 1 or source.startswith("."):  # meant as a path, not as a name
            existing(path)
        raise ValueError(f"source is {source!r}, expected {ACCEPTED}")

    X = as_floats(table.X)
    if 0 in X.shape:
        raise ValueError(f"source {source!r} is empty: X has shape {X.shape}, expected a row and a feature at least")
    if not (finite := np.isfinite(X)).all():
        i, j = np.argwhere(~finite)[0]
        raise not_finite(source, table.cell(i, j), X[i, j])
    y, classes = None, None
    if with_targets and table.y is not None:
        if len(table.y) != len(X):
            raise ValueError(f"source {source!r}: X has {len(X)} rows and y has {len(table.y)}, expected as many")
        y, classes = encoded(source, table, table.y, table.task if task == "auto" else task)
    if classes is not None and table.classes is not None:
        classes = table.classes
    name = source if source in BUNDLED else Path(path.resolve().name.removesuffix(".gz")).stem
    return Dataset(name, X, y, classes, table.features, table.split)


def split(dataset: Dataset, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Part a data set into training and test samples.

    Parameters
    ----------
    dataset : Dataset
        With targets. Where it has a test set of its own, that is taken and the other arguments have no effect.
    test_fraction : float
        The share of the rows to test on, between 0 and 1, drawn at random. Each class gives the same share as far as
        every class has two rows and both parts have a row for every class.
    seed : int
        The seed of the draw, at least 0; equal seeds give equal parts, and so do those that are equal modulo 2^32.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarray

    Raises
    ------
    ValueError
        If the data set has no targets, or one of the parts would be empty.
    ImportError
        If rows are to be drawn and scikit-learn is not installed.

    Examples
    --------
    >>> X_train, y_train, X_test, y_test = split(load("iris"), 0.2, seed=0)
    >>> X_train.shape, X_test.shape, np.bincount(y_test).tolist()
    ((120, 4), (30, 4), [10, 10, 10])
    """
    X, y = dataset.X, dataset.y
    if y is None:
        raise ValueError(f"dataset {dataset.name!r} has no targets: load it with_targets=True to split it")
    if dataset.split is not None:
        return X[: dataset.split], y[: dataset.split], X[dataset.split :], y[dataset.split :]
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}, expected a number between 0 and 1, such as 0.2")
    seed = require_whole("seed", seed, at_least=0)
    test_rows = math.ceil(test_fraction * len(X))
    smaller = min(test_rows, len(X) - test_rows)
    if smaller == 0:
        raise ValueError(f"dataset {dataset.name!r} has {len(X)} rows, and test_fraction {test_fraction} leaves none "
                         "to train on: lower it or add rows")
    stratified = dataset.classes is not None and np.bincount(y).min() >= 2 and smaller >= len(dataset.classes)
    X_train, X_test, y_train, y_test = imported("sklearn.model_selection", "splitting a data set").train_test_split(
        X, y, test_size=test_rows, random_state=seed % 2**32, stratify=y if stratified else None)
    return X_train, y_train, X_test, y_test
