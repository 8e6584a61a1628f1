"""The scores of a network on the test rows, and those of a baseline."""

import math
from typing import Any

import numpy as np

from ..mlp import MLP
from .scaling import Scaling, magnitude, predictions


def scores_of(net: MLP, scaling: Scaling, usual: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Scores by name.

    usual : what the baseline always says: the commonest class, or the mean (outputs,), of the training rows.

    R² compares with how the targets spread, and is NaN where all of them are equal, as in one row.
    """
    found = predictions(net, scaling, X).values
    if scaling.classes is not None:
        return {"test_accuracy": float(np.mean(found == y)),
                "baseline_accuracy": float(np.mean(y == usual))}
    y = y.reshape(len(y), -1).astype(np.float64)
    e = magnitude(y).max()  # in these units no square is too large or too small
    with np.errstate(all="ignore"):
        y, found, mean = np.ldexp(y, -e), np.ldexp(found.reshape(y.shape), -e), np.ldexp(usual, -e)
        errors, spread = (found - y) ** 2, (y - y.mean(axis=0)) ** 2
        return {"test_r2": math.nan if (y == y[0]).all() else float(1.0 - errors.sum() / spread.sum()),
                "test_rmse": float(np.ldexp(np.sqrt(errors.mean()), e)),
                "baseline_rmse": float(np.ldexp(np.sqrt(((mean - y) ** 2).mean()), e))}


def as_lines(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Names and values for people."""
    shown = {name: _shown(value) for name, value in scores.items()}
    if "test_accuracy" in shown:
        return [("test accuracy", shown["test_accuracy"]),
                ("baseline", f"accuracy {shown['baseline_accuracy']}, always the commonest class")]
    return [("test R²", shown["test_r2"]), ("test RMSE", shown["test_rmse"]),
            ("baseline", f"RMSE {shown['baseline_rmse']}, always the mean")]


def _shown(value: float) -> str:
    if not math.isfinite(value):
        return "not defined"
    return f"{value:.4f}" if value == 0.0 or 0.01 <= abs(value) < 1e7 else f"{value:.4g}"
