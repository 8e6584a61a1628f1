"""`Parquet`: Parquet files as a sequence of chunks, with columns by name."""

import importlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks.messages import listed, shown
from .files import CHUNK_BYTES, Files, Part, existing, in_order, reading

#: What a file is expected to be.
PARQUET = "a Parquet file"

#: The bytes of rows that are filled column by column: they stay in the second-level cache.
_FILLED_TOGETHER = 2**19


class _Chunk(NamedTuple):
    """A row group of a file."""

    path: Path
    group: int
    rows: int


class Parquet(Files):
    """A Parquet file, or a folder of them, as a sequence of chunks for `fit`, which are read when they are wanted.

    Parameters
    ----------
    path : path
        A file, or a folder whose .parquet files come in the order of their names, in which numbers count as such.
    target : str or sequence of str
        The column of d, or the columns, which make d (n, N_L).
    features : sequence of str, optional
        The columns of X in their order; all others of the first file if not given.
    weight : str, optional
        The column of sample weights.

    Attributes
    ----------
    features : list of str
        The columns of X.
    rows : int
        The number of rows of all files.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    FileNotFoundError
        If there is no such file or folder.
    TypeError, ValueError
        If a column is missing, or not of numbers or bools; or, when its chunk is read, if it has a missing value.

    Notes
    -----
    A chunk is a row group. It is unpacked about 8 MB at a time, so write files with row groups of some megabytes: all
    of a group is read for its first rows.

    Examples
    --------
    >>> import tempfile, pathlib, pandas, fastbp
    >>> table = pandas.DataFrame({"x": np.linspace(-1, 1, 100), "label": np.arange(100) // 50})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.to_parquet(pathlib.Path(folder, "table.parquet"))
    ...     source = Parquet(pathlib.Path(folder, "table.parquet"), target="label")
    ...     history = fastbp.MLP([1, 8, 2], seed=0).fit(source, epochs=3)
    >>> source.features, history.samples
    (['x'], 300)
    """

    def __init__(self, path: "str | PathLike[str]", target: str | Sequence[str] = "label",
                 features: Sequence[str] | None = None, weight: str | None = None) -> None:
        found = existing(path)
        files = parquet_files(found)
        self._one_target = isinstance(target, str)
        self._targets = _names("target", [target] if isinstance(target, str) else target)
        self._weight = _names("weight", [] if weight is None else [weight])
        first = columns_of(files[0])
        others = set(self._targets) | set(self._weight)
        self.features = ([name for name in first if name not in others] if features is None
                         else _names("features", features))
        if not self.features or not self._targets:
            raise ValueError(f"{files[0]}: expected columns for X and for d, found X from {shown(self.features)} and d "
                             f"from {shown(self._targets)}")
        self._chunks: list[_Chunk] = []
        for file in files:
            self._require_columns(file, columns_of(file), None if features is not None else first)
            with _opened(file) as opened, reading(file, PARQUET):
                rows = [opened.metadata.row_group(g).num_rows for g in range(opened.metadata.num_row_groups)]
            self._chunks += [_Chunk(file, group, count) for group, count in enumerate(rows) if count]
        self.rows = sum(chunk.rows for chunk in self._chunks)
        if not self.rows:
            raise ValueError(f"{found}: expected at least one row, found none")

    def _require_columns(self, file: Path, columns: dict[str, Any], only: dict[str, Any] | None) -> None:
        """Refuse a file that lacks a column, or has one of other values than numbers.

        only : if given, the columns that there may be.
        """
        names = [*self._targets, *self._weight, *self.features]
        for name in names:
            if name not in columns:
                use = "target" if name in self._targets else "weight" if name in self._weight else "features"
                raise ValueError(f"{file}: expected a column {shown(name)} for the {use}, found {listed(columns)}; "
                                 f"choose others, or write all files with the same columns")
        for name in names:
            if columns[name] is None:
                raise TypeError(f"{file}: expected numbers in column {shown(name)}, found another type; write it as "
                                f"numbers, or leave the column out")
        unknown = [name for name in columns if only is not None and name not in only]
        if unknown:
            raise ValueError(f"{file}: expected the columns of the first file, found {shown(unknown[0])} too; leave "
                             f"that column out, or write all files with the same columns")

    def __len__(self) -> int:
        return len(self._chunks)

    def name_of(self, place: int) -> str:
        path, group, _ = self._chunks[place]
        return f"{path.name}, row group {group}"

    def name_of_row(self, place: int, row: int) -> str:
        return f"{self.name_of(place)}, row {row}"

    def parts_of(self, place: int) -> Iterator[Part]:
        path, group, _ = self._chunks[place]
        columns = [*self.features, *self._targets, *self._weight]
        first, rows = 0, max(1, CHUNK_BYTES // (8 * len(columns)))
        with _opened(path) as file:
            for batch in _batches(path, file, rows, group, list(dict.fromkeys(columns))):
                found = {name: _numbers(batch.column(name), f"{path}, row group {group}", name, first)
                         for name in batch.schema.names}
                d = [found[name] for name in self._targets]
                yield Part(_table([found[name] for name in self.features]), d[0] if self._one_target else _table(d),
                           *(found[name] for name in self._weight))
                first += len(batch)
        if first != self._chunks[place].rows:
            raise ValueError(f"{path}, row group {group}: expected {self._chunks[place].rows} rows as the file says, "
                             f"found {first}")


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files in a folder, or the one.

    Raises
    ------
    ValueError
        If there is none.
    """
    files = in_order(file for file in path.iterdir() if file.suffix == ".parquet") if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: expected .parquet files, found none")
    return files


def _names(argument: str, names: Any) -> list[str]:
    """Names of columns as a list."""
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument}: expected names of columns, found {shown(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{argument}: expected different columns, found one more than once in {shown(list(names))}")
    return list(names)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'fastbp[parquet]'") from error


def _opened(path: Path) -> Any:
    """A file of pyarrow."""
    parquet = _imported("pyarrow.parquet")
    with reading(path, PARQUET):
        return parquet.ParquetFile(path)


def _batches(path: Path, file: Any, rows: int, group: int, columns: list[str]) -> Iterator[Any]:
    """The rows of a group, some at a time."""
    with reading(path, PARQUET):
        batches = file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
    while True:
        with reading(path, PARQUET):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def columns_of(path: Path) -> dict[str, Any]:
    """The columns of a file, each with NumPy's dtype of its numbers, or None."""
    types = _imported("pyarrow").types
    with _opened(path) as file, reading(path, PARQUET):
        schema = file.schema_arrow
        dtypes = [field.type.to_pandas_dtype() if types.is_integer(field.type) or types.is_floating(field.type)
                  or types.is_boolean(field.type) else None for field in schema]
    columns = dict(zip(schema.names, dtypes, strict=True))
    if len(columns) < len(dtypes):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise ValueError(f"{path}: expected columns of different names, found {shown(twice)} more than once")
    return columns


def _numbers(column: Any, where: str, name: str, first: int) -> np.ndarray:
    """A column without missing values, as an array; bools are 0 and 1.

    first : the row of the first value, for the message.
    """
    if column.null_count:
        row = first + int(np.asarray(column.is_null()).argmax())
        raise ValueError(f"{where}: expected numbers in column {shown(name)}, found none in row {row}; fill it in, or "
                         f"leave its row out")
    numbers = np.asarray(column.to_numpy(zero_copy_only=False))
    return numbers.astype(np.int64) if numbers.dtype == np.bool_ else numbers


def _table(columns: list[np.ndarray]) -> np.ndarray:
    """Columns as a matrix (n, columns), of a dtype that all fit."""
    table = np.empty((len(columns[0]), len(columns)), np.result_type(*columns))
    rows = max(1, _FILLED_TOGETHER // max(1, table.itemsize * len(columns)))
    for start in range(0, len(table), rows):
        for j, column in enumerate(columns):
            table[start : start + rows, j] = column[start : start + rows]
    return table
