"""Initial weights, drawn from a seeded NumPy generator; biases begin at zero.

Each initializer scales W_k so that the variance of the units stays about the same from layer to layer:

=========  ==================================================  ==========================================
name       W_k                                                 source
=========  ==================================================  ==========================================
"glorot"   uniform in ±√(6 / (N_{k-1} + N_k))                  Glorot & Bengio (2010)
"he"       normal with variance 2 / N_{k-1}                    He, Zhang, Ren & Sun (2015)
"lecun"    normal with variance 1 / N_{k-1}                    LeCun, Bottou, Orr & Müller (1998)
"zeros"    0
=========  ==================================================  ==========================================
"""

from collections.abc import Callable

import numpy as np


def _glorot(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    bound = np.sqrt(6.0 / (n_in + n_out))
    return rng.uniform(-bound, bound, (n_out, n_in))


def _he(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    return rng.normal(0.0, np.sqrt(2.0 / n_in), (n_out, n_in))


def _lecun(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    return rng.normal(0.0, np.sqrt(1.0 / n_in), (n_out, n_in))


def _zeros(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    return np.zeros((n_out, n_in))


INITIALIZERS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "glorot": _glorot, "he": _he, "lecun": _lecun, "zeros": _zeros}


def require_initializer(name: str) -> None:
    """Refuse what is neither "auto" nor the name of an initializer.

    Raises
    ------
    TypeError, ValueError
    """
    if not isinstance(name, str):
        raise TypeError(f"initializer: expected a name, found {name!r}")
    if name != "auto" and name not in INITIALIZERS:
        raise ValueError(f"initializer: unknown initializer {name!r}; expected one of auto, {', '.join(INITIALIZERS)}")
