"""The orders of samples: permutations, uniform, and a function of the seed and the epoch alone."""

import itertools

import numpy as np
import pytest

from fastbp.formulas.sampling import IN_ORDER, WITH_REPLACEMENT, WITHOUT_REPLACEMENT, draw_order


def drawn(n, sampling=WITHOUT_REPLACEMENT, seed=0, epoch=0):
    order = np.full(n, -1)
    draw_order(order, sampling, seed, epoch)
    return order


def assert_uniform(counts, freedom):
    """χ² of counts that should be equal is at most 5 of its standard deviations above its mean."""
    expected = counts.sum() / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


#: A seed and its epochs, or an epoch and many seeds: the orders have to be uniform over both.
DRAWS = {"epochs": lambda i: {"seed": 1, "epoch": i}, "seeds": lambda i: {"seed": i, "epoch": 1},
         "large seeds": lambda i: {"seed": 2**63 - 1 - i, "epoch": 0}}


@pytest.mark.parametrize("n", [1, 2, 3, 100, 10007])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_without_replacement_every_sample_comes_once(n, seed):
    assert sorted(drawn(n, seed=seed, epoch=3)) == list(range(n))


@pytest.mark.parametrize("n", [1, 2, 100, 10007])
def test_with_replacement_every_sample_is_in_range(n):
    order = drawn(n, WITH_REPLACEMENT)
    assert order.min() >= 0
    assert order.max() < n
    assert n < 100 or 0.6 < len(set(order.tolist())) / n < 0.67  # 1 - 1/e


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_permutations_are_uniform(draw):
    number = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    found = [number[tuple(drawn(4, **draw(i)).tolist())] for i in range(24_000)]
    assert_uniform(np.bincount(found, minlength=24), freedom=23)
    pairs = np.histogram2d(found[1:], found[:-1], bins=24)[0]  # an order does not depend on the one before
    assert_uniform(pairs, freedom=575)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_places_are_uniform(draw):
    counts = np.zeros((50, 50))
    for i in range(10_000):
        counts[np.arange(50), drawn(50, **draw(i))] += 1
    assert_uniform(counts, freedom=49 * 49)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_draws_with_replacement_are_uniform(draw):
    orders = np.array([drawn(50, WITH_REPLACEMENT, **draw(i)) for i in range(2_000)])
    assert_uniform(np.bincount(orders.ravel(), minlength=50), freedom=49)
    assert_uniform(np.histogram2d(orders[:, 0], orders[:, 1], bins=10)[0], freedom=99)


@pytest.mark.parametrize("sampling", [WITHOUT_REPLACEMENT, WITH_REPLACEMENT])
def test_a_function_of_seed_and_epoch_alone(sampling):
    order = drawn(100, sampling, seed=5, epoch=7)
    draw_order(drawn(33, sampling, seed=8), sampling, 1, 2)  # other draws between do not matter, nor what was there
    again = np.arange(100)[::-1].copy()
    draw_order(again, sampling, 5, 7)
    assert np.array_equal(again, order)
    for seed, epoch in ((5, 8), (5, 6), (6, 7), (4, 7), (7, 5)):
        assert (drawn(100, sampling, seed, epoch) != order).mean() > 0.8


def test_an_empty_order_is_left_empty():
    order = np.empty(0, np.int64)
    for sampling in (IN_ORDER, WITHOUT_REPLACEMENT, WITH_REPLACEMENT):
        draw_order(order, sampling, 1, 2)
    assert order.shape == (0,)
