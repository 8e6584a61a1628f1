"""JᵀJ and Jᵀr against NumPy on the gradients of single outputs, for losses, weights, and any number of threads."""

import math

import naive
import numpy as np
import pytest

from fastbp import MLP, HuberLoss
from fastbp.backends import normal_equations
from fastbp.functions.losses import LOSSES

#: (w c) of each loss, as `naive` would write it.
CURVATURES = {
    "squared_error": lambda y, d: 1.0,
    "huber": lambda y, d: min(1.0, 1.0 / abs(y - d)),
    "huber(0.25)": lambda y, d: min(1.0, 0.25 / abs(y - d)),
    "poisson": lambda y, d: math.exp(y),
    "binary_cross_entropy": lambda y, d: naive.logistic(y) * naive.logistic(-y),
}


def problem(widths, n, loss, weighted, activation="tanh"):
    rng = np.random.default_rng(n)
    net = MLP(widths, activation=activation, loss=loss, dtype="float64", seed=1, backend="tiled")
    X, d = rng.normal(size=(n, widths[0])), rng.normal(size=(n, widths[-1]))
    if net.loss_record.targets != "values":
        d = rng.integers(0, 2, d.shape).astype(float)
    return net, X, d, np.where(rng.random(n) < 0.2, 0.0, rng.random(n) * 3) if weighted else None


def computed(net, X, d, weight, threads=1, cuts=()):
    samples, size = net.checked_samples(X, d, weight), net.theta.size + 1
    C, work = np.zeros((size, size)), normal_equations.workspace(net.layout, net.loss_record)
    for start, stop in zip((0, *cuts), (*cuts, len(X)), strict=True):
        normal_equations.add_normal_equations(net.theta, samples, start, stop, 0.0, C, work, threads)
    return np.tril(C)


def naive_product(net, X, d, weight):
    """[J r]ᵀ[J r], of rows of J from the gradient of ½ (y_i - (y_i - 1))² for one output, which is ∂y_i/∂θ."""
    probe = MLP(net.widths, activation=list(net.activations), loss="squared_error", dtype="float64", backend="loops")
    probe.theta[:] = net.theta
    rows = []
    for s, (x, target) in enumerate(zip(X, d, strict=True)):
        y = net.forward(x[None])[0]
        e = naive.LOSSES[net.loss](y, target)[1]
        for i in range(len(y)):
            probe.zero_grad()
            probe.accumulate_gradient(x[None], (y - np.eye(len(y))[i])[None])
            w, c = 1.0 if weight is None else weight[s], CURVATURES[net.loss](y[i], target[i])
            rows.append(np.append(math.sqrt(w * c) * probe.grad, math.sqrt(w / c) * e[i]))
    return np.tril(np.array(rows).T @ np.array(rows))


@pytest.mark.parametrize(("widths", "n", "loss", "weighted"), [
    ([1, 1, 1], 1, "squared_error", False), ([2, 3, 1], 5, "squared_error", True),
    ([7, 5, 3], 33, "squared_error", True), ([33, 17, 9], 20, "squared_error", False),
    ([3, 4, 2], 40, "huber", False), ([3, 4, 2], 40, "huber(0.25)", True), ([3, 4, 2], 40, "poisson", True),
    ([3, 4, 2], 40, "binary_cross_entropy", True), ([5, 2], 30, "squared_error", False)], ids=str)
def test_products(widths, n, loss, weighted, monkeypatch):
    monkeypatch.setitem(naive.LOSSES, "huber(0.25)", naive.huber(0.25))
    net, X, d, weight = problem(widths, n, loss, weighted)
    found, expected = computed(net, X, d, weight), naive_product(net, X, d, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * abs(expected).max())
    net.accumulate_gradient(X, d, weight)
    np.testing.assert_allclose(found[-1, :-1], net.grad, rtol=1e-10, atol=1e-12 * abs(net.grad).max())


def test_softmax_under_squared_error():
    net, X, d, _ = problem([3, 4, 3], 20, "squared_error", False, activation=["relu", "softmax"])
    np.testing.assert_allclose(computed(net, X, d, None), naive_product(net, X, d, None), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("widths", [[3, 5, 2], [9, 12, 8, 1]], ids=str)
def test_same_bits_for_any_threads_and_slices(widths):
    net, X, d, weight = problem(widths, 1200, "squared_error", True)
    chunk = normal_equations.chunk(net.layout)
    assert chunk < 600
    expected = computed(net, X, d, weight)
    assert computed(net, X, d, weight, threads=2).tobytes() == expected.tobytes()
    assert computed(net, X, d, weight, cuts=(chunk, 2 * chunk)).tobytes() == expected.tobytes()


def test_curvature_that_vanishes():
    """Where c is 0 in float64, Jᵀr is still the gradient, and nothing is NaN."""
    net = MLP([1, 1], loss="binary_cross_entropy", dtype="float64", backend="tiled")
    net.theta[:] = [1.0, 0.0]
    X, d = np.array([[1000.0], [-1000.0], [40.0], [0.5]]), np.array([0.0, 1.0, 0.0, 1.0])
    found = computed(net, X, d, None)
    net.accumulate_gradient(X, d)
    assert np.isfinite(found[:-1]).all()
    np.testing.assert_allclose(found[-1, :-1], net.grad, rtol=1e-12)


def test_losses_with_a_curvature():
    assert {loss.name for loss in LOSSES if loss.curvature} | {HuberLoss(0.25).name} == set(CURVATURES)
