"""Ctrl-C where Python code must not be broken off: it is noted, and heard at a safe point or at the end.

An exception in the middle of an import or of compiling is lost where Numba and LLVM call Python, or leaves modules of
Numba half imported, which cannot be imported again. So such code is a block of `held_back` or `compiling`. In it a
handler that only notes the signal stands in for the program's own, which is called afterwards. Signals that a program
ignores, or leaves to the system, stay as they are. Only the main thread is ever interrupted.
"""

import signal
import sys
import threading
from types import TracebackType
from typing import Any


class Interruption(BaseException):
    """What the program's handler raised at a safe point, on its way to the end of the block.

    It is no `Exception`, which Numba would take for an error in the function that it compiles.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


_handler: Any = None       # the program's own, while `_note` stands in for it
_open: list[bool] = []     # the blocks in which the main thread is: whether each has safe points
_noted: list[int] = []     # the signals so far


def _note(number: int, frame: Any) -> None:
    """The handler within blocks; outside of them, where another signal's handler has broken off a block, none."""
    if _open:
        _noted.append(number)
    else:
        _handler(number, frame)


class held_back:
    """A context in which Ctrl-C is noted, and heard at the end; it is true once there was one.

    Blocks may lie in each other; then the outermost one's end counts.

    >>> with held_back() as interrupts:
    ...     bool(interrupts)
    False
    """

    __slots__ = ("_counts",)

    has_safe_points = False

    def __enter__(self) -> "held_back":
        self._counts = threading.current_thread() is threading.main_thread() and (bool(_open) or _stand_in())
        if self._counts:
            _open.append(self.has_safe_points)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if not self._counts:
            return
        _open.pop()
        if _open:
            return
        if signal.getsignal(signal.SIGINT) is _note:
            signal.signal(signal.SIGINT, _handler)
        if isinstance(error, Interruption):  # heard already; presses since then ask for the same
            raise error.error from None
        _hear()

    def __bool__(self) -> bool:
        return self._counts and bool(_noted)

    def hear(self) -> None:
        """Call the program's handler now if there was an interrupt; by default it raises KeyboardInterrupt."""
        if self:
            _hear()


    def forget(self) -> None:
        """Hear no interrupt that has come so far."""
        if self:
            _noted.clear()


class compiling(held_back):
    """A context in which Ctrl-C is heard at safe points, and at the end.

    What the handler raises at a safe point, whatever it is, passes through Numba and leaves the outermost block.
    """

    __slots__ = ()

    has_safe_points = True


def safe_point() -> None:
    """Hear Ctrl-C here, if all blocks have safe points."""
    if _noted and _open and all(_open) and threading.current_thread() is threading.main_thread():
        try:
            _hear()
        except BaseException as error:
            raise Interruption(error) from None


def is_noted() -> bool:
    """Whether Ctrl-C has come to this thread, and waits for a safe point or the end of a block."""
    return bool(_noted) and threading.current_thread() is threading.main_thread()


def hear_now() -> None:
    """Call the program's handler in a block without safe points, where waiting for the end would be too long."""
    if is_noted():
        _hear()


def _stand_in() -> bool:
    """Let `_note` stand in for the program's handler; false if there is none that Python would call."""
    global _handler
    present = signal.getsignal(signal.SIGINT)
    if not callable(present):
        return False
    _noted.clear()
    if present is not _note:
        _handler = present
        signal.signal(signal.SIGINT, _note)
    return True


def _hear() -> None:
    """Call the program's handler, once for all signals so far."""
    if _noted:
        _noted.clear()
        _handler(signal.SIGINT, sys._getframe(1))
