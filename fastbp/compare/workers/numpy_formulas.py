"""NumPy: the formulas on matrices, a row for each sample, every product through NumPy's own BLAS.

    A_k = H_{k-1} W_kᵀ + b_k;  H_k = g(A_k);  Y = A_L
    Δ_L = ∇_Y E;  Δ_{k-1} = (Δ_k W_k) ⊙ g'(A_{k-1});  ∂E/∂W_k = Δ_kᵀ H_{k-1};  ∂E/∂b_k = Σ_s Δ_k

In float64 they are what all contestants are held against.
"""

from itertools import pairwise
from typing import Any

import numpy as np

VARIANTS = ("matrix formulas",)

#: (g(a), g'(a) from h = g(a)).
ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "identity": (lambda a: a, np.ones_like),
    "logistic": (lambda a: 1 / (1 + np.exp(-a)), lambda h: h * (1 - h)),
    "tanh": (np.tanh, lambda h: 1 - h * h),
    "relu": (lambda a: np.maximum(a, 0), lambda h: h > 0),
}


class Trainer:
    """SGD or Adam on the mean gradient of each batch."""

    def __init__(self, problem: Any, variant: str) -> None:
        self.problem, self.variant = problem, variant
        self.g, self.g_prime = ACTIVATIONS[problem.activation]
        one_hot = problem.loss == "softmax_cross_entropy"
        targets = np.eye(problem.widths[-1], dtype=problem.theta.dtype)[problem.d] if one_hot else problem.d
        starts = range(0, len(problem.X), problem.batch_size)
        self.batches = [(problem.X[s : s + problem.batch_size], targets[s : s + problem.batch_size]) for s in starts]

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        self.flat = self.problem.theta.copy()
        self.grad = np.zeros_like(self.flat)
        self.layers, self.gradients = self._views(self.flat), self._views(self.grad)
        self.t, self.m, self.v = 0, np.zeros_like(self.flat), np.zeros_like(self.flat)

    def _views(self, values: Any) -> list[tuple[Any, Any]]:
        """(W_k, b_k) for k = 1 … L, in a flat vector."""
        views, start = [], 0
        for n_in, n_out in pairwise(self.problem.widths):
            W, b = np.split(values[start : start + n_out * (n_in + 1)], [n_out * n_in])
            views.append((W.reshape(n_out, n_in), b))
            start += n_out * (n_in + 1)
        return views

    def train(self, epochs: int) -> None:
        """All batches in order, so many times."""
        for _ in range(epochs):
            for X, d in self.batches:
                self._gradient(X, d)
                self._step()

    def _gradient(self, X: Any, d: Any) -> None:
        """∇E(W; S) / |S|, into the views of `grad`."""
        H = [X]
        for k, (W, b) in enumerate(self.layers, 1):
            A = H[-1] @ W.T + b
            H.append(A if k == len(self.layers) else self.g(A))
        Y = H[-1]
        if self.problem.loss == "softmax_cross_entropy":
            Y = np.exp(Y - Y.max(axis=1, keepdims=True))
            Y /= Y.sum(axis=1, keepdims=True)
        delta = (Y - d) / len(X)
        for k in range(len(self.layers), 0, -1):
            W, (dW, db) = self.layers[k - 1][0], self.gradients[k - 1]
            np.matmul(delta.T, H[k - 1], out=dW)
            delta.sum(axis=0, out=db)
            if k > 1:
                delta = (delta @ W) * self.g_prime(H[k - 1])

    def _step(self) -> None:
        rate = self.problem.learning_rate
        if self.problem.optimizer == "sgd":
            self.flat -= rate * self.grad
            return
        self.t += 1
        self.m += 0.1 * (self.grad - self.m)
        self.v += 0.001 * (self.grad * self.grad - self.v)
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.flat -= rate * m / (np.sqrt(v) + 1e-8)

    def result(self) -> Any:
        """The parameters."""
        return self.flat


def versions(options: Any) -> dict[str, str]:
    """NumPy's."""
    return {"numpy": np.__version__}
