"""fastbp: a version of `compare.steps`, or the backend that comes after them, for products and for training."""

import time
from typing import Any

VARIANTS = ("",)

#: The clock of the calling thread has to be this fine, in seconds; on Windows it is not.
FINE = 1e-5


class Trainer:
    """What a version of one thread computes is timed by that thread's own clock."""

    def __init__(self, problem: Any, variant: str) -> None:
        import importlib

        from fastbp.compare.steps.one_version import Products, Steps
        from fastbp.compare.workers import fastbp_fit, fastbp_products

        is_product = hasattr(problem, "product")
        version = problem.options["version"]
        if version == "tiled":
            self.own: Any = (fastbp_products if is_product else fastbp_fit).Trainer(problem, "fit")
        else:
            kernels = importlib.import_module(f"fastbp.compare.steps.{version}")
            self.own = (Products if is_product else Steps)(kernels, problem)
        self.variant = f"{problem.threads} thread{'s' if problem.threads > 1 else ''}"
        if hasattr(self.own, "least_epochs"):
            self.least_epochs = self.own.least_epochs
        if problem.threads == 1 and time.get_clock_info("thread_time").resolution < FINE:
            self.clock = time.thread_time
        self.reset, self.train, self.result = self.own.reset, self.own.train, self.own.result


def versions(options: Any) -> dict[str, str]:
    """The versions of what it computes with."""
    from fastbp.compare.workers import fastbp_fit

    return fastbp_fit.versions({"backend": "blas" if options["version"] == "np_dot" else "tiled"})
