"""Pairs of bfloat16, in vectors whose numbers of 32 bits hold two of them: the factors of products that round to these.

Bits 0 to 15 of a number hold the first of a pair, bits 16 to 31 the second. A sum takes the product of the second ones
before that of the first ones, and rounds to float32 after each; both products have 16 digits at most and are exact.
That is what the instruction vdpbf16ps does, which moreover takes subnormal numbers as 0, and subnormal results too
(seen on Zen 4; Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", VDPBF16PS).

What is paired depends on the product: units, whose sum over j or i it is, or samples. `rounding` makes the pairs.
"""

from typing import Any

from llvmlite import ir

from .vectors import I32, Vectors

#: What the numbers of a factor are: floats; pairs, by the processor's instruction; pairs, by operations on integers.
FLOATS, PAIRS, EMULATED_PAIRS = range(3)

#: The largest finite bfloat16.
LARGEST = (2.0 - 2.0**-7) * 2.0**127

_I16 = ir.IntType(16)

#: Names of LLVM, where a bfloat16 is an integer of 16 bits: newer releases take these declarations for their own.
_DOT, _ROUND_TWO = "llvm.x86.avx512bf16.dpbf16ps.512", "llvm.x86.avx512bf16.cvtne2ps2bf16.512"


class PairVectors(Vectors):
    """Vectors whose factors are pairs of bfloat16, and whose sums are float32.

    Parameters are those of `Vectors`; with the instruction there are 16 lanes.
    """

    def __init__(self, builder: Any, number: Any, lanes: int, has_instruction: bool) -> None:
        super().__init__(builder, number, lanes)
        self._has_instruction = has_instruction
        self._bits, self._halves = ir.VectorType(I32, lanes), ir.VectorType(_I16, 2 * lanes)

    def add_product(self, a: Any, b: Any, total: Any) -> Any:
        """total + a₁ b₁ + a₀ b₀."""
        builder = self.builder
        if self._has_instruction:
            dot = self._declared(_DOT, self.type, [self.type, self._bits, self._bits])
            return builder.call(dot, [total, *(builder.bitcast(x, self._bits) for x in (a, b))])
        for part in (self._second, self._first):
            total = self.multiply_add(part(a), part(b), total)
        return total

    def joined(self, x: Any, y: Any) -> Any:
        """The numbers of the float32 vectors x and then y, rounded to bfloat16 as `formulas.bfloat16` does."""
        builder = self.builder
        if self._has_instruction:
            rounded = self._declared(_ROUND_TWO, self._halves, [self.type, self.type])
            return builder.bitcast(builder.call(rounded, [y, x]), self.type)
        halves = [builder.trunc(self._rounded(value), ir.VectorType(_I16, self.lanes)) for value in (x, y)]
        return builder.bitcast(self.shuffle(halves[0], halves[1], range(2 * self.lanes)), self.type)

    def interleaved(self, x: Any, y: Any, half: int) -> Any:
        """Pairs (x_n, y_n) of the bfloat16 numbers n of x and y: of those in their first or second half."""
        of_x, of_y = (self.builder.bitcast(value, self._halves) for value in (x, y))
        places = [place for n in range(half * self.lanes, (half + 1) * self.lanes) for place in (n, 2 * self.lanes + n)]
        return self.builder.bitcast(self.shuffle(of_x, of_y, places), self.type)

    def paired(self, x: Any, y: Any) -> Any:
        """Pairs (x_n, y_n) of the numbers of two float32 vectors."""
        both = self.builder.bitcast(self.joined(x, y), self._halves)
        places = [place for n in range(self.lanes) for place in (n, self.lanes + n)]
        return self.builder.bitcast(self.shuffle(both, both, places), self.type)

    def _first(self, pairs: Any) -> Any:
        shifted = self.builder.shl(self.builder.bitcast(pairs, self._bits), self._all(16))
        return self.builder.bitcast(shifted, self.type)

    def _second(self, pairs: Any) -> Any:
        kept = self.builder.and_(self.builder.bitcast(pairs, self._bits), self._all(0xFFFF0000))
        return self.builder.bitcast(kept, self.type)

    def _rounded(self, x: Any) -> Any:
        """The bits of the bfloat16 numbers, in integers of 32 bits; step by step as in `formulas.bfloat16`."""
        builder, all_ = self.builder, self._all
        bits = builder.bitcast(x, self._bits)
        magnitude = builder.and_(bits, all_(0x7FFFFFFF))
        half = builder.add(all_(0x7FFF), builder.and_(builder.lshr(bits, all_(16)), all_(1)))
        is_nan = builder.icmp_signed(">", magnitude, all_(0x7F800000))
        rounded = builder.select(builder.icmp_signed("<", magnitude, all_(0x7F800000)), builder.add(magnitude, half),
                                 builder.select(is_nan, builder.or_(magnitude, all_(0x00400000)), magnitude))
        rounded = builder.select(builder.icmp_signed("<", magnitude, all_(0x00800000)), all_(0), rounded)
        return builder.lshr(builder.or_(rounded, builder.and_(bits, all_(0x80000000))), all_(16))

    def _all(self, value: int) -> Any:
        return ir.Constant(self._bits, [value] * self.lanes)

    def _declared(self, name: str, result: Any, arguments: list[Any]) -> Any:
        module = self.builder.module
        if name in module.globals:
            return module.globals[name]
        return ir.Function(module, ir.FunctionType(result, arguments), name)


def vectors_of(factors: int, builder: Any, number: Any, lanes: int) -> Vectors:
    """The vectors whose factors are FLOATS, PAIRS or EMULATED_PAIRS."""
    return Vectors(builder, number, lanes) if factors == FLOATS else PairVectors(builder, number, lanes,
                                                                                 factors == PAIRS)
