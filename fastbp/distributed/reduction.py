"""The sum of all ranks' nodes: the upper part of the tree of `backends/leaves.py`, whose leaves are shared by ranks.

Where the number of ranks is a power of two, each has one node, and adds it to those of its partners rank ± 1, ± 2, ± 4.
Of long vectors both add a half, and later exchange what they have added up: each number goes over the wires twice, and
not as often as there are levels. Other numbers of ranks have several nodes; the rank of a node's first leaf adds up its
halves, and rank 0 hands round the sum. In all cases every number is added up in the order of the tree.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..backends.leaves import NODE_FLAG, make_nodes, tail_at, tail_bytes
from ..threads import share_of
from .communicators import NOTHING, Communicator, hand_round

#: Vectors of this number of bytes are added up in halves. Below, a second message costs more than it saves.
HALVED_BYTES = 2**16


class Part(NamedTuple):
    """The leaves of a node within one rank, and the row of memory that it begins with."""

    first: int
    stop: int
    row: int


class Reduction:
    """The nodes of a rank, and their sum over all ranks.

    Parameters
    ----------
    communicator : Communicator
    leaves : int
        The number of leaves of a batch.
    parameters : int
    dtype : dtype
        Of gradients.
    by_transport : bool
        Whether the transport adds up in its own order, where it has an `all_reduce`.

    Attributes
    ----------
    parts : list of Part
        What this rank computes.
    nodes : ndarray
        Memory for that; the first row becomes the sum.
    """

    def __init__(self, communicator: Communicator, leaves: int, parameters: int, dtype: np.dtype,
                 by_transport: bool = False) -> None:
        self._communicator, self._leaves = communicator, leaves
        rank, size = communicator.rank, communicator.size
        self.parts = list(parts_of(*share_of(leaves, rank, size)))
        self.tail = tail_at(parameters, dtype)
        rows = max(part.row + (part.stop - part.first).bit_length() for part in self.parts)
        self.nodes = make_nodes(rows, parameters, dtype, leaves)
        self._received = make_nodes(1, parameters, dtype, leaves)[0]
        self._of_transport = getattr(communicator, "all_reduce", None) if by_transport else None
        self._parameters, self._bytes = parameters, self.tail + tail_bytes(leaves)
        self.numbers = self._tail_of(self.nodes[0])
        halves = size & (size - 1) == 0 and len(self.parts) == 1
        self._levels = list(self._levels_of(rank, size)) if halves else None

    def _tail_of(self, row: np.ndarray) -> np.ndarray:
        """The numbers behind a node's gradient."""
        found: np.ndarray = row.view(np.uint8)[self.tail : self._bytes].view(np.float64)
        return found

    def _levels_of(self, rank: int, size: int) -> Iterator["_Level"]:
        """What is exchanged with one partner after the other."""
        begin, end, distance = 0, self._bytes, 1
        while distance < size:
            cut = (begin + end) // 128 * 64 if self._bytes >= HALVED_BYTES and end - begin >= 256 else None
            kept = given = (begin, end)
            if cut is not None:
                lower, upper = (begin, min(cut, self.tail)), (min(cut, self.tail), end)
                kept, given = (upper, lower) if rank & distance else (lower, upper)
            yield _Level(rank ^ distance, self._bytes_of(self.nodes[0], *given), self._bytes_of(self.nodes[0], *kept),
                         self._bytes_of(self._received, *kept), cut is not None,
                         list(self._sums_of(self.nodes[0], self._received, *kept)))
            (begin, end), distance = kept, 2 * distance

    def _bytes_of(self, row: np.ndarray, begin: int, end: int) -> np.ndarray:
        found: np.ndarray = row.view(np.uint8)[begin:end]
        return found

    def _sums_of(self, row: np.ndarray, other: np.ndarray, begin: int, end: int) -> Iterator[Any]:
        """Views of two nodes that are to be added, of what lies between two bytes."""
        itemsize = row.itemsize
        if begin < self.tail:
            numbers = slice(begin // itemsize, min(end // itemsize, self._parameters))
            yield row[numbers], other[numbers]
        if end == self._bytes:
            yield self._tail_of(row), self._tail_of(other)

    def across(self) -> None:
        """nodes[0] = the sum of the nodes of all ranks; their flags too."""
        if self._of_transport is not None:
            self._of_transport(self.nodes[0][: self._parameters])
            self._of_transport(self.numbers)
        elif self._levels is None:
            self._by_owners()
        else:
            for level in self._levels:
                self._communicator.exchange(level.partner, level.given, level.received)
                _add(level.sums)
            for level in reversed(self._levels):
                if level.is_halved:
                    self._communicator.exchange(level.partner, level.kept, level.given)

    def _by_owners(self) -> None:
        """Add up the tree node by node, where the first leaf of each is, and hand the sum round from rank 0."""
        rows = {(part.first, part.stop): self.nodes[part.row] for part in self.parts}
        self._add_up(0, self._leaves, rows)
        hand_round(self._communicator, self._whole(self.nodes[0]))

    def _add_up(self, first: int, stop: int, rows: dict[tuple[int, int], np.ndarray]) -> np.ndarray | None:
        """The row of a node whose first leaf is this rank's, else None."""
        own, owner = self._communicator.rank, self._owner_of(first)
        if owner == self._owner_of(stop - 1):
            return rows.get((first, stop)) if owner == own else None
        middle = first + (1 << ((stop - first - 1).bit_length() - 1))
        other = self._owner_of(middle)
        left, right = self._add_up(first, middle, rows), self._add_up(middle, stop, rows)
        if own == other != owner:
            assert right is not None
            self._communicator.exchange(owner, self._whole(right), NOTHING)
        elif own == owner:
            if other != own:
                self._communicator.exchange(other, NOTHING, self._whole(self._received))
                right = self._received
            assert left is not None
            assert right is not None
            _add(list(self._sums_of(left, right, 0, self._bytes)))
            return left
        return None

    def _owner_of(self, leaf: int) -> int:
        """The rank whose leaf it is."""
        return ((leaf + 1) * self._communicator.size - 1) // self._leaves

    def _whole(self, row: np.ndarray) -> np.ndarray:
        return self._bytes_of(row, 0, self._bytes)

    @property
    def flag(self) -> float:
        """What was added up of the flags."""
        return float(self.numbers[NODE_FLAG])


class _Level(NamedTuple):
    """An exchange with one partner."""

    partner: int
    given: np.ndarray     # bytes of the node that the partner adds up
    kept: np.ndarray      # and that this rank does
    received: np.ndarray  # the partner's part of these
    is_halved: bool       # whether the two are different
    sums: list[Any]       # what is added to what


def _add(sums: list[Any]) -> None:
    """Add vectors to others; what is beyond their dtype becomes infinite, and is found later."""
    with np.errstate(all="ignore"):
        for target, other in sums:
            np.add(target, other, out=target)


def parts_of(first: int, stop: int) -> Iterator[Part]:
    """The fewest nodes of the tree that together have these leaves, in order, each with rows for all of its levels.

    >>> [tuple(part) for part in parts_of(3, 8)]
    [(3, 4, 0), (4, 8, 1)]
    """
    row = 0
    while first < stop:
        size = first & -first or 1 << (stop - first).bit_length()
        while first + size > stop:
            size //= 2
        yield Part(first, first + size, row)
        row, first = row + 1, first + size
