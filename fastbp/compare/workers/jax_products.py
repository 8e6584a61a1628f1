"""JAX's three products: each a compiled function of the matrices, a row for each sample.

Repetitions are calls from Python: in one compiled loop XLA would take the product, which never changes, out of it.
"""

from typing import Any

VARIANTS = ("a jitted function called from Python, dW donated",)


class Trainer:
    """A call from Python for each; all of them are done when `train` returns."""

    def __init__(self, problem: Any, variant: str) -> None:
        import jax

        jax.config.update("jax_enable_x64", problem.W.dtype == "float64")
        self.problem, self.variant = problem, variant
        self.W, self.b, self.h, self.delta = (
            jax.device_put(values) for values in (problem.W, problem.b, problem.h, problem.delta))
        self.sums = jax.jit(lambda W, b, h: h @ W.T + b)
        self.errors = jax.jit(lambda W, delta: delta @ W)
        self.gradient = jax.jit(lambda dW, delta, h: dW + delta.T @ h, donate_argnums=0)

    def reset(self) -> None:
        """The initial dW."""
        import jax
        import jax.numpy as jnp

        self.found = jax.block_until_ready(jnp.array(self.problem.dW))

    def train(self, epochs: int) -> None:
        """Compute the product `epochs` times."""
        import jax

        if self.problem.product == "W h":
            for _ in range(epochs):
                self.found = self.sums(self.W, self.b, self.h)
        elif self.problem.product == "Wᵀδ":
            for _ in range(epochs):
                self.found = self.errors(self.W, self.delta)
        else:
            for _ in range(epochs):
                self.found = self.gradient(self.found, self.delta, self.h)
        jax.block_until_ready(self.found)

    def result(self) -> Any:
        """The matrix."""
        return self.found


def versions(options: Any) -> dict[str, str]:
    """JAX's and its compiler's."""
    import jax
    import jaxlib

    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
