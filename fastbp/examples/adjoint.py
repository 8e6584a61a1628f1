"""A network inside an ODE, trained on where paths end: the adjoint of every integration step takes errors back.

The acceleration of a pendulum, q'' = -sin q - c q', is not observed; only states some time later are. The network
2-16-1 stands for it in n explicit midpoint steps of length t,

    z' = z + t f(z + ½ t f(z)),        z = (q, v),  f(z) = (v, network(z)).

Backwards, the adjoint λ = ∂E/∂z of a step follows from the one after it [1]_: two products with Jacobians of f, which
`MLP.backward` gives together with ∂E/∂θ. Nothing is stored but the states.

    python -m fastbp.examples.adjoint

.. [1] Chen, Rubanova, Bettencourt and Duvenaud, "Neural ordinary differential equations", 2018.
"""

from collections.abc import Callable

import numpy as np

import fastbp

from .pendulum import acceleration

STEP, STEPS = 0.05, 20


def slope(net: fastbp.MLP, z: np.ndarray) -> np.ndarray:
    """f(z) of a batch of states (n, 2)."""
    return np.hstack([z[:, 1:], net.forward(z)])


def slope_back(net: fastbp.MLP, z: np.ndarray, e: np.ndarray) -> np.ndarray:
    """(∂f/∂z)ᵀ e; adds (∂f/∂θ)ᵀ e to the gradient."""
    back = net.backward(z, e[:, 1:], input_gradient=True)
    back[:, 1] += e[:, 0]
    return back


def integrate(f: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> list[np.ndarray]:
    """The states after 0, 1, …, STEPS steps."""
    path = [z]
    for _ in range(STEPS):
        path.append(path[-1] + STEP * f(path[-1] + 0.5 * STEP * f(path[-1])))
    return path


def path_back(net: fastbp.MLP, path: list[np.ndarray], adjoint: np.ndarray) -> np.ndarray:
    """∂E/∂z of the first states from that of the last; adds ∂E/∂θ to the gradient."""
    for z in reversed(path[:-1]):
        half = slope_back(net, z + 0.5 * STEP * slope(net, z), STEP * adjoint)
        adjoint = adjoint + half + slope_back(net, z, 0.5 * STEP * half)
    return adjoint


def main() -> tuple[float, float]:
    """Train on ends of paths, and give the root mean squared error of the acceleration before and after."""
    rng = np.random.default_rng(0)
    net = fastbp.MLP([2, 16, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    start = rng.uniform(-2.0, 2.0, (256, 2))
    end = integrate(lambda z: np.stack([z[:, 1], acceleration(z[:, 0], z[:, 1])], axis=1), start)[-1]
    optimizer = fastbp.Adam(0.02)
    state = optimizer.start(net.theta)

    def error() -> float:
        return float(np.sqrt(((net.forward(start)[:, 0] - acceleration(start[:, 0], start[:, 1])) ** 2).mean()))

    before = error()
    for _ in range(200):
        path = integrate(lambda z: slope(net, z), start)
        path_back(net, path, (path[-1] - end) / len(start))
        optimizer.step(net.theta, net.grad, state)
    print(f"root mean squared error of the acceleration, never observed: {before:.2f} before, {error():.3f} after")
    return before, error()


if __name__ == "__main__":
    main()
