"""How the kernels are compiled, cached, threaded and bounded in memory: everything that needs a fresh process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tolerances import CPU_BACKENDS, DTYPES

import fastbp

PACKAGE = Path(fastbp.__file__).parent


def run(script, *arguments, path=PACKAGE.parent, **environment):
    """What a Python program prints, in a process of its own that imports fastbp from a folder (-P: from no other)."""
    finished = subprocess.run([sys.executable, "-P", "-W", "error", "-c", script, *arguments], capture_output=True,
                              text=True, env=os.environ | {"PYTHONPATH": str(path)} | environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


THREADS = """
import sys
import numba, numpy as np
from fastbp import MLP, Adam

_, dtype, backend = sys.argv
rng = np.random.default_rng(0)
X, labels = rng.normal(size=(600, 11)), rng.integers(0, 5, 600)
for threads in [1, 2, 3, 4] * 3:
    numba.set_num_threads(threads)
    net = MLP([11, 133, 47, 5], activation="silu", dtype=dtype, seed=0, backend=backend)
    results = [net.forward(X), net.input_gradient(X, labels), net.accumulate_gradient(X, labels), net.grad.copy()]
    Es = [net.loss_value(X[:n], labels[:n]) for n in range(100, 600, 25)]  # one sum may agree by chance
    net.zero_grad()
    for s in range(0, 600, 10):  # so little at a time that one thread does it
        net.accumulate_gradient(X[s : s + 10], labels[s : s + 10])
    if backend == "loops":  # it adds one sample after another, however they come
        assert np.array_equal(net.grad, results[-1])
    history = net.fit(X, labels, optimizer=Adam(0.01), batch_size=60, epochs=1, progress=False)
    print(*(hash(np.asarray(result).tobytes()) for result in [*results, Es, history["loss"], net.theta]))
"""


@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "blas"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_change_a_bit(dtype, backend):
    """Gradients and ten steps on 1 to 4 threads, three times each."""
    lines = run(THREADS, dtype, backend, NUMBA_NUM_THREADS="4").splitlines()
    assert len(lines) == 12
    assert len(set(lines)) == 1


CHUNKS = """
import sys
import numpy as np
import fastbp
from fastbp import MLP, SGD
from fastbp.backends.tiles.job import fields

dtype = sys.argv[1]
rng = np.random.default_rng(0)
# the last chunk may be of samples that go one by one; gradients of the second network are kept in several rounds
for widths, chunks, rest in [([4, 9, 3], 9, 3), ([4, 9, 3], 9, 100), ([200, 200, 5], 21, 1)]:
    with MLP(widths, dtype=dtype, backend="tiled").workspace(10**5) as job:
        n = chunks * int(fields(job).chunk) + rest
        assert fields(job).crew_size == 4
    X = rng.normal(size=(n, widths[0])).astype(dtype)
    labels, weights = rng.integers(0, widths[-1], n), rng.uniform(size=n)
    results = set()
    for threads in [1, 2, 3, 4] * 2:
        fastbp.set_num_threads(threads)
        net = MLP(widths, dtype=dtype, seed=0, backend="tiled")
        net.grad[:] = -0.0
        net.grad[0] = 3.0
        Es = [net.accumulate_gradient(X, labels), net.accumulate_gradient(X[:-300], labels[:-300], weights[:-300]),
              net.accumulate_gradient(X, labels, weights, clip_norm=0.1)]
        settings = dict(optimizer=SGD(0.01), epochs=2, batch_size=n, progress=False, seed=1)
        history = net.fit(X, labels, **settings, dropout=0.3)
        losses = history["loss"] + net.fit(X, labels, **settings, sample_weight=weights, clip_sample_norm=0.1)["loss"]
        results.add((net.grad.tobytes(), np.array(Es + losses).tobytes(), net.theta.tobytes()))
    print(len(results), np.isfinite(net.theta).all())
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_of_many_chunks_have_the_same_bits_on_threads_that_share_them(dtype):
    """Gradients and steps on 1 to 4 threads, twice each, added to numbers that are there, with 0 and -0 among them."""
    assert run(CHUNKS, dtype, NUMBA_NUM_THREADS="4").split() == ["1", "True"] * 3


LINEAR_ALGEBRA = """
import sys
import numba, numpy as np
import fastbp

net = fastbp.MLP([3, 4, 2], seed=0)
net.forward(np.zeros((1, 3)))
print(any(name.startswith("scipy.linalg") for name in sys.modules))
matrix = np.array([[1.0, 2.0], [3.0, 5.0]])
for own in (np.dot, np.linalg.inv):
    compiled = numba.njit(lambda a: own(a, a)) if own is np.dot else numba.njit(lambda a: np.linalg.inv(a))
    assert np.allclose(compiled(matrix), own(matrix, matrix) if own is np.dot else own(matrix))
assert np.allclose(numba.njit(lambda a: np.cov(a))(matrix), np.cov(matrix))
"""


def test_linear_algebra_of_scipy_is_not_imported_and_works_in_users_functions():
    pytest.importorskip("scipy")
    assert run(LINEAR_ALGEBRA) == "False"


SIGNATURES = """
import sys
import numpy as np
import fastbp
from fastbp import MLP, SGD, Adam
from scipy import sparse

backend = sys.argv[1]
fastbp.checks.samples.SMALL_COPY = 0
rng = np.random.default_rng(0)
for depth in range(1, 7):
    widths = [*range(8 - depth, 8), 3]
    X, labels = rng.normal(size=(20, widths[0])).astype("float32"), rng.integers(0, 3, 20)
    read_only = X.copy()
    read_only.setflags(write=False)
    for kind, given in [("labels", X), ("rows", read_only), ("weights", X.repeat(2, axis=0)[::2]), ("bits", X),
                        ("bytes", X.astype("uint8")), ("columns", np.asfortranarray(X)),
                        ("sparse", sparse.csr_array(X * (X > 2)))]:
        d = labels if kind in ("labels", "weights") else np.eye(3)[labels]
        weight = rng.uniform(size=20) if kind == "weights" else None
        net = MLP(widths, activation="relu", backend=backend, seed=0,
                  loss="binary_cross_entropy" if kind == "bits" else "softmax_cross_entropy")
        net.forward(given)
        net.loss_value(given, d, weight)
        net.input_gradient(given, d, weight)
        net.accumulate_gradient(given, d, weight)
        net.step(0.1)
        net.fit(given, d, sample_weight=weight, batch_size=6, epochs=2, shuffle=kind == "rows", progress=False,
                replacement=kind == "bits", optimizer=Adam(0.01) if kind == "weights" else SGD(0.1, clip_norm=1.0))
module = sys.modules[f"fastbp.backends.{backend}"]
largest_magnitude = fastbp.checks.arrays.MAGNITUDE_KERNELS[np.dtype("float32")]
for kernel in (module.propagate_arrays, module.train, fastbp.optimizers.updates.descend, largest_magnitude):
    print(len(kernel.signatures), sum(kernel.stats.cache_misses.values()))
if backend == "loops" and module.propagate_arrays.stats.cache_misses:
    assert {len(kernel.signatures) for kernel in (module.propagate_sample, module.add_unit_gradient)} == {1}
"""


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_one_compiled_kernel_serves_every_network_of_a_dtype(backend):
    """Depth 1 to 6, labels and rows, with and without weights, shuffled and not; input of any dtype and order."""
    compiled = run(SIGNATURES, backend).splitlines()
    assert [line.split()[0] for line in compiled] == ["1"] * 4
    assert run(SIGNATURES, backend).splitlines() == ["1 0"] * 4  # the next process finds them in the cache


IMPORTS = """
import sys
import fastbp
from numba.core.dispatcher import Dispatcher

kernels = {id(value): value for name, module in list(sys.modules.items()) if name.partition(".")[0] == "fastbp"
           for value in vars(module).values() if isinstance(value, Dispatcher)}
print(len(kernels), sum(len(kernel.signatures) for kernel in kernels.values()))
print(*(name for name in ("scipy.linalg", "sklearn", "matplotlib", "pandas", "tqdm", "numba.cuda")
        if name in sys.modules))
"""


def test_importing_compiles_nothing_and_loads_no_optional_package():
    counts, *optional = run(IMPORTS).splitlines()
    kernels, signatures = map(int, counts.split())
    assert kernels > 30
    assert signatures == 0
    assert optional == []


LEAKY = """
import numpy as np
from fastbp import MLP
from fastbp.backends import loops
from fastbp.backends.sample import NO_MASKS
net = MLP([1, 1], activation=["leaky_relu"], loss="squared_error", backend="loops")
net.theta[:] = 1, 0
a, h = np.array([0, 0], "float32"), np.array([-100, 0], "float32")
loops.forward_sample(net.theta, net.layout, a, h, NO_MASKS)
print(h[1])
"""


def test_an_edited_formula_is_never_served_from_the_cache(tmp_path, own_cache):
    """The kernel is in loops.py; the formula that it calls, in another file, changes."""
    package = tmp_path / "fastbp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))

    def cached_files():
        return {path: path.stat().st_mtime_ns for path in own_cache.rglob("*") if path.is_file()}

    def evaluate():
        return float(run(LEAKY, path=tmp_path, NUMBA_CACHE_DIR=str(own_cache)))

    assert evaluate() == -1.0
    files = cached_files()
    assert files
    assert evaluate() == -1.0
    assert cached_files() == files  # read, not written again

    formulas = package / "formulas" / "activations.py"
    edited = formulas.read_text().replace("T(0.01) * a", "T(0.02) * a")
    assert edited != formulas.read_text()
    formulas.write_text(edited)
    assert evaluate() == -2.0


TILED = """
from fastbp import MLP
net = MLP([1, 1], activation=["leaky_relu"], loss="squared_error", backend="tiled")
net.theta[:] = 1, 0
print(net.forward([[-100.0]])[0, 0])
"""


def test_edited_code_that_is_called_by_address_is_never_served_from_the_cache(tmp_path, own_cache):
    """A formula, and then a function in `tiles`, whose callers are in other files and hold only their addresses."""
    package = tmp_path / "fastbp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    edits = [("formulas/activations.py", "T(0.01) * a", "T(0.02) * a", -2.0),
             ("backends/tiles/rows.py", "] = h_L[", "] = -h_L[", 2.0)]

    def evaluate():
        return float(run(TILED, path=tmp_path, NUMBA_CACHE_DIR=str(own_cache)))

    assert evaluate() == -1.0
    for file, old, new, expected in edits:
        text = (package / file).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (package / file).write_text(text.replace(old, new), encoding="utf-8")
        assert evaluate() == expected


UNWRITABLE = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastbp import SGD
    theta, grad = np.ones(3), np.ones(3)
    sgd = SGD(0.25)
    sgd.step(theta, grad, sgd.start(theta))
print([warning.category.__name__ for warning in caught], theta)
"""


def test_a_cache_that_cannot_be_written_costs_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert run(UNWRITABLE, NUMBA_CACHE_DIR=str(blocked / "cache")) == "['RuntimeWarning'] [0.75 0.75 0.75]"


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from fastbp import MLP


def peak():
    if Path("/proc/self/status").exists():
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * int(status["VmHWM"].split()[0])
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak():
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


net = MLP([20, 50, 10], activation="tanh", dtype="float64", seed=0, backend=sys.argv[1])
X, d = np.ones((100_000, 20)), np.zeros(100_000, np.int64)
for n in (1_000, 100_000):
    for work in (lambda: net.accumulate_gradient(X[:n], d[:n]), lambda: net.forward(X[:n])):
        reset_peak()
        before = peak()
        work()
        print(peak() - before)
"""


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_memory_does_not_grow_with_the_batch(backend):
    """100,000 samples beyond X and Y take below 8 MiB; their gradients, one by one, would take 1.2 GB."""
    *_, gradient, forward = map(int, run(MEMORY, backend).splitlines())
    assert gradient < 2**23
    assert forward < 2**23 + 100_000 * 10 * 8
