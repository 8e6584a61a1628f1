"""`fastbp compare --steps`: versions give the products, and the page shows their code. No test looks at a time."""

import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from contestants import ceiling_in, contestant_in

from fastbp.__main__ import BAD_INPUT, main
from fastbp.compare.contestants import WORKERS
from fastbp.compare.road import VERSIONS, road_contestants, road_rows, road_tables
from fastbp.compare.steps.one_version import Products, Steps
from fastbp.compare.summary import summarise
from fastbp.compare.training import TrainingRow
from fastbp.compare.workers.fastbp_steps import Trainer
from fastbp.compare.workers.worker import Product
from fastbp.compare.workloads import Workload

ROOT = Path(__file__).parents[1]
OWN = [version for version in VERSIONS if version != "tiled"]

#: (N, M, S) units, inputs and samples: each with rests of four, of the rows of a block, of terms and of a vector.
SHAPES = [(1, 1, 1), (3, 5, 2), (7, 5, 3), (4, 4, 4), (16, 32, 8), (33, 17, 9), (5, 70, 41), (70, 3, 6)]


def version_named(name):
    if name == "np_dot":
        pytest.importorskip("scipy")
    return importlib.import_module(f"fastbp.compare.steps.{name}")


def layer(shape, dtype="float32"):
    N, M, S = shape
    rng = np.random.default_rng(0)
    return [rng.standard_normal(size).astype(dtype) for size in ((N, M), N, (S, M), (S, N), (N, M))]


def assert_products(version, dtype):
    tolerance = {"rtol": {"float32": 1e-5, "float64": 1e-13}[dtype]}
    for shape in SHAPES:
        W, b, H, delta, dW = layer(shape, dtype)
        exact = [values.astype(np.float64) for values in (W, b, H, delta, dW)]
        tolerance["atol"] = tolerance["rtol"] * np.sqrt(max(shape))
        A, E = np.full_like(delta, np.nan), np.full_like(H, np.nan)
        version.forward(W, b, H, A)
        np.testing.assert_allclose(A, np.einsum("ij,sj->si", exact[0], exact[2]) + exact[1], **tolerance)
        version.backward(W, delta, E)
        np.testing.assert_allclose(E, np.einsum("ij,si->sj", exact[0], exact[3]), **tolerance)
        version.gradient(delta, H, dW)
        np.testing.assert_allclose(dW, exact[4] + np.einsum("si,sj->ij", exact[3], exact[2]), **tolerance)


@pytest.mark.parametrize("name", [name for name in OWN if name != "parallel"])
def test_versions_give_the_products_of_ragged_shapes(name):
    assert_products(version_named(name), "float32")


def test_threads_take_parts_of_ragged_shapes():
    parallel = version_named("parallel")
    parts = SimpleNamespace(**{name: getattr(parallel, name).py_func for name in ("forward", "backward", "gradient")})
    assert_products(parts, "float32")  # one part after another; compiling for threads takes seconds


@pytest.mark.full
@pytest.mark.parametrize("name", OWN)
def test_versions_give_the_products_in_float64(name):
    assert_products(version_named(name), "float64")


@pytest.mark.full
def test_threads_have_the_bits_of_one():
    before = numba.get_num_threads()
    W, b, H, delta, dW = layer((33, 17, 9))
    found = []
    try:
        for threads in sorted({1, min(2, before)}):
            numba.set_num_threads(threads)
            A, E, grad = np.zeros_like(delta), np.zeros_like(H), dW.copy()
            parallel = version_named("parallel")
            parallel.forward(W, b, H, A)
            parallel.backward(W, delta, E)
            parallel.gradient(delta, H, grad)
            found.append([A, E, grad])
    finally:
        numba.set_num_threads(before)
    for values, others in zip(found[0], found[-1], strict=True):
        np.testing.assert_array_equal(values, others)


@pytest.mark.full
@pytest.mark.parametrize("name", OWN)
def test_training_steps_are_what_the_formulas_say(name):
    row = TrainingRow(Workload("ragged", (5, 7, 3), "relu", "squared_error", 9, "sgd", batches=3))
    problem = row.problem("float32")
    steps = Steps(version_named(name), problem)
    for _ in range(2):
        steps.reset()
        steps.train(1)
    assert row.disagreement(steps.result(), row.expected(problem), problem) < 1e-5


def test_other_networks_are_refused():
    problem = TrainingRow(Workload("", (3, 2), "tanh", "squared_error", 4, "sgd")).problem("float32")
    with pytest.raises(ValueError, match=r"problem: expected 2 layers, relu, squared_error and sgd, found \(1, 'tanh'"):
        Steps(version_named("unit_stride"), problem)


@pytest.mark.parametrize("version", ["unit_stride", "tiled"])
def test_contestants_agree_on_every_row(version):
    for row in road_rows([9], 7):
        problem = row.problem("float32")
        trainer = Trainer(problem._replace(threads=1, options={"version": version, "backend": "tiled"}), "")
        trainer.reset()
        trainer.train(row.checked_steps)
        assert row.disagreement(trainer.result(), row.expected(problem), problem) < 0.1 * row.agreement, row.name


def test_repeated_gradients_are_added():
    W, b, H, delta, dW = layer((5, 4, 3))
    products = Products(version_named("unit_stride"), Product("δhᵀ", 1, {}, W, b, H, delta, dW))
    products.train(1)
    products.reset()
    products.train(3)
    np.testing.assert_allclose(products.result(), dW + 3 * delta.T @ H, rtol=1e-5, atol=1e-5)


def test_only_one_thread_has_a_clock_of_its_own():
    W, b, H, delta, dW = layer((5, 4, 3))
    for threads in (1, 2):
        trainer = Trainer(Product("W h", threads, {"version": "unit_stride"}, W, b, H, delta, dW), "")
        assert not hasattr(trainer, "clock") or threads == 1
        assert trainer.variant.startswith(f"{threads} thread")


def test_contestants_and_rows():
    contestants = road_contestants()
    assert [contestant.options["version"] for contestant in contestants] == list(VERSIONS)
    assert {contestant.threads for contestant in contestants if contestant.options["version"] != "parallel"} == {1}
    assert [row.name for row in road_rows([8, 5, 8], 7)] == [
        "W h, 8", "W h, 5", "Wᵀδ, 8", "Wᵀδ, 5", "δhᵀ, 8", "δhᵀ, 5", "step, 8", "step, 5"]
    assert road_rows([8], 7)[-1].about()["flops"] == 5 * 2 * 8 * 8 * 7


def made_up():
    """Two threads take half the time of one, which is half the ceiling's."""
    row = {"flops": 1000, "batch_size": 7, "ceiling": [1e9], "warm_up": {}, "disagreement": {}, "failed": {},
           "seconds": {"one": [2e-6], "two": [1e-6]}}
    return {"settings": {"threads": 1, "dtype": "float32"}, "host": {"processor": "some"}, "steps": True,
            "contestants": {name: {"peer": False, "runs": True, "threads": threads}
                            for name, threads in (("one", 1), ("two", 2))},
            "workloads": [{**row, "name": "W h, 8", "product": "W h", "size": 8, "widths": [8, 8]},
                          {**row, "name": "step, 8", "widths": [8, 8, 8]}]}


def test_the_share_is_of_the_ceilings_of_all_threads():
    assert summarise(made_up())[0]["share"] == pytest.approx({"one": 0.5, "two": 0.5})
    shown = road_tables(made_up())
    assert "| two                  |  1.00  50.0% |" in shown.splitlines()
    assert shown.count("N = 8") == 2


#: A contestant that needs no fastbp in its process.
NUMPY = f"""
import sys
sys.path.append({str(WORKERS)!r})
import numpy_formulas, numpy_products
VARIANTS, versions = ("",), numpy_products.versions
def Trainer(problem, variant):
    return (numpy_products if hasattr(problem, "product") else numpy_formulas).Trainer(problem, "")
"""


@pytest.mark.parametrize("names", [["one"], pytest.param([], marks=pytest.mark.full)], ids=["one", "all versions"])
def test_the_command_measures_draws_and_prints_markdown(capsys, tmp_path, monkeypatch, names):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("fastbp.commands.compare.ceiling_contestant", lambda: ceiling_in(tmp_path))
    if names:
        monkeypatch.setattr("fastbp.commands.compare.road_contestants", lambda: [
            contestant_in(tmp_path, name, NUMPY, threads=1) for name in names])
    saved, picture = tmp_path / "out.json", tmp_path / "out.png"
    assert main(["compare", "--steps", "--sizes", "9", "--batch", "7", "--rounds", "1", "--seconds", "0.001", "--quiet",
                 "--save", str(saved), "--plot", str(picture)]) == 0
    output = capsys.readouterr().out
    found = json.loads(saved.read_text(encoding="utf-8"))
    versions = names or [contestant.name for contestant in road_contestants()]
    assert [list(row["seconds"]) for row in found["workloads"]] == [versions] * 4, found["workloads"]
    lines = [line.split("|")[1].strip() for line in output.splitlines() if line.startswith("|")]
    assert [line for line in lines if line == versions[0]] == [versions[0]] * 4
    assert len(lines) == 4 * (2 + len(versions))
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert main(["compare", "--results", str(saved), "--show", "share"]) == 0
    assert "share of the ceiling; 7 samples" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "words"), [
    (["digits"], "--steps: expected neither a workload nor settings of a network beside it, found digits"),
    (["--network", "3-2"], "found --network"),
    (["--shuffle"], "found --shuffle"),
    (["--products"], "--steps: expected no --products"),
    (["--peers"], "--steps: expected no --peers"),
    (["--threads", "2"], "--steps: expected neither --threads nor --backends"),
    (["--backends", "loops"], "--steps: expected neither --threads nor --backends"),
    (["--batch", "4"], "--batch: expected at least 5, found 4"),
    (["--sizes", "8,x"], "--sizes: expected whole numbers"),
    (["--ranks", "2"], "--ranks: expected no --steps")])
def test_what_does_not_go_together_is_refused(capsys, monkeypatch, arguments, words):
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda *others: pytest.fail("it measured"))
    assert main(["compare", "--steps", *arguments]) == BAD_INPUT
    output = capsys.readouterr()
    assert words in output.err
    assert not output.out


def test_the_page_shows_the_code_of_the_files():
    page = (ROOT / "asv_bench" / "LOOPS_AND_BLAS.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, flags=re.S)
    assert {name for name, _ in blocks} == {f"{version}.py" for version in OWN}
    assert len(blocks) == page.count("```python")
    for name, code in blocks:
        assert code in (ROOT / "fastbp" / "compare" / "steps" / name).read_text(encoding="utf-8"), name
