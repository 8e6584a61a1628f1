"""Values that users might pass in: good ones that lie in odd ways, and bad ones of every sort."""

import array as arrays
import datetime
import decimal
import fractions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import ma
from scipy import sparse

from .kind import UsersOwn

REAL = ["f2", "f4", "f8", "g", ">f4", ">f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">u4", "?"]
OTHER = ["O", "U3", "S3", "c8", "c16", "M8[s]", "m8[s]", [("a", "f4"), ("b", "i8")], "V5"]
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 2**31, -2**31, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, -2**63, -2**63 - 1,
           10**400,
           -10**400, 0.0, -0.0, 0.1, 0.5, 1.0, 1.5, -1.0, 1e-300, 5e-324, 1e-46, 1e38, 3.5e38, 1e300, 1.7e308, np.inf,
           -np.inf,
           np.nan, True, False, 1j, decimal.Decimal("0.1"), fractions.Fraction(1, 3), fractions.Fraction(10**400, 3)]
TEXTS = ["", "auto", "tanh", "relu", "softmax", "identity", "huber(0.5)", "huber(", "quantile(1e400)", "loss", "min",
         "max",
         "float32", "f4,f4", "sgd", "loops", "cuda", "a\0b", "\ud800", "ä" * 50, "x" * 100_000, "../..", "(" * 500]
EDGES = [np.nan, np.inf, -np.inf, -0.0, 1e300, -1e300, 1e39, 5e-324, 1e-46, 2.0**63, -1.0, 1e10]


def one_of(rng: np.random.Generator, values: Any) -> Any:
    """One of some values, as it is."""
    return values[int(rng.integers(len(values)))]


class Hostile:
    """An object that raises when it is looked at in one way."""

    def __init__(self, way: str) -> None:
        self.way = way

    def _raise(self, way: str, value: Any) -> Any:
        if self.way == way:
            raise UsersOwn(way)
        return value

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._raise("array", np.ones((3, 3)))

    def __len__(self) -> int:
        return self._raise("len", 2)

    def __iter__(self) -> Any:
        return iter(self._raise("iter", [1.0, 2.0]))

    def __getitem__(self, place: Any) -> Any:
        if place not in (0, 1):
            raise IndexError(place)
        return self._raise("getitem", 1.0)

    def __repr__(self) -> str:
        return self._raise("repr", "a hostile object")

    def __eq__(self, other: object) -> bool:
        return self._raise("eq", False)

    __hash__ = object.__hash__

    def __float__(self) -> float:
        return self._raise("float", 1.0)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._raise("call", None)


class Own(np.ndarray):
    """A subclass of NumPy's array."""


def a_function(*arguments: Any) -> None:
    return None


def a_generator() -> Any:
    yield np.ones((2, 3)), np.zeros(2, int)


def odd(rng: np.random.Generator) -> Any:
    """Anything at all."""
    match int(rng.integers(16)):
        case 0 | 1 | 2:
            return one_of(rng, NUMBERS)
        case 3:
            return one_of(rng, TEXTS)
        case 4:
            return one_of(rng, [None, None, b"tanh", bytearray(5), memoryview(b"abcd"), object(), object, int,
                                np.float32,
                                a_function, a_generator, a_generator(), iter([1, 2]), ..., NotImplemented, Path("none"),
                                datetime.datetime(2020, 1, 1), slice(3), range(3), range(1000), np.random,
                                float("nan")])
        case 5:
            return Hostile(one_of(rng, ["array", "len", "iter", "getitem", "repr", "eq", "float", "call", "nothing"]))
        case 6:
            return [odd(rng) for _ in range(int(rng.integers(4)))]
        case 7:
            return tuple(odd(rng) for _ in range(int(rng.integers(4))))
        case 8:
            return {one_of(rng, ["a", "loss", 1, None, (1, 2)]): odd(rng) for _ in range(int(rng.integers(3)))}
        case 9:
            return one_of(rng, [np.float32, np.float64, np.int8, np.uint64, np.bool_, np.str_, np.float16])(1)
        case 10:
            return one_of(rng, [np.datetime64("2020"), np.complex64(1), np.float32("nan"), np.longdouble("1e4000"),
                                np.float64(-0.0), np.timedelta64(1), {1, 2}, frozenset([1]), np.dtype("f4"), [[]],
                                [[1], [1, 2]]])
        case _:
            return odd_array(rng, tuple(int(n) for n in rng.integers(0, 5, int(rng.integers(4)))))


def odd_array(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """An array of any dtype, with numbers that may be at the edges."""
    values = rng.integers(0, 3, shape) if rng.random() < 0.5 else rng.normal(size=shape)
    values = np.array(values, np.float64)
    if values.size and rng.random() < 0.5:
        values.flat[int(rng.integers(values.size))] = one_of(rng, EDGES)
    dtype = one_of(rng, REAL if rng.random() < 0.7 else OTHER)
    with np.errstate(all="ignore"):
        try:
            values = values.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            values = np.zeros(shape, dtype)
    return lying(rng, values)


def lying(rng: np.random.Generator, values: np.ndarray) -> Any:
    """The same numbers, lying or wrapped in another way."""
    match int(rng.integers(18)):
        case 0:
            return np.asfortranarray(values)
        case 1:
            return np.repeat(values, 2, axis=0)[::2] if values.ndim else values
        case 2:
            return values[..., ::-1].copy()[..., ::-1] if values.ndim else values
        case 3:
            room = np.zeros(values.nbytes + 1, np.uint8)
            unaligned = room[1:].view(values.dtype).reshape(values.shape) if values.dtype != object else values
            if values.dtype != object:
                unaligned[...] = values
            return unaligned
        case 4:
            values.flags.writeable = False
            return values
        case 5:
            return values.view(Own)
        case 6:
            return ma.masked_array(values, mask=bool(rng.integers(2)))
        case 7:
            return np.matrix(values) if values.ndim == 2 else values
        case 8:
            return values.tolist()
        case 9 if values.ndim == 2 and _is_for_pandas(values):
            return pd.DataFrame(values)
        case 10 if values.ndim == 1 and _is_for_pandas(values):
            return pd.Series(values)
        case 11 | 12:
            return odd_sparse(rng, values)
        case 13:
            return arrays.array("d", values.ravel().tolist()) if values.dtype.kind in "iuf" else values
        case 14:
            return np.broadcast_to(values[:1], values.shape) if values.ndim else values
        case _:
            return values


def _is_for_pandas(values: np.ndarray) -> bool:
    return values.dtype.kind in "biufO" and values.dtype.isnative and values.dtype.char not in "ge"


def odd_sparse(rng: np.random.Generator, values: np.ndarray) -> Any:
    """A sparse matrix of SciPy, whose structure may be damaged."""
    if values.ndim != 2 or values.dtype.kind not in "biufc" or values.dtype.char in "eg" or not values.dtype.isnative:
        return values
    form = one_of(rng, [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array, sparse.lil_array,
                        sparse.dok_array, sparse.bsr_array, sparse.dia_array])
    matrix = form(values)
    if form in (sparse.csr_array, sparse.csr_matrix) and rng.random() < 0.5:
        part = one_of(rng, ["indices", "indptr", "data"])
        damaged = getattr(matrix, part)
        if damaged.size:
            damaged[int(rng.integers(damaged.size))] = one_of(rng, [-1, 100, 0, 1, 2**31 - 1]
                                                              if part != "data" else [0, 1, 99])
        if rng.random() < 0.2:
            setattr(matrix, part, damaged[:-1])
    return matrix
