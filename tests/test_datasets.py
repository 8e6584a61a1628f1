"""Every kind of source against values written here by hand, and every refusal with the words of its message."""

import gzip
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import datasets
from fastbp.datasets.targets import as_floats

TABLE = "a,b,kind\n1,2.5,cat\n3,0.1,ant\n-5e1,6,cat\n"


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        content = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return str(path)

    return write


@pytest.fixture
def npz_file(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


def idx(array, code=8, sizes=None):
    """An IDX file's bytes."""
    sizes = array.shape if sizes is None else sizes
    return bytes((0, 0, code, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()


IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3) * 8
LABELS = np.array([7, 2, 2, 7, 9], np.uint8)
MNIST = {"train-images-idx3-ubyte": idx(IMAGES[:3]), "train-labels-idx1-ubyte": idx(LABELS[:3]),
         "t10k-images-idx3-ubyte": idx(IMAGES[3:]), "t10k-labels-idx1-ubyte": idx(LABELS[3:])}


@pytest.fixture
def mnist(tmp_path):
    """Writes the folder, without the files given as None and with others in place of the files given as bytes."""
    def write(suffix="", mark="-", **changed):
        files = MNIST | {f"{part.replace('_', '-')}-{'idx3' if 'images' in part else 'idx1'}-ubyte": content
                         for part, content in changed.items()}
        for name, content in files.items():
            if content is not None:
                packed = gzip.compress(content) if suffix else content
                (tmp_path / (name.replace("-idx", f"{mark}idx") + suffix)).write_bytes(packed)
        return str(tmp_path)

    return write


def test_import_needs_neither_pandas_nor_sklearn():
    code = "import sys, fastbp.datasets; sys.exit(bool({'pandas', 'sklearn'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("module", "source", "package"), [("pandas", "data.csv", "pandas"),
                                                           ("sklearn.datasets", "digits", "scikit-learn")])
def test_missing_package(monkeypatch, csv_file, module, source, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'fastbp\[train\]'"):
        datasets.load(csv_file(TABLE) if source == "data.csv" else source)


@pytest.mark.parametrize(("name", "shape", "classes"), [
    ("digits", (1797, 64), list(range(10))), ("iris", (150, 4), ["setosa", "versicolor", "virginica"]),
    ("wine", (178, 13), ["class_0", "class_1", "class_2"]), ("breast_cancer", (569, 30), ["malignant", "benign"]),
    ("diabetes", (442, 10), None)])
def test_bundled(name, shape, classes):
    data = datasets.load(name)
    assert (data.name, data.X.shape, data.classes, data.split) == (name, shape, classes, None)
    assert data.y.dtype == (np.int64 if classes else np.float64)
    assert len(data.features) == shape[1]
    assert datasets.load(name, with_targets=False).y is None


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.tsv", "data.tsv.gz"])
def test_table(csv_file, name):
    text = TABLE.replace(",", "\t") if ".tsv" in name else TABLE
    data = datasets.load(csv_file(text, name))
    np.testing.assert_array_equal(data.X, [[1, 2.5], [3, 0.1], [-50, 6]], strict=True)
    np.testing.assert_array_equal(data.y, np.array([1, 0, 1]), strict=True)
    assert (data.name, data.classes, data.features, data.split) == ("data", ["ant", "cat"], ["a", "b"], None)


@pytest.mark.parametrize(("text", "header", "features", "rows"), [
    ("1,2,x\n3,4,y\n", "auto", None, 2), ("a,b,c\n1,2,x\n3,4,y\n", "auto", ["a", "b"], 2),
    ("\ufeffa, b ,c\n\n1, 2, x\n3,4,y\n\n", "auto", ["a", "b"], 2), ("\ufeff1,2,x\n3,4,y\n", "auto", None, 2),
    ("7,8,c\n1,2,x\n3,4,y\n", "yes", ["7", "8"], 2),
    ("7,8,c\n1,2,x\n3,4,y\n", "auto", None, 3), ('"a\nb",c,d\n1,2,x\n3,4,y\n', "auto", ["a\nb", "c"], 2)])
def test_header(csv_file, text, header, features, rows):
    data = datasets.load(csv_file(text), header=header)
    assert (data.features, len(data.X)) == (features, rows)
    np.testing.assert_array_equal(data.X[-2:], [[1, 2], [3, 4]])
    assert data.classes[-2:] == ["x", "y"]


@pytest.mark.parametrize(("target", "features"), [("a", ["b", "1"]), ("0", ["b", "1"]), ("1", ["a", "b"]),
                                                  ("-2", ["a", "1"]), (None, ["a", "b"])])
def test_target_column(csv_file, target, features):
    data = datasets.load(csv_file("a,b,1\n1,2,3\n4,5,6\n"), target=target, header="yes")
    assert (data.features, data.y.tolist()) == (features, [0, 1])


@pytest.mark.parametrize(("target", "features"), [("kind", ["a", "b"]), ("0", ["b", "kind"]),
                                                  (None, ["a", "b", "kind"])])
def test_table_without_targets(csv_file, target, features):
    data = datasets.load(csv_file("a,b,kind\n1,2,3\n"), target=target, with_targets=False)
    assert (data.y, data.classes, data.features, data.X.shape) == (None, None, features, (1, len(features)))


@pytest.mark.parametrize("target", ["absent", "3"])
def test_target_to_leave_out_has_to_be_there(csv_file, target):
    with pytest.raises(ValueError, match=f"target is '{target}'.*choose one of 'a', 'b', 'kind', or an index"):
        datasets.load(csv_file("a,b,kind\n1,2,3\n"), target=target, with_targets=False)
    with pytest.raises(ValueError, match=f"target is '{target}', but source is 'iris', and only a table"):
        datasets.load("iris", target=target, with_targets=False)


@pytest.mark.parametrize(("values", "task", "y", "classes"), [
    ([3, 9, 3], "auto", [0, 1, 0], [3, 9]), ([3.0, 9.0, 3.0], "auto", [0, 1, 0], [3, 9]),
    ([3.0, 9.5, 3.0], "auto", [3, 9.5, 3], None), ([3, 9, 3], "regression", [3, 9, 3], None),
    (range(50), "auto", range(50), list(range(50))), (range(51), "auto", range(51), None),
    (range(51), "classification", range(51), list(range(51))), ([[3], [9]], "classification", [0, 1], [3, 9]),
    ([[0.5, 1], [2, 3]], "auto", [[0.5, 1], [2, 3]], None), (["b", "a", "b"], "auto", [1, 0, 1], ["a", "b"]),
    ([True, False], "auto", [1, 0], ["False", "True"])])
def test_task(npz_file, values, task, y, classes):
    values = np.array(values)
    data = datasets.load(npz_file(X=np.ones((len(values), 2)), y=values), task=task)
    np.testing.assert_array_equal(data.y, np.array(y, np.int64 if classes else np.float64), strict=True)
    assert data.classes == classes


@pytest.mark.parametrize(("dtype", "expected"), [(np.uint8, np.float32), (np.float16, np.float32), (">f4", np.float32),
                                                 (np.int64, np.float64), (np.float64, np.float64)])
def test_npz(npz_file, dtype, expected):
    images = np.arange(12).reshape(2, 3, 2).astype(dtype)
    data = datasets.load(npz_file(X=images), with_targets=False)
    np.testing.assert_array_equal(data.X, np.arange(12, dtype=expected).reshape(2, 6), strict=True)
    assert (data.y, data.features) == (None, None)


@pytest.mark.parametrize(("suffix", "mark"), [("", "-"), (".gz", "-"), ("", "."), (".gz", ".")])
def test_idx(mnist, suffix, mark):
    data = datasets.load(mnist(suffix, mark))
    np.testing.assert_array_equal(data.X, IMAGES.reshape(5, 6).astype(np.float32), strict=True)
    np.testing.assert_array_equal(data.y, np.array([1, 0, 0, 1, 2]), strict=True)
    assert (data.classes, data.split) == ([2, 7, 9], 3)
    X_train, y_train, X_test, y_test = datasets.split(data, 0.5, seed=0)
    np.testing.assert_array_equal(np.concatenate([X_train, X_test]), data.X)
    assert (y_train.tolist(), y_test.tolist()) == ([1, 0, 0], [1, 2])


def test_idx_of_training_images_alone(mnist):
    folder = mnist(train_labels=None, t10k_images=None, t10k_labels=None)
    data = datasets.load(folder, with_targets=False)
    assert (data.X.shape, data.y, data.split) == ((3, 6), None, None)


def test_idx_labels_are_classes_however_many(mnist):
    labels = np.arange(60, dtype=np.uint8)
    folder = mnist(train_images=idx(np.zeros((60, 2, 3), np.uint8)), train_labels=idx(labels))
    assert datasets.load(folder).classes == list(range(60))


@pytest.mark.parametrize(("text", "options", "message"), [
    ("", {}, "is empty"), ("a,b\n", {}, "is empty"), ("a,b\n1,x\n,y\n", {}, "row 2, column 'a' is missing"),
    ("a,b\n1,x\ninf,y\n", {}, "row 2, column 'a' is inf"), ("a,b\n1,x\n2,\n", {}, "row 2, column 'b' is missing"),
    ("a,b\n1,2\n2,inf\n", {}, "row 2, column 'b' is inf"), ("1,2,x\n3,z,y\n", {}, "row 2, column '1' is 'z'"),
    (f"a,b\n2,2\n{-10**400},3\n", {}, "row 2, column 'a' is -inf"),
    ("a,b\n1,x\n2,y\n", {"target": "c"}, "target is 'c'.*one of 'a', 'b', or an index from -2 to 1"),
    ("a,b\n1,x\n2,y\n", {"target": "-3"}, "target is '-3'"), ("a,a\n1,2\n", {}, "two columns of the name 'a'"),
    (",a,b\n0,1,2\n", {}, "column 0 has no name"), ("a,b\n1,2,3\n", {}, "3 fields in row 1, expected 2"),
    ("a,b\n1,2\n1,2,3\n", {}, "cannot be read as a table.*Expected 2 fields in line 2, saw 3"),
    ("a;b\n1;2\n", {}, "one column 'a;b'"), (b"a,b\n1,\xff\n", {}, "cannot be read as a table.*expected UTF-8"),
    ("a,b\n1,x\n2,x\n", {}, "the one class 'x', expected at least 2"),
    ("a,b\n1,x\n2,y\n", {"task": "regression"}, "task is 'regression'.*names, such as 'x'"),
    ("a,b\n1,2\n2,3.5\n", {"task": "classification"}, "task is 'classification'.*row 2, column 'b'.*3.5"),
    ("a,b\n1,2\n", {"task": "cluster"}, "task is 'cluster', expected one of auto"),
    ("a,b\n1,2\n", {"header": "maybe"}, "header is 'maybe', expected one of auto")])
def test_refused_table(csv_file, text, options, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        datasets.load(csv_file(text), **options)


@pytest.mark.parametrize(("arrays", "message"), [
    ({"y": [0, 1]}, r"no array X, only 'y'"), ({"X": [[1.0], [2.0]]}, "no array y"),
    ({"X": [1.0, 2.0], "y": [0, 1]}, r"X has shape \(2,\), expected \(n, features\)"),
    ({"X": [["a"]], "y": [0]}, r"X\.npy: expected real numbers, found dtype <U1"),
    ({"X": np.array([[{}]]), "y": [0]}, r"X\.npy: expected real numbers, found dtype object"),
    ({"X": [[1.0], [2.0]], "y": [0]}, "X has 2 rows and y has 1"), ({"X": np.ones((0, 2)), "y": []}, "is empty"),
    ({"X": np.ones((2, 0)), "y": [0, 1]}, "is empty"), ({"X": [[1.0], [np.nan]], "y": [0, 1]}, r"X\[1, 0\] is missing"),
    ({"X": [[1.0], [2.0]], "y": [0, np.nan]}, r"y\[1\] is missing"),
    ({"X": [[1.0], [2.0]], "y": [[0, 1], [1, 0]]}, r"y of .* has shape \(2, 2\).*argmax"),
    ({"X": [[1.0], [2.0]], "y": np.zeros((2, 1, 1))}, r"y has shape \(2, 1, 1\)")])
def test_refused_npz(npz_file, arrays, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(npz_file(**arrays))


@pytest.mark.parametrize(("damage", "message"), [
    (lambda content: content[:-30], r"is no \.npz archive"),
    (lambda content: content.replace(b"PK\x01\x02", b"PK\x01\x00"), "found one that cannot be read: Bad magic number"),
    (lambda content: content.replace(b"\x40", b"\x41"), "found one that cannot be read: Bad CRC")])
def test_damaged_npz(npz_file, damage, message):
    file = Path(npz_file(X=np.full((3, 2), 2.0), y=np.arange(3)))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=message):
        datasets.load(str(file))


@pytest.mark.parametrize(("changed", "message"), [
    ({"train_images": idx(IMAGES[:3], code=13)}, "train-images.*begins with the bytes '00 00 0d 03.*'00 00 08 03'"),
    ({"train_images": b"\0\0\x08\x03\0\0"}, "train-images.*truncated"), ({"t10k_labels": b""}, "t10k-labels.*begins"),
    ({"train_images": idx(IMAGES[:3])[:-1]}, "train-images.*has 17 bytes of data, expected 18"),
    ({"t10k_labels": idx(LABELS[3:]) + b"\0"}, "t10k-labels.*has at least 3 bytes of data, expected 2"),
    ({"train_images": idx(IMAGES[:3], sizes=(2**32 - 1,) * 3)}, "has 18 bytes of data"),
    ({"train_labels": idx(LABELS[:2])}, "train-labels has 2 labels, train-images 3 images"),
    ({"t10k_images": idx(IMAGES[3:, :1])}, r"t10k-images has images of \(1, 3\) pixels, expected \(2, 3\)"),
    ({"train_images": idx(IMAGES[:0])}, "train-images.*is empty")])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_refused_idx(mnist, changed, suffix, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(mnist(suffix, **changed))


@pytest.mark.parametrize("damage", [lambda content: content[:5], lambda content: content[:-9],
                                    lambda content: content[1:], lambda content: content[:10] + b"\xff" + content[11:]])
def test_damaged_gzip(mnist, tmp_path, damage):
    folder = mnist(".gz")
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is damaged"):
        datasets.load(folder)


@pytest.mark.parametrize("missing", ["train_images", "train_labels", "t10k_images", "t10k_labels"])
def test_missing_idx_file(mnist, missing):
    with pytest.raises(FileNotFoundError, match=f"without {missing.replace('_', '-')}-idx"):
        datasets.load(mnist(**{missing: None}))


@pytest.mark.parametrize("source", ["absent.csv", "absent.npz", "./digits", "folder/absent"])
def test_missing_file(monkeypatch, tmp_path, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=re.escape(source.removeprefix("./"))):
        datasets.load(source)


def test_unknown_source(csv_file):
    for source in ("mnist", csv_file(TABLE, "data.xls")):
        with pytest.raises(ValueError, match=r"expected a bundled data set \(digits.*\.csv.*\.npz.*IDX"):
            datasets.load(source)
    with pytest.raises(ValueError, match="target is 'a', but source is 'digits'"):
        datasets.load("digits", target="a")


@pytest.mark.parametrize(("counts", "stratified"), [((30, 20, 10), True), ((30, 29, 1), False)])
def test_split(counts, stratified):
    y = np.repeat([0, 1, 2], counts)
    data = datasets.Dataset("d", np.arange(60.0)[:, None], y, [0, 1, 2], None, None)
    X_train, y_train, X_test, y_test = datasets.split(data, 0.1, seed=4)
    assert sorted(np.concatenate([X_train, X_test])[:, 0]) == list(range(60))
    for X_part, y_part in ((X_train, y_train), (X_test, y_test)):
        np.testing.assert_array_equal(y_part, y[X_part[:, 0].astype(int)])
    assert (np.bincount(y_test).tolist() == [3, 2, 1]) == stratified
    np.testing.assert_array_equal(X_test, datasets.split(data, 0.1, seed=4)[2])
    assert not np.array_equal(X_test, datasets.split(data, 0.1, seed=5)[2])
    assert len(datasets.split(data, 0.02, seed=4)[3]) == 2  # too few test rows for one of each class
    np.testing.assert_array_equal(X_test, datasets.split(data, 0.1, seed=2**32 + 4)[2])


@pytest.mark.parametrize(("y", "fraction", "message"), [
    (None, 0.5, "has no targets"), (np.zeros(2), 0.0, "test_fraction is 0.0, expected a number between 0 and 1"),
    (np.zeros(2), 1.5, "test_fraction is 1.5"), (np.zeros(2), 0.9, "leaves none to train on")])
def test_refused_split(y, fraction, message):
    with pytest.raises(ValueError, match=message):
        datasets.split(datasets.Dataset("d", np.ones((2, 1)), y, None, None, None), fraction, seed=0)


def test_refused_seed():
    with pytest.raises(ValueError, match="seed: expected at least 0, found -1"):
        datasets.split(datasets.load("iris"), 0.5, seed=-1)


def test_numbers_that_are_too_large_become_infinite_without_a_warning():
    """What is not finite is named later."""
    largest = np.array([np.finfo(np.longdouble).max, np.nan])  # where they have more digits than float64, or as many
    found = as_floats(largest)
    assert found.dtype == np.float64
    assert found[0] in (np.inf, np.finfo(np.float64).max)
