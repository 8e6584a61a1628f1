"""Many networks on the workers of an executor: `TrainerOnWorkers`, and what its workers call."""

import contextlib
import os
import pickle
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks.messages import shortened
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..network import Network
from ..optimizers.optimizer import Optimizer
from . import trainers
from .history import History
from .progress_bar import ProgressBar
from .shared_samples import Files, SharedSamples, arrays_of, received, sharing
from .trainers import Task, Trainer, train_in_slices

#: The groups of networks that each worker gets, if all take the same time: many, so that workers end together, and few
#: enough that to send them costs little.
GROUPS_OF_WORKER = 32

#: The groups that wait or are trained, for each worker: it has to have its next one when it is done with one. Until
#: one was trained it is one, because all may be sent again with the values of samples.
GROUPS_AT_ONCE = 3

#: The workers of an executor that does not tell their number.
MOST_WORKERS = 64

#: Seconds for which the outcomes of workers are waited for after Ctrl-C, where it is pressed again.
PATIENCE = 2.0


class WorkerError(RuntimeError):
    """Networks were not trained, because a worker has failed.

    Attributes
    ----------
    places : list of int
        Which networks; they are as they were, but for those that threads of this process had begun.
    histories : list of History
        What `fit_many` would have returned. Those of these networks have the stop_reason "interrupted".
    """

    def __init__(self, message: str, places: Sequence[int] = (), histories: Sequence[History] = ()) -> None:
        super().__init__(message)
        self.places, self.histories = list(places), list(histories)

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkerError, (str(self), self.places, self.histories)


class Work(NamedTuple):
    """A network for a worker, and all that its training takes."""

    place: int
    net: Network
    optimizer: Optimizer
    seed: int
    history: History
    begun: Saved | None  # the part of a checkpoint that it goes on from
    data: int            # the number of its samples


class Group(NamedTuple):
    """Networks that a worker trains one after another."""

    works: list[Work]
    data: dict[int, SharedSamples]
    epochs: int
    settings: Mapping[str, Any]
    saves: bool     # whether the values of trainings are wanted, for a checkpoint
    folder: str     # with a file STOP in it once training was interrupted
    run: str        # the call of `fit_many`
    by_value: bool  # whether `data` has no places in files


class Outcome(NamedTuple):
    """What a worker returns for one network."""

    place: int
    theta: np.ndarray | None
    history: History | None
    values: dict[str, Any] | None
    error: str = ""


#: The name of a file that ends trainings.
STOP = "stop"

#: Samples that this process got by value, and for which call: for its next groups of the same one.
_kept: tuple[str, dict[int, SharedSamples]] = ("", {})


def train_group(group: Group) -> list[Outcome] | None:
    """What a worker does: train the networks of a group, on one thread; None if it does not find their samples."""
    global _kept
    if group.by_value:
        _kept = group.run, (_kept[1] if _kept[0] == group.run else {}) | group.data
    elif _kept[0] != group.run:
        _kept = "", {}
    try:
        samples = {number: received(_kept[1].get(number, shared), _net_with(number, group))
                   for number, shared in group.data.items()}
    except (OSError, ValueError):
        if group.by_value:
            raise
        return None
    with held_back() as interrupts:
        stop = os.path.join(group.folder, STOP)
        outcomes = [_trained(work, samples[work.data], group, lambda: bool(interrupts) or os.path.exists(stop))
                    for work in group.works]
        interrupts.forget()  # whoever waits for the outcomes was interrupted too
    return outcomes


def _net_with(number: int, group: Group) -> Network:
    """A network of a group that takes these samples."""
    return next(work.net for work in group.works if work.data == number)


def _trained(work: Work, samples: Samples, group: Group, is_stopped: Callable[[], bool]) -> Outcome:
    """Train one network."""
    try:
        task = Task(work.net, samples, work.optimizer, work.seed, {})
        session = task.session(task.plan(group.settings), group.epochs, work.history)
        if work.begun is not None:
            session.resume(work.begun)
        train_in_slices(session, is_stopped)
        values = session.values() if group.saves else None
        session.finish()
    except Exception as error:
        return Outcome(work.place, None, None, None, _text_of(error))
    return Outcome(work.place, work.net.theta, work.history, values)


class TrainerOnWorkers(Trainer):
    """The tasks, and an executor whose workers take them in groups.

    Parameters
    ----------
    *given
        As for `Trainer`.
    executor : Executor
    """

    _callers = 4

    def __init__(self, *given: Any, executor: Executor) -> None:
        super().__init__(*given)
        self._executor = executor
        self._is_here = isinstance(executor, ThreadPoolExecutor)  # workers have the networks themselves
        self._lost: dict[int, str] = {}
        self._cause: BaseException | None = None
        self._are_found = False                      # whether a worker has got its samples
        self._run = secrets.token_hex(8)
        self._numbers: dict[int, int] = {}           # of samples, by identity
        self._data: list[Samples] = []
        self._shared: list[SharedSamples] = []

    def run(self, bar: ProgressBar) -> None:
        """Train all networks on the workers; Ctrl-C cancels what has not begun, and ends the others within a slice.

        Raises
        ------
        WorkerError
            If networks were not trained because a worker failed.
        """
        with tempfile.TemporaryDirectory(prefix="fastbp-", ignore_cleanup_errors=True) as folder, \
                contextlib.ExitStack() as trained:
            self._folder = Path(folder)
            if not self._is_here:
                for task in self.tasks:
                    trained.enter_context(task.net.in_training())
            super().run(bar)
        if self._lost:
            lost = sorted(self._lost)
            named = ", ".join(f"nets[{place}]" for place in lost[:10]) + (", …" if len(lost) > 10 else "")
            raise WorkerError(f"{len(lost)} of {len(self.tasks)} networks were not trained: {named} "
                              f"({self._lost[lost[0]]})", lost, self.histories) from self._cause

    def _prepare(self) -> None:
        """Compile what workers read from the kernel cache then, and write samples to files; refuse what is not pickled.

        Raises
        ------
        TypeError
            That names the network.
        OSError
        """
        if not self._is_here:
            for place, task in enumerate(self.tasks):
                _require_pickled(place, task)
        uses = Counter(id(array) for task in self.tasks for array in arrays_of(task.samples))
        files = Files(self._folder, lambda array: uses[id(array)] > 1)
        for task in self.tasks:
            if id(task.samples) not in self._numbers:
                self._numbers[id(task.samples)] = len(self._data)
                self._data.append(task.samples)
                self._shared.append(sharing(task.samples, _itself if self._is_here else files.sent))
        super()._prepare()

    def _train_all(self, bar: ProgressBar, interrupts: held_back) -> None:
        """Send groups to the workers until all are done; after Ctrl-C, take what is done."""
        groups, waiting = self._groups(), dict[Future[Any], Group]()
        workers = _workers_of(self._executor)
        try:
            while True:
                most = workers * (GROUPS_AT_ONCE if self._are_found else 1)
                while len(waiting) < most and (group := next(groups, None)) is not None:
                    self._send(group, waiting)
                if not waiting:
                    break
                for future in wait(waiting, trainers.LOOK_EVERY, FIRST_COMPLETED).done:
                    self._take(future, waiting.pop(future), waiting)
                interrupts.hear()
                self._look(bar)
        except BaseException:
            self._end(waiting, interrupts)
            raise
        for place, history in enumerate(self.histories):
            if history.stop_reason == "interrupted":
                self._lost.setdefault(place, "its worker was interrupted")

    def _groups(self) -> Iterator[Group]:
        """The networks that are left, in groups."""
        places = [place for place in range(len(self.tasks)) if self._is_left(place)]
        size = -(-len(places) // (GROUPS_OF_WORKER * _workers_of(self._executor)))
        for begin in range(0, len(places), max(1, size)):
            works = [Work(place, self.tasks[place].net, self.tasks[place].optimizer, self.plans[place].seed,
                          self.histories[place], self._training_of(place), self._numbers[id(self.tasks[place].samples)])
                     for place in places[begin : begin + size]]
            yield Group(works, {work.data: self._shared[work.data] for work in works}, self.epochs, self._settings,
                        self._checkpoints.are_wanted, str(self._folder), self._run, False)

    def _send(self, group: Group, waiting: dict[Future[Any], Group]) -> None:
        try:
            waiting[self._executor.submit(train_group, group)] = group
        except MemoryError:
            raise
        except Exception as error:  # it is broken, or was shut down
            self._lose(group, error)

    def _take(self, future: Future[Any], group: Group, waiting: dict[Future[Any], Group]) -> None:
        """Take the outcomes of a group, or send it again with the values of its samples."""
        try:
            outcomes = future.result()
        except (Exception, CancelledError, KeyboardInterrupt) as error:
            self._lose(group, error)
            return
        if outcomes is None:
            data = {number: sharing(self._data[number], _itself) for number in group.data}
            self._send(group._replace(data=data, by_value=True), waiting)
            return
        self._are_found = True
        for place, theta, history, values, failure in outcomes:
            if failure:
                self._lost[place] = failure
                continue
            net, self.histories[place] = self.tasks[place].net, history
            net.theta[:] = theta
            net.zero_grad()
            if values is not None:
                self._snapshots.put(place, values, history)

    def _lose(self, group: Group, error: BaseException) -> None:
        self._cause = self._cause or error
        self._lost |= dict.fromkeys([work.place for work in group.works], _text_of(error))

    def _end(self, waiting: dict[Future[Any], Group], interrupts: held_back) -> None:
        """After an interrupt, let workers end, and take what they have; pressed again, do not wait for long."""
        begin = time.monotonic()
        (self._folder / STOP).touch()
        running = {future for future in waiting if not future.cancel()}
        while running and not (interrupts and time.monotonic() > begin + PATIENCE):
            finished, running = wait(running, trainers.LOOK_EVERY, FIRST_COMPLETED)
            for future in finished:
                if future.exception() is None and future.result() is not None:
                    self._take(future, waiting[future], {})
        self._lost.clear()  # they are those that were interrupted


def _itself(array: np.ndarray) -> np.ndarray:
    return array


def _workers_of(executor: Executor) -> int:
    """The number of an executor's workers, as pools of Python, of loky and of mpi4py tell it."""
    for name in ("_max_workers", "num_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return MOST_WORKERS


def _require_pickled(place: int, task: Task) -> None:
    """Refuse a network or an optimizer that cannot be sent."""
    for name, value in ((f"nets[{place}]", task.net), (f"nets[{place}]: optimizer", task.optimizer)):
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL, buffer_callback=lambda buffer: None)  # arrays are not copied
        except MemoryError:
            raise
        except Exception as error:
            raise TypeError(f"{name}: expected one that can be pickled for workers, with functions at the top of a "
                            f"module, found {_text_of(error)}") from None


def _text_of(error: BaseException) -> str:
    return shortened(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
