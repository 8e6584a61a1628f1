"""The loop over batches and epochs, in Python: the steps of a slice are launched, then their results are read.

It is `backends.training_loop` for the device: the same plan, the same progress, the same order of samples. The results
of a step stay on the device until the end of the slice.
"""

from typing import Any, NamedTuple

import numpy as np

from ...checks import samples as inputs
from ...checks.samples import Samples
from ...compiling.interrupts import held_back
from ...formulas.dropout import epoch_key
from ...formulas.sampling import draw_order
from ...optimizers.updates import OptimizerSpec, OptimizerState, rule_of
from ..contract import Batch, Extras, Wanted
from ..training_loop import (
    BATCH_E,
    BEFORE,
    CORRECT,
    DIVERGED,
    EPOCH,
    EPOCH_E,
    POSITION,
    RUNNING,
    STALLED,
    STEP,
    Limits,
    Plan,
    Training,
    end_epoch,
)
from .feed import Order
from .fused import FusedSteps
from .memory import is_on_device
from .panels import THREADS, blocks_for, fill
from .propagation import DeviceLayout, Propagation
from .shape import shape_of, slots_of
from .updates import (
    CONTROLS,
    NOT_FINITE,
    PRESENT_E,
    RECORD_CORRECT,
    RECORD_E,
    RECORD_PENALTY,
    RECORD_WEIGHT,
    RECORDS,
    SUMMING_BLOCKS,
    TAKEN,
    Update,
    add_penalty,
    end_penalty,
    rows_of,
    set_weight,
    sum_weights,
)

#: The most steps of a slice: their records and rows lie on the device.
MAX_STEPS = 4096


class Steps(NamedTuple):
    """Steps of a slice."""

    numbers: np.ndarray              # for the optimizer, a row for each; see `updates.rows_of`
    batches: list[tuple[int, int]]   # their places in the order, from start to stop


def train(theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training, limits: Limits,
          work: Propagation, threads: int) -> int:
    """Take batches of about the limit's samples in all; see `Backend.train`. A slice ends with a batch, or at Ctrl-C.

    The steps that the device took are counted before Ctrl-C ends the training, as in compiled code.
    """
    with held_back() as interrupts:
        return _slice(theta, grad, layout, samples, training, limits, work, interrupts)


def _slice(theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training, limits: Limits,
           work: Propagation, interrupts: held_back) -> int:
    """`train` until there is an interrupt."""
    plan, optimizer, state, progress = training
    until_epoch, budget = limits
    n, counts, sums = len(samples.X), progress.counts, progress.sums
    while budget > 0 and counts[EPOCH] < until_epoch and not interrupts:
        position = int(counts[POSITION])
        if position == 0:
            draw_order(progress.order, plan.sampling, plan.seed, counts[EPOCH])
        if position == 0 or work.order.places is not progress.order:  # of a training that goes on from a checkpoint
            work.order = Order(progress.order)
        left = -(-(n - position) // plan.batch_size)
        steps = max(1, min(left, -(-budget // plan.batch_size), MAX_STEPS))
        rows = rows_of(optimizer, int(state.updates[0]), steps)
        starts = range(position, position + steps * plan.batch_size, plan.batch_size)
        batches = [(start, min(start + plan.batch_size, n)) for start in starts]
        fused = fused_for(layout, samples, plan, optimizer, state, work)
        if fused is not None:
            batch = Batch(samples, work.order.on_device, position, n)
            records, E = fused.take(theta, state.averages, batch, plan.batch_size, rows, work)
        else:
            records, E = descend(theta, grad, layout, samples, training, Steps(rows, batches), work, interrupts)
        taken = len(records)
        sizes = np.array([stop - start for start, stop in batches[:taken]])
        E_of_steps = plan.loss_scale * records[:, RECORD_E] + records[:, RECORD_PENALTY]
        shares = plan.loss_share if plan.loss_share > 0.0 else sizes / records[:, RECORD_WEIGHT]
        for part in (E_of_steps * shares).tolist():
            sums[EPOCH_E] += part  # one after another, so that it does not matter where a slice ends
        counts[CORRECT] += int(records[:, RECORD_CORRECT].sum())
        counts[STEP] += taken
        state.updates[0] += taken
        counts[POSITION] += sizes.sum()
        budget -= int(sizes.sum())
        if E is not None:
            sums[BATCH_E] = E
            return DIVERGED
        if counts[POSITION] == n and plan.in_blocks:
            return RUNNING
        if counts[POSITION] == n and end_epoch.py_func(progress, plan, n) == STALLED:
            return STALLED
    return RUNNING


def fused_for(layout: DeviceLayout, samples: Samples, plan: Plan, optimizer: OptimizerSpec, state: OptimizerState,
              work: Propagation) -> FusedSteps | None:
    """The kernel for whole steps in one launch, if batches are plain and the network is small; else None."""
    is_plain = (plan.clip_norm == 0.0 and not len(plan.rates) and plan.penalty == 0.0 and not plan.by_weight
                and optimizer.clip_norm == 0.0 and is_on_device(samples.X))
    shape = shape_of(layout, plan.batch_size) if is_plain else None
    if shape is None:
        return None
    key = shape, slots_of(layout, shape, plan.batch_size), rule_of(optimizer)
    if key not in work.fused:
        work.fused[key] = FusedSteps(layout, *key)
    return work.fused[key]


def mass_of(samples: Samples, order: Order, start: int, stop: int) -> float:
    """Σ w of the samples order[start:stop] on the processor; their number if they have no weights, or only zeros."""
    count = stop - start
    weights = samples.weights
    return inputs.total_weight(weights[order.rows(start, count)], count) if len(weights) else float(count)


def descend(theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training, steps: Steps,
            work: Propagation, interrupts: held_back) -> tuple[np.ndarray, float | None]:
    """Take a step for each batch, by several launches, until there is an interrupt.

    Returns the records of the steps that were taken, and E of a step that was not finite, or None.
    """
    plan, optimizer, state, progress = training
    rows, batches = steps
    (epoch, before), wanted = progress.counts[[EPOCH, BEFORE]].tolist(), Wanted(grad, None, None, None)
    extras = Extras(plan.clip_norm, 0, 0, int(epoch_key(plan.seed, epoch, before)) if len(plan.rates) else 0)
    update = Update(layout.dtype, optimizer, layout.size, work.launch)
    control, totals, launch = work.there(np.zeros(CONTROLS)), work.totals, work.launch
    records, on_device = work.there(np.zeros((len(batches), RECORDS))), work.there(rows)
    parts = work.there(np.zeros((SUMMING_BLOCKS, THREADS)))
    resident = is_on_device(samples.X)
    work.start_totals()
    for start, stop in batches:
        for window in work.feed.windows(samples, work.order, start, stop):
            if interrupts:
                break
            work.run(theta, window, wanted, extras, plan.rates)
        if interrupts:  # only whole steps are taken
            launch(fill, blocks_for(layout.size), THREADS, grad.reshape(1, layout.size), 0, 1, layout.size, 0.0)
            break
        if plan.by_weight and len(samples.weights) and resident:
            launch(sum_weights, 1, THREADS, samples.weights, work.order.on_device, start, stop - start, totals, control)
        else:
            weight = mass_of(samples, work.order, start, stop) if plan.by_weight else float(stop - start)
            launch(set_weight, 1, 1, weight, totals, control)
        if plan.penalty > 0.0:
            for k in range(1, layout.depth + 1):
                launch(add_penalty, SUMMING_BLOCKS, THREADS, theta, grad, layout.weights[k], layout.biases[k],
                       plan.penalty, parts)
            launch(end_penalty, 1, 1, parts, plan.penalty, control)
        update.launch(theta, grad, state.averages, on_device, control, totals, records)
    seen = work.read(control)
    return work.read(records)[: int(seen[TAKEN])], float(seen[PRESENT_E]) if seen[NOT_FINITE] else None
