"""The backend "cuda" where there is no GPU: it says so, and its kernels compile for every kind of GPU all the same."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

ENVIRONMENT = {**{name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"},
               "PYTHONPATH": str(Path(fastbp.__file__).parents[1]), "CUDA_VISIBLE_DEVICES": "-1"}


def run(*arguments):
    """What a Python program prints, where there is neither a GPU nor the simulator."""
    finished = subprocess.run([sys.executable, "-P", "-W", "error", *arguments], capture_output=True, text=True,
                              env=ENVIRONMENT)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


PRODUCTS = ("forward ", "backward", "gradient product")

HIDDEN = """
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *of: None if name.partition(".")[0] == "numba_cuda" else find_spec(name, *of)
"""

ASKED = """
import numpy as np
import fastbp
import fastbp.backends.gpu.driver
for attempt in range(2):
    try:
        fastbp.MLP([2, 2], backend="cuda")
    except (ImportError, RuntimeError) as error:
        print(type(error).__name__, error)
net = fastbp.MLP([2, 3, 2], seed=0)
net.fit(np.eye(2), [0, 1], epochs=1)
print(net.backend)
"""


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_without_a_gpu_one_sentence_says_so():
    refused = "NoGpuError backend 'cuda' needs an NVIDIA GPU and its driver, and found none that it can use"
    assert run("-c", ASKED).splitlines() == [refused, refused, "tiled"]


def test_without_numba_cuda_one_sentence_says_what_to_install():
    refused = "ImportError backend 'cuda' needs numba-cuda: pip install 'fastbp[cuda]'"
    assert run("-c", HIDDEN + ASKED).splitlines() == [refused, refused, "tiled"]


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
@pytest.mark.parametrize(("capability", "dtype", "options"), [
    ("9.0", "float32", ["few", "-v"]),
    pytest.param("7.0", "float64", ["few"], marks=pytest.mark.full),
    pytest.param("9.0", "float32", ["-v"], marks=pytest.mark.full),
    pytest.param("7.0", "float32", [], marks=pytest.mark.full),
    pytest.param("9.0", "float64", [], marks=pytest.mark.full)])
def test_kernels_compile(capability, dtype, options):
    """Register tiles stay in registers, shared memory is read 16 bytes at a time, and nothing is rounded to less."""
    kernels = [json.loads(line) for line in run(Path(__file__).with_name("gpu_kernels.py"), capability, dtype, *options)
               .splitlines()]
    (target,) = {kernel["target"] for kernel in kernels}  # toolkits from 13 on know none below 7.5
    assert target in {"7.0": ("sm_70", "sm_75"), "9.0": ("sm_90",)}[capability]
    names = [kernel["name"] for kernel in kernels]
    assert len(names) > (40 if "few" in options else 70)
    assert sum(name.startswith("fused ") for name in names) >= (1 if "few" in options else 4)
    assert all(any(name.startswith(product) for name in names) for product in PRODUCTS)
    for kernel in kernels:
        name = kernel["name"]
        assert not kernel["unresolved"], name
        # CUDA's own erfcx of float32, in gelu, divides so.
        assert not kernel["approximate division"] or "gelu" in name, name
        is_product = name.startswith(PRODUCTS)
        if is_product or name.startswith("fused "):
            assert not kernel["local"], name
            assert kernel["16-byte loads"] >= 4, name
        if is_product and dtype == "float32":
            assert not kernel["float64"], name
        if "registers" in kernel:
            assert_fits(kernel)


def assert_fits(kernel):
    """What ptxas says of a kernel of float32: no product spills, and blocks fit in registers and shared memory."""
    name, registers, stack = kernel["name"], kernel["registers"], kernel["stack"]
    assert kernel["shared"] <= 48 * 1024, name
    if name.startswith("fused "):  # tanh and gelu in tiles of 4 spill some numbers, for want of a 256th register
        assert stack <= (48 if name.endswith("tile 4") else 0), (name, stack)
    else:
        assert stack == 0, name
        # With 128 a multiprocessor has room for two large blocks.
        has_room = name == "gradient product 256" or ("256 by quads" in name and not name.startswith("forward relu"))
        bound = 128 if has_room else 192 if name.startswith(PRODUCTS) else 96
        assert registers <= bound, (name, registers)


VERSIONS = """
from types import SimpleNamespace
from fastbp.backends.gpu import device
made = []
def compile_version(dispatcher, signature):
    made.append(SimpleNamespace(cooperative=False))
    return made[-1]
dispatcher = type(device.cuda.jit(lambda a: None))
dispatcher.compile = compile_version
for decorator in (device.cooperative_kernel, device.kernel):
    kernel = decorator(lambda a: None)
    for argument in (1, 1.0):  # as launches do
        kernel.compiled._compile_for_args(argument)
print([version.cooperative for version in made])
"""


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_every_version_of_a_kernel_whose_blocks_wait_for_each_other_is_launched_so():
    """Not only that of the types of the first launch: with more blocks than run together it would wait for ever."""
    assert run("-c", VERSIONS) == "[True, True, False, False]\n"


SHAPES = """
from types import SimpleNamespace
from fastbp.backends.gpu.shape import DEPTH, shape_of
from fastbp.layout import make_layout
taken = 0
for widths in [(784, 128, 10), (784, 32, 10), (8, 16, 4), (30, 20, 3), (8, 1), (54, 128, 64, 7), (500, 100, 2)]:
    layout = make_layout(widths)
    for itemsize in (4, 8):
        network = SimpleNamespace(widths=widths, units=layout.units.tolist(), size=layout.size, itemsize=itemsize)
        for batch in (1, 64, 128, 509, 512, 1000, 1024, 2**14, 2**18):
            shape = shape_of(network, batch)
            if shape:
                taken += 1
                brought = -(-DEPTH * shape.each * shape.threads // (shape.tile // 4) // shape.threads)
                assert brought <= 8, (widths, itemsize, batch, shape)
                assert shape.threads % 32 == 0
print(taken)
"""


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_no_shape_of_a_tile_spills():
    """Threads that bring 16 or 32 numbers of a slab, as those of small tiles with 4 units each did, have no registers
    left."""
    assert int(run("-c", SHAPES)) > 50
