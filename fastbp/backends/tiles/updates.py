"""The update of a tile of the gradient's parameters, as soon as it is computed, while it is in the first-level cache.

So no gradient is written to memory, read and cleared. Bounds show beforehand that the update is finite: the largest
|∂E/∂θ| of a chunk is known from phase 1, and the largest |θ| and |average| from the step before; see
`optimizers.blocks`. θ and the averages get the bits of an update after the gradient.
"""

from typing import Any

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined
from ...optimizers.blocks import update_parameters


@inlined
def update_at(job: Any, place: Any, grad: Any, rows: Any, columns: Any, theta_row: Any, grad_row: Any,
              penalty: Any) -> None:
    """Update the block of a job's parameters that begins at a place in theta."""
    update_parameters(job.update, pointer(job.theta, place), grad, pointer(job.averages, place),
                      pointer(job.averages, job.parameters + place), rows, columns, theta_row, grad_row, job.factor,
                      penalty, job.row)
