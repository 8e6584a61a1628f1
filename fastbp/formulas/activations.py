"""The activations: each g(a) with its derivatives g'(a, h) and g''(a, h), where h is g(a), and the softmax of a panel.

>>> from fastbp.formulas import activations
>>> round(activations.tanh(0.5), 12)
0.46211715726
>>> activations.relu_prime(-1.0, 0.0)
0.0
"""

from typing import Any

from ..compiling.decorators import formula, panel_loop
from .elementary import erfcx, exp, expm1, log1p
from .elementary import tanh as elementary_tanh


@formula
def identity(a):
    """g(a) = a."""
    return a


@formula
def identity_prime(a, h):
    """g'(a) = 1."""
    T = type(a)
    return T(1.0)


@formula
def identity_second(a, h):
    """g''(a) = 0."""
    T = type(a)
    return T(0.0)


@formula
def logistic(a):
    """g(a) = 1 / (1 + e^-a), from e^-|a|, which cannot overflow."""
    T = type(a)
    z = exp(-abs(a))
    return (T(1.0) if a >= T(0.0) else z) / (T(1.0) + z)


@formula
def logistic_prime(a, h):
    """g'(a) = h (1 - h)."""
    T = type(a)
    return h * (T(1.0) - h)


@formula
def logistic_second(a, h):
    """g''(a) = h (1 - h) (1 - 2h)."""
    T = type(a)
    return h * (T(1.0) - h) * (T(1.0) - T(2.0) * h)


@formula
def tanh(a):
    """g(a) = (e^a - e^-a) / (e^a + e^-a)."""
    return elementary_tanh(a)


@formula
def tanh_prime(a, h):
    """g'(a) = 1 - h^2."""
    T = type(a)
    return T(1.0) - h * h


@formula
def tanh_second(a, h):
    """g''(a) = -2h (1 - h^2)."""
    T = type(a)
    return T(-2.0) * h * (T(1.0) - h * h)


@formula
def relu(a):
    """g(a) = max(a, 0)."""
    T = type(a)
    return T(0.0) if a < T(0.0) else a  # in this order NaN stays NaN


@formula
def relu_prime(a, h):
    """g'(a) = 1 if a > 0 else 0."""
    T = type(a)
    return T(1.0) if a > T(0.0) else T(0.0)


@formula
def relu_second(a, h):
    """g''(a) = 0, but for the kink at 0."""
    T = type(a)
    return T(0.0)


@formula
def leaky_relu(a):
    """g(a) = a if a > 0 else 0.01 a."""
    T = type(a)
    return a if a > T(0.0) else T(0.01) * a


@formula
def leaky_relu_prime(a, h):
    """g'(a) = 1 if a > 0 else 0.01."""
    T = type(a)
    return T(1.0) if a > T(0.0) else T(0.01)


@formula
def leaky_relu_second(a, h):
    """g''(a) = 0, but for the kink at 0."""
    T = type(a)
    return T(0.0)


@formula
def elu(a):
    """g(a) = a if a > 0 else e^a - 1. Clevert, Unterthiner & Hochreiter (2016), with alpha = 1."""
    T = type(a)
    negative = expm1(a if a < T(0.0) else T(0.0))
    return a if a > T(0.0) else (negative if a <= T(0.0) else a)


@formula
def elu_prime(a, h):
    """g'(a) = 1 if a > 0 else e^a = h + 1."""
    T = type(a)
    return T(1.0) if a > T(0.0) else h + T(1.0)


@formula
def elu_second(a, h):
    """g''(a) = 0 if a > 0 else e^a = h + 1; it jumps at 0."""
    T = type(a)
    return T(0.0) if a > T(0.0) else h + T(1.0)


@formula
def softplus(a):
    """g(a) = log(1 + e^a) = max(a, 0) + log(1 + e^-|a|)."""
    return relu(a) + log1p(exp(-abs(a)))


@formula
def softplus_prime(a, h):
    """g'(a) = 1 / (1 + e^-a)."""
    return logistic(a)


@formula
def softplus_second(a, h):
    """g''(a) = s (1 - s) with s = 1 / (1 + e^-a)."""
    T = type(a)
    s = logistic(a)
    return s * (T(1.0) - s)


@formula
def silu(a):
    """g(a) = a / (1 + e^-a). Elfwing, Uchibe & Doya (2018)."""
    return a * logistic(a)


@formula
def silu_prime(a, h):
    """g'(a) = s + h (1 - s) with s = 1 / (1 + e^-a)."""
    T = type(a)
    s = logistic(a)
    return s + h * (T(1.0) - s)


@formula
def silu_second(a, h):
    """g''(a) = s (1 - s) (2 + a (1 - 2s)) with s = 1 / (1 + e^-a)."""
    T = type(a)
    s = logistic(a)
    return s * (T(1.0) - s) * (T(2.0) + a * (T(1.0) - T(2.0) * s))


@formula
def gelu(a):
    """g(a) = a Phi(a), Phi the normal distribution function. Hendrycks & Gimpel (2016), the exact form."""
    return a * normal_distribution(a)


@formula
def gelu_prime(a, h):
    """g'(a) = Phi(a) + a phi(a), phi the normal density."""
    T = type(a)
    density = T(0.3989422804014327) * exp(T(-0.5) * a * a)
    return normal_distribution(a) + a * density


@formula
def gelu_second(a, h):
    """g''(a) = (2 - a^2) phi(a), phi the normal density."""
    T = type(a)
    return (T(2.0) - a * a) * (T(0.3989422804014327) * exp(T(-0.5) * a * a))


@formula
def normal_distribution(a):
    """Phi(a) = erfc(-a / sqrt 2) / 2, from erfc(x) = e^(-x^2) erfcx(x) for x >= 0. Used by gelu."""
    T = type(a)
    tail = T(0.5) * exp(T(-0.5) * a * a) * erfcx(abs(a) * T(0.7071067811865476))
    return tail if a < T(0.0) else T(1.0) - tail


@formula
def smallest_probability(a: Any) -> Any:
    """The least value of a softmax: 1e-200, or 1e-20 in float32.

    The exact value is positive for every logit; rounded to 0 it would make -log y infinite and its gradient NaN. With
    the reciprocal 1e20, sample weights up to 1e18 do not overflow.
    """
    T = type(a)
    return T(1e-200) if T(1e-200) > T(0.0) else T(1e-20)  # 1e-200 is 0 in float32


#: Rows of the memory that the functions of a softmax need for sums over the units of each sample, (SUMS, samples).
#: A loop with the samples inside is one of vectors; with the units inside, h = softmax(a) took ten times as long. Where
#: the shape of that memory is known, for one sample on a GPU, it lies in registers.
SUMS = 2


@panel_loop
def softmax(a: Any, h: Any, sums: Any) -> None:
    """h_i = exp(a_i - m) / Σ_j exp(a_j - m), m = max a; h may be a."""
    T = type(a[0, 0])
    for s in range(sums.shape[1]):
        sums[0, s], sums[1, s] = a[0, s], T(0.0)
    for i in range(1, a.shape[0]):
        for s in range(sums.shape[1]):
            sums[0, s] = max(sums[0, s], a[i, s])
    for i in range(a.shape[0]):
        for s in range(sums.shape[1]):
            h[i, s] = exp(a[i, s] - sums[0, s])
            sums[1, s] += h[i, s]
    for i in range(a.shape[0]):
        for s in range(sums.shape[1]):
            p = h[i, s] / sums[1, s]
            h[i, s] = smallest_probability(p) if p < smallest_probability(p) else p


@panel_loop
def softmax_delta(a: Any, h: Any, e: Any, delta: Any, sums: Any) -> None:
    """δ = h ⊙ (e - ⟨e, h⟩)."""
    for s in range(sums.shape[1]):
        sums[0, s] = h[0, s] * e[0, s]
    for i in range(1, h.shape[0]):
        for s in range(sums.shape[1]):
            sums[0, s] += h[i, s] * e[i, s]
    for i in range(h.shape[0]):
        for s in range(sums.shape[1]):
            delta[i, s] = h[i, s] * (e[i, s] - sums[0, s])


@panel_loop
def softmax_second(a: Any, h: Any, e: Any, Ra: Any, Rh: Any, Rdelta: Any, sums: Any) -> None:
    """Rδ += Rh ⊙ (e - ⟨e, h⟩) - h ⟨e, Rh⟩: what δ = h ⊙ (e - ⟨e, h⟩) changes by where h does and e does not."""
    for s in range(sums.shape[1]):
        sums[0, s], sums[1, s] = h[0, s] * e[0, s], Rh[0, s] * e[0, s]
    for i in range(1, h.shape[0]):
        for s in range(sums.shape[1]):
            sums[0, s] += h[i, s] * e[i, s]
            sums[1, s] += Rh[i, s] * e[i, s]
    for i in range(h.shape[0]):
        for s in range(sums.shape[1]):
            Rdelta[i, s] += Rh[i, s] * (e[i, s] - sums[0, s]) - h[i, s] * sums[1, s]
