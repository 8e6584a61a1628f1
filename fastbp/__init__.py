"""fastbp: multilayer perceptrons trained by backpropagation, as explicit loops compiled by Numba.

>>> import numpy as np, fastbp
>>> net = fastbp.MLP([2, 8, 2], activation="tanh", seed=0)
>>> X = np.random.default_rng(0).normal(size=(200, 2))
>>> history = net.fit(X, (X[:, 0] * X[:, 1] > 0).astype(int), optimizer=fastbp.Adam(0.02), epochs=60, batch_size=20)
>>> history["accuracy"][-1] > 0.9
True
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .compiling.interrupts import held_back

with held_back():  # modules of Numba that are half imported cannot be imported again
    from . import schedules, training
    from .functions.activations import Activation
    from .functions.losses import HuberLoss, Loss, QuantileLoss
    from .mlp import MLP, from_torch, load, load_safetensors, save_safetensors
    from .optimizers import SGD, Adam, AdamW, DivergenceError, Nadam, Optimizer, RMSprop, Rprop
    from .optimizers.full_batch import LBFGS, LevenbergMarquardt
    from .streams import Parquet, Shards
    from .threads import get_num_threads, set_num_threads
    from .training.callbacks import EarlyStopping
    from .training.history import History
    from .training.many import fit_many
    from .training.workers import WorkerError

try:
    __version__ = version("fastbp")
except PackageNotFoundError:  # used from a folder that was not installed
    __version__ = "0+unknown"

__all__ = ["LBFGS", "MLP", "SGD", "Activation", "Adam", "AdamW", "DivergenceError", "EarlyStopping", "History",
           "HuberLoss", "LevenbergMarquardt", "Loss", "Nadam", "Optimizer", "Parquet", "QuantileLoss", "RMSprop",
           "Rprop", "Shards", "WorkerError", "fit_many", "from_torch", "get_num_threads", "load", "load_safetensors",
           "save_safetensors", "schedules", "set_num_threads", "training"]


def __getattr__(name: str) -> Any:
    if name == "jit":  # imported at its first use, because it imports a backend
        with held_back():
            return importlib.import_module(".jit", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
