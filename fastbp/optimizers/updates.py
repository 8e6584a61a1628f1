"""The update of theta by a gradient, in compiled code on flat vectors.

`update` clips the gradient, turns it into the change of theta by the optimizer's `Rule`, in place, and subtracts that.
In large vectors every thread has the share that it has of the gradient, because what it wrote is in its cache.
"""

import functools
import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange, types

from ..compiling.addresses import INTEGER, address_of, invoke, pointer, pointer_type, settings_at
from ..compiling.decorators import inlined, kernel, subkernel
from ..compiling.side_by_side import Piece
from ..formulas.elementary import is_finite
from ..schedules import learning_rate_at
from ..threads import share_of
from .rules import Rule, change_of, rounded, row_of, write_numbers

_config: Any = numba.config


class OptimizerSpec(NamedTuple):
    """An optimizer's settings as compiled code sees them."""

    share: int              # the address of the function that does a thread's share: `update_share`
    write_row: int          # the address of the function that writes the coefficients of an update: `row_of`
    settings: np.ndarray    # float64: the settings of the rule, and λ of the weight decay
    row: np.ndarray         # float64: memory for what `write_row` writes
    schedule: np.ndarray    # (5,) float64, the learning-rate schedule
    clip_norm: float        # the largest norm of the gradient, or 0 for no clipping
    is_plain: bool          # whether an update is θ ← θ - γ g and nothing else
    not_finite: np.ndarray  # how many numbers of each thread's share are not finite, LINE apart


class OptimizerState(NamedTuple):
    """The state of an optimizer: the number of updates t, and its running averages in the shape of theta."""

    updates: np.ndarray  # (1,) int64
    averages: np.ndarray  # (slots, P)


#: Fewer parameters are updated by one thread, which is done before others are awake.
SMALL_SIZE = 2**15

#: The distance between the integers that threads write, a cache line.
LINE = 8

#: The parts of an update: check that the gradient is finite, turn it into the change, and subtract that.
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
    write_row(optimizer, state.updates[0], optimizer.row)
    for part in range(CHECK, APPLY + 1):
        if team == 1:
            run_share(optimizer.share, part, theta, grad, state.averages, theta.shape[0], np.float64(factor),
                      optimizer.row, optimizer.not_finite, 0, 1)
        else:
            on_threads(optimizer, part, theta, grad, state.averages, np.float64(factor), team)
        count = 0
        for thread in range(team):
            count += optimizer.not_finite[thread * LINE]
        if count > 0:
            return False
    state.updates[0] += 1
    return True


@kernel
def descend(theta: Any, grad: Any, rate: Any) -> bool:
    """θ ← θ - rate · grad, then grad = 0; False, and both as they were, where that is not finite.

    theta, grad : (P,); the rate is rounded to their dtype.
    """
    return descend_at(pointer(theta, 0), pointer(grad, 0), theta.shape[0], theta.dtype.type(rate))


@inlined
def descend_at(values: Any, slopes: Any, size: Any, rate: Any) -> Any:
    """`descend` at pointers to `size` numbers."""
    not_finite = 0
    for p in range(size):
        not_finite += not is_finite(values[p] - rate * slopes[p])
    if not_finite:
        return False
    for p in range(size):
        values[p] -= rate * slopes[p]
        slopes[p] = 0
    return True


@kernel(parallel=True)
def on_threads(optimizer: OptimizerSpec, part: int, theta: Any, grad: Any, averages: Any, factor: float,
               threads: int) -> None:
    """Run every thread's share of a part of an update."""
    share, row, not_finite = optimizer.share, optimizer.row, optimizer.not_finite
    for thread in prange(threads):
        run_share(share, np.int64(part), theta, grad, averages, theta.shape[0], factor, row, not_finite,
                  np.int64(thread), threads)


@subkernel
def write_row(optimizer: OptimizerSpec, updates: int, row: Any) -> None:
    """row = the coefficients of the update after the first `updates`, then λ of the weight decay."""
    write_numbers(optimizer.write_row, np.float64(learning_rate_at(optimizer.schedule, updates)), np.int64(updates + 1),
                  optimizer.settings, row)


@kernel
def write_rows(optimizer: OptimizerSpec, updates: int, rows: Any) -> None:
    """rows (steps, count + 1) = those of consecutive updates: see `write_row`."""
    for step in range(rows.shape[0]):
        write_row(optimizer, updates + step, rows[step])


@subkernel(inline=True)
def not_finite_after(theta: Any, change: Any, begin: int, end: int) -> int:
    """The number of parameters whose θ - change is not finite."""
    count = 0
    for p in range(begin, end):
        count += not is_finite(theta[p] - change[p])
    return count


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


@subkernel(inline=True)
def average_at(averages: Any, k: int, place: Any) -> Any:
    """Average k of a parameter; place : its number, and the number of all parameters."""
    return averages[k * place[1] + place[0]]


@subkernel(inline=True)
def write_average(averages: Any, k: int, place: Any, value: Any) -> None:
    """Write average k of a parameter; place as in `average_at`."""
    averages[k * place[1] + place[0]] = value


@functools.cache
def changes_of(rule: Rule) -> Any:
    """The compiled function that turns gradients into changes of theta, in place, for parameters begin … end - 1.

    Its arguments are (theta, grad, averages, size, begin, end, factor, weight_decay, coefficients). size is the number
    of all parameters. factor, weight_decay and the tuple of coefficients are numbers of theta's dtype.
    """
    change = subkernel(change_of(rule, average_at, write_average), inline=True)

    def changes(theta: Any, grad: Any, averages: Any, size: int, begin: int, end: int, factor: Any, weight_decay: Any,
                coefficients: Any) -> None:
        for p in range(begin, end):
            grad[p] = change(theta[p], factor * grad[p] + weight_decay * theta[p], averages, averages, (p, size),
                             coefficients)

    return subkernel(changes, inline=True)


def update_share(rule: Rule, dtype: str) -> Any:
    """The function that does a thread's share of a part of an update, for `address_of`.

    Its arguments are (part, theta, grad, averages, size, factor, row, not_finite, thread, threads). It writes how many
    numbers are not finite to not_finite. The averages lie one after another.
    """
    changes, coefficients_of, decay = changes_of(rule), rounded(rule), rule.count

    def share(part: int, theta: Any, grad: Any, averages: Any, size: int, factor: float, row: Any, not_finite: Any,
              thread: int, threads: int) -> None:
        begin, end = share_of(size, thread, threads)
        count = 0
        if part == CHECK:
            for p in range(begin, end):
                count += not is_finite(grad[p])
        elif part == CHANGE:
            T = type(theta[0])
            changes(theta, grad, averages, size, begin, end, T(factor), T(row[decay]), coefficients_of(row, theta[0]))
            count = not_finite_after(theta, grad, begin, end)
        else:
            subtract(theta, grad, begin, end)
        not_finite[thread * LINE] = count

    numbers, real, integers = pointer_type(dtype), types.float64, types.CPointer(INTEGER)
    return share, (INTEGER, numbers, numbers, numbers, INTEGER, real, types.CPointer(real), integers, INTEGER, INTEGER)


@inlined
def run_share(address: Any, part: Any, theta: Any, grad: Any, averages: Any, size: Any, factor: Any, row: Any,
              not_finite: Any, thread: Any, threads: Any) -> None:
    """Do a thread's share of a part of an update, by the function at an address that `update_share` describes."""
    invoke(address, (part, theta, grad, averages, size, factor, row, not_finite, thread, threads))


def pieces_of(rule: Rule, dtype: np.dtype) -> list[Piece]:
    """What the updates of an optimizer compile: a thread's share, and the coefficients."""
    return [(update_share, rule, dtype.name), (row_of, rule)]


def spec_of(rule: Rule, dtype: np.dtype | None, settings: list[float], schedule: np.ndarray, clip_norm: float,
            is_plain: bool) -> OptimizerSpec:
    """An optimizer's settings, λ last, with the functions that are compiled from its rule for a dtype; 0 if None."""
    share, write = (0, 0) if dtype is None else (address_of(*piece) for piece in pieces_of(rule, dtype))
    return OptimizerSpec(share, write, np.array(settings, np.float64), np.zeros(rule.count + 1), schedule, clip_norm,
                         is_plain, np.zeros(LINE * _config.NUMBA_NUM_THREADS, np.int64))


def rule_of(optimizer: OptimizerSpec) -> Rule:
    """The rule that an optimizer's functions were compiled from."""
    rule: Rule = settings_at(optimizer.share)[0]
    return rule
