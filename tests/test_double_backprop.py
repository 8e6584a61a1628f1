"""Training on derivatives: E with ½ λ ‖J - D‖², and its gradient, against differences of what other calls give."""

import naive
import numpy as np
import pytest
from tolerances import assert_close

from fastbp import MLP, SGD, Activation, Adam, threads

NETWORKS = {
    "scalar": ((2, 17, 5, 1), ("tanh", "gelu", "identity"), "squared_error", "targets"),
    "one layer": ((3, 2), ("logistic",), "squared_error", "targets"),
    "labels": ((3, 6, 4), ("silu", "softmax"), "cross_entropy", "labels"),
    "logits": ((1, 33, 3), ("softplus", "identity"), "softmax_cross_entropy", "labels"),
}
WEIGHT = 0.7

#: "blas" computes as "loops" does.
WAYS = ["loops", "tiled", pytest.param("blas", marks=pytest.mark.full)]


def drawn(name, n, backend="loops", dtype="float64"):
    """A network, samples, targets, those of derivatives, and sample weights."""
    widths, names, loss, kind = NETWORKS[name]
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, backend=backend)
    net.theta[:] = inputs["theta"]
    D = np.random.default_rng(2).standard_normal((n, widths[-1], widths[0])).astype(dtype)
    return net, inputs["X"], inputs[kind], D, inputs["weights"]


def E_of(net, X, d, D, weights):
    J = net.input_jacobian(X)
    weights = np.ones(len(X)) if weights is None else weights
    return net.loss_value(X, d, weights) + 0.5 * WEIGHT * (weights * ((J - D) ** 2).sum(axis=(1, 2))).sum()


def slopes(net, X, d, D, weights, step=1e-5):
    """∂E/∂theta by central differences."""
    found = np.empty(net.theta.size)
    for p, value in enumerate(net.theta.copy()):
        net.theta[p] = value + step
        above = E_of(net, X, d, D, weights)
        net.theta[p] = value - step
        found[p] = (above - E_of(net, X, d, D, weights)) / (2 * step)
        net.theta[p] = value
    return found


def require_gradient(net, X, d, D, weights):
    """A step of plain descent on one batch moves theta along the gradient; the loss before it is recorded."""
    before, n = net.theta.copy(), len(X)
    expected, E = slopes(net, X, d, D, weights), E_of(net, X, d, D, weights)
    history = net.fit(X, d, optimizer=SGD(1e-3), epochs=1, batch_size=n, shuffle=False, sample_weight=weights,
                      derivatives=D, derivative_weight=WEIGHT)
    assert history["loss"][0] == pytest.approx(E / n, rel=1e-12)
    assert_close((before - net.theta) * n / 1e-3, expected, 1e-6)
    assert not net.grad.any()


@pytest.mark.parametrize("backend", WAYS)
@pytest.mark.parametrize("n", [3, 41])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient(name, n, backend):
    for weighted in (False, True):
        *arguments, weights = drawn(name, n, backend)
        require_gradient(*arguments, weights if weighted else None)


@pytest.mark.parametrize("backend", WAYS)
def test_x_is_as_it_is_given(backend):
    net, X, d, D, weights = drawn("scalar", 20, backend)
    net.standardize(mean=[3.0, -2.0], scale=[2.0, 0.5])
    require_gradient(net, 3 + 2 * X, d, D, weights)


def test_several_batches_and_chunks_agree():
    """Over many epochs, with shuffling and Adam, both ways to compute it train alike."""
    found = []
    for backend in ("loops", "tiled"):
        net, X, d, D, _ = drawn("scalar", 900, backend)
        history = net.fit(X, d, optimizer=Adam(0.01), epochs=3, batch_size=400, seed=1, derivatives=D)
        found.append((net.theta, history["loss"]))
    assert_close(found[1][0], found[0][0], 1e-9)
    assert_close(found[1][1], found[0][1], 1e-11)


@pytest.mark.parametrize("backend", ["loops", "tiled"])
def test_bits_do_not_depend_on_threads(backend):
    found, before = set(), threads.get_num_threads()
    for count in {1, before}:
        threads.set_num_threads(count)
        net, X, d, D, _ = drawn("scalar", 3000, backend)
        net.fit(X, d, epochs=2, batch_size=1500, seed=0, derivatives=D)
        found.add(net.theta.tobytes())
    threads.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.full
def test_float32_trains_as_float64_does():
    found = []
    for dtype in ("float32", "float64"):
        net, X, d, D, _ = drawn("scalar", 200, "tiled", dtype)
        net.fit(X.astype(dtype), d, optimizer=SGD(0.01), epochs=2, batch_size=50, shuffle=False, derivatives=D)
        found.append(net.theta)
    assert_close(*found, 1e-4)


def test_slopes_make_up_for_targets():
    """From 8 points of a sine alone with their slopes, a network learns what it does not from the points."""
    x = np.linspace(-3, 3, 8)[:, None]
    between = np.linspace(-3, 3, 101)[:, None]
    errors = []
    for weight in (0.0, 1.0):
        net = MLP([1, 16, 1], activation="tanh", loss="squared_error", dtype="float64", seed=1)
        net.fit(x, np.sin(2 * x), optimizer=Adam(0.02), epochs=1000, batch_size=8, shuffle=False,
                derivatives=2 * np.cos(2 * x)[:, :, None], derivative_weight=weight)
        errors.append(np.abs(net.forward(between) - np.sin(2 * between)).max())
    assert errors[1] < 0.05
    assert errors[0] > 0.3


def test_what_does_not_go_with_it_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    net, X, d, D, _ = drawn("scalar", 5)
    theta = net.theta.copy()
    for wrong, message in ((D[:4], r"expected shape \(5, 1, 2\)"), (D[:, 0], "expected 3 dimensions"),
                           (np.where(D[1, 0, 1] == D, np.nan, D), r"found nan at \[1, 0, 1\]")):
        with pytest.raises(ValueError, match=f"^derivatives: {message}"):
            net.fit(X, d, derivatives=wrong)
    with pytest.raises(ValueError, match=r"^derivative_weight: expected"):
        net.fit(X, d, derivatives=D, derivative_weight=-1.0)
    with pytest.raises(ValueError, match=r"^derivative_weight: expected derivatives too"):
        net.fit(X, d, derivative_weight=2.0)
    for X_given, settings, name in ((X, {"dropout": 0.5}, "dropout"), (X, {"checkpoint": "file"}, "checkpoint"),
                                    (X, {"clip_sample_norm": 1.0}, "clip_sample_norm"),
                                    (sparse.csr_array(X), {}, "a sparse X")):
        with pytest.raises(ValueError, match=f"^derivatives: expected none with {name}, found both"):
            net.fit(X_given, d, derivatives=D, **settings)
    with pytest.raises(ValueError, match=r"^derivatives: expected none with a stream"):
        net.fit([(X, d)], derivatives=D)
    own = MLP([2, 3, 1], activation=Activation("own", lambda a: a * a, lambda a, h: 2 * a), loss="squared_error")
    with pytest.raises(ValueError, match=r"^activation: 'own' is your own, and has no second derivative"):
        own.fit(X, d, derivatives=D)
    assert np.array_equal(net.theta, theta)
