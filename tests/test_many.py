"""Many networks at once: each as alone, whatever happens to the others."""

import _thread
import pickle
import threading
import warnings

import numpy as np
import pytest
from numba.core import event
from tolerances import CPU_BACKENDS, DTYPES

import fastbp
from fastbp import MLP, SGD, Adam, DivergenceError, fit_many
from fastbp.backends.tiles import online
from fastbp.pace import Pace
from fastbp.training import trainers
from fastbp.training.progress_bar import ProgressBar

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(150, 4)), RNG.integers(0, 3, 150)


def networks(count, **settings):
    return [MLP([4, 7, 3], seed=seed, **settings) for seed in range(count)]


@pytest.fixture(params=[1, 2])
def threads(request):
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(min(request.param, before))
    yield
    fastbp.set_num_threads(before)


def assert_alike(nets, histories, alone, expected):
    for net, history, one, one_history in zip(nets, histories, alone, expected, strict=True):
        assert net.theta.tobytes() == one.theta.tobytes()
        assert history.records == one_history.records
        assert (history.stop_reason, history.samples) == ("epochs", one_history.samples)
        assert not net.grad.any()
        averages = [h.optimizer_state.averages.tobytes() for h in (history, one_history)]
        assert averages[0] == averages[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_each_has_the_bits_of_training_alone(backend, dtype, threads):
    settings = {"epochs": 4, "batch_size": 16, "optimizer": Adam(0.01)}
    nets, alone = networks(9, backend=backend, dtype=dtype), networks(9, backend=backend, dtype=dtype)
    weight = RNG.uniform(size=150)
    assert_alike(nets, fit_many(nets, X, LABELS, sample_weight=weight, **settings), alone,
                 [net.fit(X, LABELS, sample_weight=weight, **settings) for net in alone])
    assert len({net.theta.tobytes() for net in nets}) == 9


def test_each_with_its_own_of_everything(threads):
    """Data of different size, targets, weights, seeds, learning rates, even shapes."""
    def drawn():
        nets = [MLP([4, 5 + p, 3], activation=["relu", "tanh"][p % 2], seed=p, dtype=DTYPES[p % 2]) for p in range(6)]
        return [*nets, MLP([4, 2], loss="squared_error", seed=9)]

    nets, alone = drawn(), drawn()
    Xs = [X[: 20 * (p + 1)] for p in range(7)]
    ds = [*(LABELS[: 20 * (p + 1)] for p in range(6)), X[:140, :2]]
    weights = [np.full(len(X_p), 0.5 + p) for p, X_p in enumerate(Xs)]
    optimizers, seeds = [SGD(0.01 * (p + 1)) for p in range(7)], list(range(100, 107))
    histories = fit_many(nets, Xs, ds, sample_weight=weights, optimizer=optimizers, seeds=seeds, epochs=3, batch_size=8)
    expected = [net.fit(Xs[p], ds[p], sample_weight=weights[p], optimizer=optimizers[p], seed=seeds[p], epochs=3,
                        batch_size=8) for p, net in enumerate(alone)]
    assert_alike(nets, histories, alone, expected)


def test_none_in_a_list_stands_for_what_is_not_given():
    weight, optimizer = RNG.uniform(size=150), Adam(0.01)
    nets, alone = networks(3), networks(3)
    histories = fit_many(nets, X, LABELS, sample_weight=[weight, None, None], optimizer=[None, optimizer, None],
                         seeds=[None, 7, None], epochs=2)
    assert_alike(nets, histories, alone, [alone[0].fit(X, LABELS, sample_weight=weight, epochs=2),
                                          alone[1].fit(X, LABELS, optimizer=optimizer, seed=7, epochs=2),
                                          alone[2].fit(X, LABELS, epochs=2)])


def test_nested_lists_are_samples_of_all_networks():
    """Also as many as there are networks."""
    nets, alone = networks(3), networks(3)
    histories = fit_many(nets, X[:3].tolist(), LABELS[:3].tolist(), sample_weight=(0.5, 1.0, 2.0), epochs=2)
    assert_alike(nets, histories, alone, [net.fit(X[:3], LABELS[:3], sample_weight=[0.5, 1.0, 2.0], epochs=2)
                                          for net in alone])


@pytest.mark.parametrize("budget", [1, 7, 257])
def test_one_sample_steps_do_not_depend_on_slices(budget, monkeypatch):
    """Also where a kernel of their own takes them: the last step of a slice as all others."""
    monkeypatch.setattr(online, "MIN_STEPS", 1)
    nets, alone = networks(2), networks(2)
    expected = [net.fit(X, LABELS, epochs=3, batch_size=1, optimizer=SGD(0.01)) for net in alone]
    monkeypatch.setattr(Pace, "next_slice", lambda self, threads: (1, budget))
    assert_alike(nets, fit_many(nets, X, LABELS, epochs=3, batch_size=1, optimizer=SGD(0.01)), alone, expected)


def test_one_that_diverges_does_not_disturb_the_others(threads):
    nets, alone = networks(5), networks(5)
    optimizers = [SGD(1e30 if p in (1, 4) else 0.05) for p in range(5)]
    with pytest.warns(RuntimeWarning, match="2 of 5 networks diverged and keep their last finite parameters: 1, 4"):
        histories = fit_many(nets, X, LABELS, optimizer=optimizers, epochs=5, batch_size=10)
    for p, net in enumerate(alone):
        if p in (1, 4):
            with pytest.raises(DivergenceError):
                net.fit(X, LABELS, optimizer=optimizers[p], epochs=5, batch_size=10)
            assert histories[p].stop_reason == "diverged"
        else:
            net.fit(X, LABELS, optimizer=optimizers[p], epochs=5, batch_size=10)
            assert histories[p].stop_reason == "epochs"
        assert nets[p].theta.tobytes() == net.theta.tobytes()
        assert np.isfinite(net.theta).all()


def test_interrupted(threads):
    nets = networks(40)
    interrupt = threading.Timer(0.3, _thread.interrupt_main)
    fit_many(networks(1), X, LABELS, epochs=1)  # nothing is left to compile
    interrupt.start()
    with pytest.warns(RuntimeWarning, match=r"interrupted with \d+ of 40 networks done"):
        histories = fit_many(nets, X, LABELS, epochs=20_000, optimizer=SGD(0.01))
    assert {history.stop_reason for history in histories} >= {"interrupted"}
    assert all(np.isfinite(net.theta).all() and not net.grad.any() for net in nets)
    begun = [history.samples for history in histories]
    assert begun[0] > 0
    assert begun[-1] == 0
    assert histories[0].epochs == len(histories[0]["loss"]) > 0


def test_interrupted_again_while_the_threads_end(threads, monkeypatch):
    """No history is lost, however often it is pressed."""
    train = trainers.Trainer._train

    def pressing(self, session):
        for _ in range(3):
            _thread.interrupt_main()
        train(self, session)
        _thread.interrupt_main()

    monkeypatch.setattr(trainers.Trainer, "_train", pressing)
    nets = networks(5)
    with pytest.warns(RuntimeWarning, match="interrupted with 0 of 5 networks done"):
        histories = fit_many(nets, X, LABELS, epochs=10**7, optimizer=SGD(0.01))
    assert [history.stop_reason for history in histories] == ["interrupted"] * 5
    assert all(history.epochs == len(history.records.get("loss", [])) for history in histories)
    assert all(np.isfinite(net.theta).all() and not net.grad.any() for net in nets)


class Compiling(event.Listener):
    """Which threads compile; at a pass, counted from 1, it presses Ctrl-C."""

    def __init__(self, place=0):
        self.threads, self.seen, self.place = set(), 0, place

    def on_start(self, event):
        self.threads.add(threading.current_thread())
        self.seen += 1
        if self.seen == self.place:
            _thread.interrupt_main()

    def on_end(self, event):
        pass


def test_ctrl_c_while_it_compiles():
    """Which it does on the main thread, where Ctrl-C is heard."""
    own = fastbp.Activation("own", lambda a: a / (1.0 + abs(a)), lambda a, h: 1.0 / (1.0 + abs(a)) ** 2)
    nets, expected = networks(3, activation=own, backend="loops"), networks(3, activation=own, backend="loops")
    for net in nets:
        net.grad[:] = 1.0
    with event.install_listener("numba:run_pass", Compiling(30)), \
            pytest.warns(RuntimeWarning, match="interrupted with 0 of 3 networks done"):
        histories = fit_many(nets, X, LABELS, epochs=2)
    assert [(history.stop_reason, history.samples) for history in histories] == [("interrupted", 0)] * 3
    for net, other in zip(nets, expected, strict=True):
        assert net.theta.tobytes() == other.theta.tobytes()
        assert (net.grad == 1.0).all()
    with event.install_listener("numba:run_pass", Compiling()) as listener:
        histories = fit_many(nets, X, LABELS, epochs=2)
    assert listener.threads == {threading.main_thread()}
    assert_alike(nets, histories, expected, [net.fit(X, LABELS, epochs=2) for net in expected])


def test_progress_counts_networks(monkeypatch):
    seen = []

    class Bar(ProgressBar):
        def __init__(self, wanted, total, unit):
            super().__init__(wanted, total, unit)
            seen.append((wanted, total, unit))

        def show(self, done, text):
            seen.append(done)

    monkeypatch.setattr("fastbp.training.many.ProgressBar", Bar)
    monkeypatch.setattr("fastbp.training.trainers.LOOK_EVERY", 0.001)
    fit_many(networks(40), X, LABELS, epochs=200, optimizer=SGD(0.01), progress=False)
    (first, *counts) = seen
    assert first == (False, 40, "networks")
    assert counts == sorted(counts)
    assert counts[-1] == 40
    assert len(set(counts)) > 3


@pytest.mark.parametrize(("change", "error", "match"), [
    ({"nets": []}, ValueError, "nets: expected at least one network"),
    ({"nets": "nets"}, TypeError, "nets: expected a sequence of MLP"),
    ({"nets": "twice"}, ValueError, "nets: expected different networks"),
    ({"X": [X, X]}, ValueError, "X: expected one for each of the 3 networks, found 2"),
    ({"d": [LABELS] * 4}, ValueError, "d: expected one for each of the 3 networks, found 4"),
    ({"X": [X, X, X[:, :3]]}, ValueError, r"nets\[2\]: X: .*4"),
    ({"d": [LABELS, LABELS + 1, LABELS]}, ValueError, r"nets\[1\]: d: expected labels from 0 to 2, found 3"),
    ({"sample_weight": [np.ones(150), np.ones(150), -np.ones(150)]}, ValueError, r"nets\[2\]: sample_weight"),
    ({"optimizer": [SGD(0.1), SGD(0.1)]}, ValueError, "optimizer: expected one for each of the 3 networks, found 2"),
    ({"optimizer": 0.1}, TypeError, r"nets\[0\]: optimizer: expected SGD"),
    ({"seeds": [1, 2]}, ValueError, "seeds: expected one for each of the 3 networks, found 2"),
    ({"seeds": [1, 2, -3]}, ValueError, r"nets\[2\]: seeds: expected at least 0, found -3"),
    ({"seeds": [1, 2, 0.5]}, TypeError, r"nets\[2\]: seeds: expected a whole number"),
    ({"seeds": 3}, TypeError, "seeds: expected one for each of the 3 networks, found 3"),
    ({"seeds": []}, ValueError, "seeds: expected one for each of the 3 networks, found 0"),
    ({"optimizer": [SGD(0.1), None, 0.1]}, TypeError, r"nets\[2\]: optimizer: expected SGD"),
    ({"optimizer": []}, TypeError, r"optimizer: expected SGD"),
    ({"sample_weight": [np.ones(150), None]}, ValueError, "sample_weight: expected one for each of the 3 networks"),
    ({"X": [X, None, X]}, TypeError, r"nets\[1\]: X: expected real numbers"),
    ({"d": [None, LABELS, LABELS]}, TypeError, r"nets\[0\]: d: expected real numbers"),
    ({"epochs": 0}, ValueError, "epochs: expected at least 1"),
    ({"batch_size": 1.5}, TypeError, "batch_size: expected a whole number"),
    ({"nets": "infinite"}, ValueError, r"nets\[1\]: theta: expected finite parameters"),
    ({"shuffle": "no"}, TypeError, "shuffle: expected True or False"),
    ({"replacement": None}, TypeError, "replacement: expected True or False"),
    ({"progress": "yes"}, TypeError, "progress: expected True or False"),
    ({"dropout": [0.1, 0.2]}, ValueError, r"nets\[0\]: dropout: expected one rate"),
    ({"optimizer": [SGD(0.1), None, SGD(0.1, momentum=1e-60)]}, ValueError, r"nets\[2\]: optimizer: .*0 in float32"),
])
def test_what_is_refused_names_the_network(change, error, match):
    nets = networks(3)
    if change.get("nets") == "infinite":
        nets[1].theta[0] = np.inf
    for net in nets:
        net.grad[:] = 1.0
    before = [pickle.dumps(net) for net in nets]
    named = {"nets": nets, "twice": [*nets, nets[0]], "infinite": nets}
    arguments = {"nets": nets, "X": X, "d": LABELS} | change
    if isinstance(arguments["nets"], str):
        arguments["nets"] = "abc" if arguments["nets"] == "nets" else named[arguments["nets"]]
    with pytest.raises(error, match=match), warnings.catch_warnings():
        fit_many(arguments.pop("nets"), arguments.pop("X"), arguments.pop("d"), **arguments)
    assert [pickle.dumps(net) for net in nets] == before  # with their gradients and generators
