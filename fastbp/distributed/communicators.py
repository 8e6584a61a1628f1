"""What a training needs of a transport between ranks: `Communicator`, and what is built on its few calls."""

import pickle
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..checks.messages import shortened


@runtime_checkable
class Communicator(Protocol):
    """A transport between ranks 0 … size - 1, one of which this process or thread is.

    All calls come from one thread of a rank, in the same order on both sides of an exchange. A transport may also have
    a method ``all_reduce(vector)``, which replaces a vector by the sum of those of all ranks, in an order of its own.
    It is for ``DataParallel(reduction="allreduce")``, which otherwise adds up one leaf of each rank.
    """

    @property
    def rank(self) -> int:
        """The number of this rank."""

    @property
    def size(self) -> int:
        """The number of ranks."""

    def exchange(self, partner: int, sent: np.ndarray, received: np.ndarray) -> None:
        """Send an array to another rank, and receive one from it; it returns when both are done.

        Both are contiguous vectors of bytes, and have the lengths that the partner expects and sends. One of length 0
        is not sent.

        Raises
        ------
        RankError
            If a rank has failed, within seconds, instead of waiting for it.
        """

    def abort(self, reason: str) -> None:
        """Tell all ranks that this one has failed, and why; their present and later exchanges raise `RankError`."""


class RankError(RuntimeError):
    """Another rank of a training has failed.

    Attributes
    ----------
    rank : int or None
        The rank, where it is known.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank

    def __reduce__(self) -> tuple[Any, ...]:
        return RankError, (str(self), self.rank)


def failure_of(rank: int, reason: str) -> RankError:
    """The error of a rank that has told why it failed."""
    return RankError(f"rank {rank} failed: {shortened(reason)}", rank)


def partners(rank: int, size: int) -> Iterator[int]:
    """All other ranks, in an order in which each meets all others: in round t, the ranks r and (t - r) mod size."""
    for round_ in range(size):
        partner = (round_ - rank) % size
        if partner != rank:
            yield partner


def gather(communicator: Communicator, value: Any) -> list[Any]:
    """The values of all ranks, by their numbers, on all of them. They are pickled.

    Examples
    --------
    >>> from fastbp.distributed import in_threads
    >>> in_threads(lambda communicator: gather(communicator, communicator.rank**2), 3)
    [[0, 1, 4], [0, 1, 4], [0, 1, 4]]
    """
    found = [value] * communicator.size
    own = _as_bytes(value)
    for partner in partners(communicator.rank, communicator.size):
        found[partner] = _swapped(communicator, partner, own)
    return found


def broadcast(communicator: Communicator, value: Any) -> Any:
    """The value of rank 0, on all ranks; those of the others are not looked at. It is pickled."""
    is_first = communicator.rank == 0
    content = _as_bytes(value) if is_first else NOTHING
    length = np.array([len(content)])
    hand_round(communicator, length)
    if not is_first:
        content = np.empty(int(length[0]), np.uint8)
    hand_round(communicator, content)
    return value if is_first else pickle.loads(content.data)


def hand_round(communicator: Communicator, array: np.ndarray) -> None:
    """Replace a contiguous array by that of rank 0; all have the same dtype and shape.

    In each round twice as many ranks have it.
    """
    rank, size, reach, content = communicator.rank, communicator.size, 1, array.reshape(-1).view(np.uint8)
    while reach < size:
        if rank < reach and rank + reach < size:
            communicator.exchange(rank + reach, content, NOTHING)
        elif reach <= rank < 2 * reach:
            communicator.exchange(rank - reach, NOTHING, content)
        reach *= 2


#: Nothing to send, or to receive.
NOTHING = np.empty(0, np.uint8)


def _as_bytes(value: Any) -> np.ndarray:
    return np.frombuffer(bytearray(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)), np.uint8)


def _swapped(communicator: Communicator, partner: int, own: np.ndarray) -> Any:
    """The partner's value, for a pickled one."""
    length = np.zeros(1, np.int64)
    communicator.exchange(partner, np.array([len(own)]).view(np.uint8), length.view(np.uint8))
    received = np.empty(int(length[0]), np.uint8)
    communicator.exchange(partner, own, received)
    return pickle.loads(received.data)


class Alone:
    """The communicator of a single rank."""

    rank, size = 0, 1

    def exchange(self, partner: int, sent: np.ndarray, received: np.ndarray) -> None:
        """Do nothing: there is no other rank."""

    def abort(self, reason: str) -> None:
        """Do nothing: nobody else waits."""
