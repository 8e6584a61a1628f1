"""Where a backend keeps numbers: what `MLP` needs of it, and the processor's memory.

Results for users are NumPy arrays, unless what they gave was on the device.
"""

from typing import Any, Protocol

import numpy as np

from ..checks.arrays import Samples, as_inputs, as_samples
from ..layout import aligned_copy, aligned_zeros
from ..optimizers.updates import OptimizerState, update
from .workspaces import Shelves


class Memory(Protocol):
    """What a backend's `memory` does."""

    #: The idle workspaces in it.
    shelves: Shelves

    def vector(self, values: np.ndarray) -> Any:
        """A vector of the backend's own with these numbers."""

    def zero_vector(self, size: int, dtype: np.dtype) -> Any:
        """A vector of the backend's own of zeros."""

    def write(self, array: Any, values: np.ndarray) -> None:
        """array[:] = values, in a vector of the backend's own or a part of one; they are in the processor's memory, and
        of the array's dtype."""

    def fill(self, array: Any, value: float) -> None:
        """array[:] = value."""

    def empty(self, shape: Any, dtype: np.dtype, given: Any) -> Any:
        """An array for results, as a user gets it who gave this."""

    def zeros(self, shape: Any, dtype: np.dtype) -> Any:
        """An array of zeros."""

    def to_host(self, array: Any) -> np.ndarray:
        """The numbers of an array in the processor's memory; the array itself if they are there."""

    def result(self, array: Any, given: Any) -> Any:
        """An array from `zeros` or `empty` as a user gets it who gave this."""

    def as_inputs(self, X: Any, dtype: np.dtype, features: int, outputs: int) -> Samples:
        """`arrays.as_inputs`, of an array that may be here already."""

    def as_samples(self, X: Any, d: Any, sample_weight: Any, dtype: np.dtype, features: int, outputs: int,
                   kind: str) -> Samples:
        """`arrays.as_samples`, of arrays that may be here already."""

    def with_state(self, state: OptimizerState) -> OptimizerState:
        """An optimizer's state as updates here take it."""

    def write_state(self, state: OptimizerState, kept: OptimizerState) -> None:
        """Write a state from `with_state` back to the one that it was made of."""

    def update(self, theta: Any, grad: Any, optimizer: Any, state: OptimizerState) -> bool:
        """θ ← θ - change(grad), then grad = 0; False, and θ as it was, where that is not finite."""


class HostMemory:
    """NumPy arrays."""

    as_inputs = staticmethod(as_inputs)
    as_samples = staticmethod(as_samples)
    zeros = staticmethod(np.zeros)
    vector = staticmethod(aligned_copy)
    zero_vector = staticmethod(aligned_zeros)

    def __init__(self) -> None:
        self.shelves = Shelves(2**26)

    def write(self, array: Any, values: np.ndarray) -> None:
        array[:] = values

    def fill(self, array: Any, value: float) -> None:
        array[:] = value

    def empty(self, shape: Any, dtype: np.dtype, given: Any) -> Any:
        return np.empty(shape, dtype)

    def to_host(self, array: Any) -> Any:
        return array

    def result(self, array: Any, given: Any) -> Any:
        return array

    def with_state(self, state: OptimizerState) -> OptimizerState:
        return state

    def write_state(self, state: OptimizerState, kept: OptimizerState) -> None:
        return

    def update(self, theta: Any, grad: Any, optimizer: Any, state: OptimizerState) -> bool:
        return bool(update(theta, grad, 1.0, optimizer, state, 1))


#: The memory of all backends that run on the processor.
HOST = HostMemory()
