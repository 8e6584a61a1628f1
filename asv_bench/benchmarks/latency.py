"""One sample at a time, called from Python: what a loop of one's own, or a simulation around a network, waits for."""

import itertools
from functools import partial

import numpy as np

import fastbp

from .repeating import Repeated, Timed, use_threads

#: So small that thousands of steps on one sample leave a gradient to compute with.
LEARNING_RATE = 1e-6


class OneSample(Timed):
    """A tanh network with squared error in float32, on one thread."""

    params = (["forward", "gradient and step"], ["tiled", "loops", "blas"],
              ["2-8-1", "8-32-32-1", "64-100-10", "784-128-10"])
    param_names = ("call", "backend", "widths")

    def setup(self, call: str, backend: str, widths: str) -> None:
        use_threads(1)
        sizes = [int(width) for width in widths.split("-")]
        rng = np.random.default_rng(0)
        net = fastbp.MLP(sizes, activation="tanh", loss="squared_error", seed=0, backend=backend)
        x, d = (rng.standard_normal((1, width)).astype(np.float32) for width in (sizes[0], sizes[-1]))

        def gradient_and_step() -> None:
            net.accumulate_gradient(x, d)
            net.step(LEARNING_RATE)

        self.calls = Repeated(partial(net.forward, x) if call == "forward" else gradient_and_step)

    def time_call(self, call: str, backend: str, widths: str) -> None:
        self.calls()


class FirstCall:
    """The first forward pass of a network of 784-128-10, where kernels are in memory, on one thread.

    A network of a new shape gets a workspace; one of a shape that was called before takes that one's.
    """

    params = ("known", "new")
    param_names = ("shape",)
    number, repeat, rounds, warmup_time = 1, 50, 1, 0

    widths = itertools.count(128)

    def setup(self, shape: str) -> None:
        use_threads(1)
        self.x = np.zeros((1, 784), np.float32)
        known = fastbp.MLP([784, 128, 10], seed=0)
        known.forward(self.x)
        self.net = fastbp.MLP([784, 128 if shape == "known" else next(self.widths) + 1, 10], seed=0)
        self.known = known  # its workspace lives as long as it does

    def time_forward(self, shape: str) -> None:
        self.net.forward(self.x)
