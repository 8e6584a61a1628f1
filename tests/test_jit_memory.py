"""What layouts do where they are copied and pickled."""

import copy
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest

import fastbp
from fastbp import MLP, Activation, jit

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


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
    assert (again.itemsize, again.digest, again.widths.tolist()) == (0, 0, [3, 2])


def test_addresses_are_not_pickled(net):
    pickled = pickle.dumps(net.layout)
    for address in (*net.layout.apply[1:], *net.layout.delta[1:], net.layout.evaluate):
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
    for changed in ({"apply": layout.apply + 16}, {"widths": layout.widths[::-1].copy()}, {"evaluate": 8}):
        other = layout._replace(**changed)
        with pytest.raises(ValueError, match=r"layout: expected net\.layout as it is"):
            jit.workspace(other)
        with pytest.raises(TypeError, match=r"layout: expected net\.layout as it is, .* cannot be pickled"):
            pickle.dumps(other)
