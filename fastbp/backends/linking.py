"""Linking: the layout of a network with the addresses of its activations and its loss."""

from collections.abc import Sequence

import numpy as np

from ..compiling.addresses import address_of
from ..compiling.decorators import undisturbed
from ..functions.activations import Activation, apply_panel, delta_panel
from ..functions.losses import Loss, evaluate_panel
from ..layout import Layout
from .register import PROCESS, REGISTER


@undisturbed()
def linked_by_address(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype,
                      lanes: int) -> Layout:
    """The layout with the addresses of the activations and the loss, compiled for panels of `lanes` samples."""
    made_for = dtype.name, lanes
    apply = [0, *(address_of(apply_panel, g, *made_for) for g in activations)]
    delta = [0, *(address_of(delta_panel, g, *made_for) for g in activations)]
    evaluate = address_of(evaluate_panel, loss, *made_for)
    linked = layout._replace(
        apply=np.array(apply), delta=np.array(delta), evaluate=evaluate, itemsize=dtype.itemsize, lanes=lanes,
        takes_labels=loss.targets == "classes", register=REGISTER)
    return linked._replace(digest=digest_of(linked))


def digest_of(layout: Layout) -> int:
    """The digest that a layout has if its functions are in this process."""
    return hash((*layout.widths.tolist(), *layout.apply.tolist(), *layout.delta.tolist(), layout.evaluate,
                 layout.itemsize, layout.lanes, layout.register, PROCESS))
