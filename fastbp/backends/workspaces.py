"""Idle workspaces, for the next call on a network of the same kind.

Networks whose calls take the same workspaces share one shelf of them, which is deleted with the last of these networks.
The bytes on all shelves together are bounded. A new workspace takes the place of those on the shelves that have gone
longest without a new one.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakValueDictionary


class _Idle(NamedTuple):
    """A workspace, for calls with at most `samples` samples."""

    samples: int
    nbytes: int
    work: Any


_NONE = _Idle(0, 0, None)


class Shelf:
    """The idle workspaces of networks of one kind: backend, dtype, widths, activations and loss.

    A workspace that is taken is of one thread alone. Threads and forked children need no lock, because a list gives or
    takes an element in one step of the interpreter.
    """

    def __init__(self, shelves: "Shelves", key: Hashable, backend: Any, layout: Any, dtype: Any,
                 **way: int) -> None:
        self._shelves, self.key = shelves, key
        self._backend, self._layout, self._dtype, self._way = backend, layout, dtype, way
        #: The samples that the backend takes at a time.
        self.chunk: int = backend.chunk(layout, dtype, **way)
        self.idle: list[_Idle] = []

    @contextmanager
    def workspace(self, samples: int) -> Iterator[Any]:
        """A workspace for a call with at most `samples` samples, which is idle again at the end of the context."""
        idle = self.take(samples)
        try:
            yield idle.work
        finally:
            self.idle.append(idle)

    def take(self, samples: int) -> _Idle:
        """A workspace that no other thread has; ``idle.append`` gives it back."""
        try:
            idle = self.idle.pop()
        except IndexError:  # all are in use
            idle = _NONE
        return idle if idle.samples >= samples else self._new(samples)

    def _new(self, samples: int) -> _Idle:
        samples = 1 << (samples - 1).bit_length()  # or calls that grow by one would allocate every time
        work = self._backend.workspace(self._layout, self._dtype, samples, **self._way)
        idle = _Idle(samples, self._backend.nbytes(work), work)
        self._shelves.make_place(self, idle.nbytes)
        return idle


class Shelves:
    """All shelves of one memory.

    Parameters
    ----------
    most_bytes : int
        Of the idle workspaces on all of them.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._shelves: WeakValueDictionary[Hashable, Shelf] = WeakValueDictionary()

    def shelf(self, key: Hashable, backend: Any, layout: Any, dtype: Any, **way: int) -> Shelf:
        """The shelf of one kind of networks, which lives as long as one of them does.

        way : how calls take X, for backends that take it in several; see `Backend.workspace`.
        """
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf(self, key, backend, layout, dtype, **way)
        return shelf

    def idle_bytes(self) -> int:
        """The bytes of all idle workspaces."""
        return sum(idle.nbytes for shelf in list(self._shelves.values()) for idle in list(shelf.idle))

    def make_place(self, shelf: Shelf, nbytes: int) -> None:
        """Delete idle workspaces until `nbytes` more are within the bound, and make the shelf the newest."""
        self._shelves.pop(shelf.key, None)
        self._shelves[shelf.key] = shelf
        surplus = self.idle_bytes() + nbytes - self._most_bytes
        for other in list(self._shelves.values()):
            while surplus > 0 and other.idle:
                try:
                    surplus -= other.idle.pop(0).nbytes
                except IndexError:  # another thread has taken it
                    break
