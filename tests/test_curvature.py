"""Products with second derivatives: against differences of gradients, the naive Jacobian, and mpmath."""

import mpmath
import naive
import numba
import numpy as np
import pytest
from test_formulas import COMPONENTWISE, EXACT, POINTS, activate, evaluate, exact, target
from tolerances import CUDA, DERIVATIVE_EPSILONS, DTYPES, ROUNDING, assert_close

from fastbp import MLP, Activation, HuberLoss, Loss, threads
from fastbp.compiling.addresses import address_of, invoke
from fastbp.functions import activations, losses
from fastbp.functions.loss_panels import OUTCOME_ROWS
from fastbp.functions.second import add_second_panel, second_panel

DEPTH_WIDTHS = {1: (5, 3), 2: (3, 17, 4), 3: (4, 5, 1, 3), 4: (2, 5, 33, 4, 2)}

#: "blas" computes as "loops" does.
WAYS = ["loops", "tiled", pytest.param("blas", marks=pytest.mark.full)]

#: Activations whose g' has no jumps.
SMOOTH = ("logistic", "tanh", "softplus", "silu", "gelu")


@numba.njit
def call_address(address, arrays, units):
    invoke(address, (*arrays, units))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPONENTWISE)
def test_second_derivatives_of_activations(name, dtype):
    """e ⊙ g''(a) ⊙ Ra is added; g'' is the limit of differences of g'."""
    def second(a):
        step = mpmath.mpf(10) ** -25
        return (EXACT[name][1](a + step) - EXACT[name][1](a - step)) / (2 * step)

    a = POINTS[POINTS != 0][::5].astype(dtype)
    h, _ = activate(name, a)
    added, Rh = np.ones_like(a), np.zeros_like(a)
    arrays = a, h, np.full_like(a, 2), np.full_like(a, -3), Rh, added
    call_address(address_of(add_second_panel, activations.BY_NAME[name], dtype, 1), arrays, len(a))
    g_second = exact(second, a)
    assert (np.abs(added - 1 + 6 * g_second) <= 6 * DERIVATIVE_EPSILONS * np.finfo(dtype).eps).all()


def test_second_derivative_of_softmax():
    """The change of δ along a direction, by a difference."""
    rng = np.random.default_rng(0)
    a, Ra, e = rng.standard_normal((3, 7))
    h, J = naive.softmax(a), naive.jacobian("softmax", a)
    added, step = np.zeros(7), 1e-5
    call_address(address_of(add_second_panel, activations.BY_NAME["softmax"], "float64", 1),
                 (a, h, e, Ra, J @ Ra, added), 7)
    expected = (naive.jacobian("softmax", a + step * Ra) - naive.jacobian("softmax", a - step * Ra)) @ e / (2 * step)
    assert_close(added, expected, 1e-8)


@pytest.mark.parametrize("loss", [*losses.LOSSES, HuberLoss(0.5)], ids=lambda loss: loss.name)
def test_second_derivatives_of_losses(loss):
    """∇²L Ry is the change of ∇L along Ry."""
    rng, step, n = np.random.default_rng(0), 1e-6, 6
    for kind in (0, 1):
        y, Ry, d = rng.standard_normal(n), rng.standard_normal(n), target(loss, kind, rng, n)
        if loss.requires == "softmax":
            y = naive.softmax(y)
        outcome, e, Re = np.empty(OUTCOME_ROWS), np.empty(n), np.empty(n)
        call_address(address_of(losses.evaluate_panel, loss, "float64", 1), (y, d, e, outcome), n)
        call_address(address_of(second_panel, loss, "float64", 1), (y, d, outcome, Ry, Re), n)
        expected = (evaluate(loss, y + step * Ry, d)[2] - evaluate(loss, y - step * Ry, d)[2]) / (2 * step)
        assert_close(Re, expected, 1e-6, max(1, np.abs(expected).max()))


def drawn(widths, names, loss, kind, n=5, dtype="float64", backend="loops"):
    """A network, its samples and a direction."""
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    net = MLP(widths, activation=list(names), loss=loss, dtype=dtype, backend=backend)
    net.theta[:] = inputs["theta"]
    v = np.random.default_rng(1).standard_normal(net.theta.size).astype(dtype)
    return net, inputs["X"], inputs[kind], inputs["weights"], v


def difference_of_gradients(net, X, d, v, weights=None, step=1e-5):
    theta, slopes = net.theta.copy(), []
    for t in (step, -step):
        net.theta[:] = theta + t * v
        net.zero_grad()
        net.accumulate_gradient(X, d, weights)
        slopes.append(net.grad.copy())
    net.theta[:] = theta
    net.zero_grad()
    return (slopes[0] - slopes[1]) / (2 * step)


@pytest.mark.parametrize("backend", WAYS)
@pytest.mark.parametrize("depth", DEPTH_WIDTHS)
@pytest.mark.parametrize("case", ["squared_error", "squared_error_output", "squared_error_softmax", "cross_entropy",
                                  "softmax_cross_entropy", "binary_cross_entropy", "poisson"])
def test_hessian_vector(case, depth, backend):
    loss, last, kind = naive.CASES[case]
    names = [SMOOTH[(depth + k) % len(SMOOTH)] for k in range(depth - 1)] + [last or "gelu"]
    for n in (5, 41):
        net, X, d, weights, v = drawn(DEPTH_WIDTHS[depth], names, loss, kind, n, backend=backend)
        for w in (None, weights):
            assert_close(net.hessian_vector(X, d, v, w), difference_of_gradients(net, X, d, v, w), 1e-7)
        assert not net.grad.any()


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu"])
def test_hessian_vector_away_from_kinks(name):
    net, X, d, _, v = drawn((3, 5, 4, 2), (name, name, "identity"), "huber", "targets")
    assert_close(net.hessian_vector(X, d, v), difference_of_gradients(net, X, d, v, step=1e-7), 1e-6)


@pytest.mark.parametrize("backend", WAYS)
@pytest.mark.parametrize("case", ["squared_error", "cross_entropy", "softmax_cross_entropy", "poisson"])
def test_gauss_newton_vector(case, backend):
    """Σ_s w_s J_sᵀ H_s J_s v with J_s from single errors back, and H_s from differences of ∇L."""
    loss, last, kind = naive.CASES[case]
    widths, step = (3, 6, 4), 1e-6
    net, X, d, weights, v = drawn(widths, ("tanh", last), loss, kind, backend=backend)
    expected = 0
    for x, d_s, w in zip(X, naive.target_rows(d, widths[-1]), weights, strict=True):
        a, h = naive.forward(net.theta, widths, net.activations, x)
        J = np.array([naive.errors_back(net.theta, widths, net.activations, a, h, unit)[0] for unit in np.eye(4)])
        above, below = (naive.LOSSES[loss](h[-1] + t * (J @ v), d_s)[1] for t in (step, -step))
        expected = expected + w * J.T @ (above - below) / (2 * step)
    assert_close(net.gauss_newton_vector(X, d, v, weights), expected, 1e-7)


@pytest.mark.parametrize("backend", ["tiled", pytest.param("loops", marks=pytest.mark.full)])
def test_float32_agrees_with_float64(backend):
    arguments = (4, 30, 20, 3), ("tanh", "gelu", "identity"), "softmax_cross_entropy", "labels", 200
    net, X, d, _, v = drawn(*arguments, dtype="float32", backend=backend)
    other = drawn(*arguments)[0]
    other.theta[:] = net.theta
    for name in ("hessian_vector", "gauss_newton_vector"):
        found = getattr(net, name)(X, d, v)
        assert found.dtype == np.float32
        assert_close(found, getattr(other, name)(X, d, v), 10 * ROUNDING["float32"])


@pytest.mark.parametrize("backend", ["loops", "tiled"])
def test_bits_do_not_depend_on_threads(backend):
    net, X, d, _, v = drawn((4, 30, 20, 3), ("tanh", "gelu", "identity"), "softmax_cross_entropy", "labels", 3000,
                            backend=backend)
    found, before = set(), threads.get_num_threads()
    for count in {1, before}:
        threads.set_num_threads(count)
        found.add(net.hessian_vector(X, d, v).tobytes())
    threads.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("backend", WAYS)
def test_standardised_and_sparse_rows(backend):
    sparse = pytest.importorskip("scipy.sparse")
    net, X, d, _, v = drawn((3, 5, 2), ("tanh", "identity"), "squared_error", "targets", 40, backend=backend)
    expected = net.hessian_vector(X, d, v)
    raw = 3 + 2 * X
    assert_close(net.hessian_vector(sparse.csr_array(X), d, v), expected, 1e-13)
    net.standardize(mean=3.0, scale=2.0)
    assert_close(net.hessian_vector(raw, d, v), expected, 1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_few_samples_are_looked_at_in_compiled_code(loss):
    net, v = MLP([3, 4, 2], activation="tanh", loss=loss, seed=0), np.linspace(-1, 1, 26, dtype=np.float32)
    X = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    d = np.ones((5, 2), np.float32) if loss == "squared_error" else np.array([0, 1, 1, 0, 1])
    with_nan, with_inf, beyond = X.copy(), v.copy(), d.copy()
    with_nan[1, 2], with_inf[3], beyond[0] = np.nan, -np.inf, 2 if loss == "softmax_cross_entropy" else np.inf
    for product in (net.hessian_vector, net.gauss_newton_vector):
        assert (product(X, d, v) == product(X.tolist(), d.tolist(), v.tolist())).all()
        for wrong, message in (((with_nan, d, v), r"X: found nan at \[1, 2\]"), ((X, beyond, v), "d: "),
                               ((X, d, with_inf), r"v: found -inf at \[3\]"), ((X, d[:4], v), "d: "),
                               ((X, d, v[1:]), "v: expected 26")):
            with pytest.raises(ValueError, match=f"^{message}"):
                product(*wrong)


def test_wrong_arguments():
    net, X, d, _, v = drawn((3, 5, 2), ("tanh", "identity"), "squared_error", "targets")
    for wrong, message in ((v[:4], r"v: expected 32 numbers, as theta has, found 4"), (v[None], "v: expected 1 dim"),
                           (np.where(v == v[3], np.inf, v), r"v: found inf at \[3\]"), (None, "v: expected real")):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            net.hessian_vector(X, d, wrong)
    with pytest.raises(ValueError, match=r"^d: expected shape"):
        net.gauss_newton_vector(X, d[:, :1], v)


@pytest.mark.parametrize("backend", CUDA)
def test_a_gpu_is_refused_by_name(backend):
    net = MLP([2, 3, 1], loss="squared_error", backend=backend)
    with pytest.raises(ValueError, match=r"^backend 'cuda' has no second derivatives"):
        net.hessian_vector(np.zeros((1, 2)), [0.0], np.zeros(13))
    with pytest.raises(ValueError, match=r"^backend 'cuda' has no second derivatives"):
        net.fit(np.zeros((1, 2)), [0.0], derivatives=np.zeros((1, 1, 2)))


def test_functions_of_users_are_refused_by_name():
    own = Activation("own", lambda a: a * a, lambda a, h: 2 * a)
    net = MLP([2, 3, 1], activation=own, loss="squared_error")
    with pytest.raises(ValueError, match=r"^activation: 'own' is your own, and has no second derivative"):
        net.hessian_vector(np.zeros((1, 2)), [0.0], np.zeros(13))
    own_loss = Loss("own loss", lambda y, d: (y - d) ** 2, lambda y, d: 2 * (y - d))
    net = MLP([2, 3, 1], loss=own_loss)
    with pytest.raises(ValueError, match=r"^loss: 'own loss' is your own, and has no second derivative"):
        net.gauss_newton_vector(np.zeros((1, 2)), [0.0], np.zeros(13))
