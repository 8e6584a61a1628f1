"""Standardised inputs and targets, and the way back from a network's outputs to classes and quantities.

What was learnt from the training rows travels in the network's metadata, so that a saved model can predict from raw
inputs.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..datasets.sources import shown
from ..network import MLP

LARGEST = sys.float_info.max


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
        """Learn means and standard deviations; a constant feature keeps the scale 1."""
        from sklearn.preprocessing import StandardScaler

        inputs = StandardScaler().fit(X.astype(np.float64))
        if classes is not None:
            return cls(inputs.mean_, inputs.scale_, None, None, classes, features)
        quantities = y.reshape(len(y), -1).astype(np.float64)
        if counts:
            means = quantities.mean(axis=0)
            return cls(inputs.mean_, inputs.scale_, np.zeros_like(means), np.where(means > 0, means, 1.0), None,
                       features)
        targets = StandardScaler().fit(quantities)
        return cls(inputs.mean_, inputs.scale_, targets.mean_, targets.scale_, None, features)

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
        """What JSON can hold of it."""
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

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """Standardised inputs."""
        return (X - self.input_mean) / self.input_scale

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Labels as they are, quantities standardised."""
        if self.target_mean is None:
            return y
        return (y.reshape(len(y), -1) - self.target_mean) / self.target_scale


def _numbers(given: dict[str, Any], name: str, count: int, *, above: float = -math.inf) -> np.ndarray:
    """A list of so many finite numbers, as JSON gives it."""
    values = given.get(name)
    if (not isinstance(values, list) or len(values) != count
            or not all(type(value) in (int, float) and above < value and abs(value) <= LARGEST for value in values)):
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"expected {count} finite numbers{bound} as {name!r}, found {values!r:.80}")
    return np.array(values, np.float64)


def _names(given: dict[str, Any], name: str, count: int, *kinds: type) -> list[Any]:
    """A list of so many names, all of one of these kinds."""
    values = given.get(name)
    if not isinstance(values, list) or len(values) != count or set(map(type, values)) not in [{k} for k in kinds]:
        raise ValueError(f"expected {count} names as {name!r}, found {values!r:.80}")
    return values


class Predictions(NamedTuple):
    """What a network says of some samples."""

    values: np.ndarray                 # (n,) labels, or (n,) or (n, outputs) quantities
    probabilities: np.ndarray | None   # (n, classes), None for quantities


def predictions(net: MLP, scaling: Scaling, X: np.ndarray) -> Predictions:
    """The labels and probabilities, or the quantities, of raw inputs."""
    Y = net.forward(scaling.inputs(X)).astype(np.float64)
    if scaling.target_mean is not None and scaling.target_scale is not None:
        with np.errstate(over="ignore"):  # what is beyond float64 is infinite
            means = np.exp(Y) if net.loss == "poisson" else Y
            quantities = means * scaling.target_scale + scaling.target_mean
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
