"""The GPU beside which things are timed: what it is, and what it could do at most.

That is fused multiply-adds alone, in registers, on all multiprocessors at once, without tensor cores.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.gpu.driver import SIMULATED, cuda, require_gpu

#: Threads of a block, of which every multiprocessor gets as many as it can hold.
BLOCK = 256

#: Independent chains of every thread; a few would do, because a multiprocessor holds hundreds of threads.
CHAINS = 8

#: Multiply-adds of every chain in a pass of the loop, whose own instructions take a hundredth of the time then.
UNROLLED = 32


def describe_gpu() -> str:
    """Name, compute capability, memory, and the CUDA version of the driver; "none: …" says why there is none."""
    try:
        require_gpu()
        if SIMULATED:
            return f"none: {gpu_name()} stands in for it"
        device = cuda.get_current_device()
        major, minor = device.compute_capability
        memory = cuda.current_context().get_memory_info().total
        version = ".".join(map(str, cuda.cudadrv.driver.driver.get_version()))
        return f"{gpu_name()}, compute capability {major}.{minor}, {memory / 2**30:.1f} GiB, driver for CUDA {version}"
    except Exception as error:  # drivers fail in many ways, and this only describes
        return f"none: {' '.join(str(error).split()) or type(error).__name__}"


def gpu_name() -> str:
    """The name that the driver gives."""
    if SIMULATED:
        return "Numba's simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def fma_ceiling(dtype: str = "float32", seconds: float = 0.02, tries: int = 5) -> float:
    """Floating-point operations per second of the GPU, the best of some tries; a multiply-add counts as two.

    Raises
    ------
    ImportError, RuntimeError
        If there is no GPU that can be used.
    """
    require_gpu()
    device = cuda.get_current_device()
    blocks = device.MULTIPROCESSOR_COUNT * (device.MAX_THREADS_PER_MULTIPROCESSOR // BLOCK)
    values, kernel = cuda.to_device(np.ones(blocks * BLOCK, dtype)), cuda.jit(multiply_adds)

    def take(passes: int) -> float:
        begin = time.perf_counter()
        kernel[blocks, BLOCK](values, passes)
        cuda.synchronize()
        return time.perf_counter() - begin

    return best_rate(take, 2.0 * CHAINS * UNROLLED * values.size, seconds, tries)


def best_rate(take: Callable[[int], float], operations: float, seconds: float, tries: int) -> float:
    """Operations per second of passes that take `seconds` in all; `take` gives the seconds of a number of passes.

    Examples
    --------
    >>> best_rate(lambda passes: 0.5 * passes, 100.0, 0.02, 5)
    200.0
    """
    passes, best = 1, 0.0
    take(passes)  # compiles
    while True:
        taken = take(passes)
        best = max(best, operations * passes / taken)
        if taken < seconds:
            passes = int(passes * min(10.0, 1.0 + 1.2 * seconds / taken))
        else:
            tries -= 1
            if tries == 0:
                return best


def multiply_adds(values: Any, passes: int) -> None:
    """Kernel: values_i ← Σ_c x_c of the chains x_c ← 0.5 x_c + values_i, with x_c = (c + 1) values_i at first."""
    i = cuda.grid(1)
    start = values[i]
    half = type(start)(0.5)
    x_0 = start  # chains that start alike would be found to be one
    x_1 = x_0 + start
    x_2 = x_1 + start
    x_3 = x_2 + start
    x_4 = x_3 + start
    x_5 = x_4 + start
    x_6 = x_5 + start
    x_7 = x_6 + start
    for _ in range(passes):
        for _ in range(UNROLLED):
            x_0 = cuda.fma(x_0, half, start)
            x_1 = cuda.fma(x_1, half, start)
            x_2 = cuda.fma(x_2, half, start)
            x_3 = cuda.fma(x_3, half, start)
            x_4 = cuda.fma(x_4, half, start)
            x_5 = cuda.fma(x_5, half, start)
            x_6 = cuda.fma(x_6, half, start)
            x_7 = cuda.fma(x_7, half, start)
    values[i] = x_0 + x_1 + x_2 + x_3 + x_4 + x_5 + x_6 + x_7
