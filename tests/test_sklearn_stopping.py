"""When the estimators stop: divergence with early stopping, the part that is held out, and what is restored."""

import re

import numpy as np
import pytest
from estimators import draw, fitted
from sklearn.exceptions import ConvergenceWarning

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor

#: An epoch or two go well before the loss is not finite.
DIVERGES = {"hidden_layer_sizes": (20,), "activation": "identity", "solver": "sgd", "learning_rate_init": 1.0,
            "momentum": 0.0, "max_iter": 50, "random_state": 0}


@pytest.mark.parametrize("shuffle", [False, True])
def test_divergence_with_early_stopping_keeps_the_best_weights(shuffle):
    X, y = draw("numbers")
    kept = []
    model = MLPRegressor(**DIVERGES, early_stopping=True, shuffle=shuffle,
                         callbacks=[lambda net, history: kept.append(net.theta.copy())])
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch \d+; the weights of the best validation score"):
        model.fit(X, y)
    assert np.isnan([model.loss_, model.loss_curve_[-1], model.validation_scores_[-1],
                     model.validation_loss_curve_[-1]]).all()
    assert isinstance(model.validation_scores_[-1], float)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_) == len(kept) + 1
    assert model.best_validation_score_ == np.nanmax(model.validation_scores_)
    assert np.array_equal(model.net_.theta, kept[int(np.nanargmax(model.validation_scores_))])
    assert model.stopped_
    assert model.t_ % model.n_iter_ == 0


def test_divergence_before_there_are_best_weights_is_an_error():
    X, y = draw("numbers")
    for settings in ({"early_stopping": True, "batch_size": 5}, {"early_stopping": False}):
        model = MLPRegressor(**DIVERGES | {"learning_rate_init": 1e10} | settings)
        with pytest.raises(ValueError, match=r"non-finite parameter weights.* in epoch \d: .* learning_rate_init"):
            model.fit(X, y)


def until_stopped(model, **part):
    while not model.stopped_:
        model.partial_fit(**part)


def test_divergence_in_parts_keeps_the_best_weights():
    X, y = draw("numbers")
    model = MLPRegressor(**DIVERGES, early_stopping=True)
    part = {"X": X[:300], "y": y[:300], "X_val": X[300:], "y_val": y[300:]}
    model.partial_fit(**part)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        until_stopped(model, **part)
    assert np.isnan(model.validation_scores_[-1])
    assert model.score(X[300:], y[300:]) == pytest.approx(model.best_validation_score_)
    model.set_params(learning_rate_init=1e-3).partial_fit(**part)  # with averages that begin anew
    assert np.isfinite(model.loss_)


def test_callbacks_are_finished_where_training_diverges():
    X, y = draw("numbers")
    stopping = fastbp.EarlyStopping("loss", patience=50)
    model = MLPRegressor(**DIVERGES, callbacks=[stopping])
    with pytest.raises(ValueError, match="non-finite"):
        model.fit(X, y)
    assert stopping.best_epoch is not None
    assert np.array_equal(model.net_.theta, stopping._best.theta)


def test_scores_that_are_nan_are_no_progress():
    """Where training stays finite, but the sums of validation data do not."""
    X, y = draw("numbers")
    huge = np.full_like(X, 1e308)
    model = fitted(MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, n_iter_no_change=3, random_state=0), X, y,
                   X_val=huge, y_val=y)
    assert np.isnan(model.validation_scores_).all()
    assert model.stopped_
    assert model.n_iter_ == 4


@pytest.mark.parametrize(("labels", "words"), [
    ([0, 0, 0, 1], "3 of 0 (False) and 1 of 1 (True)"), (["no", "no", "no", "yes"], "3 of 'no' (False) and 1 of 'yes'"),
    (["b", "a", "b", "b"], "1 of 'a' (False) and 3 of 'b' (True)"),
    ([True, False, False, False], "3 of False (False) and 1 of True")], ids=str)
def test_a_class_with_too_few_members_is_named(labels, words):
    X = np.arange(8.0).reshape(4, 2)
    with pytest.raises(ValueError, match=rf"^early_stopping: .*only 1 member.*{re.escape(words)}"):
        MLPClassifier(early_stopping=True).fit(X, labels)
    with pytest.raises(ValueError, match=rf"{re.escape(words)}.* Of 7 samples, 4 have a weight above 0"):
        MLPClassifier(early_stopping=True).fit(np.r_[X, X[:3]], [*labels, *labels[:3]], [1.0] * 4 + [0.0] * 3)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.99])
def test_parts_that_cannot_be_held_out(fraction):
    X, y = draw("numbers")
    with pytest.raises(ValueError, match=r"^early_stopping: no part can be held out"):
        MLPRegressor(early_stopping=True, validation_fraction=fraction).fit(X[:20], y[:20])
