"""The loop over batches and epochs, in compiled code, over any backend's `propagate`.

It runs in slices. Python gives a budget of samples, and gets control back after about that many, after an epoch that it
asks for, or at the end of training. A slice ends where sums are cut anyway, at the end of a batch or of a chunk. So
interrupting training, however often, does not change a bit of the result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..compiling.addresses import address_in_memory, pointer
from ..compiling.decorators import inlined, kernel, subkernel
from ..formulas.dropout import epoch_key
from ..formulas.elementary import is_finite
from ..formulas.losses import mean_loss
from ..formulas.sampling import draw_order
from ..layout import Layout
from ..optimizers.updates import largest_of, update
from ..schedules import has_constant_rate, learning_rate_at
from .contract import Batch, Extras, Wanted

RUNNING, DIVERGED, STALLED = 0, 1, 2

#: The columns of Progress.counts and Progress.sums.
EPOCH, POSITION, STEP, CORRECT, STALE, BEFORE = 0, 1, 2, 3, 4, 5
BATCH_E, EPOCH_E, BEST = 0, 1, 2


class Plan(NamedTuple):
    """The settings of a training."""

    batch_size: int
    chunk: int        # samples, at multiples of which a batch may be cut and training interrupted
    sampling: int     # IN_ORDER, WITHOUT_REPLACEMENT or WITH_REPLACEMENT
    seed: int         # of the order of samples, and of the units that are dropped, below 2^63
    clip_norm: float  # C, to which every sample's gradient is clipped, or 0
    penalty: float    # α: the gradient of a batch is that of E + ½ α Σ_k ‖W_k‖²
    by_weight: bool   # whether it is divided by the sum of the samples' weights, instead of their number
    loss_scale: float # the recorded E over E
    loss_share: float # the factor of a batch's E in the recorded loss times n: n / Σ w of all samples for Σ w L / Σ w;
                      # or 0, for the mean over samples of their batches' own means
    tolerance: float  # training stalls if the recorded loss has not become better than the best by the tolerance
    patience: int     # in more than `patience` epochs in a row; 0 where it never stalls
    drop_address: int # of the function that drops units, or 0, also where it is not called by its address; see
                      # `dropout.drop_panel`
    rates: np.ndarray # (L+1,) the rates of the layers k = 0 … L, or (0,) where no units are dropped
    in_blocks: bool   # whether the samples are only a block of an epoch, which Python ends by `end_blocks`


class Progress(NamedTuple):
    """The state of a training between slices: how far it has come, and what it has recorded."""

    order: np.ndarray    # (n,) the samples of this epoch in their order, or (0,) for the order of X
    counts: np.ndarray   # (6,) epochs done; samples, of a block of this epoch where it has several; updates and correct
                         # ones in this epoch; epochs without progress; samples of this epoch before the block
    sums: np.ndarray     # (3,) E so far of this batch; the recorded loss of this epoch, times n; the best recorded loss
    bounds: np.ndarray   # (1 + averages,) bounds on |θ| and on each |average|; the first is negative where they
                         # are not known
    loss: np.ndarray     # (epochs,) the recorded loss: E / n, each sample's loss as it was before its batch's update;
                         # that of epoch t at t mod epochs, because Python takes them over in time
    correct: np.ndarray  # (epochs,) the number of samples that were classified correctly, likewise


class Training(NamedTuple):
    """A training, between its slices."""

    plan: Plan
    optimizer: Any  # OptimizerSpec
    state: Any      # OptimizerState
    progress: Progress


class Limits(NamedTuple):
    """Where a slice ends: before the epoch, or after about this number of samples."""

    epoch: int
    samples: int


class Step(NamedTuple):
    """A step by the gradient of a batch that a backend is to take at once; see `training_loop`."""

    grad: Any        # (P,) memory for the gradient, 0 before and after
    factor: float    # of the gradient
    penalty: float   # α: the gradient of W_k is that of E plus α W_k
    bounds: Any      # `Progress.bounds`


class Descent(NamedTuple):
    """Steps θ ← θ - rate ∇E that a backend is to take at once; see `training_loop`."""

    batches: int  # as many as these at the most
    rate: float
    E: float      # of the epoch so far
    bound: float  # on |θ| when it begins


def start_progress(samples: int, epochs: int, averages: int, in_order: bool) -> Progress:
    """The state before the first slice, for an optimizer with a number of averages."""
    return Progress(np.zeros(0 if in_order else samples, np.int64), np.zeros(6, np.int64),
                    np.array([0.0, 0.0, np.inf]), np.full(1 + averages, -1.0), np.zeros(epochs),
                    np.zeros(epochs, np.int64))


@inlined
def is_plain_descent(optimizer: Any, plan: Any) -> Any:
    """Whether a step is θ ← θ - γ ∇E / |S| and E is recorded as it is, so that a backend may take it at once."""
    return optimizer.is_plain and plan.penalty == 0.0 and not plan.by_weight and plan.loss_scale == 1.0


@subkernel
def weight_of(weights: Any, order: Any, start: int, stop: int) -> float:
    """Σ w of the samples order[start:stop]; 0 where they have no weights."""
    total = 0.0
    if weights.shape[0] > 0:
        for s in range(start, stop):
            total += np.float64(weights[order[s] if order.shape[0] > 0 else s])
    return total


@subkernel
def sum_of_weights(weights: Any, order: Any, start: int, stop: int) -> float:
    """Σ w of the samples order[start:stop]; their number, where they have no weights or only zeros."""
    total = weight_of(weights, order, start, stop)
    return total if total > 0.0 else np.float64(stop - start)


@subkernel
def penalty_of(theta: Any, layout: Layout, alpha: float) -> float:
    """½ α Σ_k ‖W_k‖²."""
    total = theta.dtype.type(0.0)
    for k in range(1, layout.depth + 1):
        # Pointers: an index into an array might be negative for all that LLVM knows, and the loop would not vectorise.
        W, squares = pointer(theta, layout.weights[k]), theta.dtype.type(0.0)
        for p in range(layout.widths[k] * layout.widths[k - 1]):
            squares += W[p] * W[p]
        total += squares
    return 0.5 * alpha * total


@subkernel
def add_decay(theta: Any, grad: Any, layout: Layout, alpha: float) -> None:
    """∂E/∂W_k += α W_k for all k: the gradient of `penalty_of`."""
    for k in range(1, layout.depth + 1):
        W, dW = pointer(theta, layout.weights[k]), pointer(grad, layout.weights[k])
        for p in range(layout.widths[k] * layout.widths[k - 1]):
            dW[p] += theta.dtype.type(alpha) * W[p]


@subkernel
def end_epoch(progress: Progress, plan: Plan, n: int) -> int:
    """RUNNING or STALLED, after an epoch, which is recorded."""
    counts, sums = progress.counts, progress.sums
    epoch, loss = counts[EPOCH], mean_loss(sums[EPOCH_E], n)
    place = epoch % progress.loss.shape[0]
    progress.loss[place] = loss
    progress.correct[place] = counts[CORRECT]
    sums[EPOCH_E] = 0.0
    counts[EPOCH], counts[POSITION], counts[STEP], counts[CORRECT] = epoch + 1, 0, 0, 0
    if plan.patience > 0:
        counts[STALE] = 0 if loss <= sums[BEST] - plan.tolerance else counts[STALE] + 1
        sums[BEST] = min(sums[BEST], loss)
        if counts[STALE] > plan.patience:
            return STALLED
    return RUNNING


@kernel
def end_blocks(progress: Progress, plan: Plan, n: int) -> int:
    """`end_epoch` of an epoch of n samples that came in blocks."""
    progress.counts[BEFORE] = 0
    return end_epoch(progress, plan, n)


@subkernel
def never(theta: Any, layout: Layout, batch: Batch, steps: Descent, extras: Extras, work: Any, threads: int) -> Any:
    """0 batches: the `descend` of backends that write the gradient down; see `training_loop`."""
    return steps.E, 0, 0, steps.bound


@subkernel
def not_at_once(theta: Any, batch: Batch, step: Step, optimizer: Any, state: Any, extras: Extras, work: Any,
                threads: int) -> Any:
    """No step: the `update_at_once` of backends that write the gradient down; see `training_loop`."""
    return 0.0, 0, False


def training_loop(name: str, propagate: Callable[..., Any], descend: Callable[..., Any] = never,
                  update_at_once: Callable[..., Any] = not_at_once) -> Any:
    """The compiled `train` of a backend, under a name of its own.

    It returns RUNNING; or STALLED, after an epoch; or DIVERGED. Then the loss of the batch that begins at or before
    the position, or its update, was not finite, and theta is as it was before that update.

    A backend may update θ while it computes the gradient, which is then not written to memory. It has two functions
    for that, which may refuse:

    ``update_at_once(theta, batch, step, optimizer, state, extras, work, threads)`` is for a whole batch. It returns the
    batch's E, the number of correct samples, and whether it took the step; if not, θ and the averages are as they were.

    ``descend(theta, layout, batch, steps, extras, work, threads)`` is for plain gradient descent. It takes the first of
    the steps for that batch, and may go on with the batches of that size after it, if θ stays finite. It returns the E
    of the epoch, to which it has added the E of one batch after another, the number of correct samples, the number of
    batches it took, and the new bound on |θ|, negative if not known; or 0 batches, with θ as it was.
    """

    @kernel(name=name)
    def train(theta: Any, grad: Any, layout: Layout, samples: Any, training: Training, limits: Limits, work: Any,
              threads: int) -> int:
        plan, optimizer, state, progress = training
        until_epoch, budget = limits
        n = samples.n
        counts, sums, bounds = progress.counts, progress.sums, progress.bounds
        no_rows = samples.targets[:0]
        wanted = Wanted(grad, no_rows, no_rows, progress.loss[:0])
        is_plain = is_plain_descent(optimizer, plan)
        while budget > 0 and counts[EPOCH] < until_epoch:
            position = counts[POSITION]
            if position == 0:
                draw_order(progress.order, plan.sampling, plan.seed, counts[EPOCH])
            batch_start = position - position % plan.batch_size
            batch_stop = min(batch_start + plan.batch_size, n)
            size = batch_stop - batch_start
            stop = min(position + max(1, budget // plan.chunk) * plan.chunk, batch_stop)
            correct, taken = 0, 0
            extras = Extras(plan.clip_norm, plan.drop_address, address_in_memory(plan.rates),
                            epoch_key(plan.seed, counts[EPOCH], counts[BEFORE]) if plan.drop_address != 0 else 0)
            if is_plain and size <= plan.chunk:
                batches = min(n - position, budget) // size if has_constant_rate(
                    optimizer.schedule, state.updates[0]) else 1
                rate = learning_rate_at(optimizer.schedule, state.updates[0]) / size
                bound = largest_of(theta) if bounds[0] < 0.0 else bounds[0]
                sums[EPOCH_E], correct, taken, bounds[0] = descend(
                    theta, layout, Batch(samples, progress.order, position, stop),
                    Descent(max(1, batches), rate, sums[EPOCH_E], bound), extras, work, threads)
                stop += max(0, taken - 1) * size
                state.updates[0] += taken
            if taken == 0:
                batch, ends, at_once = Batch(samples, progress.order, position, stop), stop == batch_stop, False
                divisor, penalty = np.float64(size), 0.0
                if ends and plan.by_weight:
                    divisor = sum_of_weights(samples.weights, progress.order, batch_start, batch_stop)
                if ends and plan.penalty > 0.0:
                    penalty = penalty_of(theta, layout, plan.penalty)
                if ends and position == batch_start:
                    sums[BATCH_E], correct, at_once = update_at_once(
                        theta, batch, Step(grad, 1.0 / divisor, plan.penalty, bounds), optimizer, state, extras, work,
                        threads)
                if not at_once:
                    bounds[0], E = -1.0, 0.0 if position == batch_start else sums[BATCH_E]
                    sums[BATCH_E], correct = propagate(theta, layout, batch, E, wanted, extras, work, threads)
                if ends and not at_once:
                    if plan.penalty > 0.0:
                        add_decay(theta, grad, layout, plan.penalty)
                    if not (is_finite(sums[BATCH_E]) and update(theta, grad, 1.0 / divisor, optimizer, state, threads)):
                        return DIVERGED
                if ends:
                    share = plan.loss_share if plan.loss_share > 0.0 else size / divisor
                    sums[EPOCH_E] += (plan.loss_scale * sums[BATCH_E] + penalty) * share
                    taken = 1
            counts[CORRECT] += correct
            counts[STEP] += taken
            budget -= stop - position
            counts[POSITION] = stop
            if stop == n and plan.in_blocks:
                return RUNNING
            if stop == n and end_epoch(progress, plan, n) == STALLED:
                return STALLED
        return RUNNING

    return train
