"""Updates of `tiled` while the gradient's tile is in cache: the update of `Optimizer.step`, wherever it is taken."""

import numpy as np
import pytest
from test_optimizers import CASES
from tolerances import DTYPES

import fastbp
from fastbp import MLP, SGD, Adam, AdamW, Nadam, RMSprop, Rprop
from fastbp.backends import tiled
from fastbp.backends.tiles.job import fields
from fastbp.compiling.addresses import address_of
from fastbp.optimizers.rules import DESCENT, RULES

OPTIMIZERS = {
    "momentum": (SGD, {"learning_rate": 1e-3, "momentum": 0.9}),
    "Nesterov": (SGD, {"learning_rate": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "descent": (SGD, {"learning_rate": 1e-3, "weight_decay": 0.01}), "RMSprop": (RMSprop, {}),
    "Adam": (Adam, {"weight_decay": 0.01}), "AdamW": (AdamW, {}), "Nadam": (Nadam, {}), "Rprop": (Rprop, {})}

#: Widths and batches: of whole tiles, of ragged ones, of more columns than go together, of lanes, and of few samples.
SHAPES = {"tiles": ([64, 96, 32], 100), "ragged": ([37, 150, 7], 100), "wide": ([1700, 20, 3], 40),
          "lanes": ([3, 5, 2], 64), "few": ([20, 9, 3], 3), "one": ([20, 9, 3], 1)}

EXTRAS = {
    "plain": {}, "penalty": {"l2_penalty": 0.1}, "dropout": {"dropout": 0.2}, "clipped": {"clip_sample_norm": 0.5},
    "weighted": {"weighted_mean": True, "l2_penalty": 0.1, "sample_weight": np.linspace(0.0, 2.0, 250)}}


def data(widths, dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.normal(size=(250, widths[0])).astype(dtype), rng.normal(size=(250, widths[-1])).astype(dtype)


def trained(widths, batch_size, optimizer, dtype="float32", epochs=2, **extras):
    net = MLP(widths, activation="tanh", loss="squared_error", dtype=dtype, seed=0, backend="tiled")
    history = net.fit(*data(widths, dtype), optimizer=optimizer, batch_size=batch_size, epochs=epochs, seed=0, **extras)
    assert not net.grad.any()
    return net.theta, history.optimizer_state.averages, np.array(history.records["loss"])


@pytest.fixture
def updates_at_once(monkeypatch):
    """Whether the last training had a kernel that updates a block of parameters."""
    found, specialised = [], tiled.specialised

    def noted(work, *arguments):
        found[:] = [fields(specialised(work, *arguments)).update != 0]
        return work

    monkeypatch.setattr(tiled, "specialised", noted)
    return lambda: found[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extras", EXTRAS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_as_an_update_after_the_gradient(optimizer, shape, extras, dtype, updates_at_once):
    """A bound on the gradient's norm, here never reached, makes the whole gradient necessary first."""
    kind, settings = OPTIMIZERS[optimizer]
    at_once = trained(*SHAPES[shape], kind(**settings), dtype, **EXTRAS[extras])
    assert updates_at_once()
    after = trained(*SHAPES[shape], kind(**settings, clip_norm=1e30), dtype, **EXTRAS[extras])
    assert not updates_at_once()
    for found, expected in zip(at_once, after, strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extras", ["penalty", "weighted"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_descent_with_a_penalty_or_a_mean_by_weight_too(shape, extras, dtype, updates_at_once):
    """Without either, phase 2 adds to θ itself, and needs no such kernel."""
    at_once = trained(*SHAPES[shape], SGD(1e-3), dtype, **EXTRAS[extras])
    assert updates_at_once()
    after = trained(*SHAPES[shape], SGD(1e-3, clip_norm=1e30), dtype, **EXTRAS[extras])
    assert not updates_at_once()
    for found, expected in zip(at_once, after, strict=True):
        assert found.tobytes() == expected.tobytes()
    trained(*SHAPES[shape], SGD(1e-3), dtype)
    assert not updates_at_once()


@pytest.mark.parametrize("widths", [[80, 200, 30], [1700, 40, 3]], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_bits_for_any_slices_and_threads(optimizer, widths, monkeypatch):
    """Slices of one batch on any number of threads in turn, and of whole epochs on one."""
    kind, settings = OPTIMIZERS[optimizer]
    expected = trained(widths, 100, kind(**settings))
    for teams in ([1], [2], [1, 2]):
        turns = iter(teams * 1000)
        monkeypatch.setattr(fastbp.pace.Pace, "next_slice", lambda pace, threads, turns=turns: (next(turns), 100))
        for found, one in zip(trained(widths, 100, kind(**settings)), expected, strict=True):
            assert found.tobytes() == one.tobytes()


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_gradient_beyond_the_largest_number_leaves_all_as_it_was(optimizer, shape, layer):
    """In the seventh batch ∂E/∂W of one layer has an infinite column; E is finite.

    With x of 3e38 nothing is known of any batch beforehand, with h of 3e38 only of this one.
    """
    (widths, batch_size), (kind, settings) = SHAPES[shape], OPTIMIZERS[optimizer]
    batch_size = min(batch_size, 30)
    X, d = data(widths)
    X[:, 0] = 0
    nets = [MLP(widths, activation="relu", loss="squared_error", seed=0) for _ in range(2)]
    for net in nets:
        (W1, W2), (b1, _) = net.weights, net.biases
        W1[:, 0] = 0  # so that no a depends on x_0
        if layer == 2:
            b1[0], W1[0, 0] = -100.0, 3e8  # so that h_0 is 0 where x_0 is
            W2[:, 0] = 0  # so that no y depends on h_0
    place, fit = 6 * batch_size, {"batch_size": batch_size, "epochs": 1, "shuffle": False}
    expected = nets[1].fit(X[:place], d[:place], optimizer=kind(**settings), **fit).optimizer_state
    X[place, 0], d[place] = 3e38 if layer == 1 else 1e30, 1e4
    with pytest.raises(fastbp.DivergenceError, match="update is not finite in epoch 0, step 6 ") as caught:
        nets[0].fit(X, d, optimizer=kind(**settings), **fit)
    state = caught.value.history.optimizer_state
    assert nets[0].theta.tobytes() == nets[1].theta.tobytes()
    assert state.averages.tobytes() == expected.averages.tobytes()
    assert state.updates[0] == expected.updates[0] == 6


def test_large_numbers_that_are_finite():
    """Where bounds do not show that an update is finite, it is looked at, and taken."""
    X, d = data([3, 40, 2])
    X[0, 0] = 3e38
    net = MLP([3, 40, 2], activation="tanh", loss="squared_error", seed=0)
    net.weights[0][:, 0] = 0
    before = net.theta.copy()
    history = net.fit(X, d * 1e-6, optimizer=Adam(), batch_size=50, epochs=1, shuffle=False)
    assert history.optimizer_state.updates[0] == 5
    assert np.isfinite(net.theta).all()
    assert (net.theta != before).mean() > 0.8


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_no_change_is_beyond_its_bound(rule):
    """For parameters, gradients and averages of any sign and size below what the bound is given."""
    rng = np.random.default_rng(0)
    cases = [(kind, settings) for kind, settings, _ in CASES.values() if kind(**settings).rule is rule]
    for kind, settings in cases:
        optimizer = kind(**settings)
        given = [float(getattr(optimizer, name)) for name in rule.settings]
        for _ in range(300):
            coefficients = rule.coefficients.py_func(0.1, int(rng.integers(1, 1000)), *given)
            sizes = 10.0 ** rng.uniform(-12, 12, 2 + len(rule.averages))
            (g, theta, *averages) = sizes * rng.choice([-1.0, -0.1, 0.0, 0.5, 1.0], len(sizes))
            averages = [abs(value) if name in ("s", "Δ") else value
                        for name, value in zip(rule.averages, averages, strict=True)]
            change, after = rule.change(g, theta, tuple(averages), coefficients)
            bound, bounds = rule.bound(*sizes[:2], tuple(sizes[2:]), coefficients)
            assert abs(change) <= bound * (1 + 1e-12)
            assert (np.abs(after) <= np.array(bounds) * (1 + 1e-12)).all()


def test_averages_of_squares_below_zero_are_refused():
    X, d = data([3, 40, 2])
    for optimizer, place in ((Adam(), 1), (RMSprop(), 0)):
        net = MLP([3, 40, 2], loss="squared_error", seed=0)
        state, before = optimizer.start(net.theta), net.theta.copy()
        state.averages[place, 7] = -1e-3
        with pytest.raises(ValueError, match=r"state: expected averages s of at least 0, found -0.001 at \[7\]"):
            net.fit(X, d, optimizer=optimizer, optimizer_state=state, epochs=1)
        assert net.theta.tobytes() == before.tobytes()


def test_rules_with_more_averages_than_a_block_takes_are_refused():
    with pytest.raises(TypeError, match=r"rule three: expected at most 2 averages, found \('a', 'b', 'c'\)"):
        address_of(tiled.update_block, type(DESCENT)("three", DESCENT.coefficients, DESCENT.change, DESCENT.bound, (),
                                                     ("a", "b", "c")), "float32")
