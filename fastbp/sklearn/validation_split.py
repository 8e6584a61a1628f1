"""The part of the samples that early stopping holds out to watch the score on."""

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from ..checks.messages import shown
from ..checks.samples import Samples
from .arguments import part_of


def of_positive_weight(samples: Samples) -> Samples:
    """The samples of weight above 0."""
    if not len(samples.weights) or samples.weights.all():
        return samples
    return part_of(samples, np.flatnonzero(samples.weights))


def hold_out(estimator: Any, samples: Samples) -> tuple[Samples, Samples]:
    """The samples to train on, and those to validate with, drawn as in scikit-learn from those of weight above 0.

    Every later `fit` draws with the generator as it was here, so that it holds out the same part of the same data.

    Raises
    ------
    ValueError
        If they are too few.
    """
    weighted = of_positive_weight(samples)
    if estimator._split_state is None:
        estimator._split_state, random_state = deepcopy(estimator._random_state), estimator._random_state
    else:
        random_state = deepcopy(estimator._split_state)
    stratify = weighted.targets > 0.5 if estimator.out_activation_ == "logistic" and estimator.n_outputs_ == 1 else None
    try:
        training, held_out = train_test_split(np.arange(len(weighted.X)), random_state=random_state,
                                              stratify=stratify, test_size=estimator.validation_fraction)
        if len(held_out) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your "
                             "dataset.")
    except ValueError as error:
        raise ValueError(f"early_stopping: no part can be held out. {str(error).rstrip('.')}."
                         f"{_of_classes(estimator, stratify)}{_of_weights(samples, weighted)}") from None
    return part_of(weighted, training), part_of(weighted, held_out)


def _of_classes(estimator: Any, is_second: np.ndarray | None) -> str:
    """A sentence with the samples of each of two classes, of which both parts get some, or nothing."""
    if is_second is None or len(estimator.classes_) == 1:
        return ""
    names, counts = estimator.classes_.tolist(), np.bincount(is_second.ravel(), minlength=2)
    return (f" Both parts get samples of every class; there are {counts[0]} of {shown(names[0])} (False) and "
            f"{counts[1]} of {shown(names[1])} (True).")


def _of_weights(samples: Samples, weighted: Samples) -> str:
    """A sentence with the number of samples of weight above 0, or nothing where all are."""
    if len(weighted.X) == len(samples.X):
        return ""
    return (f" Of {len(samples.X)} samples, {len(weighted.X)} have a weight above 0 by sample_weight and class_weight; "
            f"others are not held out.")
