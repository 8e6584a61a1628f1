"""`DataParallel`: how a training is shared by ranks."""

from dataclasses import dataclass
from typing import Any

from ..checks.arguments import require_flag, require_whole
from ..checks.messages import shown
from .communicators import Communicator
from .mpi import communicator_of, is_mpi, world

#: How gradients of ranks are added up.
REDUCTIONS = ("tree", "allreduce")


@dataclass(frozen=True)
class DataParallel:
    """How ranks share a training: what `MLP.fit` takes as ``communicator=``, beside a communicator alone.

    The gradient of each batch is that of all its samples, of which each rank computes a part. The batch is cut into
    leaves, whose gradients are added up in a fixed binary tree. So parameters, losses and everything else have the same
    bits on 1, 2, 3 … ranks, up to one for each leaf, and on any number of threads in each. They differ by rounding from
    those of `MLP.fit` without ranks, which adds up a batch in one sum.

    On `tiled`, where a batch has one chunk and its h and δ are at most twice the parameters, there is no tree: ranks
    exchange h and δ, each takes the step of its own rows of every W_k, and they exchange the parameters. The bits are
    the same on any number of ranks in that way too.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm or Communicator, optional
        ``MPI.COMM_WORLD`` if not given. Or an object with the properties `rank` and `size` and the methods `exchange`
        and `abort` of `fastbp.distributed.Communicator`.
    shards : bool
        Whether each rank gives rows of its own, of which it may have none: then the data are those of rank 0, of rank 1
        and so on one after another, and rows go to the ranks that compute with them, some batches ahead. Of streams,
        each rank shuffles the chunks of its own. Otherwise all give the same data, or read the same stream, and no rows
        travel.
    leaves : int
        A power of two, the most ranks that there can be. Results depend on it by rounding. More leaves than ranks cost
        time where the network is large and the batch small.
    reduction : str
        "tree"; or "allreduce", by which each rank has one leaf, and MPI adds up in the order it likes. Then another
        number of ranks, or another release of MPI, gives other bits.
    average_every : int, optional
        τ: each rank takes τ steps of its own, each on its part of a batch, and then all take the mean of parameters and
        of the optimizer's averages. This is another algorithm, whose results depend on the number of ranks, for
        networks whose steps are shorter than a message [1]_. Losses that are recorded are those of each rank's own
        parameters. If one diverges, all go back to the last mean.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If no communicator is given, and mpi4py is not installed.

    References
    ----------
    .. [1] Stich, "Local SGD converges fast and communicates little", 2019.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> from fastbp.distributed import DataParallel, in_threads
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> def train(communicator):
    ...     net = fastbp.MLP([1, 8, 1], activation="tanh", loss="squared_error", seed=0)
    ...     own = X[communicator.rank :: communicator.size]
    ...     ranks = DataParallel(communicator, shards=True)
    ...     return net.fit(own, own**2, epochs=3, batch_size=20, communicator=ranks).samples
    >>> in_threads(train, 2)
    [180, 180]
    """

    communicator: Any = None
    shards: bool = False
    leaves: int = 8
    reduction: str = "tree"
    average_every: int | None = None

    def __post_init__(self) -> None:
        given = self.communicator
        if given is None:
            given = world()
        elif is_mpi(given):
            given = communicator_of(given)
        elif not isinstance(given, Communicator) or isinstance(given, type):
            raise TypeError(f"communicator: expected one of mpi4py, or an object with rank, size, exchange and abort, "
                            f"found {shown(given)}")
        object.__setattr__(self, "communicator", given)
        require_flag("shards", self.shards)
        leaves = require_whole("leaves", self.leaves, at_least=1)
        if leaves & (leaves - 1):
            raise ValueError(f"leaves: expected a power of two, found {leaves}")
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction: expected {' or '.join(REDUCTIONS)}, found {shown(self.reduction)}")
        if self.average_every is not None:
            require_whole("average_every", self.average_every, at_least=1)
        elif self.reduction == "tree" and given.size > leaves:
            raise ValueError(f"leaves: expected at least as many as there are ranks, {given.size}, found {leaves}")

    @property
    def leaves_in_all(self) -> int:
        """The number of leaves of a batch."""
        has_tree = self.reduction == "tree" and self.average_every is None
        return self.leaves if has_tree else int(self.communicator.size)


def data_parallel(given: Any) -> DataParallel:
    """What was given as ``communicator=``."""
    return given if isinstance(given, DataParallel) else DataParallel(given)
