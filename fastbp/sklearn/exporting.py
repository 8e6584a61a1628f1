"""`to_sklearn`: a scikit-learn estimator from a fitted one of fastbp's."""

import inspect
from typing import Any

from sklearn import neural_network
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

#: The attributes with the records of a training, which both libraries have under these names.
_RECORDS = ("n_iter_", "t_", "n_outputs_", "n_layers_", "out_activation_", "loss_", "loss_curve_", "best_loss_",
            "validation_scores_", "best_validation_score_", "_no_improvement_count", "classes_", "_label_binarizer",
            "_random_state", "n_features_in_", "feature_names_in_")


def to_sklearn(estimator: Any) -> Any:
    """The scikit-learn estimator with the parameters, weights and records of a fitted fastbp one."""
    check_is_fitted(estimator)
    theirs = (neural_network.MLPClassifier if is_classifier(estimator) else neural_network.MLPRegressor)()
    given, known, own = estimator.get_params(deep=False), theirs.get_params(deep=False), type(estimator)()
    for name in sorted(set(given) - set(known) - {"backend", "progress"}):
        if given[name] != inspect.signature(type(own)).parameters[name].default:
            raise ValueError(f"{name}: scikit-learn's {type(theirs).__name__} has no such parameter, found "
                             f"{given[name]!r}")
    theirs.set_params(**{name: given[name] for name in known})
    theirs._validate_params()  # its activations and losses are fewer
    theirs.coefs_ = [W.copy() for W in estimator.coefs_]
    theirs.intercepts_ = [b.copy() for b in estimator.intercepts_]
    copy_records(estimator, theirs)
    return theirs


def copy_records(source: Any, target: Any) -> None:
    """Copy the records of a training from one estimator to another."""
    for name in _RECORDS:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, list(value) if isinstance(value, list) else value)
