"""E of every sample of a panel, and whether it is classified correctly, as the caller adds them up."""

from typing import Any

from numba import types

from ...by_address import INTEGER, pointer_type
from ...loss_panels import SAMPLE_CORRECT, SAMPLE_E
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
