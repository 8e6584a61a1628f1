"""PyTorch with the whole step, gradient and update, in one graph of `torch.compile`.

`torch.func.grad` is what makes it one graph: it took 58 µs on the workload digits, where compiling the loss and
`optimizer.step` took 172, and a compiled function that calls `backward` 178 (PyTorch 2.13 on AVX-512).

`options["device"]` is "cuda" for a GPU, where the samples lie beforehand, and `options["tf32"]` lets its products round
what they multiply to TF32. Shuffled, an epoch draws `torch.randperm` there, and `index_select` gathers the rows of each
batch before the compiled step: inside it, the step of the workload fashion took 1 to 2 % longer.
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
        self.device = problem.options.get("device", "cpu")
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high" if problem.options["tf32"] else "highest")
            self.variant += ", TF32 products" if problem.options["tf32"] else ""
        X, d, theta = (torch.from_numpy(values).to(self.device) for values in (problem.X, problem.d, problem.theta))
        self.X, self.d = X, d
        self.order = torch.arange(len(X), device=self.device)
        self.batches = list(self.order.split(problem.batch_size) if problem.shuffle else
                            zip(X.split(problem.batch_size), d.split(problem.batch_size), strict=True))
        shapes = [shape for n_in, n_out in pairwise(problem.widths) for shape in ((n_out, n_in), (n_out,))]
        parts = theta.split([torch.Size(shape).numel() for shape in shapes])
        self.initial = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        self.parameters = [part.clone() for part in self.initial]
        self.m, self.v = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self.t = torch.zeros((), dtype=theta.dtype, device=self.device)
        self.compiled = torch.compile(self._step, fullgraph=True)

    def reset(self) -> None:
        """The initial parameters, and averages of zero, each where it was before: a captured graph knows no other."""
        for p, start in zip(self.parameters, self.initial, strict=True):
            p.copy_(start)
        for values in (*self.m, *self.v, self.t):
            values.zero_()

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
        import torch

        counts_in_place = self.problem.options.get("captured") and self.problem.optimizer == "adam"
        with torch.no_grad():
            for X, d in self._samples_of(batches):
                t = self.compiled(self.parameters, self.m, self.v, self.t, X, d)
                self.t = self.t.copy_(t) if counts_in_place else t

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

    def _step(self, parameters: Any, m: Any, v: Any, t: Any, X: Any, d: Any) -> Any:
        """θ, m and v in place; the number of steps as a new tensor, because threads that read it while one of them
        wrote it gave NaN."""
        import torch

        gradient = torch.func.grad(self.loss)(parameters, X, d)
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

    def loss(self, parameters: Any, h: Any, d: Any) -> Any:
        """E / |S|."""
        import torch
        from torch.nn import functional

        g = {"identity": lambda a: a, "logistic": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
        for k in range(0, len(parameters), 2):
            a = functional.linear(h, parameters[k], parameters[k + 1])
            h = a if k + 2 == len(parameters) else g[self.problem.activation](a)
        if self.problem.loss == "softmax_cross_entropy":
            return functional.cross_entropy(h, d)
        if self.problem.loss == "binary_cross_entropy":
            return functional.binary_cross_entropy_with_logits(h, d, reduction="sum") / len(h)
        return functional.mse_loss(h, d, reduction="sum") * (0.5 / len(h))

    def result(self) -> Any:
        """The parameters."""
        import torch

        return torch.cat([p.reshape(-1) for p in self.parameters]).cpu().numpy()


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
