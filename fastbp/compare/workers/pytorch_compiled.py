"""PyTorch with the whole step, gradient and update, in one graph of `torch.compile`.

`torch.func.grad` is what makes it one graph: it took 58 µs on the workload digits, where compiling the loss and
`optimizer.step` took 172, and a compiled function that calls `backward` 178 (PyTorch 2.13 on AVX-512).
"""

from itertools import pairwise
from typing import Any

VARIANTS = ("torch.compile(fullgraph=True)",)


class Trainer:
    """A compiled function that takes the parameters one step on, in place."""

    def __init__(self, problem: Any, variant: str) -> None:
        import torch

        torch.set_num_threads(problem.threads)
        torch._dynamo.reset()  # or the problems of one process count as recompilations of one function, and are limited
        self.problem, self.variant = problem, variant
        X, d = torch.from_numpy(problem.X), torch.from_numpy(problem.d)
        self.batches = list(zip(X.split(problem.batch_size), d.split(problem.batch_size), strict=True))
        self.compiled = torch.compile(self._step, fullgraph=True)

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        import torch

        theta = torch.from_numpy(self.problem.theta.copy())
        self.parameters, start = [], 0
        for n_in, n_out in pairwise(self.problem.widths):
            for shape in ((n_out, n_in), (n_out,)):
                size = torch.Size(shape).numel()
                self.parameters.append(theta[start : start + size].reshape(shape).clone())
                start += size
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.t = torch.zeros((), dtype=theta.dtype)

    def train(self, epochs: int) -> None:
        """All batches in order, so many times."""
        import torch

        with torch.no_grad():
            for _ in range(epochs):
                for X, d in self.batches:
                    self.t = self.compiled(self.parameters, self.m, self.v, self.t, X, d)

    def _step(self, parameters: Any, m: Any, v: Any, t: Any, X: Any, d: Any) -> Any:
        """θ, m and v in place; the number of steps as a new tensor, because threads that read it while one of them
        wrote it gave NaN."""
        import torch

        gradient = torch.func.grad(self._loss)(parameters, X, d)
        rate = self.problem.learning_rate
        if self.problem.optimizer == "sgd":
            for p, g in zip(parameters, gradient, strict=True):
                p.sub_(rate * g)
            return t
        t = t + 1
        for p, g, m_p, v_p in zip(parameters, gradient, m, v, strict=True):
            m_p.mul_(0.9).add_(0.1 * g)
            v_p.mul_(0.999).add_(0.001 * g * g)
            p.sub_(rate * (m_p / (1 - 0.9**t)) / ((v_p / (1 - 0.999**t)).sqrt() + 1e-8))
        return t

    def _loss(self, parameters: Any, h: Any, d: Any) -> Any:
        """E / |S|."""
        import torch
        from torch.nn import functional

        g = {"identity": lambda a: a, "logistic": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
        for k in range(0, len(parameters), 2):
            a = functional.linear(h, parameters[k], parameters[k + 1])
            h = a if k + 2 == len(parameters) else g[self.problem.activation](a)
        if self.problem.loss == "softmax_cross_entropy":
            return functional.cross_entropy(h, d)
        return functional.mse_loss(h, d, reduction="sum") * (0.5 / len(h))

    def result(self) -> Any:
        """The parameters."""
        import torch

        return torch.cat([p.reshape(-1) for p in self.parameters]).numpy()


def versions(options: Any) -> dict[str, str]:
    """PyTorch's."""
    import torch

    return {"torch": torch.__version__}
