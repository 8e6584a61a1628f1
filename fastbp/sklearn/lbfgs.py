"""Training with the solver "lbfgs": all samples at once, by SciPy's optimizer."""

import warnings
from typing import Any

import numpy as np
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from ..checks.samples import Samples, total_weight
from .records import NON_FINITE, record_whole


def minimize_lbfgs(estimator: Any, samples: Samples) -> None:
    """Fit the network of an estimator by SciPy's L-BFGS-B: the least (E + ½ α Σ ‖W‖²) / n, or / Σ w with weights."""
    net, alpha = estimator.net_, float(estimator.alpha)
    divisor = total_weight(samples.weights, len(samples.X))
    recorded: list[float] = []
    losses: list[float] = []

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        net.theta[:] = theta
        net.zero_grad()
        E = net.accumulate_samples(samples)
        squares = 0.0
        for W, dW in zip(net.weights, net.weight_gradients, strict=True):
            squares += float(np.vdot(W, W))
            dW += alpha * W
        recorded[:] = [(estimator._loss_scale * E + 0.5 * alpha * squares) / divisor]
        return (E + 0.5 * alpha * squares) / divisor, net.grad.astype(np.float64) / divisor

    result = optimize.minimize(loss_and_gradient, net.theta.astype(np.float64), method="L-BFGS-B", jac=True,
                               callback=lambda _: losses.append(recorded[0]),
                               options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter,
                                        "gtol": estimator.tol})
    loss_and_gradient(result.x)
    net.zero_grad()
    if not np.isfinite(net.theta).all():
        raise ValueError(NON_FINITE)
    estimator.stopped_ = result.status == 0
    estimator.loss_, estimator.n_iter_ = recorded[0], min(int(result.nit), estimator.max_iter)
    record_whole(estimator, losses)
    if result.status != 0:
        warnings.warn(f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): "
                      f"{result.message}. Increase max_iter or max_fun, or scale the data.", ConvergenceWarning,
                      stacklevel=5)
