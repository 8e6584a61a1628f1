"""The memory of a backend: where parameters, samples and results lie, and what `MLP` needs of it.

Results for users are NumPy arrays, unless what they gave was on the device.
"""

import functools
from typing import Any, Protocol

import numpy as np

from ..checks.arrays import largest_magnitude
from ..checks.samples import Samples, as_inputs, as_samples
from ..checks.standardization import Standardization
from ..layout import aligned_copy, aligned_zeros
from ..optimizers.updates import OptimizerState, descend
from .reading import for_kernels, rows_of
from .workspaces import Shelves

#: Vectors of this number of bytes or more take no memory as long as they are zero: a training may never write a
#: gradient down.
LARGE = 2**20


class Memory(Protocol):
    """The contract of a backend's memory."""

    #: The idle workspaces in it.
    shelves: Shelves

    def vector(self, values: np.ndarray) -> Any:
        """A vector in this memory with the same numbers."""

    def zero_vector(self, size: int, dtype: np.dtype) -> Any:
        """A vector of zeros in this memory."""

    def write(self, array: Any, values: np.ndarray) -> None:
        """array[:] = values, for a vector in this memory or a part of one.

        values : in the processor's memory, of the array's dtype.
        """

    def fill(self, array: Any, value: float) -> None:
        """array[:] = value."""

    def empty(self, shape: Any, dtype: np.dtype, given: Any) -> Any:
        """An array for results, of the kind that `given` is."""

    def zeros(self, shape: Any, dtype: np.dtype) -> Any:
        """An array of zeros."""

    def to_host(self, array: Any) -> np.ndarray:
        """A NumPy array of the same numbers; the array itself if it is one."""

    def result(self, array: Any, given: Any) -> Any:
        """An array of results in this memory as one of the kind that `given` is."""

    def as_inputs(self, X: Any, dtype: np.dtype, features: int, outputs: int,
                  standardization: Standardization | None) -> Samples:
        """Samples without targets in this memory, where X may lie already; see `samples.as_inputs`."""

    def as_samples(self, X: Any, d: Any, sample_weight: Any, dtype: np.dtype, features: int, outputs: int,
                   kind: str, standardization: Standardization | None) -> Samples:
        """Samples in this memory, where the arrays may lie already; see `samples.as_samples`."""

    def placed(self, samples: Samples, standardization: Standardization | None) -> Samples:
        """Samples that were checked in the processor's memory, in this one if they fit, as `for_kernels` takes them.

        standardization : of sparse samples; others are standardised already.
        """

    def for_kernels(self, samples: Samples) -> Any:
        """The samples as the backend's `train` takes them; `samples` has to be kept as long."""

    def multiply_columns(self, array: Any, factors: np.ndarray) -> None:
        """array (n, N_0) *= factors (N_0,) of its columns, multiplied in float64, where it is in this memory or not."""

    def with_state(self, state: OptimizerState) -> OptimizerState:
        """An optimizer's state in this memory."""

    def write_state(self, state: OptimizerState, kept: OptimizerState) -> None:
        """Write a state from `with_state` to the one that it was made of."""

    def descend(self, theta: Any, grad: Any, rate: float) -> bool:
        """θ ← θ - rate · grad, then grad = 0; False, and θ as it was, where that is not finite."""


def multiply_columns(array: np.ndarray, factors: np.ndarray) -> None:
    """array (n, N_0) *= factors (N_0,), multiplied in float64 some thousand numbers at a time."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        np.multiply(array, factors, out=array, casting="same_kind")


class HostMemory:
    """The processor's memory: NumPy arrays."""

    as_inputs = staticmethod(functools.partial(as_inputs, rows_of=rows_of))
    as_samples = staticmethod(functools.partial(as_samples, rows_of=rows_of))
    for_kernels = staticmethod(for_kernels)
    zeros = staticmethod(np.zeros)
    vector = staticmethod(aligned_copy)

    def __init__(self) -> None:
        self.shelves = Shelves(2**26)

    def zero_vector(self, size: int, dtype: np.dtype) -> Any:
        return aligned_zeros(size, dtype, written=size * dtype.itemsize < LARGE)

    def write(self, array: Any, values: np.ndarray) -> None:
        array[:] = values

    def fill(self, array: Any, value: float) -> None:
        if value != 0.0 or array.nbytes < LARGE or largest_magnitude(array) != 0.0:
            array[:] = value

    def empty(self, shape: Any, dtype: np.dtype, given: Any) -> Any:
        return np.empty(shape, dtype)

    def to_host(self, array: Any) -> Any:
        return array

    def result(self, array: Any, given: Any) -> Any:
        return array

    def multiply_columns(self, array: Any, factors: np.ndarray) -> None:
        multiply_columns(array, factors)

    def placed(self, samples: Samples, standardization: Standardization | None) -> Samples:
        X, dtype = samples.X, samples.targets.dtype
        if isinstance(X, np.ndarray) and X.dtype == dtype and X.flags.c_contiguous:
            return samples
        return samples._replace(rows=rows_of(X, dtype, standardization, largest=samples.largest))

    def with_state(self, state: OptimizerState) -> OptimizerState:
        return state

    def write_state(self, state: OptimizerState, kept: OptimizerState) -> None:
        return

    def descend(self, theta: Any, grad: Any, rate: float) -> bool:
        return bool(descend(theta, grad, rate))


#: The memory of all backends that run on the processor.
HOST = HostMemory()
