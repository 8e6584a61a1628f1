"""`fastbp warmup`: what was compiled once is not compiled again, and only caches that nobody uses are removed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tolerances import CPU_BACKENDS, DTYPES

import fastbp
from fastbp.__main__ import BAD_INPUT, main
from fastbp.commands import warmup
from fastbp.commands.warmup import UNUSED_DAYS, networks_to_warm, unused_caches
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
    kernels = len(list(folder.glob("*.nbc")))
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


def cache(base, name, days, now, files=("f-1.py312.nbi", "f-1.py312.1.nbc")):
    """A folder in base whose newest file was written so many days before now."""
    (base / name).mkdir(parents=True)
    for age, file in enumerate(files):
        (base / name / file).write_bytes(b"x")
        os.utime(base / name / file, (now, now - (days + age) * DAY))
    os.utime(base / name, (now, now - days * DAY))
    return base / name


def test_only_unused_caches_of_kernels_are_found(tmp_path):
    now, old = 2e9, UNUSED_DAYS + 1
    base = tmp_path / "fastbp"
    unused = [cache(base, "0123456789abcdef", old, now), cache(base, "1123456789abcdef", old, now, files=()),
              cache(base, "2123456789abcdef", old, now, files=["g.nbi.tmp.0a1b2c3d"])]
    keep = cache(base, "f123456789abcdef", old, now)
    cache(base, "3123456789abcdef", UNUSED_DAYS - 1, now)
    cache(base, "models", old, now)
    cache(base, "3123456789ABCDEF0", old, now)
    cache(base, "4123456789abcdef", old, now, files=["f.nbi", "notes.txt"])
    (cache(base, "5123456789abcdef", old, now) / "folder.nbi").mkdir()
    (base / "6123456789abcdef").write_text("a file")
    elsewhere = cache(tmp_path, "7123456789abcdef", old, now)
    try:
        (base / "7123456789abcdef").symlink_to(elsewhere)
        (cache(base, "8123456789abcdef", old, now) / "link.nbi").symlink_to(elsewhere / "f-1.py312.nbi")
    except OSError:  # links are not for everyone everywhere
        pass
    assert unused_caches(base, keep, now) == unused


@pytest.mark.parametrize("shared", [False, True], ids=["own", "NUMBA_CACHE_DIR"])
def test_caches_of_other_versions_are_removed(capsys, tmp_path, monkeypatch, shared):
    """Beside the cache in use, and not where somebody has chosen a folder that others may use too."""
    base = tmp_path / "fastbp"
    old, new = cache(base, "0" * 16, 31, 1e9), cache(base, "1" * 16, 31, 1e9)
    (new / "f-1.py312.nbi").touch()
    in_use = cache(base, "2" * 16, 31, 1e9)
    (base / "notes").write_text("")
    monkeypatch.setattr(warmup, "cache_folder", lambda: in_use)
    monkeypatch.setattr(warmup, "compiled", iter)
    if shared:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    else:
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert main(["warmup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == (0 if shared else 1)
    left = {new, in_use, base / "notes"} | ({old} if shared else set())
    assert set(base.iterdir()) == left
    assert len(list(new.iterdir())) == len(list(in_use.iterdir())) == 2


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
    monkeypatch.setattr(warmup, "cache_folder", lambda: None)
    assert main(["warmup"]) == BAD_INPUT
    assert "cache cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--dtype", "float16"], ["--backends", "auto,fast"], ["--activations", ""]])
def test_unknown_names_are_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["warmup", *arguments])
    assert stopped.value.code == 2
    assert "expected some of" in capsys.readouterr().err
