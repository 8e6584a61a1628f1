"""Every activation and loss in the tables, compiled as the backends compile it, against mpmath and plain Python."""

import mpmath
import naive
import numba
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from tolerances import DERIVATIVE_EPSILONS, DTYPES, FORMULA_EPSILONS, LOSS_EPSILONS, assert_close

from fastbp import HuberLoss, QuantileLoss
from fastbp.compiling.addresses import address_of, invoke
from fastbp.functions import activations, losses
from fastbp.functions.loss_panels import OUTCOME_ROWS, SAMPLE_CORRECT, SAMPLE_E

COMPONENTWISE = [activation.name for activation in activations.ACTIVATIONS if activation.g is not None]
EXACT = naive.activations(mpmath)

LOSSES = [*losses.LOSSES, HuberLoss(0.5), HuberLoss(1e-5), QuantileLoss(0.9)]

MAGNITUDES = np.geomspace(1e-20, 1e4, 240)
POINTS = np.concatenate([-MAGNITUDES[::-1], [0.0], MAGNITUDES, np.linspace(-20, 20, 403)])


def activate(name, a):
    """h = g(a), and delta for e = 1, which is g'(a) where g acts on each unit alone."""
    h, delta = np.empty_like(a), np.empty_like(a)
    record = activations.BY_NAME[name]
    call(activations.apply_panel, record, a, h)
    call(activations.delta_panel, record, a, h, np.ones_like(a), delta)
    return h, delta


def call(panel, record, *arrays):
    """The compiled function of a record on panels of one sample."""
    call_address(address_of(panel, record, arrays[0].dtype.name, 1), arrays, len(arrays[0]))


@numba.njit
def call_address(address, arrays, units):
    invoke(address, (*arrays, units))


def evaluate(loss, y, d):
    """E, whether y is correct, and e = ∇_y E."""
    e, outcome = np.empty_like(y), np.empty(OUTCOME_ROWS, y.dtype)
    call(losses.evaluate_panel, loss, y, d, e, outcome)
    return outcome[SAMPLE_E], outcome[SAMPLE_CORRECT], e


def exact(function, a):
    with mpmath.workdps(60):
        return np.array([float(function(mpmath.mpf(float(x)))) for x in a])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPONENTWISE)
def test_activation_and_its_derivative(name, dtype):
    a, epsilon, tiny = POINTS.astype(dtype), np.finfo(dtype).eps, np.finfo(dtype).tiny
    h, derivative = activate(name, a)
    g, g_prime = (exact(function, a) for function in EXACT[name])
    # As good as g at an argument that was rounded; exp of the smallest numbers is 0, times the argument in silu, gelu.
    assert (np.abs(h - g) <= FORMULA_EPSILONS * epsilon * (np.abs(g) + np.abs(a * g_prime)) + 1000 * tiny).all()
    assert (np.abs(derivative - g_prime) <= DERIVATIVE_EPSILONS * epsilon * np.maximum(1, np.abs(g_prime))).all()


@pytest.mark.parametrize("name", COMPONENTWISE)
def test_derivative_in_the_reference_is_the_limit_of_differences(name):
    def central_difference(a):
        step = mpmath.mpf(10) ** -25
        return (EXACT[name][0](a + step) - EXACT[name][0](a - step)) / (2 * step)

    a = POINTS[POINTS != 0]  # the kink of some
    assert exact(EXACT[name][1], a) == pytest.approx(exact(central_difference, a), rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", activations.ACTIVATIONS, ids=lambda activation: activation.name)
def test_nan_stays_nan(activation, dtype):
    a = np.full(21, np.nan, dtype)
    assert np.isnan(activate(activation.name, a)[0]).all()


def target(loss, kind, rng, n):
    return {"values": rng.normal(size=n), "counts": rng.poisson(2.0, n) if kind else rng.exponential(size=n),
            "bits": rng.integers(0, 2, n).astype(float) if kind else rng.uniform(size=n),
            "classes": np.eye(n)[rng.integers(n)] if kind else rng.dirichlet(np.ones(n))}[loss.targets]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("magnitude", [0.1, 3, 50, 1e4])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_loss_its_gradient_and_whether_it_is_correct(loss, magnitude, dtype):
    rng = np.random.default_rng(0)
    for trial in range(100):
        y = magnitude * rng.normal(size=rng.integers(2, 20))
        if loss.name == "poisson":
            y = np.minimum(y, 80)  # beyond 88 e^y is infinite in float32
        if loss.requires == "softmax":
            y = np.maximum(naive.softmax(y), 1e-30)
        y, d = y.astype(dtype), target(loss, trial % 2, rng, len(y)).astype(dtype)
        E, correct, e = evaluate(loss, y, d)
        expected_E, expected_e = naive.LOSSES[loss.name](y.astype(float), d.astype(float))
        tolerance = LOSS_EPSILONS * np.finfo(dtype).eps
        assert_close(E, expected_E, tolerance, scale=max(1, abs(expected_E)))
        assert_close(e, expected_e, tolerance, scale=max(1, np.abs(expected_e).max()))
        if loss.targets == "classes":
            assert correct == (y.argmax() == d.argmax())
        if loss.targets == "bits":
            assert correct == ((y > 0) == (d > 0.5)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_scipy_and_scikit_learn(dtype):
    rng = np.random.default_rng(0)
    y, d, counts = (values.astype(dtype) for values in (rng.normal(size=50), rng.normal(size=50), rng.poisson(2, 50)))
    y[0], d[:2], y[1] = 0, (0, 1.5), 0  # the kinks of absolute_error, and of huber at 1.5
    y64, d64 = y.astype(float), d.astype(float)
    expected = {
        "absolute_error": 50 * sklearn.metrics.mean_absolute_error(d64, y64),
        "huber": scipy.special.huber(1, y64 - d64).sum(),
        "huber(1.5)": scipy.special.huber(1.5, y64 - d64).sum(),
        "quantile": 50 * sklearn.metrics.mean_pinball_loss(d64, y64, alpha=0.5),
        "quantile(0.9)": 50 * sklearn.metrics.mean_pinball_loss(d64, y64, alpha=0.9),
        "poisson": 25 * sklearn.metrics.mean_poisson_deviance(counts.astype(float), np.exp(y64)),
    }
    for name, right in expected.items():
        E, _, e = evaluate(losses.record_named(name), y, counts if name == "poisson" else d)
        assert_close(E, right, LOSS_EPSILONS * np.finfo(dtype).eps)
        assert e[0] == (0 if name != "poisson" else 1 - counts[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_poisson_at_its_optimum_and_beyond_the_largest_number(dtype):
    d = np.array([0, 1e-30, 0.3, 1, 7, 1e4], dtype)
    y = np.log(np.maximum(d, np.finfo(dtype).tiny))
    for one_y, one_d in zip(y, d, strict=True):
        E, _, e = evaluate(losses.BY_NAME["poisson"], np.array([one_y]), np.array([one_d]))
        assert_close([E, e[0]], [0, 0], LOSS_EPSILONS * np.finfo(dtype).eps, scale=max(1, one_d * abs(one_y)))
    E, _, e = evaluate(losses.BY_NAME["poisson"], np.array([1e3, 0], dtype), np.array([2, 1], dtype))
    assert (E, *e) == (np.inf, np.inf, 0)
    E, _, e = evaluate(losses.BY_NAME["poisson"], np.array([-1e3, 0], dtype), np.array([0, 1], dtype))
    assert (E, *e) == (0, 0, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_loss_of_nan_is_nan(loss, dtype):
    d = np.array([0, 1, 0], dtype)
    for place in range(3):
        y = np.array([0.2, 0.3, 0.5], dtype)
        y[place] = np.nan
        E = evaluate(loss, y, d)[0]
        assert np.isnan(E) or (loss.requires == "softmax" and d[place] == 0)  # a softmax makes the whole row NaN


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_where_arrays_lie(dtype):
    """Vectors are loaded before others are written only where arrays are far enough apart."""
    rng = np.random.default_rng(0)
    n, memory = 33, np.empty(1000, dtype)
    a, d = rng.normal(0, 3, n).astype(dtype), np.eye(n, dtype=dtype)[5]
    softmaxes, losses_seen = set(), set()
    for gap in range(0, 200, 7):
        first, second = memory[:n], memory[n + gap : 2 * n + gap]
        first[:] = a
        call(activations.apply_panel, activations.BY_NAME["softmax"], first, second)
        softmaxes.add(second.tobytes())
        first[:], outcome = a, np.empty(OUTCOME_ROWS, dtype)
        call(losses.evaluate_panel, losses.BY_NAME["softmax_cross_entropy"], first, d, second, outcome)
        losses_seen.add((second.tobytes(), float(outcome[SAMPLE_E])))
    assert len(softmaxes) == len(losses_seen) == 1


logits = st.lists(st.integers(-1000, 1000), min_size=1, max_size=40).map(lambda values: np.array(values) / 16)


@pytest.mark.parametrize("dtype", DTYPES)
@given(a=logits, shift=st.integers(-10000, 10000))
def test_softmax_is_a_distribution_that_no_shift_changes(dtype, a, shift):
    a = a.astype(dtype)
    h, _ = activate("softmax", a)
    assert h.min() > 0
    assert_close(h, naive.softmax(a), FORMULA_EPSILONS * np.finfo(dtype).eps, scale=1)
    assert abs(h.sum(dtype=float) - 1) <= len(a) * np.finfo(dtype).eps
    shifted, _ = activate("softmax", a + np.asarray(shift, dtype))  # sums of sixteenths are exact
    assert shifted.tobytes() == h.tobytes()
