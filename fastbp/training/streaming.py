"""`StreamSession`: one training whose samples come in blocks, from a thread that reads them ahead."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import threads
from ..backends.training_loop import BEFORE, EPOCH_E, POSITION, RUNNING, Plan, end_blocks
from ..checks.samples import NO_LABELS, Samples, no_numbers, no_rows
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..network import Network
from ..optimizers.optimizer import Optimizer
from ..optimizers.updates import OptimizerState
from ..streams.blocks import Assembly, Block, Form, Order, part_of
from ..streams.reader import EndOfEpoch, Failure, Reader
from ..streams.sources import Stream
from .checkpoints import data_values
from .session import Session

#: The status of a slice for which the stream gave no samples, beside those of `training_loop`.
FAILED = 3

#: Seconds to wait at the end for a source that is giving a chunk; less after Ctrl-C, which has to end soon.
PATIENCE, LITTLE_PATIENCE = 10.0, 0.04


class StreamSession(Session):
    """A session on a stream: a block after another takes the place of the samples.

    Parameters
    ----------
    net : MLP
    stream : Stream
    shuffle_buffer : int
        The rows that are shuffled at a time; 0 where they are taken in their order.
    plan : Plan
        In blocks, and in order.
    optimizer, state, epochs
        As for `Session`.
    """

    def __init__(self, net: Network, stream: Stream, shuffle_buffer: int, plan: Plan, optimizer: Optimizer,
                 state: OptimizerState, epochs: int) -> None:
        self._rows = stream.rows  # of an epoch, where that is known
        self._earlier = 0         # samples of the epochs before this one
        self._weight = 0.0        # of the blocks of this epoch
        self._trained = 0         # rows of this epoch that an earlier process trained on
        self._first_rows: str | None = None  # a digest of the batch with which this epoch began
        self._error: BaseException | None = None
        self._first: Block | EndOfEpoch | Failure | None = None
        self._reader: Reader | None = None
        super().__init__(net, no_samples(net), plan, optimizer, state, epochs)
        form = Form(net.dtype, net.widths[0], net.widths[-1], net.loss_record.targets,
                    net.standardization)
        order = Order(plan.seed, shuffle_buffer) if shuffle_buffer else None
        assembly = Assembly(form, plan.batch_size, order)
        self._blocks_of = lambda epoch: assembly.blocks(
            stream.chunks(None if order is None else order.of_chunks(epoch)), epoch)

    def values(self, epochs: int | None = None) -> dict[str, Any]:
        return super().values(epochs) | {"earlier": self._earlier, "rows_of_epoch": self._rows,
                                   "first_rows": self._first_rows}

    def _go_to(self, saved: Saved, epoch: int, rows: int) -> None:
        earlier = saved.whole("earlier")
        rows_of_epoch = saved.whole("rows_of_epoch", at_least=1) if "rows_of_epoch" in saved else None
        self._start_reader(epoch)
        if isinstance(self._first, Failure):
            raise self._first.error
        if rows and "first_rows" in saved and saved.text("first_rows") != self._digest_of(self._first):
            raise ValueError(f"X: expected the rows with which epoch {epoch} began before, found others")
        self._trained, self._earlier, self._rows = rows, earlier, rows_of_epoch or self._rows

    def _start_reader(self, epoch: int) -> None:
        """Start the thread that reads, in an epoch, and take the first block."""
        threads.threading_layer()  # started before a kernel, which the thread may call
        self._reader = Reader(self._blocks_of, epoch, self.epochs)
        self._first = self._reader.next() if epoch < self.epochs else None

    def _digest_of(self, block: Any) -> str | None:
        """A digest of the first batch of a block."""
        if not isinstance(block, Block):
            return None
        return str(data_values(part_of(block.samples, 0, self.plan.batch_size), np.asarray)["rows"])

    @property
    def samples_done(self) -> int:
        return self._earlier + self.rows_done

    @property
    def rows_done(self) -> int:
        counts = self.progress.counts
        return max(self._trained, int(counts[BEFORE]) + int(counts[POSITION]))

    @property
    def samples_in_all(self) -> int | None:
        return None if self._rows is None else self.epochs * self._rows

    @property
    def samples_of_epoch(self) -> int:
        return self._rows or 1  # before the first epoch is completed nothing is recorded

    def advance(self, work: Any, until: int) -> int:
        """The status after one slice of a block, or FAILED where there is none because the source failed."""
        if self.progress.counts[POSITION] == self.rows:
            found = self._next()
            if isinstance(found, Failure):
                self._error = found.error
                return FAILED
            if isinstance(found, EndOfEpoch):
                if found.rows < self._trained:
                    self._error = ValueError(f"X: expected at least the {self._trained} rows of epoch "
                                             f"{self.epochs_done} that were trained on before, found {found.rows}")
                    return FAILED
                self._end_epoch(found.rows)
                return RUNNING
            self._take(found)
            if self.progress.counts[POSITION] == self.rows:
                return RUNNING
        return super().advance(work, self.epochs_done + 1)

    @contextmanager
    def workspace(self) -> Iterator[Any]:
        """The workspace of `Session`, after a look at the first block: sparse chunks have one of their own."""
        if self._reader is None:
            self._start_reader(0)
        if isinstance(self._first, Block):
            self.choose_way(self.net.backend_module.memory.placed(self._first.samples, self.net.standardization))
        with super().workspace() as work:
            yield work

    def _next(self) -> Block | EndOfEpoch | Failure:
        """What comes next of the stream."""
        assert self._reader is not None
        if self._first is None:
            return self._reader.next()
        found, self._first = self._first, None
        return found

    def _take(self, block: Block) -> None:
        """Go on with a block, after the rows of it that an earlier process trained on."""
        memory = self.net.backend_module.memory
        self._weight += float(block.samples.weights.sum(dtype=np.float64))
        self.samples = memory.placed(block.samples, self.net.standardization)
        self.seen = memory.for_kernels(self.samples)
        self.progress = self.progress._replace(order=block.order)
        if block.before == 0:
            self._first_rows = self._digest_of(block)
        trained = min(max(0, self._trained - block.before), len(block.samples.X))
        self.progress.counts[[BEFORE, POSITION]] = block.before, trained

    def _end_epoch(self, rows: int) -> None:
        """Record an epoch of so many rows in the progress, and begin the next."""
        with held_back():  # a checkpoint has all of it, or nothing
            if self.plan.by_weight and self._weight > 0.0:
                self.progress.sums[EPOCH_E] *= rows / self._weight
            end_blocks(self.progress, self.plan, rows)
            self._rows, self._earlier, self._weight = rows, self._earlier + rows, 0.0
            self._trained, self._first_rows = 0, None
            self._let_go()

    def _let_go(self) -> None:
        """Hold no samples."""
        self.samples = no_samples(self.net)
        self.seen = self.net.backend_module.memory.for_kernels(self.samples)

    def failure(self, status: int) -> BaseException | None:
        """The error for a status with which training ends: of a source, its own exception."""
        if self._error is None:
            return super().failure(status)
        self.history.stop_reason = "failed"
        self._error.add_note(f"fastbp: the stream failed in epoch {self.epochs_done}, counted from 0, after "
                             f"{self.samples_done} samples in all; the network is usable")
        return self._error

    def close(self) -> None:
        """End the thread that reads."""
        if self._reader is not None:
            self._reader.close(LITTLE_PATIENCE if self.history.stop_reason == "interrupted" else PATIENCE)


def no_samples(net: Network) -> Samples:
    """Samples of a kind that a network takes, of which there are none."""
    dtype, outputs = net.dtype, net.widths[-1]
    return Samples(no_rows(dtype, net.widths[0]), NO_LABELS, no_rows(dtype, outputs), no_numbers(dtype), 0.0)
