"""E, ∂E/∂theta and ∂E/∂x of every backend, against plain Python and against central differences.

Errors are measured against the largest coordinate of the gradient they belong to.
"""

import functools
from itertools import product

import naive
import numpy as np
import pytest
from tolerances import BACKENDS, CENTRAL_DIFFERENCES, DTYPES, ROUNDING, assert_close, on_backends, on_host

from fastbp import MLP, threads
from fastbp.backends import contract, tiled
from fastbp.functions.activations import ACTIVATIONS
from fastbp.functions.losses import LOSSES
from fastbp.pace import Pace

HIDDEN = [activation.name for activation in ACTIVATIONS if activation.g is not None]
DEPTH_WIDTHS = {1: (5, 3), 2: (3, 6, 4), 3: (4, 5, 1, 3), 4: (2, 5, 3, 4, 3)}


WITH_PARAMETER = ["huber(0.5)", "quantile(0.9)"]


def layer_names(activation, case, depth):
    return [activation] * (depth - 1) + [naive.CASES[case][1] or activation]


def make_network(theta, widths, names, loss, dtype, backend):
    net = MLP(widths, activation=names, loss=loss, dtype=dtype, backend=backend)
    net.theta[:] = theta
    return net


def gradients(net, X, d, weights=None):
    """What `naive.gradients` gives."""
    net.zero_grad()
    E = net.accumulate_gradient(X, d, weights)
    assert net.loss_value(X, d, weights) == E
    return E, on_host(net.grad), net.input_gradient(X, d, weights)


def central_differences(E, values, step=1e-5):
    """∂E/∂values, where E() depends on the array; error step² E''' / 6 + epsilon E / step."""
    result, flat = np.zeros(values.shape), values.reshape(-1)
    for p, value in enumerate(flat.copy()):
        flat[p] = value + step
        above = E()
        flat[p] = value - step
        result.flat[p] = (above - E()) / (2 * step)
        flat[p] = value
    return result


def slopes_in_a_direction(net, theta, grad, X, E0, d, step=1e-5):
    """∂E/∂t at t = 0 of theta + t u and X + t V, by the gradients, and by a central difference."""
    rng = np.random.default_rng(0)
    u, V = rng.standard_normal(theta.shape), rng.standard_normal(X.shape)

    def E(t):
        net.theta[:] = theta + t * u
        return net.loss_value(X + t * V, d)

    return grad @ u + (E0 * V).sum(), (E(step) - E(-step)) / (2 * step)


def inputs_without_kinks(widths, names):
    """Drawn inputs whose pre-activations in float64 stay away from 0, where relu has no derivative."""
    for seed in range(100):
        inputs = naive.draw_inputs(widths, n=4, seed=seed)
        a = [naive.forward(inputs["theta"], widths, names, x)[0] for x in inputs["X"]]
        if min(np.abs(a_k).min() for sample in a for a_k in sample) > 1e-3:
            return inputs
    raise AssertionError("no inputs without kinks")


def test_the_cases_hold_every_loss_and_every_activation():
    assert {loss for loss, _, _ in naive.CASES.values()} == {*(loss.name for loss in LOSSES), *WITH_PARAMETER}
    assert {*HIDDEN, "softmax"} == {activation.name for activation in ACTIVATIONS}


PAIRS = list(product(HIDDEN, naive.CASES))


@pytest.mark.parametrize(("activation", "case", "depth", "backend"), on_backends(
    [(*pair, depth) for pair in PAIRS for depth in DEPTH_WIDTHS],
    simulated=[(*pair, 1 + place % 4) for place, pair in enumerate(PAIRS)]))
def test_gradients_are_those_of_the_formulas_and_of_central_differences(activation, case, depth, backend):
    widths, names, (loss, _, kind) = DEPTH_WIDTHS[depth], layer_names(activation, case, depth), naive.CASES[case]
    inputs = inputs_without_kinks(widths, names)
    X, d = inputs["X"], inputs[kind]
    net = make_network(inputs["theta"], widths, names, loss, "float64", backend)

    E, grad, E0 = gradients(net, X, d)
    reference = naive.gradients(inputs["theta"], widths, names, loss, X, d)
    for actual, expected in zip((E, grad, E0), reference, strict=True):
        assert_close(actual, expected, ROUNDING["float64"])
    if backend == "cuda":  # two losses for each number would take the simulator minutes
        assert_close(*slopes_in_a_direction(net, inputs["theta"], grad, X, E0, d), CENTRAL_DIFFERENCES)
        return
    for actual, values in ((grad, net.theta), (E0, X)):
        assert_close(actual, central_differences(lambda: net.loss_value(X, d), values), CENTRAL_DIFFERENCES)


RAGGED = [
    ((1, 1), "identity", "squared_error"),
    ((1, 1, 1), "tanh", "binary_cross_entropy"),
    ((7, 5, 3), "silu", "cross_entropy"),
    ((33, 17, 9), "elu", "softmax_cross_entropy"),
    ((2, 1, 40, 3), "gelu", "squared_error_softmax"),
    ((5, 18), "identity", "absolute_error"),
    ((9, 3, 2), "relu", "huber_parameter"),
    ((2, 20, 1), "logistic", "quantile_parameter"),
    ((3, 19, 5), "tanh", "poisson_tanh"),
]


@functools.cache
def ragged_reference(widths, activation, case, n, dtype):
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    loss, _, kind = naive.CASES[case]
    names = layer_names(activation, case, len(widths) - 1)
    Y = [naive.forward(inputs["theta"], widths, names, x)[1][-1] for x in inputs["X"]]
    return inputs, Y, naive.gradients(inputs["theta"], widths, names, loss, inputs["X"], inputs[kind],
                                      inputs["weights"])


@pytest.mark.parametrize(("n", "backend"), on_backends(
    [1, 2, 257, 1030], simulated=[1, 18]))  # one more than a chunk of some backend; more than two tiles
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("widths", "activation", "case"), RAGGED)
def test_ragged_shapes_and_batches_with_sample_weights(widths, activation, case, n, dtype, backend):
    loss, _, kind = naive.CASES[case]
    inputs, Y, reference = ragged_reference(widths, activation, case, n, dtype)
    net = make_network(inputs["theta"], widths, layer_names(activation, case, len(widths) - 1), loss, dtype, backend)
    assert_close(net.forward(inputs["X"]), Y, ROUNDING[dtype])
    for actual, expected in zip(gradients(net, inputs["X"], inputs[kind], inputs["weights"]), reference, strict=True):
        assert_close(actual, expected, ROUNDING[dtype])


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_of_a_call_do_not_change_a_bit(backend, monkeypatch):
    """Calls that Ctrl-C could end, or that change the number of threads, after every chunk or after several."""
    monkeypatch.setattr(threads, "SMALL_CALL", 0)
    monkeypatch.setattr(contract, "CHUNK_SECONDS", 1e-8 if backend == "cuda" else 1e-5)
    widths, found = (7, 5, 3) if backend == "cuda" else (7, 150, 3), []
    for chunks, slices_of_a_call in ((1, 6), (2, 3), (9, 1)):
        net, slices = MLP(widths, dtype="float64", seed=0, backend=backend), []
        chunk = net.backend_module.chunk(net.layout, net.dtype)
        inputs = naive.draw_inputs(widths, n=5 * chunk + 3)
        monkeypatch.setattr(Pace, "next_slice", lambda pace, threads, budget=chunks * chunk + 1: (threads, budget))
        monkeypatch.setattr(Pace, "learn", lambda pace, team, seconds, samples, slices=slices: slices.append(samples))
        Y, of_batch = net.forward(inputs["X"]), gradients(net, inputs["X"], inputs["labels"], inputs["weights"])
        found.append([on_host(result).tobytes() for result in (Y, *of_batch)])
        assert len(slices) == 4 * slices_of_a_call
    assert found[0] == found[1] == found[2]


FEW = {"labels": ((3, 4, 2), "softmax_cross_entropy", "labels"), "targets": ((3, 4, 2), "squared_error", "targets"),
       "one target": ((3, 4, 1), "absolute_error", "targets")}


@pytest.fixture
def computed_at_once(monkeypatch):
    """Whether `tiled` computed each gradient since in one call with its checks."""
    found, add = [], tiled.add_small_gradient

    def noted(*arguments):
        results = add(*arguments)
        found.append(results[1])
        return results

    monkeypatch.setattr(tiled, "add_small_gradient", noted)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FEW)
def test_few_samples_that_need_no_conversion(case, dtype, computed_at_once):
    """One compiled call, with the bits that the same numbers have in any other form."""
    widths, loss, kind = FEW[case]
    for n in (2, 3, 40):
        inputs = naive.draw_inputs(widths, n, dtype=dtype)
        X, d = inputs["X"], inputs[kind]
        net = make_network(inputs["theta"], widths, ("tanh", "identity"), loss, dtype, "tiled")
        read_only = X.copy()
        read_only.flags.writeable = False
        others = [(X.tolist(), d.tolist()), (np.asfortranarray(np.repeat(X, 2, 0)[::2]), d), (read_only, d),
                  (X, np.repeat(d, 2, 0)[::2])]
        if widths[-1] == 1:
            others.append((X, d[:, 0]))
        results = []
        for given in ((X, d), *others):
            net.grad[:] = 0.5
            results.append((net.accumulate_gradient(*given), net.grad.tobytes()))
        assert set(results) == {results[0]}
        assert computed_at_once == [True] * (2 if widths[-1] == 1 else 1)
        computed_at_once.clear()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FEW)
def test_few_samples_that_are_refused(case, dtype, computed_at_once):
    widths, loss, kind = FEW[case]
    inputs = naive.draw_inputs(widths, 3, dtype=dtype)
    X, d = inputs["X"], inputs[kind]
    net = make_network(inputs["theta"], widths, ("tanh", "identity"), loss, dtype, "tiled")
    net.grad[:] = 0.5
    before = net.grad.tobytes()
    for name, array, wrong in (("X", X, np.nan), ("X", X, np.inf), *(
            [("d", d, -1), ("d", d, widths[-1])] if kind == "labels" else [("d", d, np.nan), ("d", d, -np.inf)])):
        kept, array.flat[-1] = array.flat[-1], wrong
        with pytest.raises(ValueError, match=f"^{name}: "):
            net.accumulate_gradient(X, d)
        array.flat[-1] = kept
    assert computed_at_once == [False] * 4
    for given in ((X[:, :2].copy(), d), (X[:0], d[:0]), (X, d[:2]), (X[0], d[0])):
        with pytest.raises(ValueError, match=r"^[Xd]: "):
            net.accumulate_gradient(*given)
    assert net.grad.tobytes() == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_heavy_samples_of_no_probability(dtype, backend):
    net = MLP((2, 2), output_activation="softmax", loss="cross_entropy", dtype=dtype, backend=backend)
    net.weights[0][:], net.biases[0][:] = np.eye(2), 0
    E, grad, _ = gradients(net, [[1e4, -1e4]], [1], [1e15])
    assert np.isfinite(E)
    assert_close(grad[4:], [1e15, -1e15], ROUNDING[dtype])


EXTREME = np.array([[1e4, -1e4, 0.0, 1.0], [1e4, 1e4, 1e4, 1e4], [-1e4, -1e4, -1e4, -1e4], [1e4, 9999.0, -1e4, 0.5]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["cross_entropy", "softmax_cross_entropy", "binary_cross_entropy"])
def test_logits_of_ten_thousand(case, dtype, backend):
    loss, output_activation, kind = naive.CASES[case]
    net = MLP((4, 4), output_activation=output_activation, loss=loss, dtype=dtype, backend=backend)
    net.weights[0][:], net.biases[0][:] = np.eye(4), 0  # the logits are the inputs
    # Softmax and cross-entropy apart are softmax_cross_entropy on logits.
    reference = "softmax_cross_entropy" if kind == "labels" else loss
    theta = net.theta_on_host()
    for label in range(4):
        d = np.full(4, label) if kind == "labels" else np.roll([[1, 0, 1, 1]], label, axis=1).repeat(4, axis=0)
        expected_E, *expected = naive.gradients(theta, (4, 4), ["identity"], reference, EXTREME, d)
        E, *actual = gradients(net, EXTREME, d)
        for gradient, expected_gradient in zip(actual, expected, strict=True):
            assert_close(gradient, expected_gradient, ROUNDING[dtype])
        if case == "cross_entropy":
            assert 0 <= E <= expected_E * (1 + ROUNDING[dtype])  # finite: a softmax does not round to 0
        else:
            assert_close(E, expected_E, ROUNDING[dtype])
