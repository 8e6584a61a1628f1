"""The processor that Numba compiles for."""

from typing import Any

import numba
from numba.core.codegen import get_host_cpu_features

_config: Any = numba.config


def target_features() -> set[str]:
    """The names of the instruction sets that compiled code may use.

    They are those of this processor, or what the environment variable NUMBA_CPU_FEATURES says.
    """
    given = _config.CPU_FEATURES if _config.CPU_FEATURES is not None else get_host_cpu_features()
    return {feature[1:] for feature in given.split(",") if feature.startswith("+")}
