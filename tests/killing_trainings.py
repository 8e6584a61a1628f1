"""Kill trainings at random moments, and compare what goes on from their checkpoints with one that was never killed.

    python tests/killing_trainings.py --kills 500 --seed 0

Each training is killed (SIGKILL) a few times, and then goes on to its end. One in four is of a stream.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

TRAIN = """
import hashlib, os, sys
import numpy as np
import fastbp

path, stream, resume = sys.argv[1], sys.argv[2] == "stream", sys.argv[3] == "resume"
rng = np.random.default_rng(0)
X = rng.normal(size=(6000, 20)).astype(np.float32)
d = rng.integers(0, 5, 6000)
there = resume and os.path.exists(path)  # if not, it was killed before the first
net = fastbp.MLP([20, 64, 5], seed=int.from_bytes(os.urandom(4), "little") if there else 1)
chunks = [(X[b : b + 700], d[b : b + 700]) for b in range(0, 6000, 700)]
data = (chunks,) if stream else (X, d)
print("begins", flush=True)
history = net.fit(*data, optimizer=fastbp.Adam(fastbp.schedules.Cosine(0.002, updates=9000)), epochs=EPOCHS,
                  batch_size=50, dropout=0.2, l2_penalty=1e-4, validation_data=(X[:500], d[:500]), progress=False,
                  callbacks=[fastbp.EarlyStopping(patience=1000)], checkpoint=path, checkpoint_every=0.02,
                  resume=resume, shuffle_buffer=2000)
digest = hashlib.sha256(net.theta.tobytes() + history.optimizer_state.averages.tobytes())
digest.update(np.array([values for values in history.records.values()]).tobytes())
digest.update(str(net.generator_state).encode())
print("ended", digest.hexdigest(), flush=True)
"""


def started(path, kind, resume, epochs):
    """A process that trains, and has begun."""
    process = subprocess.Popen([sys.executable, "-c", TRAIN.replace("EPOCHS", str(epochs)), path, kind,
                                "resume" if resume else "anew"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n"
    return process


def outcome(process):
    """The digest of a training that ends."""
    line = process.communicate()[0]
    assert process.returncode == 0, process.returncode
    return line.split()[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        expected, seconds = {}, {}
        for kind in ("memory", "stream"):
            process = started(os.path.join(folder, "whole"), kind, False, options.epochs)
            begin = time.perf_counter()
            expected[kind] = outcome(process)
            seconds[kind] = time.perf_counter() - begin
        kills = trainings = 0
        while kills < options.kills:
            kind = "stream" if trainings % 4 == 0 else "memory"
            path, resume = os.path.join(folder, f"run{trainings}"), False
            for _ in range(int(rng.integers(1, 8))):
                process = started(path, kind, resume, options.epochs)
                time.sleep(rng.uniform(0, 0.6 * seconds[kind]))
                process.kill()
                process.communicate()
                kills, resume = kills + 1, True
            assert outcome(started(path, kind, True, options.epochs)) == expected[kind], (options.seed, trainings)
            left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
            assert not left, left
            trainings += 1
            print(f"{kills} kills of {trainings} trainings, all with the same bits", flush=True)


if __name__ == "__main__":
    main()
