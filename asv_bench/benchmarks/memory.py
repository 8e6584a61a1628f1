"""Peak memory of a process that calls a network once, over the number of samples."""

import numpy as np

import fastbp


class Propagation:
    """20-50-10 in float32, P = 1560 parameters; if every sample's gradient were stored, 10^5 of them took 0.6 GB.

    What may grow with the samples is X (80 bytes each), its labels (8), and Y (40) in the forward pass.
    """

    params = (["tiled", "loops", "blas"], [1_000, 10_000, 100_000])
    param_names = ("backend", "samples")

    def setup(self, backend: str, samples: int) -> None:
        rng = np.random.default_rng(0)
        self.X = rng.normal(size=(samples, 20)).astype(np.float32)
        self.d = rng.integers(0, 10, samples)
        self.net = fastbp.MLP([20, 50, 10], seed=0, backend=backend)
        self.net.accumulate_gradient(self.X[:1], self.d[:1])  # compiles, or reads the kernels from disk

    def peakmem_accumulate_gradient(self, backend: str, samples: int) -> None:
        self.net.accumulate_gradient(self.X, self.d)

    def peakmem_forward(self, backend: str, samples: int) -> None:
        self.net.forward(self.X)

    def peakmem_setup(self, backend: str, samples: int) -> None:
        """The process with the data and the kernels alone, to hold the others against."""
