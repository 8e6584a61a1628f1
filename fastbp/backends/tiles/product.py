"""The register tile: C (rows × lanes) from a sum of rank-1 updates, held in registers from the first to the last.

    C[r, v] = start[r, v] + Σ_t A[r, t] B[t, v]        r < rows, v < vectors · lanes, t < steps in this order

A is read number by number where it lies, with any strides, and B vector by vector. So one tile serves the three
products of backpropagation, with W in place in all of them:

    a_k = W_k h_{k-1} + b_k      r is a unit i, t is j;  A = W_k, B = panels of h_{k-1}     `affine_product`
    e_{k-1} = W_kᵀ δ_k           r is a unit j, t is i;  A = W_kᵀ, B = panels of δ_k        `affine_product`
    C + α Σ_s δ_k h_{k-1}ᵀ       r is a unit i, t is s;  A = panels of δ_k, B = h_{k-1}     `gradient_tile`

Every element is one chain of fused multiply-adds in the order of t; in tiles of one or two rows it is four or two, of
every fourth or second t of a block. How many rows the tile of an element has depends on the network alone.

A tile of 14 rows and two vectors of 16 floats has 28 accumulators in the 32 registers of AVX-512 and ran all three
products at 0.95 of the rate of multiply-adds alone or more (Zen 5). There is code for every number of rows, chosen by a
switch: 100 or 37 rows are split evenly, and no row is computed alone. All of it compiles in half a second, because it
is written as LLVM code and not typed by Numba.

The numbers of A and B may be pairs of bfloat16, and a step is two terms then; see `pairs` and `pair_product`.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .pairs import FLOATS, vectors_of
from .vectors import I64

#: What an affine tile starts from: nothing, the bias of each row, or what C holds.
FROM_ZERO, FROM_BIAS, FROM_C = 0, 1, 2

#: Rows of W_k a multiple of PERIOD bytes apart share one set of the first-level cache: see `host.periodic_rows`.
PERIOD = 4096

#: How many rows of what is read next a tile prefetches. The tiles of a pair of panels each take those after the last.
FETCHED_ROWS = 4


def affine_product(dtype: str, fetches: bool, periodic_rows: int) -> Any:
    """The function C = start + A B for some panels, tile by tile, `block` steps at a time; for `address_of`.

    Its arguments are (rows, start, bias, C, c_panel, A, a_row, a_step, B, b_panel, steps, panels, block).

    C, B : panels, c_panel and b_panel apart; a row of C and a step of B are `lanes` apart.
    A : element (r, t) at r · a_row + t · a_step.
    bias : (rows,), read if start is FROM_BIAS.

    If it `fetches`, each tile prefetches a part of what the next one reads of A, so that a large W arrives from memory
    in time; 8 panels prefetch it all. A tile has at most `periodic_rows` rows of A that share a set of the cache.
    """
    itemsize, lanes, tile_rows = np.dtype(dtype).itemsize, host().lanes(dtype), host().tile_rows

    def product(rows, start, bias, C, c_panel, A, a_row, a_step, B, b_panel, steps, panels, block):
        most = periodic_rows if a_step == 1 and a_row * itemsize % PERIOD == 0 else tile_rows
        tiles = (rows + most - 1) // most
        for t in range(0, steps, block):
            here = min(block, steps - t)
            begin = start if t == 0 else FROM_C
            r = 0
            for tile in range(tiles):
                count = (rows - r) // (tiles - tile)
                next_tile = pointer(A, (r + count) * a_row + t * a_step)
                ahead_row, ahead_block = a_row if a_step == 1 else a_step, a_step * lanes
                for p in range(0, panels, 2):
                    ahead = pointer(next_tile, FETCHED_ROWS // 2 * p % most * a_row if a_step == 1 else
                                    count - 1 + FETCHED_ROWS // 2 * p % lanes * a_step)
                    C_tile, A_tile = pointer(C, p * c_panel + r * lanes), pointer(A, r * a_row + t * a_step)
                    B_tile, tile_bias = pointer(B, p * b_panel + t * lanes), pointer(bias, r)
                    if panels - p > 1:
                        affine_tile(FLOATS, lanes, 2, fetches, count, begin, tile_bias, C_tile, c_panel, A_tile, a_row,
                                    a_step, B_tile, b_panel, here, ahead, ahead_row, ahead_block)
                    else:
                        affine_tile(FLOATS, lanes, 1, fetches, count, begin, tile_bias, C_tile, c_panel, A_tile, a_row,
                                    a_step, B_tile, b_panel, here, ahead, ahead_row, ahead_block)
                r += count

    return product, affine_arguments(dtype)


def affine_arguments(dtype: str) -> tuple[Any, ...]:
    """The types of the arguments of `affine_product`'s function."""
    numbers = pointer_type(dtype)
    return (INTEGER, INTEGER, numbers, numbers, INTEGER, numbers, INTEGER, INTEGER, numbers, INTEGER, INTEGER, INTEGER,
            INTEGER)


@inlined
def affine(address: Any, rows: Any, start: Any, bias: Any, C: Any, c_panel: Any, A: Any, a_row: Any, a_step: Any,
           B: Any, b_panel: Any, steps: Any, panels: Any, block: Any) -> None:
    """C = start + A B, by the function at an address that `affine_product` describes."""
    invoke(address, (rows, start, bias, C, c_panel, A, a_row, a_step, B, b_panel, steps, panels, block))


def gradient_tile(dtype: str, vectors: int, factors: int = FLOATS) -> Any:
    """The function C += alpha A B for one tile of a gradient, for `address_of`.

    Its arguments are (rows, columns, alpha, C, c_row, A, a_panel, B, b_block, steps, ahead, ahead_row).

    C : (rows, columns), rows c_row apart; columns <= vectors · lanes. It becomes C + alpha Σ_t A[r, t] B[t, :].
    ahead : (rows, columns), rows ahead_row apart, of what is written next: C itself, or the parameters of the tile.
    A : panels of δ, a_panel apart; element (r, t) of a panel at r · lanes + t. Pairs of δ lie in rows, a_panel apart.
    B : blocks of `lanes` columns, b_block apart; a step of a block is `lanes` further.
    factors : what the numbers of A and B are, see `pairs`.
    """
    lanes = host().lanes(dtype)

    def tile(rows, columns, alpha, C, c_row, A, a_panel, B, b_block, steps, ahead, ahead_row):
        _gradient_tile(factors, lanes, vectors, rows, columns, alpha, C, c_row, A, a_panel, B, b_block, steps, ahead,
                       ahead_row)

    numbers = pointer_type(dtype)
    return tile, (INTEGER, INTEGER, numbers.dtype, numbers, INTEGER, numbers, INTEGER, numbers, INTEGER, INTEGER,
                  numbers, INTEGER)


@inlined
def add_gradient_tile(address: Any, rows: Any, columns: Any, alpha: Any, C: Any, c_row: Any, A: Any, a_panel: Any,
                      B: Any, b_block: Any, steps: Any, ahead: Any, ahead_row: Any) -> None:
    """C += alpha A B, by the function at an address that `gradient_tile` describes."""
    invoke(address, (rows, columns, alpha, C, c_row, A, a_panel, B, b_block, steps, ahead, ahead_row))


@intrinsic(prefer_literal=True)
def affine_tile(typing_context, factors, lanes, vectors, fetches, rows, start, bias, C, c_panel, A, a_row, a_step, B,
                b_panel, steps, ahead, ahead_row, ahead_block):
    """C = start + A B for one tile; `factors` says what the numbers of A and B are, see `pairs`.

    If it `fetches`, the numbers at `ahead` are prefetched, in FETCHED_ROWS rows ahead_row apart, and after every
    `lanes` steps those ahead_block further.
    """
    signature = types.void(factors, lanes, vectors, fetches, rows, start, bias, C, c_panel, A, a_row, a_step, B,
                           b_panel, steps, ahead, ahead_row, ahead_block)

    def codegen(context, builder, signature, values):
        rows, start, bias, C, c_panel, A, a_row, a_step, B, b_panel, steps, ahead, ahead_row, ahead_block = (
            map(_constant_or, signature.args[4:], values[4:]))

        def body(tile):
            v = tile.v
            C_at = tile.corners(C, c_row=I64(v.lanes), c_vector=c_panel)
            tile.begin(start, bias, C_at)
            if fetches.literal_value:
                def prefetch(_, place):
                    for row in range(FETCHED_ROWS):
                        v.prefetch(v.at(place, builder.mul(ahead_row, I64(row))))
                    return v.at(place, ahead_block)

                block = builder.mul(a_step, I64(v.lanes))
                tile.loop_in_blocks(A, a_row, a_step, block, B, b_panel, steps, ahead, prefetch)
            else:
                tile.loop(A, a_row, a_step, B, b_panel, steps)
            tile.end(C_at)

        _for_every_number_of_rows(context, builder, C_type=signature.args[7], factors=factors.literal_value,
                                  lanes=lanes.literal_value, vectors=vectors.literal_value, rows=rows, body=body)
        return context.get_dummy_value()

    return signature, codegen


def _constant_or(type_of_value, value):
    """A value of LLVM's, as a constant where Numba knows it for a literal."""
    return I64(type_of_value.literal_value) if isinstance(type_of_value, types.IntegerLiteral) else value


@intrinsic(prefer_literal=True)
def _gradient_tile(typing_context, factors, lanes, vectors, rows, columns, alpha, C, c_row, A, a_panel, B, b_block,
                   steps, ahead, ahead_row):
    signature = types.void(factors, lanes, vectors, rows, columns, alpha, C, c_row, A, a_panel, B, b_block, steps,
                           ahead, ahead_row)

    def codegen(context, builder, signature, values):
        _, _, _, rows, columns, alpha, C, c_row, A, a_panel, B, b_block, steps, ahead, ahead_row = values

        def body(tile):
            v = tile.v
            C_at = tile.corners(C, c_row=c_row, c_vector=I64(v.lanes))
            last = v.at(ahead, builder.mul(ahead_row, builder.sub(rows, I64(1))))

            def prefetch_rows(count, row):
                for _ in range(count):
                    for n in tile.vectors:
                        v.prefetch(v.at(row, n * v.lanes), write=True)
                    row = v.first_of(v.at(row, ahead_row), last)
                return row

            def prefetch(a, row):
                # The next panel is too far away for the processor to predict. All rows of C at once delayed the loads.
                for r in tile.rows:
                    v.prefetch(v.at(v.at(a, a_panel), r * v.lanes))
                return prefetch_rows(2, row)

            if factors.literal_value == FLOATS:
                tile.loop_in_blocks(A, I64(v.lanes), I64(1), a_panel, B, b_block, steps, ahead, prefetch)
            else:
                tile.loop_in_blocks(A, a_panel, I64(1), I64(v.lanes), B, b_block, steps, ahead,
                                    lambda _, row: prefetch_rows(4, row))
            tile.add_to(C_at, alpha, columns)

        _for_every_number_of_rows(context, builder, C_type=signature.args[6], factors=factors.literal_value,
                                  lanes=lanes.literal_value, vectors=vectors.literal_value, rows=rows, body=body)
        return context.get_dummy_value()

    return signature, codegen


def _for_every_number_of_rows(context, builder, C_type, factors, lanes, vectors, rows, body):
    """A switch with the code of a tile for rows = 1, 2, …, `tile_rows`, the most that the registers hold."""
    number = context.get_value_type(C_type.dtype)
    end = builder.append_basic_block("end")
    switch = builder.switch(rows, end)
    for count in range(1, host().tile_rows + 1):
        case = builder.append_basic_block(f"rows_{count}")
        switch.add_case(I64(count), case)
        builder.position_at_end(case)
        body(_Tile(builder, vectors_of(factors, builder, number, lanes), vectors, count))
        builder.branch(end)
    builder.position_at_end(end)


class _Tile:
    """The code of a tile with a known number of rows: `self.sums[r][v]` are its accumulators."""

    def __init__(self, builder, v, vectors, rows):
        self.builder, self.v = builder, v
        self.rows, self.vectors = range(rows), range(vectors)
        self.sums = [[v.zero for _ in self.vectors] for _ in self.rows]

    def corners(self, C, c_row, c_vector):
        """Where each vector of C lies."""
        multiply = self.builder.mul
        return [[self.v.at(self.v.at(C, multiply(c_row, I64(r))), multiply(c_vector, I64(v))) for v in self.vectors]
                for r in self.rows]

    def begin(self, start, bias, C_at):
        """The accumulators from zero, a row's bias or C."""
        builder = self.builder
        names = ("from_zero", "from_bias", "from_C")
        blocks = [builder.append_basic_block(name) for name in names]
        joined = builder.append_basic_block("begun")
        switch = builder.switch(start, blocks[FROM_ZERO])
        for code in (FROM_BIAS, FROM_C):
            switch.add_case(I64(code), blocks[code])
        values = []
        for code, block in enumerate(blocks):
            builder.position_at_end(block)
            if code == FROM_ZERO:
                values.append([[self.v.zero for _ in self.vectors] for _ in self.rows])
            elif code == FROM_BIAS:
                biases = [self.v.splat(builder.load(self.v.at(bias, r))) for r in self.rows]
                values.append([[b for _ in self.vectors] for b in biases])
            else:
                values.append([[self.v.load(place) for place in row] for row in C_at])
            builder.branch(joined)
        builder.position_at_end(joined)
        self.sums = [[self._phi([(values[code][r][v], block) for code, block in enumerate(blocks)])
                      for v in self.vectors] for r in self.rows]

    def loop_in_blocks(self, A, a_row, a_step, a_block, B, b_vector, steps, ahead, prefetch):
        """sums[r][v] += A[r, t] B[t, v] for all steps, at least one, in blocks of `lanes` of them.

        a_block : from a block of A to the next.
        prefetch : the function (a, ahead) that prefetches, before the block at `a`, from `ahead` on; it returns where
            the next block goes on.
        """
        builder, v = self.builder, self.v
        entry, block = builder.block, builder.append_basic_block("block")
        done = builder.append_basic_block("blocks_done")
        builder.branch(block)
        builder.position_at_end(block)
        left, a, b, place = (self._phi([(value, entry)]) for value in (steps, A, B, ahead))
        begun = [[self._phi([(value, entry)]) for value in row] for row in self.sums]
        self.sums = begun
        next_place = prefetch(a, place)
        here = builder.select(builder.icmp_signed("<", left, I64(v.lanes)), left, I64(v.lanes))
        self.loop(a, a_row, a_step, b, b_vector, here)
        rest = builder.sub(left, here)
        advanced = [(left, rest), (a, v.at(a, a_block)), (b, v.at(b, v.lanes * v.lanes)), (place, next_place)]
        advanced += [(begun[r][n], self.sums[r][n]) for r in self.rows for n in self.vectors]
        for phi, value in advanced:
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed(">", rest, I64(0)), block, done)
        builder.position_at_end(done)

    def loop(self, A, a_row, a_step, B, b_vector, steps):
        """sums[r][v] += A[r, t] B[t, v] for all steps, at least one.

        A multiply-add waits four cycles for the one before it in its sum, and two begin every cycle. Tiles of a few
        rows have too few sums for that, and take several steps at once, into separate sums that are added up at the
        end. The number of steps depends on the rows alone: so a panel has the same bits alone as beside another, which
        depends on the number of threads.
        """
        builder, v = self.builder, self.v
        places = [B, *(v.at(A, builder.mul(a_row, I64(r))) for r in self.rows[:: self._rows_per_pointer(a_row)])]
        end = v.at(B, builder.mul(steps, I64(v.lanes)))
        at_once = min(4, 4 // len(self.rows))
        if at_once > 1:
            nothing = [[v.zero for _ in self.vectors] for _ in self.rows]
            places, sums = self._steps(at_once, places, [self.sums, *([nothing] * (at_once - 1))], a_row, a_step,
                                       b_vector, end)
            for other in sums[1:]:
                sums[0] = [[builder.fadd(x, y) for x, y in zip(*pair, strict=True)]
                           for pair in zip(sums[0], other, strict=True)]
            self.sums = sums[0]
        _, [self.sums] = self._steps(1, places, [self.sums], a_row, a_step, b_vector, end, certain=at_once <= 1)

    def _rows_per_pointer(self, a_row):
        """How many rows of A have one pointer.

        Where they lie a constant apart, it is one for all. Else it is one for three, to which an address adds
        row · {0, 1, 2}: the 16 general registers do not hold a pointer for each of 14 rows.
        """
        return len(self.rows) if isinstance(a_row, ir.Constant) else 3

    def _rows_read_twice(self, a_row):
        """The rows of A that each multiply-add reads itself, where the processor's can.

        A row that is loaded once takes an instruction more, one that is read twice a load more, of which two begin
        every cycle. Addresses with an index make two instructions of such a multiply-add: there they are the rows that
        have a pointer. Where another thread of the core was busy, products took 0.90 to 0.97 of the time (Emerald
        Rapids); else it made no difference.
        """
        if not host().broadcasts:
            return ()
        return self.rows[:: 2 if isinstance(a_row, ir.Constant) else 3]

    def _steps(self, at_once, places, sums, a_row, a_step, b_vector, end, certain=False):
        """Take all steps that are left, `at_once` of them in a turn; `certain` if there is one turn at least.

        places : the pointers of step t into B, and into A.
        sums : for each step of a turn.
        end : where B ends.
        Returns places and sums as they are at the end.

        LLVM would load a number once for all its uses, and would add up the address of each row from that of the row
        before: pointers that it knows nothing about keep both as they are written here.
        """
        builder, v = self.builder, self.v
        per_pointer, read_twice = self._rows_per_pointer(a_row), self._rows_read_twice(a_row)
        last = v.at(end, -at_once * v.lanes)
        entry, body, done = builder.block, builder.append_basic_block("step"), builder.append_basic_block("stepped")
        if certain:
            builder.branch(body)
        else:
            builder.cbranch(v.is_before(last, places[0]), done, body)
        builder.position_at_end(body)
        flat = [value for one in sums for row in one for value in row]
        phis = [self._phi([(value, entry)]) for value in [*places, *flat]]
        b, *a = phis[: len(places)]
        added = phis[len(places) :]
        for step in range(at_once):
            vectors = [v.load(v.at(b, builder.mul(b_vector, I64(n)))) for n in self.vectors]
            for r in self.rows:
                number, offset = r // per_pointer, builder.mul(a_row, I64(r % per_pointer))
                for n in self.vectors:
                    if n == 0 or r in read_twice:
                        a[number] = v.opaque(a[number])
                        factor = v.splat(builder.load(v.at(a[number], offset)))
                    place = (step * len(self.rows) + r) * len(self.vectors) + n
                    added[place] = v.add_product(factor, vectors[n], added[place])
            b, a = v.opaque(v.at(b, v.lanes)), [v.at(p, a_step) for p in a]
        after = [b, *a, *added]
        for phi, value in zip(phis, after, strict=True):
            phi.add_incoming(value, body)
        builder.cbranch(v.is_before(last, b), done, body)
        builder.position_at_end(done)
        if not certain:
            after = [self._phi([(before, entry), (value, body)])
                     for before, value in zip([*places, *flat], after, strict=True)]
        rest = iter(after[len(places) :])
        return after[: len(places)], [[[next(rest) for _ in self.vectors] for _ in self.rows] for _ in sums]

    def end(self, C_at):
        """C = the accumulators."""
        for r in self.rows:
            for n in self.vectors:
                self.v.store(self.sums[r][n], C_at[r][n])

    def add_to(self, C_at, alpha, columns):
        """C += alpha · the accumulators, in the first `columns` columns."""
        builder, v = self.builder, self.v
        factor = v.splat(alpha)
        full, ragged = builder.append_basic_block("full"), builder.append_basic_block("ragged")
        end = builder.append_basic_block("added")
        builder.cbranch(builder.icmp_signed(">=", columns, I64(len(self.vectors) * v.lanes)), full, ragged)
        builder.position_at_end(full)
        for r in self.rows:
            for n in self.vectors:
                v.store(v.multiply_add(factor, self.sums[r][n], v.load(C_at[r][n])), C_at[r][n])
        builder.branch(end)
        builder.position_at_end(ragged)
        masks = [v.lanes_below(builder.sub(columns, I64(n * v.lanes))) for n in self.vectors]
        for r in self.rows:
            for n in self.vectors:
                sum_here = v.multiply_add(factor, self.sums[r][n], v.masked_load(C_at[r][n], masks[n]))
                v.masked_store(sum_here, C_at[r][n], masks[n])
        builder.branch(end)
        builder.position_at_end(end)

    def _phi(self, incoming):
        phi = self.builder.phi(incoming[0][0].type)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi
