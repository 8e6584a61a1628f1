"""Pictures of what `measuring.compare` found: bars for workloads and for steps, lines for products."""

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checks.figures import new_figure
from .report import digits, short
from .road import TITLES, kind_of
from .summary import baseline, other_numbers, summarise, threads_of

#: Every contestant has the same colour, marker and hatching in all pictures: colours of Okabe and Ito, which people who
#: confuse red and green tell apart; what shares a library shares a colour, and differs in the rest.
LOOKS = {"tiled": ("#0072B2", "o", ""), "auto": ("#0072B2", "o", ""), "loops": ("#555555", "s", ""),
         "blas": ("#E69F00", "D", ""), "jax": ("#D55E00", "^", ""), "torch": ("#CC79A7", "v", ""),
         "torch compiled": ("#CC79A7", "<", "////"), "torch bfloat16": ("#CC79A7", ">", "oo"),
         "skorch": ("#CC79A7", "8", "..."), "keras jax": ("#D55E00", "p", "////"),
         "keras torch": ("#CC79A7", "h", "xx"), "fann": ("#F0E442", "d", ""), "scikit-learn": ("#56B4E9", "P", ""),
         "numpy": ("#009E73", "X", ""), "numpy skylakex": ("#009E73", "*", "////"),
         "cuda": ("#000000", "d", ""), "cupy": ("#009E73", "p", "\\\\"), "cupy TF32": ("#009E73", "h", "...."),
         **{f"torch cuda{way}{bits}": ("#CC79A7", marker, hatch) for way, bits, marker, hatch in (
             ("", "", "1", ".."), ("", " TF32", "1", "...."), (" compiled", "", "2", "\\\\"),
             (" compiled", " TF32", "2", "xxxx"), (" graphs", "", "3", "++"), (" graphs", " TF32", "3", "++++"))}}
OTHER = ("#999999", ".", "")


def require_drawable(option: str, path: Path) -> None:
    """Whether a picture can be written there, asked before hours of measuring.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If it has no format for the suffix.
    """
    formats = new_figure(1.0, 1.0).canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        raise ValueError(f"{option}: expected a file name that ends in .png, .svg or .pdf, found {path.name!r}")


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the picture of results; the suffix says the format."""
    products = any("product" in row for row in results["workloads"])
    figure = _steps(results) if results.get("steps") else _products(results) if products else _workloads(results)
    figure.savefig(path, dpi=150)


def _look(name: str) -> tuple[str, str, str]:
    return LOOKS.get(short(name), OTHER)


def _caption(figure: Any, results: dict[str, Any]) -> None:
    """Below everything: the processor and the settings."""
    host, threads = results["host"], results["settings"]["threads"]
    parts = [host.get("processor"), host.get("vectors"), f"{threads} thread{'s' if threads > 1 else ''}",
             host.get("timed"), f"fastbp {host.get('fastbp', '')}"]
    sentences = [", ".join(filter(None, parts)),
                 "The ceiling is what fused multiply-adds in registers alone would take", *other_numbers(results)]
    if any(about["runs"] and threads_of(name, results) > threads for name, about in results["contestants"].items()):
        sentences.append("Where a version has more threads, it is that of all of them")
    text = ". ".join(sentences) + "."
    figure.supxlabel(textwrap.fill(text, int(16 * figure.get_figwidth())), fontsize=8, color="#444444")


def _workloads(results: dict[str, Any]) -> Any:
    """For every workload a panel of bars; all on one logarithmic axis, from 1, which is the baseline."""
    summaries, first = summarise(results), baseline(results)
    if first is None:
        raise ValueError("--plot: expected a backend that was timed, to draw the others beside it, found none")
    names = [name for name in results["contestants"] if any(name in summary["us"] for summary in summaries)]
    columns = min(3, len(summaries))
    lines = -(-len(summaries) // columns)
    figure = new_figure(max(7.0, 1.8 + 3.4 * columns), 1.5 + lines * (0.55 + 0.19 * len(names)))
    figure.suptitle(f"Time of one training step relative to fastbp's backend {short(first)}\n"
                    f"(bars to the right: slower; to the left: faster)", fontsize=12)
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes, summary, row in zip(panels, summaries, results["workloads"], strict=False):
        _bars(axes, names, first, summary, row)
    ratios = [ratio for summary in summaries for ratio in summary["to_baseline"].values()]
    low, high = min([1.0, *ratios]), max([1.0, *ratios])
    panels[0].set_xscale("log")
    # Space for the numbers, which stand to the right of the bars and of the line, in a share of the axis.
    panels[0].set_xlim(low / (high / low) ** 0.03, high * max(2.0, (high / low) ** 0.2, (1.0 / high) * 10.0))
    panels[0].xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    panels[0].xaxis.set_minor_formatter(lambda value, _: "")
    for place, axes in enumerate(panels):
        axes.set_visible(place < len(summaries))
        if len(summaries) - columns <= place < len(summaries):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(f"time / {short(first)}'s time (log scale)", fontsize=9)
    _caption(figure, results)
    return figure


def _bars(axes: Any, names: Sequence[str], first: str, summary: dict[str, Any], row: dict[str, Any]) -> None:
    """One workload."""
    for place, name in enumerate(names):
        ratio = summary["to_baseline"].get(name)
        color, _, hatch = _look(name)
        if ratio is None:
            axes.annotate("not timed", (1.0, place), (4, 0), textcoords="offset points", va="center", fontsize=8,
                          color="#777777")
            continue
        axes.barh(place, ratio - 1.0, left=1.0, height=0.75, color=color, hatch=hatch, edgecolor="white", linewidth=0)
        text = f"{digits(ratio)}×"
        if name == first:
            share = summary["share"].get(name)
            text = f"{digits(summary['us'][name])} µs" + ("" if share is None else f", {share:.1%} of the ceiling")
        axes.annotate(text, (max(ratio, 1.0), place), (4, 0), textcoords="offset points", va="center", fontsize=8,
                      color=color if name == first else "black")
    axes.axvline(1.0, color=_look(first)[0], linewidth=1.2)
    axes.set_title(f"{summary['name']}: {'-'.join(map(str, row['widths']))} {row['activation']}, batch "
                   f"{row['batch_size']:,}", fontsize=9)
    axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _products(results: dict[str, Any]) -> Any:
    """For every product a panel of lines, rate over size, below the ceiling."""
    summaries, rows = summarise(results), results["workloads"]
    products = list(dict.fromkeys(row["product"] for row in rows))
    figure = new_figure(1.0 + 4.2 * len(products), 5.6)
    figure.suptitle("How fast each library multiplies matrices: operations per second over the size of W "
                    "(higher is better)", fontsize=12)
    formulas = {"W h": "a = W h + b  (forward)", "Wᵀδ": "e = Wᵀ δ  (backward)", "δhᵀ": "∂E/∂W += δ hᵀ  (gradient)"}
    panels = figure.subplots(1, len(products), squeeze=False, sharey=True)[0]
    ceilings = [summary["ceiling_gflops"] for summary in summaries if summary["ceiling_gflops"] is not None]
    for axes, product in zip(panels, products, strict=True):
        here = [(row["size"], summary) for row, summary in zip(rows, summaries, strict=True)
                if row["product"] == product]
        for name in results["contestants"]:
            points = [(size, summary["gflops"][name]) for size, summary in here if name in summary["gflops"]]
            if points:
                color, marker, hatch = _look(name)
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, linestyle="--" if hatch else "-",
                          markersize=6, linewidth=2.2 if name == baseline(results) else 1.4, label=short(name))
        if ceilings:
            rate = statistics.median(ceilings)
            axes.axhline(rate, color="black", linestyle=(0, (6, 3)), linewidth=1.2)
            axes.annotate(f"ceiling: {digits(rate)} GFLOP/s, multiply-adds alone", (0.02, rate), (0, 4),
                          xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8)
        sizes = [size for size, _ in here]
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
        axes.set_title(formulas[product], fontsize=11)
        axes.set_xlabel(f"N, where W is N × N; {rows[0]['batch_size']} samples")
        axes.grid(alpha=0.25)
    panels[0].set_ylim(0.0, 1.1 * max([*ceilings, *(rate for summary in summaries for rate in
                                                    summary["gflops"].values())]))
    panels[0].set_ylabel("GFLOP/s (higher is better)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    _caption(figure, results)
    return figure


def _steps(results: dict[str, Any]) -> Any:
    """For every product, and for training steps, a panel of bars: the share of the ceiling by version and size."""
    rows = list(zip(results["workloads"], summarise(results), strict=True))
    if not any(summary["share"] for _, summary in rows):
        raise ValueError("--plot: expected a ceiling that was measured, to draw the shares of it, found none")
    names = [name for name, about in results["contestants"].items() if about["runs"]]
    sizes = list(dict.fromkeys(row["widths"][0] for row, _ in rows))
    kinds = [kind for kind in TITLES if any(kind_of(row) == kind for row, _ in rows)]
    figure = new_figure(2.5 + 2.9 * len(kinds), 1.6 + len(names) * (0.14 + 0.15 * len(sizes)))
    figure.suptitle("From the formula to the register tile: the share of the ceiling (longer is better)", fontsize=12)
    panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    height = 0.84 / len(sizes)
    for axes, kind in zip(panels, kinds, strict=True):
        for place, size in enumerate(sizes):
            here = [summary for row, summary in rows if kind_of(row) == kind and row["widths"][0] == size]
            found = {name: summary["share"][name] for summary in here for name in names if name in summary["share"]}
            at = [names.index(name) + (place - (len(sizes) - 1) / 2) * height for name in found]
            bars = axes.barh(at, list(found.values()), 0.92 * height, color=_shade(place, len(sizes)),
                             label=f"N = {size}")
            axes.bar_label(bars, [f"{share:.0%}" for share in found.values()], padding=2, fontsize=7,
                           bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        axes.axvline(1.0, color="black", linestyle=(0, (6, 3)), linewidth=1.2)
        axes.set_title(TITLES[kind], fontsize=10)
        axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=9)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0.0, 1.1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False,
                  title=f"W is N × N,\n{rows[0][0]['batch_size']} samples")
    _caption(figure, results)
    return figure


def _shade(place: int, count: int) -> tuple[float, ...]:
    """A blue, the darker the later its place."""
    light, dark = (0.62, 0.79, 0.88), (0.03, 0.19, 0.42)
    part = place / max(1, count - 1)
    return tuple(a + part * (b - a) for a, b in zip(light, dark, strict=True))
