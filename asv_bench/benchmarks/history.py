"""What can be measured on every commit since the first that trained: the figures of the picture of the history.

So only calls are made that were there from the beginning, of a network whose backend is the default of its commit, and
the other side of a ratio is written here, in NumPy, which no commit changes. What a first fit takes is measured in
fresh processes, as in `compiling`.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

import fastbp

from .repeating import OWN_TIME, ratio

#: Of a turn.
TURN_SECONDS = 0.04

#: In trainings of so many one-sample steps tiny networks have kernels of their own.
LONG = 2**18

RATE = 0.01


@dataclass(frozen=True)
class Work:
    """Training by SGD on the mean gradient of batches that are taken in order; the last layer is the identity."""

    widths: tuple[int, ...]
    activation: str
    loss: str
    batch_size: int
    samples: int

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X, labels or targets as fastbp takes them, and targets as a matrix, in float32."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.samples, self.widths[0]), np.float32)
        if self.loss == "squared_error":
            d = rng.standard_normal((self.samples, self.widths[-1]), np.float32)
            return X, d, d
        d = rng.integers(0, self.widths[-1], self.samples)
        return X, d, np.eye(self.widths[-1], dtype=np.float32)[d]


#: Five networks of `fastbp compare`, by their names there.
WORKS = {
    "online": Work((2, 8, 1), "tanh", "squared_error", 1, 2048),
    "tiny": Work((2, 16, 1), "tanh", "squared_error", 32, 2048),
    "tabular-32": Work((8, 32, 32, 1), "relu", "squared_error", 32, 2048),
    "digits": Work((64, 100, 10), "relu", "softmax_cross_entropy", 64, 2048),
    "mnist-128": Work((784, 128, 10), "relu", "softmax_cross_entropy", 128, 2048),
}


class Training:
    """A training step over the same step in NumPy, both on one thread: 0.1 is a tenth of NumPy's time."""

    params = tuple(WORKS)
    param_names = ("workload",)
    unit = "times NumPy's time"

    def setup(self, workload: str) -> None:
        """Compile, and find how many epochs take as long as a turn."""
        getattr(fastbp, "set_num_threads", numba.set_num_threads)(1)
        work = WORKS[workload]
        X, d, D = work.draw()
        network = fastbp.MLP(list(work.widths), activation=work.activation, loss=work.loss, seed=0)
        self.start, self.network = network.theta.copy(), network

        def fit(epochs: int) -> None:
            network.theta[:] = self.start
            network.fit(X, d, optimizer=fastbp.SGD(RATE), epochs=epochs, batch_size=work.batch_size, shuffle=False,
                        progress=False)

        self.fastbp_epoch = in_turns(fit, LONG // work.samples if work.batch_size == 1 else 1)
        self.numpy_epoch = in_turns(numpy_steps(work, X, D))

    def track_over_numpy(self, workload: str) -> float:
        return ratio(self.fastbp_epoch, self.numpy_epoch)


class FirstFit:
    """The first training of a process, 64-100-10 in float32: with an empty kernel cache, and from a full one.

    Processes that compile beside it count for the processor's time, and not for the memory. How long a user waits is
    measured by `compiling`, and lengthened by other programs.
    """

    params = ("compiling", "from the cache")
    param_names = ("kernels",)

    def setup_cache(self) -> dict[str, list[dict[str, float]]]:
        """Of a process with an empty cache, and of three others after it."""
        with tempfile.TemporaryDirectory() as folder:
            results = [json.loads(subprocess.run([sys.executable, "-c", FIRST_FIT, folder], check=True,
                                                 capture_output=True).stdout) for _ in range(4)]
        return {"compiling": results[:1], "from the cache": results[1:]}

    def track_processor_seconds(self, results: dict[str, list[dict[str, float]]], kernels: str) -> float:
        return min(result["processor"] for result in results[kernels])

    def track_peak_memory(self, results: dict[str, list[dict[str, float]]], kernels: str) -> float:
        return min(result["bytes"] for result in results[kernels])

    track_processor_seconds.unit = "seconds"  # type: ignore[attr-defined]
    track_peak_memory.unit = "bytes"  # type: ignore[attr-defined]


#: It prints the seconds of the processor, and the largest memory of the process.
FIRST_FIT = """
import json, os, resource, sys
os.environ["NUMBA_CACHE_DIR"] = sys.argv[1]
import numpy as np
import fastbp
rng = np.random.default_rng(0)
X, d = rng.standard_normal((256, 64)).astype(np.float32), rng.integers(0, 10, 256)
net = fastbp.MLP([64, 100, 10], seed=0)
before = os.times()
net.fit(X, d, batch_size=64, epochs=1, progress=False)
after = os.times()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"processor": sum(after[:4]) - sum(before[:4]), "bytes": peak}))
"""


def in_turns(train: Callable[[int], None], least: int = 1) -> Callable[[], float]:
    """A function that trains for about a turn, and at least for so many epochs, and returns the seconds of one."""
    def seconds(epochs: int) -> float:
        begin = OWN_TIME()
        train(epochs)
        return (OWN_TIME() - begin) / epochs

    seconds(1)
    epochs = 1
    while (taken := epochs * seconds(epochs)) < TURN_SECONDS / 8:
        epochs *= 4
    epochs = max(least, math.ceil(epochs * TURN_SECONDS / taken))
    seconds(epochs)  # long trainings may compile what short ones do not need
    return lambda: seconds(epochs)


def numpy_steps(work: Work, X: np.ndarray, D: np.ndarray) -> Callable[[int], None]:
    """A function that trains for a number of epochs by the formulas, each of which is a call of NumPy on a batch."""
    rng = np.random.default_rng(0)
    shapes = list(zip(work.widths[1:], work.widths[:-1], strict=True))
    start = [rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(shape[1])) for shape in shapes]

    def train(epochs: int) -> None:
        layers = [(W.copy(), np.zeros(len(W), np.float32)) for W in start]
        for _ in range(epochs):
            for begin in range(0, work.samples, work.batch_size):
                batch = slice(begin, begin + work.batch_size)
                step(layers, X[batch], D[batch])

    def step(layers: list[tuple[np.ndarray, np.ndarray]], h: np.ndarray, D: np.ndarray) -> None:
        inputs = []
        for k, (W, b) in enumerate(layers):
            inputs.append(h)
            h = h @ W.T
            h += b
            if k + 1 < len(layers):
                (np.tanh if work.activation == "tanh" else relu)(h, out=h)
        if work.loss == "softmax_cross_entropy":
            h -= h.max(axis=1, keepdims=True)
            np.exp(h, out=h)
            h /= h.sum(axis=1, keepdims=True)
        delta = h
        delta -= D
        delta *= np.float32(1 / len(D))
        for (W, b), h in zip(reversed(layers), reversed(inputs), strict=True):
            dW, db = delta.T @ h, delta.sum(axis=0)
            if h is not inputs[0]:
                delta = delta @ W
                delta *= 1 - h * h if work.activation == "tanh" else h > 0
            W -= np.float32(RATE) * dW
            b -= np.float32(RATE) * db

    return train


def relu(a: np.ndarray, out: np.ndarray) -> np.ndarray:
    return np.maximum(a, 0, out=out)
