"""A batch in leaves: their gradients, added up in a binary tree that depends on the batch alone.

The batch S of an update is cut into a number of leaves, a power of two, of about the same size. A leaf's gradient is
that of `Backend.propagate` on its samples, begun at zero. Two neighbours are added, then two neighbours of these, and
so on up to one sum:

    ∇E(S) = ((g_0 + g_1) + (g_2 + g_3)) + ((g_4 + g_5) + (g_6 + g_7))

So any part of the tree may be computed elsewhere, and a + b = b + a bit by bit: the sum has the same bits wherever its
leaves were computed. A node is a row of memory: the gradient, and behind it, for each leaf of the batch, E, the number
of correct samples and the sum of the weights. Those of leaves that are not in a node are 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..compiling.addresses import address_in_memory, pointer, pointer_to
from ..compiling.decorators import inlined, kernel, subkernel
from ..formulas.elementary import is_finite
from ..layout import Layout, aligned_zeros
from ..optimizers.updates import update
from ..threads import share_of
from .contract import Batch, Extras, Wanted
from .training_loop import BATCH_E, DIVERGED, POSITION, Training, add_decay, finish_step, penalty_of, weight_of

#: What stands behind a node's gradient, float64 each: a number for whoever adds nodes up, and then some of each leaf.
NODE_FLAG, FIRST_LEAF = 0, 1
LEAF_E, LEAF_CORRECT, LEAF_WEIGHT = range(3)
LEAF_NUMBERS = 3

#: Leaves begin at multiples of this number of samples, where each can have as many: then panels do not end early.
LEAF_UNIT = 16


class Leaves(NamedTuple):
    """The leaves first … stop - 1 of a batch, whose number is a power of two, and a multiple of which is `first`."""

    start: int  # the place of the batch's first sample in the order
    size: int   # the number of samples in the batch
    total: int  # the number of leaves in the batch
    first: int
    stop: int
    shift: int  # samples that are missing before these leaves: place p of the order is place p - shift


@inlined
def share_of_leaves(size: Any, first: Any, stop: Any, total: Any) -> Any:
    """The places in a batch of `size` samples at which the leaves first … stop - 1 begin and end.

    >>> [share_of_leaves(100, leaf, leaf + 1, 4) for leaf in range(4)]
    [(0, 16), (16, 48), (48, 64), (64, 100)]
    >>> [share_of_leaves(10, leaf, leaf + 1, 4) for leaf in range(4)]
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    unit = LEAF_UNIT if size >= LEAF_UNIT * total else 1
    begin, end = share_of(size // unit, first, total)[0], share_of(size // unit, stop - 1, total)[1]
    return begin * unit, size if stop == total else end * unit


def make_nodes(rows: int, parameters: int, dtype: np.dtype, leaves: int) -> np.ndarray:
    """Memory for nodes of a batch of so many leaves, (rows, …); `tail_at` says where their numbers stand."""
    row_bytes = tail_at(parameters, dtype) + tail_bytes(leaves)
    stride = -(-row_bytes // 64) * 64 // dtype.itemsize
    return aligned_zeros(rows * stride, dtype).reshape(rows, stride)


def tail_at(parameters: int, dtype: np.dtype) -> int:
    """The bytes of a node before its numbers."""
    return -(-parameters * dtype.itemsize // 8) * 8


def tail_bytes(leaves: int) -> int:
    """The bytes of the numbers."""
    return 8 * (FIRST_LEAF + LEAF_NUMBERS * leaves)


@subkernel
def add_node(target: Any, other: Any, parameters: int, tail: int, leaves: int) -> None:
    """target += other, of two nodes."""
    for p in range(parameters):
        target[p] += other[p]
    sums = pointer_to(address_in_memory(target) + tail, np.float64)
    more = pointer_to(address_in_memory(other) + tail, np.float64)
    for place in range(FIRST_LEAF, FIRST_LEAF + LEAF_NUMBERS * leaves):
        sums[place] += more[place]


@subkernel
def sum_over_leaves(numbers: Any, which: int, leaves: int) -> float:
    """The sum of one of the numbers of all leaves, in their order."""
    total = 0.0
    for leaf in range(leaves):
        total += numbers[FIRST_LEAF + LEAF_NUMBERS * leaf + which]
    return total


@subkernel
def one_at_once(work: Any, size: int, total: int, most: int) -> int:
    """1: the `leaves_at_once` of backends that take one leaf after another; see `leaf_loop`."""
    return 1


@subkernel
def one_after_another(work: Any, count: int) -> bool:
    """False: the `adds_once` of backends that add samples to the gradient one after another; see `leaf_loop`."""
    return False


@subkernel
def no_group(theta: Any, layout: Layout, batch: Batch, size: int, total: int, leaf: int, count: int, wanted: Wanted,
             extras: Extras, work: Any, threads: int, numbers: Any) -> None:
    """Nothing: the `propagate_leaves` of these backends, which is never called."""


def leaf_loop(name: str, propagate: Callable[..., Any], adds_once: Callable[..., Any] = one_after_another,
              leaves_at_once: Callable[..., Any] = one_at_once, propagate_leaves: Callable[..., Any] = no_group) -> Any:
    """The compiled function that adds up leaves with a backend's `propagate`, under a name of its own.

    ``adds_once(work, count)`` says whether `propagate` adds the gradient of `count` samples as one sum to what is
    there. Then the second of two nodes is added to the first where it lies, with the same bits, and one of two passes
    over a large gradient is saved.

    ``leaves_at_once(work, size, total, most)`` says how many leaves go through the network together, a power of two up
    to `most`. ``propagate_leaves`` takes these, adds up their gradients in the order of the tree, and writes E and the
    number of correct samples of each.
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
        count = leaves_at_once(work, size, total, stop - first)
        top = 0
        for leaf in range(first, stop, count):
            begin, end = share_of_leaves(size, leaf, leaf + count, total)
            begin, end = start + begin - shift, start + end - shift
            done = (leaf - first) // count + 1
            joins = done % 2 == 0 and adds_once(work, end - begin)
            node = nodes[top - 1 if joins else top]
            numbers = pointer_to(address_in_memory(node) + tail, np.float64)
            if joins:
                done //= 2
            else:
                node[:parameters] = 0
                for place in range(FIRST_LEAF + LEAF_NUMBERS * total):
                    numbers[place] = 0.0
                top += 1
            wanted, batch = Wanted(node[:parameters], no_rows, no_rows, norms), Batch(samples, order, begin, end)
            own = pointer(numbers, FIRST_LEAF + LEAF_NUMBERS * leaf)
            if count > 1:
                propagate_leaves(theta, layout, batch, size, total, leaf, count, wanted, extras, work, threads, own)
            elif end > begin:
                own[LEAF_E], correct = propagate(theta, layout, batch, 0.0, wanted, extras, work, threads)
                own[LEAF_CORRECT] = np.float64(correct)
            for place in range(count):
                begin, end = share_of_leaves(size, leaf + place, leaf + place + 1, total)
                own[LEAF_NUMBERS * place + LEAF_WEIGHT] = weight_of(samples.weights, order, start + begin - shift,
                                                                    start + end - shift)
            while done % 2 == 0:
                top -= 1
                add_node(nodes[top - 1], nodes[top], parameters, tail, total)
                done //= 2

    return add_leaves


@kernel
def take_step(theta: Any, layout: Layout, node: Any, tail: int, leaves: int, n: int, own: int, training: Training,
              threads: int) -> int:
    """The step by the sum of all leaves, which is zero afterwards: RUNNING, or DIVERGED with θ as it was.

    node : of `make_nodes`, for so many leaves.
    n : the number of samples in an epoch, or in the block of one.
    own : the number of samples of the batch whose gradient this is; without any, θ stays as it is.
    """
    plan, optimizer, state, progress = training
    counts, sums = progress.counts, progress.sums
    numbers = pointer_to(address_in_memory(node) + tail, np.float64)
    size = min(plan.batch_size, n - counts[POSITION])
    grad, divisor, penalty = node[: theta.shape[0]], np.float64(own), 0.0
    weight = sum_over_leaves(numbers, LEAF_WEIGHT, leaves)
    if plan.by_weight and weight > 0.0:
        divisor = weight
    if plan.penalty > 0.0:
        penalty = penalty_of(theta, layout, plan.penalty)
        add_decay(theta, grad, layout, plan.penalty)
    sums[BATCH_E] = sum_over_leaves(numbers, LEAF_E, leaves)
    if own > 0 and not (is_finite(sums[BATCH_E]) and update(theta, grad, 1.0 / divisor, optimizer, state, threads)):
        return DIVERGED
    return finish_step(progress, plan, sum_over_leaves(numbers, LEAF_CORRECT, leaves), penalty, own / max(1.0, divisor),
                       size, n)
