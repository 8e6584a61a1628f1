"""`fastbp warmup`: compile all kernels now, which would else be compiled at their first use."""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from ..backends import NAMES, ON_GPU, backend_named
from ..compiling.cache import cache_folder, may_store
from ..compiling.cleaning import UNUSED_DAYS, UNUSED_HOURS, remove_caches, size_of, unused_seconds
from ..compiling.side_by_side import processes
from ..functions.activations import ACTIVATIONS
from ..functions.losses import LOSSES as BUILT_IN_LOSSES
from ..mlp import MLP
from ..optimizers.full_batch import LevenbergMarquardt
from ..optimizers.optimizer import Optimizer
from ..optimizers.settings import OPTIMIZERS, SGD
from .output import as_json

DTYPES = ("float32", "float64")

#: What is kept on disk; a user's losses are not.
LOSSES = {loss.name: loss for loss in BUILT_IN_LOSSES}

#: An optimizer for each rule, whose steps are 0: no network diverges.
WARMED_OPTIMIZERS: tuple[Optimizer, ...] = (SGD(0.0, momentum=0.9), *(kind(0.0) for kind in OPTIMIZERS.values()))

#: The backends whose kernels are cached on disk.
CACHED = tuple(name for name in NAMES if name not in ON_GPU)

#: One sample, which goes through a network alone, and more than any backend's vectors hold.
BATCHES = (1, 40)

#: Samples of several chunks, of which each thread takes some.
MANY = 10_000

#: So many samples of SMALL that they are standardised while they are read.
LONG = 2**17

#: The backend and dtype by which `LevenbergMarquardt` computes, whatever those of the network.
LEAST_SQUARES = ("tiled", "float64")

#: The widths of a network that trains in no time.
SMALL = (3, 4, 2)

#: Weights that no second-level cache holds have tiles of their own.
LARGE = (1024, 1024)


class Network(NamedTuple):
    """The names that a network is compiled for."""

    backend: str
    dtype: str
    activation: str  # of the hidden layer
    output: str      # of the last layer
    loss: str

    def __str__(self) -> str:
        return f"{self.backend} {self.dtype}: {self.activation}, {self.loss}"


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp warmup`."""
    parser = commands.add_parser(
        "warmup", help="compile all kernels now",
        description="Fill the kernel cache, so that no first call and no first training has to wait for the compiler, "
                    "in your user cache folder or in NUMBA_CACHE_DIR, under a digest of the package's source, of the "
                    "packages that compile it, the processor and Numba's settings, so that an upgrade or an edit never "
                    "meets stale kernels; "
                    "as many processes compile as FASTBP_COMPILE_PROCESSES says, by default one for each core; "
                    f"and remove other such caches of yours that were not used for {UNUSED_DAYS} days, but not in "
                    "NUMBA_CACHE_DIR, which others may share. What long "
                    "trainings with batches of one sample compile for their own list of widths is not in it.")
    parser.add_argument("--clean", action="store_true",
                        help="compile nothing, and remove all your caches of other versions, processors and settings "
                             f"that no process began to use in the last {UNUSED_HOURS} hours, in NUMBA_CACHE_DIR too; "
                             "the cache in use stays, and `fastbp doctor` says what there is")
    parser.add_argument("--dtype", type=_names_of(DTYPES), default=",".join(DTYPES), metavar="NAME[,NAME…]",
                        help="float32, float64; both if not given")
    parser.add_argument("--backends", type=_names_of(CACHED), default="auto", metavar="NAME[,NAME…]",
                        help=f"{', '.join(CACHED)}; auto if not given")
    parser.add_argument("--activations", type=_names_of([record.name for record in ACTIVATIONS]),
                        default=",".join(record.name for record in ACTIVATIONS), metavar="NAME[,NAME…]",
                        help="all if not given")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Compile, tidy up, and print one line."""
    folder = cache_folder()
    if folder is None or not may_store():
        raise OSError("the kernel cache cannot be written, and without it nothing stays compiled")
    if options.clean:
        clean = {"cache": str(folder), "removed": remove_caches(folder.parent, folder, 3600.0 * UNUSED_HOURS)}
        print(as_json(clean) if options.json else "{removed} other caches than {cache} removed".format(**clean))
        return "done"
    (before, _), begin = size_of(folder), time.perf_counter()
    networks = networks_to_warm(options.dtype, options.backends, options.activations)
    with _progress(len(networks)) as move:
        for network in compiled(networks):
            move(str(network))
    seconds, (kernels, _) = time.perf_counter() - begin, size_of(folder)
    found = {"kernels": kernels, "compiled": kernels - before, "cache": str(folder), "seconds": round(seconds, 1),
             "removed": remove_caches(folder.parent, folder, unused_seconds())}
    if options.json:
        print(as_json(found))
    else:
        print("{kernels} kernels in {cache}, {compiled} of them compiled now, in {seconds} s; "
              "{removed} other caches, which were not used, removed".format(**found))
    return "done"


def networks_to_warm(dtypes: Sequence[str], backends: Sequence[str], activations: Sequence[str]) -> list[Network]:
    """The networks that together use every one of these activations, and every loss.

    An activation and a loss are compiled apart, so not every pair is needed.
    """
    networks = []
    for backend in dict.fromkeys(backend_named(name)[0] for name in backends):
        for dtype in dtypes:
            hidden = [name for name in activations if name != "softmax"] or ["identity"]
            pairs = [(name, "squared_error") for name in hidden] + [(hidden[0], loss) for loss in LOSSES]
            if "softmax" not in activations:
                pairs = [(name, loss) for name, loss in pairs if LOSSES[loss].requires != "softmax"]
            networks += [Network(backend, dtype, name, _output_activation(name, loss), loss)
                         for name, loss in dict.fromkeys(pairs)]
    return networks


def _output_activation(activation: str, loss: str) -> str:
    """The output activation: that of the hidden layer, where the loss takes it."""
    return LOSSES[loss].requires or ("identity" if activation in LOSSES[loss].refuses else activation)


def compiled(networks: Sequence[Network]) -> Iterator[Network]:
    """Compile what networks call, and yield each when that is done.

    The loop over batches, and most of what it calls, is the same for all networks of a backend and dtype. So the first
    of them is trained before the others, and all other calls go to several processes.
    """
    first = list({(network.backend, network.dtype): network for network in reversed(networks)}.values())
    for network in first:
        train(network, SGD(0.0))
    calls: list[tuple[Any, ...]] = [(train, network, optimizer) for network in first for optimizer in WARMED_OPTIMIZERS]
    calls += [(call_everything, network) for network in networks]
    for call, network, *_ in _made(calls):
        if call is call_everything:
            yield network


def _made(calls: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Make calls (function, *arguments), in several processes where they can be started; yield each when it is done."""
    count, running = min(processes(), len(calls)), dict[Any, tuple[Any, ...]]()
    try:
        if count > 1:
            with ProcessPoolExecutor(count, get_context("spawn")) as pool:
                running = {pool.submit(*call): call for call in calls}
                for done in as_completed(running):
                    done.result()
                    yield running.pop(done)
            return
    except (OSError, NotImplementedError, BrokenProcessPool):
        calls = list(running.values()) or calls
    for function, *arguments in calls:
        function(*arguments)
        yield function, *arguments


def train(network: Network, optimizer: Optimizer) -> None:
    """Train a tiny network on batches of one sample and of several."""
    for n in BATCHES:
        X, d = _samples(network, n)
        for batch_size in {1, n}:
            _network(network, SMALL).fit(X, d, optimizer=optimizer, epochs=1, batch_size=batch_size, progress=False)


def call_everything(network: Network) -> None:
    """Every call of the public interface that compiles something, on a tiny network, and the first on a large one."""
    _network(network, LARGE, initializer="zeros").forward(np.zeros((1, LARGE[0]), network.dtype))
    _network(network, SMALL).forward(np.zeros((MANY, SMALL[0]), network.dtype))
    train(network, SGD(0.0))
    for n in BATCHES:
        X, d = _samples(network, n)
        net = _network(network, SMALL)
        net.forward(X)
        net.evaluate(X, d)
        net.input_gradient(X, d)
        net.input_jacobian(X)
        net.backward(X, np.zeros((n, SMALL[-1])))
        net.accumulate_gradient(X, d)
        net.accumulate_gradient(X, d, np.ones(n))
        net.step(0.01)
        net.fit(X, d, epochs=1, dropout=0.5, progress=False)
        net.fit([(X, d)], epochs=1, progress=False)
    if (network.backend, network.dtype) == LEAST_SQUARES and LOSSES[network.loss].curvature and find_spec("scipy"):
        net.fit(X, d, optimizer=LevenbergMarquardt(), epochs=1, progress=False)
    net.standardize(X)
    net.forward(np.zeros((LONG, SMALL[0]), network.dtype))


def _samples(network: Network, n: int) -> tuple[np.ndarray, np.ndarray]:
    """X and d of n samples."""
    X = np.random.default_rng(0).standard_normal((n, SMALL[0])).astype(network.dtype)
    return X, (np.zeros(n, np.int64) if LOSSES[network.loss].targets == "classes" else
               np.zeros((n, SMALL[-1]), network.dtype))


def _network(network: Network, widths: tuple[int, ...], **settings: Any) -> MLP:
    return MLP(widths, activation=network.activation, output_activation=network.output, loss=network.loss,
               dtype=network.dtype, backend=network.backend, seed=0, **settings)


def _names_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A parser of names in a row."""
    def names(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",")]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, found {name!r}")
        return list(dict.fromkeys(chosen))

    return names


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A function to call before each part of the work, which moves a bar on a terminal, if tqdm is installed."""
    tqdm: Any = None
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            tqdm = importlib.import_module("tqdm").tqdm
        except ImportError:
            tqdm = None
    if tqdm is None:
        yield lambda text: None
        return
    with tqdm(total=total, unit="", leave=False) as bar:
        def move(text: str) -> None:
            bar.set_description_str(text)
            bar.update(1)

        yield move
