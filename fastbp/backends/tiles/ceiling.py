"""The highest rate of the processor: fused multiply-adds alone, in registers, or those of pairs of bfloat16."""

import time
from typing import Any

import numpy as np
from numba import types

from ...compiling.addresses import INTEGER, address_of, intrinsic, invoke, pointer_type
from ...compiling.decorators import inlined, kernel
from .host import host
from .pairs import FLOATS, PAIRS, vectors_of
from .vectors import I64

#: Independent chains: enough for any latency times width, few enough for 16 registers with their factor.
CHAINS = 12


def fma_ceiling(dtype: str = "float32", seconds: float = 0.02, tries: int = 5) -> float:
    """Floating-point operations per second of one core, the best of some tries; a multiply-add counts as two.

    No memory is touched: 12 accumulators x ← x · a + b, over and over. With "bfloat16", which takes an instruction for
    it, they are x ← x + a₁ b₁ + a₀ b₀ on pairs.
    """
    factors = PAIRS if dtype == "bfloat16" else FLOATS
    dtype = "float32" if dtype == "bfloat16" else dtype
    address, values = address_of(multiply_adds, dtype, factors), np.full(host().lanes(dtype), 1.0, dtype)
    steps, best, terms = 1000, 0.0, 1 if factors == FLOATS else 2
    _repeat(address, values, steps)
    while True:
        begin = time.perf_counter()
        _repeat(address, values, steps)
        taken = time.perf_counter() - begin
        best = max(best, 2.0 * terms * CHAINS * host().lanes(dtype) * steps / taken)
        if taken < seconds:
            steps = int(steps * min(10.0, 1.2 * seconds / taken))
        else:
            tries -= 1
            if tries == 0:
                return best


@kernel
def _repeat(address: Any, values: Any, steps: int) -> None:
    """Run the chains from compiled code, which releases the GIL."""
    run_chains(address, values, steps)


def multiply_adds(dtype: str, factors: int = FLOATS) -> Any:
    """The function that runs chains of multiply-adds, for `address_of`: (values, steps).

    The chains start from values (lanes,), and their sum is written there.

    factors : what they multiply, see `pairs`.
    """
    lanes = host().lanes(dtype)

    def run(values, steps):
        _multiply_adds(factors, lanes, values, steps)

    return run, (pointer_type(dtype), INTEGER)


@inlined
def run_chains(address: Any, values: Any, steps: Any) -> None:
    """Run steps of all chains, by the function at an address that `multiply_adds` describes."""
    invoke(address, (values, steps))


@intrinsic(prefer_literal=True)
def _multiply_adds(typing_context, factors, lanes, values, steps):
    signature = types.void(factors, lanes, values, steps)
    pointer_to = values

    def codegen(context, builder, signature, arguments):
        _, _, values, steps = arguments
        v = vectors_of(factors.literal_value, builder, context.get_value_type(pointer_to.dtype), lanes.literal_value)
        start, factor = v.load(values), v.splat(v.number(0.5))
        # LLVM would merge chains that start from the same values.
        starts = [builder.fmul(start, v.splat(v.number(1.0 + number))) for number in range(CHAINS)]
        entry, body, done = builder.block, builder.append_basic_block("step"), builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        t = builder.phi(I64)
        chains = [builder.phi(v.type) for _ in range(CHAINS)]
        results = [v.multiply_add(chain, factor, start) if factors.literal_value == FLOATS else
                   v.add_product(factor, factor, chain) for chain in chains]
        rest = builder.sub(t, I64(1))
        t.add_incoming(steps, entry)
        t.add_incoming(rest, body)
        for chain, first, result in zip(chains, starts, results, strict=True):
            chain.add_incoming(first, entry)
            chain.add_incoming(result, body)
        builder.cbranch(builder.icmp_signed(">", rest, I64(0)), body, done)
        builder.position_at_end(done)
        total = results[0]
        for result in results[1:]:
            total = builder.fadd(total, result)
        v.store(total, values)
        return context.get_dummy_value()

    return signature, codegen
