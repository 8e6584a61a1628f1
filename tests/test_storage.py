"""Networks in files: what is read is what was written, a failure leaves the old file, and no other file is believed."""

import copy
import io
import json
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from tolerances import CUDA, on_host

import fastbp
from fastbp.storage import networks

METADATA = {"name": "Müller", "classes": ["a", "b"], "mean": [0.5, 1e-300], "nested": {"none": None, "yes": True}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


@pytest.fixture
def saved(path):
    fastbp.MLP([3, 4, 2], activation="tanh", seed=0).save(path)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", [
    {}, {"activation": ["gelu", "softmax"], "loss": "cross_entropy"}, {"loss": "squared_error", "backend": "blas"},
    {"widths": [1, 1], "loss": "binary_cross_entropy"}, {"loss": "poisson"}, {"loss": fastbp.HuberLoss(0.1)},
    {"loss": fastbp.QuantileLoss(1 / 3)}], ids=str)
def test_round_trip(path, dtype, settings):
    net = fastbp.MLP(**{"widths": [3, 4, 2], "dtype": dtype, "seed": 0} | settings)
    net.metadata = METADATA
    net.grad[:] = 1
    net.save(path)
    other = fastbp.load(path, backend=net.backend)
    assert repr(other) == repr(net)
    assert other.metadata == METADATA
    assert other.theta.tobytes() == net.theta.tobytes()
    assert not other.grad.any()
    X = np.random.default_rng(0).normal(size=(5, net.widths[0]))
    assert other.forward(X).tobytes() == net.forward(X).tobytes()


@pytest.mark.parametrize("backend", CUDA)
def test_files_and_copies_of_networks_on_a_gpu(path, backend):
    net = fastbp.MLP([3, 4, 2], seed=0, backend=backend)
    X, d = np.random.default_rng(0).normal(size=(5, 3)), np.arange(5) % 2
    net.accumulate_gradient(X, d)
    net.save(path)
    on_processor, on_gpu = fastbp.load(path), fastbp.load(path, backend=backend)
    assert on_processor.theta.tobytes() == net.theta_on_host().tobytes()
    assert on_processor.backend == "tiled"
    for other in (on_gpu, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert repr(other) == repr(net)
        assert type(other.theta) is type(net.theta)
        assert other.theta_on_host().tobytes() == net.theta_on_host().tobytes()
        assert other.forward(X).tobytes() == net.forward(X).tobytes()
        assert on_host(other.grad).tobytes() == on_host(net.grad).tobytes() or other is on_gpu
        other.theta[:] = 0  # which is its own
        assert on_host(net.theta).any()
    assert not on_host(on_gpu.grad).any()
    net.theta[3:4] = np.nan
    assert_save_fails(net, path, ValueError, "^theta: expected finite parameters")


def test_seed_of_later_training(saved):
    X, d = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 2
    first, second, other = (fastbp.load(str(saved), seed=seed) for seed in (1, 1, 2))
    for net in (first, second, other):
        net.fit(X, d, epochs=1, batch_size=2)
    assert first.theta.tobytes() == second.theta.tobytes() != other.theta.tobytes()


@pytest.mark.parametrize("name", ["net", "net.v1", "net.NPZ"])
def test_the_path_is_taken_as_it_is(tmp_path, name):
    for kind in (str, lambda path: path):
        fastbp.MLP([3, 2], seed=0).save(kind(tmp_path / name))
        assert os.listdir(tmp_path) == [name]
        assert fastbp.load(kind(tmp_path / name)).widths == (3, 2)


def test_no_pickle_in_the_file(saved):
    with np.load(saved, allow_pickle=False) as file:
        assert sorted(file) == ["activations", "digest", "format", "loss", "metadata", "theta", "version", "widths"]
        assert not any(file[name].dtype.hasobject for name in file)


# ---- saving that fails -----------------------------------------------------------------------------------------------

def assert_save_fails(net, path, error, message):
    before = {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    names = os.listdir(path.parent)
    with pytest.raises(error, match=message):
        net.save(path)
    assert os.listdir(path.parent) == names
    assert all(file.read_bytes() == content for file, content in before.items())


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("Ctrl-C")])
def test_overwriting_is_all_or_nothing(saved, monkeypatch, error):
    def broken(file, members):
        file.write(b"half a file")
        raise error

    net = fastbp.load(saved)
    monkeypatch.setattr(networks, "write_archive", broken)
    assert_save_fails(net, saved, type(error), str(error))


def test_overwriting(saved):
    net = fastbp.MLP([3, 2], seed=1)
    net.save(saved)
    assert fastbp.load(saved).theta.tobytes() == net.theta.tobytes()
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_not_saved(saved, value):
    net = fastbp.load(saved)
    net.theta[3] = value
    assert_save_fails(net, saved, ValueError, "^theta: expected finite parameters")


@pytest.mark.parametrize("value", [{1, 2}, np.ones(3), float("nan"), object()], ids=repr)
def test_metadata_that_json_cannot_hold_is_not_saved(saved, value):
    net = fastbp.load(saved)
    net.metadata["mine"] = value
    assert_save_fails(net, saved, ValueError, "^metadata: expected what JSON can hold")


@pytest.mark.parametrize(("limit", "message"), [
    ("MOST_LAYERS", "widths: expected at most 1 layers in a file, found 2"),
    ("LONGEST_NAME", "name: expected at most 1 characters, found 4: tanh"),
    ("LONGEST_METADATA", "metadata: expected at most 1 characters of JSON, found 11")])
def test_more_than_a_file_may_hold_is_neither_saved_nor_read(saved, monkeypatch, limit, message):
    net = fastbp.load(saved)
    net.metadata["mine"] = 1
    net.save(saved)
    monkeypatch.setattr(networks, limit, 1)
    assert_save_fails(net, saved, ValueError, f"^{message}")
    assert_refused(saved, "expected at most [12] (numbers|characters), found")


def test_metadata_is_a_dict(saved):
    net = fastbp.load(saved)
    net.metadata = ["mine"]
    assert_save_fails(net, saved, ValueError, "^metadata: expected a dict")


def test_saving_where_there_is_no_folder_or_no_file(saved):
    net = fastbp.load(saved)
    with pytest.raises(FileNotFoundError):
        net.save(saved.parent / "missing" / "net.npz")
    (saved.parent / "folder").mkdir()
    assert_save_fails(net, saved.parent / "folder", OSError, "folder")


# ---- files that are refused ------------------------------------------------------------------------------------------

def assert_refused(path, message=""):
    with pytest.raises(ValueError, match=f"net.npz: .*{message}"):
        fastbp.load(path)


def npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK", b"\x80\x04]q\x00.", os.urandom(300), npy()],
                         ids=["empty", "text", "PK", "pickle", "noise", "npy"])
def test_other_files(path, content):
    path.write_bytes(content)
    assert_refused(path, "not a fastbp network")


def test_a_file_cut_anywhere(saved):
    content = saved.read_bytes()
    for size in range(0, len(content), 41):
        saved.write_bytes(content[:size])
        assert_refused(saved)


@pytest.mark.parametrize("digest", [True, False])
def test_a_file_with_a_changed_byte(saved, digest):
    """Either it is noticed, or it did not matter, wherever it is."""
    net = fastbp.load(saved)
    net.metadata = {"a": [1]}
    net.standardize(mean=1.0, scale=2.0)
    net.save(saved)
    if not digest:
        with_theta(saved, bytes)
    passed = 0
    with open(saved, "r+b", buffering=0) as file:
        for place in range(saved.stat().st_size):
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1 << place % 8]))
            try:
                found = fastbp.load(saved)
            except ValueError as error:
                message = str(error)
                assert message.startswith(f"{saved}: ")
                assert len(message) < len(str(saved)) + 400
            else:
                passed += 1
                assert found.theta.tobytes() == net.theta.tobytes()
                assert repr(found) == repr(net)
                assert found.metadata == net.metadata
                assert found.feature_mean.tobytes() + found.feature_scale.tobytes() == (
                    net.feature_mean.tobytes() + net.feature_scale.tobytes())
            file.seek(place)
            file.write(byte)
    assert passed < 300  # dates, versions and the like


@pytest.mark.parametrize(("settings", "error"), [({"backend": "gpu"}, ValueError), ({"seed": -1}, ValueError)])
def test_a_wrong_argument_is_not_the_fault_of_the_file(saved, settings, error):
    with pytest.raises(error, match=f"^{next(iter(settings))}: "):
        fastbp.load(saved, **settings)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastbp.load(tmp_path / "net.npz")
    with pytest.raises(OSError, match=str(tmp_path)):
        fastbp.load(tmp_path)


class Intruder:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


THETA = np.linspace(-1, 1, 26)
WRONG = {
    "other format": ({"format": "another network"}, "not a fastbp network, its 'format' is another network"),
    "newer version": ({"version": 4}, "written in version 4; this fastbp reads versions 1 to 3"),
    "version 0": ({"version": 0}, "written in version 0"),
    "version in words": ({"version": "one"}, "version: expected an integer, found <U3"),
    "float version": ({"version": 1.0}, "version: expected an integer, found <f8"),
    "theta too long": ({"theta": np.ones(27)}, "theta: expected 26 parameters for widths .*, found 27"),
    "theta too short": ({"theta": np.ones(25)}, "theta: expected 26 parameters .* found 25"),
    "theta empty": ({"theta": np.ones(0)}, "theta: expected 26 parameters .* found 0"),
    "NaN": ({"theta": np.where(THETA > 0.9, np.nan, THETA)}, "theta: expected finite parameters, found NaN or"),
    "inf": ({"theta": np.where(THETA > 0.9, np.inf, THETA)}, "theta: expected finite parameters, found NaN or"),
    "theta of integers": ({"theta": np.arange(26)}, "theta: expected a vector of float32 or float64"),
    "theta of float16": ({"theta": THETA.astype(np.float16)}, "theta: expected a vector of float32 or float64"),
    "theta big-endian": ({"theta": THETA.astype(">f8")}, "theta: expected an array of numbers or text"),
    "theta complex": ({"theta": THETA.astype(complex)}, "theta: expected an array of numbers or text"),
    "theta a matrix": ({"theta": THETA[:, None]}, "theta: expected a vector of float32 or float64"),
    "float widths": ({"widths": [3.0, 4.0, 2.0]}, "widths: expected int64 of shape .any., found <f8 of shape"),
    "one width": ({"widths": [3], "theta": np.ones(0), "activations": []}, "widths"),
    "no widths": ({"widths": np.zeros(0, int), "theta": np.ones(0), "activations": []}, "widths"),
    "a matrix of widths": ({"widths": [[3, 4, 2]]}, "widths: expected int64 of shape"),
    "negative width": ({"widths": [3, -4, 2]}, ""),
    "zero width": ({"widths": [3, 0, 26]}, "widths"),
    "huge widths": ({"widths": [2**31, 2**31, 2]}, "widths: expected fewer than 2.48 parameters"),
    "unknown activation": ({"activations": ["tanh", "sine"]}, "unknown activation 'sine'"),
    "too many activations": ({"activations": ["tanh"] * 3}, "activations: expected text of shape .2,., found"),
    "softmax hidden": ({"activations": ["softmax", "identity"]}, "softmax is for the last layer"),
    "activation without list": ({"activations": "tanh"}, ""),
    "unknown loss": ({"loss": "mse"}, "unknown loss 'mse'"),
    "loss without its parameter": ({"loss": "huber()"}, "no loss 'huber.*could not convert string to float"),
    "loss with a wrong parameter": ({"loss": "quantile(1.0)"}, "no loss 'quantile.*q: expected a finite number"),
    "impossible pair": ({"loss": "cross_entropy"}, "defined on a softmax layer"),
    "metadata cut off": ({"metadata": json.dumps(METADATA)[:-1]}, "metadata: expected JSON"),
    "metadata empty": ({"metadata": ""}, "metadata: expected JSON"),
    "metadata deep": ({"metadata": "[" * 100_000}, "metadata: expected JSON, found more than 100 lists"),
    "metadata with NaN": ({"metadata": '{"a": NaN}'}, "metadata: expected JSON, found .* not finite"),
    "a long name": ({"activations": ["x" * 10**6, "tanh"]}, "activations: expected at most 1000 characters, found 10"),
    "many layers": ({"widths": np.ones(10**6, int)}, "widths: expected at most 65537 numbers, found <i8 of shape"),
    "names without end": ({"activations": np.zeros(2, "U1000")}, "unknown activation ''"),
    "metadata a list": ({"metadata": "[1]"}, "metadata: expected a dict"),
    **{f"no {name}": ({name: None}, "") for name in ("format", "version", "widths", "activations", "loss", "theta",
                                                     "metadata")},
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_network_that_is_not_whole(saved, changes, message):
    with np.load(saved) as file:
        content = {**file, "digest": None, **changes}
    np.savez(saved, **{name: array for name, array in content.items() if array is not None})
    assert_refused(saved, message)


@pytest.mark.parametrize("name", ["theta", "metadata", "format", "digest", "extra"])
def test_pickled_objects_are_not_unpickled(saved, name):
    with np.load(saved) as file:
        content = {**file, name: np.array([Intruder(str(saved.parent / "intruded"))], object)}
    np.savez(saved, **content)
    assert_refused(saved, "expected an array of numbers or text" if name in ("format", "digest") else "digest: ")
    del content["digest"]
    np.savez(saved, **content)
    if name in ("digest", "extra"):  # nobody looks at it
        fastbp.load(saved)
    else:
        assert_refused(saved, f"{name}: expected an array of numbers or text")
    assert os.listdir(saved.parent) == [saved.name]


# ---- large files -----------------------------------------------------------------------------------------------------

@pytest.fixture
def large(path):
    """A network of 1.2 million parameters, which are read in parts, and its file."""
    net = fastbp.MLP([1100, 1100, 10], seed=0)
    net.save(path)
    return net, path


def with_theta(path, change, compression=zipfile.ZIP_STORED):
    """The same archive with other bytes as theta, as releases without a digest wrote it."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if name != "digest.npy"}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, change(data) if name == "theta.npy" else data)


def test_a_file_is_read_into_the_memory_of_the_network(large):
    """theta and grad, and a part of the file."""
    net, path = large
    fastbp.load(path)
    tracemalloc.start()
    other = fastbp.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert other.theta.tobytes() == net.theta.tobytes()
    assert peak < 2.7 * net.theta.nbytes


def test_a_compressed_archive_is_refused(saved):
    with_theta(saved, bytes, zipfile.ZIP_DEFLATED)
    assert_refused(saved, "expected a member that is not compressed")


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data + bytes(4), lambda data: data[:5000]])
def test_numbers_that_lack_or_are_too_many(large, change):
    _, path = large
    with_theta(path, change)
    assert_refused(path, "theta: expected <f4 of shape .1222110,. as its header says, found .* bytes")


@pytest.mark.parametrize("place", [0, 2**18 - 1, 2**18, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_number_that_is_not_finite(large, place, value):
    net, path = large
    theta = net.theta.copy()
    theta[place] = value
    content = path.read_bytes()
    with_theta(path, lambda data: data[: -theta.nbytes] + theta.tobytes())
    assert_refused(path, "theta: expected finite parameters")
    path.write_bytes(content)
    net.theta[:] = theta
    assert_save_fails(net, path, ValueError, "^theta: expected finite parameters")


def test_a_changed_byte_far_into_a_large_file(large):
    _, path = large
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_refused(path, "theta: expected the checksum")


def test_another_version_of_the_header(saved):
    def other(version):
        def change(data):
            file = io.BytesIO()
            np.lib.format.write_array(file, np.load(io.BytesIO(data)), version)
            return file.getvalue()
        return change

    net = fastbp.load(saved)
    with_theta(saved, other((2, 0)))
    assert fastbp.load(saved).theta.tobytes() == net.theta.tobytes()
    with_theta(saved, lambda data: data[:6] + bytes([9, 0]) + data[8:])
    assert_refused(saved, "theta: expected an array of numbers or text")


def test_a_copy_is_aligned_like_the_original():
    """Vectors of numbers across two cache lines cost twice."""
    net = fastbp.MLP([3, 5, 2], seed=0)
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert other.theta.ctypes.data % 64 == other.grad.ctypes.data % 64 == 0
        assert other.theta.tobytes() == net.theta.tobytes()
