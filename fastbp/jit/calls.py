"""The functions of `fastbp.jit`."""

import secrets
from typing import Any

import numpy as np

from ..backends import tiled
from ..backends.linking import products_of
from ..backends.register import Entry, begin_use, end_use
from ..backends.tiles.job import JOB_SIZE, begin_call, job_in
from ..backends.tiles.outcomes import sums_of_chunk
from ..backends.tiles.phases import run_share
from ..checks.arguments import require_whole
from ..checks.messages import shown
from ..compiling.addresses import address_in_memory, address_of, pointer, pointer_to
from ..compiling.decorators import kernel
from ..compiling.identity import package_digest
from ..formulas.elementary import is_finite
from ..formulas.updates import adam_change, adam_coefficients
from ..functions.losses import LINEAR, evaluate_panel
from ..layout import Layout, keeping
from ..optimizers.rules import ADAM, rounded
from ..optimizers.updates import descend_at
from .arguments import (
    BUSY,
    DIGEST,
    ENTRY,
    HEADER_SIZE,
    ITEMSIZE,
    KEY,
    LINEAR_LOSS,
    NOT_FINITE,
    OK,
    READING,
    SELF,
    STAMP,
    TAKES_LABELS,
    WRONG_SIZE,
    WRONG_WORKSPACE,
    checked_address,
    header_of,
    labels_of,
    status_of_targets,
    targets_of,
)
from .constants import refuse_constants
from .standardizing import begin_reading, end_derivatives, reading_for, status_of_inputs

#: Of this code alone: users' own cached functions contain it. Where nothing tells what it is, of this process alone.
_STAMP = int((package_digest() or secrets.token_hex(8))[:15], 16)
_adam_numbers = rounded(ADAM)

_address_of_x, _address_of_theta, _address_of_dE_dy = map(checked_address, ("x", "theta", "dE_dy"))
_address_of_y, _address_of_e_0, _address_of_grad, _address_of_averages, _address_of_changed_theta = (
    checked_address(name, written=True) for name in ("y", "e_0", "grad", "averages", "theta"))
_address_of_J = checked_address("J", written=True, dimensions=2)


class Workspace(np.ndarray):
    """A workspace: an array that cannot be pickled, because the addresses in it are of this process."""

    #: Numba types it as the array that it is, and remembers so: without this a call from Python took 0.7 µs longer.
    __numba_array_subtype_dispatch__ = True

    def __reduce__(self) -> Any:
        raise TypeError("work: a workspace cannot be pickled, because it holds addresses of this process; pickle the "
                        "layout, and call fastbp.jit.workspace(layout) where it is used")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


def workspace(layout: Layout, max_batch: int = 1, *, threads: int | None = None) -> Workspace:
    """The memory that the functions of `fastbp.jit` work in.

    Parameters
    ----------
    layout : Layout
        ``net.layout`` of a network with the backend "tiled", which "auto" stands for. After `MLP.standardize` it is
        another one, for another workspace.
    max_batch : int
        The samples of a call. Calls with more are taken in parts.
    threads : int, optional
        The number of threads that need a workspace each.

    Returns
    -------
    work : ndarray of int64, (size,) or (threads, size)
        Do not copy it or write to it, because it holds addresses. Pickling it raises a TypeError. One call may use it
        at a time; others meanwhile return BUSY.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    MemoryError
        If there are 16,384 workspaces already.

    Examples
    --------
    >>> import fastbp, numba
    >>> net = fastbp.MLP([3, 8, 2], activation="tanh", dtype="float64", seed=0)
    >>> work = workspace(net.layout)
    >>> @numba.njit
    ... def largest_output(theta, layout, x, y, work):
    ...     status = forward(theta, layout, x, y, work)
    ...     return y.max() if status == OK else np.nan
    >>> x, y = np.array([0.5, -1.0, 2.0]), np.zeros(2)
    >>> bool(largest_output(net.theta, net.layout, x, y, work) == net.forward(x[None]).max())
    True
    """
    if not hasattr(layout, "lanes"):
        raise TypeError(f"layout: expected net.layout, found {shown(layout)}")
    if not (isinstance(layout, Layout) and layout.is_linked and layout.lanes == tiled.lanes(_dtype_of(layout))):
        raise ValueError("layout: expected the layout of a network with backend='tiled' or 'auto'")
    products = products_of(layout)
    if products is not None:
        raise ValueError(f"layout: fastbp.jit does not compute with {products} products, found the layout of a network "
                         f"of these")
    require_whole("max_batch", max_batch, at_least=1)
    workspaces = [tiled.workspace(layout, _dtype_of(layout), max_batch, threads=1)
                  for _ in range(1 if threads is None else require_whole("threads", threads, at_least=1))]
    entries = [Entry() for _ in workspaces]
    readings = [reading_for(layout, _dtype_of(layout)) for _ in workspaces]
    rows = np.zeros((len(workspaces), HEADER_SIZE + len(workspaces[0])), np.int64)
    header = {STAMP: _STAMP, DIGEST: layout.digest, ITEMSIZE: layout.itemsize, TAKES_LABELS: layout.takes_labels,
              LINEAR_LOSS: address_of(evaluate_panel, LINEAR, _dtype_of(layout).name, layout.lanes)}
    for row, own, entry, reading in zip(rows, workspaces, entries, readings, strict=True):
        row[list(header)] = list(header.values())
        row[READING] = 0 if reading is None else reading.ctypes.data
        row[[SELF, ENTRY, KEY]], row[HEADER_SIZE:] = (row.ctypes.data, entry.place, entry.key), own
    work = keeping(rows, *workspaces, *entries, *readings, layout.shift, layout.factor).view(Workspace)
    return work if threads is not None else work[0]


def _dtype_of(layout: Layout) -> np.dtype:
    """Of the numbers of a linked layout."""
    return np.dtype(f"f{layout.itemsize}")


@kernel(inline=True, at_calls=refuse_constants)
def forward(theta: Any, layout: Any, x: Any, y: Any, work: Any) -> int:
    """y = h_L for x; returns the status.

    x : (N_0,) or (n, N_0); y : (N_L,) or (n, N_L), written. If it is not finite for a finite x, the status is
    NOT_FINITE, and y is as computed.
    """
    # Read first: references to the arrays of a tuple that lives longer are counted.
    digest, register = layout.digest, layout.register
    parameters, header = _address_of_theta(theta, theta), header_of(work)
    job = job_in(pointer(header, HEADER_SIZE))
    samples, results = _address_of_x(x, theta), _address_of_y(y, theta)
    status, n = _checked(header, work.size, digest, theta.size, theta.itemsize,
                         pointer_to(samples, theta.dtype.type), x.size, x.shape[-1])
    if status == OK and (y.size != n * job.outputs or y.shape[-1] != job.outputs):
        status = WRONG_SIZE
    if status == OK:
        status = _begin(register, header)
    if status != OK:
        return status
    begin_call(job, parameters, samples)
    begin_reading(job, header, samples)
    job.Y = results
    _propagate(job, n, 0)
    _end(register, header)
    return _status_of(pointer_to(results, theta.dtype.type), y.size)


@kernel(inline=True, at_calls=refuse_constants)
def accumulate_gradient(theta: Any, layout: Any, x: Any, d: Any, grad: Any, work: Any) -> Any:
    """grad += ∇E for the samples x with targets d; returns E and the status.

    x : (N_0,) or (n, N_0); grad : (P,).
    d : a label or labels (n,) int64, or targets (N_L,) or (n, N_L) of the network's dtype, or (n,) for one output.
    Labels are checked. Targets are checked to be finite, but not to be what the loss is defined on, such as rows of
    probabilities, as `MLP` does.

    If E is not finite, the status is NOT_FINITE, and nothing has been added. But calls of more samples than the
    workspace is for are taken in parts, and the gradients of the parts before have been added. The gradient itself is
    not checked, and may be infinite where E is finite; the steps check it.
    """
    # Read first: references to the arrays of a tuple that lives longer are counted.
    digest, register = layout.digest, layout.register
    parameters, header = _address_of_theta(theta, theta), header_of(work)
    job = job_in(pointer(header, HEADER_SIZE))
    samples, sums = _address_of_x(x, theta), _address_of_grad(grad, theta)
    status, n = _checked(header, work.size, digest, theta.size, theta.itemsize,
                         pointer_to(samples, theta.dtype.type), x.size, x.shape[-1])
    if status == OK:
        status = status_of_targets(d, theta, n, job.outputs, header)
    if status == OK and grad.size != theta.size:
        status = WRONG_SIZE
    if status == OK:
        status = _begin(register, header)
    if status != OK:
        return np.nan, status
    labels, targets = labels_of(d, theta, header), targets_of(d, theta)
    begin_call(job, parameters, samples)
    begin_reading(job, header, samples)
    job.labels, job.targets, job.lowest, job.keeps = labels, targets, 1, True
    E = _propagate(job, n, sums)
    _end(register, header)
    return E, OK if is_finite(E) else NOT_FINITE


@kernel(inline=True, at_calls=refuse_constants)
def input_gradient(theta: Any, layout: Any, x: Any, d: Any, e_0: Any, work: Any) -> Any:
    """e_0 = ∇_x E for the samples x with targets d; returns E and the status. x is as it is before it is standardised.

    Arguments are those of `accumulate_gradient`; e_0 : like x, written. If E or e_0 is not finite for finite x and d,
    the status is NOT_FINITE, and e_0 is as computed.
    """
    # Read first: references to the arrays of a tuple that lives longer are counted.
    digest, register = layout.digest, layout.register
    parameters, header = _address_of_theta(theta, theta), header_of(work)
    job = job_in(pointer(header, HEADER_SIZE))
    samples, results = _address_of_x(x, theta), _address_of_e_0(e_0, theta)
    status, n = _checked(header, work.size, digest, theta.size, theta.itemsize,
                         pointer_to(samples, theta.dtype.type), x.size, x.shape[-1])
    if status == OK:
        status = status_of_targets(d, theta, n, job.outputs, header)
    if status == OK and (e_0.size != x.size or e_0.shape[-1] != x.shape[-1]):
        status = WRONG_SIZE
    if status == OK:
        status = _begin(register, header)
    if status != OK:
        return np.nan, status
    labels, targets = labels_of(d, theta, header), targets_of(d, theta)
    begin_call(job, parameters, samples)
    begin_reading(job, header, samples)
    job.labels, job.targets, job.lowest, job.E0 = labels, targets, 0, results
    E = _propagate(job, n, 0)
    end_derivatives(pointer_to(results, theta.dtype.type), e_0.size, job.inputs, header)
    _end(register, header)
    return E, _status_of(pointer_to(results, theta.dtype.type), e_0.size) if is_finite(E) else NOT_FINITE


@kernel(inline=True, at_calls=refuse_constants)
def backward(theta: Any, layout: Any, x: Any, dE_dy: Any, grad: Any, e_0: Any, work: Any) -> int:
    """grad += ∂E/∂θ and e_0 = ∂E/∂x, from the ∂E/∂y of an E of your own; returns the status.

    y is what `forward` gives; the network's own loss has no part in it. x is taken forward once more.

    x : (N_0,) or (n, N_0), as it is before it is standardised; dE_dy : (N_L,) or (n, N_L).
    grad : (P,), or (0,) where ∂E/∂θ is not wanted.
    e_0 : like x, written, or (0,) where it is not wanted.

    If Σ dE_dy · y or e_0 is not finite for finite x and dE_dy, the status is NOT_FINITE. Of the former nothing has been
    added, but for parts of a call as in `accumulate_gradient`; e_0 is as computed.
    """
    # Read first: references to the arrays of a tuple that lives longer are counted.
    digest, register = layout.digest, layout.register
    parameters, header = _address_of_theta(theta, theta), header_of(work)
    job = job_in(pointer(header, HEADER_SIZE))
    samples, errors = _address_of_x(x, theta), _address_of_dE_dy(dE_dy, theta)
    sums, results = _address_of_grad(grad, theta), _address_of_e_0(e_0, theta)
    status, n = _checked(header, work.size, digest, theta.size, theta.itemsize,
                         pointer_to(samples, theta.dtype.type), x.size, x.shape[-1])
    if status == OK and (dE_dy.size != n * job.outputs or dE_dy.shape[-1] != job.outputs
                         or (grad.size != theta.size and grad.size > 0)
                         or ((e_0.size != x.size or e_0.shape[-1] != x.shape[-1]) and e_0.size > 0)):
        status = WRONG_SIZE
    if status == OK:
        status = _status_of(pointer_to(errors, theta.dtype.type), dE_dy.size)
    if status == OK:
        status = _begin(register, header)
    if status != OK:
        return status
    begin_call(job, parameters, samples)
    begin_reading(job, header, samples)
    loss, job.evaluate = job.evaluate, header[LINEAR_LOSS]
    job.targets, job.keeps = errors, grad.size > 0
    job.lowest = 0 if e_0.size > 0 else 1
    job.E0 = results if e_0.size > 0 else 0
    E = _propagate(job, n, sums if grad.size > 0 else 0)
    job.evaluate = loss
    end_derivatives(pointer_to(results, theta.dtype.type), e_0.size, job.inputs, header)
    _end(register, header)
    return _status_of(pointer_to(results, theta.dtype.type), e_0.size) if is_finite(E) else NOT_FINITE


@kernel(inline=True, at_calls=refuse_constants)
def input_jacobian(theta: Any, layout: Any, x: Any, J: Any, work: Any) -> int:
    """J_ij = ∂y_i/∂x_j for x; returns the status.

    x : (N_0,) or (n, N_0); J : (N_L, N_0) or (n, N_L, N_0), written. Its rows are e_0 for the unit vectors e_L, which
    go back one after another after one pass forward. If J is not finite for a finite x, the status is NOT_FINITE, and J
    is as computed; y is not checked.
    """
    # Read first: references to the arrays of a tuple that lives longer are counted.
    digest, register = layout.digest, layout.register
    parameters, header = _address_of_theta(theta, theta), header_of(work)
    job = job_in(pointer(header, HEADER_SIZE))
    samples, results = _address_of_x(x, theta), _address_of_J(J, theta)
    status, n = _checked(header, work.size, digest, theta.size, theta.itemsize,
                         pointer_to(samples, theta.dtype.type), x.size, x.shape[-1])
    if status == OK and (J.size != x.size * job.outputs or J.shape[-2] != job.outputs
                         or J.shape[-1] != job.inputs):
        status = WRONG_SIZE
    if status == OK:
        status = _begin(register, header)
    if status != OK:
        return status
    begin_call(job, parameters, samples)
    begin_reading(job, header, samples)
    job.jacobian, job.lowest, job.E0 = True, 0, results
    _propagate(job, n, 0)
    end_derivatives(pointer_to(results, theta.dtype.type), J.size, job.inputs, header)
    _end(register, header)
    return _status_of(pointer_to(results, theta.dtype.type), J.size)


@kernel(inline=True, at_calls=refuse_constants)
def sgd_step(theta: Any, grad: Any, learning_rate: float) -> int:
    """θ ← θ - γ grad, then grad = 0; returns the status. If it is NOT_FINITE, both are as they were."""
    parameters, sums = _address_of_changed_theta(theta, theta), _address_of_grad(grad, theta)
    if theta.size != grad.size:
        return WRONG_SIZE
    values, slopes = pointer_to(parameters, theta.dtype.type), pointer_to(sums, theta.dtype.type)
    return OK if descend_at(values, slopes, theta.size, theta.dtype.type(learning_rate)) else NOT_FINITE


@kernel(inline=True, at_calls=refuse_constants)
def adam_step(theta: Any, grad: Any, averages: Any, t: int, learning_rate: float, beta1: float = 0.9,
              beta2: float = 0.999, epsilon: float = 1e-8) -> int:
    """Update t = 1, 2, … of Adam [1]_, then grad = 0; returns the status.

    averages : (2, P), zeros before the first update. If the gradient is not finite, or θ would not be, the status is
    NOT_FINITE, and all arrays are as they were.

    .. [1] Kingma and Ba, "Adam: A method for stochastic optimization", 2015.
    """
    parameters, sums = _address_of_changed_theta(theta, theta), _address_of_grad(grad, theta)
    moments = _address_of_averages(averages, theta)
    if (theta.size != grad.size or averages.size != 2 * theta.size or averages.shape[-1] != theta.shape[-1] or t < 1):
        return WRONG_SIZE
    values, slopes = pointer_to(parameters, theta.dtype.type), pointer_to(sums, theta.dtype.type)
    if _status_of(slopes, grad.size) != OK:
        return NOT_FINITE
    T = theta.dtype.type
    numbers = _adam_numbers(adam_coefficients(learning_rate, t, beta1, beta2, epsilon, 0.0, 0.0), values[0])
    m, s = pointer_to(moments, T), pointer_to(moments + theta.size * theta.itemsize, T)
    not_finite = 0
    for p in range(theta.size):
        change, _ = adam_change(slopes[p], values[p], (m[p], s[p]), numbers)
        not_finite += not is_finite(values[p] - change)
    if not_finite:
        return NOT_FINITE
    for p in range(theta.size):
        change, (m[p], s[p]) = adam_change(slopes[p], values[p], (m[p], s[p]), numbers)
        values[p] -= change
        slopes[p] = 0
    return OK


@kernel(inline=True)
def _checked(header: Any, size: Any, digest: Any, parameters: Any, itemsize: Any, x: Any, size_of_x: Any,
             features: Any) -> Any:
    """The status of theta, work and x, and the number of samples.

    It takes pointers, because references to arrays are counted.
    """
    if (size != HEADER_SIZE + JOB_SIZE or header[STAMP] != _STAMP or header[SELF] != address_in_memory(header)
            or header[DIGEST] != digest or header[ITEMSIZE] != itemsize):
        return WRONG_WORKSPACE, 0
    job = job_in(pointer(header, HEADER_SIZE))
    n = size_of_x // job.inputs
    if parameters != job.parameters or n == 0 or features != job.inputs:
        return WRONG_SIZE, 0
    return status_of_inputs(x, size_of_x, job.inputs, header), n


@kernel(inline=True)
def _begin(register: Any, header: Any) -> int:
    """OK if the workspace is of this process and now this call's, until `_end`; else BUSY or WRONG_WORKSPACE."""
    found = begin_use(register, header[ENTRY], header[KEY])
    if found == header[KEY]:
        return OK
    return BUSY if found == -header[KEY] else WRONG_WORKSPACE


@kernel(inline=True)
def _end(register: Any, header: Any) -> None:
    """Give the workspace back to other calls."""
    end_use(register, header[ENTRY], header[KEY])


@kernel(inline=True)
def _status_of(values: Any, size: Any) -> int:
    """OK if all the numbers at a pointer are finite."""
    not_finite = 0
    for p in range(size):
        not_finite += not is_finite(values[p])
    return NOT_FINITE if not_finite else OK


@kernel(inline=True)
def _propagate(job: Any, n: Any, grad: Any) -> Any:
    """E of n samples, chunk after chunk; their gradient is added at the address `grad`, until E is not finite."""
    total, chunk = 0.0, job.chunk
    for first in range(0, n, chunk):
        count = min(chunk, n - first)
        job.first, job.count = first, count
        run_share(job.propagate_phase, job, 0, 1)
        total += sums_of_chunk(job)[0]
        if grad != 0 and is_finite(total):
            job.target = grad
            job.alpha = 1.0
            run_share(job.gradient_phase, job, 0, 1)
    return total
