"""`fastbp compare --products`: kernels of every backend, and peers, give the products. No test looks at a time."""

import csv
import importlib
import io
import json
import sys

import numpy as np
import pytest
from contestants import AVX512, NUMPYS, ceiling_in, contestant_in

import fastbp
from fastbp.__main__ import main
from fastbp.compare.contestants import WORKERS, backend_contestant, peers
from fastbp.compare.measuring import Settings, compare
from fastbp.compare.products import PRODUCTS, ProductRow, product_rows
from fastbp.compare.workers import numpy_products

BACKENDS = ("tiled", "loops", "blas")


def products_of(backend, problem):
    return importlib.import_module(f"fastbp.compare.kernels.{backend}").Products(problem)


def test_products_are_what_their_formulas_say():
    for row in product_rows([3], 5):
        p = row.problem("float64")
        expected = {"W h": [[p.b[i] + sum(p.W[i, j] * p.h[s, j] for j in range(3)) for i in range(3)]
                            for s in range(5)],
                    "Wᵀδ": [[sum(p.W[i, j] * p.delta[s, i] for i in range(3)) for j in range(3)] for s in range(5)],
                    "δhᵀ": [[p.dW[i, j] + sum(p.delta[s, i] * p.h[s, j] for s in range(5)) for j in range(3)]
                            for i in range(3)]}[row.product]
        np.testing.assert_allclose(row.expected(p), expected, rtol=1e-13)
        assert row.flops == 2 * 3 * 3 * 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("row", [ProductRow(product, *shape) for product in PRODUCTS for shape in (
    (1, 5), (33, 17), (100, 50), (400, 5))], ids=lambda row: f"{row.name}, {row.batch_size}")
def test_kernels_of_every_backend_give_the_products(row, backend, dtype):
    problem = row.problem(dtype)
    products = products_of(backend, problem)
    products.repeat(2)
    products.reset()
    products.repeat(1)
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    assert row.disagreement(products.result(), row.expected(problem), problem) < tolerance


@pytest.mark.parametrize("backend", ["tiled", "loops"])
@pytest.mark.parametrize("product", PRODUCTS)
def test_products_have_the_same_bits_on_two_threads(product, backend):
    before = fastbp.get_num_threads()
    if before < 2:
        pytest.skip("there is one thread")
    problem = ProductRow(product, 50, 70).problem("float32")
    try:
        found = []
        for threads in (1, 2):
            fastbp.set_num_threads(threads)
            products = products_of(backend, problem)
            products.repeat(1)
            found.append(products.result().copy())
    finally:
        fastbp.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_a_few_samples_are_left_to_other_kernels():
    with pytest.raises(ValueError, match="found 4"):
        products_of("tiled", ProductRow("W h", 8, 4).problem("float32"))


def test_one_wrong_row_is_a_disagreement():
    row = ProductRow("W h", 40, 30)
    problem = row.problem("float32")
    expected = row.expected(problem)
    wrong = expected.copy()
    wrong[29, 39] += 1.0
    assert row.disagreement(wrong, expected, problem) > 100 * row.agreement
    assert not row.disagreement(np.full_like(expected, np.nan), expected, problem) <= row.agreement
    assert row.disagreement(expected[1:], expected, problem) == float("inf")


def test_contestants_are_checked_and_timed(tmp_path):
    formulas = (WORKERS / "numpy_products.py").read_text(encoding="utf-8")
    broken = formulas.replace("np.add(self.dW, self.product, out=self.dW)", "self.dW[:] = self.product")
    assert broken != formulas
    contestants = [*(backend_contestant(backend, products=True) for backend in BACKENDS),
                   *peers(sys.executable, avx512=AVX512, dtype="float32", products=True),
                   contestant_in(tmp_path, "broken", broken, peer=True)]
    results = compare(product_rows([24], 20), contestants, {"cpu": ceiling_in(tmp_path)},
                      Settings(rounds=2, seconds=0.001))
    assert [row["name"] for row in results["workloads"]] == ["W h, 24", "Wᵀδ, 24", "δhᵀ, 24"]
    sure = {"fastbp tiled", "fastbp loops", "fastbp blas", *NUMPYS}
    runs = {name for name, about in results["contestants"].items() if about["runs"]}
    for row in results["workloads"]:
        right = runs - ({"broken"} if row["product"] == "δhᵀ" else set())
        assert set(row["seconds"]) == right, row["failed"]
        assert right >= sure
        assert all(len(times) == 2 for times in row["seconds"].values())
    assert results["workloads"][2]["failed"]["broken"].startswith("wrong")
    for name in ("jax", "torch"):
        about = results["contestants"][name]
        assert about["runs"] or f"-m pip install {name}" in about["reason"]


def test_repeated_gradients_are_added():
    problem = ProductRow("δhᵀ", 6, 4).problem("float64")
    trainer = numpy_products.Trainer(problem, "")
    trainer.reset()
    trainer.train(3)
    np.testing.assert_allclose(trainer.result(), problem.dW + 3 * problem.delta.T @ problem.h, rtol=1e-12)


def test_command_measures_draws_and_writes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("fastbp.commands.compare.ceiling_contestant", lambda: ceiling_in(tmp_path))
    files = {option: tmp_path / f"out.{option}" for option in ("json", "csv", "png")}
    asked = ["--products", "--sizes", "16,40,16", "--batch", "5", "--backends", "tiled,loops"]
    how = ["--rounds", "1", "--seconds", "0.001", "--quiet"]
    assert main(["compare", *asked, *how, "--save", str(files["json"]), "--csv", str(files["csv"]), "--plot",
                 str(files["png"])]) == 0
    output = capsys.readouterr()
    assert not output.err
    assert "GFLOP/s, share of the ceiling" in output.out
    assert all(f"{product}, {size} " in output.out for product in PRODUCTS for size in (16, 40))
    saved = json.loads(files["json"].read_text(encoding="utf-8"))
    assert [row["flops"] for row in saved["workloads"][:2]] == [2 * 16 * 16 * 5, 2 * 40 * 40 * 5]
    lines = list(csv.DictReader(io.StringIO(files["csv"].read_text(encoding="utf-8"))))
    assert len(lines) == len(PRODUCTS) * 2 * 2
    assert {line["product"] for line in lines} == set(PRODUCTS)
    assert files["png"].read_bytes()[:4] == b"\x89PNG"
    assert main(["compare", "--results", str(files["json"]), "--show", "ratio"]) == 0
    assert "times as long as tiled" in capsys.readouterr().out
