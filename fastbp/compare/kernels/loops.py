"""`loops`: its loops over a layer whose activation is the identity, sample by sample."""

from typing import Any

import numpy as np
from numba import prange

from ...backends import loops
from ...backends.sample import NO_MASKS
from ...compiling.decorators import kernel
from ...functions.activations import BY_NAME as ACTIVATIONS
from ...functions.losses import BY_NAME as LOSSES
from ...threads import allowed
from ..workers.worker import Product
from .one_layer import OneLayer


class Products(OneLayer):
    """All units of a sample in a row; see `sample_by_sample.Workspace`."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        self.layout = loops.linked(self.layout, [ACTIVATIONS["identity"]], LOSSES["squared_error"], self.dtype)
        self.a, self.h, self.e, self.delta = (
            np.zeros((self.samples, self.inputs + self.units), self.dtype) for _ in range(4))
        self.h[:, : self.inputs] = product.h
        for values in (self.e, self.delta):  # e_1 = δ_1, because g' = 1
            values[:, self.inputs :] = product.delta

    def repeat(self, times: int) -> None:
        """Compute the product `times` times."""
        with allowed() as threads:
            if self.product.product == "W h":
                repeat_forward(self.theta, self.layout, self.a, self.h, threads, times)
            elif self.product.product == "Wᵀδ":
                repeat_backward(self.theta, self.layout, self.a, self.h, self.e, self.delta, threads, times)
            else:
                repeat_gradient(self.grad, self.layout, self.delta, self.h, threads, times)

    def result(self) -> np.ndarray:
        """a or e (S, units), or dW."""
        return {"W h": self.a[:, self.inputs :], "Wᵀδ": self.e[:, : self.inputs], "δhᵀ": self.dW}[self.product.product]


@kernel(parallel=True)
def repeat_forward(theta: Any, layout: Any, a: Any, h: Any, threads: int, times: int) -> None:
    """a_1 = W_1 h_0 + b_1 of every sample."""
    for _ in range(times):
        if threads == 1:
            for s in range(a.shape[0]):
                loops.forward_sample(theta, layout, a[s], h[s], NO_MASKS)
        else:
            for s in prange(a.shape[0]):
                row = np.int64(s)
                loops.forward_sample(theta, layout, a[row], h[row], NO_MASKS)


@kernel(parallel=True)
def repeat_backward(theta: Any, layout: Any, a: Any, h: Any, e: Any, delta: Any, threads: int, times: int) -> None:
    """e_0 = W_1ᵀ δ_1 of every sample."""
    for _ in range(times):
        if threads == 1:
            for s in range(a.shape[0]):
                loops.backward_sample(theta, layout, a[s], h[s], e[s], delta[s], 0, NO_MASKS)
        else:
            for s in prange(a.shape[0]):
                row = np.int64(s)
                loops.backward_sample(theta, layout, a[row], h[row], e[row], delta[row], 0, NO_MASKS)


@kernel(parallel=True)
def repeat_gradient(grad: Any, layout: Any, delta: Any, h: Any, threads: int, times: int) -> None:
    """∂E/∂W_1 += δ_1 h_0ᵀ, sample after sample."""
    for _ in range(times):
        if threads == 1:
            for i in range(layout.widths[1]):
                loops.add_unit_gradient(grad, layout, 1, i, delta, h, delta.shape[0])
        else:
            for i in prange(layout.widths[1]):
                loops.add_unit_gradient(grad, layout, 1, np.int64(i), delta, h, delta.shape[0])
