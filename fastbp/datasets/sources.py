"""The readers of data sets: each takes a source as it stands into a `Table`, whose numbers are checked elsewhere.

Tables of text are read in `tables.py`.

pandas and scikit-learn are imported only by the sources that need them.
"""

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

from ..checks.messages import listed
from ..streams.stored import MOST_UNPACKED, NUMBERS, names_in, stored_members

BUNDLED = {"digits": "classification", "iris": "classification", "wine": "classification",
           "breast_cancer": "classification", "diabetes": "regression"}
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
ACCEPTED = (f"a bundled data set ({', '.join(BUNDLED)}), a path to a table ({', '.join(TABLES)}), to an .npz archive "
            "with the arrays X and y or to a .parquet file, or a folder with .npz, .npy or .parquet files or MNIST's "
            "IDX files")
CORRUPT = (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError)


class Table(NamedTuple):
    """The content of a source, before its numbers are checked."""

    X: np.ndarray                           # (n, features)
    y: np.ndarray | None                    # (n,) or (n, outputs), numbers or names
    features: list[str] | None = None
    split: int | None = None
    task: str = "auto"                      # what the source is for, where that is known
    classes: list[str] | list[int] | None = None
    cell: Callable[[int, int], str] = "X[{}, {}]".format  # the place of X[i, j] in words
    row: Callable[[int], str] = "y[{}]".format            # the place of y[i]
    written: np.ndarray | None = None       # (n,) y as text, where the source is text


def imported(module: str, purpose: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = "pandas" if module == "pandas" else "scikit-learn"
        raise ImportError(f"{purpose} needs {package}: pip install 'fastbp[train]'") from error


def existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"source {str(path)!r} does not exist, expected {ACCEPTED}")
    return path


def read_bundled(name: str) -> Table:
    bunch = getattr(imported("sklearn.datasets", f"the data set {name!r}"), f"load_{name}")()
    classes = np.asarray(bunch.target_names).tolist() if "target_names" in bunch else None
    return Table(bunch.data, bunch.target, [str(feature) for feature in bunch.feature_names], task=BUNDLED[name],
                  classes=classes)


def open_binary(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb")


def read_npz(path: Path, with_targets: bool) -> Table:
    if not zipfile.is_zipfile(path):  # np.load would take it for a pickle
        raise ValueError(f"{path} is no .npz archive: write it with np.savez(path, X=X, y=y)")
    kinds = {"X": NUMBERS, "y": f"{NUMBERS}SU"} if with_targets else {"X": NUMBERS}
    stored = stored_members(path, kinds, unpacked=True)
    for name in kinds:
        if name not in stored:
            raise ValueError(f"{path} has no array {name}, only {listed(names_in(path))}: write it with "
                             "np.savez(path, X=X, y=y)")
    X, y = stored["X"], stored.get("y")
    if len(X.shape) < 2:
        raise ValueError(f"{path}: X has shape {X.shape}, expected (n, features): reshape it, one row per sample")
    if y is not None and len(y.shape) not in (1, 2):
        raise ValueError(f"{path}: y has shape {y.shape}, expected (n,) or (n, outputs): reshape it")
    if y is not None and y.shape[0] != X.shape[0]:
        raise ValueError(f"{path}: X has {X.shape[0]} rows and y has {y.shape[0]}, expected as many")
    return Table(X.whole().reshape(X.shape[0], math.prod(X.shape[1:])), None if y is None else y.whole())


def read_idx_folder(folder: Path, with_targets: bool) -> Table:
    images, labels = [], []
    for part in ("train", "t10k"):
        x = _read_idx(folder, f"{part}-images", 3)
        t = _read_idx(folder, f"{part}-labels", 1) if with_targets else None
        if part == "t10k" and x is None and t is None:
            break
        if x is None or (t is None and with_targets):
            missing = "images-idx3" if x is None else "labels-idx1"
            raise FileNotFoundError(f"source {str(folder)!r} is a folder without {part}-{missing}-ubyte (or with .gz), "
                                    "expected the IDX files of a set such as MNIST, or .npz, .npy or .parquet files")
        if t is not None and len(t) != len(x):
            raise ValueError(f"{folder}: {part}-labels has {len(t)} labels, {part}-images {len(x)} images, expected as "
                             "many: fetch both from the same place")
        images.append(x)
        labels.append(t)
        if x.shape[1:] != images[0].shape[1:]:
            raise ValueError(f"{folder}: t10k-images has images of {x.shape[1:]} pixels, expected "
                             f"{images[0].shape[1:]} as in train-images: fetch both from the same place")
    return Table(np.concatenate([x.reshape(len(x), -1) for x in images]),
                  np.concatenate([t for t in labels if t is not None]) if with_targets else None,
                  split=len(images[0]) if len(images) == 2 else None, task="classification")


def has_idx_files(folder: Path) -> bool:
    """Whether a folder has a file of a set such as MNIST."""
    return any(_idx_path(folder, f"{part}-{kind}", dimensions) is not None
               for part in ("train", "t10k") for kind, dimensions in (("images", 3), ("labels", 1)))


def _idx_path(folder: Path, part: str, dimensions: int) -> Path | None:
    """The path of an IDX file, or None where there is none."""
    names = [f"{part}{mark}idx{dimensions}-ubyte{gz}" for mark in "-." for gz in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(folder: Path, part: str, dimensions: int) -> np.ndarray | None:
    """The array of one IDX file, or None where there is no such file.

    The format (http://yann.lecun.com/exdb/mnist): two zero bytes, the type (8: unsigned bytes), the number of
    dimensions, each size as a big-endian uint32, then the values in row-major order.
    """
    path = _idx_path(folder, part, dimensions)
    if path is None:
        return None
    magic, begin = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    try:
        with open_binary(path) as file:
            header = file.read(begin)
            if header[:4] != magic or len(header) < begin:
                raise ValueError(f"{path} begins with the bytes '{header.hex(' ')}', expected '{magic.hex(' ')}' and "
                                 f"{dimensions} sizes of 4 bytes: it is no IDX file of this kind, or truncated")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            # No more than the header says is read, and no more than there can be.
            most = MOST_UNPACKED * path.stat().st_size
            content = file.read(min(math.prod(shape), most) + 1)
    except CORRUPT as error:
        raise ValueError(f"{path} is damaged: {error}; fetch it again") from error
    if len(content) != math.prod(shape):
        found = f"at least {len(content)}" if len(content) > math.prod(shape) else len(content)
        raise ValueError(f"{path} has {found} bytes of data, expected {math.prod(shape)} for the shape "
                         f"{shape} in its header: fetch it again")
    if 0 in shape:
        raise ValueError(f"{path} is empty: its header has the shape {shape}, expected at least one sample")
    return np.frombuffer(content, np.uint8).reshape(shape)
