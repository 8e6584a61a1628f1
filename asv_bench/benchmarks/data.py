"""What the form of the data costs: epochs of sparse rows and of streams, over those of arrays in memory; one thread."""

import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

import fastbp

from .ratios import ratio
from .repeating import use_threads

SETTINGS = {"optimizer": fastbp.Adam(0.001), "epochs": 1, "seed": 0, "progress": False}


def seconds_of(call: Callable[[], object]) -> Callable[[], float]:
    """What measures a call, which is made once before."""
    def measure() -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    call()
    return measure


class SparseRows:
    """1,000 sparse rows of N_0 features into N_0-100-10, batches of 200, over the same rows as a dense array."""

    params = ([1_000, 20_000], [0.002, 0.01, 0.05])
    param_names = ("features", "density")
    unit = "times the time of dense rows"

    def setup(self, features: int, density: float) -> None:
        use_threads(1)
        X = sparse.random_array((1_000, features), density=density, format="csr", dtype=np.float32,
                                rng=np.random.default_rng(0))
        self.rows, self.dense, self.d = X, X.toarray(), np.arange(1_000) % 10
        self.net = fastbp.MLP([features, 100, 10], seed=0)

    def track_epoch(self, features: int, density: float) -> float:
        return ratio(*(seconds_of(lambda X=X: self.net.fit(X, self.d, batch_size=200, **SETTINGS))
                       for X in (self.rows, self.dense)))

    def track_forward(self, features: int, density: float) -> float:
        return ratio(*(seconds_of(lambda X=X: self.net.forward(X)) for X in (self.rows, self.dense)))


class Streams:
    """An epoch of 60 batches of 1,024 samples in 54-256-128-7, of chunks, over the same samples in memory.

    With another core free; on a busy one the thread that reads ahead takes its time from training.
    """

    params = (256, 1_024, 60_000)
    param_names = ("rows of a chunk",)
    unit = "times the time in memory"

    def setup(self, rows: int) -> None:
        use_threads(1)
        rng = np.random.default_rng(0)
        X, d = rng.normal(size=(61_440, 54)).astype(np.float32), rng.integers(0, 7, 61_440)
        self.whole, self.net = (X, d), fastbp.MLP([54, 256, 128, 7], seed=0)
        self.chunks = [(X[begin : begin + rows], d[begin : begin + rows]) for begin in range(0, len(X), rows)]

    def track_epoch(self, rows: int) -> float:
        def fit(*data: object) -> Callable[[], float]:
            return seconds_of(lambda: self.net.fit(*data, batch_size=1_024, shuffle=False, **SETTINGS))

        return ratio(fit(self.chunks), fit(*self.whole))
