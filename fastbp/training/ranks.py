"""Sessions of which each rank computes a part: batch after batch, leaves, their sum over all ranks, and the step."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import threads
from ..backends.contract import NO_NORMS, Extras
from ..backends.leaves import FIRST_LEAF, LEAF_E, NODE_FLAG, Leaves, make_nodes, share_of_leaves, tail_at, take_step
from ..backends.shared_tiles import share_of_samples
from ..backends.training_loop import BATCH_E, BEFORE, EPOCH, POSITION, RUNNING, Plan, Training
from ..compiling.interrupts import held_back
from ..distributed.reduction import Reduction
from ..distributed.settings import DataParallel
from ..formulas.dropout import epoch_key
from ..formulas.sampling import draw_order
from ..network import Network
from ..optimizers.optimizer import Optimizer
from ..threads import share_of
from .batch_shares import BatchShares, are_shared
from .session import Session
from .streaming import StreamSession


class AgreedInterrupt(KeyboardInterrupt):
    """All ranks stop after the same batch, because one of them was interrupted."""


class RankSession(Session):
    """The session of one of several ranks, on the samples that all of them have.

    Parameters
    ----------
    net : MLP
    *given
        As for `Session`, or for `StreamSession`.
    ranks : DataParallel
    """

    loop = "add_leaves"

    def __init__(self, net: Network, *given: Any, ranks: DataParallel) -> None:
        self.ranks = ranks
        self._shares: BatchShares | None = None
        self.is_wanted: Callable[[], bool] = bool  # whether the whole state is needed; False
        super().__init__(net, *given)

    @functools.cached_property
    def reduction(self) -> Reduction:
        """The sum of leaves over all ranks, which has memory for several gradients."""
        ranks = self.ranks
        return Reduction(ranks.communicator, ranks.leaves_in_all, len(self.net.theta), self.net.dtype,
                         by_transport=ranks.reduction == "allreduce")

    def _take_no_step(self, optimizer: Optimizer) -> None:
        """Compile the loop over leaves, and the step, by calls that take no leaves and no step."""
        threads.threading_layer()  # started before a kernel that may use it
        net, nodes, tail = self.net, make_nodes(1, 1, self.net.dtype, leaves=1), tail_at(1, self.net.dtype)
        net.backend_module.add_leaves(net.theta, net.sizes, self.seen, self.progress.order, Leaves(0, 0, 1, 0, 0, 0),
                                      nodes, tail, NO_NORMS, self.extras(), np.zeros(1, np.int64), 1)
        nodes.view(np.uint8)[0, tail:].view(np.float64)[FIRST_LEAF + LEAF_E] = np.nan
        take_step(net.theta, net.sizes, nodes[0], tail, 1, 1, 1,
                  Training(self.plan._replace(penalty=0.0), optimizer.spec(None), self.state, self.progress), 1)
        self.progress.sums[BATCH_E] = 0.0

    def extras(self) -> Extras:
        """What is added to the formulas in this epoch."""
        plan, counts = self.plan, self.progress.counts
        key = int(epoch_key(plan.seed, counts[EPOCH], counts[BEFORE])) if plan.drop_address else 0
        return Extras(plan.clip_norm, plan.drop_address, plan.rates.ctypes.data, key)

    @property
    def rows_at_once(self) -> int:
        """The most samples of a batch that are this rank's."""
        return self.plan.batch_size if are_shared(self) else max(1, self._own_rows(self.plan.batch_size))

    def samples_of(self, rank: int, size: int) -> tuple[int, int]:
        """The samples of a batch that are a rank's."""
        ranks, leaves = self.ranks.communicator.size, self.ranks.leaves_in_all
        if self._shares is not None:
            return share_of_samples(size, rank, ranks)
        first, stop = share_of(leaves, rank, ranks)
        begin, end = share_of_leaves(size, first, stop, leaves)
        return int(begin), int(end)

    def _own_rows(self, size: int) -> int:
        """How many samples of a batch are this rank's."""
        begin, end = self.samples_of(self.ranks.communicator.rank, size)
        return end - begin

    def _specialised(self, work: Any) -> Any:
        if are_shared(self):
            self._shares = BatchShares(self, work)
            return self._shares.work
        return self.net.backend_module.for_leaves(work, self.net.dtype)

    @property
    def is_whole(self) -> bool:
        return self._shares is None or self._shares.is_whole

    def advance_on(self, count: int, work: Any, until: int) -> int:
        """The status after some batches, on at most `count` threads."""
        until = min(until, self.history.epochs + len(self.progress.loss))  # no more fit into the records
        team, budget = self.pace.next_slice(count)
        status, done, seconds = RUNNING, 0, 0.0
        with held_back() as interrupts:
            while status == RUNNING and done < budget and self.epochs_done < until:
                is_wanted = self.is_wanted()
                status, rows, time_taken = self._advance_together(work, team, interrupts, is_wanted)
                done, seconds = done + rows, seconds + time_taken
                if is_wanted or (self.plan.in_blocks and self.progress.counts[POSITION] == self.rows):
                    break
        self.pace.learn(team, seconds, done)
        return status

    def _advance_together(self, work: Any, team: int, interrupts: held_back, is_wanted: bool
                          ) -> tuple[int, int, float]:
        """The status after the next step of all ranks; how many samples this one took, and how long it computed.

        is_wanted : whether this rank needs the whole state afterwards.
        """
        begin = time.perf_counter()
        size = self.size_of_batch
        if self._shares is not None:
            self._draw_order()
            own = self._own_rows(size)
            status, interrupted = self._shares.step(team, is_interrupted(interrupts), is_wanted)
            if interrupted:
                raise AgreedInterrupt
            return status, own, time.perf_counter() - begin
        own = self._add_leaves(work, team)
        seconds = time.perf_counter() - begin
        self.reduction.numbers[NODE_FLAG] = is_interrupted(interrupts)
        self.reduction.across()
        if self.reduction.flag:
            raise AgreedInterrupt
        return self._take_step(self.plan, size, team), own, seconds

    @property
    def size_of_batch(self) -> int:
        """The number of samples in the next batch."""
        return min(self.plan.batch_size, self.rows - int(self.progress.counts[POSITION]))

    def _add_leaves(self, work: Any, team: int) -> int:
        """Add up this rank's leaves of the next batch; the number of their samples."""
        net, reduction, position = self.net, self.reduction, int(self.progress.counts[POSITION])
        self._draw_order()
        size, leaves = self.size_of_batch, self.ranks.leaves_in_all
        samples, order, shift, extras = self.present(position, size)
        for first, stop, row in reduction.parts:
            net.backend_module.add_leaves(net.theta, net.layout, samples, order,
                                          Leaves(position, size, leaves, first, stop, shift), reduction.nodes[row:],
                                          reduction.tail, NO_NORMS, extras, work, team)
        return self._own_rows(size)

    def _draw_order(self) -> None:
        """Draw the order of samples where an epoch begins."""
        progress, plan = self.progress, self.plan
        if progress.counts[POSITION] == 0:
            draw_order(progress.order, plan.sampling, plan.seed, self.epochs_done)

    def present(self, position: int, size: int) -> tuple[Any, Any, int, Extras]:
        """Where this rank's samples of a batch lie, their order, how many of that are missing before, and extras."""
        return self.seen, self.progress.order, 0, self.extras()

    def _take_step(self, plan: Plan, own: int, team: int) -> int:
        """The status of a step by what was added up over a number of samples."""
        net, reduction = self.net, self.reduction
        return int(take_step(net.theta, net.layout, reduction.nodes[0], reduction.tail,
                             self.ranks.leaves_in_all, self.rows, own,
                             Training(plan, self.spec, self.state, self.progress), team))


def is_interrupted(interrupts: held_back) -> bool:
    """Whether Ctrl-C has come, after the program's handler was called; what else that raises is raised."""
    try:
        interrupts.hear()
    except KeyboardInterrupt:
        return True
    return False


class StreamOfRanks(RankSession, StreamSession):
    """The session of one of several ranks, on a stream that all of them read."""
