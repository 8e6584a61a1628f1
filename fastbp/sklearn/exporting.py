"""`to_sklearn`: a scikit-learn estimator from a fitted one of fastbp's."""

import inspect
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ..checks.messages import shown
from ..checks.standardization import Standardization

#: The attributes with the records of a training, which both libraries have under these names.
_RECORDS = ("n_iter_", "t_", "n_outputs_", "n_layers_", "out_activation_", "loss_", "loss_curve_", "best_loss_",
            "validation_scores_", "best_validation_score_", "_no_improvement_count", "classes_", "_label_binarizer",
            "_random_state", "n_features_in_", "feature_names_in_")


def to_sklearn(estimator: Any) -> Any:
    """The scikit-learn estimator with the parameters, weights and records of a fitted fastbp one."""
    check_is_fitted(estimator)
    theirs = (neural_network.MLPClassifier if is_classifier(estimator) else neural_network.MLPRegressor)()
    given, known, own = estimator.get_params(deep=False), theirs.get_params(deep=False), type(estimator)()
    for name in sorted(set(given) - set(known) - {"backend", "progress", "standardize", "products"}):
        if given[name] != inspect.signature(type(own)).parameters[name].default:
            raise ValueError(f"{name}: scikit-learn's {type(theirs).__name__} has no such parameter, found "
                             f"{shown(given[name])}")
    theirs.set_params(**{name: given[name] for name in known})
    theirs._validate_params()  # its activations and losses are fewer
    theirs.coefs_ = [W.copy() for W in estimator.coefs_]
    theirs.intercepts_ = [b.copy() for b in estimator.intercepts_]
    if estimator.net_.standardization is not None:
        _take_raw_features(theirs, estimator.net_.standardization)
    copy_records(estimator, theirs)
    return theirs


def _take_raw_features(theirs: Any, standardization: Standardization) -> None:
    """Let weights for standardised features take x as it is: W (x - μ) / σ + b = (W / σ) x + b - (W / σ) μ."""
    theirs.coefs_ = [W.astype(np.float64) for W in theirs.coefs_]
    theirs.intercepts_ = [b.astype(np.float64) for b in theirs.intercepts_]
    with np.errstate(over="ignore", invalid="ignore"):
        theirs.coefs_[0] /= standardization.scale[:, None]
        theirs.intercepts_[0] -= standardization.mean @ theirs.coefs_[0]
    if not (np.isfinite(theirs.coefs_[0]).all() and np.isfinite(theirs.intercepts_[0]).all()):
        raise ValueError("standardize: the first weights, which take X as it is in scikit-learn, are not finite in "
                         "float64; give its features in other units")


def copy_records(source: Any, target: Any) -> None:
    """Copy the records of a training from one estimator to another."""
    for name in _RECORDS:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, list(value) if isinstance(value, list) else value)
