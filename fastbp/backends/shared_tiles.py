"""A batch of `tiled` that ranks share: each takes some of its samples through the network, and some parameters a step.

Gradients are not added up over ranks. Each rank computes h and δ of its own samples, gets those of all others, and
then has what it needs for the gradient of its own rows of every W_k, over all samples in their order. It updates these
rows while the gradient's tile is in registers, as one process does, and gets the other rows from the other ranks. So
the bits are those of any number of ranks, and mostly those of one process.

That moves h and δ of a batch, and θ; a sum of gradients moves a gradient there and back, which every rank reads once
more and takes a step by. It pays where h and δ are not much more than a gradient: see `are_worth_it`.
"""

import ctypes
import math
from typing import Any, NamedTuple

import numpy as np

from ..compiling.addresses import address_in_memory, address_of, pointer_to
from ..compiling.decorators import kernel, subkernel
from ..formulas.elementary import is_finite, largest_number
from ..layout import Layout, aligned_zeros, keeping
from ..optimizers.blocks import FAR
from ..optimizers.updates import larger, update, write_row
from ..schedules import learning_rate_at
from ..threads import share_of
from .contract import Batch, Extras
from .leaves import LEAF_UNIT
from .tiled import begin_job, forget_largest, largest_change, leave_finite, measure_bounds, run, slots_of, threads_for
from .tiles.job import fields, job_in
from .tiles.outcomes import sums_between
from .tiles.shares import own_panels_share, own_rows_share
from .training_loop import BATCH_E, DIVERGED, Training, add_decay, finish_step, is_plain_descent, penalty_of

#: The status of a step that bounds do not show to be finite, and that was not taken.
UNCERTAIN = 3

#: The most numbers of h and δ of a batch, for each parameter. Its samples are exchanged once, half of them for two
#: ranks; a gradient is exchanged twice by halves, added up, read, looked at and cleared.
MOST_NUMBERS = 2

#: Rows of W_k are shared in multiples of this number: tiles of one row or two add up samples in another order.
ROWS_APART = 4


class Part(NamedTuple):
    """A rank's part of a batch."""

    first: int   # the place of the batch's first sample in the order
    size: int    # the number of samples in the batch
    begin: int   # this rank's samples are those of the batch from begin to end
    end: int


class Memory(NamedTuple):
    """Views of a workspace, (…) for the samples of a chunk."""

    h: np.ndarray        # (blocks, chunk, lanes) of h_0 … h_{L-1}
    delta: np.ndarray    # (panels, …)
    E: np.ndarray        # (chunk,)
    correct: np.ndarray  # (chunk,)
    largest: np.ndarray  # the largest |h_k|, then the largest |δ_k|
    first_rows: np.ndarray  # by the layer, and likewise
    own_rows: np.ndarray


def are_worth_it(layout: Layout, batch_size: int) -> bool:
    """Whether a batch should be shared in this way, of networks on a processor and batches of one chunk."""
    widths = layout.widths
    return bool(batch_size * int(widths[:-1].sum() + widths[1:].sum()) <= MOST_NUMBERS * layout.size)


def share_of_samples(size: int, rank: int, ranks: int) -> tuple[int, int]:
    """The samples of a batch that are a rank's, in whole panels.

    >>> [share_of_samples(100, rank, 3) for rank in range(3)]
    [(0, 32), (32, 64), (64, 100)]
    """
    begin, end = share_of(-(-size // LEAF_UNIT), rank, ranks)
    return min(begin * LEAF_UNIT, size), min(end * LEAF_UNIT, size)


def share_of_parameters(layout: Layout, rank: int, ranks: int) -> tuple[int, int]:
    """The places of a rank's parameters in theta, from one row of a W_k to another, or to a place among biases."""
    return _cut(layout, layout.size * rank // ranks), _cut(layout, layout.size * (rank + 1) // ranks)


def _cut(layout: Layout, place: int) -> int:
    """A place in theta, or where a multiple of ROWS_APART rows of W_k ends next to it, or all of them."""
    for k in range(1, layout.depth + 1):
        begin, inputs, units = int(layout.weights[k]), int(layout.widths[k - 1]), int(layout.widths[k])
        if begin <= place < int(layout.biases[k]):
            rows = round((place - begin) / (ROWS_APART * inputs)) * ROWS_APART
            return begin + (rows if rows + ROWS_APART <= units else units) * inputs
    return place


def rows_between(layout: Layout, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """The first row of every W_k between two places in theta, and the number of such rows."""
    sizes = np.maximum(1, np.concatenate([[1], layout.widths[:-1]]))
    first, last = (np.clip(-(-(place - layout.weights) // sizes), 0, layout.widths) for place in (begin, end))
    return first, last - first


def with_shares(work: np.ndarray, layout: Layout, dtype: np.dtype) -> tuple[np.ndarray, Memory]:
    """A job like that of a workspace, with what ranks need to share batches, and views of its memory."""
    own = work.copy()  # that of the workspace is for others afterwards
    job = fields(own)
    rows = np.zeros((2, layout.depth + 2), np.int64)
    job.first_rows, job.own_rows = (row.ctypes.data for row in rows)
    job.shared_phase, job.own_rows_phase = (address_of(make, dtype.name) for make in (own_panels_share, own_rows_share))
    blocks = sum(-(-int(units) // job.lanes) for units in layout.widths[:-1])
    largest = aligned_zeros(2 * (layout.depth + 1), np.dtype(np.float64))
    job.shared_largest = largest.ctypes.data
    memory = Memory(_array_at(job.h_rows, (blocks, job.chunk, job.lanes), dtype),
                    _array_at(job.delta, (job.chunk // job.lanes, job.in_delta), dtype),
                    _array_at(job.E, (job.chunk,), np.dtype(np.float64)),
                    _array_at(job.correct, (job.chunk,), np.dtype(np.int64)), largest, *rows)
    return keeping(own, work, rows, largest), memory


def _array_at(address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array at an address, whose memory the workspace keeps."""
    memory: Any = (ctypes.c_uint8 * int(math.prod(shape) * dtype.itemsize)).from_address(int(address))
    return np.frombuffer(memory, dtype).reshape(shape)


@kernel
def propagate_own(theta: Any, samples: Any, order: Any, part: Part, extras: Extras, work: Any, threads: int) -> None:
    """Phase 1 of this rank's samples."""
    job, rows = job_in(work), part.end - part.begin
    team = threads_for(job, rows, threads)
    begin_job(job, theta, Batch(samples, order, part.first, part.first + part.size), extras)
    job.first, job.count, job.begin, job.end = part
    job.lowest, job.keeps, job.notes_largest, job.leaves = 1, True, True, 1
    found, slots = pointer_to(job.largest, theta.dtype.type), slots_of(job, part.size, team)
    forget_largest(job, found, slots)
    if rows > 0:
        run(job.shared_phase, job, team)
    largest, layers = pointer_to(job.shared_largest, np.float64), job.depth + 1
    for which in range(2):
        for k in range(layers):
            most = 0.0
            for slot in range(slots):
                most = larger(most, np.float64(found[(2 * slot + which) * job.in_largest + k]))
            largest[which * layers + k] = most


@kernel
def step_of_own_rows(theta: Any, layout: Layout, largest_input: float, weight: float, n: int, training: Training,
                     work: Any, threads: int, remeasures: bool) -> int:
    """The step of this rank's rows, where h and δ of all samples are in place; RUNNING, STALLED, DIVERGED or UNCERTAIN.

    weight : the sum of the weights of the batch.
    n : the number of samples in an epoch, or in the block of one.
    remeasures : whether theta and the averages are whole, so that bounds may be measured anew.
    """
    plan, optimizer, state, progress = training
    job, bounds, sums = job_in(work), progress.bounds, progress.sums
    size = job.count
    sums[BATCH_E], correct = sums_between(job, 0, size)
    if not is_finite(sums[BATCH_E]):
        return DIVERGED
    divisor, penalty = divisor_and_penalty(theta, layout, plan, size, weight)
    found = pointer_to(job.largest, theta.dtype.type)
    copy_largest(job, found)
    sum_bound, most = largest_change(job, found, largest_input, size, 1), largest_number(theta[0])
    if remeasures:
        measure_bounds(job, bounds, theta, state.averages)
    is_certain = bounds[0] >= 0.0
    if is_plain_descent(optimizer, plan):
        rate = learning_rate_at(optimizer.schedule, state.updates[0]) / size
        job.updates, job.target, job.alpha = False, job.theta, -rate
        is_certain = is_certain and bounds[0] + max(1.0, rate) * sum_bound < FAR * most
        bounds[0] += rate * sum_bound
    else:
        begin_update(job, plan, optimizer, state, divisor)
        is_certain = is_certain and leave_finite(job, optimizer, bounds, sum_bound, most)
    if not is_certain:
        bounds[0] = -1.0
        return UNCERTAIN
    run(job.own_rows_phase, job, threads_for(job, size, threads))
    state.updates[0] += 1
    return finish_step(progress, plan, correct, penalty, size / divisor, size, n)


@kernel
def step_of_all_rows(theta: Any, grad: Any, layout: Layout, weight: float, n: int, training: Training, work: Any,
                     threads: int) -> int:
    """The step by the whole gradient in memory, which every rank takes: for numbers near the largest ones.

    The job's own rows are all. theta and the averages are whole.
    """
    plan, optimizer, state, progress = training
    job = job_in(work)
    size, correct = job.count, sums_between(job, 0, job.count)[1]
    divisor, penalty = divisor_and_penalty(theta, layout, plan, size, weight)
    progress.bounds[0] = -1.0
    job.updates, job.target, job.alpha = False, address_in_memory(grad), 1.0
    run(job.own_rows_phase, job, threads_for(job, size, threads))
    if plan.penalty > 0.0:
        add_decay(theta, grad, layout, plan.penalty)
    if not update(theta, grad, 1.0 / divisor, optimizer, state, threads):
        return DIVERGED
    return finish_step(progress, plan, correct, penalty, size / divisor, size, n)


@subkernel
def divisor_and_penalty(theta: Any, layout: Layout, plan: Any, size: int, weight: float) -> Any:
    """What the gradient of a batch is divided by, and ½ α Σ ‖W‖²."""
    divisor = weight if plan.by_weight and weight > 0.0 else np.float64(size)
    return divisor, penalty_of(theta, layout, plan.penalty) if plan.penalty > 0.0 else 0.0


@subkernel
def begin_update(job: Any, plan: Any, optimizer: Any, state: Any, divisor: float) -> None:
    """Let phase 2 update theta by the optimizer's rule."""
    write_row(optimizer, state.updates[0], optimizer.row)
    job.updates, job.update, job.alpha = True, optimizer.block, 1.0
    job.factor, job.penalty = 1.0 / divisor, plan.penalty
    job.averages, job.row = address_in_memory(state.averages), address_in_memory(optimizer.row)


@subkernel
def copy_largest(job: Any, found: Any) -> None:
    """Take over what was found over all ranks, as if one slot had found it."""
    largest, layers = pointer_to(job.shared_largest, np.float64), job.depth + 1
    for which in range(2):
        for k in range(layers):
            found[which * job.in_largest + k] = largest[which * layers + k]
