"""Second derivatives of activations and losses, compiled for panels as their first ones are.

Along a direction in which a and h change by Ra and Rh [1]_, δ = e ⊙ g'(a) changes by Rδ = Re ⊙ g'(a) + e ⊙ g''(a) ⊙ Ra,
and e = ∇_y L by Re = ∇²_y L Ry. The first term of Rδ is `activations.delta_panel` of Re.

.. [1] Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
"""

from collections.abc import Sequence
from typing import Any

from numba import carray

from ..compiling.addresses import INTEGER, in_order, invoke, local_numbers, pointer_type
from ..compiling.decorators import inlined
from ..formulas import activations as activation_formulas
from ..formulas import losses as loss_formulas
from ..formulas.activations import SUMS
from . import loss_panels
from .activations import Activation
from .loss_panels import OUTCOME_ROWS
from .losses import Loss, name_and_parameters

#: Activations whose g'' is 0 wherever it exists: there is nothing to add to Rδ.
PIECEWISE_LINEAR = ("identity", "relu", "leaky_relu")


def require_second_derivatives(activations: Sequence[Activation], loss: Loss | None) -> None:
    """Refuse users' own activations and losses, of which only first derivatives are known.

    Raises
    ------
    ValueError
        That names the record.
    """
    for kind, record in [*(("activation", g) for g in activations), ("loss", loss)]:
        if record is not None and record.given is not None:
            raise ValueError(f"{kind}: {record.name!r} is your own, and has no second derivative; use one of fastbp's")


@in_order
def add_second_panel(activation: Activation, dtype: str, samples: int) -> Any:
    """The function (a, h, e, Ra, Rh, Rdelta, units) that adds e ⊙ g''(a) ⊙ Ra to Rδ of a panel, for `address_of`."""
    second, vector = getattr(activation_formulas, f"{activation.name}_second"), pointer_type(dtype)
    in_sums = SUMS * samples

    def panel(a: Any, h: Any, e: Any, Ra: Any, Rh: Any, Rdelta: Any, units: int) -> None:
        for i in range(units * samples):
            Rdelta[i] += e[i] * second(a[i], h[i]) * Ra[i]

    def panel_of_samples(a: Any, h: Any, e: Any, Ra: Any, Rh: Any, Rdelta: Any, units: int) -> None:
        shape, sums = (units, samples), carray(local_numbers(h, in_sums), (SUMS, samples))
        second(carray(a, shape), carray(h, shape), carray(e, shape), carray(Ra, shape), carray(Rh, shape),
               carray(Rdelta, shape), sums)

    return panel_of_samples if activation.g is None else panel, (*[vector] * 6, INTEGER)


@inlined
def add_second_of_panel(address: Any, a: Any, h: Any, e: Any, Ra: Any, Rh: Any, Rdelta: Any, units: Any) -> None:
    """Rδ += e ⊙ g''(a) ⊙ Ra of a panel, by the function that `add_second_panel` describes; at 0 there is none."""
    if address != 0:
        invoke(address, (a, h, e, Ra, Rh, Rdelta, units))


def second_panel(loss: Loss, dtype: str, samples: int) -> Any:
    """The function (y, d, outcome, Ry, Re, units) that gives Re = ∇²_y L Ry of a panel, for `address_of`.

    The outcome is that of `losses.evaluate_panel` for the same y and d.
    """
    name, parameters = name_and_parameters(loss)
    formula = getattr(loss_formulas, f"{name}_second", None)
    second = (getattr(loss_panels, f"{name}_second") if formula is None else
              loss_panels.summed_second(loss.symbol, formula, *parameters))
    vector = pointer_type(dtype)

    def panel(y: Any, d: Any, outcome: Any, Ry: Any, Re: Any, units: int) -> None:
        shape = (units, samples)
        second(carray(y, shape), carray(d, shape), carray(outcome, (OUTCOME_ROWS, samples)), carray(Ry, shape),
               carray(Re, shape))

    return panel, (*[vector] * 5, INTEGER)


@inlined
def second_of_panel(address: Any, y: Any, d: Any, outcome: Any, Ry: Any, Re: Any, units: Any) -> None:
    """Re = ∇²_y L Ry of a panel, by the function at an address that `second_panel` describes."""
    invoke(address, (y, d, outcome, Ry, Re, units))
