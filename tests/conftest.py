"""Settings shared by all tests."""

import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from tolerances import SIMULATED

from fastbp.functions import activations, losses

# A reference that needs PyTorch; the tests read what it stored.
collect_ignore = ["make_pytorch_reference.py"]

# The first example of a property compiles kernels, which no deadline should count.
settings.register_profile("fastbp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# In the simulator a launch takes 10 ms and more, most of it handing Python from thread to thread.
settings.register_profile("simulator", parent=settings.get_profile("fastbp"), max_examples=8)
if SIMULATED:
    from numba.cuda.simulator import kernelapi
    from numba.cuda.simulator.cudadrv import devicearray

    sys.setswitchinterval(2e-5)

    def shared_array(shared, shape, dtype, alignment=None):
        """The block's array of the line that asks. The simulator's own may give two threads that ask at once an array
        each (numba-cuda 0.30). It begins with NaN, as a GPU's begins with anything."""
        line = sys._getframe(1)
        return shared._allocations.setdefault((line.f_code, line.f_lineno), np.full(shape, np.nan, dtype))

    def attribute(array, name):
        """What the simulator's arrays hand on to NumPy's, if arrays on a GPU have it too."""
        if name not in {"dtype", "ndim", "size", "strides", "flags", "squeeze"}:
            raise AttributeError(f"arrays on a GPU have no attribute {name!r}")
        return getattr(array._ary, name)

    kernelapi.FakeCUDAShared.array, devicearray.FakeCUDAArray.__getattr__ = shared_array, attribute
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "lt", "le", "gt", "ge"):
        delattr(devicearray.FakeCUDAArray, f"__{name}__")
settings.load_profile("simulator" if SIMULATED else "fastbp")


@pytest.fixture(autouse=True)
def own_names():
    """What a test registers is gone after it."""
    kept = [(table, dict(table)) for table in (activations.BY_NAME, losses.BY_NAME)]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)
