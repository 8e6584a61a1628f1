"""What training recorded, and its picture."""

import sys

import matplotlib.image
import numpy as np
import pytest

import fastbp

BLUE, ORANGE = (31, 119, 180), (255, 127, 14)  # the colours of the first and second line


def test_records():
    history = fastbp.History()
    assert (history.epochs, list(history), "loss" in history) == (0, [], False)
    for value in (np.float32(0.5), 0.25):
        history.record("loss", value)
    history.record("mine", 3)
    assert (history["loss"], history["mine"]) == ([0.5, 0.25], [3.0])
    assert (history.epochs, list(history)) == (2, ["loss", "mine"])
    assert "loss" in history
    assert "accuracy" not in history
    assert all(type(value) is float for values in history.records.values() for value in values)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("loss", "low", "^value: expected a number for 'loss', found 'low'$"), ("loss", 10**400,
                                                                            "^value: expected a number"),
    (["loss"], 0.5, "^name: expected a text, found"), ("loss", (1.0,), "^value: expected a number"),
    ("loss", np.complex64(1), "^value: expected"), ("loss", np.ma.masked_array([1.0], [True]), "^value: expected a"),
    ("loss", [1.0, np.ma.masked_array(1, True)], "^value: expected a number")])
def test_what_is_no_record(name, value, message):
    history = fastbp.History()
    with pytest.raises(TypeError, match=message):
        history.record(name, value)
    assert history.records == {}


def test_what_was_not_recorded():
    history = fastbp.History()
    with pytest.raises(KeyError, match="'loss' was not recorded; there are no records"):
        history["loss"]
    history.record("loss", 1)
    history.record("accuracy", 1)
    with pytest.raises(KeyError, match="'validation_loss' was not recorded; there are loss, accuracy"):
        history["validation_loss"]


def test_repr():
    history = fastbp.History()
    history.record("loss", 0.123456)
    history.record("accuracy", 1)
    assert repr(history) == "<History of 1 epochs: loss 0.1235, accuracy 1; ended by epochs>"


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy", "squared_error", "poisson"])
@pytest.mark.parametrize("validation", [False, True])
def test_plot(tmp_path, loss, validation):
    X = np.random.default_rng(0).normal(size=(20, 3))
    d = (X[:, :2] > 0).astype(int)
    if loss == "softmax_cross_entropy":
        d = d[:, 0]
    net = fastbp.MLP([3, 2], loss=loss, seed=0)
    history = net.fit(X, d, epochs=40, validation_data=(X, d) if validation else None)
    history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = (255 * matplotlib.image.imread(tmp_path / "history.png")[..., :3]).round()
    assert picture.shape[1] == (750 if loss in ("squared_error", "poisson") else 1500)  # with accuracy, two diagrams
    for half in np.split(picture, picture.shape[1] // 750, axis=1):
        for colour, shown in ((BLUE, True), (ORANGE, validation)):
            assert ((half == colour).all(axis=-1).sum() > 100) == shown


def test_plot_without_epochs(tmp_path):
    with pytest.raises(ValueError, match="history: expected at least one completed epoch"):
        fastbp.History().plot(tmp_path / "history.png")
    assert not list(tmp_path.iterdir())


def test_plot_without_matplotlib(monkeypatch, tmp_path):
    history = fastbp.History()
    history.record("loss", 1)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"plotting needs matplotlib: pip install 'fastbp\[plot\]'"):
        history.plot(tmp_path / "history.png")
