"""Calls too short for the clock: made many times in a row, and reported as one."""

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import fastbp

#: How long the calls of one sample should take together.
SAMPLE_SECONDS = 0.01

#: In which what is compared takes turns.
ROUNDS = 7

#: The time that the calling thread computes, which is all the time where it has a core for itself. Where it shares one,
#: the time it waits is not in it: with another program on the core, clocks on the wall went by twice as fast.
OWN_TIME = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter

#: For what more than one thread does.
WALL_TIME = time.perf_counter


class Repeated:
    """A call that is made so often that it takes about `SAMPLE_SECONDS`; made for the first time here.

    A slow clock, `timer`, makes asv report the time of what was done once: a call, or one of the `elements` of which a
    call takes care.

    Parameters
    ----------
    call : callable
    elements : int
        How many make up a call.
    most : int, optional
        Calls in a row, if more would change what they do.
    clock : callable
        OWN_TIME or WALL_TIME.
    """

    def __init__(self, call: Callable[[], Any], elements: int = 1, most: int = 1_000_000,
                 clock: Callable[[], float] = OWN_TIME) -> None:
        self._call, self._elements, self._clock, self.count = call, elements, clock, 1
        call()
        taken = self._seconds()
        while taken < SAMPLE_SECONDS / 8 and self.count < most:
            self.count = min(most, 4 * self.count)
            taken = self._seconds()
        self.count = max(1, min(most, math.ceil(self.count * SAMPLE_SECONDS / taken)))

    def __call__(self) -> None:
        call = self._call
        for _ in range(self.count):
            call()

    def timer(self) -> float:
        """A clock by which all calls together take as long as one element in seconds."""
        return self._clock() / (self.count * self._elements)

    def _seconds(self) -> float:
        begin = self._clock()
        self()
        return self._clock() - begin


class Timed:
    """A benchmark whose `setup` puts into `calls` what it times, and which reports the time of one of them.

    asv takes the attribute `timer` for its clock. It asks for it once and calls `setup` before every sample, so the
    clock looks for the calls of this sample.
    """

    calls: Any

    def timer(self) -> float:
        """The clock of the calls."""
        return self.calls.timer()


def use_threads(threads: int) -> None:
    """Let fastbp use so many.

    Raises
    ------
    NotImplementedError
        If there are not as many cores, by which asv leaves the benchmark out.
    """
    try:
        fastbp.set_num_threads(threads)
    except ValueError as error:
        raise NotImplementedError(str(error)) from None


def ratio(ours: Callable[[], float], other: Callable[[], float]) -> float:
    """The median of ours / other, measured in turn; three digits are more than it is worth."""
    return float(f"{median(ours() / other() for _ in range(ROUNDS)):.3g}")
