"""`Shards`: NumPy's files in a folder as a sequence of chunks."""

from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ..checks.arguments import require_flag
from .files import CHUNK_BYTES, Files, Part, existing, in_order
from .stored import NUMBERS, StoredArray, stored_array, stored_members

#: The names of the targets, in files and archives.
_TARGETS = ("d", "y")


class _Shard(NamedTuple):
    """The arrays of a shard; all have as many rows."""

    X: StoredArray
    d: StoredArray | None       # None where only X is read
    weight: StoredArray | None

    @property
    def arrays(self) -> list[StoredArray]:
        """Those that there are."""
        return [array for array in self if array is not None]

    @property
    def at_once(self) -> bool:
        """Whether all of it has to be read in one go: where compressed arrays lie column by column."""
        return any(array.unpacked and array.by_columns for array in self.arrays)


class Shards(Files):
    """A folder of NumPy's files as a sequence of chunks for `fit`, which are read when they are wanted.

    Parameters
    ----------
    path : path
        A folder with shards of two kinds, or one .npz file:

        - archives such as `part-000.npz`, with the arrays X, d and optionally weight, as ``np.savez`` writes them;
        - files `X_000.npy` and `d_000.npy`, and optionally `weight_000.npy`. Their names are the same after X, d and
          weight.

        The targets may have the name y instead of d. X is (n, N_0), or of more dimensions, which are flattened; d is
        (n,) labels or (n, N_L) targets; weight is (n,). Shards may have different numbers of rows, and any real dtype.
        They come in the order of their names, in which numbers count as such. Other arrays in archives do not count,
        nor do files with other suffixes, or with names that begin with a dot.
    with_targets : bool
        False reads X alone, to predict with: chunks are (X,), and there need be no targets.

    Attributes
    ----------
    rows : int
        The number of rows of all shards.

    Raises
    ------
    ValueError
        If an array is missing or cannot be read, or shapes do not go together; the file is named. It is found by the
        headers, when the folder is opened.
    FileNotFoundError
        If there is no such folder.

    Notes
    -----
    A chunk is about 8 MB of rows of one shard, however large that is. A shard that is compressed is one chunk, and is
    unpacked 8 MB at a time. Nothing is unpickled.

    Examples
    --------
    >>> import tempfile, pathlib, fastbp, numpy as np
    >>> X, d = np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) % 2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for shard, rows in enumerate((slice(0, 70), slice(70, 100))):
    ...         np.savez(pathlib.Path(folder, f"part-{shard}.npz"), X=X[rows], d=d[rows])
    ...     shards = Shards(folder)
    ...     history = fastbp.MLP([3, 8, 2], seed=0).fit(shards, epochs=2)
    >>> shards
    <Shards of 2 chunks, 100 rows>
    >>> history.samples
    200
    """

    def __init__(self, path: "str | PathLike[str]", *, with_targets: bool = True) -> None:
        folder = existing(path)
        self._shards = _shards_in(folder, require_flag("with_targets", with_targets))
        if not self._shards:
            raise ValueError(f"{folder}: expected shards such as part-0.npz, or X_0.npy and d_0.npy, found none")
        for shard in self._shards:
            _require_same_form(shard, self._shards[0])
        self.rows = sum(shard.X.shape[0] for shard in self._shards)
        self._chunks = [(shard, start, stop) for shard in self._shards for start, stop in _ranges(shard)]

    def __len__(self) -> int:
        return len(self._chunks)

    def name_of(self, place: int) -> str:
        shard, start, _ = self._chunks[place]
        return f"{shard.X.path.name}, from row {start} on"

    def name_of_row(self, place: int, row: int) -> str:
        shard, start, _ = self._chunks[place]
        return f"{shard.X.path.name}, row {start + row}"

    def parts_of(self, place: int) -> Iterator[Part]:
        shard, start, stop = self._chunks[place]
        rows = stop - start if shard.at_once else max(1, CHUNK_BYTES // max(1, shard.X.row_bytes))
        with ExitStack() as files:
            opened = [array.opened(files) for array in shard.arrays]
            for begin in range(start, stop, rows):
                end = min(begin + rows, stop)
                X, *others = (array.read(file, begin, end) for array, file in zip(shard.arrays, opened, strict=True))
                yield Part(X.reshape(len(X), -1), *others)


def _ranges(shard: _Shard) -> Iterator[tuple[int, int]]:
    """The rows of the chunks of a shard."""
    n = shard.X.shape[0]
    compressed = any(array.unpacked for array in shard.arrays)
    rows = n if compressed else max(1, CHUNK_BYTES // max(1, shard.X.row_bytes))
    return ((start, min(start + rows, n)) for start in range(0, n, rows))


def _shards_in(path: Path, with_targets: bool) -> list[_Shard]:
    """The shards in a folder, or the one in a file; of X alone where no targets are wanted."""
    if not path.is_dir():
        if path.suffix != ".npz":
            raise ValueError(f"{path}: expected a folder of shards, or an .npz file")
        shard = _in_archive(path, with_targets)
        return [shard if with_targets else _Shard(shard.X, None, None)]
    paths = in_order(found for found in path.iterdir()
                     if found.suffix in (".npz", ".npy") and not found.name.startswith("."))
    inputs = [found for found in paths if found.suffix == ".npz" or found.name.startswith("X")]
    shards = [(_in_archive if found.suffix == ".npz" else _in_files)(found, with_targets) for found in inputs]
    used = {array.path for shard in shards for array in shard.arrays}
    for found in paths:
        if found not in used:
            raise ValueError(f"{found}: expected a file whose name begins with X, or d, y or weight for such a file; "
                             f"found no X for it")
    return shards if with_targets else [_Shard(shard.X, None, None) for shard in shards]


def _in_archive(path: Path, with_targets: bool) -> _Shard:
    """The arrays of an archive."""
    arrays = stored_members(path, dict.fromkeys(("X", *_TARGETS, "weight"), NUMBERS))
    return _checked_shard(str(path), arrays.get("X"), [arrays[name] for name in _TARGETS if name in arrays],
                          arrays.get("weight"), with_targets)


def _in_files(path: Path, with_targets: bool) -> _Shard:
    """The arrays of the .npy files that go with that of X."""
    def beside(name: str) -> Path:
        return path.with_name(name + path.name.removeprefix("X"))

    weight = beside("weight")
    return _checked_shard(str(path), stored_array(path),
                          [stored_array(beside(name)) for name in _TARGETS if beside(name).exists()],
                          stored_array(weight) if weight.exists() else None, with_targets)


def _checked_shard(name: str, X: StoredArray | None, targets: list[StoredArray], weight: StoredArray | None,
                   with_targets: bool) -> _Shard:
    """The arrays of a shard, if they go together."""
    if X is None and not with_targets:
        raise ValueError(f"{name}: expected X, found no X")
    if X is None or (with_targets and len(targets) != 1):
        raise ValueError(f"{name}: expected X, and targets d or y for it, found {'X' if X else 'no X'} and "
                         f"{' and '.join(array.name for array in targets) or 'no targets'}")
    if len(X.shape) < 2 or 0 in X.shape:
        raise ValueError(f"{X.name}: expected shape (n, N_0) with a row at least, found {X.shape}")
    if X.by_columns and len(X.shape) > 2:
        raise ValueError(f"{X.name}: expected rows one after another, found shape {X.shape} in Fortran's order")
    if targets and len(targets[0].shape) > 2:
        raise ValueError(f"{targets[0].name}: expected shape (n,) or (n, N_L), found {targets[0].shape}")
    if weight is not None and len(weight.shape) != 1:
        raise ValueError(f"{weight.name}: expected shape (n,), found {weight.shape}")
    shard = _Shard(X, targets[0] if targets else None, weight)
    for array in shard.arrays:
        if array.shape[0] != X.shape[0]:
            raise ValueError(f"{array.name}: expected {X.shape[0]} rows, as many as X has, found {array.shape[0]}")
    return shard


def _require_same_form(shard: _Shard, first: _Shard) -> None:
    """Refuse a shard whose rows are not as those of the first."""
    for array, other in ((shard.X, first.X), (shard.d, first.d)):
        if array is not None and other is not None and array.shape[1:] != other.shape[1:]:
            raise ValueError(f"{array.name}: expected rows of shape {other.shape[1:]} as in {other.name}, found "
                             f"{array.shape[1:]}")
    if (shard.weight is None) != (first.weight is None):
        raise ValueError(f"{shard.X.path}: expected {'no weight' if first.weight is None else 'a weight'} as in "
                         f"{first.X.path}, found {'none' if shard.weight is None else 'one'}")
