"""Phase 1 of a job whose products have bfloat16 operands: that of `panels` with pairs in place of numbers.

    panels of h and δ, and their pairs of units            `propagate_group`
    a = ⌊W⌉ ⌊h⌉ + b, e = ⌊W⌉ᵀ ⌊δ⌉                          `pair_affine_product`
    their pairs of samples, for the chunk                  `pair_all_rows`, `pair_all_samples`

Phase 2 is that of `gradients.add_tiles`, whose tile takes pairs of samples then. All networks take panels: single
samples have no kernels of their own here, and no sums go by lanes.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from ...threads import share_of
from .job import Slot, phase_arguments, slot_of
from .pair_product import pair_affine
from .panels import activate_layer, clip, clips, delta_layer, end_forward, gather_inputs, write_errors
from .product import FROM_BIAS, FROM_ZERO
from .rounding import pair_all_rows, pair_all_samples, pair_all_units


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
                             pointer(job.tile_delta, first * job.tile_delta_row + (panel + p) * width // 2),
                             job.tile_delta_row, job.count - (panel + p) * width)


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
