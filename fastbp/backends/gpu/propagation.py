"""Samples forward and back through a network of any width, a chunk at a time: one launch for each formula and layer."""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...functions.activations import Activation
from ...functions.loss_panels import OUTCOME_ROWS
from ...functions.losses import Loss
from ...layout import Layout
from ..contract import Extras, Wanted
from .driver import SIMULATED, cuda
from .feed import Feed, Window
from .graphs import Replay
from .memory import is_on_device, nothing, there
from .panels import (
    PLACE,
    SQUARE,
    SQUARE_ROWS,
    THREADS,
    TOTAL_E,
    TOTALS,
    add_outcomes,
    add_slices,
    blocks_for,
    drop,
    fill,
    gather,
    gradient_norms,
    outputs,
    write_errors,
)
from .products import (
    LARGE,
    Block,
    backward_product,
    block_for,
    forward_product,
    gradient_product,
    grid_for,
    has_quads,
    join_backward,
    join_forward,
    split_product,
)

#: The most bytes of the values of a chunk of samples, and of the parts of a gradient.
MAX_BYTES = 2**28

#: The most samples of a chunk.
MAX_CHUNK = 2**16

#: Rows of values and slices of samples have a multiple of this number of elements, so that quads of them are aligned.
ROW_MULTIPLE = 32 if not SIMULATED else 4

#: Sums are cut into slices of at least LEAST_SLICE numbers, up to ENOUGH_BLOCKS blocks: those of gradients over
#: samples, and those over units where batches go forward and back.
ENOUGH_BLOCKS, LEAST_SLICE = 128, 64


class DeviceLayout:
    """A network's layout, with its activations and its loss, for launches from Python.

    It is not for compiled code.
    """

    #: See `Layout`.
    is_linked, has_addresses, lanes = True, False, 0

    def __init__(self, layout: Layout, activations: tuple[Activation, ...], loss: Loss, dtype: np.dtype) -> None:
        self.widths, self.units = layout.widths.tolist(), layout.units.tolist()
        self.weights, self.biases = layout.weights.tolist(), layout.biases.tolist()
        self.depth, self.size, self.itemsize = layout.depth, layout.size, dtype.itemsize
        self.dtype, self.activations, self.loss = dtype, activations, loss
        self.widths_there, self.units_there = (there(np.array(places, np.int64))
                                               for places in (self.widths, self.units))


def most_samples(layout: DeviceLayout | Layout, dtype: np.dtype) -> int:
    """The most samples of a chunk."""
    rows, outputs = int(layout.units[-1]), int(layout.widths[-1])
    sample_bytes = dtype.itemsize * (2 * rows + 2 * outputs + OUTCOME_ROWS)
    return max(1, min(MAX_CHUNK, MAX_BYTES // sample_bytes))


def _configured(kernel: Any, blocks: Any, threads: Any, stream: Any) -> Any:
    """A launch of a kernel."""
    return kernel[blocks, threads, stream]


class Propagation:
    """Values of every layer for a chunk of samples, and the launches that compute them.

    Parameters
    ----------
    layout : DeviceLayout
    samples : int
        The most that a call has.
    """

    def __init__(self, layout: DeviceLayout, samples: int) -> None:
        dtype, rows, n_out = layout.dtype, layout.units[-1], layout.widths[-1]
        self.layout = layout
        self.chunk = min(samples, most_samples(layout, layout.dtype))
        self.stream = cuda.stream()
        self.feed = Feed(self.chunk, self.stream)
        self._stream = self.stream
        self._launches: Any = _configured if SIMULATED else functools.lru_cache(maxsize=256)(_configured)
        self.replay = Replay()
        self.kept: dict[Any, Any] = {}  # what trainings of this network leave for later ones
        columns = -(-self.chunk // ROW_MULTIPLE) * ROW_MULTIPLE
        self.h, self.delta = (cuda.device_array((rows, columns), dtype) for _ in range(2))
        for values in (self.h, self.delta):  # products also read the columns without a sample
            self.launch(fill, blocks_for(columns), THREADS, values, 0, rows, columns, 0.0)
        self.d, self.e = (cuda.device_array((n_out, self.chunk), dtype) for _ in range(2))
        self.outcome = cuda.device_array((OUTCOME_ROWS, self.chunk), dtype)
        self.E, self.correct = (cuda.device_array(self.chunk, np.float64) for _ in range(2))
        self.totals = self.there(np.zeros(TOTALS))
        most = max(slices_of(layout, k, self.chunk) for k in range(1, layout.depth + 1))
        self.part = cuda.device_array((most, layout.size), dtype)
        is_split = max(layout.widths) >= 2 * LEAST_SLICE
        self.sums = cuda.device_array(ENOUGH_BLOCKS * math.prod(LARGE.tile) if is_split else 0, dtype)
        self.nothing = nothing(dtype, 1), nothing(dtype, 2)

    def launch(self, kernel: Any, blocks: Any, threads: Any, *arguments: Any) -> None:
        """Launch a kernel in the stream of this propagation.

        All of a call is in this stream, and so in order, whatever the default stream is.
        """
        self._launches(kernel, blocks, threads, self._stream)(*arguments)

    @contextmanager
    def launching_in(self, stream: Any) -> Iterator[None]:
        """Launch in another stream."""
        self._stream = stream
        try:
            yield
        finally:
            self._stream = self.stream

    def there(self, numbers: np.ndarray) -> Any:
        """A copy of the numbers on the device, for later launches of this propagation."""
        return cuda.to_device(numbers, stream=self.stream)

    def read(self, array: Any) -> np.ndarray:
        """The numbers of an array on the device, once the launches so far are done."""
        numbers: np.ndarray = array.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        return numbers

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays on the device, except small ones."""
        arrays = self.h, self.delta, self.d, self.e, self.outcome, self.E, self.correct, self.part, self.sums
        return sum(array.nbytes for array in arrays)

    def start_totals(self, E: float = 0.0, place: int = 0) -> None:
        """Set the totals to the loss so far and no correct samples, counted from a place."""
        totals = np.zeros(TOTALS)
        totals[TOTAL_E], totals[PLACE] = E, place
        self.totals.copy_to_device(totals, stream=self.stream)

    def run(self, theta: Any, window: Window, wanted: Wanted, extras: Extras, rates: np.ndarray) -> None:
        """Compute what is wanted for a window of at most a chunk; see `Backend.propagate`. The rest is empty, or None.

        E and the number of correct samples are added to `totals`.
        """
        grad, Y, E0, norms = (array if array is not None and len(array) else None for array in wanted)
        self.forward(theta, window, extras, rates, grad is not None)
        self.finish(window, self.nothing[1] if Y is None else Y)
        if grad is not None or E0 is not None:
            self.back(theta, window, E0, grad is not None)
        if norms is not None or extras.clip_norm > 0.0:
            layout = self.layout
            self.launch(gradient_norms(layout.dtype), blocks_for(window.samples), THREADS, self.h, self.delta,
                        layout.widths_there, layout.units_there, window.numbers, window.first, window.samples,
                        nothing(np.dtype(np.float64), 1) if norms is None else norms, extras.clip_norm)
        if grad is not None:
            self.add_gradient(window, grad)

    def forward(self, theta: Any, window: Window, extras: Extras, rates: np.ndarray, for_gradient: bool) -> None:
        """h_k and g'(a_k) of all layers, from the rows of X.

        Only for gradients products are split: there the clock does not choose how many samples go together.
        """
        layout, n, dtype = self.layout, window.samples, self.layout.dtype
        squares = -(-layout.widths[0] // SQUARE), -(-n // SQUARE)
        self.launch(gather(dtype), squares, (SQUARE, SQUARE_ROWS), window.X, window.order, window.start, n,
                    self.totals, self.h)
        for k in range(1, layout.depth + 1):
            g, width, before = layout.activations[k - 1], layout.widths[k], layout.widths[k - 1]
            splits, block, by_quads = self.split(k, width, n, before, for_gradient)
            if splits > 1:
                self.multiply_slices(theta, self.h, k, True, splits, layout.units[k - 1], width, before, n)
                self.launch(join_forward(dtype, g), (blocks_for(n), width), THREADS, self.sums, splits, theta, self.h,
                            self.delta, layout.biases[k], layout.units[k], n)
            else:
                self.launch(forward_product(dtype, block, g, by_quads), grid_for(block, width, n), block.threads, theta,
                            self.h, self.delta, layout.weights[k], layout.biases[k], layout.units[k - 1],
                            layout.units[k], before, width, n)
            if len(rates) and rates[k] > 0.0:
                self.launch(drop(dtype), blocks_for(n), THREADS, self.h, self.delta, layout.units[k], layout.widths[k],
                            window.numbers, window.first, n, self.totals, extras.key, k, rates[k])

    def finish(self, window: Window, Y: Any) -> None:
        """y, and E and δ_L of samples that have targets."""
        layout, n = self.layout, window.samples
        target, numbers, first = self.room_for(Y, window)
        self.launch(outputs(layout.dtype, layout.activations[-1], layout.loss), blocks_for(n), THREADS, self.h,
                    self.delta, layout.units[layout.depth], layout.widths[-1], window.order, window.start, numbers,
                    first, n, self.totals, window.labels, window.targets, window.weights, self.d, self.e, self.outcome,
                    target, self.E, self.correct)
        self.bring(target, Y, window)
        if len(window.labels) or len(window.targets):
            self.launch(add_outcomes, 1, THREADS, self.E, self.correct, n, self.totals)

    def split(self, k: int, rows: int, samples: int, sums: int, for_gradient: bool) -> tuple[int, Block, bool]:
        """The number of slices of a product with W_k, its block, and whether W_k is loaded by quads."""
        block, layout = block_for(rows, samples), self.layout
        across, down, _ = grid_for(block, rows, samples)
        splits = max(1, min(ENOUGH_BLOCKS // (across * down), sums // LEAST_SLICE)) if for_gradient else 1
        return splits, block, has_quads(layout.weights[k], layout.widths[k - 1])

    def multiply_slices(self, theta: Any, values: Any, k: int, is_forward: bool, splits: int, source: int, rows: int,
                        sums: int, samples: int) -> None:
        """The sums of a product with W_k over slices of its units; see `split_product`."""
        layout, (_, block, by_quads) = self.layout, self.split(k, rows, samples, sums, True)
        slice_size = -(-sums // (splits * block.depth)) * block.depth
        self.launch(split_product(layout.dtype, block, is_forward, by_quads), grid_for(block, rows, samples, splits),
                    block.threads, theta, values, self.sums, layout.weights[k], layout.widths[k - 1], source, rows,
                    sums, samples, slice_size)

    def back(self, theta: Any, window: Window, E0: Any, for_gradient: bool) -> None:
        """δ_k of all layers, and e_0 where it is wanted."""
        layout, n = self.layout, window.samples
        if E0 is not None:  # e_0 = W_1ᵀ δ_1 ⊙ 1
            self.launch(fill, blocks_for(n), THREADS, self.delta, 0, layout.widths[0], n, 1.0)
        for k in range(layout.depth, 1 if E0 is None else 0, -1):
            width, before = layout.widths[k], layout.widths[k - 1]
            splits, block, by_quads = self.split(k, before, n, width, for_gradient)
            if splits > 1:
                self.multiply_slices(theta, self.delta, k, False, splits, layout.units[k], before, width, n)
                self.launch(join_backward, (blocks_for(n), before), THREADS, self.sums, splits, self.delta,
                            layout.units[k - 1], n)
            else:
                self.launch(backward_product(layout.dtype, block, by_quads), grid_for(block, before, n), block.threads,
                            theta, self.delta, layout.weights[k], layout.units[k - 1], layout.units[k], before, width,
                            n)
        if E0 is not None:
            target, numbers, first = self.room_for(E0, window)
            self.launch(write_errors, blocks_for(n), THREADS, self.delta, numbers, first, n, target)
            self.bring(target, E0, window)

    def room_for(self, result: Any, window: Window) -> tuple[Any, Any, int]:
        """The array on the device for a window's rows of a result, and the numbers of these rows in it.

        It is the result itself, or an array of these rows alone if the result lies in the processor's memory.
        """
        if is_on_device(result):
            return result, window.numbers, window.first
        return cuda.device_array((window.samples, result.shape[1]), result.dtype), nothing(np.dtype(np.int64), 1), 0

    def bring(self, computed: Any, result: Any, window: Window) -> None:
        """Copy a window's rows to the result, unless they were computed in it."""
        if computed is not result:
            result[window.rows] = self.read(computed)

    def add_gradient(self, window: Window, grad: Any) -> None:
        """grad += ∂E/∂W_k and ∂E/∂b_k of all layers."""
        layout, n = self.layout, window.samples
        for k in range(1, layout.depth + 1):
            slices, block = slices_of(layout, k, n), block_for_gradient(layout, k)
            slice_size = -(-n // (slices * ROW_MULTIPLE)) * ROW_MULTIPLE
            self.launch(gradient_product(layout.dtype, block),
                        grid_for(block, layout.widths[k], layout.widths[k - 1], slices), block.threads,
                        self.delta, self.h, self.part, layout.weights[k], layout.biases[k], layout.units[k - 1],
                        layout.units[k], layout.widths[k - 1], layout.widths[k], n, slice_size)
            begin, end = layout.weights[k], layout.biases[k] + layout.widths[k]
            self.launch(add_slices, blocks_for(end - begin), THREADS, self.part, slices, begin, end, grad)


def block_for_gradient(layout: DeviceLayout, k: int) -> Block:
    """The block for ∂E/∂W_k and ∂E/∂b_k."""
    return block_for(layout.widths[k], layout.widths[k - 1])


def slices_of(layout: DeviceLayout, k: int, samples: int) -> int:
    """The number of slices of the samples for ∂E/∂W_k: a function of the network and the number of samples alone."""
    across, down, _ = grid_for(block_for_gradient(layout, k), layout.widths[k], layout.widths[k - 1])
    most = MAX_BYTES // (layout.size * layout.itemsize)
    return max(1, min(ENOUGH_BLOCKS // (across * down), samples // LEAST_SLICE, most))
