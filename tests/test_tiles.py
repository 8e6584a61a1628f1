"""The tile `lane_gradient` and narrow transposes, called by address in every shape that they have code for.

And in which networks that tile is chosen.
"""

import numpy as np
import pytest
from tolerances import DTYPES, ROUNDING, assert_close

from fastbp.backends.tiles.gradients import costs, lanes_cost_less
from fastbp.backends.tiles.host import host
from fastbp.backends.tiles.lane_gradient import COLUMNS, add_lane_gradient, lane_gradient, lane_rows
from fastbp.backends.tiles.transpose import NARROW, transpose_columns, transpose_narrow
from fastbp.compiling.addresses import address_of
from fastbp.compiling.decorators import kernel


@kernel
def call_lane_gradient(address, rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels):
    """C by a tile."""
    add_lane_gradient(address, rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels)


@kernel
def call_transpose(address, source, begins, columns, target):
    """The target by a narrow block."""
    transpose_columns(address, source, begins, columns, target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("panels", [1, 2, 5])
@pytest.mark.parametrize("columns", range(1, COLUMNS + 1))
@pytest.mark.parametrize("rows", range(1, lane_rows() + 1))
def test_lane_gradient(rows, columns, panels, dtype):
    """C + α Σ δ hᵀ for every number of rows and columns, and nothing beside C."""
    lanes, rng, alpha = host().lanes(dtype), np.random.default_rng(0), np.dtype(dtype).type(-0.5)
    A = rng.standard_normal((panels, rows + 3, lanes)).astype(dtype)
    B = rng.standard_normal((panels, columns + 2, lanes)).astype(dtype)
    C = rng.standard_normal((rows + 1, columns + 5)).astype(dtype)
    expected = C.astype(np.float64)
    expected[:rows, :columns] -= 0.5 * np.einsum("prs,pcs->rc", A[:, :rows].astype(float), B[:, :columns].astype(float))
    untouched = C.copy()
    call_lane_gradient(address_of(lane_gradient, dtype), rows, columns, alpha, C, len(C[0]), A, A[0].size, B, B[0].size,
                       panels)
    assert_close(C[:rows, :columns], expected[:rows, :columns], ROUNDING[dtype], panels * lanes)
    assert np.array_equal(C[rows:], untouched[rows:])
    assert np.array_equal(C[:, columns:], untouched[:, columns:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", range(1, NARROW + 1))
def test_transpose_narrow(columns, dtype):
    """Rows from anywhere, also at the very end of the source; columns that are not there become 0."""
    lanes, rng = host().lanes(dtype), np.random.default_rng(0)
    source = rng.standard_normal((3 * lanes, columns)).astype(dtype)
    numbers = rng.permutation(3 * lanes)[:lanes]
    numbers[0] = 3 * lanes - 1
    target = np.full((NARROW, lanes), 7, dtype)
    call_transpose(address_of(transpose_narrow, dtype), source, numbers * columns, columns, target)
    assert np.array_equal(target[:columns], source[numbers].T)
    assert not target[columns : min(NARROW, lanes)].any()


@pytest.mark.parametrize(("widths", "panels", "by_lanes"), [
    ((4, 32, 16, 4), 64, True), ((2, 16, 1), 2, True), ((10, 100, 1), 13, True),
    ((64, 100, 10), 13, False), ((8, 32, 32, 1), 2, False), ((784, 128, 10), 8, False)])
def test_lanes_are_samples_where_that_was_measured_to_be_faster(widths, panels, by_lanes):
    assert lanes_cost_less(panels, *costs(np.array(widths), 16)) == by_lanes
