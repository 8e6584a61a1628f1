"""The order in which an epoch draws its samples, from a counter-based generator in compiled code.

The order of an epoch is a function of the seed and the epoch's number alone: it does not depend on how often training
was interrupted, or on threads. Random bits are splitmix64 (Steele, Lea & Flood, OOPSLA 2014); bounded integers are
exactly uniform (Lemire, ACM Transactions on Modeling and Computer Simulation 29, 2019).
"""

from typing import Any

import numpy as np

from ..compiling.decorators import inlined, kernel

IN_ORDER, WITHOUT_REPLACEMENT, WITH_REPLACEMENT = 0, 1, 2

#: The largest number of samples that a 32-bit draw can choose from.
MAX_SAMPLES = 2**32 - 1


@kernel
def draw_order(order: Any, sampling: int, seed: Any, epoch: int) -> None:
    """Fill order (n,) with the sample numbers of one epoch.

    Without replacement it is a uniform permutation (Fisher & Yates), with replacement n independent uniform draws.
    An empty order means that samples are taken as they lie.
    """
    n = order.shape[0]
    state = scramble(np.uint64(seed) ^ scramble(np.uint64(epoch)))
    if sampling == WITHOUT_REPLACEMENT:
        for s in range(n):
            order[s] = s
        for s in range(n - 1, 0, -1):
            state, other = below(state, s + 1)
            order[s], order[other] = order[other], order[s]
    elif sampling == WITH_REPLACEMENT:
        for s in range(n):
            state, order[s] = below(state, n)


@inlined
def scramble(z: Any) -> Any:
    """The output function of splitmix64: 64 bits in, 64 well-mixed bits out, one to one."""
    z = np.uint64(z + np.uint64(0x9E3779B97F4A7C15))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def below(state: Any, bound: int) -> Any:
    """The next state, and a uniform integer in [0, bound), bound < 2^32.

    The high half of a 32-bit draw times the bound; draws whose low half is below 2^32 mod bound are taken again,
    because otherwise some results would come once more often than others.
    """
    size = np.uint64(bound)
    mask = np.uint64(0xFFFFFFFF)
    rejected = (np.uint64(1 << 32) - size) % size
    while True:
        product = (scramble(state) >> np.uint64(32)) * size
        state = np.uint64(state + np.uint64(0x9E3779B97F4A7C15))
        if (product & mask) >= rejected:
            return state, np.int64(product >> np.uint64(32))
