"""X of any real dtype and order is read where it lies: with the bits of a converted copy, and without one."""

import tracemalloc

import numpy as np
import pytest
from memory import peak_of
from tolerances import CPU_BACKENDS, SIMULATED, in_orders, on_backends, on_host, others_in_full

import fastbp
from fastbp.checks import samples
from fastbp.checks.samples import READABLE
from fastbp.sklearn import MLPClassifier

#: Rows of whole vectors and a rest, in panels of samples and a rest.
WIDTHS, SAMPLES = (37, 5, 3), 19

ORDERS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
}


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Arrays of any size stay as they lie."""
    monkeypatch.setattr(samples, "SMALL_COPY", 0)


def numbers(source, shape=(SAMPLES, WIDTHS[0])):
    """Whole numbers of up to eight bits, or fractions."""
    rng, dtype = np.random.default_rng(0), np.dtype(source)
    if dtype.kind == "f":
        return (rng.normal(size=shape) * 3).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    bounds = np.iinfo(np.uint8 if dtype.kind == "u" else np.int8)
    return rng.integers(bounds.min, bounds.max, shape, endpoint=True).astype(dtype)


def network(dtype, backend, **settings):
    return fastbp.MLP(WIDTHS, activation="tanh", dtype=dtype, backend=backend, seed=0, **settings)


def all_results(net, X):
    """What every kind of call gives, one after another."""
    d = np.arange(len(X)) % WIDTHS[-1]
    results = [net.forward(X), net.loss_value(X, d), net.input_gradient(X, d), net.gradient_norms(X, d)]
    net.accumulate_gradient(X, d)
    results.append(on_host(net.grad).copy())
    net.zero_grad()
    for batch_size in (16,) if SIMULATED else (1, 3, 16):  # one by one, a few, and in panels
        for optimizer in (fastbp.SGD(0.001), fastbp.Adam(0.001)):
            history = net.fit(X, d, optimizer=optimizer, epochs=2, batch_size=batch_size, seed=1, progress=False)
            results.append(history["loss"])
    return [*results, on_host(net.theta)]


@pytest.mark.parametrize(("order", "source", "dtype", "backend"), in_orders(others_in_full(on_backends(
    [*((source, "float32") for source in READABLE),
     *((source, "float64") for source in ("uint8", "float16", "float32"))],
    simulated=[("uint8", "float32")])), ORDERS))
def test_any_array_gives_the_bits_of_a_converted_copy(source, dtype, order, backend):
    X = numbers(source)
    expected = all_results(network(dtype, backend), X.astype(dtype))
    found = all_results(network(dtype, backend), ORDERS[order](X))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("source", "value"), [("int64", 2**63 - 1), ("uint64", 2**64 - 1), ("int8", -128),
                                               ("float64", 1e-310), ("float64", 1 + 2**-24 + 2**-40),
                                               ("float16", 2.0**-24), ("float16", -65504.0)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_extreme_numbers_are_rounded_as_numpy_rounds(source, value, contiguous):
    X = np.full((4, 3) if contiguous else (4, 6), value, source)[:, :: 1 if contiguous else 2]
    net = fastbp.MLP([3, 1], loss="squared_error", seed=0)
    net.theta[:] = [1e-5, 2e-5, 3e-5, 0]
    np.testing.assert_array_equal(net.forward(X), net.forward(np.ascontiguousarray(X, np.float32)))


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_gives_the_same_bits(threads):
    before = fastbp.get_num_threads()
    X, d = numbers("uint8", (2000, 60)), np.arange(2000) % 7
    thetas = []
    try:
        for count in (1, threads):
            fastbp.set_num_threads(count)
            net = fastbp.MLP([60, 64, 7], seed=0)
            net.fit(X, d, optimizer=fastbp.Adam(1e-4), epochs=4, batch_size=512, seed=1, progress=False)
            thetas.append(net.theta)
    except ValueError as error:
        pytest.skip(str(error))
    finally:
        fastbp.set_num_threads(before)
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("order", ["C", "Fortran"])
def test_no_call_copies_a_large_array(order, backend):
    X, d = ORDERS[order](numbers("uint8", (20_000, 50))), np.arange(20_000) % 3
    net = fastbp.MLP([50, 4, 3], backend=backend, seed=0)
    calls = [lambda: net.fit(X, d, epochs=1, progress=False, validation_data=(X, d)), lambda: net.evaluate(X, d),
             lambda: net.accumulate_gradient(X, d), lambda: net.forward(X)]
    for call in calls:
        call()  # makes the workspace
        assert peak_of(call) < 0.25 * 4 * X.size


def test_a_mapped_file_is_read_where_it_lies(tmp_path):
    X, d = numbers("float64", (500, 37)), np.arange(500) % 3
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    nets = [network("float32", "tiled") for _ in range(2)]
    for net, given in zip(nets, (mapped, X), strict=True):
        net.fit(given, d, epochs=2, seed=1, progress=False)
    np.testing.assert_array_equal(nets[0].theta, nets[1].theta)
    np.testing.assert_array_equal(nets[0].forward(mapped), nets[1].forward(X))


def test_networks_that_are_trained_together_share_it():
    X, d = numbers("int16"), np.arange(SAMPLES) % 3
    nets, alone = [network("float32", "tiled") for _ in range(2)], network("float32", "tiled")
    fastbp.fit_many(nets, X, d, epochs=2, seeds=[5, 6], progress=False)
    alone.fit(X.astype(np.float32), d, epochs=2, seed=6, progress=False)
    np.testing.assert_array_equal(nets[1].theta, alone.theta)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("source", "value", "reason", "backend"), on_backends([
    ("float64", np.nan, "expected finite numbers"), ("float64", -np.inf, "expected finite numbers"),
    ("float64", 1e39, "which is beyond float32"), ("float64", np.finfo(np.float64).max, "which is beyond float32"),
    ("float16", np.nan, "expected finite numbers"), ("float16", np.inf, "expected finite numbers")],
    simulated=[("float64", 1e39, "which is beyond float32")]))
def test_numbers_that_do_not_fit_are_refused_with_their_place(source, value, reason, order, backend):
    X, net = numbers(source), network("float32", backend)
    X[11, 30], before = value, on_host(net.theta).copy()
    for call in (lambda X: net.forward(X), lambda X: net.fit(X, np.zeros(SAMPLES, int), epochs=1)):
        with pytest.raises(ValueError, match=rf"^X: found .* at \[11, 30\], {reason}"):
            call(ORDERS[order](X))
    np.testing.assert_array_equal(on_host(net.theta), before)


def test_the_largest_number_that_rounds_into_the_dtype_is_taken():
    """Halfway between the largest float32 and the next power of two, numbers begin to round to infinity."""
    largest = float(np.finfo(np.float32).max)
    net = fastbp.MLP([1, 1], loss="squared_error", seed=0)
    net.theta[:] = 0
    assert net.forward(np.full((3, 1), largest + 2.0**102)).tolist() == [[0.0]] * 3
    with pytest.raises(ValueError, match="which is beyond float32"):
        net.forward(np.full((3, 1), largest + 2.0**103))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_an_estimator_reads_integers_where_they_lie():
    """Also what it predicts on, and the part that early stopping does not hold out."""
    X, y = numbers("uint8", (20_000, 50)), np.arange(20_000) % 3
    models = [MLPClassifier([4], max_iter=2, random_state=0, early_stopping=True) for _ in range(2)]
    models[0].fit(X, y).predict(X)  # makes workspaces
    tracemalloc.start()
    models[0].fit(X, y).predict(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    models[1].fit(X.astype(np.float64), y)
    assert peak < 0.5 * 8 * X.size
    for one, other in zip(models[0].coefs_, models[1].coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
