"""Keras: `Sequential`, `compile` and `fit`, on the backend that the environment names (KERAS_BACKEND).

On JAX steps are compiled by XLA, and `steps_per_execution` is what the documentation advises for small networks: as
many steps in one call. On PyTorch they are eager, as by default; compiled (`jit_compile=True`) they took as long, and
some 20 s to compile (Keras 3.15, PyTorch 2.13). Adam's ε stands where scikit-learn has it.
"""

import math
import os
from itertools import pairwise
from typing import Any

#: By backend: jit_compile, and steps_per_execution at the most.
WAYS = {"jax": {"one step at a time": (True, 1), "many steps at a time": (True, 16)}, "torch": {"eager": (False, 1)}}

VARIANTS = tuple(WAYS[os.environ.get("KERAS_BACKEND", "jax")])

#: Keras adds it to √v and the formulas to √(v / (1 - 0.999^t)): so both are one in the first step.
EPSILON = 1e-8 * (1 - 0.999) ** 0.5


class Trainer:
    """model.fit(X, d, batch_size, epochs, shuffle=…, verbose=0)."""

    def __init__(self, problem: Any, variant: str) -> None:
        import keras

        if keras.backend.backend() == "torch":
            import torch

            torch.set_num_threads(problem.threads)
        elif problem.theta.dtype == "float64":
            import jax

            jax.config.update("jax_enable_x64", True)
        jit, most = WAYS[keras.backend.backend()][variant]
        together = math.gcd(problem.steps, most)  # or the last ones of an epoch would be compiled for themselves
        self.problem, self.variant = problem, f"jit_compile={jit}, steps_per_execution={together}"
        dtype = str(problem.theta.dtype)
        keras.config.set_floatx(dtype)
        g = {"identity": "linear", "logistic": "sigmoid"}.get(problem.activation, problem.activation)
        widths = problem.widths
        self.model = keras.Sequential([keras.Input((widths[0],), dtype=dtype), *(
            keras.layers.Dense(n, activation=g if k < len(widths) - 1 else None, dtype=dtype)
            for k, n in enumerate(widths[1:], 1))])
        optimizer = {"sgd": lambda: keras.optimizers.SGD(problem.learning_rate),
                     "adam": lambda: keras.optimizers.Adam(problem.learning_rate, epsilon=EPSILON)}[problem.optimizer]()
        self.model.compile(optimizer, loss_of(problem.loss), jit_compile=jit, steps_per_execution=together)
        optimizer.build(self.model.trainable_variables)

    def reset(self) -> None:
        """The initial parameters, and an optimizer that has taken no step."""
        weights, start, theta = [], 0, self.problem.theta
        for n_in, n_out in pairwise(self.problem.widths):
            weights += [theta[start : start + n_out * n_in].reshape(n_out, n_in).T,
                        theta[start + n_out * n_in : start + n_out * (n_in + 1)]]
            start += n_out * (n_in + 1)
        self.model.set_weights(weights)
        for variable in self.model.optimizer.variables:
            if variable.path.rpartition("/")[2] != "learning_rate":
                variable.assign(0 * variable)

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        p = self.problem
        self.model.fit(p.X, p.d, batch_size=p.batch_size, epochs=epochs, shuffle=p.shuffle, verbose=0)

    def result(self) -> Any:
        """The parameters."""
        import keras
        import numpy as np

        return np.concatenate([np.ravel(keras.ops.convert_to_numpy(part.value).T) for part in self.model.weights])


def loss_of(name: str) -> Any:
    """Of a batch: E of each sample, whose mean Keras takes."""
    from keras import losses, ops

    return {"squared_error": lambda d, Y: 0.5 * ops.sum(ops.square(Y - d), axis=-1),
            "softmax_cross_entropy": losses.SparseCategoricalCrossentropy(from_logits=True),
            "binary_cross_entropy": lambda d, Y: ops.sum(ops.softplus(Y) - d * Y, axis=-1)}[name]


def versions(options: Any) -> dict[str, str]:
    """Keras's, and its backend's."""
    import importlib

    import keras

    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}
