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

from collections.abc import Callable, Iterator

import numpy as np


def _glorot(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> np.ndarray:
    bound = np.sqrt(6.0 / (n_in + n_out))
    return rng.uniform(-bound, bound, count)


def _he(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> np.ndarray:
    return rng.normal(0.0, np.sqrt(2.0 / n_in), count)


def _lecun(rng: np.random.Generator, n_in: int, n_out: int, count: int) -> np.ndarray:
    return rng.normal(0.0, np.sqrt(1.0 / n_in), count)


#: The functions that draw the next `count` weights of a layer, by the name of the initializer; None for zeros.
INITIALIZERS: dict[str, Callable[[np.random.Generator, int, int, int], np.ndarray] | None] = {
    "glorot": _glorot, "he": _he, "lecun": _lecun, "zeros": None}

#: The weights that are drawn at once: in float64 they fit into the second-level cache, and take little memory.
_DRAWN_TOGETHER = 2**16


def drawn_weights(name: str, rng: np.random.Generator, n_in: int, n_out: int) -> Iterator[np.ndarray]:
    """W_k, row by row, in pieces in float64; no piece for "zeros".

    Generators draw number after number, so that the pieces have the bits of one draw.
    """
    draw, size = INITIALIZERS[name], n_in * n_out
    if draw is not None:
        for start in range(0, size, _DRAWN_TOGETHER):
            yield draw(rng, n_in, n_out, min(_DRAWN_TOGETHER, size - start))
