"""The memory that a call takes."""

import tracemalloc


def peak_of(call):
    """The most bytes that a call takes beyond what there was."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak
