"""Training steps of a workload, as many in a call as make it long enough to be timed."""

import functools
import math
from collections.abc import Callable
from typing import Any

import fastbp
from fastbp.compare.workloads import WORKLOADS, Workload

from .repeating import OWN_TIME

#: In trainings of so many one-sample steps "tiled" takes them by a kernel of the network's own, if that is tiny. Steps
#: of fewer than so many operations are timed only in such trainings.
LONG, TINY = 2**18, 1000

BY_NAME = {workload.name: workload for workload in WORKLOADS}


class Steps:
    """A network in float32, and calls of `fit` that start from the same parameters and take the batches in order.

    Parameters
    ----------
    workload : Workload
    backend : str
    seconds : float
        About how long a call should take: so many epochs, or, where one is longer, so many batches of it.
    clock : callable
        OWN_TIME or WALL_TIME.
    standardizes : bool
        Whether the network standardises X, which it reads where it lies then.
    clip_norm : float or None
        Of the optimizer.
    options
        Further arguments of `fit`.
    """

    def __init__(self, workload: Workload, backend: str, seconds: float, clock: Callable[[], float],
                 standardizes: bool = False, clip_norm: float | None = None, **options: Any) -> None:
        self._workload, self._clock, self._options = workload, clock, options
        self._X, self._d = workload.draw("float32")
        self._net = fastbp.MLP(workload.widths, activation=workload.activation, loss=workload.loss, seed=0,
                               backend=backend)
        if standardizes:
            self._net.standardize(self._X)
        self._start = self._net.theta.copy()
        optimizer = {"sgd": fastbp.SGD, "adam": fastbp.Adam}[workload.optimizer]
        self._optimizer = optimizer(workload.learning_rate, clip_norm=clip_norm)
        self._take(LONG if backend == "tiled" and workload.flops < TINY else 1)
        self.run()
        taken = self.measure() * self.count
        while taken < seconds / 8:
            self._take(4 * self.count)
            taken = self.measure() * self.count
        self._take(max(1, round(self.count * seconds / taken)))
        self.run()  # long trainings may compile what short ones do not need

    def _take(self, steps: int) -> None:
        self._batches = min(steps, self._workload.samples // self._workload.batch_size)
        self._epochs = math.ceil(steps / self._batches)

    @property
    def count(self) -> int:
        """Steps of a call."""
        return self._batches * self._epochs

    def reset(self) -> None:
        """The initial parameters."""
        self._net.theta[:] = self._start

    def run(self) -> None:
        """Train."""
        n = self._batches * self._workload.batch_size
        self._net.fit(self._X[:n], self._d[:n], optimizer=self._optimizer, epochs=self._epochs,
                      batch_size=self._workload.batch_size, shuffle=False, progress=False, **self._options)

    def measure(self) -> float:
        """Seconds of a step, from the initial parameters."""
        self.reset()
        begin = self._clock()
        self.run()
        return (self._clock() - begin) / self.count

    def timer(self) -> float:
        """A clock by which a call takes as long as one step in seconds."""
        return self._clock() / self.count


@functools.cache
def steps_of(workload: str, backend: str, seconds: float, clock: Callable[[], float] = OWN_TIME,
             standardizes: bool = False) -> Steps:
    """The steps of a workload by name, compiled and run before; one for all samples of a process.

    Raises
    ------
    NotImplementedError
        Where a single step takes seconds, by which asv leaves the benchmark out.
    """
    if (workload, backend) == ("big", "loops"):
        raise NotImplementedError("a step takes some four seconds")
    return Steps(BY_NAME[workload], backend, seconds, clock, standardizes)
