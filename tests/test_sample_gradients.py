"""Norms, clipping and noise of single samples' gradients, against gradients that are written down one by one."""

import naive
import numba
import numpy as np
import pytest
from tolerances import BACKENDS, CPU_BACKENDS, CUDA, DTYPES, ROUNDING, assert_close, on_backends, on_host

import fastbp
from fastbp import MLP, SGD, Adam, DivergenceError, fit_many
from fastbp.backends.tiles import online

NETWORKS = {
    "labels": ((5, 17, 33, 3), ("tanh", "relu", "identity"), "softmax_cross_entropy", "labels"),
    "softmax": ((40, 6, 20), ("gelu", "softmax"), "cross_entropy", "labels"),
    "targets": ((2, 1), ("identity",), "squared_error", "targets"),
    "bits": ((3, 8, 8, 4), ("silu", "logistic", "identity"), "binary_cross_entropy", "bits"),
    "counts": ((3, 9, 2), ("tanh", "identity"), "poisson", "counts"),
}


def drawn(name, n, dtype, backend):
    """A network, samples with targets and weights, one of which is 0, and every g_s in plain Python, (n, P)."""
    widths, names, loss, kind = NETWORKS[name]
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, seed=0, backend=backend)
    net.theta[:] = inputs["theta"]
    weights = inputs["weights"]
    weights[n // 2] = 0
    samples = zip(inputs["X"], naive.target_rows(inputs[kind], widths[-1]), weights.astype(float), strict=True)
    g = np.array([w * naive.backward(inputs["theta"], widths, names, loss, x, d)[1] for x, d, w in samples])
    return net, (inputs["X"], inputs[kind], weights), g


def clipped(g, C):
    norms = np.linalg.norm(g, axis=1, keepdims=True)
    return g * np.minimum(1, C / np.maximum(norms, 1e-300))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "backend"), on_backends([1, 3, 5, 17, 100], simulated=[5]))
@pytest.mark.parametrize("name", NETWORKS)
def test_norms_and_clipped_sums(name, n, backend, dtype):
    net, given, g = drawn(name, n, dtype, backend)
    norms = np.linalg.norm(g, axis=1)
    net.grad[:] = 1
    assert_close(net.gradient_norms(*given), norms, ROUNDING[dtype], norms.max() + 1e-300)
    assert (on_host(net.grad) == 1).all()
    E = net.loss_value(*given)
    for C in (2 * norms.max() + 1, np.median(norms) + 1e-3, 0.01 * norms.max() + 1e-6):  # none, some, nearly all
        net.zero_grad()
        assert net.accumulate_gradient(*given, clip_norm=C) == pytest.approx(E, rel=10 * ROUNDING[dtype])
        assert_close(net.grad, clipped(g, C).sum(axis=0), 10 * ROUNDING[dtype],
                     np.abs(clipped(g, C)).sum(axis=0).max() + 1e-300)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_calls_and_chunks_add_up(backend):
    """1,500 samples, more than a chunk of any backend, at once and in parts."""
    net, (X, d, weights), g = drawn("bits", 1500, "float64", backend)
    C = float(np.median(np.linalg.norm(g, axis=1)))
    expected = clipped(g, C).sum(axis=0)
    net.accumulate_gradient(X, d, weights, clip_norm=C)
    assert_close(net.grad, expected, 1e-12)
    net.zero_grad()
    for S in (slice(0, 2), slice(2, 700), slice(700, 1500)):
        net.accumulate_gradient(X[S], d[S], weights[S], clip_norm=C)
    assert_close(net.grad, expected, 1e-12)
    assert_close(net.gradient_norms(X, d, weights), np.linalg.norm(g, axis=1), 1e-12)
    assert_close(net.input_gradient(X, d), MLP.input_gradient(net, X, d), 0.0)


@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends(
    [(43, 1), (43, 3), (43, 20)], simulated=[(5, 3)]))
@pytest.mark.parametrize("optimizer", [SGD(0.3), SGD(0.3, momentum=0.5), Adam(0.02)])
def test_fit(optimizer, n, batch_size, backend, monkeypatch):
    """Two epochs as a loop of the formulas; the last batch is smaller."""
    monkeypatch.setattr(online, "MIN_STEPS", 1)  # kernels for one-sample steps would not clip
    widths, names, loss, _ = NETWORKS["labels"]
    net, (X, d, weights), _ = drawn("labels", n, "float64", backend)
    theta = net.theta_on_host().copy()
    state, C = optimizer.start(theta), 0.4
    history = net.fit(X, d, sample_weight=weights, optimizer=optimizer, epochs=2, batch_size=batch_size, shuffle=False,
                      clip_sample_norm=C)
    rows = naive.target_rows(d, 3)
    losses = []
    for start in [*range(0, n, batch_size)] * 2:
        S = range(start, min(start + batch_size, n))
        parts = [naive.backward(theta, widths, names, loss, X[s], rows[s]) for s in S]
        g = np.array([weights[s] * part[1] for s, part in zip(S, parts, strict=True)])
        losses += [weights[s] * part[0] for s, part in zip(S, parts, strict=True)]
        optimizer.step(theta, clipped(g, C).sum(axis=0) / len(S), state)
    assert_close(net.theta, theta, 1e-11)
    assert_close(history["loss"], [np.mean(losses[:n]), np.mean(losses[n:])], 1e-11)


def test_fit_many():
    nets, alone = ([MLP([4, 7, 3], seed=seed) for seed in range(3)] for _ in range(2))
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    fit_many(nets, X, labels, epochs=3, batch_size=16, clip_sample_norm=0.2)
    for net, one in zip(nets, alone, strict=True):
        before = one.theta.copy()
        one.fit(X, labels, epochs=3, batch_size=16, clip_sample_norm=0.2)
        assert net.theta.tobytes() == one.theta.tobytes()
        assert np.linalg.norm(one.theta - before) <= 0.1 * 0.2 * 3 * 4 * 1.001  # γ C for each of 12 updates


@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "blas"])
def test_threads_do_not_change_a_bit(backend):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(600, 60)), rng.integers(0, 5, 600)
    results = []
    before = fastbp.get_num_threads()
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        fastbp.set_num_threads(threads)
        net = MLP([60, 133, 5], seed=0, backend=backend)
        norms = net.gradient_norms(X, labels)
        net.accumulate_gradient(X, labels, clip_norm=float(np.median(norms)))
        results.append((norms.tobytes(), net.grad.tobytes()))
    fastbp.set_num_threads(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_and_small_gradients(dtype, backend):
    """Norms whose squares are beyond float32 are right; one beyond float64 is not taken for a small one."""
    net = MLP([1, 1], loss="squared_error", dtype=dtype, backend=backend, initializer="zeros", seed=0)
    X, d = np.array([[1.0]] * 4), np.array([1e25, 1e-25, 0.0, 3.0])
    for copies in (1, 10):  # tiled takes four samples one by one, and forty in panels
        found = net.gradient_norms(X.repeat(copies, axis=0), d.repeat(copies))[::copies]
        assert_close(found / [1e25, 1e-25, 1, 3], [np.sqrt(2), np.sqrt(2), 0, np.sqrt(2)], 1e-6)
        grad = on_host(net.grad).copy()
        net.accumulate_gradient(X.repeat(copies, axis=0), d.repeat(copies), clip_norm=1e-30)
        assert_close(on_host(net.grad) - grad, np.full(2, -3e-30 * copies / np.sqrt(2)), 1e-6)
        net.zero_grad()
    with np.errstate(over="ignore"):
        E = net.accumulate_gradient(X, d, clip_norm=1e-30)
    assert E > 1e38
    assert_close(net.grad, np.full(2, -3e-30 / np.sqrt(2)), 1e-6)
    if dtype == "float64":
        net.zero_grad()
        net.accumulate_gradient(X[:1], [1e200], clip_norm=1.0)
        assert np.isnan(on_host(net.grad)).any()
        with pytest.raises(DivergenceError):
            net.step(0.1)


@pytest.mark.parametrize("backend", ["auto", *CUDA])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [4, 40])
def test_noise(n, dtype, backend):
    net, given, g = drawn("labels", n, dtype, backend)
    noise = net.gradient_noise(*given)
    mean = g.mean(axis=0)
    variance = ((g - mean) ** 2).sum() / (n - 1)
    signal = mean @ mean - variance / n
    assert_close(noise[:2], [mean @ mean, variance], 100 * ROUNDING[dtype])
    assert noise.noise_scale == (pytest.approx(variance / signal, rel=1e3 * ROUNDING[dtype]) if signal > 0 else np.inf)
    assert not on_host(net.grad).any()


def test_noise_of_equal_samples_is_none():
    net = MLP([2, 2], seed=0)
    noise = net.gradient_noise(np.ones((8, 2)), [1] * 8)
    assert noise.noise_scale == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="X: expected at least 2 samples"):
        net.gradient_noise(np.ones((1, 2)), [1])


def test_noise_beyond_the_numbers_is_not_hidden():
    net = MLP([1, 1], loss="squared_error", dtype="float64", initializer="zeros")
    noise = net.gradient_noise(np.ones((2, 1)), [1e200, 0.0])
    assert np.isnan(noise.variance)
    assert np.isnan(noise.noise_scale)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1.0, ValueError), (np.nan, ValueError),
                                              (np.inf, ValueError), ("1", TypeError), (True, TypeError)])
def test_what_is_refused(value, error):
    net = MLP([2, 2], seed=0)
    before = net.theta.copy()
    X, labels = np.ones((8, 2)), [1] * 8
    with pytest.raises(error, match=r"^clip_norm: "):
        net.accumulate_gradient(X, labels, clip_norm=value)
    for call in (net.fit, lambda *given, **settings: fit_many([net], *given, **settings)):
        with pytest.raises(error, match=r"^clip_sample_norm: "):
            call(X, labels, clip_sample_norm=value)
    assert not net.grad.any()
    assert np.array_equal(net.theta, before)
