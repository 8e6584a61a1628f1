"""Batches of many chunks on several threads: each takes whole chunks through both phases, in a workspace of its own.

Threads that share the tiles of one chunk read the δ and h that others wrote, out of the caches of other cores: of
4-32-16-4 that took them a third of their time. A chunk that one thread takes stays in the caches of its core. Its
gradient is stored beside those of a few other chunks. They are added to the running gradient in the order of the
samples, so that the result has the bits of one thread.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import address_in_memory, pointer, pointer_to
from ...compiling.decorators import inlined
from ...threads import share_of
from .job import CALL_SIZE, job_at, phase_arguments
from .outcomes import sums_of_chunk
from .phases import run_share

#: Chunks are shared where at least this part of the threads' time is used: of 9 chunks two threads have 4 and 5.
LEAST_USE = 0.8

#: A thread adds up the gradients of all chunks for BLOCK parameters at a time: the sums stay in the first-level cache.
BLOCK = 2048


@inlined
def chunks_of(job: Any, count: Any) -> Any:
    """How many chunks `count` samples are."""
    return (count + job.chunk - 1) // job.chunk


def chunks_share(dtype: str) -> Any:
    """The function that runs both phases for a thread's share of the chunks of a job.

    The E, the number of correct samples and the gradient of chunk c become the c-th of `E`, `correct` and `partials`.
    """
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        own = job_at(address_in_memory(pointer(job.crew, thread * job.in_crew)), None)
        call, own_call = (pointer_to(address_in_memory(job), np.int64), pointer_to(address_in_memory(own), np.int64))
        for place in range(CALL_SIZE):
            own_call[place] = call[place]
        own.alpha = 1.0
        losses, correct_ones = job.E, job.correct
        begin, end = share_of(chunks_of(job, job.count), thread, threads)
        for chunk in range(begin, end):
            partial = pointer(job.partials, chunk * job.in_partial)
            for p in range(job.parameters):
                partial[p] = -T(0.0)  # -0 + x is x, for 0 and -0 too
            own.target, own.first = address_in_memory(partial), job.first + chunk * job.chunk
            own.count = min(job.chunk, job.count - chunk * job.chunk)
            run_share(own.propagate_phase, own, 0, 1)
            run_share(own.gradient_phase, own, 0, 1)
            losses[chunk], correct_ones[chunk] = sums_of_chunk(own)

    return share, phase_arguments(dtype)


def partials_share(dtype: str) -> Any:
    """The function target += the gradients of the chunks, in their order, for a thread's share of the parameters."""
    def share(job: Any, thread: int, threads: int) -> None:
        chunks, parameters = chunks_of(job, job.count), job.parameters
        begin, end = share_of(parameters, thread, threads)
        for first in range(begin, end, BLOCK):
            target = pointer(job.target, first)
            for chunk in range(chunks):
                partial = pointer(job.partials, chunk * job.in_partial + first)
                for p in range(min(BLOCK, end - first)):
                    target[p] += partial[p]

    return share, phase_arguments(dtype)
