"""Weights of the estimators' samples: zeros, weights by class, and those of validation data."""

import numpy as np
import pytest
from estimators import difference, draw, fitted
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.utils.class_weight import compute_class_weight

from fastbp.sklearn import MLPClassifier, MLPRegressor


def estimators(**settings):
    """Both estimators, of one hidden layer, and their targets for the 60 rows of `rows`."""
    X = rows()
    given = {"hidden_layer_sizes": (4,), "random_state": 0, "max_iter": 5} | settings
    return [(MLPClassifier(**given), X[:, 0] > 0), (MLPClassifier(**given), (X[:, 0] > 0) + 1 * (X[:, 1] > 0)),
            (MLPRegressor(**given), X[:, 0])]


def rows():
    return np.random.default_rng(0).normal(size=(60, 4))


KINDS = pytest.mark.parametrize("kind", [0, 1, 2], ids=["two classes", "classes", "numbers"])


@KINDS
@pytest.mark.parametrize("counting", [1, 2, 5])
def test_too_few_samples_that_count_to_hold_out(kind, counting):
    model, y = estimators(early_stopping=True)[kind]
    with pytest.raises(ValueError, match=rf"Of 60 samples, {counting} have a weight above 0 by sample_weight"):
        model.fit(rows(), y, np.arange(60) < counting)
    assert not hasattr(model, "net_")


@KINDS
@pytest.mark.parametrize("seed", range(5))
def test_only_samples_that_count_are_held_out(kind, seed):
    """As if the others were not there: whichever rows the split would have taken."""
    X, weight = rows(), np.random.default_rng(seed).integers(0, 2, 60) * 1.5
    model, y = estimators(early_stopping=True, random_state=seed)[kind]
    without, _ = estimators(early_stopping=True, random_state=seed)[kind]
    fitted(model, X, y, weight)
    fitted(without, X[weight > 0], y[weight > 0], weight[weight > 0])
    assert difference(model, without) == 0
    assert np.isfinite(model.validation_scores_).all()
    assert model.validation_scores_ == without.validation_scores_


@KINDS
def test_samples_without_weight_make_no_batches_smaller(kind):
    X, weight = rows(), np.arange(60) % 3 == 0
    model, y = estimators(batch_size=10)[kind]
    without, _ = estimators(batch_size=10)[kind]
    fitted(model, X, y, weight)
    assert difference(model, fitted(without, X[weight], y[weight])) == 0
    assert model.loss_curve_ == without.loss_curve_


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_classes_without_weight(solver):
    X, y = draw("two classes")
    model = MLPClassifier((4,), class_weight={"no": 0.0}, random_state=0, max_iter=30, solver=solver)
    by_sample = MLPClassifier((4,), random_state=0, max_iter=30, solver=solver)
    assert difference(fitted(model, X, y), fitted(by_sample, X, y, y == "yes")) == 0
    none, before = np.full(20, "no"), model.predict_proba(X)
    model.set_params(warm_start=True)
    ways = [model.fit, model.partial_fit] if solver == "adam" else [model.fit]
    for train in ways:
        with pytest.raises(ValueError, match=r"^sample_weight times class_weight: .* that are not all zero"):
            train(X, y, y == "no")
    for train in ways[1:]:
        with pytest.raises(ValueError, match=r"^class_weight: expected weights that are not all zero"):
            train(X[:20], none)
        with pytest.raises(ValueError, match=r"^class_weight: expected weights that are not all zero"):
            train(X, y, X_val=X[:20], y_val=none)
    assert np.array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize("max_samples", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("weight", [None, {1: 2.0}])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bagging(max_samples, weight):
    """Which gives every estimator weights, most of them 0."""
    X = np.random.default_rng(0).normal(size=(600, 4))
    classifier = MLPClassifier((4,), early_stopping=True, max_iter=100, learning_rate_init=0.05,
                               class_weight=weight)
    bag = BaggingClassifier(classifier, 5, max_samples=max_samples, random_state=0)
    assert bag.fit(X, X[:, 0] + X[:, 1] > 0).score(X, X[:, 0] + X[:, 1] > 0) > 0.8
    regressor = MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, max_iter=100, learning_rate_init=0.05)
    assert (BaggingRegressor(regressor, 5, max_samples=max_samples, random_state=0).fit(X, X[:, 0])
            .score(X, X[:, 0]) > 0.8)


def test_bagging_of_too_few_samples_names_the_weights():
    X = rows()
    bag = BaggingClassifier(MLPClassifier((4,), early_stopping=True), 10, max_samples=6, random_state=0)
    with pytest.raises(ValueError, match="sample_weight"):
        bag.fit(X, X[:, 0] > 0)


@pytest.mark.parametrize("labels", [[0, 1, 2], ["0", "1", "2"], ["a", "b", "c"], [-1.0, 0.0, 2.0]], ids=str)
def test_class_weights_are_those_of_all_classes(labels):
    """Whichever classes a part of the data has."""
    X, places = rows(), np.arange(60) % 3
    y = np.array(labels)[places]
    by_class = MLPClassifier((4,), random_state=0, class_weight={labels[2]: 3.0})
    by_sample = MLPClassifier((4,), random_state=0)
    for part in (places < 3, places < 2, places == 2):
        by_class.partial_fit(X[part], y[part], classes=labels)
        by_sample.partial_fit(X[part], y[part], np.where(places[part] == 2, 3.0, 1.0), classes=labels)
        assert difference(by_class, by_sample) == 0


def test_class_weights_that_cannot_be():
    X, y = draw("two classes")
    for given, error, words in (({"maybe": 2.0}, ValueError, r"expected some of the classes \['no', 'yes'\] as keys, "
                                                             r"found \['maybe'\]"),
                                ({"no": 1.0, "maybe": 2.0}, ValueError, r".*found \['maybe'\]"),
                                ({"no": -1.0}, ValueError, "expected a finite number at least 0, found -1"),
                                ({"no": np.inf}, ValueError, "expected a finite number"),
                                ({"no": "much"}, TypeError, "expected a number")):
        with pytest.raises(error, match=rf"^class_weight.*: {words}"):
            MLPClassifier((4,), class_weight=given).fit(X, y)
    fitted(MLPClassifier((4,), max_iter=2, class_weight={"no": 1.0, "yes": 2.0, "maybe": 3.0}), X, y)
    X, y = draw("labels")
    with pytest.raises(ValueError, match="class_weight: expected 'balanced' or None for several labels"):
        MLPClassifier((4,), class_weight={0: 2.0}).fit(X, y)


@pytest.mark.parametrize("kind", ["classes", "two classes"])
def test_balanced_weights(kind):
    X, y = draw(kind)
    balanced, by_class = (MLPClassifier((4,), random_state=0, max_iter=3, class_weight=weight) for weight in (
        "balanced", dict(zip(*[np.unique(y).tolist(), compute_class_weight("balanced", classes=np.unique(y), y=y)],
                             strict=True))))
    assert difference(fitted(balanced, X, y), fitted(by_class, X, y)) < 1e-12


@pytest.mark.parametrize("weight", [{"no": 3.0}, "balanced"])
def test_validation_data_are_weighted_by_class(weight):
    """As the part that the estimator holds out itself."""
    X, y = draw("two classes")
    classes, counts = np.unique(y[:400], return_counts=True)
    by_class = {"no": 3.0, "yes": 1.0} if weight != "balanced" else dict(zip(classes, 400 / (2 * counts), strict=True))
    of_samples = np.array([by_class[name] for name in y])
    own = np.random.default_rng(0).uniform(size=169)
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "max_iter": 5, "early_stopping": True}
    for sample_weight_val in (None, own):
        found = fitted(MLPClassifier(class_weight=weight, **settings), X[:400], y[:400], X_val=X[400:], y_val=y[400:],
                       sample_weight_val=sample_weight_val)
        expected = fitted(MLPClassifier(**settings), X[:400], y[:400], of_samples[:400], X_val=X[400:], y_val=y[400:],
                          sample_weight_val=of_samples[400:] * (1.0 if sample_weight_val is None else own))
        assert found.validation_scores_ == pytest.approx(expected.validation_scores_)
        assert found.validation_loss_curve_ == pytest.approx(expected.validation_loss_curve_)
    held_out = fitted(MLPClassifier(class_weight=weight, **settings), X[:400], y[:400])
    same = fitted(MLPClassifier(**settings), X[:400], y[:400], of_samples[:400])
    assert held_out.validation_scores_ == pytest.approx(same.validation_scores_)


def test_balanced_weights_of_several_labels():
    X, y = draw("labels")
    of_samples = np.prod([len(y) / (2 * np.bincount(column))[column] for column in y.T], axis=0)
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "max_iter": 3}
    balanced = fitted(MLPClassifier(class_weight="balanced", **settings), X, y, X_val=X[:50], y_val=y[:50])
    by_sample = fitted(MLPClassifier(**settings), X, y, of_samples, X_val=X[:50], y_val=y[:50],
                       sample_weight_val=of_samples[:50])
    assert difference(balanced, by_sample) < 1e-12
    assert balanced.validation_loss_curve_ == pytest.approx(by_sample.validation_loss_curve_)
