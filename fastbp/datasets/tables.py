"""Tables of text: which of their rows are names, which fields are numbers, and what stands for a missing one.

pandas reads the fields. The target column stays text, because classes are names even where they look like numbers.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks.messages import listed, shown
from .first_lines import (
    DECIMAL_COMMA,
    NUMBER,
    Beginning,
    beginning,
    delimiter_of,
    first_lines,
    open_text,
    require_separated,
)
from .headers import Column, first_row_is_names
from .sources import CORRUPT, Table, imported

MISSING = ("NA", "N/A", "n/a", "nan", "NaN", "-nan", "-NaN", "null", "NULL", "None", "<NA>", "#N/A", "#N/A N/A", "#NA",
           "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "?")  # the words that pandas takes for missing, and UCI's
_SWAPPED = str.maketrans(",.", ".,")


class Form(NamedTuple):
    """The form of a table."""

    header: str = "auto"
    delimiter: str | None = None
    decimal: str = "."
    na_values: Sequence[str] = MISSING
    names: Sequence[str] | None = None  # what a row of names has to hold, where that is known


def read_table(path: Path, target: str | None, form: Form, task: str, with_targets: bool) -> Table:
    """The features of a table as numbers, and its targets as numbers and as text.

    Raises
    ------
    ValueError
        If the table is empty or malformed, or what is in it cannot be known.
    """
    pd = imported("pandas", "reading CSV files")
    delimiter = delimiter_of(path, form.delimiter, form.decimal)
    wanted = with_targets or target is not None
    try:
        if form.delimiter is None:
            require_separated(path, first_lines(path), delimiter)
        begin = beginning(path, delimiter)
        above, below = _frames(pd, path, begin, delimiter, form, _places(target, begin.fields) if wanted else [])
    except (*CORRUPT, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}; expected UTF-8 text, rows of the same number of "
                         f"fields, separated by {delimiter!r}") from error
    first = [field.strip() for field in begin.fields]
    if not first:
        raise ValueError(f"{path} is empty: expected at least one row of data")
    while len(first) > 1 and not first[-1] and (below is None or below.shape[1] < len(first) or _blank(below)):
        del first[-1]  # rows end with a delimiter
        if below is not None and below.shape[1] > len(first):
            below = below.iloc[:, :-1]
    while below is not None and below.shape[1] > len(first) and _blank(below):
        below = below.iloc[:, :-1]
    named = _is_named(path, first, above, below, target, form, wanted)
    if below is not None and below.shape[1] != len(first):
        raise ValueError(f"{path} has {below.shape[1]} fields in row {1 if named else 2}, expected {len(first)} as in "
                         f"{'its header' if named else 'row 1'}: separate every field, and quote those with a "
                         "separator inside")
    parts = [part for part in ([below] if named else [above, below]) if part is not None]
    if not parts:
        raise ValueError(f"{path} is empty: expected at least one row of data below its names {listed(first)}")
    return _table(path, first, named, parts, target, form, task, with_targets)


def _frames(pd: Any, path: Path, begin: Beginning, delimiter: str, form: Form, text: Sequence[int]) -> tuple[Any, Any]:
    """The first row and the rows below it, each as a frame, or None where there is none; some columns stay text."""
    missing = {j: ["", *form.na_values] for j in range(len(begin.fields)) if j not in text}

    def frame(lines: io.TextIOBase) -> Any:
        try:
            # Names are no business of pandas, which would rename the second of two equal ones and take the first column
            # of rows longer than the header for an index.
            return pd.read_csv(lines, header=None, sep=delimiter, decimal=form.decimal, skipinitialspace=True,
                               low_memory=False, keep_default_na=False, na_values=missing,
                               dtype=dict.fromkeys(text, str))
        except pd.errors.EmptyDataError:
            return None
        except pd.errors.ParserError as error:
            sample = any(map(NUMBER.fullmatch, begin.fields))  # the first row, above those that pandas counts
            raise csv.Error(re.sub(r"(?<=in line )\d+", lambda found: str(int(found[0]) + sample),
                                   str(error).strip().removeprefix("Error tokenizing data. C error: "))) from error

    with open_text(path) as lines:
        for _ in range(begin.end):
            lines.readline()
        return frame(io.StringIO(begin.text)), frame(lines)


def _places(target: str | None, first: list[str]) -> list[int]:
    """The possible indices of the target column, before it is known whether the first row is names and how it ends."""
    names = [field.strip() for field in first]
    filled = max((j + 1 for j, name in enumerate(names) if name), default=0)
    found = {_column(target, names[:count], named) for count in (len(names), filled) for named in (False, True)}
    return [j for j in found if j is not None]


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


def require_column(path: Path, target: str | None, names: list[str], named: bool) -> int:
    """The index of the target column.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    chosen = _column(target, names, named)
    if chosen is None:
        raise ValueError(f"target is {shown(target)}, but {path} has no such column: choose one of {listed(names)}, or "
                         f"an index from {-len(names)} to {len(names) - 1}")
    return chosen


def _blank(frame: Any) -> bool:
    """Whether the last column is empty."""
    last = frame.iloc[:, -1]
    return bool((last.isna() | (last.astype(object) == "")).all())


def _is_named(path: Path, first: list[str], above: Any, below: Any, target: str | None, form: Form, wanted: bool
              ) -> bool:
    """Whether the first row is names: as the option says, as other options imply, or as the table itself tells."""
    if form.header != "auto":
        return form.header == "yes"
    if (form.names is not None and set(form.names) <= set(first)) or (
            target in first and _column(target, first, named=False) is None):
        return True
    columns = []
    chosen = _column(target, first, named=False) if wanted else None
    classes: Counter[str] = Counter()
    for j, field in enumerate(first):
        if field in form.na_values:
            field = ""
        number = float(_numbers(above[j], form.decimal)[0]) if field else math.nan
        kind, decimals = "nothing", False
        if below is not None and j < below.shape[1]:
            column = below[j]
            numbers = _numbers(column, form.decimal)
            missing = np.isnan(numbers) & _is_missing(column, form.na_values)
            if not missing.all():
                kind = "text" if (np.isnan(numbers) & ~missing).any() else "numbers"
            decimals = bool((np.isfinite(numbers) & (numbers != np.rint(numbers))).any())
            if j == chosen and kind == "text":
                classes.update(field.strip() for field in column[~missing].tolist())
        columns.append(Column(field, None if math.isnan(number) else number, kind, decimals))
    known = first_row_is_names(columns, chosen, classes)
    if known is None:
        raise ValueError(f"{path}: its first row, {listed(first)}, may be names or a sample: say which it is with "
                         "--header yes or --header no")
    return known


def _numbers(column: Any, decimal: str) -> np.ndarray:
    """The fields as float64, NaN where they are no numbers; whole numbers that are too large are infinite."""
    if column.dtype.kind in "biuf":
        return column.to_numpy(np.float64)
    pd = imported("pandas", "reading CSV files")
    of_row, fields = _distinct(column)
    if decimal == ",":
        fields = [field.translate(_SWAPPED) if isinstance(field, str) else field for field in fields]
    fields = [math.inf * (1 if field > 0 else -1) if isinstance(field, int) and abs(field) >= 2**1024 else field
              for field in fields]
    numbers = pd.to_numeric(pd.Series(fields, dtype=object), errors="coerce").to_numpy(np.float64)
    return np.append(numbers, np.nan)[of_row]


def _distinct(column: Any) -> tuple[np.ndarray, list[Any]]:
    """For each row the index of its field among the distinct ones, -1 where there is none."""
    of_row, fields = imported("pandas", "reading CSV files").factorize(column)
    return of_row, list(fields)


def _is_missing(column: Any, words: Sequence[str]) -> np.ndarray:
    if column.dtype.kind in "biuf":
        return column.isna().to_numpy()
    of_row, fields = _distinct(column)
    missing = [isinstance(field, str) and (not field.strip() or field.strip() in words) for field in fields]
    return np.array([*missing, True])[of_row]


def _table(path: Path, first: list[str], named: bool, parts: list[Any], target: str | None, form: Form, task: str,
           with_targets: bool) -> Table:
    names = first if named else [str(j) for j in range(len(first))]
    for j, name in enumerate(names):
        if not name:  # to learn from the row numbers of a sorted table would look like success
            raise ValueError(f"{path}: column {j} has no name: name it, or leave it out where it only numbers the rows "
                             "(pandas writes it without index=False, R without row.names=FALSE)")
        if name in names[:j]:
            raise ValueError(f"{path} has two columns of the name {shown(name)}, expected distinct names: rename one")

    wanted = with_targets or target is not None
    chosen = require_column(path, target, names, named) if wanted else None
    features = [j for j in range(len(names)) if j != chosen]
    if not features:
        raise ValueError(f"{path} has the one column {shown(names[0])}, expected features and a target: name what "
                         "separates them by --delimiter")
    X = np.empty((sum(map(len, parts)), len(features)))
    for k, j in enumerate(features):
        X[:, k] = np.concatenate([_numbers(part[j], form.decimal) for part in parts])
        missing = np.concatenate([_is_missing(part[j], form.na_values) for part in parts])
        if (text := np.isnan(X[:, k]) & ~missing).any():
            i = int(text.argmax())
            field = str(_field(parts, i, j))
            raise ValueError(f"{path}: row {i + 1}, column {shown(names[j])} is {shown(field)}, expected a number: "
                             f"{_advice(field, form)}encode the column as numbers, leave it out, or choose it as "
                             "target")
    y, written = None, None
    if with_targets and chosen is not None:
        y, written = _targets(path, names[chosen], [part[chosen] for part in parts], form, task)
    return Table(X, y, [names[j] for j in features] if named else None, written=written,
                 cell=lambda i, j: f"row {i + 1}, column {shown(names[features[j]])}",
                 row=lambda i: f"row {i + 1}, column {names[chosen or 0]!r}")


def _field(parts: list[Any], i: int, j: int) -> Any:
    """The field of row i, column j."""
    for part in parts:
        if i < len(part):
            return part[j].iloc[i]
        i -= len(part)
    raise IndexError


def _advice(field: str, form: Form) -> str:
    """The advice for a field that is no number in this form."""
    if form.decimal == "." and DECIMAL_COMMA.fullmatch(field):
        return "pass --decimal ',' if it has a decimal comma; else "
    if form.decimal == "," and NUMBER.fullmatch(field):
        return "leave out --decimal ',' if it has a decimal point; else "
    return ""


def _targets(path: Path, name: str, columns: list[Any], form: Form, task: str) -> tuple[np.ndarray, np.ndarray]:
    """The targets as numbers, if all are, and as text."""
    missing = np.concatenate([_is_missing(column, form.na_values) for column in columns])
    fields = ["" if field != field else str(field).strip() for column in columns for field in column.tolist()]
    if missing.any():
        i = int(missing.argmax())
        if not fields[i]:
            raise ValueError(f"{path}: row {i + 1}, column {shown(name)} is missing, expected a target: fill it in or "
                             "leave out its row")
        raise ValueError(f"{path}: row {i + 1}, column {shown(name)} is {shown(fields[i])}, which stands for a missing "
                         "target: fill it in or leave out its row, or, where it is a class, say by --na-values which "
                         "words stand for what is missing ('' for none)")
    numbers = np.concatenate([_numbers(column, form.decimal) for column in columns])
    written = np.array(fields)
    text = np.isnan(numbers)
    if not text.any():
        return numbers, written
    if task != "classification":
        i = int(text.argmax())
        advice = _advice(fields[i], form)
        if advice or (numbers[~text] != np.rint(numbers[~text])).any():
            raise ValueError(f"{path}: row {i + 1}, column {shown(name)} is {shown(fields[i])}, expected a number as "
                             f"in other rows: {advice or 'correct it, or '}pass --task classification if all are "
                             "names of classes")
    return written, written
