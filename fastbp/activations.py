"""The activations: records that name formulas, and the compiled functions that apply the one with a given code.

To add one, write g and g' in `formulas.py` and add a line to `ACTIVATIONS`: its place there is its code, and every
backend, test and benchmark takes it from there. Softmax works on whole rows and brings its own two functions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import formulas
from .compilation import formula, inlined, named, switch
from .elementary import exp


class Activation(NamedTuple):
    """One activation g of a layer, as functions on one sample's row of units."""

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
            h[i] = g(a[i])

    def delta(a: Any, h: Any, e: Any, delta: Any) -> None:
        for i in range(a.shape[0]):
            delta[i] = e[i] * g_prime(a[i], h[i])

    return Activation(name, g, g_prime, inlined(named(f"{name}_apply", apply)), inlined(named(f"{name}_delta", delta)),
                      initializer)


@formula
def smallest_probability(a: Any) -> Any:
    """The least value of a softmax: 1e-200, or 1e-20 in float32.

    The exact value is positive for every logit; rounded to 0 it would make -log y infinite and its gradient NaN. The
    reciprocal 1e20 leaves room for sample weights to 1e18.
    """
    T = type(a)
    return T(1e-200) if T(1e-200) > T(0.0) else T(1e-20)  # 1e-200 is 0 in float32


@inlined
def softmax(a: Any, h: Any) -> None:
    """h_i = exp(a_i - m) / Σ_j exp(a_j - m), m = max a."""
    largest = a[0]
    for i in range(1, a.shape[0]):
        largest = max(largest, a[i])
    T = type(largest)
    total = T(0.0)
    for i in range(a.shape[0]):
        h[i] = exp(a[i] - largest)
        total += h[i]
    for i in range(a.shape[0]):
        p = h[i] / total
        h[i] = smallest_probability(p) if p < smallest_probability(p) else p


@inlined
def softmax_delta(a: Any, h: Any, e: Any, delta: Any) -> None:
    """δ = h ⊙ (e - ⟨e, h⟩)."""
    inner = h[0] * e[0]
    for i in range(1, h.shape[0]):
        inner += h[i] * e[i]
    for i in range(h.shape[0]):
        delta[i] = h[i] * (e[i] - inner)


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

CODES = {activation.name: code for code, activation in enumerate(ACTIVATIONS)}

#: activate(code, a, h): h = g(a) with the activation of that code, one row.
activate = switch("activate", [activation.apply for activation in ACTIVATIONS])

#: activation_delta(code, a, h, e, delta): δ = e ⊙ g'(a) with the activation of that code, one row.
activation_delta = switch("activation_delta", [activation.delta for activation in ACTIVATIONS])


def activation_named(name: str, argument: str) -> Activation:
    """The record of that name; the error says which argument held it.

    Raises
    ------
    ValueError
        If no activation has that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected the name of an activation, found {name!r}")
    if name not in CODES:
        raise ValueError(f"{argument}: unknown activation {name!r}; expected one of {', '.join(CODES)}")
    return ACTIVATIONS[CODES[name]]


