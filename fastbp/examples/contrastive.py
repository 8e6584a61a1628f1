"""A loss over pairs: samples of one kind are drawn together, and others pushed apart, in a plane.

With y_s = y(x_s), D_st = ‖y_s - y_t‖ and a margin m, the loss [1]_ is E = ½ Σ_same D² + ½ Σ_other max(0, m - D)², over
all pairs of a batch. It belongs to no sample alone, so that no `fastbp.Loss` can say it. But ∂E/∂y_s is a line of
NumPy, and `MLP.backward` takes it from there.

    python -m fastbp.examples.contrastive

.. [1] Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", 2006.
"""

import numpy as np

import fastbp

MARGIN = 1.0


def rings(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) around three rings with one centre, which no line separates, and the number of the ring."""
    labels = rng.integers(0, 3, n)
    angle, radius = rng.uniform(0, 2 * np.pi, n), 0.5 + labels + 0.1 * rng.standard_normal(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), labels


def pair_loss(Y: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """E over all pairs of a batch, each counted once, and ∂E/∂Y."""
    apart = Y[:, None] - Y[None]
    D = np.sqrt((apart**2).sum(axis=2) + 1e-12)
    same, lacking = labels[:, None] == labels[None], np.maximum(0.0, MARGIN - D)
    E = 0.25 * np.where(same, D**2, lacking**2).sum()
    return float(E), (np.where(same, 1.0, -lacking / D)[:, :, None] * apart).sum(axis=1)


def nearest_neighbour_accuracy(Y: np.ndarray, labels: np.ndarray) -> float:
    """The share of samples whose nearest other one in the plane is of their kind."""
    D = ((Y[:, None] - Y[None]) ** 2).sum(axis=2)
    np.fill_diagonal(D, np.inf)
    return float((labels[D.argmin(axis=1)] == labels).mean())


def spread(Y: np.ndarray, labels: np.ndarray) -> float:
    """The mean distance of a sample from the middle of its kind, over that of the middles from each other."""
    middles = np.array([Y[labels == label].mean(axis=0) for label in range(3)])
    between = np.linalg.norm(middles[:, None] - middles[None], axis=2)[np.triu_indices(3, 1)].mean()
    return float(np.linalg.norm(Y - middles[labels], axis=1).mean() / between)


def main() -> tuple[float, float]:
    """Train on batches of 64 points, and give the spread of new ones before and after."""
    rng = np.random.default_rng(0)
    net = fastbp.MLP([2, 32, 32, 2], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    optimizer = fastbp.Adam(0.005)
    state, (X_test, test_labels) = optimizer.start(net.theta), rings(300, rng)
    before = spread(net.forward(X_test), test_labels)
    for _ in range(400):
        X, labels = rings(64, rng)
        _, dE_dY = pair_loss(net.forward(X), labels)
        net.backward(X, dE_dY / len(X) ** 2)
        optimizer.step(net.theta, net.grad, state)
    Y = net.forward(X_test)
    after = spread(Y, test_labels)
    print(f"mean distance from the middle of a ring over that of the middles: {before:.2f} before, {after:.2f} after; "
          f"{nearest_neighbour_accuracy(Y, test_labels):.0%} of the nearest neighbours are of the same ring")
    return before, after


if __name__ == "__main__":
    main()
