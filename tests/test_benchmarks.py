"""The benchmarks: asv finds and imports all of them. Whether they run is seen by `.ci/run`."""

import subprocess
import sys
from pathlib import Path

CONFIGURATION = Path(__file__).parents[1] / "asv_bench" / "asv.conf.json"


def test_asv_accepts_all_benchmarks():
    finished = subprocess.run([sys.executable, "-m", "asv", "check", "--python=same", "--config", CONFIGURATION],
                              capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "No problems found" in finished.stdout
