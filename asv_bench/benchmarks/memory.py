"""Peak memory of a process that calls a network once, over the number of samples."""

import numpy as np

import fastbp


def draw(backend: str, samples: int) -> tuple[fastbp.MLP, np.ndarray, np.ndarray]:
    """The network, X and the labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, 20)).astype(np.float32)
    return fastbp.MLP([20, 50, 10], seed=0, backend=backend), X, rng.integers(0, 10, samples)


class Propagation:
    """20-50-10 in float32, P = 1560 parameters; if every sample's gradient were stored, 10^5 of them took 0.6 GB.

    What may grow with the samples is X (80 bytes each), its labels (8), and Y (40) in the forward pass.
    """

    params = (["tiled", "loops", "blas"], [1_000, 10_000, 100_000])
    param_names = ("backend", "samples")

    def setup_cache(self) -> None:
        """Compile in another process, for which LLVM needs more memory than all that is measured here."""
        for backend in self.params[0]:
            network, X, d = draw(backend, 1)
            network.accumulate_gradient(X, d)
            network.forward(X)

    def setup(self, backend: str, samples: int) -> None:
        self.net, self.X, self.d = draw(backend, samples)
        self.net.accumulate_gradient(self.X[:1], self.d[:1])  # reads the kernels from disk

    def peakmem_accumulate_gradient(self, backend: str, samples: int) -> None:
        self.net.accumulate_gradient(self.X, self.d)

    def peakmem_forward(self, backend: str, samples: int) -> None:
        self.net.forward(self.X)

    def peakmem_setup(self, backend: str, samples: int) -> None:
        """The process with the data and the kernels alone, to hold the others against."""


class ManyNetworks:
    """Peak memory of a process with networks of one shape, 20-50-10 in float32, of which each was called once."""

    params = (1, 100, 1_000)
    param_names = ("networks",)

    def setup(self, networks: int) -> None:
        self.net, self.X, _ = draw("tiled", 100)
        self.net.forward(self.X)  # reads the kernels from disk

    def peakmem_forward(self, networks: int) -> None:
        self.kept = [fastbp.MLP([20, 50, 10], seed=seed) for seed in range(networks)]
        for net in self.kept:
            net.forward(self.X)
