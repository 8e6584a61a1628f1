"""An update of a block of parameters in one pass, and the bounds that say beforehand whether it is finite.

Where the largest |g|, |θ| and |average| are known, the rule's `bound` says how large θ and the averages are after the
update. If that is far from the largest number, nothing has to be looked at before θ and the averages are written.
"""

from typing import Any

from numba import types

from ..compiling.addresses import INTEGER, invoke, pointer, pointer_type
from ..compiling.decorators import inlined, subkernel
from ..compiling.tuples import numbers_at, write_numbers_at
from .rules import Rule, change_of, rounded

#: The most averages of a parameter that `update_block` takes.
MOST_AVERAGES = 2

#: Numbers below this share of the largest one of their dtype are far from it.
FAR = 0.25


@subkernel(inline=True)
def _element_of(averages: Any, k: int, place: Any) -> Any:
    return averages[k][place]


@subkernel(inline=True)
def _write_element(averages: Any, k: int, place: Any, value: Any) -> None:
    averages[k][place] = value


def update_block(rule: Rule, dtype: str) -> Any:
    """The function that updates a block of parameters and sets their gradient to zero, for `address_of`.

    Its arguments are (theta, grad, first, second, rows, columns, theta_row, grad_row, factor, penalty, row).
    θ ← θ - change(g), where g = factor · (grad + penalty · θ) + λ θ.

    theta, first, second : (rows, columns), rows theta_row apart; the parameters and their averages. A rule with fewer
        averages does not touch the others.
    grad : (rows, columns), rows grad_row apart.
    row : the coefficients of the update, then λ of the weight decay.
    """
    if len(rule.averages) > MOST_AVERAGES:
        raise TypeError(f"rule {rule}: expected at most {MOST_AVERAGES} averages, found {rule.averages}")
    change = subkernel(change_of(rule, _element_of, _write_element), inline=True)
    coefficients_of, decay = rounded(rule), rule.count

    def update_row(theta: Any, grad: Any, averages: Any, columns: int, factor: Any, penalty: Any, weight_decay: Any,
                   coefficients: Any) -> None:
        for p in range(columns):
            g = factor * (grad[p] + penalty * theta[p]) + weight_decay * theta[p]
            theta[p] -= change(theta[p], g, averages, averages, p, coefficients)
            grad[p] = 0

    update_row = subkernel(update_row, inline=True)

    def block(theta: Any, grad: Any, first: Any, second: Any, rows: int, columns: int, theta_row: int, grad_row: int,
              factor: float, penalty: float, row: Any) -> None:
        T = type(theta[0])
        numbers = T(factor), T(penalty), T(row[decay]), coefficients_of(row, theta[0])
        for r in range(rows):
            place = r * theta_row
            averages = pointer(first, place), pointer(second, place)
            update_row(pointer(theta, place), pointer(grad, r * grad_row), averages, columns, *numbers)

    numbers, real = pointer_type(dtype), types.float64
    return block, (numbers, numbers, numbers, numbers, INTEGER, INTEGER, INTEGER, INTEGER, real, real,
                   types.CPointer(real))


@inlined
def update_parameters(address: Any, theta: Any, grad: Any, first: Any, second: Any, rows: Any, columns: Any,
                      theta_row: Any, grad_row: Any, factor: Any, penalty: Any, row: Any) -> None:
    """Update a block of parameters, by the function at an address that `update_block` describes."""
    invoke(address, (theta, grad, first, second, rows, columns, theta_row, grad_row, factor, penalty, row))


def bounds_after(rule: Rule) -> Any:
    """The function that turns bounds before an update into those after it, for `address_of`: (g, row, bounds).

    g : the largest |factor · (grad + penalty · θ)|; row : the coefficients, then λ.
    bounds : (1 + averages,) the largest |θ|, and the largest magnitude of each average.
    """
    bound, decay, count = rule.bound, rule.count, len(rule.averages)

    def advance(g: float, row: Any, bounds: Any) -> None:
        change, averages = bound(g + row[decay] * bounds[0], bounds[0], numbers_at(pointer(bounds, 1), count, g),
                                 numbers_at(row, decay, g))
        bounds[0] += change
        write_numbers_at(averages, pointer(bounds, 1))

    reals = types.CPointer(types.float64)
    return advance, (types.float64, reals, reals)


@inlined
def advance_bounds(address: Any, g: Any, row: Any, bounds: Any) -> None:
    """Turn bounds before an update into those after it, by the function at an address that `bounds_after` describes."""
    invoke(address, (g, row, bounds))


@inlined
def stays_far(address: Any, g: Any, row: Any, bounds: Any, most: Any) -> Any:
    """Turn bounds before an update into those after it; whether these are far from the largest number.

    g : as `bounds_after` takes it; most : the largest number of theta's dtype.
    """
    advance_bounds(address, g, row, bounds)
    far = True
    for k in range(bounds.shape[0]):
        far = far and bounds[k] < FAR * most  # NaN compares as false
    return far
