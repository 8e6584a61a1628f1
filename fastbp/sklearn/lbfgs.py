"""Training with the solver "lbfgs": all samples at once, by SciPy's optimizer."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..checks.samples import Samples, total_weight
from ..optimizers.full_batch import LBFGS
from ..training.lbfgs import Objective, minimize
from .records import NON_FINITE, record_whole


def minimize_lbfgs(estimator: Any, samples: Samples) -> None:
    """Fit the network of an estimator by SciPy's L-BFGS-B: the least (E + ½ α Σ ‖W‖²) / n, or / Σ w with weights."""
    net, losses = estimator.net_, []
    objective = Objective(net, samples, float(estimator.alpha), total_weight(samples.weights, len(samples.X)))

    def recorded() -> float:
        return (estimator._loss_scale * objective.E + objective.penalty) / objective.divisor

    settings = LBFGS(gtol=float(estimator.tol), max_evaluations=int(estimator.max_fun))
    result = minimize(objective, settings, int(estimator.max_iter), lambda _: losses.append(recorded()))
    if not np.isfinite(net.theta).all():
        raise ValueError(NON_FINITE)
    estimator.stopped_ = result.status == 0
    estimator.loss_, estimator.n_iter_ = recorded(), min(int(result.nit), estimator.max_iter)
    record_whole(estimator, losses)
    if result.status != 0:
        warnings.warn(f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): "
                      f"{result.message}. Increase max_iter or max_fun, or scale the data.", ConvergenceWarning,
                      stacklevel=5)
