"""The length of the next slice of a call, and its number of threads.

Results do not depend on either: slices are cut where sums are cut anyway, and kernels give the same bits on any number
of threads. So both may follow the clock. Whether more threads help depends on the machine and on what else runs on it:
with another program on one of two cores, a step that took 0.2 ms on one thread took 8 ms on two, because they wait for
each other.

A slice has two bounds. At the costs that were measured it takes SLICE_SECONDS, or a share of them. And it has at most
GROWTH times the samples of the slices before it; the first one is as short as a slice can be.
"""

import functools
from collections.abc import Hashable

#: The seconds of a slice: half of what Ctrl-C may take.
SLICE_SECONDS = 0.05

#: The share of SLICE_SECONDS of a slice on several threads, and its most samples over those of the shortest slice.
#: Where another program begins to take the processor from a thread, the others wait some milliseconds in each slice.
PARALLEL_SHARE, MAX_PARALLEL = 1 / 8, 32

#: The share of SLICE_SECONDS of a slice that measures what another number of threads costs.
TRIAL = 1 / 16

#: The slices on a number of threads after which its cost is known. The cost of the first is dropped, which may have
#: compiled kernels or started threads.
SLICES_TO_MEASURE = 2

#: The slower number of threads is tried again after PATIENCE times the time of a trial. The wait doubles each time that
#: it is still slower, up to MOST_PATIENCE times.
PATIENCE, MOST_PATIENCE = 4, 64

#: The most samples of a slice, over those of the slices before it.
GROWTH = 4


class _Costs:
    """The costs of slices on one number of threads."""

    __slots__ = ("costs", "fewest", "most", "patience", "slices", "waited")

    def __init__(self) -> None:
        self.slices = 0
        self.costs: tuple[float, ...] = ()  # seconds of a sample, of the last two slices
        self.fewest = self.most = 0         # samples of the first slice, and of the longest one lately
        self.patience = PATIENCE
        self.waited = 0.0                   # seconds that other numbers of threads have taken since the last slice

    @property
    def cost(self) -> float:
        """The expected seconds of a sample."""
        return sum(self.costs) / len(self.costs)

    @property
    def highest(self) -> float:
        """The highest measured seconds of a sample, for bounds."""
        return max(self.costs)

    def learn(self, cost: float, samples: int) -> None:
        """Record the seconds of a sample, and the samples, of a slice."""
        self.fewest = self.fewest or samples
        self.costs = (*self.costs[-1:], cost) if self.slices >= SLICES_TO_MEASURE else (cost,)
        self.most = max(samples, self.most // 2)
        self.waited = 0.0
        self.slices += 1

    def of_other_calls(self, times: float) -> "_Costs":
        """The expected costs of calls whose samples take `times` times as long."""
        costs = _Costs()
        costs.slices, costs.costs = self.slices, tuple(times * cost for cost in self.costs)
        costs.fewest, costs.most = self.fewest, max(1, self.most // GROWTH)
        return costs


class Pace:
    """The next slice, from what slices have cost so far.

    Parameters
    ----------
    slice_seconds : float
        The time that a slice may take.

    Examples
    --------
    >>> pace = Pace(1.0)
    >>> pace.next_slice(4)  # the shortest slice first, on one thread
    (1, 1)
    >>> pace.learn(1, seconds=0.001, samples=1)
    >>> pace.next_slice(4)  # once more, because the first may have compiled
    (1, 4)
    >>> pace.learn(1, seconds=0.004, samples=4)
    >>> pace.next_slice(4)
    (4, 1)
    """

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self._slice_seconds = slice_seconds
        self._costs: dict[int, _Costs] = {}  # by the number of threads

    def next_slice(self, threads: int) -> tuple[int, int]:
        """The number of threads of the next slice, 1 or all that are allowed, and of its samples."""
        team, seconds = self._choose((1, threads) if threads > 1 else (1,))
        costs = self._costs[team]
        if costs.slices == 0:
            return team, 1
        most = GROWTH * costs.most if team == 1 else min(GROWTH * costs.most, MAX_PARALLEL * costs.fewest)
        return team, max(1, int(min(most, seconds / costs.highest)))

    def _choose(self, options: tuple[int, ...]) -> tuple[int, float]:
        """The number of threads of the next slice, and how many seconds it may take."""
        costs = {option: self._costs.setdefault(option, _Costs()) for option in options}
        trial = TRIAL * self._slice_seconds
        if costs[1].slices < SLICES_TO_MEASURE:
            return 1, trial
        if costs[options[-1]].slices == 0:
            return options[-1], trial
        best = min(options, key=lambda option: costs[option].cost)
        for option in options:
            other = costs[option]
            if option != best and other.waited >= other.patience * max(trial, other.fewest * other.highest):
                other.patience = min(2 * other.patience, MOST_PATIENCE)
                return option, trial
        costs[best].patience = PATIENCE
        return best, self._slice_seconds if best == 1 else PARALLEL_SHARE * self._slice_seconds

    def learn(self, threads: int, seconds: float, samples: int) -> None:
        """Record what a slice has cost."""
        if samples == 0:
            return
        for option, costs in list(self._costs.items()):
            if option != threads:
                costs.waited += seconds
        self._costs.setdefault(threads, _Costs()).learn(max(seconds, 1e-9) / samples, samples)

    def of_other_calls(self, times: float) -> "Pace":
        """A pace for calls whose samples take `times` times as long, which begins with the costs of this one."""
        pace = Pace(self._slice_seconds)
        pace._costs = {option: costs.of_other_calls(times) for option, costs in self._costs.items() if costs.slices}
        return pace


class Paces:
    """The paces of all kinds of calls on networks of one shape."""

    def __init__(self) -> None:
        self._paces: dict[Hashable, Pace] = {}
        self._last: tuple[Pace, float] | None = None

    def of(self, call: Hashable, operations: float) -> Pace:
        """The pace of one kind of calls; a new one begins with the costs of the last call of another kind.

        Parameters
        ----------
        call : hashable
            The kind, of which there are few.
        operations : float
            How much there is to compute for a sample, in any unit.
        """
        pace = self._paces.get(call)
        if pace is None:
            pace = Pace() if self._last is None else self._last[0].of_other_calls(operations / self._last[1])
            pace = self._paces.setdefault(call, pace)
        self._last = pace, operations
        return pace


@functools.lru_cache(maxsize=1024)
def paces_of(backend: str, dtype: str, widths: tuple[int, ...]) -> Paces:
    """The paces of networks of one shape on one backend, which all of them in this process share."""
    return Paces()
