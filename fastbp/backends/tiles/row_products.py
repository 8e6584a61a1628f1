"""The three products for single samples, whose vectors run along the inputs j of a layer.

    a_i = b_i + Σ_j W_ij h_j        `dot_rows`       rows of W against h, up to 8 at once
    e_j = Σ_i W_ij δ_i              `combine_rows`   four vectors of e at once
    C_ij += α δ_i h_j               `add_outer`      row by row; rows whose factor is 0, as with relu, are left alone

W is read in place, once in each product, so that the rate of memory bounds the rate of large products.
"""

from typing import Any

from numba import types

from ...compiling.addresses import INTEGER, intrinsic, invoke, pointer, pointer_type
from ...compiling.decorators import inlined
from .host import host
from .vectors import I64, Vectors

#: Rows that `dot_rows` takes at once, and vectors of `combine_rows`.
MAX_ROWS, MAX_VECTORS = 8, 4


def dot_rows(dtype: str) -> Any:
    """The function a = bias + W h, for `address_of`: (rows, bias, a, W, w_row, h, columns)."""
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def dots(rows, bias, a, W, w_row, h, columns):
        for i in range(0, rows, MAX_ROWS):
            _dot_rows(lanes, min(MAX_ROWS, rows - i), pointer(bias, i), pointer(a, i), pointer(W, i * w_row), w_row, h,
                      columns)

    return dots, (INTEGER, numbers, numbers, numbers, INTEGER, numbers, INTEGER)


@inlined
def affine_row(address: Any, rows: Any, bias: Any, a: Any, W: Any, w_row: Any, h: Any, columns: Any) -> None:
    """a = bias + W h, by the function at an address that `dot_rows` describes."""
    invoke(address, (rows, bias, a, W, w_row, h, columns))


def combine_rows(dtype: str) -> Any:
    """The function e = Wᵀ δ, for `address_of`: (rows, delta, W, w_row, e, columns)."""
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def combine(rows, delta, W, w_row, e, columns):
        block = lanes * MAX_VECTORS
        for j in range(0, columns, block):
            _combine_rows(lanes, rows, delta, W, w_row, e, j, min(block, columns - j))

    return combine, (INTEGER, numbers, numbers, INTEGER, numbers, INTEGER)


@inlined
def transposed_product(address: Any, rows: Any, delta: Any, W: Any, w_row: Any, e: Any, columns: Any) -> None:
    """e = Wᵀ δ, by the function at an address that `combine_rows` describes."""
    invoke(address, (rows, delta, W, w_row, e, columns))


def add_outer(dtype: str) -> Any:
    """The function C += alpha δ hᵀ, for `address_of`: (rows, alpha, delta, h, columns, C, c_row)."""
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def add(rows, alpha, delta, h, columns, C, c_row):
        for i in range(rows):
            factor = alpha * delta[i]
            if factor != alpha - alpha:
                _add_scaled(lanes, factor, h, columns, C, i * c_row)

    return add, (INTEGER, numbers.dtype, numbers, numbers, INTEGER, numbers, INTEGER)


@inlined
def add_outer_product(address: Any, rows: Any, alpha: Any, delta: Any, h: Any, columns: Any, C: Any,
                      c_row: Any) -> None:
    """C += alpha δ hᵀ, by the function at an address that `add_outer` describes."""
    invoke(address, (rows, alpha, delta, h, columns, C, c_row))


class Loop:
    """Code for p = 0, step, 2 step, … while a whole step is left, with values carried along as `phis`."""

    def __init__(self, builder, bound, step, starts):
        self.builder, self.bound, self.step = builder, bound, step
        self.entry = builder.block
        self.body, self.done = builder.append_basic_block("body"), builder.append_basic_block("done")
        self.starts = [I64(0), *starts]
        builder.cbranch(builder.icmp_signed("<=", I64(step), bound), self.body, self.done)
        builder.position_at_end(self.body)
        self.place, *self.phis = [self._phi(start) for start in self.starts]

    def _phi(self, start):
        phi = self.builder.phi(start.type)
        phi.add_incoming(start, self.entry)
        return phi

    def end(self, values):
        """Close the loop. Returns the place after the last whole step, and the values that were carried along."""
        builder = self.builder
        following = [builder.add(self.place, I64(self.step)), *values]
        for phi, value in zip([self.place, *self.phis], following, strict=True):
            phi.add_incoming(value, builder.block)
        last = builder.block
        again = builder.icmp_signed("<=", builder.add(following[0], I64(self.step)), self.bound)
        builder.cbranch(again, self.body, self.done)
        builder.position_at_end(self.done)
        results = []
        for start, value in zip(self.starts, following, strict=True):
            phi = builder.phi(start.type)
            phi.add_incoming(start, self.entry)
            phi.add_incoming(value, last)
            results.append(phi)
        return results[0], results[1:]


@intrinsic(prefer_literal=True)
def _dot_rows(typing_context, lanes, rows, bias, a, W, w_row, h, columns):
    signature = types.void(lanes, rows, bias, a, W, w_row, h, columns)
    numbers = W

    def codegen(context, builder, signature, values):
        _, rows, bias, a, W, w_row, h, columns = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        end = builder.append_basic_block("end")
        switch = builder.switch(rows, end)
        for count in range(1, MAX_ROWS + 1):
            case = builder.append_basic_block(f"rows_{count}")
            switch.add_case(I64(count), case)
            builder.position_at_end(case)
            starts = [v.at(W, builder.mul(w_row, I64(r))) for r in range(count)]
            loop = Loop(builder, columns, v.lanes, [v.zero] * count)
            x = v.load(v.at(h, loop.place))
            place, sums = loop.end([v.multiply_add(v.load(v.at(row, loop.place)), x, total)
                                    for row, total in zip(starts, loop.phis, strict=True)])
            sums = _with_the_rest(v, columns, place, starts, h, sums)
            for r in range(0, count, v.lanes):
                mask = v.lanes_below(I64(count - r))
                total = builder.fadd(v.sums(sums[r : r + v.lanes]), v.masked_load(v.at(bias, r), mask))
                v.masked_store(total, v.at(a, r), mask)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


def _with_the_rest(v, columns, place, rows, h, sums):
    """The sums over the columns before a place, plus those from it on: less than a vector of them, often none."""
    builder = v.builder
    entry, ragged, end = builder.block, builder.append_basic_block("ragged"), builder.append_basic_block("summed")
    rest = builder.sub(columns, place)
    builder.cbranch(builder.icmp_signed(">", rest, I64(0)), ragged, end)
    builder.position_at_end(ragged)
    mask = v.lanes_below(rest)
    x = v.masked_load(v.at(h, place), mask)
    added = [v.multiply_add(v.masked_load(v.at(row, place), mask), x, total)
             for row, total in zip(rows, sums, strict=True)]
    builder.branch(end)
    builder.position_at_end(end)
    whole = []
    for before, after in zip(sums, added, strict=True):
        phi = builder.phi(v.type)
        phi.add_incoming(before, entry)
        phi.add_incoming(after, ragged)
        whole.append(phi)
    return whole


@intrinsic(prefer_literal=True)
def _combine_rows(typing_context, lanes, rows, delta, W, w_row, e, j, columns):
    signature = types.void(lanes, rows, delta, W, w_row, e, j, columns)
    numbers = W

    def codegen(context, builder, signature, values):
        _, rows, delta, W, w_row, e, j, columns = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        W, e, blocks = v.at(W, j), v.at(e, j), range(MAX_VECTORS)
        full, ragged = builder.append_basic_block("full"), builder.append_basic_block("ragged")
        end = builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed(">=", columns, I64(v.lanes * MAX_VECTORS)), full, ragged)
        for case in (full, ragged):
            builder.position_at_end(case)
            masks = [v.lanes_below(builder.sub(columns, I64(n * v.lanes))) for n in blocks]
            loop = Loop(builder, rows, 1, [v.zero] * MAX_VECTORS)
            row, factor = v.at(W, builder.mul(loop.place, w_row)), v.splat(builder.load(v.at(delta, loop.place)))
            places = [v.at(row, n * v.lanes) for n in blocks]
            loaded = [v.load(place) if case is full else v.masked_load(place, mask)
                      for place, mask in zip(places, masks, strict=True)]
            _, sums = loop.end([v.multiply_add(factor, x, total) for x, total in zip(loaded, loop.phis, strict=True)])
            for n, total in enumerate(sums):
                if case is full:
                    v.store(total, v.at(e, n * v.lanes))
                else:
                    v.masked_store(total, v.at(e, n * v.lanes), masks[n])
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _add_scaled(typing_context, lanes, factor, h, columns, C, offset):
    signature = types.void(lanes, factor, h, columns, C, offset)
    numbers = C

    def codegen(context, builder, signature, values):
        _, factor, h, columns, C, offset = values
        v = Vectors(builder, context.get_value_type(numbers.dtype), lanes.literal_value)
        row, factor = v.at(C, offset), v.splat(factor)
        place = I64(0)
        for vectors in (MAX_VECTORS, 1):
            rest = builder.sub(columns, place)
            at_h, at_C = v.at(h, place), v.at(row, place)
            loop = Loop(builder, rest, vectors * v.lanes, [])
            for n in range(vectors):
                here = builder.add(loop.place, I64(n * v.lanes))
                v.store(v.multiply_add(factor, v.load(v.at(at_h, here)), v.load(v.at(at_C, here))), v.at(at_C, here))
            done, _ = loop.end([])
            place = builder.add(place, done)
        mask = v.lanes_below(builder.sub(columns, place))
        changed = v.multiply_add(factor, v.masked_load(v.at(h, place), mask), v.masked_load(v.at(row, place), mask))
        v.masked_store(changed, v.at(row, place), mask)
        return context.get_dummy_value()

    return signature, codegen
