"""skorch: PyTorch's modules and optimizers, trained by the loop of `NeuralNet.partial_fit`.

It has no callbacks, which time and print every epoch, no rows held out, and PyTorch's fused step. Its batches come from
PyTorch's `DataLoader`, which collects them row by row, or from a class of the user's own, which `iterator_train` takes
and which gathers or cuts whole batches.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

VARIANTS = ("iterator_train of whole batches", "DataLoader")


class WholeBatches:
    """Batches as parts of both tensors; shuffled, their rows are gathered in turn."""

    def __init__(self, dataset: Any, batch_size: int, shuffle: bool) -> None:
        self.X, self.d, self.batch_size, self.shuffle = dataset.X, dataset.y, batch_size, shuffle

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """(X, d) of each batch."""
        import torch

        if not self.shuffle:
            return zip(self.X.split(self.batch_size), self.d.split(self.batch_size), strict=True)
        order = torch.randperm(len(self.X)).split(self.batch_size)
        return ((self.X.index_select(0, rows), self.d.index_select(0, rows)) for rows in order)


class Trainer:
    """`partial_fit`, which goes on where `fit` would begin anew."""

    def __init__(self, problem: Any, variant: str) -> None:
        import torch
        from skorch import NeuralNet
        from torch.nn import functional

        torch.set_num_threads(problem.threads)
        self.problem, self.variant = problem, f"{variant}, fused step, callbacks='disable', train_split=None"
        self.X, self.d, self.theta = (torch.from_numpy(values) for values in (problem.X, problem.d, problem.theta))
        criteria: dict[str, Any] = {
            "squared_error": lambda Y, d: functional.mse_loss(Y, d, reduction="sum") * (0.5 / len(Y)),
            "softmax_cross_entropy": functional.cross_entropy,
            "binary_cross_entropy": lambda Y, d: functional.binary_cross_entropy_with_logits(
                Y, d, reduction="sum") / len(Y)}
        loss = criteria[problem.loss]

        class Loss(torch.nn.Module):
            """skorch makes an object of a class."""

            def forward(self, Y: Any, d: Any) -> Any:
                return loss(Y, d)

        modules: list[Any] = []
        for n_in, n_out in pairwise(problem.widths):
            modules += [torch.nn.Linear(n_in, n_out, dtype=self.theta.dtype),
                        {"identity": torch.nn.Identity, "logistic": torch.nn.Sigmoid, "tanh": torch.nn.Tanh,
                         "relu": torch.nn.ReLU}[problem.activation]()]
        loader = {"iterator_train": WholeBatches} if variant == VARIANTS[0] else {}
        self.net = NeuralNet(
            torch.nn.Sequential(*modules[:-1]), Loss, lr=problem.learning_rate, batch_size=problem.batch_size,
            optimizer={"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[problem.optimizer], optimizer__fused=True,
            iterator_train__shuffle=problem.shuffle, train_split=None, callbacks="disable", verbose=0, **loader)
        self.net.initialize()

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        import torch

        with torch.no_grad():
            parameters = list(self.net.module_.parameters())
            sizes = [p.numel() for p in parameters]
            for p, start in zip(parameters, self.theta.split(sizes), strict=True):
                p.copy_(start.view_as(p))
            for state in self.net.optimizer_.state.values():
                for value in state.values():
                    if value is not None:
                        value.zero_()
        self.net.history_.clear()

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        self.net.partial_fit(self.X, self.d, epochs=epochs)

    def result(self) -> Any:
        """The parameters."""
        import torch

        return torch.nn.utils.parameters_to_vector(self.net.module_.parameters()).detach().numpy()


def versions(options: Any) -> dict[str, str]:
    """skorch's and PyTorch's."""
    import skorch
    import torch

    return {"skorch": skorch.__version__, "torch": torch.__version__}
