"""Ranks as processes of MPI, where mpi4py and a launcher are installed."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ranks import trained

from fastbp.distributed import in_threads

LAUNCHER = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

pytestmark = pytest.mark.skipif(LAUNCHER is None or importlib.util.find_spec("mpi4py") is None or os.name == "nt",
                                reason="needs mpi4py, and mpiexec")


def on_ranks(count, *command):
    """What a command does on a number of ranks of one thread; it has to end within minutes."""
    environment = os.environ | {"NUMBA_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([LAUNCHER, "-n", str(count), sys.executable, *command], env=environment, capture_output=True,
                          text=True, timeout=240, check=False)


SCRIPT = str(Path(__file__).with_name("ranks.py"))


def test_processes_have_the_bits_of_threads():
    done = on_ranks(3, SCRIPT, "whole")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == 3 * in_threads(trained, 1)


def test_ctrl_c_on_one_rank_ends_all_after_the_same_batch():
    done = on_ranks(2, SCRIPT, "interrupted")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == 2 * in_threads(lambda communicator: trained(communicator, epochs=2), 1)


def test_an_error_of_one_rank_ends_all():
    done = on_ranks(3, SCRIPT, "raises")
    assert sorted(done.stdout.split()) == ["OSError:enough"] + 2 * ["RankError:rank_0_failed:_OSError:_enough"]


def test_a_rank_that_is_killed_ends_all_and_leaves_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint"
    done = on_ranks(2, SCRIPT, "killed", str(path))
    assert done.returncode != 0
    assert in_threads(lambda communicator: trained(communicator, resume=path), 3) == 3 * in_threads(trained, 1)


def test_the_command_prints_and_writes_once(tmp_path):
    done = on_ranks(2, "-m", "fastbp", "train", "--data", "iris", "--epochs", "2", "--backend", "loops", "--json",
                    "--distributed", "--model", str(tmp_path / "iris.npz"), "--plot", str(tmp_path / "iris.png"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 2
    assert sorted(found.name for found in tmp_path.iterdir()) == ["iris.npz", "iris.png"]
