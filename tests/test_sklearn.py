"""The estimators against scikit-learn's own: its checks, its weights, its parameters and names."""

import inspect
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from estimators import PAIRS, SINCE_1_7, both_fitted, difference, draw, fitted
from sklearn.utils._param_validation import make_constraint
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn


@parametrize_with_checks([MLPClassifier(max_iter=30), MLPRegressor(max_iter=30)])
def test_scikit_learns_checks(estimator, check):
    """All of them: scikit-learn declares no expected failure for its own MLPs, and there is none here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "sgd, no momentum": {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.0},
    "sgd, plain momentum": {"solver": "sgd", "learning_rate_init": 0.01, "nesterovs_momentum": False},
    "sgd, invscaling": {"solver": "sgd", "learning_rate_init": 0.5, "learning_rate": "invscaling"},
    "sgd, adaptive": {"solver": "sgd", "learning_rate_init": 0.01, "learning_rate": "adaptive", "tol": 0.05,
                      "n_iter_no_change": 1},
    "sgd, early stopping": {"solver": "sgd", "learning_rate_init": 0.05, "early_stopping": True,
                            "n_iter_no_change": 2, "tol": 0.01},
    "adam": {"solver": "adam"},
    "adam, small batches": {"solver": "adam", "batch_size": 33, "alpha": 1.0},
    "adam, early stopping": {"solver": "adam", "early_stopping": True},
    "adam, stops": {"solver": "adam", "tol": 0.02, "n_iter_no_change": 2},
    "lbfgs": {"solver": "lbfgs"},
}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "numbers", "two numbers"])
def test_weights_and_records_after_20_epochs(kind, solver, weighted):
    X, expected, found = both_fitted(kind, weighted, **SOLVERS[solver])
    assert difference(expected, found) < 1e-6
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.loss_ == pytest.approx(expected.loss_, rel=1e-6)
    if solver != "lbfgs":
        assert found.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-6)
        for name in ("validation_scores_", "best_validation_score_", "best_loss_"):
            if getattr(expected, name) is None:
                assert getattr(found, name) is None
            else:
                assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6)
    if "numbers" in kind:
        np.testing.assert_allclose(found.predict(X), expected.predict(X), atol=1e-5)
    else:
        assert np.array_equal(found.predict(X), expected.predict(X))
        np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-6)
        np.testing.assert_allclose(found.predict_log_proba(X), expected.predict_log_proba(X), atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "adam, early stopping", "lbfgs"])
def test_the_poisson_loss(solver, weighted):
    X, expected, found = both_fitted("counts", weighted, loss="poisson", **SOLVERS[solver])
    assert difference(expected, found) < 1e-6
    assert found.out_activation_ == expected.out_activation_ == "exp"
    np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=1e-5)
    assert found.loss_ == pytest.approx(expected.loss_, rel=1e-6)
    np.testing.assert_allclose(from_sklearn(expected).predict(X), expected.predict(X), rtol=1e-9)
    np.testing.assert_allclose(found.to_sklearn().predict(X), found.predict(X), rtol=1e-9)
    with pytest.raises(ValueError, match="negative"):
        found.fit(X, X[:, 0])


@pytest.mark.parametrize(("loss", "expected"), [
    ("absolute_error", np.median), ("quantile", np.median), (fastbp.QuantileLoss(0.9), lambda y: np.quantile(y, 0.9)),
    (fastbp.HuberLoss(100.0), np.mean)], ids=str)
def test_losses_beyond_scikit_learn(loss, expected):
    """What a network without inputs that matter predicts."""
    y = np.random.default_rng(0).exponential(size=400)
    model = MLPRegressor(loss, (2,), solver="sgd", alpha=0.0, learning_rate_init=0.05, momentum=0.5, batch_size=400,
                         max_iter=2000, n_iter_no_change=2000, random_state=0)
    assert fitted(model, np.zeros((400, 1)), y).predict([[0.0]])[0] == pytest.approx(expected(y), abs=0.05)
    assert fitted(MLPRegressor("huber", (4,), max_iter=3), np.zeros((400, 1)), y).net_.loss == "huber"


@pytest.mark.parametrize("activation", ["identity", "logistic", "relu"])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_other_activations(kind, activation):
    _, expected, found = both_fitted(kind, activation=activation)
    assert difference(expected, found) < 1e-6


@pytest.mark.parametrize("kind", PAIRS)
def test_partial_fit_and_warm_start(kind):
    X, y = draw("two classes" if kind == "classifier" else "numbers")
    expected, found = (estimator(hidden_layer_sizes=(8,), shuffle=False, random_state=0, max_iter=3, warm_start=True)
                       for estimator in PAIRS[kind])
    for begin in (0, 100, 200):
        S = slice(begin, begin + 100)
        classes = {"classes": np.unique(y)} if kind == "classifier" and begin == 0 else {}
        for estimator in (expected, found):
            estimator.partial_fit(X[S], y[S], **classes)
    assert difference(expected, found) < 1e-9
    for _ in range(2):
        for estimator in (expected, found):
            fitted(estimator, X, y)
    assert difference(expected, found) < 1e-9
    assert found.loss_curve_ == pytest.approx(expected.loss_curve_)
    assert (found.n_iter_, found.t_) == (expected.n_iter_, expected.t_)


def test_shuffled_trainings_are_reproducible():
    X, y = draw("classes")
    first, second, other = (fitted(MLPClassifier((8,), max_iter=5, random_state=seed), X, y) for seed in (0, 0, 1))
    assert difference(first, second) == 0
    assert difference(first, other) > 0


@pytest.mark.parametrize("kind", PAIRS)
def test_every_parameter_attribute_and_method_of_scikit_learn_is_there(kind):
    """Fails when scikit-learn adds one."""
    if not SINCE_1_7:
        pytest.skip("loss became the first parameter of the regressor in 1.7")
    expected, found = PAIRS[kind]
    known, own = inspect.signature(expected).parameters, inspect.signature(found).parameters
    for name, parameter in known.items():
        assert name in own
        assert own[name].default == parameter.default
        assert own[name].kind == parameter.kind
    assert list(own)[: len(known)] == list(known)
    X, y = draw("two classes" if kind == "classifier" else "numbers")
    for settings in ({}, {"early_stopping": True}, {"solver": "lbfgs"}):
        pair = [fitted(estimator(max_iter=3, **settings), X, y) for estimator in (expected, found)]
        public = {name for name in dir(pair[0]) if not name.startswith("_")}
        if settings == {"solver": "lbfgs"}:  # the regressor's is there, and trains by lbfgs
            public -= {"partial_fit"}
        assert public <= set(dir(pair[1]))
    for name in ("fit", "partial_fit", "predict", "score"):
        known, own = (list(inspect.signature(getattr(estimator, name)).parameters) for estimator in PAIRS[kind])
        assert own[: len(known)] == known


@pytest.mark.parametrize("kind", PAIRS)
def test_constraints_of_parameters_are_those_of_scikit_learn(kind):
    expected, found = PAIRS[kind]
    for name, constraints in expected._parameter_constraints.items():
        if name not in ("activation", "loss") and (kind, name) != ("regressor", "solver"):  # which take more
            described = [[sorted(str(make_constraint(one))) for one in given]  # sets come in any order
                         for given in (found._parameter_constraints[name], constraints)]
            assert described[0] == described[1]


def test_importing_fastbp_does_not_import_scikit_learn():
    code = "import sys, fastbp; assert 'sklearn' not in sys.modules and 'scipy.optimize' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_without_scikit_learn_the_error_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None\nimport fastbp.sklearn"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert finished.returncode == 1
    assert "pip install 'fastbp[sklearn]'" in finished.stderr
