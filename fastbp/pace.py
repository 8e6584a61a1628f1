"""How long the next slice of training should be, and on how many threads.

Results do not depend on either: slices are cut between pieces, and kernels give the same bits on any number of threads.
So both may follow the clock. Whether more threads help depends on the machine and on what else runs on it: with another
program on one of two cores, a step that took 0.2 ms on one thread took 8 ms on two, because they wait for each other.
"""

import math

#: Slices on each number of threads before one is preferred.
TRIES = 2

#: One slice in so many goes to the other number of threads, to see whether it has become the faster one. It takes that
#: part of the time, and so do the first tries.
OTHER_EVERY = 16

#: Where even the shortest slice takes so many seconds, threads do not wait for each other often enough to try first.
LONG = 0.01


class Pace:
    """What slices have cost so far.

    Parameters
    ----------
    slice_seconds : float
        How long a slice should take.

    Examples
    --------
    >>> pace = Pace(1.0)
    >>> pace.next_slice(4)  # a small one first
    (4, 1)
    >>> pace.learn(4, seconds=0.001, samples=1)
    >>> pace.next_slice(4)
    (1, 4)
    """

    def __init__(self, slice_seconds: float) -> None:
        self._slice_seconds = slice_seconds
        self._cost: dict[int, float] = {}   # seconds of a sample, by the number of threads
        self._tries: dict[int, int] = {}
        self._shortest = math.inf           # seconds of a slice on several threads
        self._largest = 1                   # samples
        self._turn = 0

    def next_slice(self, threads: int) -> tuple[int, int]:
        """The number of threads, 1 or all that are allowed, and of samples."""
        self._turn += 1
        chosen, seconds = self._choose(threads)
        samples = seconds / self._cost[chosen] if chosen in self._cost else math.inf
        return chosen, max(1, int(min(self._largest, samples)))

    def _choose(self, threads: int) -> tuple[int, float]:
        """The number of threads of the next slice, and how long it should take."""
        tries = {option: self._tries.get(option, 0) for option in (threads, 1)}
        long = tries[threads] > 0 and self._shortest >= LONG
        if threads == 1 or (long and self._turn % OTHER_EVERY):
            return threads, self._slice_seconds
        least = min(tries, key=lambda option: tries[option])
        if tries[least] < TRIES:
            return least, self._slice_seconds / OTHER_EVERY
        faster, slower = sorted(tries, key=lambda option: self._cost[option])
        return (slower, self._slice_seconds / OTHER_EVERY) if self._turn % OTHER_EVERY == 0 else \
            (faster, self._slice_seconds)

    def learn(self, threads: int, seconds: float, samples: int) -> None:
        """Take note of what a slice cost; the first on a number of threads may have compiled, and is soon forgotten."""
        cost, tries = seconds / max(1, samples), self._tries.get(threads, 0)
        self._cost[threads] = cost if tries < 2 else 0.5 * (self._cost[threads] + cost)
        self._tries[threads] = tries + 1
        self._largest = 4 * max(self._largest, samples)
        if threads > 1:
            self._shortest = min(self._shortest, seconds)
