"""The vectors, registers and first-level cache of the processor that code is compiled for."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...compiling.processor import target_features


class Host(NamedTuple):
    """One set of vector instructions."""

    name: str
    vector_bytes: int
    tile_rows: int  # the most rows of a tile of two vectors: 2 · rows accumulators, 2 vectors and a broadcast operand

    @property
    def broadcasts(self) -> bool:
        """Whether a multiply-add reads a number from memory for all lanes."""
        return self.name == "AVX-512"

    def lanes(self, dtype: str) -> int:
        """How many numbers a vector holds."""
        return self.vector_bytes // np.dtype(dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name}, {8 * self.vector_bytes} bits, {self.lanes('float32')} float32"


_KINDS = (
    ("avx512f", Host("AVX-512", 64, 14)),  # 32 registers
    ("avx2", Host("AVX2", 32, 6)),         # 16 registers
    ("avx", Host("AVX", 32, 6)),
    ("neon", Host("NEON", 16, 14)),        # 32 registers
    ("asimd", Host("NEON", 16, 14)),
)

#: For an unknown processor: four floats, as in SSE2, and 16 registers.
_BASELINE = Host("baseline", 16, 6)


#: The file in which Linux gives the associativity of the first-level data cache, and the number assumed without it.
_WAYS, _FEWEST_WAYS = Path("/sys/devices/system/cpu/cpu0/cache/index0/ways_of_associativity"), 8


@functools.cache
def periodic_rows() -> int:
    """The most rows of a tile whose rows of W lie a multiple of 4 KiB apart, and so share one set of the first-level
    cache: two fewer than its associativity.

    With W from memory and 8 ways (Zen 4), tiles of 14 such rows ran at 0.45 of the ceiling, of 6 to 8 rows at 0.93 to
    0.95. With 12 ways (Zen 5), tiles of 14 rows ran at 0.86 of it, of 10 rows at 0.95.
    """
    try:
        ways = int(_WAYS.read_text())
    except (OSError, ValueError):
        ways = _FEWEST_WAYS
    return min(host().tile_rows, max(ways - 2, 2))


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether an instruction multiplies pairs of bfloat16 in vectors of the host: that of AVX-512 BF16."""
    return "avx512bf16" in target_features() and host().vector_bytes == 64


@functools.cache
def host() -> Host:
    """The vectors that Numba compiles for: those of this processor, or of NUMBA_CPU_NAME and NUMBA_CPU_FEATURES."""
    features = target_features()
    return next((kind for feature, kind in _KINDS if feature in features), _BASELINE)
