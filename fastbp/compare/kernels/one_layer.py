"""The parameters and the gradient of one layer, for the kernels of all backends."""

import numpy as np

from ...layout import aligned_zeros, make_layout
from ..workers.worker import Product


class OneLayer:
    """W and b as a network holds them, and the gradient: theta and grad, (P,)."""

    def __init__(self, product: Product) -> None:
        self.product, self.dtype = product, product.W.dtype
        self.units, self.inputs = product.W.shape
        self.samples = len(product.h)
        self.layout = make_layout([self.inputs, self.units])
        self.theta, self.grad = (aligned_zeros(self.layout.size, self.dtype) for _ in range(2))
        self.theta[:] = np.concatenate([product.W.ravel(), product.b])
        self.reset()

    def reset(self) -> None:
        """The initial dW."""
        self.grad[:] = 0
        self.dW[:] = self.product.dW

    @property
    def dW(self) -> np.ndarray:
        """(N_1, N_0), a view into grad."""
        return self.grad[: self.units * self.inputs].reshape(self.units, self.inputs)
