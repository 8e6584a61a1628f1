"""Checkpoints: a training that goes on from one has the bits of one that was never interrupted."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from tolerances import on_backends

import fastbp
from fastbp import pace, schedules
from fastbp.storage.checkpoints import read_checkpoint, write_checkpoint
from fastbp.streams import blocks
from fastbp.training import run
from fastbp.training.session import Session

N, BATCH = 203, 32
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3)).astype(np.float32)
LABELS = rng.integers(0, 3, N)
WEIGHT = rng.uniform(0, 2, N).astype(np.float32)
VALIDATION = X[:50], LABELS[:50]


def network(backend="auto", **settings):
    return fastbp.MLP([3, 5, 3], **{"activation": "tanh", "seed": 0, "backend": backend} | settings)


@pytest.fixture(autouse=True)
def short_slices(monkeypatch):
    """Slices of one chunk, or batch."""
    monkeypatch.setattr(pace.Pace, "next_slice", lambda self, threads: (1, 1))


class Interrupted(Exception):
    """What ends a training in these tests."""


def interrupt(monkeypatch, after, error=Interrupted):
    """Let a training end with an error after some slices."""
    slices, advance = itertools.count(1), Session.advance_on

    def advance_on(self, *given):
        status = advance(self, *given)
        if next(slices) == after:
            raise error
        return status

    monkeypatch.setattr(Session, "advance_on", advance_on)


def train_in_parts(path, monkeypatch, cuts, data, make=network, callbacks=list, **fit):
    """A network and its history, after trainings that were interrupted after so many slices each, and gone on with."""
    for place, after in enumerate([*cuts, None]):
        net = make(seed=place)
        with monkeypatch.context() as patch:
            if after is not None:
                interrupt(patch, after)
            try:
                history = net.fit(*data(), callbacks=callbacks(), checkpoint=path, resume=place > 0, **fit)
            except Interrupted:
                assert after is not None
                assert not net.backend_module.memory.to_host(net.grad).any()
    return net, history


def assert_same(found, expected):
    (net, history), (other, wanted) = found, expected
    assert net.theta_on_host().tobytes() == other.theta_on_host().tobytes()
    assert history.records == wanted.records
    assert (history.stop_reason, history.samples) == (wanted.stop_reason, wanted.samples)
    assert net.generator_state == other.generator_state
    for kept, state in zip(history.optimizer_state, wanted.optimizer_state, strict=True):
        assert kept.tobytes() == state.tobytes()


OPTIMIZERS = [
    fastbp.SGD(0.1), fastbp.SGD(0.1, momentum=0.9, nesterov=True, clip_norm=0.5), fastbp.RMSprop(0.01),
    fastbp.Adam(schedules.WarmUp(schedules.Cosine(0.01, updates=30), updates=5)), fastbp.AdamW(0.01, weight_decay=0.1),
    fastbp.Nadam(0.01), fastbp.Rprop(0.01)]

SETTINGS = {
    "plain": {}, "in order": {"shuffle": False}, "replacement": {"replacement": True}, "dropout": {"dropout": 0.3},
    "clipping": {"clip_sample_norm": 0.5, "l2_penalty": 0.1},
    "weights": {"sample_weight": WEIGHT, "weighted_mean": True},
    "watched": {"validation_data": VALIDATION, "metrics": {"largest": lambda d, Y: float(Y.max())}},
}


def in_memory():
    return X, LABELS


@pytest.mark.parametrize(("optimizer", "backend"), on_backends(OPTIMIZERS, OPTIMIZERS[3:4], ["loops"]))
def test_every_optimizer(optimizer, backend, tmp_path, monkeypatch):
    fit = {"optimizer": optimizer, "epochs": 4, "batch_size": BATCH}
    net = network(backend)
    expected = net, net.fit(X, LABELS, **fit)
    found = train_in_parts(tmp_path / "run", monkeypatch, [3, 9], in_memory,
                           lambda seed: network(backend, seed=seed), **fit | {"seed": None})
    assert_same(found, expected)


@pytest.mark.parametrize("slices", [(2, 7, 9), pytest.param(range(1, 15), marks=pytest.mark.full)])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.full)])
def test_every_setting_after_every_slice(slices, settings, dtype, tmp_path, monkeypatch):
    fit = {"optimizer": fastbp.Adam(0.01), "epochs": 2, "batch_size": BATCH} | SETTINGS[settings]
    net = network("loops", dtype=dtype)
    expected = net, net.fit(X, LABELS, **fit)
    for after in slices:
        found = train_in_parts(tmp_path / "run", monkeypatch, [after], in_memory,
                               lambda seed: network("loops", dtype=dtype, seed=seed), **fit)
        assert_same(found, expected)


@pytest.mark.parametrize("backend", ["loops", "tiled", "blas"])
def test_within_a_batch(backend, tmp_path, monkeypatch):
    # More samples than the backends take at a time, so that a slice ends within the batch.
    many, d = np.tile(X, (40, 1)), np.tile(LABELS, 40)
    fit = {"optimizer": fastbp.Adam(0.01), "epochs": 2, "batch_size": len(many)}
    net = network(backend)
    expected = net, net.fit(many, d, **fit)
    found = train_in_parts(tmp_path / "run", monkeypatch, [1, 1, 2], lambda: (many, d),
                           lambda seed: network(backend, seed=seed), **fit)
    assert_same(found, expected)
    with monkeypatch.context() as patch:
        interrupt(patch, 1)
        with pytest.raises(Interrupted):
            network(backend).fit(many, d, checkpoint=tmp_path / "part", **fit)
    assert "grad" in read_checkpoint(tmp_path / "part", "training").part("training")


def test_early_stopping_and_best_weights(tmp_path, monkeypatch):
    for monitor, restore in itertools.product(("validation_loss", "loss"), (True, False)):
        fit = {"optimizer": fastbp.Adam(0.2), "epochs": 40, "batch_size": BATCH, "validation_data": VALIDATION}

        def callbacks(monitor=monitor, restore=restore):
            return [fastbp.EarlyStopping(monitor, patience=3, restore_best=restore)]

        net = network("loops")
        expected = net, net.fit(X, LABELS, callbacks=callbacks(), **fit)
        assert expected[1].stop_reason == "callback"
        found = train_in_parts(tmp_path / "run", monkeypatch, [10, 10, 10], in_memory,
                               lambda seed: network("loops", seed=seed), callbacks, **fit)
        assert_same(found, expected)
        # What has stopped does not begin again.
        again = network("loops", seed=5)
        history = again.fit(X, LABELS, callbacks=callbacks(), resume=tmp_path / "run", **fit)
        assert_same((again, history), found)


def test_the_optimizer_state_is_of_the_best_epoch():
    for monitor, offset in (("validation_loss", 1), ("loss", 0)):
        stopping = fastbp.EarlyStopping(monitor, patience=3)
        fit = {"optimizer": fastbp.Adam(0.2), "batch_size": BATCH, "seed": 1, "validation_data": VALIDATION}
        net, other = network("loops"), network("loops")
        history = net.fit(X, LABELS, epochs=40, callbacks=[stopping], **fit)
        assert history.stop_reason == "callback"
        epochs = stopping.best_epoch + offset
        wanted = other.fit(X, LABELS, epochs=epochs, **fit)
        assert net.theta.tobytes() == other.theta.tobytes()
        assert history.optimizer_state.updates[0] == epochs * -(-N // BATCH)
        assert history.optimizer_state.averages.tobytes() == wanted.optimizer_state.averages.tobytes()


class Counter:
    """A callback with a state."""

    def __init__(self):
        self.losses, self.started = np.empty(0), 0

    def start(self, net):
        self.started += 1

    def __call__(self, net, history):
        self.losses = np.append(self.losses, history["loss"][-1])

    def state(self):
        return {"losses": self.losses, "nested": {"count": len(self.losses), "best": np.inf}, "word": "é", "none": None}

    def restore(self, state):
        assert state["nested"] == {"count": len(state["losses"]), "best": np.inf}
        assert (state["word"], state["none"]) == ("é", None)
        self.losses = state["losses"]


def test_callbacks_with_a_state(tmp_path, monkeypatch):
    made = []

    def callbacks():
        made.append([Counter(), lambda net, history: None, Counter()])
        return made[-1]

    fit = {"epochs": 4, "batch_size": BATCH}
    _, history = train_in_parts(tmp_path / "run", monkeypatch, [9, 9], in_memory, lambda seed: network("loops"),
                                callbacks, **fit)
    assert [made[-1][place].losses.tolist() for place in (0, 2)] == [history["loss"]] * 2
    assert [[counter.started for counter in callbacks[::2]] for callbacks in made] == [[1, 1], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"callbacks: expected .* Counter at \[0\], Counter at \[2\], found "
                                         r"EarlyStopping at \[0\]"):
        network("loops").fit(X, LABELS, callbacks=[fastbp.EarlyStopping("loss")], resume=tmp_path / "run", **fit)


def test_an_epoch_whose_callbacks_did_not_return(tmp_path):
    fit = {"epochs": 3, "batch_size": BATCH, "validation_data": VALIDATION}
    net = network("loops")
    expected = net, net.fit(X, LABELS, **fit)
    for error in (Interrupted, KeyboardInterrupt):
        def fail(net, history, error=error):
            if history.epochs == 2:
                raise error

        other, seen = network("loops"), []
        context = pytest.raises(Interrupted) if error is Interrupted else pytest.warns(RuntimeWarning, match="epoch 2")
        with context:
            other.fit(X, LABELS, callbacks=[lambda net, history, seen=seen: seen.append(history), fail],
                      checkpoint=tmp_path / "run", **fit)
        assert seen[-1].epochs == 2
        assert seen[-1].stop_reason == ("failed" if error is Interrupted else "interrupted")
        assert {len(values) for values in seen[-1].records.values()} == {2}
        assert np.isfinite(other.theta).all()
        again = network("loops", seed=4)
        assert_same((again, again.fit(X, LABELS, resume=tmp_path / "run", **fit)), expected)


def failing_metric(d, Y):
    raise Interrupted


@pytest.mark.parametrize("place", ["metric", "progress bar", "workspace", "validation"])
def test_an_exception_of_the_users_own(place, tmp_path, monkeypatch):
    """It is raised as it is; the network is at the last update, and the history tells of whole epochs."""
    fit = {"epochs": 3, "batch_size": BATCH, "validation_data": VALIDATION}
    net, seen, error = network("loops"), [], Interrupted
    if place == "metric":
        fit["metrics"] = {"m": failing_metric}
    elif place == "progress bar":
        monkeypatch.setattr(run.ProgressBar, "show", lambda *given: failing_metric(0, 0))
    elif place == "workspace":
        error = MemoryError
        monkeypatch.setattr(fastbp.MLP, "workspace", lambda *given: (_ for _ in ()).throw(MemoryError))
    else:
        monkeypatch.setattr(fastbp.MLP, "evaluate_samples", failing_metric)
    started = run.start_all
    monkeypatch.setattr(run, "start_all", lambda callbacks, net, history: (
        seen.append(history), started(callbacks, net, history)))
    with pytest.raises(error):
        net.fit(X, LABELS, checkpoint=tmp_path / "run", **fit)
    assert (seen[0].stop_reason, seen[0].records) == ("failed", {})
    assert np.isfinite(net.theta).all()
    assert not net.grad.any()
    monkeypatch.undo()
    if place == "metric":  # metrics are known by their names
        fit["metrics"] = {"m": lambda d, Y: 1.0}
    if place == "workspace":  # nothing had begun
        return
    again, other = network("loops", seed=3), network("loops")
    assert_same((again, again.fit(X, LABELS, resume=tmp_path / "run", **fit)), (other, other.fit(X, LABELS, **fit)))


STREAMS = {
    "in order": {"shuffle": False}, "shuffled": {"shuffle_buffer": 64}, "dropout": {"dropout": 0.3},
    "weights": {"weighted_mean": True},
}


@pytest.mark.parametrize("settings", STREAMS)
@pytest.mark.parametrize("of", ["a list", "a function", "files"])
def test_streams_after_every_slice(settings, of, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "JOINED_BYTES", 1)
    monkeypatch.setattr(blocks, "LONGEST_BYTES", 1)
    chunks = [(X[b : b + 45], LABELS[b : b + 45], WEIGHT[b : b + 45]) for b in range(0, N, 45)]
    if of == "files":
        (tmp_path / "shards").mkdir()
        for place, (x, y, w) in enumerate(chunks):
            np.savez(tmp_path / "shards" / f"{place}.npz", X=x, y=y, weight=w)
    data = {"a list": chunks, "a function": lambda: iter(chunks), "files": tmp_path / "shards"}[of]
    fit = {"optimizer": fastbp.Adam(0.01), "epochs": 2, "batch_size": BATCH, "validation_data": VALIDATION}
    fit |= STREAMS[settings]
    net = network("loops")
    expected = net, net.fit(data, **fit)
    for after in (1, 4, 7, 8, 11):
        found = train_in_parts(tmp_path / "run", monkeypatch, [after], lambda: (data,),
                               lambda seed: network("loops", seed=seed), **fit)
        assert_same(found, expected)


def test_a_source_that_fails(tmp_path):
    chunks = [(X[b : b + 45], LABELS[b : b + 45]) for b in range(0, N, 45)]
    left = itertools.count()

    def failing():
        for chunk in chunks:
            if next(left) == 7:
                raise OSError("the disk went away")
            yield chunk

    fit = {"epochs": 3, "batch_size": BATCH, "shuffle": False}
    with pytest.raises(OSError, match="went away"):
        network("loops").fit(failing, checkpoint=tmp_path / "run", **fit)
    net, other = network("loops"), network("loops")
    assert_same((other, other.fit(failing, resume=tmp_path / "run", **fit)), (net, net.fit(chunks, **fit)))


def test_other_data_of_a_stream(tmp_path, monkeypatch):
    chunks = [(X[b : b + 45], LABELS[b : b + 45]) for b in range(0, N, 45)]
    fit = {"epochs": 3, "batch_size": BATCH, "shuffle": False}
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(Interrupted):
            network("loops").fit(chunks, checkpoint=tmp_path / "run", **fit)
    other = network("loops", seed=3)
    before = other.theta.copy()
    with pytest.raises(ValueError, match="X: expected the rows with which epoch 0 began before, found others"):
        other.fit(chunks[::-1], resume=tmp_path / "run", **fit)
    assert other.theta.tobytes() == before.tobytes()
    with pytest.raises(ValueError, match=r"X: expected at least the .* rows of epoch 0"):
        other.fit([(X[:33], LABELS[:33])], resume=tmp_path / "run", **fit)


def test_sparse_rows(tmp_path, monkeypatch):
    sparse = scipy.sparse.csr_matrix(np.where(rng.random((N, 3)) < 0.1, X, 0))
    fit = {"epochs": 2, "batch_size": BATCH}
    net = network("tiled")
    expected = net, net.fit(sparse, LABELS, **fit)
    found = train_in_parts(tmp_path / "run", monkeypatch, [4], lambda: (sparse, LABELS),
                           lambda seed: network("tiled", seed=seed), **fit)
    assert_same(found, expected)


def many_networks(seed):
    nets = [network("loops", seed=seed), network("tiled", seed=seed, dtype="float64"), network("loops", seed=seed + 1),
            fastbp.MLP([3, 4, 3], seed=seed, backend="loops")]
    optimizers = [fastbp.Adam(0.01), fastbp.SGD(0.1, momentum=0.9), fastbp.SGD(1e30), None]
    return nets, optimizers


@pytest.mark.parametrize("threads", [1, 2])
def test_many_networks(threads, tmp_path, monkeypatch):
    fit = {"epochs": 3, "batch_size": BATCH, "dropout": 0.2, "checkpoint": tmp_path / "run"}
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(threads)
    nets, optimizers = many_networks(0)
    with pytest.warns(RuntimeWarning, match="1 of 4 networks diverged .*: 2"):
        expected = nets, fastbp.fit_many(nets, X, LABELS, optimizer=optimizers, **fit)
    for every, cuts in ((1e-9, [1, 9, 20]), (1e9, [7]), ("1 epochs", [30])):
        for place, after in enumerate([*cuts, None]):
            nets, optimizers = many_networks(place)
            with monkeypatch.context() as patch:
                if after is not None:
                    interrupt(patch, after)
                try:
                    with pytest.warns(RuntimeWarning, match="diverged"):
                        histories = fastbp.fit_many(nets, X, LABELS, optimizer=optimizers, resume=place > 0,
                                                    checkpoint_every=every, **fit)
                except Interrupted:
                    assert after is not None
                except pytest.fail.Exception:  # it was interrupted before any diverged
                    assert after is not None
        for net, history, other, wanted in zip(nets, histories, *expected, strict=True):
            assert_same((net, history), (other, wanted))
    fastbp.set_num_threads(before)


def test_many_networks_and_another_checkpoint(tmp_path):
    nets, optimizers = many_networks(0)
    nets.pop(2), optimizers.pop(2)
    fit = {"epochs": 2, "batch_size": BATCH}
    fastbp.fit_many(nets, X, LABELS, optimizer=optimizers, checkpoint=tmp_path / "run", **fit)
    others = [network("loops", seed=7), network("tiled", seed=8, dtype="float64"), fastbp.MLP([3, 4, 3], seed=9)]
    before = [net.theta.copy() for net in others]
    for nets, settings, message in (
            (others[:2], {}, "nets: expected 3 networks as in the checkpoint .* found 2"),
            (others[::-1], {}, r"nets\[0\]: widths: expected"),
            (others, {"batch_size": 7}, r"nets\[0\]: batch_size: expected 32"),
            (others, {"optimizer": [*optimizers[:2], fastbp.Adam()]}, r"nets\[2\]: optimizer: rule: expected"),
            (others, {"seeds": [None, 3, None]}, r"nets\[1\]: seed: expected")):
        with pytest.raises(ValueError, match=message):
            fastbp.fit_many(nets, X, LABELS, resume=tmp_path / "run",
                            **{"optimizer": optimizers[: len(nets)]} | fit | settings)
    values = dict(read_checkpoint(tmp_path / "run", "trainings").values)
    write_checkpoint(tmp_path / "bad", "trainings",
                     replaced(values, ["networks", "2", "training", "theta"], np.full(31, np.nan, np.float32)))
    with pytest.raises(ValueError, match="networks/2/training/theta"):
        fastbp.fit_many(others, X, LABELS, optimizer=optimizers, resume=tmp_path / "bad", **fit)
    assert all(net.theta.tobytes() == theta.tobytes() for net, theta in zip(others, before, strict=True))


def test_more_epochs(tmp_path):
    fit = {"batch_size": BATCH, "seed": 3}
    net, other = network("loops"), network("loops")
    net.fit(X, LABELS, epochs=2, checkpoint=tmp_path / "run", **fit)
    history = net.fit(X, LABELS, epochs=5, resume=tmp_path / "run", **fit)
    assert_same((net, history), (other, other.fit(X, LABELS, epochs=5, **fit)))
    with pytest.raises(ValueError, match="epoch"):
        net.fit(X, LABELS, epochs=1, resume=tmp_path / "run", **fit)


def test_how_often(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("fastbp.training.checkpoints.write_checkpoint",
                        lambda path, kind, values: written.append(values["training"]["epoch"]))
    fit = {"epochs": 7, "batch_size": BATCH, "checkpoint": tmp_path / "run"}
    network("loops").fit(X, LABELS, checkpoint_every="3 epochs", **fit)
    assert written == [0, 3, 6, 7]  # the first, and the last
    written.clear()
    network("loops").fit(X, LABELS, checkpoint_every=1e-9, **fit)
    assert len(written) > 7 * (N // BATCH)
    written.clear()
    network("loops").fit(X, LABELS, **fit)
    assert written == [0, 7]


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    fit = {"epochs": 3, "batch_size": BATCH, "checkpoint_every": "1 epoch"}
    net = network("loops")
    before = net.theta.copy()
    with pytest.raises(FileNotFoundError):
        net.fit(X, LABELS, checkpoint=tmp_path / "nowhere" / "run", **fit)
    assert net.theta.tobytes() == before.tobytes()
    # A disk that is full later does not end the training.
    calls = itertools.count()

    def write(*given):
        if next(calls) in (1, 2):
            raise OSError(28, "No space left on device")
        write_checkpoint(*given)

    monkeypatch.setattr("fastbp.training.checkpoints.write_checkpoint", write)
    with pytest.warns(RuntimeWarning, match="could not write a checkpoint, and goes on .*No space left"):
        history = net.fit(X, LABELS, checkpoint=tmp_path / "run", **fit)
    assert history.stop_reason == "epochs"
    assert read_checkpoint(tmp_path / "run", "training").part("training").whole("epoch") == 3


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint within an epoch."""
    fit = {"optimizer": fastbp.Adam(0.01), "epochs": 3, "batch_size": BATCH, "validation_data": VALIDATION}
    with monkeypatch.context() as patch:
        interrupt(patch, 10)
        with pytest.raises(Interrupted):
            network("loops").fit(X, LABELS, checkpoint=tmp_path / "run", **fit)
    return tmp_path / "run", fit


OTHERS = {
    "batch_size: expected 32 .* found 16": {"batch_size": 16},
    "shuffle: expected true .* found false": {"shuffle": False},
    "dropout: expected .* found": {"dropout": 0.1},
    "l2_penalty: expected 0.0 .* found 0.5": {"l2_penalty": 0.5},
    "optimizer: schedule: expected .*0.01.* found .*0.02": {"optimizer": fastbp.Adam(0.02)},
    "optimizer: rule: expected .*adam.* found .*nadam": {"optimizer": fastbp.Nadam(0.01)},
    "optimizer: settings: expected": {"optimizer": fastbp.Adam(0.01, 0.8)},
    "metrics: expected": {"metrics": {"m": lambda d, Y: 0.0}},
    "validation_data: expected some .* found none": {"validation_data": None},
    "validation_data: the digest": {"validation_data": (X[1:51], LABELS[1:51])},
    "sample_weight: expected false .* found true": {"sample_weight": WEIGHT},
    "seed: expected .* found 5": {"seed": 5},
    "optimizer_state: expected none with resume": {"optimizer_state": fastbp.Adam().start(network().theta)},
}


@pytest.mark.parametrize("message", OTHERS)
def test_another_training_is_refused(message, checkpoint):
    path, fit = checkpoint
    net = network("loops", seed=3)
    theta, generator = net.theta.copy(), net.generator_state
    with pytest.raises(ValueError, match=message):
        net.fit(X, LABELS, resume=path, **fit | OTHERS[message])
    assert net.theta.tobytes() == theta.tobytes()
    assert net.generator_state == generator


@pytest.mark.parametrize(("message", "make", "data"), [
    ("widths: expected", lambda: fastbp.MLP([3, 6, 3], activation="tanh"), (X, LABELS)),
    ("activations: expected", lambda: fastbp.MLP([3, 5, 3]), (X, LABELS)),
    ("dtype: expected .*float32.* found .*float64", lambda: network(dtype="float64"), (X, LABELS)),
    ("X: expected .*203 × 3.* found .*202 × 3", network, (X[1:], LABELS[1:])),
    ("the digest of 64 rows", network, (X + 1, LABELS)),
    ("the digest of 64 rows", network, (X, (LABELS + 1) % 3)),
])
def test_other_networks_and_data_are_refused(message, make, data, checkpoint):
    path, fit = checkpoint
    net = make()
    before = net.theta.copy()
    with pytest.raises(ValueError, match=message):
        net.fit(*data, resume=path, **fit)
    assert net.theta.tobytes() == before.tobytes()


@pytest.mark.parametrize(("given", "error", "message"), [
    ({"resume": True}, ValueError, "resume: expected the path of a checkpoint, or checkpoint= with it"),
    ({"resume": "nowhere"}, FileNotFoundError, "nowhere"),
    ({"resume": 3}, TypeError, "resume: expected a path, found int"),
    ({"checkpoint": 3}, TypeError, "checkpoint: expected a path, found int"),
    ({"checkpoint": "run", "checkpoint_every": 0}, ValueError, "checkpoint_every: expected a finite number above 0"),
    ({"checkpoint": "run", "checkpoint_every": "5"}, ValueError, "seconds, or a number of epochs such as '5 epochs'"),
    ({"checkpoint": "run", "checkpoint_every": "0 epochs"}, ValueError, "such as '5 epochs'"),
    ({"checkpoint": "run", "checkpoint_every": None}, TypeError, "checkpoint_every: expected a number"),
])
def test_bad_arguments(given, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = network("loops")
    before = net.theta.copy()
    with pytest.raises(error, match=message):
        net.fit(X, LABELS, **given)
    assert net.theta.tobytes() == before.tobytes()


def test_other_files_are_refused(checkpoint, tmp_path):
    _, fit = checkpoint
    network().save(tmp_path / "net.npz")
    (tmp_path / "text").write_text("nothing")
    for other, message in (("net.npz", "not a fastbp checkpoint"), ("text", "not a fastbp checkpoint")):
        with pytest.raises(ValueError, match=message):
            network().fit(X, LABELS, resume=tmp_path / other, **fit)
    write_checkpoint(tmp_path / "kind", "trainings", {})
    with pytest.raises(ValueError, match="a checkpoint of 'trainings', expected one of 'training'"):
        network().fit(X, LABELS, resume=tmp_path / "kind", **fit)


def replaced(values, place, value):
    """Values, of which one is another."""
    first, *rest = place
    return {**values, first: replaced(values[first], rest, value) if rest else value}


@pytest.mark.parametrize(("place", "value"), [
    ("training/rows", N), ("training/rows", -1), ("training/rows", 2**70), ("training/rows", 1.5),
    ("training/epoch", 4), ("training/epoch", 2), ("training/epoch", 0), ("training/epoch", None),
    ("training/theta", np.zeros(7, np.float32)), ("training/theta", np.zeros(38, np.float64)),
    ("training/theta", np.full(38, np.nan, np.float32)), ("training/averages", -np.ones((2, 38), np.float32)),
    ("training/averages", np.full((2, 38), np.inf, np.float32)), ("training/updates", np.array([-1])),
    ("training/sums", np.zeros(2)), ("training/unrecorded_loss", np.zeros(3)), ("training/stale", "3"), ("training", 3),
    ("history/names", ["loss"]), ("history/lengths", np.array([3, -1, 1, 1])), ("history/values", np.zeros(1)),
    ("history/seconds", "long"), ("history/stop_reason", None), ("generator", {}),
    ("generator", {"bit_generator": "PCG64", "state": {"state": "x", "inc": 3}, "has_uint32": 0, "uinteger": 0}),
    ("seed", -1), ("seed", None), ("callbacks", None), ("network", 3), ("settings", {}),
])
def test_values_that_do_not_go_together(place, value, checkpoint, tmp_path):
    path, fit = checkpoint
    values = dict(read_checkpoint(path, "training").values)
    write_checkpoint(tmp_path / "other", "training", replaced(values, place.split("/"), value))
    net = network("loops", seed=3)
    theta, generator = net.theta.copy(), net.generator_state
    with pytest.raises(ValueError, match=r"not a whole checkpoint|expected"):
        net.fit(X, LABELS, resume=tmp_path / "other", **fit)
    assert net.theta.tobytes() == theta.tobytes()
    assert net.generator_state == generator


def test_values_are_read_as_they_were_written(tmp_path):
    arrays = {name: rng.normal(size=shape).astype(dtype) for name, shape, dtype in [
        ("small", (3, 2), "float32"), ("large", (300, 100), "float64"), ("none", (0, 2**20), "float32"),
        ("half", (5,), "float16"), ("bytes", (7,), "uint8"), ("big-endian", (3,), ">f8"), ("whole", (4,), "int64")]}
    arrays["strided"] = np.arange(100_000)[::7]
    numbers = {"nan": np.nan, "infinite": -np.inf, "scalar": np.float32(0.1), "big": 2**100, "flag": True, "none": None}
    values = {"arrays": arrays, "numbers": numbers, "deep": {"a": {"b": {"c": [1, [2.5, "é"], []]}}}, "empty": {}}
    write_checkpoint(tmp_path / "run", "any", values)
    found = read_checkpoint(tmp_path / "run", "any").values
    assert found["deep"] == values["deep"]
    assert found["empty"] == {}
    for name, array in arrays.items():
        assert np.array_equal(found["arrays"][name], array)
        assert found["arrays"][name].dtype == array.dtype.newbyteorder("=")
        assert found["arrays"][name].flags.writeable
        assert found["arrays"][name].flags.aligned
    read = {name: found["numbers"][name] for name in numbers}
    assert str(read | {"scalar": np.float32(read["scalar"])}) == str(numbers)


@pytest.mark.full
def test_thousands_of_networks(tmp_path):
    nets = [fastbp.MLP([1, 2, 1], loss="squared_error", backend="loops", seed=seed) for seed in range(3000)]
    x = np.linspace(-1, 1, 8)[:, None]
    histories = fastbp.fit_many(nets, x, x, epochs=1, checkpoint=tmp_path / "run")
    others = [fastbp.MLP([1, 2, 1], loss="squared_error", backend="loops", seed=0) for _ in nets]
    again = fastbp.fit_many(others, x, x, epochs=1, resume=tmp_path / "run")
    assert all(net.theta.tobytes() == other.theta.tobytes() for net, other in zip(nets, others, strict=True))
    assert [history.records for history in histories] == [history.records for history in again]


@pytest.mark.parametrize("state", [{"a/b": 1}, {"": 1}, {1: 2}, {"x": object()}, {"x": [np.zeros(2)]},
                                   {"x": np.array(["a"])}, {"x": np.array([None])}, {"x": [np.nan]}])
def test_states_that_cannot_be_written(state, tmp_path):
    class Callback(Counter):
        def state(self):
            return state

    net = network("loops")
    before = net.theta.copy()
    with pytest.raises(TypeError, match="callbacks/0/state"):
        net.fit(X, LABELS, callbacks=[Callback()], checkpoint=tmp_path / "run")
    assert net.theta.tobytes() == before.tobytes()
    assert list(tmp_path.iterdir()) == []
