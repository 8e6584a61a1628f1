"""What layouts and workspaces do where they are copied, pickled, shared by threads, or forked."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

import fastbp
from fastbp import MLP, Activation, jit
from fastbp.backends import register
from fastbp.jit import arguments

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")


def network(widths=(4, 64, 64, 2), **settings):
    return MLP(widths, **{"activation": "tanh", "loss": "squared_error", "dtype": "float64", "seed": 0, **settings})


@pytest.fixture(scope="module")
def net():
    return network()


def forward(net, work, layout=None):
    """The status, and whether y is right."""
    x, y = np.ones(net.widths[0], net.dtype), np.zeros(net.widths[-1], net.dtype)
    status = jit.forward(net.theta, net.layout if layout is None else layout, x, y, work)
    return status, np.array_equal(y, net.forward(x[None])[0])


@numba.njit(nogil=True)
def often(theta, layout, X, Y, statuses, work):
    for i in range(len(X)):
        statuses[i] = jit.forward(theta, layout, X[i], Y[i], work)


def in_new_process(script, *arguments):
    finished = subprocess.run([sys.executable, "-W", "error", "-c", script, *map(str, arguments)], text=True,
                              capture_output=True, timeout=300)
    assert finished.returncode == 0, (finished.returncode, finished.stderr)
    return finished.stdout.split()


# ---- layouts ---------------------------------------------------------------------------------------------------------

def hinge(a):
    return a if a > 0.0 else 0.25 * a


def hinge_prime(a, h):
    return 1.0 if a > 0.0 else 0.25


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy,
                                   *(lambda layout, p=p: pickle.loads(pickle.dumps(layout, p)) for p in PROTOCOLS)])
@pytest.mark.parametrize("backend", ["tiled", "loops"])
def test_a_layout_again_in_the_same_process(backend, again):
    net = network(activation=["tanh", Activation("hinge", hinge, hinge_prime), "identity"], backend=backend)
    layout = again(net.layout)
    assert type(layout) is type(net.layout)
    assert numba.typeof(layout) == numba.typeof(net.layout)
    for found, expected in zip(layout, net.layout, strict=True):
        assert np.array_equal(found, expected)
        assert isinstance(expected, (int, bool)) or found is not expected
    if backend == "tiled":
        assert forward(net, jit.workspace(net.layout), layout) == (jit.OK, True)
        assert forward(net, jit.workspace(layout)) == (jit.OK, True)


def test_a_layout_that_nothing_was_compiled_for():
    layout = fastbp.layout.make_layout([3, 2])
    again = pickle.loads(pickle.dumps(layout))
    assert (again.itemsize, again.digest, again.register, again.widths.tolist()) == (0, 0, 0, [3, 2])


def test_addresses_are_not_pickled(net):
    pickled = pickle.dumps(net.layout)
    for address in (*net.layout.apply[1:], *net.layout.delta[1:], net.layout.evaluate, net.layout.register):
        assert int(address).to_bytes(8, "little") not in pickled


LOADED = """
import pickle, sys
import numpy as np
import fastbp
from fastbp import jit
with open(sys.argv[1], "rb") as file:
    theta, layout, expected = pickle.load(file)
x, y = np.ones(layout.widths[0]), np.zeros(layout.widths[-1])
print(jit.forward(theta, layout, x, y, jit.workspace(layout)), np.array_equal(y, expected))
"""


@pytest.mark.parametrize("loss", ["huber(0.5)", "squared_error"])
def test_a_layout_in_another_process(tmp_path, loss):
    net = network(loss=loss)
    with open(tmp_path / "pickled", "wb") as file:
        pickle.dump((net.theta, net.layout, net.forward(np.ones((1, 4)))[0]), file)
    assert in_new_process(LOADED, tmp_path / "pickled") == [str(jit.OK), "True"]


def test_a_layout_that_joblib_wrote(tmp_path, net):
    joblib = pytest.importorskip("joblib")
    joblib.dump((net.theta, net.layout, net.forward(np.ones((1, 4)))[0]), tmp_path / "dumped")
    script = LOADED.replace("pickle.load(file)", "joblib.load(file)").replace("import pickle", "import joblib")
    assert in_new_process(script, tmp_path / "dumped") == [str(jit.OK), "True"]


def test_a_layout_with_addresses_that_are_not_ours(net):
    """Put together from the bytes of another process, or changed."""
    layout = net.layout
    for changed in ({"apply": layout.apply + 16}, {"widths": layout.widths[::-1].copy()}, {"evaluate": 8},
                    {"register": 8}):
        other = layout._replace(**changed)
        with pytest.raises(ValueError, match=r"layout: expected net\.layout as it is"):
            jit.workspace(other)
        with pytest.raises(TypeError, match=r"layout: expected net\.layout as it is, .* cannot be pickled"):
            pickle.dumps(other)


# ---- one call at a time ----------------------------------------------------------------------------------------------

def test_a_workspace_on_two_threads(net):
    """Where a result is OK it is right; others are BUSY, and nothing was written."""
    rng = np.random.default_rng(0)
    X, work = rng.normal(size=(2, 2000, 4)), jit.workspace(net.layout)
    expected = np.stack([net.forward(part) for part in X])
    counts = np.zeros(6, int)
    for _ in range(500):
        Y, statuses, together = np.full((2, 2000, 2), 7.0), np.full((2, 2000), -1), threading.Barrier(2)

        def call(part, Y=Y, statuses=statuses, together=together):
            together.wait()
            often(net.theta, net.layout, X[part], Y[part], statuses[part], work)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(call, range(2)))
        assert np.abs(Y - expected)[statuses == jit.OK].max() < 1e-12
        assert (Y[statuses != jit.OK] == 7).all()
        counts += np.bincount(statuses.ravel(), minlength=6)
        if counts[jit.BUSY]:
            break
    assert counts[[jit.WRONG_WORKSPACE, jit.WRONG_SIZE, jit.WRONG_TARGET, jit.NOT_FINITE]].tolist() == [0] * 4
    assert counts[jit.BUSY] > 0
    assert forward(net, work) == (jit.OK, True)


def test_every_function_says_that_a_workspace_is_in_use(net):
    work, layout = jit.workspace(net.layout), net.layout
    x, d, y, J, grad = np.ones(4), np.ones(2), np.zeros(2), np.zeros((2, 4)), np.zeros_like(net.theta)
    register._entries[work[arguments.ENTRY]] *= -1
    assert jit.forward(net.theta, layout, x, y, work) == jit.BUSY
    for status in (jit.accumulate_gradient(net.theta, layout, x, d, grad, work),
                   jit.input_gradient(net.theta, layout, x, d, np.zeros(4), work)):
        assert (status[1], np.isnan(status[0])) == (jit.BUSY, True)
    assert jit.input_jacobian(net.theta, layout, x, J, work) == jit.BUSY
    assert not any(array.any() for array in (y, J, grad))
    register._entries[work[arguments.ENTRY]] *= -1
    assert forward(net, work) == (jit.OK, True)


def test_a_workspace_is_free_after_every_status(net):
    work, layout, theta = jit.workspace(net.layout), net.layout, net.theta
    broken, overflowing = np.full_like(theta, np.nan), theta.copy()
    overflowing[-1] = 1e300
    x, d, y, J, grad = np.ones(4), np.ones(2), np.zeros(2), np.zeros((2, 4)), np.zeros_like(theta)
    calls = [lambda: jit.forward(broken, layout, x, y, work), lambda: jit.forward(theta, layout, x[:3], y, work),
             lambda: jit.forward(theta, layout, np.full(4, np.inf), y, work),
             lambda: jit.accumulate_gradient(overflowing, layout, x, d, grad, work)[1],
             lambda: jit.accumulate_gradient(theta, layout, x, 1, grad, work)[1],
             lambda: jit.accumulate_gradient(theta, layout, x, np.full(2, np.nan), grad, work)[1],
             lambda: jit.input_gradient(broken, layout, x, d, np.zeros(4), work)[1],
             lambda: jit.input_gradient(theta, layout, x, d, np.zeros(4), work)[1],
             lambda: jit.input_jacobian(broken, layout, x, J, work),
             lambda: jit.input_jacobian(theta, layout, x, J, work)]
    found = []
    for call in calls:
        found.append(call())
        assert register._entries[work[arguments.ENTRY]] == work[arguments.KEY]
    assert found == [jit.NOT_FINITE, jit.WRONG_SIZE, jit.NOT_FINITE, jit.NOT_FINITE, jit.WRONG_TARGET, jit.NOT_FINITE,
                     jit.NOT_FINITE, jit.OK, jit.NOT_FINITE, jit.OK]
    assert forward(net, work) == (jit.OK, True)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers that send signals here")
def test_a_workspace_is_free_after_an_interrupt(net):
    work, n = jit.workspace(net.layout), 500_000
    X, Y, statuses = np.ones((n, 4)), np.zeros((n, 2)), np.full(n, -1)

    def interrupt(*_):
        raise KeyboardInterrupt

    def call():
        while True:
            often(net.theta, net.layout, X, Y, statuses, work)

    often(net.theta, net.layout, X[:1], Y, statuses, work)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert forward(net, work) == (jit.OK, True)


# ---- copies, and what is of another process --------------------------------------------------------------------------

@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("part", [lambda work: work, lambda work: work[0], lambda work: {"mine": work[0, :8]}])
def test_a_workspace_is_not_pickled(net, part, protocol):
    with pytest.raises(TypeError, match=r"work: a workspace cannot be pickled.*call fastbp\.jit\.workspace\(layout\)"):
        pickle.dumps(part(jit.workspace(net.layout, threads=2)), protocol)


def test_copies_of_a_workspace(net):
    work = jit.workspace(net.layout)
    copies = [work.copy(), np.array(work), copy.deepcopy(work), np.frombuffer(bytearray(work.tobytes()), np.int64),
              np.roll(work, 1)[1:], np.ascontiguousarray(work[::2]), np.zeros_like(work), work + 1]
    assert [forward(net, other)[0] for other in copies] == [jit.WRONG_WORKSPACE] * len(copies)
    assert forward(net, work) == (jit.OK, True)
    same = [work[:], np.asarray(work), work.reshape(1, -1)[0], work.view(np.int64)]
    assert [forward(net, other) for other in same] == [(jit.OK, True)] * len(same)


@pytest.mark.parametrize("size", [0, 1, 3, 5, 8, 20, 60])
def test_arrays_that_are_too_short_for_a_workspace(net, size):
    """Even where they begin as one; nothing beyond their end is read."""
    assert forward(net, jit.workspace(net.layout)[:size].copy())[0] == jit.WRONG_WORKSPACE
    assert forward(net, jit.workspace(net.layout)[:size])[0] == jit.WRONG_WORKSPACE
    short, J = np.zeros(size, np.int64), np.zeros((2, 4))
    assert jit.input_jacobian(net.theta, net.layout, np.ones(4), J, short) == jit.WRONG_WORKSPACE


def test_a_copy_where_the_original_lay(net):
    """What it points to may be gone."""
    work = jit.workspace(net.layout)
    moved = np.array(work)
    moved[arguments.SELF] = moved.ctypes.data
    del work
    assert forward(net, moved)[0] == jit.WRONG_WORKSPACE


def test_the_workspaces_of_all_threads_are_not_one(net):
    with pytest.raises(TypingError, match=r"work: expected the workspace of one thread, such as work\[numba\.get_thr"):
        forward(net, jit.workspace(net.layout, threads=2))


def test_a_row_keeps_the_others_alive(net):
    row = jit.workspace(net.layout, threads=3)[1]
    jit.workspace(net.layout, threads=3)
    assert forward(net, row) == (jit.OK, True)


def test_entries_are_given_back(net, monkeypatch):
    places = {int(jit.workspace(net.layout)[arguments.ENTRY]) for _ in range(20)}
    assert len(places) <= 2
    monkeypatch.setattr(register, "_given_back", [])
    monkeypatch.setattr(register, "_never_given", iter(()))
    with pytest.raises(MemoryError, match=r"expected at most 16384 workspaces of fastbp\.jit"):
        jit.workspace(net.layout)


FORKED = """
import os, signal, sys, threading
import numpy as np
import numba, fastbp
from fastbp import jit

net = fastbp.MLP([4, 64, 64, 2], activation="tanh", dtype="float64", seed=0)
x = np.ones(4)

@numba.njit(nogil=True)
def often(theta, layout, x, y, work, times):
    for _ in range(times):
        status = jit.forward(theta, layout, x, y, work)
    return status

def status(work, times=1):
    return often(net.theta, net.layout, x, np.zeros(2), work, times)

def in_child(task):
    # The exit status of a forked child, which has twenty seconds for it.
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(task())
    ended = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(ended), ended
    return os.WEXITSTATUS(ended)

before = jit.workspace(net.layout)
status(before)
"""


@needs_fork
def test_a_forked_child_uses_what_was_there():
    """Its copy of the memory, even if a call of another thread was using it."""
    script = FORKED + """
print(in_child(lambda: status(before)))
done = threading.Event()
def go_on():
    while not done.is_set():
        status(before, 1000)
thread = threading.Thread(target=go_on)
thread.start()
print({in_child(lambda: status(before)) for _ in range(100)})
done.set()
thread.join()
print(status(before), status(jit.workspace(net.layout)), in_child(lambda: status(jit.workspace(net.layout))))
"""
    assert in_new_process(script) == ["0", "{0}", "0", "0", "0"]


@needs_fork
def test_the_bytes_of_a_workspace_in_a_forked_child():
    """They come to lie where the original does in the parent, and all that they say of themselves is right there."""
    script = FORKED + """
there, here = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(20)
    content = np.frombuffer(os.read(there, 2**20), np.int64)
    # As unpickling would, until a copy lies where it says that it does.
    kept = []
    for _ in range(2000):
        copied = content.copy()
        if copied.ctypes.data == copied[arguments.SELF]:
            break
        kept.append(copied)
    else:
        copied[arguments.SELF] = copied.ctypes.data
    own = jit.workspace(net.layout)
    os._exit(10 * status(own) + status(copied))
after = jit.workspace(net.layout)
os.write(here, after.tobytes())
ended = os.waitpid(child, 0)[1]
print(os.WIFEXITED(ended), os.WEXITSTATUS(ended), status(after))
"""
    assert in_new_process(script) == ["True", str(jit.WRONG_WORKSPACE), "0"]
