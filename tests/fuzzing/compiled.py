"""Random calls of `fastbp.jit` from Python: statuses, and typing errors of fastbp's own."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba.core.errors import NumbaError, TypingError

import fastbp
import fastbp.jit

from . import values
from .calls import _text
from .kind import Wrong, outcome_of
from .values import one_of

FUNCTIONS = {"forward": "theta layout x y work", "accumulate_gradient": "theta layout x d grad work",
             "input_gradient": "theta layout x d e_0 work", "input_jacobian": "theta layout x J work",
             "sgd_step": "theta grad rate", "adam_step": "theta grad averages t rate"}


class Case(NamedTuple):
    """A call with its arguments."""

    function: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"fastbp.jit.{self.function}({', '.join(f'{n}={_text(v)}' for n, v in self.arguments.items())})"


class Compiled:
    """Functions for compiled code, called from Python, mostly with other shapes: each new type compiles."""

    name, seconds = "compiled", 200.0

    def prepare(self, folder: Path) -> None:
        self.nets = [fastbp.MLP([3, 4, 2], activation="tanh", dtype=dtype, seed=0) for dtype in ("float32", "float64")]
        self.works = [fastbp.jit.workspace(net.layout, 4) for net in self.nets]

    def case(self, rng: np.random.Generator) -> Case:
        place = int(rng.integers(2))
        net, dtype, n = self.nets[place], self.nets[place].dtype, int(rng.integers(1, 6))
        good = {"theta": net.theta.copy(), "layout": net.layout, "x": rng.normal(size=(n, 3)).astype(dtype),
                "y": np.empty((n, 2), dtype), "d": rng.integers(0, 2, n), "grad": np.zeros(net.theta.size, dtype),
                "work": self.works[place], "e_0": np.empty((n, 3), dtype), "J": np.empty((n, 2, 3), dtype),
                "averages": np.zeros((2, net.theta.size), dtype), "t": 1, "rate": 0.1}
        function = one_of(rng, list(FUNCTIONS))
        arguments = {name: good[name] for name in FUNCTIONS[function].split()}
        for name in list(arguments):
            if rng.random() < 0.2:
                arguments[name] = self._odd(rng, name, good)
        return Case(function, arguments)

    def _odd(self, rng: np.random.Generator, name: str, good: dict[str, Any]) -> Any:
        value = good[name]
        if rng.random() < 0.02:
            return values.odd(rng)
        if name == "layout":
            return one_of(rng, self.nets).layout
        if name == "work":
            return one_of(rng, self.works) if rng.random() < 0.6 else self.works[0].copy()
        if not isinstance(value, np.ndarray):
            return one_of(rng, [0, -1, 2**62] if isinstance(value, int) else [0.0, -1.0, np.nan, np.inf])
        shape = tuple(int(size) for size in np.maximum(0, np.array(value.shape) + rng.integers(-1, 2, value.ndim)))
        found = np.zeros(shape, value.dtype)
        if found.size and value.dtype.kind == "f":
            found.flat[int(rng.integers(found.size))] = one_of(rng, [np.nan, np.inf, 1e38, -0.0])
        elif found.size:
            found.flat[int(rng.integers(found.size))] = one_of(rng, [-1, 2, 2**62, -2**63])
        return found

    def run(self, case: Case) -> str:
        arguments = {name: value.copy() if isinstance(value, np.ndarray) and name not in ("work", "x", "d") else value
                     for name, value in case.arguments.items()}
        status: list[Any] = []

        def call() -> None:
            try:
                status.append(getattr(fastbp.jit, case.function)(*arguments.values()))
            except (TypingError, TypeError) as error:
                words = str(error)
                if not isinstance(error, NumbaError) or "fastbp.jit:" in words or "etermine Numba type" in words:
                    raise TypeError("refused by its types") from None
                raise

        word = outcome_of(call)
        if status and not 0 <= int(status[0][-1] if isinstance(status[0], tuple) else status[0]) <= fastbp.jit.BUSY:
            raise Wrong(f"the status {status[0]}")
        return word
