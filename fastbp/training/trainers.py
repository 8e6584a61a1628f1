"""The trainings of many networks: `Trainer`, whose threads take one after another."""

import itertools
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from .. import threads
from ..backends.training_loop import DIVERGED, RUNNING, Plan
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..network import Network
from ..optimizers.optimizer import Optimizer
from ..optimizers.updates import OptimizerState
from .checkpoints import Checkpoints, restored_generator
from .history import History
from .progress_bar import ProgressBar
from .session import Session, make_plan
from .snapshots import Snapshots, is_begun

#: Seconds between two updates of the progress bar.
LOOK_EVERY = 0.05


class Task(NamedTuple):
    """One network, its samples, its optimizer, the seed of its order, and what a checkpoint has to be of."""

    net: Network
    samples: Samples
    optimizer: Optimizer
    seed: int | None
    identity: dict[str, Any]

    def plan(self, settings: Mapping[str, Any]) -> Plan:
        """The plan of its training; see `make_plan`, which takes these settings."""
        return make_plan(self.net, self.samples, seed=self.seed, **settings)

    def session(self, plan: Plan, epochs: int, history: History) -> Session:
        """A training of the network from its beginning."""
        return Session(self.net, self.samples, plan, self.optimizer, self.optimizer.start(self.net.theta), epochs,
                       history)


def train_in_slices(session: Session, is_stopped: Callable[[], bool],
                    after_slice: Callable[[Session], None] | None = None) -> None:
    """Train one network on this thread, until all epochs are done, or it diverges, or between two slices is stopped."""
    status = RUNNING
    with session.workspace() as work:
        while status == RUNNING and session.epochs_done < session.epochs and not is_stopped():
            status = session.advance_on(1, work, session.epochs)
            session.record()
            if after_slice is not None:
                after_slice(session)
    if status == DIVERGED:
        session.history.stop_reason = "diverged"
    elif session.epochs_done == session.epochs:
        session.history.stop_reason = "epochs"


class Trainer:
    """The tasks, and threads that take one after another.

    Parameters
    ----------
    tasks : sequence of Task
    epochs : int
    settings : mapping
        Of all trainings, as `make_plan` takes them.
    checkpoints : Checkpoints
    saved : sequence of Saved, optional
        The parts of a checkpoint to go on from, one for each task.
    """

    #: From the one that warns up to the one who called `fit_many`.
    _callers = 3

    def __init__(self, tasks: Sequence[Task], epochs: int, settings: Mapping[str, Any], checkpoints: Checkpoints,
                 saved: Sequence[Saved] | None) -> None:
        self.tasks, self.epochs, self._settings = tasks, epochs, settings
        self._checkpoints, self._saved = checkpoints, saved
        self.histories = [History() for _ in tasks]
        self.plans: list[Plan] = []
        self._places = itertools.count()                # one step of the interpreter takes one: no lock
        self._stop = threading.Event()
        for history in self.histories:
            history.stop_reason = "interrupted"         # until it has ended otherwise

    def run(self, bar: ProgressBar) -> None:
        """Train all networks, on as many threads as are allowed; Ctrl-C ends it within a slice."""
        try:
            self._prepare()
            self.plans = [task.plan(self._settings) for task in self.tasks]  # in their order, because seeds are drawn
            if self._saved is not None:
                self._take_over(self._saved)
            self._snapshots = Snapshots(self._checkpoints, *self._values_before())
            self._snapshots.begin(self._epochs_done())
            with held_back() as interrupts:
                try:
                    self._train_all(bar, interrupts)
                finally:
                    self._snapshots.write(self._epochs_done())
        except KeyboardInterrupt:
            warnings.warn(f"training was interrupted with {self._done()} of {len(self.tasks)} networks done; all "
                          f"of them are usable", RuntimeWarning, stacklevel=self._callers)
        diverged = [place for place, history in enumerate(self.histories) if history.stop_reason == "diverged"]
        if diverged:
            shown = ", ".join(map(str, diverged[:10])) + (", …" if len(diverged) > 10 else "")
            warnings.warn(f"{len(diverged)} of {len(self.tasks)} networks diverged and keep their last finite "
                          f"parameters: {shown}", RuntimeWarning, stacklevel=self._callers)

    def _prepare(self) -> None:
        """Do what may be refused or interrupted before anything changes."""
        self._compile()

    def _compile(self) -> None:
        """Compile here what the threads will call, without a step; the networks stay as they are.

        While this thread compiles, Ctrl-C is heard between functions. While others do, it would wait for all of it.
        """
        seen = set()
        for task in self.tasks:
            net, rule = task.net, task.optimizer.rule
            kind = (net.backend, net.products, net.dtype, net.widths, net.activations, net.loss_record, rule,
                    type(task.samples.X))
            if kind in seen:
                continue
            seen.add(kind)
            gradient = net.grad.copy()
            try:
                session = task.session(task._replace(seed=0).plan(self._settings), self.epochs, History())
                with session.workspace() as work:
                    session.advance_on(1, work, 0)
            finally:
                net.grad[:] = gradient

    def _take_over(self, saved: Sequence[Saved]) -> None:
        """Go on from a checkpoint; the networks stay as they are if something in it does not go together."""
        found: list[Any] = []
        for task, plan, history, own in zip(self.tasks, self.plans, self.histories, saved, strict=True):
            if is_begun(own):
                history.restore(own.part("history"))
                values = task.session(plan, self.epochs, history).checked(own.part("training"))
                state = OptimizerState(values["updates"], values["averages"])
                found.append((values["theta"], state, restored_generator(own)))
            else:
                found.append((own.finite("theta", task.net.dtype, (task.net.theta.size,)), None,
                              restored_generator(own)))
        for task, history, (theta, state, generator) in zip(self.tasks, self.histories, found, strict=True):
            task.net.theta[:] = theta
            task.net.draw_from(generator)
            history.optimizer_state = state
            if history.stop_reason != "diverged":
                history.stop_reason = "interrupted"

    def _values_before(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What a checkpoint has of each network: what does not change, and what it has before any is trained."""
        identities = [task.identity | {"seed": plan.seed, "generator": task.net.generator_state}
                      for task, plan in zip(self.tasks, self.plans, strict=True)]
        values: list[dict[str, Any]] = [{"theta": task.net.theta} for task in self.tasks]
        for place, own in enumerate(self._saved or ()):
            if is_begun(own):
                values[place] = {name: own.part(name).values for name in ("training", "history")}
        return identities, values

    def _train_all(self, bar: ProgressBar, interrupts: held_back) -> None:
        """Train on threads until all is done; Ctrl-C ends them, and more of it meanwhile does not disturb that."""
        with threads.allowed() as count:
            team = min(count, len(self.tasks))
        with ThreadPoolExecutor(team) as pool:
            try:
                working = {pool.submit(self._work) for _ in range(team)}
                while working:
                    finished, working = wait(working, LOOK_EVERY, FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    interrupts.hear()
                    self._look(bar)
            finally:
                self._stop.set()

    def _look(self, bar: ProgressBar) -> None:
        """Show what is done, and write a checkpoint if one is due."""
        bar.show(self._done(), "trained")
        if self._checkpoints.are_wanted:
            self._snapshots.write_if_due(self._epochs_done())

    def _work(self) -> None:
        """Train one network after another, on this thread."""
        for place in self._places:
            if place >= len(self.tasks) or self._stop.is_set():
                return
            if self._is_left(place):
                self._train(place)

    def _is_left(self, place: int) -> bool:
        """Whether a network has not come to its end."""
        return self.histories[place].stop_reason == "interrupted"

    def _done(self) -> int:
        return sum(history.stop_reason != "interrupted" for history in self.histories)

    def _epochs_done(self) -> int:
        """The epochs of all networks over their number."""
        return sum(history.epochs for history in self.histories) // len(self.histories)

    def _training_of(self, place: int) -> Saved | None:
        """The part of the checkpoint with the values of a network's training, if it was begun."""
        own = None if self._saved is None else self._saved[place]
        return own.part("training") if own is not None and is_begun(own) else None

    def _train(self, place: int) -> None:
        """Train one network on this thread."""
        session = self.tasks[place].session(self.plans[place], self.epochs, self.histories[place])
        begun = self._training_of(place)
        if begun is not None:
            session.resume(begun)
        self._snapshots.copy(place, session)
        train_in_slices(session, self._stop.is_set, lambda session: self._snapshots.after_slice(place, session))
        self._snapshots.end(place, session)
        session.finish()
