"""The three products on register tiles, for networks of any width.

    a_k = W_k h_{k-1} + b_k;  e_{k-1} = W_kᵀ δ_k;  ∂E/∂W_k = Σ_s δ_k h_{k-1}ᵀ

All are sums of rank-1 updates: C[m, n] = Σ_k left[m, k] right[k, n]. A block computes a tile of C, and each of its
threads 8 × 8 numbers of it in registers. Both operands pass through shared memory in slabs of a few k. While threads
work on one slab, their loads of the next are in flight. From shared memory numbers are read 16 bytes at a time.

Values of layers are matrices (units, samples), samples side by side, as in the panels of the processor. Their rows have
a multiple of 4 numbers. Layer k begins at row `here`, the one before it at row `before`.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from ...functions.activations import Activation, activation_named
from .device import ALIGNMENT, device_function, inlined, item, kernel, put_quad, quad
from .driver import SIMULATED, cuda

#: The rows and columns of a thread: two runs of 4 each, half a tile apart.
EACH = 8


class Block(NamedTuple):
    """The threads of a block, and the number of k in a slab."""

    rows: int
    columns: int
    depth: int

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of its tile of C."""
        return EACH * self.rows, EACH * self.columns

    @property
    def slabs(self) -> tuple[int, int]:
        """The numbers in shared memory: two slabs of the left operand, and two of the right."""
        rows, columns = self.tile
        return 2 * self.depth * (rows + PADDING), 2 * self.depth * (columns + PADDING)

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self.rows * self.columns


#: Large tiles read less from memory. A product has more small tiles, enough for every multiprocessor.
SMALL, LARGE = (Block(8, 8, 8), Block(16, 16, 8)) if not SIMULATED else (Block(2, 1, 4), Block(2, 2, 4))

#: Fewer than MANY_TILES large tiles leave multiprocessors without work.
MANY_TILES = 64

#: Numbers between the rows of a slab in shared memory, so that threads do not wait for each other's banks.
PADDING = 4


def block_for(rows: int, columns: int) -> Block:
    """The block for a product of rows × columns numbers."""
    tile = LARGE.tile
    return LARGE if -(-rows // tile[0]) * -(-columns // tile[1]) >= MANY_TILES else SMALL


def grid_for(block: Block, rows: int, columns: int, slices: int = 1) -> tuple[int, int, int]:
    """The grid of blocks for a product of rows × columns numbers, in a number of slices."""
    return -(-columns // block.tile[1]), -(-rows // block.tile[0]), slices


def has_quads(weights: int, width_before: int) -> bool:
    """Whether W_k, which begins at `weights` in θ, can be loaded by quads: its rows are aligned."""
    return weights % 4 == 0 and width_before % 4 == 0


class Operand(NamedTuple):
    """How a block loads slabs of one operand of a product into shared memory: `lines` lines of `depth` k each."""

    dtype: np.dtype
    threads: int
    lines: int
    depth: int
    by_k: bool              # whether k lies side by side in memory: then neighbouring threads load neighbouring k
    by_quads: bool = False  # whether four numbers side by side can be loaded at once: see `device.quad`

    @property
    def share(self) -> int:
        """The numbers of a slab that one thread loads."""
        return -(-self.depth * self.lines // self.threads)

    @property
    def loads(self) -> int:
        """The number of instructions that load them."""
        return self.share // 4 if self.by_quads else self.share


def bringing(operand: Operand) -> tuple[Any, Any, Any]:
    """The functions `aim`, `fetch` and `store` for slabs of an operand; t is the thread."""
    T, threads, lines, depth, by_k = operand.dtype.type, operand.threads, operand.lines, operand.depth, operand.by_k
    loads, row_size, run = operand.loads, operand.lines + PADDING, 4 if operand.by_quads else 1
    k_runs, line_runs = depth // run, lines // run

    @inlined
    def line_of(t: int, r: int) -> Any:
        p = np.int32(t + r * threads)
        return np.int32(p // k_runs if by_k else p % line_runs * run)

    @inlined
    def k_of(t: int, r: int) -> Any:
        p = np.int32(t + r * threads)
        return np.int32(p % k_runs * run if by_k else p // line_runs)

    @inlined
    def aim(t: int, places: Any, exists: Any, start: int, line_stride: int, k_stride: int, first: int,
            total: int) -> None:
        """Set the places of a thread's numbers of the first slab: of the lines from `first` on, of `total`."""
        for r in range(loads):
            places[r] = start + (first + line_of(t, r)) * line_stride + k_of(t, r) * k_stride
            exists[r] = line_of(t, r) < np.int32(min(total - first, lines)) and k_of(t, r) < np.int32(depth)

    @inlined
    def fetch(t: int, ahead: Any, memory: Any, places: Any, exists: Any, left: int, step: int) -> None:
        """Load a thread's numbers of the next slab, with `left` k to go, and move the places on by a step."""
        last = np.int32(min(left, depth))
        for r in range(loads):
            ahead[r] = item(memory, places[r]) if exists[r] and k_of(t, r) < last else T(0)
            places[r] += step

    @inlined
    def store(t: int, slab: Any, begin: int, ahead: Any) -> None:
        """Store what was fetched into the slab that begins at `begin`, k after k."""
        for r in range(loads):
            if k_of(t, r) < np.int32(depth):
                slab[begin + k_of(t, r) * row_size + line_of(t, r)] = ahead[r]

    @inlined
    def fetch_quads(t: int, ahead: Any, memory: Any, places: Any, exists: Any, left: int, step: int) -> None:
        last = np.int32(min(left, depth))
        for r in range(loads):
            if exists[r] and k_of(t, r) < last:
                ahead[4 * r], ahead[4 * r + 1], ahead[4 * r + 2], ahead[4 * r + 3] = quad(memory, places[r])
                if by_k and k_of(t, r) + 4 > last:
                    for i in range(1, 4):
                        if k_of(t, r) + i >= last:
                            ahead[4 * r + i] = T(0)
            else:
                for i in range(4):
                    ahead[4 * r + i] = T(0)
            places[r] += step

    @inlined
    def store_quads(t: int, slab: Any, begin: int, ahead: Any) -> None:
        for r in range(loads):
            four = ahead[4 * r], ahead[4 * r + 1], ahead[4 * r + 2], ahead[4 * r + 3]
            place = begin + k_of(t, r) * row_size + line_of(t, r)
            if by_k:
                slab[place], slab[place + row_size] = four[0], four[1]
                slab[place + 2 * row_size], slab[place + 3 * row_size] = four[2], four[3]
            else:
                put_quad(slab, place, four)

    return (aim, fetch_quads, store_quads) if operand.by_quads else (aim, fetch, store)


def _accumulator(dtype: np.dtype, block: Block, *, left_by_k: bool, right_by_k: bool,
                 left_by_quads: bool = False) -> Any:
    """A function that sums a thread's share of a tile; see `Operand`. The right operand is loaded by quads."""
    T = dtype.type
    rows, columns = block.tile
    depth, across = block.depth, block.columns
    left_row, right_row = rows + PADDING, columns + PADDING
    left_size, right_size = depth * left_row, depth * right_row
    left = Operand(dtype, block.threads, rows, depth, left_by_k, left_by_quads)
    right = Operand(dtype, block.threads, columns, depth, right_by_k, True)
    left_share, left_loads, right_share, right_loads = left.share, left.loads, right.share, right.loads
    (aim_left, fetch_left, store_left), (aim_right, fetch_right, store_right) = bringing(left), bringing(right)

    @inlined
    def add_rank_one(tile: Any, slab_left: Any, slab_right: Any, p: int, q: int) -> None:
        """tile += the column of the left operand at p times the row of the right one at q."""
        a0, a1 = quad(slab_left, p), quad(slab_left, p + rows // 2)
        b0, b1 = quad(slab_right, q), quad(slab_right, q + columns // 2)
        for i in range(4):
            for j in range(4):
                tile[i, j] += a0[i] * b0[j]
                tile[i, j + 4] += a0[i] * b1[j]
                tile[i + 4, j] += a1[i] * b0[j]
                tile[i + 4, j + 4] += a1[i] * b1[j]

    @inlined
    def accumulate(tile: Any, slab_left: Any, slab_right: Any, left: Any, left_start: int, m_stride: int,
                   left_k_stride: int, M: int, right: Any, right_start: int, n_stride: int, right_k_stride: int,
                   N: int, K: int) -> None:
        """tile = Σ_k left[m, k] right[k, n] for K numbers k; zero outside M × N.

        left[m, k] is the number at left_start + m · m_stride + k · left_k_stride, and so is right[k, n].
        """
        left_places, right_places = cuda.local.array(left_loads, np.int64), cuda.local.array(right_loads, np.int64)
        left_exists, right_exists = cuda.local.array(left_loads, np.bool_), cuda.local.array(right_loads, np.bool_)
        next_left, next_right = cuda.local.array(left_share, T), cuda.local.array(right_share, T)
        t = cuda.threadIdx.x
        tx, ty = t % across * 4, t // across * 4
        for i in range(8):
            for j in range(8):
                tile[i, j] = T(0)
        aim_left(t, left_places, left_exists, left_start, m_stride, left_k_stride, cuda.blockIdx.y * rows, M)
        aim_right(t, right_places, right_exists, right_start, n_stride, right_k_stride, cuda.blockIdx.x * columns, N)
        slabs = (K + depth - 1) // depth
        for slab in range(slabs + 1):
            if slab < slabs:
                fetch_left(t, next_left, left, left_places, left_exists, K - slab * depth, depth * left_k_stride)
                fetch_right(t, next_right, right, right_places, right_exists, K - slab * depth, depth * right_k_stride)
            if slab > 0:
                p, q = (slab - 1) % 2 * left_size + ty, (slab - 1) % 2 * right_size + tx
                for _ in range(depth // 4):  # four at a time take half of the other instructions
                    add_rank_one(tile, slab_left, slab_right, p, q)
                    add_rank_one(tile, slab_left, slab_right, p + left_row, q + right_row)
                    add_rank_one(tile, slab_left, slab_right, p + 2 * left_row, q + 2 * right_row)
                    add_rank_one(tile, slab_left, slab_right, p + 3 * left_row, q + 3 * right_row)
                    p, q = p + 4 * left_row, q + 4 * right_row
            if slab < slabs:
                store_left(t, slab_left, slab % 2 * left_size, next_left)
                store_right(t, slab_right, slab % 2 * right_size, next_right)
            cuda.syncthreads()

    return accumulate


def _places(block: Block) -> tuple[Any, Any]:
    """Where a thread's row i and column j lie in its block's tile: two runs of 4, half a tile apart."""
    half_rows, half_columns, across = block.tile[0] // 2, block.tile[1] // 2, block.columns

    @inlined
    def row(i: int) -> Any:
        return i // 4 * half_rows + cuda.threadIdx.x // across * 4 + i % 4

    @inlined
    def column(j: int) -> Any:
        return j // 4 * half_columns + cuda.threadIdx.x % across * 4 + j % 4

    return row, column


@functools.cache
def forward_product(dtype: np.dtype, block: Block, activation: Activation, by_quads: bool = False) -> Any:
    """A kernel: h_k = g(W_k h_{k-1} + b_k), and g'(a_k) beside it; a_k itself where g takes all units of a sample.

    by_quads : whether W_k is loaded by quads; see `has_quads`
    """
    T, (rows, columns), (left_slabs, right_slabs) = dtype.type, block.tile, block.slabs
    by_unit = activation if activation.g is not None else activation_named("identity", "activation")
    g, g_prime, (row, column) = device_function(by_unit.g), device_function(by_unit.g_prime), _places(block)
    accumulate = _accumulator(dtype, block, left_by_k=True, right_by_k=False, left_by_quads=by_quads)

    @kernel
    def forward(theta: Any, h: Any, slope: Any, weights: int, bias: int, before: int, here: int, width_before: int,
                width: int, samples: int) -> None:
        tile = cuda.local.array((8, 8), T)
        slab_left = cuda.shared.array(left_slabs, T, alignment=ALIGNMENT)
        slab_right = cuda.shared.array(right_slabs, T, alignment=ALIGNMENT)
        m0, n0 = cuda.blockIdx.y * rows, cuda.blockIdx.x * columns
        accumulate(tile, slab_left, slab_right, theta, weights, width_before, 1, width,
                   h, before * h.shape[1], 1, h.shape[1], samples, width_before)
        for i in range(8):
            for j in range(8):
                unit, s = m0 + row(i), n0 + column(j)
                if unit < width and s < samples:
                    h[here + unit, s] = tile[i, j] + theta[bias + unit]
        # A separate loop: with the formulas in it, the loop above would not be unrolled, nor its tile be in registers.
        for i in range(8):
            for j in range(8):
                unit, s = m0 + row(i), n0 + column(j)
                if unit < width and s < samples:
                    a = h[here + unit, s]
                    value = T(g(a))
                    h[here + unit, s] = value
                    slope[here + unit, s] = T(g_prime(a, value))

    return forward


@functools.cache
def backward_product(dtype: np.dtype, block: Block, by_quads: bool = False) -> Any:
    """A kernel: δ_{k-1} = W_kᵀ δ_k ⊙ g'(a_{k-1}), in the place of g'; W_k by quads where `has_quads`."""
    T, (rows, columns), (left_slabs, right_slabs) = dtype.type, block.tile, block.slabs
    row, column = _places(block)
    accumulate = _accumulator(dtype, block, left_by_k=False, right_by_k=False, left_by_quads=by_quads)

    @kernel
    def backward(theta: Any, delta: Any, weights: int, before: int, here: int, width_before: int, width: int,
                 samples: int) -> None:
        tile = cuda.local.array((8, 8), T)
        slab_left = cuda.shared.array(left_slabs, T, alignment=ALIGNMENT)
        slab_right = cuda.shared.array(right_slabs, T, alignment=ALIGNMENT)
        m0, n0 = cuda.blockIdx.y * rows, cuda.blockIdx.x * columns
        accumulate(tile, slab_left, slab_right, theta, weights, 1, width_before, width_before,
                   delta, here * delta.shape[1], 1, delta.shape[1], samples, width)
        for i in range(8):
            for j in range(8):
                unit, s = m0 + row(i), n0 + column(j)
                if unit < width_before and s < samples:
                    delta[before + unit, s] *= tile[i, j]

    return backward


@functools.cache
def split_product(dtype: np.dtype, block: Block, is_forward: bool, by_quads: bool = False) -> Any:
    """A kernel: the slices of sums of W_k h_{k-1}, for `join_forward`, or of W_kᵀ δ_k, for `join_backward`.

    So a product of few tiles and long sums has blocks for all multiprocessors.
    values : h or delta, of which K rows from row `source` on are summed; part : slices · M · samples numbers
    """
    T, (rows, columns), (left_slabs, right_slabs) = dtype.type, block.tile, block.slabs
    row, column = _places(block)
    accumulate = _accumulator(dtype, block, left_by_k=is_forward, right_by_k=False, left_by_quads=by_quads)

    @kernel
    def multiply_slice(theta: Any, values: Any, part: Any, weights: int, width_before: int, source: int, M: int, K: int,
                       samples: int, slice_size: int) -> None:
        tile = cuda.local.array((8, 8), T)
        slab_left = cuda.shared.array(left_slabs, T, alignment=ALIGNMENT)
        slab_right = cuda.shared.array(right_slabs, T, alignment=ALIGNMENT)
        m0, n0, piece, row_size = cuda.blockIdx.y * rows, cuda.blockIdx.x * columns, cuda.blockIdx.z, values.shape[1]
        begin = piece * slice_size
        m_stride, k_stride = (width_before, 1) if is_forward else (1, width_before)
        accumulate(tile, slab_left, slab_right, theta, weights + begin * k_stride, m_stride, k_stride, M,
                   values, (source + begin) * row_size, 1, row_size, samples, max(0, min(K - begin, slice_size)))
        for i in range(8):
            for j in range(8):
                m, s = m0 + row(i), n0 + column(j)
                if m < M and s < samples:
                    part[(piece * M + m) * samples + s] = tile[i, j]

    return multiply_slice


@inlined
def sum_of_slices(part: Any, slices: int, size: int, p: int) -> Any:
    """Σ over slices of `size` numbers, in their order, of number p."""
    total = part[p]
    for piece in range(1, slices):
        total += part[piece * size + p]
    return total


@functools.cache
def join_forward(dtype: np.dtype, activation: Activation) -> Any:
    """A kernel: `forward_product` from the sums of `split_product`; a row of blocks for each unit."""
    T = dtype.type
    by_unit = activation if activation.g is not None else activation_named("identity", "activation")
    g, g_prime = device_function(by_unit.g), device_function(by_unit.g_prime)

    @kernel
    def join_forward_slices(part: Any, slices: int, theta: Any, h: Any, slope: Any, bias: int, here: int,
                            samples: int) -> None:
        s, unit = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.y
        if s < samples:
            a = sum_of_slices(part, slices, cuda.gridDim.y * samples, unit * samples + s) + theta[bias + unit]
            value = T(g(a))
            h[here + unit, s] = value
            slope[here + unit, s] = T(g_prime(a, value))

    return join_forward_slices


@kernel
def join_backward(part: Any, slices: int, delta: Any, before: int, samples: int) -> None:
    """`backward_product` from the sums of `split_product`; a row of blocks for each unit."""
    s, unit = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.y
    if s < samples:
        delta[before + unit, s] *= sum_of_slices(part, slices, cuda.gridDim.y * samples, unit * samples + s)


@functools.cache
def gradient_product(dtype: np.dtype, block: Block) -> Any:
    """A kernel: Σ_s δ_k h_{k-1}ᵀ and Σ_s δ_k, over each slice of the samples separately.

    The blocks of the first columns also sum over δ alone: ∂E/∂b_k as one more column would take one more tile.
    part : (slices, P), of which the places of layer k are written.
    """
    T, (rows, columns), (left_slabs, right_slabs), threads = dtype.type, block.tile, block.slabs, block.threads
    row, column = _places(block)
    accumulate = _accumulator(dtype, block, left_by_k=True, right_by_k=True, left_by_quads=True)

    @inlined
    def sum_of_row(values: Any, place: int, begin: int, end: int) -> Any:
        """Σ of a row's numbers from begin to end, one after another; four at a time would take registers."""
        total = T(0)
        for s in range(begin, end):
            total += item(values, place + s)
        return total

    # With 130 registers, which it would have, a multiprocessor has room for one of its large blocks, with 128 for two.
    bounded = functools.partial(kernel, max_registers=128) if block == LARGE and dtype.itemsize == 4 else kernel

    @bounded
    def gradient(delta: Any, h: Any, part: Any, weights: int, bias: int, before: int, here: int, width_before: int,
                 width: int, samples: int, slice_size: int) -> None:
        tile = cuda.local.array((8, 8), T)
        slab_left = cuda.shared.array(left_slabs, T, alignment=ALIGNMENT)
        slab_right = cuda.shared.array(right_slabs, T, alignment=ALIGNMENT)
        m0, n0, piece = cuda.blockIdx.y * rows, cuda.blockIdx.x * columns, cuda.blockIdx.z
        begin, end = piece * slice_size, min(samples, (piece + 1) * slice_size)
        accumulate(tile, slab_left, slab_right, delta, here * delta.shape[1] + begin, delta.shape[1], 1, width,
                   h, before * h.shape[1] + begin, h.shape[1], 1, width_before, max(0, end - begin))
        for i in range(8):
            for j in range(8):
                unit, column_j = m0 + row(i), n0 + column(j)
                if unit < width and column_j < width_before:
                    part[piece, weights + unit * width_before + column_j] = tile[i, j]
        if n0 == 0:
            for unit in range(m0 + cuda.threadIdx.x, min(m0 + rows, width), threads):
                part[piece, bias + unit] = sum_of_row(delta, (here + unit) * delta.shape[1], begin, end)

    return gradient
