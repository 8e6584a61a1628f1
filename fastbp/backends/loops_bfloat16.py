"""The formulas of `loops` where the products of W, h and δ have bfloat16 operands: what such a network computes.

    a_k = ⌊W_k⌉ ⌊h_{k-1}⌉ + b_k;  e_{k-1} = ⌊W_k⌉ᵀ ⌊δ_k⌉;  ∂E/∂w_ij = ⌊δ_i⌉ ⌊h_j⌉;  ∂E/∂b_k = δ_k

with ⌊x⌉ of `formulas.bfloat16`. All else is float32: the products, which have 16 digits and so are exact, their sums,
θ, biases, activations, losses, gradients, norms of gradients, and the optimizer's state.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiling.decorators import kernel
from ..formulas.bfloat16 import bfloat16
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..layout import Layout, bias_vector, layer, weight_matrix
from .contract import called_from_python
from .leaves import leaf_loop
from .linking import linked_by_address
from .loops import gradient_norm
from .memory import HOST
from .sample import Masks, activate, activation_delta
from .sample import add_small_gradient as add_small_gradient
from .sample import for_leaves as for_leaves
from .sample import input_jacobian as input_jacobian
from .sample import nbytes as nbytes
from .sample import pieces as pieces
from .sample import specialised as specialised
from .sample_by_sample import chunk as chunk
from .sample_by_sample import over_samples
from .sample_by_sample import workspace as workspace
from .training_loop import training_loop


@kernel(name="forward_sample_bfloat16")
def forward_sample(theta: Any, layout: Layout, a: Any, h: Any, masks: Masks) -> None:
    """a_k = ⌊W_k⌉ ⌊h_{k-1}⌉ + b_k and h_k = g_k(a_k) for k = 1 … L; see `loops.forward_sample`."""
    for k in range(1, layout.depth + 1):
        W, b = weight_matrix(theta, layout, k), bias_vector(theta, layout, k)
        h_prev, a_k, h_k = layer(h, layout, k - 1), layer(a, layout, k), layer(h, layout, k)
        for i in range(W.shape[0]):
            total = b[i]
            for j in range(W.shape[1]):
                total += bfloat16(W[i, j]) * bfloat16(h_prev[j])
            a_k[i] = total
        activate(layout, k, a_k, h_k, masks)


@kernel(name="backward_sample_bfloat16")
def backward_sample(theta: Any, layout: Layout, a: Any, h: Any, e: Any, delta: Any, lowest: int,
                    masks: Masks) -> None:
    """δ_k = e_k ⊙ g'_k(a_k) and e_{k-1} = ⌊W_k⌉ᵀ ⌊δ_k⌉ for k = L … 1; see `loops.backward_sample`."""
    for k in range(layout.depth, 0, -1):
        W, a_k, h_k = weight_matrix(theta, layout, k), layer(a, layout, k), layer(h, layout, k)
        e_k, delta_k, e_prev = layer(e, layout, k), layer(delta, layout, k), layer(e, layout, k - 1)
        activation_delta(layout, k, a_k, h_k, e_k, delta_k, masks)
        if k > lowest:
            e_prev[:] = 0
            for i in range(W.shape[0]):
                delta_i = bfloat16(delta_k[i])
                for j in range(W.shape[1]):
                    e_prev[j] += bfloat16(W[i, j]) * delta_i


@kernel(name="add_unit_gradient_bfloat16")
def add_unit_gradient(grad: Any, layout: Layout, k: int, i: int, delta: Any, h: Any, count: int) -> None:
    """∂E/∂b_i += δ_i and ∂E/∂w_ij += ⌊δ_i⌉ ⌊h_j⌉ for unit i of layer k; see `loops.add_unit_gradient`."""
    dW, db = weight_matrix(grad, layout, k), bias_vector(grad, layout, k)
    for s in range(count):
        delta_i, h_prev = layer(delta[s], layout, k)[i], layer(h[s], layout, k - 1)
        db[i] += delta_i
        factor = bfloat16(delta_i)
        for j in range(dW.shape[1]):
            dW[i, j] += factor * bfloat16(h_prev[j])


def linked(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Layout:
    """The layout with the addresses of its activations and loss, for panels of one sample."""
    return linked_by_address(layout, activations, loss, dtype, 1, "bfloat16")


propagate_chunks = over_samples("loops_bfloat16", forward_sample, backward_sample, gradient_norm, add_unit_gradient)
propagate_arrays, propagate, predict = called_from_python(propagate_chunks, "loops_bfloat16")
train = training_loop("train_loops_bfloat16", propagate_chunks)
add_leaves = leaf_loop("add_leaves_loops_bfloat16", propagate_chunks)

#: Where the backend keeps parameters and samples.
memory = HOST

#: Whether `propagate` takes threads.
parallel = True

#: Rows of a sparse X are written out.
takes_entries = False
