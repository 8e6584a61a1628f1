"""Sessions of which each rank computes a part: batch after batch, leaves, their sum over all ranks, and the step."""

import time
from typing import Any

import numpy as np

from .. import threads
from ..backends.contract import NO_NORMS, Extras
from ..backends.leaves import FIRST_LEAF, LEAF_E, NODE_FLAG, Leaves, share_of_leaves, take_step
from ..backends.training_loop import BATCH_E, BEFORE, EPOCH, POSITION, RUNNING, Plan, Training
from ..compiling.interrupts import held_back
from ..distributed.reduction import Reduction
from ..distributed.settings import DataParallel
from ..formulas.dropout import epoch_key
from ..formulas.sampling import draw_order
from ..network import Network
from ..optimizers.optimizer import Optimizer
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
        self.reduction = Reduction(ranks.communicator, ranks.leaves_in_all, len(net.theta), net.dtype,
                                   by_transport=ranks.reduction == "allreduce")
        super().__init__(net, *given)

    def _take_no_step(self, optimizer: Optimizer) -> None:
        """Compile the loop over leaves, and the step, by calls that take no leaves and no step."""
        threads.threading_layer()  # started before a kernel that may use it
        net, reduction = self.net, self.reduction
        net.backend_module.add_leaves(net.theta, net.sizes, self._seen, self.progress.order, Leaves(0, 0, 1, 0, 0, 0),
                                      reduction.nodes, reduction.tail, NO_NORMS, self._extras(), np.zeros(1, np.int64),
                                      1)
        reduction.numbers[FIRST_LEAF + LEAF_E] = np.nan
        take_step(net.theta, net.sizes, reduction.nodes[0], reduction.tail, 1, 1, 1,
                  Training(self.plan, optimizer.spec(None), self.state, self.progress), 1)
        self.progress.sums[BATCH_E] = 0.0

    def _extras(self) -> Extras:
        """What is added to the formulas in this epoch."""
        plan, counts = self.plan, self.progress.counts
        key = int(epoch_key(plan.seed, counts[EPOCH], counts[BEFORE])) if plan.drop_address else 0
        return Extras(plan.clip_norm, plan.drop_address, plan.rates.ctypes.data, key)

    @property
    def rows_at_once(self) -> int:
        """The most samples of a batch that are this rank's."""
        return max(1, self._own_rows(self.plan.batch_size))

    def _own_rows(self, size: int) -> int:
        """How many samples of a batch are this rank's."""
        begin, end = share_of_leaves(size, *self.reduction.leaves, self.ranks.leaves_in_all)
        return int(end - begin)

    def _specialised(self, work: Any) -> Any:
        return self.net.backend_module.for_leaves(work, self.net.dtype)

    def advance_on(self, count: int, work: Any, until: int) -> int:
        """The status after some batches, on at most `count` threads."""
        until = min(until, self.history.epochs + len(self.progress.loss))  # no more fit into the records
        team, budget = self.pace.next_slice(count)
        status, done, seconds = RUNNING, 0, 0.0
        with held_back() as interrupts:
            while status == RUNNING and done < budget and self.epochs_done < until:
                status, rows, time_taken = self._advance_together(work, team, interrupts)
                done, seconds = done + rows, seconds + time_taken
                if self.plan.in_blocks and self.progress.counts[POSITION] == self.rows:
                    break
        self.pace.learn(team, seconds, done)
        return status

    def _advance_together(self, work: Any, team: int, interrupts: held_back) -> tuple[int, int, float]:
        """The status after the next step of all ranks; how many samples this one took, and how long it computed."""
        begin = time.perf_counter()
        size = self._size_of_batch
        own = self._add_leaves(work, team)
        seconds = time.perf_counter() - begin
        self.reduction.numbers[NODE_FLAG] = is_interrupted(interrupts)
        self.reduction.across()
        if self.reduction.flag:
            raise AgreedInterrupt
        return self._take_step(self.plan, size, team), own, seconds

    @property
    def _size_of_batch(self) -> int:
        """The number of samples in the next batch."""
        return min(self.plan.batch_size, self.rows - int(self.progress.counts[POSITION]))

    def _add_leaves(self, work: Any, team: int) -> int:
        """Add up this rank's leaves of the next batch; the number of their samples."""
        net, plan, progress, reduction = self.net, self.plan, self.progress, self.reduction
        position = int(progress.counts[POSITION])
        if position == 0:
            draw_order(progress.order, plan.sampling, plan.seed, self.epochs_done)
        size, leaves = self._size_of_batch, self.ranks.leaves_in_all
        samples, order, shift, extras = self._present(position, size)
        for first, stop, row in reduction.parts:
            net.backend_module.add_leaves(net.theta, net.layout, samples, order,
                                          Leaves(position, size, leaves, first, stop, shift), reduction.nodes[row:],
                                          reduction.tail, NO_NORMS, extras, work, team)
        return self._own_rows(size)

    def _present(self, position: int, size: int) -> tuple[Any, Any, int, Extras]:
        """The samples in which the leaves of a batch lie, their order, how many of that are missing before, extras."""
        return self._seen, self.progress.order, 0, self._extras()

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
