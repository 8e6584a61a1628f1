"""What targets are, classes or quantities, and labels of classes."""

import re
from typing import Any

import numpy as np

from ..checks.messages import shown
from .sources import Table

MOST_CLASSES = 50  # with more distinct values than this, task="auto" takes whole numbers for quantities
_WHOLE = re.compile("0|-?[1-9][0-9]*")  # as a whole number is written
_BY_EXPONENT = re.compile(r"-?[0-9]\.[0-9]+e[+-][0-9]+")  # as np.savetxt writes any number


def not_finite(source: str, place: str, value: Any) -> ValueError:
    """The error of a number that is NaN or infinite."""
    found = "missing (nan)" if value != value else value
    return ValueError(f"{source}: {place} is {found}, expected a finite number: fill it in or leave its row out")


def as_floats(values: np.ndarray) -> np.ndarray:
    """The values in native byte order and row-major, as float32 where that holds them exactly, else as float64."""
    size = values.dtype.itemsize
    narrow = size <= 4 if values.dtype.kind == "f" else size <= 2
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is found later, and named
        return np.ascontiguousarray(values, np.float32 if narrow else np.float64)


def encoded(source: str, table: Table, y: np.ndarray, task: str
            ) -> tuple[np.ndarray, list[str] | list[int] | None]:
    """Labels with their classes, or quantities with None.

    Raises
    ------
    ValueError
        If they are not finite, or do not suit the task.
    """
    named = y.dtype.kind in "bSU"
    if not named and not (finite := np.isfinite(y)).all():
        place = tuple(np.argwhere(~finite)[0])
        raise not_finite(source, table.row(place[0]), y[place])
    whole = y.dtype.kind != "f" or bool((y == np.rint(y)).all())
    if task == "auto":
        few = named or (whole and (np.unique(y).size <= MOST_CLASSES or _has_leading_zeros(table.written)))
        task = "classification" if few else "regression"
    if task == "regression":
        if named:
            raise ValueError(f"task is 'regression', but the targets of {source!r} are names, such as "
                             f"{shown(str(y.flat[0]))}, expected numbers: choose another target, or "
                             "task='classification'")
        return as_floats(y), None

    require_one_label(source, y.shape)
    y = y.reshape(len(y))
    if not whole:
        i = int(np.argmax(y != np.rint(y)))
        raise not_whole(source, table.row(i), y[i])
    values, labels = np.unique(y if table.written is None else table.written, return_inverse=True)
    require_several(source, values)
    if table.written is None:
        return labels.astype(np.int64), values.astype(str).tolist() if named else [int(value) for value in values]
    if named:
        return labels.astype(np.int64), values.tolist()
    numbers = np.empty(len(values))
    numbers[labels] = y
    order = np.lexsort((values, numbers))
    return np.argsort(order)[labels].astype(np.int64), _as_whole_numbers(values[order].tolist())


def require_one_label(source: str, shape: tuple[int, ...]) -> None:
    """Refuse targets with several numbers in a row as classes."""
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(f"task is 'classification', but y of {source!r} has shape {shape}, expected (n,): store "
                         "class labels (of one-hot rows, y.argmax(axis=1)), or pass task='regression'")


def not_whole(source: str, place: str, value: Any) -> ValueError:
    """The error of a class that is no whole number."""
    return ValueError(f"task is 'classification', but {place} of {source!r} is {value}, expected names or whole "
                      "numbers: pass task='regression'")


def require_several(source: str, classes: np.ndarray) -> None:
    """Refuse a single class."""
    if len(classes) < 2:
        raise ValueError(f"source {source!r} has the one class {shown(classes[0].item())}, expected at least 2: choose "
                         "another target or add samples of other classes")


def _as_whole_numbers(names: list[str]) -> list[str] | list[int]:
    """Names of classes as whole numbers where nothing of their text is lost."""
    if all(map(_WHOLE.fullmatch, names)):
        return [int(name) for name in names]
    if all(map(_BY_EXPONENT.fullmatch, names)) and len(set(map(float, names))) == len(names):
        return [int(float(name)) for name in names]
    return names


def _has_leading_zeros(written: np.ndarray | None) -> bool:
    """Whether numbers are codes such as 007."""
    return written is not None and any(re.match("[+-]?0[0-9]", field) for field in written.tolist())
