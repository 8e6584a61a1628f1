"""`from_sklearn`: a fastbp estimator from a fitted one of scikit-learn's."""

from typing import Any

from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from ..mlp import MLP
from .classifier import MLPClassifier
from .exporting import copy_records
from .records import record_whole, reset_records
from .regressor import MLPRegressor

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
    reset_records(ours)
    copy_records(estimator, ours)
    if ours.solver == "lbfgs":
        record_whole(ours, [])
    return ours
