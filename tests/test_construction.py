"""What a network is made of: settings refused by name, initial weights, views into theta, copies."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import fastbp
from fastbp.formulas.initializers import INITIALIZERS
from fastbp.functions.activations import ACTIVATIONS
from fastbp.functions.losses import LOSSES

NAMES = ", ".join(activation.name for activation in ACTIVATIONS)
LOSS_NAMES = ", ".join(loss.name for loss in LOSSES)


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"widths": [3, 0, 2]}, ValueError, r"widths\[1\]: expected at least 1, found 0"),
    ({"widths": [-3, 2]}, ValueError, r"widths\[0\]: expected at least 1, found -3"),
    ({"widths": [3, 4.0, 2]}, TypeError, r"widths\[1\]: expected a whole number, found 4.0"),
    ({"widths": [3, True]}, TypeError, r"widths\[1\]: expected a whole number, found True"),
    ({"widths": [3]}, ValueError, r"widths: expected at least the number of inputs and of outputs, found \[3\]"),
    ({"widths": []}, ValueError, "widths: "),
    ({"widths": [10**10, 10**10]}, ValueError, "widths: expected fewer than"),
    ({"widths": "32"}, TypeError, "widths: expected a sequence of whole numbers"),
    ({"widths": 3}, TypeError, "widths: expected a sequence of whole numbers"),
    ({"widths": b"32"}, TypeError, "widths: expected a sequence of whole numbers"),
    ({"widths": np.array(3)}, TypeError, "widths: expected a sequence of whole numbers"),
    ({"activation": "rleu"}, ValueError, f"activation: unknown activation 'rleu'; expected one of {NAMES}"),
    ({"activation": np.tanh}, TypeError, "activation: "),
    ({"output_activation": "sigmoid"}, ValueError, "output_activation: unknown activation 'sigmoid'; expected one of"),
    ({"output_activation": None}, TypeError, "output_activation: expected the name of an activation, found None"),
    ({"activation": ["tanh", "rleu"]}, ValueError, "activation of layer 2: unknown activation 'rleu'; expected one of"),
    ({"activation": ["tanh"]}, ValueError, "activation: expected one name, or one for each of 2 layers, found 1"),
    ({"activation": ["tanh"] * 3}, ValueError, "activation: expected one name, or one for each of 2 layers, found 3"),
    ({"activation": "softmax"}, ValueError, "activation: softmax is for the last layer, found it at layer 1 of 2"),
    ({"loss": "mse"}, ValueError, f"loss: unknown loss 'mse'; expected one of {LOSS_NAMES}"),
    ({"loss": None}, TypeError, "loss: expected the name of a loss, found None"),
    ({"initializer": "xavier"}, ValueError, f"initializer: unknown .* one of auto, {', '.join(INITIALIZERS)}"),
    ({"initializer": 0}, TypeError, "initializer: "),
    ({"backend": "gpu"}, ValueError, "backend: unknown backend 'gpu'; expected one of auto, .*loops, blas"),
    ({"backend": None}, TypeError, "backend: expected one of auto"),
    ({"dtype": "float16"}, ValueError, "dtype: expected 'float32' or 'float64', found 'float16'"),
    ({"dtype": int}, ValueError, "dtype: expected 'float32' or 'float64'"),
    ({"dtype": "single precision"}, TypeError, "dtype: expected 'float32' or 'float64'"),
    ({"seed": -1}, ValueError, "seed: expected at least 0, found -1"),
    ({"seed": 1.5}, TypeError, "seed: expected a whole number, found 1.5"),
    ({"output_activation": "softmax"}, ValueError, "loss 'softmax_cross_entropy' includes the softmax"),
    ({"loss": "cross_entropy"}, ValueError, "loss 'cross_entropy' is defined on a softmax layer, found .*'identity'"),
    ({"loss": "binary_cross_entropy", "output_activation": "logistic"}, ValueError, "loss 'binary_.*' includes"),
    ({"loss": "binary_cross_entropy", "output_activation": "softmax"}, ValueError, "loss 'binary_.*' includes"),
    *[({"loss": "poisson", "output_activation": name}, ValueError, "loss 'poisson' includes the exponential, found "
       f"output activation '{name}' before it; use output_activation='identity'")
      for name in ("relu", "softplus", "logistic", "softmax")],
    ({"widths": [3, 1]}, ValueError, "loss 'softmax_cross_entropy' needs at least 2 classes.* width 1"),
    ({"widths": [3, 1], "loss": "cross_entropy", "output_activation": "softmax"}, ValueError, "loss .* at least 2"),
])
def test_wrong_setting(settings, error, message):
    with pytest.raises(error, match=f"^{message}"):
        fastbp.MLP(**{"widths": [3, 4, 2]} | settings)


def test_same_seed_same_bits():
    first, second, other, fresh, fresh_too = (fastbp.MLP([3, 4, 2], seed=seed) for seed in (7, 7, 8, None, None))
    assert first.theta.tobytes() == second.theta.tobytes()
    assert not np.isin(other.weights[0], first.weights[0]).any()
    assert not np.isin(fresh.weights[0], fresh_too.weights[0]).any()


@pytest.mark.parametrize(("name", "variance", "bound"), [
    ("glorot", 2 / 700, np.sqrt(6 / 700)), ("he", 2 / 300, None), ("lecun", 1 / 300, None), ("zeros", 0, 0)])
def test_initial_weights(name, variance, bound):
    net = fastbp.MLP([300, 400, 2], initializer=name, seed=0)
    W = net.weights[0].astype(float)
    # 120,000 weights: the standard errors are below 0.5 % of the variance, and for the mean below 0.3 % of its root.
    assert W.var() == pytest.approx(variance, rel=0.02)
    assert abs(W.mean()) <= 0.015 * np.sqrt(variance)
    if bound is None:  # a normal distribution: 4.55 % lie beyond 2 standard deviations
        assert (abs(W) > 2 * np.sqrt(variance)).mean() == pytest.approx(0.0455, abs=0.005)
    else:
        assert 0.999 * bound <= abs(W).max() <= bound
    assert not any(b.any() for b in net.biases)


def test_initial_weights_that_suit_the_activation():
    for activation in ACTIVATIONS:
        suitable = "glorot" if activation.name in ("identity", "logistic", "tanh", "softmax") else "he"
        auto, named = (fastbp.MLP([5, 4], activation=[activation.name], loss="squared_error", seed=0, initializer=name)
                       for name in ("auto", suitable))
        assert auto.theta.tobytes() == named.theta.tobytes(), activation.name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_views_lie_in_theta_and_grad(dtype):
    net = fastbp.MLP([3, 4, 2], dtype=dtype, seed=0)
    for flat, weights, biases in ((net.theta, net.weights, net.biases),
                                  (net.grad, net.weight_gradients, net.bias_gradients)):
        flat[:] = np.arange(26)
        assert flat.dtype == dtype
        assert flat.shape == (26,)
        expected = np.arange(12).reshape(4, 3), np.arange(16, 24).reshape(2, 4), np.arange(12, 16), np.arange(24, 26)
        for view, values in zip((*weights, *biases), expected, strict=True):
            assert np.array_equal(view, values)
            assert view.shape == values.shape
            assert np.shares_memory(view, flat)
        weights[1][1, 2] = -1
        biases[0][3] = -2
        assert (flat[22], flat[15]) == (-1, -2)


def test_what_it_says_about_itself():
    net = fastbp.MLP([3, 4, 2], activation="tanh", backend="loops")
    assert repr(net) == "<MLP 3-4-2, tanh, identity, softmax_cross_entropy, float32, 26 parameters, backend 'loops'>"
    assert (net.widths, net.activations, net.loss) == ((3, 4, 2), ("tanh", "identity"), "softmax_cross_entropy")
    assert (net.dtype, net.backend, net.metadata) == (np.float32, "loops", {})
    assert fastbp.MLP([3, 2], backend="auto").backend != "auto"


@pytest.mark.parametrize("name", ["theta", "grad", "weights", "biases", "widths", "dtype", "backend"])
def test_what_cannot_be_rebound(name):
    net = fastbp.MLP([3, 4, 2])
    with pytest.raises(AttributeError, match=name):
        setattr(net, name, copy.copy(getattr(net, name)))


def test_operators_in_place():
    net = fastbp.MLP([3, 4, 2], seed=0)
    theta, grad = net.theta, net.grad
    expected = theta + 1
    net.theta += 1
    net.grad -= 2
    assert net.theta is theta
    assert net.grad is grad
    assert np.array_equal(theta, expected)
    assert (grad == -2).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
@pytest.mark.parametrize("backend", ["loops", "blas"])
def test_copies_are_independent(copied, backend):
    X, d = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 2
    net = fastbp.MLP([3, 4, 2], dtype="float64", seed=0, backend=backend)
    net.metadata["name"] = "first"
    net.accumulate_gradient(X, d)
    other = copied(net)
    assert repr(other) == repr(net)
    assert other.metadata == net.metadata
    assert other.theta.tobytes() == net.theta.tobytes()
    assert other.grad.tobytes() == net.grad.tobytes()
    assert other.forward(X).tobytes() == net.forward(X).tobytes()
    before = net.theta.copy()
    other.fit(X, d, epochs=2, batch_size=4)
    other.metadata["name"] = "second"
    assert np.array_equal(net.theta, before)
    assert net.metadata["name"] == "first"
    net.fit(X, d, epochs=2, batch_size=4)  # in the same orders, from the same generator
    assert other.theta.tobytes() == net.theta.tobytes()


def test_what_is_assigned_to_a_layer_is_written_into_it():
    net = fastbp.MLP([3, 4, 2], seed=0)
    W, b = np.ones((4, 3)), np.arange(2)
    net.weights[0], net.biases[1] = W, b
    net.weight_gradients[1] -= 1
    assert np.array_equal(net.weights[0], W)
    assert np.array_equal(net.theta[-2:], b)
    assert np.array_equal(net.grad[16:24], -np.ones(8))
    before = net.theta.tobytes()
    for wrong in (1.0, np.ones(3), np.ones((1, 3)), W.T):  # none is broadcast
        with pytest.raises(ValueError, match=r"^expected values of shape \(4, 3\) for layer 0, found"):
            net.weights[0] = wrong
    with pytest.raises(TypeError, match="expected the place of one layer"):
        net.weights[:] = [W, np.ones((2, 4))]
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "draw"), [
    ("glorot", lambda rng, shape: rng.uniform(-np.sqrt(6 / sum(shape)), np.sqrt(6 / sum(shape)), shape)),
    ("he", lambda rng, shape: rng.normal(0, np.sqrt(2 / shape[1]), shape)),
    ("lecun", lambda rng, shape: rng.normal(0, np.sqrt(1 / shape[1]), shape))])
def test_initial_weights_are_those_of_one_draw_in_float64(name, draw, dtype):
    """In whatever pieces they are drawn."""
    net, rng = fastbp.MLP([300, 500, 3], dtype=dtype, initializer=name, seed=3), np.random.default_rng(3)
    for W in net.weights:
        assert np.array_equal(W, draw(rng, W.shape).astype(dtype))
    assert net.draw_seed() == int(rng.integers(2**63))


def peak_of(call):
    """The most memory that a call has at once, and its result."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_a_network_is_made_and_copied_in_the_memory_that_it_has(initializer):
    """theta and grad; the bytes of a pickle hold no gradient of zero."""
    fastbp.MLP([3, 2])
    peak, net = peak_of(lambda: fastbp.MLP([1500, 1500, 10], initializer=initializer, seed=0))
    assert peak < 2.2 * net.theta.nbytes
    peak, other = peak_of(lambda: copy.deepcopy(net))
    assert peak < 2.2 * net.theta.nbytes
    assert other.theta.tobytes() == net.theta.tobytes()
    peak, pickled = peak_of(lambda: pickle.dumps(net, pickle.HIGHEST_PROTOCOL))
    assert peak < 2.6 * net.theta.nbytes  # with what a buffer keeps in hand as it grows
    peak, other = peak_of(lambda: pickle.loads(pickled))
    assert peak < 3.2 * net.theta.nbytes
    assert other.theta.tobytes() == net.theta.tobytes()
    assert not other.grad.any()


def test_what_no_parameter_can_be_is_not_assigned():
    net = fastbp.MLP([3, 2], seed=0)
    before = net.theta.copy()
    for values, error, found in [
            (np.ones((2, 3), complex), TypeError, r"expected real numbers for layer 0, found complex"),
            (np.full((2, 3), "1"), TypeError, r"expected real numbers for layer 0, found <U1"),
            (np.full((2, 3), 1e39), ValueError, r"expected numbers for layer 0 that float32 holds")]:
        with pytest.raises(error, match=found):
            net.weights[0] = values
    assert (net.theta == before).all()
    net.weights[0] = np.arange(6).reshape(2, 3)
    net.weights[0] -= 1
    assert net.weights[0].tolist() == [[-1, 0, 1], [2, 3, 4]]


def test_a_difference_of_times_is_no_number():
    one = np.timedelta64(1)
    with pytest.raises(TypeError, match=r"^learning_rate: expected a number, found"):
        fastbp.SGD(one)
    with pytest.raises(TypeError, match=r"^widths\[1\]: expected a whole number, found"):
        fastbp.MLP([2, one])
    with pytest.raises(TypeError, match=r"^t: expected a whole number, found"):
        fastbp.schedules.value_at(0.1, one)


def test_a_matrix_is_no_list_of_widths():
    sparse = pytest.importorskip("scipy.sparse")
    for widths in (np.ones((2, 2), int), sparse.eye_array(2, dtype=int), sparse.coo_array(np.ones(2, int))):
        with pytest.raises(TypeError, match=r"^widths: expected a sequence of whole numbers"):
            fastbp.MLP(widths)
