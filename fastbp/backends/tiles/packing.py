"""The product e = Wᵀδ with a large W: columns of W are copied next to the core, before tiles go over all panels.

A tile that reads W in place takes 56 bytes of each of its rows. Where rows lie a page or so apart, these bytes push
each other out of the caches, and the other bytes of their cache lines are fetched once more by the next tile. So whole
lines of STEPS rows, for TILES tiles, are copied into one piece of memory first. In batches of 256, Wᵀδ took 0.80 of the
time with W of 2,048 × 2,048, 0.84 with 1,024 × 1,024, and 0.96 with 1,500 × 1,500 (Emerald Rapids).
"""

from typing import Any

import numpy as np
from numba import types

from ...compiling.addresses import intrinsic, local_numbers, pointer
from ...compiling.decorators import inlined
from .host import host
from .pairs import FLOATS
from .product import FETCHED_ROWS, FROM_C, affine, affine_arguments, affine_tile
from .row_products import Loop
from .vectors import I64, Vectors

#: How many rows of W, the steps of a sum, a tile reads before the next tile does: they still lie in the cache then. And
#: for how many tiles columns are copied at a time. With 64 or 256 rows, or for 16 tiles, the product took 1.01 to 1.03
#: times as long, with 512 rows 1.2 times.
STEPS, TILES = 128, 8

#: Columns of W are copied where its rows have LONG_ROW bytes or more and MANY_PANELS use them. Where rows lie a
#: multiple of PERIOD bytes apart, FEW_PANELS will do. (Rows of 2,560 bytes made no difference. With 4 panels and
#: rows of 4,000 or 6,000 bytes the product took 1.05 times as long, with 5 panels and rows of 4,096 bytes 0.86.)
LONG_ROW, MANY_PANELS, FEW_PANELS = 3072, 8, 4


def columns_at_once() -> int:
    """The most columns of W that are copied at a time."""
    return TILES * host().tile_rows


def is_long(columns: int, dtype: np.dtype) -> bool:
    """Whether rows of W with so many columns are long."""
    return columns * dtype.itemsize >= LONG_ROW


@inlined
def errors_product(job: Any, k: Any, start: Any, C: Any, c_panel: Any, W: Any, B: Any, b_panel: Any,
                   panels: Any) -> None:
    """C = start + W_kᵀ B for some panels, where W has the shape of W_k; start is FROM_ZERO or FROM_C.

    Both ways take the same sums in the same order.
    """
    columns = job.widths[k - 1]
    fewest = FEW_PANELS if columns % job.period == 0 else MANY_PANELS
    copies = job.affine_columns != 0 and columns >= job.long_row and panels >= fewest
    affine(job.affine_columns if copies else job.affine, columns, start, job.theta, C, c_panel, W, 1, columns, B,
           b_panel, job.widths[k], panels, STEPS)


def columns_product(dtype: str) -> Any:
    """The function C = start + Wᵀ B for some panels, which copies columns of W; for `address_of`.

    It takes the arguments of `product.affine_product`, whose A is Wᵀ: a_row is 1, and a_step from one row of W to the
    next. Of `block` it takes no notice. What is copied next is prefetched while tiles go over the panels.
    """
    lanes, tile_rows, line = host().lanes(dtype), host().tile_rows, 64 // np.dtype(dtype).itemsize
    strip = columns_at_once()
    vectors, size_of_part = strip // lanes, strip * STEPS

    def product(rows, start, bias, C, c_panel, A, a_row, a_step, B, b_panel, steps, panels, block):
        packed, parts = local_numbers(A, size_of_part), (rows + strip - 1) // strip
        for t in range(0, steps, STEPS):
            here, begin = min(STEPS, steps - t), start if t == 0 else FROM_C
            first = 0
            for part in range(parts):
                left = rows - first  # of which a part has an even share, in whole vectors
                size = min(left, (left // (parts - part) + lanes - 1) // lanes * lanes)
                W_part = pointer(A, t * a_step + first)
                copy_columns(lanes, vectors, here, size, W_part, a_step, packed)
                tiles = (size + tile_rows - 1) // tile_rows
                for p in range(0, panels, 2):
                    B_tile, r = pointer(B, p * b_panel + t * lanes), 0
                    for tile in range(tiles):
                        count = (size - r) // (tiles - tile)
                        ahead = pointer(W_part, size + tile * line + FETCHED_ROWS // 2 * p % lanes * a_step)
                        A_tile = pointer(packed, r)
                        C_tile, tile_bias = pointer(C, p * c_panel + (first + r) * lanes), pointer(bias, first + r)
                        if panels - p > 1:
                            affine_tile(FLOATS, lanes, 2, True, count, begin, tile_bias, C_tile, c_panel, A_tile, 1,
                                        strip, B_tile, b_panel, here, ahead, a_step, a_step * lanes)
                        else:
                            affine_tile(FLOATS, lanes, 1, True, count, begin, tile_bias, C_tile, c_panel, A_tile, 1,
                                        strip, B_tile, b_panel, here, ahead, a_step, a_step * lanes)
                        r += count
                first += size

    return product, affine_arguments(dtype)


@intrinsic(prefer_literal=True)
def copy_columns(typing_context: Any, lanes: Any, vectors: Any, rows: Any, columns: Any, W: Any, w_row: Any,
                 target: Any) -> Any:
    """target[t] = some columns of row t of W, at most `vectors` vectors of them."""
    signature = types.void(lanes, vectors, rows, columns, W, w_row, target)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _, _, rows, columns, W, w_row, target = values
        v = Vectors(builder, context.get_value_type(signature.args[4].dtype), lanes.literal_value)
        blocks = range(vectors.literal_value)
        masks = [v.lanes_below(builder.sub(columns, I64(n * v.lanes))) for n in blocks]
        loop = Loop(builder, rows, 1, [])
        row = v.at(W, builder.mul(loop.place, w_row))
        at = v.at(target, builder.mul(loop.place, I64(len(blocks) * v.lanes)))
        for n in blocks:
            v.store(v.masked_load(v.at(row, n * v.lanes), masks[n]), v.at(at, n * v.lanes))
        loop.end([])
        return context.get_dummy_value()

    return signature, codegen
