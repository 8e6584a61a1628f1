"""Many networks on the workers of executors: each as alone, and what a worker takes with it when it dies."""

import _thread
import contextlib
import multiprocessing
import os
import pickle
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from test_many import LABELS, X, assert_alike, networks

import fastbp
from fastbp import MLP, SGD, Adam, WorkerError, fit_many
from fastbp.training import workers
from fastbp.training.shared_samples import Place, place_of

#: Python warns of every fork while there are threads, as fastbp's or a pool's own.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

RNG = np.random.default_rng(0)
LARGE = RNG.normal(size=(9000, 4)).astype(np.float32)
CLASSES = np.arange(9000) % 3

#: How processes start in the short run: the fastest way that there is.
METHOD = "fork" if sys.platform == "linux" else "spawn"


def processes(count, method=METHOD):
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context(method))


@pytest.fixture(scope="module")
def pool():
    with processes(2) as executor:
        yield executor


class Pickling(Executor):
    """A worker in this process, which gets a copy of all and sends one back; it fails where `fails` says so."""

    _max_workers = 1

    def __init__(self, fails=lambda group: False):
        self.fails, self.sent = fails, []

    def submit(self, function, group):
        future = Future()
        self.sent.append(pickle.dumps(group))
        try:
            if self.fails(group):
                raise RuntimeError("the worker was killed")
            future.set_result(pickle.loads(pickle.dumps(function(pickle.loads(self.sent[-1])))))
        except Exception as error:
            future.set_exception(error)
        return future


class Deadly(MLP):
    """A network that ends the process that unpickles it."""

    def __setstate__(self, state):
        os._exit(1)


def alike(executor, X, d, count=5, prepare=lambda net: None, **settings):
    """Hold networks that an executor has trained against `fit`."""
    nets, alone = (networks(count, backend="loops") for _ in range(2))
    for net in (*nets, *alone):
        prepare(net)
        net.grad[:] = 1.0
    settings = {"epochs": 2, "optimizer": Adam(0.01)} | settings
    histories = fit_many(nets, X, d, executor=executor, **settings)
    assert_alike(nets, histories, alone, [net.fit(X, d, **settings) for net in alone])
    assert [net.generator_state for net in nets] == [net.generator_state for net in alone]


@pytest.mark.parametrize("method", [
    METHOD, *(pytest.param(method, marks=pytest.mark.full) for method in multiprocessing.get_all_start_methods()
              if method != METHOD)])
def test_processes(method, pool, tmp_path):
    with processes(1, method) if method != METHOD else contextlib.nullcontext(pool) as executor:
        alike(executor, LARGE, CLASSES, sample_weight=RNG.uniform(size=9000), dropout=0.2)
        np.save(tmp_path / "X.npy", LARGE)
        alike(executor, np.load(tmp_path / "X.npy", mmap_mode="r")[1:-7], CLASSES[1:-7])


def test_the_threads_of_a_pool_have_the_networks_themselves():
    """So functions need not be such that they can be pickled."""
    own = fastbp.Activation("own", lambda a: a / (1.0 + abs(a)), lambda a, h: 1.0 / (1.0 + abs(a)) ** 2)
    nets, alone = networks(3, activation=own, backend="loops"), networks(3, activation=own, backend="loops")
    with ThreadPoolExecutor(2) as executor:
        histories = fit_many(nets, X, LABELS, executor=executor, epochs=2)
    assert_alike(nets, histories, alone, [net.fit(X, LABELS, epochs=2) for net in alone])


@pytest.mark.full
def test_loky():
    loky = pytest.importorskip("joblib.externals.loky")
    alike(loky.get_reusable_executor(2), LARGE, CLASSES)


@pytest.mark.parametrize("samples", [
    LARGE.astype(np.float64), np.asfortranarray(LARGE), (LARGE[:, ::-1] * 10).astype(np.int8),
    np.tile(LARGE, (10, 2))[:, ::2], scipy.sparse.csr_array(np.tile(LARGE, (4, 1)) * (np.tile(LARGE, (4, 1)) > 1.5))])
@pytest.mark.parametrize("standardizes", [False, True])
def test_samples_of_any_kind(samples, standardizes):
    d = np.resize(CLASSES, samples.shape[0])
    alike(Pickling(), samples, d, 3, lambda net: net.standardize(samples) if standardizes else None, epochs=1)


def test_each_with_data_of_its_own():
    nets, alone = networks(3, backend="loops"), networks(3, backend="loops")
    Xs, ds = [LARGE[p:] for p in range(3)], [CLASSES[p:] for p in range(3)]
    executor = Pickling()
    histories = fit_many(nets, Xs, ds, seeds=[4, 5, 6], optimizer=[SGD(0.1), None, Adam()], epochs=1, executor=executor)
    assert_alike(nets, histories, alone, [
        net.fit(X, d, seed=seed, optimizer=optimizer, epochs=1) for net, X, d, seed, optimizer
        in zip(alone, Xs, ds, (4, 5, 6), (SGD(0.1), None, Adam()), strict=True)])
    assert all(len(group) > LARGE[2:].nbytes for group in executor.sent)


def test_shared_samples_are_not_sent_with_the_networks():
    executor = Pickling()
    alike(executor, LARGE, CLASSES, 20, epochs=1)
    assert len(executor.sent) > 10
    assert max(map(len, executor.sent)) < 20_000


def test_a_worker_without_the_files_gets_the_samples_once(monkeypatch):
    def array(place):
        raise FileNotFoundError(place.path)

    monkeypatch.setattr(Place, "array", array)
    executor = Pickling()
    alike(executor, LARGE, CLASSES, 10, epochs=1)
    assert sum(len(group) > LARGE.nbytes for group in executor.sent) == 1


def test_a_file_that_has_changed_is_not_believed(tmp_path):
    """As where another machine has a file of this name."""
    LARGE.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", np.float32, "r", shape=LARGE.shape)
    assert place_of(mapped).path == str(tmp_path / "X")
    (tmp_path / "X").rename(tmp_path / "old")
    (2 * LARGE).tofile(tmp_path / "X")
    alike(Pickling(), mapped, CLASSES)


@pytest.mark.parametrize("view", [
    lambda a: a, lambda a: a[3:70:2], lambda a: a[:, ::-1], lambda a: a.T[1:], lambda a: np.asarray(a)[5]])
def test_the_place_of_a_mapped_array(view, tmp_path):
    np.save(tmp_path / "X.npy", LARGE)
    array = view(np.load(tmp_path / "X.npy", mmap_mode="r"))
    np.testing.assert_array_equal(place_of(array).array(), array)
    assert place_of(view(np.load(tmp_path / "X.npy", mmap_mode="c"))) is None  # whose changes are not in the file
    (tmp_path / "X.npy").write_bytes(b"short")
    with pytest.raises(ValueError, match="buffer"):
        place_of(array).array()


def test_a_process_that_dies():
    nets = networks(9, backend="loops")
    nets[6] = Deadly([4, 7, 3], backend="loops", seed=6)
    alone, before = networks(9, backend="loops"), [net.theta.tobytes() for net in nets]
    with processes(1) as executor, pytest.raises(
            WorkerError, match=r"3 of 9 networks were not trained: nets\[6\], nets\[7\], nets\[8\] \(BrokenProcessPool"
    ) as caught:
        fit_many(nets, X, LABELS, executor=executor, epochs=2)
    assert caught.value.places == [6, 7, 8]
    assert_alike(nets[:6], caught.value.histories[:6], alone[:6], [net.fit(X, LABELS, epochs=2) for net in alone[:6]])
    assert [net.theta.tobytes() for net in nets[6:]] == before[6:]
    assert [history.stop_reason for history in caught.value.histories[6:]] == ["interrupted"] * 3
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.places) == (str(caught.value), [6, 7, 8])


def test_a_worker_that_fails_costs_its_networks_alone(monkeypatch):
    nets, alone = networks(5, backend="loops"), networks(5, backend="loops")
    expected = [net.fit(X, LABELS, epochs=2) for net in alone]
    executor = Pickling(lambda group: group.works[0].place == 2)
    with pytest.raises(WorkerError, match=r"1 of 5 networks .*: nets\[2\] \(RuntimeError: the worker was ") as caught:
        fit_many(nets, X, LABELS, executor=executor, epochs=2)
    for place in (0, 1, 3, 4):
        assert_alike([nets[place]], [caught.value.histories[place]], [alone[place]], [expected[place]])

    def failing(session, is_stopped):
        if session.net.generator_state == nets[3].generator_state:
            raise MemoryError("of the worker")
        train(session, is_stopped)

    train = workers.train_in_slices
    monkeypatch.setattr(workers, "train_in_slices", failing)
    with pytest.raises(WorkerError, match=r"1 of 5 networks .*: nets\[3\] \(MemoryError: of the worker"):
        fit_many(nets, X, LABELS, executor=Pickling(), epochs=2)


def test_an_executor_that_was_shut_down():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(WorkerError, match=r"3 of 3 networks .* after shutdown"):
        fit_many(networks(3, backend="loops"), X, LABELS, executor=executor)


def test_divergence():
    nets, before = networks(3, backend="loops"), networks(3, backend="loops")[1].theta
    with pytest.warns(RuntimeWarning, match="1 of 3 networks diverged and keep .*: 1") as caught:
        histories = fit_many(nets, X, LABELS, optimizer=[SGD(0.1), SGD(1e30), None], executor=Pickling(), epochs=3)
    assert caught[0].filename == __file__
    assert [history.stop_reason for history in histories] == ["epochs", "diverged", "epochs"]
    assert np.isfinite(nets[1].theta).all()
    assert nets[1].theta.shape == before.shape


def test_ctrl_c_and_going_on(pool, tmp_path):
    """It ends what is trained, within a slice, and cancels the rest; the pool works on."""
    nets, alone = networks(5, backend="loops"), networks(5, backend="loops")
    begin = time.monotonic()
    interrupt = threading.Timer(0.2, _thread.interrupt_main)
    interrupt.start()
    with pytest.warns(RuntimeWarning, match=r"interrupted with \d of 5 networks done") as caught:
        histories = fit_many(nets, X, LABELS, epochs=10**5, optimizer=SGD(0.01), executor=pool,
                             checkpoint=tmp_path / "run")
    assert time.monotonic() - begin < 30
    assert caught[0].filename == __file__
    assert {history.stop_reason for history in histories} == {"interrupted"}
    assert histories[0].samples > 0
    assert histories[0].epochs == len(histories[0]["loss"])
    assert histories[-1].samples == 0
    assert all(np.isfinite(net.theta).all() and not net.grad.any() for net in nets[:2])
    goal = max(history.epochs for history in histories) + 5  # from the checkpoint, on workers and here
    for executor in (pool, None):
        others = networks(5, backend="loops")
        histories = fit_many(others, X, LABELS, resume=tmp_path / "run", epochs=goal, optimizer=SGD(0.01),
                             executor=executor)
        for place in (0, 4):
            one = alone[place] if executor is pool else networks(5, backend="loops")[place]
            history = one.fit(X, LABELS, epochs=goal, optimizer=SGD(0.01))
            assert_alike([others[place]], [histories[place]], [one], [history])


def test_a_checkpoint_has_what_is_done(tmp_path):
    nets = networks(6, backend="loops")
    with pytest.raises(WorkerError):
        fit_many(nets, X, LABELS, executor=Pickling(lambda group: group.works[0].place >= 4), epochs=2,
                 checkpoint=tmp_path / "run")
    others, alone, executor = networks(6, backend="loops"), networks(6, backend="loops"), Pickling()
    histories = fit_many(others, X, LABELS, executor=executor, epochs=2, resume=tmp_path / "run")
    assert len(executor.sent) == 6
    assert_alike(others, histories, alone, [net.fit(X, LABELS, epochs=2) for net in alone])


def test_what_is_refused():
    own = fastbp.Activation("own", lambda a: a / (1.0 + abs(a)), lambda a, h: 1.0 / (1.0 + abs(a)) ** 2)
    nets = [*networks(2), *networks(1, activation=own)]
    before = [net.generator_state for net in nets]
    executor = Pickling()
    with pytest.raises(TypeError, match=r"nets\[2\]: expected one that can be pickled .*lambda"):
        fit_many(nets, X, LABELS, executor=executor)

    class Own(SGD):
        pass

    with pytest.raises(TypeError, match=r"nets\[1\]: optimizer: expected one that can be pickled"):
        fit_many(nets[:2], X, LABELS, optimizer=[None, Own(0.1)], executor=executor)
    with pytest.raises(TypeError, match=r"executor: expected a concurrent.futures.Executor, found 4"):
        fit_many(nets, X, LABELS, executor=4)
    assert not executor.sent
    assert [net.generator_state for net in nets] == before
