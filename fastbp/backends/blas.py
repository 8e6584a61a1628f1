"""Backpropagation on matrices: a chunk of samples at once, every product through `np.dot` and so through BLAS.

With a row for each sample, H_0 = X and for the layers k = 1 … L

    A_k = H_{k-1} W_kᵀ + b_k;  H_k = g_k(A_k);  Y = H_L
    Δ_k = E_k ⊙ g'_k(A_k);  ∂E/∂W_k += Δ_kᵀ H_{k-1};  ∂E/∂b_k += Σ_s Δ_k;  E_{k-1} = Δ_k W_k

Compiled code reaches BLAS through SciPy, which is an extra. BLAS decides on the order of its sums, and so on their last
bits.
"""

import importlib
import math
from typing import Any, NamedTuple

import numpy as np

try:
    importlib.import_module("scipy.linalg.cython_blas")  # where np.dot in compiled code takes its BLAS from
except ImportError as error:
    raise ImportError("backend 'blas' needs SciPy, whose BLAS compiled code calls; "
                      "install it with: pip install 'fastbp[blas]'") from error

from ..compiling.addresses import pointer
from ..compiling.decorators import inlined, kernel, subkernel
from ..formulas.sample_gradients import clip_factor
from ..functions.loss_panels import OUTCOME_ROWS
from ..layout import Layout, bias_vector, weight_matrix
from .contract import Batch, Extras, Wanted, called_from_python, longest_chunk
from .leaves import leaf_loop
from .memory import HOST
from .reading import read_row
from .sample import (
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

#: Where the backend keeps parameters and samples.
memory = HOST


def flops(dtype: np.dtype) -> float:
    """Operations per second, to an order of magnitude."""
    return 2e10


#: BLAS has threads of its own.
parallel = False

#: Rows of a sparse X are written out.
takes_entries = False

#: The workspace holds at most this many samples at once, and at most this many bytes.
MAX_CHUNK, MAX_BYTES = 1024, 2**24


def chunk(layout: Layout, dtype: np.dtype) -> int:
    """The number of samples in a chunk; see `Backend.chunk`."""
    fitting = MAX_BYTES // (4 * int(layout.units[-1]) * dtype.itemsize)
    return max(1, min(MAX_CHUNK, fitting, longest_chunk(flops(dtype), layout.size)))


class Workspace(NamedTuple):
    """The values of every layer for a chunk of samples, layer after layer, and a weight matrix."""

    a: np.ndarray               # (chunk · ΣN,) A_1, A_2, … one after another
    h: np.ndarray               # (chunk · ΣN,) H_0, H_1, …
    e: np.ndarray               # (chunk · ΣN,) E_0, E_1, …
    delta: np.ndarray           # (chunk · ΣN,) Δ_1, …
    d: np.ndarray               # (chunk, N_L) the targets
    dW: np.ndarray              # (max N_k N_{k-1},) a chunk's ∂E/∂W_k
    outcome: np.ndarray         # (OUTCOME_ROWS,) E and correct of a sample, and the loss's intermediate results
    sample_numbers: np.ndarray  # (chunk,) the place of each sample in X


def workspace(layout: Layout, dtype: np.dtype, samples: int) -> Workspace:
    """The workspace for calls with at most this many samples."""
    count, units = min(samples, chunk(layout, dtype)), int(layout.units[-1])
    a, h, e, delta = (np.zeros(count * units, dtype) for _ in range(4))
    return Workspace(a, h, e, delta, np.zeros((count, int(layout.widths[-1])), dtype),
                     np.zeros(int((layout.widths[1:] * layout.widths[:-1]).max()), dtype),
                     np.zeros(OUTCOME_ROWS, dtype), np.zeros(count, np.int64))


@inlined
def rows(values: Any, layout: Layout, k: int, count: int) -> Any:
    """Layer k of the first `count` samples of a chunk, (count, N_k)."""
    begin = layout.units[k] * (values.shape[0] // layout.units[layout.depth + 1])
    return values[begin : begin + count * layout.widths[k]].reshape((count, layout.widths[k]))


@subkernel
def forward_chunk(theta: Any, layout: Layout, count: int, extras: Extras, work: Workspace) -> None:
    """A_k = H_{k-1} W_kᵀ + b_k and H_k = g_k(A_k) for k = 1 … L, from H_0."""
    for k in range(1, layout.depth + 1):
        W, b = weight_matrix(theta, layout, k), bias_vector(theta, layout, k)
        A, H = rows(work.a, layout, k, count), rows(work.h, layout, k, count)
        np.dot(rows(work.h, layout, k - 1, count), W.T, A)
        for s in range(count):
            for i in range(b.shape[0]):
                A[s, i] += b[i]
            activate(layout, k, A[s], H[s], masks_of(extras, work.sample_numbers, s))


@subkernel
def loss_chunk(layout: Layout, samples: Any, order: Any, start: int, count: int, work: Workspace) -> Any:
    """E and the number of correct samples of a chunk; E_L = ∇_y E."""
    Y, e = rows(work.h, layout, layout.depth, count), rows(work.e, layout, layout.depth, count)
    total, total_correct = 0.0, 0
    for s in range(count):
        E, correct = weighted_loss(layout, samples, sample_at(order, start + s), Y[s], work.d[s], e[s],
                                   work.outcome)
        total += E
        total_correct += correct
    return total, total_correct


@subkernel
def backward_chunk(theta: Any, layout: Layout, count: int, lowest: int, extras: Extras, work: Workspace) -> None:
    """Δ_k = E_k ⊙ g'_k(A_k) and E_{k-1} = Δ_k W_k for k = L … 1, down to E_lowest."""
    for k in range(layout.depth, 0, -1):
        A, H = rows(work.a, layout, k, count), rows(work.h, layout, k, count)
        e, delta = rows(work.e, layout, k, count), rows(work.delta, layout, k, count)
        for s in range(count):
            activation_delta(layout, k, A[s], H[s], e[s], delta[s], masks_of(extras, work.sample_numbers, s))
        if k > lowest:
            np.dot(delta, weight_matrix(theta, layout, k), rows(work.e, layout, k - 1, count))


@subkernel
def clip_chunk(layout: Layout, order: Any, start: int, count: int, norms: Any, clip_norm: float,
               work: Workspace) -> None:
    """‖∇L‖ of each sample of a chunk, and its δ times min(1, C / ‖∇L‖); see `loops.gradient_norm`."""
    for s in range(count):
        total = 0.0
        for k in range(1, layout.depth + 1):
            of_h = sum_of_squares(rows(work.h, layout, k - 1, count)[s])
            total += sum_of_squares(rows(work.delta, layout, k, count)[s]) * (of_h + 1.0)
        norm = math.sqrt(total)
        if norms.shape[0] > 0:
            norms[sample_at(order, start + s)] = norm
        if clip_norm > 0.0:
            factor = clip_factor(norm, clip_norm)
            for k in range(1, layout.depth + 1):
                scale(rows(work.delta, layout, k, count)[s], factor)


@subkernel
def add_weight_gradient(grad: Any, layout: Layout, k: int, delta: Any, H_prev: Any, product: Any) -> None:
    """∂E/∂W_k += Δ_kᵀ H_{k-1} and ∂E/∂b_k += Σ_s Δ_k."""
    dW, db = weight_matrix(grad, layout, k), bias_vector(grad, layout, k)
    chunk_dW = product[: dW.size].reshape(dW.shape)
    np.dot(delta.T, H_prev, chunk_dW)
    for i in range(dW.shape[0]):
        for j in range(dW.shape[1]):
            dW[i, j] += chunk_dW[i, j]
    for s in range(delta.shape[0]):
        for i in range(dW.shape[0]):
            db[i] += delta[s, i]


@kernel
def propagate_chunks(theta: Any, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras,
                     work: Workspace, threads: int) -> Any:
    """E and ∇E of the samples of a batch, chunk after chunk; see `Backend.propagate`."""
    samples, order, start, stop = batch
    grad, Y, E0, norms = wanted
    lowest = lowest_error(layout, wanted)
    chunk = work.d.shape[0]
    total, correct = E, 0
    for first in range(start, stop, chunk):
        count = min(chunk, stop - first)
        H_0, H_L = rows(work.h, layout, 0, count), rows(work.h, layout, layout.depth, count)
        for s in range(count):
            work.sample_numbers[s] = sample_at(order, first + s)
            read_row(samples, pointer(work.sample_numbers, s), H_0[s])
        forward_chunk(theta, layout, count, extras, work)
        if has_targets(samples):
            chunk_E, chunk_correct = loss_chunk(layout, samples, order, first, count, work)
            total, correct = total + chunk_E, correct + chunk_correct
        if lowest <= layout.depth:
            backward_chunk(theta, layout, count, lowest, extras, work)
        if norms.shape[0] > 0 or extras.clip_norm > 0.0:
            clip_chunk(layout, order, first, count, norms, extras.clip_norm, work)
        if grad.shape[0] > 0:
            for k in range(1, layout.depth + 1):
                add_weight_gradient(grad, layout, k, rows(work.delta, layout, k, count),
                                    rows(work.h, layout, k - 1, count), work.dW)
        for s in range(count):
            if Y.shape[0] > 0:
                copy_row(H_L[s], Y[sample_at(order, first + s)])
            if E0.shape[0] > 0:
                copy_row(rows(work.e, layout, 0, count)[s], E0[sample_at(order, first + s)])
    return total, correct


propagate_arrays, propagate, predict = called_from_python(propagate_chunks, "blas")
train = training_loop("train_blas", propagate_chunks)
add_leaves = leaf_loop("add_leaves_blas", propagate_chunks)
