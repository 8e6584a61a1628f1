"""Standardised inputs and targets, and the way back from a network's outputs to classes and quantities.

What was learnt from the training rows travels in the network's metadata, so that a saved model can predict from raw
inputs.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..network import MLP


@dataclass(frozen=True)
class Scaling:
    """(x - mean) / scale of every feature, and of the targets where they are quantities (None for classes)."""

    input_mean: np.ndarray
    input_scale: np.ndarray
    target_mean: np.ndarray | None
    target_scale: np.ndarray | None
    classes: list[Any] | None
    features: list[str] | None

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, *, classes: list[Any] | None, features: list[str] | None) -> "Scaling":
        """Learn means and standard deviations; a constant feature keeps the scale 1."""
        from sklearn.preprocessing import StandardScaler

        inputs = StandardScaler().fit(X.astype(np.float64))
        if classes is not None:
            return cls(inputs.mean_, inputs.scale_, None, None, classes, features)
        targets = StandardScaler().fit(y.reshape(len(y), -1).astype(np.float64))
        return cls(inputs.mean_, inputs.scale_, targets.mean_, targets.scale_, None, features)

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any], features: int) -> "Scaling":
        """The scaling of a network that `fastbp train` wrote.

        Raises
        ------
        ValueError
            If the metadata is not of that kind.
        """
        try:
            arrays: dict[str, Any] = {name: None if metadata[name] is None else np.array(metadata[name], np.float64)
                                      for name in ("input_mean", "input_scale", "target_mean", "target_scale")}
            found = cls(**arrays, classes=metadata["classes"], features=metadata["features"])
            if (found.classes is None) == (found.target_mean is None):
                raise ValueError("expected either classes or the mean and scale of quantities")
            if found.input_mean.shape != (features,) or found.input_scale.shape != (features,):
                raise ValueError(f"means of {found.input_mean.shape} for {features} features")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"MODEL: its metadata was not written by 'fastbp train' ({error!r})") from None
        return found

    def as_metadata(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        def listed(array: np.ndarray | None) -> list[float] | None:
            return None if array is None else array.tolist()

        return {"input_mean": listed(self.input_mean), "input_scale": listed(self.input_scale),
                "target_mean": listed(self.target_mean), "target_scale": listed(self.target_scale),
                "classes": self.classes, "features": self.features}

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """Standardised inputs."""
        if X.shape[1] != len(self.input_mean):
            raise ValueError(f"--data: the model takes {len(self.input_mean)} features, found {X.shape[1]}; "
                             f"--target leaves a column of a table out")
        return (X - self.input_mean) / self.input_scale

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Labels as they are, quantities standardised."""
        if self.target_mean is None:
            return y
        return (y.reshape(len(y), -1) - self.target_mean) / self.target_scale


class Predictions(NamedTuple):
    """What a network says of some samples."""

    values: np.ndarray                 # (n,) labels, or (n,) or (n, outputs) quantities
    probabilities: np.ndarray | None   # (n, classes), None for quantities


def predictions(net: MLP, X: np.ndarray) -> Predictions:
    """The labels and probabilities, or the quantities, of raw inputs."""
    scaling = Scaling.from_metadata(net.metadata, net.widths[0])
    Y = net.forward(scaling.inputs(X)).astype(np.float64)
    if scaling.target_mean is not None and scaling.target_scale is not None:
        quantities = Y * scaling.target_scale + scaling.target_mean
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
