"""JᵀJ and Jᵀr of a batch in float64, chunk after chunk, on the machine of `tiled`; see `tiles.normal_equations`."""

from typing import Any

import numpy as np

from ..checks.samples import Samples
from ..compiling.addresses import address_in_memory, address_of
from ..compiling.decorators import kernel, undisturbed
from ..functions.losses import Loss, curvature_panel
from ..layout import Layout, aligned_zeros, keeping
from .contract import NO_ORDER, Batch, Extras
from .reading import as_arguments, kernel_samples
from .tiled import SMALL_WORK, begin_job, lanes, run
from .tiles import workspace as tiles
from .tiles.job import fields, job_in
from .tiles.normal_equations import outer_panel, product_share, rows_of_panel, rows_share, weigh_panel
from .tiles.outcomes import sums_of_chunk

#: The dtype of all of it.
DTYPE = np.dtype(np.float64)

#: The rows of J of a chunk, which lie there twice: about CHUNK_NUMBERS numbers, and from FEW_ROWS to MOST_ROWS rows.
#: With these, JᵀJ of 487 to 2,531 weights ran at 0.75 of the rate of multiply-adds alone or more (Zen 4).
CHUNK_NUMBERS, FEW_ROWS, MOST_ROWS = 2**17, 64, 512


def size_of(layout: Layout) -> int:
    """P + 1, the rows and columns of [J r]ᵀ[J r]."""
    return layout.size + 1


def chunk(layout: Layout) -> int:
    """The number of samples that are taken at a time, which depends on the network alone."""
    width, size, outputs = lanes(DTYPE), size_of(layout), int(layout.widths[-1])
    rows = min(max(CHUNK_NUMBERS // size, FEW_ROWS), MOST_ROWS)
    return min(max(rows // outputs // width, 1) * width, tiles.chunk(layout, DTYPE))


@undisturbed()
def workspace(layout: Layout, loss: Loss) -> np.ndarray:
    """The workspace for a network that is linked for float64 by `tiled`, with a loss that has a curvature."""
    width, size, outputs, count = lanes(DTYPE), size_of(layout), int(layout.widths[-1]), chunk(layout)
    work = tiles.workspace(layout, DTYPE, count)
    job, name = fields(work), DTYPE.name
    panels, columns = count // width * outputs, -(-size // width) * width
    job.in_J_panel, job.in_J_block = columns * width, panels * width * width
    J_panels, J_blocks = (aligned_zeros(panels * columns * width, DTYPE) for _ in range(2))
    roots = aligned_zeros(panels * width, DTYPE)
    job.J_panels, job.J_blocks, job.roots = (array.ctypes.data for array in (J_panels, J_blocks, roots))
    job.curvature = address_of(curvature_panel, loss, name, width)
    job.weigh_panel, job.outer_panel = address_of(weigh_panel, name), address_of(outer_panel, name)
    job.rows_of_panel = address_of(rows_of_panel, name)
    job.rows_phase, job.product_phase = address_of(rows_share, name), address_of(product_share, name)
    return keeping(work, work, J_panels, J_blocks, roots)


@kernel
def add_products(theta: Any, X: Any, reading: int, targets: Any, weights: Any, order: Any, start: int, stop: int,
                 E: float, product: Any, work: Any, threads: int) -> Any:
    """`add_normal_equations` with the arrays of its tuples as arguments; order : empty."""
    job = job_in(work)
    samples = kernel_samples(X, reading, stop, order, targets, weights)
    begin_job(job, theta, Batch(samples, order, start, stop), Extras(0.0, 0, 0, 0))
    job.lowest, job.product, job.in_product = 1, address_in_memory(product), product.shape[1]
    operations = job.chunk * job.outputs * job.in_product * job.in_product
    team = threads if operations >= SMALL_WORK * job.lanes else 1
    total, correct = E, 0
    for first in range(start, stop, job.chunk):
        job.first, job.count = first, min(job.chunk, stop - first)
        run(job.rows_phase, job, team)
        chunk_E, chunk_correct = sums_of_chunk(job)
        total, correct = total + chunk_E, correct + chunk_correct
        run(job.product_phase, job, team)
    return total, correct


def add_normal_equations(theta: np.ndarray, samples: Samples, start: int, stop: int, E: float, product: np.ndarray,
                         work: np.ndarray, threads: int) -> tuple[float, int]:
    """C += [J r]ᵀ[J r] over samples start … stop - 1, at and below the diagonal; elsewhere C is not defined.

    Returns E plus the losses of these samples, and how many of them are classified correctly. A sum may be cut in two
    at any multiple of `chunk` samples without changing a bit.

    theta : (P,) float64
    samples : with targets, of float64
    product : C, (size_of, size_of) float64; its last row is (∇E, Σ r²).
    work : from `workspace`
    """
    X, reading = as_arguments(samples)
    found: tuple[float, int] = add_products(theta, X, reading, samples.targets, samples.weights, NO_ORDER, start, stop,
                                            E, product, work, threads)
    return found
