"""The largest magnitude among the numbers of a panel, as its bits: see `arrays.largest_bits`."""

from typing import Any

import numba
import numpy as np
from numba import carray, types

from ...checks.arrays import largest_bits
from ...compiling.addresses import INTEGER, invoke
from ...compiling.decorators import inlined


def note_largest(dtype: str) -> Any:
    """The function that raises largest[0] to the bits of the largest |value|: (values, count, largest)."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}").type

    def note(values, count, largest):
        largest[0] = max(largest[0], unsigned(largest_bits(carray(values, (count,)))))

    numbers = types.CPointer(numba.from_dtype(unsigned))
    return note, (numbers, INTEGER, numbers)


@inlined
def raise_to_largest(address: Any, values: Any, count: Any, largest: Any) -> None:
    """largest[0] = max(largest[0], |values|), by the function at an address that `note_largest` describes."""
    invoke(address, (values, count, largest))
