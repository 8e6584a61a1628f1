"""The rules of the optimizers: one record each, from which the updates of the processor and the GPU are compiled."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numba import types

from ..compiling.addresses import INTEGER, invoke
from ..compiling.decorators import inlined, subkernel
from ..compiling.tuples import gathered, numbers_at, scattered, write_numbers_at
from ..formulas import updates as formulas

#: The symbol of an average of squares, which is never negative.
SQUARES = "s"


@dataclass(frozen=True, eq=False)
class Rule:
    """How an optimizer turns gradients into updates.

    Parameters
    ----------
    name : str
        A part of the names of compiled functions; no other rule has it.
    coefficients : formula (rate, t, *settings)
    change, bound : formulas (g, theta, averages, coefficients)
        All from `formulas.updates`.
    settings : tuple of str
        The attributes of the optimizer that `coefficients` takes, in its order.
    averages : tuple of str
        The symbols of the running averages of each parameter; SQUARES where it is one of squares.
    """

    name: str
    coefficients: Any
    change: Any
    bound: Any
    settings: tuple[str, ...] = ()
    averages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return _rule_named, (self.name,)

    @functools.cached_property
    def count(self) -> int:
        """The number of coefficients."""
        return len(self.coefficients.py_func(0.1, 1, *(0.5 for _ in self.settings)))


DESCENT = Rule("descent", formulas.descent_coefficients, formulas.descent_change, formulas.descent_change)
MOMENTUM = Rule("momentum", formulas.momentum_coefficients, formulas.momentum_change, formulas.momentum_change,
                ("momentum", "nesterov"), ("v",))
RMSPROP = Rule("rmsprop", formulas.rmsprop_coefficients, formulas.rmsprop_change, formulas.rmsprop_bound,
               ("decay", "epsilon"), ("s",))
ADAM = Rule("adam", formulas.adam_coefficients, formulas.adam_change, formulas.adam_bound,
            ("beta1", "beta2", "epsilon", "decoupled_decay", "epsilon_hat"), ("m", "s"))
NADAM = Rule("nadam", formulas.nadam_coefficients, formulas.nadam_change, formulas.nadam_bound,
             ("beta1", "beta2", "epsilon", "momentum_decay"), ("m", "s"))
RPROP = Rule("rprop", formulas.rprop_coefficients, formulas.rprop_change, formulas.rprop_bound,
             ("eta_minus", "eta_plus", "smallest_step", "largest_step"), ("g", "Δ"))

RULES = DESCENT, MOMENTUM, RMSPROP, ADAM, NADAM, RPROP


def _rule_named(name: str) -> Rule:
    """The rule of a pickle."""
    return next(rule for rule in RULES if rule.name == name)


def row_of(rule: Rule) -> Any:
    """The function that writes the coefficients of update t, for `address_of`: (rate, t, settings, row).

    settings : those of the rule, then λ of the weight decay; row : the coefficients, then λ.
    """
    taken, written, coefficients = len(rule.settings), rule.count, rule.coefficients

    def write_row(rate: float, t: int, settings: Any, row: Any) -> None:
        write_numbers_at(coefficients(rate, t, *numbers_at(settings, taken, rate)), row)
        row[written] = settings[taken]

    reals = types.CPointer(types.float64)
    return write_row, (types.float64, INTEGER, reals, reals)


@inlined
def write_numbers(address: Any, rate: Any, t: Any, settings: Any, row: Any) -> None:
    """Write the row of update t, by the function at an address that `row_of` describes."""
    invoke(address, (rate, t, settings, row))


@functools.cache
def rounded(rule: Rule) -> Any:
    """The compiled function that rounds coefficients to theta's dtype: (row, theta) → a tuple of them.

    row : the coefficients in float64, at a pointer or as a tuple; theta : one parameter.
    """
    count = rule.count
    return subkernel(lambda row, theta: numbers_at(row, count, theta), inline=True)


def change_of(rule: Rule, average_at: Any, write_average: Any,
              compiled: Callable[[Any], Any] = lambda function: function) -> Any:
    """The function that computes the change of one parameter, and its running averages after the update.

    It is (theta, g, averages, after, place, coefficients) → change. The averages after the update are written to
    `after`, which may be `averages`.

    Parameters
    ----------
    rule : Rule
    average_at, write_average : compiled functions (averages, k, place), (averages, k, place, value)
        How average k of the parameter at a place is read and written.
    compiled : callable
        Turns a compiled function into one for another device.
    """
    count, formula = len(rule.averages), compiled(rule.change)
    read, write = compiled(gathered(count, average_at)), compiled(scattered(count, write_average))

    def change_parameter(theta: Any, g: Any, averages: Any, after: Any, place: Any, coefficients: Any) -> Any:
        change, updated = formula(g, theta, read(averages, place), coefficients)
        write(updated, after, place)
        return change

    return change_parameter
