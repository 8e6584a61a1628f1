"""Networks in files of safetensors: what is read is what was written; files of other programs too."""

import json
import os

import numpy as np
import pytest

import fastbp

files = pytest.importorskip("safetensors.numpy")

BENT = {"name": "bent", "g": lambda a: a + 0.5 * a * a, "g_prime": lambda a, h: 1 + a}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("settings", "names"), [
    ({}, "0 2"), ({"activation": ["identity", "gelu", "softmax"], "loss": "cross_entropy", "widths": [3, 4, 5, 2]},
                  "0 1 3"), ({"loss": fastbp.HuberLoss(0.1), "widths": [3, 1]}, "0")], ids=str)
@pytest.mark.parametrize("standardized", [False, True])
def test_round_trip(path, dtype, settings, names, standardized):
    net = fastbp.MLP(**{"widths": [3, 4, 2], "dtype": dtype, "seed": 0} | settings)
    net.metadata = {"name": "Müller", "nested": [None, {"x": 1e-300}]}
    if standardized:
        net.standardize(mean=[1.0, 1e9, 0.1], scale=[1.0, 2.0, 1 / 3])
    fastbp.save_safetensors(net, path)
    other = fastbp.load_safetensors(path)
    assert repr(other) == repr(net)
    assert other.metadata == net.metadata
    assert other.theta.tobytes() == net.theta.tobytes()
    if standardized:
        assert np.array_equal([other.feature_mean, other.feature_scale], [net.feature_mean, net.feature_scale])
    tensors = files.load_file(path)
    places = [str(int(place) + standardized) for place in names.split()]
    assert set(tensors) == {f"{place}.{part}" for place in places for part in ("weight", "bias")} | (
        {"0.mean", "0.scale"} if standardized else set())
    assert all(np.array_equal(tensors[f"{place}.weight"], W) for place, W in zip(places, net.weights, strict=True))


def test_an_activation_of_your_own(path):
    net = fastbp.MLP([3, 4, 2], activation=fastbp.Activation(**BENT), seed=0)
    fastbp.save_safetensors(net, path)
    assert fastbp.load_safetensors(path).activations == ("bent", "identity")


def test_a_file_is_replaced_as_a_whole(path):
    path.write_bytes(b"old")
    path.chmod(0o600)
    net = fastbp.MLP([3, 2], seed=0)
    net.theta[2] = np.nan
    with pytest.raises(ValueError, match=r"^theta: expected finite parameters"):
        fastbp.save_safetensors(net, path)
    assert path.read_bytes() == b"old"
    fastbp.save_safetensors(fastbp.MLP([3, 2], seed=0), path)
    assert os.listdir(path.parent) == [path.name]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def layers_of(names, widths, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {f"{name}.{part}": rng.normal(size=shape).astype(dtype)
            for name, n_in, n_out in zip(names, widths[:-1], widths[1:], strict=True)
            for part, shape in (("weight", (n_out, n_in)), ("bias", (n_out,)))}


def test_a_file_of_another_program(path):
    """Layers are in the order of their numbers, and may be without biases."""
    names, widths = [f"net.{k}" for k in (0, 2, 10)], [3, 4, 5, 2]
    tensors = layers_of(names, widths)
    del tensors["net.2.bias"]
    files.save_file(tensors, path, {"format": "pt"})
    for settings in ({}, {"activation": "tanh"}, {"loss": "squared_error"}):
        with pytest.raises(ValueError, match=r"net.safetensors: not written by fastbp, .* give activation= and loss="):
            fastbp.load_safetensors(path, **settings)
    net = fastbp.load_safetensors(path, activation="tanh", loss="squared_error")
    assert repr(net) == repr(fastbp.MLP(widths, activation="tanh", loss="squared_error"))
    for k, name in enumerate(names):
        assert np.array_equal(net.weights[k], tensors[f"{name}.weight"])
        assert np.array_equal(net.biases[k], tensors.get(f"{name}.bias", np.zeros(widths[k + 1])))
    with pytest.raises(ValueError, match=r"^activation: unknown activation 'sine'"):
        fastbp.load_safetensors(path, activation="sine", loss="squared_error")


def test_a_file_of_fastbp_says_what_it_is(path):
    fastbp.save_safetensors(fastbp.MLP([3, 2], seed=0), path)
    with pytest.raises(ValueError, match="expected no activation and no loss, which the file says"):
        fastbp.load_safetensors(path, loss="squared_error")


GOOD = layers_of("02", [3, 4, 2])
WRONG_TENSORS = {
    "none": ({}, "expected 1 to 65536 tensors NAME.weight, found 0"),
    "a convolution": ({"0.weight": np.zeros((4, 3, 3), np.float32)}, r"0: expected a weight \(N, 3\).*\(4, 3, 3\)"),
    "a scalar": ({"0.weight": np.zeros((), np.float32)}, "0: expected a weight"),
    "widths that do not fit": (layers_of("02", [3, 4, 2]) | layers_of("2", [5, 2]), r"2: expected a weight \(N, 4\)"),
    "a bias that does not fit": (GOOD | {"2.bias": np.zeros(3, np.float32)}, r"2: .* of shape \(3,\)"),
    "a bias alone": (GOOD | {"3.bias": np.zeros(3, np.float32)}, "expected a weight beside every bias, found '3.bias'"),
    "two dtypes": (GOOD | layers_of("2", [4, 2], np.float64), "2: expected a weight .* in float32, found float64"),
    "float16": (layers_of("0", [3, 2], np.float16), "0.bias: expected F32 or F64, found F16"),
    "another tensor": (GOOD | {"running_mean": np.zeros(3)}, "expected tensors NAME.weight .* found 'running_mean'"),
    "a mean alone": (GOOD | {"0.mean": np.zeros(3)}, "expected 0.mean and 0.scale in F64"),
    "a scale of zeros": (GOOD | {"0.mean": np.zeros(3), "0.scale": np.zeros(3)}, "scale: expected numbers of at least"),
    "a long name": (GOOD | {"x" * 10_000: np.zeros(3)}, "expected tensors NAME.weight"),
    "an empty layer": (layers_of("0", [3, 0]), "widths.1.: expected at least 1, found 0"),
    "NaN": (GOOD | {"2.bias": np.full(2, np.nan, np.float32)}, "2: expected finite parameters"),
}


@pytest.mark.parametrize(("tensors", "message"), WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_tensors_that_are_no_network(path, tensors, message):
    files.save_file(tensors, path)
    with pytest.raises(ValueError, match=f"^{path}: .*{message}") as caught:
        fastbp.load_safetensors(path, activation="tanh", loss="squared_error")
    assert len(str(caught.value)) < len(str(path)) + 300


SAID = {"format": "fastbp network", "version": "1", "activations": '["tanh", "identity"]', "loss": "squared_error",
        "metadata": "{}"}
WRONG_HEADERS = {
    "another version": ({"version": "3"}, "expected version 1 or 2, found 3"),
    "no version": ({"version": None}, "expected version 1 or 2, found None"),
    "no loss": ({"loss": None}, "loss: expected text of at most 1000 characters in the header, found none"),
    "a long loss": ({"loss": "x" * 2000}, "loss: expected text of at most 1000 characters in the header, found 2000"),
    "another loss": ({"loss": "mse"}, "unknown loss 'mse'"),
    "fewer activations": ({"activations": '["tanh"]'}, "activation: expected one name, or one for each of 2 layers"),
    "no list": ({"activations": '"tanh"'}, "expected a list of activations and a dict of metadata"),
    "numbers": ({"activations": "[1, 2]"}, "expected the name of an activation, found 1"),
    "no JSON": ({"metadata": "{"}, "Expecting property name"),
    "deep": ({"metadata": "[" * 10_000}, "more than 100 lists"),
    "a list": ({"metadata": "[]"}, "expected a list of activations and a dict of metadata"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG_HEADERS.values(), ids=WRONG_HEADERS)
def test_headers_that_are_no_network(path, changes, message):
    files.save_file(GOOD, path, {name: text for name, text in (SAID | changes).items() if text is not None})
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        fastbp.load_safetensors(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, (10**8).to_bytes(8, "little") + b"{}",
                                     (10**5).to_bytes(8, "little") + b"[" * 10**5,
                                     b"\x40\0\0\0\0\0\0\0" + json.dumps({"a": {"dtype": "F64", "shape": [2**62, 0]}}
                                                                        ).ljust(64).encode()])
def test_other_files(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: not a whole network .Error while deserializing header"):
        fastbp.load_safetensors(path, activation="tanh", loss="squared_error")


def test_what_is_no_file(tmp_path):
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "missing", FileNotFoundError)):
        with pytest.raises(error, match=str(path)):
            fastbp.load_safetensors(path)
