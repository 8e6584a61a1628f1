"""What the estimators record of their training, as scikit-learn's do."""

from typing import Any

import numpy as np

#: What is raised where training diverges, as in scikit-learn.
NON_FINITE = ("Solver produced non-finite parameter weights. The input data may contain large values and need to be "
               "preprocessed.")


def forget(estimator: Any) -> None:
    """Set what training records to how it is before the first epoch."""
    watches_scores = estimator.early_stopping
    estimator.loss_curve_, estimator._no_improvement_count = [], 0
    estimator.validation_scores_ = [] if watches_scores else None
    estimator.best_validation_score_ = -np.inf if watches_scores else None
    estimator.best_loss_ = None if watches_scores else np.inf
    estimator.validation_loss_curve_ = None
    estimator._best_theta, estimator._optimizer_state, estimator._rate = None, None, None


def begin_anew(estimator: Any) -> None:
    """Before a `fit` that goes on: what was best on other validation data says nothing, nor does the loss of a fit that
    did not watch it."""
    if estimator.early_stopping:
        estimator.validation_scores_ = estimator.validation_scores_ or []
        estimator.best_validation_score_, estimator._best_theta = -np.inf, None
        estimator._no_improvement_count = 0
    elif estimator.best_loss_ is None:
        estimator.best_loss_, estimator._no_improvement_count = np.inf, 0
