"""Samples for kernels, window after window: from the device's memory, or chunk after chunk from the processor's.

There are two buffers for chunks. While kernels work on one, the processor gathers the rows of the next into pinned
memory, and the GPU copies them to its own.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...checks.samples import Samples
from .driver import cuda
from .memory import converted_rows, is_on_device, nothing, there


class Order:
    """The order of an epoch's samples, (n,) int64, on the processor and on the device; an empty one is that of X."""

    def __init__(self, places: np.ndarray) -> None:
        self.places = places

    @cached_property
    def on_device(self) -> Any:
        """The order on the device."""
        return there(self.places)

    def rows(self, first: int, samples: int) -> Any:
        """The rows of X of `samples` places of the order, from first on."""
        return self.places[first : first + samples] if len(self.places) else np.arange(first, first + samples)


class Window(NamedTuple):
    """Samples on the device; see `panels` for the two ways in which they are counted."""

    X: Any
    labels: Any
    targets: Any
    weights: Any
    order: Any
    start: int
    numbers: Any
    first: int
    samples: int
    rows: Any  # of X, on the processor


class Feed:
    """Windows of at most `chunk` samples.

    Parameters
    ----------
    chunk : int
    stream : Stream
        In which kernels use the windows.
    """

    def __init__(self, chunk: int, stream: Any) -> None:
        self.chunk, self._stream = chunk, stream
        self._buffers: list[_Buffer] = []  # by turns, from one call to the next

    def windows(self, samples: Samples, order: Any, start: int, stop: int, base: int = 0) -> Iterator[Window]:
        """The samples order[start:stop]; kernels on one window are launched before the next is taken.

        order : `Order` or `Orders`; base : the place from which those of samples on the device are counted
        """
        resident = is_on_device(samples.X)
        for first in range(start, stop, self.chunk):
            count = min(self.chunk, stop - first)
            rows = order.rows(first, count)
            if resident:
                places = order.on_device
                yield Window(samples.X, samples.labels, samples.targets, samples.weights, places, first - base, places,
                             first - base, count, rows)
                continue
            if not self._buffers or not self._buffers[0].fits(samples, count):
                cuda.synchronize()
                self._buffers = [_Buffer(samples, min(self.chunk, stop - start)) for _ in range(2)]
            buffer = self._buffers[0]
            self._buffers.reverse()
            try:
                yield buffer.filled(samples, rows, self._stream)
            finally:  # after Ctrl-C too
                buffer.used.record(self._stream)


class _Buffer:
    """Memory for a chunk: pinned memory of the processor, and memory of the device."""

    def __init__(self, samples: Samples, chunk: int) -> None:
        self._chunk = chunk
        self._kinds = _kinds_of(samples)
        shapes = [(chunk if given else 0, *shape) for given, shape, _ in self._kinds]
        dtypes = [dtype for _, _, dtype in self._kinds]
        self._pinned = [cuda.pinned_array(shape, dtype) if shape[0] else np.empty(shape, dtype)
                        for shape, dtype in zip(shapes, dtypes, strict=True)]
        self._on_device = [cuda.device_array(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        self._stream, self._ready, self.used = cuda.stream(), cuda.event(), cuda.event()

    def fits(self, samples: Samples, count: int) -> bool:
        """Whether `count` samples with these arrays fit in."""
        return self._chunk >= count and self._kinds == _kinds_of(samples)

    def filled(self, samples: Samples, rows: np.ndarray, stream: Any) -> Window:
        """The window on these rows, copied to the device for kernels in the stream."""
        self.used.synchronize()  # the last kernels that read it are done
        count = len(rows)
        for source, pinned in zip(samples[:4], self._pinned, strict=False):
            if source is samples.X and samples.rows is not None:
                pinned[:count] = converted_rows(source[rows], pinned.dtype, samples.rows)
            elif len(pinned) and source.dtype == pinned.dtype:
                np.take(source, rows, axis=0, out=pinned[:count], mode="clip")  # the mode that needs no copy
            elif len(pinned):
                pinned[:count] = source[rows]
        self._pinned[4][:count] = rows
        for pinned, copied in zip(self._pinned, self._on_device, strict=True):
            if len(pinned):
                copied[:count].copy_to_device(pinned[:count], stream=self._stream)
        self._ready.record(self._stream)
        self._ready.wait(stream)
        X, labels, targets, weights, numbers = self._on_device
        return Window(X, labels, targets, weights, nothing(np.dtype(np.int64), 1), 0, numbers, 0, count, rows)


def _kinds_of(samples: Samples) -> list[tuple[bool, tuple[int, ...], np.dtype]]:
    """Whether there are inputs, labels, targets, weights and numbers, the shape of one sample's, and the dtype."""
    dtypes = samples.targets.dtype, np.dtype(np.int64), samples.targets.dtype, samples.targets.dtype
    kinds = [(len(array) > 0, array.shape[1:], dtype) for array, dtype in zip(samples[:4], dtypes, strict=True)]
    return [*kinds, (True, (), np.dtype(np.int64))]
