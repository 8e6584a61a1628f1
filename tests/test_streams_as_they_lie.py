"""Streams of standardised, sparse and other chunks: the bits of memory, without a converted copy of all of it."""

import numpy as np
import pytest
from scipy import sparse
from tolerances import assert_close

import fastbp
from fastbp.backends import reading
from fastbp.streams import blocks

N = 203
rng = np.random.default_rng(0)
DENSE = rng.normal(size=(N, 40)) * 3 + np.arange(40)
SPARSE = sparse.csr_array(np.where(rng.random((N, 40)) < 0.05, DENSE, 0.0))
LABELS = rng.integers(0, 3, N)


def network(**settings):
    return fastbp.MLP([40, 6, 3], activation="tanh", seed=0, **settings)


def trained(net, *data, **settings):
    history = net.fit(*data, optimizer=fastbp.Adam(0.01), epochs=3, batch_size=16, seed=1, progress=False, **settings)
    return np.concatenate([net.theta, history["loss"], history["accuracy"]])


def cut(size, *arrays):
    return [tuple(array[begin : begin + size] for array in arrays) for begin in range(0, N, size)]


@pytest.fixture(params=[1, 2**21], ids=["small blocks", "large blocks"], autouse=True)
def joined_bytes(request, monkeypatch):
    """Blocks of one batch, or of all rows."""
    monkeypatch.setattr(blocks, "JOINED_BYTES", request.param)
    monkeypatch.setattr(blocks, "LONGEST_BYTES", request.param)


@pytest.mark.parametrize("size", [7, 16, 50, N])
@pytest.mark.parametrize("source", ["uint8", "float64", "float32"])
def test_standardised_chunks(source, size):
    X = DENSE.astype(source)
    nets = [network(), network()]
    for net in nets:
        net.standardize(X)
    np.testing.assert_array_equal(trained(nets[0], cut(size, X, LABELS), shuffle=False),
                                  trained(nets[1], X, LABELS, shuffle=False))
    np.testing.assert_array_equal(nets[0].forward(X), nets[1].forward(X))


@pytest.mark.parametrize("size", [7, 16, 50, N])
@pytest.mark.parametrize("scale", [None, 4.0])
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
def test_sparse_chunks(form, scale, size):
    nets = [network(), network()]
    if scale:
        for net in nets:
            net.standardize(mean=0.0, scale=scale)
    chunks = [(form(X), d) for X, d in cut(size, SPARSE, LABELS)]
    np.testing.assert_array_equal(trained(nets[0], chunks, shuffle=False), trained(nets[1], SPARSE, LABELS,
                                                                                  shuffle=False))


def test_sparse_chunks_that_are_centred_are_as_dense_ones():
    nets = [network(dtype="float64"), network(dtype="float64")]
    for net in nets:
        net.standardize(SPARSE)
    assert_close(trained(nets[0], cut(50, SPARSE, LABELS)), trained(nets[1], cut(50, SPARSE.toarray(), LABELS)), 1e-9)


def test_sparse_chunks_are_written_out_once_to_find_their_largest_number(monkeypatch):
    written, blocks_of = [], reading.blocks_of

    def counted(rows, n, *form):
        written.append(n)
        return blocks_of(rows, n, *form)

    monkeypatch.setattr(reading, "blocks_of", counted)
    net = network()
    net.standardize(mean=0.0, scale=4.0)
    trained(net, cut(50, SPARSE, LABELS), shuffle=False)
    assert sum(written) == 3 * N  # in three epochs


def test_sparse_chunks_are_shuffled_like_dense_ones():
    nets = [network(dtype="float64"), network(dtype="float64")]
    assert_close(trained(nets[0], cut(50, SPARSE, LABELS), shuffle_buffer=64),
                 trained(nets[1], cut(50, SPARSE.toarray(), LABELS), shuffle_buffer=64), 1e-9)


@pytest.mark.parametrize(("second", "kind", "message"), [
    (DENSE[:5], TypeError, "^chunk 1: X: expected a sparse one as in the first chunk, found a dense one"),
    (sparse.csr_array((5, 39)), ValueError, r"^chunk 1: X: expected 40 features, found shape \(5, 39\)"),
    (sparse.csr_array(np.full((5, 40), np.nan)), ValueError, r"^chunk 1: X: found nan at \[0, 0\]")])
def test_bad_chunks_among_sparse_ones(second, kind, message):
    with pytest.raises(kind, match=message):
        network().fit([(SPARSE[:50], LABELS[:50]), (second, LABELS[:5])], epochs=1, shuffle=False)


# ---- means and deviations of streams ---------------------------------------------------------------------------------

def shards(folder):
    for number, (X, d) in enumerate(cut(60, DENSE, LABELS)):
        np.savez(folder / f"part-{number}.npz", X=X, d=d)
    return folder


@pytest.mark.parametrize("given", ["list", "function", "iterator", "path", "source"])
def test_standardize_takes_streams(given, tmp_path):
    chunks = cut(60, DENSE, LABELS)
    stream = {"list": lambda: chunks, "function": lambda: (lambda: iter(chunks)), "iterator": lambda: iter(chunks),
              "path": lambda: str(shards(tmp_path)), "source": lambda: fastbp.Shards(shards(tmp_path))}[given]()
    net, whole = network(), network()
    net.standardize(stream)
    whole.standardize(DENSE)
    assert_close(net.feature_mean, whole.feature_mean, 1e-14)
    assert_close(net.feature_scale, whole.feature_scale, 1e-14)


@pytest.mark.parametrize("given", [DENSE.tolist(), tuple(map(tuple, DENSE)), list(DENSE)])
def test_rows_in_lists_are_no_stream(given):
    net, whole = network(), network()
    net.standardize(given)
    whole.standardize(DENSE)
    np.testing.assert_array_equal(net.feature_mean, whole.feature_mean)


def test_a_bad_chunk_leaves_the_network_as_it_was():
    net = network()
    with pytest.raises(ValueError, match=r"^chunk 1: X: expected 40 features, found shape \(5, 39\)"):
        net.standardize([(DENSE, LABELS), (DENSE[:5, :39], LABELS[:5])])
    assert net.feature_mean is None
