"""The network's shape as data: where each layer's parameters and units lie in flat vectors.

Arrays are indexed by the layer k as in the formulas, k = 0 … L; entry 0 of `weights`, `biases` and `activations` is
unused. A layout is a named tuple of integer arrays, which compiled code takes as it is, so that one compiled kernel
serves every architecture. Activations and the loss are addresses in it. They are written before the first kernel runs,
and again where a layout is unpickled.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .compiling.decorators import inlined


class Layout(NamedTuple):
    """Sizes and offsets of a network with layers k = 1 … L, for compiled code and for Python."""

    widths: np.ndarray       # (L+1,) N_0 … N_L
    weights: np.ndarray      # (L+1,) where W_k begins in theta, N_k · N_{k-1} numbers in row-major order
    biases: np.ndarray       # (L+1,) where b_k begins in theta, N_k numbers
    units: np.ndarray        # (L+2,) where layer k begins among all units of one sample; the last entry is their number
    apply: np.ndarray        # (L+1,) the addresses of h_k = g_k(a_k), or 0; see `activations.apply_panel`
    delta: np.ndarray        # (L+1,) the addresses of δ_k = e_k ⊙ g'_k(a_k), or 0; see `activations.delta_panel`
    evaluate: int            # the address of the loss, or 0; see `losses.evaluate_panel`
    depth: int               # L
    size: int                # P, the number of parameters
    itemsize: int            # the bytes of a number; 0 before the addresses are written
    lanes: int               # the samples of a panel, which the functions take at once
    takes_labels: bool       # whether the loss takes labels
    digest: int              # one number for all else and the process; 0 before the addresses are written
    register: int            # the address of the register of workspaces, or 0; see `register`
    shift: np.ndarray        # (N_0,) float64, μ/2 where X is standardised, see `checks.standardization`; else (0,)
    factor: np.ndarray       # (N_0,) float64, 2/σ likewise

    @property
    def is_linked(self) -> bool:
        """Whether its functions are filled in."""
        return self.itemsize > 0

    @property
    def has_addresses(self) -> bool:
        """Whether its functions are called by address, on panels of `lanes` samples."""
        return self.is_linked


def make_layout(widths: Sequence[int]) -> Layout:
    """Lay out W_1, b_1, …, W_L, b_L one after another.

    Parameters
    ----------
    widths : sequence of int
        N_0 … N_L.

    Examples
    --------
    >>> layout = make_layout([3, 2, 1])
    >>> layout.weights.tolist(), layout.biases.tolist(), layout.size
    ([0, 0, 8], [0, 6, 10], 11)
    """
    depth = len(widths) - 1
    weights, biases = np.zeros(depth + 1, np.int64), np.zeros(depth + 1, np.int64)
    offset = 0
    for k in range(1, depth + 1):
        weights[k] = offset
        biases[k] = offset + widths[k] * widths[k - 1]
        offset = int(biases[k]) + widths[k]
    return Layout(
        widths=np.array(widths, np.int64), weights=weights, biases=biases,
        units=np.concatenate([[0], np.cumsum(widths)]).astype(np.int64),
        apply=np.zeros(depth + 1, np.int64), delta=np.zeros(depth + 1, np.int64), evaluate=0, depth=depth, size=offset,
        itemsize=0, lanes=0, takes_labels=False, digest=0, register=0,
        shift=np.zeros(0), factor=np.zeros(0))


class Views(list[np.ndarray]):
    """Views of one vector, one for each layer; what is assigned to one of them is written into it.

    >>> theta = np.zeros(2)
    >>> views = Views([theta[:1], theta[1:]])
    >>> views[1] = np.array([3.0])
    >>> theta
    array([0., 3.])
    """

    def __setitem__(self, place: Any, values: Any) -> None:
        if isinstance(place, slice):
            raise TypeError("expected the place of one layer, found a slice")
        view = self[place]
        if np.shape(values) != view.shape:
            raise ValueError(f"expected values of shape {view.shape} for layer {place}, found {np.shape(values)}")
        if values is not view:  # as after views[0] -= g
            view[...] = _in_dtype(values, view.dtype, place) if isinstance(view, np.ndarray) else values


def _in_dtype(values: Any, dtype: np.dtype, place: int) -> np.ndarray:
    """Values for a layer in the dtype of its parameters.

    Raises
    ------
    TypeError, ValueError
        If they are no real numbers, or one is too large for the dtype.
    """
    given = np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers for layer {place}, found {given.dtype}")
    try:
        with np.errstate(over="raise"):
            return given.astype(dtype)
    except FloatingPointError:
        raise ValueError(f"expected numbers for layer {place} that {dtype} holds, found larger ones") from None


def aligned_zeros(size: int, dtype: np.dtype, *, written: bool = True) -> np.ndarray:
    """A vector of zeros that begins at a cache line of 64 bytes: a load from two lines costs twice.

    The zeros are written, unless they need not be. Pages that were only read would all be the operating system's one
    page of zeros, whose many addresses push each other out of the first-level cache; steps of 30-100-1 took 1.5 times
    as long.
    """
    line = 64 // np.dtype(dtype).itemsize
    values = (np.empty if written else np.zeros)(size + line, dtype)
    if written:
        values[:] = 0
    begin = -(values.ctypes.data // values.itemsize) % line
    return values[begin : begin + size]


def aligned_copy(values: np.ndarray) -> np.ndarray:
    """A copy of a vector that begins at a cache line."""
    copy = aligned_zeros(values.size, values.dtype)
    copy[:] = values
    return copy


def keeping(array: np.ndarray, *others: Any) -> np.ndarray:
    """The same array, which keeps the objects alive whose addresses are in it."""
    return np.asarray(_Keeping(array, others))


def bytes_kept(array: np.ndarray) -> int:
    """The bytes of an array, and of all arrays that `keeping` made it keep alive."""
    others: tuple[Any, ...] = array.base.others if isinstance(array.base, _Keeping) else ()
    return array.nbytes + sum(bytes_kept(other) for other in others if isinstance(other, np.ndarray))


class _Keeping:
    """The owner of an array's memory, for NumPy."""

    def __init__(self, array: np.ndarray, others: tuple[Any, ...]) -> None:
        self.array, self.others = array, others
        self.__array_interface__ = array.__array_interface__


@inlined
def weight_matrix(theta: Any, layout: Layout, k: Any) -> Any:
    """W_k, a view of (N_k, N_{k-1}) into theta (or ∂E/∂W_k, a view into the gradient)."""
    rows, columns = layout.widths[k], layout.widths[k - 1]
    begin = layout.weights[k]
    return theta[begin : begin + rows * columns].reshape((rows, columns))


@inlined
def bias_vector(theta: Any, layout: Layout, k: Any) -> Any:
    """b_k, a view of (N_k,) into theta (or ∂E/∂b_k, a view into the gradient)."""
    begin = layout.biases[k]
    return theta[begin : begin + layout.widths[k]]


@inlined
def layer(values: Any, layout: Layout, k: Any) -> Any:
    """Layer k of a vector over all units of one sample: h_k in h, δ_k in delta."""
    return values[layout.units[k] : layout.units[k + 1]]
