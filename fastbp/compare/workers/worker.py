"""One contestant's process: reads a request a line from standard input, answers it in a line on standard output.

Requests and answers are JSON objects; parameters and samples travel as files. An answer with "error" says what failed,
and with "missing" which package is not installed. This file must not import fastbp: it also runs where fastbp is not.
"""

import importlib.util
import json
import math
import os
import sys
import time
from typing import Any, NamedTuple

#: Epochs that take this share of a measurement tell how many make up a whole one.
CALIBRATION_SHARE = 0.25


class Problem(NamedTuple):
    """What is to be trained: mean gradients of batches in order, h_k = g(a_k) in hidden layers and y = a_L."""

    widths: list           # N_0 … N_L
    activation: str        # identity, logistic, tanh or relu
    loss: str              # squared_error with its ½, or softmax_cross_entropy
    batch_size: int
    optimizer: str         # sgd or adam
    learning_rate: float
    threads: int
    options: dict          # of this contestant
    X: Any                 # (n, N_0)
    d: Any                 # (n,) labels or (n, N_L) targets
    theta: Any             # (P,) the initial W_1, b_1, …, each W_k (N_k, N_{k-1}) row by row


class Worker:
    """The requests, each a method."""

    def __init__(self, module: Any, threads: int, options: dict) -> None:
        self.module, self.threads, self.options = module, threads, options
        self.problem: Any = None
        self.trainer: Any = None
        self.variant = ""
        self.epochs = 1

    def prepare(self, arrays: str, **settings: Any) -> dict:
        """Take a new problem."""
        import numpy as np

        self.trainer = None
        with np.load(arrays) as file:
            self.problem = Problem(threads=self.threads, options=self.options, X=file["X"], d=file["d"],
                                   theta=file["theta"], **settings)
        return {}

    def warm_up(self, seconds: float) -> dict:
        """Compile, choose the fastest variant, and find how many epochs take about so many seconds.

        The first training of a variant is reported: it is what a user waits for, with all that compiles in it.
        """
        found = []
        for variant in self.module.VARIANTS:
            trainer = self.module.Trainer(self.problem, variant)
            first = self._time(trainer, 1)
            epochs, taken = 1, self._time(trainer, 1)
            while taken < CALIBRATION_SHARE * seconds:
                epochs = math.ceil(epochs * min(8.0, max(2.0, CALIBRATION_SHARE * seconds / taken)))
                taken = self._time(trainer, epochs)
            found.append((taken / epochs, first, variant, trainer))
        each, first, self.variant, self.trainer = min(found, key=lambda entry: entry[0])
        self.epochs = max(1, math.ceil(seconds / each))
        self._time(self.trainer, self.epochs)  # a long training may compile what a short one did not need
        return {"variant": self.trainer.variant, "first_seconds": first, "epochs": self.epochs}

    def check(self, steps: int, to: str) -> dict:
        """Write the parameters after some steps of the variant that `warm_up` chose, to be compared."""
        import numpy as np

        batches = len(self.problem.X) // self.problem.batch_size
        n = min(steps, batches) * self.problem.batch_size
        trainer = self.module.Trainer(self.problem._replace(X=self.problem.X[:n], d=self.problem.d[:n]),
                                      self.variant)
        trainer.reset()
        trainer.train(-(-steps // batches))
        np.save(to, np.asarray(trainer.theta(), np.float64))
        return {}

    def measure(self) -> dict:
        """Seconds of one training step, from the initial parameters every time."""
        steps = self.epochs * (len(self.problem.X) // self.problem.batch_size)
        return {"seconds": self._time(self.trainer, self.epochs) / steps, "steps": steps}

    def ceiling(self, dtype: str) -> dict:
        """Floating-point operations in a second on one core; for the one worker that measures this."""
        return {"flops_per_second": self.module.fma_ceiling(dtype)}

    def describe(self) -> dict:
        """Versions of what runs here."""
        return {"versions": {"python": sys.version.split()[0], **self.module.versions()}}

    @staticmethod
    def _time(trainer: Any, epochs: int) -> float:
        trainer.reset()
        begin = time.perf_counter()
        trainer.train(epochs)
        return time.perf_counter() - begin


def load(path: str) -> Any:
    """The module in that file."""
    spec: Any = importlib.util.spec_from_file_location("contestant", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer requests until standard input ends, which it also does when the asking process dies."""
    start = json.loads(sys.argv[1])
    # The files beside this one are loaded by path; as a place to import from, their folder only hides other packages.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    if start["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, start["cores"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    worker = Worker(load(start["module"]), start["threads"], start["options"])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except ModuleNotFoundError as error:
            answer = {"error": str(error), "missing": (error.name or "").split(".")[0]}
        except Exception as error:  # of a library: whatever it is, it ends this contestant and not the comparison
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
