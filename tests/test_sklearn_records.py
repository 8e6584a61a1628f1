"""What the estimators keep of a training: arrays that are read-only in another process, and the records of lbfgs."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn.neural_network as theirs
from estimators import PAIRS, difference, draw, fitted

from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn


def learned(model, X, y):
    """The loss and the weights after one more call; what a worker does with a model that it is sent."""
    model.partial_fit(X, y)
    return model.loss_, model.net_.theta


@pytest.mark.parametrize("mode", ["r", "c", "r+", None])
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd"}, {"solver": "sgd", "learning_rate": "adaptive"}], ids=str)
@pytest.mark.parametrize("kind", PAIRS)
def test_mapped_pickles_go_on(kind, settings, mode, tmp_path):
    X, y = draw("two classes" if kind == "classifier" else "numbers")
    model = fitted(PAIRS[kind][1](hidden_layer_sizes=(4,), max_iter=3, random_state=0, **settings), X, y)
    joblib.dump(model, tmp_path / "model")
    stored = (tmp_path / "model").read_bytes()
    mapped = joblib.load(tmp_path / "model", mmap_mode=mode)
    before = model.predict(X)
    assert np.array_equal(mapped.predict(X), before)
    for _ in range(2):
        for estimator in (model, mapped):
            estimator.partial_fit(X, y)
    assert difference(model, mapped) == 0
    for estimator in (model, mapped):
        fitted(estimator.set_params(warm_start=True), X, y)
    assert difference(model, mapped) == 0
    mapped.coefs_, mapped.intercepts_ = [W * 2 for W in model.coefs_], model.intercepts_
    if mode == "r":
        assert (tmp_path / "model").read_bytes() == stored


def test_models_in_workers_go_on():
    """joblib maps large arrays into the memory of its workers, read-only."""
    X, y = draw("numbers")
    model = fitted(MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0), X, y)
    found = joblib.Parallel(2, max_nbytes=1)(joblib.delayed(learned)(model, X, y) for _ in range(2))
    loss, theta = learned(model, X, y)
    for other_loss, other_theta in found:
        assert other_loss == loss
        assert np.array_equal(other_theta, theta)


def test_best_weights_that_are_read_only_are_restored(tmp_path):
    X, y = draw("two classes")
    part = {"X": X[:300], "y": y[:300], "X_val": X[300:], "y_val": y[300:]}
    model = MLPClassifier((4,), early_stopping=True, n_iter_no_change=1, random_state=0, learning_rate_init=0.05)
    model.partial_fit(**part, classes=["no", "yes"])
    while not model.stopped_:
        path = tmp_path / str(model.t_)
        joblib.dump(model, path)
        model = joblib.load(path, mmap_mode="r").partial_fit(**part)
    assert model.score(X[300:], y[300:]) == model.best_validation_score_
    model.partial_fit(**part)


def test_read_only_weights_are_assigned():
    X, y = draw("numbers")
    model = fitted(MLPRegressor(hidden_layer_sizes=(4,), max_iter=3), X, y)
    values = [W.copy() for W in model.coefs_]
    for W in values:
        W.flags.writeable = False
    model.coefs_ = values
    model.partial_fit(X, y)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers", "two numbers"])
def test_what_lbfgs_records(kind, early_stopping):
    X, y = draw(kind)
    estimator = MLPRegressor if "numbers" in kind else MLPClassifier
    model = fitted(estimator(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=30, random_state=0,
                             early_stopping=early_stopping), X, y)
    assert model.best_loss_ == model.loss_ == min(model.loss_curve_)
    assert len(model.loss_curve_) == model.n_iter_
    assert model.validation_scores_ is model.best_validation_score_ is model.validation_loss_curve_ is None
    before, iterations = model.loss_, model.n_iter_
    fitted(model.set_params(warm_start=True, max_iter=3), X, y)
    assert len(model.loss_curve_) == iterations + model.n_iter_
    assert model.best_loss_ == model.loss_ < before


@pytest.mark.parametrize("kind", ["numbers", "two numbers"])
def test_what_lm_records(kind):
    X, y = draw(kind)
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "alpha": 0.1, "tol": 0.0}
    model = fitted(MLPRegressor(solver="lm", max_iter=20, **settings), X, y)
    other = fitted(MLPRegressor(solver="lbfgs", max_iter=500, **settings), X, y)
    assert len(model.loss_curve_) == model.n_iter_ == 20
    assert model.best_loss_ == model.loss_ == min(model.loss_curve_) < 1.05 * other.loss_
    short = fitted(MLPRegressor(solver="lm", max_iter=7, **settings), X, y)
    np.testing.assert_allclose(short.loss_curve_, model.loss_curve_[:7], rtol=1e-6)
    assert fitted(MLPRegressor(solver="lm", **settings | {"tol": 1e-2}), X, y).stopped_
    weight = np.arange(len(X)) % 3
    weighted = fitted(MLPRegressor(solver="lm", max_iter=5, **settings), X, y, sample_weight=weight)
    repeated = np.repeat(np.arange(len(X)), weight)
    again = fitted(MLPRegressor(solver="lm", max_iter=5, **settings), X[repeated], y[repeated])
    np.testing.assert_allclose(weighted.loss_curve_, again.loss_curve_, rtol=1e-6)


@pytest.mark.parametrize(("settings", "given", "words"), [
    ({"dropout": 0.5}, {}, "dropout: expected 0 with the solver 'lm'"),
    ({"max_grad_norm": 1.0}, {}, "max_grad_norm: expected None with the solver 'lm'"),
    ({"loss": "absolute_error"}, {}, "needs a loss with a Gauss-Newton form"),
    ({}, {"checkpoint": "file"}, "expected neither with the solver 'lm'"),
    ({"hidden_layer_sizes": (200, 200)}, {}, "P × P numbers of 8 bytes")], ids=str)
def test_what_lm_refuses(settings, given, words):
    X, y = draw("numbers")
    with pytest.raises(ValueError, match=words):
        MLPRegressor(solver="lm", **settings).fit(X, y, **given)
    with pytest.raises(AttributeError):
        MLPRegressor(solver="lm").partial_fit(X, y)
    with pytest.raises(ValueError, match="'solver' parameter"):
        MLPClassifier(solver="lm").fit(X, y > 0)


def test_lbfgs_between_others():
    X, y = draw("numbers")
    part = {"X_val": X[:100], "y_val": y[:100]}
    model = MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, warm_start=True, max_iter=3, random_state=0)
    fitted(model, X, y, **part)
    fitted(model.set_params(solver="lbfgs"), X, y)
    assert model.validation_scores_ is model.best_validation_score_ is model.validation_loss_curve_ is None
    model.set_params(solver="adam").partial_fit(X, y, **part)
    assert model._optimizer_state.updates[0] == 3  # the averages of before are not those of these weights
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 1
    assert len(pickle.dumps(model)) < 40_000


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}], ids=str)
def test_lbfgs_of_scikit_learn(settings):
    X, y = draw("numbers")
    given = fitted(theirs.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=5, **settings), X, y)
    model = from_sklearn(given)
    assert model.best_loss_ == given.loss_
    assert model.validation_scores_ is model.best_validation_score_ is None
