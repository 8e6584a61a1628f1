"""Batches of many chunks on several threads: each takes whole chunks through both phases, in memory of its own.

Threads that share the tiles of one chunk read the δ and h that others wrote, out of the caches of other cores: of
4-32-16-4 that took them a third of their time. A chunk of one thread stays where it is. Its gradient is written down,
beside those of a few other chunks, and the running gradient takes one after the other, in the order of the samples:
as on one thread, to the last bit.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import address_in_memory, invoke, pointer, pointer_to
from ...compiling.decorators import inlined
from ...threads import share_of
from . import job as jobs
from .outcomes import sums_of_chunk
from .phases import PHASE_ARGUMENTS

#: Chunks are shared where at least this part of the threads' time is used: of 9 chunks two threads have 4 and 5.
LEAST_USE = 0.8

#: A thread adds up so many parameters of all chunks before it goes on: the sums stay in the first-level cache.
BLOCK = 2048


@inlined
def chunks_of(job: Any, count: Any) -> Any:
    """How many chunks so many samples are."""
    return (count + job[jobs.CHUNK] - 1) // job[jobs.CHUNK]


def chunks_share(dtype: str) -> Any:
    """Both phases for a thread's share of the chunks of a job: where one has finished, its E and how many were correct
    take the place of its first sample's, and its gradient is one of PARTIALS."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        own = pointer(pointer_to(job[jobs.CREW], np.int64), thread * job[jobs.IN_CREW])
        losses, correct_ones = pointer_to(job[jobs.LOSSES], np.float64), pointer_to(job[jobs.CORRECT], np.int64)
        for place in range(jobs.CALL_SIZE):
            own[place] = job[place]
        pointer_to(address_in_memory(own), np.float64)[jobs.ALPHA] = 1.0
        chunks = chunks_of(job, job[jobs.COUNT])
        begin, end = share_of(chunks, thread, threads)
        for chunk in range(begin, end):
            partial = pointer(pointer_to(job[jobs.PARTIALS], T), chunk * job[jobs.IN_PARTIAL])
            for p in range(job[jobs.PARAMETERS]):
                partial[p] = -T(0.0)  # -0 + x is x, for 0 and -0 too
            own[jobs.TARGET], own[jobs.FIRST] = address_in_memory(partial), job[jobs.FIRST] + chunk * job[jobs.CHUNK]
            own[jobs.COUNT] = min(job[jobs.CHUNK], job[jobs.COUNT] - chunk * job[jobs.CHUNK])
            invoke(own[jobs.PROPAGATE_PHASE], (own, 0, 1))
            invoke(own[jobs.GRADIENT_PHASE], (own, 0, 1))
            losses[chunk], correct_ones[chunk] = sums_of_chunk(own)

    return share, PHASE_ARGUMENTS


def partials_share(dtype: str) -> Any:
    """TARGET += the gradients of the chunks, one after another, in a thread's share of the parameters."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        chunks, parameters = chunks_of(job, job[jobs.COUNT]), job[jobs.PARAMETERS]
        begin, end = share_of(parameters, thread, threads)
        for first in range(begin, end, BLOCK):
            target = pointer(pointer_to(job[jobs.TARGET], T), first)
            for chunk in range(chunks):
                partial = pointer(pointer_to(job[jobs.PARTIALS], T), chunk * job[jobs.IN_PARTIAL] + first)
                for p in range(min(BLOCK, end - first)):
                    target[p] += partial[p]

    return share, PHASE_ARGUMENTS
