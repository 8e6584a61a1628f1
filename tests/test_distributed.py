"""Ranks: the same bits on any number of them, and what ends all of them where one fails."""

import time

import numpy as np
import pytest

import fastbp
from fastbp.distributed import DataParallel, RankError, gather, in_threads
from fastbp.distributed.agreement import Disagreement

RNG = np.random.default_rng(0)
X = RNG.normal(size=(130, 6)).astype(np.float32)
D = RNG.integers(0, 3, 130)
WEIGHT = RNG.random(130).astype(np.float32)
CHUNKS = [(X[begin : begin + 30], D[begin : begin + 30]) for begin in range(0, 130, 30)]

#: All that an update may have beside the gradient.
EVERYTHING = {"optimizer": fastbp.Adam(0.01, clip_norm=0.5), "dropout": 0.3, "l2_penalty": 1e-3, "weighted_mean": True,
              "clip_sample_norm": 1.0, "sample_weight": WEIGHT, "validation_data": (X[:40], D[:40]),
              "callbacks": (fastbp.EarlyStopping("validation_loss", patience=2),)}


def network(seed=0, backend="loops", widths=(6, 9, 3)):
    return fastbp.MLP(widths, activation="tanh", seed=seed, backend=backend)


def outcome(net, history):
    """All bits that a training leaves."""
    return (net.theta.tobytes(), history.optimizer_state.averages.tobytes(), net.generator_state["state"]["state"],
            {name: tuple(values) for name, values in history.records.items()}, history.stop_reason, history.samples)


def trained(ranks, *data, backend="loops", widths=(6, 9, 3), **settings):
    """What a training on a number of ranks leaves, which is the same on all."""
    def train(communicator):
        net = network(communicator.rank, backend, widths)  # that of rank 0 counts
        history = net.fit(*data, **{"epochs": 3, "batch_size": 40, "communicator": communicator, **settings})
        return outcome(net, history)

    first, *others = in_threads(train, ranks)
    for other in others:
        assert other == first
    return first


def ended(function, ranks, error):
    """The errors of all ranks, which end within a generous time; `error` is what in_threads raises."""
    begin, errors = time.monotonic(), {}

    def run(communicator):
        try:
            function(communicator)
        except BaseException as found:
            errors[communicator.rank] = found
            raise

    with pytest.raises(error):
        in_threads(run, ranks)
    assert time.monotonic() - begin < 30
    return errors


@pytest.mark.parametrize("settings", [
    {}, EVERYTHING, {"optimizer": fastbp.SGD(0.1, momentum=0.9), "replacement": True, "batch_size": 5},
    {"shuffle": False, "batch_size": 200}])
def test_the_same_bits_on_any_number_of_ranks(settings):
    alone = trained(1, X, D, **settings)
    for ranks in (2, 3, 4, 8):
        assert trained(ranks, X, D, **settings) == alone


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_on_register_tiles_and_threads(threads):
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(min(threads, before))
    try:
        assert trained(2, X, D, backend="tiled", dropout=0.3) == trained(1, X, D, backend="tiled", dropout=0.3)
    finally:
        fastbp.set_num_threads(before)


def test_the_same_bits_where_leaves_go_through_tiles_together():
    settings = {**EVERYTHING, "backend": "tiled", "widths": (48, 40, 3), "batch_size": 130,
                "validation_data": None, "callbacks": ()}
    data = np.tile(X, 8), D
    one_by_one = trained(8, *data, **settings)
    for ranks in (1, 2, 3):
        assert trained(ranks, *data, **settings) == one_by_one


def test_batches_and_masks_are_those_of_one_process():
    settings = {"epochs": 3, "batch_size": 40, "dropout": 0.3, "optimizer": fastbp.Adam(0.01), "sample_weight": WEIGHT}
    net = network()
    history = net.fit(X, D, **settings)
    theta, *_ = trained(2, X, D, **settings)
    np.testing.assert_allclose(np.frombuffer(theta, np.float32), net.theta, rtol=1e-4, atol=1e-6)
    assert history.samples == 390
    assert not np.allclose(net.theta, network().theta, rtol=1e-3)


def test_a_stream_that_all_ranks_read():
    settings = {"dropout": 0.3, "shuffle_buffer": 80}
    alone = trained(1, CHUNKS, **settings)
    assert trained(2, CHUNKS, **settings) == alone
    assert trained(8, CHUNKS, **settings) == alone


def test_it_goes_on_with_another_number_of_ranks(tmp_path):
    path = tmp_path / "checkpoint"
    for data in ((X, D), (CHUNKS,)):
        settings = {"optimizer": fastbp.Adam(0.01), "dropout": 0.3, "epochs": 4}
        whole = trained(3, *data, **settings)
        trained(2, *data, **{**settings, "epochs": 1}, checkpoint=path)
        trained(4, *data, **{**settings, "epochs": 2}, checkpoint=path, resume=True)
        assert trained(1, *data, **settings, resume=path) == whole
    with pytest.raises(ValueError, match="leaves: expected 8"):
        trained(1, CHUNKS, **settings, resume=path, communicator=DataParallel(Single(), leaves=4))
    with pytest.raises(ValueError, match="'training of ranks'"):
        network().fit(CHUNKS, **settings, resume=path)


class Single:
    """A communicator of one rank, by the protocol alone."""

    rank, size = 0, 1

    def exchange(self, partner, sent, received):
        raise AssertionError

    def abort(self, reason):
        """Nobody hears it."""


def test_one_rank_needs_no_partner():
    assert trained(1, X, D, communicator=Single()) == trained(1, X, D)


def test_callbacks_of_rank_0_alone_reach_all():
    def train(communicator):
        calls, net = [], network()

        def callback(net, history):
            calls.append(history["loss"][-1])
            net.theta[:] *= 0.5
            return len(calls) == 2

        history = net.fit(X, D, epochs=5, communicator=communicator, callbacks=[callback])
        return len(calls), net.theta.tobytes(), history.stop_reason, history.epochs

    found = in_threads(train, 3)
    assert [calls for calls, *_ in found] == [2, 0, 0]
    assert {rest for _, *rest in map(tuple, found) for rest in [tuple(rest)]} == {found[0][1:]}
    assert found[0][2:] == ("callback", 2)


def test_validation_data_of_rank_0_alone():
    def train(communicator):
        given = (X[:40], D[:40]) if communicator.rank == 0 else None
        net = network()
        return outcome(net, net.fit(X, D, epochs=2, communicator=communicator, validation_data=given))

    found = in_threads(train, 2)
    assert found[0] == found[1] == trained(1, X, D, epochs=2, batch_size=128, validation_data=(X[:40], D[:40]))


def test_metrics_of_rank_0_alone():
    def train(communicator):
        with_data = {"validation_data": (X[:40], D[:40])} if communicator.rank == 0 else {}
        net = network()
        return outcome(net, net.fit(CHUNKS, epochs=2, communicator=communicator, metrics={
            "rank": lambda d, Y: communicator.rank}, **with_data))[3]

    for records in in_threads(train, 2):
        assert records["validation_rank"] == (0.0, 0.0)


@pytest.mark.parametrize(("name", "given"), [
    ("batch_size", {"batch_size": 41}), ("optimizer: rule", {"optimizer": fastbp.Adam(0.1)}), ("seed", {"seed": 2}),
    ("optimizer: schedule", {"optimizer": fastbp.SGD(0.2)}), ("epochs", {"epochs": 4}), ("dropout", {"dropout": 0.1}),
    ("leaves", {"leaves": 4}), ("validation_data", {"validation_data": (X[1:9], D[1:9])})])
def test_disagreements_are_named_on_every_rank(name, given):
    def train(communicator):
        own = {"batch_size": 40, "seed": 1, "epochs": 3, "validation_data": (X[:8], D[:8]),
               **(given if communicator.rank else {})}
        ranks = DataParallel(communicator, leaves=own.pop("leaves", 8))
        network().fit(X, D, communicator=ranks, **own)

    errors = ended(train, 2, Disagreement)
    assert len(errors) == 2
    assert all(str(error).startswith(f"{name}: expected the same on all ranks") for error in errors.values())


def test_other_data_and_other_networks_are_refused():
    def others(communicator):
        network().fit(X + communicator.rank, D, communicator=communicator)

    def wider(communicator):
        fastbp.MLP([6, 9 + communicator.rank, 3], backend="loops").fit(X, D, communicator=communicator)

    for function, name in ((others, "X: the digest"), (wider, "widths")):
        assert {str(error)[: len(name)] for error in ended(function, 2, Disagreement).values()} == {name}


class Stop(Exception):
    """What a rank raises."""


@pytest.mark.parametrize("place", ["callback", "stream", "before", "arguments"])
def test_a_rank_that_raises_ends_all(place):
    def train(communicator):
        fails = communicator.rank == (0 if place == "callback" else 1)

        def chunks():
            yield from CHUNKS
            if fails and place == "stream":
                raise Stop("no more")

        def callback(net, history):
            if place == "callback":
                raise Stop("enough")

        if fails and place == "before":
            raise Stop("not yet")
        if fails and place == "arguments":
            network().fit(X, D[:-1], communicator=communicator)
        network().fit(chunks, batch_size=40, callbacks=[callback], communicator=communicator)

    errors = ended(train, 3, ValueError if place == "arguments" else Stop)
    assert sorted(errors) == [0, 1, 2]
    first = 0 if place == "callback" else 1
    assert not isinstance(errors.pop(first), RankError)
    for error in errors.values():
        assert isinstance(error, RankError)
        assert error.rank == first
        assert f"rank {first} failed: {'ValueError: d' if place == 'arguments' else 'Stop: '}" in str(error)


def test_a_rank_that_returns_early_does_not_let_the_others_wait():
    def train(communicator):
        if communicator.rank == 0:
            network().fit(X, D, communicator=communicator)

    assert "rank 1 has returned" in str(ended(train, 2, RankError)[0])


@pytest.mark.parametrize("every", [None, 2])
def test_divergence_is_of_all_ranks(every):
    thetas = {}

    def train(communicator):
        net = network()
        try:
            net.fit(X, D, optimizer=fastbp.SGD(1e38), batch_size=10,
                    communicator=DataParallel(communicator, average_every=every))
        finally:
            thetas[communicator.rank] = net.theta

    errors = ended(train, 2, fastbp.DivergenceError)
    assert {type(error) for error in errors.values()} == {fastbp.DivergenceError}
    assert np.isfinite(thetas[0]).all()
    assert (thetas[0] == thetas[1]).all()


def averaged(ranks, every, *data, shards=False, **settings):
    """What a training on ranks that average their parameters leaves, the same on all."""
    def train(communicator):
        net, own = network(communicator.rank), slice(communicator.rank if shards else 0, None,
                                                     communicator.size if shards else 1)
        history = net.fit(*(part[own] for part in data), communicator=DataParallel(
            communicator, average_every=every, shards=shards), **{"epochs": 3, "batch_size": 32, **settings})
        return outcome(net, history)

    first, *others = in_threads(train, ranks)
    for other in others:
        assert other == first
    return first


def test_averages_of_every_step_of_plain_descent_are_steps_by_the_mean_gradient():
    for settings in ({"shuffle": False}, {"sample_weight": WEIGHT[:128]}):
        theta, *_, history, _, samples = averaged(2, 1, X[:128], D[:128], **settings)
        together, *_, expected, _, _ = trained(1, X[:128], D[:128], batch_size=32, **settings)
        np.testing.assert_allclose(np.frombuffer(theta, np.float32), np.frombuffer(together, np.float32), rtol=1e-4,
                                   atol=1e-6)
        np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
        assert history["accuracy"] == expected["accuracy"]
        assert samples == 384


def test_averages_of_every_few_steps():
    settings = {"optimizer": fastbp.Adam(0.01), "epochs": 20}
    assert averaged(1, 3, X, D) != averaged(2, 3, X, D)
    for data, shards in (((X, D), False), ((X, D), True), ((CHUNKS,), False)):
        losses = averaged(3, 3, *data, shards=shards, **settings)[3]["loss"]
        assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(("given", "error"), [
    ({"leaves": 6}, "leaves: expected a power of two, found 6"), ({"leaves": 0}, "leaves"), ({"reduction": "mean"},
     "reduction: expected tree or allreduce"), ({"communicator": 3}, "communicator: expected one of mpi4py")])
def test_settings_that_are_refused(given, error):
    with pytest.raises((TypeError, ValueError), match=error):
        DataParallel(**{"communicator": Single(), **given})


def test_the_sum_of_the_transport_is_another_choice():
    def train(communicator):
        def all_reduce(vector):
            summed.append(vector.size)
            total = sum(gather(communicator, vector.copy()))
            vector[:] = total

        summed, net = [], network()
        communicator.all_reduce = all_reduce
        net.fit(X, D, batch_size=40, communicator=DataParallel(communicator, reduction="allreduce"))
        return net.theta.copy(), len(summed)

    (theta, calls), (other, _) = in_threads(train, 2)
    assert calls > 0
    assert (theta == other).all()
    np.testing.assert_allclose(theta, np.frombuffer(trained(1, X, D, epochs=10)[0], np.float32), rtol=1e-4, atol=1e-6)


def test_more_ranks_than_leaves():
    def train(communicator):
        network().fit(X, D, communicator=DataParallel(communicator, leaves=2))

    assert "leaves: expected at least as many as there are ranks, 3, found 2" in str(ended(train, 3, ValueError)[2])
