"""Arrays that users pass in: numbers of a dtype and a shape, all finite.

Kernels get C-contiguous, aligned arrays. Arrays that are so already are used without a copy, read-only and
memory-mapped ones included; others are converted once.
"""

import math
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy import ma  # now: a child forked while another thread imports it would wait for ever

from ..compiling.decorators import kernel
from .frames import array_of_frame, is_frame
from .messages import shortened


def require_unmasked(name: str, value: Any) -> None:
    """Refuse a masked array, or rows of which one is masked.

    Raises
    ------
    TypeError
        Because its mask would be lost.
    """
    if isinstance(value, ma.MaskedArray) or (
            type(value) in (list, tuple) and any(isinstance(row, ma.MaskedArray) for row in value)):
        raise TypeError(f"{name}: found a masked array, whose mask would be lost; fill or drop the masked values first")


def numeric_array(name: str, value: Any, dtype: np.dtype | None = None) -> np.ndarray:
    """The argument as an array of real numbers, still in its own dtype.

    dtype : for a data frame of columns of several dtypes, that of the array; if None, one that all of them fit.

    Raises
    ------
    TypeError
        If its dtype is not a real one (object, complex, string, …), or it or one of its rows is masked, or it is on a
        GPU. A data frame's column is named.
    ValueError
        If nested sequences have different lengths, or a number is too large for NumPy.
    """
    if type(value) is np.ndarray and value.dtype.kind in "biuf":
        return value
    require_unmasked(name, value)
    if is_frame(value):
        return array_of_frame(name, value, dtype)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array of numbers, found rows of different length "
                         f"({shortened(error)})") from None
    except OverflowError as error:
        raise ValueError(f"{name}: expected real numbers, found one beyond float64 ({shortened(error)})") from None
    except (TypeError, RuntimeError) as error:  # CuPy's, and PyTorch's
        raise TypeError(f"{name}: expected an array that NumPy takes, found one of type {type(value).__name__} "
                        f"({shortened(error)}); copy what is on a GPU to the processor's memory first") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, found dtype {shortened(array.dtype)}")
    return array


def kernel_array(name: str, value: Any, dtype: np.dtype, *, ndim: int) -> tuple[np.ndarray, float]:
    """The argument as an array that kernels may read, and its largest magnitude.

    The array is C-contiguous, of the dtype, and finite.

    Raises
    ------
    TypeError, ValueError
        As `numeric_array`; or if it has another number of dimensions or holds NaN or infinity, which includes numbers
        that are too large for the dtype.
    """
    given = numeric_array(name, value)
    require_dimensions(name, given.shape, ndim)
    return finite_array(name, given, dtype)


def finite_array(name: str, given: np.ndarray, dtype: np.dtype, frame: Any = None) -> tuple[np.ndarray, float]:
    """The array and its largest magnitude, as in `kernel_array`.

    frame : the data frame that the array was made of, whose number an error shows.
    """
    if given.dtype == dtype and given.flags.carray:
        array = given
    else:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # what it makes is found below
            array = readable(np.ascontiguousarray(given, dtype))
    largest = largest_magnitude(array)
    if not math.isfinite(largest):
        refuse_non_finite(name, given, dtype, frame)
    return array, largest


class NotFiniteError(ValueError):
    """An array has a number that is not finite, or too large for the dtype of the network.

    Attributes
    ----------
    index : tuple of int
        Its place.
    found : number
        It; NaN, and an empty index, where only the message was handed on.
    """

    def __init__(self, message: str, index: tuple[int, ...] = (), found: Any = math.nan) -> None:
        super().__init__(message)
        self.index, self.found = index, found

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.index, self.found)


def refuse_non_finite(name: str, given: np.ndarray, dtype: np.dtype, frame: Any,
                       standardization: Any = None) -> NoReturn:
    """Refuse an array, and name the first number that is not finite in a dtype, where it is standardised then."""
    index = _first_non_finite(given, dtype, standardization)
    found = frame.iloc[index] if frame is not None and np.isinf(given[index]) else given[index]
    reason = f"which is beyond {dtype}" if np.isfinite(found) else "expected finite numbers"
    if np.isfinite(found) and standardization is not None:
        mean, scale = standardization.mean[index[1]], standardization.scale[index[1]]
        reason += f" when it is standardised by the mean {mean:g} and the scale {scale:g}"
    raise NotFiniteError(f"{name}: found {found} at {list(index)}, {reason}", index, found)


def require_dimensions(name: str, shape: tuple[int, ...], ndim: int) -> None:
    """Refuse an array of another number of dimensions."""
    if len(shape) != ndim:
        hint = " (one sample is X[None, :])" if ndim == 2 and len(shape) == 1 else ""
        raise ValueError(f"{name}: expected {ndim} dimensions, found shape {shape}{hint}")


def readable(array: np.ndarray) -> np.ndarray:
    """The array, seen as a writable one by Numba's types, so that read-only input needs no kernels of its own.

    No kernel writes to its input. Without this a read-only array would be another type and compile everything again.
    """
    flags = array.flags
    if flags.behaved and type(array) is np.ndarray:
        return array
    if not flags.aligned:
        return array.copy()
    return np.asarray(_Writable(array))


class _Writable:
    """The memory of an array, under an interface that says it may be written."""

    def __init__(self, array: np.ndarray) -> None:
        self.base = array  # keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def parts_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of a matrix in parts of about a megabyte: memory-mapped arrays may be larger than memory."""
    rows = max(1, 2**20 // (array.shape[1] * array.itemsize))
    for begin in range(0, len(array), rows):
        yield array[begin : begin + rows]


def largest_magnitude(array: np.ndarray) -> float:
    """max |x| over a C-contiguous array; NaN if there is one, else infinity if there is one."""
    if array.dtype == np.float16:  # of which Numba has no numbers
        return float(np.uint16(_largest_half(array.ravel().view(np.uint16))).view(np.float16))
    found: float = MAGNITUDE_KERNELS[array.dtype](array.ravel())
    return found


@kernel(inline=True)
def largest_bits(bits: Any) -> Any:
    """The bits of max |x|, where `bits` are those of the numbers x, as unsigned integers; NaN is above infinity.

    Without their sign, numbers have the order of their bits. The maximum of integers vectorises, and no fast-math can
    drop NaN from it.
    """
    T = bits.dtype.type
    one = T(1)
    found = T(0)
    for p in range(bits.shape[0]):
        found = max(found, T(bits[p] << one))
    return found >> one


@kernel
def _largest_half(bits: Any) -> int:
    """The bits of max |x| of numbers of half precision."""
    return largest_bits(bits)


def _magnitude_kernel(number: Any, unsigned: Any) -> Any:
    @kernel(name=f"largest_magnitude_{number.__name__}")
    def largest_magnitude(flat: Any) -> float:
        return np.float64(unsigned(largest_bits(flat.view(unsigned))).view(number))

    return largest_magnitude


#: The kernel under `largest_magnitude`, for a flat array of each dtype.
MAGNITUDE_KERNELS = {np.dtype(number): _magnitude_kernel(number, unsigned)
            for number, unsigned in ((np.float32, np.uint32), (np.float64, np.uint64))}


def _first_non_finite(array: np.ndarray, dtype: np.dtype, standardization: Any) -> tuple[int, ...]:
    """The index of the first number of a vector or matrix that is not finite in a dtype, or not when standardised."""
    before = 0
    for part in parts_of(array.reshape(len(array), -1)):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            wrong = ~np.isfinite(part.astype(dtype) if standardization is None
                                 else standardization.applied(part, dtype))
        if wrong.any():
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            return before + int(row), *map(int, np.unravel_index(column, array.shape[1:]))
        before += len(part)
    raise AssertionError("the array has only finite numbers")
