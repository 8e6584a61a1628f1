"""The losses of a panel with ten outputs, in time per element: E, ∇_y E, and whether each sample is correct."""

import numpy as np

from fastbp.functions.losses import BY_NAME, LOSSES, OUTCOME_ROWS, evaluate_panel

from . import panels
from .repeating import Timed

UNITS = 10


class Loss(Timed):
    """E = L(y; d), e = ∇_y E; targets are one class for each sample."""

    params = ([loss.name for loss in LOSSES], ["float32", "float64"])
    param_names = ("loss", "dtype")

    def setup(self, loss: str, dtype: str) -> None:
        rng, samples = np.random.default_rng(0), panels.lanes(dtype)
        # Probabilities, because one of the losses takes the logarithm of its y.
        y = panels.panel(rng.dirichlet(np.ones(UNITS), samples).T.astype(dtype))
        d = panels.panel(np.eye(UNITS)[:, rng.integers(0, UNITS, samples)].astype(dtype))
        outcome = panels.panel(np.zeros((OUTCOME_ROWS, samples), dtype))
        self.calls = panels.repeated(evaluate_panel, BY_NAME[loss], y, d, panels.panel(0 * y), outcome, units=UNITS)

    def time_element(self, loss: str, dtype: str) -> None:
        self.calls()
