"""Threads: how many, the same bits for any number, and neither abort nor hang on any threading layer of Numba."""

import functools
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from tolerances import CPU_BACKENDS

import fastbp

BACKENDS = [name for name in CPU_BACKENDS if name != "blas"]  # whose kernels enter parallel regions
LAYERS = ["omp", "tbb", "workqueue"]
THREADS, SEEDS = 4, 4

#: Seconds until a process has hung, and until it has compiled all kernels.
HUNG, COMPILED = 60, 600

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")


@functools.cache
def tbb_folder():
    """Where pip put the library of the package tbb: in a virtual environment, where the loader does not look."""
    try:
        files = importlib.metadata.files("tbb") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    return next((str(Path(file.locate()).resolve().parent) for file in files if file.name == "libtbb.so.12"), "")


def run(script, *arguments, layer="default", threads=THREADS, timeout=HUNG):
    """The words that a Python program prints, in a process of its own which is killed when it hangs."""
    environment = {"PYTHONPATH": str(Path(fastbp.__file__).parents[1]), "NUMBA_THREADING_LAYER": layer}
    environment |= {"LD_LIBRARY_PATH": tbb_folder()} if layer == "tbb" else {}
    environment |= {"NUMBA_NUM_THREADS": str(threads)} if threads else {}
    process = subprocess.Popen([sys.executable, "-P", "-c", script, *map(str, arguments)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               env={name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
                               | environment)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its children too, which have the other ends of the pipes
        pytest.fail(f"hung: {process.communicate()}")
    assert process.returncode == 0, errors
    return output.split()


#: In the short run "loops", whose parallel regions are entered in the same way, is tried on one layer only.
each_layer_and_backend = pytest.mark.parametrize(("layer", "backend"), [
    pytest.param(layer, backend, marks=[] if backend == "tiled" or layer == "workqueue" else [pytest.mark.full])
    for layer in LAYERS for backend in BACKENDS], indirect=["layer"])


@pytest.fixture(scope="module", params=LAYERS)
def layer(request):
    """A threading layer, if it can be loaded here."""
    try:
        run("import numba; numba.get_num_threads()", layer=request.param)
    except AssertionError as error:
        pytest.skip(f"{request.param}: {str(error).splitlines()[-1]}")
    return request.param


# 20 steps on 150 samples of a network with 6757 parameters: 6 million operations a step, enough for parallel regions.
PROGRAM = """
import hashlib, multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import numpy as np

import fastbp
from fastbp import threads

backend = sys.argv[1]
rng = np.random.default_rng(0)
X, labels = rng.normal(size=(600, 37)).astype("float32"), rng.integers(0, 7, 600)
allowed, counts = threads.allowed, set()

@contextmanager
def watched(*operations):
    with allowed(*operations) as count:
        counts.add(count)
        assert count == 1 or count == numba.get_num_threads()  # what a prange takes
        yield count

threads.allowed = watched

def digest(values):
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]

def trained(seed):
    net = fastbp.MLP([37, 150, 7], activation="tanh", seed=seed, backend=backend)
    net.fit(X, labels, batch_size=150, epochs=5, seed=seed, progress=False)
    return digest(net.theta)

def in_child(task):
    # What a task prints in a forked child, which has ten seconds for it.
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        task()
        sys.stdout.flush()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, status
"""


@functools.cache
def alone(backend):
    """What each network is after training alone on one thread."""
    return run(PROGRAM + f"print(*map(trained, range({SEEDS})))", backend, threads=1, timeout=COMPILED)


@each_layer_and_backend
def test_any_number_gives_the_same_bits(layer, backend):
    script = PROGRAM + """
fastbp.set_num_threads(1)
with allowed():
    assert numba.threading_layer() == sys.argv[2]  # or some cached kernels would crash
for n in [1, 2, 3, 4]:
    fastbp.set_num_threads(n)
    counts.clear()
    print(trained(0))
    assert counts == {n}, counts
    assert numba.get_num_threads() == 4
numba.set_num_threads(2)
print(trained(0))
assert counts == {4, 2}, counts
assert numba.get_num_threads() == 2
"""
    assert run(script, backend, layer, layer=layer) == [alone(backend)[0]] * 5


@each_layer_and_backend
def test_python_threads_at_once(layer, backend):
    """Two and then four, each with a network of its own; then four with one network."""
    script = PROGRAM + """
def train_again(seed):
    together.wait()
    return [trained(seed) for _ in range(5)]
for n in [2, 4]:
    together = threading.Barrier(n)
    with ThreadPoolExecutor(n) as pool:
        for digests in pool.map(train_again, range(n)):
            print(*digests)
assert max(counts) > 1, counts

def count_allowed():
    with allowed() as count:
        return count
with ThreadPoolExecutor(1) as pool:
    with allowed() as count:
        beside = pool.submit(count_allowed).result()
assert count == count_allowed() == 4
assert beside == (1 if numba.threading_layer() == "workqueue" else 2)

net = fastbp.MLP([37, 150, 7], seed=0, backend=backend)
expected = digest(net.forward(X))
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(lambda _: digest(net.forward(X)), range(50))) == {expected}
"""
    expected = [digest for n in (2, 4) for digest in alone(backend)[:n] for _ in range(5)]
    assert run(script, backend, layer=layer) == expected


@needs_fork
@each_layer_and_backend
def test_children_of_a_parent_that_trained(layer, backend):
    script = PROGRAM + """
def child():
    print(trained(1))
    assert counts == {4 if numba.threading_layer() == "workqueue" else 1}, counts
    in_child(lambda: print(trained(2)))
    with ThreadPoolExecutor(2) as pool:
        print(*pool.map(trained, [0, 1]))

print(trained(0))
counts.clear()
in_child(child)
with ThreadPoolExecutor(1) as pool:  # forked from another thread than the first
    pool.submit(in_child, lambda: print(trained(3))).result()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*pool.map_async(trained, [1, 2]).get(20))
print(trained(3))
"""
    assert run(script, backend, layer=layer) == [alone(backend)[k] for k in [0, 1, 2, 0, 1, 3, 1, 2, 3]]


@needs_fork
@each_layer_and_backend
def test_children_of_a_parent_that_trains(layer, backend):
    """The first child comes before any training, the others while another thread trains."""
    script = PROGRAM + """
stop = threading.Event()
def train_on():
    while not stop.is_set():
        assert trained(3) == sys.argv[2]
def child():
    counts.clear()
    print(trained(0))
    assert counts == {4 if numba.threading_layer() == "workqueue" else 1}, counts

fastbp.MLP([37, 7], backend=backend)  # imports the backend; no child may be forked meanwhile
in_child(child)
with ThreadPoolExecutor(1) as pool:
    training = pool.submit(train_on)
    try:
        for _ in range(12):
            time.sleep(0.01)
            in_child(child)
    finally:
        stop.set()
    training.result()
"""
    expected = alone(backend)
    assert run(script, backend, expected[3], layer=layer) == [expected[0]] * 13


@each_layer_and_backend
def test_joblib(layer, backend):
    """Workers train after their parent did. (Those of loky get `trained` by value, and know no `watched`.)"""
    script = PROGRAM + """
from joblib import Parallel, delayed

print(trained(0))
threads.allowed = allowed
for workers in ["threading", "multiprocessing", "loky"]:
    print(*Parallel(2, backend=workers, timeout=40)(delayed(trained)(seed) for seed in range(4)))
"""
    pytest.importorskip("joblib")
    expected = alone(backend)
    assert run(script, backend, layer=layer) == [expected[0], *expected * 3]


@needs_fork
@pytest.mark.parametrize("lock", ["numba.core.compiler_lock.global_compiler_lock", "llvmlite.binding.ffi.lib._lock"])
def test_a_fork_waits_for_the_compiler(lock):
    script = PROGRAM + f"""
import llvmlite.binding

compiling = threading.Event()
def compile_for_a_while():
    with {lock}:
        compiling.set()
        time.sleep(0.3)
with ThreadPoolExecutor(1) as pool:
    pool.submit(compile_for_a_while)
    compiling.wait()
    in_child(lambda: print(numba.njit(lambda x: x + 1)(1)))
print(numba.njit(lambda x: x + 2)(1))
"""
    assert run(script, "loops") == ["2", "3"]


@needs_fork
def test_a_killed_child_leaves_no_lock_behind(layer):
    script = PROGRAM + """
def call():
    with allowed():
        pass
call()
for _ in range(20):
    child = os.fork()
    while child == 0:
        call()
    time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    call()
"""
    run(script, "loops", layer=layer)


def test_all_that_numba_has_unless_told():
    shown = "import numba, fastbp; print(fastbp.get_num_threads(), numba.config.NUMBA_DEFAULT_NUM_THREADS)"
    assert run(shown, threads=3)[0] == "3"
    found, cores = run(shown, threads=None)
    assert found == cores


@pytest.mark.parametrize(("n", "error", "message"), [
    (0, ValueError, "n: expected at least 1, found 0"),
    (numba.config.NUMBA_NUM_THREADS + 1, ValueError, "NUMBA_NUM_THREADS before Python starts"),
    (1.5, TypeError, "n: expected a whole number, found 1.5"),
    (True, TypeError, "found True")])
def test_numbers_that_are_refused(n, error, message):
    before = fastbp.get_num_threads()
    with pytest.raises(error, match=re.escape(message)):
        fastbp.set_num_threads(n)
    assert fastbp.get_num_threads() == before
