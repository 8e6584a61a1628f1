"""Ranks as threads of one process: for notebooks, and for tests without MPI."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks.arguments import require_whole
from .communicators import RankError, failure_of

#: Seconds after which a rank that waits looks whether another one has failed.
LOOK_EVERY = 0.05


class _Group:
    """What the threads of a group share: who has failed, and the arrays that wait for a partner."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.changed = threading.Condition()
        self.offered: dict[tuple[int, int], np.ndarray] = {}  # by sender and receiver
        self.failure: RankError | None = None
        self.ended: set[int] = set()

    def wait_until(self, is_done: Callable[[], bool], partner: int) -> None:
        """Wait for a partner, with `changed` held.

        Raises
        ------
        RankError
            If a rank has failed meanwhile, or the partner's function has returned.
        """
        while not is_done():
            if self.failure is not None:
                raise RankError(str(self.failure), self.failure.rank)
            if partner in self.ended:
                raise RankError(f"rank {partner} has returned, and another rank waits for it", partner)
            self.changed.wait(LOOK_EVERY)


class ThreadCommunicator:
    """The communicator of one of several threads; `in_threads` makes them."""

    def __init__(self, group: _Group, rank: int) -> None:
        self._group, self.rank, self.size = group, rank, group.size

    def exchange(self, partner: int, sent: np.ndarray, received: np.ndarray) -> None:
        """Offer an array, and copy the one that the partner offers; see `Communicator.exchange`."""
        group, out, into = self._group, (self.rank, partner), (partner, self.rank)
        with group.changed:
            if len(sent):
                group.offered[out] = sent
                group.changed.notify_all()
            if len(received):
                group.wait_until(lambda: into in group.offered, partner)
        if len(received):
            received[:] = group.offered[into]
        with group.changed:
            if len(received):
                del group.offered[into]
                group.changed.notify_all()
            if len(sent):
                group.wait_until(lambda: out not in group.offered, partner)

    def abort(self, reason: str) -> None:
        """See `Communicator.abort`."""
        with self._group.changed:
            self._group.failure = self._group.failure or failure_of(self.rank, reason)
            self._group.changed.notify_all()


def in_threads(function: Callable[[Any], Any], ranks: int) -> list[Any]:
    """Call a function with the communicator of each rank, in a thread for each, and return the results by rank.

    The threads share the cores: this is to try what is to run on several machines, and for tests. A rank that raises
    ends the others, whose exchanges raise `RankError`.

    Parameters
    ----------
    function : callable
        Takes a communicator, which is for ``communicator=`` of `MLP.fit`. Each call has to make a network of its own.
    ranks : int
        The number of ranks.

    Raises
    ------
    Exception
        What the first function that failed has raised.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> def train(communicator):
    ...     net = fastbp.MLP([1, 8, 1], activation="tanh", loss="squared_error", seed=0)
    ...     net.fit(X, X**2, epochs=3, batch_size=16, seed=1, communicator=communicator)
    ...     return net.theta
    >>> on_one, on_four = in_threads(train, 1)[0], in_threads(train, 4)
    >>> all((theta == on_one).all() for theta in on_four)
    True
    """
    group = _Group(require_whole("ranks", ranks, at_least=1))
    results: list[Any] = [None] * group.size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        communicator = ThreadCommunicator(group, rank)
        try:
            results[rank] = function(communicator)
            with group.changed:
                group.ended.add(rank)
                group.changed.notify_all()
        except BaseException as error:
            errors.append(error)
            communicator.abort(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(rank,), name=f"fastbp rank {rank}") for rank in range(group.size)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK_EVERY)
    except BaseException:  # Ctrl-C
        ThreadCommunicator(group, 0).abort("it was interrupted")
        raise
    for error in errors:
        if not isinstance(error, RankError):
            raise error
    if errors:
        raise errors[0]
    return results
