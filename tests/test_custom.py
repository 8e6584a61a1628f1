"""Activations and losses of a user's own: everywhere as the built-in ones, and refused where they are wrong."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import naive
import numba
import numpy as np
import pytest
from tolerances import CPU_BACKENDS, CUDA, DTYPES, ROUNDING, assert_close, on_backends

import fastbp
from fastbp import MLP, SGD, Activation, Loss, fit_many, jit
from fastbp.backends.tiles import online
from fastbp.functions import activations, losses
from fastbp.functions.record import _MADE


@numba.njit
def mish(a):
    return a * np.tanh(np.log(1 + np.exp(a)))


@numba.njit
def mish_prime(a, h):
    inner = np.tanh(np.log(1 + np.exp(a)))
    return inner + a * (1 - inner**2) / (1 + np.exp(-a))


def huber(y, d):
    return 0.5 * (y - d) ** 2 if abs(y - d) < 1 else abs(y - d) - 0.5


def huber_prime(y, d):
    return min(1.0, max(-1.0, y - d))


@pytest.fixture
def plain(monkeypatch):
    """The same formulas beside those of `naive`."""
    monkeypatch.setitem(naive.ACTIVATIONS, "mish", (mish.py_func, lambda a: mish_prime.py_func(a, None)))
    monkeypatch.setitem(naive.LOSSES, "own_huber", lambda y, d: (
        sum(huber(*pair) for pair in zip(y, d, strict=True)),
        np.array([huber_prime(*pair) for pair in zip(y, d, strict=True)])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "backend"), on_backends([1, 5, 40], simulated=[1, 10]))
def test_gradients(n, backend, dtype, plain):
    widths, names = (5, 17, 6, 3), ("mish", "tanh", "mish")
    own, loss = Activation("mish", mish, mish_prime), Loss("own_huber", huber, huber_prime)
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=[own, "tanh", "mish"], loss=loss, dtype=dtype, backend=backend, seed=0)
    net.theta[:] = inputs["theta"]
    given = inputs["X"], inputs["targets"], inputs["weights"]
    E, grad, E0 = naive.gradients(inputs["theta"], widths, names, "own_huber", *given)
    assert_close(net.accumulate_gradient(*given), E, 10 * ROUNDING[dtype])
    assert_close(net.grad, grad, 10 * ROUNDING[dtype])
    assert_close(net.input_gradient(*given), E0, 10 * ROUNDING[dtype])
    Y = [naive.forward(inputs["theta"], widths, names, x)[1][-1] for x in inputs["X"]]
    assert_close(net.forward(inputs["X"]), Y, 10 * ROUNDING[dtype])
    assert (net.activations, net.loss) == (names, "own_huber")
    assert net.forward(inputs["X"]).dtype == dtype  # whatever literals the functions have
    work, y = jit.workspace(net.layout) if backend == "tiled" else None, np.empty(3, dtype)
    if work is not None:
        assert jit.forward(net.theta, net.layout, inputs["X"][0], y, work) == jit.OK
        assert_close(y, net.forward(inputs["X"][:1])[0], ROUNDING[dtype])


def test_training(monkeypatch):
    """Also where kernels for one-sample steps would be taken, which know built-in formulas only; and in fit_many."""
    monkeypatch.setattr(online, "MIN_STEPS", 1)
    own, loss = Activation("mish", mish, mish_prime, initializer="he"), Loss("own_huber", huber, huber_prime)
    X = np.random.default_rng(0).normal(size=(200, 2))
    d = X[:, :1] * X[:, 1:]
    nets = [MLP([2, 8, 1], activation=own, loss=loss, seed=0, backend=backend) for backend in CPU_BACKENDS]
    for net in nets:
        history = net.fit(X, d, optimizer=SGD(0.05), epochs=20, batch_size=1, seed=0)
        assert history["loss"][-1] < 0.3 * history["loss"][0]
        assert "accuracy" not in history
        assert_close(net.theta, nets[0].theta, 1e-3)
    twins = [MLP([2, 8, 1], activation=own, loss=loss, seed=0), MLP([2, 8, 1], loss="squared_error", seed=0)]
    fit_many(twins, X, d, optimizer=SGD(0.05), epochs=20, batch_size=1, seeds=[0, 0])
    assert twins[0].theta.tobytes() == nets[0].theta.tobytes()


@pytest.mark.parametrize("backend", CUDA)
def test_training_on_a_gpu(backend):
    own, loss = Activation("mish", mish, mish_prime), Loss("own_huber", huber, huber_prime)
    X = np.random.default_rng(0).normal(size=(11, 2))
    nets = [MLP([2, 8, 1], activation=own, loss=loss, seed=0, dtype="float64", backend=name)
            for name in ("loops", backend)]
    for net in nets:
        history = net.fit(X, X[:, 0] * X[:, 1], optimizer=SGD(0.05), epochs=3, batch_size=4, seed=0)
        assert "accuracy" not in history
    assert_close(nets[1].theta, nets[0].theta, 1e-12)


def test_the_newest_of_a_name_is_for_new_networks():
    first = Activation("own", lambda a: 2 * a, lambda a, h: 2)
    net = MLP([1, 1], activation=["own"], loss="squared_error", seed=0)
    second = Activation("own", lambda a: 3 * a, lambda a, h: 3.0)
    other = MLP([1, 1], activation=["own"], loss="squared_error", seed=0)
    other.theta[:] = net.theta[:] = 1
    assert (net.forward([[1.0]])[0, 0], other.forward([[1.0]])[0, 0]) == (4, 6)
    again = MLP([1, 1], activation=[first], loss="squared_error")
    again.theta[:] = 1
    assert again.forward([[1.0]])[0, 0] == 4
    fit_many([net, other], [[1.0]], [[0.0]], optimizer=SGD(0.1), epochs=1)
    assert_close([net.theta[0], other.theta[0]], [1 - 0.1 * 4 * 2, 1 - 0.1 * 6 * 3], 1e-6)
    assert str(first) != str(second)


def test_copies_and_files(tmp_path):
    own = Activation("mish", mish, mish_prime)
    net = MLP([2, 3, 1], activation=own, loss=Loss("own_huber", huber, huber_prime), seed=0)
    expected = net.forward(np.ones((1, 2)))
    net.save(tmp_path / "net.npz")
    assert np.array_equal(fastbp.load(tmp_path / "net.npz").forward(np.ones((1, 2))), expected)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(other.forward(np.ones((1, 2))), expected)
        assert repr(other) == repr(net)
    assert "mish" in repr(net)
    assert copy.deepcopy(own) is own
    del activations.BY_NAME["mish"]
    with pytest.raises(ValueError, match=r"unknown activation 'mish'; .* made before with fastbp\.Activation"):
        fastbp.load(tmp_path / "net.npz")


def test_unpickling_leaves_a_newer_one_its_name():
    """It gives the record of equal arguments, and where there is none, one of its own."""
    older, newer = Activation("own_mish", mish, mish_prime), Activation("own_mish", mish, mish_prime, "he")
    own = Loss("own_huber", huber, huber_prime)
    other = Loss("own_huber", huber, huber_prime, targets="counts")
    for record, last, by_name in ((older, newer, activations.BY_NAME), (own, other, losses.BY_NAME)):
        data = pickle.dumps(record)
        assert pickle.loads(data) is record
        assert by_name[record.name] is last
        _MADE.pop((type(record), record.given))
        again = pickle.loads(data)
        assert again is not record
        assert again.given == record.given
        assert pickle.loads(data) is again
        assert by_name[record.name] is last
        del by_name[record.name]
        assert pickle.loads(data) is again
        assert by_name[record.name] is again


@pytest.mark.parametrize(("arguments", "error", "match"), [
    (("own", mish, lambda a, h: mish_prime(a, h) + 1e-3), ValueError,
     r"^g_prime: expected the derivative of g, which is .* at .* by finite differences, found"),
    (("own", lambda a: a * a, lambda a, h: a), ValueError, r"^g_prime: .* is -0\.026 at -0\.013 .* found -0\.013"),
    (("own", lambda a: np.log(a), lambda a, h: 1 / a), ValueError, "^g: expected finite values, found nan at -0.013"),
    (("own", lambda a: a, lambda a, h: 1 / (abs(a) - abs(a))), ValueError, "^g_prime: expected finite values"),
    (("own", lambda a: "a", lambda a, h: 1.0), TypeError, "^g: expected a real number as its value, found 'a'"),
    (("own", lambda a: a + 1j, lambda a, h: 1.0), TypeError, "^g: expected a real number"),
    (("own", lambda a, b: a, lambda a, h: 1.0), TypeError, "^g: "),
    (("own", lambda a: undefined(a), lambda a, h: 1.0), TypeError, "^g: Numba cannot compile it"),  # noqa: F821
    (("own", 3, lambda a, h: 1.0), TypeError, "^g: expected a function of numbers"),
    (("own", np.tanh, lambda a, h: 1.0), TypeError, "^g: expected a function of numbers"),
    (("relu", mish, mish_prime), ValueError, "^name: expected a name that is not empty and none of identity, .*relu"),
    ((" ", mish, mish_prime), ValueError, "^name: "),
    ((3, mish, mish_prime), TypeError, "^name: expected the name of the activation, found 3"),
    (("own", mish, mish_prime, "xavier"), ValueError, "^initializer: unknown"),
])
def test_wrong_activations(arguments, error, match):
    with pytest.raises(error, match=match):
        Activation(*arguments)
    assert "own" not in activations.BY_NAME


@numba.njit
def guarded(a):
    if a > 30:
        raise ValueError("too large")
    return a


@numba.njit
def halved(a):
    return a / 2 if a > 0 else 0.5 * a


@numba.njit(error_model="python")
def reciprocal(a):
    return 1 / (1 + np.exp(-a))


SLOPES = (0.5, 0.25, 1.0)


def cubic(a):
    value = 0.0
    for slope in SLOPES:
        value = a * (slope + value)
    return value


@pytest.mark.parametrize("g", [guarded, lambda a: guarded(a) + 0 * guarded(2 * a), lambda a: SLOPES[int(a)] + a,
                               lambda a: guarded(a) if a > 20 else a])
def test_functions_that_may_raise_are_refused(g):
    """Also where they do not at the points that are tried."""
    with pytest.raises(ValueError, match=r"^g: must not raise, because kernels cannot"):
        Activation("own", g, lambda a, h: 1.0)
    with pytest.raises(ValueError, match=r"^g_prime: must not raise"):
        Activation("own", lambda a: a, lambda a, h: 1.0 + 0 * guarded(a))
    with pytest.raises(ValueError, match=r"^loss: must not raise"):
        Loss("own", lambda y, d: 0.5 * guarded(y - d) ** 2, lambda y, d: y - d)
    with pytest.raises(ValueError, match=r"^loss_prime: must not raise"):
        Loss("own", lambda y, d: 0.5 * (y - d) ** 2, lambda y, d: guarded(y - d))
    assert "own" not in activations.BY_NAME
    assert "own" not in losses.BY_NAME


def test_a_raise_at_a_point_that_is_tried_is_told_from_what_numba_cannot_compile():
    def small(a):
        if a > 5:
            raise KeyError(3)
        return a

    with pytest.raises(ValueError, match=r"^g: must not raise, because kernels cannot; found KeyError\(3\) at 9\.7"):
        Activation("own", small, lambda a, h: 1.0)


def test_what_cannot_raise_is_taken():
    """Divisions, loops over a tuple, calls of functions that do not raise, and exceptions that are caught."""
    def caught(a):
        try:
            return guarded(a)
        except Exception:
            return 0.0

    for g, g_prime in ((lambda a: 1 / (2 + abs(a)), lambda a, h: -np.sign(a) / (2 + abs(a)) ** 2),
                       (cubic, lambda a, h: 1.0 + 0.5 * a + 1.5 * a * a), (halved, lambda a, h: 0.5),
                       (caught, lambda a, h: 1.0)):
        Activation("taken", g, g_prime)


def test_a_division_in_a_function_compiled_before_may_raise():
    assert reciprocal(0.0) == 0.5
    with pytest.raises(ValueError, match=r"^g: must not raise, .* divides with error_model='python'"):
        Activation("own", lambda a: reciprocal(a), lambda a, h: h * (1 - h))


def test_kinks_are_no_mistakes():
    Activation("own", lambda a: max(a, 0.37), lambda a, h: 1 if a > 0.37 else 0)
    Activation("step", lambda a: abs(a - 0.81), lambda a, h: 1 if a >= 0.81 else -1)


@pytest.mark.parametrize(("arguments", "error", "match"), [
    (("own", huber, lambda y, d: y - d), ValueError, "^loss_prime: expected the derivative of loss"),
    (("own", huber, lambda y, d: -huber_prime(y, d)), TypeError, "^loss_prime: Numba cannot compile it"),
    (("squared_error", huber, huber_prime), ValueError, "^name: "),
    (("huber(3)", huber, huber_prime), ValueError, "^name: expected none that is a loss with a parameter, found"),
    (("own", huber, huber_prime, "classes"), ValueError, "^targets: expected one of values, bits, .*, found 'classes'"),
    (("own", huber, huber_prime, ["values"]), TypeError, r"^targets: expected one of values, .*, found \['values'\]"),
])
def test_wrong_losses(arguments, error, match):
    with pytest.raises(error, match=match):
        Loss(*arguments)
    assert "own" not in losses.BY_NAME


def test_a_record_is_held_to_the_same_rules_as_its_name():
    with pytest.raises(ValueError, match="loss 'cross_entropy' is defined on a softmax layer"):
        MLP([2, 3], loss=losses.BY_NAME["cross_entropy"])


def test_losses_on_bits():
    own = Loss("own", lambda y, d: np.log(1 + np.exp(y)) - d * y, lambda y, d: 1 / (1 + np.exp(-y)) - d, targets="bits")
    net, usual = (MLP([2, 3, 2], loss=loss, seed=0, dtype="float64") for loss in (own, "binary_cross_entropy"))
    X, d = np.random.default_rng(0).normal(size=(9, 2)), np.arange(18).reshape(9, 2) % 2
    assert_close(net.loss_value(X, d), usual.loss_value(X, d), 1e-13)
    with pytest.raises(ValueError, match="d: expected numbers from 0 to 1, found 2"):
        net.loss_value(X, d + 1)


def test_losses_on_counts():
    own = Loss("own", lambda y, d: np.exp(y) - d * y, lambda y, d: np.exp(y) - d, targets="counts")
    net, usual = (MLP([2, 3, 2], loss=loss, seed=0, dtype="float64") for loss in (own, "poisson"))
    X, d = np.random.default_rng(0).normal(size=(9, 2)), np.arange(18).reshape(9, 2) % 2
    assert_close(net.loss_value(X, d), usual.loss_value(X, d) + d.sum(), 1e-13)  # d log d = 0 for 0 and 1
    with pytest.raises(ValueError, match="d: expected numbers of at least 0, found -1"):
        net.loss_value(X, d - 1)


PROGRAM = """
import fastbp
own = fastbp.Activation("own", lambda a: {slope} * a, lambda a, h: {slope})
net = fastbp.MLP([1, 1], activation=[own], loss="squared_error", dtype="float64", initializer="zeros")
net.biases[0][:] = 1
print(net.forward([[5.0]])[0, 0])
"""


def test_an_edited_function_is_not_taken_from_the_cache(own_cache):
    environment = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1]), "NUMBA_CACHE_DIR": str(own_cache)}
    found = []
    for slope in (2.0, 3.0):
        finished = subprocess.run([sys.executable, "-P", "-W", "error", "-c", PROGRAM.format(slope=slope)],
                                  capture_output=True, text=True, env=environment)
        assert finished.returncode == 0, finished.stderr
        found.append(float(finished.stdout))
    assert found == [2.0, 3.0]
