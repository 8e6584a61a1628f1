"""Networks inside compiled code: results, statuses, threads, and what Numba's cache does with their callers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import naive
import numba
import numpy as np
import pytest
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys
from tolerances import DTYPES, ROUNDING, assert_close

import fastbp
from fastbp import MLP, jit
from fastbp.backends.tiles.job import fields
from fastbp.jit import arguments as jit_arguments

NETWORKS = {
    "labels": ((5, 17, 33, 3), ("tanh", "relu", "identity"), "softmax_cross_entropy", "labels"),
    "softmax": ((7, 3), ("softmax",), "cross_entropy", "labels"),
    "rows": ((40, 6, 20), ("gelu", "identity"), "softmax_cross_entropy", "labels"),
    "targets": ((3, 64, 64, 2), ("silu", "logistic", "identity"), "squared_error", "targets"),
    "bits": ((1, 4, 1), ("elu", "identity"), "binary_cross_entropy", "bits"),
    "counts": ((2, 7, 3), ("tanh", "identity"), "poisson", "counts"),
}


def drawn(name, n, dtype, backend="auto"):
    """A network, and samples with their targets."""
    widths, names, loss, kind = NETWORKS[name]
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, seed=0, backend=backend)
    net.theta[:] = inputs["theta"]
    return net, inputs["X"], inputs[kind]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 4, 5, 40, 300])
@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_those_of_the_network(name, n, dtype):
    net, X, d = drawn(name, n, dtype)
    work = jit.workspace(net.layout, n)
    Y = np.empty((n, net.widths[-1]), dtype)
    assert jit.forward(net.theta, net.layout, X, Y, work) == jit.OK
    assert Y.tobytes() == net.forward(X).tobytes()
    grad, E0 = np.ones_like(net.theta), np.empty_like(X)
    net.grad[:] = 1
    E = net.accumulate_gradient(X, d)
    for found, status in (jit.accumulate_gradient(net.theta, net.layout, X, d, grad, work),
                          jit.input_gradient(net.theta, net.layout, X, d, E0, work)):
        assert status == jit.OK
        assert_close(found, E, 1e-12)
    assert grad.tobytes() == net.grad.tobytes()
    assert E0.tobytes() == net.input_gradient(X, d).tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_one_sample_is_one_dimensional(name):
    net, X, d = drawn(name, 1, "float64")
    work, y, e_0 = jit.workspace(net.layout), np.empty(net.widths[-1]), np.empty(net.widths[0])
    assert jit.forward(net.theta, net.layout, X[0], y, work) == jit.OK
    assert np.array_equal(y, net.forward(X)[0])
    assert jit.input_gradient(net.theta, net.layout, X[0], d[0], e_0, work)[1] == jit.OK
    assert np.array_equal(e_0, net.input_gradient(X, d)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_samples_than_the_workspace_is_for(dtype):
    net, X, d = drawn("labels", 1000, dtype)
    grad = np.zeros_like(net.theta)
    E, status = jit.accumulate_gradient(net.theta, net.layout, X, d, grad, jit.workspace(net.layout))
    assert status == jit.OK
    assert_close(E, net.accumulate_gradient(X, d), 10 * ROUNDING[dtype])
    assert_close(grad, net.grad, 10 * ROUNDING[dtype])


@pytest.mark.parametrize("n", [1, 3, 300])
@pytest.mark.parametrize("name", NETWORKS)
def test_jacobian(name, n):
    """∂y_i/∂x_j by central differences of the network's outputs."""
    net, X, _ = drawn(name, n, "float64")
    J = np.full((n, net.widths[-1], net.widths[0]), np.nan)
    work = jit.workspace(net.layout, n)
    assert jit.input_jacobian(net.theta, net.layout, X, J, work) == jit.OK
    h = 1e-6
    for j, step in enumerate(h * np.eye(net.widths[0])):
        expected = (net.forward(X + step) - net.forward(X - step)) / (2 * h)
        assert_close(J[:, :, j], expected, 1e-7, max(1, np.abs(J).max()))
    Y = np.empty((n, net.widths[-1]))  # the workspace evaluates the loss again afterwards
    assert jit.forward(net.theta, net.layout, X, Y, work) == jit.OK
    assert np.array_equal(Y, net.forward(X))
    one = np.empty((net.widths[-1], net.widths[0]))
    assert jit.input_jacobian(net.theta, net.layout, X[0], one, work) == jit.OK
    assert_close(one, J[0], ROUNDING["float64"])  # alone it may go through as a row, not in a panel
    grad = np.zeros_like(net.theta)
    net, X, d = drawn(name, n, "float64")
    E, status = jit.accumulate_gradient(net.theta, net.layout, X, d, grad, work)
    assert (status, E) == (jit.OK, pytest.approx(net.accumulate_gradient(X, d), rel=1e-12))


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps(dtype):
    rng = np.random.default_rng(0)
    theta, grad = rng.normal(size=(2, 57)).astype(dtype)
    moved = theta.copy()
    expected = theta - 0.25 * grad.astype(float)
    assert jit.sgd_step(moved, grad, 0.25) == jit.OK
    assert_close(moved, expected, ROUNDING[dtype])
    assert not grad.any()

    averages, m, s, expected = np.zeros((2, 57), dtype), 0.0, 0.0, theta.astype(float)
    moved = theta.copy()
    for t in range(1, 6):
        g = rng.normal(size=57).astype(dtype)
        m, s = 0.8 * m + 0.2 * g, 0.99 * s + 0.01 * g.astype(float) ** 2
        expected -= 0.1 * m / (1 - 0.8**t) / (np.sqrt(s / (1 - 0.99**t)) + 1e-6)
        assert jit.adam_step(moved, g, averages, t, 0.1, 0.8, 0.99, 1e-6) == jit.OK
        assert not g.any()
    assert_close(moved, expected, ROUNDING[dtype])


def test_steps_that_are_not_finite_leave_theta():
    theta, averages = np.ones(3), np.zeros((2, 3))
    for grad in (np.array([1.0, np.nan, 0.0]), np.array([1.0, np.inf, 0.0])):
        for status in (jit.sgd_step(theta, grad, 0.1), jit.adam_step(theta, grad, averages, 1, 0.1)):
            assert status == jit.NOT_FINITE
    assert jit.sgd_step(theta, np.full(3, 1e308), 100.0) == jit.NOT_FINITE
    assert theta.tolist() == [1, 1, 1]
    assert not averages.any()
    assert jit.sgd_step(theta, np.ones(4), 0.1) == jit.WRONG_SIZE
    assert jit.adam_step(theta, np.ones(3), np.zeros((1, 3)), 1, 0.1) == jit.WRONG_SIZE
    assert jit.adam_step(theta, np.ones(3), averages, 0, 0.1) == jit.WRONG_SIZE


def test_a_network_trained_in_compiled_code():
    """Steps of Adam on single samples, a status from each; nothing is allocated."""
    net = MLP([2, 16, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 2))
    d = X[:, :1] * X[:, 1:]
    work, grad, averages = jit.workspace(net.layout), np.zeros_like(net.theta), np.zeros((2, net.theta.size))

    @numba.njit
    def train(theta, layout, X, d, grad, averages, work, steps):
        worst = 0
        for t in range(steps):
            s = t % X.shape[0]
            _, status = fastbp.jit.accumulate_gradient(theta, layout, X[s], d[s], grad, work)
            worst = max(worst, status, fastbp.jit.adam_step(theta, grad, averages, t + 1, 0.005))
        return worst

    before = net.loss_value(X, d)
    train(net.theta, net.layout, X, d, grad, averages, work, 0)
    _nrt_python.memsys_enable_stats()
    allocated = []
    for steps in (1, 20_000):
        begin = rtsys.get_allocation_stats().alloc
        assert train(net.theta, net.layout, X, d, grad, averages, work, steps) == jit.OK
        allocated.append(rtsys.get_allocation_stats().alloc - begin)
    assert allocated[0] == allocated[1]  # what a call from Python takes, for arguments
    assert net.loss_value(X, d) < 0.01 * before


def test_networks_in_a_prange():
    """Every thread with a workspace of its own, all at once, with the bits of one after another."""
    nets = [MLP([6, 40, 3], seed=seed) for seed in range(32)]
    layout, thetas = nets[0].layout, np.stack([net.theta for net in nets])
    X = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    labels = np.arange(50) % 3

    @numba.njit(parallel=True)
    def evaluate(thetas, layout, X, labels, grads, E, statuses, work):
        for p in numba.prange(thetas.shape[0]):
            mine = work[numba.get_thread_id()]
            for _ in range(50):
                grads[p] = 0
                E[p], statuses[p] = fastbp.jit.accumulate_gradient(thetas[p], layout, X, labels, grads[p], mine)

    work = jit.workspace(layout, 50, threads=numba.get_num_threads())
    grads, E, statuses = np.empty_like(thetas), np.zeros(32), np.full(32, -1)
    evaluate(thetas, layout, X, labels, grads, E, statuses, work)
    assert not statuses.any()
    for net, grad, E_p in zip(nets, grads, E, strict=True):
        assert E_p == pytest.approx(net.accumulate_gradient(X, labels), rel=1e-14)
        assert grad.tobytes() == net.grad.tobytes()


# ---- what is refused -------------------------------------------------------------------------------------------------

def test_statuses():
    net, X, labels = drawn("labels", 6, "float32")
    other, X_other, _ = drawn("targets", 6, "float32")
    theta, layout, work = net.theta, net.layout, jit.workspace(net.layout, 6)
    Y, grad = np.full((6, 3), 7, np.float32), np.full_like(theta, 7)

    def forward(theta=theta, layout=layout, X=X, Y=Y, work=work):
        return jit.forward(theta, layout, X, Y, work)

    def gradient(X=X, d=labels, grad=grad, network=net, work=work):
        return jit.accumulate_gradient(network.theta, network.layout, X, d, grad, work)[1]

    def bad(value, dtype=np.float32):
        changed = X.astype(dtype) if value is None else X.copy()
        changed[4, 2] = np.nan if value is None else value
        return changed

    double = drawn("labels", 6, "float64")[0]
    moved = np.zeros_like(work)
    moved[:] = work
    assert [forward(work=moved), forward(other.theta, other.layout, X_other), forward(work=np.zeros_like(work)),
            jit.forward(double.theta, layout, X.astype(float), Y.astype(float), work)] == [jit.WRONG_WORKSPACE] * 4
    assert [forward(X=X[:, :4].copy()), forward(Y=Y[:5]), forward(X=X[:0], Y=Y[:0]), forward(theta=theta[:-1]),
            gradient(grad=grad[:-1]), gradient(d=labels[:5]), gradient(d=1)] == [jit.WRONG_SIZE] * 7
    wrong = [np.where(np.arange(6) == 3, label, labels) for label in (3, -1, 2**40)]
    assert [gradient(d=d) for d in wrong] == [jit.WRONG_TARGET] * 3
    no_labels = gradient(X_other, labels, np.full_like(other.theta, 7), other, jit.workspace(other.layout))
    assert [no_labels, gradient(X[:1], 3)] == [jit.WRONG_TARGET] * 2
    assert [forward(X=bad(value)) for value in (np.nan, np.inf, -np.inf)] == [jit.NOT_FINITE] * 3
    assert [gradient(X=bad(value)) for value in (np.nan, np.inf)] == [jit.NOT_FINITE] * 2
    one_hot = np.eye(3, dtype=np.float32)[labels]
    assert gradient(d=one_hot) == jit.OK
    grad[:] = 7
    one_hot[2, 1] = np.nan
    assert gradient(d=one_hot) == jit.NOT_FINITE
    assert (Y == 7).all()
    assert (grad == 7).all()


def test_a_workspace_of_another_network():
    """Of the same number of parameters, depth and dtype, but other activations, another loss, or other widths."""
    def network(activation="tanh", loss="squared_error", widths=(3, 4, 2)):
        return MLP(widths, activation=activation, loss=loss, dtype="float64", seed=0)

    net, x, y = network(), np.ones(3), np.zeros(2)
    for other in (network("relu"), network(loss="huber")):
        assert jit.forward(net.theta, net.layout, x, y, jit.workspace(other.layout)) == jit.WRONG_WORKSPACE
    wide, other = network(widths=(5, 1, 4)), network(widths=(3, 2, 2))
    assert wide.theta.size == other.theta.size
    assert jit.forward(other.theta, other.layout, x, y, jit.workspace(wide.layout)) == jit.WRONG_WORKSPACE
    assert not y.any()
    assert jit.forward(net.theta, net.layout, x, y, jit.workspace(network().layout)) == jit.OK


def test_shapes_are_compared():
    """Not only how many numbers there are."""
    net, X, d = drawn("targets", 4, "float64")
    theta, layout, work, grad = net.theta, net.layout, jit.workspace(net.layout, 4), np.zeros_like(net.theta)
    Y, J = np.zeros((4, 2)), np.zeros((4, 2, 3))
    assert jit.forward(theta, layout, X.reshape(3, 4), Y, work) == jit.WRONG_SIZE
    assert jit.forward(theta, layout, X.ravel(), Y, work) == jit.WRONG_SIZE
    assert jit.forward(theta, layout, X, Y.reshape(2, 4), work) == jit.WRONG_SIZE
    assert jit.input_jacobian(theta, layout, X, J.reshape(4, 3, 2), work) == jit.WRONG_SIZE
    assert jit.input_gradient(theta, layout, X, d, np.zeros((3, 4)), work)[1] == jit.WRONG_SIZE
    assert jit.accumulate_gradient(theta, layout, X, d.reshape(2, 4), grad, work)[1] == jit.WRONG_SIZE
    assert jit.adam_step(theta, grad, np.zeros((theta.size, 2)), 1, 0.1) == jit.WRONG_SIZE
    assert not any(array.any() for array in (Y, J, grad))
    net, X, labels = drawn("labels", 4, "float64")
    found = jit.accumulate_gradient(net.theta, net.layout, X, labels.reshape(2, 2), net.grad, jit.workspace(net.layout))
    assert found[1] == jit.WRONG_SIZE
    net, X, d = drawn("bits", 4, "float64")  # one output: targets may be (n,), as they may for MLP
    found = jit.accumulate_gradient(net.theta, net.layout, X, d[:, 0].copy(), np.zeros_like(net.theta),
                                    jit.workspace(net.layout))
    assert found == (pytest.approx(net.accumulate_gradient(X, d)), jit.OK)


def test_results_that_are_not_finite():
    net, X, _ = drawn("targets", 2, "float64")
    theta, layout, work = net.theta, net.layout, jit.workspace(net.layout, 2)
    theta[0] = np.nan
    assert jit.forward(theta, layout, X, np.zeros((2, 2)), work) == jit.NOT_FINITE
    assert jit.input_jacobian(theta, layout, X, np.zeros((2, 2, 3)), work) == jit.NOT_FINITE
    flat = MLP([1, 1, 1], activation="relu", loss="squared_error", dtype="float64", initializer="zeros")
    flat.theta[:] = 1e200, -1.0, 1e200, 0.0
    e_0, work = np.zeros(1), jit.workspace(flat.layout)
    assert jit.forward(flat.theta, flat.layout, np.array([1e-200]), e_0, work) == jit.OK
    flat.theta[1] = 0.0
    E, status = jit.input_gradient(flat.theta, flat.layout, np.array([1e-300]), np.zeros(1), e_0, work)
    assert (np.isfinite(E), np.isfinite(e_0[0]), status) == (True, False, jit.NOT_FINITE)


def test_parts_before_one_that_is_not_finite_are_added():
    net, X, d = drawn("targets", 300, "float32")
    work = jit.workspace(net.layout)
    part = fields(work[jit_arguments.HEADER_SIZE :]).chunk
    expected = np.zeros_like(net.theta)
    assert jit.accumulate_gradient(net.theta, net.layout, X[:part], d[:part], expected, work)[1] == jit.OK
    d[part] = 3e38
    grad = np.zeros_like(net.theta)
    assert jit.accumulate_gradient(net.theta, net.layout, X, d, grad, work)[1] == jit.NOT_FINITE
    assert grad.tobytes() == expected.tobytes()


def test_an_adam_step_that_would_not_be_finite():
    theta, grad, averages = np.full(3, 1.7e308), np.full(3, -1.0), np.zeros((2, 3))
    assert jit.adam_step(theta, grad, averages, 1, 1.7e308) == jit.NOT_FINITE
    assert theta.tolist() == [1.7e308] * 3
    assert not averages.any()
    assert grad.tolist() == [-1.0] * 3


def test_an_overflowing_loss_is_not_added():
    net, X, d = drawn("targets", 2, "float32")
    net.theta[-1], grad = 1e30, np.full_like(net.theta, 7)
    E, status = jit.accumulate_gradient(net.theta, net.layout, X, d, grad, jit.workspace(net.layout))
    assert (status, np.isfinite(E)) == (jit.NOT_FINITE, False)
    assert (grad == 7).all()


@pytest.mark.parametrize(("name", "change"), [
    ("x", lambda a: {**a, "x": a["x"].astype(float)}), ("x", lambda a: {**a, "x": a["x"][:, ::2]}),
    ("y", lambda a: {**a, "y": np.asfortranarray(a["y"])}), ("x", lambda a: {**a, "x": 3})])
def test_typing_says_which_array(name, change):
    net, X, _ = drawn("rows", 3, "float32")
    arrays = change({"x": X, "y": np.empty((3, 20), np.float32)})
    with pytest.raises(TypingError, match=rf"fastbp\.jit: {name}: expected a C-contiguous array of float32"):
        jit.forward(net.theta, net.layout, arrays["x"], arrays["y"], jit.workspace(net.layout))


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def test_arrays_that_are_written_to_are_not_read_only():
    net, X, d = drawn("targets", 2, "float64")
    work, Y, J = jit.workspace(net.layout), np.zeros((2, 2)), np.zeros((2, 2, 3))
    averages = np.zeros((2, net.theta.size))
    theta, layout, grad, read_only = net.theta, net.layout, np.zeros_like(net.theta), frozen(net.theta)
    assert jit.forward(read_only, layout, frozen(X), Y, work) == jit.OK
    assert jit.accumulate_gradient(read_only, layout, frozen(X), frozen(d), grad, work)[1] == jit.OK
    for name, call in {
            "y": lambda: jit.forward(theta, layout, X, frozen(Y), work),
            "work": lambda: jit.forward(theta, layout, X, Y, frozen(work)),
            "grad": lambda: jit.accumulate_gradient(theta, layout, X, d, read_only, work),
            "e_0": lambda: jit.input_gradient(theta, layout, X, d, frozen(X), work),
            "J": lambda: jit.input_jacobian(theta, layout, X, frozen(J), work),
            "theta": lambda: jit.sgd_step(read_only, grad, 0.1),
            "theta ": lambda: jit.adam_step(read_only, grad, averages, 1, 0.1),
            "grad ": lambda: jit.sgd_step(theta, read_only, 0.1),
            "grad  ": lambda: jit.adam_step(theta, read_only, averages, 1, 0.1),
            "averages": lambda: jit.adam_step(theta, grad, frozen(averages), 1, 0.1)}.items():
        with pytest.raises(TypingError, match=rf"fastbp\.jit: {name.strip()}: expected an array that may be written"):
            call()


GLOBAL_Y = np.zeros((2, 2))


def test_global_arrays_are_not_written_to():
    """Compiled code takes them as constants, and writing to one would end the process."""
    net, X, _ = drawn("targets", 2, "float64")

    @numba.njit
    def into_a_global(theta, layout, x, work):
        return jit.forward(theta, layout, x, GLOBAL_Y, work)

    with pytest.raises(TypingError, match=r"fastbp\.jit: y: expected an array that may be written to"):
        into_a_global(net.theta, net.layout, X, jit.workspace(net.layout))


def test_typing_of_theta_and_of_steps():
    net, X, _ = drawn("targets", 2, "float32")
    layout, work, Y, whole = net.layout, jit.workspace(net.layout), np.zeros((2, 2), np.float32), net.theta.astype(int)
    for theta in (whole, whole.astype(np.int32), np.zeros((net.theta.size, 2), np.float32)[:, 0], 3.0):
        with pytest.raises(TypingError, match=r"fastbp\.jit: theta: expected a C-contiguous array of float32"):
            jit.forward(theta, layout, X, Y, work)
        with pytest.raises(TypingError, match=r"fastbp\.jit: theta: expected a C-contiguous array of float32"):
            jit.sgd_step(theta, net.grad, 0.1)
    double, averages = net.theta.astype(float), np.zeros((2, net.theta.size))
    for name, call in {"grad": lambda: jit.sgd_step(net.theta, double, 0.1),
                       "grad ": lambda: jit.adam_step(net.theta, double, averages.astype(np.float32), 1, 0.1),
                       "averages": lambda: jit.adam_step(net.theta, net.grad, averages, 1, 0.1)}.items():
        with pytest.raises(TypingError, match=rf"fastbp\.jit: {name.strip()}: expected a C-contiguous array of float"):
            call()
    with pytest.raises(TypingError, match=r"fastbp\.jit: work: expected what fastbp\.jit\.workspace gives"):
        jit.forward(net.theta, layout, X, Y, work.astype(float))


def test_typing_says_what_targets_may_be():
    net, X, _ = drawn("rows", 3, "float32")
    for d in (np.zeros(3, np.int32), np.zeros((3, 20)), 1.0):
        with pytest.raises(TypingError, match=r"fastbp\.jit: d: expected labels"):
            jit.accumulate_gradient(net.theta, net.layout, X, d, net.grad, jit.workspace(net.layout))


@pytest.mark.parametrize("arguments", [("layout",), (None,)])
def test_workspace_wants_a_layout(arguments):
    with pytest.raises(TypeError, match=r"layout: expected net\.layout"):
        jit.workspace(*arguments)


def test_workspace_wants_the_layout_of_tiled():
    net = drawn("labels", 1, "float32", "loops")[0]
    with pytest.raises(ValueError, match="layout: expected the layout of a network with backend='tiled'"):
        jit.workspace(net.layout)
    net = drawn("labels", 1, "float32")[0]
    for settings in ({"max_batch": 0}, {"threads": 0}):
        with pytest.raises(ValueError, match=rf"{next(iter(settings))}: expected at least 1"):
            jit.workspace(net.layout, **settings)


# ---- callers in Numba's cache ----------------------------------------------------------------------------------------

CALLER = """
import numba
import fastbp.jit

@numba.njit(cache=True)
def twice(theta, layout, x, y, work):
    status = fastbp.jit.forward(theta, layout, x, y, work)
    return status, 2 * y[0]
"""

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import caller, fastbp
net = fastbp.MLP([3, 5, 2], dtype="float64", seed=0)
x, y = np.ones(3), np.zeros(2)
status, doubled = caller.twice(net.theta, net.layout, x, y, fastbp.jit.workspace(net.layout))
print(status, status == 0 and doubled == 2 * net.forward(x[None])[0, 0], sum(caller.twice.stats.cache_hits.values()))
"""


def test_a_cached_caller(tmp_path, own_cache):
    """It is found again by the next process, and after a change of fastbp it says that it is of another version."""
    shutil.copytree(Path(fastbp.__file__).parent, tmp_path / "package" / "fastbp",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "caller.py").write_text(CALLER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "package"), "NUMBA_CACHE_DIR": str(own_cache)}

    def run():
        finished = subprocess.run([sys.executable, "-P", "-W", "error", "-c", PROGRAM, str(tmp_path)],
                                  capture_output=True, text=True, env=environment)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.split()

    assert run() == [str(jit.OK), "True", "0"]
    assert run() == [str(jit.OK), "True", "1"]
    with open(tmp_path / "package" / "fastbp" / "formulas" / "activations.py", "a") as file:
        file.write("\n# changed\n")
    assert run() == [str(jit.WRONG_WORKSPACE), "False", "1"]
