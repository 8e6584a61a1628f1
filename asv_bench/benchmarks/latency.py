"""One sample at a time, called from Python: what a loop of one's own, or a simulation around a network, waits for."""

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
