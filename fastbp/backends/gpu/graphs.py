"""Launches that are repeated as one: captured once as a CUDA graph, then replayed.

A launch from Python takes some microseconds, most of it for its arguments; a step of a network by layers has dozens. A
graph holds all of them with their arguments, and is launched by one call.
"""

import weakref
from collections.abc import Callable
from typing import Any

from .driver import SIMULATED, cuda


class Replay:
    """The launches of a propagation that were made last, for the next time.

    Where the driver does not capture them, they are made each time.
    """

    def __init__(self) -> None:
        self._is_possible = not SIMULATED
        self._arguments: tuple[Any, ...] = ()
        self._graph: Any = None

    def run(self, work: Any, launch_all: Callable[[], None], number: int, *arguments: Any) -> None:
        """Make launches: the first time by a call, and captured the second time, when all kernels are on the device.

        They have to be the same ones as before if the number is, and the arguments are the very same objects.
        """
        if not self._is_possible:
            return launch_all()
        arguments = number, *arguments
        if len(arguments) != len(self._arguments) or number != self._arguments[0] or any(
                own is not given for own, given in zip(self._arguments[1:], arguments[1:], strict=True)):
            self._arguments, self._graph = arguments, None
            return launch_all()
        if self._graph is None:
            self._graph = captured(work, launch_all)
            if self._graph is None:
                self._is_possible = False
                return launch_all()
        self._graph.launch(work.stream)


class Graph:
    """A captured graph that can be launched."""

    def __init__(self, graph: Any) -> None:
        api = cuda.cudadrv.driver.driver
        self._executable = api.cuGraphInstantiate(graph, 0)
        weakref.finalize(self, api.cuGraphExecDestroy, self._executable)

    def launch(self, stream: Any) -> None:
        """Launch all kernels, one after another."""
        cuda.cudadrv.driver.driver.cuGraphLaunch(self._executable, stream.handle)


def captured(work: Any, launch_all: Callable[[], None]) -> Graph | None:
    """The graph of launches of a propagation, of which none takes place; None if that cannot be done."""
    api, names = cuda.cudadrv.driver.driver, cuda.cudadrv.driver.binding
    # While an ordinary stream is captured, the driver refuses what other threads do in the default one.
    handle = api.cuStreamCreate(names.CUstream_flags.CU_STREAM_NON_BLOCKING)
    try:
        # Relaxed: memory may be allocated and freed meanwhile.
        api.cuStreamBeginCapture(handle, names.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
        try:
            with work.launching_in(cuda.external_stream(int(handle))):
                launch_all()
        finally:
            graph = api.cuStreamEndCapture(handle)
        try:
            return Graph(graph)
        finally:
            api.cuGraphDestroy(graph)
    except Exception:  # whatever refused it: the launches are made without a graph, where what is wrong is wrong again
        return None
    finally:
        api.cuStreamDestroy(handle)
