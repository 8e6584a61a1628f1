"""`fastbp train` with checkpoints, and where SIGTERM ends it."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import pace
from fastbp.__main__ import BAD_INPUT, INTERRUPTED, TERMINATED, main
from fastbp.commands.termination import Terminated, heeding_sigterm
from fastbp.storage.checkpoints import read_checkpoint
from fastbp.training.session import Session

OPTIONS = ["--epochs", "5", "--layers", "6", "--backend", "loops", "--batch-size", "32", "--model", "net.npz", "--plot",
           "curves.png"]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


def in_memory():
    np.savez("kinds.npz", X=X, y=(X[:, 0] > 0).astype(int))
    return "kinds.npz"


def in_files():
    Path("kinds").mkdir()
    for place, part in enumerate(np.split(X, [80, 210])):
        np.savez(f"kinds/{place}.npz", X=part, y=(part[:, 0] > 0).astype(int))
    return "kinds"


def train(data, *options):
    return main(["train", "--data", data, *OPTIONS, *options])


def end_after(monkeypatch, count, end):
    """Call a function after some slices, of one batch each, of a training; that which compiles has one epoch."""
    slices, advance = itertools.count(1), Session.advance_on

    def advance_on(session, *given):
        status = advance(session, *given)
        if session.epochs > 1 and next(slices) == count:
            end()
        return status

    monkeypatch.setattr(Session, "advance_on", advance_on)
    monkeypatch.setattr(pace.Pace, "next_slice", lambda self, threads: (1, 1))


def press_ctrl_c():
    raise KeyboardInterrupt


def send_sigterm():
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("data", "end", "status", "word"), [
    (in_memory, press_ctrl_c, INTERRUPTED, "interrupted"), (in_files, send_sigterm, TERMINATED, "terminated")])
def test_a_training_goes_on_with_the_same_bits(data, end, status, word, monkeypatch, capsys):
    source = data()
    assert train(source, "--early-stopping", "2") == 0
    expected = Path("net.npz").read_bytes()
    begun = ["--early-stopping", "2", "--checkpoint", "run.fastbp", "--checkpoint-every", "2 epochs", "--resume"]
    with monkeypatch.context() as patch:
        end_after(patch, 9, end)
        assert train(source, *begun) == status
    errors = capsys.readouterr().err
    assert "there is no run.fastbp yet to go on from; training begins anew" in errors
    assert f"fastbp: {word} after " in errors
    assert " epochs; what was trained so far is in net.npz, and --resume goes on from run.fastbp\n" in errors
    assert Path("net.npz").read_bytes() != expected
    assert train(source, *begun) == 0
    assert "going on from run.fastbp\n" in capsys.readouterr().err
    assert Path("net.npz").read_bytes() == expected
    assert train(source, *begun[:-1], "--batch-size", "16", "--resume") == BAD_INPUT
    assert "batch_size: expected 32 as in the checkpoint run.fastbp, found 16" in capsys.readouterr().err
    assert Path("net.npz").read_bytes() == expected


def test_sigterm_without_checkpoints(monkeypatch, capsys):
    end_after(monkeypatch, 9, send_sigterm)
    assert train(in_memory()) == TERMINATED
    assert "terminated after 1 epochs; what was trained so far is in net.npz\n" in capsys.readouterr().err
    assert fastbp.load("net.npz").widths == (3, 6, 2)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_before_training(monkeypatch, capsys):
    monkeypatch.setattr(fastbp.datasets, "load", lambda *given, **settings: send_sigterm())
    assert train(in_memory()) == TERMINATED
    assert capsys.readouterr().err == "fastbp: terminated\n"


def test_sigterm_where_ctrl_c_is_ignored_or_waits():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(Terminated), heeding_sigterm():
            send_sigterm()
        waiting = []
        signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
        with heeding_sigterm() as came:
            send_sigterm()
        assert waiting == [signal.SIGINT]
        assert came == [signal.SIGTERM]
        own = signal.signal(signal.SIGTERM, lambda number, frame: waiting.append(number))
        with heeding_sigterm() as came:
            send_sigterm()
        assert (waiting, came) == ([signal.SIGINT, signal.SIGTERM], [])
        signal.signal(signal.SIGTERM, own)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt) as error, heeding_sigterm():
        press_ctrl_c()
    assert error.type is KeyboardInterrupt


@pytest.mark.parametrize(("options", "words"), [
    (["--resume"], "--resume: it goes on from the file of --checkpoint, found none"),
    (["--checkpoint-every", "5"], "--checkpoint-every: it is how often the file of --checkpoint is written"),
    (["--checkpoint", "net.npz"], "--checkpoint: net.npz is the file of the model or of the curves"),
    (["--checkpoint", "./curves.png"], "is the file of the model or of the curves"),
    (["--checkpoint", "table.csv"], "--checkpoint: table.csv is the data"),
    (["--checkpoint", "nowhere/run"], "--checkpoint: there is no folder nowhere"),
    (["--checkpoint", "."], "--checkpoint: expected the name of a file, found the folder"),
    (["--checkpoint", "table.csv", "--data", "kinds.npz", "--resume"], "table.csv: not a fastbp checkpoint"),
])
def test_files_that_are_refused(options, words, capsys):
    Path("table.csv").write_text("a,b\n" + "1,x\n2,y\n" * 20)
    in_memory()
    before = Path("table.csv").read_bytes()
    assert train("table.csv", *options) == BAD_INPUT
    assert words in capsys.readouterr().err
    assert Path("table.csv").read_bytes() == before
    assert not Path("net.npz").exists()


def test_checkpoints_lie_apart_from_data_in_files(capsys):
    assert train(in_files(), "--checkpoint", "kinds/run.npz") == BAD_INPUT
    assert "--checkpoint: kinds/run.npz is in the folder of the data" in capsys.readouterr().err


def test_a_checkpoint_is_no_model(capsys):
    assert train(in_memory(), "--checkpoint", "run.fastbp") == 0
    assert main(["predict", "run.fastbp", "--data", "kinds.npz"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert "run.fastbp: not a fastbp network, its 'format' is fastbp checkpoint: what wrote it goes on from it" in error
    assert "or with 'fastbp train --resume', and then has a network to save\n" in error


@pytest.mark.parametrize("time", ["0", "-1", "5 minutes", "0 epochs", "nan"])
def test_times_that_are_refused(time, capsys):
    with pytest.raises(SystemExit):
        train(in_memory(), "--checkpoint", "run.fastbp", f"--checkpoint-every={time}")
    assert "expected seconds, or a number of epochs such as '5 epochs', found" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM is heard there")
def test_a_process_that_is_terminated():
    arguments = ["train", "--data", in_memory(), *OPTIONS, "--epochs", "10000000", "--checkpoint", "run"]
    with subprocess.Popen([sys.executable, "-m", "fastbp", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True,
                          env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}) as process:
        try:
            while not Path("run").exists() and process.poll() is None:  # it is written when training begins
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            output, messages = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == TERMINATED, messages
    assert "test accuracy" in output
    assert "--resume goes on from run" in messages
    epochs = read_checkpoint("run", "training").part("training").whole("epoch")
    assert train("kinds.npz", "--checkpoint", "run", "--resume", "--epochs", str(epochs + 2)) == 0
    found = Path("net.npz").read_bytes()
    assert train("kinds.npz", "--epochs", str(epochs + 2)) == 0
    assert Path("net.npz").read_bytes() == found
