"""What `fastbp compare` says of measurements: quantities, tables, CSV, pictures. No test looks at a time."""

import csv
import io
import json
from pathlib import Path

import pytest

from fastbp.compare.csv_file import as_csv
from fastbp.compare.pictures import LOOKS, draw, require_drawable
from fastbp.compare.report import QUANTITIES, difference, header, table
from fastbp.compare.summary import baseline, geometric_means, summarise

#: Written before there were products, a BLAS of each contestant, and more than one backend by default.
OLD = json.loads((Path(__file__).parent / "data" / "compare_without_products.json").read_text(encoding="utf-8"))


def made_up(own, ceiling=(1e9, 1e9, 4e9), **other):
    failed = {"late": "RuntimeError: no compiler"} | ({} if ceiling else {"ceiling": "no vectors"})
    workload = {"name": "w", "widths": [3, 5, 2], "activation": "relu", "batch_size": 10, "flops": 1000,
                "ceiling": list(ceiling), "warm_up": {"own": {"variant": "fit", "first_seconds": 0.5}},
                "disagreement": {"own": 1e-6}, "failed": failed,
                "seconds": {"own": own, "slow": [9e-6, 9e-6, 9e-6], "fast": [2e-6, 4e-6, 2e-6]}} | other
    return {"settings": {"threads": 2, "dtype": "float32"}, "workloads": [workload],
            "host": {"processor": "some", "threads": "2"}, "contestants": {
        "own": {"peer": False, "runs": True, "versions": {"own": "1.2", "threading layer": "omp"}},
        "slow": {"peer": True, "runs": True, "blas": "openblas 0.3, Haswell"}, "fast": {"peer": True, "runs": True},
        "late": {"peer": True, "runs": True}, "absent": {"peer": True, "runs": False, "reason": "not installed"}}}


def words(text, first):
    return next(line.split() for line in text.splitlines() if line.startswith(first))


def test_summary_of_made_up_measurements():
    summary, = summarise(made_up([1e-6, 2e-6, 3e-6]))
    assert summary["fastest_peer"] == "fast"
    assert summary["fastest"] == "own"  # the first of two that are as fast
    assert summary["to_fastest"] == pytest.approx({"own": 1.0, "slow": 4.5, "fast": 1.0})
    assert summary["us"] == pytest.approx({"own": 2.0, "slow": 9.0, "fast": 2.0})
    assert summary["spread"] == pytest.approx({"own": 0.5, "slow": 0.0, "fast": 0.5})
    assert summary["samples"] == pytest.approx({"own": 5e6, "slow": 10 / 9e-6, "fast": 5e6})
    assert summary["gflops"] == pytest.approx({"own": 0.5, "slow": 1 / 9, "fast": 0.5})
    assert summary["baseline"] == "own"
    assert summary["to_baseline"] == pytest.approx({"own": 1.0, "slow": 4.5, "fast": 2.0})  # of 2, 2 and 2/3
    assert summary["ratio"] == {"own": 0.5}  # of 0.5, 0.5 and 1.5: round by round
    assert summary["ceiling_us"] == pytest.approx(0.5)  # 1000 operations on two cores of 1 GF/s
    assert summary["ceiling_gflops"] == pytest.approx(2.0)
    assert summary["share"]["own"] == pytest.approx(0.25)


def test_others_are_compared_with_tiled_where_it_was_timed():
    results = made_up([1e-6] * 3)
    results["contestants"]["fastbp tiled"] = {"peer": False, "runs": True}
    assert baseline(results) == "own"
    results["workloads"][0]["seconds"]["fastbp tiled"] = [5e-7] * 3
    assert baseline(results) == "fastbp tiled"
    assert summarise(results)[0]["to_baseline"]["own"] == pytest.approx(2.0)
    results["workloads"][0]["seconds"] = {"fast": [1e-6]}
    assert summarise(results)[0]["to_baseline"] == {}


def test_geometric_mean():
    assert geometric_means([{"ratio": {"own": 0.5}}, {"ratio": {"own": 2.0}}, {"ratio": {}}]) == {
        "own": pytest.approx(1.0)}
    assert geometric_means([{"to_baseline": {"a": 3.0}}, {"to_baseline": {"a": 12.0}}], "to_baseline") == {
        "a": pytest.approx(6.0)}


def test_table_of_made_up_measurements():
    shown = table(made_up([1e-6, 2e-6, 3e-6]))
    assert words(shown, "w ") == ["w", "2.00", "50%", "0.500", "25.0%", "4.50", "*2.00", "failed", "0.500"]
    assert "times as long as own" in shown
    assert "geometric mean of time / time of own: slow 4.50, fast 2.00" in shown
    assert "geometric mean of time / time of * (the fastest peer): own 0.500" in shown
    assert "rounds differ by up to ±50%" in shown
    assert "own: own 1.2; fit" in shown.splitlines()
    assert "w: late: RuntimeError: no compiler" in shown
    assert "absent: not timed, not installed" in shown
    assert "ceiling: not measured, no vectors" in table(made_up([1e-6] * 3, ceiling=()))


@pytest.mark.parametrize(("show", "cells"), [
    ("us", ["0.500", "2.00", "±50%", "9.00", "±0%", "*2.00", "±50%", "failed", "0.500"]),
    ("samples", ["5,000,000", "1,111,111", "*5,000,000", "failed"]),
    ("gflops", ["2.00", "0.500", "25.0%", "0.111", "5.6%", "*0.500", "25.0%", "failed"]),
    ("share", ["25.0%", "5.6%", "*25.0%", "failed"])])
def test_table_of_another_quantity(show, cells):
    shown = table(made_up([1e-6, 2e-6, 3e-6]), show)
    assert words(shown, "w ")[1:] == cells
    assert QUANTITIES[show] in shown


def test_products_are_shown_as_rates():
    product = made_up([1e-6] * 3, product="W h", size=32)
    assert table(product) == table(product, "gflops")
    assert "product, N" in table(product)


def test_header_says_threads_ceiling_and_blas():
    lines = header(made_up([1e-6] * 3)).splitlines()
    assert [line.split(None, 1) for line in lines] == [
        ["processor", "some"], ["threads", "2; threading layer omp"],
        ["ceiling", "1.00 GFLOP/s of float32 multiply-adds on one core"], ["BLAS", "slow: openblas 0.3, Haswell"]]


def test_difference_of_two_results():
    lines = difference(made_up([1e-6] * 3), made_up([4e-6] * 3)).splitlines()
    assert lines[1].split() == ["w,", "own", "4.00", "1.00", "0.25", "2.00", "0.500", "12.5%", "50.0%"]
    with pytest.raises(ValueError, match="in common"):
        difference(made_up([1e-6] * 3), made_up([1e-6] * 3) | {"workloads": []})


def test_results_of_earlier_versions_are_read():
    assert words(table(OLD), "big") == ["big", "61,840", "0%", "244", "84.0%", "1.64", "*1.16", "0.861"]
    assert "numpy: openblas 0.3.31.188.0 SkylakeX" in header(OLD)
    assert words(difference(OLD, OLD), "big, auto")[2:5] == ["61,840", "61,840", "1.00"]
    assert len(as_csv(OLD).splitlines()) == 4
    assert {line["shuffled"] for line in csv.DictReader(io.StringIO(as_csv(OLD)))} == {"false"}


def test_csv_has_a_line_for_every_contestant_of_a_row():
    lines = list(csv.DictReader(io.StringIO(as_csv(made_up([1e-6, 2e-6, 3e-6])))))
    assert [line["contestant"] for line in lines] == ["own", "slow", "fast", "late"]
    own, slow, _, late = lines
    assert {name: float(own[name]) for name in own if "[" in name} == pytest.approx({
        "batch size [samples]": 10, "time [us/step]": 2.0, "spread [share of time]": 0.5, "throughput [samples/s]": 5e6,
        "rate [GFLOP/s]": 0.5, "ceiling [GFLOP/s]": 2.0, "share of ceiling [1]": 0.25, "time / baseline time [1]": 1.0,
        "time / fastest peer time [1]": 0.5, "first run [s]": 0.5, "disagreement [1]": 1e-6})
    assert (own["row"], own["network"], own["baseline"], own["fastest peer"], own["rounds"]) == (
        "w", "3-5-2", "own", "fast", "3")
    assert float(slow["time / baseline time [1]"]) == pytest.approx(4.5)
    assert (late["time [us/step]"], late["failed"]) == ("", "RuntimeError: no compiler")
    for other, shuffled in (({"shuffle": True}, "true"), ({"shuffle": False}, "false"), ({"product": "W h"}, "")):
        lines = csv.DictReader(io.StringIO(as_csv(made_up([1e-6] * 3, **other))))
        assert {line["shuffled"] for line in lines} == {shuffled}


# ---- pictures ------------------------------------------------------------------------------------------------------


def texts_of(figure):
    figure.draw_without_rendering()
    return [text.get_text() for axes in figure.axes for text in axes.texts if axes.get_visible()]


def figure_of(results, monkeypatch, tmp_path):
    figures = []
    from matplotlib.figure import Figure

    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *arguments, **settings: (
        figures.append(self), save(self, *arguments, **settings)))
    draw(results, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    return figures[0]


def test_bars_say_ratios_and_what_they_are_of(monkeypatch, tmp_path):
    figure = figure_of(made_up([1e-6, 2e-6, 3e-6]), monkeypatch, tmp_path)
    assert texts_of(figure) == ["2.00 µs, 25.0% of the ceiling", "4.50×", "2.00×"]
    axes, = figure.axes
    assert axes.get_title() == "w: 3-5-2 relu, batch 10"
    assert "own" in axes.get_xlabel()
    assert [bar.get_x() for bar in axes.patches] == [1, 1, 1]
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == pytest.approx([1, 4.5, 2])
    assert "some" in figure.get_supxlabel()


def test_lines_of_products_lie_below_the_ceiling(monkeypatch, tmp_path):
    results = made_up([1e-6] * 3, product="W h", size=32)
    results["workloads"] += made_up([1e-6] * 3, product="W h", size=64)["workloads"]
    figure = figure_of(results, monkeypatch, tmp_path)
    axes, = figure.axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert set(drawn) >= {"own", "slow", "fast"}
    assert drawn["own"].get_xdata().tolist() == [32, 64]
    assert drawn["own"].get_ydata() == pytest.approx([1.0, 1.0])
    assert texts_of(figure) == ["ceiling: 2.00 GFLOP/s, multiply-adds alone"]
    assert axes.get_ylim()[1] > 2.0


def test_what_is_drawn_together_looks_different():
    together = [look for name, look in LOOKS.items() if name != "auto"]  # which is tiled
    assert len(set(together)) == len(together)


def test_a_picture_needs_a_known_format():
    require_drawable("--plot", Path("out.svg"))
    with pytest.raises(ValueError, match=r"--plot.*'out\.txt'"):
        require_drawable("--plot", Path("out.txt"))
