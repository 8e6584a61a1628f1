"""`fastbp warmup`: what was compiled once is not compiled again, and only caches that nobody uses are removed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tolerances import CPU_BACKENDS, DTYPES

import fastbp
from fastbp.__main__ import BAD_INPUT, main
from fastbp.commands import warmup
from fastbp.commands.warmup import networks_to_warm
from fastbp.compiling import cache as kernels
from fastbp.compiling.cleaning import other_caches, remove_caches, size_of
from fastbp.functions.activations import ACTIVATIONS
from fastbp.functions.losses import LOSSES, Loss

DAY = 86400.0


def python(*arguments, **environment):
    """What a Python process of its own prints."""
    finished = subprocess.run([sys.executable, "-P", "-W", "error", *arguments], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])} | environment)
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr  # no bar outside a terminal
    return finished.stdout.strip()


USES = """
import sys
import numpy as np
import fastbp
from fastbp import MLP, SGD
from fastbp.optimizers.settings import OPTIMIZERS
from numba.core.dispatcher import Dispatcher

rng = np.random.default_rng(0)
for n in (1, 5, 3000):
    for loss, output in [("squared_error", "relu"), ("cross_entropy", "softmax"),
                         ("softmax_cross_entropy", "identity"), ("binary_cross_entropy", "relu"),
                         ("absolute_error", "relu"), ("huber", "relu"), ("quantile", "relu"), ("poisson", "identity")]:
        X, weight = rng.normal(scale=0.3, size=(n, 50)), rng.uniform(size=n)
        labels = rng.integers(0, 6, n)
        d = labels if loss == "softmax_cross_entropy" and n != 5 else np.eye(6)[labels]
        net = MLP([50, 70, 40, 6], activation="relu", output_activation=output, loss=loss, seed=0)
        net.forward(X)
        net.loss_value(X, d, weight)
        net.evaluate(X, d)
        net.input_gradient(X, d)
        net.accumulate_gradient(X, d, weight)
        net.step(0.001 / n)  # accumulate_gradient sums
        for optimizer in (SGD(1e-4), SGD(1e-4, momentum=0.9, clip_norm=1.0),
                          *(kind() for name, kind in OPTIMIZERS.items() if name != "sgd")):
            net.fit(X, d, optimizer=optimizer, epochs=2, batch_size=n, validation_data=(X, d), progress=False)
            net.fit(X, d, optimizer=optimizer, epochs=1, batch_size=min(n, 700), shuffle=False, sample_weight=weight)
            net.fit(X[:9], d[:9], optimizer=optimizer, epochs=1, batch_size=1, replacement=True)
        net.fit(X, d, optimizer=SGD(1e-4), epochs=1, dropout=[0.5, 0.2])
        net.fit([(X, d, weight), (X, d, weight)], optimizer=SGD(1e-4), epochs=2, batch_size=n, progress=False)
dispatchers = {id(value): value for name, module in list(sys.modules.items()) if name.partition(".")[0] == "fastbp"
               for value in vars(module).values() if isinstance(value, Dispatcher)}
print(sum(sum(kernel.stats.cache_misses.values()) for kernel in dispatchers.values()))
print(sum(sum(kernel.stats.cache_hits.values()) for kernel in dispatchers.values()) > 0)
"""


def test_nothing_is_compiled_after_a_warmup(tmp_path):
    """Every call, loss and optimizer; of the dtypes and activations the default one, so that the test is not long."""
    options = ["-m", "fastbp", "warmup", "--dtype", "float32", "--activations", "relu,identity,softmax"]
    words = python(*options, NUMBA_CACHE_DIR=str(tmp_path)).split()
    [folder] = (tmp_path / "fastbp").iterdir()
    kernels = len(list(folder.glob("*.kernel")))
    assert kernels > 30
    assert words[:4] == [str(kernels), "kernels", "in", f"{folder},"]

    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert python("-c", USES, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0", "True"]
    found = json.loads(python(*options, "--json", NUMBA_CACHE_DIR=str(tmp_path)))
    assert (found["kernels"], found["compiled"], found["cache"]) == (kernels, 0, str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files


def test_all_that_is_compiled_apart_is_warmed():
    """Each backend and dtype with every activation, and with every loss; none of a user's, which is not kept."""
    Loss("own", lambda y, d: (y - d) ** 2, lambda y, d: 2 * (y - d))
    names = [record.name for record in ACTIVATIONS]
    networks = networks_to_warm(DTYPES, ["auto", *CPU_BACKENDS], names)
    assert len(set(networks)) == len(networks)
    for backend in CPU_BACKENDS:
        for dtype in DTYPES:
            here = [network for network in networks if (network.backend, network.dtype) == (backend, dtype)]
            assert {network.loss for network in here} == {loss.name for loss in LOSSES}
            assert {name for network in here for name in (network.activation, network.output)} == set(names)


NAMES = ["0123456789abcdef" * 2, "1" * 32, "2" * 32, "3" * 32]


def cache(base, name, days=0.0, files=("f.0a1b.kernel", "x7_fw.unfinished")):
    """A folder in base that was used so many days ago."""
    (base / name).mkdir(parents=True)
    for file in files:
        (base / name / file).write_bytes(b"xy")
    os.utime(base / name, 2 * (time.time() - days * DAY,))
    return base / name


def test_only_caches_of_kernels_are_found(tmp_path):
    base = tmp_path / "fastbp"
    others = [cache(base, NAMES[0]), cache(base, NAMES[1], files=()), cache(base, NAMES[2], files=["g.unfinished"])]
    keep = cache(base, "f" * 32)
    cache(base, "models")
    cache(base, "4" * 31)
    cache(base, "A" * 32)
    cache(base, "5" * 32, files=["f.kernel", "notes.txt"])
    (cache(base, "6" * 32) / "folder.kernel").mkdir()
    (base / ("7" * 32)).write_text("a file")
    elsewhere = cache(tmp_path, "8" * 32)
    try:
        (base / ("8" * 32)).symlink_to(elsewhere)
        (cache(base, "9" * 32) / "link.kernel").symlink_to(elsewhere / "f.0a1b.kernel")
    except OSError:  # links are not for everyone everywhere
        pass
    assert other_caches(base, keep) == others
    assert size_of(others[0]) == (1, 4)


@pytest.mark.skipif(os.name != "posix", reason="there are no owners")
def test_caches_of_another_user_are_left(tmp_path, monkeypatch):
    cache(tmp_path, NAMES[0], 99)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert remove_caches(tmp_path, tmp_path / NAMES[1], 0.0) == 0


@pytest.fixture
def in_use(tmp_path, monkeypatch):
    """The cache in use, in the user's own folder, which holds a kernel and what a process did not finish."""
    folder = cache(tmp_path / "fastbp", NAMES[3], 99)
    os.utime(folder / "x7_fw.unfinished", (0, 0))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(warmup, "cache_folder", lambda: folder)
    monkeypatch.setattr(warmup, "may_store", lambda: True)
    monkeypatch.setattr(warmup, "compiled", iter)
    return folder


@pytest.mark.parametrize(("options", "shared", "kept"), [
    ([], False, [0, 1]), ([], True, [0, 1, 2]), (["--clean"], False, [0]), (["--clean"], True, [0])],
    ids=["own", "NUMBA_CACHE_DIR", "clean", "clean NUMBA_CACHE_DIR"])
def test_caches_that_are_not_used_are_removed(options, shared, kept, in_use, capsys, monkeypatch):
    """Without --clean, not where somebody has chosen a folder that others may use too."""
    base = in_use.parent
    others = [cache(base, name, days) for name, days in zip(NAMES, (0.9, 29, 31), strict=False)]
    (base / "notes").write_text("")
    if shared:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(base.parent))
    assert main(["warmup", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 3 - len(kept)
    assert set(base.iterdir()) == {in_use, base / "notes", *(others[place] for place in kept)}
    assert [path.name for path in in_use.iterdir()] == ["f.0a1b.kernel"]
    assert main(["warmup", *options]) == 0
    assert capsys.readouterr().out.startswith("0 other caches than" if options else f"1 kernels in {in_use}, 0 of them")


def test_a_new_cache_makes_room(tmp_path, monkeypatch):
    """The first process of a new version removes what was not used, in the user's own folder."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernels, "cache_base", lambda: tmp_path / "fastbp")
    old, new = cache(tmp_path / "fastbp", NAMES[0], 31), cache(tmp_path / "fastbp", NAMES[1], 29)
    folder = kernels.cache_folder.__wrapped__()
    assert set((tmp_path / "fastbp").iterdir()) == {new, folder}
    cache(tmp_path / "fastbp", old.name, 31)
    os.utime(folder, (0, 0))
    assert kernels.cache_folder.__wrapped__() == folder  # which is not new any more
    assert old.exists()
    assert time.time() - folder.stat().st_mtime < DAY  # it is in use


def test_what_another_process_removes_first(tmp_path, monkeypatch):
    """Or writes to, before its folder is removed."""
    keep = cache(tmp_path, NAMES[3])
    old = [cache(tmp_path, name, 31) for name in NAMES[:2]]

    def remove(folder):
        if folder == old[0]:
            (folder / "new.kernel").write_bytes(b"")
            raise OSError("not empty")
        shutil.rmtree(folder)
        raise FileNotFoundError(str(folder))

    monkeypatch.setattr(Path, "rmdir", remove)
    assert remove_caches(tmp_path, keep, 0.0) == 0
    assert [path.name for path in old[0].iterdir()] == ["new.kernel"]


@pytest.mark.parametrize("error", [OSError("no processes"), NotImplementedError("no semaphores")])
def test_all_is_compiled_here_where_no_process_can_be_started(error, monkeypatch):
    def refused(*arguments, **options):
        raise error

    monkeypatch.setattr(warmup, "ProcessPoolExecutor", refused)
    monkeypatch.setenv("FASTBP_COMPILE_PROCESSES", "2")
    seen = []
    calls = [(seen.append, 1), (seen.append, 2), (seen.extend, (3, 4))]
    assert list(warmup._made(calls)) == calls
    assert seen == [1, 2, 3, 4]


def test_a_cache_that_cannot_be_written_is_an_error(capsys, monkeypatch):
    for name, found in (("cache_folder", None), ("may_store", False)):
        monkeypatch.setattr(warmup, name, lambda found=found: found)
        assert main(["warmup"]) == BAD_INPUT
        assert "cache cannot be written" in capsys.readouterr().err
        monkeypatch.undo()


@pytest.mark.parametrize("arguments", [["--dtype", "float16"], ["--backends", "auto,fast"], ["--activations", ""]])
def test_unknown_names_are_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["warmup", *arguments])
    assert stopped.value.code == 2
    assert "expected some of" in capsys.readouterr().err
