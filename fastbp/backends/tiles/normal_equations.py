"""JᵀJ and Jᵀr of a chunk: rows of J are made panel by panel, and C = [J r]ᵀ[J r] is summed by the register tile.

A row of J belongs to one output i of one sample: √(w c_i) ∂y_i/∂θ, with r = w ∂L/∂y_i / √(w c_i). Here w is the weight
of the sample, and c_i the loss's `curvature`. For squared error c = 1 and r_i = √w (y_i - d_i). Jᵀr is ∇E of any loss.

1. Threads share the panels. A panel goes forward; then for each output e_L = √(w c_i) times a unit vector goes back,
   and ∂y_i/∂W_k = δ_k h_{k-1}ᵀ, of all lanes at once, are the columns of `lanes` rows of J.         `rows_share`
2. Threads share the tiles of C at and below its diagonal, which `gradient_tile` sums over all rows of the chunk, in
   registers: A[r, t] and B[t, v] are both J, column after column and row after row.                 `product_share`

r is the last column of [J r], so that the last row of C is Jᵀr. Every number is summed in one order, on any number of
threads.
"""

import math
from typing import Any

from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer, pointer_type
from ...compiling.decorators import inlined, subkernel
from ...functions.losses import curvature_of_panel
from ...threads import share_of
from .host import host
from .job import Slot, is_given, phase_arguments, slot_of
from .panels import backward_layer, evaluate, forward_layer, gather_inputs, slot_rows, stores_rows
from .product import add_gradient_tile
from .row_products import Loop
from .transpose import transposed
from .vectors import I64, Vectors

#: The numbers of J in a group of columns: see `product_share`.
GROUP_NUMBERS = 2**15

#: Curvatures are at least this, so that r = w L' / √(w c) is finite where c vanishes, and Jᵀr stays ∇E.
LEAST_CURVATURE = 1e-60


def weigh_panel(dtype: str) -> Any:
    """The function (weights, e, c, r, in_r, outputs, here) that turns c into √(w c), and writes r, for `address_of`.

    weights : (lanes,) of a panel's samples.
    e, c : (outputs, lanes) e_L = w ∇L, and the curvatures.
    r : for each output (lanes,), in_r apart; e_L / √(w c).

    Both are 0 for samples of weight 0, and in lanes from `here` on.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def weigh(weights, e, c, r, in_r, outputs, here):
        for i in range(outputs):
            e_i, c_i, r_i = pointer(e, i * lanes), pointer(c, i * lanes), pointer(r, i * in_r)
            for s in range(lanes):
                root = math.sqrt(weights[s] * max(c_i[s], LEAST_CURVATURE))
                residual = e_i[s] / root
                c_i[s], r_i[s] = root, residual if root > 0.0 else 0.0
            for s in range(here, lanes):
                c_i[s] = r_i[s] = 0.0

    return weigh, (numbers, numbers, numbers, numbers, INTEGER, INTEGER, INTEGER)


@inlined
def weigh(address: Any, weights: Any, e: Any, c: Any, r: Any, in_r: Any, outputs: Any, here: Any) -> None:
    """Turn c into √(w c), and write r, by the function at an address that `weigh_panel` describes."""
    invoke(address, (weights, e, c, r, in_r, outputs, here))


def outer_panel(dtype: str) -> Any:
    """The function target[i, j] = δ_i ⊙ h_j, all of them vectors of one panel, for `address_of`.

    Its arguments are (units, inputs, delta, h, target).
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def outer(units, inputs, delta, h, target):
        if inputs == 1:
            _scaled_vectors(lanes, h, delta, units, target)
            return
        for i in range(units):
            _scaled_vectors(lanes, pointer(delta, i * lanes), h, inputs, pointer(target, i * inputs * lanes))

    return outer, (INTEGER, INTEGER, numbers, numbers, numbers)


@inlined
def outer_products(address: Any, units: Any, inputs: Any, delta: Any, h: Any, target: Any) -> None:
    """target[i, j] = δ_i ⊙ h_j, by the function at an address that `outer_panel` describes."""
    invoke(address, (units, inputs, delta, h, target))


@intrinsic(prefer_literal=True)
def _scaled_vectors(typing_context, lanes, delta, h, count, target):
    """target[j] = delta ⊙ h[j] for j < count."""
    signature = types.void(lanes, delta, h, count, target)
    numbers = delta

    def codegen(context, builder, signature, values):
        _, delta, h, count, target = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        factor = v.load(delta)
        loop = Loop(builder, count, 1, [])
        offset = builder.mul(loop.place, I64(v.lanes))
        v.store(builder.fmul(factor, v.load(v.at(h, offset))), v.at(target, offset))
        loop.end([])
        return context.get_dummy_value()

    return signature, codegen


def rows_of_panel(dtype: str) -> Any:
    """The function that transposes blocks of lanes × lanes numbers, one after another, for `address_of`.

    Its arguments are (blocks, source, target, in_target). Blocks of the source follow each other, those of the target
    are in_target apart. (`transpose.transpose_block` looks up where each row lies.)
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def transpose_all(blocks, source, target, in_target):
        for block in range(blocks):
            _transpose_square(lanes, pointer(source, block * lanes * lanes), pointer(target, block * in_target))

    return transpose_all, (INTEGER, numbers, numbers, INTEGER)


@inlined
def transpose_panel(address: Any, blocks: Any, source: Any, target: Any, in_target: Any) -> None:
    """Transpose blocks, by the function at an address that `rows_of_panel` describes."""
    invoke(address, (blocks, source, target, in_target))


@intrinsic(prefer_literal=True)
def _transpose_square(typing_context, lanes, source, target):
    """target = the transposed source, both lanes × lanes numbers."""
    signature = types.void(lanes, source, target)
    numbers = source

    def codegen(context, builder, signature, values):
        _, source, target = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        rows = transposed(v, [v.load(v.at(source, r * v.lanes)) for r in range(v.lanes)])
        for r, row in enumerate(rows):
            v.store(row, v.at(target, r * v.lanes))
        return context.get_dummy_value()

    return signature, codegen


@inlined
def weigh_residuals(job: Any, slot: Any, y: Any, panel: Any, p: Any) -> None:
    """√(w c) of a panel, and the column r of its rows of J."""
    width, outputs, weights = job.lanes, job.outputs, job.weights
    d, e = pointer(slot.d, p * job.in_target), pointer(slot.e, p * job.in_error)
    roots, numbers = pointer(job.roots, panel * outputs * width), slot_rows(job, slot, p)[1]
    curvature_of_panel(job.curvature, y, d, roots, outputs)
    given = slot.outcome  # its numbers were copied
    for s in range(width):
        given[s] = weights[numbers[s]] if is_given(weights) else 1.0
    r = pointer(job.J_panels, panel * outputs * job.in_J_panel + job.parameters * width)
    weigh(job.weigh_panel, given, e, roots, r, job.in_J_panel, outputs, min(width, job.count - panel * width))


@inlined
def scaled_unit_vector(job: Any, e: Any, i: Any, panel: Any) -> None:
    """e_L = √(w c_i) times the i-th unit vector, in every lane of a panel."""
    width, outputs = job.lanes, job.outputs
    for place in range(outputs * width):
        e[place] = 0
    for s in range(width):
        e[i * width + s] = job.roots[(panel * outputs + i) * width + s]


@inlined
def write_rows(job: Any, slot: Any, i: Any, panel: Any, p: Any) -> None:
    """The rows of J for output i of a panel, from δ and h: as columns of vectors, then transposed."""
    width, number = job.lanes, panel * job.outputs + i
    J, delta = pointer(job.J_panels, number * job.in_J_panel), pointer(job.delta, panel * job.in_delta)
    for k in range(1, job.depth + 1):
        units, delta_k = job.widths[k], pointer(delta, job.units[k] * width)
        outer_products(job.outer_panel, units, job.widths[k - 1], delta_k,
                       pointer(slot.h, p * job.in_panel + job.places[k - 1] * width),
                       pointer(J, job.weights_at[k] * width))
        b = pointer(J, job.biases_at[k] * width)
        for place in range(units * width):
            b[place] = delta_k[place]
    transpose_panel(job.rows_of_panel, (job.parameters + width) // width, J,
                    pointer(job.J_blocks, number * width * width), job.in_J_block)


@subkernel
def make_rows(job: Any, slot: Slot, panel: int, panels: int) -> None:
    """The rows of J of some panels.

    panel, panels : the first panel and the number of panels.
    """
    depth = job.depth
    for p in range(panels):
        gather_inputs(job, slot, panel + p, p, stores_rows(job))
    for k in range(1, depth + 1):
        forward_layer(job, slot, k, panel, panels)
    for p in range(panels):
        y = pointer(slot.h, p * job.in_panel + job.places[depth] * job.lanes)
        evaluate(job, slot, y, panel + p, p)
        weigh_residuals(job, slot, y, panel + p, p)
    for i in range(job.outputs):
        for p in range(panels):
            scaled_unit_vector(job, pointer(slot.e, p * job.in_error), i, panel + p)
        for k in range(depth, 0, -1):
            backward_layer(job, slot, k, panel, panels)
        for p in range(panels):
            write_rows(job, slot, i, panel + p, p)


def rows_share(dtype: str) -> Any:
    """The function that makes the rows of J of a thread's share of the panels of a chunk."""
    def share(job: Any, thread: int, threads: int) -> None:
        group, panels = job.group, (job.count + job.lanes - 1) // job.lanes
        begin, end = share_of(panels, thread, threads)
        if group > 0:  # as in `phases.propagate_share`
            first = thread * group
            for panel in range(begin, end, group):
                make_rows(job, slot_of(job, first, first), panel, min(group, end - panel))
        elif end > begin:
            make_rows(job, slot_of(job, begin, begin), begin, end - begin)

    return share, phase_arguments(dtype)


@inlined
def blocks_of_tile(last_row: Any, first: Any, end: Any, width: Any) -> Any:
    """How many blocks of `width` columns from `first` to `end` have a number on or below the diagonal in a tile."""
    return max((min(end, last_row + 1) - first + width - 1) // width, 0)


def product_share(dtype: str) -> Any:
    """The function C += [J r]ᵀ[J r] over the rows of a chunk, in a thread's share of the tiles to the diagonal.

    Tiles have a multiple of `lanes` rows, so that those at the diagonal have few numbers above it, which are summed
    too. Tiles side by side in a group of columns use the same A, from the first-level cache, before the next; their B,
    of about GROUP_NUMBERS, comes from the second level.
    """
    def share(job: Any, thread: int, threads: int) -> None:
        size, width, tile_rows = job.parameters + 1, 2 * job.lanes, max(job.tile_rows // job.lanes * job.lanes, 1)
        steps = (job.count + job.lanes - 1) // job.lanes * job.lanes * job.outputs
        group, high = max(GROUP_NUMBERS // (width * steps), 1) * width, (size + tile_rows - 1) // tile_rows
        total = 0
        for first in range(0, size, group):
            for tile in range(high):
                total += blocks_of_tile(min((tile + 1) * tile_rows, size) - 1, first, min(first + group, size), width)
        begin, end = share_of(total, thread, threads)
        place = 0
        for first in range(0, size, group):
            for tile in range(high):
                row = tile * tile_rows
                rows = min(tile_rows, size - row)
                blocks = blocks_of_tile(row + rows - 1, first, min(first + group, size), width)
                for block in range(max(begin - place, 0), min(end - place, blocks)):
                    column = first + block * width
                    add_product_tile(job, row, rows, column, min(width, row + rows - column), steps)
                place += blocks

    return share, phase_arguments(dtype)


@inlined
def add_product_tile(job: Any, row: Any, rows: Any, column: Any, columns: Any, steps: Any) -> None:
    """C += [J r]ᵀ[J r] in one tile."""
    lanes, C = job.lanes, pointer(job.product, row * job.in_product + column)
    add_gradient_tile(job.gradient_2 if columns > lanes else job.gradient_1, rows, columns, 1.0, C, job.in_product,
                      pointer(job.J_panels, row * lanes), job.in_J_panel,
                      pointer(job.J_blocks, column // lanes * job.in_J_block), job.in_J_block, steps, C,
                      job.in_product)
