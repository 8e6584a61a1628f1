"""A page of what `measuring.compare` found, for a browser: one file that loads nothing.

It is a neutral table. Every contestant is a row, and is compared with the fastest of each workload, whichever that is.
"""

import html
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from .measuring import CEILINGS
from .report import RESTLESS, digits, variants
from .summary import OTHER_NUMBERS, geometric_means, rounds_to, summarise

#: What is not a version of a library.
NOT_VERSIONS = ("BLAS", "GPU", "threading layer")


def as_page(results: dict[str, Any]) -> str:
    """The page, as HTML.

    Parameters
    ----------
    results : dict
        Of `measuring.compare`, with "host" and, if they are known, "command" and "measured", a date.
    """
    products = any("product" in row for row in results["workloads"])
    summaries = summarise(results)
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title="Products of matrices in a layer" if products else "Training steps of multilayer perceptrons",
        lead=_lead(results, products), facts=_facts(results), summary=_in_short(results, summaries, products),
        row="product" if products else "workload",
        rows="\n".join(_row(place, results, summary, row)
                       for place, (summary, row) in enumerate(zip(summaries, results["workloads"], strict=True))),
        contestants=_contestants(results), meaning=_meaning(results, products), repeating=_repeating(results))


def escaped(text: object) -> str:
    """Text for HTML, attributes too; what stands in `backticks` is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(str(text)))


def _lead(results: dict[str, Any], products: bool) -> str:
    what = "One product of matrices" if products else ("One training step, which is a batch forward, its errors back, "
                                                       "and an update of the parameters,")
    return (f"{what} by each library that could be installed, with its best documented settings, in a process of its "
            f"own. Each result is held against the formulas in float64 before any time is taken. fastbp, which brings "
            f"the command that wrote this page, is a contestant among the others.")


def _facts(results: dict[str, Any]) -> str:
    settings, host = results["settings"], results["host"]
    facts = {"date": results.get("measured"), **{name: host.get(name) for name in ("processor", "vectors")},
             "threads of each": settings["threads"], "numbers": settings["dtype"], "timed": host.get("timed")}
    about = results["contestants"].values()
    versions = [contestant.get("versions", {}) for contestant in about]
    for name in ("GPU", "threading layer"):
        facts[name] = " or ".join(sorted({version[name] for version in versions if name in version}))
    for device, place in CEILINGS.items():
        rates = [rate for row in results["workloads"] for rate in row.get(place, [])]
        if rates:
            of = "the GPU" if device == "gpu" else "one core"
            facts[f"ceiling of {of}"] = f"{digits(1e-9 * statistics.median(rates))} GFLOP/s of multiply-adds alone"
    if "environment" in settings:
        facts["environment of all"] = _variables(settings["environment"])
    return _definitions({name: escaped(fact) for name, fact in facts.items() if fact}, "facts")


def _in_short(results: dict[str, Any], summaries: Sequence[dict[str, Any]], products: bool) -> str:
    """Who is the fastest where, means of all rows, and one table of everything."""
    row = "product" if products else "workload"
    missing = [f"<li><strong>{escaped(name)}</strong>: {escaped(about['reason'])}</li>"
               for name, about in results["contestants"].items() if not about["runs"]]
    absent = f"<p>Not timed at all:</p><ul>{''.join(missing)}</ul>" if missing else ""
    first: dict[str, list[str]] = {}
    for summary in summaries:
        if summary["fastest"]:
            first.setdefault(summary["fastest"], []).append(summary["name"])
    if not first:
        return f"<p>Nothing was timed.</p>{absent}"
    items = [f"<li><strong>{escaped(name)}</strong> on {len(rows)} of {len(summaries)}: {escaped(', '.join(rows))}</li>"
             for name, rows in sorted(first.items(), key=lambda item: -len(item[1]))]
    means = geometric_means(summaries, "to_fastest")
    timed = {name: sum(name in summary["us"] for summary in summaries) for name in means}
    names = sorted(means, key=lambda name: (-timed[name], means[name]))
    lines = [[_head(name), _cell(timed[name], timed[name]), _cell(len(first.get(name, [])), len(first.get(name, []))),
              _cell(digits(means[name]), means[name]), _numbers(name, results)] for name in names]
    every = [[_head(summary["name"], f"#row{place}"), *(_ratio(name, summary) for name in names)]
             for place, summary in enumerate(summaries)]
    worst = max(spread for summary in summaries for spread in summary["spread"].values())
    restless = f"<p><strong>Rounds differ by up to ±{worst:.0%}: something else was running, and small differences " \
               f"say little.</strong></p>" if worst > RESTLESS else ""
    return "\n".join([
        restless, "<p>The fastest that computes in the type named above:</p>", f"<ul>{''.join(items)}</ul>",
        absent,
        _table(["contestant", f"{row}s timed", "fastest on", "mean of time / fastest's time", "numbers"], lines),
        "<p>The mean is geometric, over what a contestant was timed on; where that is not the same, means are of "
        "different things.</p>",
        f"<h3>Time over the fastest's time</h3><p>1.00 is the fastest of a {row}; 2.00 takes twice as long.</p>",
        _table([row, *names], every)])


def _row(place: int, results: dict[str, Any], summary: dict[str, Any], row: dict[str, Any]) -> str:
    """One workload or product: a line for every contestant, the fastest first."""
    names = sorted((name for name, about in results["contestants"].items() if about["runs"]),
                   key=lambda name: summary["us"].get(name, float("inf")))
    parts = ["-".join(map(str, row["widths"])), row.get("activation"), row.get("loss"), row.get("optimizer"),
             f"batches of {row['batch_size']:,}", f"{row['flops']:,} operations"]
    about = (f'<h3 id="row{place}">{escaped(summary["name"])}</h3>\n'
             f'<p class="soft">{escaped(", ".join(filter(None, parts)))}</p>\n')
    return about + _table(
        ["contestant", "µs", "±", "speed", "time / fastest", "samples/s", "GFLOP/s", "share of ceiling", "first run, s",
         "off the formulas", "settings"], [_line(name, results, summary, row) for name in names],
        ["other" if rounds_to(name, results) else "" for name in names])


def _line(name: str, results: dict[str, Any], summary: dict[str, Any], row: dict[str, Any]) -> list[str]:
    warm_up, off = row["warm_up"].get(name, {}), row["disagreement"].get(name)
    text = warm_up.get("variant", "")
    if name not in summary["us"]:
        reason = row["failed"].get(name, "not timed")
        return [_head(name), *[_cell("–")] * 8, _cell("–" if off is None else f"{off:.1e}", off), _text(reason)]
    us, share = summary["us"][name], summary["share"].get(name)
    first = warm_up.get("first_seconds")
    kind = rounds_to(name, results)
    return [_head(name), _cell(digits(us), us), _cell(f"{summary['spread'][name]:.0%}", summary["spread"][name]),
            _speed(name, summary), _ratio(name, summary),
            _cell(digits(summary["samples"][name]), summary["samples"][name]),
            _cell(_small(summary["gflops"][name]), summary["gflops"][name]),
            _cell("–" if share is None else _percent(share), share),
            _cell("–" if first is None else digits(first), first), _cell("–" if off is None else f"{off:.1e}", off),
            _text(f"{text}; {OTHER_NUMBERS[kind]}" if kind else text)]


def _contestants(results: dict[str, Any]) -> str:
    """What each is, and why it was not timed if it was not."""
    lines = []
    for name, about in results["contestants"].items():
        versions = ", ".join(f"{part} {version}" for part, version in about.get("versions", {}).items()
                             if part not in NOT_VERSIONS)
        outcome = variants(name, results) if about["runs"] else f"not timed: {about['reason']}"
        lines.append([_head(name), _text(versions or "–"), _text(about.get("how", "–")), _text(outcome or "–"),
                      _text(about.get("blas") or about.get("versions", {}).get("BLAS") or "–"),
                      _text(_variables(about.get("environment", {})) or "–"), _text(about.get("install") or "–")])
    return _table(["contestant", "versions", "how it trains", "settings, or why not timed", "BLAS", "environment",
                   "installed by"], lines)


def _meaning(results: dict[str, Any], products: bool) -> str:
    step = "product" if products else "step"
    meanings = {
        "µs": f"The median over the rounds of the microseconds of a {step}. ± is half the distance between the slowest "
              f"and the fastest round, as a share of the median.",
        "time / fastest": "A contestant's median by the smallest one. All are timed in turn, round after round, so "
                          "that a change of the machine meets all of them.",
        "speed": "One over that: 50% takes twice the time of the fastest.",
        "samples/s": f"The samples of a batch by the time of a {step}.",
        "GFLOP/s": "Multiplications and additions of the products, by the time; nothing else is counted.",
        "share of ceiling": "That rate by the one of fused multiply-adds in registers alone, measured in every round "
                            "on as many cores.",
        "first run": "Seconds of the first training in a process with all that is compiled in it.",
        "off the formulas": "The largest relative error, by norm, of what a contestant makes of a layer's parameters "
                            "in a few steps, against the formulas in float64. One that is off by more than a bound is "
                            "called wrong, and not timed."}
    if products:
        meanings["off the formulas"] = "The relative error of the product against the one in float64."
    for kind, text in OTHER_NUMBERS.items():
        if any(rounds_to(name, results) == kind for name in results["contestants"]):
            meanings[kind] = (f"{text[0].upper()}{text[1:]}. It is never called the fastest, and the ceiling is not "
                              f"its own; the bar is hatched.")
    return _definitions({name: escaped(text) for name, text in meanings.items()})


def _repeating(results: dict[str, Any]) -> str:
    command = results.get("command")
    installs = list(dict.fromkeys(about["install"] for about in results["contestants"].values()
                                  if about.get("install")))
    parts = ["<p>Let nothing else run meanwhile.</p>",
             f"<pre>{html.escape(command)}</pre>" if command else "<p>The command was not recorded.</p>",
             f"<p>What the contestants need:</p><pre>{html.escape(chr(10).join(installs))}</pre>" if installs else "",
             "<p><code>fastbp compare --help</code> has all settings; <code>--save</code> keeps what was measured, and "
             "<code>--results</code> makes this page of it again.</p>"]
    return "\n".join(filter(None, parts))


def _speed(name: str, summary: dict[str, Any]) -> str:
    ratio = summary["to_fastest"].get(name)
    if ratio is None:
        return _cell("–")
    bar = f'<span class="bar"><span style="width:{100 * min(1.0, 1 / ratio):.1f}%"></span></span>'
    return _cell(bar + _percent(1 / ratio), 1 / ratio, "speed")


def _ratio(name: str, summary: dict[str, Any]) -> str:
    ratio = summary["to_fastest"].get(name)
    return _cell("–") if ratio is None else _cell(digits(ratio), ratio, "first" if name == summary["fastest"] else "")


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _small(number: float) -> str:
    """Digits of a number that may be far below 1."""
    return digits(number) if number >= 0.01 else f"{number:.2g}"


def _numbers(name: str, results: dict[str, Any]) -> str:
    kind = rounds_to(name, results)
    return _text(OTHER_NUMBERS[kind] if kind else results["settings"]["dtype"])


def _variables(environment: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in environment.items())


def _definitions(meanings: Mapping[str, str], kind: str = "") -> str:
    """A list of terms, and of what was made HTML for each."""
    parts = [f"<dt>{escaped(name)}</dt><dd>{text}</dd>" for name, text in meanings.items()]
    return f'<dl class="{kind}">{"".join(parts)}</dl>'


def _head(name: str, link: str = "") -> str:
    """The head of a line, which leads to another part of the page if there is a link."""
    text = f'<a href="{link}">{escaped(name)}</a>' if link else escaped(name)
    return f'<th scope="row">{text}</th>'


def _cell(text: object, value: float | None = None, kind: str = "") -> str:
    """A cell of what is HTML already, and the number by which it is sorted, none if there is none."""
    return f'<td class="{kind}" data-sort="{"" if value is None else repr(float(value))}">{text}</td>'


def _text(text: str) -> str:
    return f'<td class="text">{escaped(text)}</td>'


def _table(heads: Iterable[str], lines: Iterable[Sequence[str]], kinds: Sequence[str] | None = None) -> str:
    """A table whose cells are HTML, with a class for each line."""
    lines = list(lines)
    kinds = kinds or [""] * len(lines)
    texts = [cell.startswith(_text("")[:-5]) for cell in lines[0]]  # their heads are to the left too
    head = "".join(f'<th scope="col" class="{"text" if text else ""}">{escaped(name)}</th>'
                   for name, text in zip(heads, texts, strict=True))
    body = "\n".join(f'<tr class="{kind}">{"".join(line)}</tr>' for kind, line in zip(kinds, lines, strict=True))
    return (f'<div class="scroll" tabindex="0"><table class="sortable"><thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>")
