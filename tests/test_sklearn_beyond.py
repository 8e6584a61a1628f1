"""The estimators beyond scikit-learn: validation data, callbacks, dropout, clipping, losses and activations."""

import numpy as np
import pytest
from estimators import difference, draw, fitted, standardised
from sklearn.base import clone

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor


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
    balanced = MLPClassifier((8,), max_iter=5, random_state=0, class_weight="balanced")
    assert difference(by_class, fitted(balanced, X, y)) > 0
    with pytest.raises(ValueError, match="class_weight: partial_fit takes a dict or None, found 'balanced'"):
        balanced.partial_fit(X, y)


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
