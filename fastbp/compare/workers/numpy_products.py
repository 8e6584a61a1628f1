"""NumPy's three products: np.matmul into arrays that exist, a row for each sample."""

from typing import Any

import numpy as np

VARIANTS = ("np.matmul with out=, b and dW added after it, called from Python",)


class Trainer:
    """A call from Python for each."""

    def __init__(self, problem: Any, variant: str) -> None:
        self.problem, self.variant = problem, variant
        self.a, self.e, self.dW = np.zeros_like(problem.delta), np.zeros_like(problem.h), problem.dW.copy()
        self.product = np.zeros_like(problem.dW)

    def reset(self) -> None:
        """The initial dW."""
        self.dW[:] = self.problem.dW

    def train(self, epochs: int) -> None:
        """Compute the product `epochs` times."""
        p = self.problem
        if p.product == "W h":
            for _ in range(epochs):
                np.matmul(p.h, p.W.T, out=self.a)
                np.add(self.a, p.b, out=self.a)
        elif p.product == "Wᵀδ":
            for _ in range(epochs):
                np.matmul(p.delta, p.W, out=self.e)
        else:
            for _ in range(epochs):
                np.matmul(p.delta.T, p.h, out=self.product)
                np.add(self.dW, self.product, out=self.dW)

    def result(self) -> Any:
        """The matrix."""
        return {"W h": self.a, "Wᵀδ": self.e, "δhᵀ": self.dW}[self.problem.product]


def versions(options: Any) -> dict[str, str]:
    """NumPy's."""
    return {"numpy": np.__version__}
