"""Error messages stay short, whatever was passed in."""

import numpy as np
import pytest

import fastbp
from fastbp.checks.messages import listed, shortened, shown
from fastbp.schedules import WarmUp


class Unprintable:
    def __repr__(self):
        raise RuntimeError("not today")


LARGE = {"text": "x" * 10**6, "bytes": b"x" * 10**6, "list": [["x" * 100] * 100] * 10_000, "tuple": (1,) * 10**6,
         "dict": {number: number for number in range(10**5)}, "integer": 10**10_000, "negative": -10**10_000,
         "array": np.ones(10**6), "text in an array": np.array("x" * 10**6), "unprintable": Unprintable(),
         "structured": np.zeros(1, [(f"field {place}", float) for place in range(10**4)])}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_value_is_shown_on_one_short_line(value):
    text = shown(value)
    assert 0 < len(text) <= 80
    assert "\n" not in text


@pytest.mark.parametrize(("value", "text"), [
    ("it's", '"it\'s"'), (None, "None"), ([1, 2.5, "a"], "[1, 2.5, 'a']"), ((1,), "(1,)"),
    ({"a": (1, 2)}, "{'a': (1, 2)}"), (np.arange(3), "array([0, 1, 2])"),
    (np.ones((7, 2)), "an array of float64 of shape (7, 2)"),
    (Unprintable(), "<Unprintable>"), ([], "[]"), (2**80, str(2**80)), (10**100, "a number of 333 bits"),
    ("two  spaces", "'two  spaces'")])
def test_how_values_are_shown(value, text):
    assert shown(value) == text


def test_what_contains_itself_is_shown():
    loop = []
    loop.append(loop)
    assert shown(loop) == "[[[[…]]]]"


def test_names_and_texts_are_shortened():
    assert listed(["a", "b"]) == "'a', 'b'"
    assert len(listed("x" * 10**5 for _ in range(10**5))) < 500
    assert len(shortened("x" * 10**6)) == 400
    assert shortened("one\n   two") == "one two"


CALLS = {
    "widths": lambda value: fastbp.MLP([*value, -1] if isinstance(value, tuple) else value),
    "a width": lambda value: fastbp.MLP([value, 1]),
    "activation": lambda value: fastbp.MLP([2, 2], activation=value),
    "loss": lambda value: fastbp.MLP([2, 2], loss=value),
    "dtype": lambda value: fastbp.MLP([2, 2], dtype=value),
    "backend": lambda value: fastbp.MLP([2, 2], backend=value),
    "initializer": lambda value: fastbp.MLP([2, 2], initializer=value),
    "a setting": lambda value: fastbp.Adam(value),
    "schedule": lambda value: WarmUp(value, 3),
    "monitor": lambda value: fastbp.EarlyStopping(value),
    "mode": lambda value: fastbp.EarlyStopping("loss", mode=value),
    "parameter": lambda value: fastbp.HuberLoss(value),
    "path": lambda value: fastbp.Shards(value),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_errors_of_large_values_are_short(call):
    for value in LARGE.values():
        with pytest.raises((ValueError, TypeError, OSError)) as caught:
            call(value)
        assert len(str(caught.value)) <= 1000 or isinstance(caught.value, OSError)
