"""`fastbp compare`: how long a training step takes with fastbp's backends and with other libraries."""

import argparse
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np

from .. import __version__
from ..backends import backend_named
from ..backends.tiles.host import host
from ..compare.contestants import backend_contestant, ceiling_contestant, peers
from ..compare.measuring import Settings, compare, steps_to_show
from ..compare.report import difference, geometric_means, summarise, table
from ..inputs import require_number, require_whole
from ..workloads import LEARNING_RATES, WORKLOADS, Workload, workloads_named

#: What every peer has.
ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
LOSSES = ("softmax_cross_entropy", "squared_error")

#: The settings of a network given by --network, with what they are if not given.
NETWORK_DEFAULTS = {"batch": 128, "activation": "relu", "loss": "softmax_cross_entropy", "optimizer": "sgd"}

_EPILOG = f"""workloads: {', '.join(workload.name for workload in WORKLOADS)}; all of them if none is named.
Every contestant is first held against the formulas in float64, then all are timed in turn, round after round.
Ratios are below 1 where fastbp is faster. Let nothing else run meanwhile."""


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp compare`."""
    parser = commands.add_parser(
        "compare", help="time a training step beside other libraries", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Time a training step with fastbp's backends and with other libraries, each in its own process.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="a name, or one without its batch size")
    own = parser.add_argument_group("a network of your own")
    own.add_argument("--network", type=_widths, metavar="N-N-…", help="its widths, such as 784-128-10")
    own.add_argument("--batch", type=int, metavar="N", help="samples in a batch (128)")
    own.add_argument("--activation", choices=ACTIVATIONS, help="of the hidden layers (relu)")
    own.add_argument("--loss", choices=LOSSES, help="on the last layer's sums (softmax_cross_entropy)")
    own.add_argument("--optimizer", choices=LEARNING_RATES, help="sgd if not given")
    who = parser.add_argument_group("contestants")
    who.add_argument("--backends", type=lambda text: text.split(","), default=["auto"], metavar="NAME[,NAME…]",
                     help="fastbp's backends to time (auto)")
    who.add_argument("--peers", action="store_true", help="time JAX, PyTorch, scikit-learn and NumPy too, if installed")
    who.add_argument("--peers-python", metavar="PATH", default=sys.executable,
                     help="the interpreter of the environment in which they are installed (this one)")
    how = parser.add_argument_group("measurement")
    how.add_argument("--threads", type=int, default=1, help="of every contestant (1)")
    how.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of all computation (float32)")
    how.add_argument("--rounds", type=int, default=5, help="how often each contestant is timed (5)")
    how.add_argument("--seconds", type=float, default=0.3, help="about how long each time (0.3)")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print everything measured as one JSON object")
    output.add_argument("--save", type=Path, metavar="FILE", help="write that object to a file")
    output.add_argument("--against", type=Path, metavar="FILE", help="show what changed since a saved result")
    output.add_argument("--results", type=Path, metavar="FILE", help="show a saved result instead of measuring")
    output.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        widths = ()
    if len(widths) < 2 or min(widths) < 1:
        raise argparse.ArgumentTypeError(f"expected at least two widths joined by '-', such as 784-128-10, "
                                         f"found {text!r}")
    return widths


def run(options: argparse.Namespace) -> str:
    """Measure as the options say, or read what was measured, and show it."""
    old = None if options.against is None else _read(options.against, "--against")
    results = _measure(options) if options.results is None else _read(options.results, "--results")
    change = None if old is None else difference(results, old)
    if options.save is not None:
        options.save.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.json:
        summaries = summarise(results)
        print(json.dumps({**results, "summary": summaries, "geometric_mean": geometric_means(summaries)}))
        return "done"
    for name, text in results["host"].items():
        print(f"{name:<10} {text}")
    print(f"\n{table(results)}")
    if change is not None:
        print(f"\n{change}")
    return "done"


def _read(path: Path, option: str) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        summarise(results)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{option}: {path} was not written by 'fastbp compare --save' ({error!r})") from None
    return dict(results)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    workloads = _workloads(options)
    settings = Settings(require_whole("--threads", options.threads, at_least=1), options.dtype,
                        require_whole("--rounds", options.rounds, at_least=1),
                        require_number("--seconds", options.seconds, above=0.0))
    if options.save is not None and not options.save.parent.is_dir():
        raise ValueError(f"--save: there is no folder {options.save.parent} to write {options.save.name} into")
    for backend in options.backends:
        backend_named(backend)
    contestants = [backend_contestant(backend) for backend in dict.fromkeys(options.backends)]
    if options.peers:
        if shutil.which(options.peers_python) is None:
            raise ValueError(f"--peers-python: expected a Python interpreter, found {options.peers_python!r}")
        contestants += peers(options.peers_python, bool(llvmlite.binding.get_host_cpu_features().get("avx512f")))
    with _progress(steps_to_show(len(workloads), len(contestants), settings.rounds), options.quiet) as show:
        found = compare(workloads, contestants, ceiling_contestant(), settings, show)
    return {"host": _host(settings), **found}


def _workloads(options: argparse.Namespace) -> list[Workload]:
    """Those named, and the network of the options."""
    given = {name: getattr(options, name) for name in NETWORK_DEFAULTS if getattr(options, name) is not None}
    if options.network is None:
        if given:
            raise ValueError(f"--{next(iter(given))}: it describes the network that --network gives, found none")
        return workloads_named(options.workloads)
    chosen: dict[str, Any] = NETWORK_DEFAULTS | given
    require_whole("--batch", chosen["batch"], at_least=1)
    if chosen["loss"] == "softmax_cross_entropy" and options.network[-1] < 2:
        raise ValueError(f"--loss: softmax_cross_entropy needs at least 2 outputs, found {options.network[-1]}; "
                         f"use squared_error")
    name = f"{'-'.join(map(str, options.network))} {chosen['activation']}, {chosen['batch']}"
    own = Workload(name, options.network, chosen["activation"], chosen["loss"], chosen["batch"], chosen["optimizer"])
    return [*(workloads_named(options.workloads) if options.workloads else []), own]


def _host(settings: Settings) -> dict[str, str]:
    return {"fastbp": f"{__version__}, NumPy {np.__version__}",
            "processor": f"{llvmlite.binding.get_host_cpu_name()}, {os.cpu_count()} processors",
            "vectors": str(host()), "threads": str(settings.threads),
            "timed": f"{settings.dtype}, median of {settings.rounds} rounds of about {settings.seconds:g} s in turn, "
                     f"± half the distance of the slowest and fastest"}


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """What to call before each part of the work: a bar where standard error is a terminal, else a line a workload."""
    tqdm: Any = None
    if not quiet and sys.stderr.isatty():
        try:
            tqdm = importlib.import_module("tqdm").tqdm
        except ImportError:
            tqdm = None
    if tqdm is not None:
        with tqdm(total=total, unit="", leave=False) as bar:
            def move(text: str) -> None:
                bar.set_description_str(text)
                bar.update(1)

            yield move
        return
    last = ""

    def say(text: str) -> None:
        nonlocal last
        part = text.split(": ")[0]
        if part != last and not quiet:
            print(f"fastbp: {part}", file=sys.stderr)
        last = part

    yield say
