"""Training with the solver "lm": `LevenbergMarquardt` of `fit`, with the records of an estimator."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..checks.samples import Samples, total_weight
from ..mlp import MLP
from ..optimizers.full_batch import LevenbergMarquardt
from ..training.levenberg_marquardt import require_least_squares
from .records import record_whole


def prepared_lm(estimator: Any, X: Any, d: np.ndarray, weight: Any, samples: Samples) -> Callable[[], None]:
    """The function that fits the network of an estimator with "lm".

    X, d, weight : of `samples`, as `fit` takes them.

    Raises
    ------
    ValueError
        If the network is too large, or its loss has no Gauss–Newton form.
    """
    optimizer = LevenbergMarquardt(min_grad=float(estimator.tol))
    require_least_squares(estimator.net_, optimizer, float(estimator.alpha))
    return partial(_fit, estimator, X, d, weight, samples, optimizer)


def _fit(estimator: Any, X: Any, d: np.ndarray, weight: Any, samples: Samples, optimizer: LevenbergMarquardt) -> None:
    """The least (E + ½ α Σ ‖W‖²) / n, or / Σ w with weights."""
    net, alpha, scale = estimator.net_, float(estimator.alpha), estimator._loss_scale
    divisor = total_weight(samples.weights, len(samples.X))
    penalties = [_penalty(net, alpha)]  # before each epoch

    def note_penalty(net: MLP, history: Any) -> None:
        penalties.append(_penalty(net, alpha))

    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "training was interrupted", RuntimeWarning)
        history = net.fit(X, d, optimizer=optimizer, epochs=int(estimator.max_iter), sample_weight=weight,
                          weighted_mean=weight is not None, l2_penalty=alpha, progress=estimator.progress,
                          callbacks=[*estimator.callbacks, note_penalty])
    for one in caught:
        if history.stop_reason != "interrupted":
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    totals = [*(divisor * loss for loss in history.records.get("loss", ())),
              net.evaluate_samples(samples)[0] + _penalty(net, alpha)]
    losses = [(scale * (total - penalty) + penalty) / divisor
              for total, penalty in zip(totals, [*penalties[: len(totals) - 1], _penalty(net, alpha)], strict=True)]
    estimator.stopped_ = history.stop_reason not in ("epochs", "interrupted")
    estimator.loss_, estimator.n_iter_ = losses[-1], history.epochs
    record_whole(estimator, losses[1:])
    if history.stop_reason == "interrupted":
        warnings.warn("Training interrupted by user.", stacklevel=5)
    elif history.stop_reason == "epochs":
        warnings.warn(f"lm failed to converge after {history.epochs} iteration(s). Increase max_iter or tol, or scale "
                      f"the data.", ConvergenceWarning, stacklevel=5)


def _penalty(net: MLP, alpha: float) -> float:
    """½ α Σ_k ‖W_k‖²."""
    return 0.5 * alpha * sum(float(np.vdot(W, W)) for W in net.weights)
