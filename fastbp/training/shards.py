"""Ranks that have rows of their own: the whole of them, and a session to which the rows come that it computes with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..backends.contract import Extras
from ..backends.reading import NO_RECORD, Rows, rows_at
from ..checks.samples import Samples
from ..checks.sparse_rows import CsrRows
from ..compiling.addresses import address_of
from ..distributed.agreement import Disagreement
from ..distributed.communicators import Communicator, gather, partners
from ..formulas.dropout import drop_numbered_panel
from ..network import Network
from .checkpoints import rows_of_samples, sampled_rows, values_of_rows
from .ranks import RankSession

#: About the bytes of X in the batches whose rows travel together.
WINDOW_BYTES = 2**24


class Form(NamedTuple):
    """What the rows of all ranks have in common."""

    dtype: str      # of X as it travels
    is_sparse: bool
    has_labels: bool
    has_weights: bool


class Whole(NamedTuple):
    """The rows of all ranks, one rank after another."""

    communicator: Communicator
    begins: np.ndarray  # (ranks + 1,) where those of each rank begin
    form: Form
    density: float      # the share of the numbers of X that are stored
    largest: float      # |x|
    columns: str        # the dtype of column numbers of sparse rows

    @staticmethod
    def of(samples: Samples, communicator: Communicator, dtype: np.dtype) -> "Whole":
        """The whole of which this rank has these samples.

        dtype : of the network.

        Raises
        ------
        Disagreement
            If ranks have rows of different kinds, or no rank has any.
        """
        X = samples.X
        is_sparse = isinstance(X, CsrRows)
        form = Form(str(X.dtype if is_sparse else dtype), is_sparse, len(samples.labels) > 0, len(samples.weights) > 0)
        own = (len(X), form, len(X.values) if is_sparse else X.size, samples.largest,
               str(X.columns.dtype) if is_sparse else "")
        found = gather(communicator, own)
        having = [(rank, one) for rank, one in enumerate(found) if one[0]]
        if not having:
            raise Disagreement("X: expected at least one row on some rank, found none on all of them")
        first, (_, form, *_) = having[0]
        for rank, (_, other, *_) in having:
            for name, before, now in zip(("X: dtype", "X: sparse", "d: labels", "sample_weight"), form, other,
                                         strict=True):
                if before != now:
                    raise Disagreement(f"{name}: expected the same on all ranks that have rows, found {before} on rank "
                                       f"{first} and {now} on rank {rank}")
        rows = [one[0] for one in found]
        numbers = sum(rows) * X.shape[1]
        return Whole(communicator, np.concatenate([[0], np.cumsum(rows)]).astype(np.int64), form,
                     sum(one[2] for _, one in having) / numbers, max(one[3] for _, one in having),
                     max((one[4] for _, one in having), key=lambda name: (len(name), name)))

    @property
    def rows(self) -> int:
        """The number of all rows."""
        return int(self.begins[-1])

    def data_values(self, samples: Samples) -> dict[str, Any]:
        """What `checkpoints.data_values` gives for all rows in one place."""
        begin, end = self.begins[self.communicator.rank], self.begins[self.communicator.rank + 1]
        chosen = sampled_rows(self.rows)
        own = chosen[(begin <= chosen) & (chosen < end)] - begin
        given = rows_of_samples(samples, lambda chosen: rows_at(samples, chosen), own) if begin < end else []
        found = [parts for parts in gather(self.communicator, given) if parts]
        return values_of_rows(self.rows, [joined(list(part)) for part in zip(*found, strict=True)])

    def weights(self, samples: Samples) -> np.ndarray:
        """The weights of all rows."""
        return np.concatenate(gather(self.communicator, samples.weights))


def joined(parts: list[Any]) -> Any:
    """Rows of one kind, one after another."""
    return CsrRows.joined(parts) if isinstance(parts[0], CsrRows) else np.concatenate(parts)


class ShardSession(RankSession):
    """The session of a rank that has some of the rows.

    Some batches ahead, the rows that this rank computes come from the ranks that have them.

    Parameters
    ----------
    net : MLP
    samples : Samples
        Of this rank.
    *given
        As for `Session`.
    whole : Whole
    **ranks
        As for `RankSession`.
    """

    def __init__(self, net: Network, samples: Samples, *given: Any, whole: Whole, **ranks: Any) -> None:
        self._whole, self._window = whole, NO_WINDOW
        super().__init__(net, samples, *given, **ranks)
        row_bytes = int(net.widths[0] * net.dtype.itemsize * (2 * whole.density if whole.form.is_sparse else 1)) or 1
        self._together = max(1, WINDOW_BYTES // (self.plan.batch_size * row_bytes)) * self.plan.batch_size
        if self.plan.drop_address:
            self.plan = self.plan._replace(drop_address=address_of(drop_numbered_panel, net.dtype.name,
                                                                   net.layout.lanes))
        self._rates = np.concatenate([[0.0], self.plan.rates])

    @property
    def rows(self) -> int:
        return self._whole.rows

    def choose_way(self, samples: Samples) -> None:
        """Choose how kernels take X, by all rows."""
        whole, standardization = self._whole, self.net.standardization
        if whole.form.is_sparse:
            centred = standardization is not None and bool(standardization.mean.any())
            samples = samples._replace(rows=Rows(0, NO_RECORD, 1.0 if centred else whole.density))
        super().choose_way(samples)

    def present(self, position: int, size: int) -> tuple[Any, Any, int, Extras]:
        if not self._window.begin <= position < self._window.end or position == 0:
            self._window = self._fetched(position)
        window, (missing, _) = self._window, self.samples_of(self.ranks.communicator.rank, size)
        extras = super().extras()
        if self.plan.drop_address:
            self._rates[:1].view(np.int64)[0] = window.numbers.ctypes.data
            extras = extras._replace(rates_address=self._rates.ctypes.data + 8)
        here = (position - window.begin) // self.plan.batch_size * self._own_rows(self.plan.batch_size)
        return window.seen, window.numbers[:0], position + missing - here, extras

    def _fetched(self, begin: int) -> "Window":
        """The rows that this rank computes, of some batches from a place of the order on."""
        communicator, whole = self._whole.communicator, self._whole
        end = min(begin + self._together, self.rows)
        needed = [self._numbers_of(rank, begin, end) for rank in range(communicator.size)]
        own = needed[communicator.rank]
        owners = np.searchsorted(whole.begins, own, side="right") - 1
        places, parts = [], []
        for rank in (communicator.rank, *partners(communicator.rank, communicator.size)):
            first, last = whole.begins[communicator.rank], whole.begins[communicator.rank + 1]
            given = needed[rank]
            rows = self._rows_at(given[(first <= given) & (given < last)] - first)
            here = np.flatnonzero(owners == rank)
            parts.append(rows if rank == communicator.rank
                         else _swapped(communicator, rank, rows, self._like, len(here)))
            places.append(here)
        back = np.argsort(np.concatenate(places), kind="stable")
        net, columns = self.net, [joined(list(part)) for part in zip(*parts, strict=True)]
        X, labels, targets, weights = (part[back] if len(part) else part for part in columns)
        samples = Samples(X, labels, targets, weights, whole.largest)
        samples = net.backend_module.memory.placed(samples, net.standardization)
        return Window(begin, end, samples, net.backend_module.memory.for_kernels(samples), own)

    def _numbers_of(self, rank: int, begin: int, end: int) -> np.ndarray:
        """The numbers of a rank's rows, batch after batch."""
        batch, order = self.plan.batch_size, self.progress.order
        found = []
        for start in range(begin, end, batch):
            size = min(batch, end - start)
            first, last = self.samples_of(rank, size)
            places = slice(start + first, start + last)
            found.append(order[places] if len(order) else np.arange(places.start, places.stop))
        return np.concatenate(found)

    def _rows_at(self, numbers: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        """X, labels, targets and weights of own rows, as they travel."""
        samples = self.samples
        X = rows_at(samples, numbers) if len(numbers) else self._like(0)[0]
        if isinstance(X, CsrRows):
            X = CsrRows(X.values, X.columns.astype(self._whole.columns, copy=False), X.indptr, X.shape[1])
        return X, *(array[numbers] if len(array) else empty for array, empty in
                    zip(samples[1:4], self._like(len(numbers))[1:], strict=True))

    def _like(self, count: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        """Memory for a number of rows."""
        net, form = self.net, self._whole.form
        features, outputs = net.widths[0], net.widths[-1]
        X: Any = np.empty((count, features), net.dtype)
        if form.is_sparse:
            X = CsrRows(np.empty(0, form.dtype), np.empty(0, self._whole.columns), np.zeros(count + 1, np.int64),
                        features)
        return (X, np.empty(count if form.has_labels else 0, np.int64),
                np.empty((0 if form.has_labels else count, outputs), net.dtype),
                np.empty(count if form.has_weights else 0, net.dtype))


class Window(NamedTuple):
    """The rows that a rank computes in some batches."""

    begin: int           # the place of the first batch in the order
    end: int
    samples: Any         # `Samples`, in the order in which they are needed
    seen: Any            # as kernels take them
    numbers: np.ndarray  # their numbers in the whole


#: Before any rows have come.
NO_WINDOW = Window(0, 0, None, None, np.empty(0, np.int64))


def _swapped(communicator: Communicator, partner: int, rows: tuple[Any, ...], like: Callable[[int], tuple[Any, ...]],
             count: int) -> tuple[Any, ...]:
    """The rows that come from a partner, in return for others."""
    X, *others = rows
    into, *others_into = like(count)
    if isinstance(X, CsrRows):
        lengths = np.empty(count, np.int64)
        _exchange(communicator, partner, [np.diff(X.indptr), *others], [lengths, *others_into])
        entries = int(lengths.sum())
        values, columns = np.empty(entries, into.values.dtype), np.empty(entries, into.columns.dtype)
        _exchange(communicator, partner, [X.values, X.columns], [values, columns])
        return CsrRows(values, columns, np.concatenate([[0], np.cumsum(lengths)]), X.shape[1]), *others_into
    _exchange(communicator, partner, [X, *others], [into, *others_into])
    return into, *others_into


def _exchange(communicator: Communicator, partner: int, sent: list[np.ndarray], received: list[np.ndarray]) -> None:
    """Exchange arrays in one message."""
    message = np.concatenate([np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in sent])
    found = np.empty(sum(array.nbytes for array in received), np.uint8)
    communicator.exchange(partner, message, found)
    begin = 0
    for array in received:
        array.reshape(-1).view(np.uint8)[:] = found[begin : begin + array.nbytes]
        begin += array.nbytes
