"""fastbp.sklearn beside scikit-learn: the time of a fit, and the score on held-out data, with default parameters.

For each data set and seed both estimators are fitted in turn on the same three quarters, standardised, and scored on
the rest. The table has the median of the ratios of their times, and means of scores with their standard errors.
Whatever has to be compiled is compiled before.

    python -m fastbp.examples.drop_in [--seeds 10] [--data digits,wine] [--fashion-mnist FOLDER] [--max-iter 200]

Fashion-MNIST, whose folder has the four IDX files, takes scikit-learn minutes for each seed: `--max-iter 10` will do.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from .. import sklearn as drop_ins
from ..datasets import load

SMALL = {"digits": datasets.load_digits, "breast_cancer": datasets.load_breast_cancer, "wine": datasets.load_wine,
         "diabetes": datasets.load_diabetes}
REGRESSIONS = {"diabetes"}

#: Seconds before each fit, in which threads that wait for the other library's next product go to sleep.
REST = 0.2


class Outcome(NamedTuple):
    """The measurements on one data set, an entry for each seed."""

    data: str
    seconds: np.ndarray  # (seeds, 2) of scikit-learn and of fastbp
    scores: np.ndarray   # (seeds, 2)

    @property
    def speedup(self) -> float:
        """The median of how many times as long scikit-learn took."""
        return float(np.median(self.seconds[:, 0] / self.seconds[:, 1]))


class Task(NamedTuple):
    """A data set, split and standardised."""

    estimator: str
    X: np.ndarray
    X_test: np.ndarray
    y: np.ndarray
    y_test: np.ndarray


def task_of(name: str, fashion_mnist: str | None, seed: int) -> Task:
    """Three quarters to train on; Fashion-MNIST has a part for tests."""
    kind = "MLPRegressor" if name in REGRESSIONS else "MLPClassifier"
    if name == "fashion_mnist":
        found = load(str(fashion_mnist))
        X, y, n = found.X / np.float32(255), np.asarray(found.y), found.split
        return Task(kind, X[:n], X[n:], y[:n], y[n:])
    X, y = SMALL[name](return_X_y=True)
    if name in REGRESSIONS:
        y = (y - y.mean()) / y.std()
    X, X_test, y, y_test = train_test_split(X, y, random_state=seed)
    scaler = StandardScaler().fit(X)
    return Task(kind, scaler.transform(X), scaler.transform(X_test), y, y_test)


def measure(name: str, seeds: int, fashion_mnist: str | None = None, **settings: Any) -> Outcome:
    """Fit both on every seed, in turn."""
    seconds, scores = np.zeros((seeds, 2)), np.zeros((seeds, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in range(seeds):
            task = task_of(name, fashion_mnist, seed)
            if seed == 0:  # compiles
                getattr(drop_ins, task.estimator)(**settings | {"max_iter": 1}).fit(task.X[:200], task.y[:200])
            for place, library in enumerate((neural_network, drop_ins)):
                estimator = getattr(library, task.estimator)(random_state=seed, **settings)
                time.sleep(REST)
                begin = time.perf_counter()
                estimator.fit(task.X, task.y)
                seconds[seed, place] = time.perf_counter() - begin
                scores[seed, place] = estimator.score(task.X_test, task.y_test)
    return Outcome(name, seconds, scores)


def with_error(values: np.ndarray) -> str:
    """The mean and its standard error."""
    return f"{values.mean():7.4f} ± {values.std(ddof=1) / np.sqrt(len(values)):.4f}"


def main(arguments: Sequence[str] | None = None) -> list[Outcome]:
    """Print a line for each data set."""
    parser = argparse.ArgumentParser(prog="python -m fastbp.examples.drop_in")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", default=",".join(SMALL))
    parser.add_argument("--fashion-mnist", metavar="FOLDER")
    parser.add_argument("--max-iter", type=int, default=200)
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 2:
        parser.error("--seeds: expected at least 2, for a standard error")
    names = [name for name in chosen.data.split(",") if name] + ["fashion_mnist"] * bool(chosen.fashion_mnist)
    if unknown := set(names) - {*SMALL, "fashion_mnist"}:
        parser.error(f"--data: unknown {', '.join(sorted(unknown))}; expected some of {', '.join(SMALL)}")
    print(f"{'data':14} {'times as fast':>13}  {'scikit-learn':>16}  {'fastbp':>16}  {'difference':>17}")
    outcomes = []
    for name in names:
        outcome = measure(name, chosen.seeds, chosen.fashion_mnist, max_iter=chosen.max_iter)
        theirs, ours = outcome.scores.T
        print(f"{name:14} {outcome.speedup:13.1f}  {with_error(theirs)}  {with_error(ours)}  "
              f"{with_error(ours - theirs)}", flush=True)
        outcomes.append(outcome)
    mean = np.exp(np.mean([np.log(outcome.speedup) for outcome in outcomes]))
    print(f"{'geometric mean':14} {mean:13.1f}")
    return outcomes


if __name__ == "__main__":
    main()
