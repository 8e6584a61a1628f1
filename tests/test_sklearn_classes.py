"""The classes that the classifier knows, however few of them are in y."""

import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from estimators import difference, draw, fitted
from sklearn.model_selection import KFold, cross_val_predict

from fastbp.sklearn import MLPClassifier, from_sklearn

LABELS = pytest.mark.parametrize("label", [1, 0, "yes", True, -2.0], ids=repr)


@LABELS
@pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs"}, {"early_stopping": True}, {"class_weight": "balanced"}],
                         ids=str)
def test_one_class_has_one_column(label, settings):
    X, _ = draw("numbers")
    model = fitted(MLPClassifier((4,), max_iter=3, random_state=0, **settings), X, np.full(len(X), label))
    assert model.classes_.tolist() == [label]
    assert np.array_equal(model.predict_proba(X), np.ones((len(X), 1)))
    assert np.array_equal(model.predict_log_proba(X), np.zeros((len(X), 1)))
    assert np.array_equal(model.predict(X), np.full(len(X), label))
    assert model.score(X, np.full(len(X), label)) == 1.0


@LABELS
def test_one_class_in_parts(label):
    X, _ = draw("numbers")
    y = np.full(len(X), label)
    model = MLPClassifier((4,), random_state=0)
    for _ in range(2):
        model.partial_fit(X.astype(np.float32), y, classes=[label])
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert model.predict_proba(X).shape == model.predict_log_proba(X).shape == (len(X), 1)
    assert np.array_equal(model.predict(X), y)


def test_one_class_of_those_that_will_come():
    X, _ = draw("numbers")
    for classes in ([0, 1], [0, 1, 2]):
        model = MLPClassifier((4,), random_state=0).partial_fit(X, np.ones(len(X), int), classes=classes)
        assert model.predict_proba(X).shape == model.predict_log_proba(X).shape == (len(X), len(classes))


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba", "predict"])
@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"]], ids=str)
def test_folds_with_one_class(method, labels):
    X, _ = draw("numbers")
    X, y = X[:60], np.repeat(labels, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cross_val_predict(MLPClassifier((4,), max_iter=3), X, y, cv=KFold(2), method=method)
    assert found.shape == ((60,) if method == "predict" else (60, 2))
    if method == "predict_proba":  # each half knows the class of the other alone
        assert np.array_equal(found, np.repeat([[0.0, 1.0], [1.0, 0.0]], 30, axis=0))


def test_several_labels_of_one_value_have_all_columns():
    X, _ = draw("numbers")
    for y in (np.zeros((len(X), 3), int), np.ones((len(X), 3), int), np.eye(3, dtype=int)[np.zeros(len(X), int)]):
        model = fitted(MLPClassifier((4,), max_iter=50, random_state=0, learning_rate_init=0.05), X, y)
        assert model.predict_proba(X).shape == model.predict_log_proba(X).shape == y.shape
        assert np.array_equal(model.predict(X), y)


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}], ids=str)
def test_the_weights_of_one_class_are_those_of_scikit_learn(settings):
    X, _ = draw("numbers")
    y = np.ones(len(X), int)
    given = {"hidden_layer_sizes": (4,), "max_iter": 5, "shuffle": False, "random_state": 0} | settings
    expected, found = (fitted(estimator(**given), X, y) for estimator in (theirs.MLPClassifier, MLPClassifier))
    assert difference(expected, found) < 1e-9
    assert found.validation_scores_ == expected.validation_scores_
    assert from_sklearn(expected).predict_proba(X).shape == (len(X), 1)
    assert found.to_sklearn().predict(X).tolist() == y.tolist()


def test_messages_about_many_classes_are_short():
    X, y = np.arange(1000.0)[:, None], np.arange(1000)
    model = MLPClassifier((2,), max_iter=True, warm_start=True, backend="loops").partial_fit(X, y, classes=y)
    for call, message in ((model.partial_fit, "classes not in"), (model.fit, "warm_start")):
        with pytest.raises(ValueError, match=message) as caught:
            call(X, y + 1)
        assert len(str(caught.value)) < 500
