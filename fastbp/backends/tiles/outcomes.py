"""E of every sample, and whether it is classified correctly: stored panel by panel, and summed chunk by chunk."""

from typing import Any

import numpy as np
from numba import types

from ...compiling.addresses import INTEGER, invoke, pointer, pointer_to, pointer_type
from ...compiling.decorators import inlined, panel_loop
from ...functions.loss_panels import SAMPLE_CORRECT, SAMPLE_E
from .host import host


def keep_outcomes(dtype: str) -> Any:
    """The function that copies E and correctness of `count` samples from the loss's outcome, for `address_of`.

    Its arguments are (outcome, E, correct, count). With a constant number of samples the conversions vectorise: a third
    of the time of `evaluate`.

    outcome : (OUTCOME_ROWS, lanes); E : (lanes,) float64; correct : (lanes,) int64.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def copy(outcome: Any, E: Any, correct: Any, count: int) -> None:
        if count == lanes:
            for s in range(lanes):
                E[s] = outcome[SAMPLE_E * lanes + s]
                correct[s] = int(outcome[SAMPLE_CORRECT * lanes + s])
        else:
            for s in range(count):
                E[s] = outcome[SAMPLE_E * lanes + s]
                correct[s] = int(outcome[SAMPLE_CORRECT * lanes + s])

    return copy, (numbers, types.CPointer(types.float64), types.CPointer(INTEGER), INTEGER)


@inlined
def copy_outcomes(address: Any, outcome: Any, E: Any, correct: Any, count: Any) -> None:
    """Copy E and correct from an outcome, by the function at an address that `keep_outcomes` describes."""
    invoke(address, (outcome, E, correct, count))


@inlined
def sums_of_chunk(job: Any) -> Any:
    """E and the number of correct samples after phase 1; of a job whose addresses are integers."""
    if job.labels == 0 and job.targets == 0:
        return 0.0, 0
    return sums_between(job, 0, job.count)


@inlined
def sums_between(job: Any, begin: Any, end: Any) -> Any:
    """The same of the chunk's samples begin … end - 1."""
    return (_sum_in_order(pointer(pointer_to(job.E, np.float64), begin), end - begin),
            add_one_by_one(0, pointer(pointer_to(job.correct, np.int64), begin), end - begin))


@panel_loop
def add_one_by_one(total: Any, numbers: Any, count: Any) -> Any:
    """total + numbers[0] + … + numbers[count - 1], added in this order, which `panel_loop` preserves."""
    for place in range(count):
        total += numbers[place]
    return total


@panel_loop
def _sum_in_order(numbers: Any, count: Any) -> Any:
    """The sum of all numbers, from four sums of every fourth: in one order wherever it is compiled, and four times as
    fast as one by one."""
    a, b, c, d, whole = 0.0, 0.0, 0.0, 0.0, count - count % 4
    for s in range(0, whole, 4):
        a, b, c, d = a + numbers[s], b + numbers[s + 1], c + numbers[s + 2], d + numbers[s + 3]
    return add_one_by_one((a + b) + (c + d), pointer(numbers, whole), count - whole)
