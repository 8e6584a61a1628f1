"""`LevenbergMarquardt` and `LBFGS` in `fit`: against plain references, and what they refuse."""

import contextlib
import inspect
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import fastbp
from fastbp import LBFGS, MLP, Adam, EarlyStopping, LevenbergMarquardt, Loss
from fastbp.training.full_batch import WITHOUT_MEANING
from fastbp.training.lbfgs import Objective

X = np.linspace(-1, 1, 120)[:, None]
D = np.sin(5 * X) / 5
RNG = np.random.default_rng(0)
NOISY = D + RNG.normal(0, 0.1, D.shape)


def made(loss="squared_error", dtype="float64", hidden=6, seed=0, backend="tiled", activation="tanh"):
    return MLP([1, hidden, 1], activation=activation, loss=loss, dtype=dtype, seed=seed, backend=backend)


def residuals_and_J(theta, hidden=6):
    """r (n,) and J (n, P) of 1-hidden-1 tanh, by hand."""
    w, b, v, c = theta[:hidden], theta[hidden : 2 * hidden], theta[2 * hidden : 3 * hidden], theta[-1]
    h = np.tanh(X * w + b)
    slope = (1 - h**2) * v
    return h @ v + c - D[:, 0], np.hstack([slope * X, slope, h, np.ones_like(X)])


def trainlm(theta, epochs, mu=0.001, mu_dec=0.1, mu_inc=10.0, mu_max=1e10, penalty=0.0):
    """MATLAB's trainlm: losses before each step, and the μ of each step."""
    hidden, losses, mus = (len(theta) - 1) // 3, [], []
    decay = penalty * np.concatenate([np.ones(hidden), np.zeros(hidden), np.ones(hidden), [0.0]])

    def objective(theta):
        return 0.5 * sum(residuals_and_J(theta)[0] ** 2) + 0.5 * decay @ theta**2

    for _ in range(epochs):
        r, J = residuals_and_J(theta)
        losses.append(objective(theta) / len(X))
        while mu <= mu_max:
            step = np.linalg.solve(J.T @ J + np.diag(mu + decay), -J.T @ r - decay * theta)
            if objective(theta + step) < objective(theta):
                theta = theta + step
                mus.append(mu)
                mu *= mu_dec
                break
            mu *= mu_inc
    return losses, mus


@pytest.mark.parametrize("settings", [{}, {"mu": 1.0, "mu_inc": 3.0, "mu_dec": 0.5}], ids=str)
@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_schedule_of_trainlm(settings, penalty):
    net = made()
    losses, mus = trainlm(net.theta.copy(), 25, **settings, penalty=penalty)
    history = net.fit(X, D, optimizer=LevenbergMarquardt(**settings), epochs=25, l2_penalty=penalty)
    np.testing.assert_allclose(history["mu"], mus, rtol=1e-12)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-4)
    assert history.stop_reason == "epochs"
    assert len(set(mus)) > 3  # it went down, and up


def test_far_below_adam():
    net, other, d = made(seed=1), made(seed=1), np.sin(2 * X) / 2
    net.fit(X, d, optimizer=LevenbergMarquardt(), epochs=100)
    other.fit(X, d, optimizer=Adam(0.01), epochs=1000)
    assert 2 * net.loss_value(X, d) / len(X) < 1e-8 < 1e-6 < 2 * other.loss_value(X, d) / len(X)


def test_float32_is_rounded_from_float64():
    net, single = made(), made(dtype="float32", backend="loops")
    net.theta[:] = single.theta
    history, other = (one.fit(X, D, optimizer=LevenbergMarquardt(), epochs=15) for one in (net, single))
    assert history["loss"] == other["loss"]
    assert single.theta.tobytes() == net.theta.astype(np.float32).tobytes()
    assert not single.grad.any()


@pytest.mark.parametrize(("loss", "d"), [("huber", NOISY), ("poisson", np.round(np.exp(2 + X))),
                                         ("binary_cross_entropy", (X + NOISY > 0) * 1.0)])
def test_other_losses_reach_the_minimum(loss, d):
    net = made(loss, hidden=2)
    history = net.fit(X, d, optimizer=LevenbergMarquardt(min_grad=1e-6), epochs=300, l2_penalty=0.1)
    net.accumulate_gradient(X, d)
    for W, dW in zip(net.weights, net.weight_gradients, strict=True):
        dW += 0.1 * W
    assert np.linalg.norm(net.grad) < 1e-5 * len(X)
    assert history.stop_reason in ("min_grad", "mu_max")
    assert ("accuracy" in history) == (loss == "binary_cross_entropy")


def test_weights_are_repetitions():
    repeated, weight = np.repeat(np.arange(60), np.arange(60) % 3), np.arange(60) % 3.0
    net, other = made(), made()
    net.fit(X[:60], D[:60], sample_weight=weight, optimizer=LevenbergMarquardt(), epochs=8, weighted_mean=True)
    other.fit(X[repeated], D[repeated], optimizer=LevenbergMarquardt(), epochs=8)
    np.testing.assert_allclose(net.theta, other.theta, rtol=1e-6, atol=1e-8)


def test_standardised_sparse_and_other_dtypes():
    raw = 50 + 20 * X
    net, other = made(), made()
    net.standardize(raw)
    other.fit((raw - raw.mean()) / raw.std(), D, optimizer=LevenbergMarquardt(), epochs=8)
    net.fit(raw, D, optimizer=LevenbergMarquardt(), epochs=8)
    np.testing.assert_allclose(net.theta, other.theta, rtol=1e-6, atol=1e-8)
    sparse = pytest.importorskip("scipy.sparse")
    net, other = made(), made()
    net.fit(sparse.csr_array(X), D, optimizer=LevenbergMarquardt(), epochs=5)
    other.fit(X, D, optimizer=LevenbergMarquardt(), epochs=5)
    assert net.theta.tobytes() == other.theta.tobytes()


def test_stop_reasons():
    net = made()
    history = net.fit(X, D, optimizer=LevenbergMarquardt(min_grad=1e-3), epochs=100)
    assert history.stop_reason == "min_grad"
    assert history.epochs < 100
    theta = net.theta.copy()
    history = net.fit(X, D, optimizer=LevenbergMarquardt(min_grad=1e-3), epochs=100)  # the last epoch takes no step
    assert history.epochs == 1
    assert net.theta.tobytes() == theta.tobytes()
    assert history["loss"] == [net.loss_value(X, D) / len(X)]
    net.theta[:] = 0.0
    net.theta[-1] = D.mean()  # no step makes E less
    history = net.fit(X, D - D.mean(), optimizer=LevenbergMarquardt(min_grad=0.0), epochs=100)
    assert history.stop_reason == "mu_max"


def test_max_fail_takes_the_best_weights():
    train, held_out = np.arange(0, 120, 6), np.arange(3, 120, 6)
    net, validation = made(hidden=12), (X[held_out], NOISY[held_out])
    history = net.fit(X[train], NOISY[train], optimizer=LevenbergMarquardt(max_fail=4), epochs=200,
                      validation_data=validation)
    losses = history["validation_loss"]
    assert history.stop_reason == "max_fail"
    assert len(losses) == np.argmin(losses) + 5
    assert net.loss_value(*validation) / len(held_out) == min(losses)
    history = net.fit(X[train], NOISY[train], optimizer=LevenbergMarquardt(max_fail=None), epochs=20,
                      validation_data=validation)
    assert history.epochs == 20 or history.stop_reason != "max_fail"


def test_bayesian_regularisation():
    """With more parameters than data are worth, γ stays far below P, and the fit follows the curve, not the noise."""
    x = np.linspace(-1, 1, 41)[:, None]
    d = np.sin(2 * np.pi * x) + np.random.default_rng(1).normal(0, 0.1, x.shape)
    net, plain = made(hidden=20), made(hidden=20)
    history = net.fit(x, d, optimizer=LevenbergMarquardt(bayesian=True), epochs=150)
    plain.fit(x, d, optimizer=LevenbergMarquardt(), epochs=150)
    gamma = history["effective_parameters"][-1]
    assert 8 < gamma < 16 < net.theta.size
    error, other = (np.sqrt(np.mean((one.forward(X) - np.sin(2 * np.pi * X)) ** 2)) for one in (net, plain))
    assert error < 0.05 < 0.06 < other
    assert 1 / np.sqrt(history["beta"][-1]) == pytest.approx(0.1, rel=0.25)  # the deviation of the noise
    # α = γ / ‖θ‖² and β = (N - γ) / 2E, at the end
    assert history["alpha"][-1] == pytest.approx(gamma / (net.theta @ net.theta), rel=0.05)
    assert history["beta"][-1] == pytest.approx((len(x) - gamma) / (2 * net.loss_value(x, d)), rel=0.05)


def lines_of(optimizer):
    """The settings that a call refuses with an optimizer, and what the message names."""
    return [({name: given}, name) for name, given in {
        "batch_size": 32, "shuffle": False, "replacement": True, "seed": 0, "clip_sample_norm": 1.0, "dropout": 0.5,
        "shuffle_buffer": 64, "optimizer_state": Adam().start(made().theta)}.items()]


@pytest.mark.parametrize("optimizer", [LevenbergMarquardt(), LBFGS()], ids=lambda one: type(one).__name__)
def test_what_has_no_meaning_is_refused(optimizer):
    net = made()
    before = net.theta.tobytes(), net.generator_state
    for settings, name in lines_of(optimizer):
        with pytest.raises(ValueError, match=rf"^{name}: it has no meaning with {type(optimizer).__name__}"):
            net.fit(X, D, optimizer=optimizer, **settings)
    with pytest.raises(ValueError, match=r"^X: expected arrays with"):
        net.fit([(X, D)], optimizer=optimizer)
    with pytest.raises(TypeError, match="optimizer: expected SGD"):
        fastbp.fit_many([net], X, D, optimizer=optimizer)
    net.fit(X, D, optimizer=optimizer, batch_size=len(X), epochs=1)
    assert net.generator_state == before[1]


def test_without_meaning_is_what_fit_takes():
    defaults = {name: one.default for name, one in inspect.signature(fastbp.training.fit).parameters.items()}
    assert {name: defaults[name] for name in WITHOUT_MEANING} == WITHOUT_MEANING


@pytest.mark.parametrize(("net", "optimizer", "settings", "message"), [
    (made("absolute_error"), LevenbergMarquardt(), {}, "needs a loss with a Gauss-Newton form.*'absolute_error'"),
    (made(Loss("quartic", lambda y, d: (y - d) ** 4 / 4, lambda y, d: (y - d) ** 3)), LevenbergMarquardt(), {},
     "'quartic'"),
    (made("huber"), LevenbergMarquardt(bayesian=True), {}, "is for the loss 'squared_error', found 'huber'"),
    (made(), LevenbergMarquardt(bayesian=True), {"l2_penalty": 0.1}, "^l2_penalty: expected 0"),
    (made(), LevenbergMarquardt(max_bytes=5000), {}, "P = 19 parameters are 5,776 bytes"),
    (made(), LBFGS(), {"checkpoint": "somewhere"}, "^checkpoint and resume: expected neither with LBFGS")],
    ids=range(6))
def test_refused(net, optimizer, settings, message):
    before = net.theta.tobytes()
    with pytest.raises(ValueError, match=message):
        net.fit(X, D, optimizer=optimizer, **settings)
    assert net.theta.tobytes() == before


@pytest.mark.parametrize(("kind", "settings", "name"), [
    (LevenbergMarquardt, {"mu": 0.0}, "mu"), (LevenbergMarquardt, {"mu_inc": 1.0}, "mu_inc"),
    (LevenbergMarquardt, {"mu_dec": 2.0}, "mu_dec"), (LevenbergMarquardt, {"mu_max": 1e-5}, "mu_max"),
    (LevenbergMarquardt, {"min_grad": -1.0}, "min_grad"), (LevenbergMarquardt, {"max_fail": 0}, "max_fail"),
    (LevenbergMarquardt, {"bayesian": "no"}, "bayesian"), (LevenbergMarquardt, {"max_bytes": 0}, "max_bytes"),
    (LBFGS, {"corrections": 0}, "corrections"), (LBFGS, {"gtol": -1.0}, "gtol"), (LBFGS, {"ftol": np.nan}, "ftol"),
    (LBFGS, {"max_evaluations": 1.5}, "max_evaluations"), (LBFGS, {"max_line_search": 0}, "max_line_search")], ids=str)
def test_wrong_setting(kind, settings, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
        kind(**settings)


@pytest.mark.parametrize("optimizer", [LevenbergMarquardt(), LBFGS()], ids=lambda one: type(one).__name__)
def test_without_scipy(optimizer, monkeypatch):
    for name in ("scipy", "scipy.linalg", "scipy.optimize"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"needs SciPy: pip install 'fastbp\[blas\]'"):
        made().fit(X, D, optimizer=optimizer)


def test_resumed_training_has_the_same_bits(tmp_path):
    class Stop:
        def __call__(self, net, history):
            if history.epochs == 7:
                raise KeyboardInterrupt

    settings = {"optimizer": LevenbergMarquardt(bayesian=True), "epochs": 15, "validation_data": (X[::7], NOISY[::7])}
    whole, part, again = made(), made(), made(seed=3)
    expected = whole.fit(X, NOISY, **settings)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        part.fit(X, NOISY, **settings, callbacks=[Stop()], checkpoint=tmp_path / "c")
    history = again.fit(X, NOISY, **settings, resume=tmp_path / "c")
    assert history.records == expected.records
    assert again.theta.tobytes() == whole.theta.tobytes()
    with pytest.raises(ValueError, match="optimizer: settings: expected"):
        again.fit(X, NOISY, **settings | {"optimizer": LevenbergMarquardt()}, resume=tmp_path / "c")


@pytest.mark.parametrize("optimizer", [LevenbergMarquardt(min_grad=0.0, mu_max=1e300), LBFGS(gtol=0.0, ftol=0.0)],
                         ids=lambda one: type(one).__name__)
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_ctrl_c(optimizer):
    """Training ends with a warning, and the network has the parameters of a whole epoch."""
    net, x = made(hidden=20), np.linspace(-1, 1, 20000)[:, None]
    d, seen = np.sin(9 * x) + RNG.normal(0, 0.1, x.shape), [made(hidden=20).theta.copy()]
    net.fit(x, d, optimizer=optimizer, epochs=1)  # compiled
    net.theta[:] = seen[0]
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.monotonic()
    with pytest.warns(RuntimeWarning, match="interrupted"):
        history = net.fit(x, d, optimizer=optimizer, epochs=10**6, callbacks=[lambda net, _: seen.append(
            net.theta.copy())])
    assert time.monotonic() - begin < 30
    assert history.stop_reason == "interrupted"
    assert any(net.theta.tobytes() == theta.tobytes() for theta in seen[-2:])
    assert net.fit(x, d, optimizer=optimizer, epochs=1).epochs == 1


def test_a_search_that_is_broken_off_leaves_the_last_epoch(monkeypatch):
    net, seen, calls, evaluate = made(), [], [], Objective.__call__

    def broken(self, theta):
        calls.append(evaluate(self, theta))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        net.fit(X, D, optimizer=LBFGS(), epochs=30, callbacks=[lambda net, _: seen.append(net.theta.copy())])
    assert 0 < len(seen) < 9
    assert net.theta.tobytes() == seen[-1].tobytes()


@pytest.mark.parametrize("optimizer", [LevenbergMarquardt(), LBFGS()], ids=lambda one: type(one).__name__)
def test_callbacks_metrics_and_early_stopping(optimizer):
    net, stopping, started = made(), EarlyStopping("validation_error", mode="min", patience=3), []

    class Starts:
        def start(self, net):
            started.append(net)

        def __call__(self, net, history):
            history.record("norm", float(np.linalg.norm(net.theta)))

    def error(d, Y):
        return float(abs(d - Y).max()) if len(started) else 0.0

    history = net.fit(X, D, optimizer=optimizer, epochs=12, validation_data=(X[::5], D[::5]), metrics={"error": error},
                      callbacks=[Starts(), stopping])
    assert started == [net]
    assert len({len(values) for values in history.records.values()}) == 1
    assert history.samples == history.epochs * len(X)
    assert abs(net.forward(X[::5]) - D[::5]).max() == stopping.best_value
    assert made().fit(X, D, optimizer=optimizer, epochs=50, callbacks=[lambda net, history: history.epochs == 3]
                      ).stop_reason == "callback"


def test_parameters_that_callbacks_change():
    def change(net, history):
        if history.epochs == 2:
            net.theta[:] = made(seed=5).theta

    net, other = made(), made(seed=5)
    net.fit(X, D, optimizer=LevenbergMarquardt(mu_dec=1.0), epochs=5, callbacks=[change])
    other.fit(X, D, optimizer=LevenbergMarquardt(mu_dec=1.0), epochs=3)
    np.testing.assert_allclose(net.theta, other.theta, rtol=1e-9)


@pytest.mark.parametrize("optimizer", [LevenbergMarquardt(), LBFGS()], ids=lambda one: type(one).__name__)
def test_divergence(optimizer):
    net = made(activation="identity")
    net.theta[:] = 1e200
    with pytest.raises(fastbp.DivergenceError, match="the loss is not finite"):
        net.fit(X, D, optimizer=optimizer)
    assert (net.theta == 1e200).all()


@pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=str)
def test_penalties_near_the_largest_number_give_no_warnings(optimizer):
    for penalty in (1e30, 3.5e38, 1e300):
        net = made(dtype="float32", hidden=3)
        with contextlib.suppress(fastbp.DivergenceError):
            net.fit(X, D, optimizer=optimizer, epochs=2, l2_penalty=penalty)
        assert np.isfinite(net.theta).all()


def test_lbfgs_is_scipys():
    from scipy import optimize

    net, other = made(backend="loops"), made(backend="loops")

    def loss(theta):
        other.theta[:] = theta
        other.zero_grad()
        return other.accumulate_gradient(X, D) / len(X), other.grad / len(X)

    losses = [loss(other.theta.copy())[0]]
    result = optimize.minimize(loss, other.theta.copy(), jac=True, method="L-BFGS-B", options={"maxiter": 30},
                               callback=lambda theta: losses.append(loss(theta)[0]))
    history = net.fit(X, D, optimizer=LBFGS(), epochs=30)
    np.testing.assert_array_equal(net.theta, result.x)
    assert history["loss"] == losses[:-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net.fit(X, D, optimizer=LBFGS(gtol=1.0), epochs=30).stop_reason == "converged"
    assert net.fit(X, D, optimizer=LBFGS(max_evaluations=2), epochs=30).stop_reason == "max_evaluations"
