"""`tiled`: what its two phases do tile by tile, on panels."""

from typing import Any

import numpy as np

from ...backends.tiled import run
from ...backends.tiles.jacobian import ROW_STEPS
from ...backends.tiles.job import fields, job_in, phase_arguments
from ...backends.tiles.packing import columns_product, errors_product, is_long
from ...backends.tiles.phases import FEW
from ...backends.tiles.product import FROM_BIAS, FROM_ZERO, affine
from ...backends.tiles.workspace import lanes, workspace
from ...compiling.addresses import address_of, pointer
from ...compiling.decorators import inlined, kernel
from ...layout import aligned_zeros
from ...threads import allowed, share_of
from ..workers.worker import Product
from .one_layer import OneLayer


class Products(OneLayer):
    """Panels of h and δ, and h sample after sample for δ hᵀ; as many panels at once as the backend takes."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        if self.samples <= FEW:
            raise ValueError(f"batch: expected more than the {FEW} samples that tiled takes one by one, by other "
                             f"kernels, found {self.samples}")
        self.work, width = workspace(self.layout, self.dtype, self.samples), lanes(self.dtype)
        self.job = fields(self.work)
        self.width, self.panels = width, -(-self.samples // width)
        # The workspace has memory for a group of panels and for a chunk of samples; here every panel has its own.
        blocks, in_block = -(-self.inputs // width), self.panels * width * width
        self.h, self.a = self._memory(self.job.in_panel), self._memory(self.job.in_panel)
        self.e, self.delta = self._memory(self.job.in_error), self._memory(self.job.in_delta)
        self.job.h, self.job.a = self.h.ctypes.data, self.a.ctypes.data
        self.job.e, self.job.delta = self.e.ctypes.data, self.delta.ctypes.data
        self.job.tile_delta = self.job.delta
        self.h_rows = aligned_zeros(blocks * in_block, self.dtype)
        self.job.h_rows, self.job.in_block = self.h_rows.ctypes.data, in_block
        self.outputs_at = blocks * width  # where the units of layer 1 begin in a panel of h or a
        self._panels(self.h, 0, self.inputs)[:] = self._turned(product.h)
        self._panels(self.delta, self.inputs, self.units)[:] = self._turned(product.delta)
        rows = np.zeros((self.panels * width, blocks * width), self.dtype)
        rows[: self.samples, : self.inputs] = product.h
        self.h_rows[:] = rows.reshape(-1, blocks, width).transpose(1, 0, 2).ravel()
        self.job.theta, self.job.target = self.theta.ctypes.data, self.grad.ctypes.data
        self.job.count, self.job.alpha = self.samples, 1.0
        name = self.dtype.name
        if is_long(self.inputs, self.dtype):  # as in layers that are not the first, which takes no such product
            self.job.affine_columns = address_of(columns_product, name)
        self.phase = {"W h": lambda: address_of(layer_sums, name), "Wᵀδ": lambda: address_of(layer_errors, name),
                      "δhᵀ": lambda: self.job.gradient_phase}[product.product]()

    def _memory(self, in_panel: int) -> np.ndarray:
        """(panels, in_panel) zeros."""
        return aligned_zeros(self.panels * in_panel, self.dtype).reshape(self.panels, -1)

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
            repeat_phase(self.phase, self.work, threads, times)

    def result(self) -> np.ndarray:
        """a or e (S, units), or dW."""
        if self.product.product == "δhᵀ":
            return self.dW
        found = (self._panels(self.a, self.outputs_at, self.units) if self.product.product == "W h" else
                 self._panels(self.e, 0, self.inputs))
        return found.transpose(0, 2, 1).reshape(self.panels * self.width, -1)[: self.samples]


@kernel
def repeat_phase(phase: int, work: Any, threads: int, times: int) -> None:
    """Run a phase of a job `times` times, as the backend does."""
    for _ in range(times):
        run(phase, job_in(work), threads)


@inlined
def panels_of(job: Any, thread: Any, threads: Any) -> Any:
    """A thread's panels, from begin to end, and how many of them go together; see `tiles.phases`."""
    begin, end = share_of((job.count + job.lanes - 1) // job.lanes, thread, threads)
    return begin, end, job.group if job.group > 0 else max(1, end - begin)


def layer_sums(dtype: str) -> Any:
    """The function (job, thread, threads), for `address_of`: a_1 = W_1 h_0 + b_1 of a thread's share of the panels."""
    def share(job: Any, thread: int, threads: int) -> None:
        begin, end, group = panels_of(job, thread, threads)
        for panel in range(begin, end, group):
            affine(job.affine, job.outputs, FROM_BIAS, pointer(job.theta, job.biases_at[1]),
                   pointer(job.a, panel * job.in_panel + job.places[1] * job.lanes), job.in_panel,
                   pointer(job.theta, job.weights_at[1]), job.inputs, 1, pointer(job.h, panel * job.in_panel),
                   job.in_panel, job.inputs, min(group, end - panel), ROW_STEPS)

    return share, phase_arguments(dtype)


def layer_errors(dtype: str) -> Any:
    """The function (job, thread, threads), for `address_of`: e_0 = W_1ᵀ δ_1 of a thread's share of the panels."""
    def share(job: Any, thread: int, threads: int) -> None:
        begin, end, group = panels_of(job, thread, threads)
        for panel in range(begin, end, group):
            errors_product(job, 1, FROM_ZERO, pointer(job.e, panel * job.in_error), job.in_error,
                           pointer(job.theta, job.weights_at[1]),
                           pointer(job.delta, panel * job.in_delta + job.units[1] * job.lanes), job.in_delta,
                           min(group, end - panel))

    return share, phase_arguments(dtype)
