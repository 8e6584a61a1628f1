"""The phases of a batch that ranks share: phase 1 on a rank's own panels, phase 2 on its own rows of every W_k.

In between, each rank gets h and δ of all samples from the others; see `shared_tiles`.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import subkernel
from ...threads import share_of
from .gradients import add_tiles
from .job import phase_arguments, slot_of
from .panels import propagate_group
from .sums import add_sums
from .updates import update_at


def own_panels_share(dtype: str) -> Any:
    """The function of phase 1: a thread's share of this rank's panels, group after group."""
    def share(job: Any, thread: int, threads: int) -> None:
        first, last = job.begin // job.lanes, (job.end + job.lanes - 1) // job.lanes
        begin, end = share_of(last - first, thread, threads)
        begin, end, group = first + begin, first + end, job.group
        if group > 0:  # a thread has a few slots, which stay in its cache
            for panel in range(begin, end, group):
                propagate_group(job, slot_of(job, thread * group, thread * group), panel, min(group, end - panel))
        elif end > begin:  # every panel has a slot of its own
            propagate_group(job, slot_of(job, begin, begin), begin, end - begin)

    return share, phase_arguments(dtype)


def own_rows_share(dtype: str) -> Any:
    """The function of phase 2: a thread's share of ∂E/∂W_k in this rank's rows, and all ∂E/∂b_k on one thread.

    Each rank computes all ∂E/∂b_k, because b_k may lie among the parameters of any of them.
    """
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        alpha = T(job.alpha)
        add_tiles(job, alpha, thread, threads)
        if thread == 0:
            for k in range(1, job.depth + 1):
                add_biases(job, alpha, k, 0, job.first_rows[k])
                add_biases(job, alpha, k, job.first_rows[k] + job.own_rows[k], job.widths[k])

    return share, phase_arguments(dtype)


@subkernel
def add_biases(job: Any, alpha: Any, k: int, first: int, last: int) -> None:
    """target += alpha ∂E/∂b of the units first … last - 1 of a layer, or their update."""
    for i in range(first, last, job.tile_rows):
        rows, place = min(job.tile_rows, last - i), job.biases_at[k] + i
        sums = job.sums if job.updates else pointer(job.target, place)
        add_sums(job.add_row_sums, sums, alpha, pointer(job.delta, (job.units[k] + i) * job.lanes), rows, job.in_delta,
                 job.count)
        if job.updates:
            update_at(job, place, sums, 1, rows, 0, 0, 0.0)
