"""The schedule of `loops`: threads share the samples of a chunk forward and back, and then the units of a layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ..compiling.addresses import pointer
from ..compiling.decorators import kernel
from ..formulas.sample_gradients import clip_factor
from ..functions.loss_panels import OUTCOME_ROWS
from ..layout import Layout, layer
from .contract import Batch, Extras, Wanted, longest_chunk
from .reading import read_row
from .sample import copy_row, has_targets, lowest_error, masks_of, sample_at, scale, weighted_loss

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


def over_samples(name: str, forward_sample: Callable[..., Any], backward_sample: Callable[..., Any],
                 gradient_norm: Callable[..., Any], add_unit_gradient: Callable[..., Any]) -> Any:
    """The compiled `propagate` of the formulas of single samples and of single units, under a name of its own."""

    @kernel(name=f"propagate_sample_{name}")
    def propagate_sample(theta: Any, layout: Layout, samples: Any, s: int, wanted: Wanted, extras: Extras,
                         work: Workspace) -> None:
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

    # The body of a prange is one call, because Numba drops from it what is written to an array inside a named tuple:
    # with `work.E[s] = …` in the loop itself, E stays 0 (seen with Numba 0.68; every test of a loss would fail). The
    # index of a prange is unsigned; as it is, it would have everything compiled a second time.

    @kernel(name=f"propagate_samples_{name}", parallel=True)
    def propagate_samples(theta: Any, layout: Layout, samples: Any, count: int, wanted: Wanted, extras: Extras,
                          work: Workspace, serial: bool) -> None:
        """`propagate_sample` for the samples of a chunk, on threads unless it is serial.

        It is a function of its own, because in a prange Numba takes no tuple apart that is in another.
        """
        if serial:
            for s in range(count):
                propagate_sample(theta, layout, samples, s, wanted, extras, work)
        else:
            for s in prange(count):
                propagate_sample(theta, layout, samples, np.int64(s), wanted, extras, work)

    @kernel(name=f"propagate_chunks_{name}", parallel=True)
    def propagate_chunks(theta: Any, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras,
                         work: Workspace, threads: int) -> Any:
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

    return propagate_chunks
