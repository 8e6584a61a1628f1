"""The GPU's memory: it holds parameters, and samples that were copied to it once, or were given in it.

Arrays of CuPy, PyTorch, JAX and Numba on the device are taken without a copy, by `__cuda_array_interface__`, and
checked on the device. Samples that do not fit stay in the processor's memory, and are copied in chunks: see `feed`.
"""

import functools
from typing import Any

import numpy as np

from ...checks.arrays import NotFiniteError, require_dimensions
from ...checks.samples import (
    NO_LABELS,
    Samples,
    are_labels,
    argument_of,
    as_input,
    as_targets,
    as_weights,
    no_numbers,
    no_rows,
    require_features,
    require_weights_for,
)
from ...checks.sparse_rows import CsrRows
from ...checks.standardization import Standardization
from ...optimizers.settings import SGD
from ...optimizers.updates import OptimizerState
from ..memory import multiply_columns
from ..reading import rows_of as rows_of_X
from ..workspaces import Shelves
from .device import few_blocks, kernel
from .driver import SIMULATED, DeviceArray, cuda, gpus_of
from .panels import THREADS, blocks_for, fill
from .updates import CONTROLS, FACTOR, NOT_FINITE, Update, rows_of

#: Samples are moved to the device if they take at most this share of its free memory, and leave this number of bytes
#: for values of layers and parts of the gradient, which have bounds in `propagation` and `fused`.
RESIDENT_SHARE, RESERVED_BYTES = 0.5, 2**30

#: The bytes of rows that are converted at a time.
CONVERTED_BYTES = 2**24


if not SIMULATED:
    class Writable(DeviceArray):
        """Numba's array, which writes x[…] = … with a kernel of few blocks, but does not warn of it."""

        def __setitem__(self, key: Any, value: Any) -> None:
            with few_blocks():
                super().__setitem__(key, value)


def is_on_device(value: Any) -> bool:
    """Whether a value is an array in the GPU's memory."""
    return bool(cuda.is_cuda_array(value)) if not SIMULATED else isinstance(value, type(nothing(np.dtype(np.int64), 1)))


@functools.cache
def nothing(dtype: np.dtype, ndim: int) -> Any:
    """An empty array for what is not given or not wanted."""
    return cuda.device_array((0, 1)[:ndim], dtype)


def there(values: np.ndarray) -> Any:
    """A copy of the numbers on the device, for any stream."""
    if values.size == 0:  # its strides may be 0, and Numba's arrays with such strides cannot be sliced
        return cuda.device_array(values.shape, values.dtype)
    # NumPy takes any stride for an axis of one number, such as 0 for that of x[None, :]; for arrays with one of 0 Numba
    # compiles kernels of their own.
    array = cuda.to_device(values if values.flags.c_contiguous and 0 not in values.strides else values.copy())
    cuda.default_stream().synchronize()  # other streams do not wait for the default one if it is per thread
    return array


def launched(kernel: Any, blocks: int, threads: int, *arguments: Any) -> None:
    """Launch a kernel in the default stream."""
    kernel[blocks, threads](*arguments)


def writable(array: Any) -> Any:
    """The same array, to which x[…] = … may be written without a warning."""
    return array if SIMULATED else Writable(array.shape, array.strides, array.dtype, gpu_data=array.gpu_data)


class DeviceMemory:
    """Arrays on the device, of `numba.cuda`."""

    def __init__(self) -> None:
        self.shelves = Shelves(2**30)

    def vector(self, values: np.ndarray) -> Any:
        return writable(there(values))

    def zero_vector(self, size: int, dtype: np.dtype) -> Any:
        return writable(self.zeros(size, dtype))

    def write(self, array: Any, values: np.ndarray) -> None:
        array.copy_to_device(values)
        cuda.default_stream().synchronize()

    def fill(self, array: Any, value: float) -> None:
        fill[blocks_for(array.size), THREADS](array.reshape(1, array.size), 0, 1, array.size, value)
        cuda.default_stream().synchronize()

    def empty(self, shape: Any, dtype: np.dtype, given: Any) -> Any:
        return cuda.device_array(shape, dtype) if is_on_device(given) else np.empty(shape, dtype)

    def zeros(self, shape: Any, dtype: np.dtype) -> Any:
        return there(np.zeros(shape, dtype))

    def to_host(self, array: Any) -> np.ndarray:
        return np.asarray(array.copy_to_host() if is_on_device(array) else array)

    def result(self, array: Any, given: Any) -> Any:
        return array if is_on_device(given) else self.to_host(array)

    def as_inputs(self, X: Any, dtype: np.dtype, features: int, outputs: int,
                  standardization: Standardization | None) -> Samples:
        inputs, largest, rows = _inputs(X, dtype, features, standardization)
        return moved(Samples(inputs, NO_LABELS, no_rows(dtype, outputs), no_numbers(dtype), largest, rows))

    def placed(self, samples: Samples, standardization: Standardization | None) -> Samples:
        if isinstance(samples.X, CsrRows):
            raise TypeError("X: expected dense chunks for this backend, found sparse ones")
        return moved(samples)

    def for_kernels(self, samples: Samples) -> Samples:
        return samples

    def as_samples(self, X: Any, d: Any, sample_weight: Any, dtype: np.dtype, features: int, outputs: int,
                   kind: str, standardization: Standardization | None) -> Samples:
        inputs, largest, rows = _inputs(X, dtype, features, standardization)
        n = inputs.shape[0]
        labels, targets = (_targets if is_on_device(d) else as_targets)(d, n, dtype, outputs, kind)
        weights = (_weights if is_on_device(sample_weight) else as_weights)(sample_weight, n, dtype)
        return moved(Samples(inputs, labels, targets, weights, largest, rows))

    def multiply_columns(self, array: Any, factors: np.ndarray) -> None:
        if is_on_device(array):
            multiply_by_column[blocks_for(array.size), THREADS](array, there(factors))
        else:
            multiply_columns(array, factors)

    def with_state(self, state: OptimizerState) -> OptimizerState:
        return OptimizerState(state.updates, there(state.averages))

    def write_state(self, state: OptimizerState, kept: OptimizerState) -> None:
        kept.averages[:] = self.to_host(state.averages)

    def descend(self, theta: Any, grad: Any, rate: float) -> bool:
        optimizer, averages = SGD(rate).spec(theta.dtype), cuda.to_device(SGD(rate).start(theta).averages)
        rows = cuda.to_device(rows_of(optimizer, 0, 1))
        control = np.zeros(CONTROLS)
        control[FACTOR] = 1.0
        seen, nothing_else = cuda.to_device(control), (nothing(control.dtype, 1), nothing(control.dtype, 2))
        Update(theta.dtype, optimizer, theta.size, launched).launch(theta, grad, averages, rows, seen, *nothing_else)
        return bool(seen.copy_to_host()[NOT_FINITE] == 0.0)


MEMORY = DeviceMemory()


def moved(samples: Samples) -> Samples:
    """The samples on the device, if those that are not on it yet fit; else in the processor's memory.

    Either all arrays of samples are on the device, or all are NumPy's.
    """
    arrays = [samples.X, samples.labels, samples.targets, samples.weights]
    dtype = samples.targets.dtype
    size = sum(array.nbytes for array in arrays[1:] if not is_on_device(array))
    size += 0 if is_on_device(samples.X) else samples.X.size * dtype.itemsize
    free = cuda.current_context().get_memory_info()[0]
    if size > min(RESIDENT_SHARE * free, free - RESERVED_BYTES):
        return samples._replace(**{name: getattr(samples, name).copy_to_host() for name in
                                   ("X", "labels", "targets", "weights") if is_on_device(getattr(samples, name))})
    labels, targets, weights = (array if is_on_device(array) else there(array) for array in arrays[1:])
    X = samples.X if is_on_device(samples.X) else _converted_there(samples.X, dtype, samples.rows)
    return Samples(X, labels, targets, weights, samples.largest)


def _converted_there(X: np.ndarray, dtype: np.dtype, rows_read: Any) -> Any:
    """X on the device in a dtype; one of another dtype or order is converted some rows at a time, or standardised."""
    if rows_read is None and X.dtype == dtype and X.flags.c_contiguous:
        return there(X)
    if rows_read is not None and rows_read.copy is not None:
        return there(rows_read.copy)
    array, rows = cuda.device_array(X.shape, dtype), max(1, CONVERTED_BYTES // (X.shape[1] * dtype.itemsize))
    for begin in range(0, len(X), rows):
        part = converted_rows(X[begin : begin + rows], dtype, rows_read)
        array[begin : begin + len(part)].copy_to_device(part)
    cuda.default_stream().synchronize()
    return array


def _on_device(name: str, value: Any) -> Any:
    """An array on the device as Numba's, once its data is ready; it has to be of real numbers, on the GPU in use."""
    array = value if SIMULATED else cuda.as_cuda_array(value).bind(0)  # unbound, later copies would be in its stream
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, found dtype {array.dtype}")
    here, its = gpus_of(array)
    if its != here:
        raise ValueError(f"{name}: expected an array on GPU {here}, which is in use, found one on GPU {its}")
    return array


def converted_rows(X: np.ndarray, dtype: np.dtype, rows_read: Any) -> np.ndarray:
    """Some rows in a dtype, standardised where the samples say so; C-contiguous."""
    return np.ascontiguousarray(X, dtype) if rows_read is None else rows_read.standardization.applied(X, dtype)


def _inputs(X: Any, dtype: np.dtype, features: int, standardization: Standardization | None) -> tuple[Any, float, Any]:
    """`samples.as_input`, for arrays on the device too, whose largest magnitude is given as NaN.

    Arrays on the device are standardised here; for others, how that is done comes last.
    """
    if not is_on_device(X):
        return as_input(X, dtype, features, None if standardization is None else rows_of_X, standardization)
    given = _on_device("X", X)
    require_features(tuple(given.shape), features)
    return _finite("X", given, dtype, 2, standardization), float("nan"), None


def _targets(d: Any, n: int, dtype: np.dtype, outputs: int, kind: str) -> tuple[Any, Any]:
    """`samples.as_targets` of an array on the device."""
    name = argument_of(kind)
    given = _on_device(name, d)
    if are_labels(tuple(given.shape), n, outputs, kind):
        if given.dtype.kind not in "iu":
            raise TypeError(f"d: expected integer labels, found dtype {given.dtype}; use rows of shape (n, {outputs}) "
                            f"for other targets")
        labels = _converted(given, np.dtype(np.int64))
        _require("d", given, labels, 0, outputs - 1, f"labels from 0 to {outputs - 1}")
        return labels, no_rows(dtype, outputs)
    targets = _finite(name, given, dtype, given.ndim).reshape(n, outputs)
    if kind == "counts":
        _require("d", given, targets, 0, np.inf, "numbers of at least 0")
    elif kind not in ("values", "slopes"):
        _require("d", given, targets, 0, 1, "numbers from 0 to 1")
    if kind == "classes":
        wrong = _first(row_sum_is_wrong, n, targets)
        if wrong is not None:
            total = targets[wrong : wrong + 1].copy_to_host().sum(dtype=np.float64)
            raise ValueError(f"d: expected rows that sum to 1, found {total:g} in row {wrong}")
    return NO_LABELS, targets


def _weights(sample_weight: Any, n: int, dtype: np.dtype) -> Any:
    """`samples.as_weights` of an array on the device."""
    given = _on_device("sample_weight", sample_weight)
    require_dimensions("sample_weight", tuple(given.shape), 1)
    require_weights_for(tuple(given.shape), n)
    weights = _finite("sample_weight", given, dtype, 1)
    _require("sample_weight", given, weights, 0, np.inf, "no negative weight")
    return weights


def _finite(name: str, given: Any, dtype: np.dtype, ndim: int, standardization: Standardization | None = None) -> Any:
    """The array in the dtype and C-contiguous, standardised if asked for; all its numbers have to be finite."""
    require_dimensions(name, tuple(given.shape), ndim)
    largest, expected = float(np.finfo(dtype).max), f"finite numbers that {dtype} holds"
    if standardization is None:
        array = _converted(given, dtype)
    else:
        array, expected = cuda.device_array(tuple(given.shape), dtype), f"{expected} when they are standardised"
        standardize[blocks_for(given.size), THREADS](given, there(standardization.shift), there(standardization.factor),
                                                     array)
    _require(name, given, array, -largest, largest, expected, NotFiniteError)
    return array


def _converted(given: Any, dtype: np.dtype) -> Any:
    """The array itself, or a C-contiguous copy in the dtype."""
    if given.dtype == dtype and given.is_c_contiguous():
        return given
    array = cuda.device_array(tuple(given.shape), dtype)
    (convert if array.ndim == 2 else convert_vector)[blocks_for(given.size), THREADS](given, array)
    return array


def _require(name: str, given: Any, array: Any, low: float, high: float, expected: str,
             error: type[ValueError] = ValueError) -> None:
    """Refuse numbers outside the bounds, NaN among them."""
    place = _first(is_outside, array.size, array.reshape(array.size), low, high)
    if place is not None:
        index = tuple(int(i) for i in np.unravel_index(place, tuple(given.shape)))
        # Of an array with negative strides Numba reads no number.
        found = array.reshape(array.size)[place] if min(given.strides) < 0 else given[index]
        where = (index, found) if error is NotFiniteError else ()
        raise error(f"{name}: expected {expected}, found {found} at {list(index)}", *where)


def _first(kernel_of: Any, count: int, *arguments: Any) -> int | None:
    """The first place that a kernel finds, or None."""
    found = cuda.to_device(np.array([count], np.int64))
    kernel_of[blocks_for(count), THREADS](*arguments, found)
    place = int(found.copy_to_host()[0])
    return place if place < count else None


@kernel
def convert(source: Any, target: Any) -> None:
    """target = source, matrices of any dtypes."""
    p = cuda.grid(1)
    if p < target.shape[0] * target.shape[1]:
        i, j = p // target.shape[1], p % target.shape[1]
        target[i, j] = source[i, j]


@kernel
def standardize(source: Any, shift: Any, factor: Any, target: Any) -> None:
    """target = the standardised source, a matrix of any dtype; see `checks.standardization`."""
    p = cuda.grid(1)
    if p < target.shape[0] * target.shape[1]:
        i, j = p // target.shape[1], p % target.shape[1]
        target[i, j] = (0.5 * np.float64(source[i, j]) - shift[j]) * factor[j]


@kernel
def multiply_by_column(array: Any, factors: Any) -> None:
    """array (n, N_0) *= factors (N_0,) of its columns."""
    p = cuda.grid(1)
    if p < array.shape[0] * array.shape[1]:
        i, j = p // array.shape[1], p % array.shape[1]
        array[i, j] = factors[j] * array[i, j]


@kernel
def convert_vector(source: Any, target: Any) -> None:
    """target = source, vectors of any dtypes."""
    p = cuda.grid(1)
    if p < target.size:
        target[p] = source[p]


@kernel
def is_outside(values: Any, low: Any, high: Any, found: Any) -> None:
    """found[0] = the first place of a number outside [low, high]."""
    p = cuda.grid(1)
    if p < values.size and not low <= values[p] <= high:
        cuda.atomic.min(found, 0, p)


@kernel
def row_sum_is_wrong(targets: Any, found: Any) -> None:
    """found[0] = the first row whose sum is not 1."""
    s = cuda.grid(1)
    if s < targets.shape[0]:
        total = 0.0
        for i in range(targets.shape[1]):
            total += targets[s, i]
        if not abs(total - 1.0) <= 1e-3:
            cuda.atomic.min(found, 0, s)
