"""The optimizers: from the gradient g of one parameter to its change, and the running averages that are kept.

`…_numbers` are what the formula takes that is the same for all parameters.
"""

import math

from ..compiling.decorators import formula


@formula
def momentum_change(g, v, rate, momentum, ahead, current):
    """v ← μ v + g; the change γ (ahead · g + current · v), and v."""
    average = momentum * v + g
    return rate * (ahead * g + current * average), average


@formula
def rmsprop_change(g, s, rate, decay, rest, epsilon):
    """s ← ρ s + (1 - ρ) g²; the change γ g / (√s + ε), and s."""
    average = decay * s + rest * g * g
    return rate * g / (math.sqrt(average) + epsilon), average


@formula
def adam_change(g, theta, m, s, rate, shrink, decay_m, rest_m, decay_s, rest_s, correction_m, correction_s, epsilon):
    """m ← β₁ m + (1 - β₁) g, s ← β₂ s + (1 - β₂) g²; the change γ m̂ / (√ŝ + ε) + γ λ θ, m, and s.

    m̂ / (√ŝ + ε) = (m / (1 - β₁ᵗ)) / (√s / √(1 - β₂ᵗ) + ε): both corrections are one number per update.
    """
    average_m = decay_m * m + rest_m * g
    average_s = decay_s * s + rest_s * g * g
    change = rate * (average_m * correction_m) / (math.sqrt(average_s) * correction_s + epsilon) + shrink * theta
    return change, average_m, average_s


@formula
def momentum_numbers(rate, momentum, nesterov):
    """What `momentum_change` takes after v."""
    return (rate, momentum, 1.0, momentum) if nesterov else (rate, momentum, 0.0, 1.0)


@formula
def rmsprop_numbers(rate, decay, epsilon):
    """What `rmsprop_change` takes after s."""
    return rate, decay, 1.0 - decay, epsilon


@formula
def adam_numbers(rate, t, decay_m, decay_s, epsilon, decoupled, epsilon_hat):
    """What `adam_change` takes after s; with ε̂ it is (m / (1 - β₁ᵗ)) / ((√s + ε̂) / √(1 - β₂ᵗ))."""
    correction_m, correction_s = 1.0 / (1.0 - decay_m**t), 1.0 / math.sqrt(1.0 - decay_s**t)
    return (rate, rate * decoupled, decay_m, 1.0 - decay_m, decay_s, 1.0 - decay_s, correction_m, correction_s,
            epsilon * correction_s if epsilon_hat else epsilon)
