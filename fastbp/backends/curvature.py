"""Products with second derivatives as they are written: every formula a loop over its coordinates.

Along a direction of the parameters, W_k and b_k change by V_k and v_k, and every quantity q of `loops` by Rq, its
derivative along that direction [1]_. For one sample, and the layers k = 1 … L:

    Rh_0 = 0;  Ra_k = W_k Rh_{k-1} + V_k h_{k-1} + v_k;  Rh_k = g'_k(a_k) ⊙ Ra_k       `forward_tangents`
    Re_L = ∇²_y L Ry                                                                    `sample_curvature`
    Rδ_k = Re_k ⊙ g'_k(a_k) + e_k ⊙ g''_k(a_k) ⊙ Ra_k                                   `backward_tangents`
    Re_{k-1} = W_kᵀ Rδ_k + V_kᵀ δ_k
    R(∂E/∂b_k) = Rδ_k;  R(∂E/∂w_ij) = Rδ_i h_j + δ_i Rh_j                               `add_unit_curvature`

R(∂E/∂θ) is the product of the Hessian ∇²E with the direction. With e_L = 0, and so e = δ = 0 everywhere, the same
formulas give the product Jᵀ ∇²_y L J v of the Gauss–Newton matrix, J = ∂y/∂θ [2]_.

.. [1] Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
.. [2] Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..compiling.addresses import address_of, pointer
from ..compiling.decorators import inlined, kernel, subkernel, undisturbed
from ..functions.activations import Activation, delta_of_panel
from ..functions.loss_panels import OUTCOME_ROWS
from ..functions.losses import Loss
from ..functions.second import PIECEWISE_LINEAR, add_second_of_panel, add_second_panel, second_of_panel, second_panel
from ..layout import Layout, bias_vector, layer, weight_matrix
from .loops import backward_sample, forward_sample
from .loops import chunk as chunk
from .reading import as_arguments, kernel_samples, read_row
from .sample import NO_MASKS, linked, sample_weight_at, weighted_loss
from .sample import nbytes as nbytes


class Curvature(NamedTuple):
    """A layout whose functions take one sample, and the functions of second derivatives."""

    layout: Layout
    add_second: np.ndarray  # (L+1,) the addresses of what adds e ⊙ g''(a) ⊙ Ra, or 0; see `second.add_second_panel`
    second: int             # the address of ∇²_y L; see `second.second_panel`


@undisturbed()
def linked_curvature(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Curvature:
    """The layout and its second derivatives, compiled."""
    addresses = [0 if g.name in PIECEWISE_LINEAR else address_of(add_second_panel, g, dtype.name, 1)
                 for g in activations]
    return Curvature(linked(layout, activations, loss, dtype), np.array([0, *addresses]),
                     address_of(second_panel, loss, dtype.name, 1))


class Workspace(NamedTuple):
    """The values of one sample, and how they change."""

    values: np.ndarray  # (8, ΣN): a, h, e, δ, Ra, Rh, Re, Rδ
    d: np.ndarray       # (N_L,) the target
    outcome: np.ndarray  # (OUTCOME_ROWS,) of the loss
    number: np.ndarray  # (1,) the sample's number


def workspace(layout: Layout, dtype: np.dtype, samples: int) -> Workspace:
    """The workspace of a call with any number of samples."""
    return Workspace(np.zeros((8, int(layout.units[-1])), dtype), np.zeros(int(layout.widths[-1]), dtype),
                     np.zeros(OUTCOME_ROWS, dtype), np.zeros(1, np.int64))


@subkernel
def forward_tangents(theta: Any, v: Any, layout: Layout, a: Any, h: Any, Ra: Any, Rh: Any) -> None:
    """Ra_k = W_k Rh_{k-1} + V_k h_{k-1} + v_k and Rh_k = g'_k(a_k) ⊙ Ra_k for k = 1 … L, from Rh_0."""
    for k in range(1, layout.depth + 1):
        W, V, v_k = weight_matrix(theta, layout, k), weight_matrix(v, layout, k), bias_vector(v, layout, k)
        h_prev, Rh_prev, Ra_k = layer(h, layout, k - 1), layer(Rh, layout, k - 1), layer(Ra, layout, k)
        for i in range(W.shape[0]):
            total = v_k[i]
            for j in range(W.shape[1]):
                total += W[i, j] * Rh_prev[j] + V[i, j] * h_prev[j]
            Ra_k[i] = total
        # ∂h/∂a is symmetric, that of a softmax too, so that what takes e to δ takes Ra to Rh.
        delta_of_panel(layout.delta[k], layer(a, layout, k), layer(h, layout, k), Ra_k, layer(Rh, layout, k),
                       Ra_k.shape[0])


@subkernel
def backward_tangents(theta: Any, v: Any, layout: Layout, add_second: Any, values: Any) -> None:
    """Rδ_k = Re_k ⊙ g'_k + e_k ⊙ g''_k ⊙ Ra_k and Re_{k-1} = W_kᵀ Rδ_k + V_kᵀ δ_k for k = L … 1, from Re_L."""
    a, h, e, delta, Ra, Rh, Re, Rdelta = values
    for k in range(layout.depth, 0, -1):
        W, V = weight_matrix(theta, layout, k), weight_matrix(v, layout, k)
        a_k, h_k, delta_k, Rdelta_k = (layer(a, layout, k), layer(h, layout, k), layer(delta, layout, k),
                                       layer(Rdelta, layout, k))
        delta_of_panel(layout.delta[k], a_k, h_k, layer(Re, layout, k), Rdelta_k, W.shape[0])
        add_second_of_panel(add_second[k], a_k, h_k, layer(e, layout, k), layer(Ra, layout, k), layer(Rh, layout, k),
                            Rdelta_k, W.shape[0])
        if k > 1:
            Re_prev = layer(Re, layout, k - 1)
            Re_prev[:] = 0
            for i in range(W.shape[0]):
                for j in range(W.shape[1]):
                    Re_prev[j] += W[i, j] * Rdelta_k[i] + V[i, j] * delta_k[i]


@subkernel
def add_unit_curvature(product: Any, layout: Layout, k: int, i: int, values: Any) -> None:
    """R(∂E/∂b_i) += Rδ_i and R(∂E/∂w_ij) += Rδ_i h_j + δ_i Rh_j for unit i of layer k."""
    _, h, _, delta, _, Rh, _, Rdelta = values
    W, b = weight_matrix(product, layout, k), bias_vector(product, layout, k)
    delta_i, Rdelta_i = layer(delta, layout, k)[i], layer(Rdelta, layout, k)[i]
    h_prev, Rh_prev = layer(h, layout, k - 1), layer(Rh, layout, k - 1)
    b[i] += Rdelta_i
    for j in range(W.shape[1]):
        W[i, j] += Rdelta_i * h_prev[j] + delta_i * Rh_prev[j]


@inlined
def rows_of(values: Any) -> Any:
    """a, h, e, δ, Ra, Rh, Re, Rδ of a workspace."""
    return values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]


@subkernel
def sample_curvature(theta: Any, v: Any, layout: Layout, add_second: Any, second: int, samples: Any, gauss_newton: bool,
                     work: Workspace) -> None:
    """δ, Rδ, h and Rh of the sample whose number is in the workspace."""
    values, s = rows_of(work.values), work.number[0]
    a, h, e, delta, Ra, Rh, Re, _ = values
    read_row(samples, pointer(work.number, 0), layer(h, layout, 0))
    forward_sample(theta, layout, a, h, NO_MASKS)
    forward_tangents(theta, v, layout, a, h, Ra, Rh)
    L = layout.depth
    y, Ry, e_L, Re_L = layer(h, layout, L), layer(Rh, layout, L), layer(e, layout, L), layer(Re, layout, L)
    weighted_loss(layout, samples, s, y, work.d, e_L, work.outcome)
    second_of_panel(second, y, work.d, work.outcome, Ry, Re_L, y.shape[0])
    weight = sample_weight_at(samples, s)
    for i in range(y.shape[0]):
        Re_L[i] *= weight
        if gauss_newton:
            e_L[i] = 0
    backward_sample(theta, layout, a, h, e, delta, 1, NO_MASKS)
    backward_tangents(theta, v, layout, add_second, values)


@kernel
def add_curvature_arrays(theta: Any, v: Any, layout: Layout, add_second: Any, second: int, X: Any, reading: int,
                         labels: Any, targets: Any, weights: Any, gauss_newton: bool, product: Any, start: int,
                         stop: int, work: Workspace) -> None:
    """`add_curvature` with the arrays of its tuples as arguments."""
    samples = kernel_samples(X, reading, stop, labels, targets, weights)
    values = rows_of(work.values)
    for s in range(start, stop):
        work.number[0] = s
        sample_curvature(theta, v, layout, add_second, second, samples, gauss_newton, work)
        for k in range(1, layout.depth + 1):
            for i in range(layout.widths[k]):
                add_unit_curvature(product, layout, k, i, values)


def add_curvature(theta: np.ndarray, v: np.ndarray, curvature: Curvature, samples: Any, gauss_newton: bool,
                  product: np.ndarray, start: int, stop: int, work: Any, own: Workspace, threads: int) -> None:
    """product += ∇²E v of the samples from start to stop, or the Gauss–Newton matrix times v; sample after sample.

    work : the workspace of the backend, of which nothing is needed.
    """
    add_curvature_arrays(theta, v, *curvature, *as_arguments(samples), samples.labels, samples.targets,
                         samples.weights, gauss_newton, product, start, stop, own)


#: Calls on a few samples have no kernel of their own here; see `tiles.curvature.add_few`.
add_few = None
