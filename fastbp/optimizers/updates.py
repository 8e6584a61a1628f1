"""From a gradient to an update of theta, in compiled code on flat vectors.

Every optimizer has a formula for the change of one parameter, and one function that turns the gradient into the change
of theta by it, in place; `update` clips before it and applies after it. Threads share large ones as they share the
gradient: what a thread has written is in its cache. To add an optimizer, write both, add it to `_CHANGES` and, for
GPUs, to `change_of` in `backends/gpu/updates.py`, and write a dataclass in `settings.py` that names it.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange, types

from ..compiling.addresses import INTEGER, address_of, invoke, pointer_type
from ..compiling.decorators import kernel, subkernel
from ..formulas.elementary import is_finite
from ..formulas.updates import (
    adam_change,
    adam_numbers,
    momentum_change,
    momentum_numbers,
    rmsprop_change,
    rmsprop_numbers,
)
from ..schedules import learning_rate_at
from ..threads import share_of

_config: Any = numba.config


class OptimizerSpec(NamedTuple):
    """An optimizer's settings as compiled code sees them."""

    kind: int               # which optimizer it is, by its place in `KINDS`
    share: int              # the address of the function that does a thread's share: `update_share`
    settings: np.ndarray    # (6,) float64, their meaning belongs to the optimizer's function
    schedule: np.ndarray    # (5,) float64, the learning-rate schedule
    clip_norm: float        # the largest norm of the gradient, or 0 for no clipping
    is_plain: bool          # whether an update is θ ← θ - γ g and nothing else
    beyond: np.ndarray      # room for each thread to say how many numbers are not finite, LINE apart


class OptimizerState(NamedTuple):
    """What an optimizer remembers: the number of updates t, and its running averages in the shape of theta."""

    updates: np.ndarray  # (1,) int64
    averages: np.ndarray  # (slots, P)


#: Fewer parameters are updated by one thread: it is done before others are awake.
SMALL_SIZE = 2**15

#: How far apart threads write integers.
LINE = 8

#: The parts of an update: see that the gradient is finite, make it the change, and subtract that.
CHECK, CHANGE, APPLY = range(3)


@kernel
def update(theta: Any, grad: Any, factor: float, optimizer: OptimizerSpec, state: OptimizerState,
           threads: int) -> bool:
    """θ ← θ - change(factor · grad), then grad = 0; False, and θ as it was, where that is not finite.

    theta, grad : (P,). The gradient becomes the change in place; θ is written only after the whole change is known to
    be finite, so a diverging network keeps its last finite parameters.
    """
    team = threads if theta.shape[0] >= SMALL_SIZE else 1
    if optimizer.clip_norm > 0.0:
        norm = factor * norm_of(grad)
        if norm > optimizer.clip_norm:
            factor = factor * optimizer.clip_norm / norm
    rate, t = learning_rate_at(optimizer.schedule, state.updates[0]), state.updates[0] + 1
    for part in range(CHECK, APPLY + 1):
        if team == 1:
            invoke(optimizer.share, (part, theta, grad, state.averages, theta.shape[0], np.float64(factor),
                                     np.float64(rate), t, optimizer.settings, optimizer.beyond, 0, 1))
        else:
            on_threads(optimizer.share, part, theta, grad, state.averages, np.float64(factor), np.float64(rate), t,
                       optimizer.settings, optimizer.beyond, team)
        beyond = 0
        for thread in range(team):
            beyond += optimizer.beyond[thread * LINE]
        if beyond > 0:
            return False
    state.updates[0] += 1
    return True


@kernel(parallel=True)
def on_threads(share: int, part: int, theta: Any, grad: Any, averages: Any, factor: float, rate: float, t: int,
               settings: Any, beyond: Any, threads: int) -> None:
    """Every thread's share of a part of an update."""
    for thread in prange(threads):
        invoke(share, (np.int64(part), theta, grad, averages, theta.shape[0], factor, rate, t, settings, beyond,
                       np.int64(thread), threads))


@subkernel(inline=True)
def not_finite_after(theta: Any, change: Any, begin: int, end: int) -> int:
    """How many of the numbers θ - change are not finite."""
    beyond = 0
    for p in range(begin, end):
        beyond += not is_finite(theta[p] - change[p])
    return beyond


@subkernel(inline=True)
def subtract(theta: Any, change: Any, begin: int, end: int) -> None:
    """θ ← θ - change, then change = 0."""
    for p in range(begin, end):
        theta[p] -= change[p]
        change[p] = 0


@subkernel
def largest_of(values: Any) -> float:
    """max |x|."""
    largest = 0.0
    for p in range(values.shape[0]):
        largest = max(largest, abs(np.float64(values[p])))
    return largest


@subkernel
def norm_of(grad: Any) -> float:
    """‖grad‖ in float64, scaled by the largest coordinate, so that no square overflows or vanishes."""
    largest = largest_of(grad)
    if largest == 0.0:
        return 0.0
    total = 0.0
    for p in range(grad.shape[0]):
        ratio = np.float64(grad[p]) / largest
        total += ratio * ratio
    return largest * math.sqrt(total)


def _sgd_changes(theta: Any, grad: Any, v: Any, begin: int, end: int, size: int, factor: float, rate: float, t: int,
                 settings: Any) -> None:
    T = type(theta[0])
    scale, gamma, weight_decay = T(factor), T(rate), T(settings[2])
    if settings[0] == 0.0:
        for p in range(begin, end):
            grad[p] = gamma * (scale * grad[p] + weight_decay * theta[p])
        return
    numbers = momentum_numbers(rate, settings[0], settings[1] != 0.0)
    momentum, ahead, current = T(numbers[1]), T(numbers[2]), T(numbers[3])
    for p in range(begin, end):
        grad[p], v[p] = momentum_change(scale * grad[p] + weight_decay * theta[p], v[p], gamma, momentum, ahead,
                                        current)


def _rmsprop_changes(theta: Any, grad: Any, s: Any, begin: int, end: int, size: int, factor: float, rate: float,
                     t: int, settings: Any) -> None:
    T = type(theta[0])
    numbers = rmsprop_numbers(rate, settings[0], settings[1])
    gamma, decay, rest, epsilon = T(numbers[0]), T(numbers[1]), T(numbers[2]), T(numbers[3])
    scale, weight_decay = T(factor), T(settings[2])
    for p in range(begin, end):
        grad[p], s[p] = rmsprop_change(scale * grad[p] + weight_decay * theta[p], s[p], gamma, decay, rest, epsilon)


def _adam_changes(theta: Any, grad: Any, averages: Any, begin: int, end: int, size: int, factor: float, rate: float,
                  t: int, settings: Any) -> None:
    adam_changes(theta, grad, averages, begin, end, size, factor, rate, t, settings[0], settings[1], settings[2],
                 settings[3], settings[4], settings[5] != 0.0)


@subkernel(inline=True)
def adam_changes(theta: Any, grad: Any, averages: Any, begin: int, end: int, size: int, factor: float, rate: float,
                 t: int, decay_m: float, decay_s: float, epsilon: float, coupled: float, decoupled: float,
                 epsilon_hat: bool) -> None:
    """The gradient becomes the change of Adam's update t, with weight decay in the gradient or beside it."""
    T = type(theta[0])
    n = adam_numbers(rate, t, decay_m, decay_s, epsilon, decoupled, epsilon_hat)
    gamma, shrink, beta1, rest1, beta2 = T(n[0]), T(n[1]), T(n[2]), T(n[3]), T(n[4])
    rest2, correction1, correction2, stabilizer = T(n[5]), T(n[6]), T(n[7]), T(n[8])
    scale, weight_decay = T(factor), T(coupled)
    for p in range(begin, end):
        grad[p], averages[p], averages[size + p] = adam_change(
            scale * grad[p] + weight_decay * theta[p], theta[p], averages[p], averages[size + p], gamma, shrink, beta1,
            rest1, beta2, rest2, correction1, correction2, stabilizer)


_CHANGES = {name: subkernel(change, inline=True)
            for name, change in (("sgd", _sgd_changes), ("rmsprop", _rmsprop_changes), ("adam", _adam_changes))}

#: The optimizers' names in `spec_of`.
KINDS = tuple(_CHANGES)


def update_share(name: str, dtype: str) -> Any:
    """The function (part, theta, grad, averages, size, factor, rate, t, settings, beyond, thread, threads).

    For `address_of`: a thread's share of a part of update t, which says in beyond how many numbers are not finite. The
    running averages lie one after another.
    """
    change = _CHANGES[name]

    def share(part: int, theta: Any, grad: Any, averages: Any, size: int, factor: float, rate: float, t: int,
              settings: Any, beyond: Any, thread: int, threads: int) -> None:
        begin, end = share_of(size, thread, threads)
        count = 0
        if part == CHECK:
            for p in range(begin, end):
                count += not is_finite(grad[p])
        elif part == CHANGE:
            change(theta, grad, averages, begin, end, size, factor, rate, t, settings)
            count = not_finite_after(theta, grad, begin, end)
        else:
            subtract(theta, grad, begin, end)
        beyond[thread * LINE] = count

    numbers, real, integers = pointer_type(dtype), types.float64, types.CPointer(INTEGER)
    return share, (INTEGER, numbers, numbers, numbers, INTEGER, real, real, INTEGER, types.CPointer(real), integers,
                   INTEGER, INTEGER)


def spec_of(name: str, dtype: np.dtype, settings: np.ndarray, schedule: np.ndarray, clip_norm: float,
            is_plain: bool) -> OptimizerSpec:
    """The settings of the optimizer of that name, with its compiled function."""
    return OptimizerSpec(KINDS.index(name), address_of(update_share, name, dtype.name), settings, schedule, clip_norm,
                         is_plain, np.zeros(LINE * _config.NUMBA_NUM_THREADS, np.int64))
