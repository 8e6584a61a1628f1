"""The README's examples run as they stand, and its files are where it says."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastbp.backends.contract import FROM_TRANSPOSE

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) == 10
    names = {}

    def printed(block):
        """What a block prints after the last colon or equals sign."""
        exec(block, names)
        return capsys.readouterr().out.replace("=", ":").split(":")[-1]

    assert float(printed(blocks[0]).replace("accuracy", "")) > 0.95
    exec(blocks[1], names)
    assert names["history"]["validation_accuracy"][-1] > 0.9
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert np.isfinite(names["net"].theta).all()
    assert float(printed(blocks[2])) > 0.9
    exec(blocks[3], names)
    assert names["status"] == 0
    assert abs(names["state"][0] + 0.5) < 0.02
    exec(blocks[4], names)
    assert names["J"].shape == (1797, 10, 64)
    assert names["Hv"].any()
    assert float(printed(blocks[5]).split()[0]) < 1e-6
    assert float(printed(blocks[6])) > 0.9
    assert float(printed(blocks[7])) > 0.8
    assert names["sparse_net"].way_of(names["sparse_net"].checked_inputs(names["hot"]), 100) == FROM_TRANSPOSE
    before = names["net"].theta.copy()
    exec(blocks[8], names)
    assert (names["net"].theta != before).mean() > 0.5
    assert names["net"].evaluate(names["raw"], names["d"])[1] > 0.95
    scores = [float(score) for score in re.findall(r"0\.\d+", printed(blocks[9]))]
    assert len(scores) == 5
    assert min(scores) > 0.8


@pytest.mark.parametrize(("name", "file"), sorted(set(re.findall(r"`(\w+)` in `(\S+\.py)`", README))))
def test_table_names_functions_that_exist(name, file):
    assert f"def {name}(" in (Path(__file__).parents[1] / "fastbp" / file).read_text(encoding="utf-8")
