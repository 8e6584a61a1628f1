"""The activations of a panel in the first-level cache, in time per element: a nanosecond is some five cycles."""

import numpy as np

from fastbp.functions.activations import ACTIVATIONS, BY_NAME, apply_panel, delta_panel

from . import panels
from .repeating import Timed

UNITS = 64


def draw(dtype: str) -> np.ndarray:
    """Numbers of a panel, as preactivations are."""
    return np.random.default_rng(0).normal(0.0, 2.0, (UNITS, panels.lanes(dtype))).astype(dtype)


class Activation(Timed):
    """h = g(a)."""

    params = ([activation.name for activation in ACTIVATIONS], ["float32", "float64"])
    param_names = ("activation", "dtype")

    def setup(self, activation: str, dtype: str) -> None:
        a = panels.panel(draw(dtype))
        self.calls = panels.repeated(apply_panel, BY_NAME[activation], a, panels.panel(0 * a), units=UNITS)

    def time_element(self, activation: str, dtype: str) -> None:
        self.calls()


class Derivative(Timed):
    """δ = e ⊙ g'(a)."""

    params, param_names = Activation.params, Activation.param_names

    def setup(self, activation: str, dtype: str) -> None:
        a = panels.panel(draw(dtype))
        h, e, delta = panels.panel(0 * a), panels.panel(a[::-1]), panels.panel(0 * a)
        panels.repeated(apply_panel, BY_NAME[activation], a, h, units=UNITS)()
        self.calls = panels.repeated(delta_panel, BY_NAME[activation], a, h, e, delta, units=UNITS)

    def time_element(self, activation: str, dtype: str) -> None:
        self.calls()
