"""A training on ranks of MPI, for mpiexec: what it prints is held to the same training in threads.

    mpiexec -n 3 python tests/ranks.py whole
"""

import hashlib
import os
import signal
import sys

import numpy as np

import fastbp
from fastbp.distributed import RankError

RNG = np.random.default_rng(0)
X, D = RNG.normal(size=(130, 6)).astype(np.float32), RNG.integers(0, 3, 130)


def trained(communicator, **settings):
    """A digest of the network after a training."""
    net = fastbp.MLP([6, 9, 3], seed=0, backend="loops")
    net.fit(X, D, **{"epochs": 4, "batch_size": 40, "dropout": 0.2, "progress": False, **settings},
            communicator=communicator)
    return hashlib.sha256(net.theta.tobytes()).hexdigest()


def main(way, *path):
    from mpi4py import MPI
    world = MPI.COMM_WORLD

    def callback(net, history):
        if way == "raises":
            raise OSError("enough")
        if way == "interrupted" and history.epochs == 2:
            os.kill(os.getpid(), signal.SIGINT)
        if way == "killed" and history.epochs == 2:
            world.send(None, 1)

    if way == "killed" and world.rank == 1:
        signal.signal(signal.SIGALRM, lambda *given: world.Iprobe(0) and os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        settings = {"checkpoint": path[0], "epochs": 10**6} if path else {}
        told = trained(world, callbacks=[callback], **settings)
    except (OSError, RankError) as error:
        told = f"{type(error).__name__}:{error}".replace(" ", "_")
    sys.stdout.write(f"{told}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
