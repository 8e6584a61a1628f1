"""Trainings shared by two ranks, which are threads of one process: without MPI, as everywhere.

All are ratios inside one run; of two ranks and one leaf each, "allreduce" is one exchange, as MPI's own would be.
"""

from typing import Any

import numpy as np

import fastbp
from fastbp.distributed import DataParallel, in_threads

from .ratios import TURN_SECONDS, ratio
from .repeating import WALL_TIME, use_threads

WIDTHS = (784, 128, 10)

#: In an epoch.
BATCHES = 4


class Ranks:
    """A training of 784-128-10 on some ranks of one thread.

    Parameters
    ----------
    batch_size : int
    ranks : int
        0 for `fit` without any.
    reduction : "tree" or "allreduce"
    """

    def __init__(self, batch_size: int, ranks: int, reduction: str = "tree") -> None:
        self._batch_size, self._ranks, self._reduction, self._epochs = batch_size, ranks, reduction, 1
        rng = np.random.default_rng(0)
        self._X = rng.standard_normal((BATCHES * batch_size, WIDTHS[0]), np.float32)
        self._d = np.arange(BATCHES * batch_size) % WIDTHS[-1]
        self.step()
        self._epochs = max(1, round(TURN_SECONDS / (BATCHES * self.step())))

    def _train(self, communicator: Any = None) -> None:
        net = fastbp.MLP(WIDTHS, seed=0)
        shared = None if communicator is None else DataParallel(communicator, reduction=self._reduction)
        net.fit(self._X, self._d, optimizer=fastbp.SGD(0.01), epochs=self._epochs, batch_size=self._batch_size,
                shuffle=False, seed=0, progress=False, communicator=shared)

    def step(self) -> float:
        """Seconds of a step."""
        begin = WALL_TIME()
        if self._ranks:
            in_threads(self._train, self._ranks)
        else:
            self._train()
        return (WALL_TIME() - begin) / (BATCHES * self._epochs)


class TwoRanks:
    """A step on two ranks over the same on one, and the two prices: that of leaves, and that of the tree."""

    params = ([128, 2048],)
    param_names = ("batch_size",)
    unit = "times the other's time"

    def setup(self, batch_size: int) -> None:
        use_threads(1)

    def track_over_one_rank(self, batch_size: int) -> float:
        return ratio(Ranks(batch_size, 2).step, Ranks(batch_size, 1).step)

    def track_tree_over_allreduce(self, batch_size: int) -> float:
        return ratio(Ranks(batch_size, 2).step, Ranks(batch_size, 2, "allreduce").step)

    def track_one_rank_over_none(self, batch_size: int) -> float:
        return ratio(Ranks(batch_size, 1).step, Ranks(batch_size, 0).step)
