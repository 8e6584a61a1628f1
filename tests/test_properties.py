"""Properties of gradients of batches that hold for every network, drawn by hypothesis."""

from itertools import pairwise
from typing import NamedTuple

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import BACKENDS, CPU_BACKENDS, DTYPES, ROUNDING, SIMULATED, assert_close, on_host

from fastbp import MLP
from fastbp.formulas.sampling import WITH_REPLACEMENT, WITHOUT_REPLACEMENT, draw_order
from fastbp.functions.activations import ACTIVATIONS

HIDDEN = [activation.name for activation in ACTIVATIONS if activation.g is not None]


class Problem(NamedTuple):
    widths: list[int]
    activations: list[str]
    case: str
    dtype: str
    inputs: dict[str, np.ndarray]

    @property
    def data(self):
        return self.inputs["X"], self.inputs[naive.CASES[self.case][2]]

    def network(self, backend):
        net = MLP(self.widths, activation=self.activations, loss=naive.CASES[self.case][0], dtype=self.dtype,
                  backend=backend)
        net.theta[:] = self.inputs["theta"]
        return net

    def close(self, actual, expected, scale):
        assert_close(actual, expected, ROUNDING[self.dtype], scale)


MOST_SAMPLES = 12 if SIMULATED else 40

# On sums of any size an exponential makes rounding in them as large as the result.
CASES = tuple(case for case in naive.CASES if case != "poisson")


@st.composite
def problems(draw, cases=CASES):
    """A network of depth 1 to 4, widths 1 to 12, an activation for each layer, a case, a dtype, and samples."""
    case = draw(st.sampled_from(cases))
    hidden = draw(st.lists(st.tuples(st.integers(1, 12), st.sampled_from(HIDDEN)), max_size=3))
    output = naive.CASES[case][1] or draw(st.sampled_from(HIDDEN))
    outputs = draw(st.integers(2 if naive.CASES[case][2] == "labels" else 1, 12))
    widths = [draw(st.integers(1, 12)), *(width for width, _ in hidden), outputs]
    dtype = draw(st.sampled_from(DTYPES))
    inputs = naive.draw_inputs(widths, draw(st.integers(1, MOST_SAMPLES)), draw(st.integers(0, 2**32 - 1)), dtype)
    inputs["theta"] *= inputs["theta"].dtype.type(0.3)  # so that no unit saturates: 1 - h² of h near 1 has few digits
    return Problem(widths, [*(name for _, name in hidden), output], case, dtype, inputs)


def batch(net, X, d, weights=None):
    """E and ∇E(W; S) of one batch."""
    net.zero_grad()
    E = net.accumulate_gradient(X, d, weights)
    return E, on_host(net.grad).copy()


def single_samples(net, X, d):
    """E and ∇E of each sample alone, (n,) and (n, P)."""
    E, grads = zip(*(batch(net, X[s : s + 1], d[s : s + 1]) for s in range(len(X))), strict=True)
    return np.array(E, float), np.array(grads, float)


def magnitude(net, X, d):
    """The largest coordinate of Σ_s |∇E_s|: to this, rounding in a sum over samples is relative."""
    return np.abs(single_samples(net, X, d)[1]).sum(axis=0).max()


each_backend = pytest.mark.parametrize("backend", BACKENDS)


@each_backend
@given(problem=problems())
def test_gradient_of_a_batch_is_the_sum_over_its_samples(backend, problem):
    net = problem.network(backend)
    E, grad = batch(net, *problem.data)
    Es, grads = single_samples(net, *problem.data)
    problem.close(E, Es.sum(), np.abs(Es).sum())
    problem.close(grad, grads.sum(axis=0), np.abs(grads).sum(axis=0).max())


@each_backend
@given(problem=problems(), data=st.data())
def test_the_batches_of_a_partition_accumulate_to_the_whole(backend, problem, data):
    net, (X, d) = problem.network(backend), problem.data
    (E, grad), scale = batch(net, X, d), magnitude(net, X, d)
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, len(X)), max_size=4))), len(X)]
    net.zero_grad()
    Es = [net.accumulate_gradient(X[start:stop], d[start:stop])
          for start, stop in pairwise(cuts) if stop > start]
    problem.close(sum(Es), E, sum(map(abs, Es)))
    if backend == "loops":  # every coordinate is summed in the order of the samples
        assert on_host(net.grad).tobytes() == grad.tobytes()
    else:
        problem.close(net.grad, grad, scale)


@each_backend
@given(problem=problems(), data=st.data())
def test_permuting_a_batch_changes_rounding_only(backend, problem, data):
    net, (X, d) = problem.network(backend), problem.data
    order = np.array(data.draw(st.permutations(range(len(X)))))
    (E, grad), E0, Y = batch(net, X, d), net.input_gradient(X, d), net.forward(X)
    permuted_E, permuted_grad = batch(net, X[order], d[order])
    problem.close(permuted_E, E, abs(E))
    problem.close(permuted_grad, grad, magnitude(net, X, d))
    problem.close(net.input_gradient(X[order], d[order]), E0[order], np.abs(E0).max())
    problem.close(net.forward(X[order]), Y[order], np.abs(Y).max())


@each_backend
@given(problem=problems(cases=("cross_entropy", "softmax_cross_entropy")))
def test_labels_equal_one_hot_rows(backend, problem):
    net, (X, labels) = problem.network(backend), problem.data
    rows = np.eye(net.widths[-1], dtype=problem.dtype)[labels]
    (E, grad), (E_rows, grad_rows) = batch(net, X, labels), batch(net, X, rows)
    assert E_rows == E
    assert grad.tobytes() == grad_rows.tobytes()
    assert net.input_gradient(X, labels).tobytes() == net.input_gradient(X, rows).tobytes()


@each_backend
@given(problem=problems())
def test_a_weight_is_a_number_of_copies(backend, problem):
    net, (X, d) = problem.network(backend), problem.data
    E, grad = batch(net, X, d)
    E_ones, grad_ones = batch(net, X, d, np.ones(len(X)))
    assert E_ones == E
    assert grad_ones.tobytes() == grad.tobytes()

    copies = np.random.default_rng(len(X)).integers(0, 3, len(X))
    copies[0] = 2
    copied = np.repeat(np.arange(len(X)), copies)
    E_weighted, grad_weighted = batch(net, X, d, copies)
    E_copied, grad_copied = batch(net, X[copied], d[copied])
    problem.close(E_weighted, E_copied, abs(E_copied))
    problem.close(grad_weighted, grad_copied, 2 * magnitude(net, X, d))


@each_backend
@given(problem=problems(), rate=st.floats(0, 10))
def test_step_descends_and_clears_the_gradient(backend, problem, rate):
    net = problem.network(backend)
    _, grad = batch(net, *problem.data)
    theta, T = net.theta_on_host().copy(), net.dtype.type
    net.step(rate)
    change = T(rate) * grad
    rounding = np.finfo(T).eps * (np.abs(theta) + np.abs(change))  # a fused multiply-add rounds once, not twice
    assert (np.abs(net.theta_on_host() - (theta - change)) <= rounding).all()
    assert not on_host(net.grad).any()


@given(problem=problems())
def test_views_share_the_memory_of_theta_and_grad(problem):
    net = problem.network("loops")
    for values, matrices, vectors in ((net.theta, net.weights, net.biases),
                                      (net.grad, net.weight_gradients, net.bias_gradients)):
        numbers = np.arange(values.size, dtype=problem.dtype)
        values[:] = numbers
        for k, (W, b) in enumerate(naive.layers(numbers, problem.widths)):
            assert np.array_equal(matrices[k], W)
            assert np.array_equal(vectors[k], b)
            matrices[k][-1, 0], vectors[k][-1] = -1, -2
        assert (values == -1).sum() == (values == -2).sum() == len(matrices)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("sampling", [WITHOUT_REPLACEMENT, WITH_REPLACEMENT])
def test_gradients_of_uniform_batches_are_unbiased(backend, sampling):
    """The mean of |T| / |S| ∇E(W; S) over 2,000 drawn S is ∇E(W; T) within five standard errors."""
    size, draws = 8, 2000
    inputs = naive.draw_inputs((3, 5, 2), n=30)
    X, d = inputs["X"], inputs["labels"]
    net = MLP((3, 5, 2), activation="tanh", dtype="float64", seed=0, backend=backend)
    _, full = batch(net, X, d)
    order, estimates = np.zeros(len(X), np.int64), np.zeros((draws, len(full)))
    for epoch in range(draws):
        draw_order(order, sampling, 5, epoch)
        S = order[:size]
        estimates[epoch] = len(X) / size * batch(net, X[S], d[S])[1]
    standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(draws)
    assert np.linalg.norm(standard_error) < 0.1 * np.linalg.norm(full)
    assert (np.abs(estimates.mean(axis=0) - full) <= 5 * standard_error).all()
