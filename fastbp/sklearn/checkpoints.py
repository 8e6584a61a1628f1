"""Checkpoints of the estimators: what a `fit` with "sgd" or "adam" is, and all that it goes on from."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from ..checks.samples import Samples
from ..checks.saved import Saved
from ..functions.activations import Activation
from ..functions.losses import Loss
from ..training.checkpoints import data_values, network_values, require_same

#: Parameters that may be others where a fit goes on: they say how long, what is shown, and what computes.
FREE = ("max_iter", "callbacks", "progress", "verbose", "backend")


def identity(estimator: Any, samples: Samples, validation: Samples | None) -> dict[str, Any]:
    """What a fit is, so that only the same one goes on from its checkpoints.

    samples : all of them, also those that early stopping holds out.
    validation : what the user gave.
    """
    classes = getattr(estimator, "classes_", None)
    return {"settings": _settings(estimator), "network": network_values(estimator.net_),
            "data": {"classes": None if classes is None else _plain(classes)} | data_values(samples, np.asarray, "y"),
            "X_val": validation and data_values(validation, np.asarray, "y_val")}


def _settings(estimator: Any) -> dict[str, Any]:
    """The constructor's parameters, as a file has them."""
    given = estimator.get_params(deep=False)
    if given["products"] is None:  # files of before there was a choice go on
        del given["products"]
    return {name: _plain(value) for name, value in given.items() if name not in FREE}


def _plain(value: Any) -> Any:
    """A parameter as numbers, texts and lists."""
    if isinstance(value, Activation | Loss):
        return value.name
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return sorted([repr(_plain(name)), _plain(part)] for name, part in value.items())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"


def saved_dtype(saved: Saved) -> Any:
    """The dtype of the network of a checkpoint: a warm start may have gone on with another than that of X."""
    name = saved.part("network").text("dtype")
    if name not in ("float32", "float64"):
        raise saved.error(f"network/dtype is {name[:40]}")
    return np.dtype(name).type


def resume_network(estimator: Any, saved: Saved) -> None:
    """Let a new network standardise as that of a checkpoint, which has to be of the same fit.

    Raises
    ------
    ValueError
        If it is of another one, which is named.
    """
    net = estimator.net_
    network = network_values(net)
    del network["standardization"]
    require_same(saved, {"settings": _settings(estimator), "network": network})
    if "standardization" in saved:
        numbers = saved.part("standardization")
        mean, scale = (numbers.array(name, np.float64, (net.widths[0],)) for name in ("mean", "scale"))
        try:
            net.standardize(mean=mean, scale=scale)
        except ValueError as error:
            raise saved.error(str(error)) from None


def estimator_values(estimator: Any) -> dict[str, Any]:
    """The records of an estimator, its generators, and how its network standardises, for a checkpoint."""
    records: dict[str, Any] = {name: None if curve is None else np.array(curve, np.float64) for name, curve in (
        ("loss_curve", estimator.loss_curve_), ("validation_loss_curve", estimator.validation_loss_curve_),
        ("validation_scores", estimator.validation_scores_))}
    records |= {"loss": getattr(estimator, "loss_", None), "best_loss": estimator.best_loss_,
                "best_validation_score": estimator.best_validation_score_, "best_theta": estimator._best_theta,
                "t": int(estimator.t_), "rate": estimator._rate}
    numbers = estimator.net_.standardization
    return {"records": records, "random_state": _state_of(estimator._random_state),
            "split_state": estimator._split_state and _state_of(estimator._split_state),
            "standardization": numbers and {"mean": numbers.mean, "scale": numbers.scale}}


def restore_records(estimator: Any, saved: Saved) -> None:
    """Take the records of `estimator_values`.

    Raises
    ------
    ValueError
        If they do not go together.
    """
    curves = {name: saved.array(name, np.float64, (None,)).tolist() if name in saved else None
              for name in ("loss_curve", "validation_loss_curve", "validation_scores")}
    loss, best_loss, best_score = (saved.real(name) if name in saved else None
                                   for name in ("loss", "best_loss", "best_validation_score"))
    watches_scores = estimator.early_stopping
    if (curves["loss_curve"] is None or (best_loss is None) != watches_scores
            or {best_score is not None, curves["validation_scores"] is not None} != {watches_scores}):
        raise saved.error("its records are not of this fit")
    theta = estimator.net_.theta
    best_theta = saved.finite("best_theta", theta.dtype, theta.shape) if "best_theta" in saved else None
    t, rate = saved.whole("t"), saved.number("rate")
    if rate <= 0.0:
        raise saved.error(f"the learning rate is {rate}")
    estimator.loss_curve_, estimator.validation_loss_curve_, estimator.validation_scores_ = curves.values()
    if loss is not None:
        estimator.loss_ = loss
    estimator.best_loss_, estimator.best_validation_score_ = best_loss, best_score
    estimator._best_theta, estimator.t_, estimator._rate = best_theta, t, rate


def _state_of(generator: np.random.RandomState) -> dict[str, Any]:
    """The state of a generator."""
    state: Any = generator.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise ValueError("random_state: expected a RandomState of MT19937, which a checkpoint can hold, found one of "
                         f"{state['bit_generator']}")
    return {"key": state["state"]["key"], "position": int(state["state"]["pos"]), "has_gauss": state["has_gauss"],
            "gauss": state["gauss"]}


def restore_split(estimator: Any, saved: Saved) -> None:
    """Hold out what was held out before."""
    if "split_state" in saved:
        estimator._split_state = deepcopy(estimator._random_state)
        estimator._split_state.set_state(_saved_state(saved.part("split_state")))


def restore_generator(estimator: Any, saved: Saved) -> None:
    """Go on with the generator of a checkpoint, in place of the present one.

    One that the user gave gets its state; that of NumPy, which stands for None, is everybody's, and stays as it is.
    """
    state, given = _saved_state(saved.part("random_state")), estimator.random_state
    if isinstance(given, np.random.RandomState):
        estimator._random_state = given
    estimator._random_state.set_state(state)


def _saved_state(saved: Saved) -> Any:
    """A state as `RandomState.set_state` takes it, which checks no position."""
    return ("MT19937", saved.array("key", np.uint32, (624,)), saved.whole("position", at_most=624),
            saved.whole("has_gauss", at_most=1), saved.number("gauss"))
