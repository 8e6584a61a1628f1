"""`blas`: np.dot in compiled code, and what is added after it."""

from typing import Any

import numpy as np

from ...backends.blas import add_weight_gradient
from ...compiling.decorators import kernel
from ...layout import bias_vector, weight_matrix
from ...threads import allowed
from ..workers.worker import Product
from .one_layer import OneLayer


class Products(OneLayer):
    """A row for each sample; see `blas`. BLAS has its own threads."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        self.a, self.e = np.zeros_like(product.delta), np.zeros_like(product.h)
        self.memory = np.zeros(self.units * self.inputs, self.dtype)

    def repeat(self, times: int) -> None:
        """Compute the product `times` times."""
        with allowed():
            if self.product.product == "W h":
                repeat_dot_forward(self.theta, self.layout, self.product.h, self.a, times)
            elif self.product.product == "Wᵀδ":
                repeat_dot_backward(self.theta, self.layout, self.product.delta, self.e, times)
            else:
                repeat_dot_gradient(self.grad, self.layout, self.product.delta, self.product.h, self.memory, times)

    def result(self) -> np.ndarray:
        """a or e (S, units), or dW."""
        return {"W h": self.a, "Wᵀδ": self.e, "δhᵀ": self.dW}[self.product.product]


@kernel
def repeat_dot_forward(theta: Any, layout: Any, H: Any, A: Any, times: int) -> None:
    """A = H Wᵀ, and b added to each row."""
    W, b = weight_matrix(theta, layout, 1), bias_vector(theta, layout, 1)
    for _ in range(times):
        np.dot(H, W.T, A)
        for s in range(A.shape[0]):
            for i in range(A.shape[1]):
                A[s, i] += b[i]


@kernel
def repeat_dot_backward(theta: Any, layout: Any, delta: Any, E: Any, times: int) -> None:
    """E = Δ W."""
    for _ in range(times):
        np.dot(delta, weight_matrix(theta, layout, 1), E)


@kernel
def repeat_dot_gradient(grad: Any, layout: Any, delta: Any, H: Any, memory: Any, times: int) -> None:
    """∂E/∂W += Δᵀ H, and ∂E/∂b."""
    for _ in range(times):
        add_weight_gradient(grad, layout, 1, delta, H, memory)
