"""Summaries of what `measuring.compare` found: quantities, and ratios inside a round."""

import statistics
from collections.abc import Sequence
from typing import Any

from .measuring import BFLOAT16_CEILING, CEILINGS

#: What is said of contestants whose products round their factors, by what they round them to.
OTHER_NUMBERS = {"TF32": "other numbers: products in TF32 on tensor cores (10 bits)",
                 "bfloat16": "other numbers: products in bfloat16 (7 bits)"}


def summarise(results: dict[str, Any]) -> list[dict[str, Any]]:
    """For every row what its measurements say.

    Returns
    -------
    summaries : list of dict
        "name"; by contestant "us", the median microseconds of a step, "spread", half the distance between its slowest
        and fastest round, as a share of that, "samples" and "gflops" in a second; "baseline", see `baseline`, or None;
        "to_baseline", by contestant the median over the rounds of its time by the baseline's of the same round;
        "fastest_peer", or None, of those that do not round their factors; "ratio", the same median of each backend's
        time by that peer's; "fastest", of all contestants that do not round, and "to_fastest", each one's median by
        that one's; "ceiling_us" and "ceiling_gflops", a step at the ceiling on the settings' threads, or None;
        "gpu_ceiling_us" and "gpu_ceiling_gflops", the same of the GPU; "bfloat16_ceiling_gflops", that of bfloat16
        products on these threads; "share" by contestant, of the ceiling of its device or of its products, on its
        threads.
    """
    return [_summary(row, results) for row in results["workloads"]]


def baseline(results: dict[str, Any]) -> str | None:
    """The contestant that others are compared with: `tiled`, or where it was not timed, the first backend that was."""
    timed = [name for name, about in results["contestants"].items()
             if not (about["peer"] or rounds_to(name, results))
             and any(name in row["seconds"] for row in results["workloads"])]
    return "fastbp tiled" if "fastbp tiled" in timed else next(iter(timed), None)


def _summary(row: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    seconds: dict[str, list[float]] = row["seconds"]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    of_peers = [name for name in medians if results["contestants"][name]["peer"]]
    exact = [name for name in medians if not rounds_to(name, results)]
    first_of_all = min(exact, key=medians.__getitem__, default=None)
    fastest = min((name for name in exact if name in of_peers), key=medians.__getitem__, default=None)
    first = baseline(results)
    first = first if first in medians else None
    rates = _ceilings(row, results)
    return {"name": row["name"],
            "us": {name: 1e6 * median for name, median in medians.items()},
            "spread": {name: (max(times) - min(times)) / (2 * medians[name]) for name, times in seconds.items()},
            "samples": {name: row["batch_size"] / median for name, median in medians.items()},
            "gflops": {name: 1e-9 * row["flops"] / median for name, median in medians.items()},
            "baseline": first,
            "to_baseline": {} if first is None else {name: _ratio(seconds[name], seconds[first]) for name in medians},
            "fastest_peer": fastest,
            "ratio": {} if fastest is None else {name: _ratio(seconds[name], seconds[fastest]) for name in medians
                                                 if name not in of_peers and not rounds_to(name, results)},
            "fastest": first_of_all,
            "to_fastest": {} if first_of_all is None else {name: median / medians[first_of_all]
                                                           for name, median in medians.items()},
            **{f"{CEILINGS[device]}_us": 1e6 * row["flops"] / rates[device] if device in rates else None
               for device in CEILINGS},
            **{f"{CEILINGS[device]}_gflops": 1e-9 * rates[device] if device in rates else None for device in CEILINGS},
            f"{BFLOAT16_CEILING}_gflops": 1e-9 * rates["bfloat16"] if "bfloat16" in rates else None,
            "share": {name: row["flops"] / (rates[ceiling] * more_threads(name, results) * median)
                      for name, median in medians.items()
                      if (ceiling := rounds_to(name, results) or device_of(name, results)) in rates}}


def device_of(name: str, results: dict[str, Any]) -> str:
    """The device of a contestant; results without the entry are of processors."""
    return str(results["contestants"][name].get("device", "cpu"))


def threads_of(name: str, results: dict[str, Any]) -> int:
    """The threads of a contestant; results without the entry have one number for all."""
    return int(results["contestants"][name].get("threads", results["settings"]["threads"]))


def more_threads(name: str, results: dict[str, Any]) -> float:
    """The threads of a contestant by those of the settings."""
    return threads_of(name, results) / int(results["settings"]["threads"])


def rounds_to(name: str, results: dict[str, Any]) -> str:
    """What a contestant's products round their factors to, or ""; earlier results say whether it is TF32."""
    about = results["contestants"][name]
    return str(about.get("rounds_to", "TF32" if about.get("tf32") else ""))


def other_numbers(results: dict[str, Any]) -> list[str]:
    """A line for everything that contestants which run here round their factors to."""
    found = {rounds_to(name, results) for name, about in results["contestants"].items() if about["runs"]}
    return [f"{kind}: {text}" for kind, text in OTHER_NUMBERS.items() if kind in found]


def _ceilings(row: dict[str, Any], results: dict[str, Any]) -> dict[str, float]:
    """Operations a second of devices, and of "bfloat16" products, where measured: of all threads, or of the GPU."""
    rates = {device: statistics.median(row[place]) for device, place in CEILINGS.items() if row.get(place)}
    if row.get(BFLOAT16_CEILING):
        rates["bfloat16"] = statistics.median(row[BFLOAT16_CEILING])
    return {kind: rate if kind == "gpu" else rate * results["settings"]["threads"] for kind, rate in rates.items()}


def _ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of the rounds."""
    return statistics.median(time / other for time, other in zip(times, others, strict=True))


def geometric_means(summaries: Sequence[dict[str, Any]], quantity: str = "ratio") -> dict[str, float]:
    """The geometric mean over the rows, for each contestant, of "ratio", to the fastest peer, or of another of the
    ratios that summaries have."""
    found: dict[str, list[float]] = {}
    for summary in summaries:
        for name, ratio in summary[quantity].items():
            found.setdefault(name, []).append(ratio)
    return {name: statistics.geometric_mean(ratios) for name, ratios in found.items()}
