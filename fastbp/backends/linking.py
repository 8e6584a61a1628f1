"""Linking: the layout of a network with the addresses of its activations and its loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks.arguments import PRODUCTS
from ..checks.standardization import Standardization
from ..compiling.addresses import Piece, addresses_of
from ..compiling.decorators import undisturbed
from ..functions.activations import Activation, apply_panel, delta_panel
from ..functions.losses import Loss, evaluate_panel
from ..layout import Layout
from .register import PROCESS, REGISTER


def pieces_of(activations: Sequence[Activation], loss: Loss, dtype: np.dtype, lanes: int) -> list[Piece]:
    """What `linked_by_address` compiles: the loss, and h_k = g_k(a_k) and δ_k of every activation."""
    made_for = dtype.name, lanes
    return [(evaluate_panel, loss, *made_for), *((make, g, *made_for) for g in activations
                                                 for make in (apply_panel, delta_panel))]


@undisturbed()
def linked_by_address(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype,
                      lanes: int, products: str | None = None) -> Layout:
    """The layout with the addresses of the activations and the loss, compiled for panels of `lanes` samples.

    products : as for `backend_named`.
    """
    evaluate, *others = addresses_of(pieces_of(activations, loss, dtype, lanes))
    apply, delta = [0, *others[::2]], [0, *others[1::2]]
    linked = layout._replace(
        apply=np.array(apply), delta=np.array(delta), evaluate=evaluate, itemsize=dtype.itemsize, lanes=lanes,
        takes_labels=loss.targets == "classes", register=REGISTER)
    return linked._replace(digest=digest_of(linked, products))


def standardizing(layout: Any, standardization: Standardization | None, products: str | None = None) -> Any:
    """The layout with the numbers of a standardisation, or without; one of a GPU as it is.

    products : those that it is linked for.
    """
    if not isinstance(layout, Layout):
        return layout
    shift, factor = ((np.zeros(0), np.zeros(0)) if standardization is None
                     else (standardization.shift, standardization.factor))
    changed = layout._replace(shift=shift, factor=factor)
    return changed._replace(digest=digest_of(changed, products)) if layout.is_linked else changed


def products_of(layout: Layout) -> str | None:
    """The products that a layout was linked for.

    Raises
    ------
    ValueError
        If it was changed, or has addresses of another process.
    """
    for products in (None, *PRODUCTS):
        if layout.digest == digest_of(layout, products):
            return products
    raise ValueError("layout: expected net.layout as it is, found one that was changed, or that came from another "
                     "process without being pickled as a whole")


def digest_of(layout: Layout, products: str | None = None) -> int:
    """The digest that a layout has if its functions are in this process, and it is linked for such products."""
    return hash((*layout.widths.tolist(), *layout.apply.tolist(), *layout.delta.tolist(), layout.evaluate,
                 layout.itemsize, layout.lanes, layout.register, PROCESS, layout.shift.tobytes(),
                 layout.factor.tobytes(), *([products] if products else [])))
