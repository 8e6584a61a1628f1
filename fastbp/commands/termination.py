"""SIGTERM, with which systems and schedulers end programs, does what Ctrl-C does, and is told from it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """A command was ended by SIGTERM."""


@contextmanager
def heeding_sigterm() -> Iterator[list[int]]:
    """A context in which SIGTERM interrupts as Ctrl-C does; the list has the signals so far.

    It calls the handler of Ctrl-C, which code that must not be broken off replaces by one that waits. Where Ctrl-C is
    ignored, as in programs that a script starts in the background, it raises KeyboardInterrupt itself. A handler that
    somebody else has set for SIGTERM stays.

    Raises
    ------
    Terminated
        In place of a KeyboardInterrupt that leaves the context after SIGTERM.
    """
    came: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        came.append(number)
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    is_ours = (threading.current_thread() is threading.main_thread()
               and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    if is_ours:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    except KeyboardInterrupt:
        if came:
            raise Terminated from None
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
