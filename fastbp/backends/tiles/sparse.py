"""W_1 and sparse rows of X: the products of the first layer over what is not zero, for a whole chunk.

The job of a sparse X has no inputs: its panels begin with a_1, and phase 2 leaves ∂E/∂W_1 to this module. Threads share
the units of layer 1, each with its row of W_1, so that the sums have one order for any number of threads.
"""

from typing import Any

import numpy as np

from ...compiling.addresses import pointer, pointer_to
from ...compiling.decorators import inlined, subkernel
from ...threads import share_of
from ..conversion import reading_at
from ..entries import TOGETHER, add_gradient_of_entries, add_transposed_gradient, affine_of_entries
from .gradients import SIDE_BY_SIDE
from .job import is_given, phase_arguments
from .transpose import transpose
from .updates import update_at


@inlined
def is_sparse(job: Any) -> Any:
    """Whether the job takes rows of X entry by entry."""
    return job.features > 0


@inlined
def number_samples(job: Any) -> None:
    """Write which samples the chunk has, before threads share it; the addresses in the job are integers."""
    order, numbers = pointer_to(job.order, np.int64), pointer_to(job.numbers, np.int64)
    for s in range(job.count):
        numbers[s] = order[job.first + s] if is_given(order) else job.first + s


@inlined
def share_of_units(job: Any, thread: Any, threads: Any) -> Any:
    """The first unit of layer 1 in a thread's share, and the first after it: whole groups of them."""
    units = job.widths[1]
    begin, end = share_of((units + TOGETHER - 1) // TOGETHER, thread, threads)
    return begin * TOGETHER, min(end * TOGETHER, units)


def entries_share(dtype: str) -> Any:
    """The function of the phase before phase 1: a_1 of all samples, in a thread's share of the units."""
    def share(job: Any, thread: int, threads: int) -> None:
        begin, end = share_of_units(job, thread, threads)
        count, width, reading = job.count, job.lanes, reading_at(job.reading, None)
        affine_of_entries(reading.affine, reading, job.numbers, count, end - begin,
                          pointer(job.theta, job.weights_at[1] + begin * job.features), job.features,
                          pointer(job.theta, job.biases_at[1] + begin), pointer(job.sums_1, begin * job.chunk),
                          job.chunk)
        for i in range(begin, end):  # lanes after the last sample repeat it
            row = pointer(job.sums_1, i * job.chunk)
            for s in range(count, (count + width - 1) // width * width):
                row[s] = row[count - 1]

    return share, phase_arguments(dtype)


def transpose_share(dtype: str) -> Any:
    """The function that makes W_1ᵀ, in a thread's share of its rows."""
    def share(job: Any, thread: int, threads: int) -> None:
        width, units, features, apart = job.lanes, job.widths[1], job.features, job.in_transposed
        W, rows = pointer(job.theta, job.weights_at[1]), pointer(job.transpose_places, thread * job.in_places)
        columns = pointer(rows, width)
        for c in range(width):
            columns[c] = c * apart
        begin, end = share_of((features + width - 1) // width, thread, threads)
        for j in range(begin * width, min(end * width, features), width):
            for i in range(0, units, width):
                for r in range(width):
                    rows[r] = min(i + r, units - 1) * features
                transpose(job.transpose_block, pointer(W, j), rows, min(width, features - j),
                          pointer(job.transposed, j * apart + i), columns, min(width, units - i), W)

    return share, phase_arguments(dtype)


@inlined
def sum_rows(job: Any, numbers: Any, begins: Any, rows: Any) -> None:
    """a_1 of a panel's samples from W_1ᵀ, row after row; where each begins is written to `begins`."""
    reading, units = reading_at(job.reading, None), job.widths[1]
    for s in range(job.lanes):
        begins[s] = s * units
    affine_of_entries(reading.affine_transposed, reading, numbers, job.lanes, units, job.transposed, job.in_transposed,
                      pointer(job.theta, job.biases_at[1]), rows, units)


@inlined
def copy_sums(job: Any, panel: Any, a: Any) -> None:
    """a_1 of a panel."""
    width = job.lanes
    for i in range(job.widths[1]):
        sums = pointer(job.sums_1, i * job.chunk + panel * width)
        for s in range(width):
            a[i * width + s] = sums[s]


@subkernel
def add_sparse_gradient(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """target += alpha ∂E/∂W_1 of a chunk in a thread's share of the units; or the update of W_1, row by row.

    A row is summed by itself, and then added or used: so its bits do not depend on the way.
    """
    if is_given(job.transposed):
        add_from_transpose(job, alpha, thread, threads)
        return
    begin, end = share_of_units(job, thread, threads)
    features, reading = job.features, reading_at(job.reading, None)
    own = pointer(job.row_gradient, thread * job.in_row_gradient)
    for i in range(begin, end):
        add_gradient_of_entries(reading.add, reading, job.numbers, job.count, alpha,
                                pointer(job.delta, (job.units[1] + i) * job.lanes), job.in_delta, job.lanes, own)
        add_rows(job, job.weights_at[1] + i * features, own, np.int64(1), features, features)


@inlined
def add_rows(job: Any, place: Any, rows: Any, count: Any, columns: Any, in_row: Any) -> None:
    """Add some rows of ∂E/∂W_1 to the target, or update their parameters; the rows are 0 then.

    place : where the first of these columns of the first row lies in theta.
    """
    if job.updates:
        update_at(job, place, rows, count, columns, job.features, in_row, job.penalty)
        return
    for r in range(count):
        target, row = pointer(job.target, place + r * job.features), pointer(rows, r * in_row)
        for p in range(columns):
            target[p] += row[p]
            row[p] = 0


@subkernel
def add_from_transpose(job: Any, alpha: Any, thread: int, threads: int) -> None:
    """`add_sparse_gradient` by (∂E/∂W_1)ᵀ: an entry of X takes δ of many units side by side."""
    width, units, count, reading = job.lanes, job.widths[1], job.count, reading_at(job.reading, None)
    begin, end = share_of((units + width - 1) // width, thread, threads)
    begin, end = begin * width, min(end * width, units)
    delta = pointer(job.delta_1, begin * count)
    for s in range(count):
        panel = pointer(job.delta, s // width * job.in_delta + job.units[1] * width + s % width)
        for i in range(begin, end):
            delta[s * (end - begin) + i - begin] = alpha * panel[i * width]
    add_transposed_gradient(reading.add_transposed, reading, job.numbers, count, end - begin, delta,
                            pointer(job.gradient, begin), job.in_transposed)
    most = job.tile_rows * SIDE_BY_SIDE // (width * width) * width  # columns of `width` rows that have memory
    rows = pointer(job.sums, thread * job.in_sums)
    for i in range(begin, end, width):
        for j in range(0, job.features, most):
            columns = min(most, job.features - j)
            transpose_gradient(job, i, min(width, end - i), j, columns, thread, rows, most)
            add_rows(job, job.weights_at[1] + i * job.features + j, rows, min(width, end - i), columns, most)


@inlined
def transpose_gradient(job: Any, first: Any, units: Any, j: Any, columns: Any, thread: Any, rows: Any,
                       in_row: Any) -> None:
    """rows = some units' ∂E/∂w_ij for some columns j, (units, columns); (∂E/∂W_1)ᵀ is 0 there then."""
    width, apart = job.lanes, job.in_transposed
    source_rows = pointer(job.transpose_places, thread * job.in_places)
    target_rows = pointer(source_rows, width)
    for c in range(width):
        source_rows[c], target_rows[c] = c * apart, c * in_row
    for c in range(0, columns, width):
        block = pointer(job.gradient, (j + c) * apart + first)
        transpose(job.transpose_block, block, source_rows, width, pointer(rows, c), target_rows,
                  min(width, columns - c), rows)
        for r in range(min(width, columns - c)):
            for u in range(units):
                block[r * apart + u] = 0
