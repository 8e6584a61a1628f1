"""Ranks that have rows of their own: the bits of the same rows in one place."""

import numpy as np
import pytest
from scipy import sparse
from test_distributed import EVERYTHING, WEIGHT, D, Single, X, ended, in_threads, network, outcome, trained

import fastbp
from fastbp.distributed import DataParallel
from fastbp.distributed.agreement import Disagreement
from fastbp.training import shards

#: Where the rows of the ranks after the first begin.
CUTS = [[], [40], [0, 13, 100], [64, 64, 130]]


def of_shards(cuts, X=X, settings=None, standardized=False):
    """What a training leaves in which each rank has rows of its own, the same on all."""
    places = [0, *cuts, len(D)]

    def train(communicator):
        own, given = slice(*places[communicator.rank : communicator.rank + 2]), dict(settings or {})
        if "sample_weight" in given:
            given["sample_weight"] = WEIGHT[own] if own.start < own.stop else None
        net = network(communicator.rank)
        if standardized:
            net.standardize(X)
        history = net.fit(X[own], D[own], **{"epochs": 3, "batch_size": 40, **given},
                          communicator=DataParallel(communicator, shards=True))
        return outcome(net, history)

    first, *others = in_threads(train, len(places) - 1)
    for other in others:
        assert other == first
    return first


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    """Rows of two batches travel together."""
    monkeypatch.setattr(shards, "WINDOW_BYTES", 80 * 6 * 4)


@pytest.mark.parametrize("settings", [{}, EVERYTHING, {"shuffle": False, "batch_size": 7}, {"replacement": True}])
def test_the_bits_of_the_whole_data(settings):
    whole = trained(2, X, D, **settings)
    for cuts in CUTS:
        assert of_shards(cuts, settings=settings) == whole


@pytest.mark.parametrize("cut", [40, 0])
def test_sparse_rows(cut):
    rows = sparse.random(130, 6, density=0.15, random_state=0, format="csr", dtype=np.float32)
    for settings in ({}, EVERYTHING):
        own = {name: value for name, value in settings.items() if name not in ("validation_data", "callbacks")}
        assert of_shards([cut], rows, own) == trained(1, rows, D, **own)


def test_other_dtypes_and_standardised_inputs():
    integers = (100 * X).astype(np.int16)
    assert of_shards([40], integers) == trained(1, integers, D)
    net = network()
    net.standardize(X)
    history = net.fit(X, D, epochs=3, batch_size=40, communicator=Single())
    assert of_shards([40], standardized=True) == outcome(net, history)


def test_it_goes_on_with_the_whole_data(tmp_path):
    path = tmp_path / "checkpoint"
    settings = {"optimizer": fastbp.Adam(0.01), "dropout": 0.3}
    of_shards([40, 70], settings={**settings, "epochs": 1, "checkpoint": path})
    of_shards([64], settings={**settings, "epochs": 2, "checkpoint": path, "resume": True})
    assert trained(1, X, D, **settings, resume=path) == trained(3, X, D, **settings)


@pytest.mark.parametrize(("name", "given"), [
    ("d: labels", (X, np.eye(3, dtype=np.float32)[D])), ("sample_weight", (X, D, WEIGHT)),
    ("X: sparse", (sparse.csr_array(X), D))])
def test_rows_of_other_kinds(name, given):
    def train(communicator):
        data = given if communicator.rank else (X, D)
        network().fit(*data[:2], sample_weight=data[2] if len(data) > 2 else None,
                      communicator=DataParallel(communicator, shards=True))

    errors = ended(train, 2, Disagreement)
    assert all(str(error).startswith(f"{name}: expected the same on all ranks") for error in errors.values())
    assert len(errors) == 2


def test_shards_are_said_on_all_ranks_and_have_rows():
    def differently(communicator):
        network().fit(X, D, communicator=DataParallel(communicator, shards=communicator.rank == 0))

    def empty(communicator):
        network().fit(X[:0], D[:0], communicator=DataParallel(communicator, shards=True))

    assert "shards: expected the same on all ranks" in str(ended(differently, 2, Disagreement)[1])
    assert "X: expected at least one row on some rank" in str(ended(empty, 2, Disagreement)[1])


def of_streams(cuts, settings, X=X, weights=None):
    """What a training leaves in which each rank reads chunks of its own."""
    places = [0, *cuts, len(D)]

    def train(communicator):
        begin, end = places[communicator.rank : communicator.rank + 2]
        chunks = [(X[first : min(first + 30, end)], D[first : min(first + 30, end)],
                   *([] if weights is None else [weights[first : min(first + 30, end)]]))
                  for first in range(begin, end, 30)]
        net = network(communicator.rank)
        history = net.fit(lambda: chunks, **{"epochs": 3, "batch_size": 16, "shuffle_buffer": 50, **settings},
                          communicator=DataParallel(communicator, shards=True))
        return outcome(net, history)

    first, *others = in_threads(train, len(places) - 1)
    for other in others:
        assert other == first
    return first


@pytest.mark.parametrize("settings", [{}, {"shuffle": False}, {"dropout": 0.3, "optimizer": fastbp.Adam(0.01)}])
def test_streams_of_ranks_have_the_bits_of_one_after_another(settings):
    whole = of_streams([], settings)
    assert of_streams([64], settings) == whole
    assert of_streams([7, 50, 111], settings) == whole
    everything = [(X, D)]
    assert trained(2, lambda: everything, batch_size=16, shuffle_buffer=50, **settings) == whole


def test_streams_of_sparse_rows_with_weights():
    rows = sparse.random(130, 6, density=0.15, random_state=0, format="csr", dtype=np.float32)
    settings = {"weighted_mean": True, "shuffle": False}
    *whole, _, samples = of_streams([], settings, rows, WEIGHT)
    for cuts in ([64], [7, 50, 111]):
        *bits, reason, seen = of_streams(cuts, settings, rows, WEIGHT)
        assert bits[:3] == whole[:3]
        np.testing.assert_allclose(bits[3]["loss"], whole[3]["loss"], rtol=1e-12)
        assert (reason, seen) == ("epochs", samples)


def test_streams_of_ranks_go_on(tmp_path):
    path, settings = tmp_path / "checkpoint", {"dropout": 0.3}
    of_streams([64], {**settings, "epochs": 1, "checkpoint": path})
    assert of_streams([7, 50], {**settings, "resume": path}) == of_streams([], settings)


def test_a_stream_of_a_rank_that_fails():
    def train(communicator):
        def chunks():
            yield X, D
            if communicator.rank == 1:
                raise OSError("no more")

        network().fit(chunks, epochs=2, communicator=DataParallel(communicator, shards=True))

    errors = ended(train, 2, OSError)
    assert "rank 1 failed: OSError: no more" in str(errors[0])
