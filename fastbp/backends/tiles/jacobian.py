"""∂y/∂h_0 of some panels, row by row or column by column, after they went forward.

A row i is e_0 of the unit vector e_L, taken back through all layers; `panels.propagate_group` does it. A column j is
how y changes along the unit vector of input j, forward:

    Ra_1 = column j of W_1;  Rh_k = g'_k(a_k) ⊙ Ra_k;  Ra_k = W_k Rh_{k-1}

Columns are for networks of fewer inputs than outputs, and take no product with W_1.
"""

from typing import Any

from ...compiling.addresses import pointer
from ...compiling.decorators import inlined, subkernel
from ...functions.activations import delta_of_panel
from .job import Slot
from .product import FROM_ZERO, affine

#: Steps of one tile of a product W_k h_{k-1}, whose rows of W_k lie in one piece.
ROW_STEPS = 1024


@inlined
def by_columns(job: Any) -> Any:
    """Whether a Jacobian takes fewer columns than rows."""
    return job.jacobian and job.inputs < job.outputs


@subkernel
def write_columns(job: Any, slot: Slot, panel: int, panels: int) -> None:
    """E0 = ∂y/∂h_0 (n, N_L, N_0) of some panels, an input after the other; Rh_k lies in the memory of δ_k."""
    width, depth, W_1 = job.lanes, job.depth, pointer(job.theta, job.weights_at[1])
    for j in range(job.inputs):
        for k in range(1, depth + 1):
            units = job.widths[k]
            Rh = pointer(job.delta, panel * job.in_delta + job.units[k] * width)
            if k == 1:  # the same for all panels
                fill_rows(slot.e, W_1, j, units, job.inputs, width)
            else:
                before = pointer(job.delta, panel * job.in_delta + job.units[k - 1] * width)
                affine(job.affine, units, FROM_ZERO, job.theta, slot.e, job.in_error,
                       pointer(job.theta, job.weights_at[k]), job.widths[k - 1], 1, before, job.in_delta,
                       job.widths[k - 1], panels, ROW_STEPS)
            for p in range(panels):
                values = p * job.in_panel + job.places[k] * width
                # ∂h/∂a is symmetric, that of a softmax too, so that what takes e to δ takes Ra to Rh.
                delta_of_panel(job.apply_delta[k], pointer(slot.a, values), pointer(slot.h, values),
                               pointer(slot.e, p * job.in_error if k > 1 else 0), pointer(Rh, p * job.in_delta), units)
        for p in range(panels):
            Ry = pointer(job.delta, (panel + p) * job.in_delta + job.units[depth] * width)
            begins = pointer(slot.rows, p * job.in_rows)
            numbers, inputs, in_sample = pointer(begins, width), job.inputs, job.outputs * job.inputs
            for s in range(width):  # lanes after the last sample write what that sample does
                begins[s] = numbers[s] * in_sample + j
            for i in range(job.outputs):
                J, Ry_i = pointer(job.E0, i * inputs), pointer(Ry, i * width)
                for s in range(width):
                    J[begins[s]] = Ry_i[s]


@inlined
def fill_rows(panel: Any, W: Any, j: Any, units: Any, inputs: Any, width: Any) -> None:
    """Column j of W (units, inputs) in every lane of a panel."""
    for i in range(units):
        for s in range(width):
            panel[i * width + s] = W[i * inputs + j]
