"""JAX: all epochs in one compiled function, `fori_loop` over epochs of `scan` over batches, parameters donated.

The samples lie on the device as (steps, batch, features), class targets as one-hot rows. Shuffled, they lie as (n,
features), and every epoch draws `jax.random.permutation` with a new key, along which each step gathers its rows: to
gather those of the whole epoch first took 40 % longer (jaxlib 0.10 on AVX-512). SGD and Adam are written by hand,
which spares what an optimizer library would add.
"""

from itertools import pairwise
from typing import Any

#: How a weight matrix lies in memory. Which is faster depends on the batch size: for a single sample (N_{k-1}, N_k)
#: took a third of the time of the other, for 128 samples 5 % more (XLA of jaxlib 0.10 on AVX-512).
VARIANTS = ("h @ W with W (N_{k-1}, N_k)", "h @ W.T with W (N_k, N_{k-1})")


class Trainer:
    """A compiled function of the parameters, the samples and the number of epochs."""

    def __init__(self, problem: Any, variant: str) -> None:
        import jax

        jax.config.update("jax_enable_x64", problem.theta.dtype == "float64")
        import numpy as np

        self.problem, self.variant, self.transposed = problem, variant, variant == VARIANTS[1]
        n, outputs = len(problem.X), problem.widths[-1]
        one_hot = problem.loss == "softmax_cross_entropy"
        targets = np.eye(outputs, dtype=problem.theta.dtype)[problem.d] if one_hot else problem.d
        rows = (n,) if problem.shuffle else (n // problem.batch_size, problem.batch_size)
        self.X, self.D = (jax.device_put(values.reshape(*rows, -1)) for values in (problem.X, targets))
        self.key = jax.random.key(0)
        self.compiled = jax.jit(self._epochs, donate_argnums=0)

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        import jax
        import jax.numpy as jnp

        layers, start = [], 0
        for n_in, n_out in pairwise(self.problem.widths):
            W = self.problem.theta[start : start + n_out * n_in].reshape(n_out, n_in)
            b = self.problem.theta[start + n_out * n_in : start + n_out * (n_in + 1)]
            layers.append((jnp.array(W if self.transposed else W.T), jnp.array(b)))
            start += n_out * (n_in + 1)
        averages = [jax.tree.map(jnp.zeros_like, layers) for _ in range(2 if self.problem.optimizer == "adam" else 0)]
        self.state = jax.block_until_ready((layers, averages, jnp.zeros((), self.problem.theta.dtype)))

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        import jax

        self.state, self.key = jax.block_until_ready(self.compiled(self.state, self.key, self.X, self.D, epochs))

    def _epochs(self, state: Any, key: Any, X: Any, D: Any, epochs: Any) -> Any:
        import jax
        from jax import lax

        def in_order(_: Any, now: Any) -> Any:
            state, key = now
            return lax.scan(self._step, state, (X, D))[0], key

        def shuffled(_: Any, now: Any) -> Any:
            state, key = now
            key, drawn = jax.random.split(key)
            order = jax.random.permutation(drawn, len(X)).reshape(-1, self.problem.batch_size)
            return lax.scan(lambda now, rows: self._step(now, (X[rows], D[rows])), state, order)[0], key

        return lax.fori_loop(0, epochs, shuffled if self.problem.shuffle else in_order, (state, key))

    def _step(self, state: Any, batch: Any) -> Any:
        import jax
        import jax.numpy as jnp

        layers, averages, t = state
        gradient = jax.grad(self._loss)(layers, *batch)
        rate = self.problem.learning_rate
        if self.problem.optimizer == "sgd":
            return (jax.tree.map(lambda p, g: p - rate * g, layers, gradient), averages, t), None
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, averages[0], gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, averages[1], gradient)
        layers = jax.tree.map(
            lambda p, m, v: p - rate * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), layers, m, v)
        return (layers, [m, v], t), None

    def _loss(self, layers: Any, h: Any, d: Any) -> Any:
        """E / |S|."""
        import jax
        import jax.numpy as jnp

        g = {"identity": lambda a: a, "logistic": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}
        for k, (W, b) in enumerate(layers, 1):
            a = (h @ W.T if self.transposed else h @ W) + b
            h = a if k == len(layers) else g[self.problem.activation](a)
        if self.problem.loss == "squared_error":
            return 0.5 * jnp.sum((h - d) ** 2) / len(h)
        if self.problem.loss == "binary_cross_entropy":
            return jnp.sum(jax.nn.softplus(h) - d * h) / len(h)
        return -jnp.sum(d * jax.nn.log_softmax(h)) / len(h)

    def result(self) -> Any:
        """The parameters."""
        import numpy as np

        parts = [np.ravel(part) for W, b in self.state[0] for part in (W if self.transposed else W.T, b)]
        return np.concatenate(parts)


def versions(options: Any) -> dict[str, str]:
    """JAX's and its compiler's."""
    import jax
    import jaxlib

    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
