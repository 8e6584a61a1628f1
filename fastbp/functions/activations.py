"""The activations: records that name formulas, compiled for panels of samples.

To add one, write g and g' in `formulas/activations.py` and add a line to `ACTIVATIONS`; every backend, test and
benchmark takes it from there. Softmax works on all units of a sample and brings its own two functions.

A panel holds a layer's values of some samples, (units, samples); the loops over samples come last, so that they
vectorise. Backends that take one sample at a time have panels of one.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import carray

from ..checks.arguments import require_initializer
from ..checks.derivatives import checked_formulas
from ..checks.messages import shown
from ..compiling.addresses import INTEGER, invoke, local_numbers, pointer_type
from ..compiling.decorators import inlined, own_formula
from ..formulas import activations as formulas
from ..formulas.activations import SUMS
from .record import Record, require_new_name, restored


class Activation(Record):
    """An activation of your own: h_i = g(a_i), from two functions of numbers.

    Give it to `MLP` as `activation`, as `output_activation`, or in the list of activations. Its name will do as well,
    which this process knows from then on, `fastbp.load` too. Another activation of the same name takes its place in
    networks that are made later. It works with every backend, on a GPU if Numba compiles its functions there, and in
    `fastbp.jit`.

    Parameters
    ----------
    name : str
        None of the names that fastbp uses itself.
    g : function
        g(a), of a number; compiled by `numba.njit` or not. It must not raise, which kernels cannot. Its values are
        converted to the network's dtype, so that plain literals do no harm.
    g_prime : function
        g'(a, h) with h = g(a); it must not raise either.
    initializer : str
        Of the weights of its layers: "glorot", "he", "lecun" or "zeros".

    Raises
    ------
    TypeError
        If the functions cannot be compiled for float32 and float64 or give no real numbers.
    ValueError
        If g' is not the derivative of g by finite differences at some points from -10 to 10 (a kink is passed over), a
        value there is not finite, a function may raise as far as its compiled code shows, or the name is taken.

    Notes
    -----
    Its kernels are compiled in every process anew: fastbp's cache cannot see when your functions change.

    Unpickling, of a network too, gives the activation that was made of equal arguments in this process, if there is
    one, and makes one otherwise. A name that another activation has stays with that one.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import MLP, Activation
    >>> bent = Activation("bent", lambda a: (np.sqrt(a * a + 1) - 1) / 2 + a,
    ...                   lambda a, h: a / (2 * np.sqrt(a * a + 1)) + 1)
    >>> net = MLP([3, 8, 2], activation=bent, seed=0)
    >>> net.activations
    ('bent', 'identity')
    """

    initializer: str  # the initializer that keeps the variance over layers

    def __init__(self, name: str, g: Callable[..., Any], g_prime: Callable[..., Any],
                 initializer: str = "glorot") -> None:
        require_new_name("activation", name, [record.name for record in ACTIVATIONS])
        require_initializer(initializer)
        checked = checked_formulas(("g", "g_prime"), (g, g_prime), takes_value=True)
        self._set(name, f"custom_activation_{next(_SERIALS)}", checked, initializer,
                  (name, g, g_prime, initializer))
        self.register()

    #: For an activation that takes all units of a sample: the compiled functions apply(a, h, sums), h = g(a), and
    #: delta(a, h, e, delta, sums), δ = Jᵀ e, on panels (units, samples); sums: (SUMS, samples), memory for sums over
    #: units. None for all others.
    apply: Any
    delta: Any

    def _set(self, name: str, symbol: str, formulas: Sequence[Any], initializer: str, given: Any = None,
             over_units: tuple[Any, Any] = (None, None)) -> "Activation":
        self.name, self.symbol, self.initializer, self.given = name, symbol, initializer, given
        self._formulas, (self.apply, self.delta) = formulas, over_units
        return self

    @property
    def g(self) -> Any:
        """g(a) compiled for kernels, or None where h_i depends on more than a_i."""
        return self._formula(0)

    @property
    def g_prime(self) -> Any:
        """g'(a, h) compiled for kernels, or None."""
        return self._formula(1)

    def _formula(self, place: int) -> Any:
        """One of the two formulas; a user's own anew each time, so that what was compiled does not stay."""
        chosen = self._formulas[place]
        return chosen if self.given is None else own_formula(chosen)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.given is None:
            return activation_named, (self.name, "activation")
        return restored, (Activation, *self.given)


_SERIALS = itertools.count()


def _componentwise(name: str, initializer: str) -> Activation:
    """The record of an activation from its two formulas."""
    g, g_prime = getattr(formulas, name), getattr(formulas, f"{name}_prime")
    return object.__new__(Activation)._set(name, name, (g, g_prime), initializer)


ACTIVATIONS = (
    _componentwise("identity", "glorot"),
    _componentwise("logistic", "glorot"),
    _componentwise("tanh", "glorot"),
    _componentwise("relu", "he"),
    _componentwise("leaky_relu", "he"),
    _componentwise("elu", "he"),
    _componentwise("softplus", "he"),
    _componentwise("silu", "he"),
    _componentwise("gelu", "he"),
    object.__new__(Activation)._set("softmax", "softmax", (None, None), "glorot",
                                    over_units=(formulas.softmax, formulas.softmax_delta)),
)

BY_NAME = Activation.by_name = {activation.name: activation for activation in ACTIVATIONS}


def apply_panel(activation: Activation, dtype: str, samples: int) -> Any:
    """The function (a, h, units) that gives h = g(a) for a panel, for `address_of`.

    It is one loop over the panel's memory. Of two, LLVM unrolled the inner one, and then took vectors across units.
    """
    g, T, vector = activation.g, np.dtype(dtype).type, pointer_type(dtype)
    apply, in_sums = activation.apply, SUMS * samples

    def panel(a: Any, h: Any, units: int) -> None:
        for i in range(units * samples):
            h[i] = T(g(a[i]))

    def panel_of_samples(a: Any, h: Any, units: int) -> None:
        shape, sums = (units, samples), carray(local_numbers(a, in_sums), (SUMS, samples))
        apply(carray(a, shape), carray(h, shape), sums)

    return panel if apply is None else panel_of_samples, (vector, vector, INTEGER)


@inlined
def activate_panel(address: Any, a: Any, h: Any, units: Any) -> None:
    """h = g(a) of a panel, by the function at an address that `apply_panel` describes."""
    invoke(address, (a, h, units))


def delta_panel(activation: Activation, dtype: str, samples: int) -> Any:
    """The function (a, h, e, delta, units) that gives δ = e ⊙ g'(a) for a panel, for `address_of`."""
    g_prime, T, vector = activation.g_prime, np.dtype(dtype).type, pointer_type(dtype)
    apply_delta, in_sums = activation.delta, SUMS * samples

    def panel(a: Any, h: Any, e: Any, delta: Any, units: int) -> None:
        for i in range(units * samples):
            delta[i] = e[i] * T(g_prime(a[i], h[i]))

    def panel_of_samples(a: Any, h: Any, e: Any, delta: Any, units: int) -> None:
        shape, sums = (units, samples), carray(local_numbers(h, in_sums), (SUMS, samples))
        apply_delta(carray(a, shape), carray(h, shape), carray(e, shape), carray(delta, shape), sums)

    return panel if apply_delta is None else panel_of_samples, (vector, vector, vector, vector, INTEGER)


@inlined
def delta_of_panel(address: Any, a: Any, h: Any, e: Any, delta: Any, units: Any) -> None:
    """δ = e ⊙ g'(a) of a panel, by the function at an address that `delta_panel` describes."""
    invoke(address, (a, h, e, delta, units))


def activation_named(name: str | Activation, argument: str) -> Activation:
    """The activation itself, or the one of that name.

    argument : the argument that held it, for errors.

    Raises
    ------
    TypeError, ValueError
        If there is none.
    """
    if isinstance(name, Activation):
        return name
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected the name of an activation, found {shown(name)}")
    if name not in BY_NAME:
        raise ValueError(f"{argument}: unknown activation {shown(name)}; expected one of {', '.join(BY_NAME)}, or one "
                         f"of your own, made before with fastbp.Activation")
    return BY_NAME[name]


def checked_activations(activation: str | Activation | Sequence[str | Activation],
                        output_activation: str | Activation, depth: int) -> tuple[Activation, ...]:
    """g_1 … g_L, from one name for the hidden layers and one for the last, or from a list."""
    if isinstance(activation, str | Activation):
        hidden, last = activation_named(activation, "activation"), activation_named(output_activation,
                                                                                    "output_activation")
        found = [hidden] * (depth - 1) + [last]
    elif not isinstance(activation, Sequence):
        raise TypeError(f"activation: expected the name of an activation or a list of names, found {shown(activation)}")
    else:
        if len(activation) != depth:
            raise ValueError(f"activation: expected one name, or one for each of {depth} layers, found "
                             f"{len(activation)}")
        found = [activation_named(name, f"activation of layer {k}") for k, name in enumerate(activation, 1)]
    names = [g.name for g in found]
    if "softmax" in names[:-1]:
        raise ValueError(f"activation: softmax is for the last layer, found it at layer {names.index('softmax') + 1} "
                         f"of {depth}")
    return tuple(found)
