"""Files of data that lie about their sizes, or that nobody writes: one error, and no memory for what is not there."""

import io
import struct
import zipfile

import numpy as np
import pytest
from memory import peak_of

import fastbp
from fastbp import datasets
from fastbp.__main__ import BAD_INPUT, main

LABELS = np.arange(4) % 2


def array_file(description="'<f8'", shape="(4, 3)", order="False", header=None, content=96, version=(1, 0)):
    """The bytes of a .npy file whose header says anything."""
    text = (header or f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}").encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + bytes(content)


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


LYING = {
    "more numbers than an archive can hold": ({"shape": "(1000000000000, 3)"}, "bytes too few"),
    "more numbers than there are integers": ({"shape": f"({10**30}, {10**30})"}, "expected rows, found shape"),
    "a negative size": ({"shape": "(-4, 3)"}, r"expected rows, found shape \(-4, 3\)"),
    "a size that is a flag": ({"shape": "(True, 3)"}, r"expected rows, found shape \(True, 3\)"),
    "a hundred dimensions": ({"shape": f"({'1, ' * 100})"}, "expected rows, found shape"),
    "texts of length 0": ({"description": "'<U0'", "shape": "(4611686018427387904, 3)"}, "found dtype <U0"),
    "objects": ({"description": "'|O'"}, "expected real numbers, found dtype object"),
    "fields": ({"description": "[('a', '<f8'), ('b', '|O')]"}, "expected real numbers, found dtype"),
    "parentheses": ({"header": "(" * 9000}, "expected an array that np.save wrote, found one that cannot be read"),
    "lists in lists": ({"header": "[" * 150 + "]" * 150}, "found one that cannot be read"),
    "a line without end": ({"header": "{'descr': ("}, "found one that cannot be read"),
    "keys of several types": ({"header": "{1: 2, 'descr': 3, (): 4}"}, "found one that cannot be read"),
    "no header": ({"header": " "}, "found one that cannot be read"),
    "a header of a megabyte": ({"header": " " * 2**20, "version": (2, 0)}, "found one that cannot be read"),
}


@pytest.mark.parametrize("kind", ["archive", "compressed archive", "files", "one archive of the command"])
@pytest.mark.parametrize(("lie", "message"), LYING.values(), ids=LYING)
def test_headers_that_lie(kind, lie, message, tmp_path):
    content = array_file(**lie)
    if kind == "files":
        (tmp_path / "X_0.npy").write_bytes(content)
        np.save(tmp_path / "y_0.npy", LABELS)
    else:
        form = zipfile.ZIP_DEFLATED if kind == "compressed archive" else zipfile.ZIP_STORED
        with zipfile.ZipFile(tmp_path / "part.npz", "w", form) as archive:
            archive.writestr("X.npy", content)
            archive.writestr("y.npy", saved(LABELS))

    def refused():
        with pytest.raises(ValueError, match=message) as caught:
            datasets.load(str(tmp_path / "part.npz")) if kind.startswith("one") else fastbp.Shards(tmp_path)
        assert len(str(caught.value)) < 1000

    assert peak_of(refused) < 2**23


def archive_of(path, change=None, names=("X.npy", "y.npy"), form=zipfile.ZIP_STORED):
    """An archive of two arrays; `change` writes other bytes into the directory, at a place in the entry of X."""
    with zipfile.ZipFile(path, "w", form) as archive:
        for name in names:
            archive.writestr(name, saved(np.ones((4, 3)) if name.startswith("X") else LABELS))
    if change:
        content, (place, value) = bytearray(path.read_bytes()), change
        at = content.index(b"PK\x01\x02") + place
        content[at : at + 4] = struct.pack("<I", value)
        path.write_bytes(content)


@pytest.mark.parametrize(("settings", "message"), [
    ({"change": (24, 2**31)}, "found a member of 2147483648 bytes in"),
    ({"change": (24, 2**31), "form": zipfile.ZIP_DEFLATED}, "found a member of 2147483648 bytes in"),
    ({"change": (42, 2**31)}, "found one that cannot be read"),
    ({"form": zipfile.ZIP_BZIP2}, "found a member that is compressed in another way"),
    ({"names": ("X.npy", "X", "y.npy")}, "expected one array of the name X, found two")])
def test_archives_that_lie(settings, message, tmp_path):
    archive_of(tmp_path / "part.npz", **settings)
    for read in (fastbp.Shards, lambda path: datasets.load(str(path))):
        with pytest.raises(ValueError, match=message):
            list(read(tmp_path / "part.npz"))


def test_images_that_claim_more_than_a_file_can_hold(tmp_path):
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**10, 2**10)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + bytes(10))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1)) + struct.pack(">I", 2**31) + bytes(10))

    def refused():
        with pytest.raises(ValueError, match="has 10 bytes of data, expected 2251799813685248 for the shape"):
            datasets.load(str(tmp_path))

    assert peak_of(refused) < 2**23


@pytest.fixture
def parquet():
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as found
    return found


def test_parquet_columns_of_one_name(parquet, tmp_path):
    import pyarrow
    table = pyarrow.table([np.ones(4), np.zeros(4), LABELS], names=["a", "a", "label"])
    parquet.write_table(table, tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"expected columns of different names, found 'a' more than once"):
        fastbp.Parquet(tmp_path / "table.parquet")


def test_parquet_pages_that_are_damaged(parquet, tmp_path, capsys, monkeypatch):
    import pyarrow
    monkeypatch.chdir(tmp_path)
    table = pyarrow.table({"a": np.random.default_rng(0).normal(size=400), "label": np.arange(400) % 2})
    parquet.write_table(table, "table.parquet")
    content = bytearray((tmp_path / "table.parquet").read_bytes())
    content[4:12] = b"\xff" * 8
    (tmp_path / "table.parquet").write_bytes(content)
    assert main(["train", "--data", "table.parquet", "--quiet"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("fastbp: table.parquet: expected a Parquet file, found one that cannot be read: ")


def test_errors_of_the_system_stay(tmp_path, monkeypatch):
    def read(*arguments):
        raise OSError(5, "Input/output error")

    archive_of(tmp_path / "part.npz")
    monkeypatch.setattr(zipfile, "ZipFile", read)
    with pytest.raises(OSError, match="Input/output error"):
        fastbp.Shards(tmp_path / "part.npz")


def test_a_lack_of_memory_stays(tmp_path, monkeypatch):
    def read(*arguments):
        raise MemoryError("no more")

    archive_of(tmp_path / "part.npz")
    monkeypatch.setattr(zipfile, "ZipFile", read)
    with pytest.raises(MemoryError, match="no more"):
        fastbp.Shards(tmp_path / "part.npz")
