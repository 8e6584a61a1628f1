"""What the tests of the estimators share: data, scikit-learn's estimators beside ours, and both fitted alike."""

import inspect
import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning

from fastbp.sklearn import MLPClassifier, MLPRegressor

SINCE_1_7 = "sample_weight" in inspect.signature(theirs.MLPRegressor.fit).parameters
PAIRS = {"classifier": (theirs.MLPClassifier, MLPClassifier), "regressor": (theirs.MLPRegressor, MLPRegressor)}


def fitted(estimator, *data, **given):
    """Trained, however far it came."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **given)


def standardised(X):
    """Columns of mean 0 and deviation 1."""
    return (X - X.mean(0)) / (X.std(0) + 1e-9)


def draw(kind):
    """X and y of a kind of task."""
    if kind == "classes":
        X, y = load_digits(return_X_y=True)
        return X[:500] / 16, y[:500]
    if kind == "two classes":
        X, y = load_breast_cancer(return_X_y=True)
        return standardised(X), np.array(["no", "yes"])[y]
    if kind == "labels":
        X, y = make_multilabel_classification(200, random_state=0)
        return X / 10, y
    X, y = load_diabetes(return_X_y=True)
    y = standardised(y)
    return standardised(X), np.c_[y, y**2] if kind == "two numbers" else abs(y) if kind == "counts" else y


def both_fitted(kind, weighted=False, **settings):
    """X, and scikit-learn's estimator and ours trained on it with the same parameters."""
    X, y = draw(kind)
    pair = PAIRS["classifier" if kind in ("classes", "two classes", "labels") else "regressor"]
    weights = {"sample_weight": np.random.default_rng(1).uniform(0.5, 2, len(X))} if weighted else {}
    if (weights or "loss" in settings) and not SINCE_1_7:
        pytest.skip("scikit-learn before 1.7 has no sample weights and losses here")
    given = {"hidden_layer_sizes": (20, 10), "activation": "tanh", "max_iter": 20, "shuffle": False, "random_state": 3,
             "alpha": 0.01} | settings
    try:
        reference = fitted(pair[0](**given), X, y, **weights)
    except TypeError as error:
        if "isnan" not in str(error):
            raise
        pytest.skip("this scikit-learn does not stop early on classes that are text: its issue 33760")
    return X, reference, fitted(pair[1](**given), X, y, **weights)


def difference(expected, found):
    """The largest one between the weights and biases of two estimators."""
    return max(abs(p - q).max() for p, q in zip(expected.coefs_ + expected.intercepts_,
                                                found.coefs_ + found.intercepts_, strict=True))
