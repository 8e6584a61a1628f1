"""What the estimators say of data that they refuse: the argument's own name, before anything is trained."""

import numpy as np
import pytest
from estimators import draw, fitted
from scipy import sparse
from sklearn.exceptions import NotFittedError

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor

FIT = {"classifier": MLPClassifier((4,), max_iter=2, random_state=0),
       "regressor": MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0)}


def task(kind):
    """An estimator, 60 samples with targets, and as many to validate with."""
    X, y = draw("two classes" if kind == "classifier" else "numbers")
    return FIT[kind], {"X": X[:60], "y": y[:60], "sample_weight": np.ones(60), "X_val": X[60:120], "y_val": y[60:120],
                       "sample_weight_val": np.ones(60)}


@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val"])
@pytest.mark.parametrize("kind", FIT)
@pytest.mark.parametrize("form", [lambda values: np.ma.masked_array(values, np.arange(values.size) % 7 == 0),
                                  np.ma.masked_array, lambda values: [np.ma.masked_array(row) for row in values]],
                         ids=["masked", "nothing masked", "rows"])
def test_masked_arrays_are_refused(kind, name, form):
    """The mask would be lost."""
    estimator, data = task(kind)
    values = data[name]
    flat = form(np.unique(values, return_inverse=True)[1] if values.dtype.kind == "U" else values.ravel())
    data[name] = flat if isinstance(flat, list) or values.ndim == 1 else flat.reshape(values.shape)
    with pytest.raises(TypeError, match=rf"^{name}: found a masked array"):
        estimator.fit(**data)


def test_masked_arrays_are_refused_by_every_method():
    X, y = draw("two classes")
    masked = np.ma.masked_array(X, X > 1)
    model = MLPClassifier((4,))
    with pytest.raises(TypeError, match=r"^classes: found a masked array"):
        model.partial_fit(X, y, classes=np.ma.masked_array(["no", "yes"]))
    with pytest.raises(TypeError, match=r"^y: found a masked array"):
        model.partial_fit(X, np.ma.masked_array(y), classes=["no", "yes"])
    model.partial_fit(X, y, classes=["no", "yes"])
    for method in (model.predict, model.predict_proba, model.predict_log_proba, lambda rows: model.score(rows, y)):
        with pytest.raises(TypeError, match=r"^X: found a masked array"):
            method(masked)
    with pytest.raises(TypeError, match=r"^y: found a masked array"):
        model.score(X, np.ma.masked_array(y, y == "no"))
    with pytest.raises(TypeError, match=r"^sample_weight: found a masked array"):
        model.score(X, y, np.ma.masked_array(np.ones(len(y))))
    with pytest.raises(TypeError, match=r"^y: found a masked array"):
        MLPRegressor().partial_fit(X, X[:, 0]).score(X, masked[:, 0])


@pytest.mark.parametrize(("change", "words"), [
    ({"y": lambda y: y * 1e300}, r"^y: found .*e\+\d+ at \[0\], which is beyond float32"),
    ({"y": lambda y: np.c_[y, y * 1e300], "y_val": lambda y: np.c_[y, y]}, r"^y: found .* at \[0, 1\], which is"),
    ({"X_val": lambda X: X.astype(float) * 1e300}, r"^X_val: found .* at \[0, 0\], which is beyond float32"),
    ({"y_val": lambda y: y * 1e300}, r"^y_val: found .* which is beyond float32"),
    ({"sample_weight": lambda w: w * 1e300}, "^sample_weight: found 1e[+]300 .* beyond float32"),
    ({"sample_weight_val": lambda w: w * 1e300}, "^sample_weight_val: found 1e[+]300 .* beyond float32"),
    ({"sample_weight": lambda w: w * 1e-300}, "^sample_weight: .* not all zero, found 1e-300 at most, which is 0 in"),
    ({"sample_weight": lambda w: w * 0}, "^sample_weight: expected weights that are not all zero"),
    ({"sample_weight_val": lambda w: w * 0}, "^sample_weight_val: expected weights that are not all zero"),
    ({"sample_weight": lambda w: -w}, r"^sample_weight: expected no negative weight, found -1.0 at \[0\]"),
    ({"sample_weight_val": lambda w: -w}, r"^sample_weight_val: expected no negative weight, found -1.0 at \[0\]"),
    ({"sample_weight_val": lambda w: w[1:]}, "^sample_weight_val: expected one weight for each of 60 samples"),
    ({"sample_weight_val": lambda w: w * np.nan}, "sample_weight_val contains NaN"),
    ({"X_val": lambda X: X[:, 1:]}, "^X_val: expected 10 features as X has, found shape"),
    ({"X_val": lambda X: X * np.nan}, "X_val contains NaN"), ({"y_val": lambda y: y * np.nan}, "y_val contains NaN"),
    ({"X_val": lambda X: X[:0]}, "X_val|0 sample"), ({"y_val": lambda y: y[1:]}, "^y_val: expected as many targets"),
    ({"X_val": lambda X: None, "y_val": lambda y: None}, "^sample_weight_val: expected None without X_val"),
    ({"y_val": lambda y: None}, "^X_val and y_val: expected both or neither")])
def test_the_argument_is_named(change, words):
    estimator, data = task("regressor")
    data["X"] = data["X"].astype(np.float32)
    for name, change_of in change.items():
        data[name] = change_of(data[name])
    with pytest.raises(ValueError, match=words):
        estimator.fit(**data)


def test_validation_targets_are_named():
    classifier, data = task("classifier")
    with pytest.raises(ValueError, match=r"^`y_val` has classes not in .*'y_val' has \['perhaps'\]"):
        classifier.fit(**data | {"y_val": np.full(60, "perhaps")})
    with pytest.raises(ValueError, match="y_val"):
        classifier.fit(**data | {"y_val": np.eye(60)[:, :3].astype(int)})
    _, data = task("regressor")
    right = data | {"y": abs(data["y"]) > 1, "y_val": data["y"] > 0}
    bits = fastbp.Loss("own_of_bits", lambda y, d: (y - d) ** 2 / 2, lambda y, d: y - d, "bits")
    for loss, wrong, words in (("poisson", -1, "no negative number for the loss 'poisson', found -1"),
                               (bits, 2, "numbers from 0 to 1 for the loss 'own_of_bits', found 2")):
        model = MLPRegressor(loss, (4,), max_iter=2)
        for name in ("y", "y_val"):
            with pytest.raises(ValueError, match=rf"^{name}: expected {words}"):
                model.fit(**right | {name: np.full(60, wrong)})
        fitted(model, **right)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, np.asfortranarray])
def test_validation_data_of_other_forms(form):
    estimator, data = task("classifier")
    plain = fitted(estimator, **data).validation_loss_curve_
    assert fitted(estimator, **data | {"X_val": form(data["X_val"])}).validation_loss_curve_ == plain


@pytest.mark.parametrize(("settings", "words"), [
    ({"epsilon": 1e-60}, "^epsilon: expected 0 or a number that float32 holds, found 1e-60"),
    ({"beta_1": 1e-60}, "^beta_1: "), ({"solver": "sgd", "momentum": 1e-60}, "^momentum: ")])
def test_settings_that_vanish_are_named(settings, words):
    X, y = draw("numbers")
    with pytest.raises(ValueError, match=words):
        MLPRegressor(**settings).fit(X.astype(np.float32), y)
    fitted(MLPRegressor(**settings, max_iter=2), X, y)


def test_patience_beyond_every_integer():
    X, y = draw("numbers")
    assert fitted(MLPRegressor(hidden_layer_sizes=(2,), max_iter=2, n_iter_no_change=2**80), X, y).n_iter_ == 2


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_what_was_fitted_stays_where_new_arguments_are_refused(settings):
    classifier = MLPClassifier((4,), max_iter=2, random_state=0, **settings)
    X, y = draw("two classes")
    before = fitted(classifier, X, y).predict(X)
    X_other, y_other = draw("classes")
    wrong = [{"sample_weight": -np.ones(500)}, {"X_val": X_other}, {"X_val": X_other, "y_val": y_other + 100}]
    if classifier.early_stopping:
        wrong.append({"sample_weight": np.arange(500) < 1})
    for given in wrong:
        with pytest.raises(ValueError, match=r"_val|weight"):
            classifier.fit(X_other, y_other, **given)
    assert np.array_equal(classifier.predict(X), before)


@pytest.mark.parametrize(("train", "words"), [
    (lambda X: MLPRegressor(max_iter=1).fit(X, X[:, 0]), "Maximum iterations"),
    (lambda X: MLPRegressor(max_iter=1, solver="lbfgs").fit(X, X[:, 0]), "lbfgs failed to converge"),
    (lambda X: MLPRegressor(batch_size=10**4).partial_fit(X, X[:, 0]), "batch_size")])
def test_warnings_point_to_the_users_line(train, words):
    X, _ = draw("numbers")
    with pytest.warns(UserWarning, match=words) as found:
        train(X)
    assert found[0].filename == __file__


def test_classes_of_a_first_call_that_was_refused_are_forgotten():
    X, y = draw("two classes")
    model = MLPClassifier((4,), random_state=0)
    for given in ({"sample_weight": -np.ones(len(X))}, {"X_val": X}):
        with pytest.raises(ValueError, match=r"sample_weight|X_val"):
            model.partial_fit(X, y, classes=["no", "yes"], **given)
        assert not hasattr(model, "classes_")
    assert model.partial_fit(X, y, classes=["maybe", "no", "yes"]).predict_proba(X).shape == (len(X), 3)


class Raising:
    """What raises an error of its own when it is read."""

    def __array__(self, *arguments, **settings):
        raise ZeroDivisionError("mine")


def test_classes_are_not_kept_of_a_first_call_that_an_error_of_the_users_own_ended():
    estimator, X = MLPClassifier(hidden_layer_sizes=(2,), backend="loops"), np.ones((4, 3))
    with pytest.raises(ZeroDivisionError, match="mine"):
        estimator.partial_fit(Raising(), [0, 1, 0, 1], classes=[0, 1])
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    estimator.partial_fit(X, ["a", "b", "a", "b"], classes=["a", "b"])
    assert set(estimator.predict(X)) <= {"a", "b"}


@pytest.mark.parametrize(("settings", "X", "error", "message"), [
    ({"tol": 10**400}, np.ones((4, 3)), ValueError, "^tol: expected a number that float64 holds"),
    ({"alpha": 10**400, "solver": "lbfgs"}, np.ones((4, 3)), ValueError, "^alpha: expected a number that"),
    ({"hidden_layer_sizes": [[0] * 200]}, np.ones((4, 3)), ValueError, "^hidden_layer_sizes must be .{,150}$"),
    ({}, [[10**400] * 3] * 4, ValueError, "float64"),
    ({"dropout": [[1], [1, 2]]}, np.ones((4, 3)), TypeError, r"^dropout\[0\]: expected a number"),
    ({"dropout": np.float32}, np.ones((4, 3)), TypeError, "^dropout: expected a number")])
def test_numbers_beyond_float64_and_odd_rates(settings, X, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier(**{"hidden_layer_sizes": (2, 2), "backend": "loops", **settings}).fit(X, [0, 1, 0, 1])
