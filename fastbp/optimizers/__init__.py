"""Optimizers: their settings, their rules, and the compiled updates that follow from them."""

from .full_batch import LBFGS, LevenbergMarquardt
from .optimizer import DivergenceError, Optimizer
from .settings import SGD, Adam, AdamW, Nadam, RMSprop, Rprop

__all__ = ["LBFGS", "SGD", "Adam", "AdamW", "DivergenceError", "LevenbergMarquardt", "Nadam", "Optimizer",
           "RMSprop", "Rprop"]
