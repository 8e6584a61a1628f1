"""What a network may be made of: widths, activations and a dtype that go together."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .activations import Activation, activation_named
from .inputs import require_whole


def checked_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """N_0 … N_L, at least two."""
    if isinstance(widths, str) or not hasattr(widths, "__iter__"):
        raise TypeError(f"widths: expected a sequence of whole numbers N_0 … N_L, found {widths!r}")
    checked = tuple(require_whole(f"widths[{k}]", width, at_least=1) for k, width in enumerate(widths))
    if len(checked) < 2:
        raise ValueError(f"widths: expected at least the number of inputs and of outputs, found {list(checked)}")
    if sum(n_out * (n_in + 1) for n_in, n_out in pairwise(checked)) >= 2**48:
        raise ValueError(f"widths: expected fewer than 2^48 parameters, found {list(checked)}")
    return checked


def checked_activations(activation: str | Activation | Sequence[str | Activation],
                        output_activation: str | Activation, depth: int) -> tuple[Activation, ...]:
    """g_1 … g_L, from one name for the hidden layers and one for the last, or from a list."""
    if isinstance(activation, str | Activation):
        hidden, last = activation_named(activation, "activation"), activation_named(output_activation,
                                                                                    "output_activation")
        found = [hidden] * (depth - 1) + [last]
    elif not isinstance(activation, Sequence):
        raise TypeError(f"activation: expected the name of an activation or a list of names, found {activation!r}")
    else:
        if len(activation) != depth:
            raise ValueError(f"activation: expected one name, or one for each of {depth} layers, found "
                             f"{len(activation)}")
        found = [activation_named(name, f"activation of layer {k}") for k, name in enumerate(activation, 1)]
    names = [g.name for g in found]
    if "softmax" in names[:-1]:
        raise ValueError(f"activation: softmax is for the last layer, found it at layer {names.index('softmax') + 1} "
                         f"of {depth}")
    return tuple(found)


def checked_dtype(dtype: Any) -> np.dtype:
    """float32 or float64."""
    try:
        checked = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype: expected 'float32' or 'float64', found {dtype!r}") from None
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected 'float32' or 'float64', found {dtype!r}")
    return checked
