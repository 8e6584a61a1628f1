"""The loop over batches and epochs, in Python: the steps of a slice are launched, then their results are read.

It is `backends.training_loop` for the device: the same plan, the same progress, the same order of samples. A slice is
enqueued as a whole, over the ends of epochs too, and read once. What follows a step that is not finite does nothing.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...checks import samples as inputs
from ...checks.samples import Samples
from ...compiling.interrupts import Interruption, compiling, held_back
from ...formulas.dropout import epoch_key
from ...optimizers.updates import OptimizerSpec, rule_of
from ..contract import Extras, Wanted
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
    Progress,
    Training,
    end_epoch,
)
from .fused import FusedSteps
from .memory import is_on_device
from .panels import THREADS, blocks_for, fill, start_at
from .propagation import DeviceLayout, Propagation
from .shape import shape_of, slots_of
from .steps import Orders, StepMemory
from .updates import (
    RECORD_CORRECT,
    RECORD_E,
    RECORD_PENALTY,
    RECORD_WEIGHT,
    SUMMING_BLOCKS,
    Update,
    add_penalty,
    end_penalty,
    rows_of,
    set_weight,
    sum_weights,
)

#: The most steps that are enqueued before they are read: their records and rows lie on the device.
MAX_STEPS = 4096


class Part(NamedTuple):
    """Consecutive steps of one epoch."""

    epoch: int
    starts: np.ndarray  # of their batches, as places in `Orders`
    sizes: np.ndarray


def train(theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training, limits: Limits,
          work: Propagation, threads: int) -> int:
    """Take batches of about the limit's samples in all; see `Backend.train`. A slice ends with a batch, or at Ctrl-C.

    The steps that the device took are counted before Ctrl-C ends the training, as in compiled code. While kernels are
    compiled it is heard at once; a step of which only a part was launched is not taken.
    """
    with compiling() as interrupts:
        return _slice(theta, grad, layout, samples, training, limits, work, interrupts)


def _slice(theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training, limits: Limits,
           work: Propagation, interrupts: held_back) -> int:
    """`train` until there is an interrupt."""
    plan, optimizer, state, progress = training
    n, counts, left = len(samples.X), progress.counts, limits.samples
    memory, orders = _memory_for(optimizer, progress, work)
    fused = fused_for(layout, samples, plan, optimizer, work)
    while left > 0 and counts[EPOCH] < limits.epoch and not interrupts:
        memory.start()
        parts: list[Part] = []
        next_parts = _enqueued(parts_of(plan, progress, n, Limits(limits.epoch, left), orders), parts, optimizer,
                               int(state.updates[0]), memory)
        heard = None
        try:
            if fused is not None:
                fused.launch(theta, state.averages, samples, next_parts, orders, memory, work, interrupts)
            else:
                descend(theta, grad, layout, samples, training, next_parts, orders, memory, work, interrupts)
        except Interruption as interruption:
            heard = interruption
        with held_back():  # steps that were taken are counted
            if heard is not None:
                clear(grad, work)
            records, E = memory.read()
            if fused is not None:
                fused.finish(theta, state.averages, len(records), work)
            state.updates[0] += len(records)
            done, status = count_steps(parts, records, plan, progress, n)
            left -= done
            if E is not None:
                progress.sums[BATCH_E] = E
                orders.go_back_to(int(counts[EPOCH]), plan)
        if heard is not None:
            raise heard
        if E is not None:
            return DIVERGED
        if status == STALLED or (plan.in_blocks and counts[POSITION] == n):
            return status
    return RUNNING


def _memory_for(optimizer: OptimizerSpec, progress: Progress, work: Propagation) -> tuple[StepMemory, Orders]:
    """The memory of steps and of orders, which is that of the slices before where it can be."""
    memory, orders = work.kept.get(StepMemory), work.kept.get(Orders)
    if memory is None or memory.most != MAX_STEPS or memory.columns != len(optimizer.row):
        memory = work.kept[StepMemory] = StepMemory(MAX_STEPS, len(optimizer.row), work)
    if orders is None or orders.drawn is not progress.order:
        orders = work.kept[Orders] = Orders(progress.order, work)
    return memory, orders


def parts_of(plan: Plan, progress: Progress, n: int, limits: Limits, orders: Orders) -> Iterator[Part]:
    """The next steps, about as many as the limits say, while their orders have room beside each other.

    n : the number of samples
    """
    size, (epoch, position), (until, left) = plan.batch_size, progress.counts[[EPOCH, POSITION]].tolist(), limits
    most = MAX_STEPS
    for _ in range(orders.slots):
        if left <= 0 or most <= 0 or epoch >= until:
            return
        begin = orders.begin_of(epoch, plan, is_drawn=position > 0)
        steps = max(1, min(-(-(n - position) // size), -(-left // size), most))
        places = position + size * np.arange(steps)
        sizes = np.minimum(size, n - places)
        yield Part(epoch, begin + places, sizes)
        most, left, position = most - steps, left - int(sizes.sum()), position + int(sizes.sum())
        if position == n:
            if plan.in_blocks or plan.patience > 0:  # what comes then is decided when the epoch's loss is known
                return
            epoch, position = epoch + 1, 0


def _enqueued(parts: Iterable[Part], kept: list[Part], optimizer: OptimizerSpec, updates: int,
              memory: StepMemory) -> Iterator[Part]:
    """The parts, whose coefficients are added to the memory, and which are kept in a list."""
    for part in parts:
        kept.append(part)
        memory.add(rows_of(optimizer, updates + memory.steps, len(part.sizes)), part.starts, part.sizes)
        yield part


def count_steps(parts: list[Part], records: np.ndarray, plan: Plan, progress: Progress, n: int) -> tuple[int, int]:
    """Write the records of the steps that were taken to the progress.

    Returns the number of their samples, and STALLED or RUNNING.
    """
    counts, sums, done = progress.counts, progress.sums, 0
    for part in parts:
        own, records = records[: len(part.sizes)], records[len(part.sizes) :]
        sizes = part.sizes[: len(own)]
        E_of_steps = plan.loss_scale * own[:, RECORD_E] + own[:, RECORD_PENALTY]
        shares = plan.loss_share if plan.loss_share > 0.0 else sizes / own[:, RECORD_WEIGHT]
        for share in (E_of_steps * shares).tolist():
            sums[EPOCH_E] += share  # one after another, so that it does not matter where a slice ends
        counts[CORRECT] += int(own[:, RECORD_CORRECT].sum())
        counts[STEP] += len(own)
        counts[POSITION] += sizes.sum()
        done += int(sizes.sum())
        if counts[POSITION] == n and not plan.in_blocks and end_epoch.py_func(progress, plan, n) == STALLED:
            return done, STALLED
    return done, RUNNING


def fused_for(layout: DeviceLayout, samples: Samples, plan: Plan, optimizer: OptimizerSpec,
              work: Propagation) -> FusedSteps | None:
    """The kernel for whole steps in one launch, if batches are plain and the network is small; else None."""
    is_plain = (plan.clip_norm == 0.0 and not len(plan.rates) and plan.penalty == 0.0 and not plan.by_weight
                and optimizer.clip_norm == 0.0 and is_on_device(samples.X))
    shape = shape_of(layout, plan.batch_size) if is_plain else None
    if shape is None:
        return None
    key = shape, slots_of(layout, shape, plan.batch_size), rule_of(optimizer)
    if key not in work.kept:
        work.kept[key] = FusedSteps(layout, *key)
    steps: FusedSteps = work.kept[key]
    return steps


def mass_of(samples: Samples, orders: Orders, start: int, stop: int) -> float:
    """Σ w of the samples orders[start:stop] on the processor; their number if they have no weights, or only zeros."""
    count = stop - start
    weights = samples.weights
    return inputs.total_weight(weights[orders.rows(start, count)], count) if len(weights) else float(count)


def descend(theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training, parts: Iterable[Part],
            orders: Orders, memory: StepMemory, work: Propagation, interrupts: held_back) -> None:
    """Take a step for each batch of the parts, by several launches, until there is an interrupt.

    Whole batches of samples on the device have the same launches, which are captured and replayed.
    """
    plan, optimizer, state, progress = training
    resident, before = is_on_device(samples.X), int(progress.counts[BEFORE])
    steps = Steps(theta, grad, layout, samples, training, orders, memory, work)
    work.start_totals()
    for part in parts:
        orders.copy()
        memory.copy()
        work.launch(start_at, 1, 1, float(part.starts[0]) if resident else 0.0, work.totals)
        key = int(epoch_key(plan.seed, part.epoch, before)) if len(plan.rates) else 0
        extras = Extras(plan.clip_norm, 0, 0, key)
        for start, size in zip(part.starts.tolist(), part.sizes.tolist(), strict=True):
            if interrupts:
                return
            if resident and size == plan.batch_size:
                work.replay.run(work, partial(steps.take, start, size, extras), key, theta, grad, samples, plan,
                                optimizer, state.averages, orders, memory)
            else:
                steps.take(start, size, extras, interrupts)


def clear(grad: Any, work: Propagation) -> None:
    """Set the gradient to zero."""
    work.launch(fill, blocks_for(grad.size), THREADS, grad.reshape(1, grad.size), 0, 1, grad.size, 0.0)


class Steps:
    """Takes steps by several launches."""

    def __init__(self, theta: Any, grad: Any, layout: DeviceLayout, samples: Samples, training: Training,
                 orders: Orders, memory: StepMemory, work: Propagation) -> None:
        self._theta, self._grad, self._layout, self._samples, self._training = theta, grad, layout, samples, training
        self._orders, self._memory, self._work = orders, memory, work
        self._wanted, self._resident = Wanted(grad, None, None, None), is_on_device(samples.X)
        self._update = Update(layout.dtype, training.optimizer, layout.size, work.launch)
        self._parts = work.there(np.zeros((SUMMING_BLOCKS, THREADS))) if training.plan.penalty > 0.0 else None

    def take(self, start: int, size: int, extras: Extras, interrupts: Any = ()) -> None:
        """Take a step for the batch at a place of the orders; none if there is an interrupt meanwhile."""
        theta, grad, work, launch, plan = self._theta, self._grad, self._work, self._work.launch, self._training.plan
        control, totals, layout, samples = self._memory.control, work.totals, self._layout, self._samples
        stop = start + size
        for window in work.feed.windows(samples, self._orders, start, stop, start if self._resident else 0):
            work.run(theta, window, self._wanted, extras, plan.rates)
            if interrupts:  # only whole steps are taken
                clear(grad, work)
                return
        if plan.by_weight and len(samples.weights) and self._resident:
            launch(sum_weights, 1, THREADS, samples.weights, self._orders.on_device, size, totals, control)
        else:
            weight = mass_of(samples, self._orders, start, stop) if plan.by_weight else float(size)
            launch(set_weight, 1, 1, weight, totals, control)
        if plan.penalty > 0.0:
            for k in range(1, layout.depth + 1):
                launch(add_penalty, SUMMING_BLOCKS, THREADS, theta, grad, layout.weights[k], layout.biases[k],
                       plan.penalty, self._parts)
            launch(end_penalty, 1, 1, self._parts, plan.penalty, control)
        self._update.launch(theta, grad, self._training.state.averages, self._memory.rows, control, totals,
                            self._memory.records, size if self._resident else 0)
