"""A network is trained in one thread at a time."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest

from fastbp import MLP, fit_many

X = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.arange(40) % 2


class Held:
    """A callback that waits in the first epoch, while another thread trains the same network."""

    def __init__(self):
        self.begun, self.ends = threading.Event(), threading.Event()

    def __call__(self, net, history):
        self.begun.set()
        assert self.ends.wait(60)


@pytest.fixture
def held():
    """A network that another thread is training."""
    net, callback = MLP([3, 4, 2], seed=0, backend="loops"), Held()
    thread = threading.Thread(target=net.fit, args=(X, LABELS), kwargs={"epochs": 2, "callbacks": [callback]})
    thread.start()
    assert callback.begun.wait(60)
    yield net
    callback.ends.set()
    thread.join()
    expected = MLP([3, 4, 2], seed=0, backend="loops")
    expected.fit(X, LABELS, epochs=2)
    assert net.theta.tobytes() == expected.theta.tobytes()  # nobody disturbed it
    assert net.fit(X, LABELS, epochs=1).epochs == 1


TRAININGS = {
    "fit": lambda net: net.fit(X, LABELS),
    "stream": lambda net: net.fit([(X, LABELS)]),
    "fit_many": lambda net: fit_many([MLP([3, 2]), net], X, LABELS),
}


@pytest.mark.parametrize("train", TRAININGS.values(), ids=TRAININGS)
def test_a_second_training_is_refused(train, held):
    before = held.theta.copy(), held.grad.copy()
    with pytest.raises(RuntimeError, match="this network is being trained in another thread: <MLP 3-4-2, relu"):
        train(held)
    assert np.array_equal(before, (held.theta, held.grad))


def test_copies_are_not_in_training(held):
    for other in (copy.deepcopy(held), copy.copy(held), pickle.loads(pickle.dumps(held))):
        assert other.fit(X, LABELS, epochs=1).epochs == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_children_lack_the_other_training(held):
    child = os.fork()
    if child == 0:
        os._exit(held.fit(X, LABELS, epochs=1).epochs)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_callbacks_may_train_the_network():
    net = MLP([3, 4, 2], seed=0, backend="loops")

    def train(net, history):
        if history.epochs == 1:
            net.fit(X, LABELS, epochs=1)

    assert net.fit(X, LABELS, epochs=2, callbacks=[train]).epochs == 2
    assert not [name for name in vars(net) if "train" in name]
