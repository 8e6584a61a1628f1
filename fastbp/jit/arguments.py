"""The arguments of the functions of `fastbp.jit`: how they are typed, and the checks of targets."""

from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from ..compiling.addresses import address_in_memory, pointer
from ..formulas.elementary import is_finite

#: What the functions return; see `jit`.
OK, WRONG_WORKSPACE, WRONG_SIZE, WRONG_TARGET, NOT_FINITE, BUSY = range(6)

#: The header of a workspace, before the job. STAMP: the code, SELF: its own address, DIGEST: the layout. ENTRY and
#: KEY: its entry in the register. PLACE: memory for one label. READING: the record by which x is standardised, or 0.
#: LINEAR_LOSS: the address of the loss Σ d·y.
STAMP, SELF, DIGEST, ITEMSIZE, TAKES_LABELS, ENTRY, KEY, PLACE, READING, LINEAR_LOSS, HEADER_SIZE = range(11)


def checked_address(name: str, *, written: bool = False, dimensions: int = 1) -> Any:
    """A compiled function of (array, theta) that gives the address of the array of that name.

    Compiling it raises a typing error unless the array is C-contiguous, of theta's dtype, and has at least `dimensions`
    dimensions. An array that is written to must be no constant either: Numba takes global arrays for constants, and
    writing to their memory ends the process.
    """
    def address(array: Any, theta: Any) -> Any:
        raise TypeError("runs in compiled code only")

    @overload(address)
    def address_overload(array, theta):
        if not isinstance(theta, types.Array) or theta.dtype not in (types.float32, types.float64):
            raise TypingError(f"fastbp.jit: theta: expected a C-contiguous array of float32 or float64, found {theta}")
        if (not isinstance(array, types.Array) or array.layout != "C" or array.dtype != theta.dtype
                or array.ndim < dimensions):
            raise TypingError(f"fastbp.jit: {name}: expected a C-contiguous array of {theta.dtype}, as theta is, with "
                              f"{dimensions} or more dimensions, found {array}")
        if written:
            _require_writable(name, array)
        return lambda array, theta: address_in_memory(array)

    return address


def _require_writable(name: str, array: Any) -> None:
    """Raise a typing error if a Numba type is that of an array that must not be written to."""
    if not array.mutable:
        raise TypingError(f"fastbp.jit: {name}: expected an array that may be written to, found {array}, a read-only "
                          f"or a global one; hand it to your function as an argument")


def header_of(work: Any) -> Any:
    """A pointer to the header of a workspace."""
    raise TypeError("runs in compiled code only")


@overload(header_of)
def _header_of_overload(work):
    if not isinstance(work, types.Array) or work.layout != "C" or work.dtype != types.int64:
        raise TypingError(f"fastbp.jit: work: expected what fastbp.jit.workspace gives, found {work}")
    if work.ndim != 1:
        raise TypingError(f"fastbp.jit: work: expected the workspace of one thread, such as "
                          f"work[numba.get_thread_id()], found those of all of them, {work}")
    _require_writable("work", work)
    return lambda work: pointer(work, 0)


def labels_of(d: Any, theta: Any, header: Any) -> Any:
    """The address of the labels, 0 if d is not labels; one label is written into the workspace."""
    raise TypeError("runs in compiled code only")


@overload(labels_of)
def _labels_overload(d, theta, header):
    if isinstance(d, types.Integer):
        def one(d, theta, header):
            header[PLACE] = d
            return address_in_memory(pointer(header, PLACE))
        return one
    if _are_labels(d, theta):
        return lambda d, theta, header: address_in_memory(d)
    return lambda d, theta, header: 0


def targets_of(d: Any, theta: Any) -> Any:
    """The address of the targets, 0 if d is labels."""
    raise TypeError("runs in compiled code only")


@overload(targets_of)
def _targets_overload(d, theta):
    return (lambda d, theta: 0) if _are_labels(d, theta) else (lambda d, theta: address_in_memory(d))


def status_of_targets(d: Any, theta: Any, n: Any, outputs: Any, header: Any) -> Any:
    """The status of targets for n samples."""
    raise TypeError("runs in compiled code only")


@overload(status_of_targets)
def _status_of_targets_overload(d, theta, n, outputs, header):
    if isinstance(d, types.Integer):
        def one(d, theta, n, outputs, header):
            if n != 1:
                return WRONG_SIZE
            return OK if header[TAKES_LABELS] != 0 and 0 <= d < outputs else WRONG_TARGET
        return one
    if _are_labels(d, theta):
        def several(d, theta, n, outputs, header):
            if d.size != n or d.shape[0] != n:
                return WRONG_SIZE
            outside = 0
            for label in d.flat:
                outside += not 0 <= label < outputs
            return OK if header[TAKES_LABELS] != 0 and outside == 0 else WRONG_TARGET
        return several

    is_vector = d.ndim == 1

    def rows(d, theta, n, outputs, header):
        if d.size != n * outputs or (d.shape[-1] != outputs and not (is_vector and outputs == 1)):
            return WRONG_SIZE
        not_finite = 0
        for value in d.flat:
            not_finite += not is_finite(value)
        return OK if not_finite == 0 else NOT_FINITE
    return rows


def _are_labels(d: Any, theta: Any) -> bool:
    """Whether a Numba type is that of labels; raises a typing error if it is not that of targets either."""
    if isinstance(d, types.Integer):
        return True
    if isinstance(d, types.Array) and d.layout == "C" and d.ndim > 0 and d.dtype in (types.int64, theta.dtype):
        return bool(d.dtype == types.int64)
    raise TypingError(f"fastbp.jit: d: expected labels, one integer or a C-contiguous array of int64, or a "
                      f"C-contiguous array of {theta.dtype}, as theta is, found {d}")
