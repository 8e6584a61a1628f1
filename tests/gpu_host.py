"""Runs the host's side of the backend "cuda" on a stand-in for the driver, and prints what it asked of it. Run by
`test_cuda_host` in a process of its own.

    python tests/gpu_host.py interrupted layers fused chunks        a line of JSON: some results of each
"""

import ctypes
import functools
import gc
import json
import os
import signal
import sys
import warnings

import fake_driver

driver = fake_driver.install()

import numpy as np  # noqa: E402
from numba import cuda  # noqa: E402

cuda.jit = functools.partial(cuda.jit, opt=False)  # which compiles in less time

import fastbp  # noqa: E402
from fastbp.backends.gpu import memory, propagation  # noqa: E402
from fastbp.backends.gpu.updates import CONTROLS, RECORD_WEIGHT, RECORDS, TAKEN  # noqa: E402
from fastbp.pace import Pace  # noqa: E402

#: The parameters of a launch for an array of one dimension, of two and of three, and which of them is its address.
VECTOR, MATRIX, BOX, ADDRESS = 7, 9, 11, 4

#: The calls of the driver whose order is told.
OF_INTEREST = {"cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuEventRecord", "cuEventSynchronize", "cuStreamWaitEvent",
               "cuStreamSynchronize", "cuGraphLaunch", "cuMemAlloc"}

TAKEN_BY = []  # how many steps each launch of the fused kernel took


def take(control, records, steps):
    """Let `control` and `records` at these addresses say that so many further steps were taken."""
    found = np.ctypeslib.as_array((ctypes.c_double * CONTROLS).from_address(control))
    written = np.ctypeslib.as_array((ctypes.c_double * (RECORDS * 4096)).from_address(records)).reshape(-1, RECORDS)
    begin = int(found[TAKEN])
    written[begin : begin + steps] = 0.0
    written[begin : begin + steps, RECORD_WEIGHT] = 1.0
    found[TAKEN] += steps


def written(at):
    """Of the kernel `write`: theta, grad, averages, rows, control, totals, records, stride."""
    control = 2 * VECTOR + 2 * MATRIX
    places = at(control + ADDRESS), at(control + 2 * VECTOR + ADDRESS)
    return lambda: take(*places, 1)


def steps_taken(at):
    """Of the kernel `take_steps`: see `fused.fused_steps`."""
    first = 2 * VECTOR + 3 * MATRIX + VECTOR + MATRIX + 2 * VECTOR
    control = first + 2 + 5 * VECTOR + 2 * MATRIX + BOX + MATRIX + 1 + VECTOR
    steps, places = at(first + 1), (at(control + ADDRESS), at(control + VECTOR + ADDRESS))

    def run():
        TAKEN_BY.append(steps)
        take(*places, steps)

    return run


driver.effects.update(write=written, take_steps=steps_taken)
Pace.next_slice = lambda pace, threads: (1, 10**6)  # a training is one slice
rng = np.random.default_rng(0)


def trained(n, epochs, **fit):
    """What a training asks of the driver."""
    net = fastbp.MLP([3, 5, 2], seed=0, backend="cuda")
    X, d = rng.normal(size=(n, 3)), np.arange(n) % 2
    driver.calls.clear()
    driver.launches.clear()
    driver.order.clear()
    history = net.fit(X, d, epochs=epochs, batch_size=8, seed=0, **fit)
    order = [name for name in driver.order if name in driver.launches or name in OF_INTEREST]
    return {"epochs": history.epochs, "updates": int(history.optimizer_state.updates[0]),
            "held": sum(driver.held.values()), "calls": dict(driver.calls), "launches": dict(driver.launches),
            "order": order}


BY_NORM = {"optimizer": fastbp.SGD(0.1, clip_norm=1.0)}


def interrupted():
    """Ctrl-C while the gradient's kernel is compiled, of which nothing was before."""
    loaded = []

    def press(name):
        loaded.append(name)
        if name == "gradient":
            signal.raise_signal(signal.SIGINT)

    driver.on_load = press
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = trained(20, 3, **BY_NORM)
    driver.on_load = lambda name: None
    return [found, {"loaded": loaded, "said": [str(warning.message) for warning in said]}]


def layers():
    """By layers: in graphs, in one for each epoch, and where the driver captures none."""
    found = [trained(20, 3, **BY_NORM), trained(20, 3, dropout=0.5)]
    driver.refuses_to_capture = True
    found.append(trained(20, 3, **BY_NORM))
    driver.refuses_to_capture = False
    return found


def fused():
    """Many steps in a launch; and the memory of the device that is held after each further training."""
    found, held = [trained(20, 7)], []
    for _ in range(4):
        trained(20, 7)
        gc.collect()
        cuda.current_context().deallocations.clear()
        held.append(sum(driver.held.values()))
    return [*found, {"steps": TAKEN_BY[:3], "held": held}]


def chunks():
    """On samples that do not fit on the device."""
    memory.RESIDENT_SHARE, propagation.MAX_CHUNK = -1.0, 5
    return [trained(16, 1)]


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}), flush=True)
    os._exit(0)  # the stand-in is Python too, and cannot be called any more when the packages of CUDA end
