"""Standardised inputs in users' compiled code: x is raw there too, and so are derivatives with respect to it.

The numbers come with the layout. A workspace has a record of how rows of theta's dtype are read, one after another,
and a call writes the address of its x there.
"""

from typing import Any

import numpy as np

from ..backends.conversion import number_at, reading_at
from ..backends.reading import readers, record_of
from ..compiling.addresses import pointer_to
from ..compiling.decorators import kernel
from ..formulas.elementary import is_finite
from ..layout import Layout
from .arguments import NOT_FINITE, OK, READING


def reading_for(layout: Layout, dtype: np.dtype) -> np.ndarray | None:
    """A record of how rows of this dtype are standardised for a layout, None where they are not.

    It refers to the numbers of the layout, which have to be kept as long.
    """
    if not len(layout.shift):
        return None
    read, gather = readers(dtype, dtype, contiguous=True, standardized=True)
    return record_of(read=read, gather=gather, row_bytes=int(layout.widths[0]) * dtype.itemsize,
                     column_bytes=dtype.itemsize, shift=layout.shift.ctypes.data, factor=layout.factor.ctypes.data)


@kernel(inline=True)
def begin_reading(job: Any, header: Any, x: Any) -> None:
    """Let a job, whose call has begun, read the samples at the address x by the record of the workspace, if any."""
    if header[READING] != 0:
        reading = reading_at(header[READING], None)
        reading.X = x
        job.reading = header[READING]


@kernel(inline=True)
def status_of_inputs(x: Any, size: Any, inputs: Any, header: Any) -> int:
    """OK if all the numbers at a pointer are finite, and finite when they are standardised."""
    not_finite, T = 0, type(x[0])
    for p in range(size):
        not_finite += not is_finite(x[p])
    if header[READING] != 0:
        reading = reading_at(header[READING], None)
        for p in range(size):
            j = p % inputs
            h = (0.5 * np.float64(x[p]) - number_at(reading.shift, j)[0]) * number_at(reading.factor, j)[0]
            not_finite += not is_finite(T(h))
    return NOT_FINITE if not_finite else OK


@kernel(inline=True)
def end_derivatives(values: Any, size: Any, inputs: Any, header: Any) -> None:
    """∂/∂x = ∂/∂h_0 / σ of rows of derivatives at a pointer, where the workspace standardises."""
    if header[READING] != 0:
        factors, T = pointer_to(reading_at(header[READING], None).factor, np.float64), type(values[0])
        for p in range(size):
            values[p] = T(np.float64(values[p]) * (0.5 * factors[p % inputs]))
