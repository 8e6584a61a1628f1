"""A session of ranks with streams of their own: an epoch has the rows of rank 0, then those of rank 1, and so on."""

import hashlib
import math
from typing import Any

import numpy as np

from ..backends.reading import NO_RECORD, Rows
from ..backends.training_loop import BEFORE, POSITION
from ..checks.samples import Samples
from ..checks.sparse_rows import CsrRows
from ..distributed.agreement import Disagreement
from ..distributed.communicators import Communicator, gather
from ..network import Network
from ..streams.blocks import Assembly, Block, Form, Order, copy_of, part_of
from ..streams.reader import EndOfEpoch, Failure
from ..streams.sources import Stream
from .ranks import RankSession
from .shards import NO_WINDOW, ShardSession, Whole, joined
from .shards import Form as FormOfRanks
from .streaming import StreamSession, no_samples


class StreamsOfRanks(ShardSession, StreamSession):
    """The session of a rank that reads a stream of its own.

    A block of the epoch has some rows of each rank, of most none. They are shared as those of `ShardSession` are.

    Parameters
    ----------
    net : MLP
    stream : Stream
        Of this rank.
    shuffle_buffer : int
    *given
        As for `StreamSession`.
    ranks : DataParallel
    """

    def __init__(self, net: Network, stream: Stream, shuffle_buffer: int, *given: Any, ranks: Any) -> None:
        self._none = Whole(ranks.communicator, np.zeros(ranks.communicator.size + 1, np.int64),
                           FormOfRanks(net.dtype.name, False, False, False), 1.0, 0.0, "")
        super().__init__(net, stream, shuffle_buffer, *given, whole=self._none, ranks=ranks)  # type: ignore[arg-type]
        self._shuffled = Order(self.plan.seed, shuffle_buffer) if shuffle_buffer else None
        form = Form(net.dtype, net.widths[0], net.widths[-1], net.loss_record.targets, net.standardization)
        assembly, order = Assembly(form, self.plan.batch_size, None), self._shuffled
        self._blocks_of = lambda epoch: assembly.blocks(
            stream.chunks(None if order is None else order.of_chunks(epoch)), epoch)
        batch = self.plan.batch_size
        self._most = max(1, shuffle_buffer // batch) * batch if shuffle_buffer else self._together
        self._waiting: list[Samples] = []  # rows that were read, and are not of a block yet
        self._is_over = False              # whether this rank has read all its rows of the epoch
        self._before = self._number = 0    # rows and blocks of this epoch before the next block

    def _start_reader(self, epoch: int) -> None:
        super()._start_reader(epoch)
        rows = gather(self.ranks.communicator, self._rows)
        self._rows = None if None in rows else sum(rows)

    def choose_way(self, samples: Samples) -> None:
        """Choose how kernels take X, by the first rows of rank 0; nothing is known of them before the reader starts."""
        if self._reader is None:
            RankSession.choose_way(self, samples)
            return
        density = samples.rows.density if isinstance(samples.X, CsrRows) and samples.rows is not None else None
        density = gather(self.ranks.communicator, density)[0]
        RankSession.choose_way(self, samples._replace(rows=None if density is None else Rows(0, NO_RECORD, density)))

    def _digest_of(self, block: Any) -> str | None:
        return None

    def _next(self) -> Block | EndOfEpoch | Failure:
        """The next block of the epoch, with the rows of it that this rank has read."""
        failure = self._read()
        if failure is not None:
            return failure
        communicator, waiting = self.ranks.communicator, sum(len(part.X) for part in self._waiting)
        kind = self._kind_of(self._waiting[0]) if self._waiting else None
        found = gather(communicator, (waiting, kind))
        left, rows = self._most, []
        for count, _ in found:
            rows.append(min(count, left))
            left -= rows[-1]
        if not any(rows):
            ended, self._before, self._number, self._is_over = self._before, 0, 0, False
            return EndOfEpoch(ended)
        kinds = [(rank, kind) for rank, (_, kind) in enumerate(found) if kind is not None]
        for rank, other in kinds:
            if other[:2] != kinds[0][1][:2]:
                raise Disagreement(f"X: expected chunks of one kind on all ranks, found {_in_words(kinds[0][1][0])} on "
                                   f"rank {kinds[0][0]} and {_in_words(other[0])} on rank {rank}")
        form, columns, largest = kinds[0][1][0], kinds[0][1][1], max(kind[2] for _, kind in kinds)
        begins = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        samples = self._taken(rows[communicator.rank])
        self._coming = Whole(communicator, begins, form, 1.0, largest, columns)
        weights = gather(communicator, float(samples.weights.sum(dtype=np.float64)))
        self._weight += math.fsum(weights)
        count, epoch = int(begins[-1]), self.epochs_done
        order = np.empty(0, np.int64) if self._shuffled is None else self._shuffled.of_block(count, epoch, self._number)
        block = Block(samples, order, self._before)
        self._before, self._number = self._before + count, self._number + 1
        return block

    def _read(self) -> Failure | None:
        """Read rows for a whole block, or all that are left of the epoch."""
        while not self._is_over and sum(len(part.X) for part in self._waiting) < self._most:
            found = StreamSession._next(self)
            if isinstance(found, Failure):
                return found
            if isinstance(found, EndOfEpoch):
                self._is_over = True
            else:
                self._waiting.append(copy_of(found.samples, self.net.dtype))
        return None

    def _kind_of(self, samples: Samples) -> tuple[FormOfRanks, str, float]:
        """What all rows have to have in common, and the largest |x| of those that wait."""
        X = samples.X
        is_sparse = isinstance(X, CsrRows)
        form = FormOfRanks(str(X.dtype if is_sparse else self.net.dtype), is_sparse, len(samples.labels) > 0,
                           len(samples.weights) > 0)
        return form, str(X.columns.dtype) if is_sparse else "", max(part.largest for part in self._waiting)

    def _taken(self, rows: int) -> Samples:
        """The first rows of those that wait."""
        parts = []
        while rows:
            part = self._waiting.pop(0)
            count = min(rows, len(part.X))
            parts.append(part_of(part, 0, count))
            if count < len(part.X):
                self._waiting.insert(0, part_of(part, count, len(part.X)))
            rows -= count
        if not parts:
            return no_samples(self.net)
        X, labels, targets, weights = (joined([part[place] for part in parts]) for place in range(4))
        return Samples(X, labels, targets, weights, max(part.largest for part in parts))

    def _take(self, block: Block) -> None:
        self._whole, self._window = self._coming, NO_WINDOW
        self.samples = self.net.backend_module.memory.placed(block.samples, self.net.standardization)
        self.progress = self.progress._replace(order=block.order)
        self.progress.counts[[BEFORE, POSITION]] = block.before, min(max(0, self._trained - block.before), self.rows)

    def _let_go(self) -> None:
        super()._let_go()
        self._whole = self._none


def _in_words(form: FormOfRanks) -> str:
    return (f"{'sparse' if form.is_sparse else 'dense'} X with {'labels' if form.has_labels else 'targets'}"
            f"{' and weights' if form.has_weights else ''}")


def values_of_streams(stream: Stream, communicator: Communicator) -> dict[str, Any]:
    """What is known of the streams of all ranks before they are read; see `checkpoints.stream_values`."""
    names = [name for names in gather(communicator, stream.names) for name in names]
    return {"X": "streams of ranks", "names of chunks": hashlib.sha256("\0".join(names).encode()).hexdigest()
            if names else None}
