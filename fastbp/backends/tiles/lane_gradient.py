"""The gradient tile whose lanes are samples: C (rows × columns) += α Σ_s δ_k h_{k-1}ᵀ, from panels of δ and of h alike.

    C[r, c] += α Σ_lanes Σ_p A[p, r] B[p, c]        p < panels; A[p, r] and B[p, c] are vectors of samples

`product.gradient_tile` has its lanes along the columns, of which the inputs of a narrow layer fill only some. It reads
h sample after sample, so every panel of h has to be transposed. This tile wastes no lanes and transposes nothing. But
it adds up the lanes of every element at the end, and reads four times as much for the same multiply-adds. It is for
small networks in batches of many panels: see `gradients.sums_by_lanes`.
"""

from typing import Any

from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .vectors import I64, Vectors

#: The most elements of a row of C: with their lanes added up they are one vector of four numbers.
COLUMNS = 4


def lane_rows() -> int:
    """The most rows of such a tile: four columns of them are 2 · tile_rows accumulators, as in the other tiles."""
    return host().tile_rows // 2


def lane_gradient(dtype: str) -> Any:
    """The function C += alpha Σ A Bᵀ for one tile, for `address_of`.

    Its arguments are (rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels).

    C : (rows, columns), rows c_row apart; rows <= lane_rows(), columns <= COLUMNS.
    A, B : panels of δ and h, a_panel and b_panel apart; vectors of one panel follow each other.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def tile(rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels):
        _lane_gradient(lanes, rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels)

    return tile, (INTEGER, INTEGER, numbers.dtype, numbers, INTEGER, numbers, INTEGER, numbers, INTEGER, INTEGER)


@inlined
def add_lane_gradient(address: Any, rows: Any, columns: Any, alpha: Any, C: Any, c_row: Any, A: Any, a_panel: Any,
                      B: Any, b_panel: Any, panels: Any) -> None:
    """C += alpha Σ A Bᵀ, by the function at an address that `lane_gradient` describes."""
    invoke(address, (rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels))


@intrinsic(prefer_literal=True)
def _lane_gradient(typing_context, lanes, rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels):
    signature = types.void(lanes, rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels)
    numbers = C

    def codegen(context, builder, signature, values):
        _, rows, columns, alpha, C, c_row, A, a_panel, B, b_panel, panels = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        end = builder.append_basic_block("end")
        shape = builder.add(builder.mul(rows, I64(COLUMNS)), builder.sub(columns, I64(1)))
        switch = builder.switch(shape, end)
        for r in range(1, lane_rows() + 1):
            for c in range(1, COLUMNS + 1):
                case = builder.append_basic_block(f"rows_{r}_columns_{c}")
                switch.add_case(I64(r * COLUMNS + c - 1), case)
                builder.position_at_end(case)
                sums = _sums_of_lanes(v, r, c, A, a_panel, B, b_panel, panels)
                _add(v, r, c, alpha, C, c_row, sums)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


def _sums_of_lanes(v, rows, columns, A, a_panel, B, b_panel, panels):
    """Σ_lanes Σ_p A[p, r] B[p, c] of a whole tile, row after row, in vectors of `lanes` sums.

    Each addition waits for the one before it. So tiles of at most COLUMNS elements have two sums of each element, over
    every second panel.
    """
    builder, size = v.builder, rows * columns
    sums = [v.zero] * size
    at_once = 2 if size <= COLUMNS else 1
    if at_once == 2:
        half = builder.ashr(panels, I64(1))
        further = [v.at(A, a_panel), v.at(B, b_panel)]
        steps = [builder.shl(step, I64(1)) for step in (a_panel, b_panel)]
        A, B, both = _loop(v, rows, columns, [(A, B), further], steps, half, sums * 2)
        sums = [builder.fadd(*pair) for pair in zip(both[:size], both[size:], strict=True)]
        panels = builder.and_(panels, I64(1))
    _, _, sums = _loop(v, rows, columns, [(A, B)], [a_panel, b_panel], panels, sums)
    return [v.sums(sums[begin : begin + v.lanes]) for begin in range(0, size, v.lanes)]


def _loop(v, rows, columns, places, steps, times, sums):
    """sums += A Bᵀ at each of the places, `times` times, perhaps none.

    Returns A and B of the first place after the loop, and the sums.
    """
    builder = v.builder
    entry, body, done = builder.block, builder.append_basic_block("panel"), builder.append_basic_block("panels_done")
    builder.cbranch(builder.icmp_signed(">", times, I64(0)), body, done)
    builder.position_at_end(body)
    start = [times, *(pointer for place in places for pointer in place), *sums]
    phis = [builder.phi(value.type) for value in start]
    added = phis[-len(sums) :]
    after = [builder.sub(phis[0], I64(1))]
    for n in range(len(places)):
        a, b = phis[1 + 2 * n], phis[2 + 2 * n]
        h = [v.load(v.at(b, c * v.lanes)) for c in range(columns)]
        for r in range(rows):
            delta = v.load(v.at(a, r * v.lanes))
            for c in range(columns):
                place = (n * rows + r) * columns + c
                added[place] = v.multiply_add(delta, h[c], added[place])
        after += [v.at(a, steps[0]), v.at(b, steps[1])]
    after += added
    for phi, before, value in zip(phis, start, after, strict=True):
        phi.add_incoming(before, entry)
        phi.add_incoming(value, body)
    builder.cbranch(builder.icmp_signed(">", after[0], I64(0)), body, done)
    builder.position_at_end(done)
    ends = [builder.phi(value.type) for value in start]
    for phi, before, value in zip(ends, start, after, strict=True):
        phi.add_incoming(before, entry)
        phi.add_incoming(value, body)
    return ends[1], ends[2], ends[-len(sums) :]


def _add(v, rows, columns, alpha, C, c_row, sums):
    """C += alpha · sums, four numbers at a time where a row has four."""
    builder = v.builder
    for r in range(rows):
        row = v.at(C, builder.mul(c_row, I64(r)))
        if columns == COLUMNS and v.lanes % COLUMNS == 0:
            four = Vectors(builder, v.number, COLUMNS)
            begin = r * COLUMNS % v.lanes
            part = v.shuffle(sums[r * COLUMNS // v.lanes], v.undefined, range(begin, begin + COLUMNS))
            four.store(four.multiply_add(four.splat(alpha), part, four.load(row)), row)
            continue
        for c in range(columns):
            place, element = v.at(row, c), r * columns + c
            part = builder.extract_element(sums[element // v.lanes], I64(element % v.lanes))
            product = builder.fmul(alpha, part, flags=("contract",))
            builder.store(builder.fadd(product, builder.load(place), flags=("contract",)), place)
