"""Settings shared by all tests."""

import shutil
import signal
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from tolerances import SIMULATED

from fastbp.compiling.cache import cache_folder, package_digest
from fastbp.functions import activations, losses

# A reference that needs PyTorch; the tests read what it stored.
collect_ignore = ["make_pytorch_reference.py"]

# A shell lets what it starts in the background ignore Ctrl-C, which tests send to themselves and to other processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example of a property compiles kernels, which no deadline should count.
settings.register_profile("fastbp", deadline=None, derandomize=True, max_examples=30,
                          suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", parent=settings.get_profile("fastbp"), derandomize=False, max_examples=300,
                          print_blob=True)
# In the simulator a launch takes 10 ms and more, most of it handing Python from thread to thread.
settings.register_profile("simulator", parent=settings.get_profile("fastbp"), max_examples=4)
settings.register_profile("full simulator", parent=settings.get_profile("full"), max_examples=30)
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


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the tests marked full too, and properties on 300 random "
                     "examples instead of 30 that are the same in every run")


def pytest_configure(config):
    full = config.getoption("full")
    settings.load_profile(("full simulator" if full else "simulator") if SIMULATED else "full" if full else "fastbp")


def pytest_collection_modifyitems(config, items):
    """In the short run, leave out what is marked full, and in the simulator what shows no parameter's value anew."""
    if config.getoption("full"):
        return
    seen = set()
    for item in items:
        left_out = item.get_closest_marker("full")
        if SIMULATED and item.get_closest_marker("cuda") and hasattr(item, "callspec"):
            values = {(item.function, name, repr(value)) for name, value in item.callspec.params.items()}
            left_out = left_out or values <= seen
            seen |= values
        if left_out:
            item.add_marker(pytest.mark.skip(reason="only with --full"))


@pytest.fixture(autouse=True)
def own_names():
    """What a test registers is gone after it."""
    kept = [(table, dict(table)) for table in (activations.BY_NAME, losses.BY_NAME)]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


@pytest.fixture
def own_cache(tmp_path):
    """A copy of the kernel cache, for NUMBA_CACHE_DIR of processes that leave in it what nothing else may find."""
    folder = tmp_path / "cache"
    if cache_folder() is not None:
        shutil.copytree(cache_folder(), folder / "fastbp" / package_digest())
    return folder
