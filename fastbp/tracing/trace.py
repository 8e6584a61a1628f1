"""`Trace`: what one sample's pass forward and back computes, every quantity by its name."""

from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from ..backends import backend_named
from ..backends.contract import NO_EXTRAS, NO_ORDER, Batch, Wanted
from ..backends.linking import standardizing
from ..checks.messages import shown
from ..layout import bias_vector, layer, weight_matrix
from ..network import Network
from .text import text_of


@dataclass(frozen=True, eq=False)
class Trace:
    """One sample's pass: h_0 = x; a_k = W_k h_{k-1} + b_k; h_k = g_k(a_k); δ_k = e_k ⊙ g'_k(a_k); e_{k-1} = W_kᵀ δ_k.

    `MLP.trace` makes it. Lists are indexed by the layer, as in the formulas: ``a[1]`` is a_1, and ``a[0]`` is None
    where there is no such thing. ``print(trace)`` shows all of it in lines of at most 100 characters.

    Attributes
    ----------
    widths : tuple of int
        N_0 … N_L.
    activations : tuple of str
        g_1 … g_L.
    loss : str
    x, d : ndarray (N_0,), (N_L,)
        The sample, and its target; a label is a row with a one.
    h : list of ndarray
        h_0 … h_L.
    a, delta, W, b, dW, db : list of ndarray
        a_k, δ_k, W_k, b_k, ∂E/∂W_k = δ_k h_{k-1}ᵀ and ∂E/∂b_k = δ_k for k = 1 … L, after None.
    e : list of ndarray
        e_0 = ∇_x E, up to e_L = ∇_y E.
    E : float
        L(y; d).
    """

    widths: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    E: float
    x: np.ndarray
    d: np.ndarray
    h: list[np.ndarray]
    e: list[np.ndarray]
    a: list[Any] = field(default_factory=list)
    delta: list[Any] = field(default_factory=list)
    W: list[Any] = field(default_factory=list)
    b: list[Any] = field(default_factory=list)
    dW: list[Any] = field(default_factory=list)
    db: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return text_of(self)

    def plot(self, path: "str | PathLike[str]") -> None:
        """Draw the network twice, with what went forward and with what came back, and write the picture.

        Nodes are coloured by h_k, and on the right by δ_k, e_0 at the inputs. Edges are as wide as |W_k| and |∂E/∂W_k|
        are large. Wide layers are drawn in groups of units: a group has the value of largest magnitude, and an edge
        between groups the mean magnitude. Of many edges between two layers, the widest are drawn.

        Parameters
        ----------
        path : path
            The suffix says the format: .png, .svg, .pdf, …

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from .picture import figure_of
        figure_of(self).savefig(path, dpi=150)


def trace(net: Network, x: Any, d: Any) -> Trace:
    """The trace of one sample; see `MLP.trace`."""
    samples = net.checked_samples(_one(x), np.reshape(d, (1, -1)) if np.ndim(d) else np.reshape(d, 1), None)
    loops: Any = backend_named("loops", net.products)[1]
    layout = standardizing(loops.linked(net.sizes, net.activation_records, net.loss_record, net.dtype),
                           net.standardization, net.products)
    work, grad = loops.workspace(layout, net.dtype, 1), np.zeros(layout.size, net.dtype)
    E0, no_rows = np.zeros((1, net.widths[0]), net.dtype), np.zeros((0, net.widths[-1]), net.dtype)
    theta = net.theta_on_host()
    E, _ = loops.propagate(theta, layout, Batch(samples, NO_ORDER, 0, 1), 0.0, Wanted(grad, no_rows, E0, np.zeros(0)),
                           NO_EXTRAS, work, 1)
    depth = len(net.widths) - 1

    def of_layers(values: np.ndarray, first: int) -> list[Any]:
        return [None] * first + [layer(values[0], layout, k).copy() for k in range(first, depth + 1)]

    def of_parameters(part: Any, values: np.ndarray) -> list[Any]:
        return [None, *(part(values, layout, k).copy() for k in range(1, depth + 1))]

    return Trace(net.widths, net.activations, net.loss, float(E), np.array(x, dtype=float), work.d[0].copy(),
                 of_layers(work.h, 0), of_layers(work.e, 0), of_layers(work.a, 1), of_layers(work.delta, 1),
                 of_parameters(weight_matrix, theta), of_parameters(bias_vector, theta),
                 of_parameters(weight_matrix, grad), of_parameters(bias_vector, grad))


def _one(x: Any) -> np.ndarray:
    """One sample as a row."""
    if np.ndim(x) != 1:
        raise ValueError(f"x: expected one sample, a vector of its features, found {shown(x)}")
    return np.asarray(x)[None]
