"""What is timed of a version: one of its products over and over, or whole training steps of relu layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ...layout import aligned_zeros, bias_vector, make_layout, weight_matrix
from ..workers.worker import Product, Training


class Products:
    """One product of a module of this folder."""

    def __init__(self, kernels: Any, product: Product) -> None:
        self.product = product
        W, b, h, delta, self.dW = map(aligned, (product.W, product.b, product.h, product.delta, product.dW))
        self.a, self.e = (aligned(np.zeros_like(values)) for values in (delta, h))
        kernel, self.arrays, self.found = {
            "W h": (kernels.forward, (W, b, h, self.a), self.a),
            "Wᵀδ": (kernels.backward, (W, delta, self.e), self.e),
            "δhᵀ": (kernels.gradient, (delta, h, self.dW), self.dW)}[product.product]
        self.repeated = repeated(kernel)

    def reset(self) -> None:
        """The initial dW."""
        self.dW[:] = self.product.dW

    def train(self, epochs: int) -> None:
        """Compute the product `epochs` times."""
        self.repeated(epochs, *self.arrays)

    def result(self) -> np.ndarray:
        """a or e (S, units), or dW."""
        return self.found


class Steps:
    """Training of two layers by plain descent, with the products of a module of this folder."""

    def __init__(self, kernels: Any, problem: Training) -> None:
        found = (len(problem.widths) - 1, problem.activation, problem.loss, problem.optimizer)
        if found != (2, "relu", "squared_error", "sgd"):
            raise ValueError(f"problem: expected 2 layers, relu, squared_error and sgd, found {found}")
        layout, S, dtype = make_layout(problem.widths), problem.batch_size, problem.theta.dtype
        self.problem = problem
        self.theta, self.grad = (aligned_zeros(layout.size, dtype) for _ in range(2))
        self.layers = tuple(part(values, layout, k) for k in (1, 2) for values in (self.theta, self.grad)
                            for part in (weight_matrix, bias_vector))
        self.units = tuple(aligned(np.zeros((S, problem.widths[k]), dtype)) for k in (1, 1, 1, 1, 2, 2))
        self.steps = training(kernels)

    def reset(self) -> None:
        """The initial parameters."""
        self.theta[:] = self.problem.theta
        self.grad[:] = 0

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        p = self.problem
        self.steps(p.X, p.d, self.theta, self.grad, self.layers, self.units,
                   p.theta.dtype.type(p.learning_rate / p.batch_size), epochs)

    def result(self) -> np.ndarray:
        """The parameters."""
        return self.theta


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy that begins with a cache line."""
    copy = aligned_zeros(values.size, values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def repeated(kernel: Any) -> Callable[..., None]:
    """The function (times, arrays…) that calls a kernel so often from compiled code."""
    @njit
    def repeat(times, *arrays):
        for _ in range(times):
            kernel(*arrays)

    return repeat


def training(kernels: Any) -> Callable[..., None]:
    """The function (X, d, theta, grad, layers, units, rate, epochs) that trains: E = ½‖y - d‖², h_1 relu, y = a_2.

    theta, grad : (P,) the parameters and their gradient, into which the arrays of `layers` are views.
    """
    forward, backward, gradient = kernels.forward, kernels.backward, kernels.gradient

    @njit
    def train(X, d, theta, grad, layers, units, rate, epochs):
        W_1, b_1, dW_1, db_1, W_2, b_2, dW_2, db_2 = layers
        a_1, h_1, e_1, delta_1, a_2, delta_2 = units
        batch = a_1.shape[0]
        for _ in range(epochs):
            for start in range(0, X.shape[0], batch):
                x = X[start : start + batch]
                forward(W_1, b_1, x, a_1)
                relu(a_1, h_1)
                forward(W_2, b_2, h_1, a_2)
                subtract(a_2, d[start : start + batch], delta_2)
                gradient(delta_2, h_1, dW_2)
                add_rows(delta_2, db_2)
                backward(W_2, delta_2, e_1)
                relu_delta(a_1, e_1, delta_1)
                gradient(delta_1, x, dW_1)
                add_rows(delta_1, db_1)
                descend(theta, grad, rate)

    return train


@njit
def relu(a: Any, h: Any) -> None:
    """h = max(a, 0)."""
    for s in range(a.shape[0]):
        for i in range(a.shape[1]):
            h[s, i] = max(a[s, i], a.dtype.type(0))


@njit
def relu_delta(a: Any, e: Any, delta: Any) -> None:
    """δ = e where a > 0, else 0."""
    for s in range(a.shape[0]):
        for i in range(a.shape[1]):
            delta[s, i] = e[s, i] if a[s, i] > 0 else a.dtype.type(0)


@njit
def subtract(y: Any, d: Any, delta: Any) -> None:
    """∇_y E = y - d."""
    for s in range(y.shape[0]):
        for i in range(y.shape[1]):
            delta[s, i] = y[s, i] - d[s, i]


@njit
def add_rows(delta: Any, db: Any) -> None:
    """∂E/∂b += Σ_s δ."""
    for s in range(delta.shape[0]):
        for i in range(db.size):
            db[i] += delta[s, i]


@njit
def descend(theta: Any, grad: Any, rate: Any) -> None:
    """θ ← θ - γ ∂E/∂θ, and the gradient is zero again."""
    for p in range(theta.size):
        theta[p] -= rate * grad[p]
        grad[p] = 0
