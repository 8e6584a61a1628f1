"""The phases of a job whose products have bfloat16 operands: those of `phases` with pairs in place of numbers.

    panels of h and δ, and their pairs of units            `propagate_group`
    a = ⌊W⌉ ⌊h⌉ + b, e = ⌊W⌉ᵀ ⌊δ⌉                          `pair_affine_product`
    their pairs of samples, for the chunk                  `pair_all_rows`, `pair_all_samples`
    ∂E/∂W = Σ ⌊δ⌉ ⌊h⌉ᵀ, ∂E/∂b = Σ δ                        `add_tiles`

All networks take panels: single samples have no kernels of their own here, and no sums go by lanes.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from ...threads import share_of
from .gradients import BLOCK_SIZE, SIDE_BY_SIDE, corner, share_of_tiles, tiles_of_layer
from .job import Slot, phase_arguments, slot_of
from .pair_product import pair_affine
from .panels import activate_layer, clip, clips, delta_layer, end_forward, gather_inputs, write_errors
from .product import FROM_BIAS, FROM_ZERO, add_gradient_tile
from .rounding import pair_all_rows, pair_all_samples, pair_all_units
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
def propagate_group(job: Any, slot: Slot, place: int, panel: int, panels: int, thread: int) -> None:
    """Take some panels forward, evaluate their loss if they have targets, and take them back to e_lowest.

    place : the number of the slot of the first panel.
    panel, panels : the first panel and the number of panels.
    """
    width, depth = job.lanes, job.depth
    h_pairs, delta_pairs = pointer(job.h_pairs, place * job.in_h_pairs), pointer(job.delta_pairs,
                                                                                 place * job.in_delta_pairs)
    packed = pointer(job.packed, thread * job.in_packed)
    for p in range(panels):
        gather_inputs(job, slot, panel + p, p, False)
        pair_layer(job, slot, 0, panel + p, p, h_pairs)
    for k in range(1, depth + 1):
        inputs = job.widths[k - 1]
        pair_affine(job.affine, job.widths[k], FROM_BIAS, pointer(job.theta, job.biases_at[k]),
                    pointer(slot.a, job.places[k] * width), job.in_panel, pointer(job.theta, job.weights_at[k]), inputs,
                    0, pointer(h_pairs, job.places[k - 1] * width // 2), job.in_h_pairs, inputs, panels, packed)
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
            pair_affine(job.affine, job.widths[k - 1], FROM_ZERO, job.theta, slot.e, job.in_error,
                        pointer(job.theta, job.weights_at[k]), job.widths[k - 1], 1, delta_pairs, job.in_delta_pairs,
                        job.widths[k], panels, packed)
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
                propagate_group(job, slot_of(job, first, first), first, panel, min(group, end - panel), thread)
        elif end > begin:  # every panel has a slot of its own
            propagate_group(job, slot_of(job, begin, begin), begin, begin, end - begin, thread)

    return share, phase_arguments(dtype)


@subkernel
def add_tiles(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """target += alpha ∂E/∂W and alpha ∂E/∂b of a chunk, in a thread's share of the tiles; or the update of each tile.

    It is `gradients.add_tiles` on pairs of samples.
    """
    width, target, count = job.lanes, job.target, job.count
    sums, steps = pointer(job.sums, thread * job.in_sums), (count + 1) // 2
    row_sums, together = pointer(sums, job.tile_rows * SIDE_BY_SIDE), SIDE_BY_SIDE // (2 * width)
    begin, end = share_of_tiles(job, job.tile_rows, 2 * width, thread, threads)
    place = 0
    for k in range(1, job.depth + 1):
        units, inputs = job.widths[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k, job.tile_rows, 2 * width)
        block = max(1, min(BLOCK_SIZE // (width * count), wide))
        first, last, begun = max(begin - place, 0), min(end - place, high * wide), 0
        for tile in range(first, last):
            i, rows, column, nth, here = corner(tile, units, high, wide, block, 2 * width)
            columns = min(2 * width, inputs - column)
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
            if job.updates and (tile + 1 == last or nth + 1 == here or (nth + 1) % together == 0):
                update_at(job, W - column + begun, sums, rows, column - begun + columns, inputs, SIDE_BY_SIDE,
                          job.penalty)
        place += high * wide


def gradient_share(dtype: str) -> Any:
    """The function of phase 2: target += alpha ∂E/∂θ of a chunk, in a thread's share of the tiles."""
    T = np.dtype(dtype).type

    def share(job: Any, thread: int, threads: int) -> None:
        add_tiles(job, T(job.alpha), thread, threads)

    return share, phase_arguments(dtype)
