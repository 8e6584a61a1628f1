"""Figures of matplotlib, which is an extra."""

from typing import Any


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that many inches, whose parts make room for each other.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'fastbp[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")
