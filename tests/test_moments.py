"""Means and deviations of features: all digits, of any dtype and order, in any parts."""

from fractions import Fraction

import numpy as np
import pytest
from test_rows import ORDERS, READABLE, numbers
from tolerances import others_in_full

from fastbp.backends import moments
from fastbp.backends.moments import Moments


def moments_of(*parts):
    found = Moments()
    for part in parts:
        found.add(part)
    return found.mean_and_scale()


def exact(X):
    """Mean and deviation of each column, in whole fractions."""
    means, deviations = [], []
    for column in np.asarray(X).T:
        values = [Fraction(int(x)) if np.asarray(X).dtype.kind in "iub" else Fraction(float(x)) for x in column]
        mean = sum(values) / len(values)
        variance = sum((x - mean) ** 2 for x in values) / len(values)
        scale = Fraction(2) ** (int(np.log2(float(max(abs(x) for x in values) or 1))) - 40)
        means.append(float(mean))
        deviations.append(float(np.sqrt(float(variance / scale**2)) * float(scale)) or 1.0)
    return np.array(means), np.array(deviations)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("source", others_in_full(READABLE))
def test_every_dtype_and_order(source, order):
    X = numbers(source, (300, 7))
    mean, scale = moments_of(ORDERS[order](X))
    expected = exact(X)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(scale, expected[1], rtol=1e-14)
    for one, other in zip((mean, scale), moments_of(X.astype(np.float64)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("unit", [1.0, 1e300, 1e-300, 1e-200, 1e200])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e9, -1e12])
def test_no_digits_are_lost(unit, offset):
    """Offsets of 1e9 leave numbers of deviation 1 with seven digits: but those, all of them."""
    if abs(offset) * unit > 1e308:
        return
    X = np.random.default_rng(0).normal(size=(3000, 1)) * unit + offset * unit
    mean, scale = moments_of(X[:7], X[7:1500], X[1500:])
    expected = exact(X)
    np.testing.assert_allclose(mean, expected[0], rtol=3e-16 if offset else 0, atol=1e-15 * unit)
    np.testing.assert_allclose(scale, expected[1], rtol=1e-13)


def test_magnitudes_that_grow_from_part_to_part():
    parts = [np.zeros((5, 3)), np.full((4, 3), 1e-300) * [[1], [2], [3], [4]], np.full((2, 3), [1.0, 1e-299, 1e250])]
    mean, scale = moments_of(*parts)
    whole = np.concatenate(parts)
    np.testing.assert_allclose(mean, [whole[:, 0].mean(), 1e-300 * (10 + 20) / 11, 2e250 / 11], rtol=1e-15)
    np.testing.assert_allclose(scale[1], 1e-300 * (whole[:, 1] * 1e300).std(), rtol=1e-14)
    np.testing.assert_allclose(scale[[0, 2]], [np.std(whole[:, 0]), 1e250 * np.std(whole[:, 2] / 1e250)], rtol=1e-14)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e300, np.finfo(float).max, 1e-300, 5e-324])
def test_a_constant_feature_has_the_scale_1(constant):
    mean, scale = moments_of(np.full((3, 1), constant), np.full((2000, 1), constant))
    assert (mean.tolist(), scale.tolist()) == ([constant], [1.0])


def test_numbers_that_differ_by_their_last_bit_are_not_constant():
    scale = moments_of([[1.0]] * 3000, [[1.0 + 2**-52]] * 1000)[1]
    np.testing.assert_allclose(scale, 2**-52 * np.sqrt(3) / 4, rtol=1e-12)


def test_the_largest_numbers():
    largest = np.finfo(float).max
    mean, scale = moments_of([[largest], [-largest]] * 36)
    assert abs(mean[0]) < 1e-14 * largest
    assert scale.tolist() == [largest]


def test_blocks_are_merged_as_one(monkeypatch):
    """Many blocks, of one row and of several, with a rest."""
    X = numbers("float64", (101, 3)) + 1e6
    expected = exact(X)
    for fewest in (1, 7, 1000):
        monkeypatch.setattr("fastbp.backends.reading.FEWEST_ROWS", fewest)
        monkeypatch.setattr("fastbp.backends.reading.BLOCK_BYTES", 1)
        mean, scale = moments_of(X)
        np.testing.assert_allclose(mean, expected[0], rtol=3e-16)
        np.testing.assert_allclose(scale, expected[1], rtol=1e-13)


def test_parts_have_to_go_together():
    found = Moments()
    with pytest.raises(ValueError, match=r"^X: expected at least one sample, found none"):
        found.mean_and_scale()
    found.add(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^part 2: expected 3 features, found shape \(2, 4\)"):
        found.add(np.ones((2, 4)), "part 2")
    with pytest.raises(ValueError, match=r"^X: found nan at \[1, 0\], expected finite numbers"):
        found.add([[1.0, 1.0, 1.0], [np.nan, 1.0, 1.0]])
    assert moments.Moments(2).features == 2
