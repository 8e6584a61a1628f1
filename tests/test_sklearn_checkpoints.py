"""Checkpoints of the estimators: a fit that goes on from one has the bits and records of one without interruption."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from estimators import fitted
from sklearn.base import clone

import fastbp
from fastbp import pace
from fastbp.sklearn import MLPClassifier, MLPRegressor
from fastbp.storage.checkpoints import read_checkpoint, write_checkpoint
from fastbp.training.session import Session

N = 120
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4))
CLASSES = np.array(["a/b", "é", "none"])[np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.4, 0.4])]
NUMBERS = np.sin(X[:, 0]) + 0.1 * X[:, 1]
WEIGHT = rng.uniform(0, 2, N) * (rng.random(N) < 0.9)

SETTINGS = {"hidden_layer_sizes": (5,), "activation": "tanh", "batch_size": 40, "max_iter": 7, "random_state": 3,
            "backend": "loops", "learning_rate_init": 0.02}


@pytest.fixture(autouse=True)
def short_slices(monkeypatch):
    """Slices of one batch."""
    monkeypatch.setattr(pace.Pace, "next_slice", lambda self, threads: (1, 1))


class Interrupted(Exception):
    """What ends a fit in these tests."""


class Interruption:
    """Let a fit end with an error after some slices, or at a callback."""

    def __init__(self, monkeypatch, after, error=Interrupted):
        slices, advance = itertools.count(1), Session.advance_on

        def advance_on(session, *given):
            status = advance(session, *given)
            if next(slices) == after:
                raise error
            return status

        monkeypatch.setattr(Session, "advance_on", advance_on)


def fit_in_parts(path, monkeypatch, cuts, make, y, data):
    """An estimator whose fits were interrupted after so many slices each, and gone on with by new ones."""
    for part, after in enumerate([*cuts, None]):
        model = make()
        with monkeypatch.context() as patch:
            if after is not None:
                Interruption(patch, after)
            try:
                fitted(model, data.get("X", X), y, **{name: value for name, value in data.items() if name != "X"},
                       checkpoint=path, resume=part > 0)
            except Interrupted:
                assert after is not None
    return model


RECORDS = ("loss_curve_", "validation_loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_",
           "loss_", "n_iter_", "t_", "stopped_", "_no_improvement_count", "_rate", "_in_parts", "n_features_in_",
           "n_outputs_")


def assert_same(found, expected):
    assert found.net_.theta.tobytes() == expected.net_.theta.tobytes()
    for name in RECORDS:
        assert getattr(found, name) == getattr(expected, name), name
        assert type(getattr(found, name)) is type(getattr(expected, name)), name
    for state, other in zip(found._optimizer_state, expected._optimizer_state, strict=True):
        assert state.tobytes() == other.tobytes()
    assert np.array_equal(found.predict(X), expected.predict(X))


SGD = {"solver": "sgd", "learning_rate_init": 0.1}
CASES = {
    "adam": ({}, {}),
    "momentum": (SGD, {}),
    "in order": (SGD | {"momentum": 0.0, "shuffle": False}, {}),
    "invscaling": (SGD | {"learning_rate": "invscaling"}, {}),
    "adaptive": (SGD | {"learning_rate": "adaptive", "tol": 0.2, "n_iter_no_change": 1}, {}),
    "adaptive on scores": (SGD | {"learning_rate": "adaptive", "tol": 0.2, "n_iter_no_change": 1,
                                  "early_stopping": True}, {}),
    "early stopping": ({"early_stopping": True, "n_iter_no_change": 2, "tol": 0.05, "max_iter": 30}, {}),
    "scores of one's own data": ({"early_stopping": True, "n_iter_no_change": 3},
                                 {"X_val": X[:30], "y_val": CLASSES[:30], "sample_weight_val": WEIGHT[:30]}),
    "losses of one's own data": ({}, {"X_val": X[:30], "y_val": CLASSES[:30]}),
    "stalled": ({"tol": 0.5, "n_iter_no_change": 2}, {}),
    "weights": ({"class_weight": {"a/b": 2.0}, "early_stopping": True}, {"sample_weight": WEIGHT}),
    "balanced": ({"class_weight": "balanced", "dropout": [0.3], "max_grad_norm": 0.1}, {}),
    "sparse": ({"standardize": False}, {"X": scipy.sparse.csr_matrix(np.where(X > 0.5, X, 0))}),
    "standardised in float32": ({"standardize": True}, {"X": (5 * X).astype(np.float32)}),
    "verbose": ({"verbose": True}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_setting(case, tmp_path, monkeypatch):
    settings, data = CASES[case]

    def make():
        return MLPClassifier(**SETTINGS | settings)

    expected = fitted(make(), data.get("X", X), CLASSES, **{name: data[name] for name in data if name != "X"})
    for cuts in ([1], [3, 9], [8, 4, 2]):
        assert_same(fit_in_parts(tmp_path / "run", monkeypatch, cuts, make, CLASSES, data), expected)


@pytest.mark.parametrize("loss", ["squared_error", fastbp.QuantileLoss(0.3)], ids=str)
def test_regressor(loss, tmp_path, monkeypatch):
    def make():
        return MLPRegressor(loss, **SETTINGS | {"early_stopping": True})

    expected = fitted(make(), X, NUMBERS)
    assert_same(fit_in_parts(tmp_path / "run", monkeypatch, [2, 7], make, NUMBERS, {}), expected)
    assert read_checkpoint(tmp_path / "run", "MLPRegressor").whole("epochs_recorded") == 7


@pytest.mark.parametrize("random_state", [0, "generator", None])
def test_warm_starts(random_state, tmp_path, monkeypatch):
    """The second fit goes on in a process that has not seen the first; then a third has the same bits too."""
    def make():
        np.random.seed(5)  # noqa: NPY002
        given = np.random.RandomState(0) if random_state == "generator" else random_state
        return MLPClassifier(**SETTINGS | {"early_stopping": True, "warm_start": True, "random_state": given,
                                           "max_iter": 3, "standardize": True})

    def begun():
        return fitted(make(), X.astype(np.float32) * 2, CLASSES)

    expected = fitted(begun(), X, CLASSES)
    model = begun()
    with monkeypatch.context() as patch:
        Interruption(patch, 4)
        with pytest.raises(Interrupted):
            model.fit(X, CLASSES, checkpoint=tmp_path / "run")
    new = make()
    drawn = np.random.get_state()[1].tobytes()  # noqa: NPY002
    for resumed in (fitted(new, X, CLASSES, resume=tmp_path / "run"),
                    fitted(model, X, CLASSES, resume=tmp_path / "run")):
        assert_same(resumed, expected)
        assert np.random.get_state()[1].tobytes() == drawn  # noqa: NPY002
    assert len(new.loss_curve_) == 6
    if random_state is not None:
        assert_same(fitted(new, X, CLASSES), fitted(expected, X, CLASSES))


def test_callbacks(tmp_path, monkeypatch):
    seen = []

    def make():
        return MLPClassifier(**SETTINGS | {"max_iter": 30, "callbacks": [
            lambda net, history: seen.append(history.epochs),
            fastbp.EarlyStopping("loss", patience=1, min_delta=0.04)]})

    expected = fitted(make(), X, CLASSES)
    epochs = len(seen)
    assert 4 < epochs < 30
    seen.clear()
    found = fit_in_parts(tmp_path / "run", monkeypatch, [1, 7, 3], make, CLASSES, {})
    assert_same(found, expected)
    assert seen == list(range(1, epochs + 1))
    # Of a fit that a callback ended there is nothing to go on with.
    assert_same(fitted(make(), X, CLASSES, resume=tmp_path / "run"), expected)
    assert len(seen) == epochs


@pytest.mark.parametrize("data", [{}, {"X_val": X[:30], "y_val": CLASSES[:30]}], ids=["alone", "validated"])
@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_an_epoch_whose_callback_did_not_return(error, data, tmp_path):
    settings = SETTINGS | {"early_stopping": bool(data)}
    expected = fitted(MLPClassifier(**settings), X, CLASSES, **data)

    def fail(net, history):
        if history.epochs == 3:
            raise error

    model = MLPClassifier(**settings, callbacks=[fail])
    with pytest.raises(Interrupted) if error is Interrupted else pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, CLASSES, checkpoint=tmp_path / "run", **data)
    epochs = 2 if data else 3  # of which everything is recorded
    assert model.n_iter_ == len(model.loss_curve_) == epochs
    assert model.loss_ == model.loss_curve_[-1]
    assert model.t_ == epochs * N
    if data:
        assert len(model.validation_loss_curve_) == len(model.validation_scores_) == epochs
        assert model.best_validation_score_ == max(model.validation_scores_)
    assert_same(fitted(MLPClassifier(**settings), X, CLASSES, resume=tmp_path / "run", **data), expected)


def test_more_epochs(tmp_path):
    data = {"X": X, "y": CLASSES}
    expected = fitted(MLPClassifier(**SETTINGS), **data)
    short = clone(expected).set_params(max_iter=4)
    fitted(short, **data, checkpoint=tmp_path / "run", checkpoint_every="3 epochs")
    assert_same(fitted(short.set_params(max_iter=7), **data, resume=tmp_path / "run"), expected)
    with pytest.raises(ValueError, match=r"max_iter: expected at least the 4 epochs of the checkpoint .*, found 3"):
        short.set_params(max_iter=3).fit(**data, resume=tmp_path / "run")
    assert_same(short, expected)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A checkpoint within an epoch."""
    with monkeypatch.context() as patch:
        Interruption(patch, 7)
        with pytest.raises(Interrupted):
            MLPClassifier(**SETTINGS, early_stopping=True).fit(X, CLASSES, checkpoint=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(("message", "settings", "data"), [
    ("^alpha: expected 0.0001 as in the checkpoint .*run, found 0.1", {"alpha": 0.1}, {}),
    ("^solver: expected", {"solver": "sgd"}, {}),
    (r"^hidden_layer_sizes: expected \[5\].* found \[6\]", {"hidden_layer_sizes": (6,)}, {}),
    ("^random_state: expected 3 .* found 4", {"random_state": 4}, {}),
    ('^random_state: expected 3 .* found "a RandomState"', {"random_state": np.random.RandomState(0)}, {}),
    ("^class_weight: expected null", {"class_weight": {"a/b": 3.0}}, {}),
    ("^early_stopping: expected true", {"early_stopping": False}, {}),
    ("^widths: expected", {}, {"X": X[:, :3]}),
    (r'^classes: expected \["a/b", "none", "é"\] .* found \["a", "b", "none"\]', {},
     {"y": np.array(["a", "b", "none"])[np.unique(CLASSES, return_inverse=True)[1]]}),
    ("^X: expected .*120 × 4 float64.* found .*119 × 4 float64", {}, {"X": X[1:], "y": CLASSES[1:]}),
    ("^X: the digest of 64 rows, with targets and weights: expected", {}, {"X": X + 1}),
    ("^X: the digest", {}, {"y": np.roll(CLASSES, 1)}),
    ("^sample_weight: expected false", {}, {"sample_weight": WEIGHT}),
    ("^X_val: expected none as in .* found some", {}, {"X_val": X, "y_val": CLASSES}),
])
def test_another_fit_is_refused(message, settings, data, run):
    model = fitted(MLPClassifier(**SETTINGS | {"max_iter": 1}), X, CLASSES)
    before, theta = dict(vars(model)), model.net_.theta.copy()
    model.set_params(**{"early_stopping": True} | settings)
    generator = model.random_state
    state = isinstance(generator, np.random.RandomState) and generator.get_state()[1].tolist()
    with pytest.raises(ValueError, match=message):
        model.fit(**{"X": X, "y": CLASSES} | data, resume=run)
    assert state is False or generator.get_state()[1].tolist() == state
    model.set_params(**{name: before[name] for name in ("early_stopping", *settings)})
    assert vars(model) == before
    assert model.net_.theta.tobytes() == theta.tobytes()


def replaced(values, place, value):
    """Values, of which one is another."""
    first, *rest = place
    return {**values, first: replaced(values[first], rest, value) if rest else value}


@pytest.mark.parametrize(("place", "value"), [
    ("records/loss_curve", None), ("records/loss_curve", np.zeros(1)), ("records/best_loss", 3.0),
    ("records/validation_scores", None), ("records/best_validation_score", None),
    ("records/best_validation_score", "1"), ("records/best_theta", np.zeros(3)),
    ("records/best_theta", np.full(43, np.nan)), ("records/t", 1), ("records/rate", 0.0),
    ("records/rate", np.inf), ("records", None), ("random_state", None),
    ("random_state/position", 625), ("random_state/key", np.zeros(3, np.uint32)), ("random_state/gauss", "x"),
    ("split_state/position", -1), ("network/dtype", "int8"), ("seed", None), ("epochs_recorded", 4),
    ("standardization", {"mean": np.zeros(4), "scale": np.zeros(4)}), ("training/rows", N), ("history", {}),
])
def test_values_that_do_not_go_together(place, value, run, tmp_path):
    values = dict(read_checkpoint(run, "MLPClassifier").values)
    write_checkpoint(tmp_path / "other", "MLPClassifier", replaced(values, place.split("/"), value))
    model = MLPClassifier(**SETTINGS, early_stopping=True)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"not a whole checkpoint|expected"):
        model.fit(X, CLASSES, resume=tmp_path / "other")
    assert vars(model) == before


def test_a_place_that_cannot_be_written(tmp_path):
    model = fitted(MLPClassifier(**SETTINGS | {"max_iter": 1}), X, CLASSES)
    before = dict(vars(model))
    with pytest.raises(FileNotFoundError):
        model.fit(X, CLASSES, checkpoint=tmp_path / "nowhere" / "run")
    assert vars(model) == before


def test_what_has_no_checkpoints(run):
    for given in ({"checkpoint": run}, {"resume": run}):
        with pytest.raises(ValueError, match=r"^checkpoint and resume: expected neither with the solver 'lbfgs'"):
            MLPClassifier(**SETTINGS | {"solver": "lbfgs"}).fit(X, CLASSES, **given)
    with pytest.raises(ValueError, match="a checkpoint of 'MLPClassifier', expected one of 'MLPRegressor'"):
        MLPRegressor(**SETTINGS).fit(X, NUMBERS, resume=run)
    other = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(ValueError, match=r"^random_state: expected a RandomState of MT19937, .* found one of PCG64"):
        MLPClassifier(**SETTINGS | {"random_state": other}).fit(X, CLASSES, checkpoint=run)
    assert read_checkpoint(run, "MLPClassifier").part("training").whole("epoch") == 2
