"""The backend "cuda": training steps, one sample forward, and the distance to the GPU's ceiling, all in float32.

Without a GPU that fastbp can use, asv leaves all of them out.
"""

import functools
import math
from functools import partial

import numpy as np

import fastbp
from fastbp.backends import backend_named
from fastbp.compare.gpu import fma_ceiling
from fastbp.compare.training import TrainingRow
from fastbp.compare.workers.fastbp_fit import Trainer
from fastbp.compare.workloads import GPU_WORKLOADS

from .ratios import ratio
from .repeating import WALL_TIME, Repeated, Timed

BY_NAME = {workload.name: workload for workload in GPU_WORKLOADS}

#: Of a call, which is several steps.
CALL_SECONDS = 0.1


def require_gpu() -> None:
    """See that there is a GPU.

    Raises
    ------
    NotImplementedError
        If there is none, by which asv leaves the benchmark out.
    """
    try:
        backend_named("cuda")
    except (ImportError, RuntimeError) as error:
        raise NotImplementedError(str(error)) from None


class Steps:
    """Epochs of a workload by `fit`, whose samples lie on the GPU, as many as take about `CALL_SECONDS`."""

    def __init__(self, workload: str) -> None:
        problem = TrainingRow(BY_NAME[workload]).problem("float32")
        self._trainer = Trainer(problem._replace(options={"backend": "cuda"}), "fit")
        self._steps, self._epochs = problem.steps, 1
        self.measure()  # compiles
        taken = self.measure() * self.count
        while taken < CALL_SECONDS / 8:
            self._epochs *= 4
            taken = self.measure() * self.count
        self._epochs = math.ceil(self._epochs * CALL_SECONDS / taken)

    @property
    def count(self) -> int:
        """Steps of a call."""
        return self._epochs * self._steps

    def reset(self) -> None:
        """The initial parameters."""
        self._trainer.reset()

    def run(self) -> None:
        """Train."""
        self._trainer.train(self._epochs)

    def measure(self) -> float:
        """Seconds of a step, from the initial parameters."""
        self.reset()
        begin = WALL_TIME()
        self.run()
        return (WALL_TIME() - begin) / self.count

    def timer(self) -> float:
        """A clock by which a call takes as long as one step in seconds."""
        return WALL_TIME() / self.count


steps_of = functools.cache(Steps)


class TrainingOnGpu(Timed):
    """One training step of every workload of `fastbp compare --backends cuda`, in order or shuffled as that says."""

    params = tuple(BY_NAME)
    param_names = ("workload",)

    def setup(self, workload: str) -> None:
        require_gpu()
        self.calls = steps_of(workload)
        self.calls.reset()

    def time_step(self, workload: str) -> None:
        self.calls.run()


class OverGpuCeiling:
    """The same step over what its fused multiply-adds alone would take, on all multiprocessors without tensor cores."""

    params = tuple(BY_NAME)
    param_names = ("workload",)
    unit = "times the ceiling's time"

    def setup(self, workload: str) -> None:
        require_gpu()
        self.steps = steps_of(workload)

    def track_step(self, workload: str) -> float:
        flops = BY_NAME[workload].flops
        return ratio(self.steps.measure, lambda: flops / fma_ceiling("float32"))


class OneSampleOnGpu(Timed):
    """`forward` of one sample from host memory and back: what starting kernels and copying take."""

    params = ("2-8-1", "8-32-32-1", "64-100-10", "784-128-10")
    param_names = ("widths",)

    def setup(self, widths: str) -> None:
        require_gpu()
        sizes = [int(width) for width in widths.split("-")]
        x = np.random.default_rng(0).standard_normal((1, sizes[0])).astype(np.float32)
        net = fastbp.MLP(sizes, activation="tanh", loss="squared_error", seed=0, backend="cuda")
        self.calls = Repeated(partial(net.forward, x), clock=WALL_TIME)

    def time_forward(self, widths: str) -> None:
        self.calls()
