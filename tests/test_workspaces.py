"""Workspaces: shared by networks of one kind, never by two calls at once, given back, and bounded."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tolerances import CPU_BACKENDS

from fastbp import MLP, SGD, fit_many
from fastbp.backends.memory import HOST
from fastbp.backends.workspaces import Shelves

X = np.random.default_rng(0).normal(size=(20, 5))


def idle_bytes():
    gc.collect()
    return HOST.shelves.idle_bytes()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_networks_of_one_kind_have_one_workspace(backend):
    """Of which all are called; the last of them takes it away."""
    before = idle_bytes()
    nets = [MLP([5, 31, 3], seed=seed, backend=backend) for seed in range(30)]
    nets[0].forward(X)
    one = idle_bytes() - before
    assert one > 0
    found = [net.forward(X) for net in nets]
    fit_many(nets[:1], X, np.arange(20) % 3, epochs=1, batch_size=20, optimizer=SGD(0.0))
    assert idle_bytes() == before + one
    assert all(np.array_equal(net.forward(X), Y) for net, Y in zip(nets, found, strict=True))
    del nets
    assert idle_bytes() == before


@pytest.mark.parametrize("other", [
    {"activation": "tanh"}, {"loss": "squared_error"}, {"dtype": "float64"}, {"backend": "loops"}], ids=str)
def test_other_networks_have_others(other):
    first, second = MLP([5, 31, 3]), MLP([5, 31, 3], **other)
    with first.workspace(20) as one, second.workspace(20) as another:
        assert type(one) is not type(another) or one is not another
    first.forward(X)
    second.forward(X)
    with first.workspace(20) as again:
        assert again is one


def test_calls_at_once_have_one_each():
    net, other = MLP([5, 31, 3]), MLP([5, 31, 3])
    with net.workspace(20) as outer, other.workspace(20) as inner:
        assert inner is not outer
    expected, together = net.forward(X), threading.Barrier(4)

    def call(net):
        together.wait()
        return all(np.array_equal(net.forward(X), expected) for _ in range(200))

    other.theta[:] = net.theta
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, [net, other, net, other]))


def test_networks_of_many_shapes_have_bounded_workspaces():
    nets = [MLP([5, width, 3], initializer="zeros") for width in range(1, 301)]
    most = 0
    for net in nets:
        net.forward(X)
        most = max(most, HOST.shelves.idle_bytes())
    assert most <= 2**26
    assert all((net.forward(X) == 0).all() for net in nets)


class Backend:
    """Workspaces of as many bytes as samples."""

    def chunk(self, layout, dtype):
        return 8

    def workspace(self, layout, dtype, samples):
        return bytearray(samples)

    def nbytes(self, work):
        return len(work)


def test_what_has_not_been_new_for_longest_goes_first():
    shelves = Shelves(100)
    first, second, third = (shelves.shelf(name, Backend(), None, None) for name in "abc")
    for shelf in (first, second):
        with shelf.workspace(32):
            pass
    assert shelves.idle_bytes() == 64
    with third.workspace(64):
        assert (len(first.idle), len(second.idle)) == (0, 1)
    assert shelves.idle_bytes() == 96
    with first.workspace(1), second.workspace(32):
        assert shelves.idle_bytes() == 64
    assert shelves.shelf("a", Backend(), None, None) is first


def test_a_call_of_more_samples_takes_a_larger_one():
    shelf = Shelves(100).shelf("a", Backend(), None, None)
    sizes = []
    for samples in (3, 4, 5, 2):
        with shelf.workspace(samples) as work:
            sizes.append(len(work))
    assert sizes == [4, 4, 8, 8]
