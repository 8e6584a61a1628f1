"""Errors back from any ∂E/∂y, and Jacobians of a batch, on every backend and in compiled code, against plain Python."""

import copy
import pickle
from itertools import product

import naive
import numpy as np
import pytest
from tolerances import CPU_BACKENDS, DTYPES, ROUNDING, assert_close, on_backends, on_host

from fastbp import MLP, jit, threads

#: What `forward` gives: the last layer's values, whatever the loss includes.
NETWORKS = {
    "logits": ((5, 17, 3), ("tanh", "identity"), "softmax_cross_entropy"),
    "probabilities": ((4, 6, 3), ("silu", "softmax"), "cross_entropy"),
    "bits": ((3, 33, 2), ("relu", "identity"), "binary_cross_entropy"),
    "logarithms": ((1, 4, 1), ("elu", "identity"), "poisson"),
    "one layer": ((7, 2), ("logistic",), "squared_error"),
    "more outputs": ((3, 20, 7), ("tanh", "softmax"), "cross_entropy"),
}


CASES = on_backends(list(product(NETWORKS, DTYPES, [1, 37])), [(name, "float32", 5) for name in NETWORKS])


def drawn(name, n, dtype="float64", backend="auto"):
    """A network, samples and ∂E/∂y."""
    widths, names, loss = NETWORKS[name]
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, backend=backend)
    net.theta[:] = inputs["theta"]
    return net, inputs["X"], inputs["targets"]


def expected(net, X, e):
    """Σ_s ∂E/∂theta, and ∂E/∂x of every sample."""
    network = on_host(net.theta), net.widths, net.activations
    found = [naive.errors_back(*network, *naive.forward(*network, x), e_s.astype(float))
             for x, e_s in zip(X, e, strict=True)]
    return sum(grad for grad, _ in found), np.array([e_0 for _, e_0 in found])


@pytest.mark.parametrize(("name", "dtype", "n", "backend"), CASES)
def test_backward(name, dtype, n, backend):
    net, X, e = drawn(name, n, dtype, backend)
    grad, E0 = expected(net, X, e)
    before = np.full(net.theta.size, 0.5, dtype)
    net.grad[:] = before
    assert net.backward(X, e) is None
    assert_close(on_host(net.grad) - before, grad, 10 * ROUNDING[dtype], max(1, np.abs(grad).max()))
    alone = on_host(net.grad).copy()
    net.grad[:] = before
    assert_close(net.backward(X, e, input_gradient=True), E0, ROUNDING[dtype])
    assert on_host(net.grad).tobytes() == alone.tobytes()


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_backward_from_the_gradient_of_the_loss(loss):
    """∂E/∂y of the network's own loss gives its gradient."""
    rng = np.random.default_rng(0)
    net = MLP([4, 9, 3], activation="gelu", loss=loss, dtype="float64", seed=0)
    X, labels = rng.standard_normal((300, 4)), rng.integers(0, 3, 300)
    Y, d = net.forward(X), np.eye(3)[labels]
    e = np.array([naive.softmax(y) for y in Y]) - d if loss == "softmax_cross_entropy" else Y - d
    net.accumulate_gradient(X, d)
    grad = net.grad.copy()
    net.zero_grad()
    assert_close(net.backward(X, e, input_gradient=True), net.input_gradient(X, d), 1e-13)
    assert_close(net.grad, grad, 1e-13)


@pytest.mark.parametrize("backend", ["loops", "tiled"])
def test_bits_do_not_depend_on_threads(backend):
    net, X, e = drawn("logits", 3000, "float32", backend)
    found, before = set(), threads.get_num_threads()
    for count in {1, before}:
        threads.set_num_threads(count)
        net.zero_grad()
        found.add((net.backward(X, e, input_gradient=True).tobytes(), net.grad.tobytes(),
                   net.input_jacobian(X).tobytes()))
    threads.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize(("name", "dtype", "n", "backend"), CASES)
def test_input_jacobian(name, dtype, n, backend):
    net, X, _ = drawn(name, n, dtype, backend)
    J = net.input_jacobian(X)
    assert (J.shape, J.dtype) == ((n, net.widths[-1], net.widths[0]), net.dtype)
    theta = on_host(net.theta)
    assert_close(J, np.array([naive.input_jacobian(theta, net.widths, net.activations, x) for x in X]),
                 ROUNDING[dtype])
    assert not on_host(net.grad).any()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_derivatives_are_by_x_as_it_is_given(backend):
    net, X, e = drawn("logits", 20, "float64", backend)
    X = 100 + 10 * X
    net.backward(X, e)  # what it keeps for the next call is of x as it is
    net.standardize(X)
    E0, J, h = net.backward(X, e, input_gradient=True), net.input_jacobian(X), 1e-4
    for j, step in enumerate(h * np.eye(X.shape[1])):
        slopes = (net.forward(X + step) - net.forward(X - step)) / (2 * h)
        assert_close(J[:, :, j], slopes, 1e-6, np.abs(J).max())
        assert_close(E0[:, j], (slopes * e).sum(axis=1), 1e-6, np.abs(E0).max())
    net.unstandardize()
    assert_close(net.backward(X, e, input_gradient=True), expected(net, X, e)[1], 1e-12)


def test_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    net, X, e = drawn("logits", 50)
    X[np.abs(X) < 1.5] = 0
    grad, E0 = expected(net, X, e)
    net.backward(sparse.csr_array(X), e)
    assert_close(net.grad, grad, 1e-12)
    net.zero_grad()
    assert_close(net.backward(sparse.csr_array(X), e, input_gradient=True), E0, 1e-12)
    assert_close(net.input_jacobian(sparse.csr_array(X)), net.input_jacobian(X), 1e-12)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_its_own_gradient(make):
    net, X, e = drawn("logits", 5)
    net.backward(X, e)
    other = make(net)
    other.theta[:] = 0
    other.zero_grad()
    before = net.grad.copy()
    other.backward(X, e)
    assert np.array_equal(net.grad, before)
    assert other.grad.any()


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda X, e: (X, e[:, :1]), r"dE_dY: expected shape \(5, 3\), found \(5, 1\)"),
    (lambda X, e: (X, e[:4]), "dE_dY: expected as many targets as X has samples, 5"),
    (lambda X, e: (X, np.where(e == e[2, 1], np.nan, e)), r"dE_dY: found nan at \[2, 1\]"),
    (lambda X, e: (X, e.astype(complex)), "dE_dY: expected real numbers"),
    (lambda X, e: (X, None), "dE_dY: expected"),
    (lambda X, e: (X[:, :2], e), "X: expected 5 features"),
])
def test_wrong_arguments_change_nothing(wrong, message):
    net, X, e = drawn("logits", 5)
    net.grad[:] = 2
    for wants in (False, True):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            net.backward(*wrong(X, e), input_gradient=wants)
    assert (net.grad == 2).all()
    with pytest.raises(TypeError, match=r"^input_gradient: expected True or False, found 1"):
        net.backward(X, e, input_gradient=1)


@pytest.mark.parametrize("n", [1, 3, 40, 300])
@pytest.mark.parametrize("name", ["logits", "bits"])
def test_backward_in_compiled_code(name, n):
    net, X, e = drawn(name, n)
    work, nothing = jit.workspace(net.layout, n), np.empty(0)
    E0, grad = np.empty_like(X), np.ones_like(net.theta)
    net.grad[:] = 1
    expected_E0 = net.backward(X, e, input_gradient=True)
    assert jit.backward(net.theta, net.layout, X, e, grad, E0, work) == jit.OK
    assert (grad.tobytes(), E0.tobytes()) == (net.grad.tobytes(), expected_E0.tobytes())
    E0[:], grad[:] = 0, 1
    assert jit.backward(net.theta, net.layout, X, e, nothing, E0, work) == jit.OK
    assert jit.backward(net.theta, net.layout, X, e, grad, nothing, work) == jit.OK
    assert (grad.tobytes(), E0.tobytes()) == (net.grad.tobytes(), expected_E0.tobytes())
    d = np.abs(np.sign(e))  # the workspace evaluates the network's own loss again
    _, status = jit.accumulate_gradient(net.theta, net.layout, X, d, grad, work)
    net.accumulate_gradient(X, d) if name == "bits" else None
    assert status == jit.OK
    assert name != "bits" or grad.tobytes() == net.grad.tobytes()


def test_statuses_of_backward_in_compiled_code():
    net, X, e = drawn("logits", 6)
    work, grad, E0 = jit.workspace(net.layout), np.ones_like(net.theta), np.empty_like(X)
    for wrong in ((X, e[:5], grad, E0), (X, e, grad[:5], E0), (X, e, grad, E0[:5]), (X, e.reshape(2, 9), grad, E0)):
        assert jit.backward(net.theta, net.layout, *wrong, work) == jit.WRONG_SIZE
    e[0, 0] = np.inf
    assert jit.backward(net.theta, net.layout, X, e, grad, E0, work) == jit.NOT_FINITE
    assert (grad == 1).all()
