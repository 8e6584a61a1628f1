"""Tables of what `measuring.compare` found."""

import statistics
from collections.abc import Sequence
from typing import Any

#: A spread that is worth a warning; on a machine left alone it is ±1 to 3 %.
RESTLESS = 0.2


def summarise(results: dict[str, Any]) -> list[dict[str, Any]]:
    """For every workload what its measurements say.

    Returns
    -------
    summaries : list of dict
        "name"; "us", the median microseconds of a step by contestant; "spread", half the distance between its slowest
        and fastest round, as a share of that; "fastest_peer", or None; "ratio", the median over the rounds of
        fastbp's time by that peer's of the same round, for each backend; "ceiling_us", a step at the ceiling on all
        threads, or None; "share" of the ceiling by contestant.
    """
    return [_summary(workload, results) for workload in results["workloads"]]


def _summary(workload: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    seconds: dict[str, list[float]] = workload["seconds"]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    of_peers = [name for name in medians if results["contestants"][name]["peer"]]
    fastest = min(of_peers, key=lambda name: medians[name], default=None)
    ratios = {} if fastest is None else {
        name: statistics.median(own / peer for own, peer in zip(seconds[name], seconds[fastest], strict=True))
        for name in medians if name not in of_peers}
    at_ceiling = None
    if workload["ceiling"]:
        at_ceiling = workload["flops"] / (statistics.median(workload["ceiling"]) * results["settings"]["threads"])
    return {"name": workload["name"],
            "us": {name: 1e6 * median for name, median in medians.items()},
            "spread": {name: (max(times) - min(times)) / (2 * medians[name]) for name, times in seconds.items()},
            "fastest_peer": fastest, "ratio": ratios,
            "ceiling_us": None if at_ceiling is None else 1e6 * at_ceiling,
            "share": {} if at_ceiling is None else {name: at_ceiling / median for name, median in medians.items()}}


def geometric_means(summaries: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of the ratios to the fastest peer, for each backend, over the workloads that have one."""
    found: dict[str, list[float]] = {}
    for summary in summaries:
        for name, ratio in summary["ratio"].items():
            found.setdefault(name, []).append(ratio)
    return {name: statistics.geometric_mean(ratios) for name, ratios in found.items()}


def table(results: dict[str, Any]) -> str:
    """Times, ratios and shares as text, and below it what each contestant was and why any was not timed."""
    summaries = summarise(results)
    shown = [name for name, about in results["contestants"].items() if about["runs"]]
    backends = [name for name in shown if not results["contestants"][name]["peer"]]
    with_peers = any(summary["fastest_peer"] for summary in summaries)
    short = [name.removeprefix("fastbp ") for name in backends]
    heads = ["µs per step", "ceiling", *shown, *(f"{name} / *" for name in short if with_peers),
             *(f"{name} of ceiling" for name in short)]
    rows = []
    for summary, workload in zip(summaries, results["workloads"], strict=True):
        row = [summary["name"], "-" if summary["ceiling_us"] is None else digits(summary["ceiling_us"])]
        row += [_time(name, summary, workload) for name in shown]
        if with_peers:
            row += [_ratio(summary["ratio"].get(name)) for name in backends]
        row += [f"{summary['share'][name]:.1%}" if name in summary["share"] else "-" for name in backends]
        rows.append(row)
    lines = [_aligned([heads, *rows]), *(["* the fastest peer"] if with_peers else [])]
    lines += [f"geometric mean of {name} / *: {mean:.3f}" for name, mean in geometric_means(summaries).items()]
    worst = max((spread for summary in summaries for spread in summary["spread"].values()), default=0.0)
    if worst > RESTLESS:
        lines.append(f"rounds differ by up to ±{worst:.0%}: something else was running, and the ratios say little")
    return "\n".join([*lines, "", *_notes(results)])


def _time(name: str, summary: dict[str, Any], workload: dict[str, Any]) -> str:
    if name in summary["us"]:
        star = "*" if name == summary["fastest_peer"] else ""
        return f"{star}{digits(summary['us'][name])} ±{summary['spread'][name]:.0%}"
    return "wrong" if workload["failed"].get(name, "").startswith("wrong") else "failed"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def digits(number: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}" if number >= 0.1 else f"{number:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be, names to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                           zip(row[1:], widths[1:], strict=True))]) for row in rows)


def _notes(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, about in results["contestants"].items():
        if not about["runs"]:
            lines.append(f"{name}: not timed, {about['reason']}")
            continue
        versions = ", ".join(f"{part} {version}" for part, version in about.get("versions", {}).items())
        lines.append(f"{name}: {versions}{_variants(name, results)}")
    for workload in results["workloads"]:
        lines += [f"{workload['name']}: {name}: {reason}" for name, reason in workload["failed"].items()
                  if name != "ceiling"]
    unknown = [workload["failed"]["ceiling"] for workload in results["workloads"] if "ceiling" in workload["failed"]]
    return [*lines, *(f"ceiling: not measured, {reason}" for reason in dict.fromkeys(unknown))]


def _variants(name: str, results: dict[str, Any]) -> str:
    """The settings with which a contestant was timed, and where, if not the same everywhere."""
    chosen: dict[str, list[str]] = {}
    for workload in results["workloads"]:
        if name in workload["warm_up"]:
            chosen.setdefault(workload["warm_up"][name]["variant"], []).append(workload["name"])
    if len(chosen) < 2:
        return "".join(f"; {variant}" for variant in chosen)
    return "".join(f"; {variant} on {', '.join(names)}" for variant, names in chosen.items())


def difference(new: dict[str, Any], old: dict[str, Any]) -> str:
    """A table of two results: what changed for every contestant that both have timed on a workload.

    Times of two runs differ also because the machine was in another state, so that the ratios inside each run, to its
    fastest peer and to its ceiling, stand beside them.

    Raises
    ------
    ValueError
        If the results have nothing in common.
    """
    rows = []
    for after in summarise(new):
        before = next((summary for summary in summarise(old) if summary["name"] == after["name"]), None)
        for name in after["us"] if before else ():
            if before is None or name not in before["us"]:
                continue
            times = [before["us"][name], after["us"][name]]
            ratios = [_ratio(summary["ratio"].get(name)) for summary in (before, after)]
            shares = [f"{summary['share'][name]:.1%}" if name in summary["share"] else "-"
                      for summary in (before, after)]
            rows.append([f"{after['name']}, {name}", *map(digits, times), f"{times[1] / times[0]:.2f}",
                         *ratios, *shares])
    if not rows:
        raise ValueError("--against: the two results have no workload and contestant in common")
    return _aligned([["µs per step", "old", "new", "new / old", "old / peer", "new / peer", "old of ceiling",
                      "new of ceiling"], *rows])
