"""Archives: what is read is what was written; a damaged or hostile file costs little, and ends in one clear error."""

import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from fastbp.storage import json_text as texts
from fastbp.storage.archive import opened, write_archive
from fastbp.storage.json_text import DEEPEST, json_text

KIND = "numbers"
MEMBERS = {"format": KIND, "x": np.linspace(0, 1, 7, dtype=np.float32), "table": np.arange(6).reshape(2, 3),
           "none": np.zeros((0, 4)), "one": np.uint8(3), "names": ["tanh", "ü", "𝜎"], "empty": "", "json": {"a": [1]}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "numbers.npz"


def written(path, members):
    with open(path, "wb") as file:
        write_archive(file, members)
    return path


def contents(path):
    """All that is in a file of `MEMBERS`."""
    with opened(path, KIND) as archive:
        return [archive.array("x", dtype=np.float32, shape=(None,)).tobytes(),
                archive.array("table", dtype=np.int64, shape=(2, None), most=6).tobytes(),
                archive.array("none", dtype=np.float64, shape=(None, 4)).shape,
                archive.integer("one"), archive.texts("names", count=3, most=4), archive.text("empty", most=1),
                archive.json("json", most=20)]


WHOLE = [MEMBERS["x"].tobytes(), MEMBERS["table"].tobytes(), (0, 4), 3, ["tanh", "ü", "𝜎"], "", {"a": [1]}]


def read_all(path, kind):
    with opened(path, kind) as archive:
        for name in archive.names:
            dtype, shape = archive.dtype_of(name), archive.shape_of(name)
            if dtype.kind != "U":
                archive.array(name, dtype=dtype, shape=shape)


def assert_refused(path, message, kind=KIND):
    with pytest.raises(ValueError, match=message) as caught:
        read_all(path, kind)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 400


def test_what_is_read_is_what_was_written(path):
    assert contents(written(path, MEMBERS)) == WHOLE
    with np.load(path, allow_pickle=False) as file:
        assert all(np.array_equal(file[name], value) for name, value in MEMBERS.items() if name != "json")
        assert str(file["json"]) == '{"a": [1]}'


def test_equal_members_make_equal_files(path):
    """In one order of bytes and of axes."""
    first = written(path, {"format": KIND, "table": MEMBERS["table"]}).read_bytes()
    for table in (np.asfortranarray(MEMBERS["table"]), MEMBERS["table"].astype(">i8")):
        assert written(path, {"format": KIND, "table": table}).read_bytes() == first


@pytest.mark.parametrize(("value", "message"), [("a\0", "without zeros at its end"), (["b", "\ud800"], "half of a")])
def test_text_that_could_not_be_read_is_not_written(value, message):
    with pytest.raises(ValueError, match=f"^names: expected text.*{message}"):
        write_archive(io.BytesIO(), {"format": KIND, "names": value})


@pytest.mark.parametrize("value", [np.array([object()]), 1j, np.array(["2020"], "M8[D]"), b"bytes", None, True])
def test_what_is_no_number_and_no_text_is_not_written(value):
    with pytest.raises(ValueError, match=r"^wrong: expected real numbers or text, found"):
        write_archive(io.BytesIO(), {"format": KIND, "wrong": value})


def test_sizes_and_counts_of_64_bits(path, monkeypatch):
    """As in files above 2 GiB, or with more than 65,535 members."""
    for limit in ("ZIP_FILECOUNT_LIMIT", "ZIP64_LIMIT"):
        monkeypatch.setattr(zipfile, limit, 3)
        assert contents(written(path, MEMBERS)) == WHOLE
    size = path.stat().st_size
    assert survived(path, range(size - 98, size), 1) < 70  # both ends of the directory


def test_reading_into_an_array(path):
    written(path, {"format": KIND, "x": np.arange(3 * 2**18, dtype=np.float64)})  # of several parts
    with opened(path, KIND) as archive:
        out = np.zeros(3 * 2**18)
        archive.into("x", out)
        assert np.array_equal(out, np.arange(out.size))
        for wrong in (np.zeros(5), np.zeros(out.size, np.float32), np.zeros((*out.shape, 1))):
            with pytest.raises(ValueError, match=r"x: expected float.. of shape .*, found <f8 of shape .786432,."):
                archive.into("x", wrong)
        with pytest.raises(ValueError, match=r"^out: expected a C-contiguous array"):
            archive.into("x", np.zeros((out.size, 2))[:, 0])


def test_text_of_several_parts(path):
    text = "".join(chr(65 + k % 7919) for k in range(2**19))
    written(path, {"format": KIND, "text": text, "texts": [text[:300_000], text[1:300_001]]})
    with opened(path, KIND) as archive:
        assert archive.text("text", most=2**19) == text
        assert archive.texts("texts", count=2, most=2**19) == [text[:300_000], text[1:300_001]]


def test_arrays_that_are_not_as_expected(path):
    with opened(written(path, MEMBERS), KIND) as archive:
        for message, call in {
                "x: expected float64 of shape .any., found <f4 of shape .7,.":
                    lambda: archive.array("x", dtype=np.float64, shape=(None,)),
                "x: expected float32 of shape .8., found": lambda: archive.array("x", dtype=np.float32, shape=(8,)),
                "x: expected at most 6 numbers": lambda: archive.array("x", dtype=np.float32, shape=(None,), most=6),
                "x: expected an integer, found": lambda: archive.integer("x"),
                "x: expected text, found": lambda: archive.text("x", most=5),
                "names: expected text of shape .2,., found": lambda: archive.texts("names", count=2, most=4),
                "names: expected at most 3 characters, found 4": lambda: archive.texts("names", count=3, most=3),
                "table: expected text": lambda: archive.json("table", most=5),
                "missing: expected this member, found none": lambda: archive.integer("missing")}.items():
            with pytest.raises(ValueError, match=f"numbers.npz: {message}"):
                call()


# ---- damaged files ---------------------------------------------------------------------------------------------------

def survived(path, places, mask):
    """Of the files with one byte changed, the number that are not refused; all of them hold what was written."""
    passed = 0
    with open(path, "r+b", buffering=0) as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)[0]
            for value in (byte ^ mask, byte):
                file.seek(place)
                file.write(bytes([value]))
                if value != byte:
                    found = error_of(path)
                    passed += found is None
                    assert found is None or found.startswith(f"{path}: ")
    return passed


def error_of(path):
    """The one that a file of `MEMBERS` is refused with."""
    try:
        assert contents(path) == WHOLE
        return None
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("mask", [0xFF, pytest.param(0x01, marks=pytest.mark.full),
                                  pytest.param(0x80, marks=pytest.mark.full)])
def test_every_byte(path, mask):
    """A changed byte is noticed, or it did not matter: dates and such."""
    size = written(path, MEMBERS).stat().st_size
    assert survived(path, range(size), mask) < 30 * len(MEMBERS)


def test_cut_off_and_with_junk(path):
    content = written(path, MEMBERS).read_bytes()
    middle = content.index(b"PK\1\2")
    for size in reversed(range(len(content))):
        os.truncate(path, size)
        assert_refused(path, "not a numbers, expected")
    for data in (b"junk" + content, content + b"junk", content[:middle] + b"junk" + content[middle:], 2 * content):
        path.write_bytes(data)
        assert_refused(path, "not a numbers, expected")


def test_members_of_another_file(path):
    """Each has its own checksum; the digest says that they do not go together."""
    parts = []
    for seed in range(2):
        written(path, {"format": KIND, "x": np.random.default_rng(seed).normal(size=3)})
        with zipfile.ZipFile(path) as archive:
            parts.append({name: archive.read(name) for name in archive.namelist()})
    for other in (parts[0] | {"x.npy": parts[1]["x.npy"]}, parts[0] | {"y.npy": parts[1]["x.npy"]},
                  {name: data for name, data in parts[0].items() if name != "x.npy"}):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in other.items():
                archive.writestr(name, data)
        assert_refused(path, "not a numbers, digest: expected that of the other members")


def test_another_kind(path):
    assert_refused(written(path, MEMBERS), "not a photograph, its 'format' is numbers", "photograph")
    assert_refused(written(path, {"format": "n" * 900}), f"its 'format' is {'n' * 79}…")
    assert_refused(written(path, {"x": np.ones(3)}), "not a numbers, format: expected this member, found none")


def test_a_lack_of_memory_is_what_is_said(path, monkeypatch):
    def full(*_):
        raise MemoryError

    written(path, MEMBERS)
    with opened(path, KIND) as archive:
        monkeypatch.setattr(np, "empty", full)
        with pytest.raises(MemoryError):
            archive.array("x", dtype=np.float32, shape=(7,))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match=f"^{path}: expected a file, found a device"), opened(path, KIND):
            pass
    with pytest.raises(OSError, match=str(tmp_path)), opened(tmp_path, KIND):
        pass


# ---- hostile files ---------------------------------------------------------------------------------------------------

def header_of(descr, shape, data=b"", *, fortran="False", version=1):
    """An array of NumPy's with any header."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def archive_of(members, **settings):
    """A zip archive of bytes, without a digest."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **settings) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


FORMAT = {"format.npy": header_of("'<U7'", "()", KIND.encode("utf-32-le"))}
HOSTILE = {
    "strings without end": (header_of("'<U0'", f"({2**62},)"), "x: expected <U0 of shape"),
    "numbers without end": (header_of("'<f8'", f"({2**62},)"), "x: expected <f8 of shape"),
    "an axis without end": (header_of("'<f8'", f"(0, {2**62})"), "x: expected <f8 of shape"),
    "a product of 2^64": (header_of("'<f8'", f"({2**32}, {2**32})"), "x: expected <f8 of shape"),
    "records": (header_of("[('a', '<f8')]", "(1,)", bytes(8)), "x: expected an array of numbers or text"),
    "objects": (header_of("'|O'", "(1,)", b"\x80\x04N."), "x: expected an array of numbers or text"),
    "nothing of size": (header_of("'|V0'", f"({2**62},)"), "x: expected an array of numbers or text"),
    "Fortran's order": (header_of("'<f8'", "(1, 1)", bytes(8), fortran="True"), "x: expected an array of numbers"),
    "a negative length": (header_of("'<f8'", "(-1,)", bytes(8)), "x: expected an array of numbers or text"),
    "a number of digits": (header_of("'<f8'", f"({'9' * 3000},)"), "x: expected an array of numbers or text"),
    "brackets": (header_of("'<f8'", "(" * 3000), "x: expected an array of numbers or text"),
    "Python": (header_of("'<f8'", "__import__('os').getcwd()"), "x: expected an array of numbers or text"),
    "a long header": (header_of("'<f8'", "(1,)" + " " * 60000, bytes(8)), "x: expected an array of numbers or text"),
    "a header of 4 GB": (b"\x93NUMPY\2\0\xff\xff\xff\xff", "x: expected an array of numbers or text"),
    "no array": (b"", "x: expected an array of numbers or text"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_headers_of_arrays(path, data, message):
    path.write_bytes(archive_of(FORMAT | {"x.npy": data}))
    assert_refused(path, f"numbers.npz: {message}")


def assert_little_memory(path, message):
    size = path.stat().st_size
    tracemalloc.start()
    try:
        assert_refused(path, message)
        assert tracemalloc.get_traced_memory()[1] < 2 * size + 2**21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members(path, method):
    path.write_bytes(archive_of(FORMAT | {"x.npy": header_of("'|u1'", f"({2**24},)", bytes(2**24))},
                                compression=method))
    assert_little_memory(path, "'format.npy': expected a member that is not compressed")


def test_many_members(path):
    path.write_bytes(archive_of({f"{k}": b"" for k in range(30_000)}))
    assert_little_memory(path, "not a numbers, expected at most 16384 members, found 30000")
    path.write_bytes(archive_of({f"{k}": b"" for k in range(16_384)}))
    assert_little_memory(path, "format: expected this member, found none")
    with pytest.raises(ValueError, match=r"^members: expected fewer than 16384, found 16384"):
        write_archive(io.BytesIO(), {f"{k}": 0 for k in range(16_384)})


def test_two_members_of_one_name(path):
    path.write_bytes(archive_of({"x.npy": b"", "y.npy": b""}).replace(b"y.npy", b"x.npy"))
    assert_refused(path, "expected one member 'x.npy', found two")


def test_one_member_under_two_names(path):
    """Their bytes overlap, by which a small file would become a large one."""
    content = bytearray(archive_of({"x.npy": b"1", "y.npy": b"2"}))
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = bytes(4)  # where it begins
    path.write_bytes(content)
    assert_refused(path, "expected the next member at byte")


def test_bytes_that_belong_to_nothing(path):
    """Between members and directory, or in the directory, all else being right."""
    content = written(path, {"format": KIND}).read_bytes()
    middle, end = content.index(b"PK\1\2"), len(content) - 22
    for length, begin in ((end - middle, middle + 4), (end - middle + 4, middle)):
        path.write_bytes(content[:middle] + b"junk" * (begin > middle) + content[middle:end]
                         + b"junk" * (begin == middle)
                         + content[end : end + 12] + struct.pack("<II", length, begin) + content[end + 20 :])
        assert_refused(path, "expected members and a directory without gaps")
    path.write_bytes(content[:-2] + b"\1\0")  # a comment of one byte, which is not there
    assert_refused(path, "expected the end of a zip archive as its last bytes")


def test_a_member_that_is_encrypted(path):
    content = bytearray(archive_of({"x.npy": b"1"}))
    for place in (content.index(b"PK\3\4") + 6, content.index(b"PK\1\2") + 8):
        content[place] |= 1
    path.write_bytes(content)
    assert_refused(path, "'x.npy': expected a member that is not encrypted")


@pytest.mark.parametrize("size", [2**31, 2**63, 2**64 - 1])
def test_sizes_that_the_file_does_not_have(path, size):
    """The member says that it goes on after the end of the file, in both places."""
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    numbers = zlib.crc32(b""), 2**32 - 1, 2**32 - 1, 5, len(extra)
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, *numbers) + b"x.npy" + extra
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 0, *numbers, 0, 0, 0, 0, 0) + b"x.npy" + extra
    path.write_bytes(header + entry + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(header), 0))
    assert_little_memory(path, "'x.npy': expected it to end before the directory")


@pytest.mark.parametrize(("text", "message"), {
    "[" * 100_000: f"more than {DEEPEST} lists and dicts in each other",
    '{"a":' * 100_000: f"more than {DEEPEST} lists", "[" * 101 + "]" * 101: f"more than {DEEPEST} lists",
    "NaN": "not finite", "[-Infinity]": "not finite", "1e999": "not finite", "9" * 5000: "limit", "[1,": "Expecting",
    '"': "Unterminated", "\ud800": "found bytes that are none"}.items(), ids=range(10))
def test_text_that_is_no_json(path, text, message):
    data = text.encode("utf-32-le", "surrogatepass")
    path.write_bytes(archive_of(FORMAT | {"json.npy": header_of(f"'<U{len(text)}'", "()", data)}))
    with opened(path, KIND) as archive, pytest.raises(ValueError, match=f"numbers.npz: json: expected .*{message}"):
        archive.json("json", most=10**6)


def test_json_that_is_written_is_read(path):
    deep = ']"[' * 200
    for _ in range(DEEPEST - 1):
        deep = [deep, '\\"{', 1.5]
    written(path, {"format": KIND, "json": json_text("json", {"deep": deep[0]})})
    with opened(path, KIND) as archive:
        assert archive.json("json", most=10**6) == {"deep": deep[0]}
    circle = []
    circle.append(circle)
    for wrong in ([[deep]], circle, float("nan"), {1, 2}, "n" * 10**6 and [object()] * 10**5):
        with pytest.raises(ValueError, match=r"^json: expected what JSON can hold") as caught:
            json_text("json", wrong)
        assert len(str(caught.value)) < 200


def test_text_of_a_length_that_is_not_bounded_takes_no_memory(path):
    """To tell levels of JSON, no text is kept twice."""
    text = json_text("json", ["x" * 2**20 + '\\"' * 2**18])
    tracemalloc.start()
    texts._require_shallow(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(text)
