"""The README's examples run as they stand, and its files are where it says."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) == 6
    names = {}
    exec(blocks[0], names)
    accuracy = float(capsys.readouterr().out.split("accuracy =")[1])
    assert accuracy > 0.95
    exec(blocks[1], names)
    assert names["history"]["validation_accuracy"][-1] > 0.9
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert np.isfinite(names["net"].theta).all()
    exec(blocks[2], names)
    assert names["mine"].evaluate(names["X"], names["d"])[1] > 0.95
    exec(blocks[3], names)
    assert float(capsys.readouterr().out.split(":")[-1]) > 0.9
    exec(blocks[4], names)
    assert names["status"] == 0
    assert abs(names["state"][0] + 0.5) < 0.02
    exec(blocks[5], names)
    scores = [float(score) for score in re.findall(r"0\.\d+", capsys.readouterr().out.split("folds:")[1])]
    assert len(scores) == 5
    assert min(scores) > 0.8


@pytest.mark.parametrize(("name", "file"), sorted(set(re.findall(r"`(\w+)` in `(\S+\.py)`", README))))
def test_table_names_functions_that_exist(name, file):
    assert f"def {name}(" in (Path(__file__).parents[1] / "fastbp" / file).read_text(encoding="utf-8")
