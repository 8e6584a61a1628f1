"""The losses of one output y with target d: each with its first and second derivative by y.

>>> from fastbp.formulas import losses
>>> losses.squared_error(3.0, 1.0), losses.squared_error_prime(3.0, 1.0)
(2.0, 2.0)
"""

import math

from ..compiling.decorators import formula
from .activations import logistic, relu
from .elementary import exp, log, log1p


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
def squared_error_second(y, d):
    """d²E/dy² = 1."""
    T = type(y)
    return T(1.0)


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
def absolute_error_second(y, d):
    """d²E/dy² = 0, but for the kink at y = d."""
    T = type(y)
    return T(0.0)


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
def huber_weight(y, d, delta):
    """(dE/dy) / r = min(1, delta / |r|), r = y - d: the weight of iteratively reweighted least squares.

    d²E/dy² is 0 where |r| > delta, and samples there would have no say in a Gauss-Newton step. Holland & Welsch (1977).
    """
    T = type(y)
    r, bound = abs(y - d), T(delta)
    return T(1.0) if r <= bound else bound / r


@formula
def huber_second(y, d, delta):
    """d²E/dy² = 1 where |r| <= delta, else 0."""
    T = type(y)
    return T(1.0) if abs(y - d) <= T(delta) else T(0.0)


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
def quantile_second(y, d, q):
    """d²E/dy² = 0, but for the kink at y = d."""
    T = type(y)
    return T(0.0)


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
def poisson_second(y, d):
    """d²E/dy² = e^y."""
    return exp(y)


@formula
def linear(y, d):
    """E = d y, whose derivative by y is any given d: the loss of `MLP.backward`."""
    return d * y


@formula
def linear_prime(y, d):
    """dE/dy = d."""
    return d


@formula
def binary_cross_entropy(y, d):
    """E = -d log p - (1 - d) log(1 - p), p = 1 / (1 + e^-y), in logits: max(y, 0) - y d + log(1 + e^-|y|)."""
    return relu(y) - y * d + log1p(exp(-abs(y)))


@formula
def binary_cross_entropy_prime(y, d):
    """dE/dy = p - d."""
    return logistic(y) - d


@formula
def binary_cross_entropy_second(y, d):
    """d²E/dy² = p (1 - p), from p = 1 / (1 + e^|y|), whose small values are not rounded to 0."""
    T = type(y)
    p = logistic(-abs(y))
    return p * (T(1.0) - p)


@formula
def negative_log_softmax(y, largest, log_total):
    """-log p = log_total - (y - m) with m = max y and log_total = log Σ_j e^(y_j - m), in exactly this order.

    Reassociated to (log_total + m) - y, logits of 10^4 lose three digits.
    """
    return log_total - (y - largest)


@formula
def mean_loss(E, n):
    """E / n, which kernels would otherwise compute as E · (1 / n) in some places."""
    return E / n
