"""FANN, the Fast Artificial Neural Network Library, by its Python module fann2.

A batch of one sample is its incremental training: `train_on_data` takes all epochs in one call. Another batch is an
epoch of its batch training on these samples alone, `train_epoch`. Units have a steepness of 1 and errors are linear, so
that its formulas are the ones here; g' of a tanh near ±1 is that of ±0.98. It has neither relu nor Adam nor a cross
entropy, and the module computes in float32.
"""

import os
import re
import tempfile
from itertools import pairwise
from typing import Any

VARIANTS = ("train_on_data or train_epoch, steepness 1",)

#: The names of its activations.
ACTIVATIONS = {"identity": "LINEAR", "logistic": "SIGMOID", "tanh": "SIGMOID_SYMMETRIC"}


class Trainer:
    """A network of FANN's, and its training data, a part for each batch."""

    def __init__(self, problem: Any, variant: str) -> None:
        from fann2 import libfann

        online = problem.batch_size == 1
        for lacks, what in ((problem.activation not in ACTIVATIONS, problem.activation),
                            (problem.loss != "squared_error", problem.loss),
                            (problem.optimizer != "sgd", problem.optimizer),
                            (problem.theta.dtype != "float32", f"training in {problem.theta.dtype}"),
                            (problem.shuffle and not online, "batches of shuffled samples")):
            if lacks:
                raise ValueError(f"FANN has no {what}")
        self.problem = problem
        self.variant = "incremental, train_on_data" if online else "batch, train_epoch for every batch"
        self.net = libfann.neural_net()
        self.net.create_standard_array(problem.widths)
        self.net.set_training_algorithm(libfann.TRAIN_INCREMENTAL if online else libfann.TRAIN_BATCH)
        self.net.set_train_error_function(libfann.ERRORFUNC_LINEAR)
        self.net.set_learning_rate(problem.learning_rate)
        self.net.set_activation_function_hidden(getattr(libfann, ACTIVATIONS[problem.activation]))
        self.net.set_activation_function_output(libfann.LINEAR)
        # a logistic function is 1 / (1 + exp(-2 s a)) there
        self.net.set_activation_steepness_hidden(0.5 if problem.activation == "logistic" else 1.0)
        self.net.set_activation_steepness_output(1.0)
        self.parts = []
        for start in range(0, len(problem.X), len(problem.X) if online else problem.batch_size):
            rows = slice(start, None if online else start + problem.batch_size)
            part = libfann.training_data()
            part.set_train_data(problem.X[rows].tolist(), problem.d[rows].tolist())
            self.parts.append(part)

    def reset(self) -> None:
        """The initial parameters."""
        theta, first = iter(self.problem.theta.tolist()), 0  # the number of a layer's first unit; its last is the bias
        for n_in, n_out in pairwise(self.problem.widths):
            there = first + n_in + 1
            for sources in (range(first, first + n_in), (first + n_in,)):
                for i in range(there, there + n_out):
                    for j in sources:
                        self.net.set_weight(j, i, next(theta))
            first = there

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        if self.problem.batch_size == 1 and not self.problem.shuffle:
            self.net.train_on_data(self.parts[0], epochs, 0, 0.0)
            return
        for _ in range(epochs):
            if self.problem.shuffle:
                self.parts[0].shuffle_train_data()
            for part in self.parts:
                self.net.train_epoch(part)

    def result(self) -> Any:
        """The parameters; the Python module gives them in files alone."""
        import numpy as np

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net")
            self.net.save(path)
            with open(path, encoding="ascii") as file:
                text = file.read()
        found = re.findall(r"\(\d+, ([^ ,)]+)\)", text.partition("(connected_to_neuron, weight)=")[2])
        weights, start, layers = np.array(found, np.float64), 0, []
        for n_in, n_out in pairwise(self.problem.widths):
            rows = weights[start : start + n_out * (n_in + 1)].reshape(n_out, n_in + 1)
            layers += [rows[:, :-1].ravel(), rows[:, -1]]
            start += rows.size
        return np.concatenate(layers)


def versions(options: Any) -> dict[str, str]:
    """The Python module's, where it is installed as a package; the library does not say its own."""
    from importlib.metadata import PackageNotFoundError, version

    import fann2.libfann  # noqa: F401

    try:
        return {"fann2": version("fann2")}
    except PackageNotFoundError:
        return {"fann2": "not known"}
