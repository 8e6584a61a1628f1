"""The residuals of a network in float64: E, and JᵀJ and Jᵀr, at any θ."""

import math
import time
from typing import Any

import numpy as np

from .. import threads
from ..compiling.interrupts import held_back
from ..network import Network


class LeastSquares:
    """Samples, and a copy of a network in float64 that takes them forward and back.

    Parameters
    ----------
    net : MLP
        Its loss has a curvature; see `losses.Loss`.
    X, d, sample_weight
        As for `MLP.fit`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; it is named.
    """

    def __init__(self, net: Network, X: Any, d: Any, sample_weight: Any) -> None:
        with held_back():
            from ..backends import normal_equations
        self._backend = normal_equations
        self._net = Network(net.widths, activation=list(net.activation_records), loss=net.loss_record, dtype="float64",
                            backend="tiled", initializer="zeros", seed=0)
        if net.standardization is not None:
            self._net.standardize(mean=net.feature_mean, scale=net.feature_scale)
        self._samples = self._net.checked_samples(X, d, sample_weight)
        weights = self._samples.weights
        self.n = len(self._samples.X)
        #: The number of residuals, without those of weight 0.
        self.residuals = net.widths[-1] * (int(np.count_nonzero(weights)) if len(weights) else self.n)
        self._product: Any = None
        self._work: Any = None

    def loss(self, theta: np.ndarray) -> tuple[float, float]:
        """E, and the share of samples that is classified correctly, as `MLP.evaluate` gives them."""
        self._net.theta[:] = theta
        return self._net.evaluate_samples(self._samples)

    def products(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """JᵀJ (P, P), of which the numbers above the diagonal are not defined, and Jᵀr = ∇E (P,).

        Both are views that the next call writes to. It takes slices, between which Ctrl-C may end it.
        """
        net, size = self._net, len(theta)
        if self._work is None:
            self._product = np.zeros((size + 1, size + 1))
            self._work = self._backend.workspace(net.layout, net.loss_record)
        C, chunk, start = self._product, self._backend.chunk(net.layout), 0
        C[:] = 0.0
        pace = net.pace("normal equations", passes=size)
        with threads.allowed(math.inf) as count:
            while start < self.n:
                begin, (team, budget) = time.perf_counter(), pace.next_slice(count)
                stop = min(start + max(1, budget // chunk) * chunk, self.n)
                self._backend.add_normal_equations(theta, self._samples, start, stop, C, self._work, team)
                pace.learn(team, time.perf_counter() - begin, stop - start)
                start = stop
        return C[:size, :size], C[size, :size]

    def weights_of(self, theta: np.ndarray) -> np.ndarray:
        """Which parameters are weights and not biases, (P,): 1 or 0."""
        mask, layout = np.zeros(len(theta)), self._net.sizes
        for begin, end in zip(layout.weights[1:], layout.biases[1:], strict=True):
            mask[begin:end] = 1.0
        return mask
