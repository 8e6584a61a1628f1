"""Kill a rank at random moments: all ranks have to end, and what goes on from the checkpoint to have the same bits.

    python tests/killing_ranks.py --kills 50 --seed 0

Each training runs on 1 to 3 ranks of mpiexec, one of which is killed (SIGKILL) or interrupted (SIGINT) a few times; it
goes on on another number of ranks.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

#: The seconds within which all ranks have to end after one was killed.
PATIENCE = 5.0

TRAIN = """
import hashlib, os, sys
import numpy as np
from mpi4py import MPI
import fastbp
from fastbp.distributed import DataParallel

path, kind, resume = sys.argv[1], sys.argv[2], sys.argv[3] == "resume"
world, rng = MPI.COMM_WORLD, np.random.default_rng(0)
X = rng.normal(size=(6000, 20)).astype(np.float32)
d = rng.integers(0, 5, 6000)
own = slice(6000 * world.rank // world.size, 6000 * (world.rank + 1) // world.size)
shards = kind == "shards"
data = {"memory": (X, d), "shards": (X[own], d[own]),
        "stream": ([(X[b : b + 700], d[b : b + 700]) for b in range(0, 6000, 700)],)}[kind]
net = fastbp.MLP([20, *HIDDEN, 5], seed=1)
sys.stdout.write(f"begins {world.rank} {os.getpid()}\\n")
sys.stdout.flush()
history = net.fit(*data, optimizer=fastbp.Adam(fastbp.schedules.Cosine(0.002, updates=9000)), epochs=EPOCHS,
                  batch_size=50, dropout=0.2, l2_penalty=1e-4, validation_data=(X[:500], d[:500]), progress=False,
                  callbacks=[fastbp.EarlyStopping(patience=1000)], checkpoint=path, checkpoint_every=0.02,
                  resume=resume, shuffle_buffer=2000, communicator=DataParallel(world, shards=shards))
digest = hashlib.sha256(net.theta.tobytes() + history.optimizer_state.averages.tobytes())
digest.update(np.array([values for values in history.records.values()]).tobytes())
digest.update(str(net.generator_state).encode())
sys.stdout.write(f"ended {history.stop_reason} {digest.hexdigest()}\\n")
"""


#: The hidden layers of two networks: gradients of the first are added up in a tree, and of the other one ranks exchange
#: activations and parameters.
HIDDEN = [64], [200, 100]


def started(ranks, path, kind, resume, epochs, hidden):
    """A training on ranks, and the ids of their processes once all have begun."""
    launcher = shutil.which("mpiexec", path=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    program = TRAIN.replace("EPOCHS", str(epochs)).replace("HIDDEN", str(hidden))
    process = subprocess.Popen([launcher, "-n", str(ranks), sys.executable, "-W", "ignore", "-c",
                                program, path, kind, "resume" if resume else "anew"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env=os.environ | {"NUMBA_NUM_THREADS": "1"})
    lines = [process.stdout.readline().split() for _ in range(ranks)]
    return process, {int(rank): int(number) for _, rank, number in lines}


def outcome(process):
    """The digest of a training that ends, which is the same on all ranks."""
    lines = process.communicate(timeout=120)[0].split("\n")
    digests = {line.split()[2] for line in lines if line.startswith("ended")}
    assert process.returncode == 0, process.returncode
    assert len(digests) == 1, lines
    return digests.pop()


def is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    rng, slowest = np.random.default_rng(options.seed), 0.0
    with tempfile.TemporaryDirectory() as folder:
        expected, seconds = {}, {}
        for number, hidden in enumerate(HIDDEN):
            for kind in ("memory", "stream"):
                process, _ = started(1, os.path.join(folder, "whole"), kind, False, options.epochs, hidden)
                begin = time.perf_counter()
                expected[kind, number] = outcome(process)
                seconds[kind, number] = time.perf_counter() - begin
            for found in (expected, seconds):
                found["shards", number] = found["memory", number]
        kills = trainings = 0
        while kills < options.kills:
            kind, number = ("memory", "shards", "stream")[trainings % 3], trainings % 2
            path, resume = os.path.join(folder, f"run{trainings}"), False
            for _ in range(int(rng.integers(1, 5))):
                ranks = int(rng.integers(1, 4))
                process, numbers = started(ranks, path, kind, resume, options.epochs, HIDDEN[number])
                time.sleep(rng.uniform(0, 1.0 * seconds[kind, number]))
                victim = numbers[int(rng.integers(0, ranks))]
                if is_running(victim):
                    os.kill(victim, signal.SIGKILL if rng.random() < 0.7 else signal.SIGINT)
                begin = time.monotonic()
                process.communicate(timeout=60)
                while any(map(is_running, numbers.values())) and time.monotonic() < begin + PATIENCE:
                    time.sleep(0.01)
                slowest = max(slowest, time.monotonic() - begin)
                assert slowest < PATIENCE, slowest
                kills, resume = kills + 1, True
            found = outcome(started(int(rng.integers(1, 4)), path, kind, True, options.epochs,
                                    HIDDEN[number])[0])
            assert found == expected[kind, number], (options.seed, trainings, kind)
            trainings += 1
            print(f"{kills} kills of {trainings} trainings, all with the same bits; the slowest end took "
                  f"{slowest:.1f} s", flush=True)


if __name__ == "__main__":
    main()
