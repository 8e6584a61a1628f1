"""What is called after each epoch, what stops training, and which weights are in place afterwards."""

import math

import numpy as np
import pytest
from tolerances import CUDA

import fastbp
from fastbp import EarlyStopping

X, d = np.eye(3, dtype=np.float32), np.arange(3)


def network(backend="auto"):
    return fastbp.MLP([3, 3], seed=0, backend=backend)


class Watching:
    """Records that it was called, and answers."""

    def __init__(self, answer=None):
        self.answer, self.calls = answer, []

    def start(self, net):
        self.calls.append("start")

    def __call__(self, net, history):
        self.calls.append(history.epochs)
        return self.answer

    def finish(self, net):
        self.calls.append("finish")


@pytest.mark.parametrize("true", [True, np.True_])
@pytest.mark.parametrize("backend", ["auto", *CUDA])
def test_true_stops_and_all_are_called(backend, true):
    before, after = Watching(true), Watching()
    history = network(backend).fit(X, d, epochs=5, callbacks=[before, after])
    assert before.calls == after.calls == ["start", 1, "finish"]
    assert (history.epochs, history.stop_reason) == (1, "callback")


@pytest.mark.parametrize("answer", [None, False, 1, "stop", np.False_, [True]])
def test_nothing_else_stops(answer):
    watching = Watching(answer)
    history = network().fit(X, d, epochs=4, callbacks=[watching])
    assert watching.calls == ["start", 1, 2, 3, 4, "finish"]
    assert (history.epochs, history.stop_reason) == (4, "epochs")


def test_a_function_is_enough():
    net, seen = network(), []
    history = net.fit(X, d, epochs=9, callbacks=(lambda *of: seen.append(of), lambda net, history: history.epochs == 3))
    assert seen == [(net, history)] * 3


def test_an_error_in_a_callback_comes_through():
    def broken(net, history):
        raise RuntimeError("of mine")

    net = network()
    with pytest.raises(RuntimeError, match="of mine"):
        net.fit(X, d, callbacks=[broken])
    assert not net.grad.any()


def test_what_a_callback_sees_of_time_and_samples():
    seen = []
    history = network().fit(X, d, epochs=3, callbacks=[lambda net, h: seen.append((h.samples, h.seconds))])
    assert [samples for samples, _ in seen] == [3, 6, 9]
    assert 0 < seen[0][1] < seen[1][1] < seen[2][1] <= history.seconds


def test_training_that_diverges_is_finished_too():
    """After three epochs the parameters are moved so far away that the next one overflows."""
    def push(net, history):
        if history.epochs == 3:
            net.theta[:] = 1e30

    net, watching, best = fastbp.MLP([3, 3], loss="squared_error", seed=0), Watching(), EarlyStopping("loss")
    with pytest.raises(fastbp.DivergenceError) as caught:
        net.fit(X, np.eye(3), epochs=9, callbacks=[best, watching, push])
    history = caught.value.history
    assert watching.calls == ["start", 1, 2, 3, "finish"]
    assert history.stop_reason == "diverged"
    assert net.loss_value(X, np.eye(3)) < 3 * history["loss"][0]


# ---- early stopping --------------------------------------------------------------------------------------------------

def follow(values, name="validation_loss", backend="auto", **settings):
    """Train with a script of recorded values while theta is the number of the epoch, from 1: what it is at the end."""
    net, stopping, script = network(backend), EarlyStopping(name, **settings), iter(values)

    def play(net, history):
        history.record(name, next(script))
        net.theta[:] = history.epochs

    history = net.fit(X, d, optimizer=fastbp.SGD(0.0), epochs=len(values), callbacks=[play, stopping])
    assert (history.stop_reason == "callback") == (history.epochs < len(values))
    return net.theta_on_host()[0], history.epochs, stopping


@pytest.mark.parametrize(("values", "settings", "epochs", "best"), [
    ([5, 4, 3, 2, 1], {"patience": 1}, 5, 5),
    ([5, 4, 6, 3, 2], {"patience": 1}, 3, 2),
    ([5, 4, 6, 3, 2], {"patience": 2}, 5, 5),
    ([5, 4, 6, 5, 3], {"patience": 2}, 4, 2),
    ([5, 4, 6, 5, 7], {}, 5, 2),                                        # the end comes first
    ([4, 4, 4, 4, 4], {"patience": 3}, 4, 1),                           # not worse is not better
    ([5, 4.5, 4.2, 3.9, 9], {"patience": 3, "min_delta": 1.0}, 5, 4),   # small steps add up
    ([5, 4.5, 4.2, 3.9, 9], {"patience": 2, "min_delta": 2.0}, 3, 1),
    ([math.nan, 4, math.nan, 5, 6], {"patience": 2}, 4, 2),
])
@pytest.mark.parametrize("backend", ["auto", *CUDA])
def test_best_epoch(values, settings, epochs, best, backend):
    settings = settings | {"backend": backend}
    theta, found, stopping = follow(values, **settings)
    assert (found, stopping.best_epoch + 1, stopping.best_value) == (epochs, best, values[best - 1])
    assert theta == best
    theta, found, stopping = follow(values, restore_best=False, **settings)
    assert (found, stopping.best_epoch + 1) == (epochs, best)
    assert theta == epochs


@pytest.mark.parametrize(("name", "mode"), [
    ("validation_accuracy", None), ("validation_accuracy", "max"), ("validation_score", None), ("validation_r2", "max"),
    ("mine", "max")])
def test_what_should_grow(name, mode):
    assert follow([1, 2, 3, 2, 1], name, mode=mode, patience=1)[:2] == (3, 4)


@pytest.mark.parametrize(("name", "mode"), [("validation_loss", None), ("validation_loss", "min"), ("mine", "min"),
                                            ("validation_accuracy_of_mine", "min")])
def test_what_should_fall(name, mode):
    assert follow([3, 1, 2, 3, 4], name, mode=mode, patience=2)[:2] == (2, 4)


def test_a_metric_that_grows_keeps_its_best_weights():
    """R² of validation data, by the weights after each epoch: those of the largest are in place."""
    rng = np.random.default_rng(0)
    rows, noise = rng.normal(size=(2, 30, 3)), rng.normal(size=(2, 30, 1))
    targets = rows[:, :, :1] + 0.5 * noise

    def r2(d, Y):
        return 1 - ((Y - d)**2).sum() / ((d - d.mean())**2).sum()

    net = fastbp.MLP([3, 20, 1], loss="squared_error", dtype="float64", seed=0)
    stopping = EarlyStopping("validation_r2", mode="max", patience=20)
    history = net.fit(rows[0], targets[0], optimizer=fastbp.Adam(0.02), epochs=300, metrics={"r2": r2},
                      validation_data=(rows[1], targets[1]), callbacks=[stopping])
    assert stopping.best_value == max(history["validation_r2"]) > history["validation_r2"][0]
    assert r2(targets[1], net.forward(rows[1])) == stopping.best_value


@pytest.mark.parametrize("backend", ["auto", "loops", *CUDA])
@pytest.mark.parametrize("rate", [0.5, 1.5])
def test_the_weights_of_the_best_training_loss_have_that_loss(rate, backend):
    """One batch an epoch, whose loss is recorded before its update: (2, 0) has the loss 2, and at rate 1.5 θ jumps
    over the minimum and away from it."""
    net, stopping = fastbp.MLP([1, 1], loss="squared_error", dtype="float64", backend=backend), EarlyStopping("loss")
    net.theta[:] = np.array([2.0, 0.0])
    history = net.fit([[1.0]], [[1.0]], optimizer=fastbp.SGD(rate), epochs=5, callbacks=[stopping])
    assert stopping.best_value == min(history["loss"])
    assert net.loss_value([[1.0]], [[1.0]]) == stopping.best_value


def test_the_weights_of_the_best_training_accuracy_are_those_before_the_epoch():
    net, stopping, thetas = fastbp.MLP([3, 3], seed=0), EarlyStopping("accuracy", patience=3), []
    thetas.append(net.theta.copy())
    net.fit(X, d, optimizer=fastbp.SGD(5.0), epochs=20, callbacks=[lambda net, _: thetas.append(net.theta.copy()),
                                                                   stopping])
    assert np.array_equal(net.theta, thetas[stopping.best_epoch])
    assert net.evaluate(X, d)[1] == stopping.best_value


def test_never_a_number():
    theta, epochs, stopping = follow([math.nan] * 5, patience=3)
    assert (theta, epochs, stopping.best_epoch) == (3, 3, None)


def test_early_stopping_on_validation_data():
    """Labels that mean nothing: what is learned about them makes the validation loss worse."""
    rng = np.random.default_rng(0)
    data, noise = (rng.normal(size=(40, 3)), rng.integers(0, 2, 40)), (rng.normal(size=(40, 3)), rng.integers(0, 2, 40))
    net, stopping = fastbp.MLP([3, 20, 2], seed=0), EarlyStopping(patience=5)
    history = net.fit(*data, optimizer=fastbp.Adam(0.01), epochs=500, validation_data=noise, callbacks=[stopping])
    losses = history["validation_loss"]
    assert history.stop_reason == "callback"
    assert stopping.best_epoch == int(np.argmin(losses)) == len(losses) - 6
    assert net.loss_value(*noise) / 40 == pytest.approx(min(losses))


@pytest.mark.parametrize(("monitor", "message"), [
    ("validation_loss", "^monitor: 'validation_loss' is not recorded, only loss, accuracy; give fit its validation"),
    ("acuracy", "^monitor: 'acuracy' is not recorded, only loss, accuracy$")])
def test_unknown_monitor(monitor, message):
    with pytest.raises(ValueError, match=message):
        network().fit(X, d, callbacks=[EarlyStopping(monitor, mode="max" if monitor == "acuracy" else None)])


@pytest.mark.parametrize("monitor", ["r2", "validation_r2", "validation_my_accuracy", "acuracy"])
def test_a_mode_is_not_guessed(monitor):
    with pytest.raises(ValueError, match=f"^mode: expected 'min' or 'max' for the monitor '{monitor}'; it is known "
                                         f"only of loss, accuracy, validation_loss, "):
        EarlyStopping(monitor)


@pytest.mark.parametrize(("settings", "error"), [
    ({"patience": 0}, ValueError), ({"patience": 1.5}, TypeError), ({"min_delta": -1}, ValueError),
    ({"min_delta": "0"}, TypeError), ({"mode": "maximum"}, ValueError), ({"mode": True}, TypeError),
    ({"mode": "max", "monitor": "loss"}, ValueError), ({"mode": "min", "monitor": "accuracy"}, ValueError),
    ({"restore_best": "no"}, TypeError), ({"monitor": 3}, TypeError)])
def test_wrong_setting(settings, error):
    with pytest.raises(error, match=f"^{next(iter(settings))}: expected"):
        EarlyStopping(**settings)


def test_a_second_training_starts_afresh():
    stopping = EarlyStopping("loss", patience=1)
    first, second = network(), network()
    first.fit(X, d, epochs=20, callbacks=[stopping])
    best = stopping.best_value
    history = second.fit(X, 2 - d, optimizer=fastbp.SGD(0.001), epochs=3, callbacks=[stopping])  # far from that best
    assert min(history["loss"]) > best
    assert (history.epochs, stopping.best_value) == (3, min(history["loss"]))
    assert not np.array_equal(second.theta, first.theta)
