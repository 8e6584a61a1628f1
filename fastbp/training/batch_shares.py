"""`BatchShares`: how the ranks of a session share batches of `tiled`, where that pays; see `shared_tiles`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backends import tiled
from ..backends.contract import WHOLE
from ..backends.shared_tiles import (
    UNCERTAIN,
    Memory,
    Part,
    are_worth_it,
    propagate_own,
    rows_between,
    share_of_parameters,
    share_of_samples,
    step_of_all_rows,
    step_of_own_rows,
    with_shares,
)
from ..backends.training_loop import DIVERGED, POSITION, Training
from ..distributed.communicators import broadcast, partners
from ..layout import aligned_zeros

#: The first numbers of a message in float64: how many ranks were interrupted, whether the whole state is wanted, and
#: whether bounds on theta are not known. What follows are the largest |h_k| and |δ_k|.
_INTERRUPTS, _WANTED, _UNKNOWN, _LARGEST = range(4)

#: How many sizes of batches have messages at a time.
_MOST_SIZES = 4


def are_shared(session: Any) -> bool:
    """Whether the ranks of a session share batches: by the network, the data's kind, the batch and the optimizer."""
    net, plan, ranks = session.net, session.plan, session.ranks
    return bool(net.backend_module is tiled and ranks.reduction == "tree" and ranks.average_every is None
                and session.way == WHOLE and session.optimizer.clip_norm is None and plan.batch_size <= plan.chunk
                and are_worth_it(net.layout, plan.batch_size))


class BatchShares:
    """What a session needs to share batches.

    Parameters
    ----------
    session : RankSession
    work : ndarray
        The workspace.

    Attributes
    ----------
    work : ndarray
        The workspace with what it needs beside.
    is_whole : bool
        Whether this rank has all of the optimizer's averages; of others it may have old ones.
    """

    def __init__(self, session: Any, work: np.ndarray) -> None:
        self._session, net = session, session.net
        self._communicator = session.ranks.communicator
        self._rank, self._ranks = self._communicator.rank, self._communicator.size
        self.work, self._memory = with_shares(work, net.layout, net.dtype)
        self._cuts = [share_of_parameters(net.layout, rank, self._ranks) for rank in range(self._ranks)]
        self._set_rows(*self._cuts[self._rank])
        self._weights = np.ones(session.plan.batch_size)
        self._messages: dict[int, list[_Message]] = {}
        self.is_whole = True
        if self._rank == 0:
            self._take_no_step()  # first, so that others find the kernels in the cache
        broadcast(self._communicator, None)

    def _set_rows(self, begin: int, end: int) -> None:
        """Set which rows phase 2 computes: those between two places in theta."""
        layers = slice(0, self._session.net.layout.depth + 1)
        self._memory.first_rows[layers], self._memory.own_rows[layers] = rows_between(self._session.net.layout, begin,
                                                                                      end)

    def _take_no_step(self) -> None:
        """Compile what a step calls."""
        session, sums, bounds = self._session, self._session.progress.sums.copy(), self._session.progress.bounds.copy()
        propagate_own(session.net.theta, session.seen, session.progress.order, Part(0, 0, 0, 0), session.extras(),
                      self.work, 1)
        session.progress.bounds[0] = -1.0
        self._step_of_own_rows(session.seen, 0.0, 1, remeasures=False)  # bounds that are not known let it take none
        session.progress.sums[:], session.progress.bounds[:] = sums, bounds

    def step(self, team: int, interrupts: float, is_wanted: bool) -> tuple[int, bool]:
        """The status after the next batch, and whether some rank was interrupted; then there was no step.

        is_wanted : whether the whole state is wanted afterwards.
        """
        session, counts, bounds = self._session, self._session.progress.counts, self._session.progress.bounds
        position, size = int(counts[POSITION]), session.size_of_batch
        samples, order, shift, extras = session.present(position, size)
        first, (begin, end) = position - shift, share_of_samples(size, self._rank, self._ranks)
        propagate_own(session.net.theta, samples, order, Part(first, size, begin, end), extras, self.work, team)
        if session.plan.by_weight and len(samples.weights):
            places = slice(first + begin, first + end)
            self._weights[begin:end] = samples.weights[order[places] if len(order) else places]
        flags = self._exchange(size, (interrupts, is_wanted, bounds[0] < 0.0))
        if flags[_INTERRUPTS]:
            self.make_whole()
            return 0, True
        if flags[_UNKNOWN]:
            bounds[0] = -1.0
        weight = float(self._weights[:size].cumsum()[-1]) if session.plan.by_weight else 0.0  # added up one by one
        status = self._take_step(samples, weight, team)
        if status or flags[_WANTED] or counts[POSITION] in (0, session.rows):
            self.make_whole()
        return status, False

    def _exchange(self, size: int, flags: tuple[float, ...]) -> np.ndarray:
        """Give and get h, δ and what was found of the samples; the sums of the flags."""
        messages, largest = self._messages_for(size), self._memory.largest
        own = messages[self._rank]
        if self._ranks > 1:
            own.numbers[:_LARGEST], own.numbers[_LARGEST:] = flags, largest
            own.write()
        found = np.array(flags, np.float64)
        for partner in self._partners():
            message = messages[partner]
            self._communicator.exchange(partner, own.content, message.content)
            message.read()
            found += message.numbers[:_LARGEST]
            np.maximum(largest, message.numbers[_LARGEST:], out=largest)  # NaN if one of them is
        return found

    def _messages_for(self, size: int) -> list["_Message"]:
        """The messages of all ranks about a batch of a size."""
        found = self._messages.get(size)
        if found is None:
            if len(self._messages) == _MOST_SIZES:
                self._messages.clear()
            found = self._messages[size] = [
                _Message(self._memory, self._weights, *share_of_samples(size, rank, self._ranks))
                for rank in range(self._ranks)]
        return found

    def _partners(self) -> Iterator[int]:
        return partners(self._rank, self._ranks)

    def _take_step(self, samples: Any, weight: float, team: int) -> int:
        """The status of the step, whose parameters are then in place on all ranks."""
        status = self._step_of_own_rows(samples, weight, team, remeasures=False)
        if status == UNCERTAIN:
            self.make_whole()
            status = self._step_of_own_rows(samples, weight, team, remeasures=True)
        if status == UNCERTAIN:
            return self._step_of_all_rows(weight, team)
        if status != DIVERGED:
            self._exchange_parts([self._session.net.theta])
            self.is_whole = self._ranks == 1 or not len(self._session.state.averages)
        return status

    def _step_of_own_rows(self, samples: Any, weight: float, team: int, remeasures: bool) -> int:
        session = self._session
        return int(step_of_own_rows(session.net.theta, session.net.layout, samples.largest, weight, session.rows,
                                    self._training(), self.work, team, remeasures))

    def _step_of_all_rows(self, weight: float, team: int) -> int:
        session = self._session
        self._set_rows(0, session.net.layout.size)
        status = int(step_of_all_rows(session.net.theta, session.net.grad, session.net.layout, weight, session.rows,
                                      self._training(), self.work, team))
        self._set_rows(*self._cuts[self._rank])
        return status

    def _training(self) -> Training:
        session = self._session
        return Training(session.plan, session.spec, session.state, session.progress)

    def make_whole(self) -> None:
        """Get the averages of other ranks' parameters, on all ranks together."""
        if not self.is_whole:
            self._exchange_parts(list(self._session.state.averages))
            self.is_whole = True

    def _exchange_parts(self, vectors: list[np.ndarray]) -> None:
        """Give this rank's part of vectors of parameters, and get the others'."""
        for vector in vectors:
            for partner in self._partners():
                self._communicator.exchange(partner, *(vector[slice(*self._cuts[rank])].view(np.uint8)
                                                       for rank in (self._rank, partner)))


class _Message:
    """What a rank tells of its samples of a batch.

    Parameters
    ----------
    memory : Memory
        Of the workspace, from which it is written and to which it is read.
    weights : (batch_size,) float64
        Of the samples, likewise.
    begin, end : int
        The samples.

    Attributes
    ----------
    content : (bytes,) uint8
    numbers : ndarray
        Those of the rank as a whole, float64.
    """

    def __init__(self, memory: Memory, weights: np.ndarray, begin: int, end: int) -> None:
        lanes = memory.h.shape[2]
        panels = slice(begin // lanes, -(-end // lanes))
        parts = [memory.h[:, begin:end], memory.delta[panels], memory.E[begin:end], memory.correct[begin:end],
                 weights[begin:end]]
        numbers = np.empty(_LARGEST + len(memory.largest))
        places = np.cumsum([0, *(-(-part.nbytes // 8) * 8 for part in (*parts, numbers))])
        self.content = aligned_zeros(int(places[-1]), np.dtype(np.uint8))
        *views, self.numbers = (self.content[place : place + part.nbytes].view(part.dtype).reshape(part.shape)
                                for place, part in zip(places[:-1], (*parts, numbers), strict=True))
        self._pairs = [(view, part) for view, part in zip(views, parts, strict=True) if view.size]

    def write(self) -> None:
        """Copy what the workspace has of these samples."""
        for view, part in self._pairs:
            view[...] = part

    def read(self) -> None:
        """Copy it to the workspace."""
        for view, part in self._pairs:
            part[...] = view
