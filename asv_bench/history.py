"""The performance history: its newest entry, its picture, and how old it is.

    python history.py add --machine zen4-2core    # measure the head of main, keep the result, draw the picture
    python history.py draw                        # the picture alone
    python history.py age                         # say how many commits the last entry is behind

The results are those of the benchmarks in `benchmarks/history.py`, a file of asv's for each commit.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
RESULTS, PICTURE = HERE / "results", HERE / "pictures" / "history.png"

#: The last entry may be so many commits behind.
COMMITS = 30

#: A panel each: the benchmark, its title, the axis, and the number that an axis counts as one.
PANELS = (
    ("history.Training.track_over_numpy", "A training step on one thread", "time / NumPy's time (log scale)", 1.0),
    ("history.FirstFit.track_processor_seconds", "A first fit, 64-100-10", "processor seconds (log scale)", 1.0),
    ("history.FirstFit.track_peak_memory", "Memory of that process", "peak, MB", 1e6))

#: Colours of Okabe and Ito, which people who confuse red and green tell apart.
LOOKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#555555", "v"))


class Entry(NamedTuple):
    """What was measured on one commit by machines of one class."""

    machine: str
    commit: str
    results: dict[str, dict[str, float]]   # by benchmark, and by the value of its parameter


def entries(folder: Path = RESULTS) -> list[Entry]:
    """All that have a figure of the history, as asv wrote them; like asv, without those of other benchmarks before."""
    benchmarks, found = folder / "benchmarks.json", []
    known = json.loads(benchmarks.read_text(encoding="utf-8")) if benchmarks.exists() else {}
    for path in sorted(folder.glob("*/*-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        figures = {}
        for name, values in result["results"].items():
            columns = dict(zip(result["result_columns"], values, strict=False))
            if name.startswith("history.") and columns["version"] == known.get(name, {}).get("version"):
                figures[name] = _by_parameter(columns)
        if any(figures.values()):
            found.append(Entry(path.parent.name, result["commit_hash"], figures))
    return found


def _by_parameter(columns: dict[str, Any]) -> dict[str, float]:
    names = [", ".join(values).strip("'") for values in itertools.product(*columns["params"])]
    return {name: value for name, value in zip(names, columns["result"] or [], strict=False)
            if isinstance(value, float | int) and value == value}


def age(repository: Path = HERE, folder: Path = RESULTS) -> tuple[bool, str]:
    """Whether the last entry is too old, and a sentence that says how old it is.

    In a shallow clone commits may be missing: those that are there are counted.
    """
    try:
        commits = git(repository, "rev-list", "HEAD").split()
        shallow = git(repository, "rev-parse", "--is-shallow-repository") == "true"
    except (OSError, subprocess.CalledProcessError):
        return False, "history: not known how old its last entry is, because this is no clone of the repository"
    known = {entry.commit for entry in entries(folder)} & set(commits)
    behind = min((int(git(repository, "rev-list", "--count", f"{commit}..HEAD")) for commit in known), default=None)
    if behind is not None:
        late = behind > COMMITS
        return late, f"history: its last entry is {behind} commits behind" + (
            f", more than {COMMITS}: see CONTRIBUTING.md, \"Performance history\"" if late else "")
    if shallow and len(commits) <= COMMITS:
        return False, f"history: not known how old its last entry is, because this clone has {len(commits)} commits"
    return True, f"history: it has no entry among the last {len(commits)} commits: see CONTRIBUTING.md"


def draw(found: Sequence[Entry], numbers: dict[str, int], path: Path = PICTURE) -> None:
    """Write the picture: a row of panels for each machine class, over the places of the commits in the history.

    Raises
    ------
    ValueError
        If there are no entries, or one is of a commit that has no place.
    """
    from fastbp.checks.figures import new_figure

    absent = [entry.commit[:8] for entry in found if entry.commit not in numbers]
    if absent or not found:
        raise ValueError(f"history: expected results of commits of main, found {absent or 'none'}; a shallow "
                         f"clone becomes a whole one by git fetch --unshallow")
    found = sorted(found, key=lambda entry: numbers[entry.commit])
    machines = sorted({entry.machine for entry in found})
    figure = new_figure(13.0, 0.6 + 4.2 * len(machines))
    figure.suptitle("From the first commit that trains to now; lower is better", fontsize=13)
    panels = figure.subplots(len(machines), len(PANELS), squeeze=False)
    for row, machine in zip(panels, machines, strict=True):
        here = [entry for entry in found if entry.machine == machine]
        for axes, (benchmark, title, label, unit) in zip(row, PANELS, strict=True):
            parameters = dict.fromkeys(name for entry in here for name in entry.results.get(benchmark, {}))
            for parameter, (color, marker) in zip(parameters, itertools.cycle(LOOKS)):
                points = [(numbers[entry.commit], entry.results[benchmark][parameter] / unit) for entry in here
                          if parameter in entry.results.get(benchmark, {})]
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=5)
                axes.annotate(parameter, points[-1], (0, 7), textcoords="offset points", ha="right", color=color,
                              bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0})
            axes.set_title(f"{title} ({machine})", fontsize=11)
            axes.set_xlabel(f"commits of main; the last is {here[-1].commit[:8]}")
            axes.set_ylabel(label)
            if "log" in label:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            else:
                axes.set_ylim(bottom=0)
            axes.grid(alpha=0.25)
    figure.savefig(path, dpi=100)


def add(machine: str) -> None:
    """Measure the head of main, and put the result under version control, which ignores others."""
    subprocess.run([sys.executable, "-m", "asv", "run", "--machine", machine, "--bench", "^history",
                    "--show-stderr", "main^!"], cwd=HERE, check=True)
    git(HERE, "add", "--force", "results/benchmarks.json", f"results/{machine}")


def numbers_of_commits() -> dict[str, int]:
    """The place of every commit of main, from the first on."""
    return {commit: place for place, commit in enumerate(git(HERE, "rev-list", "--reverse", "main").split(), 1)}


def git(repository: Path, *arguments: str) -> str:
    """What a command of git prints."""
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True, text=True,
                          encoding="utf-8").stdout.strip()


def main() -> None:
    """What the docstring of this file says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["add", "draw", "age"])
    parser.add_argument("--machine", help="for add: the name that was given to asv machine")
    options = parser.parse_args()
    if options.do == "age":
        late, sentence = age()
        print(f"WARNING: {sentence}" if late else sentence)
        return
    if options.do == "add":
        if options.machine is None:
            parser.error("add: expected --machine NAME")
        add(options.machine)
    draw(entries(), numbers_of_commits())


if __name__ == "__main__":
    main()
