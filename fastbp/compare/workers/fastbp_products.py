"""fastbp: the three products by a backend's own kernels, repeated in compiled code."""

from typing import Any

VARIANTS = ("its own kernels, repeated in compiled code",)


class Trainer:
    """A product by the kernels of the backend; see `compare.kernels`."""

    def __init__(self, problem: Any, variant: str) -> None:
        import importlib

        from fastbp.backends import backend_named

        name = backend_named(problem.options["backend"])[0]  # that for which "auto" stands here
        self.variant = f"{variant}, backend {name}"
        self.kernels = importlib.import_module(f"fastbp.compare.kernels.{name}").Products(problem)

    def reset(self) -> None:
        """The initial dW."""
        self.kernels.reset()

    def train(self, epochs: int) -> None:
        """Compute the product `epochs` times."""
        self.kernels.repeat(epochs)

    def result(self) -> Any:
        """The matrix."""
        return self.kernels.result()


def versions(options: Any) -> dict[str, str]:
    """The versions of what fastbp computes with."""
    from fastbp.compare.workers import fastbp_fit

    return fastbp_fit.versions(options)
