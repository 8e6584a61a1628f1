"""The residuals of a network in float64: E, and JᵀJ and Jᵀr, at any θ."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import threads
from ..backends.contract import NO_EXTRAS, NO_ORDER, Batch, Wanted
from ..checks.samples import no_numbers, no_rows
from ..compiling.interrupts import held_back
from ..network import Network


class Products(NamedTuple):
    """JᵀJ (P, P), of which the numbers above the diagonal are not defined, and Jᵀr = ∇E (P,)."""

    JJ: np.ndarray
    Jr: np.ndarray


class Point(NamedTuple):
    """Parameters, and what is known of them."""

    theta: np.ndarray           # (P,) float64
    E: float                    # Σ_s w L
    accuracy: float             # the share of samples that is classified correctly; NaN for losses that do not classify
    products: Products | None


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
        weights, dtype = self._samples.weights, self._net.dtype
        self.n = len(self._samples.X)
        #: The number of residuals, without those of weight 0.
        self.residuals = net.widths[-1] * (int(np.count_nonzero(weights)) if len(weights) else self.n)
        self._nothing = Wanted(no_numbers(dtype), no_rows(dtype, net.widths[-1]), no_rows(dtype, net.widths[0]),
                               np.empty(0))
        self._work: Any = None

    def at(self, theta: np.ndarray) -> Point:
        """E at θ, without products."""
        net, samples = self._net, self._samples

        def propagate(start: int, stop: int, E: float, work: Any, team: int) -> tuple[float, int]:
            found: tuple[float, int] = net.backend_module.propagate(
                theta, net.layout, Batch(samples, NO_ORDER, start, stop), E, self._nothing, NO_EXTRAS, work, team)
            return found

        with net.workspace(self.n) as work:
            E, accuracy = self._in_slices("loss", 1, net.chunk(), propagate, work)
        return Point(theta, E, accuracy, None)

    def with_products(self, theta: np.ndarray) -> Point:
        """E at θ with the products. Its last digits may differ from those of `at`, as chunks are others."""
        net, samples, size = self._net, self._samples, len(theta)
        if self._work is None:
            self._work = self._backend.workspace(net.layout, net.loss_record)
        C = np.zeros((size + 1, size + 1))

        def add(start: int, stop: int, E: float, work: Any, team: int) -> tuple[float, int]:
            return self._backend.add_normal_equations(theta, samples, start, stop, E, C, work, team)

        E, accuracy = self._in_slices("products", 3 + size, self._backend.chunk(net.layout), add, self._work)
        return Point(theta, E, accuracy, Products(C[:size, :size], C[size, :size]))

    def _in_slices(self, name: str, passes: float, chunk: int, call: Callable[..., tuple[float, int]],
                   work: Any) -> tuple[float, float]:
        """E and the accuracy by ``call(start, stop, E, work, threads)`` over all samples, for slices; see `Network`."""
        E, correct, start, pace = 0.0, 0, 0, self._net.pace(("least squares", name), passes)
        with threads.allowed() as count:
            while start < self.n:
                begin, (team, budget) = time.perf_counter(), pace.next_slice(count)
                stop = min(start + max(1, budget // chunk) * chunk, self.n)
                E, more = call(start, stop, E, work, team)
                pace.learn(team, time.perf_counter() - begin, stop - start)
                start, correct = stop, correct + more
        return E, correct / self.n if self._net.loss_record.is_classification else math.nan

    def weights_of(self, theta: np.ndarray) -> np.ndarray:
        """Which parameters are weights and not biases, (P,): 1 or 0."""
        mask, layout = np.zeros(len(theta)), self._net.sizes
        for begin, end in zip(layout.weights[1:], layout.biases[1:], strict=True):
            mask[begin:end] = 1.0
        return mask
