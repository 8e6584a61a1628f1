"""`fastbp compare` on a GPU, and without one. No test needs a GPU or looks at a time."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import types
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import fake_cupy
import numpy as np
import pytest
from contestants import CEILING, assert_epochs_are_ordered_as_asked, ceiling_in, contestant_in, telling

import fastbp
from fastbp.__main__ import main
from fastbp.backends.gpu import driver
from fastbp.compare import gpu
from fastbp.compare.contestants import WORKERS, backend_contestant, gpu_ceiling_contestant, gpu_peers, peers
from fastbp.compare.csv_file import as_csv
from fastbp.compare.measuring import Settings, compare
from fastbp.compare.report import header, table
from fastbp.compare.summary import summarise
from fastbp.compare.training import TrainingRow
from fastbp.compare.workers import fastbp_fit, numpy_formulas, pytorch_graphs
from fastbp.compare.workloads import GPU_WORKLOADS, Workload

SMALL = [Workload("classes", (3, 5, 4), "relu", "softmax_cross_entropy", 4, "adam", 3),
         Workload("quantities", (2, 6, 3, 1), "tanh", "squared_error", 1, "sgd", 8),
         Workload("more batches", (3, 4, 2), "logistic", "squared_error", 5, "sgd", 70)]

FORMULAS = (WORKERS / "numpy_formulas.py").read_text(encoding="utf-8")

#: What the GPU of these tests could do.
GPU_CEILING = 50 * CEILING


@pytest.fixture
def without_gpu(monkeypatch):
    """For processes that start: no GPU to be seen, no simulator."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)


def ceilings_in(folder):
    of_gpu = contestant_in(folder, "gpu ceiling", f"def fma_ceiling(dtype):\n    return {GPU_CEILING}\n", device="gpu")
    return {"cpu": ceiling_in(folder), "gpu": of_gpu}


def compared(contestants, folder, **settings):
    return compare([TrainingRow(SMALL[0])], contestants, ceilings_in(folder),
                   Settings(**({"rounds": 2, "seconds": 0.002} | settings)))


# ---- without a GPU -------------------------------------------------------------------------------------------------


def test_without_a_gpu_cuda_alone_is_no_failure(without_gpu, capsys, tmp_path):
    saved = tmp_path / "out.json"
    assert main(["compare", "--backend", "cuda", "--save", str(saved), "--plot", str(tmp_path / "out.png")]) == 0
    output = capsys.readouterr()
    assert "nothing was timed\n\ncuda: not timed, backend 'cuda' needs " in output.out
    assert output.err == "fastbp: starting fastbp cuda\n"
    assert json.loads(saved.read_text())["workloads"] == []
    assert main(["compare", "--results", str(saved), "--against", str(saved)]) == 0
    assert main(["compare", "--backends", "cuda", "--json"]) == 0


def test_without_a_gpu_the_others_are_timed(without_gpu, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("fastbp.commands.compare.ceiling_contestant", lambda: ceiling_in(tmp_path))
    short = ["--rounds", "1", "--seconds", "0.002"]
    assert main(["compare", "--network", "3-4-2", "--backends", "cuda,loops", *short]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^3-4-2 relu, 128 +\d", shown, flags=re.M)
    assert "times as long as loops" in shown
    assert "\ncuda: not timed, backend 'cuda' needs " in shown
    assert "gpu ceiling" not in shown


def test_peers_on_a_gpu_that_cannot_run_say_why(without_gpu, tmp_path):
    absent = contestant_in(tmp_path, "absent", "def versions(options):\n    raise RuntimeError('no GPU here')\n")
    found = compared([*gpu_peers(sys.executable, "float32"), absent], tmp_path)["contestants"]
    assert found.pop("absent")["reason"] == "no GPU here"
    for name, about in found.items():
        package = "\'cupy-cuda12x[ctk]\'" if name.startswith("cupy") else "--force-reinstall torch numpy"
        installs = f"-m pip install {package}" in about["reason"]
        assert not about["runs"]
        assert installs or "PyTorch finds no NVIDIA GPU" in about["reason"] or "cudaError" in about["reason"]


def test_the_ceiling_of_an_absent_gpu_says_why(without_gpu, tmp_path):
    own = contestant_in(tmp_path, "own", FORMULAS, device="gpu")
    results = compare([TrainingRow(SMALL[0])], [own], {"gpu": gpu_ceiling_contestant()},
                      Settings(rounds=1, seconds=0.002))
    assert len(results["workloads"][0]["seconds"]["own"]) == 1
    assert "gpu ceiling: not measured, " in table({**results, "host": {}})
    assert "backend 'cuda' needs " in results["workloads"][0]["failed"]["gpu ceiling"]


# ---- who takes part ------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    found = []
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda rows, contestants, *others: found.append(
        ([row.name for row in rows], {contestant.name for contestant in contestants})) or {"workloads": []})
    monkeypatch.setattr("fastbp.commands.compare.summarise", lambda results: [])
    return found


def test_the_gpu_brings_its_own_workloads_and_peers(asked):
    of_gpu = {name + bits for name in ("cupy", "torch cuda", "torch cuda compiled", "torch cuda graphs")
              for bits in ("", " TF32")}
    for arguments in ([], ["digits", "--peers"], ["--peers", "--dtype", "float64"]):
        assert main(["compare", "--json", "--backends", "cuda", *arguments]) == 0
    assert main(["compare", "--json", "--backends", "tiled,cuda", "--peers"]) == 0
    names = [TrainingRow(workload).name for workload in GPU_WORKLOADS]
    assert names[-1] == "fashion, shuffled"
    in_float64 = {name for name in of_gpu if "TF32" not in name}
    of_processor = {peer.name for peer in peers(sys.executable, avx512=False, dtype="float32")}
    assert asked[:3] == [(names, {"fastbp cuda"}), (["digits"], {"fastbp cuda"} | of_gpu),
                         (names, {"fastbp cuda"} | in_float64)]
    assert asked[3][0] == names
    assert asked[3][1] >= {"fastbp tiled", "fastbp cuda"} | of_gpu | of_processor


def test_tf32_is_what_a_contestant_says_and_not_the_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1")
    monkeypatch.setenv("CUPY_TF32", "1")
    tells = contestant_in(tmp_path, "tells", "import os\ndef versions(options):\n    return "
                          "{name: value for name, value in os.environ.items() if 'TF32' in name}\n")
    asked = [replace(peer, module=tells.module) for peer in gpu_peers(sys.executable, "float32") if "cupy" in peer.name]
    found = compare([], asked, ceilings_in(tmp_path), Settings())["contestants"]
    assert {name: {part: value for part, value in about["versions"].items() if part != "python"}
            for name, about in found.items()} == {"cupy": {"CUPY_TF32": "0"}, "cupy TF32": {"CUPY_TF32": "1"}}


# ---- ceilings, and the tolerance of TF32 ---------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes are not bound to cores here")
def test_only_contestants_on_cores_are_bound_to_them(tmp_path):
    text = "import os\ndef versions(options):\n    return {'cores': len(os.sched_getaffinity(0))}\n"
    contestants = [contestant_in(tmp_path, device, text, device=device) for device in ("cpu", "gpu")]
    found = compare([], contestants, ceilings_in(tmp_path), Settings())["contestants"]
    assert [about["versions"]["cores"] for about in found.values()] == [1, len(os.sched_getaffinity(0))]


def test_shares_are_those_of_the_devices_own_ceiling(tmp_path):
    named = FORMULAS.replace('{"numpy": np', '{"GPU": "a fake", "numpy": np')
    threads = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    results = compared([contestant_in(tmp_path, "own", FORMULAS),
                        contestant_in(tmp_path, "on gpu", named, device="gpu")], tmp_path, threads=threads)
    row, = results["workloads"]
    assert (row["ceiling"], row["gpu_ceiling"]) == ([CEILING] * 2, [GPU_CEILING] * 2)
    summary, = summarise(results)
    for name, rate in (("own", threads * CEILING), ("on gpu", GPU_CEILING)):
        assert summary["share"][name] == pytest.approx(1e9 * summary["gflops"][name] / rate)
    assert summary["ceiling_gflops"] == pytest.approx(1e-9 * threads * CEILING)
    assert summary["gpu_ceiling_gflops"] == pytest.approx(1e-9 * GPU_CEILING)
    lines = {line["contestant"]: line for line in csv.DictReader(io.StringIO(as_csv(results)))}
    assert float(lines["on gpu"]["ceiling [GFLOP/s]"]) == pytest.approx(1e-9 * GPU_CEILING)
    assert (lines["own"]["device"], lines["on gpu"]["device"]) == ("cpu", "gpu")
    assert "GPU        a fake; ceiling 100 GFLOP/s of float32 multiply-adds without tensor cores" in header(
        {**results, "host": {}}).splitlines()
    heads = table(results, "us").splitlines()[2:4]
    assert [heads[0].split(), heads[1].split()[:4]] == [["gpu"], ["workload", "ceiling", "ceiling", "own"]]


def test_a_gpu_alone_needs_no_ceiling_of_the_processor(tmp_path):
    results = compared([contestant_in(tmp_path, "on gpu", FORMULAS, device="gpu")], tmp_path)
    assert results["workloads"][0]["ceiling"] == []
    assert summarise(results)[0]["ceiling_us"] is None
    assert table(results, "gflops").splitlines()[3].split() == ["workload", "ceiling", "on", "gpu"]


def test_tf32_may_be_further_off_but_not_wrong(tmp_path):
    def off_by(share, name, **settings):
        assert "self.flat -= rate * m" in FORMULAS
        text = FORMULAS.replace("self.flat -= rate * m", f"self.flat -= {1 + share} * rate * m")
        return contestant_in(tmp_path, name, text, peer=True, **settings)

    results = compared([off_by(0, "right"), off_by(0.07, "off"), off_by(0.07, "off TF32", rounds_to="TF32"),
                        off_by(0.4, "wrong TF32", rounds_to="TF32")], tmp_path)
    row, = results["workloads"]
    assert set(row["seconds"]) == {"right", "off TF32"}
    assert row["failed"]["off"].startswith("wrong")
    assert row["failed"]["wrong TF32"].startswith("wrong")
    assert row["disagreement"]["off TF32"] == pytest.approx(0.07, rel=1e-3)
    row["seconds"]["off TF32"] = [time / 2 for time in row["seconds"]["right"]]
    assert summarise(results)[0]["fastest_peer"] == "right"
    assert "TF32: other numbers: products in TF32 on tensor cores" in table(results)


# ---- how each trains -----------------------------------------------------------------------------------------------


def problem_of(workload, dtype="float32", **options):
    return TrainingRow(workload).problem(dtype)._replace(options=options)


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_formulas_are_computed_by_the_module_that_is_handed_in(workload):
    row, problem = TrainingRow(workload), problem_of(workload, arrays="fake_cupy", tf32=True)
    trainer = numpy_formulas.Trainer(problem.cut(3), "matrix formulas")
    assert trainer.variant == "matrix formulas, TF32 products"
    trainer.reset()
    before = fake_cupy.synchronised
    trainer.train(-(-3 // problem.cut(3).steps))
    assert fake_cupy.synchronised == before + 1
    assert type(trainer.flat) is fake_cupy.Array
    theta = trainer.result()
    assert type(theta) is np.ndarray
    assert row.disagreement(theta.astype(float), row.expected(problem), problem) < 1e-3


@pytest.mark.parametrize("shuffle", [False, True])
def test_orders_are_drawn_by_the_module_that_is_handed_in(shuffle):
    problem = telling(shuffle, arrays="fake_cupy")
    assert_epochs_are_ordered_as_asked(problem, numpy_formulas.Trainer(problem, "matrix formulas"))


def test_cupy_is_timed_like_the_others(tmp_path):
    both = [replace(peer, options={**peer.options, "arrays": "fake_cupy"},
                    environment={**peer.environment, "PYTHONPATH": str(Path(__file__).parent)})
            for peer in gpu_peers(sys.executable, "float32") if peer.name.startswith("cupy")]
    results = compared(both, tmp_path)
    row, = results["workloads"]
    assert {name: row["warm_up"][name]["variant"] for name in row["seconds"]} == {
        "cupy": "matrix formulas", "cupy TF32": "matrix formulas, TF32 products"}
    assert max(row["disagreement"].values()) < 1e-3
    assert "a fake; ceiling" in header({**results, "host": {}})


def test_what_runs_on_the_gpu_is_named(monkeypatch):
    assert numpy_formulas.versions({"arrays": "fake_cupy"}) == {"fake_cupy": "1.2", "CUDA": "12.9", "GPU": "a fake"}
    monkeypatch.setattr(fake_cupy.runtime, "getDeviceCount", fake_cupy.no_gpu)
    with pytest.raises(RuntimeError, match="no CUDA-capable device"):
        numpy_formulas.versions({"arrays": "fake_cupy"})


@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_on_a_gpu_gets_samples_that_lie_there(monkeypatch, shuffle):
    class OnDevice:
        def __init__(self, values):
            self.values = values.copy()

        def copy_to_host(self):
            return self.values

    class Net:
        backend, products = "cuda", None
        backend_module = types.SimpleNamespace(memory=types.SimpleNamespace(
            write=lambda array, values: array.values.__setitem__(..., values)))

        def __init__(self, widths, *, backend, **settings):
            assert backend == "cuda"
            self.theta = OnDevice(np.zeros_like(problem.theta))

        def fit(self, X, d, **settings):
            fitted.append((X, d, settings["shuffle"]))
            self.theta.values += 1

    fitted, problem = [], problem_of(replace(SMALL[0], shuffle=shuffle), backend="cuda")
    monkeypatch.setattr(fastbp, "MLP", Net)
    monkeypatch.setattr(driver, "cuda", types.SimpleNamespace(to_device=OnDevice))
    trainer = fastbp_fit.Trainer(problem, "fit")
    for _ in range(2):
        trainer.reset()
        trainer.train(1)
    np.testing.assert_array_equal(trainer.result(), problem.theta + 1)
    assert fitted[0] == fitted[1]  # the same objects, copied once
    np.testing.assert_array_equal(fitted[0][0].values, problem.X)
    np.testing.assert_array_equal(fitted[0][1].values, problem.d)
    assert fitted[0][2] is shuffle


# ---- PyTorch's graphs, on a processor that pretends to capture --------------------------------------------------


class Recorded:
    """What torch.cuda.CUDAGraph does, on a processor: operations are noted with the memory of the tensors they got and
    gave, and replayed from there to there."""

    def __init__(self):
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_map

        self.done = done = []

        class Mode(TorchDispatchMode):
            def __torch_dispatch__(self, operation, kinds, arguments=(), settings=None):
                found = operation(*arguments, **(settings or {}))
                parts = arguments, settings or {}, found
                done.append((operation, *tree_map(lambda part: getattr(part, "detach", lambda: part)(), parts)))
                return found

        self.mode = Mode

    def replay(self):
        import torch
        from torch.utils._pytree import tree_leaves

        with torch._C._AutoDispatchBelowAutograd():  # what was noted has been through autograd
            for operation, arguments, settings, found in self.done:
                again = operation(*arguments, **settings)
                for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@pytest.fixture
def capturing(monkeypatch):
    torch = pytest.importorskip("torch")

    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph.mode())
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)


@pytest.mark.parametrize("variant", pytorch_graphs.VARIANTS)
@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_replayed_graphs_take_the_steps_of_the_formulas(workload, variant, capturing):
    if variant.startswith("eager") and workload.optimizer == "adam":
        pytest.skip("PyTorch's Adam is captured on GPUs alone")
    row = TrainingRow(workload)
    problem = problem_of(workload, device="cpu", tf32=False)
    cut = problem.cut(3)
    trainer = pytorch_graphs.Trainer(cut, variant)
    for _ in range(2):  # a second training starts where the first did
        trainer.reset()
        trainer.train(-(-3 // cut.steps))
        assert row.disagreement(trainer.result().astype(float), row.expected(problem), problem) < 1e-3
    long = pytorch_graphs.Trainer(problem, variant)
    long.reset()
    long.train(1)
    assert len(long.graphs) == -(-problem.steps // pytorch_graphs.MOST_STEPS)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("variant", pytorch_graphs.VARIANTS)
def test_replayed_graphs_follow_every_new_order(variant, shuffle, capturing, monkeypatch):
    monkeypatch.setattr(pytorch_graphs, "MOST_STEPS", 4)
    problem = telling(shuffle, device="cpu", tf32=False)
    trainer = pytorch_graphs.Trainer(problem, variant)
    assert_epochs_are_ordered_as_asked(problem, trainer)
    assert len(trainer.graphs) == 2


# ---- the ceiling, and what the GPU is ------------------------------------------------------------------------------


@pytest.mark.skipif(driver.cuda is None or driver.SIMULATED, reason="needs the compiler of numba-cuda")
@pytest.mark.parametrize("capability", [(7, 0), (9, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_of_the_ceiling_is_multiply_adds_alone(dtype, capability):
    from numba import types as numba_types

    signature = getattr(numba_types, dtype)[::1], numba_types.int64
    ptx = driver.cuda.compile_ptx(gpu.multiply_adds, signature, device=False, cc=capability)[0]
    loop, = (part for name, part in re.findall(r"^(\$\w+):(.*?bra \t?\1;)", ptx, flags=re.M | re.S))
    counted = Counter(line.split()[0] for line in loop.strip().splitlines())
    assert counted.pop(f"fma.rn.f{dtype.removeprefix('float')}") == gpu.CHAINS * gpu.UNROLLED
    assert sum(counted.values()) <= 5  # counting, and the branch
    assert not [instruction for instruction in counted if instruction.startswith(("ld", "st", "fma", "mul"))]


@pytest.mark.skipif(driver.cuda is None, reason="needs numba-cuda")
def test_the_ceilings_kernel_computes_its_chains_in_the_simulator():
    code = """
import numpy as np
from fastbp.compare import gpu
gpu.UNROLLED = 2
values = np.array([1, -3, 0.5, 8], np.float32)
expected = np.zeros(4, np.float32)
for c in range(gpu.CHAINS):
    x = (c + 1) * values
    for _ in range(3 * gpu.UNROLLED):
        x = np.float32(0.5) * x + values
    expected += x
gpu.cuda.jit(gpu.multiply_adds)[2, 2](values, 3)
np.testing.assert_allclose(values, expected, rtol=1e-6)
print(gpu.describe_gpu())
"""
    told = {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    shown = subprocess.run([sys.executable, "-c", code], env=os.environ | told, capture_output=True, text=True)
    assert shown.stdout == "none: Numba's simulator stands in for it\n", shown.stderr


class Pretended:
    """numba.cuda with a GPU."""

    def __init__(self):
        self.launched, self.waiting = [], 0
        attributes = {"MULTIPROCESSOR_COUNT": 3, "MAX_THREADS_PER_MULTIPROCESSOR": 1536}
        self.device = types.SimpleNamespace(**attributes, name="Fake 9", compute_capability=(9, 0))
        if driver.cuda is not None:
            from cuda.bindings.driver import CUdevice_attribute

            assert all(hasattr(CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}") for name in attributes)
        self.cudadrv = types.SimpleNamespace(driver=types.SimpleNamespace(driver=types.SimpleNamespace(
            get_version=lambda: (12, 4))))

    def is_available(self):
        return True

    def get_current_device(self):
        return self.device

    def current_context(self):
        return types.SimpleNamespace(get_memory_info=lambda: types.SimpleNamespace(free=0, total=80 * 2**30))

    def to_device(self, values):
        return values

    def jit(self, function):
        assert function is gpu.multiply_adds
        return self

    def __getitem__(self, grid):
        def launch(values, passes):
            assert not self.waiting
            self.waiting = 1
            self.launched.append((grid, values.size, passes))
        return launch

    def synchronize(self):
        self.waiting = 0


@pytest.fixture
def pretended(monkeypatch):
    cuda = Pretended()
    for module in (driver, gpu):
        monkeypatch.setattr(module, "cuda", cuda)
        monkeypatch.setattr(module, "SIMULATED", False)
    return cuda


def test_the_ceiling_fills_all_multiprocessors_and_waits_for_them(pretended):
    assert gpu.fma_ceiling("float32", seconds=0.0, tries=3) > 0
    assert pretended.launched == [((18, 256), 18 * 256, 1)] * 4  # 6 blocks on each of 3; the first compiles
    assert not pretended.waiting


def test_the_gpu_is_described(pretended):
    assert gpu.describe_gpu() == "Fake 9, compute capability 9.0, 80.0 GiB, driver for CUDA 12.4"
    pretended.device.name = b"Fake 9"
    assert gpu.gpu_name() == "Fake 9"


@pytest.mark.parametrize(("error", "words"), [(OSError("no such\n\nlibrary:\n"), "no such library:"),
                                              (KeyError(), "KeyError")])
def test_a_driver_that_fails_is_described_too(pretended, monkeypatch, error, words):
    def fail():
        raise error

    monkeypatch.setattr(pretended, "is_available", fail)
    assert gpu.describe_gpu() == f"none: {words}"


def test_without_a_gpu_doctor_says_why(without_gpu):
    shown = subprocess.run([sys.executable, "-m", "fastbp", "doctor", "--json"], check=True, capture_output=True,
                           text=True, env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}).stdout
    found = json.loads(shown)
    assert found["GPU"].startswith("none: backend 'cuda' needs ")
    assert "cuda" not in found["backends"]


def test_backends_are_on_the_device_that_they_name():
    assert {name: backend_contestant(name).device for name in ("tiled", "blas", "cuda")} == {
        "tiled": "cpu", "blas": "cpu", "cuda": "gpu"}
