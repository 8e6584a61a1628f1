"""Standardised inputs and targets, and the way back from a network's outputs to classes and quantities.

The network standardises its inputs. What else was learnt from the training rows travels in its metadata, so that a
saved model can predict from raw inputs.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backends.moments import Moments
from ..checks.arrays import NotFiniteError
from ..checks.messages import listed, shown
from ..checks.standardization import Standardization
from ..mlp import MLP

LARGEST_FLOAT = sys.float_info.max


@dataclass(frozen=True)
class Scaling:
    """(y - mean) / scale of the targets where they are quantities (None for classes), and the names of what is learnt.

    Counts are only divided by their mean, near which a network with small weights then begins.
    """

    target_mean: np.ndarray | None
    target_scale: np.ndarray | None
    classes: list[Any] | None
    features: list[str] | None

    @classmethod
    def of(cls, quantities: Moments | None, *, classes: list[Any] | None, features: list[str] | None,
           counts: bool = False) -> "Scaling":
        """Take means and standard deviations of targets; a constant one keeps the scale 1.

        quantities : None for classes.

        Raises
        ------
        ValueError
            If the numbers of a column differ by less than what float64 holds with all digits.
        """
        if quantities is None:
            return cls(None, None, classes, features)
        target_mean, target_scale = quantities.mean_and_scale(lambda i: f"--data: {target_name(i)}")
        if counts:
            target_scale = np.where(target_mean > 0, target_mean, 1.0)
            target_mean = np.zeros_like(target_scale)
        return cls(target_mean, target_scale, None, features)

    @classmethod
    def of_network(cls, net: MLP, source: str) -> "Scaling":
        """The scaling of a network that `fastbp train` wrote to the file `source`.

        Files of older versions have the scaling of the inputs in the metadata, by which the network standardises from
        now on.

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
            if net.standardization is None:
                net.standardize(mean=_numbers(given, "input_mean", inputs),
                                scale=_numbers(given, "input_scale", inputs, above=0.0))
            elif "input_mean" in given or "input_scale" in given:
                raise ValueError("found 'input_mean' or 'input_scale' beside a network that standardises")
            return cls(_numbers(given, "target_mean", outputs) if classes is None else None,
                       _numbers(given, "target_scale", outputs, above=0.0) if classes is None else None,
                       None if classes is None else _names(given, "classes", classes, str, int), features)
        except ValueError as error:
            raise ValueError(f"{source}: its metadata was not written by 'fastbp train' for this network: "
                             f"{error}") from None

    def as_metadata(self) -> dict[str, Any]:
        """The scaling as metadata of a network, which JSON can hold."""
        def listed(array: np.ndarray | None) -> list[float] | None:
            return None if array is None else array.tolist()

        return {"target_mean": listed(self.target_mean), "target_scale": listed(self.target_scale),
                "classes": self.classes, "features": self.features}

    def standardize(self, net: MLP, inputs: Moments) -> None:
        """Let the network standardise its inputs by means and standard deviations of training rows.

        Raises
        ------
        ValueError
            If the numbers of a column differ by less than what float64 holds with all digits.
        """
        mean, scale = inputs.mean_and_scale(lambda j: f"--data: {self.column(j)}")
        net.standardize(mean=mean, scale=scale)

    def column(self, j: int) -> str:
        """The words for a feature."""
        return f"column {j if self.features is None else self.features[j]!r}"

    def columns(self, X: np.ndarray, features: list[str] | None, inputs: int) -> np.ndarray:
        """The features that the network takes of samples: by name where both have names, else as they stand.

        inputs : how many it takes.

        Raises
        ------
        ValueError
            If one is missing, or there are others.
        """
        if features is None or self.features is None:
            if X.shape[1] != inputs:
                raise ValueError(f"--data: the model takes {inputs} features, found {X.shape[1]}; "
                                 f"--target leaves a column of a table out")
            return X
        place = {name: j for j, name in enumerate(features)}
        missing = [name for name in self.features if name not in place]
        if missing:
            raise ValueError(f"--data: expected the columns of the training data, found none named {listed(missing)}; "
                             f"there are {listed(features)}")
        if len(features) > len(self.features):
            known = set(self.features)
            others = [name for name in features if name not in known]
            raise ValueError(f"--data: expected the columns of the training data, found {listed(others)} too; leave "
                             f"out what the model does not take (--target leaves one column out)")
        return X[:, [place[name] for name in self.features]]

    def require_inputs(self, net: MLP, X: np.ndarray) -> None:
        """Refuse numbers that are too large for the dtype of the network, which standardises them."""
        try:
            net.checked_inputs(X)
        except NotFiniteError as error:
            j, numbers = error.index[1], net.standardization
            assert numbers is not None
            raise _too_large(self.column(j), error.found, net.dtype, numbers.mean[j], numbers.scale[j]) from None

    def targets(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Labels as they are, quantities standardised.

        Raises
        ------
        ValueError
            If a number is too large for this dtype.
        """
        if self.target_mean is None or self.target_scale is None:
            return y
        values = y.reshape(len(y), -1)
        Z = Standardization(self.target_mean, self.target_scale).applied(values, np.dtype(np.float64))
        wrong = np.argwhere(~(np.abs(Z) <= np.finfo(dtype).max))
        if len(wrong):
            i, j = wrong[0]
            raise _too_large(target_name(j), values[i, j], dtype, self.target_mean[j], self.target_scale[j])
        return Z


def target_name(i: int) -> str:
    return f"the target (output {i})"


def magnitude(A: np.ndarray) -> np.ndarray:
    """For each column the e for which A / 2^e is between -1 and 1, where no square is too large or too small."""
    return np.frexp(np.abs(A).max(axis=0))[1]


def moments_of(A: np.ndarray) -> Moments:
    """Mean and standard deviation of each column."""
    moments = Moments()
    moments.add(A, "--data")
    return moments


def _too_large(name: str, value: float, dtype: np.dtype, mean: float, scale: float) -> ValueError:
    """The error of a number that a dtype does not hold when it is standardised."""
    return ValueError(f"--data: {name} has the value {value:g}, which {dtype} does not hold in units of the training "
                      f"rows, {mean:g} ± {scale:g}: correct it or leave its row out")


def _numbers(given: dict[str, Any], name: str, count: int, *, above: float = -math.inf) -> np.ndarray:
    """A list of `count` finite numbers, as JSON gives it."""
    values = given.get(name)
    if (not isinstance(values, list) or len(values) != count
            or not all(type(value) in (int, float) and above < value and abs(value) <= LARGEST_FLOAT
                       for value in values)):
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"expected {count} finite numbers{bound} as {shown(name)}, found {shown(values)}")
    return np.array(values, np.float64)


def _names(given: dict[str, Any], name: str, count: int, *kinds: type) -> list[Any]:
    """A list of `count` names, all of one of these kinds."""
    values = given.get(name)
    if not isinstance(values, list) or len(values) != count or set(map(type, values)) not in [{k} for k in kinds]:
        raise ValueError(f"expected {count} names as {shown(name)}, found {shown(values)}")
    return values


class Predictions(NamedTuple):
    """The predictions of a network for some samples."""

    values: np.ndarray                 # (n,) labels, or (n,) or (n, outputs) quantities
    probabilities: np.ndarray | None   # (n, classes), None for quantities


def predictions(net: MLP, scaling: Scaling, X: np.ndarray) -> Predictions:
    """The labels and probabilities, or the quantities, of raw inputs."""
    scaling.require_inputs(net, X)
    Y = net.forward(X).astype(np.float64)
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
