"""The most that the GPU can do without tensor cores: fused multiplications and additions in registers."""

from typing import Any


def fma_ceiling(dtype: str) -> float:
    """Floating-point operations in a second on all multiprocessors."""
    from fastbp.compare.gpu import fma_ceiling as measure

    return measure(dtype)


def versions(options: Any) -> dict[str, Any]:
    """Nothing that is not known already."""
    return {}
