"""`fastbp.jit`: one sample at a time, in a loop that Numba compiles."""

from functools import partial
from typing import Any

import numba
import numpy as np

import fastbp.jit

from .repeating import Repeated, Timed

#: Samples in a row from one call of `forward_often`.
IN_A_ROW = 1000


@numba.njit
def forward_often(theta: Any, layout: Any, x: Any, y: Any, work: Any, times: int) -> int:
    """`fastbp.jit.forward` so many times; how many of them did not end well."""
    failed = 0
    for _ in range(times):
        failed += fastbp.jit.forward(theta, layout, x, y, work) != fastbp.jit.OK
    return failed


class OneSample(Timed):
    """`fastbp.jit.forward` in a loop that Numba compiles; the time is that of one sample."""

    params = ("2-8-1", "4-64-64-2", "784-128-10")
    param_names = ("widths",)

    def setup(self, widths: str) -> None:
        sizes = [int(width) for width in widths.split("-")]
        net = fastbp.MLP(sizes, activation="tanh", loss="squared_error", seed=0)
        x = np.random.default_rng(0).standard_normal(sizes[0]).astype(np.float32)
        y, work = np.empty(sizes[-1], np.float32), fastbp.jit.workspace(net.layout)
        if forward_often(net.theta, net.layout, x, y, work, 1):
            raise RuntimeError("fastbp.jit.forward: expected OK")
        self.calls = Repeated(partial(forward_often, net.theta, net.layout, x, y, work, IN_A_ROW), elements=IN_A_ROW)

    def time_forward(self, widths: str) -> None:
        self.calls()
