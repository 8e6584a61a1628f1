"""The equations: each activation g(a) with its derivative g'(a, h), and each componentwise loss with its gradient.

This is their only copy. Every backend compiles these functions into its loops. Arguments are scalars of one dtype,
float32 or float64; h is g(a), so that a derivative may use what the forward pass has computed.

>>> from fastbp import formulas
>>> round(formulas.tanh(0.5), 12)
0.46211715726
>>> formulas.relu_prime(-1.0, 0.0)
0.0
"""

import math

from .compiling.decorators import formula
from .elementary import erfcx, exp, expm1, log, log1p
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
def tanh(a):
    """g(a) = (e^a - e^-a) / (e^a + e^-a)."""
    return elementary_tanh(a)


@formula
def tanh_prime(a, h):
    """g'(a) = 1 - h^2."""
    T = type(a)
    return T(1.0) - h * h


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
def softplus(a):
    """g(a) = log(1 + e^a) = max(a, 0) + log(1 + e^-|a|)."""
    return relu(a) + log1p(exp(-abs(a)))


@formula
def softplus_prime(a, h):
    """g'(a) = 1 / (1 + e^-a)."""
    return logistic(a)


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
def normal_distribution(a):
    """Phi(a) = erfc(-a / sqrt 2) / 2, from erfc(x) = e^(-x^2) erfcx(x) for x >= 0. Used by gelu."""
    T = type(a)
    tail = T(0.5) * exp(T(-0.5) * a * a) * erfcx(abs(a) * T(0.7071067811865476))
    return tail if a < T(0.0) else T(1.0) - tail


@formula
def squared_error(y, d):
    """E = (y - d)^2 / 2."""
    T = type(y)
    return T(0.5) * (y - d) * (y - d)


@formula
def squared_error_prime(y, d):
    """dE/dy = y - d."""
    return y - d


@formula
def absolute_error(y, d):
    """E = |y - d|."""
    return abs(y - d)


@formula
def absolute_error_prime(y, d):
    """dE/dy = sign(y - d), 0 at y = d."""
    T = type(y)
    r = y - d
    # A choice of 1, -1 or 0 does not vectorise in float64: E and its gradient took nearly twice as long, four times as
    # long in quantile below.
    return T(0.0) if r == T(0.0) else math.copysign(T(1.0), r)


@formula
def huber(y, d, delta):
    """E = r^2 / 2 if |r| <= delta else delta (|r| - delta / 2), r = y - d. Huber (1964)."""
    T = type(y)
    r, bound = y - d, T(delta)
    return T(0.5) * r * r if abs(r) <= bound else bound * (abs(r) - T(0.5) * bound)


@formula
def huber_prime(y, d, delta):
    """dE/dy = r where |r| <= delta, else delta sign(r)."""
    T = type(y)
    r, bound = y - d, T(delta)
    return bound if r > bound else (-bound if r < -bound else r)


@formula
def quantile(y, d, q):
    """E = max(q r, (q - 1) r) = r (q - [r < 0]), r = d - y. Koenker & Bassett (1978)."""
    T = type(y)
    r = d - y
    return r * (T(q) - T(r < T(0.0)))


@formula
def quantile_prime(y, d, q):
    """dE/dy = (1 - q) [r < 0] - q [r > 0]: 0 at r = 0."""
    T = type(y)
    r = d - y
    return (T(1.0) - T(q)) * T(r < T(0.0)) - T(q) * T(r > T(0.0))


@formula
def poisson(y, d):
    """E = e^y - d y + (d log d - d) = (e^y - d) - d (y - log d), with 0 log 0 = 0; y is the logarithm of the mean.

    Half the Poisson deviance, which is 0 at e^y = d. In the second form terms as large as d log d never come up.
    """
    T = type(y)
    log_d = log(d if d > T(0.0) else T(1.0))
    return (exp(y) - d) - d * (y - log_d)


@formula
def poisson_prime(y, d):
    """dE/dy = e^y - d."""
    return exp(y) - d


@formula
def binary_cross_entropy(y, d):
    """E = -d log p - (1 - d) log(1 - p), p = 1 / (1 + e^-y), in logits: max(y, 0) - y d + log(1 + e^-|y|)."""
    return relu(y) - y * d + log1p(exp(-abs(y)))


@formula
def binary_cross_entropy_prime(y, d):
    """dE/dy = p - d."""
    return logistic(y) - d


@formula
def negative_log_softmax(y, largest, log_total):
    """-log p = log_total - (y - m) with m = max y and log_total = log Σ_j e^(y_j - m), in exactly this order.

    Reassociated to (log_total + m) - y, logits of 10^4 lose three digits.
    """
    return log_total - (y - largest)
