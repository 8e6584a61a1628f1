"""bfloat16: the 16 upper bits of a float32, with its exponents and 8 of its 24 digits."""

import numpy as np

from ..compiling.decorators import formula

#: The bits of a float32 but its sign, the least of a normal number, and those of infinity.
_MAGNITUDE, _NORMAL, _INFINITY = np.int32(0x7FFFFFFF), np.int32(0x00800000), np.int32(0x7F800000)

#: The bit that makes a NaN a quiet one, and the bits that bfloat16 has.
_QUIET, _KEPT = np.int32(0x00400000), np.int32(-0x10000)


@formula
def bfloat16(x):
    """The float32 x rounded to bfloat16, to nearest even, as a float32.

    Infinities stay, and so does NaN. Numbers above the largest bfloat16, 3.39e38, by half of its last digit or more
    become infinite. Subnormal numbers, below 1.2e-38, become 0: processors that multiply bfloat16 take them so (Intel,
    "BFLOAT16 - Hardware Numerics Definition", 2018). Relative error at most 2^-8 elsewhere.

    >>> [float(bfloat16(np.float32(x))) for x in (1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1e-39)]
    [1.0, 1.015625, 1.0078125, -0.0]
    """
    bits = np.float32(x).view(np.int32)
    magnitude = np.int32(bits & _MAGNITUDE)
    half = np.int32(np.int32(0x7FFF) + np.int32((bits >> np.int32(16)) & np.int32(1)))
    rounded = np.int32(magnitude + half) if magnitude < _INFINITY else np.int32(magnitude | (
        _QUIET if magnitude > _INFINITY else np.int32(0)))
    rounded = rounded if magnitude >= _NORMAL else np.int32(0)
    return np.int32((rounded | np.int32(bits & ~_MAGNITUDE)) & _KEPT).view(np.float32)
