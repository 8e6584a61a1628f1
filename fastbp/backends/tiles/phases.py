"""The two phases of a job as functions that are called by address: (job, thread, threads)."""

from typing import Any

import numpy as np
from numba import types

from ...compiling.addresses import INTEGER, address_in_memory, pointer_to
from ...compiling.decorators import inlined
from ...threads import share_of
from .gradients import add_lane_tiles, add_tiles, sums_by_lanes
from .job import ALPHA, COUNT, DROP, GROUP, LANES, TARGET, THETA, data_of, room_of, shape_of
from .panels import propagate_group
from .rows import add_outer_products, propagate_rows

#: Up to so many samples go through the network one by one.
FEW = 4

#: The types of a phase's arguments.
PHASE_ARGUMENTS = (types.CPointer(INTEGER), INTEGER, INTEGER)


@inlined
def one_by_one(job: Any) -> Any:
    """Whether samples go through the network one by one; not where units are dropped, which panels alone do."""
    return job[COUNT] <= min(FEW, job[LANES]) and job[DROP] == 0


def propagate_share(dtype: str) -> Any:
    """Phase 1: a thread's share of the panels of a chunk, group after group."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        theta, shape, data, group = pointer_to(job[THETA], T), shape_of(job), data_of(job, T), job[GROUP]
        panels = (data.samples + job[LANES] - 1) // job[LANES]
        begin, end = share_of(panels, thread, threads)
        if one_by_one(job):
            propagate_rows(theta, shape, data, room_of(job, T, 0, 0))
        elif group > 0:  # a thread has a few slots, which stay in its cache
            slot = thread * group
            for panel in range(begin, end, group):
                room = room_of(job, T, slot, panel if sums_by_lanes(job) else slot)
                propagate_group(theta, shape, data, room, panel, min(group, end - panel))
        elif end > begin:  # every panel has a slot of its own
            propagate_group(theta, shape, data, room_of(job, T, begin, begin), begin, end - begin)

    return share, PHASE_ARGUMENTS


def gradient_share(dtype: str) -> Any:
    """Phase 2: TARGET += ALPHA ∂E/∂θ of a chunk, in a thread's share of the tiles; TARGET is the gradient, or theta."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        target, shape, room = pointer_to(job[TARGET], T), shape_of(job), room_of(job, T, 0, 0)
        alpha = T(pointer_to(address_in_memory(job), np.float64)[ALPHA])
        if one_by_one(job):
            add_outer_products(target, shape, data_of(job, T), room, alpha)
        elif sums_by_lanes(job):
            add_lane_tiles(target, shape, room, alpha, job[COUNT], thread, threads)
        else:
            add_tiles(target, shape, room, alpha, job[COUNT], thread, threads)

    return share, PHASE_ARGUMENTS
