"""The records of the estimators' training, as in scikit-learn."""

from typing import Any

import numpy as np

#: The error where training diverges, as in scikit-learn.
NON_FINITE = ("Solver produced non-finite parameter weights. The input data may contain large values and need to be "
               "preprocessed.")

#: The records of which each epoch has one more, and those of the last, or of the best.
_CURVES = "loss_curve_", "validation_loss_curve_", "validation_scores_"
_NUMBERS = "loss_", "n_iter_", "t_", "best_loss_", "best_validation_score_", "_best_theta"


def reset_records(estimator: Any) -> None:
    """Set all records to those before the first epoch."""
    watches_scores = estimator.early_stopping
    estimator.loss_curve_, estimator._no_improvement_count = [], 0
    estimator.validation_scores_ = [] if watches_scores else None
    estimator.best_validation_score_ = -np.inf if watches_scores else None
    estimator.best_loss_ = None if watches_scores else np.inf
    estimator.validation_loss_curve_ = None
    estimator._best_theta, estimator._optimizer_state, estimator._rate = None, None, None
    estimator._split_state, estimator._in_parts = None, True


def begin_records(estimator: Any, incremental: bool) -> None:
    """Reset the best loss or score, unless a `partial_fit` watches the same as the call before it.

    The best on other targets or other validation data says nothing of these. Curves go on, as in scikit-learn.
    """
    watches_scores = estimator.early_stopping
    goes_on = (estimator._in_parts or not watches_scores) and watches_scores == (estimator.best_loss_ is None)
    if not (incremental and goes_on):
        estimator._no_improvement_count, estimator._best_theta = 0, None
        estimator.best_loss_ = None if watches_scores else np.inf
        estimator.best_validation_score_ = -np.inf if watches_scores else None
        estimator.validation_scores_ = (estimator.validation_scores_ or []) if watches_scores else None
    estimator._in_parts = incremental


def noted_records(estimator: Any) -> dict[str, Any]:
    """What is recorded, from which `put_back_records` removes later epochs."""
    own = vars(estimator)
    return ({name: own[name] for name in _NUMBERS if name in own}
            | {name: len(own[name]) for name in _CURVES if own[name] is not None})


def put_back_records(estimator: Any, noted: dict[str, Any]) -> None:
    """Remove the records of epochs that came after `noted_records`."""
    own = vars(estimator)
    for name in _NUMBERS:
        own.pop(name, None)
    own |= {name: noted[name] for name in _NUMBERS if name in noted}
    for name in _CURVES:
        if own[name] is not None:
            del own[name][noted[name] :]


def record_whole(estimator: Any, losses: list[float]) -> None:
    """Record the losses after each iteration of "lbfgs", which watches no scores and has no state to go on from.

    The best loss is the last, which is in ``loss_`` already.
    """
    estimator.loss_curve_ = [*estimator.loss_curve_, *losses]
    estimator.best_loss_ = estimator.loss_
    estimator.validation_scores_ = estimator.best_validation_score_ = estimator.validation_loss_curve_ = None
    estimator._best_theta = estimator._optimizer_state = None
    estimator._no_improvement_count, estimator._in_parts = 0, False
