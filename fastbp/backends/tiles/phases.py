"""The phases of a job as functions that are called by address: (job, thread, threads)."""

from typing import Any

import numpy as np

from ...compiling.addresses import invoke, pointer
from ...compiling.decorators import inlined
from ...threads import share_of
from .gradients import add_lane_tiles, add_tiles, sums_by_lanes
from .job import phase_arguments, slot_of
from .panels import propagate_group
from .rows import add_outer_products, propagate_rows
from .sparse import add_sparse_gradient, is_sparse
from .updates import update_at

#: Up to FEW samples go through the network one by one, where products have no bfloat16 operands.
FEW = 4


@inlined
def run_share(phase: Any, job: Any, thread: Any, threads: Any) -> None:
    """Run a thread's share of the phase at an address."""
    invoke(phase, (job, thread, threads))


@inlined
def one_by_one(job: Any) -> Any:
    """Whether samples go through the network one by one; not where units are dropped or rows are sparse, which panels
    alone do."""
    return job.count <= job.few and job.drop_units == 0 and not is_sparse(job)


def propagate_share(dtype: str) -> Any:
    """The function of phase 1: a thread's share of the panels of a chunk, group after group."""
    def share(job: Any, thread: int, threads: int) -> None:
        group = job.group
        panels = (job.count + job.lanes - 1) // job.lanes
        begin, end = share_of(panels, thread, threads)
        if one_by_one(job):
            propagate_rows(job)
        elif group > 0:  # a thread has a few slots, which stay in its cache
            first = thread * group
            for panel in range(begin, end, group):
                slot = slot_of(job, first, panel if sums_by_lanes(job) else first)
                propagate_group(job, slot, panel, min(group, end - panel))
        elif end > begin:  # every panel has a slot of its own
            propagate_group(job, slot_of(job, begin, begin), begin, end - begin)

    return share, phase_arguments(dtype)


def gradient_share(dtype: str) -> Any:
    """The function of phase 2: target += alpha ∂E/∂θ of a chunk, in a thread's share of the tiles."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        alpha = T(job.alpha)
        if one_by_one(job):
            add_outer_products(job, alpha)
        elif sums_by_lanes(job):
            add_lane_tiles(job, alpha, thread, threads)
        else:
            add_tiles(job, alpha, thread, threads)
        if is_sparse(job):
            add_sparse_gradient(job, alpha, thread, threads)

    return share, phase_arguments(dtype)


def update_share(dtype: str) -> Any:
    """The function that updates a thread's share of theta by the gradient in memory, after phase 2."""
    def share(job: Any, thread: int, threads: int) -> None:
        for k in range(1, job.depth + 1):
            for first, size, penalty in ((job.weights_at[k], job.widths[k] * job.widths[k - 1], job.penalty),
                                         (job.biases_at[k], job.widths[k], 0.0)):
                begin, end = share_of(size, thread, threads)
                update_at(job, first + begin, pointer(job.target, first + begin), 1, end - begin, 0, 0, penalty)

    return share, phase_arguments(dtype)
