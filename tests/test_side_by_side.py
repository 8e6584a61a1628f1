"""Compiling in two processes: what is given to the second one, and that all goes on without it."""

import pickle
import pickletools
import subprocess
import sys
import time

import numpy as np
import pytest

import fastbp
from fastbp.backends import tiled
from fastbp.backends.tiles.magnitude import note_largest
from fastbp.backends.tiles.outcomes import keep_outcomes
from fastbp.backends.tiles.sums import add_row_sums
from fastbp.commands.warmup import WARMED_OPTIMIZERS
from fastbp.compiling import addresses, cache, side_by_side
from fastbp.compiling.addresses import is_cached
from fastbp.compiling.side_by_side import compile_pieces, compile_side_by_side, processes
from fastbp.optimizers import updates
from fastbp.optimizers.rules import RULES

PIECES = [(keep_outcomes, "float32"), (add_row_sums, "float32"), (note_largest, "float32")]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A kernel cache of its own, for this process and those that it starts, and functions that are not compiled yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("FASTBP_COMPILE_PROCESSES", "2")
    monkeypatch.setattr(side_by_side, "FEWEST", 1)
    monkeypatch.setattr(addresses, "_ADDRESSES", {})
    cache.cache_folder.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    cache.cache_folder.cache_clear()


@pytest.fixture
def helpers(monkeypatch):
    """The processes that were started."""
    started, popen = [], subprocess.Popen

    def noted(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    return started


def test_a_second_process_fills_the_cache(empty_cache, helpers, monkeypatch):
    """While this one is busy with something else."""
    def wait():
        until = time.monotonic() + 120
        while not all(is_cached(*piece) for piece in PIECES):
            assert time.monotonic() < until
            time.sleep(0.05)

    compile_side_by_side(PIECES, wait)
    assert [helper.returncode for helper in helpers] == [0]
    compile_side_by_side(PIECES, lambda: None)
    assert len(helpers) == 1  # nothing is missing any more


@pytest.mark.parametrize("program", ["", "raise SystemExit(1)", "import time; time.sleep(100)"])
def test_it_is_compiled_here_where_the_second_process_fails(program, empty_cache, helpers, monkeypatch):
    monkeypatch.setattr(side_by_side, "_PROGRAM", program)
    monkeypatch.setattr(side_by_side, "LAST_PIECE", 0.1)
    compile_side_by_side(PIECES, lambda: None)
    assert all(is_cached(*piece) for piece in PIECES)
    assert len(helpers) == 1
    assert helpers[0].poll() is not None


@pytest.mark.parametrize("cannot", ["one process", "no Python", "another program", "frozen", "no cache", "no leave"])
def test_no_second_process(cannot, empty_cache, helpers, monkeypatch):
    if cannot == "one process":
        monkeypatch.setenv("FASTBP_COMPILE_PROCESSES", "1")
    elif cannot == "no Python":
        monkeypatch.setattr(sys, "executable", "")
    elif cannot == "another program":
        program = empty_cache / "editor"
        program.write_text("")
        monkeypatch.setattr(sys, "executable", str(program))
    elif cannot == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif cannot == "no cache":
        monkeypatch.setattr(side_by_side, "may_store", lambda: False)
    else:
        def refused(*arguments, **options):
            raise PermissionError("no processes here")

        monkeypatch.setattr(subprocess, "Popen", refused)
    done = []
    compile_side_by_side(PIECES[-1:], lambda: done.append(True))
    assert done == [True]
    assert not helpers


def test_an_error_ends_the_second_process(empty_cache, helpers, monkeypatch):
    monkeypatch.setattr(side_by_side, "_PROGRAM", "import time; time.sleep(100)")

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_side_by_side(PIECES, interrupted)
    assert helpers[0].returncode is not None


def test_the_number_of_processes(monkeypatch):
    for given in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("FASTBP_COMPILE_PROCESSES", given)
        with pytest.raises(ValueError, match=f"^FASTBP_COMPILE_PROCESSES: expected a whole number .* found '{given}'"):
            processes()
    monkeypatch.setenv("FASTBP_COMPILE_PROCESSES", "3")
    assert processes() == 3


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_list_is_what_a_training_compiles(rule, monkeypatch):
    """All of it, but for what depends on the batch; and nothing that a program other than fastbp defines."""
    optimizer = next(optimizer for optimizer in WARMED_OPTIMIZERS if optimizer.rule is rule)
    net = fastbp.MLP([32, 48, 16], activation="tanh", seed=0, backend="tiled")
    pieces = net.pieces(rule)
    asked = {}
    monkeypatch.setattr(addresses, "_ADDRESSES", asked)
    for known_addresses in (updates._addresses_of, tiled._addresses_of_updates):
        known_addresses.cache_clear()
    monkeypatch.setattr(net._backend.memory.shelves, "_shelves", type(net._backend.memory.shelves._shelves)())
    net.fit(np.zeros((100, 32)), np.zeros(100, int), optimizer=optimizer, epochs=1, batch_size=50)
    assert set(asked) == set(pieces)
    pickled = pickle.dumps(pieces)
    assert pickle.loads(pickled) == pieces
    strings = [argument for code, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)]
    modules = {text for text in strings if "." in text}
    assert modules
    assert all(name.startswith("fastbp.") for name in modules)


def test_what_the_second_process_compiles(empty_cache):
    compile_pieces(pickle.dumps(PIECES[-1:]))
    assert is_cached(*PIECES[-1])
    assert not is_cached(*PIECES[0])
