"""One update of P parameters by each optimizer, as its `step` is called from Python."""

from functools import partial

import numpy as np

from fastbp import SGD, Adam, AdamW, RMSprop

from .repeating import Repeated, Timed, use_threads

OPTIMIZERS = {"SGD": SGD(0.01), "SGD, momentum": SGD(0.01, momentum=0.9), "RMSprop": RMSprop(), "Adam": Adam(),
              "AdamW": AdamW()}


class Update(Timed):
    """θ ← θ - change(g), then g = 0: P = 10^4 stays in the second-level cache, 10^6 does not.

    The gradient is random in the first step and zero in the others, which no loop looks at. Running averages shrink to
    a tenth in 22 steps of that; of more than some hundred they would become subnormal, and slow.
    """

    params = (list(OPTIMIZERS), [10_000, 1_000_000], ["float32", "float64"])
    param_names = ("optimizer", "parameters", "dtype")

    def setup(self, optimizer: str, parameters: int, dtype: str) -> None:
        use_threads(1)
        rng = np.random.default_rng(0)
        theta, grad = (rng.standard_normal(parameters).astype(dtype) for _ in range(2))
        chosen = OPTIMIZERS[optimizer]
        self.calls = Repeated(partial(chosen.step, theta, grad, chosen.start(theta)), most=100)

    def time_step(self, optimizer: str, parameters: int, dtype: str) -> None:
        self.calls()
