"""The optimizers: from the gradient g of one parameter to its change, θ ← θ - change, and what it keeps for the next.

Each has three formulas. `…_coefficients(rate, t, *settings)` gives what update t = 1, 2, … has for all parameters.
`…_change(g, theta, averages, coefficients)` gives the change of one parameter, and its averages after the update.
`…_bound`, of the same arguments, gives the largest |change| and |averages| where |g|, |θ| and the |averages| are at
most these; where a change grows with all of them, it is its own bound.
"""

import math

from ..compiling.decorators import formula


@formula
def descent_coefficients(rate, t):
    """γ."""
    return (rate,)


@formula
def descent_change(g, theta, averages, coefficients):
    """γ g."""
    return coefficients[0] * g, averages


@formula
def momentum_coefficients(rate, t, momentum, nesterov):
    """γ, μ, and the parts of g and v in the change: v alone, or with Nesterov g + μ v."""
    return rate, momentum, 1.0 if nesterov != 0.0 else 0.0, momentum if nesterov != 0.0 else 1.0


@formula
def momentum_change(g, theta, averages, coefficients):
    """v ← μ v + g; the change γ (ahead · g + current · v)."""
    rate, momentum, ahead, current = coefficients
    v = momentum * averages[0] + g
    return rate * (ahead * g + current * v), (v,)


@formula
def rmsprop_coefficients(rate, t, decay, epsilon):
    """γ, ρ, 1 - ρ, ε."""
    return rate, decay, 1.0 - decay, epsilon


@formula
def rmsprop_change(g, theta, averages, coefficients):
    """s ← ρ s + (1 - ρ) g²; the change γ g / (√s + ε)."""
    rate, decay, rest, epsilon = coefficients
    s = decay * averages[0] + rest * g * g
    return rate * g / (math.sqrt(s) + epsilon), (s,)


@formula
def rmsprop_bound(g, theta, averages, coefficients):
    """√s + ε is at least ε."""
    rate, decay, rest, epsilon = coefficients
    return rate * g / epsilon, (decay * averages[0] + rest * g * g,)


@formula
def adam_coefficients(rate, t, decay_m, decay_s, epsilon, decoupled, epsilon_hat):
    """γ, γ λ, β₁, 1 - β₁, β₂, 1 - β₂, 1 / (1 - β₁ᵗ), 1 / √(1 - β₂ᵗ), and ε.

    With ε̂ the change is γ (m / (1 - β₁ᵗ)) / ((√s + ε̂) / √(1 - β₂ᵗ)), so that ε = ε̂ / √(1 - β₂ᵗ).
    """
    correction_m, correction_s = 1.0 / (1.0 - decay_m**t), 1.0 / math.sqrt(1.0 - decay_s**t)
    return (rate, rate * decoupled, decay_m, 1.0 - decay_m, decay_s, 1.0 - decay_s, correction_m, correction_s,
            epsilon * correction_s if epsilon_hat != 0.0 else epsilon)


@formula
def adam_change(g, theta, averages, coefficients):
    """m ← β₁ m + (1 - β₁) g, s ← β₂ s + (1 - β₂) g²; the change γ m̂ / (√ŝ + ε) + γ λ θ.

    m̂ / (√ŝ + ε) = (m / (1 - β₁ᵗ)) / (√s / √(1 - β₂ᵗ) + ε): both corrections are one number per update.
    """
    rate, shrink, decay_m, rest_m, decay_s, rest_s, correction_m, correction_s, epsilon = coefficients
    m = decay_m * averages[0] + rest_m * g
    s = decay_s * averages[1] + rest_s * g * g
    change = rate * (m * correction_m) / (math.sqrt(s) * correction_s + epsilon) + shrink * theta
    return change, (m, s)


@formula
def adam_bound(g, theta, averages, coefficients):
    """√ŝ + ε is at least ε."""
    rate, shrink, decay_m, rest_m, decay_s, rest_s, correction_m, _, epsilon = coefficients
    m = decay_m * averages[0] + rest_m * g
    return rate * (m * correction_m) / epsilon + shrink * theta, (m, decay_s * averages[1] + rest_s * g * g)


@formula
def nadam_coefficients(rate, t, decay_m, decay_s, epsilon, momentum_decay):
    """γ (1 - μ_t) / (1 - μ_1 ⋯ μ_t), γ μ_{t+1} / (1 - μ_1 ⋯ μ_{t+1}), β₁, 1 - β₁, β₂, 1 - β₂, 1 / √(1 - β₂ᵗ), and ε.

    μ_k = β₁ (1 - ½ · 0.96^(k ψ)). A product below 10⁻¹⁸ does not change 1 minus it.
    """
    ratio, power, k, product = 0.96**momentum_decay, 1.0, 0, 1.0
    while k < t and product > 1e-18:
        power *= ratio
        product *= decay_m * (1.0 - 0.5 * power)
        k += 1
    now = decay_m * (1.0 - 0.5 * ratio**t)
    ahead = decay_m * (1.0 - 0.5 * ratio ** (t + 1))
    return (rate * (1.0 - now) / (1.0 - product), rate * ahead / (1.0 - product * ahead), decay_m, 1.0 - decay_m,
            decay_s, 1.0 - decay_s, 1.0 / math.sqrt(1.0 - decay_s**t), epsilon)


@formula
def nadam_change(g, theta, averages, coefficients):
    """m and s as Adam's; the change (γ (1 - μ_t) / (1 - Πμ) g + γ μ_{t+1} / (1 - Πμ) m) / (√ŝ + ε)."""
    rate_g, rate_m, decay_m, rest_m, decay_s, rest_s, correction_s, epsilon = coefficients
    m = decay_m * averages[0] + rest_m * g
    s = decay_s * averages[1] + rest_s * g * g
    return (rate_g * g + rate_m * m) / (math.sqrt(s) * correction_s + epsilon), (m, s)


@formula
def nadam_bound(g, theta, averages, coefficients):
    """√ŝ + ε is at least ε."""
    rate_g, rate_m, decay_m, rest_m, decay_s, rest_s, _, epsilon = coefficients
    m = decay_m * averages[0] + rest_m * g
    return (rate_g * g + rate_m * m) / epsilon, (m, decay_s * averages[1] + rest_s * g * g)


@formula
def rprop_coefficients(rate, t, eta_minus, eta_plus, smallest_step, largest_step):
    """η⁻, η⁺, Δ_min, Δ_max."""
    return eta_minus, eta_plus, smallest_step, largest_step


@formula
def rprop_change(g, theta, averages, coefficients):
    """Δ ← η⁺ Δ where g has the sign it had before, η⁻ Δ and g ← 0 where it changed; the change sign(g) Δ; g and Δ."""
    T, (before, step) = type(g), averages
    eta_minus, eta_plus, smallest, largest = coefficients
    turn = sign(before) * sign(g)
    factor = eta_plus if turn > T(0.0) else (eta_minus if turn < T(0.0) else T(1.0))
    step = min(max(step * factor, smallest), largest)
    g = T(0.0) if turn < T(0.0) else g
    return sign(g) * step, (g, step)


@formula
def rprop_bound(g, theta, averages, coefficients):
    """A step is at most Δ_max, also where it was larger before."""
    return coefficients[3], (g, coefficients[3])


@formula
def sign(x):
    """1, 0 or -1."""
    T = type(x)
    return T(x > T(0.0)) - T(x < T(0.0))
