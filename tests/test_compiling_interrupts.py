"""Ctrl-C is heard once, at the end of what must not be broken off or at a safe point, and nothing is broken.

`interrupting.py` sends it at random moments.
"""

import _thread
import os
import signal
import subprocess
import sys
import threading
from itertools import count

import interrupting
import numpy as np
import pytest
from numba.core import event

from fastbp.compiling.decorators import kernel, subkernel, undisturbed
from fastbp.compiling.interrupts import compiling, held_back, safe_point


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def handler():
    """Set the program's own handler; the present one is put back."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda chosen: signal.signal(signal.SIGINT, chosen)
    assert signal.getsignal(signal.SIGINT) is not None
    signal.signal(signal.SIGINT, before)


def test_it_is_heard_once_at_the_end():
    done = []

    def work():
        with held_back() as interrupts:
            press()
            with compiling():
                press()
                safe_point()  # the outer block has none
                done.append(bool(interrupts))

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [True]
    with held_back() as interrupts:
        assert not interrupts
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_is_heard_at_a_safe_point():
    reached = []

    def work():
        with compiling():
            with held_back():
                press()
                safe_point()
            reached.append("the end of the inner block")
            safe_point()
            reached.append("after the safe point")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end of the inner block"]
    safe_point()


@pytest.mark.parametrize("block", [held_back, compiling])
def test_the_programs_own_handler_is_called(block, handler):
    calls = []
    own = lambda number, frame: calls.append(number)  # noqa: E731
    handler(own)
    with block():
        press()
        press()
        assert not calls
        safe_point()
        assert calls == [signal.SIGINT] * (block is compiling)
    assert calls == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is own


def test_a_handler_that_is_set_meanwhile_stays(handler):
    with held_back():
        handler(own := lambda number, frame: None)
    assert signal.getsignal(signal.SIGINT) is own


@pytest.mark.parametrize("action", [signal.SIG_IGN, signal.SIG_DFL])
def test_signals_that_python_does_not_handle_stay_as_they_are(action, handler):
    handler(action)
    with held_back() as interrupts:
        assert signal.getsignal(signal.SIGINT) == action
        assert not interrupts


def test_other_threads_are_never_interrupted():
    heard = []

    def beside():
        with compiling() as interrupts:
            heard.extend([bool(interrupts), interrupts.hear()])
            safe_point()
            heard.append("not interrupted")

    def work():
        with compiling():
            press()
            thread = threading.Thread(target=beside)
            thread.start()
            thread.join()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert heard == [False, None, "not interrupted"]


class Pressing(event.Listener):
    """Presses Ctrl-C at the begin of a function or of a pass, counted from 0."""

    def __init__(self, place):
        self.place, self.seen = place, count()

    def on_start(self, event):
        if next(self.seen) == self.place:
            press()

    def on_end(self, event):
        pass


def made():
    """A kernel of three functions, and what it gives for 3."""
    square = subkernel(lambda x: x * x)
    root = subkernel(lambda x: np.sqrt(x), inline=True)

    def whole(x):
        return square(x) + root(x) + np.arange(x).sum()

    return kernel(whole, name="interrupted_whole"), 9 + np.sqrt(3) + 3


@pytest.mark.parametrize("error", [pytest.param(KeyboardInterrupt, marks=pytest.mark.full), ValueError])
def test_compiling_that_was_interrupted_goes_on_afterwards(error, handler, monkeypatch):
    """At any place, also with a handler whose exception Numba would take for one of its own."""
    def own(number, frame):
        raise error("pressed")

    handler(own)
    monkeypatch.setattr("fastbp.compiling.decorators.cache_folder", lambda: None)
    whole, expected = made()
    assert whole(3) == expected  # what Numba compiles once for all kernels is not counted below
    for kind in ("numba:compile", "numba:run_pass"):
        whole, expected = made()
        with event.install_listener(kind, Pressing(-1)) as listener:
            assert whole(3) == expected
        places = next(listener.seen)
        for place in {0, places // 3, places // 2, places - 1}:
            whole, expected = made()
            with event.install_listener(kind, Pressing(place)), pytest.raises(error, match="pressed"):
                whole(3)
            assert whole(3) == expected


def test_the_lock_of_a_thread_that_compiles_is_waited_for(monkeypatch):
    """With Ctrl-C heard meanwhile."""
    holds, ends = threading.Event(), threading.Event()

    def hold():
        with undisturbed():
            holds.set()
            ends.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(30)
    threading.Timer(0.05, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt), undisturbed():
        pytest.fail("two threads compile")
    ends.set()
    thread.join()
    with undisturbed():
        pass


IMPORTED = """
import builtins, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
known = builtins.__import__

def pressing(name, *rest):
    module = known(name, *rest)
    if wanted[:1] == [name]:
        wanted.pop()
        signal.raise_signal(signal.SIGINT)
    return module

builtins.__import__ = pressing
for wanted in (["numba.core.types"], ["llvmlite.binding"], ["numba.cpython"], ["numba.np"]):
    try:
        import numpy as np
        import fastbp
        fastbp.MLP([2, 2], seed=0, backend="loops").forward([[1.0, 2.0]])
    except KeyboardInterrupt:
        print("heard")
    else:
        print("not there" if wanted else "lost")
print(fastbp.MLP([2, 2], seed=0, backend="loops").forward([[1.0, 2.0]]).shape)
"""


def test_imports_that_were_interrupted_go_on_afterwards():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=300)
    assert "lost" not in done.stdout
    assert done.stdout.splitlines()[-1] == "(1, 2)", done.stderr
    assert done.stdout.count("heard") >= 2


@pytest.mark.skipif(os.name != "posix", reason="other processes are sent SIGINT")
@pytest.mark.parametrize("delay", [0.1, 1.0, pytest.param(2.0, marks=pytest.mark.full)])
def test_a_process_that_was_interrupted_trains_as_before(delay):
    """Whatever it was doing at that moment."""
    expected = interrupting.digest(interrupting.called("fit", "loops", 5)[0])
    report = interrupting.one("fit", "loops", None, delay)
    assert interrupting.judged(report, expected, 1)[2] == []
