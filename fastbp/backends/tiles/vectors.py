"""Vectors in LLVM code: the loads, stores, shuffles and sums of which the functions of this package are built."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)

#: A product and a sum may become one fused multiply-add.
FUSED = ("contract",)


class Vectors:
    """Vectors of `lanes` numbers of an LLVM type, built at the builder's position."""

    def __init__(self, builder: Any, number: Any, lanes: int) -> None:
        self.builder, self.number, self.lanes = builder, number, lanes
        self.type = ir.VectorType(number, lanes)
        self.bytes = 4 if isinstance(number, ir.FloatType) else 8
        self.zero = ir.Constant(self.type, [0.0] * lanes)
        self.undefined = ir.Constant(self.type, ir.Undefined)

    def at(self, pointer: Any, offset: Any) -> Any:
        """pointer + offset, counted in numbers."""
        return self.builder.gep(pointer, [I64(offset) if isinstance(offset, int) else offset])

    def is_before(self, pointer: Any, other: Any) -> Any:
        """Whether a pointer comes before another in memory."""
        builder = self.builder
        return builder.icmp_unsigned("<", builder.ptrtoint(pointer, I64), builder.ptrtoint(other, I64))

    def first_of(self, pointer: Any, other: Any) -> Any:
        """That of two pointers which comes first in memory."""
        return self.builder.select(self.is_before(pointer, other), pointer, other)

    def opaque(self, pointer: Any) -> Any:
        """The same pointer, of which LLVM does not know that it is; it takes no instruction."""
        kind = ir.FunctionType(pointer.type, [pointer.type])
        return self.builder.call(ir.InlineAsm(kind, "", "=r,0"), [pointer])

    def load(self, pointer: Any) -> Any:
        """The vector at a pointer, aligned or not."""
        value = self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()))
        value.align = self.bytes
        return value

    def store(self, value: Any, pointer: Any) -> None:
        """Write a vector at a pointer, aligned or not."""
        self.builder.store(value, self.builder.bitcast(pointer, self.type.as_pointer())).align = self.bytes

    def splat(self, number: Any) -> Any:
        """A vector with the number in every lane."""
        first = self.builder.insert_element(self.undefined, number, I32(0))
        return self.shuffle(first, self.undefined, [0] * self.lanes)

    def shuffle(self, first: Any, second: Any, places: Sequence[int]) -> Any:
        """The elements at these places of the two vectors, the second counted from `lanes` on."""
        mask = ir.Constant(ir.VectorType(I32, len(places)), list(places))
        return self.builder.shuffle_vector(first, second, mask)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a · b + c."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=FUSED), c, flags=FUSED)

    def add_product(self, a: Any, b: Any, total: Any) -> Any:
        """total + a · b, where the numbers of a and b may be something else than those of the total; see `pairs`."""
        return self.multiply_add(a, b, total)

    def sum(self, vector: Any) -> Any:
        """The sum of all lanes, half of them added to the other half until one is left."""
        half = self.lanes // 2
        while half:
            moved = self.shuffle(vector, self.undefined, [*range(half, 2 * half), *([0] * (self.lanes - half))])
            vector = self.builder.fadd(vector, moved)
            half //= 2
        return self.builder.extract_element(vector, I32(0))

    def sums(self, vectors: Sequence[Any]) -> Any:
        """A vector that begins with the sum of all lanes of each of some vectors, at most `lanes`.

        Two vectors become one that holds half as many partial sums of each, until one vector is left. 8 vectors of 16
        lanes take 8 additions, against 32 if each is summed alone.
        """
        left, each = list(vectors), self.lanes
        while len(left) > 1:
            left += [self.zero] * (len(left) % 2)
            groups = range(0, 2 * self.lanes, each)
            each //= 2
            first = [begin + p for begin in groups for p in range(each)]
            left = [self._folded(pair, first, each) for pair in zip(left[::2], left[1::2], strict=True)]
        while each > 1:
            groups = range(0, self.lanes, each)
            each //= 2
            first = [begin + p for begin in groups for p in range(each)]
            left = [self._folded((left[0], self.undefined), (first * 2)[: self.lanes], each)]
        return left[0]

    def _folded(self, pair: tuple[Any, Any], first: Sequence[int], each: int) -> Any:
        second = [place + each for place in first]
        return self.builder.fadd(self.shuffle(*pair, first), self.shuffle(*pair, second))

    def lanes_below(self, count: Any) -> Any:
        """A mask of the lanes whose number is below count."""
        numbers = ir.VectorType(I64, self.lanes)
        first = self.builder.insert_element(ir.Constant(numbers, ir.Undefined), count, I32(0))
        bound = self.builder.shuffle_vector(first, ir.Constant(numbers, ir.Undefined),
                                            ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes))
        return self.builder.icmp_signed("<", ir.Constant(numbers, list(range(self.lanes))), bound)

    def masked_load(self, pointer: Any, mask: Any) -> Any:
        """The vector at a pointer, 0 in lanes outside the mask, whose memory is not touched."""
        address = self.builder.bitcast(pointer, self.type.as_pointer())
        function = self._masked("load", self.type, [address.type, I32, mask.type, self.type])
        return self.builder.call(function, [address, I32(self.bytes), mask, self.zero])

    def masked_store(self, value: Any, pointer: Any, mask: Any) -> None:
        """Write the lanes of the mask, and touch no other memory."""
        address = self.builder.bitcast(pointer, self.type.as_pointer())
        function = self._masked("store", ir.VoidType(), [self.type, address.type, I32, mask.type])
        self.builder.call(function, [value, address, I32(self.bytes), mask])

    def prefetch(self, pointer: Any, *, write: bool = False) -> None:
        """Prefetch the cache line at a pointer."""
        address = self.builder.bitcast(pointer, I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, I32, I32, I32])
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        self.builder.call(function, [address, I32(int(write)), I32(3), I32(1)])

    def _masked(self, what: str, result: Any, arguments: list[Any]) -> Any:
        name = f"llvm.masked.{what}.v{self.lanes}f{8 * self.bytes}.p0"
        module = self.builder.module
        if name in module.globals:
            return module.globals[name]
        return ir.Function(module, ir.FunctionType(result, arguments), name)
