"""Sessions of ranks that take steps of their own, and average their parameters every few steps."""

import time
from typing import Any

import numpy as np

from ..backends.leaves import FIRST_LEAF, LEAF_CORRECT, LEAF_E, NODE_FLAG
from ..backends.training_loop import CORRECT, DIVERGED, EPOCH_E, POSITION, RUNNING, end_blocks
from ..compiling.interrupts import held_back
from .ranks import AgreedInterrupt, RankSession, StreamOfRanks, is_interrupted
from .shards import ShardSession
from .streams_of_ranks import StreamsOfRanks

#: What is added up where a rank has diverged; more than there are ranks.
_HAS_DIVERGED = 2.0**30


class AveragingSession(RankSession):
    """A session whose ranks take up to `DataParallel.average_every` steps each, on their parts of batches.

    Then, and at the end of an epoch or of a block of one, parameters and the optimizer's averages become their means
    over the ranks.
    """

    def _advance_together(self, work: Any, team: int, interrupts: held_back, is_wanted: bool
                          ) -> tuple[int, int, float]:
        counts, sums, changing = self.progress.counts, self.progress.sums, self._changing()
        before = [array.copy() for array in changing]
        E, correct = sums[EPOCH_E], counts[CORRECT]
        sums[EPOCH_E], counts[CORRECT] = 0.0, 0
        begin, rows, status = time.perf_counter(), 0, RUNNING
        plan = self.plan._replace(in_blocks=True)  # the epoch ends when all have added up what they record
        for _ in range(self.ranks.average_every or 1):
            own = self._add_leaves(work, team)
            status, rows = self._take_step(plan, own, team), rows + own
            if status != RUNNING or counts[POSITION] == self.rows:
                break
        seconds = time.perf_counter() - begin
        flag = self._average(_HAS_DIVERGED if status != RUNNING else float(is_interrupted(interrupts)))
        if flag >= _HAS_DIVERGED:
            for array, values in zip(changing, before, strict=True):
                array[:] = values
            return DIVERGED, rows, seconds
        sums[EPOCH_E] += E
        counts[CORRECT] += correct
        if counts[POSITION] == self.rows and not self.plan.in_blocks:
            end_blocks(self.progress, self.plan, self.rows)
        if flag:
            raise AgreedInterrupt
        return RUNNING, rows, seconds

    def _changing(self) -> list[np.ndarray]:
        """What steps change, and a divergence restores."""
        return [self.net.theta, self.state.averages, self.state.updates, self.progress.counts, self.progress.sums]

    def _average(self, flag: float) -> float:
        """Take the means over all ranks, and the sums of what is recorded; the sum of the flags."""
        reduction, progress = self.reduction, self.progress
        node, numbers, size = reduction.nodes[0][: len(self.net.theta)], reduction.numbers, self.ranks.communicator.size
        recorded = float(progress.sums[EPOCH_E]), float(progress.counts[CORRECT])
        numbers[:] = 0.0
        of_first = numbers[FIRST_LEAF:]
        of_first[LEAF_E], of_first[LEAF_CORRECT], numbers[NODE_FLAG] = *recorded, flag
        node[:] = self.net.theta
        reduction.across()
        np.divide(node, size, out=self.net.theta)
        progress.sums[EPOCH_E], progress.counts[CORRECT] = of_first[LEAF_E], int(of_first[LEAF_CORRECT])
        flags = reduction.flag
        for average in self.state.averages:
            node[:] = average
            reduction.across()
            np.divide(node, size, out=average)
        self.progress.bounds[0] = -1.0
        return flags


class AveragingShards(AveragingSession, ShardSession):
    """The same on rows of each rank's own."""


class AveragingStreams(AveragingSession, StreamsOfRanks):
    """The same on a stream of each rank's own."""


class AveragingStream(AveragingSession, StreamOfRanks):
    """The same on a stream that all ranks read."""
