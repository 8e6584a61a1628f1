"""Data sets by name or path: scikit-learn's bundled sets, CSV tables, NumPy archives and MNIST's IDX files.

Every source is read into a `_Table` as it stands; `load` then checks the numbers and turns targets into labels, so that
the rules about them are the same for all sources. pandas and scikit-learn are imported only by the sources that need
them.
"""

import csv
import gzip
import importlib
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BUNDLED = {"digits": "classification", "iris": "classification", "wine": "classification",
           "breast_cancer": "classification", "diabetes": "regression"}
TASKS = ("auto", "classification", "regression")
HEADERS = ("auto", "yes", "no")
MOST_CLASSES = 50  # with more distinct values than this, task="auto" takes whole numbers for quantities
_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_ACCEPTED = (f"a bundled data set ({', '.join(BUNDLED)}), a path to a table ({', '.join(_CSV)}), a path to an .npz "
             "archive with the arrays X and y, or a folder with MNIST's IDX files")
_CORRUPT = (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError)


class Dataset(NamedTuple):
    """Samples with their targets."""

    name: str
    X: np.ndarray                           # (n, features) float32 or float64, not scaled
    y: np.ndarray | None                    # (n,) int64 labels, or (n,) or (n, outputs) floats; None without targets
    classes: list[str] | list[int] | None   # the name of label k; None in regression and without targets
    features: list[str] | None              # the columns' names where the source has them
    split: int | None                       # rows [split:] are the source's own test set; None where it has none


class _Table(NamedTuple):
    """What a source holds, before its numbers are checked."""

    X: np.ndarray                           # (n, features)
    y: np.ndarray | None                    # (n,) or (n, outputs), numbers or names
    features: list[str] | None = None
    split: int | None = None
    task: str = "auto"                      # what the source is for, where that is known
    classes: list[str] | list[int] | None = None
    cell: Callable[[int, int], str] = "X[{}, {}]".format  # the place of X[i, j] in words
    row: Callable[[int], str] = "y[{}]".format            # the place of y[i]


def load(source: str, *, target: str | None = None, task: str = "auto", header: str = "auto",
         with_targets: bool = True) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str
        One of

        - `digits`, `iris`, `wine`, `breast_cancer` or `diabetes`, which scikit-learn brings along. A file or folder
          with such a name is written `./digits`.
        - A path to a table, `.csv` or `.tsv`, also with `.gz`: UTF-8, one sample per row, all features numbers (True
          and False count as 1 and 0).
        - A path to an `.npz` archive with the arrays X and y. X of more than two dimensions, such as (n, 28, 28)
          images, is flattened to (n, features). Pickled objects are not read.
        - A folder with the files of MNIST or a set of its family: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`
          and, where there is a test set, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`; with or without `.gz`,
          also `train-images.idx3-ubyte`. Pixels keep their values 0 … 255. The labels are always classes.
    target : str, optional
        The target column of a table: its name, or its index from 0, or from -1 backwards. The last column by default.
    task : {"auto", "classification", "regression"}
        What the targets are. "auto" takes names for classes, whole numbers with up to 50 distinct values for classes,
        and other numbers for quantities.
    header : {"auto", "yes", "no"}
        Whether a table's first row names the columns. "auto" takes it for names if none of its fields is a number: a
        sample has at least one number, its features, and columns are seldom called by numbers; where they are, pass
        "yes".
    with_targets : bool
        False reads samples to predict: y is None, and no source needs targets. A table then loses the column `target`
        if it is given and there; else every column is a feature.

    Returns
    -------
    Dataset
        In classification, y indexes the sorted `classes`.

    Raises
    ------
    ValueError
        If the source is of no known kind, or its content is empty, malformed, not numeric where numbers are needed, NaN
        or infinite, or does not suit `task`.
    FileNotFoundError
        If a file is missing.
    ImportError
        If the source needs pandas or scikit-learn and that is not installed.

    Examples
    --------
    >>> iris = load("iris")
    >>> iris.X.shape, iris.y[:3].tolist(), iris.classes
    ((150, 4), [0, 0, 0], ['setosa', 'versicolor', 'virginica'])
    """
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
    if header not in HEADERS:
        raise ValueError(f"header is {header!r}, expected one of {', '.join(HEADERS)}")
    path = Path(source)
    tabular = source not in BUNDLED and path.name.lower().endswith(_CSV)
    if target is not None and with_targets and not tabular:
        raise ValueError(f"target is {target!r}, but source is {source!r}, and only a table ({', '.join(_CSV)}) "
                         "has a target column to choose: leave target out")
    if source in BUNDLED:
        table = _read_bundled(source)
    elif path.is_dir():
        table = _read_idx_folder(path, with_targets)
    elif tabular:
        table = _read_csv(_existing(path), target, header, with_targets)
    elif path.suffix.lower() == ".npz":
        table = _read_npz(_existing(path), with_targets)
    else:
        if len(path.parts) > 1 or source.startswith("."):  # meant as a path, not as a name
            _existing(path)
        raise ValueError(f"source is {source!r}, expected {_ACCEPTED}")

    X = _floats(table.X)
    if 0 in X.shape:
        raise ValueError(f"source {source!r} is empty: X has shape {X.shape}, expected a row and a feature at least")
    if not (finite := np.isfinite(X)).all():
        i, j = np.argwhere(~finite)[0]
        raise _not_finite(source, table.cell(i, j), X[i, j])
    y, classes = None, None
    if with_targets and table.y is not None:
        if len(table.y) != len(X):
            raise ValueError(f"source {source!r}: X has {len(X)} rows and y has {len(table.y)}, expected as many")
        y, classes = _targets(source, table, table.y, table.task if task == "auto" else task)
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
        every class has two rows and both parts have room for every class.
    seed : int
        The seed of the draw; equal seeds give equal parts.

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
    test_rows = math.ceil(test_fraction * len(X))
    smaller = min(test_rows, len(X) - test_rows)
    if smaller == 0:
        raise ValueError(f"dataset {dataset.name!r} has {len(X)} rows, and test_fraction {test_fraction} leaves none "
                         "to train on: lower it or add rows")
    stratified = dataset.classes is not None and np.bincount(y).min() >= 2 and smaller >= len(dataset.classes)
    X_train, X_test, y_train, y_test = _imported("sklearn.model_selection", "splitting a data set").train_test_split(
        X, y, test_size=test_rows, random_state=seed, stratify=y if stratified else None)
    return X_train, y_train, X_test, y_test


def _imported(module: str, purpose: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = "pandas" if module == "pandas" else "scikit-learn"
        raise ImportError(f"{purpose} needs {package}: pip install 'fastbp[train]'") from error


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"source {str(path)!r} does not exist, expected {_ACCEPTED}")
    return path


def _not_finite(source: str, place: str, value: Any) -> ValueError:
    found = "missing (nan)" if value != value else value
    return ValueError(f"{source}: {place} is {found}, expected a finite number: fill it in or leave its row out")


def _floats(values: np.ndarray) -> np.ndarray:
    """The values in native byte order and row-major, as float32 where that holds them exactly, else as float64."""
    size = values.dtype.itemsize
    narrow = size <= 4 if values.dtype.kind == "f" else size <= 2
    return np.ascontiguousarray(values, np.float32 if narrow else np.float64)


def _targets(source: str, table: _Table, y: np.ndarray, task: str
             ) -> tuple[np.ndarray, list[str] | list[int] | None]:
    """Labels with their classes, or quantities with None."""
    named = y.dtype.kind in "bSU"
    if not named and not (finite := np.isfinite(y)).all():
        place = tuple(np.argwhere(~finite)[0])
        raise _not_finite(source, table.row(place[0]), y[place])
    whole = y.dtype.kind != "f" or bool((y == np.rint(y)).all())
    if task == "auto":
        few = named or (whole and np.unique(y).size <= MOST_CLASSES)
        task = "classification" if few else "regression"
    if task == "regression":
        if named:
            raise ValueError(f"task is 'regression', but the targets of {source!r} are names, such as "
                             f"{str(y.flat[0])!r}, expected numbers: choose another target, or task='classification'")
        return _floats(y), None

    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"task is 'classification', but y of {source!r} has shape {y.shape}, expected (n,): store "
                         "class labels (of one-hot rows, y.argmax(axis=1)), or pass task='regression'")
    if not whole:
        i = int(np.argmax(y != np.rint(y)))
        raise ValueError(f"task is 'classification', but {table.row(i)} of {source!r} is {y[i]}, expected names or "
                         "whole numbers: pass task='regression'")
    values, labels = np.unique(y, return_inverse=True)
    if len(values) < 2:
        raise ValueError(f"source {source!r} has the one class {values[0].item()!r}, expected at least 2: choose "
                         "another target or add samples of other classes")
    return labels.astype(np.int64), values.astype(str).tolist() if named else [int(value) for value in values]


def _read_bundled(name: str) -> _Table:
    bunch = getattr(_imported("sklearn.datasets", f"the data set {name!r}"), f"load_{name}")()
    classes = np.asarray(bunch.target_names).tolist() if "target_names" in bunch else None
    return _Table(bunch.data, bunch.target, [str(feature) for feature in bunch.feature_names], task=BUNDLED[name],
                  classes=classes)


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb")


def _read_csv(path: Path, target: str | None, header: str, with_targets: bool) -> _Table:
    pd = _imported("pandas", "reading CSV files")
    separator = "\t" if ".tsv" in path.name.lower() else ","
    try:
        with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
            first = [field.strip() for field in next(filter(any, rows), [])]
            named = header == "yes" or (header == "auto" and not any(map(_is_number, first)))
            if not named:
                lines.seek(0)
            # The names are kept from pandas, which would rename the second of two equal ones and take the first column
            # of rows longer than the header for an index.
            frame = pd.read_csv(lines, header=None, sep=separator, skipinitialspace=True, low_memory=False,
                                float_precision="round_trip")
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty: expected at least one row of data") from None
    except (*_CORRUPT, UnicodeDecodeError, csv.Error, pd.errors.ParserError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}; expected UTF-8 text, rows of the same number of "
                         f"fields, separated by {separator!r}") from error

    count = len(first)
    names = first if named else [str(j) for j in range(count)]
    if frame.shape[1] != count:
        raise ValueError(f"{path} has {frame.shape[1]} fields in row 1, expected {count} as in its header: "
                         "separate every field, and quote those with a separator inside")
    for j, name in enumerate(names):
        if not name:  # to learn from the row numbers of a sorted table would look like success
            raise ValueError(f"{path}: column {j} has no name: name it, or leave it out where it only numbers the rows "
                             "(pandas writes it without index=False)")
        if name in names[:j]:
            raise ValueError(f"{path} has two columns of the name {name!r}, expected distinct names: rename one")

    chosen = _column(target, names, named) if with_targets or target is not None else None
    if chosen is None and with_targets:
        shown = ", ".join(map(repr, names[:20])) + (", …" if count > 20 else "")
        raise ValueError(f"target is {target!r}, but {path} has no such column: choose one of {shown}, or an index "
                         f"from {-count} to {count - 1}")
    features = [j for j in range(count) if j != chosen]
    if not features:
        raise ValueError(f"{path} has the one column {names[0]!r}, expected features and a target separated by "
                         f"{separator!r}")
    for j in features:
        if frame[j].dtype.kind not in "biuf":  # text, or whole numbers too long for int64
            numbers = pd.to_numeric(frame[j], errors="coerce")
            if (text := numbers.isna() & frame[j].notna()).any():
                i = int(text.argmax())
                raise ValueError(f"{path}: row {i + 1}, column {names[j]!r} is {frame[j][i]!r}, expected a number: "
                                 "encode the column as numbers or leave it out")
            frame[j] = numbers
    y = None
    if with_targets and chosen is not None:
        y = frame[chosen].to_numpy()
        if (missing := frame[chosen].isna()).any():
            raise ValueError(f"{path}: row {int(missing.argmax()) + 1}, column {names[chosen]!r} is missing, expected "
                             "a target: fill it in or leave out its row (pandas takes words such as NA and None for "
                             "missing, too)")
        if y.dtype.kind == "O":
            y = y.astype(str)
    return _Table(frame[features].to_numpy(np.float64), y, [names[j] for j in features] if named else None,
                  cell=lambda i, j: f"row {i + 1}, column {names[features[j]]!r}",
                  row=lambda i: f"row {i + 1}, column {names[chosen or 0]!r}")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _column(target: str | None, names: list[str], named: bool) -> int | None:
    """The index of the target column, or None where there is no such column; a name goes before an index."""
    if target is None:
        return len(names) - 1
    if named and target in names:
        return names.index(target)
    try:
        return range(len(names))[int(target)]
    except (ValueError, IndexError):
        return None


def _read_npz(path: Path, with_targets: bool) -> _Table:
    if not zipfile.is_zipfile(path):  # np.load would take it for a pickle
        raise ValueError(f"{path} is no .npz archive: write it with np.savez(path, X=X, y=y)")
    arrays = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in ("X", "y") if with_targets else ("X",):
            if name not in archive:
                raise ValueError(f"{path} has no array {name}, only {archive.files}: write it with "
                                 "np.savez(path, X=X, y=y)")
            try:
                array = np.asarray(archive[name])
            except (*_CORRUPT, ValueError) as error:
                raise ValueError(f"{path}: the array {name} cannot be read: {error}; expected numbers, not objects, "
                                 "written by np.savez(path, X=X, y=y)") from error
            if array.dtype.kind not in ("biuf" if name == "X" else "biufSU"):
                raise ValueError(f"{path}: {name} has dtype {array.dtype}, expected numbers: convert it first")
            arrays[name] = array
    X, y = arrays["X"], arrays.get("y")
    if X.ndim < 2:
        raise ValueError(f"{path}: X has shape {X.shape}, expected (n, features): reshape it, one row per sample")
    if y is not None and y.ndim not in (1, 2):
        raise ValueError(f"{path}: y has shape {y.shape}, expected (n,) or (n, outputs): reshape it")
    return _Table(X.reshape(len(X), math.prod(X.shape[1:])), y)


def _read_idx_folder(folder: Path, with_targets: bool) -> _Table:
    images, labels = [], []
    for part in ("train", "t10k"):
        x = _read_idx(folder, f"{part}-images", 3)
        t = _read_idx(folder, f"{part}-labels", 1) if with_targets else None
        if part == "t10k" and x is None and t is None:
            break
        if x is None or (t is None and with_targets):
            missing = "images-idx3" if x is None else "labels-idx1"
            raise FileNotFoundError(f"source {str(folder)!r} is a folder without {part}-{missing}-ubyte (or with .gz), "
                                    "expected the IDX files of a set such as MNIST")
        if t is not None and len(t) != len(x):
            raise ValueError(f"{folder}: {part}-labels has {len(t)} labels, {part}-images {len(x)} images, expected as "
                             "many: fetch both from the same place")
        images.append(x)
        labels.append(t)
        if x.shape[1:] != images[0].shape[1:]:
            raise ValueError(f"{folder}: t10k-images has images of {x.shape[1:]} pixels, expected {images[0].shape[1:]} "
                             "as in train-images: fetch both from the same place")
    return _Table(np.concatenate([x.reshape(len(x), -1) for x in images]),
                  np.concatenate([t for t in labels if t is not None]) if with_targets else None,
                  split=len(images[0]) if len(images) == 2 else None, task="classification")


def _read_idx(folder: Path, part: str, dimensions: int) -> np.ndarray | None:
    """The array of one IDX file, or None where there is no such file.

    The format (http://yann.lecun.com/exdb/mnist): two zero bytes, the type (8: unsigned bytes), the number of
    dimensions, each size as a big-endian uint32, then the values in row-major order.
    """
    names = [f"{part}{mark}idx{dimensions}-ubyte{gz}" for mark in "-." for gz in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        with _open(path) as file:
            content = file.read()
    except _CORRUPT as error:
        raise ValueError(f"{path} is damaged: {error}; fetch it again") from error
    magic, begin = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    if content[:4] != magic or len(content) < begin:
        raise ValueError(f"{path} begins with the bytes '{content[:begin].hex(' ')}', expected '{magic.hex(' ')}' and "
                         f"{dimensions} sizes of 4 bytes: it is no IDX file of this kind, or truncated")
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    if len(content) - begin != math.prod(shape):
        raise ValueError(f"{path} has {len(content) - begin} bytes of data, expected {math.prod(shape)} for the shape "
                         f"{shape} in its header: fetch it again")
    if 0 in shape:
        raise ValueError(f"{path} is empty: its header has the shape {shape}, expected at least one sample")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
