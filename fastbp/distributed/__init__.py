"""Training on several processes and machines, with the same bits on any number of them.

>>> import numpy as np, fastbp
>>> from fastbp.distributed import in_threads
>>> X = np.linspace(-1, 1, 64)[:, None]
>>> def train(communicator):  # in a program for mpiexec: communicator = mpi4py.MPI.COMM_WORLD
...     net = fastbp.MLP([1, 8, 1], activation="tanh", loss="squared_error", seed=0)
...     return net.fit(X, X**2, epochs=3, batch_size=16, communicator=communicator)["loss"]
>>> in_threads(train, 1)[0] == in_threads(train, 2)[1]
True
"""

from .communicators import Communicator, RankError, broadcast, gather
from .in_one_process import in_threads
from .mpi import MPICommunicator
from .settings import DataParallel

__all__ = ["Communicator", "DataParallel", "MPICommunicator", "RankError", "broadcast", "gather", "in_threads"]
