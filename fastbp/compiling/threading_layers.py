"""Numba's threads: starting them, the number of a parallel region, and the locks that a fork waits for."""

from typing import Any

import numba
from llvmlite.binding import ffi as llvm
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as numba_threads

from .interrupts import held_back

_masks: Any = numba_threads  # it has its functions once Numba has started its threads


def threading_layer() -> str:
    """The threading layer that Numba chose, "omp", "tbb" or "workqueue"; starts its threads if necessary."""
    try:
        return numba.threading_layer()
    except ValueError:  # not started
        with held_back(), global_compiler_lock:  # which a fork waits for
            numba.get_num_threads()
        return numba.threading_layer()


def get_mask() -> int:
    """The number of threads of the calling thread's parallel regions, once `threading_layer` was called.

    numba.get_num_threads() gives the same, but takes a lock that forked processes share: the third child that was
    killed in a loop of such calls left it locked for ever (Numba 0.68).
    """
    return int(_masks._get_num_threads())


def set_mask(threads: int) -> None:
    """Set the number of threads of the calling thread's parallel regions, without the lock of set_num_threads()."""
    _masks._set_num_threads(threads)


def hold_compiler_locks() -> None:
    """Wait until no other thread compiles, and prevent them from beginning."""
    global_compiler_lock.acquire()
    llvm.lib._lock.__enter__()


def release_compiler_locks() -> None:
    """Let other threads compile again."""
    llvm.lib._lock.__exit__()
    global_compiler_lock.release()
