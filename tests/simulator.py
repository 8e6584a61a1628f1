"""Numba's simulator of a GPU as the tests need it: it refuses what a GPU does not have, and takes less of the time.

`conftest` imports it where NUMBA_ENABLE_CUDASIM is 1.
"""

import _thread
import random
import sys
import threading
from types import SimpleNamespace

import numpy as np
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.cudadrv import devicearray

#: Its `thread` is the GPU's thread that a thread of Python runs now.
here = threading.local()

#: The orders in which a block's threads run.
orders = random.Random(0)


class Block:
    """The threads of a block, one after another: each runs until it ends or waits at a barrier.

    Between two barriers their order is a random one, so that tests see a barrier that is missing. The simulator's own
    class runs all at once and asks them all the time which of them wait.
    """

    def __init__(self, function, grid_dim, block_dim, debug):
        self._function, self._block_dim = function, block_dim

    def run(self, block, *arguments):
        """Call the function on every thread."""
        self._arguments, self._error, self._ended = arguments, None, threading.Lock()
        self._new = [Thread(self, block, place) for place in np.ndindex(*self._block_dim)]
        self._ready, self._waiting = [], []
        orders.shuffle(self._new)
        self._ended.acquire()
        _thread.start_new_thread(self._work, ())
        self._ended.acquire()
        if self._error is not None:
            for thread in (*self._ready, *self._waiting):
                thread.turn.release()
            raise self._error

    def wait(self, thread):
        """Let the other threads run until all that have not ended wait too."""
        self._waiting.append(thread)
        if self._new:
            _thread.start_new_thread(self._work, ())
        else:
            self._go_on()
        thread.turn.acquire()
        if self._error is not None:
            raise RuntimeError("another thread of the block failed")

    def _work(self):
        while self._new and self._error is None:
            here.thread = self._new.pop()
            try:
                self._function(*self._arguments)
            except Exception as error:
                if self._error is None:
                    self._error = error
                    self._ended.release()
        if self._error is None:
            self._go_on()

    def _go_on(self):
        if not self._ready:
            self._ready, self._waiting = self._waiting, []
            orders.shuffle(self._ready)
        if self._ready:
            self._ready.pop().turn.release()
        else:
            self._ended.release()


class Thread:
    """A thread of a block, with the names by which the simulator asks for its place."""

    def __init__(self, block, block_place, place):
        self._block, self.turn = block, threading.Lock()
        self.turn.acquire()
        self.blockIdx, self.threadIdx = kernel.Dim3(*block_place), kernel.Dim3(*place)

    def syncthreads(self):
        """The barrier."""
        self._block.wait(self)


def shared_array(shared, shape, dtype, alignment=None):
    """The block's array of the line that asks. It begins with NaN, as a GPU's begins with anything."""
    line = sys._getframe(1)
    return shared._allocations.setdefault((line.f_code, line.f_lineno), np.full(shape, np.nan, dtype))


def attribute(array, name):
    """What the simulator's arrays hand on to NumPy's, if arrays on a GPU have it too."""
    if name not in {"dtype", "ndim", "size", "strides", "flags", "squeeze"}:
        raise AttributeError(f"arrays on a GPU have no attribute {name!r}")
    return getattr(array._ary, name)


kernel.BlockManager, kernelapi.threading = Block, SimpleNamespace(current_thread=lambda: here.thread)
kernelapi.FakeCUDAShared.array, devicearray.FakeCUDAArray.__getattr__ = shared_array, attribute
for _name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "lt", "le", "gt", "ge"):
    delattr(devicearray.FakeCUDAArray, f"__{_name}__")
