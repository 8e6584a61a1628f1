"""`fastbp compare`: how long a training step takes with fastbp's backends and with other libraries."""

import argparse
import importlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np

from .. import __version__
from ..backends import NAMES, ON_GPU
from ..backends.tiles.host import host
from ..backends.tiles.phases import FEW
from ..checks.arguments import require_number, require_whole
from ..compare.contestants import (
    backend_contestant,
    bfloat16_contestant,
    ceiling_contestant,
    gpu_ceiling_contestant,
    gpu_peers,
    peers,
)
from ..compare.csv_file import as_csv
from ..compare.measuring import Row, Settings, compare, steps_to_show
from ..compare.page import as_page
from ..compare.pictures import draw, require_drawable
from ..compare.products import BATCH, SIZES, product_rows
from ..compare.ranks import BATCHES, compare_ranks, ranks_table
from ..compare.report import QUANTITIES, difference, header, table
from ..compare.road import SIZES as STEPS_SIZES
from ..compare.road import road_contestants, road_rows, road_tables
from ..compare.summary import geometric_means, summarise
from ..compare.training import TrainingRow
from ..compare.workloads import FASHION, FUSED, GPU_WORKLOADS, LEARNING_RATES, WORKLOADS, Workload, workloads_named
from ..storage.writing import replacing
from .output import as_json, require_place

#: What every peer has.
ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
LOSSES = ("softmax_cross_entropy", "squared_error", "binary_cross_entropy")

#: The settings of a network given by --network, with what they are if not given.
NETWORK_DEFAULTS = {"batch": 128, "activation": "relu", "loss": "softmax_cross_entropy", "optimizer": "sgd",
                    "shuffle": False}

#: The backends on the processor; a GPU has to be named.
DEFAULT_BACKENDS = [name for name in NAMES[1:] if name not in ON_GPU]

_NAMES = textwrap.fill(f"workloads: {', '.join(workload.name for workload in WORKLOADS)}; all if none is named.",
                       width=116, break_on_hyphens=False)

_EPILOG = f"""{_NAMES}
By name also {', '.join(workload.name for workload in FUSED)} and {FASHION.name}: Fashion-MNIST's 784-100-10, shuffled
by every library in its own way; the others take their batches in order.
On a GPU, with --backends cuda, if none is named: {', '.join(workload.name for workload in GPU_WORKLOADS)}.
--peers then adds PyTorch (eager, compiled, as CUDA graphs) and CuPy, whose products are cuBLAS's, each with and without
TF32, and the peers on the processor if one of its backends is named too. Shares are of the GPU's own ceiling.
On the processor PyTorch takes part eager, compiled, and for float32 with AVX-512 also in bfloat16, by autocast. What
computes in TF32 or bfloat16 computes other numbers: it is never the fastest peer, and has no share of the ceiling.
Every contestant is first held against the formulas in float64, then all are timed in turn, round after round.
The table says how many times as long as tiled each takes; --show picks another quantity, and --json and --csv have
all of them. Let nothing else run meanwhile."""


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp compare`."""
    parser = commands.add_parser(
        "compare", help="time training steps, or products of matrices, beside other libraries", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Time a training step, or the three products in it, with fastbp's backends and with other "
                    "libraries, each in its own process.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="a name, or one without its batch size")
    own = parser.add_argument_group("a network of your own")
    own.add_argument("--network", type=_widths, metavar="N-N-…", help="its widths, such as 784-128-10")
    own.add_argument("--batch", type=int, metavar="N", help="samples in a batch, with --products and --steps too (128)")
    own.add_argument("--activation", choices=ACTIVATIONS, help="of the hidden layers (relu)")
    own.add_argument("--loss", choices=LOSSES, help="on the last layer's sums (softmax_cross_entropy)")
    own.add_argument("--optimizer", choices=LEARNING_RATES, help="sgd if not given")
    own.add_argument("--shuffle", action="store_true", default=None,
                     help="a new order of the samples every epoch, drawn by each contestant in its own way (in order)")
    products = parser.add_argument_group("products instead of workloads")
    products.add_argument("--products", action="store_true",
                          help="time W h, Wᵀδ and δhᵀ alone, with W (N, N) and the samples of a batch")
    products.add_argument("--steps", action="store_true",
                          help="time versions of the same products, and of a training step of N-N-N, from plain loops "
                               "to the tile of tiled, on one thread but for prange, and print tables in Markdown")
    products.add_argument("--sizes", metavar="N[,N…]", help=f"every N ({','.join(map(str, SIZES))}; with --steps, "
                          f"{','.join(map(str, STEPS_SIZES))}); with --ranks, the batch sizes "
                          f"({','.join(map(str, BATCHES))})")
    ranks = parser.add_argument_group("ranks instead of contestants")
    ranks.add_argument("--ranks", metavar="N[,N…]", help="time training on so many ranks of one thread each, such as "
                       "1,2,4, by MPI where there is one, and the share of their time in exchange; of one workload or "
                       "network (784-128-10), over batch sizes")
    who = parser.add_argument_group("contestants")
    who.add_argument("--backends", type=lambda text: text.split(","), default=DEFAULT_BACKENDS, metavar="NAME[,NAME…]",
                     help=f"fastbp's backends to time ({','.join(DEFAULT_BACKENDS)}); cuda needs an NVIDIA GPU")
    who.add_argument("--peers", action="store_true", help="time JAX, PyTorch, skorch, Keras, scikit-learn, FANN and "
                     "NumPy too, if installed")
    who.add_argument("--peers-python", metavar="PATH", default=sys.executable,
                     help="the interpreter of the environment in which they are installed (this one)")
    who.add_argument("--bfloat16", action="store_true", help="time fastbp's tiled with bfloat16 products too: other "
                     "numbers, with a ceiling of their own")
    how = parser.add_argument_group("measurement")
    how.add_argument("--threads", type=int, default=1, help="of every contestant (1)")
    how.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of all computation (float32)")
    how.add_argument("--rounds", type=int, default=7, help="how often each contestant is timed (7)")
    how.add_argument("--seconds", type=float, default=0.1, help="about how long each time (0.1)")
    output = parser.add_argument_group("output")
    output.add_argument("--show", choices=QUANTITIES, help="what the table shows: times as long as tiled (ratio; so if "
                        "not given), µs per step, samples per second, GFLOP/s (so for products), share of the ceiling")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture: .png, .svg, .pdf")
    output.add_argument("--report", type=Path, metavar="FILE", help="write a page for a browser: .html")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write a line for every row and contestant")
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
    for option in ("save", "csv", "plot", "report"):
        if getattr(options, option) is not None:
            require_place(f"--{option}", getattr(options, option))
    if options.ranks is not None:
        return _run_ranks(options)
    if options.plot is not None:
        require_drawable("--plot", options.plot)
    old = None if options.against is None else _read(options.against, "--against")
    results = _measure(options) if options.results is None else _read(options.results, "--results")
    change = None if old is None or not results["workloads"] else difference(results, old)
    if options.save is not None:
        options.save.write_text(as_json(results, indent=1), encoding="utf-8")
    if options.csv is not None:
        options.csv.write_text(as_csv(results), encoding="utf-8")
    if options.plot is not None and results["workloads"]:
        draw(results, options.plot)
    if options.report is not None:
        with replacing(options.report) as file:
            file.write(as_page(results).encode())
    if options.json:
        summaries = summarise(results)
        print(as_json({**results, "summary": summaries, "geometric_mean": geometric_means(summaries)}))
        return "done"
    tables = road_tables if results.get("steps") else table
    print(f"{header(results)}\n\n{tables(results, options.show)}")
    if change is not None:
        print(f"\n{change}")
    return "done"


def _run_ranks(options: argparse.Namespace) -> str:
    """Time a training on several ranks, and show it."""
    for name in ("products", "steps", "peers", "bfloat16", "show", "plot", "csv", "report", "against", "results"):
        if getattr(options, name):
            raise ValueError(f"--ranks: expected no --{name} beside it, which is for contestants")
    if options.threads != 1 or options.backends != DEFAULT_BACKENDS:
        raise ValueError("--ranks: expected neither --threads nor --backends beside it: ranks have one thread each, "
                         "and the fastest backend")
    if options.batch is not None:
        raise ValueError(f"--batch: expected --sizes for the batch sizes of --ranks, found --batch {options.batch}")
    ranks = _whole_numbers("--ranks", options.ranks, "1,2,4")
    batches = BATCHES if options.sizes is None else _whole_numbers("--sizes", options.sizes, "128,512,2048")
    options.sizes = None
    if not options.workloads and options.network is None:
        options.workloads = ["mnist-128"]
    chosen, *others = _workloads(options)
    if others:
        raise ValueError(f"--ranks: expected one workload, found {chosen.name}, {others[0].name}"
                         f"{', …' if others[1:] else ''}")
    results = compare_ranks(chosen, batches, ranks, options.dtype,
                            require_whole("--rounds", options.rounds, at_least=1),
                            require_number("--seconds", options.seconds, above=0.0))
    if options.save is not None:
        options.save.write_text(as_json(results, indent=1), encoding="utf-8")
    print(as_json(results) if options.json else ranks_table(results))
    return "done"


def _whole_numbers(option: str, text: str, example: str) -> list[int]:
    try:
        return [require_whole(option, int(part), at_least=1) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option}: expected whole numbers from 1 on, such as {example}, found {text!r}") from None


def _read(path: Path, option: str) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        summarise(results)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{option}: {path} was not written by 'fastbp compare --save' ({error!r})") from None
    return dict(results)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    rows: list[Row] = []
    rows += (_steps_rows(options) if options.steps else _product_rows(options) if options.products else
             map(TrainingRow, _workloads(options)))
    settings = Settings(require_whole("--threads", options.threads, at_least=1), options.dtype,
                        require_whole("--rounds", options.rounds, at_least=1),
                        require_number("--seconds", options.seconds, above=0.0))
    for backend in options.backends:
        if backend not in NAMES:
            raise ValueError(f"--backends: unknown backend {backend!r}; expected some of {', '.join(NAMES)}")
        if options.products and backend in ON_GPU:
            raise ValueError(f"--products: expected backends that have products to time alone, found {backend!r}")
    contestants = [backend_contestant(backend, products=options.products)
                   for backend in dict.fromkeys(options.backends)] if not options.steps else road_contestants()
    if options.bfloat16:
        if options.products or options.steps or options.dtype != "float32":
            raise ValueError("--bfloat16: expected trainings in float32 beside it, found --products, --steps or "
                             "--dtype float64")
        contestants.append(bfloat16_contestant())
    if options.peers:
        if shutil.which(options.peers_python) is None:
            raise ValueError(f"--peers-python: expected a Python interpreter, found {options.peers_python!r}")
        devices = {contestant.device for contestant in contestants}
        if "cpu" in devices:
            avx512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
            contestants += peers(options.peers_python, avx512, options.dtype, products=options.products)
        if "gpu" in devices:
            contestants += gpu_peers(options.peers_python, options.dtype)
    with _progress(steps_to_show(len(rows), len(contestants), settings.rounds), options.quiet) as show:
        ceilings = {"cpu": ceiling_contestant(), "gpu": gpu_ceiling_contestant()}
        found = compare(rows, contestants, ceilings, settings, show)
    return {"host": _host(settings), "command": options.command_line, "measured": f"{datetime.now():%Y-%m-%d}",
            **({"steps": True} if options.steps else {}), **found}


def _steps_rows(options: argparse.Namespace) -> Sequence[Row]:
    """What the versions of one layer are timed on."""
    for name in ("products", "peers"):
        if getattr(options, name):
            raise ValueError(f"--steps: expected no --{name} beside it, which has contestants of its own")
    if options.threads != 1 or options.backends != DEFAULT_BACKENDS:
        raise ValueError("--steps: expected neither --threads nor --backends beside it: its versions have one thread "
                         "each, but for prange, and the backend is tiled")
    return road_rows(*_sizes_and_batch("--steps", STEPS_SIZES, options))


def _product_rows(options: argparse.Namespace) -> Sequence[Row]:
    """All products at the sizes of the options."""
    return product_rows(*_sizes_and_batch("--products", SIZES, options))


def _sizes_and_batch(option: str, otherwise: Sequence[int], options: argparse.Namespace) -> tuple[list[int], int]:
    """Every N, and the samples."""
    given = [f"--{name}" for name in ("network", "activation", "loss", "optimizer", "shuffle")
             if getattr(options, name)]
    for name in [*given, *options.workloads]:
        raise ValueError(f"{option}: expected neither a workload nor settings of a network beside it, found {name}")
    sizes = list(otherwise) if options.sizes is None else _whole_numbers("--sizes", options.sizes, "256,512,1024")
    # Fewer samples go one by one through tiled, by other kernels.
    return sizes, BATCH if options.batch is None else require_whole("--batch", options.batch, at_least=FEW + 1)


def _workloads(options: argparse.Namespace) -> list[Workload]:
    """Those named, and the network of the options."""
    if options.sizes is not None:
        raise ValueError(f"--sizes: they are those of --products, which was not given; found {options.sizes!r}")
    given = {name: getattr(options, name) for name in NETWORK_DEFAULTS if getattr(options, name) is not None}
    if options.network is None:
        if given:
            raise ValueError(f"--{next(iter(given))}: it describes the network that --network gives, found none")
        return workloads_named(options.workloads, GPU_WORKLOADS if set(ON_GPU) & set(options.backends) else WORKLOADS)
    chosen: dict[str, Any] = NETWORK_DEFAULTS | given
    require_whole("--batch", chosen["batch"], at_least=1)
    if chosen["loss"] == "softmax_cross_entropy" and options.network[-1] < 2:
        raise ValueError(f"--loss: softmax_cross_entropy needs at least 2 outputs, found {options.network[-1]}; "
                         f"use binary_cross_entropy or squared_error")
    name = f"{'-'.join(map(str, options.network))} {chosen['activation']}, {chosen['batch']}"
    own = Workload(name, options.network, chosen["activation"], chosen["loss"], chosen["batch"], chosen["optimizer"],
                   shuffle=chosen["shuffle"])
    return [*(workloads_named(options.workloads) if options.workloads else []), own]


def _host(settings: Settings) -> dict[str, str]:
    return {"fastbp": f"{__version__}, NumPy {np.__version__}",
            "processor": f"{llvmlite.binding.get_host_cpu_name()}, {os.cpu_count()} processors",
            "vectors": str(host()), "threads": str(settings.threads),
            "timed": f"{settings.dtype}, median of {settings.rounds} rounds of about {settings.seconds:g} s in turn, "
                     f"± half the distance of the slowest and fastest"}


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A function to call before each part of the work: a bar on a terminal, else a line for each workload."""
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
