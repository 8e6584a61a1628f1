"""Ctrl-C while the device works is delayed, as in compiled code, also in the Python that launches kernels."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back() -> Iterator[list[Any]]:
    """Delay Ctrl-C until the end of a block; the list has the interrupts so far.

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
