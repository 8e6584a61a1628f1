"""Double backpropagation on register tiles: the formulas of `backends.double_backprop` on the schedule of `tiled`.

There is a job for the values of the network, and one for each input j, `columns`, which has Ra, Rh and e, δ along x_j
in the same places. A job of a column has ∂h_0/∂x_j in its field `alpha`, λ in `factor`, and D in `targets`.

Its δ goes with its own Rh, as the values' Rδ goes with h. So δ and h of all jobs lie one after another, as if columns
were more samples, and the job `all_of_them` sums ∂E/∂W_k of k > 1 over all in one. The values' own job has ∂E/∂W_1 and
every ∂E/∂b_k. What W_1 gets of a column is Σ_s δ_1 ∂h_0/∂x_j, of input j alone.
"""

from typing import Any, NamedTuple

import numpy as np

from ...compiling.addresses import address_in_memory, address_of, pointer, pointer_to
from ...compiling.decorators import inlined, subkernel, undisturbed
from ...functions.activations import delta_of_panel
from ...functions.second import add_second_of_panel
from ...layout import Layout, aligned_zeros, keeping, weight_matrix
from ...threads import share_of
from ..contract import Batch, Extras, Wanted
from ..double_backprop import Derivatives
from ..training_loop import training_loop
from .curvature import SMALL_WORK, Curvature, phase_arguments, run, values_of
from .curvature import workspace as another_job
from .gradients import add_lane_tiles, add_tiles, sums_by_lanes
from .jacobian import ROW_STEPS
from .job import begin_call, fields, is_given, job_at, job_in, slot_of
from .outcomes import sums_of_chunk
from .packing import errors_product
from .panels import end_delta, evaluate, forward_layer, gather_inputs, keep_rows, slot_rows, stores_rows
from .product import FROM_ZERO, affine
from .shares import add_biases
from .sums import add_no_sums, add_sums


class Workspace(NamedTuple):
    """What a training works in."""

    job: np.ndarray        # of the values
    chunk: int             # the samples of a chunk, at most
    columns: np.ndarray    # (N_0,) the addresses of the jobs of all inputs
    all_of_them: np.ndarray  # the job of the values and the columns
    slot_h: np.ndarray     # (1 + N_0,) where the h of each job's groups lie, if not all are kept
    all_h: int             # where they lie otherwise
    sums: np.ndarray       # (N_0, N_1) memory for Σ_s δ_1 of each column
    propagate: int         # the addresses of the phases
    gradient: int
    D: np.ndarray          # (n, N_L, N_0)
    weight: float          # λ
    slopes: np.ndarray     # (N_0,)


@undisturbed()
def workspace(linked: Curvature, dtype: np.dtype, samples: int, given: Derivatives, work: np.ndarray) -> Workspace:
    """The workspace of a training; `work` is the job of the network."""
    layout, inputs = linked.layout, len(given.slopes)
    jobs = [work.copy(), *(another_job(layout, dtype, samples) for _ in range(inputs))]
    values, together = fields(jobs[0]), jobs[0].copy()
    lanes, panels = values.lanes, (1 + inputs) * -(-samples // values.lanes)
    places = int((-(-layout.widths[:-1] // lanes) * lanes).sum())  # of units in h_rows
    delta, h, h_rows = (aligned_zeros(panels * size, dtype) for size in (values.in_delta, values.in_panel,
                                                                         places * lanes))
    first, later = (np.zeros(layout.depth + 2, np.int64) for _ in range(2))
    first[1], later[2:-1] = layout.widths[1], layout.widths[2:]
    slot_h = np.array([fields(job).h for job in jobs])
    for job in (*jobs, together):
        fields(job).in_block = panels * lanes * lanes
        fields(job).delta = fields(job).tile_delta = delta.ctypes.data
        fields(job).h_rows = h_rows.ctypes.data
    values.own_rows, fields(together).own_rows = first.ctypes.data, later.ctypes.data
    fields(together).add_row_sums = address_of(add_no_sums, dtype.name)
    columns = keeping(np.array([job.ctypes.data for job in jobs[1:]]), *jobs[1:])
    return Workspace(keeping(jobs[0], work, delta, h, h_rows, first, later), samples, columns, together, slot_h,
                     h.ctypes.data, np.zeros((inputs, layout.widths[1]), dtype),
                     address_of(propagate_share, dtype.name), address_of(gradient_share, dtype.name), *given)


@inlined
def forward_column(job: Any, column: Any, slot: Any, own: Any, j: Any, k: Any, panel: Any, panels: Any) -> None:
    """Ra_k = W_k Rh_{k-1} and Rh_k = g'_k(a_k) ⊙ Ra_k of some panels, from Rh_0 = ∂h_0/∂x_j."""
    width, units, inputs, W = job.lanes, job.widths[k], job.widths[k - 1], pointer(job.theta, job.weights_at[k])
    here = job.places[k] * width
    if k > 1:
        affine(job.affine, units, FROM_ZERO, job.theta, pointer(own.a, here), job.in_panel, W, inputs, 1,
               pointer(own.h, job.places[k - 1] * width), job.in_panel, inputs, panels, ROW_STEPS)
    for p in range(panels):
        (a_k, h_k), (Ra_k, Rh_k) = values_of(job, slot, k, p), values_of(job, own, k, p)
        if k == 1:
            slope = type(W[0])(column.alpha)
            for i in range(units):
                change = slope * W[i * inputs + j]
                for s in range(width):
                    Ra_k[i * width + s] = change
        delta_of_panel(job.apply_delta[k], a_k, h_k, Ra_k, Rh_k, units)
        if k < job.depth and not sums_by_lanes(job):
            keep_rows(column, own, k, panel + p, p)


@inlined
def evaluate_column(job: Any, column: Any, slot: Any, own: Any, j: Any, panel: Any, p: Any) -> None:
    """r = Ry - D_j and e_L = w λ r of a panel; adds w ½ λ ‖r‖² to E."""
    width, outputs, weights, losses = job.lanes, job.outputs, job.weights, pointer(job.E, panel * job.lanes)
    numbers = slot_rows(job, slot, p)[1]
    _, Ry = values_of(job, own, job.depth, p)
    e, in_sample = pointer(own.e, p * job.in_error), outputs * job.inputs
    D = pointer(column.targets, j)
    for s in range(width):
        factor = column.factor
        if is_given(weights):
            factor *= weights[numbers[s]]
        total = 0.0
        for i in range(outputs):
            r = np.float64(Ry[i * width + s] - D[numbers[s] * in_sample + i * job.inputs])
            total += r * r
            e[i * width + s] = type(e[0])(factor * r)
        if panel * width + s < job.count:
            losses[s] += 0.5 * factor * total


@inlined
def backward_columns(job: Any, columns: Any, slot: Any, k: Any, thread_slots: Any, panel: Any, panels: Any,
                     T: Any) -> None:
    """δ_k along every input, Rδ_k of the values, and their e_{k-1}, of some panels."""
    width, units, W = job.lanes, job.widths[k], pointer(job.theta, job.weights_at[k])
    begin, (place, of_h) = panel * job.in_delta + job.units[k] * width, thread_slots
    addresses = pointer_to(columns, np.int64)
    Rdelta = pointer(job.delta, begin)
    for p in range(panels):
        a_k, h_k = values_of(job, slot, k, p)
        delta_of_panel(job.apply_delta[k], a_k, h_k, pointer(slot.e, p * job.in_error),
                       pointer(Rdelta, p * job.in_delta), units)
    for j in range(job.inputs):
        column = job_at(addresses[j], T)
        own, delta = slot_of(column, place, of_h), pointer(column.delta, begin)
        for p in range(panels):
            (a_k, h_k), (Ra_k, Rh_k) = values_of(job, slot, k, p), values_of(job, own, k, p)
            e_k = pointer(own.e, p * job.in_error)
            delta_of_panel(job.apply_delta[k], a_k, h_k, e_k, pointer(delta, p * job.in_delta), units)
            add_second_of_panel(column.apply[k], a_k, h_k, e_k, Ra_k, Rh_k, pointer(Rdelta, p * job.in_delta), units)
        if k > 1:
            errors_product(job, k, FROM_ZERO, own.e, job.in_error, W, delta, job.in_delta, panels)
    if k > 1:
        errors_product(job, k, FROM_ZERO, slot.e, job.in_error, W, Rdelta, job.in_delta, panels)


@subkernel
def propagate_group(job: Any, columns: int, place: int, of_h: int, panel: int, panels: int, T: Any) -> None:
    """Take some panels and their columns forward, evaluate them, and take them back.

    place, of_h : the slots of the group, and those of its h.
    """
    addresses, slot = pointer_to(columns, np.int64), slot_of(job, place, of_h)
    for p in range(panels):
        gather_inputs(job, slot, panel + p, p, stores_rows(job))
    for k in range(1, job.depth + 1):
        forward_layer(job, slot, k, panel, panels)
        for j in range(job.inputs):
            column = job_at(addresses[j], T)
            forward_column(job, column, slot, slot_of(column, place, of_h), j, k, panel, panels)
    for p in range(panels):
        evaluate(job, slot, values_of(job, slot, job.depth, p)[1], panel + p, p)
        for j in range(job.inputs):
            column = job_at(addresses[j], T)
            evaluate_column(job, column, slot, slot_of(column, place, of_h), j, panel + p, p)
    for k in range(job.depth, 0, -1):
        backward_columns(job, columns, slot, k, (place, of_h), panel, panels, T)
    for p in range(panels):  # panels of a column lie behind the last one of the job before
        end_delta(job, panel + p)
        for j in range(job.inputs):
            end_delta(job_at(addresses[j], T), panel + p)


def propagate_share(dtype: str) -> Any:
    """The function of phase 1: a thread's share of the panels of a chunk, group after group.

    Its arguments are those of `curvature.phase_arguments`: the address of the addresses of the columns' jobs, and 0.
    """
    T = np.dtype(dtype).type

    def share(job: Any, others: int, setting: int, thread: int, threads: int) -> None:
        panels = (job.count + job.lanes - 1) // job.lanes
        begin, end = share_of(panels, thread, threads)
        by_group = job.group > 0
        group = job.group if by_group else max(end - begin, 1)
        for panel in range(begin, end, group):
            place = thread * group if by_group else panel
            propagate_group(job, others, place, panel if sums_by_lanes(job) else place, panel,
                            min(group, end - panel), T)

    return share, phase_arguments(dtype)


@subkernel
def add_gradient(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """target += δ hᵀ of one job, in a thread's share of the tiles."""
    if sums_by_lanes(job):
        add_lane_tiles(job, alpha, thread, threads)
    else:
        add_tiles(job, alpha, thread, threads)


def gradient_share(dtype: str) -> Any:
    """The function of phase 2: target += δ hᵀ of all jobs, in a thread's share of the tiles, and sums of columns.

    Its arguments are those of `propagate_share`, but for the address of the job `all_of_them` in place of 0.
    """
    T = np.dtype(dtype).type
    one = T(1)

    def share(job: Any, others: int, setting: int, thread: int, threads: int) -> None:
        addresses = pointer_to(others, np.int64)
        add_gradient(job, one, thread, threads)
        add_gradient(job_at(setting, T), one, thread, threads)
        if thread == 0:
            for k in range(2, job.depth + 1):
                add_biases(job, one, k, 0, job.widths[k])
            for j in range(job.inputs):
                column = job_at(addresses[j], T)
                for i in range(0, job.widths[1], job.tile_rows):
                    add_sums(job.add_row_sums, pointer(column.target, i), T(column.alpha),
                             pointer(column.delta, (job.units[1] + i) * job.lanes),
                             min(job.tile_rows, job.widths[1] - i), job.in_delta, column.count)

    return share, phase_arguments(dtype)


@inlined
def place_jobs(values: Any, work: Any, count: Any) -> None:
    """Set where δ and h of a chunk of `count` samples lie, of all jobs one after another."""
    lanes, itemsize = values.lanes, work.sums.itemsize
    panels = (count + lanes - 1) // lanes
    together, by_lanes = job_in(work.all_of_them), sums_by_lanes(values)
    for place in range(1 + work.columns.shape[0]):
        job = values if place == 0 else job_at(work.columns[place - 1], None)
        job.delta = together.delta + place * panels * values.in_delta * itemsize
        job.tile_delta = job.delta
        job.h_rows = together.h_rows + place * panels * lanes * lanes * itemsize
        job.h = work.all_h + place * panels * values.in_panel * itemsize if by_lanes else work.slot_h[place]
    together.count, together.h, together.leaves = (1 + work.columns.shape[0]) * panels * lanes, work.all_h, 0
    if not by_lanes:
        together.leaves = 1  # not by lanes either, where they alone might be enough for it


@subkernel
def propagate(theta: Any, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras, work: Workspace,
              threads: int) -> Any:
    """E with derivatives and its gradient, chunk after chunk; see `Backend.propagate`."""
    samples, order, start, stop = batch
    job, columns = job_in(work.job), address_in_memory(work.columns)
    begin_call(job, address_in_memory(theta), samples.address)
    job.reading, job.order = samples.reading, address_in_memory(order) if order.shape[0] > 0 else 0
    job.labels = address_in_memory(samples.labels) if samples.labels.shape[0] > 0 else 0
    job.targets = address_in_memory(samples.targets) if samples.targets.shape[0] > 0 else 0
    job.weights = address_in_memory(samples.weights) if samples.weights.shape[0] > 0 else 0
    job.target, job.keeps = address_in_memory(wanted.grad), True
    together = job_in(work.all_of_them)
    begin_call(together, address_in_memory(theta), samples.address)
    together.target = job.target
    for j in range(work.slopes.shape[0]):
        column = job_at(work.columns[j], None)
        begin_call(column, address_in_memory(theta), samples.address)
        column.targets, column.alpha, column.factor = address_in_memory(work.D), work.slopes[j], work.weight
        column.target, column.keeps = address_in_memory(work.sums[j]), True
    total, correct = E, 0
    for first in range(start, stop, work.chunk):
        count = min(work.chunk, stop - first)
        job.first, job.count = first, count
        for j in range(work.slopes.shape[0]):
            column = job_at(work.columns[j], None)
            column.first, column.count = first, count
        place_jobs(job, work, count)
        work.sums[:] = 0
        operations = 6 * job.parameters * count * (1 + work.slopes.shape[0])
        team = threads if operations >= SMALL_WORK * job.lanes else 1
        run(work.propagate, job, columns, 0, team)
        run(work.gradient, job, columns, address_in_memory(work.all_of_them), team)
        W_1 = weight_matrix(wanted.grad, layout, 1)
        for j in range(work.slopes.shape[0]):
            for i in range(W_1.shape[0]):
                W_1[i, j] += work.sums[j, i]
        chunk_E, chunk_correct = sums_of_chunk(job)
        total, correct = total + chunk_E, correct + chunk_correct
    return total, correct


train = training_loop("train_double_backprop_tiled", propagate)
