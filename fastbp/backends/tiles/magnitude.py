"""The largest magnitude among many numbers, as bits: of two floats without sign the larger has the larger bits.

As integers the maximum vectorises, and NaN and infinity count as larger than every number.
"""

from typing import Any

import numba
import numpy as np
from numba import carray, types

from ...by_address import INTEGER


def note_largest(dtype: str) -> Any:
    """The function (values, count, largest) that raises largest[0] to the bits of the largest |value|."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}").type
    one = unsigned(1)

    def note(values, count, largest):
        bits = carray(values, (count,))
        found = unsigned(largest[0] << one)
        for p in range(count):
            found = max(found, unsigned(bits[p] << one))
        largest[0] = unsigned(found >> one)

    numbers = types.CPointer(numba.from_dtype(unsigned))
    return note, (numbers, INTEGER, numbers)
