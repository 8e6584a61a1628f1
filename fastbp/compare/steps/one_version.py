"""What is timed of a version: one of its products over and over, or whole training steps of relu layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
    """Training by plain descent with the products of a module of this folder."""

    def __init__(self, kernels: Any, problem: Training) -> None:
        if (problem.activation, problem.loss, problem.optimizer) != ("relu", "squared_error", "sgd"):
            raise ValueError(f"problem: expected relu, squared_error and sgd, found {problem.activation}, "
                             f"{problem.loss} and {problem.optimizer}")
        layout, dtype = make_layout(problem.widths), problem.theta.dtype
        self.problem = problem
        self.theta, self.grad = (aligned_zeros(layout.size, dtype) for _ in range(2))
        layers = range(1, layout.depth + 1)
        W, dW = (tuple(weight_matrix(values, layout, k) for k in layers) for values in (self.theta, self.grad))
        b, db = (tuple(bias_vector(values, layout, k) for k in layers) for values in (self.theta, self.grad))
        h = tuple(aligned(np.zeros((problem.batch_size, width), dtype)) for width in problem.widths)
        a, e, delta = (tuple(map(aligned, h[1:])) for _ in range(3))
        self.arrays = Arrays(self.theta, self.grad, W, b, dW, db, h, a, e, delta)
        self.steps = training(kernels)

    def reset(self) -> None:
        """The initial parameters."""
        self.theta[:] = self.problem.theta
        self.grad[:] = 0

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        p = self.problem
        self.steps(self.arrays, p.X, p.d, p.theta.dtype.type(p.learning_rate / p.batch_size), epochs)

    def result(self) -> np.ndarray:
        """The parameters."""
        return self.theta


class Arrays(NamedTuple):
    """A network and its units for a batch; entry k-1 of a tuple is of layer k, and entry k of h."""

    theta: np.ndarray                # (P,) the parameters
    grad: np.ndarray                 # (P,) ∂E/∂θ
    W: tuple[np.ndarray, ...]        # (N_k, N_{k-1}) views into theta
    b: tuple[np.ndarray, ...]        # (N_k,)
    dW: tuple[np.ndarray, ...]       # (N_k, N_{k-1}) views into grad
    db: tuple[np.ndarray, ...]       # (N_k,)
    h: tuple[np.ndarray, ...]        # (S, N_k) from h_0 = x on
    a: tuple[np.ndarray, ...]        # (S, N_k)
    e: tuple[np.ndarray, ...]        # (S, N_k)
    delta: tuple[np.ndarray, ...]    # (S, N_k)


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
    """The function (arrays, X, d, rate, epochs) that trains: E = ½‖y - d‖², relu in the hidden layers, y = a_L."""
    forward, backward, gradient = kernels.forward, kernels.backward, kernels.gradient

    @njit
    def train(net, X, d, rate, epochs):
        batch, last = net.h[0].shape[0], len(net.W) - 1
        for _ in range(epochs):
            for start in range(0, X.shape[0], batch):
                net.h[0][:] = X[start : start + batch]
                for k in range(last + 1):
                    forward(net.W[k], net.b[k], net.h[k], net.a[k])
                    if k < last:
                        relu(net.a[k], net.h[k + 1])
                difference(net.a[last], d[start : start + batch], net.delta[last])
                for k in range(last, -1, -1):
                    gradient(net.delta[k], net.h[k], net.dW[k])
                    add_rows(net.delta[k], net.db[k])
                    if k > 0:
                        backward(net.W[k], net.delta[k], net.e[k - 1])
                        relu_delta(net.a[k - 1], net.e[k - 1], net.delta[k - 1])
                descend(net.theta, net.grad, rate)

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
def difference(y: Any, d: Any, delta: Any) -> None:
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
