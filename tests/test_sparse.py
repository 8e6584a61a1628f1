"""Sparse X: the results of a dense copy to rounding, without one; the same bits for any threads and either way."""

import numpy as np
import pytest
from memory import peak_of
from scipy import sparse
from tolerances import CPU_BACKENDS, ROUNDING, assert_close, others_in_full

import fastbp
from fastbp.backends.contract import BY_ENTRIES, FROM_TRANSPOSE, WHOLE
from fastbp.sklearn import MLPClassifier, MLPRegressor

#: Units that are no whole groups or vectors, and features that are no whole blocks.
WIDTHS = (75, 21, 6, 3)


def rows(n=53, features=WIDTHS[0], density=0.05, dtype="float64", seed=0, form=sparse.csr_array):
    """Sparse rows with whole numbers from -8 to 8; the first and the last have none."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, features)) < density, rng.integers(0 if dtype[0] == "u" else -8, 8, (n, features)), 0)
    X[[0, -1]] = 0
    return form(X.astype(dtype))


def network(backend="tiled", widths=WIDTHS, dtype="float64", **settings):
    return fastbp.MLP(widths, activation="tanh", dtype=dtype, backend=backend, seed=0, **settings)


def all_results(net, X, **settings):
    """What every kind of call gives, one after another."""
    d = np.arange(len(net.forward(X))) % net.widths[-1]
    results = [net.forward(X), net.loss_value(X, d), net.evaluate(X, d)[1], net.input_gradient(X, d),
               net.gradient_norms(X, d)]
    net.accumulate_gradient(X, d)
    results.append(net.grad.copy())
    net.zero_grad()
    net.accumulate_gradient(X, d, clip_norm=0.1)
    results.append(net.grad.copy())
    optimizers = [fastbp.SGD(0.01), fastbp.SGD(0.01, momentum=0.9, clip_norm=1.0)]
    if net.dtype == np.float64:  # Adam's first steps follow the signs of gradients, however small
        optimizers.append(fastbp.Adam(0.01))
    for batch_size in (1, 3, 16, 100):
        for optimizer in optimizers:
            history = net.fit(X, d, optimizer=optimizer, epochs=2, batch_size=batch_size, seed=1, progress=False,
                              **settings)
            results.append(history["loss"])
    return [*results, net.theta]


def assert_as_dense(dtype, X, dense, backend="tiled", **settings):
    found = all_results(network(backend, dtype=dtype), X, **settings)
    expected = all_results(network(backend, dtype=dtype), dense, **settings)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, 1e3 * ROUNDING[dtype] if dtype == "float64" else 50 * ROUNDING[dtype])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("density", [0.005, 0.05, 0.3])
def test_all_results_are_those_of_a_dense_copy(dtype, backend, density):
    X = rows(density=density)
    assert_as_dense(dtype, X, X.toarray(), backend)


@pytest.mark.parametrize("settings", [
    {"dropout": [0.5, 0.0]}, {"l2_penalty": 0.1}, {"clip_sample_norm": 0.2}, {"replacement": True},
    {"shuffle": False, "sample_weight": np.linspace(0, 2, 53), "weighted_mean": True}], ids=str)
def test_training_is_that_on_a_dense_copy(settings):
    X = rows()
    assert_as_dense("float64", X, X.toarray(), **settings)


@pytest.mark.parametrize(("source", "index"), others_in_full(pytest.param(*pair) for pair in (
    ("bool", "int32"), ("int8", "int64"), ("int64", "int64"), ("uint8", "int32"), ("uint16", "int32"),
    ("float32", "int32"), ("float64", "int64"))))
def test_entries_of_any_dtype(source, index):
    X = rows(dtype=source)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    before = X.copy()
    for dtype in ROUNDING:
        assert_as_dense(dtype, X, X.toarray())
    assert X.indices.dtype == index
    assert np.array_equal(X.toarray(), before.toarray())


@pytest.mark.parametrize("form", [
    sparse.csr_matrix, sparse.csc_array, sparse.coo_array, sparse.lil_matrix, sparse.dok_array, sparse.bsr_array,
    sparse.dia_array])
def test_any_format(form):
    X = rows(form=form)
    np.testing.assert_array_equal(network().forward(X), network().forward(sparse.csr_array(X)))


def test_entries_in_any_order_given_twice_or_zero():
    """Entries of one place are added, as SciPy does; the matrix is left as it was."""
    values, columns, begins = np.array([1.0, 2.0, 4.0, 0.0]), np.array([3, 0, 3, 1]), np.array([0, 3, 3, 4])
    X = sparse.csr_array((values, columns, begins), shape=(3, 4))
    net = network(widths=[4, 5, 2])
    assert_close(net.forward(X), net.forward(np.array([[2.0, 0, 0, 5], [0, 0, 0, 0], [0, 0, 0, 0]])), 1e-15)
    assert X.data is values or X.data.tolist() == [1, 2, 4, 0]
    assert X.indices.tolist() == [3, 0, 3, 1]


def test_a_matrix_without_entries():
    X = sparse.csr_array((20, WIDTHS[0]))
    assert_as_dense("float64", X, X.toarray())


@pytest.mark.parametrize("widths", [[40, 1], [40, 8], [1, 3, 2], [300, 17, 2], [1030, 33, 7]])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_either_way_and_any_threads_give_the_same_bits(dtype, widths, monkeypatch):
    """W_1 as it lies and its transpose, also where they compute a part of the samples each."""
    before, found = fastbp.get_num_threads(), []
    X, d = rows(700, widths[0], dtype=dtype), np.arange(700) % widths[-1]
    loss = "softmax_cross_entropy" if widths[-1] > 1 else "squared_error"
    try:
        for threads in sorted({1, before}):
            fastbp.set_num_threads(threads)
            for way in (BY_ENTRIES, FROM_TRANSPOSE):
                monkeypatch.setattr(fastbp.MLP, "way_of", lambda net, samples, count, way=way: way)
                net = network(widths=widths, dtype=dtype, loss=loss)
                for optimizer, batch_size in ((fastbp.SGD(0.01), 1), (fastbp.Adam(0.01), 33), (fastbp.SGD(0.01), 333)):
                    net.fit(X, d, optimizer=optimizer, epochs=1, batch_size=batch_size, seed=2, progress=False)
                found.append([net.theta, net.forward(X)])
    finally:
        fastbp.set_num_threads(before)
    for theta, Y in found[1:]:
        np.testing.assert_array_equal(theta, found[0][0])
        np.testing.assert_array_equal(Y, found[0][1])


def test_the_way_follows_density_and_samples():
    net = network(widths=[1000, 8, 2])
    ways = {(density, count): net.way_of(net.checked_samples(rows(200, 1000, density), np.zeros(200, int), None), count)
            for density, count in ((0.01, 10), (0.01, 200), (0.5, 10))}
    assert list(ways.values()) == [BY_ENTRIES, FROM_TRANSPOSE, WHOLE]
    others = network("loops")
    assert others.way_of(others.checked_samples(rows(), np.zeros(53, int), None), 10) == WHOLE


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("source", ["uint8", "float64"])
@pytest.mark.parametrize("centred", [True, False])
def test_standardised_rows_are_those_of_a_dense_copy(centred, source, backend):
    """Features of scale alone are taken entry by entry."""
    X = rows(dtype=source)
    found = []
    for given in (X, X.toarray()):
        net = network(backend)
        net.standardize(given)
        if not centred:
            net.standardize(mean=0.0, scale=net.feature_scale)
        ways = [net.way_of(net.checked_samples(given, np.zeros(53, int), None), 100)]
        found.append([net.feature_mean, net.feature_scale, *all_results(net, given)])
        entries = backend == "tiled" and given is X and not centred
        assert ways == [FROM_TRANSPOSE if entries else WHOLE]
    for one, other in zip(*found, strict=True):
        assert_close(one, other, 1e-9)


def test_a_sparse_number_that_is_too_large_when_standardised_is_refused():
    net = network(dtype="float32")
    net.standardize(mean=0.0, scale=1e-300)
    with pytest.raises(ValueError, match=r"^X: found a number that is beyond float32 when it is standardised"):
        net.forward(rows())


def test_callbacks_see_weights_and_averages_of_a_dense_training():
    X, d, seen = rows(), np.arange(53) % 3, ([], [])
    for given, found in zip((X, X.toarray()), seen, strict=True):
        network().fit(given, d, optimizer=fastbp.Adam(0.01), epochs=3, seed=0, progress=False,
                      validation_data=(given, d), callbacks=[lambda net, history, found=found: found.append(
                          [net.weights[0].copy(), history.optimizer_state.averages.copy(),
                           np.array(history["validation_loss"])])])
    for one, other in zip(*seen, strict=True):
        for a, b in zip(one, other, strict=True):
            assert_close(a, b, 1e-9)


def test_networks_that_are_trained_together_share_it():
    X, d = rows(200), np.arange(200) % 3
    nets, alone = [network() for _ in range(4)], network()
    fastbp.fit_many(nets, X, d, epochs=3, seeds=[5, 6, 7, 8], progress=False)
    alone.fit(X, d, epochs=3, seed=8, progress=False)
    np.testing.assert_array_equal(nets[3].theta, alone.theta)
    fastbp.fit_many(nets, [X] * 4, [d] * 4, epochs=1, progress=False)


@pytest.mark.parametrize("optimizer", [fastbp.SGD(1e150), fastbp.Adam(1e308)])
def test_an_update_that_is_not_finite_is_not_taken(optimizer):
    net = network(loss="squared_error", output_activation="identity")
    with pytest.raises(fastbp.DivergenceError):
        net.fit(rows(), np.full((53, 3), 1e150), optimizer=optimizer, epochs=9, batch_size=20, progress=False)
    assert np.isfinite(net.theta).all()


# ---- what is refused -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("value", "reason"), [(np.nan, "expected finite numbers"), (-np.inf, "expected finite"),
                                               (1e39, "which is beyond float32")])
def test_entries_that_are_not_finite_are_refused_with_their_place(value, reason):
    X, net = rows(), network(dtype="float32")
    X = X.tolil()
    X[17, 42] = value
    for call in (lambda X: net.forward(X), lambda X: net.fit(X, np.zeros(53, int))):
        with pytest.raises(ValueError, match=rf"^X: found .* at \[17, 42\], {reason}"):
            call(X.tocsr())


@pytest.mark.parametrize(("X", "error", "message"), [
    (sparse.csr_array((5, 74)), ValueError, r"^X: expected 75 features, found shape \(5, 74\)"),
    (sparse.csr_array((0, 75)), ValueError, r"^X: expected at least one sample"),
    (sparse.csr_array((5, 75), dtype=complex), TypeError, "^X: expected real numbers, found dtype complex128"),
    (sparse.coo_array(np.eye(1, 75)[0]), ValueError, "^X: expected 2 dimensions")])
def test_other_matrices_are_refused(X, error, message):
    with pytest.raises(error, match=message):
        network().forward(X)


@pytest.mark.parametrize("spoil", [
    lambda X: X.indices.__setitem__(3, 75), lambda X: X.indices.__setitem__(3, -1),
    lambda X: X.indptr.__setitem__(-1, 10**6), lambda X: X.indptr.__setitem__(4, -1),
    lambda X: X.indptr.__setitem__(0, 1)], ids=range(5))
def test_a_matrix_whose_arrays_do_not_go_together_is_refused(spoil):
    """Kernels would read other memory, and SciPy's functions would write to it."""
    X = rows()
    spoil(X)
    for call in (network().forward, lambda X: network().fit([(X, np.zeros(53, int))]),
                 lambda X: MLPClassifier(max_iter=1).fit(X, np.zeros(53, int))):
        with pytest.raises(ValueError, match=r"X: expected (columns 0 to 74, found|indptr that counts)"):
            call(X)
    X = rows(form=sparse.csc_array)
    spoil(X)
    with pytest.raises(ValueError,
                       match=r"^X: expected (rows 0 to 52, found|indptr that counts .* of each column of a CSC)"):
        network().forward(X)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_labels_in_a_matrix_whose_arrays_do_not_go_together_are_refused():
    net = MLPClassifier(hidden_layer_sizes=(2,), max_iter=1).fit(np.eye(4), np.eye(4, 2, dtype=int))
    y = sparse.csr_array(np.ones((4, 2), int))
    y.indices[3] = 9
    with pytest.raises(ValueError, match=r"^y: expected columns 0 to 1, found 9 in entry 3$"):
        net.score(np.eye(4), y)


# ---- memory, and the estimators --------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_no_call_makes_a_dense_copy(backend):
    X, d = sparse.random_array((5000, 2000), density=0.002, rng=np.random.default_rng(0), format="csr"), None
    d, net = np.arange(5000) % 2, network(backend, widths=[2000, 2, 2])
    for call in (lambda: net.forward(X), lambda: net.evaluate(X, d), lambda: net.accumulate_gradient(X, d),
                 lambda: net.gradient_norms(X, d), lambda: net.fit(X, d, epochs=1, validation_data=(X, d))):
        call()  # makes the workspace
        assert peak_of(call) < 0.1 * 8 * 5000 * 2000


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_estimators_make_no_dense_copy(index):
    X = sparse.random_array((5000, 2000), density=0.002, rng=np.random.default_rng(0), format="csr")
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    y = np.arange(5000) % 3
    for model in (MLPClassifier([2], max_iter=2, early_stopping=True), MLPRegressor(hidden_layer_sizes=[2], max_iter=2),
                  MLPRegressor(hidden_layer_sizes=[2], max_iter=2, solver="lbfgs")):
        assert peak_of(lambda model=model: model.fit(X, y).predict(X)) < 0.1 * 8 * 5000 * 2000
    model = MLPClassifier([2])
    assert peak_of(lambda: model.partial_fit(X, y, classes=[0, 1, 2]).score(X, y)) < 0.1 * 8 * 5000 * 2000


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"solver": "sgd"}], ids=str)
def test_an_estimator_fits_as_on_a_dense_copy(settings):
    X, y = rows(200), np.arange(200) % 3
    models = [MLPClassifier([5], max_iter=5, random_state=0, **settings).fit(given, y) for given in (X, X.toarray())]
    assert_close(models[0].predict_proba(X), models[1].predict_proba(X.toarray()), 1e-6)
    assert_close(models[0].loss_, models[1].loss_, 1e-9)


def test_the_transpose_is_made_once_for_a_call_and_anew_for_the_next(monkeypatch):
    """Of calls that are cut into slices, of which θ is the same; and not of what follows."""
    X, d, net = rows(3000, 200, 0.02), np.arange(3000) % 3, network(widths=[200, 9, 3])
    monkeypatch.setattr(fastbp.threads, "SMALL_CALL", 0)
    for _ in range(2):
        assert_close(net.forward(X), net.forward(X.toarray()), 1e-12)
        assert_close(net.loss_value(X, d), net.loss_value(X.toarray(), d), 1e-12)
        net.theta += 0.1
    before = net.forward(X)
    net.fit(X, d, epochs=1, batch_size=500, progress=False)
    assert_close(net.forward(X), net.forward(X.toarray()), 1e-12)
    assert np.abs(net.forward(X) - before).max() > 0
