"""Memory for the steps of a slice, which stays: their coefficients, their records, and the orders of their samples.

Steps are enqueued one after another, and what came of them is read once. Until then nothing that was copied for them is
written again. The processor's side is pinned, so that it does not wait for its copies.
"""

from typing import Any

import numpy as np

from ...formulas.sampling import draw_order
from ..training_loop import Plan
from .device import kernel
from .driver import cuda
from .memory import nothing
from .updates import CONTROLS, NOT_FINITE, PRESENT_E, RECORDS, TAKEN

#: The most epochs whose orders lie beside each other, and the most bytes of several.
MOST_ORDERS, ORDER_BYTES = 256, 2**24


@kernel
def start_steps(control: Any, arrived: Any) -> None:
    """No step was taken, and no block has arrived anywhere; by one thread."""
    for place in range(control.shape[0]):
        control[place] = 0.0
    arrived[0] = 0


class StepMemory:
    """Coefficients and records of steps, on the device and where they are written and read.

    Parameters
    ----------
    most : int
        The most steps of a slice.
    columns : int
        Of a row of coefficients; see `updates.rows_of`.
    work : Propagation
        In whose stream steps are taken.

    Attributes
    ----------
    rows : (most, columns + 2) float64, on the device
        The coefficients of each step, where its batch begins in the order, and how many samples it has.
    control, records : see `updates`
    arrived : (1,) int32
        How many blocks have arrived at barriers; see `fused`.
    """

    def __init__(self, most: int, columns: int, work: Any) -> None:
        self._work, self.most, self.columns, self.steps = work, most, columns, 0
        shapes = (most, columns + 2), (most, RECORDS), (CONTROLS,)
        self._rows, self._records, self._control = (cuda.pinned_array(shape, np.float64) for shape in shapes)
        self.rows, self.records, self.control = (cuda.device_array(shape, np.float64) for shape in shapes)
        self.arrived = cuda.device_array(1, np.int32)

    def start(self) -> None:
        """Forget all steps."""
        self.steps = self._copied = 0
        self._work.launch(start_steps, 1, 1, self.control, self.arrived)

    def add(self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
        """Add further steps, which `copy` then brings to the device."""
        first, self.steps = self.steps, self.steps + len(rows)
        own, columns = self._rows[first : self.steps], self.columns
        own[:, :columns], own[:, columns], own[:, columns + 1] = rows, starts, sizes

    def copy(self) -> None:
        """Copy what was added to the device."""
        place, self._copied = slice(self._copied, self.steps), self.steps
        self.rows[place].copy_to_device(self._rows[place], stream=self._work.stream)

    def read(self) -> tuple[np.ndarray, float | None]:
        """The records of the steps that were taken, and E of the next one if that was not finite, or None."""
        stream, records = self._work.stream, self._records[: self.steps]
        self.control.copy_to_host(self._control, stream=stream)
        if self.steps:
            self.records[: self.steps].copy_to_host(records, stream=stream)
        stream.synchronize()
        E = float(self._control[PRESENT_E]) if self._control[NOT_FINITE] else None
        return records[: int(self._control[TAKEN])], E


class Orders:
    """The orders of epochs, beside each other. It is an `Order` in which an epoch begins at a place of its own.

    Parameters
    ----------
    drawn : (n,) int64
        `Progress.order`, in which the order of an epoch is drawn; empty for the order of X.
    work : Propagation
        In whose stream orders are read.
    """

    def __init__(self, drawn: np.ndarray, work: Any) -> None:
        n = len(drawn)
        self.drawn, self._work, self._slot, self._epoch = drawn, work, -1, -1
        self._waiting: list[int] = []  # slots that are not on the device yet
        self.slots = max(1, min(MOST_ORDERS, ORDER_BYTES // max(1, drawn.nbytes)))
        size, pinned = self.slots * n, 0 < self.slots * drawn.nbytes <= ORDER_BYTES
        self.places: np.ndarray = cuda.pinned_array(size, np.int64) if pinned else np.empty(size, np.int64)
        self.on_device = cuda.device_array(size, np.int64) if n else nothing(np.dtype(np.int64), 1)

    def begin_of(self, epoch: int, plan: Plan, is_drawn: bool) -> int:
        """Where the order of an epoch begins, which is drawn first unless that was done already."""
        n = len(self.drawn)
        if n and not (is_drawn and epoch == self._epoch):
            if not is_drawn:
                draw_order(self.drawn, plan.sampling, plan.seed, epoch)
            self._slot, self._epoch = (self._slot + 1) % self.slots, epoch
            self.places[self._slot * n : (self._slot + 1) * n] = self.drawn
            self._waiting.append(self._slot)
        return self._slot * n if n else 0

    def copy(self) -> None:
        """Copy the orders that are not on the device yet, those beside each other at once."""
        n = len(self.drawn)
        while self._waiting:
            first = last = self._waiting.pop(0)
            while self._waiting and self._waiting[0] == last + 1:
                last = self._waiting.pop(0)
            place = slice(first * n, (last + 1) * n)
            self.on_device[place].copy_to_device(self.places[place], stream=self._work.stream)

    def go_back_to(self, epoch: int, plan: Plan) -> None:
        """Draw the order of an epoch again if that of a later one was drawn."""
        if len(self.drawn) and epoch != self._epoch:
            self.begin_of(epoch, plan, is_drawn=False)

    def rows(self, first: int, samples: int) -> Any:
        """See `Order.rows`."""
        return self.places[first : first + samples] if len(self.places) else np.arange(first, first + samples)
