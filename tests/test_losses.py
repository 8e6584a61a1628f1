"""Losses of quantities: what networks learn from them, their parameters, and records in other processes."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest
from tolerances import BACKENDS, CUDA, DTYPES, ROUNDING, assert_close, on_backends, on_host

import fastbp
from fastbp import MLP, SGD, Adam, DivergenceError, HuberLoss, QuantileLoss, fit_many
from fastbp.functions import losses

NAMED_FOR = {"squared_error": np.mean, "absolute_error": np.median, "quantile": np.median,
             "quantile(0.9)": lambda d: np.quantile(d, 0.9), "huber(50)": np.mean, "huber(0.001)": np.median,
             "poisson": lambda d: np.log(d.mean())}


@pytest.mark.parametrize(("loss", "n", "epochs", "backend"), on_backends(
    [(loss, 501, 100) for loss in NAMED_FOR], simulated=[("quantile(0.9)", 11, 60), ("poisson", 11, 20)]))
def test_one_number_learns_what_the_loss_is_named_for(loss, n, epochs, backend):
    """b alone, from targets of a skew distribution; the history has no accuracy."""
    d = np.random.default_rng(0).exponential(size=n)
    net = MLP([1, 1], loss=loss, initializer="zeros", dtype="float64", backend=backend)
    scale = 1000 if "0.001" in loss else 1  # of a Huber loss that is nearly delta |r|
    for rate in (1.0, 0.1, 0.01):
        history = net.fit(np.zeros((n, 1)), d, optimizer=SGD(scale * rate), epochs=epochs, batch_size=n)
    assert on_host(net.biases[0])[0] == pytest.approx(NAMED_FOR[loss](d), abs=0.02)
    assert list(history) == ["loss"]
    assert np.isnan(net.evaluate([[0.0]], [1.0])[1])


@pytest.mark.parametrize("make", [HuberLoss, QuantileLoss])
def test_one_record_for_a_parameter(make):
    record = make(0.25)
    assert record is make(np.float32(0.25)) is losses.record_named(record.name) is copy.deepcopy(record)
    assert record is pickle.loads(pickle.dumps(record))
    assert MLP([1, 1], loss=record.name).loss_record is record
    assert record.is_cached
    assert str(record) not in {str(other) for other in (*losses.LOSSES, make(0.75), make(0.025), make(1e-25))}


def test_the_parameter_of_a_plain_name():
    assert HuberLoss(1) is losses.BY_NAME["huber"] is losses.record_named("huber(1.0)")
    assert QuantileLoss(0.5) is losses.BY_NAME["quantile"] is losses.record_named("quantile(0.5)")
    assert MLP([1, 1], loss=HuberLoss(1.0)).loss == "huber"


@pytest.mark.parametrize(("make", "argument", "values"), [
    (HuberLoss, "delta", [0, -1.0, float("nan"), float("inf")]), (QuantileLoss, "q", [0.0, 1, 1.5, -1, float("nan")])])
def test_wrong_parameters(make, argument, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{argument}: expected a finite number above 0.*, found {value}"):
            make(value)
        name = make(0.25).name.replace("0.25", str(value))
        with pytest.raises(ValueError, match=f"^loss: no loss '{name[:5]}.*{argument}: expected a finite number"):
            MLP([1, 1], loss=name)
    for value in ("0.5", None, True, [0.5], 1j):
        with pytest.raises(TypeError, match=f"^{argument}: expected a number, found "):
            make(value)


@pytest.mark.parametrize("backend", ["auto", *CUDA])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [1e-5, 0.3, 2.5, 1e9])
def test_parameters_of_any_size(value, dtype, backend, monkeypatch):
    inputs = naive.draw_inputs((3, 4, 2), 40, dtype=dtype)
    net = MLP([3, 4, 2], activation="tanh", loss=HuberLoss(value), dtype=dtype, backend=backend)
    net.theta[:] = inputs["theta"]
    data = inputs["X"], inputs["targets"]
    monkeypatch.setitem(naive.LOSSES, net.loss, naive.huber(value))
    E, grad, _ = naive.gradients(inputs["theta"], (3, 4, 2), net.activations, net.loss, *data)
    assert_close(net.accumulate_gradient(*data), E, ROUNDING[dtype])
    assert_close(net.grad, grad, ROUNDING[dtype])


PROGRAM = """
import pickle, sys
import numpy as np
import fastbp
for net in (fastbp.load(sys.argv[1]), pickle.load(open(sys.argv[2], "rb")), fastbp.MLP([2, 3, 1], loss="huber(0.5)")):
    net.theta[:] = np.linspace(-1, 1, net.theta.size)
    print(net.loss, net.loss_value([[1.0, 2.0]], [9.0]))
from fastbp.compiling.addresses import _KEPT
print(sum(compiled.cache_hits for compiled in _KEPT if "huber_0p5" in compiled.__name__))
"""


def test_a_fresh_process_knows_a_parameter_by_the_name(tmp_path):
    """From files and pickles, without compiling the loss anew."""
    net = MLP([2, 3, 1], loss=HuberLoss(0.5))
    net.theta[:] = np.linspace(-1, 1, net.theta.size)
    net.save(tmp_path / "net.npz")
    (tmp_path / "net.pickle").write_bytes(pickle.dumps(net))
    expected = f"huber(0.5) {net.loss_value([[1.0, 2.0]], [9.0])}"
    finished = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-W", "ignore::ResourceWarning", "-c", PROGRAM, tmp_path / "net.npz",
         tmp_path / "net.pickle"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])})
    assert finished.returncode == 0, finished.stderr
    *lines, hits = finished.stdout.splitlines()
    assert lines == [expected] * 3
    assert hits == "1"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [1, 20])
def test_means_beyond_the_largest_number_end_training(batch_size, backend, dtype):
    """θ stays as it was before the step whose E is infinite."""
    X, d = np.ones((20, 1)), np.full(20, 3.0)
    net = MLP([1, 1], loss="poisson", initializer="zeros", dtype=dtype, backend=backend)
    net.fit(X, d, optimizer=SGD(1e-3), epochs=1, batch_size=batch_size)
    with pytest.raises(DivergenceError, match="loss"):
        net.fit(X, d, optimizer=SGD(1e4), epochs=5, batch_size=batch_size)
    assert np.isfinite(net.theta_on_host()).all()
    net.theta[:] = 500
    assert net.loss_value(X, d) == np.inf


def test_many_networks_with_losses_of_their_own():
    rng = np.random.default_rng(0)
    X, d = rng.normal(size=(60, 2)), rng.poisson(2.0, 60)
    names = ["poisson", "huber(0.5)", "absolute_error", QuantileLoss(0.9)]
    nets, alone = ([MLP([2, 8, 1], loss=name, seed=0) for name in names] for _ in range(2))
    fit_many(nets, X, d, optimizer=Adam(0.01), epochs=3, batch_size=7, seeds=[1] * 4)
    for net, other in zip(nets, alone, strict=True):
        history = other.fit(X, d, optimizer=Adam(0.01), epochs=3, batch_size=7, seed=1)
        assert net.theta.tobytes() == other.theta.tobytes()
        assert "accuracy" not in history
