"""The estimators in scikit-learn's ecosystem: pickled, cloned, searched over, exchanged; and what they refuse."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.neural_network as theirs
from estimators import both_fitted, difference, draw, fitted
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_pickle_holds_no_compiled_code(solver):
    X, y = draw("classes")
    model = fitted(MLPClassifier((8,), max_iter=3, random_state=0, solver=solver), X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert len(pickle.dumps(model)) < 40_000
    assert np.array_equal(copy.predict_proba(X), model.predict_proba(X))
    if solver == "adam":
        for estimator in (model, copy):
            estimator.partial_fit(X, y)
        assert difference(model, copy) == 0


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_in_parallel(backend):
    X, y = draw("two classes")
    grid = GridSearchCV(make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=8, random_state=0)),
                        {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2, n_jobs=2, error_score="raise")
    with warnings.catch_warnings(), joblib.parallel_backend(backend):
        warnings.simplefilter("ignore")
        grid.fit(X, y)
    serial = fitted(clone(grid.estimator).set_params(**grid.best_params_), X, y)
    assert np.array_equal(grid.predict_proba(X), serial.predict_proba(X))


def test_tools_of_scikit_learn():
    X, y = draw("two classes")
    model = fitted(MLPClassifier((8,), max_iter=20, random_state=0), X, y)
    assert permutation_importance(model, X, y, n_repeats=2, random_state=0).importances_mean.shape == (X.shape[1],)
    calibrated = fitted(CalibratedClassifierCV(clone(model), cv=2), X, y)
    assert calibrated.score(X, y) > 0.8
    assert "MLPClassifier" in model._repr_html_()
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier((4,), max_iter=3))
    assert list(fitted(pipe, X, y)[-1].feature_names_in_) == [f"x{j}" for j in range(X.shape[1])]


def test_metadata_routing():
    X, y = draw("two classes")
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier((4,), max_iter=4, random_state=0).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        grid = fitted(GridSearchCV(model, {"alpha": [1.0]}, cv=2), X, y, sample_weight=weight)
    alone = fitted(MLPClassifier((4,), max_iter=4, random_state=0, alpha=1.0), X, y, sample_weight=weight)
    assert difference(alone, grid.best_estimator_) == 0


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_input(form):
    X, y = draw("classes")
    dense, thin = (fitted(MLPClassifier((8,), max_iter=3, random_state=0), rows, y) for rows in (X, form(X)))
    assert difference(dense, thin) == 0
    assert np.array_equal(dense.predict_proba(X), thin.predict_proba(form(X)))


@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers", "two numbers"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_to_scikit_learn_and_back(kind, solver):
    X, expected, found = both_fitted(kind, solver=solver, max_iter=5)
    for source, target in ((expected, from_sklearn(expected)), (found, found.to_sklearn())):
        assert difference(source, target) == 0
        np.testing.assert_allclose(target.predict(X) == source.predict(X) if kind in ("two classes",)
                                   else target.predict(X) - source.predict(X), kind == "two classes", atol=1e-9)
        assert target.get_params()["alpha"] == 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        y = draw(kind)[1]
        for model in (from_sklearn(expected), found.to_sklearn()):  # both can go on
            model.set_params(warm_start=True).fit(X, y)


def test_what_scikit_learn_has_not_cannot_go_there():
    X, y = draw("classes")
    with pytest.raises(ValueError, match="max_grad_norm"):
        fitted(MLPClassifier((4,), max_iter=2, max_grad_norm=1.0), X, y).to_sklearn()
    with pytest.raises(ValueError, match="activation"):
        fitted(MLPClassifier((4,), max_iter=2, activation="gelu"), X, y).to_sklearn()
    with pytest.raises(TypeError, match="expected scikit-learn's"):
        from_sklearn(StandardScaler())
    with pytest.raises(NotFittedError):
        from_sklearn(theirs.MLPClassifier())


@pytest.mark.parametrize(("settings", "error", "words"), [
    ({"hidden_layer_sizes": (0,)}, ValueError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": -1}, ValueError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": (True,)}, ValueError, "must be integers"),
    ({"hidden_layer_sizes": (5.0,)}, ValueError, "must be integers"),
    ({"solver": "lbfgs", "max_grad_norm": 1.0}, ValueError, "max_grad_norm: expected None"),
    ({"solver": "lbfgs", "dropout": 0.5}, ValueError, "dropout: expected 0"),
    ({"activation": "sine"}, ValueError, "activation"), ({"solver": "newton"}, ValueError, "solver"),
    ({"alpha": -1}, ValueError, "alpha"), ({"max_iter": 0}, ValueError, "max_iter"),
    ({"momentum": 1.5}, ValueError, "momentum"), ({"beta_1": 1.0}, ValueError, "beta_1"),
    ({"max_grad_norm": 0.0}, ValueError, "max_grad_norm"), ({"backend": "gpu"}, ValueError, "backend"),
    ({"class_weight": "unfair"}, ValueError, "class_weight"), ({"random_state": "one"}, ValueError, "random_state"),
    ({"early_stopping": True, "validation_fraction": 0.001}, ValueError, "validation set is too small"),
    ({"callbacks": [1]}, TypeError, "callbacks")])
def test_impossible_parameters(settings, error, words):
    X, y = draw("classes")
    with pytest.raises(error, match=words):
        MLPClassifier(**settings).fit(X, y)


@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda X, y: (X[:-1], y), ValueError, "inconsistent numbers of samples"),
    (lambda X, y: (X[0], y), ValueError, "2D array"), (lambda X, y: (X[:0], y[:0]), ValueError, "0 sample"),
    (lambda X, y: (np.where(X == X, np.nan, X), y), ValueError, "NaN"),
    (lambda X, y: (X, y + 0.5), ValueError, "Unknown label type"),
    (lambda X, y: (X.astype(complex), y), ValueError, "Complex"),
    (lambda X, y: ([["a"]] * len(y), y), ValueError, "convert")])
def test_bad_data(change, error, words):
    X, y = draw("classes")
    with pytest.raises(error, match=words):
        MLPClassifier((4,)).fit(*change(X, y))


def test_unfitted_and_divergence_and_what_partial_fit_refuses():
    X, y = draw("numbers")
    with pytest.raises(NotFittedError):
        MLPRegressor().predict(X)
    for name in ("coefs_", "intercepts_"):
        with pytest.raises(AttributeError, match="before it is fitted"):
            getattr(MLPRegressor(), name)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPRegressor(solver="sgd", learning_rate_init=1e10, random_state=0).fit(X, y)
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPRegressor(solver="lbfgs").partial_fit(X, y)
    model = MLPClassifier((4,), random_state=0).partial_fit(X, y > 0, classes=[False, True])
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, np.arange(len(X)))
    with pytest.raises(ValueError, match="expected both or neither"):
        MLPClassifier((4,)).fit(X, y > 0, X_val=X)
    with pytest.raises(ValueError, match="features"):
        model.predict(X[:, :3])
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPRegressor(max_iter=2).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        MLPRegressor(max_iter=2, solver="lbfgs").fit(X, y)
    with pytest.warns(UserWarning, match="batch_size"):
        fitted(MLPRegressor(max_iter=2, batch_size=10**4), X, y)


@pytest.mark.parametrize(("change", "words"), [
    ({"hidden_layer_sizes": (5,)}, r"hidden_layer_sizes: .* a network of \[4\], found \[5\]"),
    ({"hidden_layer_sizes": (4, 4)}, "hidden_layer_sizes"), ({"activation": "tanh"}, "activation: .*'relu'.*'tanh'"),
    ({"loss": fastbp.QuantileLoss(0.9)}, r"loss: .*squared_error, found 'quantile\(0.9\)'")])
def test_training_does_not_go_on_with_another_network(change, words):
    X, y = draw("numbers")
    model = fitted(MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, warm_start=True), X, y)
    before = model.net_.theta.copy()
    for train in (model.set_params(**change).fit, model.partial_fit):
        with pytest.raises(ValueError, match=words):
            train(X, y)
    assert np.array_equal(before, model.net_.theta)
    fitted(model.set_params(warm_start=False), X, y)


@pytest.mark.parametrize("loss", ["huber", "quantile", fastbp.QuantileLoss(0.9)])
def test_training_goes_on_with_the_same_loss(loss):
    X, y = draw("numbers")
    model = MLPRegressor(loss, hidden_layer_sizes=(4,)).partial_fit(X, y)
    before = model.net_.loss_value(X, y)
    for _ in range(3):
        model.partial_fit(X, y)
    assert model.net_.loss_value(X, y) < before


def test_targets_for_another_number_of_outputs():
    X, y = draw("labels")
    with pytest.raises(ValueError, match="y_val: expected targets for 5 outputs"):
        MLPClassifier((4,), max_iter=2).fit(X, y, X_val=X, y_val=y[:, :2])
    model = MLPClassifier((4,)).partial_fit(X, y, classes=range(7))  # of which there are five here
    assert model.predict(X).shape == y.shape
    with pytest.raises(ValueError, match=r"y: expected \(n, K\) of 0 and 1, as before"):
        model.partial_fit(X, y[:, 0])
    with pytest.raises(ValueError, match="y: expected one class for each sample, as before"):
        MLPClassifier((4,)).partial_fit(X, y[:, 0] + 2 * y[:, 1], classes=range(5)).partial_fit(X, y)
    with pytest.raises(ValueError, match="y: expected targets for 1 outputs"):
        MLPRegressor(hidden_layer_sizes=(4,)).partial_fit(X, y[:, 0]).partial_fit(X, y)
    with pytest.raises(ValueError, match="X_val, y_val and sample_weight_val: expected None"):
        MLPClassifier((4,), solver="lbfgs").fit(X, y, X_val=X, y_val=y)


def test_verbose_prints_every_epoch(capsys):
    X, y = draw("numbers")
    fitted(MLPRegressor(max_iter=3, verbose=True, early_stopping=True, random_state=0), X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[::2]] == ["Iteration 1", "Iteration 2", "Iteration 3"]
    assert all(line.startswith("Validation score: ") for line in lines[1::2])
