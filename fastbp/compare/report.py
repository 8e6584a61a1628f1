"""Tables of what `measuring.compare` found, and the words around them."""

import statistics
from collections.abc import Sequence
from typing import Any

from .measuring import BFLOAT16_CEILING, CEILINGS
from .summary import baseline, geometric_means, other_numbers, rounds_to, summarise

#: What the cells of a table may show, and its title.
QUANTITIES = {"ratio": "times as long as {baseline}", "us": "µs per step", "samples": "samples per second",
              "gflops": "GFLOP/s, share of the ceiling", "share": "share of the ceiling"}

#: A spread that is worth a warning; on a machine left alone it is ±1 to 3 %.
RESTLESS = 0.2


def header(results: dict[str, Any]) -> str:
    """The lines above a table: host, threads, ceilings and contestants."""
    about = {name: contestant for name, contestant in results["contestants"].items() if contestant["runs"]}
    lines = dict(results["host"])
    layers = {contestant.get("versions", {}).get("threading layer") for contestant in about.values()} - {None}
    if layers:
        lines["threads"] = f"{results['settings']['threads']}; threading layer {' or '.join(sorted(layers))}"
    ceilings = [rate for row in results["workloads"] for rate in row["ceiling"]]
    if ceilings:
        lines["ceiling"] = (f"{digits(1e-9 * statistics.median(ceilings))} GFLOP/s of {results['settings']['dtype']} "
                            f"multiply-adds on one core")
    of_bfloat16 = [rate for row in results["workloads"] for rate in row.get(BFLOAT16_CEILING, [])]
    if of_bfloat16:
        lines["ceiling"] += f", {digits(1e-9 * statistics.median(of_bfloat16))} of bfloat16 products"
    of_gpu = [rate for row in results["workloads"] for rate in row.get("gpu_ceiling", [])]
    gpus = {contestant.get("versions", {}).get("GPU") for contestant in about.values()} - {None}
    if gpus:
        lines["GPU"] = " or ".join(sorted(gpus))
        if of_gpu:
            lines["GPU"] += (f"; ceiling {digits(1e-9 * statistics.median(of_gpu))} GFLOP/s of "
                             f"{results['settings']['dtype']} multiply-adds without tensor cores")
    by_library: dict[str, list[str]] = {}
    for name, contestant in about.items():
        library = contestant.get("blas") or contestant.get("versions", {}).get("BLAS")
        if library:
            by_library.setdefault(library, []).append(short(name))
    if by_library:
        lines["BLAS"] = "; ".join(f"{', '.join(names)}: {library}" for library, names in by_library.items())
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


def table(results: dict[str, Any], show: str | None = None) -> str:
    """One quantity of every row and contestant as text, with means below, what each contestant was, and why any was
    not timed.

    Parameters
    ----------
    show : one of QUANTITIES, optional
        If not given, rates for products, and ratios for workloads.
    """
    shown = [name for name, about in results["contestants"].items() if about["runs"]]
    if not shown:
        return "\n".join(["nothing was timed", "", *notes(results)])
    summaries = summarise(results)
    products = any("product" in row for row in results["workloads"])
    show = show or ("gflops" if products else "ratio")
    first = baseline(results)
    ceilings = [place for place in CEILINGS.values() if any(row.get(place) for row in results["workloads"])]
    columns = [name for name in shown if show != "ratio" or name != first]
    with_peers = any(summary["fastest_peer"] for summary in summaries)
    own = [name for name in shown if not (results["contestants"][name]["peer"] or rounds_to(name, results))]
    by_peer = {"ratio": [first] if first else [], "us": own}.get(show, [])
    by_peer = by_peer if with_peers else []
    heads = ["product, N" if products else "workload"]
    heads += [f"{short(first)} µs/step", "±", "GFLOP/s", "of ceiling"] if show == "ratio" and first else []
    heads += [place.replace("_", " ") for place in ceilings] if show in ("us", "gflops") else []
    heads += [short(name) for name in columns]
    heads += [f"{short(name)} / *" for name in by_peer]
    cells = []
    for summary, row in zip(summaries, results["workloads"], strict=True):
        line = [summary["name"]]
        line += _of_baseline(summary, row, first) if show == "ratio" and first else []
        line += [_number(summary[f"{place}_{show}"]) for place in ceilings] if show in ("us", "gflops") else []
        line += [cell(show, name, summary, row) for name in columns]
        line += [_number(summary["ratio"].get(name)) for name in by_peer]
        cells.append(line)
    title = QUANTITIES[show].format(baseline=short(first or "fastbp"))
    lines = [title, "", aligned([*_in_two_lines(heads), *cells])]
    return "\n".join([*lines, *below(results, summaries, show, with_peers), "", *notes(results)])


def short(name: str) -> str:
    """A contestant's name without "fastbp", where the rest says enough."""
    return name.removeprefix("fastbp ")


def digits(number: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}" if number >= 0.1 else f"{number:.4f}"


def _number(number: float | None) -> str:
    return "-" if number is None else digits(number)


def _of_baseline(summary: dict[str, Any], row: dict[str, Any], first: str) -> list[str]:
    if first not in summary["us"]:
        return [_missing(first, row), "-", "-", "-"]
    share = summary["share"].get(first)
    return [digits(summary["us"][first]), f"{summary['spread'][first]:.0%}", digits(summary["gflops"][first]),
            "-" if share is None else f"{share:.1%}"]


def cell(show: str, name: str, summary: dict[str, Any], row: dict[str, Any]) -> str:
    """A quantity of a contestant on a row."""
    if name not in summary["us"]:
        return _missing(name, row)
    star = "*" if name == summary["fastest_peer"] else ""
    share = f"{summary['share'][name]:.1%}" if name in summary["share"] else "-"
    if show == "share":
        return star + share
    if show == "ratio":
        return star + _number(summary["to_baseline"].get(name))
    number = star + digits(summary[show][name])
    return {"us": f"{number} ±{summary['spread'][name]:.0%}", "gflops": f"{number} {share:>6}"}.get(show, number)


def _missing(name: str, row: dict[str, Any]) -> str:
    return "wrong" if row["failed"].get(name, "").startswith("wrong") else "failed"


def _in_two_lines(heads: Sequence[str]) -> list[list[str]]:
    """The heads of columns of numbers broken at a space or hyphen where they are long."""
    pairs = [("", heads[0])]
    for head in heads[1:]:
        if len(head) > 8 and "/ *" not in head:
            left, mark, right = head.partition("-" if "-" in head else " ")
            pairs.append((left + mark.strip(), right))
        else:
            pairs.append(("", head))
    return [list(line) for line in zip(*pairs, strict=True)]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be, names to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                           zip(row[1:], widths[1:], strict=True))]) for row in rows)


def below(results: dict[str, Any], summaries: Sequence[dict[str, Any]], show: str, with_peers: bool) -> list[str]:
    """Means, and a warning where the machine was busy."""
    lines = ["* the fastest peer"] if with_peers else []
    lines += [f"{text}; never *, and the ceiling is not theirs" for text in other_numbers(results)]
    first = baseline(results)
    means = [("* (the fastest peer)", geometric_means(summaries))]
    if show == "ratio" and first:
        means.insert(0, (short(first), {name: mean for name, mean in geometric_means(summaries, "to_baseline").items()
                                        if name != first}))
    lines += [f"geometric mean of time / time of {of}: " + ", ".join(
        f"{short(name)} {digits(mean)}" for name, mean in found.items()) for of, found in means if found]
    worst = max((spread for summary in summaries for spread in summary["spread"].values()), default=0.0)
    if worst > RESTLESS:
        lines.append(f"rounds differ by up to ±{worst:.0%}: something else was running, and the ratios say little")
    return lines


def notes(results: dict[str, Any]) -> list[str]:
    """What each contestant was, and why any was not timed."""
    lines = []
    meters = [place.replace("_", " ") for place in CEILINGS.values()]
    for name, about in results["contestants"].items():
        if not about["runs"]:
            lines.append(f"{short(name)}: not timed, {about['reason']}")
            continue
        versions = ", ".join(f"{part} {version}" for part, version in about.get("versions", {}).items()
                             if part not in ("BLAS", "GPU", "threading layer"))  # which the header has
        lines.append(f"{short(name)}: {'; '.join(filter(None, [versions, variants(name, results)]))}")
    for row in results["workloads"]:
        lines += [f"{row['name']}: {short(name)}: {reason}" for name, reason in row["failed"].items()
                  if name not in meters]
    unknown = [f"{name}: not measured, {row['failed'][name]}" for name in meters for row in results["workloads"]
               if name in row["failed"]]
    return [*lines, *dict.fromkeys(unknown)]


def variants(name: str, results: dict[str, Any]) -> str:
    """The settings with which a contestant was timed, and where, if not the same everywhere."""
    chosen: dict[str, list[str]] = {}
    for row in results["workloads"]:
        if name in row["warm_up"]:
            chosen.setdefault(row["warm_up"][name]["variant"], []).append(row["name"])
    if len(chosen) < 2:
        return "".join(chosen)
    return "; ".join(f"{variant} on {', '.join(names)}" for variant, names in chosen.items())


def difference(new: dict[str, Any], old: dict[str, Any]) -> str:
    """A table of two results: what changed for every contestant that both have timed on a row.

    Times of two runs differ also because the machine was in another state, so that the ratios inside each run, to its
    fastest peer and to its ceiling, stand beside them.

    Raises
    ------
    ValueError
        If the results have nothing in common.
    """
    rows = []
    before_by_name = {summary["name"]: summary for summary in summarise(old)}
    for after in summarise(new):
        before = before_by_name.get(after["name"], {"us": {}})
        for name in after["us"]:
            if name not in before["us"]:
                continue
            times = [before["us"][name], after["us"][name]]
            ratios = [_number(summary["ratio"].get(name)) for summary in (before, after)]
            shares = [f"{summary['share'][name]:.1%}" if name in summary["share"] else "-"
                      for summary in (before, after)]
            rows.append([f"{after['name']}, {short(name)}", *map(digits, times), f"{times[1] / times[0]:.2f}",
                         *ratios, *shares])
    if not rows:
        raise ValueError("--against: the two results have no row and contestant in common")
    return aligned([["µs per step", "old", "new", "new / old", "old / peer", "new / peer", "old of ceiling",
                      "new of ceiling"], *rows])
