"""Data frames of pandas as arrays of numbers, each column by its own dtype."""

import sys
from typing import Any

import numpy as np

from .messages import shortened, shown

#: The bytes of rows that are filled column by column: they stay in the second-level cache.
_FILLED_TOGETHER = 2**19


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame of pandas, which is not imported for that: without pandas there are none."""
    return isinstance(value, getattr(sys.modules.get("pandas"), "DataFrame", ()))


def array_of_frame(name: str, frame: Any, dtype: np.dtype | None) -> np.ndarray:
    """A data frame as an array of real numbers, in which missing ones are NaN.

    Columns of several dtypes, or of dtypes with missing values, are written into the array one after another, some rows
    at a time: NumPy would make an object of every number.

    name : the argument that held it.
    dtype : of the array, where columns are written into it; if None, one that all of them fit.

    Raises
    ------
    TypeError
        That names the column, if one is not of real numbers; categories that are numbers are.
    """
    dtypes = list(frame.dtypes)
    for column, found in zip(frame.columns, dtypes, strict=True):
        if _kind(found) not in "biuf":
            raise TypeError(f"{name}: expected real numbers, found dtype {shortened(found)} in column {shown(column)}")
    if len(set(dtypes)) < 2 and all(isinstance(found, np.dtype) for found in dtypes):
        return np.asarray(frame)  # often without a copy
    if dtype is None:
        dtype = np.result_type(*(found if isinstance(found, np.dtype) else np.float64 for found in dtypes))
    columns = [frame.iloc[:, j] for j in range(len(dtypes))]  # by place: two columns may have one name
    columns = [np.asarray(c) if isinstance(c.dtype, np.dtype) else c.array for c in columns]
    numbers = np.empty(frame.shape, dtype)
    rows = max(1, _FILLED_TOGETHER // max(1, numbers.itemsize * len(columns)))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # found where the array is checked
        for start in range(0, len(numbers), rows):
            block = numbers[start : start + rows]
            for j, column in enumerate(columns):
                part = column[start : start + rows]
                block[:, j] = part if isinstance(part, np.ndarray) else part.to_numpy(np.float64, na_value=np.nan)
    return numbers


def _kind(dtype: Any) -> str:
    """NumPy's letter for the kind of a column's dtype, and for categories that of their own."""
    categories = getattr(dtype, "categories", None)
    return str(getattr(dtype if categories is None else categories.dtype, "kind", "O"))
