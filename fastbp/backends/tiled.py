"""Backpropagation on register tiles: the formulas of `loops` on a schedule that keeps the processor multiplying.

All three products are sums of rank-1 updates, and one register tile (`tiles.product`) computes them all. Samples go
through the network in panels, one vector wide, unit after unit. A batch takes two phases:

1. Threads share the panels. A group of them goes through the whole network, forward and back:
   rows of X transposed into panels; a_k = W_k h_{k-1} + b_k; h_k = g_k(a_k); E, e_L = ∇_y E;
   δ_k = e_k ⊙ g'_k(a_k); e_{k-1} = W_kᵀ δ_k.                                                     `tiles.panels`
2. Threads share the tiles of ∂E/∂W = Σ_s δ h_{k-1}ᵀ. Each tile sums over all samples in registers, one after another
   or, in small networks, panel after panel. Its sum is added once, to the gradient or directly to W, or becomes the
   update of its parameters by the optimizer's formula.                            `tiles.gradients`, `tiles.updates`

Every number is summed in one order, which depends on the network and the batch alone: the result has the same bits for
any number of threads. A batch larger than a chunk is taken chunk after chunk. Where the chunks divide about evenly
among several threads, each takes whole chunks, and their gradients are added up in the order of the samples
(`tiles.crew`). Batches of a few samples do not fill a panel; their vectors run along the inputs of a layer
(`tiles.rows`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange

from ..checks.samples import Samples
from ..compiling.addresses import Piece, address_in_memory, address_of, addresses_of, pointer, pointer_to
from ..compiling.decorators import inlined, kernel, subkernel
from ..formulas.elementary import is_finite, largest_number
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..layout import Layout, aligned_zeros, keeping
from ..optimizers import updates
from ..optimizers.blocks import FAR, stays_far, update_block
from ..optimizers.rules import DESCENT, Rule
from ..optimizers.updates import SMALL_SIZE, OptimizerSpec, larger, rule_of, write_row
from . import linking
from .contract import NO_EXTRAS, NO_NORMS, NO_ORDER, Batch, Extras, Wanted
from .leaves import LEAF_CORRECT, LEAF_E, LEAF_NUMBERS, LEAF_UNIT, leaf_loop, share_of_leaves
from .linking import linked_by_address
from .memory import HOST
from .reading import as_arguments, kernel_samples
from .tiles.crew import LEAST_USE, chunks_of
from .tiles.few import begin_few
from .tiles.gradients import lanes_cost_less, sums_by_lanes
from .tiles.job import begin_call, fields, job_at, job_in
from .tiles.leaves import MOST_LEAVES, leaf_gradient_share
from .tiles.magnitude import raise_to_largest
from .tiles.online import TOTAL_CORRECT, TOTAL_E, is_worth_compiling, online_steps, take_steps
from .tiles.outcomes import add_one_by_one, sums_between, sums_of_chunk
from .tiles.pairs import FLOATS
from .tiles.phases import FEW, one_by_one, run_share, update_share
from .tiles.sparse import is_sparse, number_samples
from .tiles.workspace import chunk as chunk
from .tiles.workspace import lanes, pieces_of
from .tiles.workspace import nbytes as nbytes
from .tiles.workspace import workspace as workspace
from .training_loop import Descent, Step, training_loop

#: Up to MAX_BLOCK steps of plain gradient descent are taken before θ is checked; if it is not finite, they are undone.
#: With fewer than MIN_BLOCK steps in a row, or more than `workspace.MAX_COPIED` parameters, a copy of θ would cost more
#: than a bound on the change, which is checked before each step. The bound costs a quarter of a step of 2-16-1, and
#: nothing that could be measured of 784-128-10.
MAX_BLOCK, MIN_BLOCK = 256, 8

#: Steps of fewer operations for each lane, about 20 µs, stay on one thread: see `threads_for`.
SMALL_WORK = 2.5e5

#: Gradients of chunks are added up by one thread where they have fewer numbers in all.
SMALL_SUM = 2**16

#: The memory of parameters and samples: the processor's.
memory = HOST


#: Whether `propagate` takes threads, and a sparse X entry by entry.
parallel = takes_entries = True


def linked(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Layout:
    """The layout with the addresses of its activations and loss, for a vector of samples."""
    return linked_by_address(layout, activations, loss, dtype, lanes(dtype))


def pieces(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype, rule: Rule,
           factors: int = FLOATS) -> list[Piece]:
    """What a training compiles beside its loop; see `Backend.pieces`.

    factors : of its products; see `tiles.pairs`.
    """
    of_updates = () if rule is DESCENT else _pieces_of_updates(rule, dtype)
    return [*pieces_of(layout, dtype, by_lanes=False, factors=factors).values(),
            *linking.pieces_of(activations, loss, dtype, lanes(dtype)), *updates.pieces_of(rule, dtype), *of_updates]


def _pieces_of_updates(rule: Rule, dtype: np.dtype) -> list[Piece]:
    """What updates while a tile is in cache compile."""
    return [(update_block, rule, dtype.name), (update_share, dtype.name)]


@functools.cache
def _addresses_of_updates(rule: Rule, dtype: np.dtype) -> tuple[int, ...]:
    """The addresses of `_pieces_of_updates`."""
    return addresses_of(_pieces_of_updates(rule, dtype))


def specialised(work: np.ndarray, optimizer: OptimizerSpec, widths: tuple[int, ...], activations: tuple[str, ...],
                loss: str, dtype: np.dtype, batch_size: int, steps: int, descends: bool) -> np.ndarray:
    """Set the job's kernels for updates by this optimizer, and for one-sample steps of this network; the job.

    The latter is 0 if `steps` are not worth compiling it. The former is 0 if training `descends` with nothing beside,
    which needs no kernel, or if updates need the whole gradient.
    """
    job, rule = fields(work), rule_of(optimizer)
    job.online = (address_of(online_steps, dtype.name, widths, activations, loss)
                  if is_worth_compiling(widths, batch_size, steps) else 0)
    in_tiles = not descends and optimizer.clip_norm == 0.0
    job.update, job.update_phase = _addresses_of_updates(rule, dtype) if in_tiles else (0, 0)
    return work


def for_leaves(work: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A job like that of a workspace, with phase 2 for several leaves; see `Backend.for_leaves`."""
    own, places = work.copy(), aligned_zeros(MOST_LEAVES + 1, np.dtype(np.int64))
    job = fields(own)
    job.leaf_places, job.leaf_phase = places.ctypes.data, address_of(leaf_gradient_share, dtype.name)
    return keeping(own, work, places)


@kernel(parallel=True)
def on_threads(phase: int, address: int, threads: int) -> None:
    """Run a phase of the job at an address on a number of threads."""
    for thread in prange(threads):
        run_share(phase, job_at(address, None), np.int64(thread), threads)


@inlined
def run(phase: Any, job: Any, threads: Any) -> None:
    """Run a phase of a job; one thread runs it without waking others."""
    if threads == 1:
        run_share(phase, job, 0, 1)
    else:
        on_threads(phase, address_in_memory(job), threads)


@inlined
def threads_for(job: Any, count: Any, threads: Any) -> Any:
    """How many threads are worth waking for `count` samples."""
    operations = 6 * job.parameters * count
    return threads if count > FEW and operations >= SMALL_WORK * job.lanes else 1


@inlined
def slots_of(job: Any, count: Any, threads: Any) -> Any:
    """The most slots that `count` samples use on a number of threads."""
    return threads * job.group if job.group > 0 else (count + job.lanes - 1) // job.lanes


@inlined
def begin_job(job: Any, theta: Any, batch: Any, extras: Any) -> None:
    """Begin a call on a batch: set its arrays and extras, and request no results yet."""
    samples = batch.samples
    begin_call(job, address_in_memory(theta), samples.address)
    job.reading = samples.reading
    job.labels, job.targets = address_if_any(samples.labels), address_if_any(samples.targets)
    job.weights, job.order = address_if_any(samples.weights), address_if_any(batch.order)
    job.clip_norm, job.drop_units = extras.clip_norm, extras.drop_address
    job.rates, job.key = extras.rates_address, extras.key


@inlined
def address_if_any(array: Any) -> Any:
    """The address of an array, 0 if it is empty."""
    return address_in_memory(array) if array.shape[0] > 0 else 0


@inlined
def propagate_chunk(job: Any, first: Any, count: Any, threads: Any) -> Any:
    """Run phase 1; E and the number of correct samples, summed in their order."""
    job.first, job.count = first, count
    if is_sparse(job):
        number_samples(job)
        if job.transposed == 0:
            run(job.entries_phase, job, threads)
    run(job.propagate_phase, job, threads)
    return sums_of_chunk(job)


@inlined
def prepare(job: Any, threads: Any) -> None:
    """Make what follows from θ before a call, or a step, takes its chunks: W_1ᵀ, where sparse rows need it."""
    if job.transposed != 0:
        run(job.transpose_phase, job, threads)


@inlined
def add_gradient(job: Any, threads: Any) -> None:
    """Phase 2: target += alpha ∂E/∂θ of the chunk."""
    run(job.gradient_phase, job, threads)


@inlined
def worth_a_crew(job: Any, count: Any, threads: Any) -> Any:
    """Whether threads should take whole chunks of `count` samples, and not a share of every chunk."""
    crew = min(threads, job.crew_size)
    if crew < 2 or threads_for(job, count, threads) == 1:
        return False
    chunks = chunks_of(job, count)
    return chunks >= LEAST_USE * ((chunks + crew - 1) // crew * threads)


@inlined
def propagate_by_crew(job: Any, start: Any, stop: Any, E: Any, crew: Any) -> Any:
    """target += ∂E/∂θ, by threads that take whole chunks; E plus the losses, and the number of correct samples."""
    losses, correct_ones = pointer_to(job.E, np.float64), pointer_to(job.correct, np.int64)
    total, correct, together = E, 0, job.chunks_in_round * job.chunk
    for first in range(start, stop, together):
        job.first, job.count = first, min(together, stop - first)
        run(job.chunks_phase, job, crew)
        chunks = chunks_of(job, job.count)
        total, correct = add_one_by_one(total, losses, chunks), add_one_by_one(correct, correct_ones, chunks)
        run(job.partials_phase, job, crew if chunks * job.parameters >= SMALL_SUM else 1)
    return total, correct


@subkernel
def propagate_job(job: Any, start: int, stop: int, E: float, threads: int) -> Any:
    """Compute a job's results for the samples from start to stop; E plus the losses, and how many are correct."""
    in_chunk, total, correct = job.chunk, E, 0
    if not job.has_transpose:
        prepare(job, threads)
    if job.keeps and worth_a_crew(job, stop - start, threads):
        rest = (stop - start) % in_chunk  # a few go one by one, and are added to the gradient one after another
        shared = stop - rest if rest <= FEW else stop
        total, correct = propagate_by_crew(job, start, shared, total, min(threads, job.crew_size))
        start = shared
    for first in range(start, stop, in_chunk):
        count = min(in_chunk, stop - first)
        team = threads_for(job, count, threads)
        chunk_E, chunk_correct = propagate_chunk(job, first, count, team)
        total, correct = total + chunk_E, correct + chunk_correct
        if job.keeps:
            add_gradient(job, team)
    return total, correct


@inlined
def propagate_in_loop(theta: Any, layout: Any, batch: Any, E: Any, wanted: Any, extras: Any, work: Any,
                      threads: Any) -> Any:
    """`propagate` in compiled code."""
    job = job_in(work)
    begin_job(job, theta, batch, extras)
    job.Y, job.E0, job.norms = address_if_any(wanted.Y), address_if_any(wanted.E0), address_if_any(wanted.norms)
    if wanted.grad.shape[0] > 0:
        job.target, job.alpha, job.keeps, job.lowest = address_in_memory(wanted.grad), 1.0, True, 1
    if wanted.E0.shape[0] > 0:
        job.lowest = 0
    return propagate_job(job, batch.start, batch.stop, E, threads)


def keep_transpose(work: np.ndarray, keeps: bool) -> None:
    """Say that theta is as in the call before, or that it may be another; see `Backend.keep_transpose`."""
    fields(work).has_transpose = keeps


@kernel
def propagate_arrays(theta: Any, X: Any, reading: int, labels: Any, targets: Any, weights: Any, order: Any, start: int,
                     stop: int, E: float, grad: Any, Y: Any, E0: Any, norms: Any, clip_norm: float, work: Any,
                     threads: int) -> Any:
    """`propagate` with the arrays of its tuples as arguments, where no units are dropped."""
    batch = Batch(kernel_samples(X, reading, stop, labels, targets, weights), order, start, stop)
    wanted = Wanted(grad=grad, Y=Y, E0=E0, norms=norms)
    return propagate_in_loop(theta, 0, batch, E, wanted, Extras(clip_norm, 0, 0, 0), work, threads)


def propagate(theta: np.ndarray, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras,
              work: np.ndarray, threads: int) -> tuple[float, int]:
    """Take the samples of a batch through the network; see `Backend.propagate`.

    It unpacks the tuples in Python. Numba takes 3 µs to unpack named ones, as long as a sample in 784-128-10, and 1 µs
    for plain ones.
    """
    samples, order, start, stop = batch
    X, reading = as_arguments(samples)
    grad, Y, E0, norms = wanted
    found: tuple[float, int] = propagate_arrays(
        theta, X, reading, samples.labels, samples.targets, samples.weights, order, start, stop, E, grad, Y, E0, norms,
        extras.clip_norm, work, threads)
    return found


@kernel
def add_small_gradient(theta: Any, X: Any, d: Any, grad: Any, work: Any) -> Any:
    """E of a few samples, and whether X and d are numbers that kernels may have; if they are, grad += ∇E.

    For calls so short that looking at X and d, and handing on ten arrays, would take longer than the rest.

    d : labels (n,) int64, or targets (n, N_L).
    """
    job = job_in(work)
    if begin_few(job, theta, X, d) > 0:
        return 0.0, False
    job.target, job.alpha, job.keeps, job.lowest = address_in_memory(grad), 1.0, True, 1
    return propagate_job(job, 0, X.shape[0], 0.0, 1)[0], True


@kernel
def jacobian_arrays(theta: Any, X: Any, reading: int, J: Any, start: int, stop: int, work: Any, threads: int) -> None:
    """J[s] = ∂y/∂h_0 of the samples from start to stop: forward once, and back from every unit vector e_L."""
    job = job_in(work)
    begin_call(job, address_in_memory(theta), address_in_memory(X))
    job.reading, job.jacobian, job.lowest, job.E0 = reading, True, 0, address_in_memory(J)
    propagate_job(job, start, stop, 0.0, threads)


def input_jacobian(theta: np.ndarray, layout: Layout, samples: Samples, J: np.ndarray, start: int, stop: int,
                   work: np.ndarray, threads: int) -> None:
    """J[start:stop] = ∂y/∂h_0; see `Backend.input_jacobian`."""
    jacobian_arrays(theta, *as_arguments(samples), J, start, stop, work, threads)


@kernel
def predict_arrays(theta: Any, X: Any, Y: Any, start: int, stop: int, work: Any, threads: int) -> None:
    """y = h_L alone: with fewer arrays than `propagate_arrays` has, a call from Python takes 0.3 µs less."""
    job = job_in(work)
    begin_call(job, address_in_memory(theta), address_in_memory(X))
    job.Y = address_in_memory(Y)
    propagate_job(job, start, stop, 0.0, threads)


def predict(theta: np.ndarray, layout: Layout, samples: Samples, Y: np.ndarray, start: int, stop: int,
            work: np.ndarray, threads: int) -> None:
    """y = h_L; see `Backend.predict`."""
    X, reading = as_arguments(samples)
    if reading == 0:
        predict_arrays(theta, X, Y, start, stop, work, threads)
        return
    wanted = Wanted(samples.weights, Y, samples.targets, NO_NORMS)  # no weights and no targets, which are empty
    propagate(theta, layout, Batch(samples, NO_ORDER, start, stop), 0.0, wanted, NO_EXTRAS, work, threads)


@subkernel(inline=True)
def descend(theta: Any, layout: Layout, batch: Batch, steps: Descent, extras: Extras, work: Any, threads: int) -> Any:
    """θ ← θ - rate ∇E in phase 2 itself, for batches of at most one chunk; see `training_loop`."""
    job, count = job_in(work), batch.stop - batch.start
    if count > job.chunk:
        return steps.E, 0, 0, steps.bound
    if is_online(job, batch) or (job.before != 0 and steps.batches >= MIN_BLOCK):
        E, correct, taken = descend_block(theta, batch, steps, extras, job, threads)
        return E, correct, taken, -1.0 if taken > 0 else steps.bound
    return descend_bounded(theta, batch, steps, extras, job, threads)


@inlined
def is_online(job: Any, batch: Any) -> Any:
    """Whether a kernel of this very network takes its steps of one sample: from rows that need no converting."""
    return job.online != 0 and batch.samples.reading == 0


@inlined
def descend_bounded(theta: Any, batch: Any, steps: Any, extras: Any, job: Any, threads: Any) -> Any:
    """Take batches one after another, until the bound on |θ| no longer shows that the next step leaves it finite."""
    count, rate, bound = batch.stop - batch.start, steps.rate, steps.bound
    batches = steps.batches if count == 1 else 1
    team = threads_for(job, count, threads)
    slots = slots_of(job, count, team)
    largest = pointer_to(job.largest, theta.dtype.type)
    begin_descent(job, theta, batch, rate, extras)
    job.notes_largest = True
    total, correct, taken = steps.E, 0, 0
    while taken < batches:
        forget_largest(job, largest, slots)
        prepare(job, team)
        E, batch_correct = propagate_chunk(job, batch.start + taken * count, count, team)
        change = largest_change(job, largest, batch.samples.largest, count, slots)
        # Every partial sum and every new parameter is below this; NaN compares as false.
        if not (is_finite(E) and bound + max(1.0, rate) * change < FAR * largest_number(theta[0])):
            break
        taken += 1
        job.behind = count == 1 and taken < batches and one_by_one(job) and job.reading == 0
        add_gradient(job, team)
        total, correct, bound = total + E, correct + batch_correct, bound + rate * change
    return total, correct, taken, bound


@inlined
def begin_descent(job: Any, theta: Any, batch: Any, rate: Any, extras: Any) -> None:
    """Begin steps of gradient descent: phase 1 computes δ of every layer, and phase 2 adds -rate ∂E/∂θ to θ."""
    begin_job(job, theta, batch, extras)
    job.lowest, job.keeps, job.target, job.alpha = 1, True, job.theta, -rate


@inlined
def descend_block(theta: Any, batch: Any, steps: Any, extras: Any, job: Any, threads: Any) -> Any:
    """Take batches one after another: all, or the half, the quarter, … of them that leaves θ and E finite."""
    before, batches = pointer_to(job.before, theta.dtype.type), min(steps.batches, MAX_BLOCK)
    while batches > 0:
        for p in range(theta.shape[0]):
            before[p] = theta[p]
        if is_online(job, batch):
            E, correct = descend_online(theta, batch, batches, steps, job)
        else:
            E, correct = descend_in_order(theta, batch, batches, steps, extras, job, threads)
        not_finite = 0
        for p in range(theta.shape[0]):
            not_finite += not is_finite(theta[p])
        if is_finite(E) and not_finite == 0:
            return E, correct, batches
        for p in range(theta.shape[0]):
            theta[p] = before[p]
        batches //= 2
    return steps.E, 0, 0


@inlined
def descend_in_order(theta: Any, batch: Any, batches: Any, steps: Any, extras: Any, job: Any, threads: Any) -> Any:
    """Take steps for a number of batches; the E of the epoch, and how many samples were correct."""
    count = batch.stop - batch.start
    team = threads_for(job, count, threads)
    begin_descent(job, theta, batch, steps.rate, extras)
    total, correct = steps.E, 0
    for first in range(batch.start, batch.start + batches * count, count):
        prepare(job, team)
        batch_E, batch_correct = propagate_chunk(job, first, count, team)
        add_gradient(job, team)
        total, correct = total + batch_E, correct + batch_correct
    return total, correct


@inlined
def descend_online(theta: Any, batch: Any, batches: Any, steps: Any, job: Any) -> Any:
    """Take steps of one sample each, by the kernel that was compiled for the widths of this network."""
    result = pointer_to(job.E, np.float64)
    result[TOTAL_E] = steps.E
    take_steps(job.online, theta, batch, batches, steps.rate, pointer_to(job.scratch, theta.dtype.type), result)
    return result[TOTAL_E], np.int64(result[TOTAL_CORRECT])


@inlined
def forget_largest(job: Any, largest: Any, slots: Any) -> None:
    """Before phase 1 records the largest |h_k| and |δ_k|."""
    for row in range(2 * slots):
        for k in range(job.depth + 1):
            largest[row * job.in_largest + k] = 0


@inlined
def largest_change(job: Any, largest: Any, largest_input: Any, count: Any, slots: Any) -> Any:
    """A bound on every |∂E/∂w|, |∂E/∂b| ≤ Σ_s |δ| max(|h|, 1), and on every part of such a sum."""
    bound, largest_h, apart = 0.0, largest_input, job.in_largest
    for k in range(1, job.depth + 1):
        largest_delta = 0.0
        for slot in range(slots):
            largest_delta = larger(largest_delta, np.float64(largest[(2 * slot + 1) * apart + k]))
        if largest_h > job.largest_factor:
            return np.inf
        bound += count * largest_delta * larger(1.0, largest_h)
        largest_h = 0.0
        for slot in range(slots):
            largest_h = larger(largest_h, np.float64(largest[2 * slot * apart + k]))
    return bound


@inlined
def measure_bounds(job: Any, bounds: Any, theta: Any, averages: Any) -> None:
    """bounds = max |θ|, and max |average| of every average; not finite where one of the numbers is not."""
    found = pointer_to(job.largest, theta.dtype.type)
    for k in range(bounds.shape[0]):
        found[0] = 0
        values = address_in_memory(theta) if k == 0 else address_in_memory(averages[k - 1])
        raise_to_largest(job.note_largest, pointer_to(values, theta.dtype.type), job.parameters, found)
        bounds[k] = found[0]


@inlined
def leave_finite(job: Any, optimizer: Any, bounds: Any, sum_bound: Any, most: Any) -> Any:
    """Whether a gradient below `sum_bound` leaves all sums, θ and averages finite, to which bounds are brought."""
    largest = sum_bound + job.penalty * bounds[0]
    return stays_far(optimizer.advance, job.factor * largest, optimizer.row, bounds, most) and largest < FAR * most


@subkernel
def update_at_once(theta: Any, batch: Batch, step: Step, optimizer: Any, state: Any, extras: Extras, work: Any,
                   threads: int) -> Any:
    """The step of a batch of at most one chunk in phase 2 itself; see `training_loop`."""
    job, count, bounds = job_in(work), batch.stop - batch.start, step.bounds
    if job.update == 0 or count > job.chunk:
        return 0.0, 0, False
    team = threads_for(job, count, threads)
    slots = slots_of(job, count, team)
    begin_job(job, theta, batch, extras)
    job.lowest, job.keeps, job.notes_largest = 1, True, True
    job.target, job.alpha = address_in_memory(step.grad), 1.0
    job.averages, job.row = address_in_memory(state.averages), address_in_memory(optimizer.row)
    job.factor, job.penalty = step.factor, step.penalty
    largest = pointer_to(job.largest, theta.dtype.type)
    forget_largest(job, largest, slots)
    prepare(job, team)
    E, correct = propagate_chunk(job, batch.start, count, team)
    if not is_finite(E):
        return E, correct, False
    write_row(optimizer, state.updates[0], optimizer.row)
    sum_bound, most = largest_change(job, largest, batch.samples.largest, count, slots), largest_number(theta[0])
    if not (bounds[0] >= 0.0 and leave_finite(job, optimizer, bounds, sum_bound, most)):
        measure_bounds(job, bounds, theta, state.averages)  # bounds that only grow are too large after a while
        if not leave_finite(job, optimizer, bounds, sum_bound, most):
            return E, correct, False
    tiles_are_blocks = not (one_by_one(job) or sums_by_lanes(job))  # of parameters
    job.updates = tiles_are_blocks or is_sparse(job)
    add_gradient(job, team)
    if not tiles_are_blocks:
        run(job.update_phase, job, team if job.parameters >= SMALL_SIZE else 1)
    state.updates[0] += 1
    return E, correct, True


@inlined
def adds_once(work: Any, count: Any) -> Any:
    """Whether a call adds the gradient of `count` samples as one sum; see `leaves.leaf_loop`."""
    job = job_in(work)
    return FEW < count <= job.chunk and not is_sparse(job)


@inlined
def leaves_at_once(work: Any, size: Any, total: Any, most: Any) -> Any:
    """How many leaves go through the network together, with the bits of one after another; see `leaves.leaf_loop`."""
    job = job_in(work)
    longest = (size // (LEAF_UNIT * total) + 2) * LEAF_UNIT
    if size < LEAF_UNIT * total or is_sparse(job) or job.leaf_phase == 0 or lanes_cost_less(
            longest // job.lanes, job.row_cost, job.lane_cost):
        return 1
    count = 1
    while 2 * count <= min(most, MOST_LEAVES) and 2 * count * longest <= job.chunk:
        count *= 2
    return count


@subkernel
def propagate_leaves(theta: Any, layout: Layout, batch: Batch, size: int, total: int, leaf: int, count: int,
                     wanted: Wanted, extras: Extras, work: Any, threads: int, numbers: Any) -> None:
    """Add the gradients of a number of leaves, whose samples are the batch; see `leaves.leaf_loop`."""
    job = job_in(work)
    begin_job(job, theta, batch, extras)
    job.target, job.alpha, job.keeps, job.lowest = address_in_memory(wanted.grad), 1.0, True, 1
    job.leaves, places = count, pointer_to(job.leaf_places, np.int64)
    begin, rows = share_of_leaves(size, leaf, leaf + count, total)[0], batch.stop - batch.start
    for place in range(count):
        places[place] = share_of_leaves(size, leaf + place, leaf + place + 1, total)[0] - begin
    places[count] = rows
    team = threads_for(job, rows, threads)
    prepare(job, team)
    propagate_chunk(job, batch.start, rows, team)
    for place in range(count):
        own = pointer(numbers, LEAF_NUMBERS * place)
        E, correct = sums_between(job, places[place], places[place + 1])
        own[LEAF_E], own[LEAF_CORRECT] = E, np.float64(correct)
    run(job.leaf_phase, job, team)


train = training_loop("train_tiled", propagate_in_loop, descend, update_at_once)
add_leaves = leaf_loop("add_leaves_tiled", propagate_in_loop, adds_once, leaves_at_once, propagate_leaves)
