"""What trainings on all samples at once have in common: their sessions, and which arguments of `fit` they refuse."""

import importlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..backends import ON_GPU
from ..backends.training_loop import DIVERGED
from ..checks.messages import shown
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..network import Network
from ..optimizers.full_batch import LBFGS, FullBatch
from ..optimizers.optimizer import DivergenceError
from .history import History

#: The arguments of `fit` without a meaning where all samples are one batch, and what they are if they are not given.
WITHOUT_MEANING = {"batch_size": 128, "shuffle": True, "replacement": False, "seed": None, "optimizer_state": None,
                   "clip_sample_norm": None, "dropout": None, "shuffle_buffer": 2**14, "communicator": None}


def require_full_batch(optimizer: FullBatch, net: Network, samples: Samples | None, given: dict[str, Any], *,
                       saves: bool) -> None:
    """Refuse what an optimizer of full batches does not take.

    samples : None for a stream.
    given : the arguments of WITHOUT_MEANING.
    saves : whether checkpoints are asked for.

    Raises
    ------
    TypeError, ValueError
        It names the argument, and the optimizer.
    """
    kind = type(optimizer).__name__
    if type(optimizer) is FullBatch:
        raise TypeError("optimizer: FullBatch is not an optimizer by itself; use LevenbergMarquardt or LBFGS")
    if samples is None:
        raise ValueError(f"X: expected arrays with {kind}, which takes all samples at once, found a stream")
    for name, usual in WITHOUT_MEANING.items():
        value = given[name]
        if name == "batch_size" and isinstance(value, int) and value >= len(samples.X):
            continue
        if value is not usual and not (type(value) is type(usual) and value == usual):
            raise ValueError(f"{name}: it has no meaning with {kind}, which takes all samples in every step; expected "
                             f"none, found {shown(value)}")
    if saves and isinstance(optimizer, LBFGS):
        raise ValueError(f"checkpoint and resume: expected neither with {kind}, as SciPy's optimizer has no state that "
                         f"can be saved; LevenbergMarquardt has")
    if net.backend in ON_GPU:
        raise ValueError(f"optimizer: {kind} computes on the processor, found a network with the backend "
                         f"{net.backend!r}")


def scipy_module(name: str, optimizer: str) -> Any:
    """A module of SciPy.

    Raises
    ------
    ImportError
        That names the extra, if it is not installed.
    """
    try:
        with held_back():
            return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise ImportError(f"{optimizer} needs SciPy: pip install 'fastbp[blas]'") from error


class _Plan(NamedTuple):
    """In place of `training_loop.Plan`: nothing is drawn."""

    seed: int = 0


class FullBatchSession:
    """One training by an optimizer of full batches, with the methods of `Session` that `fit` calls.

    Parameters
    ----------
    net : MLP
    samples : int
        n.
    epochs : int
        The number of epochs in all.
    """

    #: What `fit` does after each epoch, for sessions that go through several in one call of `advance`.
    end_epoch: Callable[[], None]

    def __init__(self, net: Network, samples: int, epochs: int) -> None:
        net.require_no_other_training()
        self.net, self.n, self.epochs, self.plan = net, samples, epochs, _Plan()
        self.history = History()
        self.epochs_recorded = self.epochs_shown = self.epochs_done = 0
        self._last: dict[str, float] = {}  # the records of the last epoch
        self._reason = "epochs"            # why training ends after it
        self._begin = time.perf_counter()

    def advance(self, work: Any, until: int) -> int:
        """The status of `training_loop.train` after some epochs."""
        raise NotImplementedError

    def _end(self, records: dict[str, float], reason: str = "epochs") -> None:
        """Count an epoch, with its records, and why training ends after it if it does."""
        self._last, self._reason, self.epochs_done = records, reason, self.epochs_done + 1

    def record(self) -> None:
        """Append the records of an epoch completed since the last call to the history."""
        with held_back():  # all of them, or none
            if self.history.epochs < self.epochs_done:
                for name, value in self._last.items():
                    self.history.record(name, value)
                self.history.stop_reason = self._reason
            self._count()

    def _count(self) -> None:
        self.history.samples, self.history.seconds = self.samples_done, time.perf_counter() - self._begin

    @property
    def samples_done(self) -> int:
        """The number of samples of the epochs that it has completed."""
        return self.epochs_done * self.n

    @property
    def samples_in_all(self) -> int:
        """The number of samples of all epochs."""
        return self.epochs * self.n

    @contextmanager
    def workspace(self) -> Iterator[None]:
        """A context in which no other thread trains the network."""
        with self.net.in_training():
            yield

    #: All of its state is here.
    is_whole = True

    def theta_may_have_changed(self) -> None:
        """Take note that other code has had the network."""
        self.net.zero_grad()

    def write_state(self) -> None:
        """Do nothing: the history has no state of the optimizer."""

    def values(self, epochs: int | None = None) -> dict[str, Any]:
        """All of the training but its history, from which `resume` goes on; see `Session.values`."""
        raise NotImplementedError

    def resume(self, saved: Saved) -> None:
        """Go on from `values`; the history is restored already."""
        raise NotImplementedError

    def close(self) -> None:
        """End what goes on beside the training."""

    def finish(self) -> None:
        """Complete the history."""
        self.net.zero_grad()
        self._count()

    def diverged(self, E: float) -> bool:
        """Whether the loss of the present parameters is not finite, which no step can begin from."""
        if math.isfinite(E):
            return False
        self.history.stop_reason = "diverged"
        return True

    def failure(self, status: int) -> BaseException | None:
        """The error for a status with which training ends."""
        if status != DIVERGED:
            return None
        return DivergenceError(f"the loss is not finite in epoch {self.epochs_done} (counted from 0), before its step; "
                               f"the parameters are as they were. Try standardised inputs or smaller parameters",
                               self.epochs_done, 0, self.history)
