"""Dropout: in training, every hidden unit of every sample is left out with a probability p [1]_.

    h_k ← m ⊙ h_k / (1 - p);  e_k ← m ⊙ e_k / (1 - p) on the way back, before δ_k = e_k ⊙ g'_k(a_k)

m_i ∈ {0, 1} is 1 with probability 1 - p. So the mean of h_k stays the same, and nothing changes outside training.

A mask is not stored. m_i is a hash of the seed, the epoch, the sample, k and i, and is computed again on the way back;
so it depends neither on threads, nor on slices, nor on the backend. The hash has a key for the sample and one for the
unit, both by splitmix64. For each pair of them it takes arithmetic of 32 bits alone, two rounds as in lowbias32 [2]_.

The sample's number is added to the key of the epoch. Where an epoch comes in blocks, the number of a block's first
sample is added to the key before.

.. [1] Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural networks
   from overfitting", Journal of Machine Learning Research 15, 2014.
.. [2] Wellons, "Prospecting for hash functions", 2018.
"""

from typing import Any

import numpy as np
from numba import carray, types

from ..compiling.addresses import INTEGER, address_in_memory, invoke, pointer_to, pointer_type
from ..compiling.decorators import formula, inlined, panel_loop
from .sampling import scramble

#: Makes the keys of dropout others than those of the order of samples, which has the same seed.
_DROPOUT = 0xD1B54A32D192ED03


@formula
def epoch_key(seed: Any, epoch: Any, first: Any) -> Any:
    """The key of an epoch, from the seed of a training, for samples that are numbered from its sample `first` on."""
    key = scramble(scramble(np.uint64(seed) ^ np.uint64(_DROPOUT)) ^ np.uint64(epoch))
    return np.int64(np.uint64(key + np.uint64(first)))


@formula
def unit_is_kept(key: int, number: int, k: int, i: int, rate: float) -> Any:
    """m_i of layer k: of the sample with this number, in the epoch with this key."""
    both = scramble(np.uint64(np.uint64(key) + np.uint64(number))) ^ scramble(scramble(np.uint64(k)) ^ np.uint64(i))
    bits = np.uint32(both)
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32(bits ^ np.uint32(both >> np.uint64(32)))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    bits = np.uint32(bits ^ (bits >> np.uint32(16)))
    return bits >= np.uint32(rate * 4294967296.0)


@panel_loop
def drop_units(h: Any, sample_numbers: Any, key: int, k: int, rate: float) -> None:
    """h ← m ⊙ h / (1 - p) of a panel.

    h : (units, samples) of layer k, or their errors; sample_numbers : (samples,) places in X; key : of the epoch.
    """
    T = type(h[0, 0])
    scale, none = T(1.0 / (1.0 - rate)), T(0.0)
    for i in range(h.shape[0]):
        for s in range(h.shape[1]):  # LLVM computes once what depends on i alone, or on s alone
            h[i, s] = scale * h[i, s] if unit_is_kept(key, sample_numbers[s], k, i, rate) else none


@panel_loop
def drop_numbered_units(h: Any, places: Any, numbers: Any, key: int, k: int, rate: float) -> None:
    """`drop_units` for samples whose numbers lie at a pointer, by their places in X."""
    T = type(h[0, 0])
    scale, none = T(1.0 / (1.0 - rate)), T(0.0)
    for i in range(h.shape[0]):
        for s in range(h.shape[1]):
            h[i, s] = scale * h[i, s] if unit_is_kept(key, numbers[places[s]], k, i, rate) else none


def drop_panel(dtype: str, samples: int) -> Any:
    """The function (h, units, sample_numbers, key, k, rates) of `drop_units` for a panel, for `address_of`.

    rates : (L+1,) float64, by the layer k.
    """
    def panel(h: Any, units: int, sample_numbers: Any, key: int, k: int, rates: Any) -> None:
        if rates[k] > 0.0:
            drop_units(carray(h, (units, samples)), carray(sample_numbers, (samples,)), key, k, rates[k])

    return panel, (pointer_type(dtype), INTEGER, types.CPointer(INTEGER), INTEGER, INTEGER,
                   types.CPointer(types.float64))


def drop_numbered_panel(dtype: str, samples: int) -> Any:
    """`drop_panel` for samples that have come from elsewhere: each has a number of its own, which is no place in X.

    rates : rates[-1] holds, as an integer, the address of the numbers, (n,) int64 by places in X.
    """
    def panel(h: Any, units: int, sample_numbers: Any, key: int, k: int, rates: Any) -> None:
        if rates[k] > 0.0:
            numbers = pointer_to(pointer_to(address_in_memory(rates) - 8, np.int64)[0], np.int64)
            drop_numbered_units(carray(h, (units, samples)), carray(sample_numbers, (samples,)), numbers, key, k,
                                rates[k])

    return panel, (pointer_type(dtype), INTEGER, types.CPointer(INTEGER), INTEGER, INTEGER,
                   types.CPointer(types.float64))


@inlined
def drop_of_panel(address: Any, h: Any, units: Any, sample_numbers: Any, key: Any, k: Any, rates: Any) -> None:
    """h ← m ⊙ h / (1 - p) of a panel, by the function at an address that `drop_panel` describes."""
    invoke(address, (h, units, sample_numbers, key, k, rates))
