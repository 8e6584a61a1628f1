"""The adapter to torch.distributed, as fastbp/distributed/README.md shows it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")

PAGE = (Path(fastbp.__file__).parent / "distributed" / "README.md").read_text(encoding="utf-8")

ADAPTER = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class Gloo" in code)

RANK = ADAPTER + """
import hashlib, sys
import fastbp

place, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=3)
rng = np.random.default_rng(0)
X, D = rng.normal(size=(130, 6)).astype(np.float32), rng.integers(0, 3, 130)
net = fastbp.MLP([6, 9, 3], seed=rank, backend="loops")

class Alone:
    rank, size, exchange, abort = 0, 1, print, print

fit = {"epochs": 3, "batch_size": 40, "dropout": 0.2, "seed": 1}
net.fit(X, D, communicator=Gloo(), **fit)
alone = fastbp.MLP([6, 9, 3], seed=0, backend="loops")
alone.fit(X, D, communicator=Alone(), **fit)
assert (net.theta == alone.theta).all()
try:
    net.fit(X, D, communicator=Gloo(), batch_size=0 if rank == 1 else 10)
except Exception as error:
    sys.stdout.write(type(error).__name__)
"""


def test_the_adapter_of_the_page(tmp_path):
    place = tmp_path / "meeting"
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(place), str(rank)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) for rank in range(3)]
    found = [rank.communicate(timeout=60) for rank in ranks]
    assert found[1][0] == "ValueError", found
    assert all(told for told, _ in found), found  # the others were told too
