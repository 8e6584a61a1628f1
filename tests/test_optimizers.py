"""Every optimizer against its equation in NumPy, schedules against theirs, and what is refused."""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numba
import numpy as np
import pytest
from tolerances import BACKENDS, CUDA, assert_close, on_host

import fastbp
from fastbp.commands.warmup import WARMED_OPTIMIZERS
from fastbp.optimizers import updates
from fastbp.optimizers.optimizer import Optimizer
from fastbp.optimizers.rules import RULES
from fastbp.optimizers.settings import OPTIMIZERS
from fastbp.schedules import Constant, Cosine, InverseScaling, Step, WarmUp, value_at


def sgd(theta, gradients, rate, momentum=0.0, nesterov=False, decay=0.0):
    v = 0.0
    for g in gradients:
        g = g + decay * theta
        v = momentum * v + g
        theta = theta - rate * (g + momentum * v if nesterov else v)
    return theta


def rmsprop(theta, gradients, rate, rho, epsilon, decay=0.0):
    s = 0.0
    for g in gradients:
        g = g + decay * theta
        s = rho * s + (1 - rho) * g**2
        theta = theta - rate * g / (np.sqrt(s) + epsilon)
    return theta


def adam(theta, gradients, rate, beta1, beta2, epsilon, decay=0.0, decoupled=0.0, hat=False):
    m = s = 0.0
    for t, g in enumerate(gradients, 1):
        g = g + decay * theta
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        m_hat, s_hat = m / (1 - beta1**t), s / (1 - beta2**t)
        below = (np.sqrt(s) + epsilon) / np.sqrt(1 - beta2**t) if hat else np.sqrt(s_hat) + epsilon
        theta = theta - rate * (m_hat / below + decoupled * theta)
    return theta


def nadam(theta, gradients, rate, beta1, beta2, epsilon, psi, decay=0.0):
    m = s = 0.0
    mu = [beta1 * (1 - 0.96 ** (t * psi) / 2) for t in range(1, len(gradients) + 2)]
    for t, g in enumerate(gradients, 1):
        g = g + decay * theta
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        ahead = (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t])) + mu[t] * m / (1 - np.prod(mu[: t + 1]))
        theta = theta - rate * ahead / (np.sqrt(s / (1 - beta2**t)) + epsilon)
    return theta


def rprop(theta, gradients, step, eta_minus, eta_plus, smallest, largest, decay=0.0):
    before = np.zeros_like(theta)
    for g in gradients:
        g = g + decay * theta
        turn = np.sign(before) * np.sign(g)
        step = np.clip(step * np.select([turn > 0, turn < 0], [eta_plus, eta_minus], 1.0), smallest, largest)
        g = np.where(turn < 0, 0.0, g)
        theta, before = theta - np.sign(g) * step, g
    return theta


SGD, RMSprop, Adam, AdamW = fastbp.SGD, fastbp.RMSprop, fastbp.Adam, fastbp.AdamW
Nadam, Rprop = fastbp.Nadam, fastbp.Rprop
#: The class, its settings, and the equation with the same settings; ε is large enough to be seen.
CASES = {
    "SGD": (SGD, {"learning_rate": 0.3}, lambda *of: sgd(*of, 0.3)),
    "SGD, weight decay": (SGD, {"learning_rate": 0.3, "weight_decay": 0.2}, lambda *of: sgd(*of, 0.3, decay=0.2)),
    "momentum": (SGD, {"learning_rate": 0.1, "momentum": 0.9}, lambda *of: sgd(*of, 0.1, 0.9)),
    "Nesterov": (SGD, {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True}, lambda *of: sgd(*of, 0.1, 0.8, True)),
    "Nesterov, weight decay": (SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
                               lambda *of: sgd(*of, 0.1, 0.8, True, 0.1)),
    "RMSprop": (RMSprop, {"learning_rate": 0.1, "decay": 0.7, "epsilon": 0.05},
                lambda *of: rmsprop(*of, 0.1, 0.7, 0.05)),
    "RMSprop, defaults": (RMSprop, {}, lambda *of: rmsprop(*of, 0.001, 0.99, 1e-8)),
    "RMSprop, weight decay": (RMSprop, {"weight_decay": 0.1}, lambda *of: rmsprop(*of, 0.001, 0.99, 1e-8, 0.1)),
    "Adam": (Adam, {"learning_rate": 0.1, "beta1": 0.7, "beta2": 0.8, "epsilon": 0.05},
             lambda *of: adam(*of, 0.1, 0.7, 0.8, 0.05)),
    "Adam, defaults": (Adam, {}, lambda *of: adam(*of, 0.001, 0.9, 0.999, 1e-8)),
    "Adam, weight decay": (Adam, {"weight_decay": 0.1}, lambda *of: adam(*of, 0.001, 0.9, 0.999, 1e-8, 0.1)),
    "Adam with ε̂": (Adam, {"learning_rate": 0.1, "beta1": 0.7, "beta2": 0.8, "epsilon": 0.05, "epsilon_hat": True},
                    lambda *of: adam(*of, 0.1, 0.7, 0.8, 0.05, hat=True)),
    "AdamW": (AdamW, {"learning_rate": 0.1, "beta1": 0.7, "beta2": 0.8, "epsilon": 0.05, "weight_decay": 0.3},
              lambda *of: adam(*of, 0.1, 0.7, 0.8, 0.05, decoupled=0.3)),
    "AdamW, defaults": (AdamW, {}, lambda *of: adam(*of, 0.001, 0.9, 0.999, 1e-8, decoupled=0.01)),
    "Nadam": (fastbp.Nadam, {"learning_rate": 0.1, "beta1": 0.7, "beta2": 0.8, "epsilon": 0.05, "momentum_decay": 0.5},
              lambda *of: nadam(*of, 0.1, 0.7, 0.8, 0.05, 0.5)),
    "Nadam, weight decay": (fastbp.Nadam, {"weight_decay": 0.1},
                            lambda *of: nadam(*of, 0.002, 0.9, 0.999, 1e-8, 0.004, 0.1)),
    "Rprop": (fastbp.Rprop, {"learning_rate": 0.1, "eta_minus": 0.3, "eta_plus": 1.4, "smallest_step": 0.05,
                             "largest_step": 0.15}, lambda *of: rprop(*of, 0.1, 0.3, 1.4, 0.05, 0.15)),
    "Rprop, weight decay": (fastbp.Rprop, {"weight_decay": 0.1}, lambda *of: rprop(*of, 0.01, 0.5, 1.2, 1e-6, 50, 0.1)),
}
ALL = [SGD(momentum=0.9), *(kind() for kind in OPTIMIZERS.values())]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def test_every_optimizer_has_its_place():
    """Every rule is one of an optimizer, whose equation is tested, and which a warm-up compiles; and the other way."""
    assert {kind for kind, _, _ in CASES.values()} == set(OPTIMIZERS.values())
    assert all(getattr(fastbp, kind.__name__) is kind for kind in OPTIMIZERS.values())
    for optimizers in (WARMED_OPTIMIZERS, [kind(**settings) for kind, settings, _ in CASES.values()]):
        assert {optimizer.rule for optimizer in optimizers} == set(RULES)
    assert len({str(rule) for rule in RULES}) == len(RULES)


def test_an_optimizer_without_a_rule_is_refused():
    class Nameless(Optimizer):
        pass

    net = fastbp.MLP([1, 1], loss="squared_error", seed=0)
    with pytest.raises(TypeError, match="Nameless is not an optimizer by itself; use SGD, Adam or another"):
        net.fit([[1.0]], [1.0], optimizer=Nameless(0.1))


def clipped(gradients, bound):
    return [g * min(1, bound / np.linalg.norm(g)) for g in gradients]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("clip_norm", [None, 2.0])
@pytest.mark.parametrize(("kind", "settings", "equation"), CASES.values(), ids=CASES)
def test_equation(kind, settings, equation, clip_norm, dtype):
    rng = np.random.default_rng(0)
    theta = rng.normal(size=7).astype(dtype)
    gradients = rng.normal(size=(12, 7)).astype(dtype) * np.geomspace(0.1, 10, 12, dtype=dtype)[:, None]
    exact = gradients.astype(float)
    expected = equation(theta.astype(float), exact if clip_norm is None else clipped(exact, clip_norm))
    optimizer = kind(**settings, clip_norm=clip_norm)
    state = optimizer.start(theta)
    for gradient in gradients:
        grad = gradient.copy()
        optimizer.step(theta, grad, state)
        assert not grad.any()
    assert state.updates[0] == 12
    np.testing.assert_allclose(theta, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("backend", CUDA)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize(("kind", "settings"), [case[:2] for case in CASES.values()], ids=CASES)
def test_training_on_a_gpu_is_that_on_the_processor(kind, settings, clip_norm, dtype, backend):
    """Six updates of each optimizer: plain ones in one launch, clipped ones by launches for each."""
    X, d = np.random.default_rng(0).normal(size=(5, 2)), np.arange(5) % 2
    nets = [fastbp.MLP([2, 3, 2], dtype=dtype, activation="tanh", seed=0, backend=name) for name in ("loops", backend)]
    states = [net.fit(X, d, optimizer=kind(**settings, clip_norm=clip_norm), epochs=2, batch_size=2,
                      seed=0).optimizer_state for net in nets]
    tolerance = {"float32": 3e-6, "float64": 1e-13}[dtype]
    assert_close(nets[1].theta, nets[0].theta, tolerance)
    assert states[0].updates[0] == states[1].updates[0] == 6
    if states[0].averages.size:
        assert_close(states[1].averages, states[0].averages, 3 * tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_step_of_a_network(dtype, backend):
    net = fastbp.MLP([2, 3, 2], seed=0, dtype=dtype, backend=backend)
    net.accumulate_gradient([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    before, grad = net.theta_on_host().copy(), on_host(net.grad).copy()
    net.step(0.25)
    np.testing.assert_allclose(on_host(net.theta), before - grad.dtype.type(0.25) * grad, rtol=TOLERANCE[dtype])
    assert grad.any()
    assert not on_host(net.grad).any()


def test_a_gradient_of_zero_can_be_clipped():
    theta, grad = np.ones(3), np.zeros(3)
    optimizer = SGD(clip_norm=1.0)
    optimizer.step(theta, grad, optimizer.start(theta))
    assert theta.tolist() == [1, 1, 1]


# ---- schedules -------------------------------------------------------------------------------------------------------

SCHEDULES = {
    "constant": (Constant(0.3), lambda t: 0.3),
    "step": (Step(0.3, every=4, factor=0.5), lambda t: 0.3 * 0.5 ** (t // 4)),
    "step, default factor": (Step(0.3, every=1), lambda t: 0.3 / 10**t),
    "step beyond any training": (Step(Fraction(3, 10), every=10**30), lambda t: 0.3),
    "cosine": (Cosine(0.3, updates=7), lambda t: 0.15 * (1 + math.cos(math.pi * t / 7)) if t < 7 else 0.0),
    "cosine to": (Cosine(0.3, updates=7, final=0.1), lambda t: 0.1 + 0.1 * (1 + math.cos(math.pi * min(t, 7) / 7))),
    "inverse": (InverseScaling(0.3, power=0.7), lambda t: 0.3 / (t + 1) ** 0.7),
    "inverse root": (InverseScaling(0.3), lambda t: 0.3 / math.sqrt(t + 1)),
    "warm-up": (WarmUp(Constant(0.3), updates=3), lambda t: 0.3 * min(1, (t + 1) / 3)),
    "warm-up to step": (WarmUp(Step(0.3, every=2, factor=0.5), updates=3),
                        lambda t: 0.1 * (t + 1) if t < 3 else 0.3 * 0.5 ** ((t - 3) // 2)),
    "warm-up to cosine": (WarmUp(Cosine(0.3, updates=5), updates=4),
                          lambda t: 0.075 * (t + 1) if t < 4 else 0.15 * (1 + math.cos(math.pi * min((t - 4) / 5, 1)))),
}


@pytest.mark.parametrize(("schedule", "rate"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedule(schedule, rate):
    values = [value_at(schedule, t) for t in range(12)]
    assert values == pytest.approx([rate(t) for t in range(12)], rel=1e-12, abs=1e-17)


@pytest.mark.parametrize("backend", ["auto", *CUDA])
@pytest.mark.parametrize(("schedule", "rate"), SCHEDULES.values(), ids=SCHEDULES)
def test_training_follows_the_schedule(schedule, rate, backend):
    """4 epochs of 3 batches, against 12 steps with the rate of each; the count goes on over epochs and fits."""
    X, d = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6) % 2
    trained, stepped = (fastbp.MLP([2, 3, 2], dtype="float64", activation="tanh", seed=0, backend=name)
                        for name in (backend, "auto"))
    history = trained.fit(X, d, optimizer=SGD(schedule), epochs=3, batch_size=2, shuffle=False)
    trained.fit(X, d, optimizer=SGD(schedule), epochs=1, batch_size=2, shuffle=False,
                optimizer_state=history.optimizer_state)
    for t in range(12):
        batch = slice(2 * t % 6, 2 * t % 6 + 2)
        stepped.accumulate_gradient(X[batch], d[batch])
        stepped.step(rate(t) / 2)
    np.testing.assert_allclose(trained.theta_on_host(), stepped.theta, rtol=1e-12)


# ---- refused ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("make", "error", "name"), [
    *((lambda kind=kind, rate=rate: kind(rate), error, "learning_rate") for kind in OPTIMIZERS.values()
      for rate, error in ((-0.1, ValueError), (np.nan, ValueError), (np.inf, ValueError), ("0.1", TypeError),
                          (None, TypeError), (True, TypeError))),
    *((lambda kind=kind, key=key, value=value: kind(**{key: value}), ValueError, key) for kind, key, value in (
        (SGD, "weight_decay", -0.1), (Adam, "weight_decay", np.nan), (SGD, "clip_norm", 0), (AdamW, "clip_norm", -1.0),
        (SGD, "clip_norm", np.inf), (SGD, "momentum", 1.1), (SGD, "momentum", -0.1), (SGD, "nesterov", True),
        (RMSprop, "decay", 1.0), (RMSprop, "decay", -0.1), (RMSprop, "epsilon", 0), (Adam, "beta1", 1),
        (Adam, "beta1", -0.1), (Adam, "beta2", 1.0), (AdamW, "beta2", np.nan), (Adam, "epsilon", 0.0),
        (AdamW, "epsilon", -1e-8), (Nadam, "momentum_decay", -1), (Rprop, "eta_minus", 1.0), (Rprop, "eta_plus", 1),
        (Rprop, "smallest_step", 0.0), (Rprop, "largest_step", 1e-7))),
    (lambda: Rprop(Constant(0.1)), TypeError, "learning_rate"),
    (lambda: SGD(momentum="0.9"), TypeError, "momentum"),
    *((lambda kind=kind: kind(-0.1, updates=3) if kind is Cosine else kind(-0.1, 3), ValueError, "learning_rate")
      for kind in (Step, Cosine, InverseScaling)),
    (lambda: Constant("0.1"), TypeError, "learning_rate"),
    (lambda: Step(0.1, every=0), ValueError, "every"),
    (lambda: Step(0.1, every=2.5), TypeError, "every"),
    (lambda: Step(0.1, every=2, factor=-1), ValueError, "factor"),
    (lambda: Step(0.1, every=10**400), ValueError, "every"),
    (lambda: Cosine(0.1, updates=10**400), ValueError, "updates"),
    (lambda: SGD(10**400), ValueError, "learning_rate"),
    (lambda: SGD(0.1, 0.9, np.ones(2)), TypeError, "nesterov"),
    (lambda: Adam(epsilon_hat="yes"), TypeError, "epsilon_hat"),
    (lambda: value_at("cosine", 3), TypeError, "learning_rate"),
    (lambda: value_at(Constant(0.1), -1), ValueError, "t"),
    (lambda: value_at(Constant(0.1), 2**63), ValueError, "t"),
    (lambda: Cosine(0.1, updates=0), ValueError, "updates"),
    (lambda: Cosine(0.1, updates=5, final=-0.1), ValueError, "final"),
    (lambda: InverseScaling(0.1, power=-1), ValueError, "power"),
    (lambda: WarmUp(WarmUp(Constant(0.1), 3), 3), TypeError, "schedule"),
    (lambda: WarmUp(0.1, 3), TypeError, "schedule"),
    (lambda: WarmUp(SGD(0.1), 3), TypeError, "schedule"),
    (lambda: SGD(SGD(0.1)), TypeError, "learning_rate"),
    (lambda: SGD(Constant), TypeError, "learning_rate"),
    (lambda: WarmUp(Constant(0.1), updates=0), ValueError, "updates"),
])
def test_wrong_setting(make, error, name):
    with pytest.raises(error, match=f"^{name}: expected"):
        make()


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(optimizer, value):
    theta, grad = np.arange(5.0), np.array([1, 2, 3, value, 5])
    state = optimizer.start(theta)
    optimizer.step(theta, np.ones(5), state)
    before = theta.copy(), state.averages.copy(), state.updates.copy()
    with pytest.raises(fastbp.DivergenceError, match="theta is left as it was"):
        optimizer.step(theta, grad, state)
    for found, expected in zip((theta, *state[::-1]), before, strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("optimizer", [SGD(1e38), SGD(1e38, momentum=0.5), RMSprop(1e38), Adam(3e38), AdamW(3e38)],
                         ids=repr)
def test_an_update_that_overflows_leaves_theta(optimizer):
    theta, grad = np.array([1, -3e38, 3], np.float32), np.array([0, 1e3, 0], np.float32)
    before = theta.copy()
    with pytest.raises(fastbp.DivergenceError, match="theta is left as it was"):
        optimizer.step(theta, grad, optimizer.start(theta))
    assert np.array_equal(theta, before)


@pytest.mark.parametrize(("dtype", "size"), [("float64", size) for size in (1e200, 1e150, 1e-140, 1e-161, 1e-200)]
                         + [("float32", size) for size in (5e37, 1e30, 1e-30, 1e-37)])
def test_the_norm_of_a_gradient_neither_overflows_nor_vanishes(dtype, size):
    theta, sgd = np.zeros(2, dtype), SGD(1.0, clip_norm=size)
    sgd.step(theta, (size * np.array([3.0, 4.0])).astype(dtype), sgd.start(theta))
    np.testing.assert_allclose(theta, [-0.6 * size, -0.8 * size], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_of_a_large_gradient_is_that_of_numpy(dtype):
    grad = np.random.default_rng(0).standard_normal(100_003).astype(dtype)
    theta, sgd = np.zeros_like(grad), SGD(1.0, clip_norm=1.0)
    expected = -grad.astype(float) / np.linalg.norm(grad.astype(float))
    sgd.step(theta, grad.copy(), sgd.start(theta))
    np.testing.assert_allclose(theta, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("theta", "error"), [
    (np.zeros((2, 2)), ValueError), (np.zeros(8)[::2], ValueError), (np.broadcast_to(0.0, 4), ValueError),
    (np.zeros(4, int), TypeError), ([0.0] * 4, TypeError)], ids=["2-D", "strided", "read-only", "integer", "list"])
def test_theta_that_no_kernel_may_write(theta, error):
    with pytest.raises(error, match=r"^theta: expected"):
        SGD().step(theta, np.ones(4), SGD().start(np.zeros(4)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_of_a_network_that_overflows_leaves_it(backend):
    net = fastbp.MLP([2, 2], seed=0, backend=backend)
    before = net.theta_on_host().copy()
    for gradient, rate in ((1e3, 1e38), (np.nan, 0.1), (np.inf, 0.1)):
        net.grad[:] = gradient
        with pytest.raises(fastbp.DivergenceError, match="theta is left as it was"):
            net.step(rate)
        assert np.array_equal(net.theta_on_host(), before)


@pytest.mark.parametrize(("grad", "state", "name"), [
    (np.ones(4), Adam().start(np.ones(5)), "grad"), (np.ones(5, np.float32), Adam().start(np.ones(5)), "grad"),
    (np.ones((5, 1)), Adam().start(np.ones(5)), "grad"), (np.ones(5), Adam().start(np.ones(4)), "state"),
    (np.ones(5), Adam().start(np.ones(5, np.float32)), "state"), (np.ones(5), SGD().start(np.ones(5)), "state"),
    (np.ones(5), RMSprop().start(np.ones(5)), "state")])
def test_what_does_not_go_with_theta(grad, state, name):
    theta = np.arange(5.0)
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        Adam().step(theta, grad, state)
    assert np.array_equal(theta, np.arange(5))


@pytest.mark.parametrize("optimizer", [*ALL, *(schedule for schedule, _ in SCHEDULES.values())], ids=repr)
def test_settings_are_immutable(optimizer):
    name = "schedule" if isinstance(optimizer, WarmUp) else "learning_rate"
    with pytest.raises(FrozenInstanceError):
        setattr(optimizer, name, 0.5)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9, clip_norm=0.5), *ALL[1:]], ids=repr)
def test_threads_share_a_large_update_without_changing_a_bit(optimizer, monkeypatch):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(160, 300)), rng.integers(0, 5, 160)
    results = set()
    for threads in (1, 2):
        monkeypatch.setattr(fastbp.pace.Pace, "next_slice", lambda pace, most, threads=threads: (threads, 10**6))
        net = fastbp.MLP([300, 120, 5], seed=0)
        assert net.theta.size >= updates.SMALL_SIZE
        net.fit(X, labels, optimizer=optimizer, epochs=4, batch_size=40, seed=0)
        results.add(net.theta.tobytes())
    assert len(results) == 1
