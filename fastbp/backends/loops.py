"""Backpropagation as it is written: every formula a loop over its coordinates. Read this first.

For one sample x with target d, and the layers k = 1 … L:

    h_0 = x;  a_k = W_k h_{k-1} + b_k;  h_k = g_k(a_k);  y = h_L              `forward_sample`
    E = L(y; d);  e_L = ∇_y E                                                  `weighted_loss`
    δ_k = e_k ⊙ g'_k(a_k);  e_{k-1} = W_kᵀ δ_k                                 `backward_sample`
    ∂E/∂b_k = δ_k;  ∂E/∂w_ij = δ_i h_j                                         `add_unit_gradient`
    ‖∇L‖² = Σ_k ‖δ_k‖² (‖h_{k-1}‖² + 1), where it is wanted                    `gradient_norm`

The gradient of a batch is the sum over its samples, added one after another to one running gradient. Gradients of
single samples are never stored.

Threads share the samples of a chunk forward and back, and then the units i of a layer, each with its row of ∂E/∂W. So
one thread sums each coordinate, in the order of the samples, and the result has the same bits for any number of them.

Indices: s sample, i unit of layer k, j unit of layer k-1.
"""

import math
from typing import Any

from ..compiling.decorators import kernel
from ..layout import Layout, bias_vector, layer, weight_matrix
from .contract import called_from_python
from .leaves import leaf_loop
from .memory import HOST
from .sample import Masks, activate, activation_delta, sum_of_squares
from .sample import add_small_gradient as add_small_gradient
from .sample import for_leaves as for_leaves
from .sample import input_jacobian as input_jacobian
from .sample import linked as linked
from .sample import nbytes as nbytes
from .sample import pieces as pieces
from .sample import specialised as specialised
from .sample_by_sample import chunk as chunk
from .sample_by_sample import flops as flops
from .sample_by_sample import over_samples
from .sample_by_sample import workspace as workspace
from .training_loop import training_loop


@kernel
def forward_sample(theta: Any, layout: Layout, a: Any, h: Any, masks: Masks) -> None:
    """a_k = W_k h_{k-1} + b_k and h_k = g_k(a_k) for k = 1 … L, from h_0.

    a, h : (ΣN,) the units of one sample.
    masks : the units that dropout leaves out.
    """
    for k in range(1, layout.depth + 1):
        W, b = weight_matrix(theta, layout, k), bias_vector(theta, layout, k)
        h_prev, a_k, h_k = layer(h, layout, k - 1), layer(a, layout, k), layer(h, layout, k)
        for i in range(W.shape[0]):
            total = b[i]
            for j in range(W.shape[1]):
                total += W[i, j] * h_prev[j]
            a_k[i] = total
        activate(layout, k, a_k, h_k, masks)


@kernel
def backward_sample(theta: Any, layout: Layout, a: Any, h: Any, e: Any, delta: Any, lowest: int,
                    masks: Masks) -> None:
    """δ_k = e_k ⊙ g'_k(a_k) and e_{k-1} = W_kᵀ δ_k for k = L … 1, from e_L down to e_lowest.

    a, h, e, delta : (ΣN,) the units of one sample.
    lowest : 0 where e_0 = ∇_x E is wanted, else 1.
    """
    for k in range(layout.depth, 0, -1):
        W, a_k, h_k = weight_matrix(theta, layout, k), layer(a, layout, k), layer(h, layout, k)
        e_k, delta_k, e_prev = layer(e, layout, k), layer(delta, layout, k), layer(e, layout, k - 1)
        activation_delta(layout, k, a_k, h_k, e_k, delta_k, masks)
        if k > lowest:
            e_prev[:] = 0
            for i in range(W.shape[0]):
                delta_i = delta_k[i]
                for j in range(W.shape[1]):
                    e_prev[j] += W[i, j] * delta_i


@kernel
def add_unit_gradient(grad: Any, layout: Layout, k: int, i: int, delta: Any, h: Any, count: int) -> None:
    """∂E/∂b_i += δ_i and ∂E/∂w_ij += δ_i h_j for unit i of layer k, sample after sample.

    delta, h : (chunk, ΣN), of which the first `count` rows.
    """
    dW, db = weight_matrix(grad, layout, k), bias_vector(grad, layout, k)
    for s in range(count):
        delta_i, h_prev = layer(delta[s], layout, k)[i], layer(h[s], layout, k - 1)
        db[i] += delta_i
        for j in range(dW.shape[1]):
            dW[i, j] += delta_i * h_prev[j]


@kernel
def gradient_norm(layout: Layout, h: Any, delta: Any) -> float:
    """‖∇L‖ of one sample, from ∂L/∂W_k = δ_k h_{k-1}ᵀ and ∂L/∂b_k = δ_k for all k (Goodfellow, 2015)."""
    total = 0.0
    for k in range(1, layout.depth + 1):
        total += sum_of_squares(layer(delta, layout, k)) * (sum_of_squares(layer(h, layout, k - 1)) + 1.0)
    return math.sqrt(total)


propagate_chunks = over_samples("loops", forward_sample, backward_sample, gradient_norm, add_unit_gradient)
propagate_arrays, propagate, predict = called_from_python(propagate_chunks, "loops")
train = training_loop("train_loops", propagate_chunks)
add_leaves = leaf_loop("add_leaves_loops", propagate_chunks)

#: Where the backend keeps parameters and samples.
memory = HOST

#: Whether `propagate` takes threads.
parallel = True

#: Rows of a sparse X are written out.
takes_entries = False
