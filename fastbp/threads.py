"""How many threads a kernel call may use, and where more than one would not be safe.

A kernel that is told 1 enters no parallel region, and its results have the same bits. What was seen with Numba 0.68 on
Linux, on two cores:

- Two Python threads in parallel regions at once: omp and tbb give each a team of its own, workqueue aborts the process.
  There one of them has the region, and the others run serial instead of waiting. (Regions of other libraries and of
  users' own kernels are not seen.)
- Three networks trained at once on omp took 45 ms with a team of all cores for each, 32 with one team and the others
  serial, and 21 when each took its share of the cores. So the calls in progress share the threads; this also bounds
  the threads of a program that predicts from a hundred Python threads.
- A forked child after its parent started threads: GNU omp ends it, and lets it hang where another library in the
  parent had used the same OpenMP library, which cannot be seen. tbb let 21 of 300 children hang that were forked while
  another thread was in a region. On workqueue 300 of 300 did well. So forked children have threads there alone.
"""

import math
import os
import threading
from typing import Any

import numba

from .checks.arguments import require_whole
from .compiling.decorators import inlined
from .compiling.threading_layers import get_mask, hold_compiler_locks, release_compiler_locks, set_mask, threading_layer

#: No backend wakes threads for calls of fewer operations, and to ask how many there are takes half a microsecond.
SMALL_CALL = 1e6

_config: Any = numba.config
_limit: int | None = None       # what set_num_threads set
_calling: set[int] = set()      # the Python threads that are in a context
_region = threading.Lock()      # held by the one that may enter parallel regions of workqueue
_forked = False                 # whether this process was forked from one that had imported fastbp


def set_num_threads(n: int) -> None:
    """Let fastbp's kernels use up to n threads, in every Python thread of this process.

    A mask that ``numba.set_num_threads`` put on the calling thread holds too: the smaller number counts. Results have
    the same bits for any number.

    Small steps stay on one thread. Longer calls of every kind try whether more threads pay, and what a call has learned
    about networks of its shape serves the next.

    Several Python threads may train at once, and so may forked children. Where Numba's threading layer cannot do that
    safely, such a call stays on one thread. On the layer "workqueue" two parallel kernels at once end the process, and
    a kernel of your own beside a `fit` in another thread is one of two. There set NUMBA_THREADING_LAYER to "omp" or
    "tbb" (``pip install tbb``), or call ``set_num_threads(1)``.

    Raises
    ------
    TypeError, ValueError
        If n is not a whole number from 1 to ``numba.config.NUMBA_NUM_THREADS``: as many threads as Numba starts, the
        usable cores if the environment variable NUMBA_NUM_THREADS does not say otherwise.

    Examples
    --------
    >>> import fastbp
    >>> before = fastbp.get_num_threads()
    >>> fastbp.set_num_threads(1)
    >>> fastbp.get_num_threads()
    1
    >>> fastbp.set_num_threads(before)
    """
    global _limit
    checked, most = require_whole("n", n, at_least=1), _config.NUMBA_NUM_THREADS
    if checked > most:
        raise ValueError(f"n: expected at most the {most} threads that Numba starts, found {n}; for more, set the "
                         f"environment variable NUMBA_NUM_THREADS before Python starts")
    _limit = checked


def get_num_threads() -> int:
    """How many threads fastbp's kernels may use: what `set_num_threads` set, else as many as Numba starts."""
    return _config.NUMBA_NUM_THREADS if _limit is None else _limit


@inlined
def share_of(count: Any, thread: Any, threads: Any) -> Any:
    """The share of a thread among `count` things: from the first number on, and below the second.

    >>> [share_of(7, thread, 3) for thread in range(3)]
    [(0, 2), (2, 4), (4, 7)]
    """
    return count * thread // threads, count * (thread + 1) // threads


class allowed:
    """A context that gives the number of threads for the kernel calls inside it, on the calling Python thread.

    Parameters
    ----------
    operations : float
        The number of operations of the calls; fewer than SMALL_CALL are for one thread.
    """

    __slots__ = ("_calling", "_locked", "_mask", "_operations", "_region", "_this")

    def __init__(self, operations: float = math.inf) -> None:
        self._operations = operations

    def __enter__(self) -> int:
        self._mask = None
        # Serial calls too need Numba's threads started: a cached kernel crashed without them if it had been compiled
        # where the kernel with the prange that it calls came from the cache (Numba 0.68).
        layer = threading_layer()
        if self._operations < SMALL_CALL:
            return 1
        limit, self._locked = get_num_threads(), False
        if limit == 1 or (_forked and layer != "workqueue"):
            return 1
        # A fork inside the context replaces the first two.
        self._calling, self._region, self._this = _calling, _region, threading.get_ident()
        try:
            self._mask = mask = get_mask()
            self._calling.add(self._this)
            count = max(1, min(limit, mask) // len(self._calling))
            if count > 1 and layer == "workqueue":
                self._locked = self._region.acquire(blocking=False)
                count = count if self._locked else 1
            if count > 1:
                set_mask(count)
            return count
        except BaseException:  # Ctrl-C
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        if self._mask is None:
            return
        set_mask(self._mask)
        if self._locked:
            self._region.release()
        self._calling.discard(self._this)


def _after_fork_in_child() -> None:
    global _calling, _region, _forked
    release_compiler_locks()
    _calling, _region, _forked = set(), threading.Lock(), True


if hasattr(os, "register_at_fork"):
    # A fork waits for other threads that compile: in the child, which lacks them, their locks would never be released.
    os.register_at_fork(before=hold_compiler_locks, after_in_parent=release_compiler_locks,
                        after_in_child=_after_fork_in_child)
