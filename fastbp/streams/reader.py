"""`Reader`: a thread that makes the next blocks while one is trained on."""

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from .blocks import Block
from .sources import close

#: How many blocks there may be beside the one that is trained on, the one that is being made included.
AHEAD = 2

#: Seconds after which a thread that waits for a block looks for Ctrl-C, where a wait is not interrupted by it.
LOOK_EVERY = 0.05


class EndOfEpoch(NamedTuple):
    """There are no more blocks in an epoch."""

    rows: int


class Failure(NamedTuple):
    """What ended the reading."""

    error: BaseException


class Reader:
    """Blocks of several epochs, made by a thread.

    Parameters
    ----------
    blocks_of : callable
        Gives the blocks of an epoch by its number; called in the thread.
    first, epochs : int
        The epoch to begin with, and the number of all.
    """

    def __init__(self, blocks_of: Callable[[int], Iterator[Block]], first: int, epochs: int) -> None:
        self._blocks_of, self._epochs = blocks_of, range(first, epochs)
        # Queues in C, which Ctrl-C in the thread that waits leaves whole.
        self._found: SimpleQueue[Any] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._closed = threading.Event()
        for _ in range(AHEAD):
            self._room.put(None)
        self._thread = threading.Thread(target=self._read, name="fastbp reader", daemon=True)
        self._thread.start()

    def next(self) -> Block | EndOfEpoch | Failure:
        """What comes next; after a failure, nothing does."""
        while True:
            try:
                found: Block | EndOfEpoch | Failure = self._found.get(timeout=LOOK_EVERY)
            except Empty:
                continue
            if isinstance(found, Block):
                self._room.put(None)
            return found

    def close(self, patience: float) -> None:
        """End the thread, and wait for it for some seconds.

        It cannot be ended while it waits for the source; then it ends, and closes the source, as soon as that returns.
        """
        self._closed.set()
        self._room.put(None)
        self._thread.join(patience)

    def _read(self) -> None:
        """Put all blocks into the queue, in the thread."""
        try:
            for epoch in self._epochs:
                blocks, rows = self._blocks_of(epoch), 0
                try:
                    while True:
                        self._room.get()
                        if self._closed.is_set():
                            return
                        block = next(blocks, None)
                        if block is None:
                            break
                        rows += len(block.samples.X)
                        self._found.put(block)
                finally:
                    close(blocks)
                self._room.put(None)  # what the end of the epoch did not use
                self._found.put(EndOfEpoch(rows))
        except BaseException as error:
            self._found.put(Failure(error))
