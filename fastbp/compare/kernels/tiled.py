"""`tiled`: what its two phases do tile by tile, on panels."""

from typing import Any

import numpy as np
from numba import types

from ...backends.tiled import run
from ...backends.tiles import job as jobs
from ...backends.tiles.panels import COLUMN_STEPS, ROW_STEPS
from ...backends.tiles.phases import FEW
from ...backends.tiles.product import FROM_BIAS, FROM_ZERO
from ...backends.tiles.workspace import lanes, workspace
from ...compiling.addresses import INTEGER, address_of, invoke, pointer, pointer_to
from ...compiling.decorators import inlined, kernel
from ...layout import aligned_zeros
from ...threads import allowed, share_of
from ..workers.worker import Product
from .one_layer import OneLayer

_ARGUMENTS = (types.CPointer(INTEGER), INTEGER, INTEGER)


class Products(OneLayer):
    """Panels of h and δ, and h sample after sample for δ hᵀ; as many panels at once as the backend takes."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        if self.samples <= FEW:
            raise ValueError(f"batch: expected more than the {FEW} samples that tiled takes one by one, by other "
                             f"kernels, found {self.samples}")
        self.job, width = workspace(self.layout, self.dtype, self.samples), lanes(self.dtype)
        self.width, self.panels = width, -(-self.samples // width)
        # The workspace has memory for a group of panels and for a chunk of samples; here every panel has its own.
        blocks, in_block = -(-self.inputs // width), self.panels * width * width
        self.h, self.a = (self._memory(jobs.IN_PANEL, at) for at in (jobs.H, jobs.A))
        self.e, self.delta = self._memory(jobs.IN_ERROR, jobs.E), self._memory(jobs.IN_DELTA, jobs.DELTA)
        self.h_rows = aligned_zeros(blocks * in_block, self.dtype)
        self.job[jobs.H_ROWS], self.job[jobs.IN_BLOCK] = self.h_rows.ctypes.data, in_block
        self.outputs_at = blocks * width  # where the units of layer 1 begin in a panel of h or a
        self._panels(self.h, 0, self.inputs)[:] = self._turned(product.h)
        self._panels(self.delta, self.inputs, self.units)[:] = self._turned(product.delta)
        rows = np.zeros((self.panels * width, blocks * width), self.dtype)
        rows[: self.samples, : self.inputs] = product.h
        self.h_rows[:] = rows.reshape(-1, blocks, width).transpose(1, 0, 2).ravel()
        self.job[jobs.THETA], self.job[jobs.TARGET] = self.theta.ctypes.data, self.grad.ctypes.data
        self.job[jobs.COUNT], self.job[jobs.ALPHA] = self.samples, np.float64(1.0).view(np.int64)
        name = self.dtype.name
        self.phase = {"W h": lambda: address_of(layer_sums, name), "Wᵀδ": lambda: address_of(layer_errors, name),
                      "δhᵀ": lambda: self.job[jobs.GRADIENT_PHASE]}[product.product]()

    def _memory(self, apart: int, at: int) -> np.ndarray:
        """(panels, in_panel) zeros, whose address is put into the job."""
        values = aligned_zeros(self.panels * int(self.job[apart]), self.dtype)
        self.job[at] = values.ctypes.data
        return values.reshape(self.panels, -1)

    def _panels(self, values: np.ndarray, begin: int, units: int) -> np.ndarray:
        """(panels, units, width), a view of these units."""
        width = self.width
        return values[:, begin * width : (begin + units) * width].reshape(self.panels, units, width)

    def _turned(self, values: np.ndarray) -> np.ndarray:
        """Samples (S, units) as panels; lanes beyond the last sample hold 0."""
        padded = np.zeros((self.panels * self.width, values.shape[1]), self.dtype)
        padded[: self.samples] = values
        return padded.reshape(self.panels, self.width, -1).transpose(0, 2, 1)

    def repeat(self, times: int) -> None:
        """Compute the product `times` times."""
        with allowed() as threads:
            repeat_phase(self.phase, self.job, threads, times)

    def result(self) -> np.ndarray:
        """a or e (S, units), or dW."""
        if self.product.product == "δhᵀ":
            return self.dW
        found = (self._panels(self.a, self.outputs_at, self.units) if self.product.product == "W h" else
                 self._panels(self.e, 0, self.inputs))
        return found.transpose(0, 2, 1).reshape(self.panels * self.width, -1)[: self.samples]


@kernel
def repeat_phase(phase: int, job: Any, threads: int, times: int) -> None:
    """Run a phase of a job `times` times, as the backend does."""
    for _ in range(times):
        run(phase, job, threads)


@inlined
def panels_of(job: Any, thread: Any, threads: Any) -> Any:
    """A thread's panels, from begin to end, and how many of them go together; see `tiles.phases`."""
    panels = (job[jobs.COUNT] + job[jobs.LANES] - 1) // job[jobs.LANES]
    begin, end = share_of(panels, thread, threads)
    return begin, end, job[jobs.GROUP] if job[jobs.GROUP] > 0 else max(1, end - begin)


def layer_sums(dtype: str) -> Any:
    """The function (job, thread, threads), for `address_of`: a_1 = W_1 h_0 + b_1 of a thread's share of the panels."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        theta, shape, room = pointer_to(job[jobs.THETA], T), jobs.shape_of(job), jobs.room_of(job, T, 0, 0)
        begin, end, group = panels_of(job, thread, threads)
        for panel in range(begin, end, group):
            invoke(room.affine, (shape.widths[1], FROM_BIAS, pointer(theta, shape.biases[1]),
                                 pointer(room.a, panel * room.in_panel + shape.places[1] * room.lanes), room.in_panel,
                                 pointer(theta, shape.weights[1]), shape.widths[0], 1,
                                 pointer(room.h, panel * room.in_panel), room.in_panel, shape.widths[0],
                                 min(group, end - panel), ROW_STEPS))

    return share, _ARGUMENTS


def layer_errors(dtype: str) -> Any:
    """The function (job, thread, threads), for `address_of`: e_0 = W_1ᵀ δ_1 of a thread's share of the panels."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        theta, shape, room = pointer_to(job[jobs.THETA], T), jobs.shape_of(job), jobs.room_of(job, T, 0, 0)
        begin, end, group = panels_of(job, thread, threads)
        for panel in range(begin, end, group):
            invoke(room.affine, (shape.widths[0], FROM_ZERO, theta, pointer(room.e, panel * room.in_error),
                                 room.in_error, pointer(theta, shape.weights[1]), 1, shape.widths[0],
                                 pointer(room.delta, panel * room.in_delta + shape.units[1] * room.lanes),
                                 room.in_delta, shape.widths[1], min(group, end - panel), COLUMN_STEPS))

    return share, _ARGUMENTS
