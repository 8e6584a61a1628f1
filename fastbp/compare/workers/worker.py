"""One contestant's process: reads a request a line from standard input, answers it in a line on standard output.

Requests and answers are JSON objects; arrays travel as files. An answer with "error" says what failed,
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

#: An epoch in order that takes longer than this number of measurements is cut to the batches that take one.
LONG_EPOCH = 4.0

#: Steps of one training at the most; a measurement repeats it from the start. On noise, weights that do not matter go
#: to 0: after two million steps of `online` they were so small that the processor took twice as long for each step.
MOST_STEPS = 2**19


class Training(NamedTuple):
    """What is to be trained: mean gradients of batches, h_k = g(a_k) in hidden layers and y = a_L.

    Trainings that are timed take the samples in a new order every epoch if `shuffle` says so; the one that is checked
    takes them as they lie, because every library draws another order.
    """

    widths: list           # N_0 … N_L
    activation: str        # identity, logistic, tanh or relu
    loss: str              # squared_error with its ½, softmax_cross_entropy, or binary_cross_entropy of logits
    batch_size: int
    optimizer: str         # sgd or adam
    learning_rate: float
    threads: int
    options: dict          # of this contestant
    X: Any                 # (n, N_0)
    d: Any                 # (n,) labels, or (n, N_L) targets, which are 0 or 1 for binary_cross_entropy
    theta: Any             # (P,) the initial W_1, b_1, …, each W_k (N_k, N_{k-1}) row by row
    shuffle: bool = False

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return len(self.X) // self.batch_size

    @property
    def can_be_cut(self) -> bool:
        """Whether a step of some batches takes as long as one of all of them.

        Not where they are shuffled: rows from all over n samples come from memory, those of a few batches from a cache.
        """
        return self.steps > 1 and not self.shuffle

    def cut(self, steps: int) -> "Training":
        """The same with an epoch of the first batches alone."""
        n = min(steps, self.steps) * self.batch_size
        return self._replace(X=self.X[:n], d=self.d[:n])

    def checked(self, steps: int) -> "Training":
        """The first batches in order, which are held against the formulas."""
        return self.cut(steps)._replace(shuffle=False)


class Product(NamedTuple):
    """One of the three products, for all samples: a = W h + b, e = Wᵀ δ, or dW + δ hᵀ summed over the samples."""

    product: str           # W h, Wᵀδ or δhᵀ
    threads: int
    options: dict          # of this contestant
    W: Any                 # (N, M)
    b: Any                 # (N,)
    h: Any                 # (S, M), a row for each sample
    delta: Any             # (S, N)
    dW: Any                # (N, M) to which δ hᵀ is added

    @property
    def steps(self) -> int:
        """An epoch is the product once."""
        return 1

    @property
    def can_be_cut(self) -> bool:
        """There is nothing to cut."""
        return False

    def checked(self, steps: int) -> "Product":
        """The same."""
        return self


KINDS: Any = {"training": Training, "product": Product}


class Worker:
    """The requests, each a method."""

    def __init__(self, module: Any, threads: int, options: dict) -> None:
        self.module, self.threads, self.options = module, threads, options
        self.problem: Any = None
        self.trainer: Any = None
        self.variant = ""
        self.epochs = self.steps = self.trainings = 1

    def prepare(self, kind: str, arrays: str, **settings: Any) -> dict:
        """Take a new problem."""
        import numpy as np

        self.trainer = None
        with np.load(arrays) as file:
            self.problem = KINDS[kind](threads=self.threads, options=self.options, **file, **settings)
        return {}

    def warm_up(self, seconds: float) -> dict:
        """Compile, choose the fastest variant, and find how many epochs take about `seconds`.

        The first training of a variant is reported: it is what a user waits for, with all that compiles in it.
        """
        found = []
        for variant in self.module.VARIANTS:
            problem, trainer = self.problem, self.module.Trainer(self.problem, variant)
            timed = least = getattr(trainer, "least_epochs", 1)
            first = self._time(trainer, timed)
            taken = self._time(trainer, timed)
            if least == 1 and problem.can_be_cut and taken > LONG_EPOCH * seconds:
                problem = problem.cut(max(1, round(problem.steps * seconds / taken)))
                trainer = self.module.Trainer(problem, variant)
                self._time(trainer, 1)
                taken = self._time(trainer, 1)
            most = max(least, MOST_STEPS // problem.steps)
            while taken < CALIBRATION_SHARE * seconds and timed < most:
                factor = min(8.0, max(2.0, CALIBRATION_SHARE * seconds / taken))
                timed = min(most, math.ceil(timed * factor))
                taken = self._time(trainer, timed)
            epochs = min(most, max(least, math.ceil(seconds * timed / taken)))
            found.append((taken / (timed * problem.steps), first, timed, epochs, variant, trainer, problem.steps))
        each, first, timed, self.epochs, self.variant, self.trainer, self.steps = min(found, key=lambda entry: entry[0])
        self.trainings = max(1, round(seconds / (each * self.epochs * self.steps)))
        if self.epochs > timed:
            self._time(self.trainer, self.epochs)  # a long training may compile what a short one did not need
        return {"variant": self.trainer.variant, "first_seconds": first, "epochs": self.epochs}

    def check(self, steps: int, to: str) -> dict:
        """Write the result of some steps, in order, by the variant that `warm_up` chose, to be compared."""
        import numpy as np

        problem = self.problem.checked(steps)
        trainer = self.module.Trainer(problem, self.variant)
        trainer.reset()
        trainer.train(-(-steps // problem.steps))
        np.save(to, np.asarray(trainer.result(), np.float64))
        return {}

    def measure(self) -> dict:
        """Seconds of one step, from the initial state every time."""
        steps = self.epochs * self.steps * self.trainings
        return {"seconds": sum(self._time(self.trainer, self.epochs) for _ in range(self.trainings)) / steps,
                "steps": steps}

    def ceiling(self, dtype: str) -> dict:
        """Floating-point operations in a second on one core, or on the GPU; for the workers that measure this."""
        return {"flops_per_second": self.module.fma_ceiling(dtype)}

    def describe(self, blas: str) -> dict:
        """Versions of what runs here, and the BLAS of the package named, if one is; or in a sentence why it cannot."""
        try:
            versions = {"python": sys.version.split()[0], **self.module.versions(self.options)}
        except RuntimeError as error:  # such as that there is no GPU
            return {"error": str(error)}
        return {"versions": versions, **({"blas": blas_of(blas)} if blas else {})}

    @staticmethod
    def _time(trainer: Any, epochs: int) -> float:
        clock = getattr(trainer, "clock", time.perf_counter)
        trainer.reset()
        begin = clock()
        trainer.train(epochs)
        return float(clock() - begin)


def blas_of(package: str) -> str:
    """The BLAS that a package brings along, or the one that is there, and the processor whose kernels it chose."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "not known: threadpoolctl is not installed"
    libraries = [info for info in threadpool_info() if info["user_api"] == "blas"]
    own = [info for info in libraries if {package, f"{package}.libs"} & set(info["filepath"].split(os.sep))]
    return ", ".join(f"{info['internal_api']} {info['version']}, {info.get('architecture', 'core not known')}"
                     for info in own or libraries) or "not known"


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
        except ImportError as error:
            absent = error.__cause__ if isinstance(error.__cause__, ModuleNotFoundError) else error
            answer = {"error": str(error)}
            if isinstance(absent, ModuleNotFoundError):
                answer["missing"] = (absent.name or "").split(".")[0]
        except Exception as error:  # of a library: whatever it is, it ends this contestant and not the comparison
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
