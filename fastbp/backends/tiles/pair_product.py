"""The products a = W h and e = Wᵀ δ on pairs of bfloat16: `product.affine_product`, with W rounded on the way.

W lies in theta as float32. Rows of A are rounded to pairs, for some steps, just before tiles go over all panels with
them: so they are always those of theta, and are read from the caches next to the core. To keep W in pairs beside theta,
written with each update, took 784-512-512-10 a tenth of a step longer.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import INTEGER, invoke, pointer, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .packing import STEPS, columns_at_once
from .product import FETCHED_ROWS, FROM_C, affine_tile
from .rounding import pack_columns, pack_row

#: Steps, of two terms of a sum each, of which rows of W are in pairs at a time: long pieces of them are read in order.
#: From one such row to the next it is an odd number of cache lines, so that rows are spread over all sets of a cache.
STEPS_OF_ROWS, PACKED_ROW = 1024, 1024 + 16

# Columns of W are in pairs for as many steps and tiles at a time as `packing` copies of them: whole cache lines are
# read, once each. With a tile alone, 56 bytes of each row, Wᵀδ of 1,024 ran at 0.70 of the ceiling in place of 0.90.


def packed_size() -> int:
    """The numbers of the part of W that is in pairs."""
    return max(host().tile_rows * PACKED_ROW, STEPS * columns_at_once())


def pair_affine_product(dtype: str, fetches: bool, factors: int) -> Any:
    """The function C = start + A B for some panels, where A is W or Wᵀ and both are rounded; for `address_of`.

    Its arguments are (rows, start, bias, C, c_panel, W, w_row, is_transposed, B, b_panel, terms, panels, packed).

    C, bias, start : as for `product.affine_product`.
    W : float32, rows w_row apart; A is W, or where it is_transposed Wᵀ.
    B : panels of pairs, b_panel apart; a step of B, of two terms, is `lanes` further.
    packed : memory for `packed_size` numbers.

    If it `fetches`, what is rounded next is prefetched as in `product.affine_product`.
    """
    lanes, tile_rows, line = host().lanes(dtype), host().tile_rows, 64 // np.dtype(dtype).itemsize
    strip = columns_at_once()
    vectors = strip // lanes

    def product(rows, start, bias, C, c_panel, W, w_row, is_transposed, B, b_panel, terms, panels, packed):
        steps = (terms + 1) // 2
        most, at_once = (STEPS, strip) if is_transposed else (STEPS_OF_ROWS, tile_rows)
        parts = (rows + at_once - 1) // at_once
        for t in range(0, steps, most):
            here = min(most, steps - t)
            these, begin = min(2 * here, terms - 2 * t), start if t == 0 else FROM_C
            first = 0
            for part in range(parts):
                size = (rows - first) // (parts - part)
                if is_transposed:
                    size = min(strip, rows - first)
                    W_part = pointer(W, 2 * t * w_row + first)
                    pack_columns(factors, lanes, vectors, these, size, W_part, w_row, packed)
                    a_row, a_step, ahead_block, following = 1, strip, 2 * lanes * w_row, pointer(W_part, size)
                else:
                    W_part = pointer(W, first * w_row + 2 * t)
                    for i in range(size):
                        pack_row(factors, lanes, these, pointer(W_part, i * w_row), pointer(packed, i * PACKED_ROW))
                    a_row, a_step, ahead_block, following = PACKED_ROW, 1, 2 * lanes, pointer(W_part, size * w_row)
                tiles, r = (size + tile_rows - 1) // tile_rows, 0
                for tile in range(tiles):
                    count = (size - r) // (tiles - tile)
                    A, C_row, b = pointer(packed, r * a_row), (first + r) * lanes, pointer(bias, first + r)
                    for p in range(0, panels, 2):
                        ahead = pointer(following, tile * line + FETCHED_ROWS // 2 * p % (2 * lanes) * w_row
                                        if is_transposed else FETCHED_ROWS // 2 * p % tile_rows * w_row)
                        C_tile, B_tile = pointer(C, p * c_panel + C_row), pointer(B, p * b_panel + t * lanes)
                        if panels - p > 1:
                            affine_tile(factors, lanes, 2, fetches, count, begin, b, C_tile, c_panel, A, a_row, a_step,
                                        B_tile, b_panel, here, ahead, w_row, ahead_block)
                        else:
                            affine_tile(factors, lanes, 1, fetches, count, begin, b, C_tile, c_panel, A, a_row, a_step,
                                        B_tile, b_panel, here, ahead, w_row, ahead_block)
                    r += count
                first += size

    numbers = pointer_type(dtype)
    return product, (INTEGER, INTEGER, numbers, numbers, INTEGER, numbers, INTEGER, INTEGER, numbers, INTEGER, INTEGER,
                     INTEGER, numbers)


@inlined
def pair_affine(address: Any, rows: Any, start: Any, bias: Any, C: Any, c_panel: Any, W: Any, w_row: Any,
                is_transposed: Any, B: Any, b_panel: Any, terms: Any, panels: Any, packed: Any) -> None:
    """C = start + A B, by the function at an address that `pair_affine_product` describes."""
    invoke(address, (rows, start, bias, C, c_panel, W, w_row, is_transposed, B, b_panel, terms, panels, packed))
