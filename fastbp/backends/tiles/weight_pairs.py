"""The memory of W in pairs of bfloat16, and what else the job of a network with such products has."""

from typing import Any, NamedTuple

import numpy as np

from ...compiling.addresses import Piece
from ...layout import Layout, aligned_zeros
from . import pair_phases
from .host import host, multiplies_bfloat16
from .pairs import EMULATED_PAIRS, PAIRS
from .product import affine_product, gradient_tile
from .rounding import pair_rows, pair_samples, pair_units, round_weights


class WeightPairs(NamedTuple):
    """Both kinds of pairs of all W_k, see `rounding`, and where they lie."""

    factors: int          # PAIRS or EMULATED_PAIRS
    by_input: np.ndarray  # pairs of inputs of each row
    by_row: np.ndarray    # pairs of rows
    tables: np.ndarray    # (4, L+2): by_input_at, by_input_rows, by_row_at, by_row_rows of `job.Job`


def factors_here() -> int:
    """PAIRS where the processor has their instruction, else EMULATED_PAIRS."""
    return PAIRS if multiplies_bfloat16() else EMULATED_PAIRS


def weight_pairs(layout: Layout, dtype: np.dtype) -> WeightPairs:
    """The memory for a network.

    Rows are whole vectors, two by two, and an odd number of cache lines apart: so the rows of a tile are spread over
    all sets of the first-level cache.
    """
    lanes, line = host().lanes(dtype.name), 64 // dtype.itemsize
    tables, sizes = np.zeros((4, layout.depth + 2), np.int64), [0, 0]
    for k in range(1, layout.depth + 1):
        units, inputs = int(layout.widths[k]), int(layout.widths[k - 1])
        whole = -(-inputs // (2 * lanes)) * lanes
        for kind, (rows, size) in enumerate(((units, whole), ((units + 1) // 2, 2 * whole))):
            apart = (-(-size // line) | 1) * line
            tables[2 * kind : 2 * kind + 2, k] = sizes[kind], apart
            sizes[kind] += rows * apart
    return WeightPairs(factors_here(), aligned_zeros(sizes[0], dtype), aligned_zeros(sizes[1], dtype), tables)


def pair_pieces(name: str, resident: bool, factors: int) -> dict[str, Piece]:
    """What the job of such a network compiles in place of the pieces of others, by the names of their fields."""
    return {
        "propagate_phase": (pair_phases.propagate_share, name), "gradient_phase": (pair_phases.gradient_share, name),
        "prepare_phase": (pair_phases.round_share, name),
        "affine": (affine_product, name, not resident, host().tile_rows, factors),
        "gradient_2": (gradient_tile, name, 2, factors), "gradient_1": (gradient_tile, name, 1, factors),
        **{made.__name__: (made, name, factors) for made in (pair_units, pair_samples, pair_rows, round_weights)}}


def pair_fields(pairs: WeightPairs) -> dict[str, Any]:
    """The fields of a job that say where W in pairs is."""
    names = ("by_input_at", "by_input_rows", "by_row_at", "by_row_rows")
    return {"by_input": pairs.by_input.ctypes.data, "by_row": pairs.by_row.ctypes.data,
            **{name: table.ctypes.data for name, table in zip(names, pairs.tables, strict=True)}}
