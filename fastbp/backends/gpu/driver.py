"""The only module that imports `numba.cuda`, and whether there is a GPU.

The package numba-cuda, which provides `numba.cuda`, is an extra. Without a GPU the same kernels run in Numba's
simulator, very slowly, where NUMBA_ENABLE_CUDASIM=1 is set before Python starts; the tests do so.
"""

import importlib.util
from typing import Any

import numba

from ..contract import NoGpuError

_config: Any = numba.config

#: None where numba-cuda is not installed; the `numba.cuda` that some releases of Numba bring themselves is older.
cuda: Any = importlib.import_module("numba.cuda") if importlib.util.find_spec("numba_cuda") else None

#: Whether kernels run in the simulator: as Python, a thread for each thread of a block.
SIMULATED = bool(getattr(_config, "ENABLE_CUDASIM", False))

if cuda is not None and not SIMULATED:
    #: The type of arrays on the device.
    DeviceArray: Any = cuda.cudadrv.devicearray.DeviceNDArray
    #: Numba's warning of a launch of few blocks.
    FewBlocksWarning: Any = importlib.import_module("numba.cuda.core.errors").NumbaPerformanceWarning
    #: Where Numba tells what it compiles for a GPU.
    event: Any = importlib.import_module("numba.cuda.core.event")
    #: A function of kernels that is written as LLVM code.
    intrinsic: Any = importlib.import_module("numba.cuda.extending").intrinsic
else:
    DeviceArray = FewBlocksWarning = event = intrinsic = None


def gpus_of(array: Any) -> tuple[int, int]:
    """The number of the GPU in use, and of the GPU that holds an array of `numba.cuda`."""
    if SIMULATED or array.size == 0:
        return 0, 0
    api, here = cuda.cudadrv.driver, cuda.get_current_device().id
    ordinal = api.binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return here, int(api.driver.cuPointerGetAttribute(ordinal, array.device_ctypes_pointer.value))


def require_gpu() -> None:
    """Refuse to go on where kernels cannot run.

    Raises
    ------
    ImportError
        If numba-cuda is not installed.
    NoGpuError
        If there is no GPU that they can use.
    """
    if cuda is None:
        raise ImportError("backend 'cuda' needs numba-cuda: pip install 'fastbp[cuda]'")
    if not SIMULATED and not cuda.is_available():
        raise NoGpuError("backend 'cuda' needs an NVIDIA GPU and its driver, and found none that it can use")
