"""Shards of NumPy's files and Parquet files: their numbers in their order, and what is wrong with them by name."""

import sys
import zipfile
from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp.streams import files, parquet, shards

N = 120
rng = np.random.default_rng(0)
X = np.round(10 * rng.normal(size=(N, 4))).astype(np.float32)
LABELS = rng.integers(0, 3, N)
WEIGHT = rng.uniform(1, 2, N)
CUTS = (0, 50, 51, N)


def network():
    return fastbp.MLP([4, 5, 3], seed=0)


def trained(*data, **settings):
    net = network()
    net.fit(*data, **{"epochs": 2, "shuffle": False, "batch_size": 16, "seed": 1} | settings)
    return net.theta


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks and parts of a few rows."""
    for module in (files, shards, parquet):
        monkeypatch.setattr(module, "CHUNK_BYTES", 320)


def write_npy(folder, X=X, d=LABELS, weight=None, name="d"):
    for place, (begin, end) in enumerate(pairwise(CUTS), 8):  # 8, 9, 10
        np.save(folder / f"X_{place}.npy", X[begin:end])
        np.save(folder / f"{name}_{place}.npy", d[begin:end])
        if weight is not None:
            np.save(folder / f"weight_{place}.npy", weight[begin:end])


def write_npz(folder, X=X, d=LABELS, weight=None, name="d", save=np.savez):
    for place, (begin, end) in enumerate(pairwise(CUTS), 8):
        arrays = {"X": X[begin:end], name: d[begin:end]} | ({} if weight is None else {"weight": weight[begin:end]})
        save(folder / f"part-{place}.npz", **arrays)


def write_compressed(folder, **arrays):
    write_npz(folder, save=np.savez_compressed, **arrays)


# ---- shards ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("write", [write_npy, write_npz, write_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">i2", "u1", "f2"])
def test_shards_hold_their_rows_in_order(write, order, dtype, tmp_path):
    given = np.abs(X).astype(dtype)
    write(tmp_path, X=given if order == "C" else np.asfortranarray(given))
    source = fastbp.Shards(tmp_path)
    assert source.rows == N
    found = [np.concatenate(arrays) for arrays in zip(*source, strict=True)]
    assert np.array_equal(found[0], given)
    assert np.array_equal(found[1], LABELS)
    assert len(source) == 3 if write is write_compressed or dtype == "u1" else len(source) > 3
    assert np.array_equal(trained(tmp_path), trained(given, LABELS))


def test_columns_after_each_other(tmp_path):
    """Fortran's order of each shard itself."""
    for place, (begin, end) in enumerate(pairwise(CUTS)):
        np.save(tmp_path / f"X{place}.npy", np.asfortranarray(X[begin:end]))
        np.save(tmp_path / f"y{place}.npy", np.asfortranarray(np.eye(3)[LABELS[begin:end]]))
    assert np.array_equal(trained(tmp_path), trained(X, np.eye(3)[LABELS]))
    compressed = tmp_path / "one.npz"
    np.savez_compressed(compressed, X=np.asfortranarray(X), d=LABELS)
    assert np.array_equal(trained(compressed), trained(X, LABELS))


@pytest.mark.parametrize("write", [write_npy, write_npz, write_compressed])
def test_weights_and_the_name_y(write, tmp_path):
    write(tmp_path, weight=WEIGHT, name="y")
    assert np.array_equal(trained(fastbp.Shards(str(tmp_path))), trained(X, LABELS, sample_weight=WEIGHT))


def test_other_arrays_and_files_do_not_count(tmp_path):
    np.savez(tmp_path / "part.npz", X=X, y=LABELS, names=np.array(["a", "b", "c", "d"]))
    (tmp_path / "README.md").write_text("made by …")
    (tmp_path / "._part.npz").write_bytes(b"of another system")
    assert np.array_equal(trained(tmp_path), trained(X, LABELS))


def test_images_are_flattened(tmp_path):
    np.savez(tmp_path / "images.npz", X=X.reshape(N, 2, 2), y=LABELS)
    assert np.array_equal(trained(tmp_path / "images.npz"), trained(X, LABELS))


def test_a_sequence_of_chunks(tmp_path):
    write_npy(tmp_path)
    source = fastbp.Shards(tmp_path)
    assert len(source[0]) == 2
    assert np.array_equal(source[-1][0], X[-len(source[-1][0]) :])
    assert [len(chunk) for chunk in source[1:3]] == [2, 2]
    with pytest.raises(IndexError, match=f"expected a place below {len(source)} chunks, found {len(source)}"):
        source[len(source)]
    assert np.array_equal(trained(list(source), shuffle=True), trained(source, shuffle=True))


@pytest.mark.parametrize("with_d", [True, False])
def test_inputs_alone(with_d, tmp_path):
    write_npy(tmp_path)
    np.savez(tmp_path / "X_11.npz", X=X[:9], **({"d": LABELS[:9], "weight": WEIGHT[:9]} if with_d else {}))
    if not with_d:
        for path in tmp_path.glob("d_*"):
            path.unlink()
    source = fastbp.Shards(tmp_path, with_targets=False)
    assert {len(chunk) for chunk in source} == {1}
    assert np.array_equal(np.concatenate([chunk[0] for chunk in source]), np.concatenate([X, X[:9]]))
    np.savez(tmp_path / "z.npz", d=LABELS)
    with pytest.raises(ValueError, match=r"z\.npz: expected X, found no X"):
        fastbp.Shards(tmp_path, with_targets=False)


def broken(**changes):
    """What writes an archive with other arrays; None leaves one out."""
    def write(folder):
        arrays = {"X": X, "d": LABELS} | changes
        np.savez(folder / "part.npz", **{name: value for name, value in arrays.items() if value is not None})
    return write


def write_nothing(folder):
    (folder / "notes.txt").write_text("nothing here")


def without_targets(folder):
    write_npy(folder)
    (folder / "d_9.npy").unlink()


def without_inputs(folder):
    write_npy(folder)
    (folder / "X_9.npy").unlink()


def truncated(folder):
    write_npy(folder)
    content = (folder / "X_9.npy").read_bytes()
    (folder / "X_9.npy").write_bytes(content[:-3])


def no_array(folder):
    (folder / "X_1.npy").write_bytes(b"no array at all")
    np.save(folder / "d_1.npy", LABELS)


def no_archive(folder):
    (folder / "part.npz").write_bytes(b"PK no archive")


def other_widths(folder):
    write_npy(folder)
    np.save(folder / "X_10.npy", X[51:, :2])


def some_weights(folder):
    write_npy(folder)
    np.save(folder / "weight_10.npy", WEIGHT[51:])


def both_kinds(folder):
    write_npy(folder)
    (folder / "table.parquet").write_bytes(b"")


@pytest.mark.parametrize(("write", "message"), [
    (broken(d=None), r"part\.npz: expected X, and targets d or y for it, found X and no targets"),
    (broken(X=None), r"part\.npz: expected X, and targets d or y for it, found no X and"),
    (broken(y=LABELS), r"part\.npz: expected X, and targets d or y for it, found X and .* and "),
    (broken(X=X[:, 0]), r"part\.npz: X: expected shape \(n, N_0\) with a row at least, found \(120,\)"),
    (broken(X=X[:0], d=LABELS[:0]), r"part\.npz: X: expected shape \(n, N_0\) with a row at least, found \(0, 4\)"),
    (broken(d=LABELS[1:]), r"part\.npz: d: expected 120 rows, as many as X has, found 119"),
    (broken(weight=WEIGHT[:, None]), r"part\.npz: weight: expected shape \(n,\), found \(120, 1\)"),
    (broken(d=LABELS.astype(str)), r"part\.npz: d\.npy: expected real numbers, found dtype <U"),
    (broken(d=LABELS.astype(object)), r"part\.npz: d\.npy: expected real numbers, found dtype object"),
    (write_nothing, "expected a folder of .npz, .npy or .parquet files"),
    (without_targets, r"X_9\.npy: expected X, and targets d or y for it, found X and no targets"),
    (without_inputs, r"d_9\.npy: expected a file whose name begins with X, or d, y or weight for such a file"),
    (truncated, r"X_9\.npy: expected shape \(1, 4\) of float32 as its header says, found 3 bytes too few"),
    (no_array, r"X_1\.npy: expected an array that np\.save wrote, found"),
    (no_archive, r"part\.npz: expected an archive that np\.savez wrote, found one that cannot be read"),
    (other_widths, r"X_10\.npy: expected rows of shape \(4,\) as in .*X_8\.npy, found \(2,\)"),
    (some_weights, r"X_10\.npy: expected no weight as in .*X_8\.npy, found one"),
    (both_kinds, r"expected shards of NumPy or \.parquet files in a folder, found both"),
])
def test_what_is_wrong_with_shards_is_found_before_training(write, message, tmp_path):
    write(tmp_path)
    net = network()
    before = net.theta.copy()
    with pytest.raises(ValueError, match=message) as caught:
        net.fit(tmp_path)
    assert not hasattr(caught.value, "__notes__")  # which a failure during training has
    assert np.array_equal(net.theta, before)


def test_what_is_wrong_with_numbers_has_the_name_of_the_file(tmp_path):
    wrong = X.copy()
    wrong[70, 1] = np.nan
    write_npy(tmp_path, X=wrong)
    with pytest.raises(ValueError, match=r"^chunk 4 \(X_10\.npy, from row 0 on\): X: found nan at \[19, 1\]"):
        network().fit(tmp_path, shuffle=False)


def test_a_damaged_archive(tmp_path):
    """Its headers are whole, and its sums are wrong."""
    write_compressed(tmp_path)
    path = tmp_path / "part-8.npz"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("X.npy").header_offset + 300
    content[begin : begin + 40] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"part-8\.npz: expected an archive that np\.savez wrote, found one"):
        network().fit(tmp_path)


def test_a_file_that_becomes_shorter(tmp_path):
    write_npy(tmp_path)
    source = fastbp.Shards(tmp_path)
    (tmp_path / "X_10.npy").write_bytes((tmp_path / "X_10.npy").read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"X_10\.npy: expected 8 bytes more, found the end of the file"):
        network().fit(source)


def test_no_path():
    with pytest.raises(TypeError, match=r"^path: expected a path, found 5$"):
        fastbp.Shards(5)
    with pytest.raises(FileNotFoundError, match=r"^path: found no file or folder 'nothing'$"):
        fastbp.Shards("nothing")


# ---- Parquet ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def arrow():
    pytest.importorskip("pyarrow.parquet")
    return pytest.importorskip("pyarrow")


def columns(**others):
    return {name: X[:, j] for j, name in enumerate("abcd")} | {"label": LABELS} | others


def write_table(arrow, path, rows=slice(None), group=None, **of):
    import pyarrow.parquet as pq
    table = arrow.table({name: values[rows] for name, values in (of or columns()).items()})
    pq.write_table(table, path, row_group_size=group)


@pytest.mark.parametrize("group", [None, 7])
def test_parquet_files_hold_their_rows_in_order(arrow, group, tmp_path):
    for place, (begin, end) in enumerate(pairwise(CUTS), 8):
        write_table(arrow, tmp_path / f"part-{place}.parquet", slice(begin, end), group)
    expected = trained(X, LABELS)
    assert np.array_equal(trained(tmp_path), expected)
    source = fastbp.Parquet(tmp_path)
    assert (source.rows, source.features) == (N, list("abcd"))
    assert len(source) == (3 if group is None else 8 + 1 + 10)
    assert np.array_equal(np.concatenate([chunk[0] for chunk in source]), X)
    assert np.array_equal(trained(source), expected)
    write_table(arrow, tmp_path / "whole.parquet")
    assert np.array_equal(trained(tmp_path / "whole.parquet"), expected)
    assert not np.array_equal(trained(source, shuffle=True), expected)
    assert np.array_equal(trained(source, shuffle=True), trained(source, shuffle=True))


def test_columns_by_name(arrow, tmp_path):
    path = tmp_path / "table.parquet"
    kinds = [X[:, 0].astype("i8"), X[:, 1] > 0, X[:, 2].astype("f8"), X[:, 3]]
    table = dict(zip("abcd", kinds, strict=True)) | {"weight": WEIGHT, "name": ["x"] * N, "one": LABELS, "two": X[:, 0]}
    write_table(arrow, path, **table)
    rows = np.stack(kinds, axis=1)[:, [3, 1, 0, 2]]
    source = fastbp.Parquet(path, target="one", features=["d", "b", "a", "c"], weight="weight")
    assert np.array_equal(trained(source), trained(rows, LABELS, sample_weight=WEIGHT))
    source = fastbp.Parquet(path, target=["two", "one"], features=["a"])
    X_found, d = source[0]
    assert np.array_equal(X_found, rows[:, 2:3])
    assert np.array_equal(d, np.stack([X[:, 0], LABELS], axis=1))
    flags = fastbp.Parquet(path, target="b", features=["a"])
    assert np.array_equal(flags[0][1], X[:, 1] > 0)
    assert fastbp.MLP([1, 2], seed=0).fit(flags, epochs=1).samples == N


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"target": "one"}, ValueError,
     "expected a column 'one' for the target, found 'a', 'b', 'c', 'd', 'label', 'name'; choose others, or write"),
    ({}, TypeError, "table.parquet: expected numbers in column 'name', found another type; write it as numbers"),
    ({"target": "name"}, TypeError, "table.parquet: expected numbers in column 'name'"),
    ({"features": "abcd"}, TypeError, "^features: expected names of columns, found 'abcd'$"),
    ({"features": ["a", "a"]}, ValueError, "^features: expected different columns, found one more than once"),
    ({"features": []}, ValueError, r"expected columns for X and for d, found X from \[\] and d from \['label'\]"),
    ({"target": 5}, TypeError, "^target: expected names of columns, found 5$"),
])
def test_wrong_columns(arrow, settings, error, message, tmp_path):
    write_table(arrow, tmp_path / "table.parquet", **columns(name=["x"] * N))
    with pytest.raises(error, match=message):
        fastbp.Parquet(tmp_path / "table.parquet", **settings)


def test_columns_that_other_files_lack_or_add(arrow, tmp_path):
    write_table(arrow, tmp_path / "1.parquet")
    write_table(arrow, tmp_path / "2.parquet", **columns(more=X[:, 0]))
    with pytest.raises(ValueError, match=r"2\.parquet: expected the columns of the first file, found 'more' too"):
        fastbp.Parquet(tmp_path)
    assert fastbp.Parquet(tmp_path, features=list("abcd")).rows == 2 * N
    write_table(arrow, tmp_path / "2.parquet", a=X[:, 0], label=LABELS)
    with pytest.raises(ValueError, match=r"2\.parquet: expected a column 'b' for the features, found 'a', 'label'"):
        fastbp.Parquet(tmp_path)


def test_missing_values_are_refused_with_their_row(arrow, tmp_path):
    values = X[:, 1].tolist()
    values[70] = None
    write_table(arrow, tmp_path / "table.parquet", group=60, **columns(b=values))
    net = network()
    with pytest.raises(ValueError, match=r"row group 1: expected numbers in column 'b', found none in row 10"):
        net.fit(tmp_path, shuffle=False)


def test_a_file_that_is_no_parquet(arrow, tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"table\.parquet: expected a Parquet file, found one that cannot"):
        network().fit(tmp_path)


def test_without_pyarrow(monkeypatch, tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"^Parquet files need pyarrow: pip install 'fastbp\[parquet\]'$"):
        network().fit(tmp_path)
