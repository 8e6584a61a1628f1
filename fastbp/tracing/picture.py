"""A trace as a picture: the network as a lecture draws it, with what goes forward, and with what comes back."""

from typing import Any, NamedTuple

import numpy as np

from ..checks.figures import new_figure
from .text import sub

#: Layers of more units are drawn in this number of groups.
MOST_NODES = 16

#: The widest line, in points, and the number of lines that are drawn between two layers: those of the largest weights.
WIDEST, MOST_LINES = 3.0, 120


class _Layer(NamedTuple):
    """The nodes of a layer: the units of each, and where they stand."""

    units: list[np.ndarray]
    heights: np.ndarray


def figure_of(trace: Any) -> Any:
    """The picture as a figure of matplotlib."""
    layers = [_nodes_of(width) for width in trace.widths]
    most = max(len(layer.units) for layer in layers)
    figure = new_figure(2 * (2.2 + 1.5 * len(layers)), 2.4 + 0.36 * most)
    forward, back = figure.subplots(1, 2)
    depth = len(layers) - 1
    _draw(forward, layers, trace.h, trace.W, 1, [f"$h_{{{k}}}$" for k in range(depth + 1)], "h", "|W|")
    _draw(back, layers, [trace.e[0], *trace.delta[1:]], trace.dW, -1,
          ["$e_0$", *(f"$\\delta_{{{k}}}$" for k in range(1, depth + 1))], "e₀, δ", "|∂E/∂W|")
    forward.set_title(f"forward: x = h₀ on the left becomes h{sub(depth)} = y on the right")
    back.set_title(f"back: ∇E at the right becomes e₀ at the left; E = {trace.E:.4g}")
    return figure


def _nodes_of(width: int) -> _Layer:
    """The nodes of a layer, from the top."""
    units = np.array_split(np.arange(width), min(width, MOST_NODES))
    return _Layer(units, (len(units) - 1) / 2 - np.arange(len(units)))


def _draw(axes: Any, layers: list[_Layer], values: list[Any], weights: list[Any], direction: int, names: list[str],
          colour: str, width: str) -> None:
    """Draw one half of the picture.

    values : of each layer's units; weights : (N_k, N_{k-1}) of the layers from 1 on, by which edges are drawn.
    direction : 1 where arrows point to the right, -1 to the left.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    shown = [np.array([_largest(values[k][units]) for units in layer.units]) for k, layer in enumerate(layers)]
    bound = max(float(np.abs(np.concatenate(shown)).max()), 1e-300)
    colours = ScalarMappable(Normalize(-bound, bound), "RdBu_r")
    for k in range(1, len(layers)):
        left, right = layers[k - 1], layers[k]
        means = np.array([[np.abs(weights[k][np.ix_(i, j)]).mean() for j in left.units] for i in right.units])
        share = means / max(float(means.max()), 1e-300)
        i, j = np.unravel_index(np.argsort(-share, axis=None)[:MOST_LINES], share.shape)
        begin = np.stack([np.full(len(j), k - 1.0), left.heights[j]], axis=1)
        end = np.stack([np.full(len(i), float(k)), right.heights[i]], axis=1)
        axes.add_collection(LineCollection(np.stack([begin, end], axis=1).tolist(), linewidths=WIDEST * share[i, j],
                                           colors=[(0.25, 0.25, 0.25, 0.1 + 0.7 * alpha) for alpha in share[i, j]],
                                           zorder=1))
    tallest = max(len(layer.units) for layer in layers)
    size = 260.0 if tallest <= 10 else 110.0
    for k, layer in enumerate(layers):
        axes.scatter(np.full(len(layer.units), k), layer.heights, s=size, c=colours.to_rgba(shown[k]),
                     edgecolors="black", linewidths=0.8, zorder=2)
        units = sum(map(len, layer.units))
        said = f"{names[k]}\n{units} {'unit' if units == 1 else 'units'}"
        if units > len(layer.units):
            said += f"\nin {len(layer.units)} groups"
        axes.text(k, -tallest / 2 - 0.4, said, ha="center", va="top")
    top = tallest / 2 + 0.5
    ends = (0.0, len(layers) - 1.0)[::direction]
    axes.annotate("", xy=(ends[1], top), xytext=(ends[0], top),
                  arrowprops={"arrowstyle": "-|>", "lw": 2, "color": "black"})
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylim(-tallest / 2 - 1.2 - 0.08 * tallest, top + 0.3)
    axes.set_axis_off()
    axes.figure.colorbar(colours, ax=axes, shrink=0.7, label=f"nodes: {colour}; edges: {width}")


def _largest(values: np.ndarray) -> float:
    """The value of largest magnitude."""
    return float(values[np.abs(values).argmax()])
