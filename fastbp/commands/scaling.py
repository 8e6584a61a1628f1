"""Standardised inputs and targets, and the way back from a network's outputs to classes and quantities.

What was learnt from the training rows travels in the network's metadata, so that a saved model can predict from raw
inputs.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..datasets.sources import shown
from ..mlp import MLP

LARGEST_FLOAT, SMALLEST_NORMAL = sys.float_info.max, sys.float_info.min
_BELOW_ONE = math.nextafter(1.0, 0.0)
_COLUMNS = 128  # that are copied at a time


@dataclass(frozen=True)
class Scaling:
    """(x - mean) / scale of every feature, and of the targets where they are quantities (None for classes).

    Counts are only divided by their mean, near which a network with small weights then begins.
    """

    input_mean: np.ndarray
    input_scale: np.ndarray
    target_mean: np.ndarray | None
    target_scale: np.ndarray | None
    classes: list[Any] | None
    features: list[str] | None

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, *, classes: list[Any] | None, features: list[str] | None,
           counts: bool = False) -> "Scaling":
        """Learn means and standard deviations; a constant feature keeps the scale 1.

        Raises
        ------
        ValueError
            If the numbers of a column differ by less than what float64 holds with all digits.
        """
        mean, scale = mean_and_deviation(X, partial(_feature, features))
        if classes is not None:
            return cls(mean, scale, None, None, classes, features)
        quantities = y.reshape(len(y), -1)
        target_mean, target_scale = mean_and_deviation(quantities, target_name)
        if counts:
            target_scale = np.where(target_mean > 0, target_mean, 1.0)
            target_mean = np.zeros_like(target_scale)
        return cls(mean, scale, target_mean, target_scale, None, features)

    @classmethod
    def of_network(cls, net: MLP, source: str) -> "Scaling":
        """The scaling of a network that `fastbp train` wrote to the file `source`.

        Raises
        ------
        ValueError
            If the network's metadata is not of that kind, or does not fit the network.
        """
        inputs, outputs, targets = net.widths[0], net.widths[-1], net.loss_record.targets
        given, classes = net.metadata, {"classes": outputs, "bits": 2}.get(targets)
        try:
            if targets == "bits" and outputs != 1:
                raise ValueError(f"expected 1 output for the loss {net.loss}, found {outputs}")
            features = None if given.get("features") is None else _names(given, "features", inputs, str)
            if features is not None and len(set(features)) < inputs:
                raise ValueError("two of 'features' have one name")
            return cls(_numbers(given, "input_mean", inputs), _numbers(given, "input_scale", inputs, above=0.0),
                       _numbers(given, "target_mean", outputs) if classes is None else None,
                       _numbers(given, "target_scale", outputs, above=0.0) if classes is None else None,
                       None if classes is None else _names(given, "classes", classes, str, int), features)
        except ValueError as error:
            raise ValueError(f"{source}: its metadata was not written by 'fastbp train' for this network: "
                             f"{error}") from None

    def as_metadata(self) -> dict[str, Any]:
        """The scaling as metadata of a network, which JSON can hold."""
        def listed(array: np.ndarray | None) -> list[float] | None:
            return None if array is None else array.tolist()

        return {"input_mean": listed(self.input_mean), "input_scale": listed(self.input_scale),
                "target_mean": listed(self.target_mean), "target_scale": listed(self.target_scale),
                "classes": self.classes, "features": self.features}

    def columns(self, X: np.ndarray, features: list[str] | None) -> np.ndarray:
        """The features that the network takes of samples: by name where both have names, else as they stand.

        Raises
        ------
        ValueError
            If one is missing, or there are others.
        """
        if features is None or self.features is None:
            if X.shape[1] != len(self.input_mean):
                raise ValueError(f"--data: the model takes {len(self.input_mean)} features, found {X.shape[1]}; "
                                 f"--target leaves a column of a table out")
            return X
        place = {name: j for j, name in enumerate(features)}
        missing = [name for name in self.features if name not in place]
        if missing:
            raise ValueError(f"--data: expected the columns of the training data, found none named {shown(missing)}; "
                             f"there are {shown(features)}")
        if len(features) > len(self.features):
            known = set(self.features)
            others = [name for name in features if name not in known]
            raise ValueError(f"--data: expected the columns of the training data, found {shown(others)} too; leave out "
                             f"what the model does not take (--target leaves one column out)")
        return X[:, [place[name] for name in self.features]]

    def inputs(self, X: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Standardised inputs.

        Raises
        ------
        ValueError
            If a number is too large for this dtype.
        """
        return _standardised(X, self.input_mean, self.input_scale, dtype, partial(_feature, self.features))

    def targets(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Labels as they are, quantities standardised.

        Raises
        ------
        ValueError
            If a number is too large for this dtype.
        """
        if self.target_mean is None or self.target_scale is None:
            return y
        return _standardised(y.reshape(len(y), -1), self.target_mean, self.target_scale, dtype, target_name)


def _feature(features: list[str] | None, j: int) -> str:
    return f"column {j if features is None else features[j]!r}"


def target_name(i: int) -> str:
    return f"the target (output {i})"


def magnitude(A: np.ndarray) -> np.ndarray:
    """For each column the e for which A / 2^e is between -1 and 1, where no square is too large or too small."""
    return np.frexp(np.abs(A).max(axis=0))[1]


def mean_and_deviation(A: np.ndarray, name: Callable[[int], str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, 1 where it is constant.

    Both are computed in units of the column's magnitude and from the first row on, so that neither numbers near 1e300
    nor small differences of large numbers are lost.
    """
    means, deviations = np.empty(A.shape[1]), np.empty(A.shape[1])
    for begin in range(0, A.shape[1], _COLUMNS):
        columns = slice(begin, begin + _COLUMNS)
        e = magnitude(A[:, columns])
        unit = np.ldexp(A[:, columns].astype(np.float64), -e)
        beyond = unit - unit[0]
        mean = beyond.mean(axis=0)
        means[columns] = np.ldexp(unit[0] + mean, e)
        deviation = np.minimum(np.sqrt(np.mean((beyond - mean) ** 2, axis=0)), _BELOW_ONE)
        deviations[columns] = np.where((beyond == 0.0).all(axis=0), 1.0, np.ldexp(deviation, e))
    if (deviations < SMALLEST_NORMAL).any():
        j = int(deviations.argmin())
        raise ValueError(f"--data: {name(j)} has the standard deviation {deviations[j]:g}, expected 0 or at least "
                         f"{SMALLEST_NORMAL:.3g}, below which float64 loses digits: give it in another unit")
    return means, deviations


def _standardised(A: np.ndarray, mean: np.ndarray, scale: np.ndarray, dtype: np.dtype, name: Callable[[int], str]
                  ) -> np.ndarray:
    """(A - mean) / scale."""
    Z = np.divide(A, 2.0, dtype=np.float64)  # halves, because a difference of the largest numbers overflows
    Z -= mean / 2.0
    with np.errstate(over="ignore"):
        Z /= scale
        Z *= 2.0
    if not max(Z.max(), -Z.min()) <= np.finfo(dtype).max:
        i, j = np.argwhere(~(np.abs(Z) <= np.finfo(dtype).max))[0]
        raise ValueError(f"--data: {name(j)} has the value {A[i, j]:g}, which {dtype} does not hold in units of the "
                         f"training rows, {mean[j]:g} ± {scale[j]:g}: correct it or leave its row out")
    return Z


def _numbers(given: dict[str, Any], name: str, count: int, *, above: float = -math.inf) -> np.ndarray:
    """A list of `count` finite numbers, as JSON gives it."""
    values = given.get(name)
    if (not isinstance(values, list) or len(values) != count
            or not all(type(value) in (int, float) and above < value and abs(value) <= LARGEST_FLOAT
                       for value in values)):
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"expected {count} finite numbers{bound} as {name!r}, found {values!r:.80}")
    return np.array(values, np.float64)


def _names(given: dict[str, Any], name: str, count: int, *kinds: type) -> list[Any]:
    """A list of `count` names, all of one of these kinds."""
    values = given.get(name)
    if not isinstance(values, list) or len(values) != count or set(map(type, values)) not in [{k} for k in kinds]:
        raise ValueError(f"expected {count} names as {name!r}, found {values!r:.80}")
    return values


class Predictions(NamedTuple):
    """The predictions of a network for some samples."""

    values: np.ndarray                 # (n,) labels, or (n,) or (n, outputs) quantities
    probabilities: np.ndarray | None   # (n, classes), None for quantities


def predictions(net: MLP, scaling: Scaling, X: np.ndarray) -> Predictions:
    """The labels and probabilities, or the quantities, of raw inputs."""
    Y = net.forward(scaling.inputs(X, net.dtype)).astype(np.float64)
    if scaling.target_mean is not None and scaling.target_scale is not None:
        with np.errstate(over="ignore"):  # what is too large for float64 is infinite
            means = np.exp(Y) if net.loss == "poisson" else Y
            quantities = 2.0 * (means * (scaling.target_scale / 2.0) + scaling.target_mean / 2.0)
        return Predictions(quantities[:, 0] if quantities.shape[1] == 1 else quantities, None)
    if net.loss == "binary_cross_entropy":
        p = 1.0 / (1.0 + np.exp(-np.clip(Y, -700.0, 700.0)))
        probabilities = np.hstack([1.0 - p, p])
    elif net.activations[-1] == "softmax":
        probabilities = Y
    else:
        exponentials = np.exp(Y - Y.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return Predictions(probabilities.argmax(axis=1), probabilities)
