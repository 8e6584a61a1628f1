"""A batch in leaves: their gradients, added up in a binary tree that depends on the batch alone.

The batch S of an update is cut into a number of leaves, a power of two, of about the same size. A leaf's gradient is
that of `Backend.propagate` on its samples, begun at zero. Two neighbours are added, then two neighbours of these, and
so on up to one sum:

    ∇E(S) = ((g_0 + g_1) + (g_2 + g_3)) + ((g_4 + g_5) + (g_6 + g_7))

So any part of the tree may be computed elsewhere, and a + b = b + a bit by bit: the sum has the same bits wherever its
leaves were computed. A node is a row of memory: the gradient, and behind it E, the number of correct samples and the
sum of the weights, which are added with it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..compiling.addresses import address_in_memory, pointer_to
from ..compiling.decorators import kernel, subkernel
from ..formulas.elementary import is_finite
from ..layout import Layout, aligned_zeros
from ..optimizers.updates import update
from ..threads import share_of
from .contract import Batch, Extras, Wanted
from .training_loop import (
    BATCH_E,
    CORRECT,
    DIVERGED,
    EPOCH_E,
    POSITION,
    RUNNING,
    STEP,
    Training,
    add_decay,
    end_epoch,
    penalty_of,
    weight_of,
)

#: What stands behind a node's gradient, float64 each; the last one is for whoever adds nodes up.
NODE_E, NODE_CORRECT, NODE_WEIGHT, NODE_FLAG = range(4)

#: The bytes of these numbers.
TAIL_BYTES = 4 * 8


class Leaves(NamedTuple):
    """The leaves first … stop - 1 of a batch, whose number is a power of two, and a multiple of which is `first`."""

    start: int  # the place of the batch's first sample in the order
    size: int   # the number of samples in the batch
    total: int  # the number of leaves in the batch
    first: int
    stop: int
    shift: int  # samples that are missing before these leaves: place p of the order is place p - shift


def make_nodes(rows: int, parameters: int, dtype: np.dtype) -> np.ndarray:
    """Memory for nodes, (rows, …), of which `tail_at` says where their numbers stand."""
    row_bytes = tail_at(parameters, dtype) + TAIL_BYTES
    stride = -(-row_bytes // 64) * 64 // dtype.itemsize
    return aligned_zeros(rows * stride, dtype).reshape(rows, stride)


def tail_at(parameters: int, dtype: np.dtype) -> int:
    """The bytes of a node before its numbers."""
    return -(-parameters * dtype.itemsize // 8) * 8


@subkernel
def add_node(target: Any, other: Any, parameters: int, tail: int) -> None:
    """target += other, of two nodes."""
    for p in range(parameters):
        target[p] += other[p]
    sums = pointer_to(address_in_memory(target) + tail, np.float64)
    more = pointer_to(address_in_memory(other) + tail, np.float64)
    for place in range(NODE_FLAG):
        sums[place] += more[place]


@subkernel
def one_after_another(work: Any, count: int) -> bool:
    """False: the `adds_once` of backends that add samples to the gradient one after another; see `leaf_loop`."""
    return False


def leaf_loop(name: str, propagate: Callable[..., Any], adds_once: Callable[..., Any] = one_after_another) -> Any:
    """The compiled function that adds up leaves with a backend's `propagate`, under a name of its own.

    ``adds_once(work, count)`` says whether `propagate` adds the gradient of `count` samples as one sum to what is
    there. Then the second of two leaves is added to the first where it lies, with the same bits, and one of two passes
    over a large gradient is saved.
    """

    @kernel(name=name)
    def add_leaves(theta: Any, layout: Layout, samples: Any, order: Any, leaves: Leaves, nodes: Any, tail: int,
                   norms: Any, extras: Extras, work: Any, threads: int) -> None:
        """nodes[0] = the sum of the leaves; the rows after it are memory, one for each level of the tree.

        tail : from `tail_at`.
        norms : (0,), none are wanted.
        """
        start, size, total, first, stop, shift = leaves
        no_rows, parameters = samples.targets[:0], theta.shape[0]
        top = 0
        for leaf in range(first, stop):
            begin, end = share_of(size, leaf, total)
            begin, end = start + begin - shift, start + end - shift
            done = leaf + 1 - first
            joins = done % 2 == 0 and adds_once(work, end - begin)
            node = nodes[top - 1 if joins else top]
            numbers = pointer_to(address_in_memory(node) + tail, np.float64)
            if joins:
                done //= 2
            else:
                node[:parameters] = 0
                for place in range(NODE_FLAG + 1):
                    numbers[place] = 0.0
                top += 1
            E, correct = 0.0, 0
            if end > begin:
                wanted = Wanted(node[:parameters], no_rows, no_rows, norms)
                E, correct = propagate(theta, layout, Batch(samples, order, begin, end), 0.0, wanted, extras, work,
                                       threads)
            numbers[NODE_E] += E
            numbers[NODE_CORRECT] += np.float64(correct)
            numbers[NODE_WEIGHT] += weight_of(samples.weights, order, begin, end)
            while done % 2 == 0:
                top -= 1
                add_node(nodes[top - 1], nodes[top], parameters, tail)
                done //= 2

    return add_leaves


@kernel
def take_step(theta: Any, layout: Layout, node: Any, tail: int, n: int, own: int, training: Training,
              threads: int) -> int:
    """The step by the sum of all leaves, which is zero afterwards: RUNNING, or DIVERGED with θ as it was.

    node : of `make_nodes`.
    n : the number of samples in an epoch, or in the block of one.
    own : the number of samples of the batch whose gradient this is; without any, θ stays as it is.
    """
    plan, optimizer, state, progress = training
    counts, sums = progress.counts, progress.sums
    numbers = pointer_to(address_in_memory(node) + tail, np.float64)
    size = min(plan.batch_size, n - counts[POSITION])
    grad, divisor, penalty = node[: theta.shape[0]], np.float64(own), 0.0
    if plan.by_weight and numbers[NODE_WEIGHT] > 0.0:
        divisor = numbers[NODE_WEIGHT]
    if plan.penalty > 0.0:
        penalty = penalty_of(theta, layout, plan.penalty)
        add_decay(theta, grad, layout, plan.penalty)
    sums[BATCH_E] = numbers[NODE_E]
    if own > 0 and not (is_finite(sums[BATCH_E]) and update(theta, grad, 1.0 / divisor, optimizer, state, threads)):
        return DIVERGED
    share = plan.loss_share if plan.loss_share > 0.0 else own / max(1.0, divisor)
    sums[EPOCH_E] += (plan.loss_scale * sums[BATCH_E] + penalty) * share
    counts[CORRECT] += np.int64(numbers[NODE_CORRECT])
    counts[STEP] += 1
    counts[POSITION] += size
    if counts[POSITION] == n and not plan.in_blocks:
        return end_epoch(progress, plan, n)
    return RUNNING
