"""The clipping step of differentially private training, against gradients of single samples that are written down.

DP-SGD [1]_ clips every sample's gradient to a norm C, adds them up, adds normal noise of standard deviation σ C, and
divides by |S|. Here the sum of clipped gradients is fastbp's, in one pass; beside it are gradients taken sample by
sample and clipped by hand, which needs |S| · P numbers of memory. This shows that the clipping is right. It is no claim
of privacy: that also takes sampling, secure noise, and an accountant.

    python -m fastbp.examples.clipped_steps

.. [1] Abadi et al., "Deep learning with differential privacy", 2016.
"""

import numpy as np

import fastbp


def clipped_sum_by_hand(net: fastbp.MLP, X: np.ndarray, d: np.ndarray, clip_norm: float) -> np.ndarray:
    """Σ_s min(1, C / ‖g_s‖) g_s from all g_s, (|S|, P)."""
    g = np.empty((len(X), net.theta.size))
    for s in range(len(X)):
        net.zero_grad()
        net.accumulate_gradient(X[s : s + 1], d[s : s + 1])
        g[s] = net.grad
    net.zero_grad()
    norms = np.linalg.norm(g, axis=1)
    return np.asarray(np.minimum(1.0, clip_norm / norms) @ g)


def noisy_step(net: fastbp.MLP, X: np.ndarray, d: np.ndarray, clip_norm: float, sigma: float, learning_rate: float,
               rng: np.random.Generator) -> None:
    """θ ← θ - γ (Σ_s min(1, C / ‖g_s‖) g_s + σ C z) / |S| with standard normal z."""
    net.accumulate_gradient(X, d, clip_norm=clip_norm)
    net.grad += sigma * clip_norm * rng.standard_normal(net.grad.size).astype(net.dtype)
    net.step(learning_rate / len(X))


def main() -> tuple[float, float]:
    """Compare the two sums on one batch, train with noisy steps, and give their difference and the final accuracy."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 20)).astype(np.float32)
    d = (X[:, :4].sum(axis=1) > 0).astype(np.int64)
    net, C = fastbp.MLP([20, 32, 2], activation="tanh", seed=0), 0.5
    by_hand = clipped_sum_by_hand(net, X[:256], d[:256], C)
    net.accumulate_gradient(X[:256], d[:256], clip_norm=C)
    difference = float(np.linalg.norm(net.grad - by_hand) / np.linalg.norm(by_hand))
    net.zero_grad()
    clipped = float((net.gradient_norms(X, d) > C).mean())
    for _ in range(400):
        S = rng.integers(0, len(X), 256)
        noisy_step(net, X[S], d[S], C, sigma=1.0, learning_rate=1.0, rng=rng)
    accuracy = net.evaluate(X, d)[1]
    print(f"{clipped:.0%} of the gradients are clipped; the two sums differ by {difference:.1e} of their norm; "
          f"accuracy after 400 noisy steps {accuracy:.3f}")
    return difference, accuracy


if __name__ == "__main__":
    main()
