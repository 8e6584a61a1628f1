"""Phase 2: ∂E/∂W_k = Σ_s δ_k h_{k-1}ᵀ and ∂E/∂b_k = Σ_s δ_k over a chunk, tile by tile, each written once."""

from typing import Any

from ...by_address import invoke, pointer
from ...compilation import inlined, subkernel
from .job import Room, Shape

#: Tiles side by side in a block of columns use one row of δ, from the first-level cache, before the next row is taken;
#: the h of a block, so many numbers, come from the second level.
BLOCK_SIZE = 2**17


@inlined
def tiles_of_layer(shape: Any, k: Any, room: Any) -> Any:
    """How many tiles high and wide ∂E/∂W_k is; a tile is two vectors wide."""
    return ((shape.widths[k] + room.tile_rows - 1) // room.tile_rows,
            (shape.widths[k - 1] + 2 * room.lanes - 1) // (2 * room.lanes))


@subkernel
def add_tiles(target: Any, shape: Shape, room: Room, alpha: Any, count: int, thread: int, threads: int) -> None:
    """target += alpha ∂E/∂W and alpha ∂E/∂b of a chunk of `count` samples, in a thread's share of the tiles.

    target : (P,) the gradient, or theta.
    """
    width = room.lanes
    total = 0
    for k in range(1, shape.depth + 1):
        high, wide = tiles_of_layer(shape, k, room)
        total += high * wide
    begin, end = total * thread // threads, total * (thread + 1) // threads
    place = 0
    for k in range(1, shape.depth + 1):
        units, inputs = shape.widths[k], shape.widths[k - 1]
        high, wide = tiles_of_layer(shape, k, room)
        block = max(1, min(BLOCK_SIZE // (2 * width * count), (wide + threads - 1) // threads))
        for tile in range(max(begin - place, 0), min(end - place, high * wide)):
            first = tile // (high * block) * block
            here = min(block, wide - first)
            row, column = (tile - first * high) // here, (first + (tile - first * high) % here) * 2 * width
            i = units * row // high
            rows, columns = units * (row + 1) // high - i, min(2 * width, inputs - column)
            delta = pointer(room.delta, (shape.units[k] + i) * width)
            h = pointer(room.h_rows, (shape.places[k - 1] + column) // width * room.in_block)
            invoke(room.gradient[1 if columns > width else 0],
                   (rows, columns, alpha, pointer(target, shape.weights[k] + i * inputs + column), inputs, delta,
                    room.in_delta, h, room.in_block, count))
            if column == 0:
                invoke(room.add_row_sums,
                       (pointer(target, shape.biases[k] + i), alpha, delta, rows, room.in_delta, count))
        place += high * wide
