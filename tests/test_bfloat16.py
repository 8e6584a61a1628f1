"""Products with bfloat16 operands: what `loops` computes is what is said, and `tiled` agrees, with or without an
instruction for it."""

import copy
import pickle
import warnings

import naive
import numpy as np
import pytest
from tolerances import ROUNDING, assert_close

import fastbp
from fastbp import MLP, Adam
from fastbp.backends import tiled_bfloat16
from fastbp.backends.tiles.host import multiplies_bfloat16
from fastbp.distributed import in_threads
from fastbp.formulas.bfloat16 import bfloat16
from fastbp.functions.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore:products. this processor:RuntimeWarning")

rng = np.random.default_rng(0)


def rounded(x):
    """x in bfloat16, by the definition: the nearest multiple of the last digit's value, the even one of two."""
    x = np.asarray(x, float)
    last = 2.0 ** (np.floor(np.log2(np.abs(np.where(x == 0, 1, x)))) - 7)
    return np.round(x / last) * last


def network(widths, backend="tiled", **settings):
    return MLP(widths, seed=0, backend=backend, products="bfloat16",
               **{"activation": "relu", "loss": "squared_error"} | settings)


# ---- what is computed ----------------------------------------------------------------------------------------------


def test_rounding():
    x = np.concatenate([rng.standard_normal(1000) * 10.0 ** rng.integers(-30, 30, 1000),
                        1 + np.arange(-8, 9) * 2.0**-9, [0.0, 2.0**-126, 3.3895e38]]).astype(np.float32)
    assert [float(bfloat16(value)) for value in x] == rounded(x).tolist()
    assert [float(bfloat16(value)) for value in np.float32([np.inf, -np.inf, 3.4e38, -3.4e38])] == [
        np.inf, -np.inf, np.inf, -np.inf]
    for bits in (0x7F800001, 0x7FC00001, 0xFFFFFFFF):
        assert np.isnan(bfloat16(np.array(bits, np.uint32).view(np.float32)[()]))
    zeros = [bfloat16(value) for value in np.float32([1e-39, -1e-39, -0.0])]
    assert zeros == [0.0, 0.0, 0.0]
    assert np.signbit(zeros).tolist() == [False, True, True]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_every_formula_takes_rounded_factors(loss):
    """Each quantity of one sample from those that it is made of, in float64; every activation in one network."""
    hidden = [name for name in naive.ACTIVATIONS if name != "softmax"]
    last = loss.output_activations[0] if getattr(loss, "output_activations", None) else "identity"
    widths = [7, *rng.integers(2, 10, len(hidden)), 3]
    last = "softmax" if loss.name == "cross_entropy" else last
    net = network(widths, "loops", activation=[*hidden, last], loss=loss.name)
    d = np.float32([0.0, 1.0, 0.0]) if loss.targets != "classes" else 1
    t = net.trace(rng.standard_normal(7), d)
    for k in range(1, len(widths)):
        of_W, of_h, of_delta = rounded(t.W[k]), rounded(t.h[k - 1]), rounded(t.delta[k])
        scale = np.abs(of_W).max() * np.abs(of_h).max()
        assert_close(t.a[k], of_W @ of_h + t.b[k], ROUNDING["float32"], scale)
        assert_close(t.h[k], naive.activate(net.activations[k - 1], t.a[k].astype(float)), ROUNDING["float32"])
        assert_close(t.e[k - 1], of_W.T @ of_delta, ROUNDING["float32"], np.abs(of_delta).max() or 1.0)
        np.testing.assert_array_equal(t.dW[k], np.outer(of_delta, of_h).astype(np.float32))
        np.testing.assert_array_equal(t.db[k], t.delta[k])


def exact_problem(widths, n):
    """Numbers of few digits, but more than bfloat16 has, and a network, so that float32 sums are exact in any order.

    So no number is on different sides of a tie between two bfloat16 numbers, for which factors would differ by 2^-8.
    """
    X = rng.integers(-2, 3, (n, widths[0])) * (1 + rng.integers(0, 2, (n, widths[0])) * 2.0**-8)
    theta = MLP(widths, loss="squared_error", initializer="zeros").theta
    theta[:] = rng.integers(-1, 2, theta.size) * (rng.random(theta.size) < 4 / max(widths))
    return X.astype(np.float32), rng.integers(-3, 4, (n, widths[-1])).astype(np.float32), theta


SHAPES = [([1, 1, 1], 1), ([7, 5, 3], 2), ([33, 17, 9], 5), ([30, 47, 32], 33), ([600, 3, 40], 17), ([16, 9], 300),
          ([3, 700, 1], 49)]


@pytest.fixture(params=["instruction", "integers"])
def way(request, monkeypatch):
    """`tiled` with the processor's instruction, and as on processors that have none."""
    if request.param == "instruction" and not multiplies_bfloat16():
        pytest.skip("this processor has no instruction for it")
    if request.param == "integers":
        monkeypatch.setattr(tiled_bfloat16, "multiplies_bfloat16", lambda: False)
    return request.param


@pytest.mark.parametrize(("widths", "n"), SHAPES, ids=str)
def test_tiled_agrees_with_loops(widths, n, way):
    X, d, theta = exact_problem(widths, n)
    found = {}
    for backend in ("tiled", "loops"):
        net = network(widths, backend)
        net.theta[:] = theta
        found[backend] = [net.forward(X), net.input_gradient(X, d), net.accumulate_gradient(X, d), net.grad.copy()]
        net.zero_grad()
        net.accumulate_gradient(X, d, clip_norm=2.0)
        found[backend].append(net.grad)
    for own, expected in zip(found["tiled"][:2], found["loops"][:2], strict=True):
        np.testing.assert_array_equal(own, expected)
    for own, expected in zip(found["tiled"][2:], found["loops"][2:], strict=True):
        assert_close(own, expected, ROUNDING["float32"])


TRAININGS = {"sgd": {"optimizer": fastbp.SGD(0.05)}, "adam": {"optimizer": Adam(0.01)},
             "dropout": {"optimizer": fastbp.SGD(0.05), "dropout": 0.3},
             "clipped": {"optimizer": Adam(0.01), "clip_sample_norm": 0.5}}


@pytest.mark.parametrize("training", TRAININGS)
def test_trainings_agree(training):
    """Softly: a number near a tie is rounded to either side, by the last bit of a sum."""
    X, d = rng.standard_normal((90, 12)).astype(np.float32), rng.standard_normal((90, 2)).astype(np.float32)
    nets = {backend: network([12, 20, 9, 2], backend, activation="tanh") for backend in ("tiled", "loops")}
    histories = {backend: net.fit(X, d, epochs=5, batch_size=20, seed=1, **TRAININGS[training])
                 for backend, net in nets.items()}
    assert_close(nets["tiled"].theta, nets["loops"].theta, 1e-3)
    assert_close(np.array(histories["tiled"]["loss"]), np.array(histories["loops"]["loss"]), 1e-3)
    assert histories["tiled"]["loss"][-1] < histories["tiled"]["loss"][0]
    exact = network([12, 20, 9, 2], activation="tanh")
    exact.fit(X, d, epochs=5, batch_size=20, seed=1, **TRAININGS[training])
    assert exact.theta.tobytes() == nets["tiled"].theta.tobytes()


def test_any_number_of_threads_gives_the_same_bits():
    before = fastbp.get_num_threads()
    if before < 2:
        pytest.skip("there is one thread")
    X, d = rng.standard_normal((1200, 100)).astype(np.float32), rng.integers(0, 10, 1200)
    found = set()
    try:
        for threads in range(1, min(before, 3) + 1):
            fastbp.set_num_threads(threads)
            net = network([100, 65, 33, 10], loss="softmax_cross_entropy")
            net.fit(X, d, optimizer=Adam(), epochs=3, batch_size=500, seed=0)
            net.fit(X, d, epochs=3, batch_size=129, seed=0)
            net.accumulate_gradient(X, d)
            found.add((net.theta.tobytes(), net.grad.tobytes()))
    finally:
        fastbp.set_num_threads(before)
    assert len(found) == 1


def test_a_factor_that_rounds_to_infinity_is_a_divergence():
    """Although E is finite, as relu hides it."""
    X, d = np.float32([[0, 3.4e38]] * 8), np.zeros((8, 1), np.float32)
    for optimizer in (fastbp.SGD(1e-3), Adam(1e-3)):
        net = network([2, 3, 1])
        net.weights[0] = np.float32([[1, -1]] * 3)
        before = net.theta.copy()
        with pytest.raises(fastbp.DivergenceError):
            net.fit(X, d, optimizer=optimizer, epochs=2, batch_size=8)
        np.testing.assert_array_equal(net.theta, before)


def test_ranks_and_many_networks_take_it():
    X, d = rng.standard_normal((90, 12)).astype(np.float32), rng.standard_normal((90, 2)).astype(np.float32)
    alone, many = network([12, 20, 9, 2]), [network([12, 20, 9, 2]) for _ in range(2)]
    alone.fit(X, d, epochs=2, batch_size=20, seed=0)
    fastbp.fit_many(many, X, d, epochs=2, batch_size=20, seeds=[0, 0])
    assert {net.theta.tobytes() for net in many} == {alone.theta.tobytes()}

    def train(communicator):
        net = network([12, 20, 9, 2])
        net.fit(X, d, epochs=2, batch_size=20, seed=0, communicator=communicator)
        return net.theta.tobytes()

    of_ranks = [set(in_threads(train, ranks)) for ranks in (1, 2)]
    assert len(of_ranks[0]) == 1
    assert of_ranks[0] == of_ranks[1]


def test_it_warns_once_where_there_is_no_instruction(monkeypatch):
    monkeypatch.setattr(tiled_bfloat16, "multiplies_bfloat16", lambda: False)
    tiled_bfloat16.warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for widths in ([2, 3, 1], [3, 2, 1]):
            network(widths).forward(np.ones((1, widths[0])))
    assert [str(warning.message)[:40] for warning in caught] == ["products: this processor has no instruct"]


# ---- the setting ---------------------------------------------------------------------------------------------------

X, LABELS = rng.standard_normal((40, 3)).astype(np.float32), rng.integers(0, 2, 40)


def classifier(**settings):
    return network([3, 5, 2], "loops", loss="softmax_cross_entropy", **settings)


@pytest.mark.parametrize("standardises", [False, True])
def test_it_is_saved_and_copied(standardises, tmp_path):
    net = classifier()
    if standardises:
        net.standardize(X)
    net.save(tmp_path / "net.npz")
    copies = [fastbp.load(tmp_path / "net.npz", backend="loops"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
    pytest.importorskip("safetensors")
    fastbp.save_safetensors(net, tmp_path / "net.safetensors")
    copies.append(fastbp.load_safetensors(tmp_path / "net.safetensors", backend="loops"))
    for other in copies:
        assert other.products == net.products == "bfloat16"
        assert "float32 with bfloat16 products" in repr(other)
        np.testing.assert_array_equal(other.forward(X), net.forward(X))
    assert pickle.loads(pickle.dumps(net.layout)).digest == net.layout.digest
    plain = MLP([3, 5, 2], seed=0, backend="loops")
    assert plain.products is None
    assert not np.array_equal(plain.forward(X), net.forward(X))


def test_files_name_it_in_a_version_of_its_own(tmp_path):
    net = classifier()
    net.save(tmp_path / "net.npz")
    content = dict(np.load(tmp_path / "net.npz"))
    assert (content["version"], content["products"]) == (3, "bfloat16")
    del content["digest"]
    for changes, words in (({"products": "float8"}, "products: expected 'bfloat16' or None, found 'float8'"),
                           ({"theta": content["theta"].astype(float)}, "float32 networks, found dtype float64"),
                           ({"products": 3}, "products: expected text")):
        np.savez(tmp_path / "changed.npz", **content | changes)
        with pytest.raises(ValueError, match=words):
            fastbp.load(tmp_path / "changed.npz")


def test_a_training_goes_on_as_it_was(tmp_path):
    whole, half, rest = classifier(), classifier(), classifier()
    whole.fit(X, LABELS, optimizer=Adam(0.01), epochs=6, batch_size=16, seed=2)
    half.fit(X, LABELS, optimizer=Adam(0.01), epochs=3, batch_size=16, seed=2, checkpoint=tmp_path / "c")
    rest.fit(X, LABELS, optimizer=Adam(0.01), epochs=6, batch_size=16, seed=2, resume=tmp_path / "c")
    assert rest.theta.tobytes() == whole.theta.tobytes()
    with pytest.raises(ValueError, match="products"):
        MLP([3, 5, 2], backend="loops").fit(X, LABELS, optimizer=Adam(0.01), epochs=6, batch_size=16,
                                            resume=tmp_path / "c")


def test_estimators_take_it():
    pytest.importorskip("sklearn")
    from fastbp.sklearn import MLPClassifier
    given = {"hidden_layer_sizes": (5,), "max_iter": 3, "tol": 0.0, "backend": "loops", "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = MLPClassifier(products="bfloat16", **given).fit(X.astype(float), LABELS)
        assert (ours.net_.products, ours.net_.dtype) == ("bfloat16", np.float32)
        assert ours.to_sklearn().predict(X.astype(float)).shape == (40,)
        ours.set_params(products=None, warm_start=True)
        with pytest.raises(ValueError, match="products: training goes on with a network of products='bfloat16'"):
            ours.fit(X.astype(float), LABELS)


REFUSED = {
    "float64": (lambda: MLP([3, 2], dtype="float64", products="bfloat16"), ValueError, "found dtype float64"),
    "another": (lambda: MLP([3, 2], products="float16"), ValueError, "expected 'bfloat16' or None, found 'float16'"),
    "no name": (lambda: MLP([3, 2], products=16), TypeError, "expected 'bfloat16' or None, found 16"),
    "blas": (lambda: MLP([3, 2], backend="blas", products="bfloat16"), ValueError, "tiled and loops, found .*'blas'"),
    "cuda": (lambda: MLP([3, 2], backend="cuda", products="bfloat16"), ValueError, "tiled and loops, found .*'cuda'"),
    "Hessians": (lambda: classifier().hessian_vector(X, LABELS, np.ones(32)), ValueError, "second derivatives"),
    "derivatives": (lambda: network([3, 1], "loops").fit(X, X[:, 0], derivatives=np.zeros((40, 1, 3))), ValueError,
                    "second derivatives"),
    "Levenberg-Marquardt": (lambda: network([3, 1], "loops").fit(X, X[:, 0], optimizer=fastbp.LevenbergMarquardt()),
                            ValueError, "LevenbergMarquardt does not compute with bfloat16 products"),
    "jit": (lambda: fastbp.jit.workspace(network([3, 1]).layout), ValueError, "jit does not compute with bfloat16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(case):
    call, kind, words = REFUSED[case]
    with pytest.raises(kind, match=f"{words}") as refused:
        call()
    assert str(refused.value).startswith(("products: ", "layout: "))


def test_what_goes_through_other_calls_takes_it_too():
    """Jacobians, errors back, sparse rows, L-BFGS."""
    sparse = pytest.importorskip("scipy.sparse")
    net = network([3, 5, 2], "loops", activation="tanh")
    J = net.input_jacobian(X)
    assert_close(net.backward(X, np.tile(np.float32([1, 0]), (40, 1)), input_gradient=True), J[:, 0], 1e-6)
    np.testing.assert_array_equal(net.forward(sparse.csr_matrix(X)), net.forward(X))
    history = net.fit(X, X[:, :2], optimizer=fastbp.LBFGS(), epochs=3)
    assert history["loss"][-1] < history["loss"][0]
