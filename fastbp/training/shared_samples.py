"""Samples for workers: large arrays by a file that they map, or by value.

An array that lies in a file already is mapped there again; others are written to a file of a temporary folder, once. A
worker that does not find the file, or finds other numbers in it, is on another machine, and needs the values.
"""

import mmap
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backends.reading import rows_of
from ..checks.arrays import readable
from ..checks.samples import Samples
from ..checks.sparse_rows import CsrRows
from ..network import Network
from .checkpoints import data_values

#: Arrays of fewer bytes are sent by value: a file for them would take longer.
SMALL = 2**16


class Place(NamedTuple):
    """Where the numbers of an array lie in a file."""

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The array, mapped and not to be written to.

        Raises
        ------
        OSError, ValueError
            If there is no such file, or a shorter one.
        """
        try:
            numbers = np.memmap(self.path, np.uint8, "r")
            return readable(np.ndarray(self.shape, self.dtype, numbers, self.offset, self.strides))
        except TypeError as error:  # NumPy's, for a buffer that is too small
            raise ValueError(str(error)) from None


def place_of(array: np.ndarray) -> Place | None:
    """Where an array lies in a file, if it is mapped from one.

    Examples
    --------
    >>> place_of(np.zeros(3)) is None
    True
    """
    base: Any = array
    mapped: np.memmap | None = None
    while base is not None and not isinstance(base, mmap.mmap):
        mapped, base = base if isinstance(base, np.memmap) else mapped, getattr(base, "base", None)
    if base is None or mapped is None or not isinstance(mapped.filename, str | PathLike) or mapped.mode == "c":
        return None  # changes by the mode "c" are not in the file
    offset = mapped.offset + _address(array) - _address(mapped)
    return Place(fspath(mapped.filename), offset, array.dtype, array.shape, array.strides)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


class Files:
    """Arrays in files: those that lie in one, and a temporary folder for the others.

    Parameters
    ----------
    folder : Path
    is_shared : callable
        Whether to write an array there.
    """

    def __init__(self, folder: Path, is_shared: Callable[[np.ndarray], bool]) -> None:
        self._folder, self._is_shared = folder, is_shared
        self._places: dict[int, tuple[np.ndarray, Any]] = {}  # by identity, with the array, which keeps it

    def sent(self, array: np.ndarray) -> Any:
        """The place of an array, or itself if it is small, or not shared.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if array.nbytes < SMALL:
            return array
        if id(array) not in self._places:
            place = place_of(array)
            if place is None:
                if not self._is_shared(array):
                    return array
                path = self._folder / f"{len(self._places)}.npy"
                np.save(path, array, allow_pickle=False)
                place = place_of(np.load(path, mmap_mode="r"))
            self._places[id(array)] = array, place
        return self._places[id(array)][1]


class SharedSamples(NamedTuple):
    """`Samples` whose arrays may be places; see `sharing` and `received`."""

    arrays: tuple[Any, ...]
    features: int | None       # of sparse rows
    largest: float
    rows: tuple[bool, float] | None  # whether they are standardised into a copy, and their largest |h_0|
    digest: dict[str, Any]


def arrays_of(samples: Samples) -> tuple[np.ndarray, ...]:
    """Labels, targets, weights, and the array or the arrays of X."""
    X = samples.X
    of_X = (X.values, X.columns, X.indptr) if isinstance(X, CsrRows) else (X,)
    return samples.labels, samples.targets, samples.weights, *of_X


def sharing(samples: Samples, sent: Callable[[np.ndarray], Any]) -> SharedSamples:
    """Samples of which each array is sent in this way."""
    X, rows = samples.X, samples.rows
    return SharedSamples(tuple(map(sent, arrays_of(samples))),
                         X.shape[1] if isinstance(X, CsrRows) else None, samples.largest,
                         None if rows is None else (rows.copy is not None, rows.largest),
                         data_values(samples, np.asarray))


def received(shared: SharedSamples, net: Network) -> Samples:
    """The samples for a network, whose numbers were checked before they were sent.

    Raises
    ------
    OSError, ValueError
        If a file is not there, or other numbers are in it.
    """
    labels, targets, weights, *of_X = (given.array() if isinstance(given, Place) else given for given in shared.arrays)
    X: Any = of_X[0]
    if shared.features is not None:
        values, columns, indptr = of_X
        X = CsrRows(values, columns, indptr, shared.features)
    samples = Samples(X, labels, targets, weights, shared.largest)
    if data_values(samples, np.asarray) != shared.digest:
        raise ValueError("other numbers are in the file")
    if shared.rows is None:
        return samples
    copies, largest = shared.rows
    return samples._replace(rows=rows_of(X, net.dtype, net.standardization, copies, largest))
