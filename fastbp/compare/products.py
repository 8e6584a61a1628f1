"""The three products of backpropagation as rows of the comparison: what contestants get, and what is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .workers.worker import Product

PRODUCTS = ("W h", "Wᵀδ", "δhᵀ")

#: N of the square W: from one that fits the first-level cache to one that no second-level cache holds.
SIZES = (32, 64, 128, 256, 512, 1024, 2048)

#: Samples, the batch of the larger workloads; a batch that grew with N would hide what small batches cost.
BATCH = 128


@dataclass(frozen=True)
class ProductRow:
    """One product with W (N, N) and a batch of samples; see `measuring.Row`.

    Examples
    --------
    >>> row = ProductRow("W h", 64, 10)
    >>> row.name, row.flops, row.problem("float32").h.shape
    ('W h, 64', 81920, (10, 64))
    """

    product: str
    size: int
    batch_size: int

    kind = "product"
    checked_steps = 1

    #: Of every row of the product at the most. Float32 rounding makes some 10^-7; products in fewer bits, 10^-3.
    agreement = 1e-4

    @property
    def name(self) -> str:
        """Product and size."""
        return f"{self.product}, {self.size}"

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each sample and number of W; adding b is left out."""
        return 2 * self.size * self.size * self.batch_size

    def about(self) -> dict[str, Any]:
        """The row as JSON can hold it."""
        return {"name": self.name, "product": self.product, "size": self.size, "widths": [self.size, self.size],
                "batch_size": self.batch_size, "flops": self.flops}

    def problem(self, dtype: str) -> Product:
        """Random matrices, the same for every contestant."""
        rng = np.random.default_rng(0)
        N, S = self.size, self.batch_size
        W, b, h, delta, dW = (rng.standard_normal(shape).astype(dtype) for shape in ((N, N), N, (S, N), (S, N), (N, N)))
        return Product(self.product, 1, {}, W, b, h, delta, dW)

    def expected(self, problem: Product) -> np.ndarray:
        """The product in float64: a (S, N), e (S, N), or dW (N, N)."""
        W, b, h, delta, dW = (values.astype(np.float64) for values in (
            problem.W, problem.b, problem.h, problem.delta, problem.dW))
        return {"W h": lambda: h @ W.T + b, "Wᵀδ": lambda: delta @ W, "δhᵀ": lambda: dW + delta.T @ h}[self.product]()

    def disagreement(self, found: np.ndarray, expected: np.ndarray, problem: Product) -> float:
        """max_i |C_i - R_i| over the rows, by the root mean square of |R_i|; NaN where one is."""
        if found.shape != expected.shape:
            return float("inf")
        errors, norms = (np.linalg.norm(values, axis=1) for values in (found - expected, expected))
        return float(np.max(errors) / np.sqrt(np.mean(norms**2)))

    def complaint(self, disagreement: float) -> str:
        """A sentence that says what is wrong."""
        return f"wrong: a row of its product is off that in float64 by {disagreement:.2g} of a row's norm"


def product_rows(sizes: Sequence[int], batch_size: int) -> list[ProductRow]:
    """Every product at every size."""
    return [ProductRow(product, size, batch_size) for product in PRODUCTS for size in dict.fromkeys(sizes)]
