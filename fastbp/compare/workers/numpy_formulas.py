"""NumPy: the formulas on matrices, a row for each sample, every product through NumPy's own BLAS.

CuPy has the same functions for arrays on a GPU, and computes their products through cuBLAS: `options["arrays"]` names
the module whose arrays these are. Shuffled, an epoch draws a permutation there, and `take` gathers the rows of each
batch: 28 µs for 128 of 784 numbers, where an index took 33 (NumPy 2.4 on AVX-512).

    A_k = H_{k-1} W_kᵀ + b_k;  H_k = g(A_k);  Y = A_L
    Δ_L = ∇_Y E;  Δ_{k-1} = (Δ_k W_k) ⊙ g'(A_{k-1});  ∂E/∂W_k = Δ_kᵀ H_{k-1};  ∂E/∂b_k = Σ_s Δ_k

In float64 they are what all contestants are held against.
"""

import importlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy

VARIANTS = ("matrix formulas",)


def activations(np: Any) -> dict[str, tuple[Any, Any]]:
    """(g(a), g'(a) from h = g(a))."""
    return {"identity": (lambda a: a, np.ones_like),
            "logistic": (lambda a: 1 / (1 + np.exp(-a)), lambda h: h * (1 - h)),
            "tanh": (np.tanh, lambda h: 1 - h * h),
            "relu": (lambda a: np.maximum(a, 0), lambda h: h > 0)}


def module_of(options: Any) -> Any:
    """NumPy, or what was named instead."""
    return importlib.import_module(options.get("arrays", "numpy"))


class Trainer:
    """SGD or Adam on the mean gradient of each batch."""

    def __init__(self, problem: Any, variant: str) -> None:
        self.problem, self.np = problem, module_of(problem.options)
        self.variant = f"{variant}, TF32 products" if problem.options.get("tf32") else variant
        self.g, self.g_prime = activations(self.np)[problem.activation]
        one_hot = problem.loss == "softmax_cross_entropy"
        targets = numpy.eye(problem.widths[-1], dtype=problem.theta.dtype)[problem.d] if one_hot else problem.d
        self.X, self.D = self.np.asarray(problem.X), self.np.asarray(targets)
        self.parts = [slice(s, s + problem.batch_size) for s in range(0, len(self.X), problem.batch_size)]
        self.in_order = [(self.X[S], self.D[S]) for S in self.parts]

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        np = self.np
        self.flat = np.array(self.problem.theta)
        self.grad = np.zeros_like(self.flat)
        self.layers, self.gradients = self._views(self.flat), self._views(self.grad)
        self.t, self.m, self.v = 0, np.zeros_like(self.flat), np.zeros_like(self.flat)

    def _views(self, values: Any) -> list[tuple[Any, Any]]:
        """(W_k, b_k) for k = 1 … L, in a flat vector."""
        views, start = [], 0
        for n_in, n_out in pairwise(self.problem.widths):
            W, b = self.np.split(values[start : start + n_out * (n_in + 1)], [n_out * n_in])
            views.append((W.reshape(n_out, n_in), b))
            start += n_out * (n_in + 1)
        return views

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        for _ in range(epochs):
            for X, d in self._shuffled() if self.problem.shuffle else self.in_order:
                self._gradient(X, d)
                self._step()
        if self.np is not numpy:
            self.np.cuda.Device().synchronize()

    def _shuffled(self) -> Iterator[tuple[Any, Any]]:
        """The batches of a new order, each gathered when its turn comes."""
        order = self.np.random.permutation(len(self.X))
        for S in self.parts:
            yield self.X.take(order[S], axis=0), self.D.take(order[S], axis=0)

    def _gradient(self, X: Any, d: Any) -> None:
        """∇E(W; S) / |S|, into the views of `grad`."""
        np = self.np
        H = [X]
        for k, (W, b) in enumerate(self.layers, 1):
            A = H[-1] @ W.T + b
            H.append(A if k == len(self.layers) else self.g(A))
        Y = H[-1]
        if self.problem.loss == "softmax_cross_entropy":
            Y = np.exp(Y - Y.max(axis=1, keepdims=True))
            Y /= Y.sum(axis=1, keepdims=True)
        elif self.problem.loss == "binary_cross_entropy":
            Y = 1 / (1 + np.exp(-Y))
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
        self.flat -= rate * m / (self.np.sqrt(v) + 1e-8)

    def result(self) -> Any:
        """The parameters."""
        return self.flat if self.np is numpy else self.np.asnumpy(self.flat)


def versions(options: Any) -> dict[str, str]:
    """NumPy's, or CuPy's and what it runs on; where it finds no GPU, it raises a RuntimeError."""
    np = module_of(options)
    if np is numpy:
        return {"numpy": np.__version__}
    runtime = np.cuda.runtime
    runtime.getDeviceCount()
    number = runtime.runtimeGetVersion()
    return {np.__name__: np.__version__, "CUDA": f"{number // 1000}.{number % 1000 // 10}",
            "GPU": runtime.getDeviceProperties(0)["name"].decode()}
