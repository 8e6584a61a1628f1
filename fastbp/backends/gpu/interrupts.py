"""Ctrl-C while the device works: compiled code is not interrupted, and Python that only launches it should not be."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back() -> Iterator[list[Any]]:
    """A block that Ctrl-C does not end: what came is in the list, and takes its effect after the block.

    Other threads than the main one are never interrupted.
    """
    came: list[Any] = []
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield came
        return
    before = signal.signal(signal.SIGINT, lambda *event: came.append(event))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
