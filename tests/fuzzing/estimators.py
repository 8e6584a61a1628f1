"""Random calls of the estimators in place of scikit-learn's."""

import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.sklearn import MLPClassifier, MLPRegressor

from . import values
from .calls import LASTING, _is_large, _text
from .kind import PACKAGE, Wrong, outcome_of
from .values import one_of

#: Good values of parameters.
PARAMETERS: dict[str, list[Any]] = {
    "hidden_layer_sizes": [(3,), 4, (2, 2), ()], "activation": ["relu", "tanh"], "solver": ["adam", "sgd", "lbfgs"],
    "alpha": [0.0, 1e-3], "batch_size": ["auto", 3, 1000], "learning_rate": ["constant", "adaptive", "invscaling"],
    "learning_rate_init": [0.01], "shuffle": [True, False], "random_state": [0, None], "tol": [1e-4], "momentum": [0.9],
    "early_stopping": [True, False], "validation_fraction": [0.3], "beta_1": [0.9], "epsilon": [1e-8],
    "n_iter_no_change": [2], "max_fun": [20], "dropout": [0.0, 0.5], "max_grad_norm": [None, 1.0], "warm_start": [True],
    "callbacks": [(), [lambda estimator, history: False]], "backend": ["loops"], "standardize": [True, False]}
METHODS = ("fit", "partial_fit", "predict", "predict_proba", "score")


class Case(NamedTuple):
    """Calls of one estimator, one after another."""

    estimator: Any
    parameters: dict[str, Any]
    calls: list[tuple[str, dict[str, Any]]]

    def __str__(self) -> str:
        def shown(given: dict[str, Any]) -> str:
            return ", ".join(f"{name}={_text(value)}" for name, value in given.items())

        return f"{self.estimator.__name__}({shown(self.parameters)})" + "".join(
            f".{name}({shown(given)})" for name, given in self.calls)


class Estimators:
    """Estimators with good parameters and data, some of which are replaced by odd ones."""

    name, seconds = "estimators", 200.0

    def prepare(self, folder: Path) -> None:
        warnings.simplefilter("ignore")  # scikit-learn's own, of which there are many
        for kind in (MLPClassifier, MLPRegressor):
            kind(hidden_layer_sizes=(3,), max_iter=2, backend="loops").fit(np.ones((6, 3)), np.arange(6) % 2)

    def case(self, rng: np.random.Generator) -> Case:
        kind = one_of(rng, [MLPClassifier, MLPRegressor])
        parameters = {"max_iter": 2, "backend": "loops"} | {
            name: one_of(rng, good) for name, good in PARAMETERS.items() if rng.random() < 0.25}
        for name in list(parameters):
            if rng.random() < 0.05:
                found = values.odd(rng)
                parameters[name] = parameters[name] if name in LASTING | {"max_iter", "hidden_layer_sizes", "max_fun"} \
                    and _is_large(found) else found
        calls = [self._call(rng, kind, one_of(rng, METHODS) if step else one_of(rng, METHODS[:2]))
                 for step in range(int(rng.integers(1, 4)))]
        return Case(kind, parameters, calls)

    def _call(self, rng: np.random.Generator, kind: Any, method: str) -> tuple[str, dict[str, Any]]:
        n = int(rng.integers(1, 20))
        X = rng.normal(size=(n, 3))
        y = one_of(rng, [rng.integers(0, 3, n), rng.integers(0, 2, (n, 2)), rng.normal(size=n), np.array(["a", "b"])[
            rng.integers(0, 2, n)], rng.integers(0, 2, n).astype(bool)])
        given: dict[str, Any] = {"X": values.lying(rng, X) if rng.random() < 0.4 else X}
        if method in ("fit", "partial_fit", "score"):
            given["y"] = y
            if rng.random() < 0.3:
                given["sample_weight"] = rng.uniform(0, 2, n)
        if method == "partial_fit" and kind is MLPClassifier and rng.random() < 0.7:
            given["classes"] = np.unique(y) if rng.random() < 0.7 else values.odd(rng)
        for name in list(given):
            if rng.random() < 0.15:
                shape = (n, 3) if name == "X" else (n,)
                given[name] = values.odd_array(rng, shape) if rng.random() < 0.6 else values.odd(rng)
        return method, given

    def run(self, case: Case) -> str:
        made: list[Any] = []
        word = outcome_of(lambda: made.append(case.estimator(**case.parameters)))
        for name, given in case.calls:
            if not made or not hasattr(made[0], name):
                continue
            try:
                word = outcome_of(lambda name=name, given=given: getattr(made[0], name)(**given), MemoryError)
            except Wrong as error:
                if not _is_of_scikit_learn(error.__cause__):
                    raise
                word = "scikit-learn's error"
        return word


def _is_of_scikit_learn(error: BaseException | None) -> bool:
    """Whether an error comes from scikit-learn's own functions, which the estimators call as scikit-learn's do."""
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)] if error else []
    own = max((place for place, name in enumerate(frames) if name.startswith(PACKAGE)), default=0)
    return any("site-packages/sklearn" in name.replace("\\", "/") for name in frames[own:])
