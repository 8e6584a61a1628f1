"""`fastbp compare`: contestants in their processes, and the command. No test looks at a time."""

import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest
from contestants import (
    AVX512,
    CEILING,
    NUMPYS,
    assert_epochs_are_ordered_as_asked,
    ceiling_in,
    contestant_in,
    telling,
    without_scipy,
)

import fastbp
from fastbp.__main__ import BAD_INPUT, MISSING_PACKAGE, main
from fastbp.backends.tiles.online import is_worth_compiling
from fastbp.compare import ranks
from fastbp.compare.contestants import AGREEMENTS, WORKERS, backend_contestant, peers
from fastbp.compare.measuring import Settings, compare
from fastbp.compare.report import header, table
from fastbp.compare.training import TrainingRow, disagreement_of
from fastbp.compare.workers import fastbp_fit, numpy_formulas, worker
from fastbp.compare.workers.worker import Worker
from fastbp.compare.workloads import FASHION, WORKLOADS, Workload, workloads_named

SMALL = [Workload("classes", (3, 5, 4), "relu", "softmax_cross_entropy", 4, "adam", 3),
         Workload("quantities", (2, 6, 3, 1), "tanh", "squared_error", 1, "sgd", 8),
         Workload("bits", (3, 5, 1), "relu", "binary_cross_entropy", 4, "adam", 3),
         Workload("full batch", (3, 4, 2), "logistic", "squared_error", 5, "sgd", 1),
         Workload("any order", (3, 5, 4), "relu", "softmax_cross_entropy", 4, "sgd", 40, shuffle=True)]

#: Files that train, the package each needs, and options.
TRAINING = [("fastbp_fit", "fastbp", {"backend": "tiled"}), ("fastbp_fit", "fastbp", {"backend": "loops"}),
            ("numpy_formulas", "numpy", {}), ("scikit_learn", "sklearn", {}), ("jax_jit", "jax", {}),
            ("pytorch_eager", "torch", {}), ("pytorch_compiled", "torch", {}), ("skorch_fit", "skorch", {}),
            ("keras_fit", "keras", {})]

#: On PyTorch it rounds something to float32: in float64 its steps were off by 6e-8 of their norm (Keras 3.15).
os.environ["KERAS_BACKEND"] = "jax"

#: Every loss and every optimizer, and up to four hidden layers.
IN_THE_SHORT_RUN = ("tabular-32", "otto", "higgs", "pinn")

# ---- the reference -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_reference_follows_the_naive_formulas(activation, loss):
    row = TrainingRow(Workload("", (3, 5, 4), activation, loss, 6, "sgd"))
    problem = row.problem("float64")
    theta = problem.theta.copy()
    for step in range(row.checked_steps):
        S = slice(6 * step, 6 * (step + 1))
        grad = naive.gradients(theta, problem.widths, [activation, "identity"], loss, problem.X[S], problem.d[S])[1]
        theta -= problem.learning_rate * grad / 6
    np.testing.assert_allclose(row.expected(problem), theta - problem.theta, rtol=0, atol=1e-14)


def test_reference_steps_as_adam():
    row = TrainingRow(SMALL[0])
    problem = row.problem("float64")
    net = fastbp.MLP(problem.widths, dtype="float64")
    net.theta[:] = problem.theta
    net.fit(problem.X, problem.d, optimizer=fastbp.Adam(problem.learning_rate), epochs=1, batch_size=4, shuffle=False)
    np.testing.assert_allclose(row.expected(problem), net.theta - problem.theta, rtol=0, atol=1e-12)


def test_one_wrong_bias_is_a_disagreement():
    expected = np.ones(3 * 100 + 100 + 100 + 1)
    wrong = expected.copy()
    wrong[-1] = 0.5
    assert disagreement_of(wrong, expected, (3, 100, 1)) == 0.5
    assert not disagreement_of(np.full_like(expected, np.nan), expected, (3, 100, 1)) <= 1
    row = TrainingRow(SMALL[0])
    assert row.disagreement(expected[1:], expected, row.problem("float32")) == float("inf")


# ---- every file that trains, on every workload -----------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def in_float64(workload):
    """(row, problem, what the formulas make of it)."""
    row = TrainingRow(workload)
    problem = row.problem("float64")
    return row, problem, row.expected(problem)


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1:UserWarning")  # scikit-learn's arrays are made so
@pytest.mark.parametrize(("file", "package", "options"), TRAINING)
@pytest.mark.parametrize("workload", [
    pytest.param(workload, id=workload.name, marks=() if workload.name in IN_THE_SHORT_RUN else pytest.mark.full)
    for workload in [*WORKLOADS, Workload("more bits", (3, 5, 4), "relu", "binary_cross_entropy", 4, "adam", 3)]])
def test_workloads_are_trained_by_the_same_formulas(workload, file, package, options, monkeypatch):
    library = pytest.importorskip(package)
    if package == "torch":
        monkeypatch.setattr(library, "compile", lambda function, **settings: function)
    module, (row, problem, expected) = importlib.import_module(f"fastbp.compare.workers.{file}"), in_float64(workload)
    few = problem.checked(row.checked_steps)._replace(options=options)
    for variant in module.VARIANTS:
        trainer = module.Trainer(few, variant)
        trainer.reset()
        trainer.train(-(-row.checked_steps // few.steps))
        adds_epsilon_elsewhere = file in ("scikit_learn", "keras_fit") and workload.optimizer == "adam"
        bound = 1e-3 if adds_epsilon_elsewhere else 1e-9
        assert row.disagreement(np.array(trainer.result()), expected, problem) < bound


@pytest.mark.parametrize("workload", [pytest.param(workload, id=workload.name) for workload in [
    *WORKLOADS[:2], Workload("logistic", (3, 4, 2), "logistic", "squared_error", 5, "sgd", 4), *WORKLOADS[2:4]]])
def test_fann_trains_by_the_same_formulas_what_it_has_formulas_for(workload):
    pytest.importorskip("fann2")
    fann_train = importlib.import_module("fastbp.compare.workers.fann_train")
    row = TrainingRow(workload)
    problem = row.problem("float32")
    few = problem.checked(row.checked_steps)
    if workload.optimizer == "adam" or workload.activation == "relu":
        with pytest.raises(ValueError, match=r"FANN has no (adam|relu)"):
            fann_train.Trainer(few, *fann_train.VARIANTS)
        return
    trainer = fann_train.Trainer(few, *fann_train.VARIANTS)
    trainer.reset()
    trainer.train(-(-row.checked_steps // few.steps))
    assert row.disagreement(trainer.result(), row.expected(problem), problem) < 1e-6


# ---- contestants in their processes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contestants")
    formulas = (WORKERS / "numpy_formulas.py").read_text(encoding="utf-8")
    assert "(delta @ W)" in formulas
    contestants = [
        backend_contestant("loops"), without_scipy(folder), *peers(sys.executable, avx512=AVX512, dtype="float32"),
        contestant_in(folder, "broken", formulas.replace("(delta @ W)", "(delta @ abs(W))"), peer=True),
        contestant_in(folder, "absent", "def versions(options):\n    import no_such_package.inside\n", peer=True,
                      install="pip install no-such-package"),
        contestant_in(folder, "crashing", "import os\ndef versions(options):\n    os.abort()\n", peer=True),
        contestant_in(folder, "tiring", formulas.replace("self.t += 1", "import os; os.abort()"), peer=True),
        contestant_in(folder, "talking", formulas + "\nprint('a library says hello')\n", peer=True)]
    rows = [TrainingRow(workload) for workload in SMALL]
    return compare(rows, contestants, {"cpu": ceiling_in(folder)}, Settings(rounds=2, seconds=0.002))


def test_contestants_agree_with_the_formulas_and_are_timed(results):
    sure = {"fastbp loops", "scikit-learn", *NUMPYS, "talking"}
    timed = {name for name, about in results["contestants"].items() if about["runs"]} - {"broken", "tiring"}
    assert timed >= sure  # and JAX and PyTorch where they are installed
    for workload in results["workloads"]:
        assert workload["ceiling"] == [CEILING, CEILING]
        assert set(workload["seconds"]) == timed, workload["failed"]
        for name in timed:
            bound = AGREEMENTS.get(results["contestants"][name]["rounds_to"], 1e-3)
            assert workload["disagreement"][name] < bound, name
            assert len(workload["seconds"][name]) == 2
            assert min(workload["seconds"][name]) > 0
    assert results["contestants"]["fastbp loops"]["versions"]["fastbp"] == fastbp.__version__
    assert results["contestants"]["numpy"]["versions"]["numpy"] == np.__version__
    assert results["contestants"]["scikit-learn"]["how"].startswith("scikit-learn: MLPClassifier or MLPRegressor")
    assert results["contestants"]["keras torch"]["environment"] == {"KERAS_BACKEND": "torch"}
    assert results["settings"]["environment"]["OPENBLAS_NUM_THREADS"] == "1"
    for name in ("numpy", "scikit-learn"):
        assert results["contestants"][name]["blas"].startswith(("openblas", "not known"))
    assert "blas" not in results["contestants"]["fastbp loops"]
    assert "numpy" in header({**results, "host": {}}).split("BLAS")[1]
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
    assert about["fastbp blas"]["reason"] == "scipy is not installed; install it with: pip install 'fastbp[blas]'"
    for name in ("jax", "torch", "torch compiled", "skorch", "keras jax", "keras torch", "fann",
                 *(["torch bfloat16"] if AVX512 else [])):
        assert about[name]["runs"] or f"-m pip install {name.split()[0]}" in about[name]["reason"]
    assert "absent: not timed, no_such_package is not installed" in table(results)


# ---- in what order -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1:UserWarning")  # scikit-learn's arrays are made so
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("file", "package", "options"), TRAINING)
def test_a_shuffled_epoch_takes_every_sample_once_in_a_new_order(file, package, options, shuffle, monkeypatch):
    library = pytest.importorskip(package)
    if package == "torch":
        monkeypatch.setattr(library, "compile", lambda function, **settings: function)
    module, problem = importlib.import_module(f"fastbp.compare.workers.{file}"), telling(shuffle, **options)
    for variant in module.VARIANTS:
        assert_epochs_are_ordered_as_asked(problem, module.Trainer(problem, variant))


def test_shuffled_trainings_are_timed_and_checked_in_order(tmp_path):
    made, row = [], TrainingRow(SMALL[-1])

    class Module:
        VARIANTS = numpy_formulas.VARIANTS

        class Trainer(numpy_formulas.Trainer):
            def __init__(self, problem, variant):
                super().__init__(problem, variant)
                made.append(self.problem.shuffle)

    own = Worker(Module, 1, {})
    own.problem = row.problem("float64")
    own.warm_up(0.001)
    assert made == [True]
    assert own.trainer.problem.shuffle
    own.check(row.checked_steps, str(tmp_path / "result.npy"))
    assert made == [True, False]
    found = np.load(tmp_path / "result.npy")
    np.testing.assert_allclose(found - own.problem.theta, row.expected(own.problem), rtol=0, atol=1e-14)


def test_a_shuffled_row_says_so():
    about = TrainingRow(FASHION).about()
    assert (about["name"], about["shuffle"], about["samples"]) == ("fashion, shuffled", True, 59_904)
    about = TrainingRow(SMALL[0]).about()
    assert (about["name"], about["shuffle"]) == ("classes", False)


# ---- how long is trained -------------------------------------------------------------------------------------------


class Pretended:
    """A contestant's file whose training takes 0.1 s a step, or does not begin before some epochs."""

    VARIANTS = ("some",)
    least = 1

    class Trainer:
        def __init__(self, problem, variant):
            self.problem, self.variant, self.least_epochs = problem, variant, Pretended.least


@pytest.fixture
def pretending(monkeypatch):
    monkeypatch.setattr(Worker, "_time", staticmethod(lambda trainer, epochs: 0.1 * trainer.problem.steps * epochs))
    own = Worker(Pretended, 1, {})
    own.problem = TrainingRow(Workload("", (3, 2), "relu", "squared_error", 4, "sgd", 20)).problem("float32")
    return own


@pytest.mark.parametrize(("seconds", "least", "steps"), [
    (1.0, 1, 20),     # an epoch takes 2 s, which is not too long
    (0.3, 1, 3),      # 2 s are: it is cut to 3 steps
    (0.01, 1, 1),     # never to less than one
    (5.0, 1, 60),
    (0.3, 2, 40)])    # what needs two epochs is not cut
def test_long_epochs_are_cut_and_short_ones_repeated(pretending, monkeypatch, seconds, least, steps):
    monkeypatch.setattr(Pretended, "least", least)
    pretending.warm_up(seconds)
    found = pretending.measure()
    assert found["steps"] == steps
    assert found["seconds"] == pytest.approx(0.1)


def test_long_epochs_are_not_cut_where_they_are_shuffled(pretending):
    pretending.problem = pretending.problem._replace(shuffle=True)
    pretending.warm_up(0.3)
    assert pretending.measure()["steps"] == 20


def test_trainings_are_not_longer_than_weights_stay_in_place(pretending, monkeypatch):
    monkeypatch.setattr(worker, "MOST_STEPS", 50)
    pretending.warm_up(9.0)  # 90 steps: twice what two epochs of 20 are, not four epochs
    assert (pretending.epochs, pretending.measure()["steps"]) == (2, 80)


def test_tiny_networks_are_trained_long_enough_for_their_own_kernel():
    problem = TrainingRow(workloads_named(["online"])[0]).problem("float32")
    tiled = fastbp_fit.Trainer(problem._replace(options={"backend": "tiled"}), "fit")
    assert is_worth_compiling(problem.widths, 1, tiled.least_epochs * problem.steps)
    assert not is_worth_compiling(problem.widths, 1, (tiled.least_epochs - 1) * problem.steps)
    assert not hasattr(fastbp_fit.Trainer(problem._replace(options={"backend": "loops"}), "fit"), "least_epochs")


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
    assert main(["compare", "--results", saved, "--against", saved, "--show", "samples"]) == 0
    shown = capsys.readouterr().out
    assert "3-5-2 tanh, 4" in shown
    assert "samples per second" in shown
    assert "new / old" in shown


def test_a_network_of_ones_own_is_shuffled_if_asked(monkeypatch):
    asked = []
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda rows, *others: asked.extend(
        (row.name, row.problem("float32").shuffle) for row in rows) or {"workloads": []})
    monkeypatch.setattr("fastbp.commands.compare.summarise", lambda results: [])
    assert main(["compare", "--network", "3-5-2", "--json"]) == 0
    assert main(["compare", "digits", "--network", "3-5-2", "--shuffle", "--json"]) == 0
    assert asked == [("3-5-2 relu, 128", False), ("digits", False), ("3-5-2 relu, 128, shuffled", True)]


def test_all_backends_are_compared_if_none_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda rows, contestants, *others: asked.append(
        ([row.name for row in rows], [contestant.name for contestant in contestants])) or {"workloads": []})
    monkeypatch.setattr("fastbp.commands.compare.summarise", lambda results: [])
    assert main(["compare", "digits", "--json"]) == 0
    assert main(["compare", "digits", "--json", "--backends", "blas"]) == 0
    assert asked == [(["digits"], ["fastbp tiled", "fastbp loops", "fastbp blas"]), (["digits"], ["fastbp blas"])]


def test_pictures_without_matplotlib_are_refused_before_measuring(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda *arguments: pytest.fail("it measured"))
    assert main(["compare", "digits", "--plot", "out.png"]) == MISSING_PACKAGE
    assert "pip install 'fastbp[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "words"), [
    (["mist"], "unknown workload 'mist'"),
    (["digits", "--backends", "loops,warp"], "--backends: unknown backend 'warp'"),
    (["digits", "--batch", "3"], "--batch"),
    (["digits", "--shuffle"], "--shuffle: it describes the network that --network gives"),
    (["--network", "3-1"], "--loss"),
    (["digits", "--rounds", "0"], "--rounds"),
    (["digits", "--seconds", "0"], "--seconds"),
    (["digits", "--threads", "10000"], "--threads"),
    (["digits", "--peers", "--peers-python", "no/such/python"], "--peers-python"),
    (["digits", "--save", "no/such/folder/out.json"], "--save"),
    (["digits", "--csv", "no/such/folder/out.csv"], "--csv"),
    (["digits", "--plot", "no/such/folder/out.png"], "--plot"),
    (["digits", "--plot", "out.txt"], "'out.txt'"),
    (["digits", "--csv", "."], "--csv: expected the name of a file, found the folder"),
    (["digits", "--sizes", "32"], "--sizes"),
    (["--products", "digits"], "found digits"),
    (["--products", "--network", "3-2"], "found --network"),
    (["--products", "--activation", "relu"], "found --activation"),
    (["--products", "--shuffle"], "found --shuffle"),
    (["--products", "--sizes", "32,x"], "found '32,x'"),
    (["--products", "--sizes", "0"], "--sizes"),
    (["--products", "--backends", "tiled,cuda"], "--products: expected backends that have products"),
    (["--products", "--batch", "4"], "--batch: expected at least 5, found 4"),
    (["--ranks", "1,0"], "--ranks: expected whole numbers from 1 on"),
    (["--ranks", "2", "--peers"], "--ranks: expected no --peers"),
    (["--ranks", "2", "--threads", "2"], "--ranks: expected neither --threads"),
    (["--ranks", "2", "--network", "3-2", "--batch", "8"], "--batch: expected --sizes"),
    (["--ranks", "2", "--sizes", "x"], "--sizes: expected whole numbers"),
    (["--ranks", "2", "mnist"], "--ranks: expected one workload, found mnist-1, mnist-128"),
    (["--results", "no_such.json"], "no_such.json"),
    (["--results", str(Path(__file__).parents[1] / "pyproject.toml")], "--results")])
def test_what_cannot_be_used_is_named(capsys, arguments, words):
    assert main(["compare", *arguments]) == BAD_INPUT
    output = capsys.readouterr()
    assert words in output.err
    assert not output.out


RANKS = ["compare", "--ranks", "2,1", "--network", "3-5-2", "--sizes", "8,16", "--rounds", "2", "--seconds", "0.001"]


@pytest.mark.parametrize(("launcher", "transport"), [
    ((None, "there is no mpiexec"), "threads of one process, because there is no mpiexec"),
    ((sys.executable, ""), "threads of one process, because mpiexec failed ("),
    pytest.param(None, "processes of MPI", marks=pytest.mark.full)])
def test_ranks(launcher, transport, capsys, monkeypatch, tmp_path):
    if launcher is not None:
        monkeypatch.setattr(ranks, "_launcher", lambda: launcher)
    elif ranks._launcher()[0] is None:
        pytest.skip("needs mpi4py and its launcher")
    assert main([*RANKS, "--save", str(tmp_path / "ranks.json")]) == 0
    shown, results = capsys.readouterr().out, json.loads((tmp_path / "ranks.json").read_text())
    assert results["transport"].startswith(transport)
    assert f"3-5-2, float32, ranks of one thread: {transport}" in shown
    assert [(row["batch"], row["ranks"]) for row in results["rows"]] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    for row in results["rows"]:
        assert min(row["samples_per_second"]) > 0
        assert all(share == 0 if row["ranks"] == 1 else 0 < share <= 1 for share in row["exchange"])
    first = next(line for line in shown.splitlines() if line.startswith("8 "))
    assert len(first.split()) == 4
    assert first.endswith("%")


def test_importing_the_command_imports_no_peer():
    code = "import fastbp.__main__, sys; print({'torch', 'jax', 'sklearn'} & set(sys.modules))"
    root = Path(fastbp.__file__).parents[1]
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
