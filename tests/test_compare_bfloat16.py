"""PyTorch in bfloat16 in `fastbp compare`: it computes other numbers, and this is said. No test looks at a time."""

import csv
import io
import sys

import numpy as np
import pytest
from contestants import ceiling_in, contestant_in

from fastbp.__main__ import main
from fastbp.compare.contestants import AGREEMENTS, WORKERS, peers
from fastbp.compare.csv_file import as_csv
from fastbp.compare.measuring import Settings, compare
from fastbp.compare.pictures import draw
from fastbp.compare.report import table
from fastbp.compare.summary import geometric_means, summarise
from fastbp.compare.training import TrainingRow
from fastbp.compare.workers import pytorch_bfloat16
from fastbp.compare.workloads import Workload

SMALL = [Workload("classes", (3, 5, 4), "relu", "softmax_cross_entropy", 4, "adam", 3),
         Workload("quantities", (2, 6, 3, 1), "tanh", "squared_error", 4, "sgd", 8),
         Workload("bits", (3, 5, 1), "relu", "binary_cross_entropy", 4, "adam", 3)]

FORMULAS = (WORKERS / "numpy_formulas.py").read_text(encoding="utf-8")
SAID = "other numbers: products in bfloat16 (7 bits)"

# ---- what is said of it --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contestants")

    def off_by(share, name, **settings):
        assert "self.flat -= rate * m" in FORMULAS
        text = FORMULAS.replace("self.flat -= rate * m", f"self.flat -= {1 + share} * rate * m")
        return contestant_in(folder, name, text, **settings)

    contestants = [off_by(0.0, "own"), off_by(0.0, "right", peer=True), off_by(0.4, "off", peer=True),
                   off_by(0.4, "torch bfloat16", peer=True, rounds_to="bfloat16"),
                   off_by(0.6, "wrong bfloat16", peer=True, rounds_to="bfloat16")]
    found = compare([TrainingRow(SMALL[0])], contestants, {"cpu": ceiling_in(folder)},
                    Settings(rounds=2, seconds=0.002))
    seconds = found["workloads"][0]["seconds"]
    if "torch bfloat16" in seconds:
        seconds["torch bfloat16"] = [time / 2 for time in seconds["right"]]
    return {**found, "host": {"processor": "some"}}


def test_it_may_be_further_off_but_not_wrong(results):
    row, = results["workloads"]
    assert set(row["seconds"]) == {"own", "right", "torch bfloat16"}
    for name in ("off", "wrong bfloat16"):
        assert row["failed"][name].startswith("wrong")


def test_it_is_never_the_fastest_peer_and_has_a_ceiling_of_its_own(results):
    summary, = summarise(results)
    assert summary["us"]["torch bfloat16"] < summary["us"]["right"]
    assert summary["fastest_peer"] == "right"
    assert set(summary["ratio"]) == {"own"}
    assert set(geometric_means([summary])) == {"own"}
    assert set(summary["share"]) == {"own", "right", "torch bfloat16"}
    row = {name: value for name, value in results["workloads"][0].items() if name != "bfloat16_ceiling"}
    without, = summarise({**results, "workloads": [row]})  # as on processors without an instruction for it
    assert set(without["share"]) == {"own", "right"}
    assert without["bfloat16_ceiling_gflops"] is None


def test_tables_and_csv_say_that_its_numbers_are_others(results):
    lines = {line["contestant"]: line for line in csv.DictReader(io.StringIO(as_csv(results)))}
    assert {name: line["numbers"] for name, line in lines.items() if name in results["workloads"][0]["seconds"]} == {
        "own": "float32", "right": "float32", "torch bfloat16": SAID}
    assert float(lines["torch bfloat16"]["share of ceiling [1]"]) > 0
    assert float(lines["torch bfloat16"]["ceiling [GFLOP/s]"]) > 0
    assert float(lines["torch bfloat16"]["time / baseline time [1]"]) > 0
    assert f"\nbfloat16: {SAID}; never *, and the ceiling is not theirs\n" in table(results)
    others = {name: about for name, about in results["contestants"].items() if name == "right"}
    assert "other numbers" not in table({**results, "contestants": others, "workloads": []})


def test_pictures_say_that_its_numbers_are_others(results, monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    captions = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *arguments, **settings: captions.append(self.get_supxlabel()))
    draw(results, tmp_path / "out.png")
    assert f"bfloat16: {SAID}." in captions[0].replace("\n", " ")


def test_results_of_before_say_tf32_in_their_own_way(results):
    old = {"peer": True, "runs": True, "device": "cpu", "tf32": True}
    summary, = summarise({**results, "contestants": {**results["contestants"], "right": old}})
    assert summary["fastest_peer"] is None


# ---- who takes part ------------------------------------------------------------------------------------------------


def test_it_takes_part_in_float32_where_there_is_avx512():
    def names(**settings):
        return [peer.name for peer in peers(sys.executable, **settings) if peer.rounds_to]

    assert names(avx512=True, dtype="float32") == ["torch bfloat16"]
    assert names(avx512=True, dtype="float64") == []
    assert names(avx512=False, dtype="float32") == []
    assert names(avx512=True, dtype="float32", products=True) == []


def test_the_command_asks_for_it_by_dtype(monkeypatch):
    asked = []
    monkeypatch.setattr("fastbp.commands.compare.peers", lambda python, avx512, dtype, **others: peers(
        python, True, dtype, **others))
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda rows, contestants, *others: asked.append(
        {contestant.name for contestant in contestants}) or {"workloads": []})
    monkeypatch.setattr("fastbp.commands.compare.summarise", lambda results: [])
    for dtype in ("float32", "float64"):
        assert main(["compare", "digits", "--peers", "--json", "--dtype", dtype]) == 0
    assert asked[0] - asked[1] == {"torch bfloat16"}


def test_float32_is_what_a_contestant_says_and_not_the_shell(monkeypatch, tmp_path):
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        monkeypatch.setenv(name, "BF16")
    tells = contestant_in(tmp_path, "tells", "import os\ndef versions(options):\n    return "
                          "{name: value for name, value in os.environ.items() if 'FPMATH' in name}\n")
    found = compare([], [tells], {"cpu": ceiling_in(tmp_path)}, Settings())["contestants"]
    assert list(found["tells"]["versions"]) == ["python"]


# ---- how it trains -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
@pytest.mark.parametrize("variant", pytorch_bfloat16.VARIANTS)
def test_steps_are_those_of_the_formulas_in_fewer_bits(variant, workload, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)
    row = TrainingRow(workload)
    problem = row.problem("float32")
    few = problem.checked(row.checked_steps)
    trainer = pytorch_bfloat16.Trainer(few, variant)
    assert trainer.variant == f"{variant}, autocast to bfloat16"
    for _ in range(2):  # a second training starts where the first did
        trainer.reset()
        trainer.train(1)
        assert trainer.result().dtype == np.float32
        assert 1e-4 < row.disagreement(trainer.result().astype(float), row.expected(problem),
                                       problem) < AGREEMENTS["bfloat16"]


@pytest.mark.parametrize("variant", pytorch_bfloat16.VARIANTS[:2])
def test_forward_pass_and_loss_are_inside_of_autocast_and_the_rest_is_not(variant):
    torch = pytest.importorskip("torch")
    trainer = pytorch_bfloat16.Trainer(TrainingRow(SMALL[2]).problem("float32"), variant)
    seen = {}

    def note(what, values):
        seen[what] = torch.is_autocast_enabled("cpu"), values.dtype
        return values

    steps = trainer.steps
    loss_of = steps.loss_of
    steps.loss_of = lambda Y, d: note("loss", loss_of(note("Y", Y), d))
    for p in steps.model.parameters():
        p.register_hook(lambda gradient: note("gradient", gradient))
    steps.optimizer.register_step_post_hook(lambda *_: note("update", next(steps.model.parameters())))
    trainer.reset()
    trainer.train(1)
    assert seen == {"Y": (True, torch.bfloat16), "loss": (True, torch.float32), "gradient": (False, torch.float32),
                    "update": (False, torch.float32)}
