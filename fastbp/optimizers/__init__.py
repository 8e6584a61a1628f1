"""Optimizers: their settings, and the compiled updates that follow from them."""

from .settings import SGD, Adam, AdamW, DivergenceError, Nadam, Optimizer, RMSprop, Rprop

__all__ = ["SGD", "Adam", "AdamW", "DivergenceError", "Nadam", "Optimizer", "RMSprop", "Rprop"]
