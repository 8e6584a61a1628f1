"""PyTorch's three products: torch.addmm and torch.mm into tensors that exist, a row for each sample."""

from typing import Any

VARIANTS = ("addmm(out=), mm(out=) and addmm_ in inference mode, called from Python",)


class Trainer:
    """A call from Python for each."""

    def __init__(self, problem: Any, variant: str) -> None:
        import torch

        torch.set_num_threads(problem.threads)
        self.problem, self.variant = problem, variant
        self.W, self.b, self.h, self.delta, self.start = (
            torch.from_numpy(values) for values in (problem.W, problem.b, problem.h, problem.delta, problem.dW))
        self.a, self.e, self.dW = torch.zeros_like(self.delta), torch.zeros_like(self.h), self.start.clone()

    def reset(self) -> None:
        """The initial dW."""
        self.dW.copy_(self.start)

    def train(self, epochs: int) -> None:
        """Compute the product `epochs` times."""
        import torch

        with torch.inference_mode():
            if self.problem.product == "W h":
                for _ in range(epochs):
                    torch.addmm(self.b, self.h, self.W.T, out=self.a)
            elif self.problem.product == "Wᵀδ":
                for _ in range(epochs):
                    torch.mm(self.delta, self.W, out=self.e)
            else:
                for _ in range(epochs):
                    self.dW.addmm_(self.delta.T, self.h)

    def result(self) -> Any:
        """The matrix."""
        return {"W h": self.a, "Wᵀδ": self.e, "δhᵀ": self.dW}[self.problem.product].numpy()


def versions(options: Any) -> dict[str, str]:
    """PyTorch's."""
    import torch

    return {"torch": torch.__version__}
