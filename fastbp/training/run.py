"""`Run`: a training from its checked arguments to its history, whatever its session does."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..backends.training_loop import DIVERGED, RUNNING, Plan
from ..checks.messages import shown
from ..checks.samples import Samples, total_weight
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..network import Network
from ..optimizers.full_batch import FullBatch
from ..optimizers.optimizer import Optimizer
from ..optimizers.updates import OptimizerState
from ..streams.sources import Stream
from .callbacks import ask_to_stop, finish_all, has_state, restore_all, start_all, states_of
from .checkpoints import (
    Checkpoints,
    Path,
    data_values,
    network_values,
    optimizer_values,
    restored_generator,
    stream_values,
)
from .full_batch import FullBatchSession
from .history import History
from .progress_bar import ProgressBar
from .session import Session
from .streaming import FAILED, StreamSession

#: A session, whichever way it takes its samples.
AnySession = Session | FullBatchSession


@dataclass
class Run:
    """The checked arguments of a call of `fit`."""

    net: Network
    samples: Samples | None  # None for a stream
    d: Any
    validation: tuple[Samples, Any] | None
    metrics: dict[str, Callable[..., float]]
    callbacks: list[Callable[..., Any]]
    weighted_mean: bool
    identity: dict[str, Any] = field(default_factory=dict)  # for checkpoints

    #: How many calls lie between the user's and a warning.
    callers = 4

    def values(self, session: AnySession) -> dict[str, Any]:
        """The whole training, for a checkpoint; an epoch that not all callbacks have seen is to be recorded again."""
        epochs = session.epochs_shown if self.is_observed else session.history.epochs
        return self.identity | {
            "seed": session.plan.seed, "generator": self.net.generator_state,
            "history": session.history.state(epochs), "training": session.values(epochs),
            "callbacks": states_of(self.callbacks)}

    def begin(self, session: AnySession, saved: Saved | None) -> None:
        """Begin anew, or go on from a checkpoint: in that case the network is changed last."""
        if saved is None:
            start_all(self.callbacks, self.net, session.history)
            return
        history = session.history
        generator = restored_generator(saved)
        history.restore(saved.part("history"))
        restore_all(self.callbacks, saved.part("callbacks"), history)
        session.resume(saved.part("training"))
        self.net.draw_from(generator)
        session.epochs_recorded = session.epochs_shown = history.epochs
        if history.stop_reason in ("interrupted", "failed"):
            history.stop_reason = "epochs"
        start_all([callback for callback in self.callbacks if not has_state(callback)], self.net, history)

    @property
    def is_observed(self) -> bool:
        """Whether validation, metrics or callbacks take the network after every epoch."""
        return bool(self.validation or self.metrics or self.callbacks)

    @cached_property
    def validation_divisor(self) -> float:
        """n, or Σ w with `weighted_mean`, of the validation data."""
        assert self.validation is not None
        samples = self.validation[0]
        return self.divisor_of(samples.weights, len(samples.X))

    @property
    def loss_share(self) -> float:
        """n over the divisor of the training samples; 1 of a stream, whose epochs are divided when they end."""
        return 1.0 if self.samples is None else self.loss_share_of(self.samples.weights, len(self.samples.X))

    def loss_share_of(self, weights: Any, n: int) -> float:
        """n over the divisor of n samples."""
        return n / self.divisor_of(weights, n)

    def divisor_of(self, weights: Any, n: int) -> float:
        """n, or Σ w with `weighted_mean`: the sum of the losses over this is recorded."""
        if not self.weighted_mean:
            return float(n)
        return total_weight(self.net.backend_module.memory.to_host(weights), n)

    @property
    def rows(self) -> int | None:
        """The number of training samples, where this process has only some of them."""
        return None

    def checkpoints(self, path: Path | None, every: float | str, resume: Path | bool | None) -> Checkpoints:
        """Where checkpoints are written, and the one to go on from."""
        return Checkpoints(path, every, resume, "training")

    def identify(self, stream: Stream | None, optimizer: Optimizer | FullBatch, **settings: Any) -> None:
        """Note what this training is, so that only the same one goes on from its checkpoints."""
        to_host = self.net.backend_module.memory.to_host
        data = self.data_values() if stream is None else stream_values(stream)
        self.identity = {"network": network_values(self.net), "optimizer": optimizer_values(optimizer),
                         "settings": settings, "data": data,
                         "validation_data": self.validation and data_values(self.validation[0], to_host)}

    def data_values(self) -> dict[str, Any]:
        """What the training data are; see `checkpoints.data_values`."""
        assert self.samples is not None
        return data_values(self.samples, self.net.backend_module.memory.to_host)

    def agree(self, state: OptimizerState, **settings: Any) -> None:
        """Agree with other ranks, of which there are none."""

    def make_session(self, stream: Stream | None, shuffle_buffer: int, plan: Plan, optimizer: Optimizer,
                     state: OptimizerState, epochs: int) -> Session:
        """The session on the samples, or on a stream of which `shuffle_buffer` rows are shuffled at a time."""
        if stream is None:
            assert self.samples is not None
            return Session(self.net, self.samples, plan, optimizer, state, epochs)
        return StreamSession(self.net, stream, shuffle_buffer, plan, optimizer, state, epochs)

    def train(self, session: AnySession, progress_wanted: bool | None, checkpoints: Checkpoints) -> History:
        """The history after slices, until all epochs are done, a callback stops them, or Ctrl-C."""
        history, epochs = session.history, session.epochs
        self.begin(session, checkpoints.saved)
        status = RUNNING

        def values() -> dict[str, Any]:
            return self.values(session)

        def end_epoch() -> None:
            self._record_epochs(session)
            bar.show(session.samples_done, _text_of(history, epochs), session.samples_in_all)

        try:
            with (ProgressBar(progress_wanted, session.samples_in_all, "samples") as bar,
                  session.workspace() as work):
                checkpoints.begin(values, session.epochs_done)
                if isinstance(session, FullBatchSession):
                    session.end_epoch = end_epoch
                self._record_epochs(session)  # one that was done already
                while history.epochs < epochs and history.stop_reason == "epochs" and status not in (DIVERGED, FAILED):
                    status = session.advance(work, history.epochs + 1 if self.is_observed else epochs)
                    end_epoch()
                    if (checkpoints.is_due(session.epochs_done) and session.is_whole
                            and status not in (DIVERGED, FAILED)):
                        checkpoints.write(values, session.epochs_done)
            if status != DIVERGED:
                checkpoints.write(values, session.epochs_done)
        except KeyboardInterrupt:
            with held_back():  # once is enough: what was trained is kept, however often Ctrl-C is pressed
                self._end_early(session, checkpoints, "interrupted")
            warnings.warn(f"training was interrupted in epoch {history.epochs}; the network and the history so far are "
                          f"usable", RuntimeWarning, stacklevel=self.callers)
        except BaseException:
            self._end_early(session, checkpoints, "failed")
            raise
        finally:
            session.finish()
        failure = session.failure(status)
        self.finish(session)
        if failure is not None:
            raise failure
        return history

    def finish(self, session: AnySession) -> None:
        """Let callbacks finish."""
        finish_all(self.callbacks, self.net)

    def _end_early(self, session: AnySession, checkpoints: Checkpoints, reason: str) -> None:
        """Leave whole epochs in the history, and write a checkpoint."""
        session.record()
        if self.is_observed:
            session.history.keep(session.epochs_recorded)
        session.history.stop_reason = reason
        if session.is_whole:
            checkpoints.write(lambda: self.values(session), session.epochs_done)

    def _record_epochs(self, session: AnySession) -> None:
        """Record the epochs completed since the last call, and let the last be observed.

        Where there are observers, a slice ends with its epoch, so that it has completed one epoch at most.
        """
        session.record()
        if session.history.epochs > session.epochs_recorded and self.is_observed:
            self.observe(session)
            session.theta_may_have_changed()

    def observe(self, session: AnySession) -> None:
        """Record validation and metrics after an epoch, and call callbacks."""
        history = session.history
        if self.validation is not None:
            self.record_validation(history, *self.evaluate(self.validation[0]))
        self.record_metrics(history)
        self.call_callbacks(session)

    def evaluate(self, samples: Samples) -> tuple[float, float]:
        """E and the share of correct samples of validation data."""
        return self.net.evaluate_samples(samples)

    def record_validation(self, history: History, E: float, accuracy: float) -> None:
        """Record the loss and the accuracy of validation data."""
        history.record("validation_loss", E / self.validation_divisor)
        if self.net.loss_record.is_classification:
            history.record("validation_accuracy", accuracy)

    def record_metrics(self, history: History) -> None:
        """Record metrics of validation data and of the training data."""
        self.record_metrics_of(history, with_training_data=self.samples is not None)

    def record_metrics_of(self, history: History, with_training_data: bool) -> None:
        """Record metrics of validation data, and maybe of the training data."""
        if self.validation is not None:
            _record_metrics(self.metrics, "validation_", self.validation[1], self.net, self.validation[0], history)
        if with_training_data and self.samples is not None:
            _record_metrics(self.metrics, "", self.d, self.net, self.samples, history)

    def call_callbacks(self, session: AnySession) -> None:
        """Call callbacks, which may stop the training; the epoch is recorded then."""
        history = session.history
        session.epochs_recorded = history.epochs
        if self.callbacks:
            session.write_state()
        if ask_to_stop(self.callbacks, self.net, history):
            history.stop_reason = "callback"
        session.epochs_shown = history.epochs


def _text_of(history: History, epochs: int) -> str:
    """The text of the progress bar: the present epoch, and the loss of the one before."""
    text = f"epoch {min(history.epochs + 1, epochs)}/{epochs}"
    return f"{text}, loss {history['loss'][-1]:.4g}" if history.epochs else text


def _record_metrics(metrics: Mapping[str, Callable[..., float]], prefix: str, d: Any, net: Network, samples: Samples,
                    history: History) -> None:
    """Record each metric of (d, Y), under its name after the prefix."""
    if metrics:
        Y = net.backend_module.memory.result(net.forward_samples(samples), d)  # as d is, on the device or not
        for name, metric in metrics.items():
            history.record(prefix + name, _require_scalar(name, metric(d, Y)))


def _require_scalar(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"metrics: expected a number from {shown(name)}, found {shown(value)}") from None
