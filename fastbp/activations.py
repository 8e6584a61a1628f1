"""The activations: records that name formulas, compiled for panels of samples.

To add one, write g and g' in `formulas.py` and add a line to `ACTIVATIONS`; every backend, test and benchmark takes it
from there. Softmax works on all units of a sample and brings its own two functions.

A panel holds a layer's values of some samples, (units, samples); the loops over samples come last, so that they
vectorise. Backends that take one sample at a time have panels of one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import carray

from . import formulas
from .by_address import INTEGER, pointer_type
from .compilation import formula, named, panel_loop
from .elementary import exp


class Activation(NamedTuple):
    """One activation g of a layer, as functions on panels (units, samples)."""

    name: str
    g: Callable[..., Any] | None        # g(a), or None where h_i depends on more than a_i
    g_prime: Callable[..., Any] | None  # g'(a, h)
    apply: Callable[..., Any]           # apply(a, h): h = g(a)
    delta: Callable[..., Any]           # delta(a, h, e, delta): δ = e ⊙ g'(a), or Jᵀ e
    initializer: str                    # the initializer that keeps the variance over layers


def _componentwise(name: str, initializer: str) -> Activation:
    """The record of an activation g that acts on each unit alone, from its two formulas."""
    g, g_prime = getattr(formulas, name), getattr(formulas, f"{name}_prime")

    def apply(a: Any, h: Any) -> None:
        for i in range(a.shape[0]):
            for s in range(a.shape[1]):
                h[i, s] = g(a[i, s])

    def delta(a: Any, h: Any, e: Any, delta: Any) -> None:
        for i in range(a.shape[0]):
            for s in range(a.shape[1]):
                delta[i, s] = e[i, s] * g_prime(a[i, s], h[i, s])

    return Activation(name, g, g_prime, panel_loop(named(f"{name}_apply", apply)),
                      panel_loop(named(f"{name}_delta", delta)), initializer)


@formula
def smallest_probability(a: Any) -> Any:
    """The least value of a softmax: 1e-200, or 1e-20 in float32.

    The exact value is positive for every logit; rounded to 0 it would make -log y infinite and its gradient NaN. The
    reciprocal 1e20 leaves room for sample weights to 1e18.
    """
    T = type(a)
    return T(1e-200) if T(1e-200) > T(0.0) else T(1e-20)  # 1e-200 is 0 in float32


@panel_loop
def softmax(a: Any, h: Any) -> None:
    """h_i = exp(a_i - m) / Σ_j exp(a_j - m), m = max a."""
    T = type(a[0, 0])
    for s in range(a.shape[1]):
        largest = a[0, s]
        for i in range(1, a.shape[0]):
            largest = max(largest, a[i, s])
        total = T(0.0)
        for i in range(a.shape[0]):
            h[i, s] = exp(a[i, s] - largest)
            total += h[i, s]
        for i in range(a.shape[0]):
            p = h[i, s] / total
            h[i, s] = smallest_probability(p) if p < smallest_probability(p) else p


@panel_loop
def softmax_delta(a: Any, h: Any, e: Any, delta: Any) -> None:
    """δ = h ⊙ (e - ⟨e, h⟩)."""
    for s in range(h.shape[1]):
        inner = h[0, s] * e[0, s]
        for i in range(1, h.shape[0]):
            inner += h[i, s] * e[i, s]
        for i in range(h.shape[0]):
            delta[i, s] = h[i, s] * (e[i, s] - inner)


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
    Activation("softmax", None, None, softmax, softmax_delta, "glorot"),
)

BY_NAME = {activation.name: activation for activation in ACTIVATIONS}


def apply_panel(name: str, dtype: str, samples: int) -> Any:
    """The function (a, h, units) that gives h = g(a) for a panel, for `address_of`."""
    apply, numbers = BY_NAME[name].apply, pointer_type(dtype)

    def panel(a: Any, h: Any, units: int) -> None:
        apply(carray(a, (units, samples)), carray(h, (units, samples)))

    return panel, (numbers, numbers, INTEGER)


def delta_panel(name: str, dtype: str, samples: int) -> Any:
    """The function (a, h, e, delta, units) that gives δ = e ⊙ g'(a) for a panel, for `address_of`."""
    apply_delta, numbers = BY_NAME[name].delta, pointer_type(dtype)

    def panel(a: Any, h: Any, e: Any, delta: Any, units: int) -> None:
        shape = (units, samples)
        apply_delta(carray(a, shape), carray(h, shape), carray(e, shape), carray(delta, shape))

    return panel, (numbers, numbers, numbers, numbers, INTEGER)


def activation_named(name: str, argument: str) -> Activation:
    """The record of that name; the error says which argument held it.

    Raises
    ------
    ValueError
        If no activation has that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected the name of an activation, found {name!r}")
    if name not in BY_NAME:
        raise ValueError(f"{argument}: unknown activation {name!r}; expected one of {', '.join(BY_NAME)}")
    return BY_NAME[name]


