"""The products a = W h and e = Wᵀ δ on pairs of bfloat16: `product.affine_product`, with W rounded on the way.

W lies in theta as float32. The rows of a tile are rounded to pairs, for PACKED_STEPS steps, just before the tile goes
over all panels with them: so they are always those of theta, and are read from the first-level cache. To keep W in
pairs beside theta, written with each update, took a tenth of a step longer in 784-512-512-10.
"""

from typing import Any

from ...compiling.addresses import INTEGER, invoke, pointer, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .product import FROM_C, affine_tile
from .rounding import pack_columns, pack_row

#: Steps, of two terms of a sum each, of which a tile of W is in pairs at a time: 16 kB.
PACKED_STEPS = 256

#: From one row of such a tile to the next, which is an odd number of cache lines: so rows are spread over all sets of
#: the first-level cache.
PACKED_ROW = PACKED_STEPS + 16


def packed_size(dtype: str) -> int:
    """The numbers of a tile of W in pairs."""
    return max(host().tile_rows * PACKED_ROW, PACKED_STEPS * _vectors_of_columns(dtype) * host().lanes(dtype))


def _vectors_of_columns(dtype: str) -> int:
    """How many vectors the columns of a tile of Wᵀ are, a row of W each."""
    return -(-host().tile_rows // host().lanes(dtype))


def pair_affine_product(dtype: str, fetches: bool, factors: int) -> Any:
    """The function C = start + A B for some panels, where A is W or Wᵀ and both are rounded; for `address_of`.

    Its arguments are (rows, start, bias, C, c_panel, W, w_row, is_transposed, B, b_panel, terms, panels, packed).

    C, bias, start : as for `product.affine_product`.
    W : float32, rows w_row apart; A is W, or where it is_transposed Wᵀ.
    B : panels of pairs, b_panel apart; a step of B, of two terms, is `lanes` further.
    packed : memory for `packed_size` numbers.

    If it `fetches`, the next tile's part of W is prefetched as in `product.affine_product`.
    """
    lanes, tile_rows, vectors = host().lanes(dtype), host().tile_rows, _vectors_of_columns(dtype)
    packed_step = vectors * lanes

    def product(rows, start, bias, C, c_panel, W, w_row, is_transposed, B, b_panel, terms, panels, packed):
        steps, tiles = (terms + 1) // 2, (rows + tile_rows - 1) // tile_rows
        for t in range(0, steps, PACKED_STEPS):
            here = min(PACKED_STEPS, steps - t)
            these, begin = min(2 * here, terms - 2 * t), start if t == 0 else FROM_C
            r = 0
            for tile in range(tiles):
                count = (rows - r) // (tiles - tile)
                if is_transposed:
                    W_tile = pointer(W, 2 * t * w_row + r)
                    pack_columns(factors, lanes, vectors, these, count, W_tile, w_row, packed)
                    a_row, a_step, ahead_step, next_tile = 1, packed_step, 2 * w_row, pointer(W_tile, count)
                else:
                    W_tile = pointer(W, r * w_row + 2 * t)
                    for i in range(count):
                        pack_row(factors, lanes, these, pointer(W_tile, i * w_row), pointer(packed, i * PACKED_ROW))
                    a_row, a_step, ahead_step, next_tile = PACKED_ROW, 1, 2, pointer(W_tile, count * w_row)
                for p in range(0, panels, 2):
                    ahead = pointer(next_tile, 0 if is_transposed else p % tile_rows * w_row)
                    C_tile, B_tile = pointer(C, p * c_panel + r * lanes), pointer(B, p * b_panel + t * lanes)
                    if panels - p > 1:
                        affine_tile(factors, lanes, 2, fetches, count, begin, pointer(bias, r), C_tile, c_panel, packed,
                                    a_row, a_step, B_tile, b_panel, here, ahead, w_row, ahead_step)
                    else:
                        affine_tile(factors, lanes, 1, fetches, count, begin, pointer(bias, r), C_tile, c_panel, packed,
                                    a_row, a_step, B_tile, b_panel, here, ahead, w_row, ahead_step)
                r += count

    numbers = pointer_type(dtype)
    return product, (INTEGER, INTEGER, numbers, numbers, INTEGER, numbers, INTEGER, INTEGER, numbers, INTEGER, INTEGER,
                     INTEGER, numbers)


@inlined
def pair_affine(address: Any, rows: Any, start: Any, bias: Any, C: Any, c_panel: Any, W: Any, w_row: Any,
                is_transposed: Any, B: Any, b_panel: Any, terms: Any, panels: Any, packed: Any) -> None:
    """C = start + A B, by the function at an address that `pair_affine_product` describes."""
    invoke(address, (rows, start, bias, C, c_panel, W, w_row, is_transposed, B, b_panel, terms, panels, packed))
