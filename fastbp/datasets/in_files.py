"""Data sets that need not fit into memory: shards of NumPy's files and Parquet files, which are read in chunks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks.messages import shown
from ..streams.files import Files, Part
from ..streams.parquet import Parquet, columns_of, parquet_files
from ..streams.shards import Shards
from ..streams.sources import kind_of_files
from .sources import BUNDLED, existing, has_idx_files
from .tables import require_column
from .targets import not_finite

#: How pandas calls the columns of an index that has no name.
_INDEX = "__index_level_"


class InFiles(NamedTuple):
    """Samples in files."""

    source: str                  # as the user wrote it
    name: str
    files: Files
    features: list[str] | None   # the columns' names where the source has them


def opened(source: str, target: str | None = None, with_targets: bool = True) -> InFiles | None:
    """The files of a source that is read in chunks, or None for one that `load` reads.

    Parameters
    ----------
    source : str
        One of

        - A folder of shards, as for `fastbp.Shards`. Without targets, X is all that is needed.
        - A `.parquet` file or a folder of such files, as for `fastbp.Parquet`. All columns are numbers.
    target : str, optional
        The target column of Parquet files: its name, or its index from 0, or from -1 backwards. The last column by
        default, none by default if `with_targets` is False.
    with_targets : bool
        False reads samples to predict: parts have no d that means anything. The column `target` is left out if that
        is given.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        If files are missing or damaged, or do not go together; if a column is not of numbers, there is no column
        `target`, or pyarrow is needed and not installed.
    """
    path = Path(source)
    if source in BUNDLED or (path.suffix != ".parquet" and not path.is_dir()):
        return None
    if path.is_dir() and has_idx_files(path):
        return None
    kind = kind_of_files(existing(path))
    if kind is None:
        return None
    name = path.resolve().stem
    if kind is Shards:
        if target is not None:
            raise ValueError(f"target is {shown(target)}, but source {source!r} is a folder of NumPy's files, whose "
                             "targets are d or y: leave target out")
        return InFiles(source, name, Shards(path, with_targets=with_targets), None)
    columns = columns_of(parquet_files(path)[0])
    names = list(columns)
    chosen = require_column(path, target, names, True) if with_targets or target is not None else None
    features = [column for j, column in enumerate(names) if j != chosen]
    if not features:
        raise ValueError(f"{source} has the one column {shown(names[0])}, expected features and a target")
    for column in names if with_targets else features:
        if column.startswith(_INDEX):  # to learn from the row numbers of a sorted table would look like success
            raise ValueError(f"{source}: column {shown(column)} is an index that pandas wrote, expected features and a "
                             "target alone: write the table with index=False")
        if columns[column] is None:
            raise ValueError(f"{source}: column {shown(column)} is not of numbers, expected numbers: encode the column "
                             "as numbers, or leave it out")
    # Parquet takes one column for d at least. Without targets that is a feature, which is read anyway.
    files = Parquet(path, target=names[chosen] if with_targets and chosen is not None else features[0],
                    features=features)
    return InFiles(source, name, files, features)


def checked_parts(data: InFiles) -> Iterator[Part]:
    """All rows, in parts of some megabytes, whose X is finite.

    Raises
    ------
    ValueError
        That names file, row and column of a number that is NaN or infinite.
    """
    for place in range(len(data.files)):
        first = 0
        for part in data.files.parts_of(place):
            require_finite(data, place, first, part.X)
            yield part
            first += len(part.X)


def require_finite(data: InFiles, place: int, first: int, X: np.ndarray) -> None:
    """Refuse rows of X that are NaN or infinite; `first` is the row of the chunk that they begin with."""
    wrong = _first_not_finite(X)
    if wrong is not None:
        i, j = wrong
        column = j if data.features is None else data.features[j]
        raise not_finite(data.source, f"{data.files.name_of_row(place, first + i)}, column {shown(column)}", X[i, j])


def require_finite_targets(data: InFiles, place: int, first: int, y: np.ndarray) -> None:
    """Refuse targets that are NaN or infinite; as `require_finite`."""
    wrong = _first_not_finite(y)
    if wrong is not None:
        raise not_finite(data.source, f"{data.files.name_of_row(place, first + wrong[0])}, the target", y[wrong])


def _first_not_finite(numbers: np.ndarray) -> tuple[Any, ...] | None:
    """The place of the first number that is NaN or infinite, or None."""
    if numbers.dtype.kind != "f" or (finite := np.isfinite(numbers)).all():
        return None
    return tuple(np.argwhere(~finite)[0].tolist())
