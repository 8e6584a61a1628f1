"""From a fitted scikit-learn estimator to fastbp's, and back."""

import inspect
from typing import Any

from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from ..network import MLP
from .classifier import MLPClassifier
from .records import forget, record_whole
from .regressor import MLPRegressor

#: What scikit-learn's estimators keep of a training, and fastbp's under the same name.
_RECORDS = ("n_iter_", "t_", "n_outputs_", "n_layers_", "out_activation_", "loss_", "loss_curve_", "best_loss_",
            "validation_scores_", "best_validation_score_", "_no_improvement_count", "classes_", "_label_binarizer",
            "_random_state", "n_features_in_", "feature_names_in_")

_LOSSES = {"softmax": "softmax_cross_entropy", "logistic": "binary_cross_entropy", "identity": "squared_error",
           "exp": "poisson"}


def from_sklearn(estimator: Any) -> MLPClassifier | MLPRegressor:
    """The fastbp estimator with the parameters, weights and records of a fitted scikit-learn one.

    An optimizer's state does not come along: `partial_fit` starts it anew.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        If it is another estimator.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import numpy as np, sklearn.neural_network
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> theirs = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs").fit(X, X[:, 0])
    >>> ours = from_sklearn(theirs)
    >>> bool(np.allclose(ours.predict(X), theirs.predict(X)))
    True
    """
    if isinstance(estimator, neural_network.MLPClassifier):
        ours: Any = MLPClassifier()
    elif isinstance(estimator, neural_network.MLPRegressor):
        ours = MLPRegressor()
    else:
        raise TypeError(f"estimator: expected scikit-learn's MLPClassifier or MLPRegressor, found {estimator!r:.80}")
    check_is_fitted(estimator)
    ours.set_params(**estimator.get_params(deep=False))
    coefs = estimator.coefs_
    activations = [*ours._hidden_activations(len(coefs) - 1), "identity"]
    ours.net_ = MLP([len(coefs[0]), *(W.shape[1] for W in coefs)], activation=activations, dtype=coefs[0].dtype,
                    loss=_LOSSES[estimator.out_activation_], seed=0, initializer="zeros")
    for own, given in zip([*ours.coefs_, *ours.intercepts_], [*coefs, *estimator.intercepts_], strict=True):
        own[:] = given
    forget(ours)
    _copy_records(estimator, ours)
    if ours.solver == "lbfgs":
        record_whole(ours, [])
    return ours


def to_sklearn(estimator: Any) -> Any:
    """The scikit-learn estimator with the parameters, weights and records of a fitted fastbp one."""
    check_is_fitted(estimator)
    theirs = (neural_network.MLPClassifier if isinstance(estimator, MLPClassifier) else neural_network.MLPRegressor)()
    given, known, own = estimator.get_params(deep=False), theirs.get_params(deep=False), type(estimator)()
    for name in sorted(set(given) - set(known) - {"backend", "progress"}):
        if given[name] != inspect.signature(type(own)).parameters[name].default:
            raise ValueError(f"{name}: scikit-learn's {type(theirs).__name__} has no such parameter, found "
                             f"{given[name]!r}")
    theirs.set_params(**{name: given[name] for name in known})
    theirs._validate_params()  # its activations and losses are fewer
    theirs.coefs_ = [W.copy() for W in estimator.coefs_]
    theirs.intercepts_ = [b.copy() for b in estimator.intercepts_]
    _copy_records(estimator, theirs)
    return theirs


def _copy_records(source: Any, target: Any) -> None:
    for name in _RECORDS:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, list(value) if isinstance(value, list) else value)
