"""The vectors and registers of the processor that code is compiled for."""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba.core import config as _numba_config
from numba.core.codegen import get_host_cpu_features


class Host(NamedTuple):
    """One set of vector instructions."""

    name: str
    vector_bytes: int
    tile_rows: int  # the most rows of a tile of two vectors: 2 · rows accumulators, 2 vectors and a broadcast operand

    def lanes(self, dtype: str) -> int:
        """How many numbers a vector holds."""
        return self.vector_bytes // np.dtype(dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name}, {8 * self.vector_bytes} bits, {self.lanes('float32')} float32"


_config: Any = _numba_config

_KINDS = (
    ("avx512f", Host("AVX-512", 64, 14)),  # 32 registers
    ("avx2", Host("AVX2", 32, 6)),         # 16 registers
    ("avx", Host("AVX", 32, 6)),
    ("neon", Host("NEON", 16, 14)),        # 32 registers
    ("asimd", Host("NEON", 16, 14)),
)

#: Where nothing is known: four floats, as in SSE2, and 16 registers.
_BASELINE = Host("baseline", 16, 6)


@functools.cache
def host() -> Host:
    """What Numba compiles for: this processor, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say."""
    features = target_features()
    return next((kind for feature, kind in _KINDS if feature in features), _BASELINE)


def target_features() -> set[str]:
    """The names of the instruction sets that compiled code may use."""
    given = _config.CPU_FEATURES if _config.CPU_FEATURES is not None else get_host_cpu_features()
    return {feature[1:] for feature in given.split(",") if feature.startswith("+")}
