"""The backends: one contract, `contract.Backend`, and several ways to fulfil it.

A backend is imported when it is named: two of them need packages that may be missing.
"""

import copyreg
from types import ModuleType
from typing import Any, cast

import numpy as np

from ..checks.messages import shown
from ..compiling.addresses import settings_at
from ..compiling.interrupts import held_back
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..layout import Layout, make_layout
from .contract import Backend
from .linking import products_of

#: "auto" stands for "tiled": in `fastbp compare` loops and blas took 1.5 to 31 times as long for every workload.
NAMES = ("auto", "tiled", "loops", "blas", "cuda")

#: The backends that compute on a GPU; the others compute on the processor.
ON_GPU = ("cuda",)

#: The backends with products in other numbers than the network's.
WITH_PRODUCTS = ("tiled", "loops")


#: The numbers of a layout that does not standardise.
NO_SCALING = np.zeros(0)


def backend_named(name: str, products: str | None = None) -> tuple[str, Backend]:
    """The name of a backend, for "auto" that which it stands for, and its module.

    products : the numbers of W, h and δ in products, one of PRODUCTS or None for the network's own.

    Raises
    ------
    TypeError, ValueError
        If there is no backend of that name.
    ImportError
        If it needs a package that is not installed.
    NoGpuError
        If it needs a GPU, and there is none.
    """
    if not isinstance(name, str):
        raise TypeError(f"backend: expected one of {', '.join(NAMES)}, found {shown(name)}")
    if name not in NAMES:
        raise ValueError(f"backend: unknown backend {shown(name)}; expected one of {', '.join(NAMES)}")
    if products is not None and name not in ("auto", *WITH_PRODUCTS):
        raise ValueError(f"products: {products} products are computed by the backends {' and '.join(WITH_PRODUCTS)}, "
                         f"found backend {name!r}")
    module: ModuleType
    with held_back():
        if name == "blas":
            from . import blas as module
        elif name == "loops" and products is not None:
            from . import loops_bfloat16 as module
        elif name == "loops":
            from . import loops as module
        elif name == "cuda":
            from .gpu.driver import require_gpu
            require_gpu()
            from . import cuda as module
        elif products is not None:
            name = "tiled"
            from . import tiled_bfloat16 as module
        else:
            name = "tiled"
            from . import tiled as module
    return name, cast(Backend, module)


def _pickled(layout: Layout) -> tuple[Any, ...]:
    """What a layout is pickled as: the settings of its functions, because their addresses are of this process."""
    widths, numbers = layout.widths.tolist(), (layout.shift, layout.factor)
    if not layout.is_linked:
        return _unlinked, (widths, *numbers)
    try:
        products = products_of(layout)
    except ValueError:
        raise TypeError("layout: expected net.layout as it is, found one that was changed, or has addresses of another "
                        "process; it cannot be pickled") from None
    activations = [settings_at(int(address))[0] for address in layout.apply[1:]]
    loss, dtype, lanes = settings_at(layout.evaluate)
    return _linked_anew, (widths, activations, loss, dtype, "loops" if lanes == 1 else "tiled", *numbers,
                           *([products] if products else []))


def _unlinked(widths: list[int], shift: np.ndarray, factor: np.ndarray) -> Layout:
    """The layout of a pickle."""
    return make_layout(widths)._replace(shift=shift.copy(), factor=factor.copy())


def _linked_anew(widths: list[int], activations: list[Activation], loss: Loss, dtype: str, backend: str,
                 shift: np.ndarray = NO_SCALING, factor: np.ndarray = NO_SCALING,
                 products: str | None = None) -> Layout:
    """The layout of a pickle, with the addresses that its functions have in this process.

    Pickles of older versions have no numbers of a standardisation, and no products.
    """
    layout = _unlinked(widths, shift, factor)
    linked: Layout = backend_named(backend, products)[1].linked(layout, activations, loss, np.dtype(dtype))
    return linked


copyreg.pickle(Layout, _pickled)
