"""`Files`: a sequence of chunks that lie in files, each read when it is wanted."""

import errno
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks.messages import MOST_OF_TEXT, shortened, shown

#: The bytes of X of a chunk or a part of one, about.
CHUNK_BYTES = 2**23


class Part(NamedTuple):
    """Some rows of a chunk."""

    X: Any
    d: Any = None       # where only X is read
    weight: Any = None


class Files(Sequence[tuple[Any, ...]]):
    """A sequence of chunks (X, d) or (X, d, weight) in files; (X,) where only X is read.

    Attributes
    ----------
    rows : int
        The number of rows of all chunks.
    """

    rows: int

    @abstractmethod
    def name_of(self, place: int) -> str:
        """Where a chunk lies, for messages."""

    @abstractmethod
    def name_of_row(self, place: int, row: int) -> str:
        """Where a row of a chunk lies, for messages."""

    @abstractmethod
    def parts_of(self, place: int) -> Iterator[Part]:
        """The rows of a chunk, in parts of about CHUNK_BYTES, each of arrays of its own."""

    def __getitem__(self, place: Any) -> Any:
        """The chunk at a place, or at a slice of places a list of them."""
        if isinstance(place, slice):
            return [self[p] for p in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"expected a place below {len(self)} chunks, found {place}")
        columns = zip(*self.parts_of(place % len(self)), strict=True)
        return tuple(joined(arrays) for arrays in columns if arrays[0] is not None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} chunks, {self.rows} rows>"


@contextmanager
def reading(path: Any, expected: str) -> Iterator[None]:
    """A context in which what a library raises for a damaged file is a ValueError that names the file.

    Libraries raise nearly anything then. Errors of the system stay, and so does a lack of memory.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # A seek to a place that a damaged file names is an error of the file; pyarrow's own errors have no number.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{path}: expected {expected}, found one that cannot be read: "
                         f"{shortened(error) or type(error).__name__}") from error


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after another; a single one as it is."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def in_order(paths: Iterator[Path]) -> list[Path]:
    """Paths in the order of their names, in which numbers count as such: part-2 before part-10."""
    return sorted(paths, key=lambda path: [(int(part), "") if part.isdigit() else (-1, part)
                                           for part in re.split("([0-9]+)", path.name) if part])


def existing(path: Any) -> Path:
    """A path that exists.

    Raises
    ------
    TypeError
        If it is no path.
    FileNotFoundError
        If there is nothing at it.
    """
    try:
        found = Path(path)
    except TypeError:
        raise TypeError(f"path: expected a path, found {shown(path)}") from None
    if not found.exists():
        raise FileNotFoundError(f"path: found no file or folder {shown(str(found), MOST_OF_TEXT)}")
    return found
