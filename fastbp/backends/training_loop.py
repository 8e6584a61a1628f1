"""The loop over batches and epochs, in compiled code, over any backend's `propagate`.

It runs in slices: Python asks for about so many samples, and gets control back at the end of that many, of an epoch
it wants to see, or of training. Where a slice ends is counted in pieces of fixed size and never in time, so that
interrupting training, however often, does not change a bit of the result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..compilation import kernel
from ..elementary import is_finite
from ..layout import Layout
from ..sampling import draw_order
from ..schedules import has_constant_rate, learning_rate_at
from ..updates import is_plain_descent, largest_of, update

RUNNING, DIVERGED = 0, 1

#: The columns of Progress.counts and Progress.sums.
EPOCH, POSITION, STEP, CORRECT = 0, 1, 2, 3
BATCH_E, EPOCH_E, REACH = 0, 1, 2


class Plan(NamedTuple):
    """What the loop is to do."""

    batch_size: int
    piece: int        # a batch is cut into pieces of that many samples between which training may be interrupted
    sampling: int     # IN_ORDER, WITHOUT_REPLACEMENT or WITH_REPLACEMENT
    seed: int         # of the order of samples, below 2^63
    clip_norm: float  # to which every sample's gradient is clipped, or 0


class Progress(NamedTuple):
    """How far it has come, and what it has seen; kept between slices."""

    order: np.ndarray    # (n,) the samples of this epoch in their order, or (0,) for the order of X
    counts: np.ndarray   # (4,) epochs done, samples done in this one, updates done in this one, correct ones so far
    sums: np.ndarray     # (3,) E so far of this batch and of this epoch; a bound on |θ|, negative where none is known
    loss: np.ndarray     # (epochs,) E / n of every epoch, each sample's loss as it was before its batch's update
    correct: np.ndarray  # (epochs,) how many samples were classified correctly, likewise


def start_progress(samples: int, epochs: int, in_order: bool) -> Progress:
    """Nothing done yet."""
    return Progress(np.zeros(0 if in_order else samples, np.int64), np.zeros(4, np.int64), np.array([0.0, 0.0, -1.0]),
                    np.zeros(epochs), np.zeros(epochs, np.int64))


@kernel
def never(theta: Any, layout: Layout, samples: Any, order: Any, start: int, stop: int, batches: int, rate: float,
          reach: float, clip_norm: float, work: Any, threads: int) -> Any:
    """For backends that do not descend at once; see `training_loop`."""
    return 0.0, 0, 0, reach


def training_loop(name: str, propagate: Callable[..., Any], descend: Callable[..., Any] = never) -> Any:
    """The compiled `train` of a backend, under a name of its own.

    Where the optimizer is plain gradient descent, a backend may take the step while it computes the gradient, without
    writing it down: ``descend(theta, layout, samples, order, start, stop, batches, rate, reach, clip_norm, work,
    threads)`` does
    θ ← θ - rate ∇E for the batch from start to stop, and may go on with as many as `batches` batches of that size in
    all, if θ stays finite; no parameter is larger than `reach` when it begins. It returns the sum of their E, how many
    samples were correct, how many batches it took, and the new bound, negative if not known; or 0 batches, with θ as it
    was.

    Its result is RUNNING or DIVERGED: then the loss of the batch that begins at or before the position, or its update,
    was not finite, and theta is as it was before that update.
    """

    @kernel(name=name)
    def train(theta: Any, grad: Any, layout: Layout, samples: Any, plan: Plan, optimizer: Any, state: Any,
              progress: Progress, until_epoch: int, budget: int, work: Any, threads: int) -> int:
        n = samples.X.shape[0]
        counts, sums = progress.counts, progress.sums
        plain = is_plain_descent(optimizer)
        nothing, nobody = samples.X[:0], progress.loss[:0]
        while budget > 0 and counts[EPOCH] < until_epoch:
            position = counts[POSITION]
            if position == 0:
                draw_order(progress.order, plan.sampling, plan.seed, counts[EPOCH])
            batch_start = position - position % plan.batch_size
            batch_stop = min(batch_start + plan.batch_size, n)
            stop = min(position + plan.piece, batch_stop)
            E, correct, taken = 0.0, 0, 0
            if plain and position == batch_start and stop == batch_stop:
                size = stop - position
                batches = min(n - position, budget) // size if has_constant_rate(
                    optimizer.schedule, state.updates[0]) else 1
                rate = learning_rate_at(optimizer.schedule, state.updates[0]) / size
                reach = largest_of(theta) if sums[REACH] < 0.0 else sums[REACH]
                E, correct, taken, sums[REACH] = descend(theta, layout, samples, progress.order, position, stop,
                                                   max(1, batches), rate, reach, plan.clip_norm, work, threads)
                stop += max(0, taken - 1) * size
            if taken == 0:
                E, correct = propagate(theta, layout, samples, progress.order, position, stop, grad, nothing, nothing,
                                       nobody, plan.clip_norm, work, threads)
            sums[BATCH_E] += E
            counts[CORRECT] += correct
            if taken > 0 or stop == batch_stop:
                if taken > 0:
                    state.updates[0] += taken
                elif not (is_finite(sums[BATCH_E])
                          and update(theta, grad, 1.0 / (batch_stop - batch_start), optimizer, state)):
                    return DIVERGED
                else:
                    sums[REACH] = -1.0
                sums[EPOCH_E] += sums[BATCH_E]
                sums[BATCH_E] = 0.0
                counts[STEP] += max(1, taken)
            budget -= stop - position
            counts[POSITION] = stop
            if stop == n:
                epoch = counts[EPOCH]
                progress.loss[epoch] = sums[EPOCH_E] / n
                progress.correct[epoch] = counts[CORRECT]
                sums[EPOCH_E] = 0.0
                counts[EPOCH], counts[POSITION], counts[STEP], counts[CORRECT] = epoch + 1, 0, 0, 0
        return RUNNING

    return train
