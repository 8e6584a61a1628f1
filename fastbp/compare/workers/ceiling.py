"""The most that one core can do: fused multiplications and additions in registers, and nothing else."""

from typing import Any


def fma_ceiling(dtype: str) -> float:
    """Floating-point operations in a second on one core; of "bfloat16", by the processor's instruction for pairs."""
    from fastbp.backends.tiles.ceiling import fma_ceiling as measure
    from fastbp.backends.tiles.host import multiplies_bfloat16

    if dtype == "bfloat16" and not multiplies_bfloat16():
        raise RuntimeError("this processor has no instruction for bfloat16 products")
    return float(measure(dtype))


def versions(options: Any) -> dict[str, Any]:
    """Nothing that is not known already."""
    return {}
