"""Training on streams: the batches and bits of the same rows in memory, in any chunks, until it ends in any way."""

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from tolerances import CUDA

import fastbp
from fastbp import schedules
from fastbp.streams import blocks
from fastbp.training import run

N, BATCH = 203, 16
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3)).astype(np.float32)
LABELS = rng.integers(0, 3, N)
WEIGHT = rng.uniform(0, 2, N).astype(np.float32)


def network(backend="auto", **settings):
    return fastbp.MLP([3, 5, 3], **{"activation": "tanh", "seed": 0, "backend": backend} | settings)


def cut(sizes, *arrays):
    """Chunks of these sizes, over and over, as a list."""
    chunks, begin = [], 0
    for size in itertools.cycle(sizes):
        if begin >= len(arrays[0]):
            return chunks
        chunks.append(tuple(array[begin : begin + size] for array in arrays))
        begin += size


def same(net, other):
    return net.theta_on_host().tobytes() == other.theta_on_host().tobytes()


@pytest.fixture(params=[1, 2**21], ids=["small blocks", "large blocks"])
def joined_bytes(request, monkeypatch):
    """Blocks of one batch, or of all rows."""
    monkeypatch.setattr(blocks, "JOINED_BYTES", request.param)
    monkeypatch.setattr(blocks, "LONGEST_BYTES", request.param)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "fastbp reader"] == []


# ---- the bits of the same rows in memory -----------------------------------------------------------------------------

TRAININGS = {
    "plain": {},
    "momentum": {"optimizer": fastbp.SGD(schedules.Cosine(0.5, updates=30), momentum=0.9, clip_norm=1.0)},
    "adam": {"optimizer": fastbp.Adam(0.02), "l2_penalty": 0.1, "clip_sample_norm": 0.5},
    "dropout": {"optimizer": fastbp.RMSprop(0.01), "dropout": 0.3},
    "weights": {"sample_weight": WEIGHT},
    "mean by weight": {"sample_weight": WEIGHT, "weighted_mean": True, "dropout": 0.1},
}


@pytest.mark.usefixtures("joined_bytes")
@pytest.mark.parametrize("backend", ["tiled", "loops", pytest.param("blas", marks=pytest.mark.full), *CUDA])
@pytest.mark.parametrize("name", TRAININGS)
def test_a_stream_in_order_has_the_bits_of_memory(name, backend):
    settings = dict(TRAININGS[name])
    weight = settings.pop("sample_weight", None)
    small = backend == "cuda"  # in the simulator a launch takes some milliseconds
    n, epochs = (45, 2) if small else (N, 3)
    weight = None if weight is None else weight[:n]
    arrays = (X[:n], LABELS[:n]) if weight is None else (X[:n], LABELS[:n], weight)
    for batch_size in (BATCH,) if small else (1, BATCH, 100, 10**12):
        fit = {"epochs": epochs, "batch_size": batch_size, "shuffle": False, "seed": 4} | settings
        expected = network(backend)
        wanted = expected.fit(X[:n], LABELS[:n], sample_weight=weight, **fit)
        for sizes in [(7, 20)] if small else [(N,), (1,), (BATCH,), (7, 50), (150, 1, 2)]:
            net = network(backend)
            history = net.fit(cut(sizes, *arrays), **fit)
            assert same(net, expected), (batch_size, sizes)
            if name == "mean by weight":
                assert history["loss"] == pytest.approx(wanted["loss"], rel=1e-12)
                assert history["accuracy"] == wanted["accuracy"]
            else:
                assert history.records == wanted.records
            assert (history.samples, history.stop_reason) == (epochs * n, "epochs")
            assert history.optimizer_state.updates[0] == wanted.optimizer_state.updates[0]
            assert not net.backend_module.memory.to_host(net.grad).any()


@pytest.mark.usefixtures("joined_bytes")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_for_any_number_of_threads(threads):
    before = fastbp.get_num_threads()
    results = []
    try:
        for count in (1, min(threads, before)):
            fastbp.set_num_threads(count)
            net = network()
            net.fit(cut((30, 50), X, LABELS), epochs=2, seed=1, shuffle_buffer=64, batch_size=BATCH)
            results.append(net)
    finally:
        fastbp.set_num_threads(before)
    assert same(*results)


def test_chunks_of_any_dtype_and_order():
    """Numbers that every dtype holds."""
    whole = np.round(4 * X)
    kinds = ["f4", "f8", ">f4", "i2", "f2", "longdouble"]
    parts = [(np.asarray(rows, order="CF"[place % 2]).astype(kinds[place % len(kinds)]), d)
             for place, (rows, d) in enumerate(cut((9, 30), whole, LABELS))]
    expected = network()
    expected.fit(whole, LABELS, shuffle=False, epochs=2)
    for chunks in (parts, [(rows.tolist(), d.tolist()) for rows, d in parts]):
        net = network()
        net.fit(chunks, shuffle=False, epochs=2)
        assert same(net, expected)


def test_chunks_too_large_to_be_converted_at_once(monkeypatch):
    """X of other dtypes and orders is read where it lies from a megabyte on."""
    n = 10**5
    rows, d = np.arange(3.0 * n).reshape(n, 3) % 7, np.arange(n) % 3
    expected = network()
    expected.fit(rows, d, shuffle=False, epochs=1, batch_size=1000)
    for longest in (2**21, 2**30):
        monkeypatch.setattr(blocks, "LONGEST_BYTES", longest)
        for given in (rows, np.asfortranarray(rows), rows.astype(np.int8)):
            net = network()
            net.fit([(given[:55_555], d[:55_555]), (given[55_555:], d[55_555:])], shuffle=False, epochs=1,
                    batch_size=1000)
            assert same(net, expected)


@pytest.mark.parametrize("size", [10, 40])
def test_a_source_may_use_its_memory_again(size):
    """Also for chunks that are longer than a block."""
    def chunks():
        rows, labels = np.empty((size, 3), np.float32), np.empty(size, np.int64)
        for begin in range(0, 200, size):
            rows[:], labels[:] = X[begin : begin + size], LABELS[begin : begin + size]
            yield rows, labels

    for buffer in (1, 64):
        net, expected = network(), network()
        net.fit(chunks, seed=1, shuffle_buffer=buffer, batch_size=BATCH, epochs=2)
        expected.fit(lambda: cut((size,), X[:200], LABELS[:200]), seed=1, shuffle_buffer=buffer, batch_size=BATCH,
                     epochs=2)
        assert same(net, expected)


# ---- shuffling -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dropout", [None, 0.3])
def test_rows_that_fit_into_the_buffer_come_as_in_memory(dropout):
    net, expected = network(), network()
    fit = {"epochs": 3, "seed": 5, "batch_size": BATCH, "dropout": dropout}
    history = net.fit([(X, LABELS)], shuffle_buffer=N + BATCH, **fit)
    wanted = expected.fit(X, LABELS, **fit)
    assert same(net, expected)
    assert history.records == wanted.records


def block_rows(sizes, epoch, buffer=48, seed=3, batch_size=BATCH):
    """The rows of the blocks of an epoch in the order in which they are trained on."""
    numbers = np.arange(N, dtype=np.float64)
    form = blocks.Form(np.dtype(np.float64), 1, 3, "classes")
    order = blocks.Order(seed, buffer)
    chunks = cut(sizes, numbers[:, None], LABELS)
    stream = fastbp.streams.sources.stream_of(chunks, 1)
    made = blocks.Assembly(form, batch_size, order).blocks(stream.chunks(order.of_chunks(epoch)), epoch)
    return [(block.before, block.samples.X[block.order, 0], block.samples.labels[block.order]) for block in made]


@pytest.mark.parametrize("sizes", [(N,), (1,), (10, 3), (100, 1)])
def test_shuffled_epochs_are_permutations(sizes):
    seen = [block_rows(sizes, epoch) for epoch in (0, 1, 0)]
    for epoch in seen:
        rows = np.concatenate([rows for _, rows, _ in epoch]).astype(int)
        assert np.array_equal(np.sort(rows), np.arange(N))
        assert np.array_equal(np.concatenate([labels for *_, labels in epoch]), LABELS[rows])
        assert [len(rows) for _, rows, _ in epoch] == [48] * (N // 48) + [N % 48]
        assert [before for before, *_ in epoch] == list(range(0, N, 48))
    first, second, again = [np.concatenate([rows for _, rows, _ in epoch]) for epoch in seen]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.concatenate([rows for _, rows, _ in block_rows(sizes, 0, seed=4)]))


def test_chunks_of_a_sequence_are_shuffled_and_those_of_functions_are_not():
    chunks = cut((10,), X, LABELS)
    fit = {"seed": 1, "epochs": 1, "batch_size": 10, "shuffle_buffer": 1}
    nets = [network() for _ in range(3)]
    nets[0].fit(chunks, **fit)
    nets[1].fit(lambda: chunks, **fit)
    nets[2].fit(iter(chunks), **fit)
    assert same(nets[1], nets[2])
    assert not same(nets[0], nets[1])
    asked = []

    class Listed(list):
        def __getitem__(self, place):
            asked.append(place)
            return list.__getitem__(self, place)

    network().fit(Listed(chunks), **fit | {"epochs": 2})
    count = len(chunks)
    assert sorted(asked[:count]) == sorted(asked[count:]) == list(range(count))
    assert asked[:count] != asked[count:]
    assert asked[:count] != list(range(count))


@pytest.mark.parametrize(("buffer", "rows"), [(1, BATCH), (BATCH, BATCH), (2 * BATCH + 5, 2 * BATCH)])
def test_a_buffer_is_whole_batches(buffer, rows):
    assert [len(shuffled) for _, shuffled, _ in block_rows((20,), 0, buffer)][:-1] == [rows] * ((N - 1) // rows)


# ---- what is recorded and called -------------------------------------------------------------------------------------

def test_validation_callbacks_and_early_stopping_as_in_memory():
    histories = []
    for source in ((X, LABELS), (cut((50,), X, LABELS),)):
        calls = []
        net, stopping = network(), fastbp.EarlyStopping(patience=2, min_delta=1e-3)
        history = net.fit(*source, epochs=50, shuffle=False, validation_data=(X[:50], LABELS[:50]),
                          callbacks=[stopping, lambda net, history, calls=calls: calls.append(history.epochs)],
                          optimizer=fastbp.SGD(0.5))
        assert history.stop_reason == "callback"
        assert calls == list(range(1, history.epochs + 1))
        histories.append((history.records, net.theta.tobytes(), stopping.best_epoch))
    assert histories[0] == histories[1]


def test_metrics_are_of_the_validation_data():
    metrics = {"rows": lambda d, Y: len(d)}
    history = network().fit([(X, LABELS)], epochs=2, metrics=metrics, validation_data=(X[:7], LABELS[:7]))
    assert history["validation_rows"] == [7, 7]
    assert "rows" not in history
    with pytest.raises(ValueError, match=r"^metrics: expected validation_data too"):
        network().fit([(X, LABELS)], metrics=metrics)


@pytest.mark.parametrize("known", [False, True])
def test_the_progress_bar_learns_how_many_samples_there_are(known, monkeypatch, tmp_path):
    totals = []

    class Bar(run.ProgressBar):
        def __init__(self, wanted, total, unit):
            totals.append(total)
            super().__init__(wanted, total, unit)

        def show(self, done, text, total=None):
            totals.append(total)

    monkeypatch.setattr(run, "ProgressBar", Bar)
    np.savez(tmp_path / "shard.npz", X=X, d=LABELS)
    network().fit(tmp_path if known else [(X, LABELS)], epochs=3)
    assert set(totals) == ({3 * N} if known else {None, 3 * N})
    assert (totals[0], totals[-1]) == (3 * N if known else None, 3 * N)


def test_epochs_of_different_lengths():
    lengths = iter((50, 20))

    def chunks():
        n = next(lengths)
        yield X[:n], LABELS[:n]

    net, expected = network(), network()
    history = net.fit(chunks, epochs=2, shuffle=False, batch_size=BATCH)
    for epoch, n in enumerate((50, 20)):
        wanted = expected.fit(X[:n], LABELS[:n], epochs=1, shuffle=False, batch_size=BATCH)
        assert {name: [values[epoch]] for name, values in history.records.items()} == wanted.records
    assert same(net, expected)
    assert history.samples == 70


def test_going_on_with_the_optimizer_state():
    fit = {"optimizer": fastbp.Adam(0.02), "shuffle": False, "batch_size": BATCH}
    net, expected = network(), network()
    state = net.fit([(X, LABELS)], epochs=2, **fit).optimizer_state
    net.fit([(X, LABELS)], epochs=1, optimizer_state=state, **fit)
    expected.fit(X, LABELS, epochs=3, **fit)
    assert same(net, expected)


def test_divergence():
    errors, targets = [], np.full((N, 3), 1e10, np.float32)
    for source in ((X, targets), (cut((50,), X, targets),)):
        net = network(activation="relu", loss="squared_error")
        with pytest.raises(fastbp.DivergenceError) as caught:
            net.fit(*source, optimizer=fastbp.SGD(1e3), epochs=20, batch_size=BATCH, shuffle=False)
        errors.append((caught.value.epoch, caught.value.step, str(caught.value), net.theta.tobytes(),
                       caught.value.history.records, caught.value.history.stop_reason))
    assert errors[0] == errors[1]


# ---- sources that fail -----------------------------------------------------------------------------------------------

class Watched:
    """A callback that notes what is called."""

    def __init__(self):
        self.calls, self.history = [], None

    def start(self, net):
        self.calls.append("start")

    def __call__(self, net, history):
        self.calls.append(history.epochs)
        self.history = history

    def finish(self, net):
        self.calls.append("finish")


@pytest.mark.parametrize("fails_in", [0, 2])
def test_an_exception_of_the_source(fails_in):
    """The batches before it are trained on, and it comes out as it was raised."""
    epochs, error = [], OSError("no such disk")

    def broken():
        epochs.append(len(epochs))
        yield X[:50], LABELS[:50]
        if epochs[-1] == fails_in:
            raise error
        yield X[50:], LABELS[50:]

    net, expected, watched = network(), network(), Watched()
    fit = {"shuffle": False, "batch_size": BATCH}
    with pytest.raises(OSError, match="no such disk") as caught:
        net.fit(broken, epochs=10, callbacks=[watched], **fit)
    assert caught.value is error
    assert caught.traceback[-1].name == "broken"
    assert f"in epoch {fails_in}, counted from 0, after {fails_in * N + 48} samples" in error.__notes__[0]
    if fails_in:
        expected.fit(X, LABELS, epochs=fails_in, **fit)
        assert (watched.history.stop_reason, watched.history.epochs) == ("failed", fails_in)
        assert watched.history.samples == fails_in * N + 48
    expected.fit(X[:48], LABELS[:48], epochs=1, **fit)
    assert same(net, expected)
    assert not net.grad.any()
    assert watched.calls == ["start", *range(1, fails_in + 1), "finish"]


def bad(rows=X, **values):
    """A chunk of ten rows in which a number of X or d is another."""
    arrays = {"X": rows[:10].copy(), "d": LABELS[:10].copy()}
    for name, (place, value) in values.items():
        arrays[name][place] = value
    return tuple(arrays.values())


@pytest.mark.parametrize(("chunk", "kind", "message"), [
    (bad(X=((7, 2), np.nan)), ValueError, r"^chunk 2: X: found nan at \[7, 2\], expected finite numbers"),
    (bad(X.astype("f8"), X=((7, 2), 1e300)), ValueError, r"^chunk 2: X: found 1e\+300 at \[7, 2\], which is beyond"),
    (bad(d=(4, 3)), ValueError, r"^chunk 2: d: expected labels from 0 to 2, found 3 at \[4\]"),
    ((X[:10, :2], LABELS[:10]), ValueError, r"^chunk 2: X: expected 3 features, found shape \(10, 2\)"),
    ((X[:0], LABELS[:0]), ValueError, r"^chunk 2: X: expected at least one sample, found shape \(0, 3\)"),
    ((X[0], LABELS[:1]), ValueError, r"^chunk 2: X: expected 2 dimensions, found shape \(3,\)"),
    ((X[:10], LABELS[:9]), ValueError, r"^chunk 2: d: expected as many targets as X has samples, 10, found shape"),
    ((X[:10], np.eye(3)[LABELS[:10]]), ValueError, r"^chunk 2: d: expected labels as in the first chunk, found"),
    ((X[:10], LABELS[:10], WEIGHT[:10]), ValueError,
     r"^chunk 2: expected \(X, d\) as in the first chunk, found \(X, d, weight\)"),
    ((X[:10].astype(str), LABELS[:10]), TypeError, r"^chunk 2: X: expected real numbers, found dtype <U"),
    ((np.ma.masked_array(X[:10]), LABELS[:10]), TypeError, "^chunk 2: X: found a masked array"),
    (X[:10], TypeError, r"^chunk 2: expected \(X, d\) or \(X, d, weight\), found ndarray"),
    ((X[:10],), TypeError, r"^chunk 2: expected \(X, d\) or \(X, d, weight\), found 1 things"),
    (None, TypeError, r"^chunk 2: expected \(X, d\) or \(X, d, weight\), found NoneType"),
])
def test_bad_chunks_are_named(chunk, kind, message):
    net, expected = network(), network()
    with pytest.raises(kind, match=message):
        net.fit([*cut((50,), X[:100], LABELS[:100]), chunk], shuffle=False, batch_size=BATCH)
    expected.fit(X[:96], LABELS[:96], shuffle=False, batch_size=BATCH, epochs=1)
    assert same(net, expected)


def test_weights_are_in_all_chunks_and_not_negative():
    with pytest.raises(ValueError, match=r"^chunk 1: expected \(X, d, weight\) as in the first chunk, found \(X, d\)"):
        network().fit([(X, LABELS, WEIGHT), (X, LABELS)], shuffle=False)
    with pytest.raises(ValueError, match=r"^chunk 0: sample_weight: expected no negative weight, found -1.0 at \[4\]"):
        network().fit([(X[:10], LABELS[:10], np.where(np.arange(10) == 4, -1.0, 1.0))])


def test_rows_of_a_large_chunk_are_counted_from_its_part(monkeypatch):
    monkeypatch.setattr(blocks, "JOINED_BYTES", 1)
    monkeypatch.setattr(blocks, "LONGEST_BYTES", 1)
    rows = X.copy()
    rows[100, 1] = np.inf
    with pytest.raises(ValueError, match=r"^chunk 0, rows counted from 96 on: X: found inf at \[4, 1\]"):
        network().fit([(rows, LABELS)], shuffle=False, batch_size=BATCH)


@pytest.mark.parametrize(("given", "settings", "kind", "message"), [
    (X, {}, TypeError, "^d: expected targets for an X of type ndarray, found none; a stream"),
    ({"X": X}, {}, TypeError, "^d: expected targets for an X of type dict, found none"),
    (5, {}, TypeError, "^X: expected an array with a d, or a stream: .* found 5$"),
    (iter([(X, LABELS)]), {}, ValueError, "^X: expected chunks for each of 10 epochs, found list_iter"),
    ([], {}, ValueError, "^X: expected at least one chunk in every epoch, found none in epoch 0"),
    (lambda: None, {}, TypeError, "^X: expected a function that returns an iterable of chunks .*, found None"),
    ([(X, LABELS)], {"replacement": True}, ValueError, "^replacement: expected False for a stream"),
    ([(X, LABELS)], {"sample_weight": WEIGHT}, ValueError, "^sample_weight: expected none for a stream"),
    ([(X, LABELS)], {"shuffle_buffer": 0}, ValueError, "^shuffle_buffer: "),
    ("no/such/folder", {}, FileNotFoundError, "^path: found no file or folder 'no/such/folder'$"),
])
def test_wrong_arguments(given, settings, kind, message):
    net = network()
    before = net.theta.copy()
    with pytest.raises(kind, match=message):
        net.fit(given, **settings)
    assert np.array_equal(net.theta, before)


def test_a_function_that_returns_the_same_iterator_again():
    chunks = iter([(X, LABELS)])
    with pytest.raises(ValueError, match=r"^X: expected at least one chunk in every epoch, found none in epoch 1"):
        network().fit(lambda: chunks, epochs=2)


# ---- the end of the thread -------------------------------------------------------------------------------------------

def endless(closed):
    """Chunks without end, from a generator that notes when it is closed."""
    try:
        while True:
            yield X, LABELS
    finally:
        closed.append(True)


def test_a_generator_is_closed_however_training_ends():
    def raising(net, history):
        raise RuntimeError("enough")

    def finite():
        try:
            for _ in range(3):
                yield X, LABELS
        finally:
            closed.append(True)

    closed = []
    network().fit(finite, epochs=2)
    assert closed == [True] * 2
    network().fit(finite, epochs=50, callbacks=[lambda net, history: True])
    assert 3 <= len(closed) <= 5
    closed.clear()
    with pytest.raises(RuntimeError, match="enough"):
        network().fit(finite, callbacks=[raising])
    assert closed
    closed.clear()
    with pytest.raises(fastbp.DivergenceError):
        network(activation="relu").fit(lambda: endless(closed), optimizer=fastbp.SGD(1e30))
    assert closed == [True]
    closed.clear()

    def wrong():
        try:
            yield X, LABELS
            yield X[:, :2], LABELS
        finally:
            closed.append(True)

    with pytest.raises(ValueError, match=r"^chunk 1: X") as caught:
        network().fit(wrong)
    assert caught.traceback  # which keeps the generator, so that it was closed on purpose
    assert closed == [True]


def test_ctrl_c_in_a_callback():
    def interrupt(net, history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    net, expected = network(), network()
    with pytest.warns(RuntimeWarning, match="training was interrupted in epoch 2"):
        history = net.fit([(X, LABELS)], shuffle=False, callbacks=[interrupt])
    expected.fit(X, LABELS, shuffle=False, epochs=2)
    assert same(net, expected)
    assert (history.epochs, history.stop_reason) == (2, "interrupted")


SLOW = """
import json, sys, time, warnings
import numpy as np
import fastbp
X, d = np.random.default_rng(0).normal(size=(200, 3)).astype("f"), np.arange(200) % 3
net = fastbp.MLP([3, 8, 3], seed=0)
net.fit([(X, d)], epochs=1)
closed = []
def slow():
    try:
        yield X, d
        print("waiting", flush=True)
        time.sleep(1.5)
        yield X, d
    finally:
        closed.append(True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = net.fit(slow, batch_size=50, shuffle=False, epochs=2)
print("finished", flush=True)
time.sleep(2.0)
import threading
print(json.dumps([history.stop_reason, history.samples, closed, threading.active_count(),
                  [str(w.message) for w in caught]]), flush=True)
"""


def test_ctrl_c_while_the_source_is_slow():
    path = os.pathsep.join([str(Path(fastbp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen([sys.executable, "-c", SLOW], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            assert process.stdout.readline() == "waiting\n"
            time.sleep(0.3)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "finished\n"
            assert time.monotonic() - begin < 0.5  # 0.1 of it is promised; other programs run too
            reason, samples, closed, threads, messages = json.loads(process.stdout.readline())
        finally:
            process.kill()
    assert (reason, closed, threads) == ("interrupted", [True], 1)
    assert samples in (0, 200)  # rows wait for others, up to a block
    assert "training was interrupted in epoch 0" in messages[0]


def test_a_slow_training_keeps_few_chunks(monkeypatch):
    """Chunks that were given and are not trained on yet are few, and so is their memory."""
    monkeypatch.setattr(blocks, "JOINED_BYTES", 2**18)
    given, most = [], [0]

    class Rows(np.ndarray):
        pass

    def chunks():
        for _ in range(100):
            rows = np.ones((10_000, 30), np.float32).view(Rows)
            given.append(weakref.ref(rows))
            most[0] = max(most[0], sum(chunk() is not None for chunk in given))
            yield rows, np.zeros(10_000, np.int64)

    net = fastbp.MLP([30, 64, 3], seed=0)
    net.fit([(np.ones((100, 30), np.float32), np.zeros(100, np.int64))], epochs=1)
    gc.collect()
    tracemalloc.start()
    try:
        net.fit(chunks, epochs=1, shuffle=False, batch_size=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most[0] <= 2
    assert peak < 12 * 1.2e6  # of 120 MB in all
