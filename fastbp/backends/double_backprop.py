"""E with derivatives as targets, and its gradient, as they are written: double backpropagation.

With J = ∂y/∂x and D its target, w ½ λ ‖J - D‖² is added to the E = w L(y; d) of a sample [1]_. Column j of J is how y
changes along x_j. For the layers k = 1 … L and every input j, with Rh_0 the j-th unit vector:

    Ra_k = W_k Rh_{k-1};  Rh_k = g'_k(a_k) ⊙ Ra_k                      `curvature.forward_tangents`
    r = Ry - D_j;  E += w ½ λ ‖r‖²;  e_L = w λ r                       `sample_double_backprop`
    δ_k = e_k ⊙ g'_k(a_k);  e_{k-1} = W_kᵀ δ_k                         `loops.backward_sample`
    Rδ_k = Re_k ⊙ g'_k(a_k) + e_k ⊙ g''_k(a_k) ⊙ Ra_k;  Re_{k-1} = W_kᵀ Rδ_k
    ∂E/∂b_k += Rδ_k;  ∂E/∂w_ij += Rδ_i h_j + δ_i Rh_j                  `curvature.add_unit_curvature`

These are the formulas of `curvature` for parameters that do not change. e is the derivative of E by Rh, and Re that by
h, which begins with ∇_y L, once.

.. [1] Drucker and LeCun, "Improving generalization performance using double backpropagation", 1992.
"""

from typing import Any, NamedTuple

import numpy as np

from ..checks.standardization import Standardization
from ..compiling.addresses import pointer
from ..compiling.decorators import subkernel
from ..layout import Layout, layer
from . import curvature
from .contract import Batch, Extras, Wanted
from .curvature import Curvature, add_unit_curvature, backward_tangents, forward_tangents, rows_of
from .loops import backward_sample, forward_sample
from .reading import read_row
from .sample import NO_MASKS, sample_at, sample_weight_at, weighted_loss
from .training_loop import training_loop


class Derivatives(NamedTuple):
    """The targets of a training on derivatives."""

    D: np.ndarray       # (n, N_L, N_0)
    weight: float       # λ
    slopes: np.ndarray  # (N_0,) of the network's dtype: ∂h_0/∂x, 1 where nothing is standardised


def slopes_of(standardization: Standardization | None, inputs: int, dtype: np.dtype) -> np.ndarray:
    """∂h_0/∂x of every feature."""
    return np.ones(inputs, dtype) if standardization is None else standardization.slope.astype(dtype)


class Workspace(NamedTuple):
    """What a training works in."""

    own: curvature.Workspace
    layout: Layout          # of functions of one sample
    add_second: np.ndarray  # as in `Curvature`
    still: np.ndarray       # (P,) zeros: the direction of the parameters
    D: np.ndarray
    weight: float
    slopes: np.ndarray


def workspace(linked: Curvature, dtype: np.dtype, samples: int, given: Derivatives, work: Any) -> Workspace:
    """The workspace of a training; `work` is the backend's own, of which nothing is needed."""
    return Workspace(curvature.workspace(linked.layout, dtype, samples), linked.layout, linked.add_second,
                     np.zeros(linked.layout.size, dtype), *given)


@subkernel
def sample_double_backprop(theta: Any, layout: Layout, samples: Any, grad: Any, work: Workspace) -> Any:
    """E of the sample whose number is in the workspace, and whether it is correct; adds its gradient."""
    own, values = work.own, rows_of(work.own.values)
    a, h, e, delta, Ra, Rh, Re, _ = values
    s, L = own.number[0], layout.depth
    read_row(samples, pointer(own.number, 0), layer(h, layout, 0))
    forward_sample(theta, layout, a, h, NO_MASKS)
    y, Ry, e_L, Re_L = layer(h, layout, L), layer(Rh, layout, L), layer(e, layout, L), layer(Re, layout, L)
    E, correct = weighted_loss(layout, samples, s, y, own.d, Re_L, own.outcome)
    factor = work.weight * sample_weight_at(samples, s)
    Rx = layer(Rh, layout, 0)
    for j in range(Rx.shape[0]):
        Rx[:] = 0
        Rx[j] = work.slopes[j]
        forward_tangents(theta, work.still, layout, a, h, Ra, Rh)
        for i in range(y.shape[0]):
            r = Ry[i] - work.D[s, i, j]
            E += 0.5 * factor * r * r
            e_L[i] = factor * r
            if j > 0:
                Re_L[i] = 0
        backward_sample(theta, layout, a, h, e, delta, 1, NO_MASKS)
        backward_tangents(theta, work.still, layout, work.add_second, values)
        for k in range(1, L + 1):
            for i in range(layout.widths[k]):
                add_unit_curvature(grad, layout, k, i, values)
    return E, correct


@subkernel
def propagate(theta: Any, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras, work: Workspace,
              threads: int) -> Any:
    """E with derivatives and its gradient, sample after sample; see `Backend.propagate`."""
    samples, order, start, stop = batch
    total, correct = E, 0
    for place in range(start, stop):
        work.own.number[0] = sample_at(order, place)
        sample_E, sample_correct = sample_double_backprop(theta, work.layout, samples, wanted.grad, work)
        total += sample_E
        correct += sample_correct
    return total, correct


train = training_loop("train_double_backprop_loops", propagate)
