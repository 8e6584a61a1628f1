"""Optimizers: their settings, their rules, and the compiled updates that follow from them."""

from .optimizer import DivergenceError, Optimizer
from .settings import SGD, Adam, AdamW, Nadam, RMSprop, Rprop

__all__ = ["SGD", "Adam", "AdamW", "DivergenceError", "Nadam", "Optimizer", "RMSprop", "Rprop"]
