"""fastbp: `MLP.fit` with one backend, as a user calls it; on a GPU, with samples that lie there beforehand."""

from typing import Any

VARIANTS = ("fit",)


class Trainer:
    """net.fit(X, d, shuffle=…), timed with everything that a call of `fit` does."""

    def __init__(self, problem: Any, variant: str) -> None:
        from fastbp import MLP
        from fastbp.backends.tiles.online import MIN_STEPS, is_worth_compiling

        self.problem = problem
        self.net = MLP(problem.widths, activation=problem.activation, loss=problem.loss, dtype=problem.theta.dtype,
                       seed=0, backend=problem.options["backend"], products=problem.options.get("products"))
        products = "" if self.net.products is None else f", {self.net.products} products"
        self.variant = f"{variant}, backend {self.net.backend}{products}"  # that for which "auto" stands here
        self.X, self.d, self.on_gpu = problem.X, problem.d, self.net.backend == "cuda"
        if self.on_gpu:
            from fastbp.backends.gpu.driver import cuda

            self.X, self.d = cuda.to_device(problem.X), cuda.to_device(problem.d)
        has_kernels = self.net.backend == "tiled" and self.net.products is None
        if has_kernels and is_worth_compiling(problem.widths, problem.batch_size, MIN_STEPS):
            # Users have tiny networks trained that long; a shorter training would be another contestant.
            self.least_epochs = -(-MIN_STEPS // problem.steps)
            self.variant += ", with the kernel that trainings of this network get that are long enough"

    def reset(self) -> None:
        """The initial parameters; `fit` starts its optimizer anew by itself."""
        self.net.backend_module.memory.write(self.net.theta, self.problem.theta)

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        from fastbp import SGD, Adam

        p = self.problem
        optimizer = {"sgd": SGD, "adam": Adam}[p.optimizer](p.learning_rate)
        self.net.fit(self.X, self.d, optimizer=optimizer, epochs=epochs, batch_size=p.batch_size, shuffle=p.shuffle,
                     progress=False)

    def result(self) -> Any:
        """The parameters."""
        theta: Any = self.net.theta
        return theta.copy_to_host() if self.on_gpu else theta


def versions(options: Any) -> dict[str, str]:
    """The versions of what fastbp computes with; the threading layer is known once a parallel kernel has run."""
    import llvmlite
    import numba
    import numpy

    import fastbp
    from fastbp.backends import backend_named

    backend_named(options["backend"])  # what it needs may be missing
    found = {"fastbp": fastbp.__version__, "numba": numba.__version__, "llvmlite": llvmlite.__version__,
             "numpy": numpy.__version__}
    if options["backend"] != "cuda":
        try:
            layer = str(numba.threading_layer())
        except ValueError:
            layer = "none started"
        return {**found, "threading layer": layer}
    from importlib.metadata import version

    from fastbp.compare.gpu import gpu_name

    return {**found, "numba-cuda": version("numba-cuda"), "GPU": gpu_name()}
