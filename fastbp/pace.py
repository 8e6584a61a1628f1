"""How long the next slice of a call should be, and on how many threads.

Results do not depend on either: slices are cut where sums are cut anyway, and kernels give the same bits on any number
of threads. So both may follow the clock. Whether more threads help depends on the machine and on what else runs on it:
with another program on one of two cores, a step that took 0.2 ms on one thread took 8 ms on two, because they wait for
each other.

A slice is bounded twice. It takes a share of the time that a slice may take, at the cost that was seen; and it has at
most GROWTH times the samples of slices before it, the first one as few as there can be.
"""

import functools
from collections.abc import Hashable

#: A slice takes about so many seconds: half of what Ctrl-C may take.
SLICE_SECONDS = 0.05

#: A slice on several threads is this part of one on one thread, and at most so many times the shortest one. Where
#: another program begins to take the processor from one of them, the others wait for it some milliseconds in each.
TOGETHER, MOST_TOGETHER = 1 / 8, 32

#: A slice that finds out what another number of threads costs is this part of one on one thread.
TRIAL = 1 / 16

#: What the first slice on a number of threads cost is forgotten with the second: it may have compiled, or started
#: threads.
FIRST_TO_KEEP = 2

#: A number of threads that has become the slower one is tried again after this many times as long as a trial takes,
#: and after twice as long each time that it is still slower, up to the second number.
PATIENCE, MOST_PATIENCE = 4, 64

#: A slice has at most so many times the samples of the ones before it.
GROWTH = 4


class _Seen:
    """What slices on one number of threads have cost."""

    __slots__ = ("costs", "fewest", "most", "patience", "slices", "waited")

    def __init__(self) -> None:
        self.slices = 0
        self.costs: tuple[float, ...] = ()  # seconds of a sample, of the last two slices
        self.fewest = self.most = 0         # samples of the first slice, and of the longest one lately
        self.patience = PATIENCE
        self.waited = 0.0                   # seconds that other numbers of threads have taken since the last slice

    @property
    def cost(self) -> float:
        """To be expected, in seconds of a sample."""
        return sum(self.costs) / len(self.costs)

    @property
    def highest(self) -> float:
        """To be reckoned with, in seconds of a sample."""
        return max(self.costs)

    def learn(self, cost: float, samples: int) -> None:
        """Take note of a slice."""
        self.fewest = self.fewest or samples
        self.costs = (*self.costs[-1:], cost) if self.slices >= FIRST_TO_KEEP else (cost,)
        self.most = max(samples, self.most // 2)
        self.waited = 0.0
        self.slices += 1

    def of_other_calls(self, times: float) -> "_Seen":
        """What is to be expected of calls whose samples take so many times as long."""
        seen = _Seen()
        seen.slices, seen.costs = self.slices, tuple(times * cost for cost in self.costs)
        seen.fewest, seen.most = self.fewest, max(1, self.most // GROWTH)
        return seen


class Pace:
    """What slices have cost so far.

    Parameters
    ----------
    slice_seconds : float
        How long a slice may take.

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
        self._seen: dict[int, _Seen] = {}  # by the number of threads

    def next_slice(self, threads: int) -> tuple[int, int]:
        """The number of threads, 1 or all that are allowed, and of samples."""
        team, seconds = self._choose((1, threads) if threads > 1 else (1,))
        seen = self._seen[team]
        if seen.slices == 0:
            return team, 1
        most = GROWTH * seen.most if team == 1 else min(GROWTH * seen.most, MOST_TOGETHER * seen.fewest)
        return team, max(1, int(min(most, seconds / seen.highest)))

    def _choose(self, options: tuple[int, ...]) -> tuple[int, float]:
        """The number of threads of the next slice, and how many seconds it may take."""
        seen = {option: self._seen.setdefault(option, _Seen()) for option in options}
        trial = TRIAL * self._slice_seconds
        if seen[1].slices < FIRST_TO_KEEP:
            return 1, trial
        if seen[options[-1]].slices == 0:
            return options[-1], trial
        best = min(options, key=lambda option: seen[option].cost)
        for option in options:
            other = seen[option]
            if option != best and other.waited >= other.patience * max(trial, other.fewest * other.highest):
                other.patience = min(2 * other.patience, MOST_PATIENCE)
                return option, trial
        seen[best].patience = PATIENCE
        return best, self._slice_seconds if best == 1 else TOGETHER * self._slice_seconds

    def learn(self, threads: int, seconds: float, samples: int) -> None:
        """Take note of what a slice cost."""
        if samples == 0:
            return
        for option, seen in list(self._seen.items()):
            if option != threads:
                seen.waited += seconds
        self._seen.setdefault(threads, _Seen()).learn(max(seconds, 1e-9) / samples, samples)

    def of_other_calls(self, times: float) -> "Pace":
        """A pace for calls whose samples take so many times as long, which begins with what this one has seen."""
        pace = Pace(self._slice_seconds)
        pace._seen = {option: seen.of_other_calls(times) for option, seen in self._seen.items() if seen.slices}
        return pace


class Paces:
    """The paces of all kinds of calls on networks of one shape."""

    def __init__(self) -> None:
        self._paces: dict[Hashable, Pace] = {}
        self._last: tuple[Pace, float] | None = None

    def of(self, call: Hashable, operations: float) -> Pace:
        """The pace of one kind of calls; a new one begins with what the last call of another kind has seen.

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
    """What is known in this process of networks of that shape, on that backend."""
    return Paces()
