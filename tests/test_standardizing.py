"""A network that standardises takes raw x: with the bits of a standardised copy, and without one."""

import copy
import pickle

import fake_cupy
import numba
import numpy as np
import pytest
from memory import peak_of
from test_rows import ORDERS, READABLE, SAMPLES, WIDTHS, numbers
from tolerances import (
    CENTRAL_DIFFERENCES,
    CPU_BACKENDS,
    CUDA,
    SIMULATED,
    assert_close,
    in_orders,
    on_backends,
    on_host,
    others_in_full,
)

import fastbp
from fastbp.checks import samples

D = np.arange(SAMPLES) % WIDTHS[-1]


@pytest.fixture
def nothing_is_small(monkeypatch):
    """Arrays of any size are standardised while they are read."""
    monkeypatch.setattr(samples, "SMALL_COPY", 0)


def network(dtype="float64", backend="tiled", widths=WIDTHS, **settings):
    return fastbp.MLP(widths, activation="tanh", dtype=dtype, backend=backend, seed=0, **settings)


def standardised(X, net):
    """The formula as it stands."""
    return ((X.astype(np.float64) - net.feature_mean) * (1 / net.feature_scale)).astype(net.dtype)


def checksum(d, Y):
    """A number that every output of a network has its own share of."""
    return float(np.arange(Y.size) @ on_host(Y).astype(np.float64).ravel())


def all_results(net, X, validation):
    """What every kind of call gives, one after another."""
    results = [net.forward(X), net.loss_value(X, D), *net.evaluate(X, D), net.gradient_norms(X, D),
               *net.gradient_noise(X, D), net.forward(X[:2])]
    for clip_norm in (None, 0.1):
        for n in (SAMPLES, 2):
            net.accumulate_gradient(X[:n], D[:n], clip_norm=clip_norm)
            results.append(on_host(net.grad).copy())
            net.zero_grad()
    for batch_size in (16,) if SIMULATED else (1, 3, 16):  # one by one, a few, and in panels
        for optimizer in (fastbp.SGD(0.001), fastbp.Adam(0.001)):
            history = net.fit(X, D, optimizer=optimizer, epochs=2, batch_size=batch_size, seed=1, progress=False,
                              validation_data=(validation, D, np.ones(SAMPLES)), metrics={"sum": checksum})
            results += history.records.values()
            for name in ("sum", "validation_sum"):
                assert history[name][-1] == checksum(D, net.forward(X))
    return [*results, on_host(net.theta)]


CASES = [*((source, "float32") for source in READABLE),
         *((source, "float64") for source in ("uint8", "int64", "float16", "float32", "float64"))]


@pytest.mark.parametrize(("order", "source", "dtype", "backend"), in_orders(others_in_full(on_backends(
    CASES, simulated=[("uint8", "float32")])), ORDERS))
def test_raw_rows_give_the_bits_of_a_standardised_copy(source, dtype, order, backend, nothing_is_small):
    X, net, plain = numbers(source), network(dtype, backend), network(dtype, backend)
    net.standardize(X)
    Z = standardised(X, net)
    given = ORDERS[order](X)
    np.testing.assert_array_equal(net.input_gradient(given, D),
                                  (plain.input_gradient(Z, D) * (1 / net.feature_scale)).astype(dtype))
    for found, expected in zip(all_results(net, given, given), all_results(plain, Z, Z), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("source", "backend"), on_backends(["float32", "float64", "int16"], simulated=[]))
def test_small_arrays_give_the_same_bits(source, backend, monkeypatch):
    """These are standardised at once, and large ones while they are read."""
    X, nets = numbers(source), [network("float32", backend) for _ in range(2)]
    results = []
    for net, most in zip(nets, (0, 2**20), strict=True):
        monkeypatch.setattr(samples, "SMALL_COPY", most)
        net.standardize(X)
        results.append([net.input_gradient(X, D), *all_results(net, X, X)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", CUDA)
def test_rows_on_a_device_are_standardised_there(backend):
    from numba import cuda
    X, net, plain = numbers("float64"), network("float32", backend), network("float32", backend)
    net.standardize(X)
    Z, there = standardised(X, net), cuda.to_device(X)
    np.testing.assert_array_equal(on_host(net.forward(there)), plain.forward(Z))
    np.testing.assert_array_equal(on_host(net.input_gradient(there, D)), net.input_gradient(X, D))
    histories = [one.fit(*given, epochs=1, seed=0, progress=False, metrics={"sum": checksum})
                 for one, given in ((net, (there, D)), (plain, (Z, D)))]
    assert histories[0].records == histories[1].records
    np.testing.assert_array_equal(on_host(net.theta), on_host(plain.theta))
    there = cuda.to_device(np.where(np.arange(37) == 4, 1e300, X))
    with pytest.raises(ValueError, match=r"^X: expected finite numbers that float32 holds when they are standardised"):
        net.forward(there)


@pytest.mark.parametrize("backend", CUDA)
def test_rows_that_do_not_fit_on_a_device_are_standardised_on_their_way(backend, monkeypatch):
    from fastbp.backends.gpu import memory
    X, nets = numbers("float64"), [network("float32", backend) for _ in range(2)]
    for net, share in zip(nets, (0.5, 0.0), strict=True):
        monkeypatch.setattr(memory, "RESIDENT_SHARE", share)
        net.standardize(X)
        net.accumulate_gradient(X, D)
    np.testing.assert_array_equal(nets[0].forward(X), nets[1].forward(X))
    assert_close(nets[0].grad, nets[1].grad, 1e-6)


#: Columns of scale 1e-200 and 1e200, and of large offsets.
UNITS = np.array([1e-200, 1e200, 1.0, 1e-3, 1e4]), np.array([0.0, 3e200, 1e9, 1.0, -1e6])


def raw_samples(n=30):
    return np.random.default_rng(1).normal(size=(n, 5)) * UNITS[0] + UNITS[1]


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_derivatives_are_with_respect_to_raw_x(backend):
    X, d = raw_samples(), np.arange(30) % 3
    net = network("float64", backend, (5, 4, 3))
    net.standardize(X)
    e_0 = net.input_gradient(X, d)
    for j, scale in enumerate(net.feature_scale):
        h = np.zeros(5)
        h[j] = 2.0**-15 * scale
        up, down = X + h, X - h
        slope = [(net.loss_value(up[s : s + 1], d[s : s + 1]) - net.loss_value(down[s : s + 1], d[s : s + 1]))
                 / ((up[s, j] - down[s, j]) / scale) for s in range(30)]
        assert_close(e_0[:, j] * scale, np.array(slope), CENTRAL_DIFFERENCES)


@pytest.mark.parametrize(("n", "dtype"), [
    (1, "float32"), (7, "float64"), pytest.param(7, "float32", marks=pytest.mark.full),
    pytest.param(1, "float64", marks=pytest.mark.full)])
def test_compiled_code_of_users_takes_raw_x(n, dtype):
    X = numbers("float64", (SAMPLES, 5)) * [1, 1e3, 1e-3, 1, 2] + [0, 5, 1e-3, 100, 1e3]
    net = network(dtype, "tiled", (5, 4, 3), loss="squared_error")
    plain = net.layout, fastbp.jit.workspace(net.layout, 4)
    net.standardize(X)
    layout, work = net.layout, fastbp.jit.workspace(net.layout, 4)

    @numba.njit
    def everything(theta, layout, x, d, y, grad, e_0, J, work):
        return (fastbp.jit.forward(theta, layout, x, y, work),
                fastbp.jit.accumulate_gradient(theta, layout, x, d, grad, work)[1],
                fastbp.jit.input_gradient(theta, layout, x, d, e_0, work)[1],
                fastbp.jit.input_jacobian(theta, layout, x, J, work))

    x, d = X[:n].astype(dtype), np.zeros((n, 3), dtype)
    results = y, grad, e_0, J = [np.zeros(shape, dtype) for shape in ((n, 3), net.theta.size, (n, 5), (n, 3, 5))]
    assert everything(net.theta, layout, x, d, *results, work) == (fastbp.jit.OK,) * 4
    net.accumulate_gradient(x, d)
    np.testing.assert_array_equal(y, net.forward(x))
    np.testing.assert_array_equal(grad, net.grad)
    np.testing.assert_array_equal(e_0, net.input_gradient(x, d))
    assert_close((J * y[:, :, None]).sum(axis=1), e_0, 1e-5 if dtype == "float32" else 1e-12)  # e_L = y for d = 0
    for pair in ((plain[0], work), (layout, plain[1])):  # a workspace of another standardisation
        assert everything(net.theta, pair[0], x, d, *results, pair[1]) == (fastbp.jit.WRONG_WORKSPACE,) * 4
    again = pickle.loads(pickle.dumps(layout))
    assert everything(net.theta, again, x, d, *results, fastbp.jit.workspace(again, 4)) == (fastbp.jit.OK,) * 4
    np.testing.assert_array_equal(y, net.forward(x))
    net.standardize(mean=0.0, scale=np.finfo(dtype).tiny * 4.0)  # no x of 5 is finite after it
    work = fastbp.jit.workspace(net.layout, 4)
    assert everything(net.theta, net.layout, np.full_like(x, 1e3), d, *results, work) == (fastbp.jit.NOT_FINITE,) * 4
    net.unstandardize()
    assert everything(net.theta, net.layout, x, d, *results, plain[1]) == (fastbp.jit.OK,) * 4


class OnGpu:
    """An array on a GPU, as CuPy's are to NumPy."""

    shape = (3, 37)

    def __array__(self, *arguments, **settings):
        return fake_cupy.asarray(np.ones(self.shape)).__array__()


def test_arrays_on_a_gpu_have_to_be_copied_first():
    net = network("float32", "loops")
    for call in (net.standardize, net.forward, lambda X: net.standardize(mean=X, scale=1.0)):
        with pytest.raises(TypeError, match="^(X|mean): expected an array that NumPy takes, found one of type OnGpu "
                                            r"\(Implicit conversion .* is not allowed.*; copy what is on a GPU"):
            call(OnGpu())
    assert net.feature_mean is None


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("most", "backend"), on_backends([0, 2**20], simulated=[0]))
def test_numbers_have_to_be_finite_when_they_are_standardised(order, most, backend, monkeypatch):
    monkeypatch.setattr(samples, "SMALL_COPY", most)
    X, net = numbers("float64"), network("float32", backend)
    net.standardize(mean=[0.0] * 36 + [1e39], scale=[1.0] * 36 + [1e37])
    X[:, 36] += 1e39
    before = net.forward(ORDERS[order](X))  # 1e39 is beyond float32, and 0 when it is standardised
    assert np.isfinite(before).all()
    for j, value, reason in ((36, 1e300, "which is beyond float32 when it is standardised by the mean 1e\\+39 and the "
                                         "scale 1e\\+37"),
                             (30, 1e39, "which is beyond float32 when"), (30, np.nan, "expected finite numbers"),
                             (36, -np.inf, "expected finite numbers")):
        wrong = X.copy()
        wrong[11, j] = value
        for call in (net.forward, lambda X: net.fit(X, D, epochs=1), lambda X: net.input_gradient(X, D)):
            with pytest.raises(ValueError, match=rf"^X: found .* at \[11, {j}\], {reason}"):
                call(ORDERS[order](wrong))
    np.testing.assert_array_equal(net.forward(X), before)


@pytest.mark.parametrize(("mean", "scale", "words"), [
    (0.0, 0.0, "scale: .* found 0 for feature 0"), (0.0, [1.0, -1.0, 1.0], "scale: .* found -1 for feature 1"),
    (0.0, [1.0, 1.0, 1e-309], "scale: .* for feature 2"), (0.0, np.nan, "scale: expected finite"),
    (0.0, np.inf, "scale: expected finite"), (np.nan, 1.0, "mean: expected finite"),
    ([0.0, np.inf, 0.0], 1.0, "mean: .* found inf for feature 1"), ([0.0, 0.0], 1.0, r"mean: .* shape \(2,\)"),
    (0.0, np.ones((1, 3)), r"scale: .* shape \(1, 3\)"), (0.0, None, "scale: .* found None"),
    (None, 1.0, "mean: .* found None"), (None, None, "mean: .* found None"), ("a", 1.0, "mean: expected real"),
    (np.ma.masked_array([0.0] * 3, [1, 0, 0]), 1.0, "mean: found a masked array"), (0.0, True, None)])
def test_given_numbers_are_checked(mean, scale, words):
    net = network(widths=(3, 2))
    net.standardize(mean=[1, 2, 3], scale=4)
    before = net.standardization
    if words is None:
        net.standardize(mean=mean, scale=scale)
        assert net.feature_scale.tolist() == [1.0] * 3
        return
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        net.standardize(mean=mean, scale=scale)
    assert net.standardization is before


@pytest.mark.parametrize(("X", "words"), [
    ([[1.0, 2.0]], r"X: expected 3 features, found shape \(1, 2\)"), (np.empty((0, 3)), "X: expected at least one"),
    ([1.0, 2.0, 3.0], "X: expected 2 dimensions"), ([[1.0, np.nan, 1.0]], r"X: found nan at \[0, 1\]"),
    (np.where(np.arange(6000).reshape(2000, 3) == 5998, np.inf, 0), r"X: found inf at \[1999, 1\]"),
    ([[0.0, 0.0, 0.0], [0.0, 0.0, 1e-309]], "X: feature 2 has the standard deviation 5e-310, expected 0 or at least")])
def test_samples_to_standardise_by_are_checked(X, words):
    net = network(widths=(3, 2))
    with pytest.raises(ValueError, match=f"^{words}"):
        net.standardize(X)
    assert net.feature_mean is net.feature_scale is None
    with pytest.raises(TypeError, match=r"^standardize: expected X, or mean and scale, found both"):
        net.standardize(np.eye(3), mean=0.0, scale=1.0)


def test_the_numbers_are_not_to_be_changed():
    net, mean = network(widths=(2, 1), loss="squared_error"), np.array([1.0, 2.0])
    net.standardize(mean=mean, scale=3.0)
    mean[:] = 0
    assert net.feature_mean.tolist() == [1.0, 2.0]
    for numbers_of in (net.feature_mean, net.feature_scale):
        with pytest.raises(ValueError, match="read-only"):
            numbers_of[0] = 5
    X = np.array([[1.0, 5.0]])
    before = net.forward(X)
    net.unstandardize()
    assert net.feature_mean is None
    np.testing.assert_array_equal(net.forward((X - [1, 2]) / 3), before)


@pytest.mark.parametrize("backend", [*CPU_BACKENDS, *CUDA])
def test_files_and_copies_standardise_too(tmp_path, backend):
    X, net = raw_samples(), network("float32", backend, (5, 4, 3))
    net.standardize(X)
    net.save(tmp_path / "net.npz")
    for other in (fastbp.load(tmp_path / "net.npz", backend=backend), pickle.loads(pickle.dumps(net)),
                  copy.deepcopy(net)):
        np.testing.assert_array_equal(other.forward(X), net.forward(X))
        assert other.feature_mean.tobytes() == net.feature_mean.tobytes()
        assert other.feature_scale.tobytes() == net.feature_scale.tobytes()
        assert not any(array.flags.writeable for array in (other.feature_mean, other.feature_scale))
    other.unstandardize()
    assert net.feature_mean is not None


def test_files_are_of_the_version_that_knows_of_it(tmp_path):
    """fastbp refuses versions that it does not know: none that takes x as it is reads such a file."""
    net = network(widths=(3, 2))
    net.save(tmp_path / "plain.npz")
    net.standardize(mean=1.0, scale=2.0)
    net.save(tmp_path / "standardising.npz")
    content = {name: dict(np.load(tmp_path / f"{name}.npz")) for name in ("plain", "standardising")}
    assert (content["plain"]["version"], content["standardising"]["version"]) == (1, 2)
    assert fastbp.load(tmp_path / "plain.npz").feature_mean is None
    del content["standardising"]["digest"]  # as of an older release: it would tell that something is changed
    for changes, words in (({"version": 4}, "version 4"), ({"feature_scale": np.zeros(3)}, "scale"),
                           ({"feature_scale": np.full(3, np.inf)}, "scale"), ({"feature_mean": np.zeros(2)}, "shape"),
                           ({"feature_mean": np.zeros(3, np.float32)}, "float64")):
        np.savez(tmp_path / "changed.npz", **content["standardising"] | changes)
        with pytest.raises(ValueError, match=words):
            fastbp.load(tmp_path / "changed.npz")
    del content["standardising"]["feature_mean"]
    np.savez(tmp_path / "changed.npz", **content["standardising"])
    with pytest.raises(ValueError, match="feature_mean"):
        fastbp.load(tmp_path / "changed.npz")


def test_older_pickles_take_x_as_it_is():
    net = network(widths=(3, 2))
    state = net.__getstate__()
    assert "_standardization" not in state
    other = object.__new__(fastbp.MLP)
    other.__setstate__(state)
    assert other.feature_mean is None


@pytest.mark.parametrize("most", [0, 2**20])
def test_networks_that_are_trained_together_standardise_each_in_its_own_way(most, monkeypatch):
    monkeypatch.setattr(samples, "SMALL_COPY", most)
    X = numbers("int16")
    nets, alone = [[network("float32") for _ in range(4)] for _ in range(2)]
    for pair in (nets, alone):
        pair[1].standardize(X)
        pair[2].standardize(mean=0.0, scale=2.0)
        pair[3].standardize(X)
    fastbp.fit_many(nets, X, D, epochs=2, seeds=[5] * 4, progress=False)
    for net, other in zip(nets, alone, strict=True):
        other.fit(X, D, epochs=2, seed=5, progress=False)
        np.testing.assert_array_equal(net.theta, other.theta)
    assert (nets[0].theta != nets[1].theta).any()
    assert (nets[2].theta != nets[1].theta).any()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize(("order", "source"), [("C", "float32"), ("C", "uint8"), ("Fortran", "float64")])
def test_no_call_copies_a_large_array(order, source, backend):
    X, d = ORDERS[order](numbers(source, (20_000, 50))), np.arange(20_000) % 3
    net = fastbp.MLP([50, 4, 3], backend=backend, seed=0)
    calls = [lambda: net.standardize(X), lambda: net.fit(X, d, epochs=1, progress=False, validation_data=(X, d)),
             lambda: net.evaluate(X, d), lambda: net.accumulate_gradient(X, d), lambda: net.forward(X)]
    for call in calls:
        call()  # makes the workspace
        assert peak_of(call) < 0.35 * 4 * X.size


@pytest.mark.parametrize("most", [0, 2**20])
def test_the_bound_of_a_step_is_that_of_the_standardised_numbers(most, monkeypatch):
    """Not of 1e30: it shows beforehand that a step leaves θ finite, and is then taken in one pass."""
    monkeypatch.setattr(samples, "SMALL_COPY", most)
    X, d = 1e30 + 1e28 * numbers("float64", (64, 37)), np.arange(64) % 3
    net, plain = network("float32"), network("float32")
    net.standardize(X)
    assert net.checked_inputs(X).largest == np.abs(standardised(X, net)).max()
    for optimizer in (fastbp.SGD(0.1), fastbp.Adam(0.01)):
        for one, given in ((net, X), (plain, standardised(X, net))):
            one.fit(given, d, optimizer=optimizer, epochs=3, batch_size=16, seed=0, progress=False)
    np.testing.assert_array_equal(net.theta, plain.theta)
