"""How `fused` cuts the batches of a network into tiles of samples, and whether it takes the network at all."""

from typing import NamedTuple

from .driver import SIMULATED
from .products import PADDING
from .propagation import DeviceLayout

#: The numbers of samples of a tile: the largest is taken that fits and leaves every multiprocessor a tile.
TILES = (64, 32, 16, 8, 4) if not SIMULATED else (8, 4)

#: Shared memory of a block that every GPU has without opting in, in bytes.
SHARED_BYTES = 48 * 1024

#: The number of tiles of a batch that occupies all multiprocessors.
ENOUGH_TILES = 128

#: The most parts of the gradient, and the most bytes of them.
MOST_SLOTS, SLOT_BYTES = 512, 2**26

#: The most operations of a step in the smallest tiles, which read all weights for a few samples. Larger steps are left
#: to the products over whole batches.
MOST_OPERATIONS = 2e9

#: The threads of a block are a multiple of the first and at most the second.
WARP, MOST_THREADS = (32, 256) if not SIMULATED else (2, 2)

#: The number of k in a slab of W.
DEPTH = 8 if not SIMULATED else 2


#: The most numbers of a slab that a thread loads: with 16 and 32 it needs more registers than there are, and 456 and
#: 1,440 bytes are spilled to memory.
MOST_BROUGHT = 8


class Shape(NamedTuple):
    """How a tile is computed: what a kernel is compiled for."""

    tile: int     # samples
    threads: int  # of a block
    each: int     # the units of a thread, 4 or 1, of 4 samples: fewer in small tiles, and where tiles are few
    rows: int     # of a tile's values in shared memory: h of all layers, g' and δ of all but the first


def shape_of(layout: DeviceLayout, batch_size: int) -> Shape | None:
    """How the tiles of a batch are computed; None if the network does not fit, or products over batches are faster."""
    rows, widest = 2 * layout.units[-1] - layout.widths[0], max(layout.widths[1:])
    for tile in TILES:
        tiles, columns = -(-batch_size // tile), tile // 4
        each = 4 if tiles >= ENOUGH_TILES and MOST_BROUGHT * columns >= 4 * DEPTH else 1
        threads = min(MOST_THREADS, -(-(-(-widest // each) * columns) // WARP) * WARP)
        slab = DEPTH * (each * threads // columns + PADDING)
        if layout.itemsize * (rows * (tile + PADDING) + slab) + 16 * WARP > SHARED_BYTES:
            continue
        if tile > TILES[-1] and tiles < ENOUGH_TILES:
            continue
        if tile == TILES[-1] and 6.0 * layout.size * batch_size > MOST_OPERATIONS:
            return None
        return Shape(tile, threads, each, rows)
    return None


def slots_of(layout: DeviceLayout, shape: Shape, batch_size: int) -> int:
    """The number of parts in which the gradient of a batch is summed."""
    return max(1, min(MOST_SLOTS, -(-batch_size // shape.tile), SLOT_BYTES // (layout.size * layout.itemsize)))
