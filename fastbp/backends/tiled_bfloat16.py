"""`tiled` where the products of W, h and δ have bfloat16 operands; what it computes stands in `loops_bfloat16`.

The schedule is that of `tiled`, on pairs of bfloat16 where the register tile takes numbers: see `tiles.pair_phases`.
"""

import functools
import warnings
from collections.abc import Sequence

import numpy as np

from ..compiling.addresses import Piece
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..layout import Layout
from ..optimizers.rules import Rule
from ..optimizers.updates import OptimizerSpec
from . import tiled
from .linking import linked_by_address
from .sample import for_leaves as for_leaves
from .tiled import add_leaves as add_leaves
from .tiled import add_small_gradient as add_small_gradient
from .tiled import chunk as chunk
from .tiled import memory as memory
from .tiled import nbytes as nbytes
from .tiled import parallel as parallel
from .tiled import predict as predict
from .tiled import propagate as propagate
from .tiled import train as train
from .tiles.host import multiplies_bfloat16
from .tiles.pairs import EMULATED_PAIRS, PAIRS
from .tiles.workspace import lanes
from .tiles.workspace import workspace as workspace_of

#: Rows of a sparse X are written out.
takes_entries = False

#: One pass for each output gives it.
input_jacobian = None


def factors_here() -> int:
    """PAIRS where the processor has their instruction, else EMULATED_PAIRS."""
    return PAIRS if multiplies_bfloat16() else EMULATED_PAIRS


def linked(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype) -> Layout:
    """The layout with the addresses of its activations and loss, for a vector of samples."""
    if not multiplies_bfloat16():
        warn_once()
    return linked_by_address(layout, activations, loss, dtype, lanes(dtype), "bfloat16")


@functools.cache
def warn_once() -> None:
    """Warn that products in bfloat16 take longer here than others."""
    warnings.warn("products: this processor has no instruction for bfloat16 products (AVX-512 BF16), so that they are "
                  "computed by other ones, and are slower than float32 products", RuntimeWarning, stacklevel=2)


def workspace(layout: Layout, dtype: np.dtype, samples: int) -> np.ndarray:
    """The job, with its memory, for calls with at most `samples` samples."""
    return workspace_of(layout, dtype, samples, factors=factors_here())


def pieces(layout: Layout, activations: Sequence[Activation], loss: Loss, dtype: np.dtype, rule: Rule) -> list[Piece]:
    """What a training compiles beside its loop; see `Backend.pieces`."""
    return tiled.pieces(layout, activations, loss, dtype, rule, factors_here())


def specialised(work: np.ndarray, optimizer: OptimizerSpec, widths: tuple[int, ...], activations: tuple[str, ...],
                loss: str, dtype: np.dtype, batch_size: int, steps: int, descends: bool) -> np.ndarray:
    """Set the job's kernels for updates by this optimizer; the job. No step of one sample has kernels of its own."""
    return tiled.specialised(work, optimizer, widths, activations, loss, dtype, batch_size, 0, descends)
