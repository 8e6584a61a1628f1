"""The most that one core can do: fused multiplications and additions in registers, and nothing else."""

from typing import Any


def fma_ceiling(dtype: str) -> float:
    """Floating-point operations in a second on one core."""
    from fastbp.backends.tiles.ceiling import fma_ceiling as measure

    return float(measure(dtype))


def versions(options: Any) -> dict[str, Any]:
    """Nothing that is not known already."""
    return {}
