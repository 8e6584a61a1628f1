"""The phases of a job whose products have bfloat16 operands: those of `phases` with pairs in place of numbers.

    panels of h and δ, and their pairs of units            `propagate_group`
    their pairs of samples, for the chunk                  `pair_all_rows`, `pair_all_samples`
    ∂E/∂W = Σ ⌊δ⌉ ⌊h⌉ᵀ, ∂E/∂b = Σ δ                        `add_tiles`
    both kinds of pairs of W                               `round_share`, and in `add_tiles` where it changes W

W is rounded before a call, and by whatever changes it in a training: `tiled.prepare_step` says when. All networks take
panels: single samples have no kernels of their own here, and no sums go by lanes.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import address_in_memory, pointer
from ...compiling.decorators import inlined, subkernel
from ...threads import share_of
from .gradients import BLOCK_SIZE, SIDE_BY_SIDE
from .jacobian import ROW_STEPS
from .job import Slot, phase_arguments, slot_of
from .panels import activate_layer, clip, clips, delta_layer, end_forward, gather_inputs, write_errors
from .product import FROM_BIAS, FROM_ZERO, add_gradient_tile, affine
from .rounding import pair_all_rows, pair_all_samples, pair_all_units, round_block
from .sums import add_sums
from .updates import update_at


@inlined
def pair_layer(job: Any, slot: Any, k: Any, panel: Any, p: Any, h_pairs: Any) -> None:
    """The pairs of h_k of a panel: of units, for the next layer, and of samples, for phase 2."""
    width, units = job.lanes, job.widths[k]
    h_k = pointer(slot.h, p * job.in_panel + job.places[k] * width)
    pair_all_units(job.pair_units, units, h_k, pointer(h_pairs, p * job.in_h_pairs + job.places[k] * width // 2))
    if job.keeps:
        pair_all_rows(job.pair_rows, units, h_k,
                      pointer(job.h_rows, job.places[k] // width * job.in_block + panel * width * width // 2),
                      job.in_block)


@subkernel
def propagate_group(job: Any, slot: Slot, place: int, panel: int, panels: int) -> None:
    """Take some panels forward, evaluate their loss if they have targets, and take them back to e_lowest.

    place : the number of the slot of the first panel.
    panel, panels : the first panel and the number of panels.
    """
    width, depth = job.lanes, job.depth
    h_pairs, delta_pairs = pointer(job.h_pairs, place * job.in_h_pairs), pointer(job.delta_pairs,
                                                                                 place * job.in_delta_pairs)
    for p in range(panels):
        gather_inputs(job, slot, panel + p, p, False)
        pair_layer(job, slot, 0, panel + p, p, h_pairs)
    for k in range(1, depth + 1):
        inputs = job.widths[k - 1]
        affine(job.affine, job.widths[k], FROM_BIAS, pointer(job.theta, job.biases_at[k]),
               pointer(slot.a, job.places[k] * width), job.in_panel, pointer(job.by_input, job.by_input_at[k]),
               job.by_input_rows[k], 1, pointer(h_pairs, job.places[k - 1] * width // 2), job.in_h_pairs,
               (inputs + 1) // 2, panels, ROW_STEPS)
        for p in range(panels):
            activate_layer(job, slot, k, p)
            if k < depth:
                pair_layer(job, slot, k, panel + p, p, h_pairs)
    end_forward(job, slot, panel, panels)
    if job.lowest > depth:
        return
    for k in range(depth, 0, -1):
        for p in range(panels):
            delta_layer(job, slot, k, panel + p, p)
            if k > job.lowest:
                pair_all_units(job.pair_units, job.widths[k],
                               pointer(job.delta, (panel + p) * job.in_delta + job.units[k] * width),
                               pointer(delta_pairs, p * job.in_delta_pairs))
        if k > job.lowest:
            affine(job.affine, job.widths[k - 1], FROM_ZERO, job.theta, slot.e, job.in_error,
                   pointer(job.by_row, job.by_row_at[k]), 1, job.by_row_rows[k], delta_pairs, job.in_delta_pairs,
                   (job.widths[k] + 1) // 2, panels, ROW_STEPS)
    write_errors(job, slot, panels, np.int64(1), np.int64(0))
    for p in range(panels):
        if clips(job):
            clip(job, slot, panel + p, p)
        if job.keeps:
            first = job.units[1]
            pair_all_samples(job.pair_samples, job.units[depth + 1] - first,
                             pointer(job.delta, (panel + p) * job.in_delta + first * width),
                             pointer(job.delta_factors, first * job.in_delta_factors + (panel + p) * width // 2),
                             job.in_delta_factors, job.count - (panel + p) * width)


def propagate_share(dtype: str) -> Any:
    """The function of phase 1: a thread's share of the panels of a chunk, group after group."""
    def share(job: Any, thread: int, threads: int) -> None:
        group = job.group
        begin, end = share_of((job.count + job.lanes - 1) // job.lanes, thread, threads)
        if group > 0:  # a thread has a few slots, which stay in its cache
            first = thread * group
            for panel in range(begin, end, group):
                propagate_group(job, slot_of(job, first, first), first, panel, min(group, end - panel))
        elif end > begin:  # every panel has a slot of its own
            propagate_group(job, slot_of(job, begin, begin), begin, begin, end - begin)

    return share, phase_arguments(dtype)


@inlined
def tiles_of_layer(job: Any, k: Any) -> Any:
    """How many tiles high and wide ∂E/∂W_k is."""
    columns = 2 * job.lanes
    return (job.widths[k] + job.tile_rows - 1) // job.tile_rows, (job.widths[k - 1] + columns - 1) // columns


@inlined
def row_of_tile(units: Any, high: Any, row: Any) -> Any:
    """The first unit of a tile, an even one: two rows of W are a row of pairs."""
    return min(2 * ((units + 1) // 2 * row // high), units)


@inlined
def share_of_tiles(job: Any, thread: Any, threads: Any) -> Any:
    """The first tile of a thread's share and the first after it, counted through all layers, of about as many rows."""
    total = 0
    for k in range(1, job.depth + 1):
        high, wide = tiles_of_layer(job, k)
        total += job.widths[k] * wide
    first, last = share_of(total, thread, threads)
    begin, end, before = 0, 0, 0
    for k in range(1, job.depth + 1):
        high, wide = tiles_of_layer(job, k)
        units = job.widths[k]
        begin += min(max((first - before) * high // units, 0), high * wide)
        end += min(max((last - before) * high // units, 0), high * wide)
        before += units * wide
    return begin, end


@subkernel
def add_tiles(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """target += alpha ∂E/∂W and alpha ∂E/∂b of a chunk, in a thread's share of the tiles; or the update of each tile.

    It is `gradients.add_tiles` on pairs, and rounds what it changes of W.
    """
    width, target, count = job.lanes, job.target, job.count
    steps, changes = (count + 1) // 2, job.updates or address_in_memory(target) == address_in_memory(job.theta)
    sums = pointer(job.sums, thread * job.in_sums)
    row_sums, together = pointer(sums, job.tile_rows * SIDE_BY_SIDE), SIDE_BY_SIDE // (2 * width)
    begin, end = share_of_tiles(job, thread, threads)
    place = 0
    for k in range(1, job.depth + 1):
        units, inputs = job.widths[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k)
        block = max(1, min(BLOCK_SIZE // (width * count), wide))
        first, last, begun = max(begin - place, 0), min(end - place, high * wide), 0
        for tile in range(first, last):
            in_block = tile // (high * block) * block
            here, nth = min(block, wide - in_block), tile - in_block * high
            row, nth = nth // here, nth % here
            i, column = row_of_tile(units, high, row), (in_block + nth) * 2 * width
            rows, columns = row_of_tile(units, high, row + 1) - i, min(2 * width, inputs - column)
            delta = pointer(job.delta_factors, (job.units[k] + i) * job.in_delta_factors)
            h = pointer(job.h_rows, (job.places[k - 1] + column) // width * job.in_block)
            W, b = job.weights_at[k] + i * inputs + column, job.biases_at[k] + i
            if tile == first or nth % together == 0:
                begun = column
            at, in_row = (pointer(sums, column - begun), SIDE_BY_SIDE) if job.updates else (pointer(target, W), inputs)
            add_gradient_tile(job.gradient_2 if columns > width else job.gradient_1, rows, columns, alpha, at, in_row,
                              delta, job.in_delta_factors, h, job.in_block, steps,
                              pointer(job.theta if job.updates else target, W), inputs)
            if column == 0:
                add_sums(job.add_row_sums, row_sums if job.updates else pointer(target, b), alpha,
                         pointer(job.delta, (job.units[k] + i) * width), rows, job.in_delta, count)
                if job.updates:
                    update_at(job, b, row_sums, 1, rows, 0, 0, 0.0)
            if changes and (tile + 1 == last or nth + 1 == here or (nth + 1) % together == 0):
                if job.updates:
                    update_at(job, W - column + begun, sums, rows, column - begun + columns, inputs, SIDE_BY_SIDE,
                              job.penalty)
                round_rows(job, k, i, rows, begun, column - begun + columns)
        place += high * wide


@inlined
def round_rows(job: Any, k: Any, i: Any, rows: Any, column: Any, columns: Any) -> None:
    """Round a block of W_k that begins at row i, an even one, and at a column that is a multiple of two vectors."""
    inputs = job.widths[k - 1]
    round_block(job.round_weights, rows, columns, pointer(job.theta, job.weights_at[k] + i * inputs + column), inputs,
                pointer(job.by_input, job.by_input_at[k] + i * job.by_input_rows[k] + column // 2),
                job.by_input_rows[k], pointer(job.by_row, job.by_row_at[k] + i // 2 * job.by_row_rows[k] + column),
                job.by_row_rows[k])


def gradient_share(dtype: str) -> Any:
    """The function of phase 2: target += alpha ∂E/∂θ of a chunk, in a thread's share of the tiles."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        add_tiles(job, T(job.alpha), thread, threads)

    return share, phase_arguments(dtype)


def round_share(dtype: str) -> Any:
    """The function that rounds a thread's share of the rows of all W_k."""
    def share(job: Any, thread: int, threads: int) -> None:
        for k in range(1, job.depth + 1):
            begin, end = share_of((job.widths[k] + 1) // 2, thread, threads)
            if end > begin:
                round_rows(job, k, 2 * begin, min(2 * end, job.widths[k]) - 2 * begin, 0, job.widths[k - 1])

    return share, phase_arguments(dtype)
