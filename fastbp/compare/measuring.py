"""The comparison: every contestant checked, then all of them timed in turn, round after round."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .contestants import AGREEMENTS, Contestant, ContestantError, Process, cores_for, thread_environment

#: The names in a row of what was measured of the ceiling of a device.
CEILINGS = {"cpu": "ceiling", "gpu": "gpu_ceiling"}

#: The name of that of a processor's instruction for bfloat16 products, where a contestant computes in these.
BFLOAT16_CEILING = "bfloat16_ceiling"

#: Worker threads of BLAS and OpenMP go on spinning for some 10 ms after their work, on cores that the next one needs.
SETTLING_SECONDS = 0.05


class Row(Protocol):
    """A row of a comparison: training steps of a workload, or one product of matrices."""

    @property
    def kind(self) -> str:
        """The kind of problem, a key of `worker.KINDS`."""

    @property
    def checked_steps(self) -> int:
        """The number of steps whose result is compared with the expected one."""

    @property
    def agreement(self) -> float:
        """The largest disagreement of a contestant that is right, if it computes in `dtype` throughout."""

    @property
    def name(self) -> str:
        """The name in tables, which no other row has."""

    def about(self) -> dict[str, Any]:
        """The row for JSON: at least "name", "flops" of a step, and "batch_size"."""

    def problem(self, dtype: str) -> Any:
        """The problem as contestants get it: arrays, and settings."""

    def expected(self, problem: Any) -> np.ndarray:
        """The expected result, in float64."""

    def disagreement(self, found: np.ndarray, expected: np.ndarray, problem: Any) -> float:
        """The error of a contestant's result; infinite for another shape, NaN where one is."""

    def complaint(self, disagreement: float) -> str:
        """A sentence that says what is wrong."""


@dataclass(frozen=True)
class Settings:
    """The settings of a comparison.

    Parameters
    ----------
    threads : int
        Of every contestant, each on a core of its own.
    dtype : "float32" or "float64"
    rounds : int
        How often each contestant is timed.
    seconds : float
        About how long each time.
    """

    threads: int = 1
    dtype: str = "float32"
    rounds: int = 7
    seconds: float = 0.1


def compare(rows: Sequence[Row], contestants: Sequence[Contestant], ceilings: Mapping[str, Contestant],
            settings: Settings, show: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Check and time all contestants on all rows.

    Parameters
    ----------
    ceilings : mapping
        For "cpu" what measures the operations a second of one core in every round, and for "gpu" those of all
        multiprocessors; each takes part if a contestant on its device does.
    show : callable
        Called with a text before everything that takes time; `steps_to_show` says how often at the most.

    Returns
    -------
    results : dict
        What JSON can hold: "settings"; "contestants", what each runs on; "workloads", the rows, each with the
        "seconds" of a step by contestant and round, "ceiling" and "gpu_ceiling" by round, "warm_up" and "disagreement"
        by contestant, and "failed", the reasons of those that were not timed. No rows if no contestant runs here.
    """
    cores = cores_for(settings.threads)
    results: dict[str, Any] = {
        "settings": asdict(settings) | {"cores": cores, "environment": thread_environment(settings.threads)},
        "contestants": {contestant.name: contestant.about(settings.threads) for contestant in contestants},
        "workloads": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(contestant: Contestant) -> Process:
            threads = contestant.threads or settings.threads
            return stack.enter_context(Process(contestant, threads,
                                               cores_for(threads) if contestant.device == "cpu" else []))

        processes: dict[str, Process] = {}
        for contestant in contestants:
            process = start(contestant)
            try:
                show(f"starting {contestant.name}")
                described = process.ask("describe", blas=contestant.blas)
                results["contestants"][contestant.name] |= {"runs": True, **described}
                processes[contestant.name] = process
            except ContestantError as error:
                results["contestants"][contestant.name] |= {"reason": _reason(error, contestant)}
        devices = {process.contestant.device for process in processes.values()}
        meters = {device: start(ceilings[device]) for device in CEILINGS if device in devices}
        for row in rows if processes else ():
            results["workloads"].append(_compare_on(row, processes, meters, settings, folder, show))
        for name, process in processes.items():
            # Once more, when what is loaded late, such as a threading layer, has been loaded. One whose process ended
            # since is as described before, and the workload says where.
            with suppress(ContestantError):
                results["contestants"][name] |= process.ask("describe", blas=process.contestant.blas)
    return results


def steps_to_show(rows: int, contestants: int, rounds: int) -> int:
    """The number of times that `compare` calls `show` if no contestant fails."""
    return contestants + rows * contestants * (1 + rounds)


def _reason(error: ContestantError, contestant: Contestant) -> str:
    if error.missing is None:
        return str(error)
    return f"{error.missing} is not installed; install it with: {contestant.install}"


def _compare_on(row: Row, processes: dict[str, Process], meters: dict[str, Process], settings: Settings, folder: Path,
                show: Callable[[str], None]) -> dict[str, Any]:
    """One row; a contestant that fails or is wrong leaves it, not the comparison."""
    found: dict[str, Any] = {**row.about(), **{place: [] for place in CEILINGS.values()}, "seconds": {}, "warm_up": {},
                             "disagreement": {}, "failed": {}}
    problem = row.problem(settings.dtype)
    expected = row.expected(problem)
    request = _written(problem, folder / "problem.npz")
    result = folder / "result.npy"
    taking_part: dict[str, Process] = {}
    for name, process in processes.items():
        show(f"{row.name}: {name} compiles")
        try:
            process.ask("prepare", kind=row.kind, **request)
            found["warm_up"][name] = process.ask("warm_up", seconds=settings.seconds)
            process.ask("check", steps=row.checked_steps, to=str(result))
        except ContestantError as error:
            found["failed"][name] = _reason(error, process.contestant)
            continue
        disagreement = row.disagreement(np.load(result), expected, problem)
        found["disagreement"][name] = disagreement
        if disagreement <= AGREEMENTS.get(process.contestant.rounds_to, row.agreement):  # NaN does not
            taking_part[name], found["seconds"][name] = process, []
        else:
            found["failed"][name] = row.complaint(disagreement)
    for number in range(1, settings.rounds + 1):
        for device, meter in meters.items():
            try:
                rate = meter.ask("ceiling", dtype=settings.dtype)["flops_per_second"]
                found[CEILINGS[device]].append(rate)
            except ContestantError as error:
                found["failed"][meter.contestant.name] = _reason(error, meter.contestant)
        if "cpu" in meters and any(process.contestant.rounds_to == "bfloat16" for process in taking_part.values()):
            with suppress(ContestantError):  # of a processor that has no instruction for it
                rate = meters["cpu"].ask("ceiling", dtype="bfloat16")["flops_per_second"]
                found.setdefault(BFLOAT16_CEILING, []).append(rate)
        for name, process in list(taking_part.items()):
            show(f"{row.name}: {name}, round {number} of {settings.rounds}")
            if max(other.threads for other in taking_part.values()) > 1:
                time.sleep(SETTLING_SECONDS)
            try:
                found["seconds"][name].append(process.ask("measure")["seconds"])
            except ContestantError as error:
                found["failed"][name] = str(error)
                del taking_part[name], found["seconds"][name]
    return found


def _written(problem: Any, path: Path) -> dict[str, Any]:
    """The arguments of a request: the file to which the arrays of a problem are written, and its settings."""
    fields = problem._asdict()
    arrays: dict[str, Any] = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    np.savez(path, **arrays)
    settings = {name: value for name, value in fields.items() if name not in {"threads", "options", *arrays}}
    return {"arrays": str(path), **settings}
