"""E of every sample, and whether it is classified correctly: written down by panels, and added up by chunks."""

from typing import Any

import numpy as np
from numba import types

from ...compiling.addresses import INTEGER, invoke, pointer, pointer_to, pointer_type
from ...compiling.decorators import inlined, panel_loop
from ...functions.loss_panels import SAMPLE_CORRECT, SAMPLE_E
from .host import host


def keep_outcomes(dtype: str) -> Any:
    """The function (outcome, E, correct, count) that copies what the loss found out about `count` samples.

    For `address_of`. With a constant number of samples the conversions vectorise: a third of the time of `evaluate`.

    outcome : (OUTCOME_ROWS, lanes); E : (lanes,) float64; correct : (lanes,) int64.
    """
    lanes, numbers = host().lanes(dtype), pointer_type(dtype)

    def keep(outcome: Any, E: Any, correct: Any, count: int) -> None:
        if count == lanes:
            for s in range(lanes):
                E[s] = outcome[SAMPLE_E * lanes + s]
                correct[s] = int(outcome[SAMPLE_CORRECT * lanes + s])
        else:
            for s in range(count):
                E[s] = outcome[SAMPLE_E * lanes + s]
                correct[s] = int(outcome[SAMPLE_CORRECT * lanes + s])

    return keep, (numbers, types.CPointer(types.float64), types.CPointer(INTEGER), INTEGER)


@inlined
def copy_outcomes(address: Any, outcome: Any, E: Any, correct: Any, count: Any) -> None:
    """E and correct from an outcome, by the function at an address that `keep_outcomes` describes."""
    invoke(address, (outcome, E, correct, count))


@inlined
def sums_of_chunk(job: Any) -> Any:
    """E and the number of correct samples after phase 1; of a job whose addresses are integers."""
    if job.labels == 0 and job.targets == 0:
        return 0.0, 0
    return (_sum_in_order(pointer_to(job.E, np.float64), job.count),
            add_one_by_one(0, pointer_to(job.correct, np.int64), job.count))


@panel_loop
def add_one_by_one(total: Any, numbers: Any, count: Any) -> Any:
    """total and so many numbers, in their order; a loop that may be reassociated sums as suits the code around it."""
    for place in range(count):
        total += numbers[place]
    return total


@panel_loop
def _sum_in_order(numbers: Any, count: Any) -> Any:
    """The sum of every fourth number, from each of the first four on, and of these: the same wherever it is compiled,
    and four times as fast as one by one."""
    a, b, c, d, whole = 0.0, 0.0, 0.0, 0.0, count - count % 4
    for s in range(0, whole, 4):
        a, b, c, d = a + numbers[s], b + numbers[s + 1], c + numbers[s + 2], d + numbers[s + 3]
    return add_one_by_one((a + b) + (c + d), pointer(numbers, whole), count - whole)
