"""Kills processes at random moments of `MLP.save` over a file, and looks at what they leave.

    python tests/killing_saves.py 500 0

The arguments are the number of kills, and the seed of their moments. After each of them the file has to be one of the
two that were saved in turn, whole, and after the next save there has to be nothing else in its folder. It prints how
many kills left a temporary file, and ends with an error at the first that left something else.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp

#: Saves two networks in turn, once a line has come, until it is killed.
SAVING = """
import sys
import fastbp
nets = [fastbp.MLP([300, 300, 10], seed=seed) for seed in (1, 2)]
print("ready", flush=True)
sys.stdin.readline()
while True:
    for net in nets:
        net.save(sys.argv[1])
"""


def started(path):
    """A process that is about to save."""
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"ready"
    return process


def main(kills, seed):
    """Kill as often, and report."""
    rng = np.random.default_rng(seed)
    expected = [fastbp.MLP([300, 300, 10], seed=seed).theta.tobytes() for seed in (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.npz")
        net = fastbp.MLP([300, 300, 10], seed=1)
        net.save(path)
        begin = time.perf_counter()
        for _ in range(20):
            net.save(path)
        one_save = (time.perf_counter() - begin) / 20
        left = 0
        for k in range(kills):
            with started(path) as process:
                process.stdin.write(b"\n")
                process.stdin.flush()
                time.sleep(rng.uniform(0, 4 * one_save))
                os.kill(process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
            theta = fastbp.load(path).theta.tobytes()
            assert theta in expected, f"kill {k}: another network"
            left += len(os.listdir(folder)) > 1
            net.save(path)
            assert os.listdir(folder) == [path.name], f"kill {k}: {os.listdir(folder)}"
    print(f"seed {seed}: {kills} kills of saves of {one_save * 1e3:.1f} ms, all files whole; {left} left a temporary "
          f"file, which the next save removed")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:] or (20, 0)))
