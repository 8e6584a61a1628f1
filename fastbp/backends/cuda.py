"""Backpropagation on an NVIDIA GPU, by numba.cuda.

Parameters, gradients and samples live on the device. Networks of any width go through `gpu.propagation`, a launch for
each formula and layer; trainings of small networks by plain batches through `gpu.fused`, many steps in one launch. Both
compute the formulas of `loops`. Results are the same in every run: the order in which the gradient of a batch is added,
and for gradients the products of its layers, depends only on the network, the number of samples, and whether the
samples fit into free memory (`gpu.fused` takes only those that do).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks.samples import Samples
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..layout import Layout
from .contract import NO_EXTRAS, NO_NORMS, NO_ORDER, Batch, Extras, Wanted, longest_chunk
from .gpu.feed import Order
from .gpu.memory import MEMORY
from .gpu.panels import TOTAL_CORRECT, TOTAL_E
from .gpu.propagation import DeviceLayout, Propagation, most_samples
from .gpu.training import train as train

#: The memory of parameters and samples: the GPU's.
memory = MEMORY

NO_RATES = np.empty(0)


#: Whether `propagate` takes threads, and sparse rows entry by entry.
parallel = takes_entries = False


def flops(dtype: np.dtype) -> float:
    """Operations per second, to an order of magnitude."""
    return 1e12


def chunk(layout: DeviceLayout | Layout, dtype: np.dtype) -> int:
    """The number of samples in a chunk; see `Backend.chunk`."""
    return min(most_samples(layout, dtype), longest_chunk(flops(dtype), layout.size))


def nbytes(work: Propagation) -> int:
    """The bytes of a workspace on the device."""
    return work.nbytes


def linked(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> DeviceLayout:
    """The layout with its activations and loss, for launches from Python."""
    return DeviceLayout(layout, tuple(activations), loss, dtype)


def workspace(layout: DeviceLayout, dtype: np.dtype, samples: int) -> Propagation:
    """The workspace for calls with at most this many samples."""
    return Propagation(layout, min(samples, chunk(layout, dtype)))


input_jacobian = None  # one pass for each output gives it

add_small_gradient = None  # launches take longer than what there would be to gain


def pieces(*training: Any) -> tuple[()]:
    """None: kernels for a GPU are compiled where they are launched."""
    return ()


def specialised(work: Propagation, *network: Any) -> Propagation:
    """The workspace unchanged: kernels are chosen where they are launched."""
    return work


def propagate(theta: Any, layout: DeviceLayout, batch: Batch, E: float, wanted: Wanted, extras: Extras,
              work: Propagation, threads: int) -> tuple[float, int]:
    """Take the samples of a batch through the network; see `Backend.propagate`."""
    work.start_totals(E)
    for window in work.feed.windows(batch.samples, Order(batch.order), batch.start, batch.stop):
        work.run(theta, window, wanted, extras, NO_RATES)
    totals = work.read(work.totals)
    return float(totals[TOTAL_E]), int(totals[TOTAL_CORRECT])


def predict(theta: Any, layout: Any, samples: Samples, Y: Any, start: int, stop: int, work: Any, threads: int) -> None:
    """y = h_L; see `Backend.predict`."""
    wanted = Wanted(samples.weights[:0], Y, samples.X[:0], NO_NORMS)
    propagate(theta, layout, Batch(samples, NO_ORDER, start, stop), 0.0, wanted, NO_EXTRAS, work, threads)
