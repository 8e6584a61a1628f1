"""What users may give in place of X and d: `stream_of` makes of it something that gives chunks for every epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..checks.frames import is_frame
from ..checks.messages import MOST_OF_TEXT, shown
from .files import Files, Part, existing
from .parquet import Parquet
from .shards import Shards

#: Gives the order of a number of chunks in this epoch; None for the order in which they are.
OrderOf = Callable[[int], np.ndarray] | None


class Chunk(NamedTuple):
    """The rows of a chunk."""

    name: str              # for messages
    parts: Iterable[Part]  # one after another
    is_own: bool           # whether nothing else refers to their memory, or will write to it


class Stream(Protocol):
    """The chunks of an epoch, and how many rows they have, where that is known."""

    rows: int | None

    @property
    def names(self) -> list[str]:
        """The names of all chunks, where they are known."""

    def chunks(self, order_of: OrderOf) -> Iterator[Chunk]:
        """The chunks of one epoch."""


def stream_of(given: Any, epochs: int) -> Stream:
    """The stream that users mean.

    Parameters
    ----------
    given : path, callable, sequence or iterable
        As for `fastbp.training.fit`.
    epochs : int
        How often it has to give its chunks.

    Raises
    ------
    TypeError
        If it is none of these; arrays too, which need a d.
    ValueError, FileNotFoundError
        If there is nothing to read at a path, or an iterator is to give its chunks more than once.
    """
    if isinstance(given, str | PathLike):
        return _InFiles(_opened(given))
    if isinstance(given, Files):
        return _InFiles(given)
    if (hasattr(given, "__array__") or hasattr(given, "tocsr") or is_frame(given)
            or isinstance(given, Mapping | bytes)):
        raise TypeError(f"d: expected targets for an X of type {type(given).__name__}, found none; a stream gives "
                        f"chunks (X, d)")
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, type):
        return _InSequence(given)
    if callable(given):
        return _FromCallable(given)
    if not hasattr(given, "__iter__"):
        raise TypeError(f"X: expected an array with a d, or a stream: a path, or what gives chunks (X, d); found "
                        f"{shown(given)}")
    if hasattr(given, "__next__") and epochs > 1:
        raise ValueError(f"X: expected chunks for each of {epochs} epochs, found {type(given).__name__}, an iterator, "
                         f"which gives them once; give a function that returns a new one, or epochs=1")
    return _FromCallable(lambda: given)


def is_stream(given: Any) -> bool:
    """Whether what may be an array is a stream: a path, a function, an iterator, or chunks one after another."""
    if isinstance(given, str | PathLike | Files | Iterator):
        return True
    if hasattr(given, "__array__") or is_frame(given):
        return False
    if isinstance(given, list | tuple):
        return len(given) > 0 and isinstance(given[0], tuple) and len(given[0]) > 0 and _is_matrix(given[0][0])
    return callable(given) or (hasattr(given, "__iter__") and not hasattr(given, "shape"))


def _is_matrix(value: Any) -> bool:
    """Whether a value, which may be sparse, has two dimensions; rows of different lengths are named later."""
    try:
        return int(np.ndim(value)) == 2
    except (TypeError, ValueError):
        return True


def _opened(path: Any) -> Files:
    """The files at a path as a sequence of chunks."""
    found = existing(path)
    kind = kind_of_files(found)
    if kind is None:
        raise ValueError(f"X: expected a folder of .npz, .npy or .parquet files, or one of them, found "
                         f"{shown(str(found), MOST_OF_TEXT)}")
    return kind(found)


def kind_of_files(path: Path) -> type[Parquet] | type[Shards] | None:
    """How the files at a path are read, by their suffixes; None where there are none to read.

    Raises
    ------
    ValueError
        If files of both kinds are in a folder.
    """
    suffixes = {file.suffix for file in path.iterdir()} if path.is_dir() else {path.suffix}
    if ".parquet" not in suffixes:
        return Shards if suffixes & {".npz", ".npy"} else None
    if suffixes & {".npz", ".npy"}:
        raise ValueError(f"{path}: expected shards of NumPy or .parquet files in a folder, found both")
    return Parquet


class _InFiles:
    """Chunks of fastbp's own sources."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.rows: int | None = files.rows

    @property
    def names(self) -> list[str]:
        return [self._files.name_of(place) for place in range(len(self._files))]

    def chunks(self, order_of: OrderOf) -> Iterator[Chunk]:
        count = len(self._files)
        for place in range(count) if order_of is None else order_of(count).tolist():
            parts = self._files.parts_of(place)
            try:
                yield Chunk(f"chunk {place} ({self._files.name_of(place)})", parts, True)
            finally:
                close(parts)


class _InSequence:
    """Chunks of a sequence, in any order."""

    def __init__(self, sequence: Any) -> None:
        self._sequence = sequence
        self.rows: int | None = None
        self.names: list[str] = []

    def chunks(self, order_of: OrderOf) -> Iterator[Chunk]:
        count = len(self._sequence)
        for place in range(count) if order_of is None else order_of(count).tolist():
            yield _chunk_of(place, self._sequence[place])


class _FromCallable:
    """Chunks of what a function returns, in their order."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.rows: int | None = None
        self.names: list[str] = []

    def chunks(self, order_of: OrderOf) -> Iterator[Chunk]:
        found = self._function()
        if not hasattr(found, "__iter__"):
            raise TypeError(f"X: expected a function that returns an iterable of chunks (X, d), found {shown(found)}")
        chunks = iter(found)
        try:
            for place, chunk in enumerate(chunks):
                yield _chunk_of(place, chunk)
        finally:
            close(chunks)


def _chunk_of(place: int, given: Any) -> Chunk:
    """A user's chunk."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        found = f"{len(given)} things" if isinstance(given, tuple | list) else type(given).__name__
        raise TypeError(f"chunk {place}: expected (X, d) or (X, d, weight), found {found}")
    return Chunk(f"chunk {place}", [Part(*given)], False)


def close(iterator: Any) -> None:
    """End an iterator that can be ended early, as generators can."""
    if hasattr(iterator, "close"):
        iterator.close()
