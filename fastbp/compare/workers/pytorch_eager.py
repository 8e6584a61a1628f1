"""PyTorch as its tutorials train: modules, `zero_grad(set_to_none=True)`, backward, and an optimizer's step.

`options["device"]` is "cuda" for a GPU, where the samples lie beforehand, and `options["tf32"]` lets its products round
what they multiply to TF32. Shuffled, an epoch draws `torch.randperm` there, and `index_select` gathers the rows of each
batch: the step of the workload fashion took 606 µs so, and 688 by X[rows] (PyTorch 2.13 on AVX-512).
"""

from itertools import pairwise
from typing import Any

#: The implementations of an optimizer's step.
VARIANTS = ("foreach", "fused")


def losses() -> dict[str, Any]:
    """E / |S| from Y and d."""
    from torch.nn import functional

    return {"squared_error": lambda Y, d: functional.mse_loss(Y, d, reduction="sum") * (0.5 / len(Y)),
            "softmax_cross_entropy": functional.cross_entropy,
            "binary_cross_entropy": lambda Y, d: functional.binary_cross_entropy_with_logits(
                Y, d, reduction="sum") / len(Y)}


class Trainer:
    """nn.Sequential and torch.optim."""

    def __init__(self, problem: Any, variant: str) -> None:
        import torch

        torch.set_num_threads(problem.threads)
        self.problem, self.variant = problem, variant
        self.device = problem.options.get("device", "cpu")
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high" if problem.options["tf32"] else "highest")
            self.variant += ", TF32 products" if problem.options["tf32"] else ""
        modules: list[Any] = []
        for n_in, n_out in pairwise(problem.widths):
            modules += [torch.nn.Linear(n_in, n_out, dtype=torch.from_numpy(problem.theta[:1]).dtype),
                        {"identity": torch.nn.Identity, "logistic": torch.nn.Sigmoid, "tanh": torch.nn.Tanh,
                         "relu": torch.nn.ReLU}[problem.activation]()]
        self.model = torch.nn.Sequential(*modules[:-1]).to(self.device)
        self.loss_of = losses()[problem.loss]
        self.theta = torch.from_numpy(problem.theta).to(self.device)
        self.X, self.d = X, d = [torch.from_numpy(values).to(self.device) for values in (problem.X, problem.d)]
        self.order = torch.arange(len(X), device=self.device)
        self.batches = list(self.order.split(problem.batch_size) if problem.shuffle else
                            zip(X.split(problem.batch_size), d.split(problem.batch_size), strict=True))
        kind: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[problem.optimizer]
        settings = {"capturable": True} if problem.options.get("captured") and problem.optimizer == "adam" else {}
        self.optimizer = kind(self.model.parameters(), lr=problem.learning_rate, **{variant: True}, **settings)

    def reset(self) -> None:
        """The initial parameters, and averages of zero, each where it was before: a captured graph knows no other."""
        import torch

        with torch.no_grad():
            sizes = [p.numel() for p in self.model.parameters()]
            for p, start in zip(self.model.parameters(), self.theta.split(sizes), strict=True):
                p.copy_(start.view_as(p))
            for state in self.optimizer.state.values():
                for value in state.values():
                    if value is not None:
                        value.zero_()

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        for _ in range(epochs):
            self.draw()
            self.take(self.batches)
        self.wait()

    def draw(self) -> None:
        """A new order if there is to be one, written where the last was: a captured graph knows no other place."""
        import torch

        if self.problem.shuffle:
            torch.randperm(len(self.order), out=self.order, device=self.device)

    def take(self, batches: Any) -> None:
        """A step with each of these batches."""
        for X, d in self._samples_of(batches):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(X, d).backward()
            self.optimizer.step()

    def loss(self, X: Any, d: Any) -> Any:
        """E / |S|."""
        return self.loss_of(self.model(X), d)

    def _samples_of(self, batches: Any) -> Any:
        """(X, d) of each batch; shuffled, batches are parts of the order, and their rows are gathered in turn."""
        if not self.problem.shuffle:
            return batches
        return ((self.X.index_select(0, rows), self.d.index_select(0, rows)) for rows in batches)

    def wait(self) -> None:
        """Until the GPU has done all of it."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()

    def result(self) -> Any:
        """The parameters."""
        import torch

        return torch.nn.utils.parameters_to_vector(self.model.parameters()).detach().cpu().numpy()


def versions(options: Any) -> dict[str, str]:
    """PyTorch's, and the GPU's name; without one that PyTorch can use it raises an ImportError or RuntimeError."""
    import torch

    if options.get("device", "cpu") == "cpu":
        return {"torch": torch.__version__}
    if torch.version.cuda is None:
        raise ModuleNotFoundError("this PyTorch was built without CUDA", name="torch with CUDA")
    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no NVIDIA GPU that it can use")
    return {"torch": torch.__version__, "CUDA": torch.version.cuda, "GPU": torch.cuda.get_device_name()}
