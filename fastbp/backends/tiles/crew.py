"""Batches of many chunks on several threads: each takes whole chunks through both phases, in memory of its own.

Threads that share the tiles of one chunk read the δ and h that others wrote, out of the caches of other cores: of
4-32-16-4 that took them a third of their time. A chunk of one thread stays where it is. Its gradient is written down,
beside those of a few other chunks, and the running gradient takes one after the other, in the order of the samples:
as on one thread, to the last bit.
"""

from typing import Any

import numpy as np
from numba import types

from ...by_address import INTEGER, address_in_memory, invoke, pointer, pointer_to
from ...compilation import inlined, panel_loop
from . import job as jobs

#: Chunks are shared where at least this part of the threads' time is used: of 9 chunks two threads have 4 and 5.
LEAST_USE = 0.8

#: A thread adds up so many parameters of all chunks before it goes on: the sums stay in the first-level cache.
BLOCK = 2048

_ARGUMENTS = (types.CPointer(INTEGER), INTEGER, INTEGER)


@inlined
def chunks_of(job: Any) -> Any:
    """How many chunks the samples of a job are."""
    return (job[jobs.COUNT] + job[jobs.CHUNK] - 1) // job[jobs.CHUNK]


@inlined
def sums_of_chunk(job: Any) -> Any:
    """E and the number of correct samples after phase 1."""
    if job[jobs.LABELS] == 0 and job[jobs.TARGETS] == 0:
        return 0.0, 0
    return (_sum_in_order(pointer_to(job[jobs.LOSSES], np.float64), job[jobs.COUNT]),
            add_one_by_one(0, pointer_to(job[jobs.CORRECT], np.int64), job[jobs.COUNT]))


@panel_loop
def add_one_by_one(total: Any, numbers: Any, count: Any) -> Any:
    """total and so many numbers, in their order; a loop that may be reassociated sums as suits the code around it."""
    for place in range(count):
        total += numbers[place]
    return total


@panel_loop
def _sum_in_order(numbers: Any, count: Any) -> Any:
    """The sum of every fourth number, from each of the first four on, and of these: the same wherever it is compiled,
    and four times as fast as one by one."""
    a, b, c, d, whole = 0.0, 0.0, 0.0, 0.0, count - count % 4
    for s in range(0, whole, 4):
        a, b, c, d = a + numbers[s], b + numbers[s + 1], c + numbers[s + 2], d + numbers[s + 3]
    return add_one_by_one((a + b) + (c + d), pointer(numbers, whole), count - whole)


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
        chunks = chunks_of(job)
        for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
            partial = pointer(pointer_to(job[jobs.PARTIALS], T), chunk * job[jobs.IN_PARTIAL])
            for p in range(job[jobs.PARAMETERS]):
                partial[p] = -T(0.0)  # -0 + x is x, for 0 and -0 too
            own[jobs.TARGET], own[jobs.FIRST] = address_in_memory(partial), job[jobs.FIRST] + chunk * job[jobs.CHUNK]
            own[jobs.COUNT] = min(job[jobs.CHUNK], job[jobs.COUNT] - chunk * job[jobs.CHUNK])
            invoke(own[jobs.PROPAGATE_PHASE], (own, 0, 1))
            invoke(own[jobs.GRADIENT_PHASE], (own, 0, 1))
            losses[chunk], correct_ones[chunk] = sums_of_chunk(own)

    return share, _ARGUMENTS


def partials_share(dtype: str) -> Any:
    """TARGET += the gradients of the chunks, one after another, in a thread's share of the parameters."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        chunks, parameters = chunks_of(job), job[jobs.PARAMETERS]
        begin, end = parameters * thread // threads, parameters * (thread + 1) // threads
        for first in range(begin, end, BLOCK):
            target = pointer(pointer_to(job[jobs.TARGET], T), first)
            for chunk in range(chunks):
                partial = pointer(pointer_to(job[jobs.PARTIALS], T), chunk * job[jobs.IN_PARTIAL] + first)
                for p in range(min(BLOCK, end - first)):
                    target[p] += partial[p]

    return share, _ARGUMENTS
