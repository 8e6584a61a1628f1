"""Phase 2: ∂E/∂W_k = Σ_s δ_k h_{k-1}ᵀ and ∂E/∂b_k = Σ_s δ_k over a chunk, tile by tile, each written once.

There are two tiles. The lanes of `gradient_tile` are columns, and its h lie sample after sample. The lanes of
`lane_gradient` are samples; it costs less in small networks of narrow layers, in batches of several panels. The choice
depends on the network and on the number of samples alone.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from ...threads import share_of
from .lane_gradient import COLUMNS, add_lane_gradient
from .product import add_gradient_tile
from .sums import add_sums
from .updates import update_at

#: Tiles side by side in a block of columns use one row of δ, from the first-level cache, before the next row is taken;
#: the h of a block, about BLOCK_SIZE numbers, come from the second level. Threads share the rows of a block. Where they
#: shared its columns, rows were half as long, and two threads took 1.06 times as long for a step of Adam in 784-128-10.
BLOCK_SIZE = 2**17

#: Tiles side by side, of up to SIDE_BY_SIDE columns, become the update of their parameters together: the processor
#: fetches rows of that length in time. A step of Adam took 1.07 times one of SGD in 784-128-10 and 1.15 in
#: 784-512-512-10; with each tile by itself, and the next one prefetched, 1.10 and 1.18. Rows do not lie a page apart.
SIDE_BY_SIDE = 800

#: Costs in multiply-adds of vectors: to add up the lanes of a sum, and to transpose a block, for each of its lanes.
#: Measured on Zen 4 as 1.6 to 3.2, and as 4 to 5.5.
FOLDING, TRANSPOSING = 3, 5


def costs(widths: np.ndarray, lanes: int) -> tuple[int, int]:
    """Multiply-adds of vectors for all ∂E/∂W_k of a panel, by `gradient_tile` and by `lane_gradient`.

    The first includes the transposes of h. The second is without the sums over the lanes, once for a chunk.
    """
    blocks = -(-widths[:-1] // lanes)
    return (int((widths[1:] * blocks).sum() * lanes + TRANSPOSING * lanes * blocks.sum()),
            int((widths[1:] * widths[:-1]).sum()))


@inlined
def lanes_cost_less(panels: Any, row_cost: Any, lane_cost: Any) -> Any:
    """Whether `lane_gradient` is the faster tile for this number of panels."""
    return panels * row_cost > (panels + FOLDING) * lane_cost


@inlined
def sums_by_lanes(job: Any) -> Any:
    """Whether `lane_gradient` sums the gradient of this chunk; then h of every panel has memory of its own."""
    return job.leaves == 0 and lanes_cost_less((job.count + job.lanes - 1) // job.lanes, job.row_cost, job.lane_cost)


@inlined
def tiles_of_layer(job: Any, k: Any, tile_rows: Any, tile_columns: Any) -> Any:
    """How many tiles high and wide ∂E/∂W_k is, of a job's own rows; without inputs, one column of them for ∂E/∂b_k."""
    high, wide = (job.own_rows[k] + tile_rows - 1) // tile_rows, (job.widths[k - 1] + tile_columns - 1) // tile_columns
    return high, max(1, wide)


@inlined
def share_of_tiles(job: Any, tile_rows: Any, tile_columns: Any, thread: Any, threads: Any) -> Any:
    """The first tile of a thread's share and the first after it, counted through all layers.

    Threads share the rows of all tiles evenly: those of a layer of a few units are short.
    """
    total = 0
    for k in range(1, job.depth + 1):
        high, wide = tiles_of_layer(job, k, tile_rows, tile_columns)
        total += high * wide * (job.own_rows[k] // max(1, high))
    first, last = share_of(total, thread, threads)
    begin, end, before = 0, 0, 0
    for k in range(1, job.depth + 1):
        high, wide = tiles_of_layer(job, k, tile_rows, tile_columns)
        tiles, rows = high * wide, max(1, job.own_rows[k] // max(1, high))
        begin += tiles_before(first - before, rows, tiles)
        end += tiles_before(last - before, rows, tiles)
        before += tiles * rows
    return begin, end


@inlined
def tiles_before(place: Any, rows: Any, tiles: Any) -> Any:
    """How many tiles of a layer, all of a number of rows, begin before a place that is counted in rows."""
    return min(max((place + rows - 1) // rows, 0), tiles)


@inlined
def corner(tile: Any, units: Any, high: Any, wide: Any, block: Any, tile_columns: Any) -> Any:
    """The first row of a tile of a layer, how many rows it has, and its first column; its place among the tiles of its
    block that lie side by side, and their number.

    Tiles are counted row after row within blocks of columns.
    """
    first = tile // (high * block) * block
    here, place = min(block, wide - first), tile - first * high
    row, nth = place // here, place % here
    i = units * row // high
    return i, units * (row + 1) // high - i, (first + nth) * tile_columns, nth, here


@subkernel
def add_tiles(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """target += alpha ∂E/∂W and alpha ∂E/∂b of a chunk, in a thread's share of the tiles; or the update of each tile.

    Tiles are two vectors wide.
    """
    width, target, count = job.lanes, job.target, job.count
    steps = (count + job.samples_of_number - 1) // job.samples_of_number
    sums = pointer(job.sums, thread * job.in_sums)
    row_sums, together = pointer(sums, job.tile_rows * SIDE_BY_SIDE), SIDE_BY_SIDE // (2 * width)
    begin, end = share_of_tiles(job, job.tile_rows, 2 * width, thread, threads)
    place = 0
    for k in range(1, job.depth + 1):
        units, inputs = job.own_rows[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k, job.tile_rows, 2 * width)
        block = max(1, min(BLOCK_SIZE // (2 * width * steps), wide))
        first, last, begun = max(begin - place, 0), min(end - place, high * wide), 0
        for tile in range(first, last):
            i, rows, column, nth, here = corner(tile, units, high, wide, block, 2 * width)
            i += job.first_rows[k]
            columns = min(2 * width, inputs - column)
            delta = pointer(job.tile_delta, (job.units[k] + i) * job.tile_delta_row)
            h = pointer(job.h_rows, (job.places[k - 1] + column) // width * job.in_block)
            W, b = job.weights_at[k] + i * inputs + column, job.biases_at[k] + i
            if tile == first or nth % together == 0:
                begun = column
            at, in_row = (pointer(sums, column - begun), SIDE_BY_SIDE) if job.updates else (pointer(target, W), inputs)
            if columns > 0:
                add_gradient_tile(job.gradient_2 if columns > width else job.gradient_1, rows, columns, alpha, at,
                                  in_row, delta, job.in_tile_delta, h, job.in_block, steps,
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


@subkernel
def add_lane_tiles(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """What `add_tiles` does, by `lane_gradient`: one column of tiles after the other, whose h stay in the first-level
    cache.

    The loop is separate, because phase 2 of 2-16-1 took a tenth longer where `add_tiles` went over these tiles too.
    """
    width, target, count = job.lanes, job.target, job.count
    panels = (count + width - 1) // width
    begin, end = share_of_tiles(job, job.lane_rows, COLUMNS, thread, threads)
    place = 0
    for k in range(1, job.depth + 1):
        units, inputs = job.widths[k], job.widths[k - 1]
        high, wide = tiles_of_layer(job, k, job.lane_rows, COLUMNS)
        for tile in range(max(begin - place, 0), min(end - place, high * wide)):
            row, column = tile % high, tile // high * COLUMNS
            i = units * row // high
            rows, columns = units * (row + 1) // high - i, min(COLUMNS, inputs - column)
            delta = pointer(job.delta, (job.units[k] + i) * width)
            if columns > 0:
                add_lane_gradient(job.lane_gradient, rows, columns, alpha,
                                  pointer(target, job.weights_at[k] + i * inputs + column), inputs, delta,
                                  job.in_delta, pointer(job.h, (job.places[k - 1] + column) * width), job.in_panel,
                                  panels)
            if column == 0:
                add_sums(job.add_row_sums, pointer(target, job.biases_at[k] + i), alpha, delta, rows, job.in_delta,
                         count)
        place += high * wide
