"""An ensemble with uncertainty bands: 100 networks trained side by side, each on its own bootstrap sample.

Where there are data the networks agree; where there are none, they go apart. The mean and the standard deviation over
the networks make the band.

    python -m fastbp.examples.ensemble bands.png
"""

import sys
from typing import NamedTuple

import numpy as np

import fastbp


class Bands(NamedTuple):
    """Predictions over a grid of x."""

    x: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def draw_data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (n, 1) in two intervals with a gap between them, and sin 3x with noise of 0.1."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.uniform(-2.0, -0.5, 60), rng.uniform(0.7, 2.0, 60)])[:, None]
    return x, np.sin(3 * x) + 0.1 * rng.standard_normal(x.shape)


def train_ensemble(X: np.ndarray, d: np.ndarray, size: int = 100, epochs: int = 300) -> list[fastbp.MLP]:
    """Networks 1-32-32-1, each on samples drawn with replacement from all."""
    rng = np.random.default_rng(1)
    nets = [fastbp.MLP([1, 32, 32, 1], activation="tanh", loss="squared_error", seed=seed) for seed in range(size)]
    drawn = [rng.integers(0, len(X), len(X)) for _ in nets]
    fastbp.fit_many(nets, [X[rows] for rows in drawn], [d[rows] for rows in drawn], optimizer=fastbp.Adam(0.005),
                    epochs=epochs, batch_size=30)
    return nets


def predict(nets: list[fastbp.MLP], x: np.ndarray) -> Bands:
    """Mean and standard deviation of the networks' predictions."""
    Y = np.stack([net.forward(x[:, None])[:, 0] for net in nets])
    return Bands(x, Y.mean(axis=0), Y.std(axis=0))


def plot(bands: Bands, X: np.ndarray, d: np.ndarray, path: str) -> None:
    """The data, the mean, and two standard deviations around it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    low, high = bands.mean - 2 * bands.deviation, bands.mean + 2 * bands.deviation
    axes.fill_between(bands.x, low, high, color="#56B4E9", alpha=0.4, label="mean ± 2 standard deviations")
    axes.plot(bands.x, bands.mean, color="#0072B2", label="mean of the networks")
    axes.plot(bands.x, np.sin(3 * bands.x), "k--", linewidth=1, label="sin 3x, from which the data come")
    axes.plot(X[:, 0], d[:, 0], ".", color="#D55E00", markersize=4, label="data, with noise")
    axes.set(xlabel="x", ylabel="y", ylim=(-4.5, 4.5), title="100 networks agree where there are data")
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> Bands:
    """Train, and say how wide the band is inside and outside the data."""
    X, d = draw_data()
    bands = predict(train_ensemble(X, d), np.linspace(-3.0, 3.0, 301))
    inside, gap = np.abs(bands.x - 1.3) < 0.4, np.abs(bands.x - 0.1) < 0.2
    print(f"standard deviation over the networks: {bands.deviation[inside].mean():.3f} among the data, "
          f"{bands.deviation[gap].mean():.3f} in the gap")
    if len(sys.argv) > 1:
        plot(bands, X, d, sys.argv[1])
    return bands


if __name__ == "__main__":
    main()
