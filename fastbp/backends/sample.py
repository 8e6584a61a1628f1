"""The parts of kernels that take one sample at a time: its target, weight, masks, loss and gradient norm."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..compiling.addresses import address_in_memory, pointer, pointer_to
from ..compiling.decorators import inlined
from ..formulas.dropout import drop_of_panel
from ..functions.activations import Activation, activate_panel, delta_of_panel
from ..functions.loss_panels import SAMPLE_CORRECT, SAMPLE_E
from ..functions.losses import Loss, loss_of_panel
from ..layout import Layout
from .linking import linked_by_address


def linked(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Layout:
    """The layout with the addresses of its activations and loss, for panels of one sample."""
    return linked_by_address(layout, activations, loss, dtype, 1)


def specialised(work: Any, *network: Any) -> Any:
    """The workspace as it is: no network has kernels of its own."""
    return work


def for_leaves(work: Any, dtype: np.dtype) -> Any:
    """The workspace as it is."""
    return work


#: Calls take the layout, whose arrays cost as much to hand on as there would be to gain.
add_small_gradient = None

#: One pass for each output gives it.
input_jacobian = None


def pieces(*training: Any) -> tuple[()]:
    """None: next to the loop over batches, they take little to compile."""
    return ()


def nbytes(work: Any) -> int:
    """The bytes of a workspace, a named tuple of arrays."""
    return sum(array.nbytes for array in work)


class Masks(NamedTuple):
    """Which units of one sample are dropped: see `Extras`."""

    drop_address: int    # of what drops units, or 0
    rates_address: int   # of the rates of the layers
    key: int
    number_address: int  # of the sample's number


#: No unit is dropped.
NO_MASKS = Masks(0, 0, 0, 0)


@inlined
def masks_of(extras: Any, sample_numbers: Any, s: Any) -> Any:
    """Which units are dropped of the sample with the number sample_numbers[s]."""
    return Masks(extras.drop_address, extras.rates_address, extras.key, address_in_memory(pointer(sample_numbers, s)))


@inlined
def drops_units(masks: Any) -> Any:
    """Whether units are dropped."""
    return masks.drop_address != 0


@inlined
def drop(masks: Any, k: Any, values: Any) -> None:
    """h_k ← m ⊙ h_k / (1 - p), and e_k likewise, of one sample, (N_k,); where units are dropped."""
    if drops_units(masks):
        drop_of_panel(masks.drop_address, values, values.shape[0], pointer_to(masks.number_address, np.int64),
                      masks.key, k, pointer_to(masks.rates_address, np.float64))


@inlined
def copy_row(source: Any, target: Any) -> None:
    """target = source, rows of one length. (`target[:] = source` takes Numba 1.5 s longer to compile.)"""
    for i in range(target.shape[0]):
        target[i] = source[i]


@inlined
def sample_at(order: Any, s: Any) -> Any:
    """The number of the sample at place s of an order; an empty order is that of X."""
    return order[s] if order.shape[0] > 0 else s


@inlined
def load_target(samples: Any, sample: Any, d: Any) -> None:
    """d (N_L,) = the target of one sample; a label becomes a one-hot row."""
    if samples.labels.shape[0] > 0:
        d[:] = 0
        d[samples.labels[sample]] = 1
    else:
        copy_row(samples.targets[sample], d)


@inlined
def sample_weight_at(samples: Any, sample: Any) -> Any:
    """The weight of one sample, 1 where none are given."""
    T = samples.weights.dtype.type
    return samples.weights[sample] if samples.weights.shape[0] > 0 else T(1)


@inlined
def activate(layout: Layout, k: Any, a: Any, h: Any, masks: Masks) -> None:
    """h = g_k(a) of one sample, (N_k,); where units are dropped, then h ← m ⊙ h / (1 - p)."""
    activate_panel(layout.apply[k], a, h, a.shape[0])
    drop(masks, k, h)


@inlined
def activation_delta(layout: Layout, k: Any, a: Any, h: Any, e: Any, delta: Any, masks: Masks) -> None:
    """δ = e ⊙ g'_k(a) of one sample, (N_k,); where units are dropped, e ← m ⊙ e / (1 - p) before."""
    if drops_units(masks):
        activate_panel(layout.apply[k], a, h, a.shape[0])  # g' is a function of g(a), which `activate` has masked
        drop(masks, k, e)
    delta_of_panel(layout.delta[k], a, h, e, delta, a.shape[0])
    drop(masks, k, h)  # ∂E/∂W_{k+1} is a product with the masked h


@inlined
def weighted_loss(layout: Layout, samples: Any, sample: Any, y: Any, d: Any, e: Any, outcome: Any) -> Any:
    """E = w L(y; d) of one sample, and 1 if it is classified correctly; writes its target d, and e = w ∇_y L."""
    load_target(samples, sample, d)
    loss_of_panel(layout.evaluate, y, d, e, outcome, y.shape[0])
    weight = sample_weight_at(samples, sample)
    for i in range(e.shape[0]):
        e[i] *= weight
    return weight * outcome[SAMPLE_E], np.int64(outcome[SAMPLE_CORRECT])


@inlined
def sum_of_squares(values: Any) -> Any:
    """‖values‖² in float64, in which the square of a float32 neither overflows nor vanishes."""
    total = 0.0
    for i in range(values.shape[0]):
        value = np.float64(values[i])
        total += value * value
    return total


@inlined
def scale(values: Any, factor: Any) -> None:
    """values ← factor · values, multiplied in float64: a factor may be below all float32."""
    T = values.dtype.type
    for i in range(values.shape[0]):
        values[i] = T(factor * values[i])


@inlined
def has_targets(samples: Any) -> Any:
    """Whether there is a loss to evaluate."""
    return samples.labels.shape[0] > 0 or samples.targets.shape[0] > 0


@inlined
def lowest_error(layout: Layout, wanted: Any) -> Any:
    """The lowest k of the e_k that a call needs: 0 for ∇_x E, 1 for ∇E(W), else L + 1, for none."""
    if wanted.E0.shape[0] > 0:
        return 0
    return 1 if wanted.grad.shape[0] > 0 else layout.depth + 1
