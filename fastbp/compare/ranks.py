"""The same training on 1, 2, 4 … ranks of one thread, over batch sizes: how much faster, and the share of exchange.

Ranks are processes of MPI where mpi4py and its launcher are, else threads of this process. All numbers of ranks take
turns in one run: ranks that are not needed sleep meanwhile.

    mpiexec -n 4 python -m fastbp.compare.ranks '{"ranks": [1, 2, 4], …}'
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .. import threads
from ..checks.messages import shortened
from ..distributed import Communicator, DataParallel, MPICommunicator, in_threads
from ..mlp import MLP
from ..optimizers import SGD, Adam
from .report import aligned, digits
from .workloads import Workload

#: Batch sizes, if none are given.
BATCHES = (128, 512, 2048)

#: The fewest leaves of a batch; see `DataParallel`. More ranks have more.
LEAVES = 8

#: Seconds for which a rank that is not needed sleeps until it looks again.
NAP = 0.002

#: Calls a function on a number of ranks; what rank 0 returned, on all.
OnRanks = Callable[[int, Callable[[Any], Any]], Any]


class Timed:
    """A `Communicator` that adds up the seconds of its exchanges, in which a rank waits for its partner too."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator, self.rank, self.size = communicator, communicator.rank, communicator.size
        self.seconds = 0.0

    def exchange(self, partner: int, sent: np.ndarray, received: np.ndarray) -> None:
        """See `Communicator.exchange`."""
        begin = time.perf_counter()
        self._communicator.exchange(partner, sent, received)
        self.seconds += time.perf_counter() - begin

    def abort(self, reason: str) -> None:
        """See `Communicator.abort`."""
        self._communicator.abort(reason)


def compare_ranks(workload: Workload, batches: Sequence[int], ranks: Sequence[int], dtype: str, rounds: int,
                  seconds: float) -> dict[str, Any]:
    """Time a network's training on each number of ranks, in turn.

    Returns
    -------
    results : dict
        What JSON can hold: "network", "dtype", "transport", and "rows": for each batch size and number of ranks, by
        rounds, the "samples_per_second" and the "exchange", the share of the time of rank 0.
    """
    given = {"workload": asdict(workload), "batches": list(batches), "ranks": sorted({1, *ranks}), "dtype": dtype,
             "rounds": rounds, "seconds": seconds}
    launcher, reason = _launcher()
    found: dict[str, Any] | None = None
    if launcher:
        found, reason = _by_mpi(launcher, given)
    transport = "processes of MPI" if found else f"threads of one process, because {reason}"
    return {"network": "-".join(map(str, workload.widths)), "dtype": dtype, "transport": transport,
            **(found or _by_threads(given))}


def _launcher() -> tuple[str | None, str]:
    """The launcher of MPI, that beside Python first, or why there is none."""
    if importlib.util.find_spec("mpi4py") is None:
        return None, "mpi4py is not installed"
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    return found, "" if found else "there is no mpiexec"


def _by_mpi(launcher: str, given: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """What processes of MPI have found, or why they could not."""
    command = [launcher, "-n", str(max(given["ranks"])), sys.executable, "-m", __name__, json.dumps(given)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(ended.stdout.splitlines()[-1]), ""
    except (IndexError, ValueError):
        said = ended.stderr.strip().splitlines()
        return None, f"mpiexec failed ({shortened(said[-1] if said else f'status {ended.returncode}', 120)})"


def _by_threads(given: dict[str, Any]) -> dict[str, Any]:
    """The same in this process."""
    before = threads.get_num_threads()
    threads.set_num_threads(1)
    try:
        return measured(given, lambda count, function: in_threads(function, count)[0])
    finally:
        threads.set_num_threads(before)


def measured(given: dict[str, Any], on_ranks: OnRanks) -> dict[str, Any]:
    """The rows of `compare_ranks`."""
    rows = []
    leaves = max(LEAVES, 1 << (max(given["ranks"]) - 1).bit_length())
    for batch in given["batches"]:
        workload = replace(Workload(**given["workload"] | {"widths": tuple(given["workload"]["widths"])}),
                           batch_size=batch, batches=None)
        training = _Training(workload, given["dtype"], leaves)
        for count in given["ranks"]:
            on_ranks(count, training)  # compiles, and makes the data
        once, _ = on_ranks(1, training)
        training.epochs = max(1, round(given["seconds"] / once))
        found: dict[int, list[tuple[float, float]]] = {count: [] for count in given["ranks"]}
        for _ in range(given["rounds"]):
            for count in given["ranks"]:
                found[count].append(on_ranks(count, training))
        rows += [{"batch": batch, "ranks": count,
                  "samples_per_second": [workload.samples * training.epochs / seconds for seconds, _ in measurements],
                  "exchange": [share for _, share in measurements]} for count, measurements in found.items()]
    return {"rows": rows}


class _Training:
    """A training that is timed: called with the communicator of a rank, it gives seconds and the share of exchange."""

    def __init__(self, workload: Workload, dtype: str, leaves: int) -> None:
        self._workload, self._dtype, self._leaves, self.epochs = workload, dtype, leaves, 1
        self._X, self._d = workload.draw(dtype)

    def __call__(self, communicator: Communicator) -> tuple[float, float]:
        workload, timed = self._workload, Timed(communicator)
        net = MLP(workload.widths, activation=workload.activation, loss=workload.loss, dtype=self._dtype, seed=0)
        optimizer = {"sgd": SGD, "adam": Adam}[workload.optimizer](workload.learning_rate)
        history = net.fit(self._X, self._d, optimizer=optimizer, epochs=self.epochs, batch_size=workload.batch_size,
                          shuffle=workload.shuffle, progress=False, seed=0,
                          communicator=DataParallel(timed, leaves=self._leaves))
        return history.seconds, min(1.0, timed.seconds / history.seconds)


def ranks_table(results: dict[str, Any]) -> str:
    """Samples per second over those of one rank, and the share of exchange, of every batch size and number of ranks."""
    counts = list(dict.fromkeys(row["ranks"] for row in results["rows"]))
    by_place = {(row["batch"], row["ranks"]): row for row in results["rows"]}
    cells = [["batch", "samples/s of 1 rank", *(f"{count} ranks" for count in counts[1:]),
              *(f"exchange of {count}" for count in counts[1:])]]
    for batch in dict.fromkeys(row["batch"] for row in results["rows"]):
        alone, *others = (by_place[batch, count] for count in counts)
        speed_ups = [median(a / b for a, b in zip(row["samples_per_second"], alone["samples_per_second"], strict=True))
                     for row in others]
        cells.append([str(batch), digits(median(alone["samples_per_second"])), *(f"{ratio:.2f}" for ratio in speed_ups),
                      *(f"{median(row['exchange']):.0%}" for row in others)])
    return (f"{results['network']}, {results['dtype']}, ranks of one thread: {results['transport']}\n\n"
            f"{aligned(cells)}\n"
            "samples per second over those of one rank, and the share of the time of rank 0 in exchange and waiting "
            "for it")


def main() -> None:
    """What each process of MPI runs."""
    from mpi4py import MPI

    given, world = json.loads(sys.argv[1]), MPI.COMM_WORLD
    if world.Get_size() < max(given["ranks"]):
        raise SystemExit("its processes do not find each other: it is not the launcher of mpi4py's MPI")
    threads.set_num_threads(1)
    groups = {count: world.Split(int(world.Get_rank() < count), world.Get_rank()) for count in given["ranks"]}
    communicators = {count: MPICommunicator(group) for count, group in groups.items()
                     if world.Get_rank() < count}

    def on_ranks(count: int, function: Callable[[Any], Any]) -> Any:
        result = function(communicators[count]) if count in communicators else None
        barrier = world.Ibarrier()
        while not barrier.Test():  # whoever waits in MPI keeps a core busy
            time.sleep(NAP)
        return world.bcast(result)

    results = measured(given, on_ranks)
    if world.Get_rank() == 0:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
