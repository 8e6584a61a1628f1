"""Compiled functions on panels, called from compiled code as a backend calls them."""

from functools import partial
from typing import Any

import numba
import numpy as np

from fastbp.backends.tiles.host import host
from fastbp.compiling.addresses import address_of, invoke
from fastbp.layout import aligned_zeros

from .repeating import Repeated

#: Calls in a row from one call of `call_often`, which itself takes a microsecond or two.
IN_A_ROW = 1000


@numba.njit
def call_often(address: int, arguments: Any, times: int) -> None:
    """The function at that address, so many times."""
    for _ in range(times):
        invoke(address, arguments)


def panel(values: np.ndarray) -> np.ndarray:
    """The values (units, samples) in memory that begins where a vector may."""
    found = aligned_zeros(values.size, values.dtype).reshape(values.shape)
    found[:] = values
    return found


def lanes(dtype: str) -> int:
    """How many samples a panel of the backend "tiled" holds."""
    return host().lanes(dtype)


def repeated(make: Any, record: Any, *panels: np.ndarray, units: int) -> Repeated:
    """The function that ``make(record, …)`` describes on these panels; an element is one unit of one sample."""
    dtype, samples = panels[0].dtype.name, panels[0].shape[1]
    address, arguments = address_of(make, record, dtype, samples), (*panels, np.int64(units))
    return Repeated(partial(call_often, address, arguments, IN_A_ROW), elements=IN_A_ROW * units * samples)
