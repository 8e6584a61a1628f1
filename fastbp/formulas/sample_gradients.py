"""The noise of the gradients of single samples, without storing one of them.

The gradient of a sample is an outer product in every layer, ∂L/∂W_k = δ_k h_{k-1}ᵀ, so that its norm needs only δ and
h: ‖∇L‖² = Σ_k ‖δ_k‖² (‖h_{k-1}‖² + 1).
"""

import math
from typing import NamedTuple

import numpy as np

from ..compiling.decorators import formula
from .elementary import is_finite


class GradientNoise(NamedTuple):
    """How the gradients g_s of n samples vary around their mean ḡ; see `MLP.gradient_noise`."""

    mean_squared_norm: float  # ‖ḡ‖²
    variance: float           # tr Σ
    noise_scale: float        # tr Σ / |G|²


def noise_of(norms: np.ndarray, total: np.ndarray) -> GradientNoise:
    """The noise of gradients, from ‖g_s‖ of every sample and Σ_s g_s.

    tr Σ = Σ_s ‖g_s - ḡ‖² / (n - 1) = (Σ_s ‖g_s‖² - n ‖ḡ‖²) / (n - 1). The expectation of ‖ḡ‖² is |G|² + tr Σ / n; so
    |G|² is estimated by ‖ḡ‖² - tr Σ / n.

    Examples
    --------
    >>> noise_of(np.array([3.0, 4.0]), np.array([3.0, 4.0]))  # g_1 = (3, 0), g_2 = (0, 4)
    GradientNoise(mean_squared_norm=6.25, variance=12.5, noise_scale=inf)
    """
    n = len(norms)
    mean = total.astype(np.float64) / n
    with np.errstate(over="ignore", invalid="ignore"):
        squared, squares = float(mean @ mean), float(norms @ norms)
    if not math.isfinite(squares + squared):  # a maximum with NaN would hide it
        return GradientNoise(squared, math.nan, math.nan)
    variance = max(0.0, (squares - n * squared) / (n - 1))
    signal = squared - variance / n
    return GradientNoise(squared, variance, variance / signal if signal > 0.0 else float("inf"))


@formula
def clip_factor(norm, clip_norm):
    """min(1, C / norm), 1 where C is 0; NaN for a norm that is not finite, which makes the gradient NaN."""
    if clip_norm == 0.0 or norm <= clip_norm:
        return 1.0
    return clip_norm / norm if is_finite(norm) else math.nan
