"""Phase 2 for several leaves of a batch, which went through phase 1 together.

Each tile of ∂E/∂W_k is summed leaf by leaf, and the sums are added up in the tree of `backends.leaves` while they are
in the first-level cache. The gradient in memory is read and written once, where it would be so for every leaf.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from .gradients import BLOCK_SIZE, SIDE_BY_SIDE, corner, share_of_tiles, tiles_of_layer
from .job import phase_arguments
from .product import add_gradient_tile
from .sums import add_sums

#: The most leaves that go through the network together, whose sums take six levels.
MOST_LEAVES = 32


def leaf_gradient_share(dtype: str) -> Any:
    """The function of phase 2: target += ∂E/∂θ of the job's leaves, in a thread's share of the tiles."""
    one = np.dtype(dtype).type(1)

    def share(job: Any, thread: int, threads: int) -> None:
        add_leaf_tiles(job, one, thread, threads)

    return share, phase_arguments(dtype)


@subkernel
def add_leaf_tiles(job: Any, one: Any, thread: int, threads: int) -> None:
    """What `gradients.add_tiles` does, leaf by leaf."""
    width, target = job.lanes, job.target
    levels = pointer(job.sums, thread * job.in_sums)
    row_levels = pointer(levels, job.tile_rows * SIDE_BY_SIDE)
    begin, end = share_of_tiles(job, job.tile_rows, 2 * width, thread, threads)
    place = 0
    for k in range(1, job.depth + 1):
        units, inputs = job.widths[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k, job.tile_rows, 2 * width)
        block = max(1, min(BLOCK_SIZE // (2 * width * job.count), wide))
        for tile in range(max(begin - place, 0), min(end - place, high * wide)):
            i, rows, column, _, _ = corner(tile, units, high, wide, block, 2 * width)
            columns = min(2 * width, inputs - column)
            delta = pointer(job.delta, (job.units[k] + i) * width)
            if columns > 0:
                h = pointer(job.h_rows, (job.places[k - 1] + column) // width * job.in_block)
                add_tile(job, one, rows, columns, delta, h, levels,
                         pointer(target, job.weights_at[k] + i * inputs + column), inputs)
            if column == 0:
                add_row_sums(job, one, rows, delta, row_levels, pointer(target, job.biases_at[k] + i))
        place += high * wide


@subkernel
def add_tile(job: Any, one: Any, rows: int, columns: int, delta: Any, h: Any, levels: Any, target: Any, in_row: int
             ) -> None:
    """target += a tile of ∂E/∂W: the leaves' sums, added up in their tree.

    levels : memory for tiles of sums, the next of which begins at zero where the left one of two leaves begins.
    """
    width, places, top = job.lanes, job.leaf_places, 0
    size = rows * 2 * width
    gradient = job.gradient_2 if columns > width else job.gradient_1
    for leaf in range(job.leaves):
        if leaf % 2 == 0:
            clear(pointer(levels, top * size), size)
            top += 1
        level = pointer(levels, (top - 1) * size)
        is_last = leaf + 1 == job.leaves
        add_gradient_tile(gradient, rows, columns, one, level, 2 * width,
                          pointer(delta, places[leaf] // width * job.in_delta), job.in_delta,
                          pointer(h, places[leaf] * width), job.in_block, places[leaf + 1] - places[leaf],
                          target if is_last else level, in_row if is_last else 2 * width)
        top = add_up(levels, size, top, leaf)
    for r in range(rows):
        add(pointer(target, r * in_row), pointer(levels, r * 2 * width), columns)


@subkernel
def add_row_sums(job: Any, one: Any, rows: int, delta: Any, levels: Any, target: Any) -> None:
    """target += ∂E/∂b of some units, likewise."""
    places, top = job.leaf_places, 0
    for leaf in range(job.leaves):
        if leaf % 2 == 0:
            clear(pointer(levels, top * rows), rows)
            top += 1
        add_sums(job.add_row_sums, pointer(levels, (top - 1) * rows), one,
                 pointer(delta, places[leaf] // job.lanes * job.in_delta), rows, job.in_delta,
                 places[leaf + 1] - places[leaf])
        top = add_up(levels, rows, top, leaf)
    add(target, levels, rows)


@inlined
def add_up(levels: Any, size: Any, top: Any, leaf: Any) -> Any:
    """Add the nodes of the tree that a leaf completes, on a stack with `top` levels; how many are left.

    The right one of two leaves was added to the left one already.
    """
    pairs = (leaf + 1) // 2
    while leaf % 2 == 1 and pairs % 2 == 0:
        top -= 1
        add(pointer(levels, (top - 1) * size), pointer(levels, top * size), size)
        pairs //= 2
    return top


@inlined
def clear(numbers: Any, count: Any) -> None:
    """Set numbers to 0."""
    for p in range(count):
        numbers[p] = 0


@inlined
def add(target: Any, numbers: Any, count: Any) -> None:
    """target += numbers."""
    for p in range(count):
        target[p] += numbers[p]
