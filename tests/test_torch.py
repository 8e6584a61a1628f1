"""Networks of PyTorch: parameters with the same bits there and back, equal outputs, and what is refused."""

import io
import subprocess
import sys

import numpy as np
import pytest
from tolerances import assert_close

import fastbp
from fastbp.functions.activations import ACTIVATIONS
from fastbp.storage.pytorch import MODULES

torch = pytest.importorskip("torch")
nn = torch.nn

X = np.random.default_rng(0).normal(0, 4, (50, 3))
ROUNDING = {"float32": 2e-5, "float64": 1e-12}
NAMES = [activation.name for activation in ACTIVATIONS if activation.name != "softmax"]


def outputs(model, X, dtype):
    with torch.no_grad():
        return model(torch.from_numpy(X.astype(dtype))).numpy()


def assert_equal_outputs(net, model, dtype="float32"):
    np.testing.assert_allclose(outputs(model, X, dtype), net.forward(X.astype(dtype)), rtol=ROUNDING[dtype],
                               atol=ROUNDING[dtype])


def parameters(model):
    return np.concatenate([values.detach().numpy().reshape(-1) for values in model.parameters()])


@pytest.mark.parametrize(("activation", "dtype"), [(name, "float32") for name in NAMES] + [
    pytest.param(name, "float64", marks=[pytest.mark.full] * (name != "softplus")) for name in NAMES])
def test_there_and_back(activation, dtype):
    net = fastbp.MLP([3, 5, 4, 2], activation=activation, dtype=dtype, seed=0)
    state = torch.random.get_rng_state()
    model = net.to_torch()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert parameters(model).tobytes() == net.theta.tobytes()
    assert_equal_outputs(net, model, dtype)
    again = fastbp.from_torch(model)
    assert repr(again) == repr(net)
    assert again.theta.tobytes() == net.theta.tobytes()
    with torch.no_grad():
        model[0].weight.zero_()
    assert net.weights[0].any()  # which is its own
    assert again.weights[0].any()


def test_every_activation_has_a_module():
    assert set(MODULES) == {activation.name for activation in ACTIVATIONS} - {"identity"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_that_standardises(dtype):
    net = fastbp.MLP([3, 4, 2], activation="tanh", dtype=dtype, seed=0)
    net.standardize(mean=[1e6, 0.0, -3.0], scale=[0.5, 2.0, 1 / 3])
    model = net.to_torch()
    rows = (X * net.feature_scale + net.feature_mean).astype(dtype)
    np.testing.assert_allclose(outputs(model, rows, dtype), net.forward(rows), rtol=ROUNDING[dtype],
                               atol=ROUNDING[dtype])
    bytes_ = np.arange(12, dtype=np.uint8).reshape(4, 3)
    if dtype == "float32":
        assert_close(outputs(model, bytes_, "uint8"), net.forward(bytes_), ROUNDING[dtype])
    again = fastbp.from_torch(model)
    assert repr(again) == repr(net)
    assert again.feature_mean.tobytes() + again.feature_scale.tobytes() == (
        net.feature_mean.tobytes() + net.feature_scale.tobytes())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    stored = torch.load(file, weights_only=False)
    assert np.array_equal(outputs(stored, rows, dtype), outputs(model, rows, dtype))


def test_softmax_and_losses():
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1))
    net = fastbp.from_torch(model)
    assert net.loss == "cross_entropy"
    assert_equal_outputs(net, model)
    assert net.to_torch()[1].dim == -1
    assert fastbp.from_torch(model, loss="squared_error").loss == "squared_error"
    model = nn.Sequential(nn.Linear(3, 1), nn.Identity())
    with pytest.raises(ValueError, match="needs at least 2 classes"):
        fastbp.from_torch(model)
    assert fastbp.from_torch(model, loss="binary_cross_entropy").widths == (3, 1)


def test_a_sequential_in_another_without_biases():
    block = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Identity(), nn.SiLU(inplace=True))
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 4), nn.Sequential(), block, nn.Linear(5, 2))
    net = fastbp.from_torch(model, backend="loops", seed=1)
    assert repr(net) == repr(fastbp.MLP([3, 4, 5, 2], activation=["identity", "silu", "identity"], backend="loops"))
    assert not net.biases[1].any()
    assert_equal_outputs(net, model)


def hooked():
    linear = nn.Linear(3, 3)
    linear.register_forward_hook(lambda *_: None)
    return linear


class Mine(nn.Linear):
    """Whose forward may be another."""


def with_nan():
    linear = nn.Linear(3, 3)
    with torch.no_grad():
        linear.bias[1] = np.nan
    return linear


REFUSED = {
    "Conv1d at '1'": lambda: [nn.Linear(3, 3), nn.Conv1d(3, 3, 1)],
    "Dropout at '2'; leave it out, and give its rate to fit": lambda: [nn.Linear(3, 3), nn.ReLU(), nn.Dropout(0.5)],
    "LogSoftmax at '1'; leave it out: the loss 'softmax_cross_entropy'": lambda: [nn.Linear(3, 3), nn.LogSoftmax(1)],
    "Flatten at '0'": lambda: [nn.Flatten(), nn.Linear(3, 3)],
    "BatchNorm1d at '1.0'": lambda: [nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3))],
    "Mine at '0'": lambda: [Mine(3, 3)],
    "expected an activation after a Linear, found ReLU at '0'": lambda: [nn.ReLU()],
    "expected an activation after a Linear, found Tanh at '2'": lambda: [nn.Linear(3, 3), nn.ReLU(), nn.Tanh()],
    "expected LeakyReLU with negative_slope=0.01, found 0.2 at '1'": lambda: [nn.Linear(3, 3), nn.LeakyReLU(0.2)],
    "expected ELU with alpha=1.0, found 2.0": lambda: [nn.Linear(3, 3), nn.ELU(2.0)],
    "expected GELU with approximate='none', found 'tanh'": lambda: [nn.Linear(3, 3), nn.GELU("tanh")],
    "expected Softplus with beta=1.0, found 2": lambda: [nn.Linear(3, 3), nn.Softplus(2)],
    "expected Softplus with threshold=40.0, found 1": lambda: [nn.Linear(3, 3), nn.Softplus(1, 1)],
    "expected Softmax with dim=-1, found 0": lambda: [nn.Linear(3, 3), nn.Softmax(0)],
    "expected at least one Linear, found none": lambda: [],
    "expected a Linear of 3 inputs in float32, .* found one of 4 in float32 at '1'":
        lambda: [nn.Linear(3, 3), nn.Linear(4, 3)],
    "expected a Linear of 3 inputs in float32, .* found one of 3 in float64":
        lambda: [nn.Linear(3, 3), nn.Linear(3, 3).double()],
    "expected parameters in float32 or float64, found torch.bfloat16 at '0'": lambda: [nn.Linear(3, 3).bfloat16()],
    "expected finite parameters, found NaN or infinity in the bias at '0'": lambda: [with_nan()],
    "expected modules without hooks, found some at '0', Linear": lambda: [hooked()],
}


@pytest.mark.parametrize(("message", "modules"), REFUSED.items(), ids=REFUSED)
def test_modules_that_are_refused(message, modules):
    with pytest.raises(ValueError, match=f"^model: .*{message}"):
        fastbp.from_torch(nn.Sequential(*modules()))


def test_what_is_no_sequential():
    with pytest.raises(TypeError, match=r"^model: expected a torch.nn.Sequential, found Linear"):
        fastbp.from_torch(nn.Linear(3, 2))


def test_an_activation_of_your_own():
    bent = fastbp.Activation("bent", lambda a: a + 0.5 * a * a, lambda a, h: 1 + a)
    with pytest.raises(ValueError, match=r"^activation of layer 1: expected one that PyTorch has, found 'bent' of"):
        fastbp.MLP([3, 4, 2], activation=bent).to_torch()


def test_a_file_of_safetensors_is_a_state_dict(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_file

    path, net = tmp_path / "net.safetensors", fastbp.MLP([3, 4, 4, 2], activation=["tanh", "identity", "softmax"],
                                                         loss="cross_entropy", seed=0)
    for standardized in (False, True):
        if standardized:
            net.standardize(mean=1.0, scale=3.0)
        fastbp.save_safetensors(net, path)
        other = fastbp.MLP(net.widths, activation=net.activations, loss=net.loss, seed=1)
        if standardized:
            other.standardize(mean=0.0, scale=1.0)
        model = other.to_torch()
        model.load_state_dict(load_file(path))
        assert_equal_outputs(net, model)
        save_file(model.state_dict(), path)
        again = fastbp.load_safetensors(path, activation=net.activations, loss=net.loss)
        assert repr(again) == repr(net)
        assert again.theta.tobytes() == net.theta.tobytes()


def test_fastbp_does_not_import_it():
    program = "import sys, fastbp; fastbp.MLP([3, 2]); sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
