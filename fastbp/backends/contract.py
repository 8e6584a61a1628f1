"""The contract that every backend fulfils.

A backend is a module with the functions of `Backend`. All arrays are checked before they come here; a backend
allocates nothing but its workspace, raises nothing, and gives E as a sum over samples.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..checks.samples import Samples
from ..compiling.decorators import kernel
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..layout import Layout
from .memory import Memory
from .reading import as_arguments, kernel_samples


class Extras(NamedTuple):
    """What a training may add to the formulas. It has numbers alone, because a tuple of arrays costs more to pass."""

    clip_norm: float    # C, to which every sample's gradient is clipped before it is added: its δ is multiplied by
                        # min(1, C / ‖w ∇L‖). 0 for none
    drop_address: int   # of the function that drops units, or 0; see `dropout.drop_panel`
    rates_address: int  # of the rates of the layers k = 0 … L, (L+1,) float64
    key: int            # of the epoch; see `dropout.epoch_key`


class Batch(NamedTuple):
    """The samples order[start:stop]."""

    samples: Any      # `Samples`, in compiled code `KernelSamples`; without labels and targets there is no loss, and
                      # nothing goes back
    order: Any        # (n,) int64, or (0,) for the samples start … stop - 1 themselves
    start: int
    stop: int


class Wanted(NamedTuple):
    """Where results go; what is not wanted is empty."""

    grad: Any   # (P,), or (0,): ∇E is added, every coordinate in the order of the samples
    Y: Any      # (n, N_L), or (0, N_L): y = h_L of each sample, in the sample's own row
    E0: Any     # (n, N_0), or (0, N_0): e_0 = ∇_x E of each sample, in the sample's own row
    norms: Any  # (n,) float64, or (0,): ‖w ∇L‖ of each sample, at the sample's own place; only with `grad`


#: The formulas as they are, the order of X, and no norms.
NO_EXTRAS, NO_ORDER, NO_NORMS = Extras(0.0, 0, 0, 0), np.empty(0, np.int64), np.empty(0)


#: How a call takes the rows of X: with all of their numbers; or entry by entry, where X is sparse, with W_1 as it lies,
#: or with W_1ᵀ, which is made first.
WHOLE, BY_ENTRIES, FROM_TRANSPOSE = range(3)


class Backend(Protocol):
    """The contract: what `loops.py` does sample by sample, whatever the schedule."""

    memory: Memory

    #: Whether several threads may pay; otherwise it gets 1.
    parallel: bool

    #: Whether it takes a sparse X entry by entry; otherwise rows are written out, a few at a time.
    takes_entries: bool

    def linked(self, layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Any:
        """The layout with its activations and loss, compiled."""

    def chunk(self, layout: Layout, dtype: np.dtype, way: int = WHOLE) -> int:
        """The number of samples in a chunk, which depends on the network and the way alone; see `longest_chunk`.

        A call may be cut in two at any multiple of it, counted from its start, without changing a bit. It is the same
        for BY_ENTRIES and FROM_TRANSPOSE, and so are the results.
        """

    def workspace(self, layout: Layout, dtype: np.dtype, samples: int, way: int = WHOLE) -> Any:
        """The workspace for calls with at most `samples` samples; its size has a bound, however many they are."""

    def nbytes(self, work: Any) -> int:
        """The bytes of a workspace."""

    def pieces(self, layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype,
               rule: Any) -> Sequence[Any]:
        """What a training with this optimizer's rule compiles beside `train`, for `compile_side_by_side`; nothing where
        that is little."""

    def specialised(self, work: Any, optimizer: Any, widths: tuple[int, ...], activations: tuple[str, ...], loss: str,
                    dtype: np.dtype, batch_size: int, steps: int, descends: bool) -> Any:
        """The workspace, with what updates by this optimizer need where training is more than `is_plain_descent`, and
        with whatever is worth compiling for that many plain steps of this very network."""

    def for_leaves(self, work: Any, dtype: np.dtype) -> Any:
        """The workspace, with what `add_leaves` needs beside."""

    #: Only of backends that take entries: (work, keeps) says that theta stays as it is from one call of `propagate` to
    #: the next, so that W_1ᵀ is made once for all slices; or no longer.
    keep_transpose: Callable[[Any, bool], None]

    def propagate(self, theta: Any, layout: Layout, batch: Batch, E: float, wanted: Wanted, extras: Extras, work: Any,
                  threads: int) -> tuple[float, int]:
        """E and the number of correct samples of a batch; adds ∇E, and writes Y, E0 and norms.

        It is called from Python, where it drops no units, and in compiled code from `train`.

        Parameters
        ----------
        theta : (P,)
        layout : Layout
        batch : Batch
        E : float
            Of the samples before, to which the weighted losses of these are added.
        wanted : Wanted
        extras : Extras
        work : from `workspace`
        threads : int
            The most threads that may work; with 1 no parallel region is entered.

        Returns
        -------
        E : float
            The sum.
        correct : int
            How many of these samples are classified correctly.
        """

    #: None, or the compiled function (theta, X, d, grad, work) → (E, whether it was computed), for calls of fewer than
    #: `threads.SMALL_CALL` operations. X and d have the dtypes and shapes that kernels take, d labels or targets. If
    #: their numbers are not finite, or no labels, nothing is computed.
    add_small_gradient: Callable[..., Any] | None

    def predict(self, theta: Any, layout: Layout, samples: Samples, Y: Any, start: int, stop: int, work: Any,
                threads: int) -> None:
        """Y[start:stop] = h_L of samples without targets; called from Python."""

    #: None, or the function (theta, layout, samples, J, start, stop, work, threads) that writes ∂y/∂h_0 of samples
    #: without targets, J (n, N_L, N_0), where that takes less than N_L passes.
    input_jacobian: Callable[..., None] | None

    def train(self, theta: Any, grad: Any, layout: Layout, samples: Samples, training: Any, limits: Any, work: Any,
              threads: int) -> int:
        """Run the loop over batches and epochs of a `training_loop.Training`, up to its `Limits`; made by
        `training_loop`."""


def called_from_python(propagate: Callable[..., Any], name: str) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """The kernel under a backend's `propagate`, that function, and `predict`, by a compiled `propagate`.

    Arrays and numbers come from Python one by one: Numba takes 1 µs to unpack a named tuple, a tenth of the time of a
    small call.
    """
    @kernel(name=f"propagate_{name}")
    def propagate_arrays(theta: Any, layout: Any, X: Any, reading: int, labels: Any, targets: Any, weights: Any,
                         order: Any, start: int, stop: int, E: float, grad: Any, Y: Any, E0: Any, norms: Any,
                         clip_norm: float, work: Any, threads: int) -> Any:
        samples = kernel_samples(X, reading, stop, labels, targets, weights)
        return propagate(theta, layout, Batch(samples, order, start, stop), E, Wanted(grad, Y, E0, norms),
                         Extras(clip_norm, 0, 0, 0), work, threads)

    @kernel(name=f"predict_{name}")
    def predict_arrays(theta: Any, layout: Any, X: Any, reading: int, labels: Any, targets: Any, weights: Any, Y: Any,
                       norms: Any, start: int, stop: int, work: Any, threads: int) -> None:
        samples = kernel_samples(X, reading, stop, labels, targets, weights)
        propagate(theta, layout, Batch(samples, labels, start, stop), 0.0, Wanted(weights, Y, targets, norms),
                  Extras(0.0, 0, 0, 0), work, threads)  # without labels and weights, which are empty

    def propagate_batch(theta: Any, layout: Any, batch: Batch, E: float, wanted: Wanted, extras: Extras, work: Any,
                        threads: int) -> Any:
        samples, order, start, stop = batch
        return propagate_arrays(theta, layout, *as_arguments(samples), samples.labels, samples.targets,
                                samples.weights, order, start, stop, E, *wanted, extras.clip_norm, work, threads)

    def predict(theta: Any, layout: Any, samples: Samples, Y: Any, start: int, stop: int, work: Any,
                threads: int) -> None:
        predict_arrays(theta, layout, *as_arguments(samples), samples.labels, samples.targets, samples.weights, Y,
                       NO_NORMS, start, stop, work, threads)

    return propagate_arrays, propagate_batch, predict


#: A chunk should take no longer than this, because Ctrl-C waits for its end.
CHUNK_SECONDS = 0.09

#: Operations of a sample that do not depend on the network, to an order of magnitude.
SAMPLE_OVERHEAD = 1000.0


def longest_chunk(flops: float, parameters: int) -> int:
    """The samples that a backend takes forward and back in CHUNK_SECONDS, with `flops` operations a second.

    `flops` is an order of magnitude and not measured, so that results do not depend on the machine.
    """
    operations = 6.0 * parameters + SAMPLE_OVERHEAD  # three products of two operations for each parameter
    return max(1, int(flops * CHUNK_SECONDS / operations))


class NoGpuError(RuntimeError):
    """There is no GPU that a backend can use."""
