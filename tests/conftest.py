"""Settings shared by all tests."""

import shutil
import signal

import pytest
from hypothesis import HealthCheck, settings
from tolerances import SIMULATED

from fastbp.compiling.cache import cache_folder
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
# In the simulator a launch takes some milliseconds.
settings.register_profile("simulator", parent=settings.get_profile("fastbp"), max_examples=8)
settings.register_profile("full simulator", parent=settings.get_profile("full"), max_examples=30)
if SIMULATED:
    import simulator  # noqa: F401  (it changes Numba's)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the tests marked full too, and properties on 300 random "
                     "examples instead of 30 that are the same in every run")


def pytest_configure(config):
    full = config.getoption("full")
    settings.load_profile(("full simulator" if full else "simulator") if SIMULATED else "full" if full else "fastbp")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("full") and not config.getoption("full"):
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
        shutil.copytree(cache_folder(), folder / "fastbp" / cache_folder().name)
    return folder
