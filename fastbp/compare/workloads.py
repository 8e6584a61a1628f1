"""The workloads on which fastbp is timed: one table for `fastbp compare` and for the benchmarks, and one for GPUs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: So small that training on noise does not diverge.
LEARNING_RATES = {"sgd": 0.01, "adam": 0.001}


@dataclass(frozen=True)
class Workload:
    """One network with its loss, batch size and optimizer, and random samples to train it on.

    Parameters
    ----------
    name : str
    widths : tuple of int
        N_0 … N_L.
    activation : str
        Of the hidden layers; the last layer is the identity.
    loss : "squared_error", "softmax_cross_entropy" or "binary_cross_entropy"
    batch_size : int
        |S|.
    optimizer : "sgd" or "adam"
    batches : int, optional
        In an epoch; if not given, as many as make about 16 batches, with 2048 to 60,000 samples.
    shuffle : bool
        Whether every epoch takes the samples in a new order.

    Examples
    --------
    >>> workload = Workload("mine", (3, 5, 2), "tanh", "squared_error", 4, "sgd")
    >>> workload.samples, workload.flops
    (2048, 480)
    >>> X, d = workload.draw("float32")
    >>> X.shape, d.shape
    ((2048, 3), (2048, 2))
    """

    name: str
    widths: tuple[int, ...]
    activation: str
    loss: str
    batch_size: int
    optimizer: str
    batches: int | None = None
    shuffle: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in LEARNING_RATES:
            raise ValueError(f"optimizer: expected one of {', '.join(LEARNING_RATES)}, found {self.optimizer!r}")

    @property
    def group(self) -> str:
        """The name without the batch size, which calls up all workloads that differ in nothing else."""
        return self.name.removesuffix(f"-{self.batch_size}")

    @property
    def learning_rate(self) -> float:
        """γ for the mean gradient of a batch."""
        return LEARNING_RATES[self.optimizer]

    @property
    def samples(self) -> int:
        """n, a multiple of the batch size."""
        wanted = min(max(16 * self.batch_size, 2048), 60_000)
        return self.batch_size * (self.batches or max(1, wanted // self.batch_size))

    @property
    def flops(self) -> int:
        """Operations of one training step, multiplication and addition counted as two.

        Three products of 2 N_k N_{k-1} operations a sample, W h, Wᵀ δ and δ hᵀ; e_0 = W_1ᵀ δ_1 is not needed. Biases,
        activations, loss and update are left out.
        """
        weights = sum(n_in * n_out for n_in, n_out in pairwise(self.widths))
        return (6 * weights - 2 * self.widths[0] * self.widths[1]) * self.batch_size

    def draw(self, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """X (n, N_0), and labels (n,) in which every class occurs, or targets (n, N_L), all random.

        Targets of the binary cross-entropy are 0 or 1.
        """
        rng = np.random.default_rng(seed)
        n, outputs = self.samples, self.widths[-1]
        X = rng.standard_normal((n, self.widths[0])).astype(dtype)
        if self.loss == "softmax_cross_entropy":
            return X, rng.permutation(np.arange(n) % outputs)
        if self.loss == "binary_cross_entropy":
            return X, rng.integers(0, 2, (n, outputs)).astype(dtype)
        return X, rng.standard_normal((n, outputs)).astype(dtype)


WORKLOADS = tuple(Workload(*row) for row in (
    ("online", (2, 8, 1), "tanh", "squared_error", 1, "sgd"),
    ("tiny", (2, 16, 1), "tanh", "squared_error", 32, "sgd"),
    ("matexp", (4, 32, 16, 4), "tanh", "squared_error", 10_000, "adam", 1),
    ("tabular-32", (8, 32, 32, 1), "relu", "squared_error", 32, "sgd"),
    ("tabular-256", (8, 32, 32, 1), "relu", "squared_error", 256, "sgd"),
    ("narrow", (10, 45, 45, 10), "relu", "squared_error", 128, "adam"),
    ("digits", (64, 100, 10), "relu", "softmax_cross_entropy", 64, "sgd"),
    ("mnist-1", (784, 128, 10), "relu", "softmax_cross_entropy", 1, "sgd"),
    ("mnist-128", (784, 128, 10), "relu", "softmax_cross_entropy", 128, "sgd"),
    ("mnist-128-adam", (784, 128, 10), "relu", "softmax_cross_entropy", 128, "adam"),
    ("wide", (784, 512, 512, 10), "relu", "softmax_cross_entropy", 128, "sgd"),
    ("wide-adam", (784, 512, 512, 10), "relu", "softmax_cross_entropy", 128, "adam"),
    ("big", (1024, 2048, 2048, 2048, 10), "relu", "softmax_cross_entropy", 256, "sgd", 4),
    ("otto", (93, 256, 128, 9), "relu", "softmax_cross_entropy", 256, "adam"),
    ("year", (90, 512, 512, 1), "relu", "squared_error", 1024, "adam"),
    ("higgs", (28, 300, 300, 300, 1), "relu", "binary_cross_entropy", 1000, "adam"),
    ("actor", (17, 256, 256, 6), "tanh", "squared_error", 256, "adam"),
    ("pinn", (2, 50, 50, 50, 50, 1), "tanh", "squared_error", 2000, "adam"),
))


#: The network for which fully fused kernels are known, with batches that fill a GPU.
FUSED = tuple(Workload(f"fused-{batch_size}", (32, 64, 64, 64, 64, 16), "relu", "squared_error", batch_size, "sgd")
              for batch_size in (2**14, 2**18))

#: An epoch of Fashion-MNIST as people train it, on random samples. Of its 60,000 it leaves out the last 96, as loaders
#: do that drop a ragged batch: a step is the same work every time, and compiled peers need no second program for one.
FASHION = Workload("fashion", (784, 100, 10), "relu", "softmax_cross_entropy", 128, "sgd", 468, shuffle=True)

#: What a GPU is timed on, if nothing is named: `online` and its like would say how long starting a kernel takes.
GPU_WORKLOADS = (*FUSED, *(workload for workload in WORKLOADS if workload.name in ("tabular-256", "mnist-128", "big")),
                 FASHION)


def workloads_named(names: Sequence[str], otherwise: Sequence[Workload] = WORKLOADS) -> list[Workload]:
    """The workloads of these names or groups, each once, in the order of the tables; `otherwise` for no name.

    Raises
    ------
    ValueError
        If there is none of a name.

    Examples
    --------
    >>> [workload.name for workload in workloads_named(["mnist", "online"])]
    ['online', 'mnist-1', 'mnist-128']
    """
    every = (*WORKLOADS, *FUSED, FASHION)
    known = {name for workload in every for name in (workload.name, workload.group)}
    for name in names:
        if name not in known:
            raise ValueError(f"WORKLOAD: unknown workload {name!r}; expected one of "
                             f"{', '.join(workload.name for workload in every)}")
    if not names:
        return list(otherwise)
    return [workload for workload in every if {workload.name, workload.group} & set(names)]
