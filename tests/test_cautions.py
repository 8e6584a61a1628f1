"""What spoils a result is said on standard error and in JSON, and the baseline stands beside the score."""

import json

import numpy as np
import pytest

from fastbp import datasets
from fastbp.__main__ import main
from fastbp.commands import cautions

RNG = np.random.default_rng(0)
N = 120
X = RNG.normal(size=(N, 2)).round(3)
SIDES = np.where(X[:, 0] > 0, "up", "down")


@pytest.fixture
def warned(tmp_path, monkeypatch, capsys):
    """The warnings of a training, which are the same in both places, and its other results."""
    monkeypatch.chdir(tmp_path)

    def warned(columns, *options, plain=False):
        rows = zip(*(list(column) for column in columns.values()), strict=True)
        (tmp_path / "data.csv").write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
        arguments = ["train", "--data", "data.csv", "--epochs", "3", "--layers", "4", "--quiet", *options]
        assert main([*arguments, "--json"]) == 0
        output = capsys.readouterr()
        result = json.loads(output.out)
        assert output.err == "".join(f"fastbp: warning: {sentence}\n" for sentence in result["warnings"])
        if plain:
            assert main(arguments) == 0
            assert capsys.readouterr().err == output.err
        return result["warnings"], result

    return warned


@pytest.fixture
def seen(tmp_path):
    """What is to be seen of a table before training."""
    def seen(columns, **options):
        rows = zip(*(list(column) for column in columns.values()), strict=True)
        (tmp_path / "data.csv").write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
        return cautions.of_data(datasets.load(str(tmp_path / "data.csv"), **options))

    return seen


def test_nothing_is_said_of_good_data(warned, seen):
    assert warned({"a": X[:, 0], "age": RNG.integers(20, 80, N), "kind": SIDES}, plain=True)[0] == []
    assert seen({"a": X[:, 0], "b": X[:, 1], "y": 3.0 * X[:, 0]}) == []
    assert seen({"time": range(N), "y": X[:, 0]}) == []  # the one column says when


@pytest.mark.parametrize("numbers", [np.arange(N), np.arange(N) + 1000, RNG.permutation(N), np.arange(N)[::-1],
                                     np.sort(RNG.permutation(N + 60)[:N])])
def test_a_column_that_numbers_the_rows(seen, numbers):
    (found,) = seen({"Unnamed: 0": numbers, "a": X[:, 0], "kind": SIDES})
    assert found.startswith("column 'Unnamed: 0' seems to number the rows")


def test_warnings_are_in_both_places(warned):
    found, _ = warned({"id": range(N), "a": X[:, 0], "kind": ["odd"] * 9 + SIDES.tolist()[9:]}, plain=True)
    assert [sentence.split()[0] for sentence in found] == ["column", "1"]


@pytest.mark.parametrize(("target", "options"), [
    ([f"{x}x" for x in range(N)], {}), (range(N), {"task": "classification"}), ([f"{i:03d}" for i in range(N)], {}),
    ([f"k{i // 2 if i < 100 else i}" for i in range(N)], {})])
def test_as_many_classes_as_rows(seen, target, options):
    found = seen({"a": X[:, 0], "b": X[:, 1], "target": target}, **options)
    classes = len(set(target))
    assert found == [f"there are {classes} classes in {N} rows, as if quantities or names of rows had been taken for "
                     "classes: pass --task regression if they are numbers, or choose another target"]


def test_fewer_than_ten_rows_of_a_class(seen):
    sentence = "1 of 3 classes have fewer than 10 rows, which tell little of them: 'odd' (9)"
    for rows, expected in ((10, []), (9, [sentence])):
        kinds = ["odd"] * rows + SIDES.tolist()[rows:]
        assert seen({"a": X[:, 0], "b": X[:, 1], "kind": kinds}) == expected


def test_a_class_so_rare_that_the_majority_has_that_accuracy(warned):
    kinds = ["rare"] * 12 + ["common"] * (N - 12)
    found, result = warned({"a": X[:, 0], "b": X[:, 1], "kind": kinds}, "--epochs", "60")
    assert result["baseline_accuracy"] == pytest.approx(22 / 24)
    assert result["test_accuracy"] == result["baseline_accuracy"]
    assert found == ["the test accuracy of 0.9167 is no better than that of always saying 'common', 0.9167"]


@pytest.mark.parametrize("pair", [("1", "1.0"), ("Yes", "yes"), ("New York", "NewYork")])
def test_classes_that_are_written_differently(seen, pair):
    found = seen({"a": X[:, 0], "b": X[:, 1], "kind": np.where(X[:, 0] > 0, *pair)})
    assert found == [f"the classes {pair[0]!r}, {pair[1]!r} may be one, written differently"]


def test_the_baseline_stands_beside_the_score(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data, words in (("iris", "baseline       accuracy 0.3333, always the commonest class"),
                        ("diabetes", "baseline       RMSE 71.8331, always the mean")):
        assert main(["train", "--data", data, "--epochs", "1", "--quiet"]) == 0
        output = capsys.readouterr()
        assert words in output.out.splitlines()
        assert output.err == ""
