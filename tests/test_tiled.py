"""The backend `tiled` where its schedule has edges: tiles, panels and chunks, steps taken at once, other vectors.

What all backends have in common is tested over all of them in the other files.
"""

import contextlib
import os
import platform
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import llvmlite.binding
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import DTYPES, ROUNDING, assert_close

import fastbp
from fastbp import MLP, SGD, DivergenceError
from fastbp.backends import tiled
from fastbp.backends.tiles import online
from fastbp.backends.tiles.job import fields
from fastbp.functions.activations import ACTIVATIONS

HIDDEN = [activation.name for activation in ACTIVATIONS if activation.g is not None]


def make_network(theta, widths, names, loss, dtype, backend="tiled"):
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, backend=backend, seed=0)
    net.theta[:] = theta
    return net


def in_proportion(theta, widths):
    """Drawn parameters with every W_k divided by √N_{k-1}: activations keep their size over layers of any width."""
    start = 0
    for n_in, n_out in pairwise(widths):
        theta[start : start + n_out * n_in] /= np.sqrt(n_in).astype(theta.dtype)
        start += n_out * (n_in + 1)


def reference(theta, widths, names, loss, X, d, weights):
    """Y, E, grad, E0 in plain Python, and Σ_s max |w_s ∇E_s|: to this, rounding in a sum over samples is relative."""
    Y = [naive.forward(theta, widths, names, x)[1][-1] for x in X]
    samples = zip(X, naive.target_rows(d, widths[-1]), weights.astype(float), strict=True)
    parts = [(weight, *naive.backward(theta, widths, names, loss, x, d_s)) for x, d_s, weight in samples]
    E0 = np.array([weight * e_0 for weight, _, _, e_0 in parts])
    return (Y, sum(weight * E for weight, E, _, _ in parts), sum(weight * grad for weight, _, grad, _ in parts), E0,
            sum(weight * np.abs(grad).max() for weight, _, grad, _ in parts))


# ---- any network, any batch ------------------------------------------------------------------------------------------

@st.composite
def problems(draw):
    """Widths 1 to 80, depths 1 to 5, 1 to 300 samples, every activation for each layer, every case, both dtypes."""
    case = draw(st.sampled_from(list(naive.CASES)))
    hidden = draw(st.lists(st.tuples(st.integers(1, 80), st.sampled_from(HIDDEN)), max_size=4))
    loss, output, kind = naive.CASES[case]
    outputs = draw(st.integers(2 if kind == "labels" else 1, 80))
    widths = (draw(st.integers(1, 80)), *(width for width, _ in hidden), outputs)
    names = (*(name for _, name in hidden), output or draw(st.sampled_from(HIDDEN)))
    n, seed, dtype = draw(st.integers(1, 300)), draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(DTYPES))
    inputs = naive.draw_inputs(widths, n, seed, dtype)
    in_proportion(inputs["theta"], widths)
    return widths, names, loss, dtype, inputs["theta"], inputs["X"], inputs[kind], inputs["weights"]


@settings(max_examples=60)
@given(problem=problems())
def test_networks_of_any_shape_on_batches_of_any_size(problem):
    widths, names, loss, dtype, theta, X, d, weights = problem
    net = make_network(theta, widths, names, loss, dtype)
    Y, E, grad, E0, magnitude = reference(theta, widths, names, loss, X, d, weights)
    assert_close(net.forward(X), Y, ROUNDING[dtype])
    assert_close(net.accumulate_gradient(X, d, weights), E, ROUNDING[dtype])
    assert_close(net.grad, grad, ROUNDING[dtype], magnitude)
    assert_close(net.input_gradient(X, d, weights), E0, ROUNDING[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widths", [(2, 16, 1), (4, 32, 16, 4), (20, 200, 200, 5), (784, 128, 10), (1024, 2048, 10)])
def test_a_workspace_has_at_most_64_mebibytes_for_any_number_of_threads(widths, dtype):
    layout = MLP(widths, dtype=dtype, loss="squared_error", backend="tiled", initializer="zeros").layout
    tiled.workspace(layout, np.dtype(dtype), 10**6, threads=2)  # compiles
    for threads in (1, 2, 3, 8, 24, 64, 128):
        tracemalloc.start()
        job = tiled.workspace(layout, np.dtype(dtype), 10**6, threads=threads)
        reserved, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 2 * fields(job).chunk * 8 < reserved <= 2**26


# ---- steps that are taken while the gradient is computed -------------------------------------------------------------

WIDTHS, NAMES = (33, 17, 9), ("tanh", "identity")


def chunk_of(dtype):
    """How many samples of this network one chunk holds."""
    with MLP(WIDTHS, dtype=dtype, backend="tiled").workspace(10**6) as job:
        return int(fields(job).chunk)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 15, 16, 17, 31, 32, 33, "chunk - 1", "chunk", "chunk + 1"])
def test_a_step_at_once_is_that_of_the_gradient(n, dtype):
    """θ - γ ∇E / n of plain descent, with labels and weights; beyond a chunk it is taken in the usual way."""
    n = n if isinstance(n, int) else chunk_of(dtype) + {"chunk - 1": -1, "chunk": 0, "chunk + 1": 1}[n]
    inputs = naive.draw_inputs(WIDTHS, n, dtype=dtype)
    given, rate = (inputs["X"], inputs["labels"], inputs["weights"]), 0.5
    net = make_network(inputs["theta"], WIDTHS, NAMES, "softmax_cross_entropy", dtype)
    history = net.fit(*given[:2], sample_weight=given[2], optimizer=SGD(rate), epochs=1, batch_size=n)
    _, E, grad, _, magnitude = reference(inputs["theta"], WIDTHS, NAMES, "softmax_cross_entropy", *given)
    assert_close(history["loss"], [E / n], ROUNDING[dtype])
    assert_close(net.theta, inputs["theta"] - rate * grad / n, ROUNDING[dtype],
                 np.abs(inputs["theta"]).max() + rate * magnitude / n)
    assert not net.grad.any()


def until_it_diverges(net, X, d, rate, **settings):
    """The epoch and the step at which `fit` gives up; the parameters are then finite."""
    with pytest.raises(DivergenceError) as caught:
        net.fit(X, d, optimizer=SGD(rate), epochs=100, shuffle=False, **settings)
    assert np.isfinite(net.theta).all()
    return caught.value.epoch, caught.value.step


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("widths", "batch_size"), [((4, 8, 2), 1), ((4, 8, 2), 16), ((600, 30, 3), 1),
                                                    ((600, 30, 3), 3), ((600, 30, 3), 20)])
def test_how_many_steps_are_taken_in_a_row_changes_no_bit(widths, batch_size, dtype, monkeypatch):
    """Networks below and above MAX_COPIED, whose steps are taken back or bounded, in slices of any length."""
    inputs = naive.draw_inputs(widths, 100, dtype=dtype)
    results = set()
    for length in (1, 2, 7, 50, 10**6):
        monkeypatch.setattr(fastbp.pace.Pace, "next_slice", lambda pace, threads, length=length: (1, length))
        net = make_network(inputs["theta"], widths, ("tanh", "identity"), "squared_error", dtype)
        history = net.fit(inputs["X"], inputs["targets"], optimizer=SGD(0.01), epochs=2, batch_size=batch_size, seed=1)
        results.add((net.theta.tobytes(), np.array(history["loss"]).tobytes()))
    assert len(results) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("widths", "batch_size"), [((5, 7, 3), 2), ((5, 7, 3), 7), ((5, 7, 3), 40),
                                                    ((600, 30, 3), 1)])
def test_a_diverging_step_leaves_the_last_finite_parameters(widths, batch_size, dtype):
    names = ("relu", "identity")
    inputs = naive.draw_inputs(widths, 400, dtype=dtype)
    X, d = inputs["X"], inputs["targets"]
    nets = [make_network(inputs["theta"], widths, names, "squared_error", dtype, backend) for backend in
            ("tiled", "tiled", "loops")]
    epoch, step = until_it_diverges(nets[0], X, d, 3.0, batch_size=batch_size)
    assert (epoch, step) == until_it_diverges(nets[2], X, d, 3.0, batch_size=batch_size)
    assert (epoch, step) > (0, 1)
    if epoch:
        nets[1].fit(X, d, optimizer=SGD(3.0), epochs=epoch, shuffle=False, batch_size=batch_size)
    if step:
        done = batch_size * step
        nets[1].fit(X[:done], d[:done], optimizer=SGD(3.0), epochs=1, shuffle=False, batch_size=batch_size)
    assert nets[0].theta.tobytes() == nets[1].theta.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 3, 20])
@pytest.mark.parametrize("case", naive.CASES)
def test_the_largest_inputs_write_no_infinity(case, batch_size, dtype):
    loss, output, kind = naive.CASES[case]
    inputs = naive.draw_inputs((3, 5, 2), 20, dtype=dtype)
    X = inputs["X"] * inputs["X"].dtype.type({"float32": 1e30, "float64": 1e300}[dtype])
    net = make_network(inputs["theta"], (3, 5, 2), ("relu", output or "relu"), loss, dtype)
    with contextlib.suppress(DivergenceError):
        net.fit(X, inputs[kind], optimizer=SGD(0.1), epochs=5, batch_size=batch_size)
    assert np.isfinite(net.theta).all()
    assert not net.grad.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", range(1, 8))
def test_a_panel_has_the_same_bits_alone_and_beside_another(outputs, dtype):
    """Panels go through in pairs, and which one is left alone depends on the threads; tiles of few rows are special.

    The last of three is alone, and each of five is the last one once. (One panel may be so few samples that they go one
    by one.)
    """
    widths, lanes = (3, 64, outputs, outputs), tiled.lanes(np.dtype(dtype))
    inputs = naive.draw_inputs(widths, 5 * lanes, dtype=dtype)
    net = make_network(inputs["theta"], widths, ("tanh", "tanh", "identity"), "squared_error", dtype)
    found = net.forward(inputs["X"]), net.input_gradient(inputs["X"], inputs["targets"])
    for last in range(5):
        S = (np.arange((last - 2) * lanes, (last + 1) * lanes)) % (5 * lanes)
        alone = net.forward(inputs["X"][S]), net.input_gradient(inputs["X"][S], inputs["targets"][S])
        assert [values[S].tobytes() for values in found] == [values.tobytes() for values in alone]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1024, 1137])
@pytest.mark.parametrize("units", [2, 150])
def test_columns_of_a_large_w_that_are_copied_give_the_same_bits(units, columns, dtype):
    """Nine panels together take copies of W_2, three do not; see `tiles.packing`."""
    widths, lanes = (3, columns, units, 2), tiled.lanes(np.dtype(dtype))
    inputs = naive.draw_inputs(widths, 9 * lanes, dtype=dtype)
    net = make_network(inputs["theta"], widths, ("tanh", "tanh", "identity"), "squared_error", dtype)
    together = net.input_gradient(inputs["X"], inputs["targets"])
    for begin in range(0, 9 * lanes, 3 * lanes):
        S = slice(begin, begin + 3 * lanes)
        assert net.input_gradient(inputs["X"][S], inputs["targets"][S]).tobytes() == together[S].tobytes()


# ---- one-sample steps, compiled for one list of widths ---------------------------------------------------------------

ONLINE = {
    "labels": ((4, 16, 5, 3), ("silu", "relu", "identity"), "softmax_cross_entropy", "labels"),
    "softmax": ((1, 3, 2), ("gelu", "softmax"), "cross_entropy", "labels"),
    "targets": ((2, 8, 1), ("tanh", "identity"), "squared_error", "targets"),
    "bits": ((7, 3), ("elu",), "binary_cross_entropy", "bits"),
    "counts": ((2, 5, 2), ("tanh", "identity"), "poisson", "counts"),
    "parameter": ((2, 5, 2), ("tanh", "identity"), "huber(0.5)", "targets"),
}


@pytest.fixture
def taken(monkeypatch):
    """One-sample steps are always worth their kernel; a list of whether each training since had one."""
    found, specialised = [], tiled.specialised

    def noted(*arguments):
        work = specialised(*arguments)
        found.append(fields(work).online != 0)
        return work

    monkeypatch.setattr(online, "MIN_STEPS", 1)
    monkeypatch.setattr(tiled, "specialised", noted)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ONLINE)
def test_one_sample_steps_are_those_of_the_formulas(name, dtype, taken):
    """300 steps as `loops` takes them, from a first block of 256 into a second, in every way samples can come."""
    widths, names, loss, kind = ONLINE[name]
    inputs = naive.draw_inputs(widths, 300, dtype=dtype)
    X, d = inputs["X"], inputs[kind]
    for shuffle in (False, True):
        for weights in (None, inputs["weights"]):
            results = []
            for backend in ("tiled", "loops"):
                net = make_network(inputs["theta"], widths, names, loss, dtype, backend)
                history = net.fit(X, d, optimizer=SGD(0.01), epochs=1, batch_size=1, shuffle=shuffle, seed=3,
                                  sample_weight=weights)
                results.append((net.theta, history["loss"], history.optimizer_state.updates, list(history)))
                if kind in ("labels", "bits"):
                    results[-1] = (*results[-1], history["accuracy"])
            (theta, loss_seen, updates, *seen), (expected, expected_loss, expected_updates, *expected_seen) = results
            assert_close(theta, expected, 10 * ROUNDING[dtype])  # the rounding of one step goes into all that follow
            assert_close(loss_seen, expected_loss, 10 * ROUNDING[dtype])
            assert (updates[0], seen) == (expected_updates[0], expected_seen)
            assert updates[0] == 300
    assert taken == [True] * 4


def test_one_sample_steps_of_many_layers(taken):
    """The names of what is compiled do not grow with the network: file names may not."""
    net, expected = (fastbp.MLP([2] * 16, activation="leaky_relu", loss="squared_error", dtype="float64", seed=0,
                                backend=backend) for backend in ("tiled", "loops"))
    rows = np.random.default_rng(0).normal(size=(30, 2))
    for each in (net, expected):
        each.fit(rows, rows, batch_size=1, epochs=1, seed=0)
    assert taken == [True]
    assert_close(net.theta, expected.theta, ROUNDING["float64"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.3, 1e30])
def test_one_sample_steps_that_diverge(rate, dtype, taken):
    widths, _, loss, kind = ONLINE["targets"]
    inputs = naive.draw_inputs(widths, 300, dtype=dtype)
    X, d = inputs["X"] / 30, inputs[kind]
    X[290:] *= 10**4  # so that the smaller rate diverges in the second block
    places = []
    for backend in ("tiled", "loops"):
        net = make_network(inputs["theta"], widths, ("relu", "identity"), loss, dtype, backend)
        places.append(until_it_diverges(net, X, d, rate, batch_size=1))
    assert places[0] == places[1]
    assert taken == [True]


# ---- vectors of other processors -------------------------------------------------------------------------------------

RIGHT = """
import sys
import naive
import numpy as np
from tolerances import ROUNDING, assert_close
from fastbp import MLP
from fastbp.backends.tiles.host import host

names, dtype = ("tanh", "identity"), sys.argv[1]
for widths, n in [((33, 17, 9), 45), ((3, 10, 2), 205)]:
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    X, labels, weights = inputs["X"], inputs["labels"], inputs["weights"]
    net = MLP(widths, activation=names, dtype=dtype, backend="tiled")
    net.theta[:] = inputs["theta"]
    for m in (3, n):  # one by one, and in panels, of which the second network has many
        net.zero_grad()
        found = net.accumulate_gradient(X[:m], labels[:m], weights[:m]), net.grad, net.input_gradient(
            X[:m], labels[:m], weights[:m])
        expected = naive.gradients(net.theta, widths, names, "softmax_cross_entropy", X[:m], labels[:m], weights[:m])
        for actual, right in zip(found, expected, strict=True):
            assert_close(actual, right, ROUNDING[dtype])
        Y = [naive.forward(net.theta, widths, names, x)[1][-1] for x in X[:m]]
        assert_close(net.forward(X[:m]), Y, ROUNDING[dtype])
print(host().name)
"""

BUILDS = {
    "baseline": ({"NUMBA_CPU_NAME": "generic"}, "baseline", set()),
    "baseline, no features": ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, "baseline", set()),
    "AVX2": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+sse,+sse2,+sse3,+ssse3,"
              "+sse4.1,+sse4.2,+popcnt"}, "AVX2", {"avx2", "fma", "bmi", "bmi2"}),
}


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="builds for x86-64")
@pytest.mark.parametrize(("build", "dtype"), [
    ("AVX2", "float32"), ("baseline", "float64"),
    *(pytest.param(build, dtype, marks=pytest.mark.full) for build, dtype in [
        ("AVX2", "float64"), ("baseline", "float32"), ("baseline, no features", "float32"),
        ("baseline, no features", "float64")])])
def test_builds_for_narrower_vectors_are_right(build, dtype):
    environment, name, needed = BUILDS[build]
    features = llvmlite.binding.get_host_cpu_features()
    if not all(features.get(feature) for feature in needed):
        pytest.skip(f"this processor has no {name}")
    path = os.pathsep.join([str(Path(fastbp.__file__).parents[1]), str(Path(__file__).parent)])
    finished = subprocess.run([sys.executable, "-P", "-W", "error", "-c", RIGHT, dtype], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": path} | environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == name
