"""A physics surrogate in a compiled ODE integration: a network learns an acceleration, and a Runge-Kutta loop calls it.

The pendulum q'' = -sin q - c q' stands for a force that is expensive to evaluate. The network 2-32-32-1 learns it from
samples; the integrator is the user's own compiled loop and takes the network as it would take a formula.

    python -m fastbp.examples.pendulum
"""

from typing import Any

import numba
import numpy as np

import fastbp
import fastbp.jit

FRICTION = 0.1


def acceleration(q: Any, v: Any) -> Any:
    """The truth."""
    return -np.sin(q) - FRICTION * v


@numba.njit
def integrate(theta: Any, layout: Any, work: Any, path: Any, step: float) -> int:
    """path[t] = (q, v) after t steps of the classical Runge-Kutta method from path[0]; the status of the network."""
    x, y, slopes = np.empty(2), np.empty(1), np.empty((4, 2))
    shift = (0.0, 0.5, 0.5, 1.0)
    for t in range(path.shape[0] - 1):
        for stage in range(4):
            for i in range(2):
                x[i] = path[t, i] + shift[stage] * step * (slopes[stage - 1, i] if stage > 0 else 0.0)
            status = fastbp.jit.forward(theta, layout, x, y, work)
            if status != fastbp.jit.OK:
                return status
            slopes[stage, 0], slopes[stage, 1] = x[1], y[0]
        for i in range(2):
            path[t + 1, i] = path[t, i] + step / 6 * (slopes[0, i] + 2 * slopes[1, i] + 2 * slopes[2, i] + slopes[3, i])
    return fastbp.jit.OK


def train_surrogate() -> fastbp.MLP:
    """A network for the acceleration, from 4,000 random states."""
    rng = np.random.default_rng(0)
    X = rng.uniform((-2.5, -2.5), (2.5, 2.5), (4000, 2))
    d = acceleration(X[:, 0], X[:, 1])[:, None]
    net = fastbp.MLP([2, 32, 32, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    net.fit(X, d, optimizer=fastbp.Adam(fastbp.schedules.Cosine(0.01, 150 * 63)), epochs=150, batch_size=64)
    return net


def true_path(start: tuple[float, float], steps: int, step: float) -> np.ndarray:
    """The same method with the true acceleration."""
    path = np.empty((steps + 1, 2))
    path[0] = start

    def slope(state: np.ndarray) -> np.ndarray:
        return np.array([state[1], acceleration(*state)])

    for t in range(steps):
        k1 = slope(path[t])
        k2 = slope(path[t] + step / 2 * k1)
        k3 = slope(path[t] + step / 2 * k2)
        path[t + 1] = path[t] + step / 6 * (k1 + 2 * k2 + 2 * k3 + slope(path[t] + step * k3))
    return path


def main() -> float:
    """Integrate 20 seconds with the surrogate, and give the largest error of the angle."""
    net, steps, step = train_surrogate(), 2000, 0.01
    path = np.empty((steps + 1, 2))
    path[0] = 1.5, 0.0
    status = integrate(net.theta, net.layout, fastbp.jit.workspace(net.layout), path, step)
    error = float(np.abs(path - true_path((1.5, 0.0), steps, step))[:, 0].max())
    print(f"status {status}: 20 s of a pendulum, the angle within {error:.2g} of the truth")
    return error


if __name__ == "__main__":
    main()
