"""PyTorch as its tutorials train: modules, `zero_grad(set_to_none=True)`, backward, and an optimizer's step."""

from itertools import pairwise
from typing import Any

#: The implementations of an optimizer's step.
VARIANTS = ("foreach", "fused")


class Trainer:
    """nn.Sequential and torch.optim."""

    def __init__(self, problem: Any, variant: str) -> None:
        import torch

        torch.set_num_threads(problem.threads)
        self.problem, self.variant = problem, variant
        modules: list[Any] = []
        for n_in, n_out in pairwise(problem.widths):
            modules += [torch.nn.Linear(n_in, n_out, dtype=torch.from_numpy(problem.theta[:1]).dtype),
                        {"identity": torch.nn.Identity, "logistic": torch.nn.Sigmoid, "tanh": torch.nn.Tanh,
                         "relu": torch.nn.ReLU}[problem.activation]()]
        self.model = torch.nn.Sequential(*modules[:-1])
        X, d = torch.from_numpy(problem.X), torch.from_numpy(problem.d)
        self.batches = list(zip(X.split(problem.batch_size), d.split(problem.batch_size), strict=True))

    def reset(self) -> None:
        """The initial parameters, and a new optimizer."""
        import torch

        torch.nn.utils.vector_to_parameters(torch.from_numpy(self.problem.theta.copy()), self.model.parameters())
        kind: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.problem.optimizer]
        self.optimizer = kind(self.model.parameters(), lr=self.problem.learning_rate, **{self.variant: True})

    def train(self, epochs: int) -> None:
        """All batches in order, so many times."""
        from torch.nn import functional

        cross_entropy = self.problem.loss == "softmax_cross_entropy"
        for _ in range(epochs):
            for X, d in self.batches:
                self.optimizer.zero_grad(set_to_none=True)
                Y = self.model(X)
                if cross_entropy:
                    E = functional.cross_entropy(Y, d)
                else:
                    E = functional.mse_loss(Y, d, reduction="sum") * (0.5 / len(X))
                E.backward()
                self.optimizer.step()

    def result(self) -> Any:
        """The parameters."""
        import torch

        return torch.nn.utils.parameters_to_vector(self.model.parameters()).detach().numpy()


def versions(options: Any) -> dict[str, str]:
    """PyTorch's."""
    import torch

    return {"torch": torch.__version__}
