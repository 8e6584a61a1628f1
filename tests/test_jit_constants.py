"""Arrays that compiled code would take for constants, in calls of `fastbp.jit`."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

import fastbp
from fastbp import MLP, jit

NET = MLP([4, 8, 2], activation="tanh", loss="squared_error", dtype="float64", seed=0)
X, D, TARGETS, Y, GRAD = np.linspace(-1, 1, 4), np.ones(2), np.zeros(2), np.zeros(2), np.zeros_like(NET.theta)
E_0, J, AVERAGES = np.zeros(4), np.zeros((2, 4)), np.zeros((2, GRAD.size))


class State(NamedTuple):
    """What some would keep together."""

    theta: Any
    layout: Any
    work: Any


THETA, LAYOUT, WORK = STATE = State(NET.theta, NET.layout, jit.workspace(NET.layout))
ANONYMOUS, STACK = tuple(STATE), np.stack([THETA, THETA])


@numba.njit
def helper(theta, layout, x, y, work):
    return jit.forward(theta, layout, x, y, work)


@numba.njit
def helper_of_helper(theta, layout, x, y, work):
    return helper(theta, layout, x, y, work)


def in_module(theta, layout, x, y, work):
    return fastbp.jit.forward(THETA, layout, x, y, work)


def by_name(theta, layout, x, y, work):
    return jit.forward(x=x, layout=layout, y=y, work=work, theta=THETA)


def starred(theta, layout, x, y, work):
    return jit.forward(*ANONYMOUS)


def of_a_named_tuple(theta, layout, x, y, work):
    return jit.forward(STATE.theta, layout, x, y, work)


def of_a_tuple(theta, layout, x, y, work):
    one, _, _ = ANONYMOUS
    return jit.forward(one, layout, x, y, work)


def of_several(theta, layout, x, y, work):
    return jit.forward(STACK[1], layout, x, y, work)


def one_after_another(theta, layout, x, y, work):
    status = 0
    for one in STACK:
        status += jit.forward(one, layout, x, y, work)
    return status


def as_a_view(theta, layout, x, y, work):
    return jit.forward(THETA[:].reshape(-1), layout, x, y, work)


def by_numpy(theta, layout, x, y, work):
    return jit.forward(np.ascontiguousarray(THETA), layout, x, y, work)


def sometimes(theta, layout, x, y, work):
    one = THETA if x[0] > 0 else theta
    return jit.forward(one, layout, x, y, work)


def by_default(theta, layout, x, y, work, one=THETA):
    return jit.forward(one, layout, x, y, work)


def by_a_helper(theta, layout, x, y, work):
    return helper(THETA, layout, x, y, work)


def by_two_helpers(theta, layout, x, y, work):
    return helper_of_helper(THETA, layout, x, y, work)


@pytest.mark.parametrize("function", [
    in_module, by_name, starred, of_a_named_tuple, of_a_tuple, of_several, one_after_another, as_a_view, by_numpy,
    sometimes, by_default, by_a_helper, by_two_helpers], ids=lambda function: function.__name__)
def test_theta_is_no_constant(function):
    """What is written to net.theta later would not be seen."""
    with pytest.raises(TypingError, match=r"fastbp\.jit: theta: expected an argument of your function, found the "):
        numba.njit(function)(THETA, LAYOUT, X, Y, WORK)


def test_theta_of_an_enclosing_function():
    theta = NET.theta

    @numba.njit
    def closure(layout, x, y, work):
        return jit.forward(theta, layout, x, y, work)

    with pytest.raises(TypingError, match=r"fastbp\.jit: theta: .* found 'theta' of an enclosing function"):
        closure(LAYOUT, X, Y, WORK)


def test_in_a_prange():
    @numba.njit(parallel=True)
    def parallel(layout, x, y, work):
        for _ in numba.prange(1):
            jit.forward(THETA, layout, x, y, work)

    with pytest.raises(TypingError, match=r"fastbp\.jit: theta: expected an argument of your function"):
        parallel(LAYOUT, X, Y, WORK)


CALLS = {
    "accumulate_gradient": (lambda theta, layout, x, d, grad, work: jit.accumulate_gradient(
        THETA, layout, x, d, grad, work), (THETA, LAYOUT, X, D, GRAD, WORK)),
    "input_gradient": (lambda theta, layout, x, d, e_0, work: jit.input_gradient(THETA, layout, x, d, e_0, work),
                       (THETA, LAYOUT, X, D, E_0, WORK)),
    "input_jacobian": (lambda theta, layout, x, J, work: jit.input_jacobian(THETA, layout, x, J, work),
                       (THETA, LAYOUT, X, J, WORK)),
    "sgd_step": (lambda grad: jit.sgd_step(THETA, grad, 0.1), (GRAD,)),
    "adam_step": (lambda grad, averages: jit.adam_step(THETA, grad, averages, 1, 0.1), (GRAD, AVERAGES)),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_function_looks_at_theta(name):
    function, arguments = CALLS[name]
    with pytest.raises(TypingError, match=r"fastbp\.jit: theta: expected an argument .* found the global 'THETA'"):
        numba.njit(function)(*arguments)


OTHERS = {
    "layout": (lambda theta, x, y, work: jit.forward(theta, LAYOUT, x, y, work), (THETA, X, Y, WORK)),
    "work": (lambda theta, layout, x, y: jit.forward(theta, layout, x, y, STATE.work), (THETA, LAYOUT, X, Y)),
    "y": (lambda theta, layout, x, work: jit.forward(theta, layout, x, Y, work), (THETA, LAYOUT, X, WORK)),
    "e_0": (lambda theta, layout, x, d, work: jit.input_gradient(theta, layout, x, d, E_0, work),
            (THETA, LAYOUT, X, D, WORK)),
    "J": (lambda theta, layout, x, work: jit.input_jacobian(theta, layout, x, J, work), (THETA, LAYOUT, X, WORK)),
    "grad": (lambda theta: jit.sgd_step(theta, GRAD, 0.1), (THETA,)),
    "averages": (lambda theta, grad: jit.adam_step(theta, grad, AVERAGES, 1, 0.1), (THETA, GRAD)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_arguments_that_are_no_constants(name):
    """What is written to, and what holds addresses, which Numba's cache would keep for other processes."""
    function, arguments = OTHERS[name]
    with pytest.raises(TypingError, match=rf"fastbp\.jit: {name}: expected an ar\w+ .* found the global"):
        numba.njit(function)(*arguments)


def test_what_may_be_a_constant_or_read_only():
    """Samples, targets, and a copy of initial parameters; an argument may be read-only, in helpers too."""
    @numba.njit
    def from_constants(theta, layout, grad, work):
        start = THETA.copy()
        _, status = jit.accumulate_gradient(start, layout, X, TARGETS, grad, work)
        return status, jit.accumulate_gradient(theta, layout, X, TARGETS, grad, work)[1]

    @numba.njit
    def in_helpers(theta, layout, x, y, work):
        return jit.forward(theta, layout, x, y, work)

    @numba.njit
    def handed_on(theta, layout, x, y, work):
        return in_helpers(theta, layout, x, y, work)

    read_only = THETA.copy()
    read_only.flags.writeable = False
    for theta in (THETA, read_only):
        assert from_constants(theta, LAYOUT, np.zeros_like(THETA), WORK) == (jit.OK, jit.OK)
        y = np.zeros(2)
        assert handed_on(theta, LAYOUT, X, y, WORK) == jit.OK
        assert np.array_equal(y, NET.forward(X[None])[0])
