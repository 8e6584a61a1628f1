"""The estimators against scikit-learn's own: its checks, its weights, its parameters, and what the two can exchange."""

import inspect
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import make_constraint
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn

SINCE_1_7 = "sample_weight" in inspect.signature(theirs.MLPRegressor.fit).parameters
PAIRS = {"classifier": (theirs.MLPClassifier, MLPClassifier), "regressor": (theirs.MLPRegressor, MLPRegressor)}


def fitted(estimator, *data, **given):
    """Trained, however far it came."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **given)


@parametrize_with_checks([MLPClassifier(max_iter=30), MLPRegressor(max_iter=30)])
def test_scikit_learns_checks(estimator, check):
    """All of them: scikit-learn declares no expected failure for its own MLPs, and there is none here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


# ---- the same weights ------------------------------------------------------------------------------------------------


def standardised(X):
    return (X - X.mean(0)) / (X.std(0) + 1e-9)


def draw(kind):
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


def both_fitted(kind, weighted=False, **settings):
    X, y = draw(kind)
    pair = PAIRS["classifier" if kind in ("classes", "two classes", "labels") else "regressor"]
    weights = {"sample_weight": np.random.default_rng(1).uniform(0.5, 2, len(X))} if weighted else {}
    if (weights or "loss" in settings) and not SINCE_1_7:
        pytest.skip("scikit-learn before 1.7 has no sample weights and losses here")
    given = {"hidden_layer_sizes": (20, 10), "activation": "tanh", "max_iter": 20, "shuffle": False, "random_state": 3,
             "alpha": 0.01} | settings
    return X, *(fitted(estimator(**given), X, y, **weights) for estimator in pair)


def difference(expected, found):
    return max(abs(p - q).max() for p, q in zip(expected.coefs_ + expected.intercepts_,
                                                found.coefs_ + found.intercepts_, strict=True))


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


# ---- the same names --------------------------------------------------------------------------------------------------


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
        if name not in ("activation", "loss"):  # which take more
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


# ---- beyond scikit-learn ---------------------------------------------------------------------------------------------


def test_float32_stays():
    X, y = draw("classes")
    model = fitted(MLPClassifier((8,), max_iter=3, random_state=0), X.astype(np.float32), y)
    assert model.net_.dtype == np.float32
    assert model.coefs_[0].dtype == model.predict_proba(X.astype(np.float32)).dtype == np.float32


def test_class_weight_is_a_weight_of_samples():
    X, y = draw("two classes")
    by_class, by_sample = (MLPClassifier((8,), max_iter=5, random_state=0, class_weight=weight)
                           for weight in ({"no": 3.0, "yes": 0.5}, None))
    fitted(by_class, X, y)
    fitted(by_sample, X, y, sample_weight=np.where(y == "no", 3.0, 0.5))
    assert difference(by_class, by_sample) == 0
    balanced = fitted(MLPClassifier((8,), max_iter=5, random_state=0, class_weight="balanced"), X, y)
    assert difference(by_class, balanced) > 0


def test_coefs_are_views():
    X, y = draw("numbers")
    model = fitted(MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0), X, y)
    model.intercepts_[-1][:] += 1
    before = model.predict(X)
    model.intercepts_[-1][:] -= 1
    np.testing.assert_allclose(before - model.predict(X), 1.0)


def test_validation_data_of_ones_own():
    X, y = draw("two classes")
    model = fitted(MLPClassifier((8,), max_iter=6, random_state=0), X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    assert len(model.validation_loss_curve_) == 6
    assert model.validation_scores_ is None
    P = np.take_along_axis(model.predict_proba(X[400:]), np.searchsorted(model.classes_, y[400:])[:, None], 1)
    assert model.validation_loss_curve_[-1] == pytest.approx(-np.log(P).mean())
    stopped = fitted(MLPClassifier((8,), max_iter=50, random_state=0, early_stopping=True, n_iter_no_change=2), X[:400],
                     y[:400], X_val=X[400:], y_val=y[400:])
    assert stopped.stopped_
    assert stopped.n_iter_ < 50
    assert stopped.score(X[400:], y[400:]) == stopped.best_validation_score_ == max(stopped.validation_scores_)


def test_early_stopping_of_partial_fit():
    X, y = draw("two classes")
    model = MLPClassifier((8,), random_state=0, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.01)
    with pytest.raises(ValueError, match="X_val and y_val"):
        model.partial_fit(X, y, classes=np.unique(y))
    for _ in range(200):
        model.partial_fit(X[:400], y[:400], classes=np.unique(y), X_val=X[400:], y_val=y[400:])
        if model.stopped_:
            break
    assert model.stopped_
    assert model.score(X[400:], y[400:]) == model.best_validation_score_


def test_callbacks_see_the_network_and_may_stop():
    X, y = draw("classes")
    seen = []

    def callback(net, history):
        seen.append((net, history["loss"][-1]))
        return len(seen) == 3

    model = MLPClassifier((8,), random_state=0, callbacks=[callback]).fit(X, y)
    assert model.n_iter_ == 3
    assert [loss for _, loss in seen] == model.loss_curve_
    assert all(net is model.net_ for net, _ in seen)


@pytest.mark.parametrize("true", [True, np.True_])
def test_callbacks_stop_and_are_begun_and_finished_by_fit(true):
    X, y = draw("classes")
    stopping = fastbp.EarlyStopping("loss", patience=5)
    model = fitted(MLPClassifier((8,), random_state=0, max_iter=9, callbacks=[stopping]), X, y)
    assert stopping.best_epoch == int(np.argmin(model.loss_curve_))
    assert stopping.best_value == min(model.loss_curve_)
    fitted(model.set_params(max_iter=2, alpha=5.0), X, y)  # another loss: the old best would not be beaten
    assert stopping.best_value == min(model.loss_curve_)
    stops = [lambda net, history: true if history.epochs == 4 else None]
    stopped = MLPClassifier((8,), random_state=0, callbacks=stops)
    assert stopped.fit(X, y).n_iter_ == 4


@pytest.mark.parametrize(("first", "then"), [
    ({"solver": "sgd"}, {"solver": "adam"}), ({"solver": "adam"}, {"solver": "sgd"}),
    ({"solver": "sgd", "momentum": 0.0}, {"momentum": 0.9})], ids=["sgd to adam", "adam to sgd", "with momentum"])
def test_partial_fit_with_another_solver_begins_its_averages_anew(first, then):
    X, y = draw("classes")
    model = MLPClassifier((40,), random_state=0, shuffle=False, **first).partial_fit(X, y, classes=range(10))
    same = MLPClassifier((40,), random_state=0, shuffle=False, **first | then).partial_fit(X, y, classes=range(10))
    same.net_.theta[:] = model.net_.theta
    same._optimizer_state = None
    for _ in range(3):
        model.set_params(**then).partial_fit(X, y)
        same.partial_fit(X, y)
    assert difference(model, same) == 0


def test_a_warm_start_with_early_stopping_goes_on():
    X, y = draw("two classes")
    X = standardised(X)
    model, losses = MLPClassifier(early_stopping=True, warm_start=True, max_iter=5, random_state=1, shuffle=False), []
    for _ in range(4):
        fitted(model, X, y)
        losses.append(model.net_.loss_value(X, (y == model.classes_[1]).astype(float)))
        assert model.best_validation_score_ == max(model.validation_scores_[-model.n_iter_ :])
    assert losses[3] < losses[2] < losses[1] < losses[0]
    fitted(model.set_params(early_stopping=False), X, y)
    assert np.isfinite(model.best_loss_)


def test_every_call_drops_other_units():
    X, y = draw("classes")
    settings = {"hidden_layer_sizes": (40,), "random_state": 0, "shuffle": False, "dropout": 0.5}
    model = MLPClassifier(**settings).partial_fit(X, y, classes=range(10))
    again = MLPClassifier(**settings).partial_fit(X, y, classes=range(10))
    assert difference(model, again) == 0
    start, losses = model.net_.theta.copy(), []
    for _ in range(2):
        model.net_.theta[:], model._optimizer_state = start, None
        losses.append(model.partial_fit(X, y).loss_)
    assert losses[0] != losses[1]
    other = MLPClassifier(**settings | {"random_state": 1})
    other.partial_fit(X, y, classes=range(10))
    other.net_.theta[:], other._optimizer_state = start, None
    assert other.partial_fit(X, y).loss_ != losses[0]


def test_coefficients_can_be_assigned():
    X, y = draw("classes")
    model, other = (fitted(MLPClassifier((8,), random_state=seed, max_iter=3), X, y) for seed in (0, 1))
    model.coefs_, model.intercepts_[0] = [W.copy() for W in other.coefs_], other.intercepts_[0]
    model.intercepts_ = other.intercepts_
    assert difference(model, other) == 0
    assert np.array_equal(model.predict(X), other.predict(X))
    for wrong in (other.coefs_[:1], [W.T for W in other.coefs_]):
        with pytest.raises(ValueError, match=r"^coefs_: expected arrays of the shapes \[\(64, 8\), \(8, 10\)\], found"):
            model.coefs_ = wrong
    assert difference(model, other) == 0


def test_what_scikit_learn_gets_is_its_own():
    X, y = draw("two classes")
    model = fitted(MLPClassifier((5,), random_state=0, max_iter=3, shuffle=False), X, y)
    other = model.to_sklearn()
    before = model.predict_proba(X)
    other.partial_fit(X, y)
    assert np.array_equal(model.predict_proba(X), before)


def test_ctrl_c_leaves_a_usable_estimator():
    X, y = draw("classes")

    def interrupt(net, history):
        if history.epochs == 3:
            raise KeyboardInterrupt

    model = MLPClassifier((8,), random_state=0, callbacks=[interrupt])
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    same = fitted(MLPClassifier((8,), random_state=0, max_iter=3), X, y)
    assert difference(model, same) == 0


def test_dropout():
    """The units of every hidden layer, by the random state; not in predictions."""
    X, y = draw("classes")
    plain, first, second = (fitted(MLPClassifier((30, 20), max_iter=40, random_state=0, dropout=rate,
                                                 learning_rate_init=0.01), X, y)
                            for rate in (0.0, 0.4, [0.4, 0.4]))
    assert difference(first, second) == 0
    assert difference(first, plain) > 0
    assert first.loss_ > plain.loss_
    assert first.score(X, y) > 0.9
    assert np.array_equal(first.predict_proba(X), first.predict_proba(X))
    with pytest.raises(ValueError, match="one for each of the 2 hidden layers"):
        MLPClassifier((30, 20), dropout=[0.1]).fit(X, y)
    with pytest.raises(ValueError, match="dropout: expected 0 with the solver 'lbfgs'"):
        MLPClassifier(dropout=0.1, solver="lbfgs").fit(X, y)
    with pytest.raises(ValueError, match="dropout"):
        MLPClassifier(dropout=1.0).fit(X, y)


def test_clipping_of_gradients():
    X, y = draw("numbers")
    model = MLPRegressor(hidden_layer_sizes=(5,), solver="sgd", momentum=0.0, alpha=0.0, max_iter=1, random_state=0,
                         learning_rate_init=1.0, max_grad_norm=1e-3, batch_size=len(X))
    start = fitted(clone(model).set_params(learning_rate_init=1e-12), X, y).net_.theta
    assert np.linalg.norm(fitted(model, X, y).net_.theta - start) == pytest.approx(1e-3, rel=1e-6)


def test_activations_for_each_layer_and_of_ones_own():
    X, y = draw("numbers")
    bent = fastbp.Activation("bent_identity", lambda a: (np.sqrt(a * a + 1) - 1) / 2 + a,
                             lambda a, h: a / (2 * np.sqrt(a * a + 1)) + 1)
    model = MLPRegressor(hidden_layer_sizes=(6, 5), activation=["gelu", bent], random_state=0, max_iter=300)
    fitted(model, X, y)
    assert model.net_.activations == ("gelu", "bent_identity", "identity")
    assert model.score(X, y) > 0.4
    with pytest.raises(ValueError, match="one for each of 2 hidden layers, found 1"):
        MLPRegressor(hidden_layer_sizes=(6, 5), activation=["tanh"]).fit(X, y)


def test_a_loss_of_ones_own():
    X, y = draw("numbers")
    cubic = fastbp.Loss("cubic_error", lambda y, d: abs(y - d) ** 3 / 3, lambda y, d: (y - d) * abs(y - d))
    model = fitted(MLPRegressor(cubic, (8,), random_state=0), X, y)
    assert model.net_.loss == "cubic_error"
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]


# ---- the ecosystem ---------------------------------------------------------------------------------------------------


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
    import joblib

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


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "error", "words"), [
    ({"hidden_layer_sizes": (0,)}, ValueError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": -1}, ValueError, "hidden_layer_sizes"),
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


def test_verbose_prints_every_epoch(capsys):
    X, y = draw("numbers")
    fitted(MLPRegressor(max_iter=3, verbose=True, early_stopping=True, random_state=0), X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[::2]] == ["Iteration 1", "Iteration 2", "Iteration 3"]
    assert all(line.startswith("Validation score: ") for line in lines[1::2])
