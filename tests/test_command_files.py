"""`fastbp train` and `fastbp predict` on data in files that need not fit into memory."""

import argparse
import csv
import json
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import datasets
from fastbp.__main__ import BAD_INPUT, MISSING_PACKAGE, main
from fastbp.commands import cautions
from fastbp.commands.training_data import of_files
from fastbp.datasets import first_pass
from fastbp.datasets.in_files import checked_parts, opened
from fastbp.streams import files, parquet, shards

N = 1500
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(N, 4)) * [1.0, 10.0, 0.1, 1.0] + [0.0, 5.0, 0.0, 100.0]).astype(np.float32)
SIGNAL = (X[:, 0] + (X[:, 1] - 5.0) / 10.0).astype(np.float64)
KINDS = np.digitize(SIGNAL, [-0.6, 0.6]) * 2 + 3  # the classes 3, 5 and 7
QUANTITIES = 5000.0 + 300.0 * SIGNAL
NAMES = ["a", "b", "c", "d"]
CUTS = (0, 400, 401, 1100, N)
SHORT = ["--epochs", "12", "--layers", "16", "--learning-rate", "0.01", "--batch-size", "32", "--quiet"]


@pytest.fixture(autouse=True)
def small_chunks(tmp_path, monkeypatch):
    """Chunks and parts of some hundred rows, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for module in (files, shards, parquet):
        monkeypatch.setattr(module, "CHUNK_BYTES", 4096)


def write_shards(folder="data", X=X, y=KINDS):
    Path(folder).mkdir()
    for place, (begin, end) in enumerate(pairwise(CUTS)):
        arrays = {"X": X[begin:end]} | ({} if y is None else {"y": y[begin:end]})
        np.savez(f"{folder}/part-{place}.npz", **arrays)
    return folder


def write_parquet(name="data.parquet", X=X, y=KINDS, group=500, **others):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet as pq
    columns = dict(zip(NAMES, X.T, strict=True)) | ({} if y is None else {"kind": y}) | others
    pq.write_table(pyarrow.table(columns), name, row_group_size=group)
    return name


def write_table(name="data.csv", y=KINDS):
    with open(name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, "kind"])
        writer.writerows([*row, target] for row, target in zip(X.tolist(), y.tolist(), strict=True))
    return name


def trained(capsys, data, *options):
    assert main(["train", "--data", data, *SHORT, *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    """The line with which a command ends that cannot use its data."""
    assert main([*arguments]) == BAD_INPUT
    output = capsys.readouterr()
    assert not output.out
    message = output.err.splitlines()[-1]
    assert message.startswith("fastbp: ")
    return message


@pytest.mark.parametrize("write", [write_shards, write_parquet])
def test_the_score_is_that_of_a_table(capsys, write):
    expected = trained(capsys, write_table("table.csv"))["test_accuracy"]
    found = trained(capsys, write())
    assert expected > 0.9
    assert found["test_accuracy"] == pytest.approx(expected, abs=0.04)
    assert found["baseline_accuracy"] == pytest.approx(np.mean(KINDS == 5), abs=0.08)
    assert found["widths"] == [4, 16, 3]
    assert found["data"] == "data"
    rows = found["rows"]
    assert sum(rows.values()) == N
    assert rows["test"] == pytest.approx(0.2 * N, rel=0.2)
    assert rows["validation"] == pytest.approx(0.08 * N, rel=0.3)
    assert len(found["history"]["validation_loss"]) == 12
    assert fastbp.load("data.npz").metadata["classes"] == [3, 5, 7]


def test_quantities_are_standardised(capsys):
    expected = trained(capsys, write_table("table.csv", QUANTITIES))
    for data in (write_shards(y=QUANTITIES), write_parquet(y=QUANTITIES)):
        found = trained(capsys, data, "--model", "m.npz")
        assert found["test_r2"] == pytest.approx(expected["test_r2"], abs=0.05)
        assert found["test_r2"] > 0.9
        assert found["baseline_rmse"] == pytest.approx(QUANTITIES.std(), rel=0.15)
        metadata = fastbp.load("m.npz").metadata
        np.testing.assert_allclose(metadata["target_mean"], QUANTITIES.mean(), rtol=0.01)
        np.testing.assert_allclose(metadata["target_scale"], QUANTITIES.std(), rtol=0.1)


def test_several_quantities(capsys):
    both = np.stack([QUANTITIES, -SIGNAL], axis=1)
    assert trained(capsys, write_shards(y=both))["test_r2"] > 0.9
    assert main(["predict", "data.npz", "--data", "data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prediction 0,prediction 1"
    found = np.array([line.split(",") for line in lines[1:]], float)
    assert np.abs(found - both).mean(axis=0) == pytest.approx(0.0, abs=100.0)


def test_the_same_seed_gives_the_same_network(capsys):
    data = write_shards()
    theta = []
    for seed in ("0", "0", "1"):
        trained(capsys, data, "--seed", seed, "--model", "m.npz", "--epochs", "2")
        theta.append(fastbp.load("m.npz").theta)
    assert np.array_equal(theta[0], theta[1])
    assert not np.array_equal(theta[0], theta[2])
    rows = trained(capsys, data, "--seed", str(10**30), "--epochs", "1", "--validation-fraction", "0")["rows"]
    assert rows["validation"] == 0


def test_every_row_has_one_purpose_in_every_pass():
    data = opened(write_shards(X=np.arange(4.0 * N).reshape(N, 4)))
    shares = first_pass.shares_of(data, 3, 0.3, 0.5)
    summary = first_pass.first_pass(data, shares, "auto")
    stream = first_pass.TrainingRows(data.files, shares, summary.rows[0], summary.labels)
    for _ in range(2):
        parts = [part[:2] for place in range(len(stream)) for part in stream.parts_of(place)]
        training = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        assert len(training[0]) == summary.rows[0]
        numbers = np.concatenate([training[0], *(held[0] for held in summary.held_out.values())])[:, 0] / 4
        assert sorted(numbers) == list(range(N))
        labels = np.searchsorted([3, 5, 7], KINDS)
        assert np.array_equal(training[1], labels[(training[0][:, 0] / 4).astype(int)])
    mean, scale = summary.inputs.mean_and_scale()
    np.testing.assert_allclose(mean, training[0].mean(axis=0))
    np.testing.assert_allclose(scale, training[0].std(axis=0))
    assert np.array_equal(summary.of_classes, [np.bincount(labels), np.bincount(training[1])])


def test_draws_differ_between_chunks_and_seeds():
    source = opened(write_shards()).files
    drawn = [np.concatenate([purpose for _, purpose in first_pass.Shares(seed, 0.2, 0.2).parts_of(source, place)])
             for seed, place in ((0, 0), (0, 0), (0, 3), (1, 0))]
    assert len({len(purposes) for purposes in drawn}) == 1
    assert np.array_equal(drawn[0], drawn[1])
    for other in drawn[2:]:
        assert np.mean(drawn[0] == other) == pytest.approx(0.2**2 + 0.2**2 + 0.6**2, abs=0.12)


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    """Of two data sets, of which one has eight times as many rows, by the bytes of X of the larger one."""
    monkeypatch.setattr(first_pass, "MOST_ROWS", 200)
    wide = np.random.default_rng(0).normal(size=(N, 64)).astype(np.float32)
    options = argparse.Namespace(seed=0, test_fraction=0.2, validation_fraction=0.1, task="auto")
    peaks = []
    for name, copies in (("few", 1), ("many", 8)):
        Path(name).mkdir()
        for place in range(copies):
            np.savez(f"{name}/part-{place}.npz", X=wide, y=KINDS)
        net = fastbp.MLP([64, 8, 3], seed=0)
        net.fit(wide[:64], np.zeros(64, int), epochs=1)
        tracemalloc.start()
        data = of_files(opened(name), options)
        net.fit(*data.for_fit(lambda y: y), epochs=1, shuffle_buffer=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert 100 < data.rows[2] < 300
        assert sum(data.rows) == copies * N
    assert peaks[1] - peaks[0] < 0.1 * 7 * wide.nbytes


@pytest.mark.parametrize(("y", "task", "classes"), [
    (KINDS.astype(float), "auto", [3, 5, 7]), (np.arange(N) % 51, "auto", None), (SIGNAL > 0, "auto", [0, 1]),
    (np.arange(N) % 51, "classification", list(range(51))), (KINDS, "regression", None), (SIGNAL, "auto", None),
    (KINDS[:, None], "auto", [3, 5, 7]), (KINDS.astype(np.uint8), "auto", [3, 5, 7])])
def test_tasks_are_told_apart_as_in_memory(y, task, classes):
    data = opened(write_shards(y=y))
    found = first_pass.first_pass(data, first_pass.Shares(0, 0.1, 0.2), task).classes
    assert (None if found is None else found.tolist()) == classes
    np.savez("whole.npz", X=X, y=y)
    assert datasets.load("whole.npz", task=task).classes == classes or y.dtype == bool


def test_predictions_are_those_of_the_network(capsys, monkeypatch):
    trained(capsys, write_parquet(), "--model", "m.npz")
    net = fastbp.load("m.npz")
    expected = np.array([3, 5, 7])[net.forward(X).argmax(axis=1)].tolist()
    assert np.mean(expected == KINDS) > 0.9
    write_shards("inputs", y=None)
    np.save("whole.npy", X)
    for arguments in (["inputs"], ["data.parquet", "--target", "kind"]):
        assert main(["predict", "m.npz", "--data", *arguments]) == 0
        assert capsys.readouterr().out.split() == ["prediction", *map(str, expected)]
    other = write_parquet("other.parquet", X[:, [2, 0, 3, 1]], None)  # under other names
    message = refused(capsys, "predict", "m.npz", "--data", "data.parquet")
    assert "found 'kind' too" in message
    assert main(["predict", "m.npz", "--data", other, "--json", "--probabilities"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["predictions"]) == N
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1.0)
    import pyarrow
    from pyarrow import parquet as pq
    pq.write_table(pyarrow.table({name: X[:, NAMES.index(name)] for name in "dbca"}), "moved.parquet")
    assert main(["predict", "m.npz", "--data", "moved.parquet"]) == 0
    assert capsys.readouterr().out.split() == ["prediction", *map(str, expected)]


def with_nan(row):
    wrong = X.copy()
    wrong[row, 1] = np.nan
    return wrong


def test_what_is_wrong_with_shards_is_one_line(capsys):
    train = ["train", *SHORT, "--data"]
    folder = Path(write_shards("wrong", X=with_nan(901)))
    assert "part-2.npz, row 500, column 1 is missing (nan), expected" in refused(capsys, *train, "wrong")
    trained(capsys, write_shards("good"), "--model", "m.npz", "--epochs", "1")
    assert main(["predict", "m.npz", "--data", "wrong"]) == BAD_INPUT
    output = capsys.readouterr()
    assert output.out.count("\n") == 1 + 401 + 256  # of the chunks before
    assert output.err.startswith("fastbp: wrong: part-2.npz, row 500, column 1 is missing (nan)")
    write_shards("inputs", y=None)
    assert "found X and no targets" in refused(capsys, *train, "inputs")
    assert "whose targets are d or y: leave target out" in refused(capsys, *train, "good", "--target", "y")
    targets = np.where(np.arange(N) == 450, np.inf, SIGNAL)
    write_shards("endless", y=targets)
    assert "part-2.npz, row 49, the target is inf" in refused(capsys, *train, "endless")
    write_shards("fractions", y=np.where(np.arange(N) == 450, 1.5, KINDS))
    message = refused(capsys, *train, "fractions", "--task", "classification")
    assert "part-2.npz, row 49, the target of 'fractions' is 1.5, expected names or whole numbers" in message
    write_shards("constant", y=np.full(N, 7))
    assert "has the one class 7" in refused(capsys, *train, "constant")
    write_shards("one-hot", y=np.eye(8)[KINDS])
    assert "of one-hot rows, y.argmax(axis=1)" in refused(capsys, *train, "one-hot")
    np.savez(folder / "part-2.npz", X=X, y=KINDS, weight=np.ones(N))
    for part in (0, 1, 3):
        (folder / f"part-{part}.npz").unlink()
    assert "has weights of samples" in refused(capsys, *train, "wrong")
    Path("empty").mkdir()
    assert "without train-images-idx3-ubyte" in refused(capsys, *train, "empty")
    np.savez("empty/few.npz", X=X[:3], y=KINDS[:3])
    assert "of which none were drawn to test on" in refused(capsys, *train, "empty", "--test-fraction", "0.001")


def test_losses_that_do_not_suit_the_targets(capsys):
    data = write_shards(y=np.where(np.arange(N) == 450, -2.5, np.arange(N)))
    assert "poisson is for numbers of at least 0, found -2.5" in refused(capsys, "train", "--data", data, "--loss",
                                                                        "poisson", "--quiet")
    assert "is for classes, found quantities" in refused(capsys, "train", "--data", data, "--loss", "cross_entropy")


def test_bits_as_classes_and_as_quantities(capsys):
    data = write_shards(y=SIGNAL > 0)
    assert trained(capsys, data, "--loss", "binary_cross_entropy")["test_accuracy"] > 0.9
    assert trained(capsys, data, "--task", "regression")["test_r2"] > 0.5


def test_too_many_classes(capsys, monkeypatch):
    monkeypatch.setattr(first_pass, "MOST_LABELS", 60)
    data = write_shards(y=np.arange(N))
    message = refused(capsys, "train", "--data", data, "--task", "classification")
    assert "have more than 60 distinct values, expected fewer classes" in message


@pytest.mark.parametrize("what", ["column 1", "the target (output 0)"])
def test_what_the_dtype_does_not_hold_is_refused_before_training(capsys, what):
    """In a row that is held out: one for training would widen the deviation, in units of which it is small."""
    wide, targets = X.astype(np.float64), SIGNAL.copy()
    small = wide[:, 1] if what == "column 1" else targets
    small *= 1e-30
    shares = first_pass.Shares(0, 0.08, 0.2)  # those of the default fractions
    source = opened(write_shards("before", X=wide, y=targets)).files
    purposes = np.concatenate([purpose for place in range(len(source))
                               for _, purpose in shares.parts_of(source, place)])
    small[np.flatnonzero(purposes == first_pass.TEST)[7]] = 1e39
    assert main(["train", "--data", write_shards(X=wide, y=targets)]) == BAD_INPUT
    reading, message = capsys.readouterr().err.splitlines()  # and not that kernels are being prepared
    assert reading == f"fastbp: reading {N} rows for means, classes and the rows that are held out"
    assert message.startswith(f"fastbp: --data: {what} has the value 1e+39, which float32 does not hold")


def test_columns_of_parquet_that_do_not_fit(capsys):
    train = ["train", *SHORT, "--data"]
    data = write_parquet("data.parquet", word=["x"] * N)
    assert "column 'word' is not of numbers" in refused(capsys, *train, data, "--target", "kind")
    message = refused(capsys, *train, data, "--target", "size")
    assert "target is 'size', but data.parquet has no such column: choose one of 'a', 'b', 'c', 'd', 'kind'" in message
    assert "is not of numbers" in refused(capsys, *train, data)  # the last column is the target
    wrong = write_parquet("nan.parquet", X=with_nan(620))
    assert "nan.parquet, row group 1, row 120, column 'b' is missing (nan)" in refused(capsys, *train, wrong)
    with pytest.raises(ValueError, match=r"nan\.parquet, row group 1, row 120, column 'b' is missing"):
        list(checked_parts(opened(wrong)))  # as for predictions
    write_parquet("index.parquet", __index_level_0__=np.arange(N))
    assert "is an index that pandas wrote" in refused(capsys, *train, "index.parquet")
    assert "does not exist" in refused(capsys, *train, "absent.parquet")
    Path("both").mkdir()
    write_parquet("both/data.parquet")
    np.savez("both/data.npz", X=X, y=KINDS)
    assert "expected shards of NumPy or .parquet files in a folder, found both" in refused(capsys, *train, "both")


def test_a_target_column_by_name_and_index(capsys):
    data = write_parquet()
    for target in ("b", "1", "-4"):
        assert trained(capsys, data, "--target", target, "--epochs", "1", "--model", "m.npz")["loss"] == "squared_error"
        assert fastbp.load("m.npz").metadata["features"] == ["a", "c", "d", "kind"]


def test_the_model_is_not_written_among_the_data(capsys, monkeypatch):
    monkeypatch.chdir(write_shards())
    before = sorted(Path().iterdir())
    message = refused(capsys, "train", "--data", ".")
    assert "--model: data.npz is in the folder of the data" in message
    assert sorted(Path().iterdir()) == before


def test_images_of_the_mnist_family_beside_a_network(tmp_path):
    """The command itself writes an .npz file into the folder where it is called."""
    np.savez("model.npz", X=X, y=KINDS)
    assert opened(".") is not None
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert opened(".") is None


@pytest.mark.parametrize(("column", "is_number"), [
    (np.arange(N), True), (RNG.permutation(N) + 10**6, True), (RNG.integers(0, N + 20, N), False), (X[:, 0], False)])
def test_a_column_that_numbers_the_rows_is_warned_of(column, is_number):
    data = opened(write_shards(X=np.stack([X[:, 1], column], axis=1)))
    found = first_pass.first_pass(data, first_pass.Shares(0, 0.1, 0.2), "auto")
    expected = ["column 1 seems to number the rows"] if is_number else []
    assert [sentence.split(",")[0] for sentence in cautions.of_summary(found, None)] == expected


def test_parquet_without_pyarrow(capsys, monkeypatch):
    Path("data.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["train", "--data", "data.parquet"]) == MISSING_PACKAGE
    assert "pip install 'fastbp[parquet]'" in capsys.readouterr().err
