"""Which workspaces of `fastbp.jit` this process has, and which of them a call is using.

A workspace holds addresses. Its bytes may come to another process, by a pickle, a file or shared memory, even to the
very place where the original lay; there the addresses mean nothing. So each workspace has an entry here, in memory of
which every process has its own, and a forked child a copy. The entry is the workspace's key, a random number that the
workspace holds too; minus the key during a call; and 0 once the workspace is gone. One atomic operation at the
beginning of a call reads it and marks the call.
"""

import os
import secrets
import weakref
from operator import length_hint
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ..compiling.addresses import INTEGER, intrinsic
from ..compiling.decorators import inlined

#: The most workspaces at a time, a power of two, and the distance of their entries in numbers. It is two cache lines,
#: because threads write to the entries, and processors fetch lines in pairs.
MOST, APART = 2**14, 16

_memory = np.zeros((MOST + 1) * APART, np.int64)  # pages that nobody has written to take no memory
_entries = _memory[-(_memory.ctypes.data // 8) % APART :][: MOST * APART : APART]
_given_back: list[int] = []
_never_given = iter(range(MOST))

#: The address of the first entry.
REGISTER = int(_entries.ctypes.data)

#: A number that other processes, but forked children, do not have.
PROCESS = secrets.randbits(62)


class Entry:
    """The entry of one workspace, which is given back with the object.

    Attributes
    ----------
    place : int
    key : int

    Raises
    ------
    MemoryError
        If there are MOST already.
    """

    def __init__(self) -> None:
        try:
            self.place = _given_back.pop()
        except IndexError:
            place = next(_never_given, None)
            if place is None:
                raise MemoryError(f"expected at most {MOST} workspaces of fastbp.jit at a time; let some go") from None
            self.place = place
        self.key = secrets.randbits(62) | 1  # not counted: a forked child would count on from where its parent does
        _entries[self.place] = self.key
        weakref.finalize(self, _give_back, self.place).atexit = False


def _give_back(place: int) -> None:
    _entries[place] = 0
    _given_back.append(place)


def _after_fork_in_child() -> None:
    """No call goes on here: threads other than the one that forked are not in the child."""
    given = _entries[: MOST - length_hint(_never_given)]
    np.abs(given, out=given)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@inlined
def begin_use(register: Any, place: Any, key: Any) -> Any:
    """The key if the workspace is now this call's; minus the key if another call has it; else another number."""
    return exchange_if_equal(register + 8 * APART * (place & (MOST - 1)), key, -key)


@inlined
def end_use(register: Any, place: Any, key: Any) -> None:
    """Give the workspace back to other calls."""
    write_at_last(register + 8 * APART * (place & (MOST - 1)), key)


@intrinsic
def exchange_if_equal(typing_context: Any, address: Any, expected: Any, new: Any) -> Any:
    """The integer at an address, which is replaced by the new one if it is the expected one: one atomic operation.

    What follows sees all that other threads wrote before their `write_at_last`.
    """
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        found = builder.cmpxchg(place, values[1], values[2], "acq_rel", "acquire")
        return builder.extract_value(found, 0)

    return INTEGER(INTEGER, INTEGER, INTEGER), codegen


@intrinsic
def write_at_last(typing_context: Any, address: Any, value: Any) -> Any:
    """Write an integer at an address, after everything that was written before."""
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[1], builder.inttoptr(values[0], ir.IntType(64).as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(INTEGER, INTEGER), codegen
