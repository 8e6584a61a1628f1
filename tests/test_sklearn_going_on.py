"""Training that goes on, by partial_fit or a warm start: orders, what was best, what is held out, arrays that are
read-only."""

import numpy as np
import pytest
from estimators import PAIRS, difference, draw, fitted

from fastbp.sklearn import MLPClassifier, MLPRegressor


@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0), None], ids=["integer", "generator", "none"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_every_call_takes_another_order(random_state, method):
    """From the same weights and the same state, one epoch in batches of one ends elsewhere."""
    X, y = draw("numbers")
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=random_state, batch_size=1, max_iter=1, warm_start=True)
    model.partial_fit(X, y)
    start, ends = model.net_.theta.copy(), set()
    for _ in range(5):
        model.net_.theta[:], model._optimizer_state = start, None
        ends.add(fitted(model, X, y).loss_ if method == "fit" else model.partial_fit(X, y).loss_)
    assert len(ends) == 5


@pytest.mark.parametrize("calls", [["partial_fit"] * 3, ["fit"] * 3, ["partial_fit", "fit", "partial_fit"]], ids=str)
def test_orders_are_reproducible(calls):
    X, y = draw("numbers")
    models = [MLPRegressor(hidden_layer_sizes=(4,), random_state=7, max_iter=2, batch_size=10, warm_start=True)
              for _ in range(2)]
    for model in models:
        for call in calls:
            fitted(model, X, y) if call == "fit" else model.partial_fit(X, y)
    assert difference(*models) == 0


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_warm_start_after_convergence_learns_new_targets(kind, early_stopping):
    X, y = draw("two classes" if kind == "classifier" else "numbers")
    model = PAIRS[kind][1](hidden_layer_sizes=(8,), random_state=0, warm_start=True, learning_rate_init=0.01,
                           max_iter=2000, early_stopping=early_stopping)
    fitted(model, X, y)
    assert model.stopped_
    other = np.where(y == "no", "yes", "no") if kind == "classifier" else 3 - 2 * y
    epochs = len(model.loss_curve_)
    fitted(model, X, other)
    assert model.stopped_
    assert model.n_iter_ > 12
    assert len(model.loss_curve_) == epochs + model.n_iter_
    assert model.score(X, other) > (0.9 if kind == "classifier" else 0.5)
    if not early_stopping:
        assert model.best_loss_ == min(model.loss_curve_[epochs:])


def test_what_partial_fit_watches_after_fit_begins_anew():
    X, y = draw("two classes")
    model = fitted(MLPClassifier((8,), random_state=0, early_stopping=True, learning_rate_init=0.01), X, y)
    assert model.stopped_
    model.partial_fit(X[:300], y[:300], X_val=X[300:], y_val=np.where(y[300:] == "no", "yes", "no"))
    assert not model.stopped_
    assert model.best_validation_score_ == model.validation_scores_[-1]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_early_stopping_may_be_switched(first, method):
    X, y = draw("numbers")
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=0, max_iter=3, warm_start=True, early_stopping=first)
    for watches in (first, not first, first):
        model.set_params(early_stopping=watches)
        given = {"X_val": X[300:], "y_val": y[300:]} if watches else {}
        fitted(model, X, y, **given) if method == "fit" else model.partial_fit(X, y, **given)
        assert (model.best_loss_ is None) == watches
        assert (model.validation_scores_ is not None) == (model.best_validation_score_ is not None) == watches


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0), None], ids=["integer", "generator", "none"])
def test_a_warm_start_holds_out_the_same_samples(kind, random_state, monkeypatch):
    X, y = draw("two classes" if kind == "classifier" else "numbers")
    held_out = []
    score_of = PAIRS[kind][1]._score_of
    monkeypatch.setattr(PAIRS[kind][1], "_score_of",
                        lambda model, A, samples: held_out.append(samples.X) or score_of(model, A, samples))
    model = PAIRS[kind][1](hidden_layer_sizes=(4,), random_state=random_state, warm_start=True, max_iter=2,
                           early_stopping=True)
    for _ in range(3):
        fitted(model, X, y)
    assert len(held_out) == 6
    assert all(np.array_equal(rows, held_out[0]) for rows in held_out)
    fitted(model.set_params(warm_start=False, random_state=5), X, y)
    assert not np.array_equal(held_out[-1], held_out[0])


@pytest.mark.parametrize("given", [{"X_val": 1}, {"X_val": 5, "sample_weight_val": np.arange(5) == 2}], ids=str)
def test_one_validation_sample_has_no_r2(given):
    X, y = draw("numbers")
    n = given["X_val"]
    data = given | {"X_val": X[:n], "y_val": y[:n]}
    words = r"^X_val: expected at least 2 samples of weight above 0 for the score that early stopping watches, found 1"
    with pytest.raises(ValueError, match=words):
        MLPRegressor(early_stopping=True).fit(X, y, **data)
    with pytest.raises(ValueError, match=words):
        MLPRegressor(early_stopping=True).partial_fit(X, y, **data)
    assert len(fitted(MLPRegressor(max_iter=2), X, y, **data).validation_loss_curve_) == 2
    model = fitted(MLPClassifier((4,), early_stopping=True, max_iter=2), X, y > 0, **data | {"y_val": y[:n] > 0})
    assert set(model.validation_scores_) <= {0.0, 1.0}
