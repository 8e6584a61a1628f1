"""Ranks that share samples and parameters of batches on `tiled`: the bits of one process."""

import shutil

import numpy as np
import pytest
from test_distributed import EVERYTHING, RNG, WEIGHT, D, ended, in_threads, outcome

import fastbp
from fastbp.backends.shared_tiles import share_of_parameters, share_of_samples
from fastbp.distributed import DataParallel
from fastbp.training import batch_shares, checkpoints, ranks

X = RNG.normal(size=(130, 40)).astype(np.float32)
OPTIMIZER = fastbp.Adam(0.01)

#: What an update may have beside the gradient, but for a norm of it.
SETTINGS = {**EVERYTHING, "optimizer": OPTIMIZER, "validation_data": (X[:40], D[:40])}


def network(seed=0, **settings):
    return fastbp.MLP([40, 90, 3], seed=seed, backend="tiled", **{"activation": "tanh", **settings})


def alone(*data, made=None, **settings):
    """What a training without ranks leaves."""
    net = network(**made or {})
    return outcome(net, net.fit(*data, **{"epochs": 3, "batch_size": 20, **settings}))


def trained(size, *data, shards=False, made=None, **settings):
    """What a training on a number of ranks leaves, which is the same on all."""
    def train(communicator):
        net, own, given = network(communicator.rank, **made or {}), slice(None), dict(settings)
        if shards:
            own = slice(*(len(D) * place // communicator.size for place in (communicator.rank, communicator.rank + 1)))
            if "sample_weight" in given:
                given["sample_weight"] = WEIGHT[own]
        history = net.fit(*(part[own] if shards else part for part in data), **{
            "epochs": 3, "batch_size": 20, "communicator": DataParallel(communicator, shards=shards), **given})
        return outcome(net, history)

    first, *others = in_threads(train, size)
    for other in others:
        assert other == first
    return first


@pytest.fixture
def steps(monkeypatch):
    """How often ranks took a step of their own rows, and of all rows."""
    found = {"step_of_own_rows": 0, "step_of_all_rows": 0}

    def counting(name):
        function = getattr(batch_shares, name)

        def counted(*arguments):
            found[name] += 1
            return function(*arguments)

        monkeypatch.setattr(batch_shares, name, counted)

    for name in found:
        counting(name)
    return found


@pytest.mark.parametrize("settings", [
    {}, SETTINGS, {"optimizer": fastbp.SGD(0.1, momentum=0.9), "replacement": True, "batch_size": 10},
    {"shuffle": False, "batch_size": 33, "optimizer": fastbp.AdamW(0.01, weight_decay=0.1)}])
def test_the_bits_of_one_process(settings, steps):
    expected = alone(X, D, **settings)
    for size in (1, 2, 3, 5):
        assert trained(size, X, D, **settings) == expected
    assert trained(3, X, D, shards=True, **settings) == expected
    assert steps["step_of_own_rows"] > 0


def test_streams_have_the_same_bits_on_any_number_of_ranks():
    chunks = [(X[begin : begin + 30], D[begin : begin + 30]) for begin in range(0, 130, 30)]
    settings = {"dropout": 0.3, "shuffle_buffer": 80, "optimizer": OPTIMIZER}
    assert trained(3, chunks, **settings) == trained(1, chunks, **settings)


def test_threads_within_ranks():
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(1)
    try:
        expected = trained(2, X, D, optimizer=OPTIMIZER)
    finally:
        fastbp.set_num_threads(before)
    assert trained(2, X, D, optimizer=OPTIMIZER) == expected


def test_checkpoints_within_epochs_have_the_averages_of_all_ranks(tmp_path, monkeypatch):
    settings, written = {"optimizer": OPTIMIZER, "dropout": 0.3, "epochs": 4}, []
    whole, write = alone(X, D, **settings), checkpoints.write_checkpoint

    def kept(path, *content):
        write(path, *content)
        written.append(shutil.copy(path, tmp_path / f"after_{len(written)}"))

    monkeypatch.setattr(checkpoints, "write_checkpoint", kept)
    trained(3, X, D, **settings, checkpoint=tmp_path / "checkpoint", checkpoint_every=1e-9)
    monkeypatch.setattr(checkpoints, "write_checkpoint", write)
    assert len(written) > 20
    for path in written[2:24:7]:
        assert trained(2, X, D, **settings, resume=path) == whole


def test_interrupted_ranks_have_the_whole_state(monkeypatch):
    calls = []

    def is_interrupted(interrupts):
        calls.append(None)
        return len(calls) == 20  # of one rank, in its tenth step or so

    def train(communicator):
        net = network()
        history = net.fit(X, D, epochs=9, batch_size=20, optimizer=OPTIMIZER, communicator=communicator)
        return outcome(net, history)

    monkeypatch.setattr(ranks, "is_interrupted", is_interrupted)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        first, second = in_threads(train, 2)
    assert first == second
    assert first[4] == "interrupted"


def test_divergence_leaves_parameters_and_averages_of_the_step_before():
    def states(fit, net):
        with pytest.raises(fastbp.DivergenceError) as caught:
            fit(net)
        return net.theta.tobytes(), caught.value.history.optimizer_state.averages.tobytes(), str(caught.value)

    settings = {"optimizer": fastbp.SGD(1e30, momentum=0.9), "batch_size": 20, "epochs": 50}
    expected = states(lambda net: net.fit(X, D, **settings), network(activation="relu"))
    found = in_threads(lambda communicator: states(
        lambda net: net.fit(X, D, communicator=communicator, **settings), network(activation="relu")), 2)
    assert found == [expected] * 2


def test_gradients_near_the_largest_number_are_looked_at_as_a_whole(steps):
    made = {"loss": "absolute_error", "activation": "tanh"}
    targets = RNG.normal(size=(130, 3)).astype(np.float32)
    settings = {"sample_weight": np.full(130, 1e37), "optimizer": fastbp.SGD(1e-38, momentum=0.5)}
    expected = alone(X, targets, made=made, **settings)
    assert trained(2, X, targets, made=made, **settings) == expected
    assert steps["step_of_all_rows"] > 0


def test_a_rank_that_raises_ends_all():
    def train(communicator):
        def callback(net, history):
            raise OSError("enough")

        network().fit(X, D, batch_size=20, callbacks=[callback], communicator=communicator)

    assert sorted(ended(train, 2, OSError)) == [0, 1]


def test_shares():
    layout = network().layout
    cuts = [share_of_parameters(layout, rank, 7) for rank in range(7)]
    assert [begin for begin, _ in cuts] == [0, *(end for _, end in cuts[:-1])]
    assert cuts[-1][1] == layout.size
    for begin, _ in cuts[1:]:
        assert begin >= 3600 or begin % (4 * 40) == 0  # rows of W_1, by fours
    assert [share_of_samples(20, rank, 3) for rank in range(3)] == [(0, 0), (0, 16), (16, 20)]
