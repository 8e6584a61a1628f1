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
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ..compiling.addresses import pointer
from ..compiling.decorators import kernel
from ..formulas.sample_gradients import clip_factor
from ..functions.loss_panels import OUTCOME_ROWS
from ..layout import Layout, bias_vector, layer, weight_matrix
from .contract import Batch, Extras, Wanted, called_from_python, longest_chunk
from .leaves import leaf_loop
from .memory import HOST
from .reading import read_row
from .sample import (
    Masks,
    activate,
    activation_delta,
    copy_row,
    has_targets,
    lowest_error,
    masks_of,
    sample_at,
    scale,
    sum_of_squares,
    weighted_loss,
)
from .sample import add_small_gradient as add_small_gradient
from .sample import for_leaves as for_leaves
from .sample import input_jacobian as input_jacobian
from .sample import linked as linked
from .sample import nbytes as nbytes
from .sample import pieces as pieces
from .sample import specialised as specialised
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


@kernel
def propagate_sample(theta: Any, layout: Layout, samples: Any, s: int, wanted: Wanted, extras: Extras,
                     work: "Workspace") -> None:
    """y, E, and e_L … e_lowest of one sample: forward, its loss if it has a target, and back as far as is wanted.

    s : the sample's row in the workspace, where its number is written.
    """
    Y, E0, norms, lowest = wanted.Y, wanted.E0, wanted.norms, lowest_error(layout, wanted)
    sample, a, h, e, d = work.sample_numbers[s], work.a[s], work.h[s], work.e[s], work.d[s]
    read_row(samples, pointer(work.sample_numbers, s), layer(h, layout, 0))
    masks = masks_of(extras, work.sample_numbers, s)
    forward_sample(theta, layout, a, h, masks)
    y, e_L = layer(h, layout, layout.depth), layer(e, layout, layout.depth)
    if Y.shape[0] > 0:
        copy_row(y, Y[sample])
    if has_targets(samples):
        work.E[s], work.correct[s] = weighted_loss(layout, samples, sample, y, d, e_L, work.outcome[s])
    if lowest <= layout.depth:
        backward_sample(theta, layout, a, h, e, work.delta[s], lowest, masks)
    if E0.shape[0] > 0:
        copy_row(layer(e, layout, 0), E0[sample])
    if norms.shape[0] > 0 or extras.clip_norm > 0.0:
        delta = work.delta[s]
        norm = gradient_norm(layout, h, delta)
        if norms.shape[0] > 0:
            norms[sample] = norm
        if extras.clip_norm > 0.0:
            scale(delta, clip_factor(norm, extras.clip_norm))


# The body of a prange is one call, because Numba drops from it what is written to an array inside a named tuple: with
# `work.E[s] = …` in the loop itself, E stays 0 (seen with Numba 0.68; every test of a loss would fail). The index of a
# prange is unsigned; as it is, it would have everything compiled a second time.


@kernel(parallel=True)
def propagate_samples(theta: Any, layout: Layout, samples: Any, count: int, wanted: Wanted, extras: Extras,
                      work: "Workspace", serial: bool) -> None:
    """`propagate_sample` for the samples of a chunk, on threads unless it is serial.

    It is a function of its own, because in a prange Numba takes no tuple apart that is in another.
    """
    if serial:
        for s in range(count):
            propagate_sample(theta, layout, samples, s, wanted, extras, work)
    else:
        for s in prange(count):
            propagate_sample(theta, layout, samples, np.int64(s), wanted, extras, work)


@kernel(parallel=True)
def propagate_chunks(theta: Any, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras,
                     work: "Workspace", threads: int) -> Any:
    """E and ∇E of the samples of a batch, chunk after chunk; see `Backend.propagate`."""
    samples, order, start, stop = batch
    grad = wanted.grad
    chunk = work.E.shape[0]
    total, correct = E, 0
    for first in range(start, stop, chunk):
        count = min(chunk, stop - first)
        serial = threads == 1 or 6 * layout.size * count < SMALL_CHUNK
        for s in range(count):
            work.sample_numbers[s] = sample_at(order, first + s)
        propagate_samples(theta, layout, samples, count, wanted, extras, work, serial)
        if grad.shape[0] > 0:
            for k in range(1, layout.depth + 1):
                if serial:
                    for i in range(layout.widths[k]):
                        add_unit_gradient(grad, layout, k, i, work.delta, work.h, count)
                else:
                    for i in prange(layout.widths[k]):
                        add_unit_gradient(grad, layout, k, np.int64(i), work.delta, work.h, count)
        if has_targets(samples):
            for s in range(count):
                total += work.E[s]
                correct += work.correct[s]
    return total, correct


propagate_arrays, propagate, predict = called_from_python(propagate_chunks, "loops")
train = training_loop("train_loops", propagate_chunks)
add_leaves = leaf_loop("add_leaves_loops", propagate_chunks)

#: Where the backend keeps parameters and samples.
memory = HOST

#: Whether `propagate` takes threads.
parallel = True

#: Rows of a sparse X are written out.
takes_entries = False

#: The workspace holds at most this many samples at once, and at most this many bytes.
MAX_CHUNK, MAX_BYTES = 256, 2**24

#: Chunks of fewer operations (three products of two for each parameter and sample) stay on one thread: waking the
#: others takes 2 to 100 µs, and on a busy machine waiting for them took 100 times as long as the chunk itself.
SMALL_CHUNK = 2e6


def flops(dtype: np.dtype) -> float:
    """Operations per second, to an order of magnitude."""
    return 4e9


def chunk(layout: Layout, dtype: np.dtype) -> int:
    """The number of samples in a chunk; see `Backend.chunk`."""
    fitting = MAX_BYTES // (4 * int(layout.units[-1]) * dtype.itemsize)
    return max(1, min(MAX_CHUNK, fitting, longest_chunk(flops(dtype), layout.size)))


class Workspace(NamedTuple):
    """The values of every layer for a chunk of samples, a row of all units for each sample."""

    a: np.ndarray               # (chunk, ΣN) a_k
    h: np.ndarray               # (chunk, ΣN) h_k, with h_0 = x
    e: np.ndarray               # (chunk, ΣN) e_k, down to e_0
    delta: np.ndarray           # (chunk, ΣN) δ_k
    d: np.ndarray               # (chunk, N_L) the targets
    E: np.ndarray               # (chunk,) the loss of each sample
    correct: np.ndarray         # (chunk,) 1 where it is classified correctly
    outcome: np.ndarray         # (chunk, OUTCOME_ROWS) E, correct, and the loss's intermediate results
    sample_numbers: np.ndarray  # (chunk,) the place of each sample in X


def workspace(layout: Layout, dtype: np.dtype, samples: int) -> Workspace:
    """The workspace for calls with at most this many samples."""
    count, units = min(samples, chunk(layout, dtype)), int(layout.units[-1])
    a, h, e, delta = (np.zeros((count, units), dtype) for _ in range(4))
    return Workspace(a, h, e, delta, np.zeros((count, int(layout.widths[-1])), dtype),
                     np.zeros(count), np.zeros(count, np.int64), np.zeros((count, OUTCOME_ROWS), dtype),
                     np.zeros(count, np.int64))
