"""The formulas in plain Python and float64, one sample after another: obvious, not fast. Nothing of fastbp is in it.

Symbols: a_k = W_k h_{k-1} + b_k, h_k = g_k(a_k), e_k = ∂E/∂h_k, delta_k = ∂E/∂a_k; theta is W_1 row by row, b_1, W_2, …
"""

import math
from itertools import pairwise

import numpy as np


def logistic(a, m=math):
    return 1 / (1 + m.exp(-a)) if a >= 0 else m.exp(a) / (1 + m.exp(a))


def normal_distribution(a, m=math):
    return m.erfc(-a / m.sqrt(2)) / 2


def normal_density(a, m=math):
    return m.exp(-a * a / 2) / m.sqrt(2 * m.pi)


def activations(m=math):
    """(g, g') of every componentwise activation, with the functions of m: math, or mpmath for more digits."""
    return {
        "identity": (lambda a: a,
                     lambda a: 1),
        "logistic": (lambda a: logistic(a, m),
                     lambda a: logistic(a, m) * logistic(-a, m)),
        "tanh": (m.tanh,
                 lambda a: 1 - m.tanh(a) ** 2),
        "relu": (lambda a: max(a, 0),
                 lambda a: 1 if a > 0 else 0),
        "leaky_relu": (lambda a: a if a > 0 else a / 100,
                       lambda a: 1 if a > 0 else type(a)(1) / 100),
        "elu": (lambda a: a if a > 0 else m.expm1(a),
                lambda a: 1 if a > 0 else m.exp(a)),
        "softplus": (lambda a: max(a, 0) + m.log1p(m.exp(-abs(a))),
                     lambda a: logistic(a, m)),
        "silu": (lambda a: a * logistic(a, m),
                 lambda a: logistic(a, m) + a * logistic(a, m) * logistic(-a, m)),
        "gelu": (lambda a: a * normal_distribution(a, m),
                 lambda a: normal_distribution(a, m) + a * normal_density(a, m)),
    }


ACTIVATIONS = activations()


def softmax(a):
    exponentials = np.array([math.exp(x - max(a)) for x in a])
    return exponentials / exponentials.sum()


def log_softmax(a):
    """a_i - log Σ_j exp a_j; with the maximum subtracted first, logits of 10,000 lose nothing."""
    return a - max(a) - math.log(sum(math.exp(x - max(a)) for x in a))


def activate(name, a):
    """h = g(a) of one layer."""
    return softmax(a) if name == "softmax" else np.array([float(ACTIVATIONS[name][0](x)) for x in a])


def jacobian(name, a):
    """∂h_i/∂a_j of one layer: diag(g'(a)), or diag(h) - h hᵀ for softmax."""
    if name == "softmax":
        h = softmax(a)
        return np.diag(h) - np.outer(h, h)
    return np.diag([float(ACTIVATIONS[name][1](x)) for x in a])


# (E, ∇_y E) of one sample


def squared_error(y, d):
    return 0.5 * sum((y - d) ** 2), y - d


def cross_entropy(y, d):
    return -sum(d_i * math.log(y_i) for y_i, d_i in zip(y, d, strict=True) if d_i > 0), -d / y


def softmax_cross_entropy(y, d):
    return -sum(d * log_softmax(y)), softmax(y) * sum(d) - d


def binary_cross_entropy(y, d):
    E = sum(max(y_i, 0) - y_i * d_i + math.log1p(math.exp(-abs(y_i))) for y_i, d_i in zip(y, d, strict=True))
    return E, np.array([logistic(y_i) for y_i in y]) - d


def absolute_error(y, d):
    return sum(abs(y - d)), np.sign(y - d)


def huber(delta):
    def loss(y, d):
        E = sum(r**2 / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2) for r in y - d)
        return E, np.clip(y - d, -delta, delta)
    return loss


def quantile(q):
    def loss(y, d):
        return sum(max(q * r, (q - 1) * r) for r in d - y), np.select([d > y, d < y], [-q, 1 - q])
    return loss


def poisson(y, d):
    means = [math.exp(y_i) for y_i in y]
    E = sum(mean - d_i * y_i + (d_i * math.log(d_i) - d_i if d_i > 0 else 0)
            for mean, y_i, d_i in zip(means, y, d, strict=True))
    return E, means - d


LOSSES = {"squared_error": squared_error, "cross_entropy": cross_entropy,
          "softmax_cross_entropy": softmax_cross_entropy, "binary_cross_entropy": binary_cross_entropy,
          "absolute_error": absolute_error, "huber": huber(1.0), "huber(0.5)": huber(0.5), "huber(1e-05)": huber(1e-5),
          "quantile": quantile(0.5), "quantile(0.9)": quantile(0.9), "poisson": poisson}


def target_rows(d, outputs):
    """Targets as rows (n, N_L); integer labels become one-hot rows."""
    return np.eye(outputs)[d] if np.ndim(d) == 1 and outputs > 1 else np.reshape(d, (-1, outputs)).astype(float)


def layers(theta, widths):
    """(W_k, b_k) for k = 1 … L."""
    start = 0
    for n_in, n_out in pairwise(widths):
        W, b = np.split(theta[start : start + n_out * (n_in + 1)].astype(float), [n_out * n_in])
        yield W.reshape(n_out, n_in), b
        start += n_out * (n_in + 1)


def forward(theta, widths, names, x):
    """The lists a_1 … a_L and h_0 … h_L of one sample."""
    a, h = [], [x.astype(float)]
    for (W, b), name in zip(layers(theta, widths), names, strict=True):
        a.append(W @ h[-1] + b)
        h.append(activate(name, a[-1]))
    return a, h


def backward(theta, widths, names, loss, x, d):
    """E, ∂E/∂theta and e_0 = ∂E/∂x of one sample."""
    a, h = forward(theta, widths, names, x)
    E, e = LOSSES[loss](h[-1], d)
    return E, *errors_back(theta, widths, names, a, h, e)


def errors_back(theta, widths, names, a, h, e):
    """∂E/∂theta and e_0 = ∂E/∂x of one sample, from e_L = ∂E/∂y."""
    grad = []
    for k, (W, _) in reversed(list(enumerate(layers(theta, widths)))):
        delta = jacobian(names[k], a[k]).T @ e
        grad = [np.outer(delta, h[k]).ravel(), delta, *grad]
        e = W.T @ delta
    return np.concatenate(grad), e


def input_jacobian(theta, widths, names, x):
    """∂y/∂x of one sample, (N_L, N_0): the product of all W_k and the Jacobians of all layers."""
    a, _ = forward(theta, widths, names, x)
    J = np.eye(widths[0])
    for (W, _), a_k, name in zip(layers(theta, widths), a, names, strict=True):
        J = jacobian(name, a_k) @ W @ J
    return J


def gradients(theta, widths, names, loss, X, d, weights=None):
    """E = Σ_s w_s E_s, ∂E/∂theta (P,) and ∂E/∂X (n, N_0)."""
    weights = np.ones(len(X)) if weights is None else weights.astype(float)
    E, grad, E0 = 0.0, np.zeros(len(theta)), np.zeros(X.shape)
    for s, (x, d_s, weight) in enumerate(zip(X, target_rows(d, widths[-1]), weights, strict=True)):
        E_s, grad_s, e_0 = backward(theta, widths, names, loss, x, d_s)
        E, grad, E0[s] = E + weight * E_s, grad + weight * grad_s, weight * e_0
    return E, grad, E0


# What the tests run over

#: case: (loss, output activation or None for that of the hidden layers, the kind of targets)
CASES = {
    "squared_error": ("squared_error", "identity", "targets"),
    "squared_error_output": ("squared_error", None, "targets"),
    "squared_error_softmax": ("squared_error", "softmax", "targets"),
    "cross_entropy": ("cross_entropy", "softmax", "labels"),
    "softmax_cross_entropy": ("softmax_cross_entropy", "identity", "labels"),
    "binary_cross_entropy": ("binary_cross_entropy", "identity", "bits"),
    "absolute_error": ("absolute_error", "identity", "targets"),
    "huber": ("huber", "identity", "targets"),
    "huber_parameter": ("huber(0.5)", "identity", "targets"),
    "quantile": ("quantile", "identity", "targets"),
    "quantile_parameter": ("quantile(0.9)", "identity", "targets"),
    "poisson": ("poisson", "identity", "counts"),
    "poisson_tanh": ("poisson", "tanh", "counts"),
}


def draw_inputs(widths, n, seed=0, dtype="float64"):
    """Seeded parameters, samples, one target of every kind, and sample weights."""
    rng = np.random.default_rng([seed, n, *widths])
    size = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(widths))
    return {
        "theta": (0.7 * rng.standard_normal(size)).astype(dtype),
        "X": rng.standard_normal((n, widths[0])).astype(dtype),
        "labels": rng.integers(0, widths[-1], n),
        "targets": rng.standard_normal((n, widths[-1])).astype(dtype),
        "bits": rng.integers(0, 2, (n, widths[-1])).astype(dtype),
        "weights": rng.uniform(0.2, 2.0, n).astype(dtype),
        "counts": rng.poisson(2.0, (n, widths[-1])).astype(dtype),
    }
