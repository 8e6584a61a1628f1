"""Everything measured as a table for other programs: a line for every row and contestant, units in its head."""

import csv
import io
from typing import Any

from .measuring import CEILINGS
from .summary import OTHER_NUMBERS, device_of, more_threads, rounds_to, summarise, threads_of

HEAD = ("row", "network", "product", "activation", "loss", "optimizer", "batch size [samples]", "shuffled",
        "contestant", "peer", "device", "variant", "dtype", "numbers", "threads", "time [us/step]",
        "spread [share of time]", "throughput [samples/s]", "rate [GFLOP/s]", "ceiling [GFLOP/s]",
        "share of ceiling [1]", "baseline", "time / baseline time [1]", "fastest peer", "time / fastest peer time [1]",
        "rounds", "first run [s]", "disagreement [1]", "failed")


def as_csv(results: dict[str, Any]) -> str:
    """Lines in the order of the results; what was not measured, or does not apply, is left empty."""
    text = io.StringIO()
    lines = csv.DictWriter(text, HEAD, restval="", lineterminator="\n")
    lines.writeheader()
    settings = results["settings"]
    for summary, row in zip(summarise(results), results["workloads"], strict=True):
        for name, about in results["contestants"].items():
            if not about["runs"]:
                continue
            warm_up = row["warm_up"].get(name, {})
            lines.writerow({
                "row": row["name"], "network": "-".join(map(str, row["widths"])), "product": row.get("product", ""),
                **{part: row.get(part, "") for part in ("activation", "loss", "optimizer")},
                "batch size [samples]": row["batch_size"], "shuffled": _is_shuffled(row), "contestant": name,
                "peer": str(about["peer"]).lower(), "device": device_of(name, results),
                "variant": warm_up.get("variant", ""), "dtype": settings["dtype"],
                "numbers": OTHER_NUMBERS.get(rounds_to(name, results), settings["dtype"]),
                "threads": threads_of(name, results),
                "first run [s]": warm_up.get("first_seconds", ""),
                "disagreement [1]": row["disagreement"].get(name, ""),
                "failed": row["failed"].get(name, ""), **_measured(name, summary, row, results)})
    return text.getvalue()


def _is_shuffled(row: dict[str, Any]) -> str:
    """Whether training is shuffled, for a cell; results without the entry took all batches in order."""
    return "" if "product" in row else str(row.get("shuffle", False)).lower()


def _measured(name: str, summary: dict[str, Any], row: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    if name not in summary["us"]:
        return {}
    fastest = summary["fastest_peer"]
    rounds = rounds_to(name, results)
    ceiling = summary.get(f"{rounds}_ceiling_gflops") if rounds else summary[
        f"{CEILINGS[device_of(name, results)]}_gflops"]
    return {"time [us/step]": summary["us"][name], "spread [share of time]": summary["spread"][name],
            "throughput [samples/s]": summary["samples"][name], "rate [GFLOP/s]": summary["gflops"][name],
            "ceiling [GFLOP/s]": "" if ceiling is None else ceiling * more_threads(name, results),
            "share of ceiling [1]": summary["share"].get(name, ""), "baseline": summary["baseline"] or "",
            "time / baseline time [1]": summary["to_baseline"].get(name, ""), "fastest peer": fastest or "",
            "time / fastest peer time [1]": summary["ratio"].get(name, ""), "rounds": len(row["seconds"][name])}
