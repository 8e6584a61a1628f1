"""Estimators with `standardize` take raw X, by the numbers of the X that their network was made for."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier as TheirClassifier
from tolerances import assert_close

from fastbp.checks import samples
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(200, 4))
X = Z * [1e-3, 1.0, 1e6, 30.0] + [0.0, 5.0, 1e7, -100.0]
CLASSES = np.where(Z[:, 0] + Z[:, 1] > 0, "up", "down")
NUMBERS = Z[:, 0] - 2 * Z[:, 2]

KINDS = {"classes": (MLPClassifier, CLASSES), "numbers": (MLPRegressor, NUMBERS)}
SETTINGS = {"adam": {}, "sgd": {"solver": "sgd"}, "lbfgs": {"solver": "lbfgs"},
            "early stopping": {"early_stopping": True, "shuffle": False}}


def standardised(X, net):
    return (X.astype(np.float64) - net.feature_mean) * (1 / net.feature_scale)


@pytest.mark.parametrize("most", [0, 2**20])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_as_on_a_scaled_copy(kind, settings, most, monkeypatch):
    monkeypatch.setattr(samples, "SMALL_COPY", most)
    estimator, y = KINDS[kind]
    given = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 5} | SETTINGS[settings]
    model = estimator(**given, standardize=True).fit(X, y)
    plain = estimator(**given).fit(standardised(X, model.net_), y)
    np.testing.assert_allclose(model.net_.feature_mean, X.mean(axis=0))
    np.testing.assert_allclose(model.net_.feature_scale, X.std(axis=0))
    for one, other in zip(model.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model.predict(X), plain.predict(standardised(X, model.net_)))
    assert model.loss_curve_ == plain.loss_curve_
    if "early_stopping" in given:
        assert model.validation_scores_ == plain.validation_scores_


def test_it_is_off_by_default():
    assert MLPClassifier().standardize is MLPRegressor().standardize is False
    assert MLPClassifier(max_iter=1).fit(X, CLASSES).net_.feature_mean is None
    with pytest.raises(ValueError, match="standardize"):
        MLPClassifier(standardize="yes").fit(X, CLASSES)
    assert clone(MLPRegressor(standardize=True)).standardize is True


@pytest.mark.parametrize("as_sparse", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_rows_are_standardised_too(as_sparse):
    given = np.where(RNG.random(X.shape) < 0.5, X, 0)
    models = [MLPClassifier((8,), random_state=0, max_iter=3, standardize=True).fit(one, CLASSES)
              for one in (given, as_sparse(given))]
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])
    np.testing.assert_array_equal(models[0].predict_proba(given), models[1].predict_proba(as_sparse(given)))


def test_later_calls_keep_the_numbers_of_the_first():
    for model, call in ((MLPClassifier(warm_start=True, standardize=True, max_iter=2), "fit"),
                        (MLPClassifier(standardize=True), "partial_fit")):
        first = {"classes": ["down", "up"]} if call == "partial_fit" else {}
        getattr(model, call)(X[:100], CLASSES[:100], **first)
        mean = model.net_.feature_mean
        np.testing.assert_allclose(mean, X[:100].mean(axis=0))
        getattr(model, call)(X[100:], CLASSES[100:])
        assert model.net_.feature_mean is mean
    model = MLPClassifier(standardize=True, max_iter=2).fit(X[:100], CLASSES[:100]).fit(X, CLASSES)
    np.testing.assert_allclose(model.net_.feature_mean, X.mean(axis=0))  # without a warm start, a new network
    plain = MLPClassifier(warm_start=True, max_iter=2).fit(X, CLASSES)
    with pytest.raises(ValueError, match=r"^standardize: training goes on with a network that takes X as it is"):
        plain.set_params(standardize=True).fit(X, CLASSES)


def test_validation_data_are_raw_too():
    model = MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=3, standardize=True)
    model.fit(X[:150], NUMBERS[:150], X_val=X[150:], y_val=NUMBERS[150:])
    errors = model.predict(X[150:]) - NUMBERS[150:]
    assert model.validation_loss_curve_[-1] == pytest.approx(0.5 * np.mean(errors**2), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learn_takes_the_same_rows(kind, dtype):
    estimator, y = KINDS[kind]
    given = X.astype(dtype)
    model = estimator(hidden_layer_sizes=(8,), random_state=0, max_iter=20, standardize=True).fit(given, y)
    theirs = model.to_sklearn()
    rounding = 1e-4 if dtype == np.float32 else 1e-9
    found, expected = ((one.predict_proba(given) if kind == "classes" else one.predict(given))
                       for one in (theirs, model))
    assert_close(found, expected, rounding)
    assert_close(from_sklearn(theirs).net_.forward(given), model.net_.forward(given), rounding)
    assert model.net_.feature_mean is not None  # the estimator is as it was
    assert not np.shares_memory(theirs.coefs_[0], model.net_.theta)
    assert isinstance(clone(theirs), type(theirs))


def test_weights_that_are_not_finite_are_not_exported():
    given = X * [1.0, 1.0, 1.0, 1e-305]
    model = MLPClassifier((8,), max_iter=5, random_state=0, standardize=True).fit(given, CLASSES)
    model.net_.weights[0][:] = 1e10
    with pytest.raises(ValueError, match=r"^standardize: the first weights"):
        model.to_sklearn()
    assert isinstance(MLPClassifier((8,), max_iter=5).fit(X, CLASSES).to_sklearn(), TheirClassifier)


def test_features_whose_numbers_hardly_differ_are_refused_before_anything_changes():
    model = MLPRegressor(max_iter=2, standardize=True).fit(X, NUMBERS)
    before = model.net_
    with pytest.raises(ValueError, match=r"^X: feature 1 has the standard deviation"):
        model.fit(X * [1.0, 1e-310, 1.0, 1.0], NUMBERS)
    assert model.net_ is before


def test_a_constant_feature_becomes_0():
    model = MLPRegressor(max_iter=2, standardize=True).fit(np.full((50, 1), 1e30), NUMBERS[:50])
    assert (model.net_.feature_mean.tolist(), model.net_.feature_scale.tolist()) == ([1e30], [1.0])
    assert np.abs(model.predict([[1e30]])).max() < 10
