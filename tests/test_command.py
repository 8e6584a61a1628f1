"""The command `fastbp`, called as a person would."""

import gzip
import json
import os
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
    return json.loads(capsys.readouterr().out)


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
    (["--data", "iris", "--batch-size", "0"], "--batch-size"),
    (["--data", "iris", "--epochs", "0"], "--epochs"),
    (["--data", "iris", "--learning-rate", "-1"], "learning_rate"),
    (["--data", "iris", "--momentum", "0.5"], "--momentum"),
    (["--data", "iris", "--test-fraction", "1.5"], "--test-fraction"),
    (["--data", "iris", "--threads", "10000"], "--threads"),
    (["--data", "iris", "--model", "no/such/folder.npz"], "--model"),
    (["--data", "iris", "--early-stopping", "3", "--validation-fraction", "0"], "--early-stopping")])
def test_what_cannot_be_used_is_named(capsys, arguments, words, tmp_path):
    assert main(["train", *arguments]) == BAD_INPUT
    output = capsys.readouterr()
    assert words in output.err
    assert not output.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["train"], ["train", "--data", "iris", "--layers", "3,x"], ["fly"]])
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
    assert main(["predict", "iris.npz", "--data", "wine"]) == BAD_INPUT
    assert "4 features, found 13" in capsys.readouterr().err


def test_doctor(capsys):
    found = run_json(capsys, "doctor")
    assert found["threading layer"] in ("omp", "tbb", "workqueue")
    assert "loops" in found["backends"]
    assert found["numpy"] == np.__version__
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in ("cache", "vectors", "BLAS", "CUDA"))


def test_doctor_names_the_vectors_that_numba_is_told_to_use():
    told = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    shown = subprocess.run([sys.executable, "-m", "fastbp", "doctor", "--json"], env=os.environ | told, check=True,
                           capture_output=True, text=True).stdout
    assert json.loads(shown)["vectors"] == "baseline, 128 bits, 4 float32"


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
