"""Blocks: chunks are checked, cut and joined, so that batches are those of all their rows one after another."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from ..backends.reading import rows_of, standardised_rows
from ..checks.arrays import numeric_array, require_dimensions
from ..checks.samples import Samples, are_labels, as_samples, require_features, require_weights_for
from ..checks.sparse_rows import CsrRows, csr_rows, is_sparse
from ..checks.standardization import Standardization
from ..formulas.sampling import WITHOUT_REPLACEMENT, draw_order
from .sources import Chunk, close

#: The bytes of X, in the network's dtype, up to which rows of several chunks are joined to a block, and those of the
#: longest block that is a part of one chunk. Between two blocks Python takes 0.1 to 0.4 ms, because its code has left
#: the caches. On one thread, batches of 1,024 samples of 54-256-128-7 took 8 % longer in blocks of one batch than in
#: memory, and 3 % in blocks of a megabyte.
JOINED_BYTES, LONGEST_BYTES = 2**22, 2**24

#: The bytes of memory that are made at first for rows that are to be joined.
FIRST_BYTES = 2**26

#: Makes the orders of chunks others than those of rows, which have the same seed.
_OF_CHUNKS = 0x5851F42D4C957F2D

#: The order of rows that are taken as they lie.
_AS_THEY_LIE = np.empty(0, np.int64)


class Block(NamedTuple):
    """Rows of an epoch that are trained on in one go: whole batches, except at the end of the epoch."""

    samples: Samples    # on the processor
    order: np.ndarray   # (n,) int64, in which they are taken, or (0,)
    before: int         # the number of rows of the epoch before these


class Form(NamedTuple):
    """What a network takes."""

    dtype: np.dtype
    features: int
    outputs: int
    kind: str  # of targets; see `samples.as_samples`
    standardization: Standardization | None = None


class Order(NamedTuple):
    """How an epoch is shuffled: its chunks, and the rows within blocks of one length."""

    seed: int
    rows: int

    def of_chunks(self, epoch: int) -> Callable[[int], np.ndarray]:
        """What gives the order of a number of chunks."""
        return lambda count: drawn_order(count, self.seed ^ _OF_CHUNKS, epoch)

    def of_block(self, count: int, epoch: int, block: int) -> np.ndarray:
        """The order of a block's rows: in the first block of an epoch, that of an epoch in memory."""
        return drawn_order(count, self.seed, epoch + (block << 32))


def drawn_order(count: int, seed: int, number: int) -> np.ndarray:
    """A uniform permutation of 0 … count - 1, by a seed and a number."""
    order = np.empty(count, np.int64)
    draw_order(order, WITHOUT_REPLACEMENT, seed, number)
    return order


class Assembly:
    """Makes blocks of chunks.

    Parameters
    ----------
    form : Form
    batch_size : int
    order : Order or None
        None where rows are taken as they come.
    """

    def __init__(self, form: Form, batch_size: int, order: Order | None) -> None:
        self._form, self._batch, self._order = form, batch_size, order
        row_bytes = form.features * form.dtype.itemsize
        if order is None:
            self._least = -(-JOINED_BYTES // (row_bytes * batch_size)) * batch_size
            self._most = max(self._least, LONGEST_BYTES // (row_bytes * batch_size) * batch_size)
        else:
            self._least = self._most = max(1, order.rows // batch_size) * batch_size
        self._first: Samples | None = None  # of all epochs, like which all others have to be
        self._waiting: _Rows | None = None  # rows that are not enough for a block

    def blocks(self, chunks: Iterator[Chunk], epoch: int) -> Iterator[Block]:
        """The blocks of an epoch. If there is an error in a chunk, whole batches before it come before the error.

        Raises
        ------
        TypeError, ValueError
            If a chunk is not as it has to be, or there is none; chunk and row are named.
        """
        before, number = 0, 0
        with closing(self._cut(chunks)) as cut:
            for samples in cut:
                count = len(samples.X)
                order = _AS_THEY_LIE if self._order is None else self._order.of_block(count, epoch, number)
                yield Block(samples, order, before)
                before, number = before + count, number + 1
        if not before:
            raise ValueError(f"X: expected at least one chunk in every epoch, found none in epoch {epoch}")

    def _cut(self, chunks: Iterator[Chunk]) -> Generator[Samples]:
        """The rows of blocks."""
        self._waiting = None
        try:
            for chunk in chunks:
                for part in self._checked_parts(chunk):
                    yield from self._taken(part, chunk.is_own)
        except Exception:
            if self._waiting is not None and self._waiting.count >= self._batch:
                yield self._waiting.taken(self._waiting.count // self._batch * self._batch)
            raise
        finally:
            close(chunks)
        if self._waiting is not None:
            yield self._waiting.taken(self._waiting.count)

    def _taken(self, part: Samples, is_own: bool) -> Iterator[Samples]:
        """The blocks that are complete with some more rows."""
        begin, n = 0, len(part.X)
        while begin < n:
            left, waiting = n - begin, self._waiting
            if waiting is None and left >= self._least:
                count = min(left, self._most) // self._batch * self._batch
                rows = part_of(part, begin, begin + count)
                yield rows if is_own or self._form.standardization else copy_of(rows, self._form.dtype)
            else:
                waiting = self._waiting = waiting or _Rows(part, self._form.dtype, self._least)
                count = min(left, self._least - waiting.count)
                waiting.add(part_of(part, begin, begin + count))
                if waiting.count == self._least:
                    self._waiting = None
                    yield waiting.taken(self._least)
            begin += count

    def _checked_parts(self, chunk: Chunk) -> Iterator[Samples]:
        """The rows of a chunk as samples, some megabytes at a time: its first rows do not wait for its last."""
        dtype, features, outputs, kind, standardization = self._form
        first = 0
        for given in chunk.parts:
            try:
                X = (csr_rows("X", given.X, dtype if standardization is None else np.dtype(np.float64))
                     if is_sparse(given.X) else numeric_array("X", given.X, dtype))
                require_features(X.shape, features)
                require_dimensions("X", X.shape, 2)
                n, d, weight = X.shape[0], numeric_array("d", given.d), given.weight
                are_labels(d.shape, n, outputs, kind)
                if weight is not None:
                    weight = numeric_array("sample_weight", weight)
                    require_weights_for(weight.shape, n)
            except (TypeError, ValueError) as error:
                raise _named(error, chunk.name, first) from None
            for begin in range(0, n, self._most):
                rows = slice(begin, begin + self._most)
                try:
                    samples = as_samples(X[rows], d[rows], None if weight is None else weight[rows], dtype, features,
                                         outputs, kind, standardization, rows_of)
                    self._require_same_kind(samples)
                except (TypeError, ValueError) as error:
                    raise _named(error, chunk.name, first + begin) from None
                yield samples if standardization is None else _standardised(samples)
            first += n

    def _require_same_kind(self, samples: Samples) -> None:
        """Refuse samples that have weights or labels where the first had none, or the other way round."""
        if self._first is None:
            self._first = part_of(samples, 0, 1)
        first = self._first
        if isinstance(first.X, CsrRows) != isinstance(samples.X, CsrRows):
            kinds = ("a dense", "a sparse") if isinstance(samples.X, CsrRows) else ("a sparse", "a dense")
            raise TypeError(f"X: expected {kinds[0]} one as in the first chunk, found {kinds[1]} one")
        if (len(first.labels) > 0) != (len(samples.labels) > 0):
            kinds = ("targets", "labels") if len(samples.labels) else ("labels", "targets")
            raise ValueError(f"d: expected {kinds[0]} as in the first chunk, found {kinds[1]}")
        if (len(first.weights) > 0) != (len(samples.weights) > 0):
            kinds = ("(X, d)", "(X, d, weight)") if len(samples.weights) else ("(X, d, weight)", "(X, d)")
            raise ValueError(f"expected {kinds[0]} as in the first chunk, found {kinds[1]}")


def _named(error: Exception, chunk: str, first: int) -> Exception:
    """An error of some rows of a chunk, with the name of the chunk, and the row that they are counted from."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{chunk}{f', rows counted from {first} on' if first else ''}: {error}")


def _standardised(samples: Samples) -> Samples:
    """Samples that a network standardises, as it takes them; sparse ones as they are."""
    if isinstance(samples.X, CsrRows):
        return samples
    return samples._replace(X=standardised_rows(samples), rows=None)


def part_of(samples: Samples, start: int, stop: int) -> Samples:
    """The samples from start to stop, in the same memory; how X is read is not known then."""
    X, labels, targets, weights, largest, _ = samples
    return Samples(X[start:stop], labels[start:stop], targets[start:stop], weights[start:stop], largest)


def copy_of(samples: Samples, dtype: np.dtype) -> Samples:
    """A copy of samples, as kernels take them."""
    n = len(samples.X)
    rows = _Rows(samples, dtype, n)
    rows.add(samples)
    return rows.taken(n)


class _Rows:
    """Memory for rows that are copied one after another, as kernels take them.

    first : samples of the kind that come.
    most : rows that come at the most. Memory for many of them is made when they have come.
    """

    def __init__(self, first: Samples, dtype: np.dtype, most: int) -> None:
        self._most = most
        self.count, self._largest = 0, 0.0
        rows = min(most, max(1, FIRST_BYTES // (first.X.shape[1] * dtype.itemsize)))
        self._sparse: list[CsrRows] | None = [] if isinstance(first.X, CsrRows) else None
        dense = first._replace(X=first.labels[:0]) if isinstance(first.X, CsrRows) else first
        self._arrays = [np.empty((rows if len(given) else 0, *given.shape[1:]), kind) for given, kind in
                        zip(dense[:4], (dtype, np.int64, dtype, dtype), strict=True)]
        self._rows = rows

    def add(self, samples: Samples) -> None:
        """Copy rows behind those before."""
        end = self.count + len(samples.X)
        if end > self._rows:
            self._rows = min(self._most, max(2 * self._rows, end))
            self._arrays = [_grown(array, self._rows) if len(array) else array for array in self._arrays]
        if self._sparse is not None:
            self._sparse.append(samples.X)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for array, given in zip(self._arrays, samples[:4], strict=True):
                if len(array):
                    array[self.count : end] = given
        self.count, self._largest = end, max(self._largest, samples.largest)

    def taken(self, count: int) -> Samples:
        """The first rows, which are not written any more."""
        X, labels, targets, weights = self._arrays
        if self._sparse is not None:
            X = CsrRows.joined(self._sparse)
        return part_of(Samples(X, labels, targets, weights, self._largest), 0, count)


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    """An array of more rows, which begins with those of another."""
    grown = np.empty((rows, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
