"""Training against a loop by hand, however it is sliced, until it ends, diverges or is stopped."""

import copy
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from tolerances import CUDA, assert_close, on_host

import fastbp
from fastbp import schedules
from fastbp.backends import loops, sample_by_sample
from fastbp.formulas import sampling
from fastbp.pace import Pace
from fastbp.training import session

# 20 samples in batches of 8, 8 and 4: dividing by a power of two is exact, so a loop by hand must give the same bits.
N, BATCH = 20, 8
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
LABELS = rng.integers(0, 3, N)
WEIGHT = rng.uniform(0, 2, N)
ADAM = fastbp.Adam(0.05)


def network(backend="loops", **settings):
    return fastbp.MLP([3, 5, 3], **{"activation": "tanh", "dtype": "float64", "seed": 0, "backend": backend} | settings)


def by_hand(net, X, d, optimizer, state, order, batch_size=BATCH, weight=None):
    """One epoch: the mean loss."""
    E = 0.0
    for begin in range(0, len(order), batch_size):
        S = order[begin : begin + batch_size]
        E += net.accumulate_gradient(X[S], d[S], None if weight is None else weight[S])
        net.grad[:] /= len(S)
        optimizer.step(net.theta, net.grad, state)
    return E / len(order)


def same(net, other):
    return net.theta_on_host().tobytes() == other.theta_on_host().tobytes()


def assert_same(net, other):
    """The bits of the loop by hand, which has those of `loops`; on a GPU sums are in another order."""
    if net.backend == "cuda":
        assert_close(net.theta_on_host(), other.theta_on_host(), 1e-5 if net.dtype == "float32" else 1e-12)
    else:
        assert same(net, other)


@pytest.mark.parametrize("backend", ["loops", *CUDA])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.5, momentum=0.9, nesterov=True, clip_norm=1.1), ADAM], ids=repr)
@pytest.mark.parametrize("drawn", [{"shuffle": False}, {"shuffle": True}, {"replacement": True}], ids=str)
def test_training_is_the_loop_by_hand(drawn, optimizer, weight, dtype, backend):
    trained, stepped = network(backend, dtype=dtype), network(dtype=dtype)
    trained.grad[:] = 1  # which training does not mind
    history = trained.fit(X, LABELS, optimizer=optimizer, epochs=4, batch_size=BATCH, seed=5, sample_weight=weight,
                          **drawn)
    state, exact = optimizer.start(stepped.theta), backend == "loops" or dtype == "float64"
    kind = sampling.WITH_REPLACEMENT if "replacement" in drawn else sampling.WITHOUT_REPLACEMENT
    for epoch in range(4):
        order = np.arange(N)
        if drawn != {"shuffle": False}:
            sampling.draw_order(order, kind, 5, epoch)
        loss = by_hand(stepped, X, LABELS, optimizer, state, order, weight=weight)
        assert history["loss"][epoch] == pytest.approx(loss, rel=1e-12 if exact else 1e-6)
    assert_same(trained, stepped)
    assert not on_host(trained.grad).any()
    assert np.array_equal(history.optimizer_state.updates, state.updates)
    if backend == "cuda":
        assert_close(history.optimizer_state.averages, state.averages, 1e-12 if exact else 1e-5)
    else:
        assert np.array_equal(history.optimizer_state.averages, state.averages)
    assert (history.epochs, history.samples, history.stop_reason) == (4, 4 * N, "epochs")
    assert history.seconds > 0


@pytest.mark.parametrize("backend", ["tiled", "loops", *CUDA])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.5), ADAM], ids=repr)
@pytest.mark.parametrize(("alpha", "weighted_mean"), [(0.3, False), (0.0, True), (0.3, True)])
def test_a_penalty_on_the_weights_and_means_by_weight(alpha, weighted_mean, optimizer, weight, backend):
    """E + ½ α Σ ‖W‖², whose gradient is divided by |S| or Σ w; the recorded loss is its sum over n, or all Σ w."""
    trained, stepped = network(backend), network()
    history = trained.fit(X, LABELS, optimizer=optimizer, epochs=3, batch_size=BATCH, shuffle=False,
                          sample_weight=weight, l2_penalty=alpha, weighted_mean=weighted_mean)
    state = optimizer.start(stepped.theta)
    for epoch in range(3):
        total = 0.0
        for begin in range(0, N, BATCH):
            S = slice(begin, begin + BATCH)
            w = np.ones(len(X[S])) if weight is None else weight[S]
            E = stepped.accumulate_gradient(X[S], LABELS[S], w)
            E += 0.5 * alpha * sum((W**2).sum() for W in stepped.weights)
            for dW, W in zip(stepped.weight_gradients, stepped.weights, strict=True):
                dW += alpha * W
            mass = w.sum() if weighted_mean else len(w)
            stepped.grad[:] /= mass
            optimizer.step(stepped.theta, stepped.grad, state)
            total += E
        all_weights = N if weight is None or not weighted_mean else weight.sum()
        assert history["loss"][epoch] == pytest.approx(total / all_weights, rel=1e-12)
    np.testing.assert_allclose(trained.theta_on_host(), stepped.theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ["loops", *CUDA])
def test_a_batch_without_weight_is_divided_by_its_size(backend):
    weight = np.where(np.arange(N) < BATCH, 0.0, WEIGHT)
    net = network(backend)
    net.fit(X, LABELS, sample_weight=weight, batch_size=BATCH, shuffle=False, weighted_mean=True, epochs=2)
    assert np.isfinite(net.theta_on_host()).all()


@pytest.mark.parametrize("backend", ["loops", "blas", *CUDA])
@pytest.mark.parametrize("batch_size", [1, 7, 19, 20, 21, 10**12])
def test_any_batch_size(backend, batch_size):
    trained, stepped = network(backend), network()
    trained.fit(X, LABELS, optimizer=ADAM, epochs=2, batch_size=batch_size, shuffle=False)
    state = ADAM.start(stepped.theta)
    for _ in range(2):
        by_hand(stepped, X, LABELS, ADAM, state, np.arange(N), min(batch_size, N))
    np.testing.assert_allclose(trained.theta_on_host(), stepped.theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", *CUDA])
def test_every_sample_once_in_an_epoch(backend):
    """With y = 0 for good, sample i has the loss 4^i / 2, and the sum says which samples there were."""
    net = fastbp.MLP([3, 1], loss="squared_error", dtype="float64", initializer="zeros", seed=0, backend=backend)
    d = 2.0 ** np.arange(N)
    once = net.fit(X, d, optimizer=fastbp.SGD(0.0), epochs=5, batch_size=3)
    assert set(once["loss"]) == {(4**N - 1) / 6 / N}
    drawn = net.fit(X, d, optimizer=fastbp.SGD(0.0), epochs=5, batch_size=3, replacement=True)
    assert len(set(drawn["loss"])) == 5


@pytest.mark.parametrize("backend", ["loops", *CUDA])
def test_seeds(backend):
    fit = {"epochs": 2, "batch_size": BATCH}
    first, second, other = network(backend), network(backend), network(backend)
    for net, seed in ((first, 1), (second, 1), (other, 2)):
        net.fit(X, LABELS, seed=seed, **fit)
    assert same(first, second)
    assert not same(first, other)


def test_two_trainings_in_a_row_take_new_orders_from_the_seed_of_the_network():
    first, second = network(), network()
    start, ends = first.theta.copy(), []
    for _ in range(2):
        for net in (first, second):
            net.theta[:] = start
            net.fit(X, LABELS, epochs=1, batch_size=BATCH)
        assert same(first, second)
        ends.append(first.theta.copy())
    assert not np.array_equal(*ends)


@pytest.mark.parametrize("backend", ["loops", *CUDA])
@pytest.mark.parametrize("optimizer", [ADAM, fastbp.SGD(schedules.Cosine(0.5, updates=25), momentum=0.9),
                                       fastbp.RMSprop(schedules.WarmUp(schedules.Constant(0.01), 15))], ids=repr)
def test_going_on_with_the_optimizer_state(optimizer, backend):
    fit = {"optimizer": optimizer, "batch_size": BATCH, "shuffle": False}
    whole, parts, forgetful = network(backend), network(backend), network(backend)
    whole.fit(X, LABELS, epochs=10, **fit)
    history = parts.fit(X, LABELS, epochs=4, **fit)
    state = history.optimizer_state
    again = parts.fit(X, LABELS, epochs=6, optimizer_state=state, **fit)
    assert same(parts, whole)
    assert again.optimizer_state is state
    assert state.updates[0] == 30
    for epochs in (4, 6):
        forgetful.fit(X, LABELS, epochs=epochs, **fit)
    assert not same(forgetful, whole)


@pytest.mark.parametrize("batch_size", [BATCH, N])
def test_slices_do_not_change_a_bit(monkeypatch, batch_size):
    """Batches in chunks of 3 samples, each in a slice of its own or in fewer, which end within an epoch, at its end, or
    within the next one."""
    train, results = loops.train, []
    for module in (loops, sample_by_sample):
        monkeypatch.setattr(module, "chunk", lambda layout, dtype: 3)
    for length in (1, 4, 7, 10**9):
        slices, net = [], network()
        monkeypatch.setattr(Pace, "next_slice", lambda pace, threads, length=length: (1, length))
        monkeypatch.setattr(loops, "train", lambda *of, slices=slices: slices.append(of) or train(*of))
        history = net.fit(X, LABELS, optimizer=ADAM, epochs=3, batch_size=batch_size, seed=1, sample_weight=WEIGHT)
        results.append((net.theta.tobytes(), history.records))
        assert (len(slices) == 1) == (length == 10**9)
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("backend", ["loops", "blas", *CUDA])
def test_looking_on_does_not_change_a_bit(backend):
    alone, watched = network(backend), network(backend)
    fit = {"optimizer": ADAM, "epochs": 5, "batch_size": BATCH, "seed": 1}
    expected = alone.fit(X, LABELS, **fit)
    history = watched.fit(X, LABELS, validation_data=(X[:7], LABELS[:7]), metrics={"share": lambda d, Y: Y.mean()},
                          callbacks=[lambda net, history: net.accumulate_gradient(X, LABELS)], **fit)
    assert same(watched, alone)
    assert [history[name] for name in expected] == [expected[name] for name in expected]


# ---- what is recorded ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", ["auto", *CUDA])
def test_accuracy_and_metrics(backend):
    """y = x for good, so that the class is the place of the largest number; of 4 samples, 3 are of their class."""
    net = fastbp.MLP([3, 3], initializer="zeros", dtype="float64", backend=backend)
    net.weights[0][:] = np.eye(3)
    rows, labels = np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 0])
    history = net.fit(rows, labels, optimizer=fastbp.SGD(0.0), epochs=2, batch_size=3,
                      validation_data=[rows[2:], np.eye(3)[labels[2:]], np.array([1.0, 3.0])],
                      metrics={"largest": lambda d, Y: Y.max() + len(d), "labels": lambda d, Y: d.size})
    right, wrong = np.log(np.e + 2) - 1, np.log(np.e + 2)  # the losses of a sample
    assert {name: values[0] for name, values in history.records.items()} == pytest.approx({
        "loss": (3 * right + wrong) / 4, "accuracy": 0.75, "largest": 5, "labels": 4,
        "validation_loss": (right + 3 * wrong) / 2, "validation_accuracy": 0.5, "validation_largest": 3,
        "validation_labels": 6})
    assert all(values[1] == values[0] for values in history.records.values())
    E, accuracy = net.evaluate(rows, labels)
    assert (E / 4, accuracy) == pytest.approx((history["loss"][0], 0.75))


def test_regression_has_no_accuracy():
    net = network(loss="squared_error")
    history = net.fit(X, X, epochs=3, validation_data=(X, X))
    assert list(history) == ["loss", "validation_loss"]
    assert np.isnan(net.evaluate(X, X)[1])


@pytest.mark.parametrize("backend", ["auto", "loops", "blas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_learns(backend, dtype):
    points = np.random.default_rng(1).normal(size=(200, 2))
    inside = ((points**2).sum(axis=1) < 1).astype(int)
    for loss, d in (("softmax_cross_entropy", inside), ("squared_error", np.stack([inside, 1 - inside], axis=1))):
        net = fastbp.MLP([2, 16, 2], loss=loss, dtype=dtype, backend=backend, seed=0)
        history = net.fit(points, d, optimizer=fastbp.Adam(0.05), epochs=100, batch_size=50)
        assert history["loss"][-1] < 0.3 * history["loss"][0]
        assert (net.forward(points).argmax(axis=1) == (inside if d is inside else 1 - inside)).mean() > 0.95


# ---- divergence ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("dtype", "rate", "reason"), [
    ("float32", 30.0, "loss"), ("float64", 1000.0, None), ("float32", 3e38, "update"), ("float64", 1e308, "update")])
@pytest.mark.parametrize("backend", ["loops", "blas", *CUDA])
def test_divergence(backend, dtype, rate, reason):
    data, d = 3 * X.astype(dtype), np.full((N, 3), 100, dtype)
    optimizer = fastbp.SGD(rate)
    diverging, stepped = (network(name, loss="squared_error", dtype=dtype, activation="relu")
                          for name in (backend, "loops" if backend == "cuda" else backend))
    with pytest.raises(fastbp.DivergenceError, match=f"^the {reason or '.*'} is not finite in epoch") as caught:
        diverging.fit(data, d, optimizer=optimizer, epochs=100, batch_size=BATCH, shuffle=False)
    error, state, losses = caught.value, optimizer.start(stepped.theta), []
    assert f"in epoch {error.epoch}, step {error.step} " in str(error)
    for epoch in range(error.epoch + 1):
        order = np.arange(N if epoch < error.epoch else BATCH * error.step)
        if order.size:
            losses.append(by_hand(stepped, data, d, optimizer, state, order))
    assert np.isfinite(diverging.theta_on_host()).all()
    assert_same(diverging, stepped)
    assert not on_host(diverging.grad).any()
    assert error.history["loss"] == pytest.approx(losses[: error.epoch]) if error.epoch else not error.history.epochs
    S = np.arange(N)[BATCH * error.step :][:BATCH]  # and this batch cannot be done
    E = stepped.accumulate_gradient(data[S], d[S])
    stepped.grad[:] /= len(S)
    assert np.isfinite(E) == ("the update" in str(error))
    if np.isfinite(E):
        with pytest.raises(fastbp.DivergenceError):
            optimizer.step(stepped.theta, stepped.grad, state)
        assert_same(diverging, stepped)


@pytest.mark.parametrize("backend", ["auto", *CUDA])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_loss_that_overflows_where_the_update_would_not(clip_norm, backend):
    net = fastbp.MLP([1, 1], loss="squared_error", initializer="zeros", backend=backend)
    with pytest.raises(fastbp.DivergenceError, match=r"^the loss is not finite in epoch 0, step 0 "):
        net.fit([[0.0]], [[1e30]], optimizer=fastbp.SGD(clip_norm=clip_norm))
    assert not on_host(net.theta).any()


# ---- on a terminal, and Ctrl-C ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("progress", [None, True, False])
def test_no_progress_bar_without_a_terminal(capfd, progress):
    begin = time.monotonic()
    network().fit(X, LABELS, epochs=10**5, progress=progress,
                  callbacks=[lambda net, history: time.monotonic() > begin + 0.7])  # a bar comes after half a second
    assert capfd.readouterr() == ("", "")


def in_a_process(script, *of, **settings):
    """A fresh Python that runs the script after one training, so that its kernels are compiled."""
    warmed = ("import json, sys, time, warnings\nimport numpy as np\nimport fastbp\nfrom fastbp import MLP, Adam\n"
              "MLP([3, 3], seed=0).fit(np.eye(3), np.arange(3), optimizer=Adam(), epochs=1)\n" + script)
    path = os.pathsep.join([str(Path(fastbp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", warmed, *of], env=os.environ | {"PYTHONPATH": path}, **settings)


WATCHED = """
begin = time.monotonic()
MLP([3, 3], seed=0).fit(np.eye(3), np.arange(3), epochs=10**6, progress=json.loads(sys.argv[1]),
                        callbacks=[lambda net, history: time.monotonic() > begin + 1.2])
"""


@pytest.mark.parametrize(("progress", "shown"), [(None, True), (True, True), (False, False)])
def test_progress_bar_on_a_terminal(progress, shown):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with in_a_process(WATCHED, json.dumps(progress), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        try:
            while part := os.read(ours, 4096):
                output += part
        except OSError:  # Linux says so when the other side is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    assert bool(re.search(rb"epoch \d+/1000000, loss ", output)) == bool(output) == shown


INTERRUPTED = """
import copy
import signal
import threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
class Started:
    def start(self, net):
        print("started", flush=True)
    def __call__(self, net, history):
        pass
big = sys.argv[1] == "one batch"
X = np.random.default_rng(0).normal(size=(200_000 if big else 100, 3)).astype("f")
net = MLP([3, 1000, 1000, 3] if big else [3, 8, 3], seed=0)
copy.deepcopy(net).fit(X[:80], np.arange(80) % 3, optimizer=Adam(), batch_size=40 if big else 10, epochs=1)  # compiles
initial = net.theta.copy()
if not big:
    threading.Timer(0.5, print, ["started"], {"flush": True}).start()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = net.fit(X, np.arange(len(X)) % 3, optimizer=Adam(), batch_size=len(X) if big else 10, epochs=10**6,
                      callbacks=[Started()] if big else [])
print("finished", flush=True)
print(json.dumps({
    "reason": history.stop_reason, "warnings": [(w.category.__name__, str(w.message)) for w in caught],
    "finite": bool(np.isfinite(net.theta).all()), "moved": bool((net.theta != initial).any()),
    "grad": bool(net.grad.any()), "epochs": history.epochs, "losses": len(history.records.get("loss", ())),
    "samples": history.samples / len(X), "updates": int(history.optimizer_state.updates[0]),
    "usable": bool(np.isfinite(net.fit(X[:9], np.arange(9) % 3, epochs=1)["loss"]).all())}), flush=True)
"""


@pytest.mark.parametrize("when", ["many epochs", "one batch"])
def test_ctrl_c(when):
    with in_a_process(INTERRUPTED, when, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "started\n"
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "finished\n"
            found = json.loads(process.stdout.readline())
        finally:
            process.kill()
    [(category, message)] = found["warnings"]
    assert (found["reason"], category) == ("interrupted", "RuntimeWarning")
    assert f"training was interrupted in epoch {found['epochs']};" in message
    assert found["finite"]
    assert found["usable"]
    assert not found["grad"]
    assert found["losses"] == found["epochs"]
    if when == "one batch":  # nothing was done that was not done whole
        assert (found["epochs"], found["updates"], found["moved"]) == (0, 0, False)
        assert found["samples"] < 1
    else:
        assert found["epochs"] <= found["samples"] < found["epochs"] + 1
        assert found["updates"] == round(10 * found["samples"]) > 0
        assert found["moved"]


@pytest.mark.parametrize("backend", ["loops", *CUDA])
def test_interrupted_by_a_callback(backend):
    def interrupt(net, history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    net = network(backend)
    with pytest.warns(RuntimeWarning, match="training was interrupted in epoch 2"):
        history = net.fit(X, LABELS, batch_size=BATCH, shuffle=False, callbacks=[interrupt])
    expected = network(backend)
    expected.fit(X, LABELS, batch_size=BATCH, shuffle=False, epochs=2)
    assert same(net, expected)
    assert (history.epochs, history.stop_reason) == (2, "interrupted")
    assert set(history.records) == {"loss", "accuracy"}
    before = copy.deepcopy(history.records)
    net.fit(X, LABELS, epochs=1)
    assert history.records == before


def test_records_are_equally_long_after_ctrl_c():
    """What was interrupted before all of its epoch was recorded is no epoch."""
    calls = []

    def slow(d, Y):
        calls.append(len(Y))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return 0.0

    net = network("auto")
    with pytest.warns(RuntimeWarning, match="training was interrupted in epoch 2"):
        history = net.fit(X, LABELS, batch_size=BATCH, metrics={"mine": slow}, validation_data=(X[:5], LABELS[:5]))
    assert calls == [5, N] * 3
    assert {name: len(values) for name, values in history.records.items()} == dict.fromkeys(
        ("loss", "accuracy", "validation_loss", "validation_accuracy", "validation_mine", "mine"), 2)


def test_more_epochs_than_records_wait_for_python(monkeypatch):
    plain, few = network("auto"), network("auto")
    expected = plain.fit(X, LABELS, epochs=70, seed=0)
    monkeypatch.setattr(session, "MOST_EPOCHS", 16)
    assert few.fit(X, LABELS, epochs=70, seed=0).records == expected.records
    many = network("auto")
    [found] = fastbp.fit_many([many], X, LABELS, epochs=70, seeds=[0])
    assert found.records == expected.records
    assert plain.theta.tobytes() == few.theta.tobytes() == many.theta.tobytes()


def test_epochs_without_end_take_no_memory():
    history = network("auto").fit(X, LABELS, epochs=10**15, callbacks=[lambda net, history: history.epochs == 3])
    assert history.epochs == 3


@pytest.mark.parametrize("weight", [None, np.linspace(1.0, 3.0, N), np.zeros(N), np.arange(N) // 3 == 2],
                         ids=["none", "some", "zeros", "one batch"])
@pytest.mark.parametrize("batch_size", [1, 3, N])
@pytest.mark.parametrize("backend", ["auto", "loops", *CUDA])
def test_losses_of_training_and_validation_are_the_same_mean(backend, batch_size, weight):
    """Σ w L / n, or Σ w L / Σ w, of all samples: weights differ from batch to batch, and some batches have none."""
    given = (X, LABELS) if weight is None else (X, LABELS, weight)
    for weighted_mean in (False, True):
        history = network(backend).fit(X, LABELS, epochs=1, batch_size=batch_size, optimizer=fastbp.SGD(0.0),
                                       sample_weight=weight, weighted_mean=weighted_mean, validation_data=given)
        assert history["validation_loss"] == pytest.approx(history["loss"])
