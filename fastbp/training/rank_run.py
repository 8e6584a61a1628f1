"""`RankRun`: a run that several ranks share. What has an effect outside of the training is done by rank 0."""

import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..backends.memory import HOST
from ..backends.reading import rows_at
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..distributed.agreement import Disagreement, require_agreement
from ..distributed.communicators import RankError, broadcast, gather, hand_round
from ..distributed.settings import DataParallel
from ..network import Network
from ..optimizers.full_batch import FullBatch
from ..optimizers.optimizer import DivergenceError, Optimizer
from ..optimizers.updates import OptimizerState
from ..parameters import generator_of
from ..streams.blocks import part_of
from ..streams.sources import Stream
from ..threads import share_of
from .averaging import AveragingSession, AveragingShards, AveragingStream, AveragingStreams
from .checkpoints import Checkpoints, Path, rows_of_samples, sampled_rows, values_of_rows
from .history import History
from .ranks import AgreedInterrupt, RankSession, StreamOfRanks
from .run import AnySession, Run
from .session import Session
from .shards import ShardSession, Whole
from .streams_of_ranks import StreamsOfRanks, values_of_streams

#: What all ranks raise at the same place, or raise because another one did.
OF_ALL = (RankError, Disagreement, DivergenceError, AgreedInterrupt)


@contextmanager
def failing_together(ranks: DataParallel | None) -> Iterator[None]:
    """A context whose errors end all ranks."""
    try:
        yield
    except BaseException as error:
        if ranks is not None and not isinstance(error, OF_ALL):
            ranks.communicator.abort(_text_of(error))
        raise


def _text_of(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


@dataclass(kw_only=True)
class RankRun(Run):
    """The checked arguments of a call of `fit` on one of several ranks."""

    ranks: DataParallel
    observers: tuple[bool, bool, bool] = (False, False, False)  # validation, metrics and callbacks of rank 0
    whole: Whole | None = None  # where each rank has rows of its own
    all_validate: bool = False  # whether all ranks have validation data
    is_broken: bool = False     # whether ranks have ended, each by itself

    def __post_init__(self) -> None:
        if not self.is_first:
            self.metrics, self.callbacks = {}, []

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return bool(self.ranks.communicator.rank == 0)

    @property
    def is_observed(self) -> bool:
        return any(self.observers)

    def checkpoints(self, path: Path | None, every: float | str, resume: Path | bool | None) -> Checkpoints:
        """Those of rank 0, and what it read of one to go on from."""
        communicator = self.ranks.communicator
        if self.net.backend_module.memory is not HOST:
            raise ValueError(f"communicator: expected a network on a backend that runs on the processor, found "
                             f"{self.net.backend!r}")
        require_agreement(communicator, {
            "fastbp": _version(), "leaves": self.ranks.leaves_in_all, "reduction": self.ranks.reduction,
            "average_every": self.ranks.average_every,
            "shards": self.ranks.shards, "X: a stream": self.samples is None})
        if self.ranks.shards:
            if self.samples is not None:
                self.whole = Whole.of(self.samples, communicator, self.net.dtype)
            self._require_metrics_of_validation()
        found = Checkpoints(*((path, every, resume) if self.is_first else (None, 60.0, None)), "training of ranks")
        saved = found.saved
        values = broadcast(communicator, saved and (dict(saved.values), saved.origin))
        if values is not None and not self.is_first:
            found.saved = Saved(values[0] | {"callbacks": {}}, values[1])
        return found

    def identify(self, stream: Stream | None, optimizer: Optimizer | FullBatch, **settings: Any) -> None:
        super().identify(stream, optimizer, leaves=self.ranks.leaves_in_all, reduction=self.ranks.reduction,
                         average_every=self.ranks.average_every, **settings)
        if stream is not None and self.ranks.shards:
            self.identity["data"] = values_of_streams(stream, self.ranks.communicator)

    @property
    def rows(self) -> int | None:
        return None if self.whole is None else self.whole.rows

    @property
    def loss_share(self) -> float:
        """That of all rows; of weights it takes a look at all of them."""
        samples, whole = self.samples, self.whole
        if samples is None or whole is None:
            return super().loss_share
        return self.loss_share_of(whole.weights(samples) if self.weighted_mean else samples.weights, whole.rows)

    def data_values(self) -> dict[str, Any]:
        samples = self.samples
        assert samples is not None
        if self.whole is not None:
            return self.whole.data_values(samples)
        n = len(samples.X)
        return values_of_rows(n, rows_of_samples(samples, lambda chosen: rows_at(samples, chosen), sampled_rows(n)))

    def _require_metrics_of_validation(self) -> None:
        """Refuse metrics of training data that are nowhere as a whole."""
        if self.metrics and self.validation is None:
            raise ValueError("metrics: expected validation_data too, because with shards they are evaluated on these "
                             "alone, found none")

    def record_metrics(self, history: History) -> None:
        self.record_metrics_of(history, with_training_data=self.whole is None)

    def agree(self, state: OptimizerState, **settings: Any) -> None:
        """Compare with all ranks what the training is, and begin with the parameters and the state of rank 0."""
        communicator, net, identity = self.ranks.communicator, self.net, self.identity
        identity["settings"].pop("metrics")
        values = {_named(part, name): value for part in ("network", "settings", "optimizer", "data")
                  for name, value in identity[part].items()}
        largest = None if self.samples is None or self.whole else self.samples.largest
        require_agreement(communicator, {
            **settings, "backend": net.backend, **values, "X: the largest magnitude": largest})
        self._agree_on_validation()
        identity["settings"]["metrics"], self.observers = broadcast(
            communicator, (list(self.metrics), (self.validation is not None, bool(self.metrics),
                                                bool(self.callbacks))))
        self._take_over(state, with_generator=True)

    def _agree_on_validation(self) -> None:
        """Compare validation data, which all ranks have, or rank 0 alone."""
        first, *others = gather(self.ranks.communicator, self.identity["validation_data"])
        for rank, found in enumerate(others, 1):
            if found not in (first, None) or (found is None) != (others[0] is None):
                raise Disagreement(f"validation_data: expected the same on all ranks, or some on rank 0 alone, found "
                                 f"others on rank {rank}")
        self.identity["validation_data"] = first
        self.all_validate = bool(others) and others[0] is not None

    def _take_over(self, state: OptimizerState, with_generator: bool = False) -> None:
        """Take the parameters and the optimizer's state of rank 0, and the generator of seeds."""
        net, communicator = self.net, self.ranks.communicator
        if communicator.size == 1:
            return
        for array in (net.theta, state.updates, state.averages):
            hand_round(communicator, array)
        generator = broadcast(communicator, net.generator_state)
        if with_generator and not self.is_first:
            net.draw_from(generator_of(generator))

    def make_session(self, stream: Stream | None, shuffle_buffer: int, *given: Any) -> Session:
        """The session of this rank; rank 0 makes one first, so that others find its kernels in the cache."""
        session = self._session(stream, shuffle_buffer, *given) if self.is_first else None
        broadcast(self.ranks.communicator, None)
        return self._session(stream, shuffle_buffer, *given) if session is None else session

    def _session(self, stream: Stream | None, shuffle_buffer: int, *given: Any) -> Session:
        """The session by the kind of data."""
        averages, settings = self.ranks.average_every is not None, {"ranks": self.ranks}
        if stream is not None:
            if self.ranks.shards:
                kind: Any = AveragingStreams if averages else StreamsOfRanks
            else:
                kind = AveragingStream if averages else StreamOfRanks
            return kind(self.net, stream, shuffle_buffer, *given, **settings)
        assert self.samples is not None
        if self.whole is None:
            return (AveragingSession if averages else RankSession)(self.net, self.samples, *given, **settings)
        of_shards = AveragingShards if averages else ShardSession
        return of_shards(self.net, self.samples, *given, whole=self.whole, **settings)

    callers = 5

    def train(self, session: AnySession, progress_wanted: bool | None, checkpoints: Checkpoints) -> History:
        """The history; Ctrl-C is heard where all ranks hear of it."""
        if isinstance(session, RankSession):
            session.is_wanted = lambda: checkpoints.is_due(session.epochs_done)
        with held_back() as interrupts:
            history = super().train(session, progress_wanted if self.is_first else False, checkpoints)
            if history.stop_reason == "interrupted":
                interrupts.forget()  # that of all ranks, which may have come to this one since
            return history

    def observe(self, session: AnySession) -> None:
        history, is_first = session.history, self.is_first
        outcome = self._evaluated() if self.observers[0] else None
        before = self._digest(session)
        interrupted = False
        if is_first:
            try:
                if outcome is not None:
                    self.record_validation(history, *outcome)
                self.record_metrics(history)
                self.call_callbacks(session)
            except KeyboardInterrupt:
                interrupted = True
        found = broadcast(self.ranks.communicator, (
            interrupted, history.stop_reason, self._digest(session) != before,
            {name: values[history.epochs - 1 :] for name, values in history.records.items()}))
        interrupted, reason, is_changed, values = found
        if interrupted:
            raise AgreedInterrupt
        if not is_first:
            for name, last in values.items():
                if name not in ("loss", "accuracy"):
                    history.records.setdefault(name, []).extend(last)
            history.stop_reason = reason
            session.epochs_recorded = session.epochs_shown = history.epochs
        if is_changed:
            self._take_over(history.optimizer_state)

    def _digest(self, session: AnySession) -> int | None:
        """A digest of what callbacks of rank 0 may change."""
        if not (self.is_first and self.observers[2]):
            return None
        theta: Any = self.net.theta
        return zlib.crc32(session.history.optimizer_state.averages, zlib.crc32(theta))

    def _evaluated(self) -> tuple[float, float]:
        """E and the share of correct samples of the validation data, of which each rank evaluates some parts.

        Their number is that of leaves: so it has the same bits on any number of ranks.
        """
        communicator, parts = self.ranks.communicator, self.ranks.leaves_in_all
        share = (0, 0)
        if self.all_validate:
            share = share_of(parts, communicator.rank, communicator.size)
        elif self.is_first:
            share = (0, parts)
        own = []
        if share[0] < share[1]:
            assert self.validation is not None
            samples = self.validation[0]
            own = [_evaluate_part(self.net, samples, *share_of(len(samples.X), part, parts))
                   for part in range(*share)]
        found = [outcome for outcomes in gather(communicator, own) for outcome in outcomes]
        n = sum(rows for _, _, rows in found)
        return sum(E for E, _, _ in found), sum(correct for _, correct, _ in found) / n

    def _end_early(self, session: AnySession, checkpoints: Checkpoints, reason: str) -> None:
        error = sys.exception()
        if not isinstance(error, OF_ALL):
            self.ranks.communicator.abort("it was interrupted" if reason == "interrupted" else _text_of(error))
        self.is_broken = not isinstance(error, AgreedInterrupt)
        super()._end_early(session, checkpoints, reason)

    def finish(self, session: AnySession) -> None:
        """Let callbacks finish, on rank 0, and take what they leave in the network."""
        super().finish(session)
        if self.observers[2] and not self.is_broken and session.history.stop_reason != "failed":
            self._take_over(session.history.optimizer_state)


def _evaluate_part(net: Network, samples: Samples, start: int, stop: int) -> tuple[float, float, int]:
    """E, the number of correct samples, and the number of samples from start to stop."""
    if start == stop:
        return 0.0, 0.0, 0
    part = net.backend_module.memory.placed(part_of(samples, start, stop), net.standardization)
    E, accuracy = net.evaluate_samples(part)
    return E, round(accuracy * (stop - start)) if net.loss_record.is_classification else accuracy, stop - start


def _named(part: str, name: str) -> str:
    """The name of a value for messages."""
    if name == "rows":
        return "X: the digest of some rows, with targets and weights"
    return f"optimizer: {name}" if part == "optimizer" else name


def _version() -> str:
    try:
        return version("fastbp")
    except PackageNotFoundError:
        return "unknown"
