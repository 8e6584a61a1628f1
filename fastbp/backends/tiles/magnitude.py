"""The largest magnitude among the numbers of a panel, kept as bits: see `arrays.largest_bits`."""

from typing import Any

import numba
import numpy as np
from numba import carray, types

from ...checks.arrays import largest_bits
from ...compiling.addresses import INTEGER


def note_largest(dtype: str) -> Any:
    """The function (values, count, largest) that raises largest[0] to the bits of the largest |value|."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}").type

    def note(values, count, largest):
        largest[0] = max(largest[0], unsigned(largest_bits(carray(values, (count,)))))

    numbers = types.CPointer(numba.from_dtype(unsigned))
    return note, (numbers, INTEGER, numbers)
