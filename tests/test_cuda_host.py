"""What the host of the backend "cuda" asks of the driver: launches, copies, graphs and memory, on a stand-in for it."""

import ctypes.util
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import fastbp

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda"),
    pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs cc on Linux"),
    pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="there is a driver")]

#: A step by layers of a network with L = 2 has 4 L + 5 launches, and four more where the gradient's norm is bounded.
STEP = ["gather_inputs", "forward", "forward", "evaluate_outputs", "add_outcomes", "backward", "gradient", "add_slices",
        "gradient", "add_slices", "set_weight", "find_largest", "end_largest", "sum_squares", "clip", "look", "write"]


@pytest.fixture(scope="module")
def told():
    """What `gpu_host.py` prints."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    script = [Path(__file__).with_name("gpu_host.py"), "interrupted", "layers", "fused", "chunks"]
    finished = subprocess.run([sys.executable, "-W", "error", *script], capture_output=True, text=True,
                              env=environment | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])})
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def steps_of(training):
    """The launches of each step."""
    names, steps = [name for name in training["order"] if name in {*STEP, "drop_units"}], []
    for name in names:
        if name == "gather_inputs":
            steps.append([])
        steps[-1].append(name)
    return steps


def test_steps_by_layers_are_captured_once_and_replayed(told):
    """Of nine steps six have whole batches: the first is launched, the second captured, and five launches replay it."""
    in_graphs, _, plain = told["layers"]
    assert in_graphs["updates"] == plain["updates"] == 9
    assert steps_of(in_graphs) == steps_of(plain) == [STEP] * 9
    calls = in_graphs["calls"]
    assert (calls["cuStreamBeginCapture"], calls["cuGraphInstantiateWithFlags"], calls["cuGraphLaunch"]) == (1, 1, 5)
    assert calls["cuLaunchKernelEx"] == sum(in_graphs["launches"].values()) - 4 * len(STEP)


def test_where_the_driver_captures_nothing_all_is_launched(told):
    calls = Counter(told["layers"][2]["calls"])
    assert calls["cuStreamBeginCapture"] == 1  # and is not asked again
    assert calls["cuGraphLaunch"] == 0


def test_masks_of_an_epoch_are_captured_anew(told):
    dropped = told["layers"][1]
    assert [steps.count("drop_units") for steps in steps_of(dropped)] == [1] * 9
    assert [dropped["calls"][name] for name in ("cuStreamBeginCapture", "cuGraphLaunch")] == [3, 3]
    assert dropped["calls"]["cuGraphExecDestroy"] == 2


def test_a_slice_of_whole_steps_is_read_once(told):
    """Launches of 1, 2 and 4 epochs, with one copy of coefficients and one of orders for each."""
    training, rest = told["fused"]
    assert (training["epochs"], training["updates"], rest["steps"]) == (7, 21, [3, 6, 12])
    order = training["order"]
    copies = ["cuMemcpyHtoDAsync"] * 2
    begin = order.index("take_steps") - 2
    assert order[begin:] == [*[*copies, "take_steps"] * 3, *["cuMemcpyDtoHAsync"] * 2, "cuStreamSynchronize",
                             "fill", "cuStreamSynchronize"]


def test_memory_of_networks_that_are_gone_is_freed(told):
    """But for a workspace, which may wait for the next network."""
    training, after_others = told["fused"]
    assert max(after_others["held"]) <= training["held"]


def test_chunks_are_copied_while_no_kernel_reads_their_buffer(told):
    """A chunk is waited for by kernels, and its buffer's last kernels by the copies of the next one in it."""
    (training,) = told["chunks"]
    of_interest = {"gather_inputs", "write", "cuEventSynchronize", "cuEventRecord", "cuStreamWaitEvent"}
    order = [name for name in training["order"] if name in of_interest]
    one = ["cuEventSynchronize", "cuEventRecord", "cuStreamWaitEvent", "gather_inputs", "cuEventRecord"]
    assert order == [*one, *one, "write"] * 2


def test_ctrl_c_is_heard_between_kernels_that_are_compiled(told):
    training, seen = told["interrupted"]
    assert seen["loaded"][-1] == "gradient"  # and not the six kernels after it
    assert len(seen["said"]) == 1
    assert seen["said"][0].startswith("training was interrupted in epoch 0;")
    assert training["updates"] == 0
    assert training["order"][training["order"].index("backward") + 1] == "fill"  # the gradient is 0 again
