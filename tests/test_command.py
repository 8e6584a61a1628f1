"""The command `fastbp`, called as a person would."""

import gzip
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbp
from fastbp.__main__ import BAD_INPUT, DIVERGED, INTERRUPTED, MISSING_PACKAGE, main

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = numba.get_num_threads()
    yield
    numba.set_num_threads(threads)  # --threads is for the whole process


def run_json(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # NaN and infinity are not in its standard


def test_train_digits_with_no_other_option(capsys, tmp_path):
    assert main(["train", "--data", "digits"]) == 0
    output = capsys.readouterr()
    lines = dict(line.split(None, 1) for line in output.out.replace("test accuracy", "accuracy").splitlines())
    assert float(lines["accuracy"]) >= 0.97
    assert "samples per second" in lines["time"]
    assert "\r" not in output.err  # no bar outside a terminal
    assert (tmp_path / "digits.png").read_bytes()[:8] == PNG
    assert fastbp.load(tmp_path / "digits.npz").widths == (64, 100, 10)


def test_json_repeats_and_predict_agrees(capsys, tmp_path):
    options = ["train", "--data", "iris", "--epochs", "60", "--layers", "8,8", "--quiet"]
    first = run_json(capsys, *options, "--model", "a.npz", "--plot", "a.png")
    second = run_json(capsys, *options, "--model", "b.npz", "--plot", "b.svg")
    assert first["history"] == second["history"]
    assert first["widths"] == [4, 8, 8, 3]
    assert len(first["history"]["validation_loss"]) == 60
    assert first["rows"] == {"train": 108, "validation": 12, "test": 30}
    np.testing.assert_array_equal(fastbp.load("a.npz").theta, fastbp.load("b.npz").theta)
    assert main(["predict", "a.npz", "--data", "iris"]) == 0
    predictions = capsys.readouterr().out.splitlines()
    assert predictions[0] == "prediction"
    classes = np.repeat(["setosa", "versicolor", "virginica"], 50)
    assert np.mean(np.array(predictions[1:]) == classes) > 0.9
    found = run_json(capsys, "predict", "a.npz", "--data", "iris", "--probabilities")
    assert found["predictions"] == predictions[1:]
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1.0)


@pytest.mark.parametrize(("loss", "backend", "dtype"), [
    ("cross_entropy", "loops", "float64"), ("binary_cross_entropy", "blas", "float32")])
def test_losses_backends_dtypes(capsys, loss, backend, dtype):
    options = ("--epochs 20 --optimizer sgd --learning-rate 0.05 --momentum 0.9 --activation tanh --early-stopping 20 "
               f"--threads 1 --loss {loss} --backend {backend} --dtype {dtype}")
    result = run_json(capsys, "train", "--data", "breast_cancer", *options.split())
    assert result["test_accuracy"] > 0.9
    assert (result["loss"], result["backend"], result["dtype"]) == (loss, backend, dtype)


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs"])
def test_optimizers_of_full_batches(capsys, optimizer):
    options = f"--layers 4 --activation tanh --epochs 30 --early-stopping 5 --optimizer {optimizer}"
    result = run_json(capsys, "train", "--data", "diabetes", *options.split())
    assert result["test_r2"] > 0.1
    assert result["stop_reason"] == {"lm": "max_fail", "lbfgs": "callback"}[optimizer]
    losses = result["history"]["validation_loss"]
    assert len(losses) == np.argmin(losses) + 6
    for option in ("--learning-rate", "--weight-decay", "--batch-size"):
        assert main(["train", "--data", "diabetes", *options.split(), option, "1"]) == BAD_INPUT
        assert f"{option}: it is no setting of {optimizer}" in capsys.readouterr().err


def test_csv_of_names_with_a_target_column(capsys, tmp_path):
    rng = np.random.default_rng(0)
    rows = [(rng.normal(), "up" if up else "down", up * 2.0 - 1.0 + 0.1 * rng.normal()) for up in rng.random(200) < 0.5]
    lines = ["noise,direction,signal"] + [f"{a},{b},{c}" for a, b, c in rows]
    (tmp_path / "moves.csv").write_text("\n".join(lines), encoding="utf-8")
    result = run_json(capsys, "train", "--data", "moves.csv", "--target", "direction", "--epochs", "30")
    assert result["test_accuracy"] == 1.0
    assert (tmp_path / "moves.npz").exists()
    (tmp_path / "new.csv").write_text("noise,signal\n0,1\n0,-1\n", encoding="utf-8")
    assert main(["predict", "moves.npz", "--data", "new.csv"]) == 0
    assert capsys.readouterr().out.split() == ["prediction", "up", "down"]


@pytest.fixture
def model_of_names(tmp_path):
    """Trained on the columns a, b and c, of which b alone matters."""
    rows = np.random.default_rng(0).normal(size=(100, 3)).tolist()
    lines = ["a,b,c,kind"] + [f"{a},{b},{c},{'up' if b > 0 else 'down'}" for a, b, c in rows]
    (tmp_path / "named.csv").write_text("\n".join(lines))
    assert main(["train", "--data", "named.csv", "--epochs", "40", "--learning-rate", "0.01", "--quiet"]) == 0
    return "named.npz"


@pytest.mark.parametrize(("table", "options"), [
    ("a,b,c\n-9,2,-9\n9,-2,9\n", []), ("c,a,b\n-9,-9,2\n9,9,-2\n", []), ("b,c,a\n2,-9,-9\n-2,9,9\n", []),
    ("kind,b,c,a\nx,2,-9,-9\nx,-2,9,9\n", ["--target", "kind"]), ("-9,2,-9\n9,-2,9\n", [])])
def test_columns_are_found_by_their_names(capsys, tmp_path, model_of_names, table, options):
    """And by position where the table has none."""
    (tmp_path / "new.csv").write_text(table)
    capsys.readouterr()
    assert main(["predict", model_of_names, "--data", "new.csv", *options]) == 0
    assert capsys.readouterr().out.split() == ["prediction", "up", "down"]


@pytest.mark.parametrize(("table", "options", "words"), [
    ("c,a\n1,2\n", [], "found none named 'b'; there are 'c', 'a'"),
    ("a,x,c\n1,2,3\n", [], "found none named 'b'; there are 'a', 'x', 'c'"),
    ("a,b,c,kind\n1,2,3,4\n", [], "found 'kind' too"),
    ("a,b,c\n1,2,3\n", ["--target", "b"], "found none named 'b'"),
    ("a,b,c\n1,2,3\n", ["--target", "x"], "choose one of 'a', 'b', 'c'"),
    ("1,2\n", [], "takes 3 features, found 2")])
def test_columns_that_do_not_fit_are_named(capsys, tmp_path, model_of_names, table, options, words):
    (tmp_path / "new.csv").write_text(table)
    capsys.readouterr()
    assert main(["predict", model_of_names, "--data", "new.csv", *options]) == BAD_INPUT
    output = capsys.readouterr()
    assert words in output.err
    assert not output.out


def test_npz_of_quantities_returns_to_their_units(capsys, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    np.savez(tmp_path / "plane.npz", X=X, y=5000.0 + 300.0 * X[:, 0] - 100.0 * X[:, 1])
    result = run_json(capsys, "train", "--data", "plane.npz", "--model", "m.npz", "--epochs", "60", "--learning-rate",
                      "0.01", "--weight-decay", "0")
    assert result["test_r2"] > 0.99
    assert result["test_rmse"] < 30.0
    np.savez(tmp_path / "new.npz", X=np.array([[0.0, 0.0], [1.0, 0.0]]))
    found = run_json(capsys, "predict", "m.npz", "--data", "new.npz")["predictions"]
    np.testing.assert_allclose(found, [5000.0, 5300.0], atol=60.0)


@pytest.mark.parametrize(("y", "options"), [
    (np.full(40, 0.1), []), (np.full((40, 2), [0.1, 3.0]), []), (np.arange(40.0), ["--test-fraction", "0.02"])])
def test_r2_that_is_not_defined_is_null(capsys, tmp_path, y, options):
    """Of constant targets, and of one row; pytest makes an error of NumPy's warnings."""
    np.savez(tmp_path / "flat.npz", X=np.random.default_rng(0).normal(size=(40, 2)), y=y)
    options = ["train", "--data", "flat.npz", "--task", "regression", "--model", "m.npz", "--epochs", "1", *options]
    result = run_json(capsys, *options)
    assert result["test_r2"] is None
    assert result["test_rmse"] >= 0.0
    assert main(options) == 0
    assert "test R²        not defined" in capsys.readouterr().out


def test_json_has_only_what_its_standard_has(capsys):
    net = fastbp.MLP([1, 1], loss="poisson", dtype="float64", initializer="zeros")
    net.metadata = {"input_mean": [0.0], "input_scale": [1.0], "target_mean": [0.0], "target_scale": [1.0],
                    "classes": None, "features": None}
    net.weights[0][:] = 1.0
    net.save("steep.npz")
    np.savez("new.npz", X=[[0.0], [1e4]])
    assert run_json(capsys, "predict", "steep.npz", "--data", "new.npz") == {"predictions": [1.0, None]}


def test_losses_of_quantities(capsys, tmp_path):
    """Counts are predicted as means, and a quantile in the units of the targets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1))
    means = 20.0 * np.exp(0.5 * X[:, 0])
    np.savez(tmp_path / "counts.npz", X=X, y=rng.poisson(means).astype(float))
    np.savez(tmp_path / "new.npz", X=np.array([[0.0], [1.0]]))
    for loss, expected in (("poisson", [20.0, 33.0]), ("quantile(0.9)", [25.8, 40.5])):
        run_json(capsys, "train", "--data", "counts.npz", "--task", "regression", "--loss", loss, "--model", "m.npz",
                 "--epochs", "60", "--layers", "20", "--activation", "tanh")
        found = run_json(capsys, "predict", "m.npz", "--data", "new.npz")["predictions"]
        np.testing.assert_allclose(found, expected, rtol=0.1)
    np.savez(tmp_path / "below.npz", X=X, y=-means)
    assert main(["train", "--data", "below.npz", "--loss", "poisson", "--model", "m.npz"]) == BAD_INPUT
    assert "--loss: poisson is for numbers of at least 0, found -" in capsys.readouterr().err


def test_folder_of_idx_files_keeps_its_own_test_set(capsys, tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 300), ("t10k", 50)):
        labels = rng.integers(0, 2, n).astype(np.uint8)
        images = (rng.integers(0, 100, (n, 3, 3)) + 120 * labels[:, None, None]).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    result = run_json(capsys, "train", "--data", str(tmp_path), "--model", "m.npz", "--plot", "m.png", "--epochs", "20",
                      "--validation-fraction", "0")
    assert result["rows"] == {"train": 300, "validation": 0, "test": 50}
    assert result["test_accuracy"] == 1.0


@pytest.mark.parametrize(("arguments", "words"), [
    (["--data", "nowhere.csv"], "nowhere.csv"),
    (["--data", "iris", "--loss", "squared_error"], "--loss"),
    (["--data", "diabetes", "--loss", "cross_entropy"], "--loss"),
    (["--data", "iris", "--loss", "binary_cross_entropy"], "two classes"),
    (["--data", "iris", "--loss", "huber(0.5)"], "huber(0.5) is for quantities"),
    (["--data", "iris", "--optimizer", "lm"], "needs a loss with a Gauss-Newton form"),
    (["--data", "iris", "--batch-size", "0"], "--batch-size"),
    (["--data", "iris", "--epochs", "0"], "--epochs"),
    (["--data", "iris", "--learning-rate", "-1"], "learning_rate"),
    (["--data", "iris", "--momentum", "0.5"], "--momentum"),
    (["--data", "iris", "--test-fraction", "1.5"], "--test-fraction"),
    (["--data", "iris", "--threads", "10000"], "--threads"),
    (["--data", "iris", "--model", "no/such/folder.npz"], "--model"),
    (["--data", "iris", "--model", "."], "--model: expected the name of a file"),
    (["--data", "iris", "--model", ""], "--model: expected the name of a file"),
    (["--data", "iris", "--plot", "."], "--plot: expected the name of a file"),
    (["--data", "iris", "--plot", "curves"], "--plot: expected a file name that ends in"),
    (["--data", "iris", "--plot", "curves.xyz"], "--plot: expected a file name that ends in"),
    (["--data", "iris", "--model", "a.png", "--plot", "./a.png"], "--plot: a.png is the file of the model"),
    (["--data", "iris", "--seed", "-1"], "--seed"),
    (["--data", "iris", "--layers", "10000000000"], "not enough memory"),
    (["--data", "iris", "--layers", "1000000000000000000000"], "2^48"),
    (["--data", "iris", "--early-stopping", "3", "--validation-fraction", "0"], "--early-stopping")])
def test_what_cannot_be_used_is_named(capsys, arguments, words, tmp_path):
    assert main(["train", *arguments]) == BAD_INPUT
    output = capsys.readouterr()
    assert words in output.err
    assert not output.out
    assert not list(tmp_path.iterdir())


def test_no_training_for_a_place_that_is_no_file(capsys, tmp_path):
    os.mkfifo("pipe.npz")
    for path in (tmp_path / "folder.npz", tmp_path / "folder.png"):
        path.mkdir()
    os.symlink("no/such/folder.npz", "link.npz")
    for option, path, words in (("--model", "pipe.npz", "no regular file"), ("--model", "folder.npz", "the folder"),
                                ("--plot", "folder.png", "the folder"), ("--model", "link.npz", "there is no folder")):
        assert main(["train", "--data", "iris", option, path]) == BAD_INPUT
        message = capsys.readouterr().err
        assert message.startswith(f"fastbp: {option}: ")  # and not that kernels are being prepared
        assert words in message


def test_the_data_are_not_written_over(capsys, tmp_path):
    """Without --model the network goes to NAME.npz, which is what the data may be called."""
    np.savez("plane.npz", X=np.ones((9, 2)), y=np.arange(9.0))
    before = (tmp_path / "plane.npz").read_bytes()
    assert main(["train", "--data", "plane.npz"]) == BAD_INPUT
    assert "--model: plane.npz is the data" in capsys.readouterr().err
    assert (tmp_path / "plane.npz").read_bytes() == before


@pytest.mark.parametrize("seed", [2**32 - 1, 2**32, 10**30])
def test_seeds_of_any_size(capsys, seed):
    assert main(["train", "--data", "iris", "--epochs", "1", "--seed", str(seed)]) == 0


@pytest.mark.parametrize("arguments", [[], ["train"], ["train", "--data", "iris", "--layers", "3,x"], ["fly"],
                                       ["train", "--data", "iris", "--loss", "mse"],
                                       ["train", "--data", "iris", "--loss", "huber(0)"]])
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_divergence_has_its_own_status(capsys):
    assert main(["train", "--data", "iris", "--optimizer", "sgd", "--learning-rate", "1e30"]) == DIVERGED
    assert "epoch 0" in capsys.readouterr().err


def test_missing_package_has_its_own_status(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["train", "--data", "iris"]) == MISSING_PACKAGE
    assert "pip install" in capsys.readouterr().err


def test_predict_refuses_other_files_and_features(capsys, tmp_path):
    fastbp.MLP([4, 3], seed=0).save(tmp_path / "plain.npz")
    assert main(["predict", "plain.npz", "--data", "iris"]) == BAD_INPUT
    assert "metadata" in capsys.readouterr().err
    (tmp_path / "text.npz").write_text("no network")
    assert main(["predict", "text.npz", "--data", "iris"]) == BAD_INPUT
    assert main(["train", "--data", "iris", "--epochs", "1", "--model", "iris.npz"]) == 0
    capsys.readouterr()
    np.savez("more.npz", X=np.ones((2, 13)))
    assert main(["predict", "iris.npz", "--data", "more.npz"]) == BAD_INPUT
    assert "4 features, found 13" in capsys.readouterr().err


@pytest.mark.parametrize(("changes", "words"), [
    ({"classes": ["a", "b"]}, "3 names as 'classes'"), ({"classes": None}, "'classes'"),
    ({"classes": ["a", "b", 1]}, "'classes'"), ({"classes": [True, False, True]}, "'classes'"),
    ({"classes": "abc"}, "'classes'"), ({"input_mean": [0.0] * 3}, "4 finite numbers as 'input_mean'"),
    ({"input_mean": ["0"] * 4}, "'input_mean'"), ({"input_mean": [10**400] * 4}, "'input_mean'"),
    ({"input_scale": [1.0, 1.0, 1.0, 0.0]}, "4 finite numbers above 0 as 'input_scale'"),
    ({"features": 4}, "'features'"), ({"features": list("abc")}, "4 names as 'features'"),
    ({"features": list("abca")}, "'features' have one name")])
def test_predict_refuses_metadata_that_does_not_fit(capsys, changes, words):
    net = fastbp.MLP([4, 3], seed=0)
    net.metadata = {"input_mean": [0.0] * 4, "input_scale": [1.0] * 4, "target_mean": None, "target_scale": None,
                    "classes": ["a", "b", "c"], "features": None}
    net.save("whole.npz")
    net.metadata |= changes
    net.save("changed.npz")
    assert main(["predict", "whole.npz", "--data", "iris"]) == 0
    capsys.readouterr()
    assert main(["predict", "changed.npz", "--data", "iris"]) == BAD_INPUT
    message = capsys.readouterr().err
    assert message.startswith("fastbp: changed.npz: its metadata")
    assert words in message


@pytest.mark.parametrize(("outputs", "loss", "changes", "words"), [
    (2, "squared_error", {}, "2 finite numbers as 'target_mean'"),
    (1, "squared_error", {"target_scale": None}, "'target_scale'"), (1, "poisson", {"target_scale": [-1.0]}, "above 0"),
    (2, "binary_cross_entropy", {"classes": ["a", "b"]}, "1 output"), (1, "binary_cross_entropy", {}, "2 names")])
def test_predict_refuses_metadata_that_does_not_fit_the_loss(capsys, outputs, loss, changes, words):
    net = fastbp.MLP([4, outputs], loss=loss, seed=0)
    net.metadata = {"input_mean": [0.0] * 4, "input_scale": [1.0] * 4, "target_mean": [0.0], "target_scale": [1.0],
                    "classes": None, "features": None} | changes
    net.save("m.npz")
    assert main(["predict", "m.npz", "--data", "iris"]) == BAD_INPUT
    assert words in capsys.readouterr().err


def test_doctor(capsys):
    found = run_json(capsys, "doctor")
    assert Path(found["cache"]).is_absolute()
    assert re.fullmatch(r"\d+, \d+\.\d MB", found["cached kernels"])
    assert re.fullmatch(r"none|\d+ of other .*, \d+\.\d MB; `fastbp warmup --clean` removes .*", found["other caches"])
    assert found["threading layer"] in ("omp", "tbb", "workqueue")
    assert "loops" in found["backends"]
    assert found["numpy"] == np.__version__
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in ("cache", "vectors", "bfloat16", "BLAS", "GPU"))


def test_doctor_names_the_vectors_that_numba_is_told_to_use():
    told = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    shown = subprocess.run([sys.executable, "-m", "fastbp", "doctor", "--json"], env=os.environ | told, check=True,
                           capture_output=True, text=True).stdout
    assert json.loads(shown)["vectors"] == "baseline, 128 bits, 4 float32"


def run_in_shell(command, **environment):
    """What a shell makes of `fastbp`."""
    told = {"PYTHONPATH": str(Path(fastbp.__file__).parents[1]), "PYTHON": sys.executable} | environment
    return subprocess.run(["sh", "-c", f'"$PYTHON" -m fastbp {command}'], env=os.environ | told, capture_output=True,
                          text=True)


@pytest.mark.parametrize("command", ["compare --help", "train --data diabetes --epochs 1 --quiet"])
def test_an_encoding_without_the_letters(command):
    """Both print what ASCII lacks: µ and ᵀ, and R²."""
    shown = run_in_shell(command, PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\\xb5" in shown.stdout or "\\xb2" in shown.stdout


@pytest.mark.parametrize("closed", [
    ">&- 2>&-", pytest.param(">&-", marks=pytest.mark.full), pytest.param("2>&-", marks=pytest.mark.full)])
def test_closed_streams(tmp_path, closed):
    shown = run_in_shell(f"train --data iris --epochs 1 {closed}")
    assert shown.returncode == 0
    assert "test accuracy" in shown.stdout or ">&-" in closed.replace("2>&-", "")
    assert shown.stderr.count("\n") == ("2" not in closed)  # that kernels are being prepared
    assert fastbp.load("iris.npz").widths == (4, 100, 3)


def test_ctrl_c_while_importing():
    code = """
import runpy, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "fastbp.commands":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
runpy.run_module("fastbp", run_name="__main__")
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])})
    assert (shown.returncode, shown.stdout, shown.stderr) == (INTERRUPTED, "", "")


def test_ctrl_c_writes_what_was_trained(tmp_path):
    with subprocess.Popen([sys.executable, "-m", "fastbp", "train", "--data", "digits", "--epochs", "1000000"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}) as process:
        try:
            assert "preparing kernels" in process.stderr.readline()
            time.sleep(4.0)  # into training, where the kernels are cached; an interrupt before it is as good
            process.send_signal(signal.SIGINT)
            output, messages = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == INTERRUPTED
    assert "interrupted" in messages
    if "interrupted after" in messages:
        assert "test accuracy" in output
        assert np.isfinite(fastbp.load(tmp_path / "digits.npz").theta).all()
