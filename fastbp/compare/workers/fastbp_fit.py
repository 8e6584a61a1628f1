"""fastbp: `MLP.fit` with one backend, as a user calls it."""

from typing import Any

VARIANTS = ("fit",)


class Trainer:
    """net.fit(X, d, shuffle=False), timed with everything that a call of `fit` does."""

    def __init__(self, problem: Any, variant: str) -> None:
        from fastbp import MLP
        from fastbp.backends.tiles.online import MIN_STEPS, is_worth_compiling

        self.problem = problem
        self.net = MLP(problem.widths, activation=problem.activation, loss=problem.loss, dtype=problem.theta.dtype,
                       seed=0, backend=problem.options["backend"])
        self.variant = f"{variant}, backend {self.net.backend}"  # that for which "auto" stands here
        if self.net.backend == "tiled" and is_worth_compiling(problem.widths, problem.batch_size, MIN_STEPS):
            # Users have tiny networks trained that long; a shorter training would be another contestant.
            self.least_epochs = -(-MIN_STEPS // problem.steps)
            self.variant += ", with the kernel that trainings of this network get that are long enough"

    def reset(self) -> None:
        """The initial parameters; `fit` starts its optimizer anew by itself."""
        self.net.theta[:] = self.problem.theta

    def train(self, epochs: int) -> None:
        """All batches in order, so many times."""
        from fastbp import SGD, Adam

        p = self.problem
        optimizer = {"sgd": SGD, "adam": Adam}[p.optimizer](p.learning_rate)
        self.net.fit(p.X, p.d, optimizer=optimizer, epochs=epochs, batch_size=p.batch_size, shuffle=False,
                     progress=False)

    def result(self) -> Any:
        """The parameters."""
        return self.net.theta


def versions(options: Any) -> dict[str, str]:
    """Of what fastbp computes with; the threading layer is known once a parallel kernel has run."""
    import llvmlite
    import numba
    import numpy

    import fastbp
    from fastbp.backends import backend_named

    backend_named(options["backend"])  # what it needs may be missing
    try:
        layer = str(numba.threading_layer())
    except ValueError:
        layer = "none started"
    return {"fastbp": fastbp.__version__, "numba": numba.__version__, "llvmlite": llvmlite.__version__,
            "numpy": numpy.__version__, "threading layer": layer}
