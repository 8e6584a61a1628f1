"""A trace holds what the formulas say, as text and in a picture."""

import naive
import numpy as np
import pytest

import fastbp
from fastbp.functions.activations import ACTIVATIONS
from fastbp.functions.losses import LOSSES

WIDTHS = (4, 5, 3, 3)


def traced(activation, output, loss):
    """A network with its parameters, a sample with its target, and the trace of it."""
    net = fastbp.MLP(WIDTHS, activation=activation, output_activation=output, loss=loss, dtype="float64", seed=0)
    rng = np.random.default_rng(1)
    net.theta[:] = rng.normal(size=net.theta.shape)
    x = rng.normal(size=4)
    d = {"classes": np.array([0.0, 1.0, 0.0]), "bits": np.array([1.0, 0.0, 1.0]),
         "counts": np.array([0.0, 2.0, 5.0])}.get(net.loss_record.targets, rng.normal(size=3))
    return net, x, d, net.trace(x, 1 if net.loss_record.targets == "classes" else d)


@pytest.mark.parametrize(("activation", "output", "loss"), [
    *((g.name, "identity", "squared_error") for g in ACTIVATIONS if g.name != "softmax"),
    *(("tanh", "softmax" if loss.requires else "identity", loss.name) for loss in LOSSES)])
def test_it_agrees_with_plain_python(activation, output, loss):
    net, x, d, trace = traced(activation, output, loss)
    h = x
    for k, (W, b, name) in enumerate(zip(net.weights, net.biases, net.activations, strict=True), 1):
        a = W @ h + b
        h = naive.activate(name, a)
        np.testing.assert_allclose(trace.a[k], a, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(trace.h[k], h, rtol=1e-13, atol=1e-13)
    E, e = naive.LOSSES[loss](h, d)
    np.testing.assert_allclose(trace.E, E, rtol=1e-13, atol=1e-13)
    for k in range(len(WIDTHS) - 1, 0, -1):
        np.testing.assert_allclose(trace.e[k], e, rtol=1e-12, atol=1e-13)
        delta = naive.jacobian(net.activations[k - 1], trace.a[k]).T @ e
        e = net.weights[k - 1].T @ delta
        np.testing.assert_allclose(trace.delta[k], delta, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(trace.db[k], delta, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(trace.dW[k], np.outer(delta, trace.h[k - 1]), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(trace.e[0], e, rtol=1e-12, atol=1e-13)
    assert not net.grad.any()


def test_its_text_fits_a_terminal_and_names_everything():
    text = str(traced("tanh", "identity", "squared_error")[3])
    assert max(map(len, text.splitlines())) <= 100
    for name in ("h₀ = x", "a₃ = W₃ h₂ + b₃", "h₃ = identity(a₃) = y", "δ₂ = e₂ ⊙ g'(a₂)", "∂E/∂W₁ = δ₁ h₀ᵀ",
                 "e₀ = W₁ᵀ δ₁", "squared_error of y and d"):
        assert name in text


def test_a_standardised_sample():
    net, x, d, trace = traced("tanh", "identity", "squared_error")
    net.standardize(mean=1.0, scale=2.0)
    np.testing.assert_allclose(net.trace(2 * x + 1, d).delta[1], trace.delta[1], rtol=1e-12)


@pytest.mark.parametrize("widths", [(2, 8, 1), (784, 100, 10)])
def test_a_picture_is_drawn(widths, tmp_path):
    pytest.importorskip("matplotlib")
    net = fastbp.MLP(widths, loss="squared_error", seed=0)
    net.trace(np.ones(widths[0]), np.ones(widths[-1])).plot(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").stat().st_size > 20_000


def test_what_is_not_one_sample_is_refused():
    net = fastbp.MLP([3, 2], seed=0)
    with pytest.raises(ValueError, match=r"^x: expected one sample, a vector of its features, found"):
        net.trace(np.ones((2, 3)), 0)
    with pytest.raises(ValueError, match=r"^X: expected"):
        net.trace(np.ones(4), 0)
    with pytest.raises(ValueError, match=r"^d: "):
        net.trace(np.ones(3), 5)
