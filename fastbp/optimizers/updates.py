"""The update of theta by a gradient, in compiled code on flat vectors.

`update` clips the gradient, measures it, and takes the update by the optimizer's `Rule` in one pass. In large vectors
every thread has the share that it has of the gradient, because what it wrote is in its cache.
"""

import functools
import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange, types

from ..compiling.addresses import (
    INTEGER,
    Piece,
    address_in_memory,
    addresses_of,
    invoke,
    pointer,
    pointer_to,
    pointer_type,
    settings_at,
)
from ..compiling.decorators import inlined, kernel, subkernel
from ..formulas.elementary import is_finite, largest_number
from ..schedules import learning_rate_at
from ..threads import share_of
from .blocks import FAR, bounds_after, stays_far, update_block, update_parameters
from .rules import Rule, change_of, rounded, row_of, write_numbers

_config: Any = numba.config


class OptimizerSpec(NamedTuple):
    """An optimizer's settings as compiled code sees them."""

    share: int              # the address of the function that looks at a thread's share: `update_share`
    block: int              # the address of the function that updates parameters: `update_block`
    advance: int            # the address of the function that says how large they become: `bounds_after`
    write_row: int          # the address of the function that writes the coefficients of an update: `row_of`
    settings: np.ndarray    # float64: the settings of the rule, and λ of the weight decay
    row: np.ndarray         # float64: memory for what `write_row` writes
    schedule: np.ndarray    # (5,) float64, the learning-rate schedule
    clip_norm: float        # the largest norm of the gradient, or 0 for no clipping
    is_plain: bool          # whether an update is θ ← θ - γ g and nothing else
    found: np.ndarray       # float64: memory for what each thread finds, LINE apart
    bounds: np.ndarray      # (1 + averages,) float64: memory for bounds


class OptimizerState(NamedTuple):
    """The state of an optimizer: the number of updates t, and its running averages in the shape of theta."""

    updates: np.ndarray  # (1,) int64
    averages: np.ndarray  # (slots, P)


#: Fewer parameters are updated by one thread, which is done before others are awake.
SMALL_SIZE = 2**15

#: The distance between the numbers that threads write, a cache line.
LINE = 8

#: The parts of an update: measure all that goes into it, look whether it is finite, and write it.
MEASURE, LOOK, WRITE = range(3)


@kernel
def update(theta: Any, grad: Any, factor: float, optimizer: OptimizerSpec, state: OptimizerState,
           threads: int) -> bool:
    """θ ← θ - change(factor · grad), then grad = 0; False, and all as it was, where θ would not be finite.

    theta, grad : (P,). Where bounds do not show that the update is finite, the whole change is looked at first.
    """
    team = threads if theta.shape[0] >= SMALL_SIZE else 1
    if optimizer.clip_norm > 0.0:
        norm = factor * norm_of(grad)
        if norm > optimizer.clip_norm:
            factor = factor * optimizer.clip_norm / norm
    write_row(optimizer, state.updates[0], optimizer.row)
    run_part(MEASURE, theta, grad, factor, optimizer, state, team)
    if not is_bounded(theta, factor, optimizer, state, team):
        run_part(LOOK, theta, grad, factor, optimizer, state, team)
        count = 0.0
        for thread in range(team):
            count += optimizer.found[thread * LINE]
        if count > 0.0:
            return False
    run_part(WRITE, theta, grad, factor, optimizer, state, team)
    state.updates[0] += 1
    return True


@inlined
def run_part(part: Any, theta: Any, grad: Any, factor: Any, optimizer: Any, state: Any, team: Any) -> None:
    """Run a part of an update on some threads."""
    if team == 1:
        run_thread(part, theta, grad, np.float64(factor), optimizer, state.averages, 0, 1)
    else:
        on_threads(part, theta, grad, np.float64(factor), optimizer, state.averages, team)


@kernel(parallel=True)
def on_threads(part: int, theta: Any, grad: Any, factor: float, optimizer: OptimizerSpec, averages: Any,
               threads: int) -> None:
    """Run every thread's share of a part of an update."""
    for thread in prange(threads):
        run_thread(part, theta, grad, factor, optimizer, averages, np.int64(thread), threads)


@subkernel
def run_thread(part: int, theta: Any, grad: Any, factor: float, optimizer: OptimizerSpec, averages: Any, thread: int,
               threads: int) -> None:
    """Run a thread's share of a part of an update."""
    size = theta.shape[0]
    if part == WRITE:
        begin, end = share_of(size, thread, threads)
        update_parameters(optimizer.block, pointer(theta, begin), pointer(grad, begin), pointer(averages, begin),
                          pointer(averages, size + begin), 1, end - begin, 0, 0, factor, 0.0, optimizer.row)
    else:
        run_share(optimizer.share, np.int64(part), theta, grad, averages, size, factor, optimizer.row, optimizer.found,
                  thread, threads)


@subkernel
def is_bounded(theta: Any, factor: float, optimizer: OptimizerSpec, state: OptimizerState, team: int) -> bool:
    """Whether the largest numbers that threads found show that an update is finite."""
    found, bounds = optimizer.found, optimizer.bounds
    for place in range(bounds.shape[0] + 1):
        for thread in range(1, team):
            found[place] = larger(found[place], found[thread * LINE + place])
    for k in range(bounds.shape[0]):
        bounds[k] = found[1 + k]
    most = largest_number(theta[0])
    return stays_far(optimizer.advance, factor * found[0], optimizer.row, bounds, most) and found[0] < FAR * most


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


@subkernel
def largest_of(values: Any) -> float:
    """max |x|."""
    largest = 0.0
    for p in range(values.shape[0]):
        largest = max(largest, abs(np.float64(values[p])))
    return largest


#: Between these sums of squares no square that counts has vanished or overflowed. Squares of float32 never do in
#: float64.
SMALLEST_SQUARES, LARGEST_SQUARES = 1e-280, 1e300


@subkernel
def norm_of(grad: Any) -> float:
    """‖grad‖ in float64; where squares would vanish or overflow, of the numbers divided by the largest one."""
    total = sum_of_squares(grad, 1.0)
    if SMALLEST_SQUARES < total < LARGEST_SQUARES:
        return math.sqrt(total)
    largest = largest_of(grad)
    if largest == 0.0:
        return 0.0
    return largest * math.sqrt(sum_of_squares(grad, largest))


@subkernel
def sum_of_squares(values: Any, unit: float) -> float:
    """Σ (x / unit)² in float64."""
    numbers, total = pointer(values, 0), 0.0
    for p in range(values.shape[0]):
        ratio = np.float64(numbers[p]) / unit
        total += ratio * ratio
    return total


@inlined
def larger(x: Any, y: Any) -> Any:
    """The larger of two numbers; NaN if one of them is."""
    return x if x >= y else (y if y >= x else np.nan)


@subkernel(inline=True)
def average_at(averages: Any, k: int, place: Any) -> Any:
    """Average k of a parameter; place : its number, and the number of all parameters."""
    return averages[k * place[1] + place[0]]


@subkernel(inline=True)
def write_nothing(averages: Any, k: int, place: Any, value: Any) -> None:
    """Leave average k of a parameter as it is."""


def update_share(rule: Rule, dtype: str) -> Any:
    """The function that looks at a thread's share of an update before anything is written, for `address_of`.

    Its arguments are (part, theta, grad, averages, size, factor, row, found, thread, threads). The averages lie one
    after another, `size` apart.

    MEASURE writes the largest magnitudes to `found`, for each thread LINE apart: of the gradient, θ and every average.
    LOOK writes how many parameters would not be finite after the update, or have a gradient that is not.
    """
    change = subkernel(change_of(rule, average_at, write_nothing), inline=True)
    coefficients_of, decay, count = rounded(rule), rule.count, len(rule.averages)
    number = np.dtype(dtype).type
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}").type

    def share(part: int, theta: Any, grad: Any, averages: Any, size: int, factor: float, row: Any, found: Any,
              thread: int, threads: int) -> None:
        begin, end = share_of(size, thread, threads)
        results = pointer(found, thread * LINE)
        if part == MEASURE:
            results[0] = largest_at(pointer(grad, begin), end - begin, results, number, unsigned)
            results[1] = largest_at(pointer(theta, begin), end - begin, pointer(results, 1), number, unsigned)
            for k in range(count):
                results[2 + k] = largest_at(pointer(averages, k * size + begin), end - begin, pointer(results, 2 + k),
                                            number, unsigned)
        else:
            T = type(theta[0])
            of_all, weight_decay, coefficients = T(factor), T(row[decay]), coefficients_of(row, theta[0])
            not_finite = 0
            for p in range(begin, end):
                g = of_all * grad[p] + weight_decay * theta[p]
                after = theta[p] - change(theta[p], g, averages, averages, (p, size), coefficients)
                not_finite += not (is_finite(grad[p]) and is_finite(after))
            results[0] = not_finite

    numbers, real, reals = pointer_type(dtype), types.float64, types.CPointer(types.float64)
    return share, (INTEGER, numbers, numbers, numbers, INTEGER, real, reals, reals, INTEGER, INTEGER)


@inlined
def largest_at(values: Any, count: Any, place: Any, number: Any, unsigned: Any) -> Any:
    """The largest magnitude of `count` numbers at a pointer, by their bits; see `arrays.largest_bits`.

    place : memory of a number.
    """
    bits, one, largest = pointer_to(address_in_memory(values), unsigned), unsigned(1), unsigned(0)
    for p in range(count):
        largest = max(largest, unsigned(bits[p] << one))
    pointer_to(address_in_memory(place), unsigned)[0] = largest >> one
    return np.float64(pointer_to(address_in_memory(place), number)[0])


@inlined
def run_share(address: Any, part: Any, theta: Any, grad: Any, averages: Any, size: Any, factor: Any, row: Any,
              found: Any, thread: Any, threads: Any) -> None:
    """Look at a thread's share of an update, by the function at an address that `update_share` describes."""
    invoke(address, (part, theta, grad, averages, size, factor, row, found, thread, threads))


def pieces_of(rule: Rule, dtype: np.dtype) -> list[Piece]:
    """What the updates of an optimizer compile: a thread's share, and the coefficients."""
    return [(update_share, rule, dtype.name), (update_block, rule, dtype.name), (bounds_after, rule), (row_of, rule)]


@functools.cache
def _addresses_of(rule: Rule, dtype: np.dtype) -> tuple[int, ...]:
    """The addresses of `pieces_of`; a dtype's name alone takes 4 µs."""
    return addresses_of(pieces_of(rule, dtype))


def spec_of(rule: Rule, dtype: np.dtype | None, settings: list[float], schedule: np.ndarray, clip_norm: float,
            is_plain: bool) -> OptimizerSpec:
    """An optimizer's settings, λ last, with the functions that are compiled from its rule for a dtype; 0 if None."""
    share, block, advance, write = (0, 0, 0, 0) if dtype is None else _addresses_of(rule, dtype)
    return OptimizerSpec(share, block, advance, write, np.array(settings, np.float64), np.zeros(rule.count + 1),
                         schedule, clip_norm, is_plain, np.zeros(LINE * _config.NUMBA_NUM_THREADS),
                         np.zeros(1 + len(rule.averages)))


def rule_of(optimizer: OptimizerSpec) -> Rule:
    """The rule that an optimizer's functions were compiled from."""
    rule: Rule = settings_at(optimizer.share)[0]
    return rule
