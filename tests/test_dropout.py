"""Dropout: masks against a hash in plain integers, and training against backpropagation in NumPy with those masks."""

from itertools import pairwise

import naive
import numba
import numpy as np
import pytest
from tolerances import CPU_BACKENDS, CUDA, DTYPES, ROUNDING, SIMULATED, assert_close, on_backends, on_host

from fastbp import MLP, SGD, Activation, Adam, fit_many
from fastbp.backends.tiles import online
from fastbp.compiling.addresses import address_of, invoke
from fastbp.formulas.dropout import drop_panel, epoch_key
from fastbp.pace import Pace

WORD, HALF = 2**64 - 1, 2**32 - 1

WIDTHS = (5, 6, 9, 3) if SIMULATED else (5, 17, 33, 3)
NAMES, LOSS, RATES = ("tanh", "silu", "identity"), "softmax_cross_entropy", [0.3, 0.5]


# ---- the masks in plain Python ---------------------------------------------------------------------------------------

def scramble(z):
    z = (z + 0x9E3779B97F4A7C15) & WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def bits_of(seed, epoch, k, sample, i):
    """32 random bits of one unit of one sample."""
    key = scramble(scramble(seed ^ 0xD1B54A32D192ED03) ^ epoch)
    both = scramble(key + sample & WORD) ^ scramble(scramble(k) ^ i)
    bits = both & HALF
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & HALF
    bits ^= both >> 32
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & HALF
    return bits ^ (bits >> 16)


def masks(seed, epoch, k, sample, units, rate):
    """m / (1 - p) of a layer of one sample."""
    threshold = int(rate * 2**32)
    kept = [bits_of(seed, epoch, k, sample, i) >= threshold for i in range(units)]
    return np.array(kept) / (1.0 - rate)


def backward(theta, widths, names, loss, x, d, rates, seed, epoch, sample):
    """E and ∂E/∂theta of one sample whose hidden units are dropped, as `naive.backward`."""
    layers = list(naive.layers(theta, widths))
    m = [None, *(masks(seed, epoch, k, sample, widths[k], rate) for k, rate in enumerate(rates, 1))]
    a, h = [None], [x.astype(float)]
    for k, (W, b) in enumerate(layers, 1):
        a.append(W @ h[-1] + b)
        g = naive.activate(names[k - 1], a[k])
        h.append(m[k] * g if k < len(layers) else g)
    E, e = naive.LOSSES[loss](h[-1], d)
    grad = []
    for k in range(len(layers), 0, -1):
        if k < len(layers):
            e = m[k] * e
        delta = naive.jacobian(names[k - 1], a[k]).T @ e
        grad = [np.outer(delta, h[k - 1]).ravel(), delta, *grad]
        e = layers[k - 1][0].T @ delta
    return E, np.concatenate(grad)


def trained(net, X, d, weights, optimizer, epochs, batch_size, rates, seed, C=None):
    """theta and the loss of each epoch after `fit` without shuffling, in plain Python."""
    theta, n, losses = net.theta_on_host().astype(float), len(X), []
    state = optimizer.start(theta)
    rows = naive.target_rows(d, net.widths[-1])
    for epoch in range(epochs):
        total = 0.0
        for start in range(0, n, batch_size):
            S, grad = range(start, min(start + batch_size, n)), np.zeros(theta.size)
            for s in S:
                E, g = backward(theta, net.widths, net.activations, net.loss, X[s], rows[s], rates, seed, epoch, s)
                g = weights[s] * g
                grad += g * min(1.0, C / max(np.linalg.norm(g), 1e-300)) if C else g
                total += weights[s] * E
            optimizer.step(theta, grad / len(S), state)
        losses.append(total / n)
    return theta, losses


def layers_of(theta, widths):
    """Views of W_k and b_k."""
    begin = 0
    for n_in, n_out in pairwise(widths):
        end = begin + n_out * n_in
        yield theta[begin:end].reshape(n_out, n_in), theta[end : end + n_out]
        begin = end + n_out


def drawn(widths, n, dtype, backend, names=NAMES, loss=LOSS):
    """A network with drawn parameters, in proportion to its widths, and what `naive.draw_inputs` gives."""
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, backend=backend, seed=0)
    theta = inputs["theta"]
    for W, _ in layers_of(theta, widths):
        W /= np.sqrt(W.shape[1]).astype(dtype)
    net.theta[:] = theta
    return net, inputs


# ---- masks -----------------------------------------------------------------------------------------------------------

@numba.njit
def dropped(drop, h, samples, seed, epoch, k, rates):
    """h (panels, units, lanes) of the samples (panels, lanes), dropped in place by the compiled function."""
    for p in range(h.shape[0]):
        invoke(drop, (h[p], h.shape[1], samples[p], epoch_key(seed, epoch, 0), k, rates))


def kept_units(n, units, seed=0, epoch=0, k=1, rate=0.5, dtype="float32", lanes=8):
    """m / (1 - p) of so many samples, (n, units), by the compiled function."""
    h = np.ones((n // lanes, units, lanes), dtype)
    dropped(address_of(drop_panel, dtype, lanes), h, np.arange(n).reshape(-1, lanes), seed, epoch, k,
            np.full(k + 1, rate))
    return h.transpose(0, 2, 1).reshape(n, units)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lanes", [1, 8, 16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999])
def test_masks_are_those_of_the_hash_in_plain_integers(rate, lanes, dtype):
    for seed, epoch, k in ((0, 0, 1), (2**63 - 1, 7, 1), (5, 2**31, 40)):
        found = kept_units(16, 21, seed, epoch, k, rate, dtype, lanes)
        expected = [masks(seed, epoch, k, s, 21, rate) for s in range(16)]
        assert found.tobytes() == np.array(expected, dtype).tobytes()


@pytest.mark.parametrize("rate", [1e-3, 0.2, 0.5, 0.9])
def test_each_unit_and_each_sample_is_kept_as_often_as_the_rate_says(rate):
    """Frequencies over all, and over each sample and each unit, within 5 standard deviations of 1 - p."""
    n, units = 4096, 512
    kept = kept_units(n, units, rate=rate, seed=11) > 0
    spread = np.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) < 5 * spread / np.sqrt(n * units)
    for axis, count in ((0, n), (1, units)):
        means = kept.mean(axis=axis)
        if spread**2 * count > 10:  # near enough to a normal distribution
            assert abs(means - (1 - rate)).max() < 5.5 * spread / np.sqrt(count)
        assert means.std() == pytest.approx(spread / np.sqrt(count), rel=0.15)


def test_a_dropped_h_is_what_it_was_on_average():
    """Inverted scaling, for any h: the mean over 2^18 masks, within 5 standard deviations."""
    h = np.random.default_rng(0).standard_normal(16)
    for rate in (0.1, 0.5, 0.8):
        mean = kept_units(2**18, 16, rate=rate, dtype="float64").mean(axis=0) * h
        assert (abs(mean - h) < 5 * abs(h) * np.sqrt(rate / (1 - rate) / 2**18)).all()


def test_units_and_samples_are_independent():
    """All singular values of a (2048, 512) matrix of ±1 lie in √2048 ± √512, as those of independent signs do.

    A unit that followed another, or a sample, or a combination of them, would have one far above.
    """
    n, units = 2048, 512
    for seed, epoch, k in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2)):
        signs = np.sign(kept_units(n, units, seed, epoch, k) - 0.5).astype(float)
        singular = np.linalg.svd(signs, compute_uv=False)
        assert singular.max() < np.sqrt(n) + np.sqrt(units) + 2
        assert singular.min() > np.sqrt(n) - np.sqrt(units) - 2


def test_seeds_epochs_layers_and_shifts_are_independent():
    """Two different masks agree in half of 2^19 units, within 5 standard deviations."""
    n, units = 1024, 512
    found = [kept_units(n, units, seed, epoch, k) > 0
             for seed, epoch, k in ((0, 0, 1), (1, 0, 1), (2, 0, 1), (0, 1, 1), (0, 2, 1), (1, 1, 1), (0, 0, 2),
                                    (0, 0, 3))]
    found += [np.roll(found[0], 1, axis=0), np.roll(found[0], 1, axis=1), np.roll(found[0], (1, 1), axis=(0, 1))]
    for p, first in enumerate(found):
        for second in found[:p]:
            assert abs((first == second).mean() - 0.5) < 5 * 0.5 / np.sqrt(n * units)
    assert kept_units(n, units, 0, 1, 1).tobytes() != kept_units(n, units, 0, 0, 1).tobytes()


# ---- training --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends(
    [(43, 1), (43, 3), (43, 20), (131, 128)], simulated=[(5, 3)]))
@pytest.mark.parametrize("optimizer", [SGD(0.05), SGD(0.05, momentum=0.5)], ids=["at once", "gradient"])
def test_training_is_that_of_the_formulas(optimizer, n, batch_size, backend, dtype, monkeypatch):
    """Two epochs as a loop in plain Python with the same masks; all backends with the same, up to rounding."""
    monkeypatch.setattr(online, "MIN_STEPS", 1)  # kernels for one-sample steps would not drop
    net, inputs = drawn(WIDTHS, n, dtype, backend)
    X, d, weights = inputs["X"], inputs["labels"], inputs["weights"]
    expected, losses = trained(net, X, d, weights, optimizer, 2, batch_size, RATES, 7)
    history = net.fit(X, d, sample_weight=weights, optimizer=optimizer, epochs=2, batch_size=batch_size, shuffle=False,
                      seed=7, dropout=RATES)
    assert_close(net.theta, expected, 10 * ROUNDING[dtype])
    assert_close(history["loss"], losses, 10 * ROUNDING[dtype])
    assert not on_host(net.grad).any()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_samples_beyond_a_chunk(backend):
    """One batch of 1,500 samples, more than a chunk of any backend."""
    net, inputs = drawn((2, 5, 4, 2), 1500, "float64", backend)
    expected, losses = trained(net, inputs["X"], inputs["labels"], np.ones(1500), SGD(0.5), 1, 1500, RATES, 7)
    history = net.fit(inputs["X"], inputs["labels"], optimizer=SGD(0.5), epochs=1, batch_size=1500, shuffle=False,
                      seed=7, dropout=RATES)
    assert_close(net.theta, expected, 1e-12)
    assert_close(history["loss"], losses, 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 3, 20, 128])
def test_backends_agree_on_shuffled_samples(batch_size, dtype):
    """A mask goes with the sample, wherever it is in the order; one rate for all layers; a network above MAX_COPIED."""
    widths = (600, 30, 20, 3)
    results = []
    for backend in CPU_BACKENDS:
        net, inputs = drawn(widths, 150, dtype, backend)
        before = net.theta.copy()
        net.fit(inputs["X"], inputs["labels"], optimizer=SGD(0.02), epochs=2, batch_size=batch_size, seed=1,
                dropout=0.25)
        results.append(net.theta.copy())
    for theta in results[1:]:
        assert_close(theta, results[0], 10 * ROUNDING[dtype])
    assert np.abs(results[0] - before).max() > 1e-3


@pytest.mark.parametrize("backend", CUDA)
def test_a_gpu_agrees_on_shuffled_samples(backend):
    thetas = []
    for name in ("loops", backend):
        net, inputs = drawn((3, 9, 4, 3), 7, "float64", name)
        net.fit(inputs["X"], inputs["labels"], optimizer=SGD(0.1), epochs=2, batch_size=3, seed=1, dropout=0.25)
        thetas.append(net.theta_on_host())
    assert_close(*thetas, 1e-12)


@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends(
    [(43, 1), (43, 3), (43, 20)], simulated=[(5, 3)]))
def test_clipping_sees_what_is_left_of_h(n, batch_size, backend):
    net, inputs = drawn(WIDTHS, n, "float64", backend)
    given, C = (inputs["X"], inputs["labels"], inputs["weights"]), 0.4
    expected, losses = trained(net, *given, SGD(0.3), 2, batch_size, RATES, 3, C)
    unclipped, _ = trained(net, *given, SGD(0.3), 2, batch_size, RATES, 3)
    history = net.fit(*given[:2], sample_weight=given[2], optimizer=SGD(0.3), epochs=2, batch_size=batch_size,
                      shuffle=False, seed=3, dropout=RATES, clip_sample_norm=C)
    assert_close(net.theta, expected, 1e-12)
    assert_close(history["loss"], losses, 1e-12)
    assert np.abs(unclipped - expected).max() > 1e-3


@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends([(40, 1), (40, 20)], simulated=[(5, 3)]))
def test_the_derivative_of_your_own_activation_gets_the_h_of_its_formula(n, batch_size, backend):
    """1 / (1 + e^-a) with g' = h (1 - h), which is wrong for what dropping leaves of h."""
    own = Activation("own_logistic", lambda a: 1 / (1 + np.exp(-a)), lambda a, h: h * (1 - h))
    nets = []
    for activation in (own, "logistic"):
        net, inputs = drawn(WIDTHS, n, "float64", backend, names=(activation, activation, "identity"))
        if activation == "logistic":
            expected, _ = trained(net, inputs["X"], inputs["labels"], np.ones(n), Adam(0.02), 2, batch_size, RATES, 5)
        net.fit(inputs["X"], inputs["labels"], optimizer=Adam(0.02), epochs=2, batch_size=batch_size, shuffle=False,
                seed=5, dropout=RATES)
        nets.append(net)
    assert_close(nets[0].theta, expected, 1e-11)
    assert_close(nets[1].theta, expected, 1e-11)


@pytest.mark.parametrize("rates", [[0.5, 0.0], [0.0, 0.5]])
@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends([(40, 20)], simulated=[(4, 3)]))
def test_a_layer_may_keep_all_units(n, batch_size, backend, rates):
    net, inputs = drawn(WIDTHS, n, "float64", backend)
    expected, _ = trained(net, inputs["X"], inputs["labels"], np.ones(n), SGD(0.5), 2, batch_size, rates, 5)
    net.fit(inputs["X"], inputs["labels"], optimizer=SGD(0.5), epochs=2, batch_size=batch_size, shuffle=False, seed=5,
            dropout=np.array(rates))
    assert_close(net.theta, expected, 1e-12)


# ---- bits ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("optimizer", [SGD(0.02), Adam(0.001)], ids=["at once", "gradient"])
@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "blas"])
def test_threads_do_not_change_a_bit(backend, optimizer, monkeypatch):
    """Batches large enough to wake threads, which work where they are told to."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    widths, results = (64, 100, 60, 10), []
    for count in (1, 2):
        monkeypatch.setattr(Pace, "next_slice", lambda pace, threads, count=count: (count, 10**6))
        net, inputs = drawn(widths, 700, "float32", backend)
        net.fit(inputs["X"], inputs["labels"], optimizer=optimizer, epochs=3, batch_size=300, seed=2, dropout=0.4)
        results.append(net.theta.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("widths", "batch_size"), [((4, 8, 2), 1), ((4, 8, 2), 16), ((600, 30, 3), 1),
                                                    ((600, 30, 3), 3), ((600, 30, 3), 20)])
def test_slices_do_not_change_a_bit(widths, batch_size, dtype, monkeypatch):
    """Steps taken back or bounded, in slices of any length, as in tests/test_tiled.py."""
    results = set()
    for length in (1, 2, 7, 50, 10**6):
        monkeypatch.setattr(Pace, "next_slice", lambda pace, threads, length=length: (1, length))
        net, inputs = drawn(widths, 100, dtype, "tiled", ("tanh", "identity"), "squared_error")
        history = net.fit(inputs["X"], inputs["targets"], optimizer=SGD(0.01), epochs=2, batch_size=batch_size, seed=1,
                          dropout=0.3)
        results.add((net.theta.tobytes(), np.array(history["loss"]).tobytes()))
    assert len(results) == 1


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_fit_many_and_seeds(backend):
    X, labels = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    settings = {"epochs": 3, "batch_size": 16, "dropout": 0.5}
    nets, alone = ([MLP([4, 7, 3], seed=seed, backend=backend) for seed in range(3)] for _ in range(2))
    fit_many(nets, X, labels, **settings)
    for net, one in zip(nets, alone, strict=True):
        one.fit(X, labels, **settings)
        assert net.theta.tobytes() == one.theta.tobytes()

    def once(seed):
        net = MLP([4, 7, 3], seed=0, backend=backend)
        net.fit(X, labels, seed=seed, shuffle=False, **settings)
        return net.theta.tobytes()

    assert once(1) == once(1) != once(2)


@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends([(43, 20)], simulated=[(4, 3)]))
@pytest.mark.parametrize("nothing", [None, 0, 0.0, [0, 0], np.zeros(2)], ids=str)
def test_a_rate_of_0_is_no_dropout(nothing, n, batch_size, backend):
    results = []
    for settings in ({}, {"dropout": nothing}):
        net, inputs = drawn(WIDTHS, n, "float32", backend)
        history = net.fit(inputs["X"], inputs["labels"], epochs=2, batch_size=batch_size, **settings)
        results.append((net.theta_on_host().tobytes(), history["loss"]))
    assert results[0] == results[1]


# ---- only in training ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("n", "batch_size", "backend"), on_backends([(43, 3), (43, 20)], simulated=[(5, 3)]))
@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.01)], ids=["at once", "gradient"])
def test_validation_and_later_calls_use_all_units(optimizer, n, batch_size, backend):
    net, inputs = drawn(WIDTHS, n, "float64", backend)
    X, d = inputs["X"], inputs["labels"]
    seen = []
    history = net.fit(X, d, optimizer=optimizer, epochs=3, batch_size=batch_size, dropout=0.5, validation_data=(X, d),
                      metrics={"first": lambda d, Y: Y[0, 0]},
                      callbacks=[lambda net, history: seen.append((net.loss_value(X, d), net.theta_on_host().copy()))])
    for epoch, (E, theta) in enumerate(seen):
        expected = naive.gradients(theta, WIDTHS, NAMES, LOSS, X, d)[0]
        assert_close(E, expected, 1e-12)
        assert history["validation_loss"][epoch] == pytest.approx(expected / n, rel=1e-12)
        assert history["validation_first"][epoch] == history["first"][epoch]
        assert history["loss"][epoch] != pytest.approx(expected / n, rel=1e-3)
    S = slice(0, 3)  # no more than a batch, so that the memory is that of the training
    E, grad, E0 = naive.gradients(net.theta_on_host(), WIDTHS, NAMES, LOSS, X[S], d[S])
    assert_close(net.loss_value(X[S], d[S]), E, 1e-12)
    net.accumulate_gradient(X[S], d[S])
    assert_close(net.grad, grad, 1e-12)
    assert_close(net.input_gradient(X[S], d[S]), E0, 1e-12)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_it_learns(backend):
    points = np.random.default_rng(1).normal(size=(300, 2))
    inside = ((points**2).sum(axis=1) < 1).astype(int)
    net = MLP([2, 64, 2], backend=backend, seed=0)
    net.fit(points, inside, optimizer=Adam(0.02), epochs=60, batch_size=50, dropout=0.2)
    assert net.evaluate(points, inside)[1] > 0.95


# ---- what is refused -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("value", "error", "message"), [
    (1.0, ValueError, r"^dropout: expected a finite number at least 0 and below 1, found 1\.0$"),
    (-0.1, ValueError, r"^dropout: expected .*, found -0\.1$"),
    (float("nan"), ValueError, r"^dropout: expected .*, found nan$"),
    (True, TypeError, "^dropout: expected a number, found True$"),
    ("0.5", TypeError, "^dropout: expected a number, found '0.5'$"),
    (b"ab", TypeError, "^dropout: expected a number"),
    ({0.1, 0.2}, TypeError, "^dropout: expected a number"),
    (np.array(0.5), TypeError, "^dropout: expected a number"),
    ([0.1], ValueError, "^dropout: expected one rate, or one for each of the 2 hidden layers, found 1$"),
    ([0.1, 0.2, 0.3], ValueError, "^dropout: expected one rate, or one for each of the 2 hidden layers, found 3$"),
    ([0.1, 1.5], ValueError, r"^dropout\[1\]: expected a finite number at least 0 and below 1, found 1\.5$"),
    ([0.1, True], TypeError, r"^dropout\[1\]: expected a number, found True$"),
    ([[0.1, 0.2], [0.1, 0.2]], TypeError, r"^dropout\[0\]: expected a number"),
])
def test_bad_rates(value, error, message):
    net, X, d = MLP([2, 3, 4, 2], seed=0), np.zeros((5, 2)), np.zeros(5, int)
    before, seed = net.theta.copy(), MLP([2, 3, 4, 2], seed=0).draw_seed()
    with pytest.raises(error, match=message):
        net.fit(X, d, dropout=value)
    with pytest.raises(error, match=message.replace("^", r"^nets\[0\]: ", 1)):
        fit_many([net], X, d, dropout=value)
    assert net.theta.tobytes() == before.tobytes()
    assert net.draw_seed() == seed


def test_networks_without_hidden_layers():
    net, X, d = MLP([2, 2], seed=0), np.zeros((5, 2)), np.zeros(5, int)
    with pytest.raises(ValueError, match=r"^dropout: expected 0 for a network without hidden layers, found 0\.5$"):
        net.fit(X, d, dropout=0.5)
    with pytest.raises(ValueError, match=r"^dropout: expected one rate, .* 0 hidden layers, found 1$"):
        net.fit(X, d, dropout=[0.5])
    for nothing in (0.0, [], None):
        net.fit(X, d, epochs=1, dropout=nothing)
