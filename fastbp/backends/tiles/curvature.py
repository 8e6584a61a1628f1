"""Products with second derivatives on register tiles: the formulas of `backends.curvature` on the schedule of `tiled`.

There are two jobs of the same network. The first has W, a, h, e and δ; the second, `changes`, has V, Ra, Rh, Re and Rδ
in the same places. Its functions are those of second derivatives: `apply` adds e ⊙ g''(a) ⊙ Ra to Rδ, and `evaluate`
gives Re_L. A batch takes two phases, chunk after chunk:

1. Threads share the panels, group after group:
   a_k, h_k;  Ra_k = V_k h_{k-1} + v_k + W_k Rh_{k-1};  Rh_k = g'_k(a_k) ⊙ Ra_k      `forward_changes`
   E, e_L = ∇_y E;  Re_L = ∇²_y E Ry                                               `evaluate_changes`
   δ_k, Rδ_k;  e_{k-1} = W_kᵀ δ_k;  Re_{k-1} = W_kᵀ Rδ_k + V_kᵀ δ_k                `backward_changes`
2. Threads share the tiles of Σ_s Rδ h_{k-1}ᵀ + δ Rh_{k-1}ᵀ, each in the order of the samples.

Rh_0 is 0, and so W_1 takes half of the products of the other layers. Of the Gauss–Newton matrix δ is 0.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange

from ...checks.samples import Samples
from ...compiling.addresses import INTEGER, address_in_memory, address_of, invoke, pointer
from ...compiling.decorators import inlined, kernel, subkernel, undisturbed
from ...compiling.records import RecordType, pointer_dtype
from ...formulas.elementary import is_finite
from ...functions.activations import Activation, delta_of_panel
from ...functions.losses import Loss
from ...functions.second import PIECEWISE_LINEAR, add_second_of_panel, add_second_panel, second_of_panel, second_panel
from ...layout import Layout
from ...threads import share_of
from ..reading import as_arguments
from .few import begin_few
from .gradients import BLOCK_SIZE, corner, share_of_tiles, sums_by_lanes, tiles_of_layer
from .host import host
from .jacobian import ROW_STEPS
from .job import Job, Slot, begin_call, is_given, job_at, job_in, slot_of
from .lane_gradient import COLUMNS, add_lane_gradient
from .packing import errors_product
from .panels import end_delta, evaluate, forward_layer, gather_inputs, keep_rows, slot_rows, stores_rows
from .product import FROM_BIAS, FROM_C, FROM_ZERO, add_gradient_tile, affine
from .sums import add_sums
from .workspace import chunk as chunk
from .workspace import nbytes as nbytes
from .workspace import one_job

_config: Any = numba.config


class Curvature(NamedTuple):
    """What a network's products need beside its own layout."""

    layout: Layout  # with the functions of second derivatives
    propagate: int  # the addresses of the phases
    gradient: int


@undisturbed()
def linked_curvature(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Curvature:
    """The second derivatives of a network whose layout is linked, compiled."""
    made_for = dtype.name, host().lanes(dtype.name)
    add_second = [0 if g.name in PIECEWISE_LINEAR else address_of(add_second_panel, g, *made_for) for g in activations]
    seconds = layout._replace(apply=np.array([0, *add_second]), evaluate=address_of(second_panel, loss, *made_for))
    return Curvature(seconds, address_of(propagate_changes_share, dtype.name),
                     address_of(gradient_changes_share, dtype.name))


@undisturbed()
def workspace(layout: Layout, dtype: np.dtype, samples: int) -> np.ndarray:
    """The job `changes` for calls with at most this many samples, by the layout of a `Curvature`."""
    return one_job(layout, dtype, samples, _config.NUMBA_NUM_THREADS)[0]


def phase_arguments(dtype: str) -> tuple[Any, ...]:
    """The types of a phase's arguments: (job, others, setting, thread, threads), others an address."""
    return RecordType(Job, pointer_dtype(dtype)), INTEGER, INTEGER, INTEGER, INTEGER


@inlined
def run_share_of(phase: Any, job: Any, others: Any, setting: Any, thread: Any, threads: Any) -> None:
    """Run a thread's share of the phase at an address."""
    invoke(phase, (job, others, setting, thread, threads))


@inlined
def values_of(job: Any, slot: Any, k: Any, p: Any) -> Any:
    """Pointers to a_k and h_k of a group's p-th panel."""
    here = p * job.in_panel + job.places[k] * job.lanes
    return pointer(slot.a, here), pointer(slot.h, here)


@inlined
def forward_changes(job: Any, changes: Any, slot: Any, own: Any, k: Any, panel: Any, panels: Any) -> None:
    """Ra_k = V_k h_{k-1} + v_k + W_k Rh_{k-1} and Rh_k = g'_k(a_k) ⊙ Ra_k of some panels."""
    width, units, inputs = job.lanes, job.widths[k], job.widths[k - 1]
    here, before, W = job.places[k] * width, job.places[k - 1] * width, job.weights_at[k]
    affine(job.affine, units, FROM_BIAS, pointer(changes.theta, job.biases_at[k]), pointer(own.a, here), job.in_panel,
           pointer(changes.theta, W), inputs, 1, pointer(slot.h, before), job.in_panel, inputs, panels, ROW_STEPS)
    if k > 1:
        affine(job.affine, units, FROM_C, job.theta, pointer(own.a, here), job.in_panel, pointer(job.theta, W), inputs,
               1, pointer(own.h, before), job.in_panel, inputs, panels, ROW_STEPS)
    for p in range(panels):
        (a_k, h_k), (Ra_k, Rh_k) = values_of(job, slot, k, p), values_of(job, own, k, p)
        delta_of_panel(job.apply_delta[k], a_k, h_k, Ra_k, Rh_k, units)
        if k < job.depth and not sums_by_lanes(job):
            keep_rows(changes, own, k, panel + p, p)


@inlined
def evaluate_changes(job: Any, changes: Any, slot: Any, own: Any, panel: Any, p: Any) -> None:
    """e_L = w ∇_y L and Re_L = w ∇²_y L Ry of a panel."""
    width, outputs, weights = job.lanes, job.outputs, job.weights
    _, y = values_of(job, slot, job.depth, p)
    _, Ry = values_of(job, own, job.depth, p)
    Re = pointer(own.e, p * job.in_error)
    evaluate(job, slot, y, panel, p)
    second_of_panel(changes.evaluate, y, pointer(slot.d, p * job.in_target), slot.outcome, Ry, Re, outputs)
    if is_given(weights):
        numbers = slot_rows(job, slot, p)[1]
        for i in range(outputs):
            for s in range(width):
                Re[i * width + s] *= weights[numbers[s]]


@inlined
def backward_changes(job: Any, changes: Any, slot: Any, own: Any, k: Any, gauss_newton: Any, panel: Any,
                     panels: Any) -> None:
    """δ_k, Rδ_k and, above the first layer, e_{k-1} = W_kᵀ δ_k and Re_{k-1} = W_kᵀ Rδ_k + V_kᵀ δ_k of some panels."""
    width, units = job.lanes, job.widths[k]
    begin = panel * job.in_delta + job.units[k] * width
    delta, Rdelta = pointer(job.delta, begin), pointer(changes.delta, begin)
    for p in range(panels):
        a_k, h_k = values_of(job, slot, k, p)
        Rdelta_k, e_k = pointer(Rdelta, p * job.in_delta), pointer(slot.e, p * job.in_error)
        delta_of_panel(job.apply_delta[k], a_k, h_k, pointer(own.e, p * job.in_error), Rdelta_k, units)
        if gauss_newton == 0:
            delta_of_panel(job.apply_delta[k], a_k, h_k, e_k, pointer(delta, p * job.in_delta), units)
            Ra_k, Rh_k = values_of(job, own, k, p)
            add_second_of_panel(changes.apply[k], a_k, h_k, e_k, Ra_k, Rh_k, Rdelta_k, units)
    if k == 1:
        return
    W, V = pointer(job.theta, job.weights_at[k]), pointer(changes.theta, job.weights_at[k])
    errors_product(job, k, FROM_ZERO, own.e, job.in_error, W, Rdelta, job.in_delta, panels)
    if gauss_newton == 0:
        errors_product(job, k, FROM_C, own.e, job.in_error, V, delta, job.in_delta, panels)
        errors_product(job, k, FROM_ZERO, slot.e, job.in_error, W, delta, job.in_delta, panels)


@subkernel
def propagate_changes(job: Any, changes: Any, slot: Slot, own: Slot, gauss_newton: int, panel: int,
                      panels: int) -> None:
    """Take some panels and their changes forward, evaluate their loss, and take them back.

    slot, own : the memory of the panels in either job.
    """
    for p in range(panels):
        gather_inputs(job, slot, panel + p, p, stores_rows(job))
    for k in range(1, job.depth + 1):
        forward_layer(job, slot, k, panel, panels)
        forward_changes(job, changes, slot, own, k, panel, panels)
    for p in range(panels):
        evaluate_changes(job, changes, slot, own, panel + p, p)
    for k in range(job.depth, 0, -1):
        backward_changes(job, changes, slot, own, k, gauss_newton, panel, panels)
    if sums_by_lanes(job):
        for p in range(panels):
            end_delta(changes, panel + p)
            if gauss_newton == 0:
                end_delta(job, panel + p)


def propagate_changes_share(dtype: str) -> Any:
    """The function of phase 1: a thread's share of the panels of a chunk, group after group.

    Its arguments are those of `phase_arguments`: the address of the job `changes`, and whether it is Gauss–Newton.
    """
    T = np.dtype(dtype).type

    def share(job: Any, others: int, setting: int, thread: int, threads: int) -> None:
        changes, gauss_newton = job_at(others, T), setting
        panels = (job.count + job.lanes - 1) // job.lanes
        begin, end = share_of(panels, thread, threads)
        by_group = job.group > 0
        group = job.group if by_group else max(end - begin, 1)
        for panel in range(begin, end, group):
            place = thread * group if by_group else panel
            of_h = panel if sums_by_lanes(job) else place
            propagate_changes(job, changes, slot_of(job, place, of_h), slot_of(changes, place, of_h), gauss_newton,
                              panel, min(group, end - panel))

    return share, phase_arguments(dtype)


@subkernel
def add_tiles_of_changes(job: Any, changes: Any, gauss_newton: int, thread: int, threads: int) -> None:
    """target += Rδ hᵀ + δ Rhᵀ and Rδ of a chunk, in a thread's share of the tiles, as `gradients.add_tiles` does it."""
    width, target, count = job.lanes, job.target, job.count
    begin, end = share_of_tiles(job, job.tile_rows, 2 * width, thread, threads)
    place, one = 0, type(target[0])(1.0)
    for k in range(1, job.depth + 1):
        units, inputs = job.widths[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k, job.tile_rows, 2 * width)
        block = max(1, min(BLOCK_SIZE // (2 * width * count), wide))
        for tile in range(max(begin - place, 0), min(end - place, high * wide)):
            i, rows, column, _, _ = corner(tile, units, high, wide, block, 2 * width)
            columns = min(2 * width, inputs - column)
            of_tile = job.gradient_2 if columns > width else job.gradient_1
            delta_at, blocks = (job.units[k] + i) * width, (job.places[k - 1] + column) // width
            Rdelta, W = pointer(changes.delta, delta_at), pointer(target, job.weights_at[k] + i * inputs + column)
            add_gradient_tile(of_tile, rows, columns, one, W, inputs, Rdelta, job.in_delta,
                              pointer(job.h_rows, blocks * job.in_block), job.in_block, count, W, inputs)
            if k > 1 and gauss_newton == 0:
                add_gradient_tile(of_tile, rows, columns, one, W, inputs, pointer(job.delta, delta_at), job.in_delta,
                                  pointer(changes.h_rows, blocks * changes.in_block), changes.in_block, count, W,
                                  inputs)
            if column == 0:
                add_sums(job.add_row_sums, pointer(target, job.biases_at[k] + i), one, Rdelta, rows, job.in_delta,
                         count)
        place += high * wide


@subkernel
def add_lane_tiles_of_changes(job: Any, changes: Any, gauss_newton: int, thread: int, threads: int) -> None:
    """What `add_tiles_of_changes` does, by `lane_gradient`."""
    width, target, count = job.lanes, job.target, job.count
    panels = (count + width - 1) // width
    begin, end = share_of_tiles(job, job.lane_rows, COLUMNS, thread, threads)
    place, one = 0, type(target[0])(1.0)
    for k in range(1, job.depth + 1):
        units, inputs = job.widths[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k, job.lane_rows, COLUMNS)
        for tile in range(max(begin - place, 0), min(end - place, high * wide)):
            row, column = tile % high, tile // high * COLUMNS
            i = units * row // high
            rows, columns = units * (row + 1) // high - i, min(COLUMNS, inputs - column)
            delta_at, h_at = (job.units[k] + i) * width, (job.places[k - 1] + column) * width
            Rdelta, W = pointer(changes.delta, delta_at), pointer(target, job.weights_at[k] + i * inputs + column)
            add_lane_gradient(job.lane_gradient, rows, columns, one, W, inputs, Rdelta, job.in_delta,
                              pointer(job.h, h_at), job.in_panel, panels)
            if k > 1 and gauss_newton == 0:
                add_lane_gradient(job.lane_gradient, rows, columns, one, W, inputs, pointer(job.delta, delta_at),
                                  job.in_delta, pointer(changes.h, h_at), job.in_panel, panels)
            if column == 0:
                add_sums(job.add_row_sums, pointer(target, job.biases_at[k] + i), one, Rdelta, rows, job.in_delta,
                         count)
        place += high * wide


def gradient_changes_share(dtype: str) -> Any:
    """The function of phase 2: target += R(∂E/∂θ) of a chunk, in a thread's share of the tiles.

    Its arguments are those of `propagate_changes_share`.
    """
    T = np.dtype(dtype).type

    def share(job: Any, others: int, setting: int, thread: int, threads: int) -> None:
        changes, gauss_newton = job_at(others, T), setting
        if sums_by_lanes(job):
            add_lane_tiles_of_changes(job, changes, gauss_newton, thread, threads)
        else:
            add_tiles_of_changes(job, changes, gauss_newton, thread, threads)

    return share, phase_arguments(dtype)


#: Chunks of fewer operations for each lane stay on one thread, as in `tiled`.
SMALL_WORK = 2.5e5


@kernel(parallel=True)
def run_on_threads(phase: int, job_address: int, others: int, setting: int, threads: int) -> None:
    """Run a phase on a number of threads."""
    for thread in prange(threads):
        run_share_of(phase, job_at(job_address, None), others, setting, np.int64(thread), threads)


@inlined
def run(phase: Any, job: Any, others: Any, setting: Any, threads: Any) -> None:
    """Run a phase; one thread runs it without waking others."""
    if threads == 1:
        run_share_of(phase, job, others, setting, 0, 1)
    else:
        run_on_threads(phase, address_in_memory(job), others, setting, threads)


@kernel
def add_curvature_arrays(theta: Any, v: Any, propagate: int, gradient: int, X: Any, reading: int, labels: Any,
                         targets: Any, weights: Any, gauss_newton: int, product: Any, start: int, stop: int, work: Any,
                         own: Any, threads: int) -> None:
    """`add_curvature` with the arrays of its tuples as arguments."""
    job, changes = job_in(work), job_in(own)
    begin_call(job, address_in_memory(theta), address_in_memory(X))
    begin_call(changes, address_in_memory(v), address_in_memory(X))
    job.reading = reading
    job.labels = address_in_memory(labels) if labels.shape[0] > 0 else 0
    job.targets = address_in_memory(targets) if targets.shape[0] > 0 else 0
    job.weights = address_in_memory(weights) if weights.shape[0] > 0 else 0
    add_product(job, changes, propagate, gradient, gauss_newton, product, start, stop, threads)


@inlined
def add_product(job: Any, changes: Any, propagate: Any, gradient: Any, gauss_newton: Any, product: Any, start: Any,
                stop: Any, threads: Any) -> None:
    """Add to a product what samples from start to stop have in it, chunk after chunk; both jobs have their arrays."""
    job.target, job.keeps, changes.keeps = address_in_memory(product), True, True
    for first in range(start, stop, job.chunk):
        job.first, job.count = first, min(job.chunk, stop - first)
        changes.first, changes.count = job.first, job.count
        team = threads if 12 * job.parameters * job.count >= SMALL_WORK * job.lanes else 1
        run(propagate, job, address_in_memory(changes), gauss_newton, team)
        run(gradient, job, address_in_memory(changes), gauss_newton, team)


@kernel
def add_small_product(theta: Any, v: Any, X: Any, d: Any, propagate: int, gradient: int, gauss_newton: int,
                      product: Any, work: Any, own: Any) -> bool:
    """`add_curvature` of a few samples, if X, d and v are numbers that kernels may have; whether they are.

    d : labels (n,) int64, or targets (n, N_L).
    """
    job, changes, wrong, given = job_in(work), job_in(own), 0, pointer(v, 0)
    for p in range(v.shape[0]):
        wrong += not is_finite(given[p])
    if begin_few(job, theta, X, d) + wrong > 0:
        return False
    begin_call(changes, address_in_memory(v), address_in_memory(X))
    add_product(job, changes, propagate, gradient, gauss_newton, product, 0, X.shape[0], 1)
    return True


def add_few(theta: np.ndarray, v: np.ndarray, X: np.ndarray, d: np.ndarray, curvature: Curvature, gauss_newton: bool,
            product: np.ndarray, work: np.ndarray, own: np.ndarray) -> bool:
    """`add_curvature` of arrays that were not looked at; whether it has done it."""
    found: bool = add_small_product(theta, v, X, d, curvature.propagate, curvature.gradient, int(gauss_newton), product,
                                    work, own)
    return found


def add_curvature(theta: np.ndarray, v: np.ndarray, curvature: Curvature, samples: Samples, gauss_newton: bool,
                  product: np.ndarray, start: int, stop: int, work: np.ndarray, own: np.ndarray, threads: int) -> None:
    """product += ∇²E v of the samples from start to stop, or the Gauss–Newton matrix times v; sample after sample.

    work, own : the job of the network, and `changes`.
    """
    add_curvature_arrays(theta, v, curvature.propagate, curvature.gradient, *as_arguments(samples), samples.labels,
                         samples.targets, samples.weights, int(gauss_newton), product, start, stop, work, own, threads)
