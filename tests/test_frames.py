"""Data frames: column by column into one array, with its own dtype for each; what is no number is refused by name."""

import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from fastbp import MLP
from fastbp.checks.frames import is_frame
from fastbp.checks.samples import as_input, as_samples

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)
n = 50_000  # more rows than are filled together
A = np.arange(n) % 97 - 48
B = np.arange(n) % 3 == 0
PLAIN = np.column_stack([A, B]).astype(np.float32)

SECOND_COLUMNS = {
    "bool": B,
    "nullable bool": pd.array(B, dtype="boolean"),
    "nullable integer": pd.array(B.astype(int), dtype="Int64"),
    "nullable float": pd.array(B.astype(float), dtype="Float32"),
    "integer": B.astype(np.uint8),
    "float16": B.astype(np.float16),
    "sparse": pd.arrays.SparseArray(B.astype(float)),
    "sparse filled with 1": pd.arrays.SparseArray(B.astype(int), fill_value=1),
    "categories that are numbers": pd.Categorical(B.astype(int)),
}


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
@pytest.mark.parametrize("first", [np.int64, np.float64, np.float32])
@pytest.mark.parametrize("second", SECOND_COLUMNS)
def test_columns_of_several_dtypes(second, first, dtype):
    """The same numbers as in a plain array, though two columns have the same name."""
    frame = pd.concat([pd.DataFrame({"a": A.astype(first)}), pd.DataFrame({"a": SECOND_COLUMNS[second]})], axis=1)
    array, largest, _ = as_input(frame, dtype, 2)
    assert array.flags.c_contiguous
    assert array.dtype == dtype
    assert np.array_equal(array, PLAIN)
    assert largest == 48


def test_one_dtype_for_all_columns():
    for values in (PLAIN, PLAIN.astype(int), PLAIN > 0):
        assert np.array_equal(as_input(pd.DataFrame(values), F4, 2)[0], values)
    for dtype in ("Int64", "Float32"):
        assert np.array_equal(as_input(pd.DataFrame(PLAIN).astype(dtype), F4, 2)[0], PLAIN)
    assert np.shares_memory(as_input(pd.DataFrame(PLAIN, copy=False), F4, 2)[0], PLAIN)


def test_frames_as_targets_and_weights():
    d = pd.DataFrame({"a": A, "b": B})
    for targets, kind in ((d, "values"), (d.astype("Float64").abs(), "counts")):
        samples = as_samples(d, targets, pd.Series(B, dtype="Int64"), F4, 2, 2, kind)
        assert np.array_equal(samples.targets, abs(PLAIN) if kind == "counts" else PLAIN)
        assert np.array_equal(samples.weights, B)
    with pytest.raises(ValueError, match=r"^d: expected numbers of at least 0, found -1e-60 at \[1, 0\]"):
        as_samples(d[:2], pd.DataFrame({"a": [1, -1e-60], "b": [True, False]}), None, F4, 2, 2, "counts")


OTHER_COLUMNS = {
    "text": (list("abcd"), "(str|object)"),
    "categories of text": (pd.Categorical(list("abab")), "category"),
    "objects": (np.array([1, 2, 3, 4], object), "object"),
    "bools and None": ([True, None, False, True], "object"),
    "lists": ([[1], [2], [3], [4]], "object"),
    "dates": (pd.date_range("2020", periods=4), r"datetime64\[..\]"),
    "differences of dates": (pd.to_timedelta([1, 2, 3, 4]), r"timedelta64\[ns\]"),
    "periods": (pd.period_range("2020", periods=4, freq="D"), r"period\[D\]"),
    "intervals": (pd.interval_range(0, 4), "interval"),
    "complex": ([1j, 2j, 3j, 4j], "complex128"),
}


@pytest.mark.parametrize("argument", ["X", "d"])
@pytest.mark.parametrize("kind", OTHER_COLUMNS)
def test_a_column_that_is_not_of_numbers_is_named(kind, argument):
    column, dtype = OTHER_COLUMNS[kind]
    numbers = np.zeros((4, 2))
    wrong = pd.DataFrame({"first": [1.0, 2.0, 3.0, 4.0], "the column": column})
    net = MLP([2, 2], loss="squared_error", seed=0)
    before = net.theta.tobytes()
    words = f"^{argument}: expected real numbers, found dtype {dtype}.* in column 'the column'"
    with pytest.raises(TypeError, match=words):
        net.fit(**{"X": numbers, "d": numbers} | {argument: wrong})
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("column", [
    pd.array([1, 2, None, 4], dtype="Int64"), pd.array([0.5, 2, None, 4], dtype="Float32"),
    pd.array([True, False, None, True], dtype="boolean"), pd.arrays.SparseArray([1, 2, np.nan, 4]),
    pd.Categorical([1, 2, None, 4])], ids=lambda column: str(column.dtype))
def test_a_missing_number_is_named_by_its_place(column):
    with pytest.raises(ValueError, match=r"^X: found nan at \[2, 1\], expected finite numbers"):
        as_input(pd.DataFrame({"a": [1, 2, 3, 4], "b": column}), F4, 2)


def test_numbers_beyond_the_dtype():
    """Also where NumPy raises for an overflow."""
    for column in ([1.0, 1e300], pd.array([1.0, 1e300], dtype="Float64")):
        frame = pd.DataFrame({"a": [True, False], "b": column})
        with np.errstate(all="raise"), pytest.raises(ValueError, match=r"found 1e\+300 at \[1, 1\], which is bey"):
            as_input(frame, F4, 2)
        assert as_input(frame, F8, 2)[1] == 1e300
    with pytest.raises(ValueError, match=r"found inf at \[0, 1\], expected finite numbers"):
        as_input(pd.DataFrame({"a": [True, False], "b": [np.inf, 1.0]}), F4, 2)


def test_frames_without_rows_or_columns():
    mixed = pd.DataFrame({"a": A, "b": B})
    with pytest.raises(ValueError, match=r"^X: expected at least one sample, found shape \(0, 2\)"):
        as_input(mixed[:0], F4, 2)
    with pytest.raises(ValueError, match=r"^X: expected 2 features, found shape \(50000, 0\)"):
        as_input(mixed[[]], F4, 2)


@pytest.mark.parametrize("second", ["bool", "nullable bool", "nullable integer", "nullable float", "float16", "sparse"])
def test_no_more_memory_than_the_result(second):
    """And some rows of a column."""
    columns = {f"{j}": A.astype(float) for j in range(30)} | {"second": SECOND_COLUMNS[second]}
    frame = pd.DataFrame(columns)
    as_input(frame[:10], F4, 31)
    tracemalloc.start()
    array, _, _ = as_input(frame, F4, 31)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * array.nbytes


def test_pandas_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "pandas")
    assert not is_frame(PLAIN)
    assert as_input(PLAIN.tolist(), F4, 2)[0].shape == PLAIN.shape
    assert "pandas" not in sys.modules
