"""`fastbp compare`: workloads, contestants in their processes, and the report. No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

import fastbp
from fastbp.__main__ import BAD_INPUT, main
from fastbp.compare.contestants import WORKERS, Contestant, backend_contestant, peers
from fastbp.compare.measuring import CHECKED_STEPS, Settings, compare, disagreement_of, problem_of, reference_change
from fastbp.compare.report import difference, geometric_means, summarise, table
from fastbp.workloads import WORKLOADS, Workload, workloads_named

SMALL = [Workload("classes", (3, 5, 4), "relu", "softmax_cross_entropy", 4, "adam", 3),
         Workload("quantities", (2, 6, 3, 1), "tanh", "squared_error", 1, "sgd", 8),
         Workload("full batch", (3, 4, 2), "logistic", "squared_error", 5, "sgd", 1)]

CEILING = 2e9


def contestant_in(folder, name, text, **settings):
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return Contestant(name, path, **settings)


def ceiling_in(folder):
    return contestant_in(folder, "ceiling", f"def fma_ceiling(dtype):\n    return {CEILING}\n")


# ---- workloads -----------------------------------------------------------------------------------------------------


def test_workloads_are_those_of_the_design():
    classes, values = "softmax_cross_entropy", "squared_error"
    assert {workload.name: (workload.widths, workload.activation, workload.loss, workload.batch_size,
                            workload.optimizer, workload.samples) for workload in WORKLOADS} == {
        "online": ((2, 8, 1), "tanh", values, 1, "sgd", 2048),
        "tiny": ((2, 16, 1), "tanh", values, 32, "sgd", 2048),
        "matexp": ((4, 32, 16, 4), "tanh", values, 10_000, "adam", 10_000),
        "tabular-32": ((8, 32, 32, 1), "relu", values, 32, "sgd", 2048),
        "tabular-256": ((8, 32, 32, 1), "relu", values, 256, "sgd", 4096),
        "narrow": ((10, 45, 45, 10), "relu", values, 128, "adam", 2048),
        "digits": ((64, 100, 10), "relu", classes, 64, "sgd", 2048),
        "mnist-1": ((784, 128, 10), "relu", classes, 1, "sgd", 2048),
        "mnist-128": ((784, 128, 10), "relu", classes, 128, "sgd", 2048),
        "wide": ((784, 512, 512, 10), "relu", classes, 128, "sgd", 2048),
        "big": ((1024, 2048, 2048, 2048, 10), "relu", classes, 256, "sgd", 1024)}


def test_flops_counted_by_hand():
    # 15 + 10 weights, 4 samples: W h and δ hᵀ in both layers, Wᵀ δ in the second only.
    assert Workload("", (3, 5, 2), "relu", "squared_error", 4, "sgd").flops == 2 * (2 * 4 * 25) + 2 * 4 * 10


def test_names_and_groups():
    assert [workload.name for workload in workloads_named(["tabular", "online"])] == ["online", "tabular-32",
                                                                                      "tabular-256"]
    assert workloads_named([]) == list(WORKLOADS)
    with pytest.raises(ValueError, match=r"'mist'.*mnist-128"):
        workloads_named(["mist"])


@pytest.mark.parametrize("workload", [*SMALL, *workloads_named(["digits"])], ids=lambda workload: workload.name)
def test_samples_fit_the_network(workload):
    X, d = workload.draw("float32")
    assert X.dtype == np.float32
    assert len(X) % workload.batch_size == 0
    if workload.loss == "softmax_cross_entropy":
        assert set(d.tolist()) == set(range(workload.widths[-1]))
    np.testing.assert_array_equal(X, workload.draw("float32")[0])
    fastbp.MLP(workload.widths, loss=workload.loss).checked_samples(X, d, None)


# ---- the reference -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_reference_follows_the_naive_formulas(activation, loss):
    problem = problem_of(Workload("", (3, 5, 4), activation, loss, 6, "sgd"), "float64")
    theta = problem.theta.copy()
    for step in range(CHECKED_STEPS):
        S = slice(6 * step, 6 * (step + 1))
        grad = naive.gradients(theta, problem.widths, [activation, "identity"], loss, problem.X[S], problem.d[S])[1]
        theta -= problem.learning_rate * grad / 6
    np.testing.assert_allclose(reference_change(problem), theta - problem.theta, rtol=0, atol=1e-14)


def test_reference_steps_as_adam():
    problem = problem_of(SMALL[0], "float64")
    net = fastbp.MLP(problem.widths, dtype="float64")
    net.theta[:] = problem.theta
    net.fit(problem.X, problem.d, optimizer=fastbp.Adam(problem.learning_rate), epochs=1, batch_size=4, shuffle=False)
    np.testing.assert_allclose(reference_change(problem), net.theta - problem.theta, rtol=0, atol=1e-12)


def test_one_wrong_bias_is_a_disagreement():
    expected = np.ones(3 * 100 + 100 + 100 + 1)
    wrong = expected.copy()
    wrong[-1] = 0.5
    assert disagreement_of(wrong, expected, (3, 100, 1)) == 0.5
    assert not disagreement_of(np.full_like(expected, np.nan), expected, (3, 100, 1)) <= 1
    assert disagreement_of(expected[1:], expected, (3, 100, 1)) == float("inf")


# ---- contestants in their processes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contestants")
    formulas = (WORKERS / "numpy_formulas.py").read_text(encoding="utf-8")
    assert "(delta @ W)" in formulas
    contestants = [
        backend_contestant("loops"), *peers(sys.executable, avx512=True),
        contestant_in(folder, "broken", formulas.replace("(delta @ W)", "(delta @ abs(W))"), peer=True),
        contestant_in(folder, "absent", "def versions():\n    import no_such_package.inside\n", peer=True,
                      install="pip install no-such-package"),
        contestant_in(folder, "crashing", "import os\ndef versions():\n    os.abort()\n", peer=True),
        contestant_in(folder, "tiring", formulas.replace("self.t += 1", "import os; os.abort()"), peer=True),
        contestant_in(folder, "talking", formulas + "\nprint('a library says hello')\n", peer=True)]
    return compare(SMALL, contestants, ceiling_in(folder), Settings(rounds=2, seconds=0.002))


def test_contestants_agree_with_the_formulas_and_are_timed(results):
    sure = {"fastbp loops", "scikit-learn", "numpy", "numpy skylakex", "talking"}
    timed = {name for name, about in results["contestants"].items() if about["runs"]} - {"broken", "tiring"}
    assert timed >= sure  # and JAX and PyTorch where they are installed
    for workload in results["workloads"]:
        assert workload["ceiling"] == [CEILING, CEILING]
        assert set(workload["seconds"]) == timed, workload["failed"]
        for name in timed:
            adam_in_scikit_learn = name == "scikit-learn" and workload["optimizer"] == "adam"
            assert workload["disagreement"][name] < (0.05 if adam_in_scikit_learn else 1e-3), name
            assert len(workload["seconds"][name]) == 2
            assert min(workload["seconds"][name]) > 0
    assert results["contestants"]["fastbp loops"]["versions"]["fastbp"] == fastbp.__version__
    assert results["contestants"]["numpy"]["versions"]["numpy"] == np.__version__
    json.dumps(results)


def test_a_wrong_contestant_is_caught_and_not_timed(results):
    for workload in results["workloads"]:
        assert workload["failed"]["broken"].startswith("wrong")
        assert "broken" not in workload["seconds"]
    assert "wrong" in table(results)


def test_missing_and_crashing_peers_are_named(results):
    about = results["contestants"]
    assert about["absent"]["reason"] == ("no_such_package is not installed; install it with: "
                                         "pip install no-such-package")
    assert "its process ended" in about["crashing"]["reason"]
    for workload in results["workloads"]:  # the first takes steps of Adam, which end the process
        assert "its process ended" in workload["failed"]["tiring"]
    for name in ("jax", "torch", "torch compiled"):
        assert about[name]["runs"] or f"-m pip install {name.split()[0]}" in about[name]["reason"]
    assert "absent: not timed, no_such_package is not installed" in table(results)


# ---- the report ----------------------------------------------------------------------------------------------------


def made_up(own, ceiling=(1e9, 1e9, 4e9)):
    failed = {"late": "RuntimeError: no compiler"} | ({} if ceiling else {"ceiling": "no vectors"})
    workload = {"name": "w", "flops": 1000, "ceiling": list(ceiling), "warm_up": {"own": {"variant": "fit"}},
                "seconds": {"own": own, "slow": [9e-6, 9e-6, 9e-6], "fast": [2e-6, 4e-6, 2e-6]}, "failed": failed}
    return {"settings": {"threads": 2}, "workloads": [workload], "host": {}, "contestants": {
        "own": {"peer": False, "runs": True, "versions": {"own": "1.2"}}, "slow": {"peer": True, "runs": True},
        "fast": {"peer": True, "runs": True}, "late": {"peer": True, "runs": True}}}


def test_summary_of_made_up_measurements():
    summary, = summarise(made_up([1e-6, 2e-6, 3e-6]))
    assert summary["fastest_peer"] == "fast"
    assert summary["us"] == pytest.approx({"own": 2.0, "slow": 9.0, "fast": 2.0})
    assert summary["spread"] == pytest.approx({"own": 0.5, "slow": 0.0, "fast": 0.5})
    assert summary["ratio"] == {"own": 0.5}  # of 0.5, 0.5 and 1.5: round by round
    assert summary["ceiling_us"] == pytest.approx(0.5)  # 1000 operations on two cores of 1 GF/s
    assert summary["share"]["own"] == pytest.approx(0.25)


def test_geometric_mean():
    assert geometric_means([{"ratio": {"own": 0.5}}, {"ratio": {"own": 2.0}}, {"ratio": {}}]) == {
        "own": pytest.approx(1.0)}


def test_table_of_made_up_measurements():
    lines = table(made_up([1e-6, 2e-6, 3e-6])).splitlines()
    assert lines[1].split() == ["w", "0.500", "2.00", "±50%", "9.00", "±0%", "*2.00", "±50%", "failed", "0.50", "25.0%"]
    assert "geometric mean of own / *: 0.500" in lines
    assert "rounds differ by up to ±50%" in "\n".join(lines)
    assert "own: own 1.2; fit" in lines
    assert "w: late: RuntimeError: no compiler" in lines
    assert "ceiling: not measured, no vectors" in table(made_up([1e-6] * 3, ceiling=()))


def test_difference_of_two_results():
    lines = difference(made_up([1e-6] * 3), made_up([4e-6] * 3)).splitlines()
    assert lines[1].split() == ["w,", "own", "4.00", "1.00", "0.25", "2.00", "0.50", "12.5%", "50.0%"]
    with pytest.raises(ValueError, match="in common"):
        difference(made_up([1e-6] * 3), made_up([1e-6] * 3) | {"workloads": []})


# ---- the command ---------------------------------------------------------------------------------------------------


def test_command_measures_saves_and_compares(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("fastbp.commands.compare.ceiling_contestant", lambda: ceiling_in(tmp_path))
    own = ["--network", "3-5-2", "--batch", "4", "--activation", "tanh", "--backends", "loops"]
    saved = str(tmp_path / "out.json")
    assert main(["compare", *own, "--rounds", "1", "--seconds", "0.002", "--json", "--save", saved]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["workloads"][0]["warm_up"]["fastbp loops"]["variant"] == "fit, backend loops"
    assert output.err.splitlines() == ["fastbp: starting fastbp loops", "fastbp: 3-5-2 tanh, 4"]
    workload, = found["workloads"]
    assert (workload["widths"], workload["batch_size"], workload["flops"]) == ([3, 5, 2], 4, 480)
    assert found["summary"][0]["share"]["fastbp loops"] > 0
    assert main(["compare", "--results", saved, "--against", saved]) == 0
    shown = capsys.readouterr().out
    assert "3-5-2 tanh, 4" in shown
    assert "new / old" in shown


@pytest.mark.parametrize(("arguments", "words"), [
    (["mist"], "unknown workload 'mist'"),
    (["digits", "--backends", "loops,warp"], "unknown backend 'warp'"),
    (["digits", "--batch", "3"], "--batch"),
    (["--network", "3-1"], "--loss"),
    (["digits", "--rounds", "0"], "--rounds"),
    (["digits", "--seconds", "0"], "--seconds"),
    (["digits", "--threads", "10000"], "--threads"),
    (["digits", "--peers", "--peers-python", "no/such/python"], "--peers-python"),
    (["digits", "--save", "no/such/folder/out.json"], "--save"),
    (["--results", "no_such.json"], "no_such.json"),
    (["--results", str(Path(__file__).parents[1] / "pyproject.toml")], "--results")])
def test_what_cannot_be_used_is_named(capsys, arguments, words):
    assert main(["compare", *arguments]) == BAD_INPUT
    output = capsys.readouterr()
    assert words in output.err
    assert not output.out


def test_importing_the_command_imports_no_peer():
    code = "import fastbp.__main__, sys; print({'torch', 'jax', 'sklearn'} & set(sys.modules))"
    root = Path(fastbp.__file__).parents[1]
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
