"""Numbers of any magnitude are standardised, or refused by the name of their column."""

import json

import numpy as np
import pytest

import fastbp
from fastbp.__main__ import BAD_INPUT, main
from fastbp.commands.scaling import Scaling, moments_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 2))
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def network(X, dtype, features):
    """A network whose outputs are its standardised inputs, and the scaling that made it so."""
    net = fastbp.MLP([X.shape[1]] * 2, loss="squared_error", dtype=dtype, initializer="zeros")
    net.weights[0] = np.eye(X.shape[1], dtype=dtype)
    scaling = Scaling.of(None, classes=["a", "b"], features=features)
    scaling.standardize(net, moments_of(X))
    return net, scaling


def standardised(column, dtype=FLOAT64):
    column = np.asarray(column, np.float64)[:, None]
    return network(column, dtype, ["x"])[0].forward(column)[:, 0]


@pytest.mark.parametrize("unit", [1.0, 1e300, -1e307, 1e-300, 3e-307, 1e30, 1e-30])
@pytest.mark.parametrize("offset", [0.0, 4.0])
def test_any_unit_gives_the_same(unit, offset):
    numbers = X[:, 0] + offset
    expected = (numbers - numbers.mean()) / numbers.std() * np.sign(unit)
    np.testing.assert_allclose(standardised(numbers * unit), expected, rtol=1e-12, atol=1e-12)


def test_the_largest_numbers():
    largest = np.finfo(np.float64).max
    for n in (1, 5, 36, 100):  # of 36 pairs the deviation rounds up
        np.testing.assert_allclose(standardised([largest, -largest] * n), [1.0, -1.0] * n, rtol=1e-14)
        np.testing.assert_allclose(standardised([largest, 0.0] * n), [1.0, -1.0] * n, rtol=1e-14)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e300, 1.7e308, 1e-300, 5e-324])
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_a_constant_column_is_zero(constant, n):
    np.testing.assert_array_equal(standardised([constant] * n), np.zeros(n))


def test_small_differences_of_large_numbers_are_kept():
    """Nanoseconds since 1970 that differ by a second, and 1e8 ± 1e-3, in a hundred thousand rows."""
    z = np.where(np.arange(100_000) % 2, 1.0, -1.0)
    np.testing.assert_allclose(standardised(1.7e18 + 1e9 * z), z, rtol=1e-6)
    np.testing.assert_allclose(standardised(1e8 + 1e-3 * z), z, rtol=1e-4)


def test_many_columns():
    wide = RNG.normal(size=(20, 300)) * np.logspace(-300, 300, 300)
    Z = network(wide, FLOAT64, None)[0].forward(wide)
    np.testing.assert_allclose(Z.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(Z.std(axis=0), 1.0)


def test_numbers_without_all_digits_are_refused():
    with pytest.raises(ValueError, match=r"--data: column 'x' has the standard deviation .*e-309, expected 0"):
        standardised(X[:, 0] * 1e-309)


@pytest.mark.parametrize(("dtype", "fits", "beyond"), [(FLOAT32, 1e38, 1e39), (FLOAT64, 1e307, np.finfo(float).max)])
def test_what_a_dtype_does_not_hold_is_refused(dtype, fits, beyond):
    net, scaling = network(0.1 * X, dtype, ["x", "y"])
    scaling.require_inputs(net, np.array([[0.0, 0.1 * fits]]))
    assert np.isfinite(net.forward(np.array([[0.0, 0.1 * fits]]))).all()
    with pytest.raises(ValueError, match=rf"--data: column 'y' has the value 1.*, which {dtype} does not hold"):
        scaling.require_inputs(net, np.array([[0.0, 0.0], [0.0, beyond]]))


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    """Results of training on a table, as they are and in JSON."""
    monkeypatch.chdir(tmp_path)

    def trained(columns, *options):
        names = list(columns)
        rows = zip(*columns.values(), strict=True)
        (tmp_path / "data.csv").write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]))
        status = main(["train", "--data", "data.csv", "--epochs", "30", "--learning-rate", "0.01", "--layers", "20",
                       "--json", "--quiet", *options])
        output = capsys.readouterr()
        return status, json.loads(output.out) if status == 0 else None, output.err

    return trained


@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_columns_of_any_unit_are_learnt_from(trained, unit):
    columns = {"a": (X[:, 0] * unit).tolist(), "b": X[:, 1].tolist()}
    status, result, message = trained(columns | {"kind": np.where(X[:, 0] > 0, "up", "down").tolist()})
    assert (status, message) == (0, "")
    assert result["test_accuracy"] > 0.9


@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_targets_of_any_unit_are_learnt_and_scored(trained, capsys, unit):
    columns = {"a": X[:, 0].tolist(), "y": (unit * (3.0 * X[:, 0] + 1.0)).tolist()}
    status, result, message = trained(columns)
    assert (status, message) == (0, "")
    assert result["test_r2"] > 0.9
    assert 0.0 < result["test_rmse"] < 0.3 * result["baseline_rmse"]
    assert 1.0 < result["baseline_rmse"] / unit < 6.0
    assert main(["predict", "data.npz", "--data", "data.csv", "--target", "y", "--json"]) == 0
    found = np.array(json.loads(capsys.readouterr().out)["predictions"]) / unit
    assert np.corrcoef(found, X[:, 0])[0, 1] > 0.99


def test_a_test_row_that_float32_does_not_hold_is_named(trained):
    columns = {"a": X[:, 0].tolist(), "huge": [1e300, *X[1:, 1].tolist()], "kind": ["up", "down"] * 150}
    status, _, message = trained(columns, "--test-fraction", "0.9", "--seed", "1")
    assert status == BAD_INPUT
    assert "--data: column 'huge' has the value 1e+300, which float32 does not hold" in message


@pytest.mark.parametrize("unit", [1.0, 1e300])
def test_the_model_takes_raw_rows(trained, capsys, unit):
    """In Python and by the command, as training saw them; the network has the numbers, and the metadata has not."""
    columns = {"a": (X[:, 0] * unit).tolist(), "b": (X[:, 1] + 1e6).tolist()}
    trained(columns | {"kind": np.where(X[:, 0] > 0, "up", "down").tolist()})
    assert main(["predict", "data.npz", "--data", "data.csv", "--target", "kind", "--json", "--probabilities"]) == 0
    found = json.loads(capsys.readouterr().out)
    net, rows = fastbp.load("data.npz"), np.array(list(columns.values())).T
    assert not {"input_mean", "input_scale"} & set(net.metadata)
    np.testing.assert_allclose(net.feature_scale / X.std(axis=0), [unit, 1.0], rtol=0.2)
    Y = np.exp(net.forward(rows).astype(np.float64))
    np.testing.assert_allclose(found["probabilities"], Y / Y.sum(axis=1, keepdims=True), rtol=1e-12)
    assert found["predictions"] == [net.metadata["classes"][i] for i in Y.argmax(axis=1)]


def test_models_of_older_versions_predict_as_before(tmp_path, monkeypatch, capsys):
    """Their networks take rows that the command standardised by the metadata."""
    monkeypatch.chdir(tmp_path)
    net, mean, scale = fastbp.MLP([2, 4, 1], activation="tanh", loss="squared_error", seed=0), [3.0, -1e6], [0.5, 10.0]
    net.metadata = {"input_mean": mean, "input_scale": scale, "target_mean": [7.0], "target_scale": [2.0],
                    "classes": None, "features": None}
    net.save("old.npz")
    rows = X * scale + mean
    np.savez("rows.npz", X=rows)
    assert main(["predict", "old.npz", "--data", "rows.npz", "--json"]) == 0
    expected = net.forward((rows - mean) / scale)[:, 0] * 2.0 + 7.0
    np.testing.assert_allclose(json.loads(capsys.readouterr().out)["predictions"], expected, rtol=1e-5)
    net.standardize(mean=mean, scale=scale)  # which numbers would count?
    net.save("both.npz")
    assert main(["predict", "both.npz", "--data", "rows.npz"]) == BAD_INPUT
    assert "'input_mean' or 'input_scale' beside a network that standardises" in capsys.readouterr().err
