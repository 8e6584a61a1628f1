"""The road from the formula to the tile: its contestants, its rows, and its tables.

Each version of `steps/` is a contestant of its own, on one thread but for `parallel`; the rows are the three products
of a layer, and training steps of a network of two such layers.
"""

import os
from collections.abc import Sequence
from typing import Any

from .contestants import WORKERS, Contestant, own_package
from .measuring import Row
from .products import product_rows
from .report import QUANTITIES, below, cell, notes
from .summary import summarise
from .training import TrainingRow
from .workloads import Workload

#: The versions in the order of the road: modules of `steps/`, and the backend `tiled`.
VERSIONS = ("wrong_order", "unit_stride", "accumulators", "blocking", "parallel", "register_tile", "tiled", "np_dot")

#: N of W (N, N): it fits the first-level cache, the second, and the third. Not 1024: rows of 4 kB share one set of the
#: first-level cache, and `register_tile` takes 1.3 to 1.5 times as long as with 1000 (Zen 4).
SIZES = (64, 256, 1000)

#: Threads of `parallel`, if there are so many processors.
THREADS = 2

#: What stands above the table of a kind of rows.
TITLES = {"W h": "a = W h + b, forward", "Wᵀδ": "e = Wᵀ δ, backward", "δhᵀ": "∂E/∂W += δ hᵀ, gradient",
          "step": "training step of N-N-N"}


def road_contestants() -> list[Contestant]:
    """All versions."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(THREADS, usable)
    found = []
    for version in VERSIONS:
        name = {"tiled": "fastbp tiled", "np_dot": "np.dot",
                "parallel": f"parallel, {threads} thread{'s' if threads > 1 else ''}"}.get(
                    version, version.replace("_", " "))
        found.append(Contestant(name, WORKERS / "fastbp_steps.py", options={"version": version, "backend": "tiled"},
                                environment=own_package(), blas="scipy" if version == "np_dot" else "",
                                install="pip install 'fastbp[blas]'",
                                threads=threads if version == "parallel" else 1))
    return found


def road_rows(sizes: Sequence[int], batch_size: int) -> list[Row]:
    """The three products at every size, and a training step of N-N-N, relu, squared error, plain descent."""
    rows: list[Row] = [*product_rows(sizes, batch_size)]
    for size in dict.fromkeys(sizes):
        rows.append(TrainingRow(Workload(f"step, {size}", (size, size, size), "relu", "squared_error", batch_size,
                                         "sgd", batches=1)))
    return rows


def road_tables(results: dict[str, Any], show: str | None = None) -> str:
    """In Markdown a table for each product, and one for training steps: a line for each version, a column for each N.

    Parameters
    ----------
    show : one of QUANTITIES, optional
        GFLOP/s and the share of the ceiling, if not given.
    """
    show = show or "gflops"
    summaries, rows = summarise(results), results["workloads"]
    shown = [name for name, about in results["contestants"].items() if about["runs"]]
    batch = rows[0]["batch_size"] if rows else 0
    lines = [f"{QUANTITIES[show].format(baseline='tiled')}; {batch} samples; more threads: share of the ceiling of all"]
    for kind, title in TITLES.items():
        here = [(row, summary) for row, summary in zip(rows, summaries, strict=True) if kind_of(row) == kind]
        if not here:
            continue
        cells = [[title, *(f"N = {row['widths'][0]}" for row, _ in here)]]
        cells += [[name.removeprefix("fastbp "), *(cell(show, name, summary, row) for row, summary in here)]
                  for name in shown]
        lines += ["", *markdown(cells)]
    return "\n".join([*lines, "", *below(results, summaries, show, with_peers=False), *notes(results)])


def kind_of(row: dict[str, Any]) -> str:
    """A key of TITLES."""
    return str(row.get("product", "step"))


def markdown(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table with a head, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join([line[0].ljust(widths[0]), *(text.rjust(width) for text, width in
                                                             zip(line[1:], widths[1:], strict=True))]) + " |"
             for line in cells]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [lines[0], rule, *lines[1:]]
