"""Runs cases in processes of their own, so that a crash, a hang and lost memory are noticed, and told of which case."""

import faulthandler
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .kind import Kind, Wrong

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

#: The kinds by their names: module and class.
KINDS = {"calls": "calls.Calls", "estimators": "estimators.Estimators", "compiled": "compiled.Compiled",
         "models": "models.Models", "data": "data.Data", "shards": "data.Shards", "cache": "cache.Cache",
         "checkpoints": "checkpoints.Checkpoints"}

#: The bytes by which memory may grow in a case, and the address space beyond which a process gets none.
MOST_GROWTH, ADDRESS_SPACE = 200 * 2**20, 12 * 2**30

#: The cases of a process at the most, so that one that is lost costs little.
CASES = 20_000


def kind_named(name: str) -> Kind:
    """A kind of cases."""
    module, made = KINDS[name].split(".")
    kind: Kind = getattr(importlib.import_module(f".{module}", __package__), made)()
    return kind


def rng_of(name: str, seed: int, number: int) -> np.random.Generator:
    """The generator of one case, so that it can be made again alone."""
    return np.random.default_rng((seed, zlib.crc32(name.encode()), number))


@dataclass
class Summary:
    """What came out of the cases of a kind."""

    name: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # by place: numbers and texts

    @property
    def cases(self) -> int:
        """The number of cases that ended or were lost."""
        return sum(self.outcomes.values())

    def add(self, number: int, where: str, text: str) -> None:
        """Take in a finding."""
        self.outcomes["wrong"] += 1
        self.findings.setdefault(where, []).append((number, text))

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common())
        lines = [f"{self.name}, seed {self.seed}: {self.cases} cases: {counts}"]
        for found in sorted(self.findings.values(), key=len, reverse=True):
            number, text = found[0]
            lines.append(f"  {len(found)} times, first --only {self.name} --seed {self.seed} --number {number}:\n"
                         f"    {text}")
        return "\n".join(lines)


def run_kind(name: str, seed: int, seconds: float, cases: int) -> Summary:
    """Run cases of a kind for some time, or so many, in one process after another.

    A process that ends before it should lost the case that it had begun.
    """
    summary, end, first = Summary(name, seed), time.monotonic() + seconds, 0
    while first < cases and (first == 0 or time.monotonic() < end):
        given = {"name": name, "seed": seed, "first": first, "cases": min(CASES, cases - first),
                 "seconds": max(1.0, end - time.monotonic())}
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
                tempfile.TemporaryFile("w+", errors="replace") as errors:
            child = subprocess.Popen([sys.executable, "-c", "import sys; from fuzzing import runner; runner.child()",
                                      json.dumps(given | {"folder": folder})], stdout=subprocess.PIPE, stderr=errors,
                                     text=True, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
            begun: int | None = None
            assert child.stdout is not None
            for line in child.stdout:
                number, outcome, *finding = json.loads(line)
                first = number + 1
                begun = number if outcome == "begun" else None
                if outcome == "wrong":
                    summary.add(number, *finding)
                elif outcome != "begun":
                    summary.outcomes[outcome] += 1
            status = child.wait()
            errors.seek(0)
            said = errors.read()
        if begun is not None:
            summary.add(begun, f"lost {said[-2000:].strip().splitlines()[-1:]}",
                        f"the process ended with status {status}:\n{said[-4000:]}")
        elif status != 0:
            raise RuntimeError(f"the process of {name} ended with status {status}:\n{said[-4000:]}")
    return summary


def child() -> None:
    """Run cases, and say on standard output when each begins and how it ended."""
    given = json.loads(sys.argv[1])
    say = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what cases print
    kind, end = kind_named(given["name"]), time.monotonic() + given["seconds"]
    _limit_memory()
    prepare(kind, Path(given["folder"]))
    for number in range(given["first"], given["first"] + given["cases"]):
        print(json.dumps([number, "begun"]), file=say, flush=True)
        faulthandler.dump_traceback_later(kind.seconds, exit=True)
        found = outcome(kind, rng_of(given["name"], given["seed"], number))
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps([number, *found]), file=say, flush=True)
        if time.monotonic() > end:
            break
    say.flush()
    os._exit(0)  # threads that a case left behind are none of its outcome


def prepare(kind: Kind, folder: Path) -> None:
    """Make ready what cases need."""
    warnings.simplefilter("error")
    for harmless in (".*diverged and keep", "the matrix subclass", "Changing the sparsity"):
        warnings.filterwarnings("ignore", harmless)
    kind.prepare(folder)


def outcome(kind: Kind, rng: np.random.Generator) -> tuple[str, ...]:
    """How a case ended: the outcome in a word; or "wrong", the place, and what was found."""
    case, before = None, _peak_memory()
    try:
        case = kind.case(rng)
        word = kind.run(case)
        growth = _peak_memory() - before
        if growth > MOST_GROWTH:
            raise Wrong(f"memory grew by {growth >> 20} MB", "memory grew")
    except Wrong as error:
        return "wrong", error.where, f"{error}\n    {_described(case)}"
    except BaseException as error:
        where = f"the fuzzer: {type(error).__name__}"
        return "wrong", where, f"{traceback.format_exc()[-1500:]}\n    {_described(case)}"
    return (word,)


def _described(case: Any) -> str:
    try:
        return str(case)[:600]
    except Exception as error:
        return f"a case that cannot be shown ({type(error).__name__})"


def _limit_memory() -> None:
    """Let memory beyond the bound be refused, where systems can."""
    if resource is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak_memory() -> int:
    """The largest number of bytes that this process has had in memory; 0 where that is not known."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
