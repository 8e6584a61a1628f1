"""Many networks at once: every thread trains one network after another, each as `fit` does alone."""

import itertools
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np

from .. import threads
from ..backends.memory import HOST
from ..backends.training_loop import DIVERGED, RUNNING, Plan
from ..checks.arguments import checked_clip_norm, checked_rates, require_flag, require_whole
from ..checks.messages import shown
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..checks.sparse_rows import is_sparse
from ..compiling.interrupts import held_back
from ..network import Network
from ..optimizers.optimizer import Optimizer
from ..optimizers.updates import OptimizerState
from .checkpoints import (
    Checkpoints,
    Path,
    data_values,
    network_values,
    optimizer_values,
    require_fitting,
    restored_generator,
)
from .fitting import checked_optimizer, require_trainable, training_samples
from .history import History
from .progress_bar import ProgressBar
from .session import Session, make_plan
from .snapshots import Snapshots, is_begun, saved_networks

#: Seconds between two updates of the progress bar.
LOOK_EVERY = 0.05


def fit_many(nets: Sequence[Network], X: Any, d: Any, *,
             optimizer: Optimizer | Sequence[Optimizer | None] | None = None, epochs: int = 10, batch_size: int = 128,
             shuffle: bool = True, replacement: bool = False, sample_weight: Any = None,
             seeds: Sequence[int | None] | None = None, progress: bool | None = None,
             clip_sample_norm: float | None = None, dropout: float | Sequence[float] | None = None,
             checkpoint: Path | None = None, checkpoint_every: float | str = 60.0,
             resume: Path | bool | None = None) -> list[History]:
    """Train networks side by side, one per thread at a time: ensembles, sweeps, one model for each of many things.

    Each has the bits that `MLP.fit` gives it alone. A network that diverges keeps its last finite parameters and does
    not disturb the others.

    Parameters
    ----------
    nets : sequence of MLP
        All different objects; they may differ in everything. On the processor: one with the backend "cuda" has the
        whole GPU to itself in `MLP.fit`.
    X : array_like or sparse matrix (n, N_0), or list of them
        Samples for all networks, or a list with an array for each network.
    d : array_like, or list of arrays
        Labels (n,) or targets (n, N_L) as for `MLP.fit`, for all networks, or a list with an array for each.
    optimizer : Optimizer or list of them
        For all networks, or one for each; SGD(0.1) if not given or None.
    epochs, batch_size, shuffle, replacement
        As for `MLP.fit`.
    sample_weight : array_like (n,), or list of arrays, optional
        For all networks, or a list with an array or None for each.
    seeds : sequence of int, optional
        Of the order of samples, one for each network; drawn from its generator if not given or None.
    progress : bool or None
        A progress bar that counts networks, as for `MLP.fit`.
    clip_sample_norm : float, optional
    dropout : float or sequence of floats, optional
        As for `MLP.fit`, for all networks.
    checkpoint, checkpoint_every, resume
        As for `MLP.fit`. One file has all networks: those that are done, those that are being trained, and those that
        wait. Epochs are counted on average over the networks.

    Returns
    -------
    histories : list of History
        In the order of the networks, also after Ctrl-C, however often it is pressed. ``stop_reason`` is "epochs",
        "diverged", or after Ctrl-C "interrupted"; ``seconds`` is the network's own time.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; it is named, with the place of the network, and all networks are as they
        were.
    RuntimeError
        If a network is being trained in another thread.

    Warns
    -----
    RuntimeWarning
        If networks diverged, or training was interrupted.

    Examples
    --------
    >>> from fastbp import MLP, Adam
    >>> nets = [MLP([1, 16, 1], activation="tanh", loss="squared_error", seed=seed) for seed in range(8)]
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> histories = fit_many(nets, X, np.sin(3 * X), optimizer=Adam(0.01), epochs=200, batch_size=16)
    >>> max(history["loss"][-1] for history in histories) < 0.01
    True
    """
    nets = _checked_nets(nets)
    epochs = require_whole("epochs", epochs, at_least=1)
    batch_size = require_whole("batch_size", batch_size, at_least=1)
    shuffle, replacement = require_flag("shuffle", shuffle), require_flag("replacement", replacement)
    progress = None if progress is None else require_flag("progress", progress)
    clip_norm = checked_clip_norm("clip_sample_norm", clip_sample_norm)
    optimizers = _for_each("optimizer", optimizer, len(nets), lambda element: True)
    order_seeds = [None] * len(nets) if seeds is None else _one_each("seeds", seeds, len(nets))
    given = [_for_each(name, value, len(nets), _is_data)
             for name, value in (("X", X), ("d", d), ("sample_weight", sample_weight))]
    checkpoints = Checkpoints(checkpoint, checkpoint_every, resume, "trainings")
    saved = None if checkpoints.saved is None else saved_networks(checkpoints.saved, len(nets))
    settings = {"batch_size": batch_size, "shuffle": shuffle, "replacement": replacement,
                "clip_sample_norm": clip_norm}
    seen: dict[tuple[Any, ...], Samples] = {}
    data: dict[tuple[Any, ...], dict[str, Any]] = {}
    tasks = []
    for place, net in enumerate(nets):
        X_p, d_p, weight_p = (values[place] for values in given)
        key = (id(X_p), id(d_p), id(weight_p), net.dtype, net.widths[0], net.widths[-1], net.loss,
               net.standardization and net.standardization.key)
        try:
            if net.backend_module.memory is not HOST:
                raise ValueError(f"expected a backend that runs on the processor, found {net.backend!r}; train it with "
                                 f"fit")
            if key not in seen:  # what several networks share is checked and converted once
                seen[key] = training_samples(net, X_p, d_p, weight_p)
            chosen = checked_optimizer(optimizers[place])
            chosen.require_settings(net.dtype)
            require_trainable(net)
            rates, seed, identity = checked_rates(dropout, len(net.widths) - 1), order_seeds[place], {}
            if seed is not None:
                require_whole("seeds", seed, at_least=0)
            if checkpoints.are_wanted:
                if key not in data:
                    data[key] = data_values(seen[key], np.asarray)
                identity = {"network": network_values(net), "optimizer": optimizer_values(chosen), "data": data[key],
                            "settings": settings | {"dropout": rates.tolist()}}
            net.require_no_other_training()
            if saved is not None:
                seed = require_fitting(saved[place], identity, seed)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError  # theirs may take other arguments
            raise kind(f"nets[{place}]: {error}") from None
        tasks.append(_Task(net, seen[key], chosen, seed, identity))
    trainer = _Trainer(tasks, epochs, lambda task: make_plan(task.net, task.samples, batch_size, shuffle=shuffle,
                                                             replacement=replacement, seed=task.seed,
                                                             clip_norm=clip_norm, dropout=dropout), checkpoints, saved)
    with ProgressBar(progress, len(tasks), "networks") as bar:
        trainer.run(bar)
    return trainer.histories


class _Task(NamedTuple):
    """One network, its samples, its optimizer, the seed of its order, and what a checkpoint has to be of."""

    net: Network
    samples: Samples
    optimizer: Optimizer
    seed: int | None
    identity: dict[str, Any]


class _Trainer:
    """The tasks, and threads that take one after another."""

    def __init__(self, tasks: Sequence[_Task], epochs: int, plan_of: Callable[[_Task], Plan],
                 checkpoints: Checkpoints, saved: Sequence[Saved] | None) -> None:
        self.tasks, self.epochs, self._plan_of = tasks, epochs, plan_of
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
            self._compile()
            self.plans = [self._plan_of(task) for task in self.tasks]  # in their order, because seeds are drawn
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
                          f"of them are usable", RuntimeWarning, stacklevel=3)
        diverged = [place for place, history in enumerate(self.histories) if history.stop_reason == "diverged"]
        if diverged:
            shown = ", ".join(map(str, diverged[:10])) + (", …" if len(diverged) > 10 else "")
            warnings.warn(f"{len(diverged)} of {len(self.tasks)} networks diverged and keep their last finite "
                          f"parameters: {shown}", RuntimeWarning, stacklevel=3)

    def _compile(self) -> None:
        """Compile here what the threads will call, without a step; the networks stay as they are.

        While this thread compiles, Ctrl-C is heard between functions. While others do, it would wait for all of it.
        """
        seen = set()
        for task in self.tasks:
            net, rule = task.net, task.optimizer.rule
            kind = net.backend, net.dtype, net.widths, net.activations, net.loss_record, rule, type(task.samples.X)
            if kind in seen:
                continue
            seen.add(kind)
            gradient = net.grad.copy()
            try:
                session = _session(task, self._plan_of(task._replace(seed=0)), self.epochs, History())
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
                values = _session(task, plan, self.epochs, history).checked(own.part("training"))
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
                    bar.show(self._done(), "trained")
                    self._snapshots.write_if_due(self._epochs_done())
            finally:
                self._stop.set()

    def _work(self) -> None:
        """Train one network after another, on this thread."""
        for place in self._places:
            if place >= len(self.tasks) or self._stop.is_set():
                return
            if self.histories[place].stop_reason == "interrupted":
                self._train(place)

    def _done(self) -> int:
        return sum(history.stop_reason != "interrupted" for history in self.histories)

    def _epochs_done(self) -> int:
        """The epochs of all networks over their number."""
        return sum(history.epochs for history in self.histories) // len(self.histories)

    def _train(self, place: int) -> None:
        """Train one network in slices on this thread, until all epochs are done, or it diverges."""
        session = _session(self.tasks[place], self.plans[place], self.epochs, self.histories[place])
        if self._saved is not None and is_begun(self._saved[place]):
            session.resume(self._saved[place].part("training"))
        self._snapshots.copy(place, session)
        status = RUNNING
        with session.workspace() as work:
            while status == RUNNING and session.epochs_done < self.epochs and not self._stop.is_set():
                status = session.advance_on(1, work, self.epochs)
                session.record()
                self._snapshots.after_slice(place, session)
        if status == DIVERGED:
            session.history.stop_reason = "diverged"
        elif session.epochs_done == self.epochs:
            session.history.stop_reason = "epochs"
        self._snapshots.end(place, session)
        session.finish()


def _session(task: _Task, plan: Plan, epochs: int, history: History) -> Session:
    """A training of one network from its beginning."""
    return Session(task.net, task.samples, plan, task.optimizer, task.optimizer.start(task.net.theta), epochs, history)


def _checked_nets(nets: Sequence[Network]) -> list[Network]:
    if not isinstance(nets, Sequence) or not all(isinstance(net, Network) for net in nets):
        raise TypeError(f"nets: expected a sequence of MLP, found {shown(nets)}")
    if not nets:
        raise ValueError("nets: expected at least one network, found none")
    if len({id(net) for net in nets}) < len(nets):
        raise ValueError("nets: expected different networks, found one of them more than once")
    return list(nets)


def _is_data(element: Any) -> bool:
    """Whether an element of a list is data of one network: an array, a data frame, a sparse matrix, or nothing."""
    return element is None or (not isinstance(element, type) and len(getattr(element, "shape", ())) > 0)


def _for_each(name: str, value: Any, count: int, is_one: Callable[[Any], bool]) -> list[Any]:
    """One value for each network: those of a list or tuple of which an element is one, else the same for all."""
    if isinstance(value, list | tuple) and any(map(is_one, value)):
        return _one_each(name, value, count)
    return [value] * count


def _one_each(name: str, values: Any, count: int) -> list[Any]:
    """The values as a list, if there is one for each network."""
    if not np.iterable(values) or is_sparse(values):
        raise TypeError(f"{name}: expected one for each of the {count} networks, found {shown(values)}")
    listed = list(values)
    if len(listed) != count:
        raise ValueError(f"{name}: expected one for each of the {count} networks, found {len(listed)}")
    return listed
