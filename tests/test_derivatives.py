"""Finite differences hold users' derivatives to their formulas: right ones pass, at kinks too; wrong ones do not."""

import math

import pytest

from fastbp import Activation, Loss
from fastbp.checks.derivatives import POINTS, require_derivative


def clipped(r, bound):
    return min(bound, max(-bound, r))


def huber(r, bound):
    return 0.5 * r * r if abs(r) <= bound else bound * (abs(r) - 0.5 * bound)


def tilt(y, d):
    return 0.9 if d > y else 0.1


def sign(r):
    return (r > 0.0) - (r < 0.0)


# Kinks lie at y = d, and elsewhere where a difference of two points or a point itself is: 5.6 = 9.7 - 4.1, 0.81, 9.7.
RIGHT_LOSSES = {
    "expectile": (lambda y, d: tilt(y, d) * (y - d) ** 2, lambda y, d: 2 * tilt(y, d) * (y - d)),
    "expectile of large weights": (lambda y, d: 100 * tilt(y, d) * (y - d) ** 2,
                                   lambda y, d: 200 * tilt(y, d) * (y - d)),
    "asymmetric Huber": (lambda y, d: (5 if y > d else 1) * huber(y - d, 1.0),
                         lambda y, d: (5 if y > d else 1) * clipped(y - d, 1.0)),
    "Huber with bounds at points": (lambda y, d: 30 * huber(y - d, 5.6), lambda y, d: 30 * clipped(y - d, 5.6)),
    "square above d": (lambda y, d: max(y - d, 0.0) ** 2, lambda y, d: 2 * max(y - d, 0.0)),
    "steep square below d": (lambda y, d: 50 * max(d - y, 0.0) ** 2, lambda y, d: -100 * max(d - y, 0.0)),
    "square outside a band": (lambda y, d: 20 * max(abs(y - d) - 5.6, 0.0) ** 2,
                              lambda y, d: 40 * max(abs(y - d) - 5.6, 0.0) * sign(y - d)),
    "square above d, cube below": (lambda y, d: 5 * (y - d) ** 2 if y > d else 0.2 * (d - y) ** 3,
                                   lambda y, d: 10 * (y - d) if y > d else -0.6 * (d - y) ** 2),
    "power 1.75 above d": (lambda y, d: max(y - d, 0.0) ** 1.75, lambda y, d: 1.75 * max(y - d, 0.0) ** 0.75),
    "slopes that differ little, right": (lambda y, d: 4e-4 * max(y - d, 0.0) + 0.5 * (y - d) ** 2,
                                         lambda y, d: (4e-4 if y >= d else 0.0) + y - d),
    "slopes that differ little, left": (lambda y, d: 4e-4 * max(y - d, 0.0) + 0.5 * (y - d) ** 2,
                                        lambda y, d: (4e-4 if y > d else 0.0) + y - d),
    "pinball": (lambda y, d: max(0.1 * (d - y), 0.9 * (y - d)), lambda y, d: -0.1 if d > y else 0.9),
    "step": (lambda y, d: 1.0 if y > d else 0.0, lambda y, d: 0.0),
    "quartic": (lambda y, d: (y - d) ** 4, lambda y, d: 4 * (y - d) ** 3),
    "squared hinge": (lambda y, d: 40 * max(0.81 - y, 0.0) ** 2, lambda y, d: -80 * max(0.81 - y, 0.0)),
    "hinge": (lambda y, d: max(0.81 - y, 0.0), lambda y, d: -1.0 if y < 0.81 else 0.0),
}

WRONG_LOSSES = {
    "expectile with the weights of the other side": (RIGHT_LOSSES["expectile"][0],
                                                     lambda y, d: 2 * (1 - tilt(y, d)) * (y - d)),
    "expectile of the other sign": (RIGHT_LOSSES["expectile"][0], lambda y, d: 2 * tilt(y, d) * (d - y)),
    "expectile without its factor": (RIGHT_LOSSES["expectile"][0], lambda y, d: tilt(y, d) * (y - d)),
    "expectile with one weight": (RIGHT_LOSSES["expectile"][0], lambda y, d: 2 * 0.9 * (y - d)),
    "expectile off by a constant": (RIGHT_LOSSES["expectile"][0], lambda y, d: 2 * tilt(y, d) * (y - d) + 2e-4),
    "expectile wrong at the kink alone": (RIGHT_LOSSES["expectile"][0],
                                          lambda y, d: 2 * tilt(y, d) * (y - d) if y != d else 0.9),
    "Huber never clipped": (lambda y, d: huber(y - d, 1.0), lambda y, d: y - d),
    "Huber always clipped": (lambda y, d: huber(y - d, 1.0), lambda y, d: sign(y - d)),
    "asymmetric Huber as a symmetric one": (RIGHT_LOSSES["asymmetric Huber"][0], lambda y, d: clipped(y - d, 1.0)),
    "square above d, below it too": (RIGHT_LOSSES["square above d"][0], lambda y, d: 2 * (y - d)),
    "square above d, by d": (RIGHT_LOSSES["square above d"][0], lambda y, d: -2 * max(y - d, 0.0)),
    "slopes that differ little, beyond both": (RIGHT_LOSSES["slopes that differ little, left"][0],
                                               lambda y, d: (4e-4 if y > d else 0.0 if y < d else -2e-4) + y - d),
    "pinball with its sides swapped": (RIGHT_LOSSES["pinball"][0], lambda y, d: 0.9 if d > y else -0.1),
    "quartic as a cube": (RIGHT_LOSSES["quartic"][0], lambda y, d: 3 * (y - d) ** 3),
    "squared hinge beyond its margin": (RIGHT_LOSSES["squared hinge"][0], lambda y, d: -80 * (0.81 - y)),
    "nearly right": (lambda y, d: 0.5 * (y - d) ** 2, lambda y, d: 1.0001 * (y - d)),
    "value": (lambda y, d: (y - d) ** 2, lambda y, d: (y - d) ** 2),
}

RIGHT_ACTIVATIONS = {
    "squared relu from a point on": (lambda a: 20 * max(a - 0.37, 0.0) ** 2, lambda a: 40 * max(a - 0.37, 0.0)),
    "the same far out": (lambda a: 3 * max(a - 9.7, 0.0) ** 2, lambda a: 6 * max(a - 9.7, 0.0)),
    "cubic spline": (lambda a: 300 * max(a - 9.7, 0.0) ** 3, lambda a: 900 * max(a - 9.7, 0.0) ** 2),
    "elu from a point on": (lambda a: 9 * (a - 4.1 if a > 4.1 else math.expm1(a - 4.1)),
                            lambda a: 9.0 if a > 4.1 else 9 * math.exp(a - 4.1)),
    "soft shrinkage": (lambda a: sign(a) * max(abs(a) - 0.81, 0.0), lambda a: 1.0 if abs(a) > 0.81 else 0.0),
    "step": (lambda a: math.floor(100 * a), lambda a: 0.0),
    "steep sine": (lambda a: math.sin(100 * a), lambda a: 100 * math.cos(100 * a)),
    "steep exponential": (lambda a: math.exp(2 * a * a), lambda a: 4 * a * math.exp(2 * a * a)),
}

WRONG_ACTIVATIONS = {
    "squared relu without a bound": (RIGHT_ACTIVATIONS["squared relu from a point on"][0], lambda a: 40 * (a - 0.37)),
    "squared relu, half": (RIGHT_ACTIVATIONS["squared relu from a point on"][0], lambda a: 20 * max(a - 0.37, 0.0)),
    "elu with the line's slope": (RIGHT_ACTIVATIONS["elu from a point on"][0], lambda a: 9.0),
    "sine of the other sign": (RIGHT_ACTIVATIONS["steep sine"][0], lambda a: -100 * math.cos(100 * a)),
    "step as a line": (RIGHT_ACTIVATIONS["step"][0], lambda a: 100.0),
    "off by a little": (math.tanh, lambda a: 1 - math.tanh(a) ** 2 + 3e-5),
}


def check(names, formulas, cases):
    value, derivative = (lambda x, rest, f=f: float(f(x, *rest)) for f in formulas)
    for rest in cases:
        require_derivative(names, value, derivative, rest)


def check_loss(formulas):
    check(("loss", "loss_prime"), formulas, [(d,) for d in POINTS])


def check_activation(formulas):
    check(("g", "g_prime"), formulas, [()])


@pytest.mark.parametrize("formulas", RIGHT_LOSSES.values(), ids=RIGHT_LOSSES)
def test_right_losses(formulas):
    check_loss(formulas)


@pytest.mark.parametrize("formulas", WRONG_LOSSES.values(), ids=WRONG_LOSSES)
def test_wrong_losses(formulas):
    with pytest.raises(ValueError, match=r"^loss_prime: expected the derivative of loss, which is .*, found"):
        check_loss(formulas)


@pytest.mark.parametrize("formulas", RIGHT_ACTIVATIONS.values(), ids=RIGHT_ACTIVATIONS)
def test_right_activations(formulas):
    check_activation(formulas)


@pytest.mark.parametrize("formulas", WRONG_ACTIVATIONS.values(), ids=WRONG_ACTIVATIONS)
def test_wrong_activations(formulas):
    with pytest.raises(ValueError, match=r"^g_prime: expected the derivative of g, which is .*, found"):
        check_activation(formulas)


@pytest.mark.parametrize("scale", [1.0, 50.0])
@pytest.mark.parametrize("targets", ["values", "bits", "counts"])
def test_compiled_formulas_with_kinks(targets, scale):
    """The squared hinge has its kink at a margin, the expectile loss and the one-sided square at y = d."""
    Loss("kinked", lambda y, d: scale * (0.9 if d > y else 0.1) * (y - d) ** 2,
         lambda y, d: 2 * scale * (0.9 if d > y else 0.1) * (y - d), targets)
    Loss("kinked", lambda y, d: scale * max(0.81 - (2 * d - 1) * y, 0.0) ** 2,
         lambda y, d: -2 * scale * (2 * d - 1) * max(0.81 - (2 * d - 1) * y, 0.0), targets)
    Activation("kinked", lambda a: scale * max(a - 9.7, 0.0) ** 2, lambda a, h: 2 * scale * max(a - 9.7, 0.0))
