"""Another optimizer on theta: L-BFGS of SciPy, full batch, in float64.

theta and grad are flat arrays, so that any optimizer of a vector can train a network.

    python -m fastbp.examples.lbfgs
"""

import numpy as np
from scipy.optimize import OptimizeResult, minimize

import fastbp


def train(net: fastbp.MLP, X: np.ndarray, d: np.ndarray, steps: int = 1000) -> OptimizeResult:
    """Minimise the mean loss E / n over theta."""
    def mean_loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        net.theta[:] = theta
        net.zero_grad()
        E = net.accumulate_gradient(X, d)
        return E / len(X), net.grad / len(X)

    result = minimize(mean_loss_and_gradient, net.theta.copy(), jac=True, method="L-BFGS-B",
                      options={"maxiter": steps, "maxfun": 2 * steps})
    net.theta[:] = result.x
    net.zero_grad()
    return result


def main() -> float:
    """Fit z = sin(πx) cos(πy) on a grid, and give the root of the mean squared error."""
    x, y = np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30))
    X, d = np.stack([x.ravel(), y.ravel()], axis=1), (np.sin(np.pi * x) * np.cos(np.pi * y)).reshape(-1, 1)
    net = fastbp.MLP([2, 20, 20, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    result = train(net, X, d)
    error = float(np.sqrt(np.mean((net.forward(X) - d) ** 2)))
    print(f"{result.nit} iterations, {result.nfev} gradients: root mean squared error {error:.2g}")
    return error


if __name__ == "__main__":
    main()
