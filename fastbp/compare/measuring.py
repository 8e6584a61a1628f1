"""The comparison: every contestant checked, then all of them timed in turn, round after round."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..network import MLP
from ..workloads import Workload
from .contestants import Contestant, ContestantError, Process, cores_for
from .workers import numpy_formulas
from .workers.worker import Problem

#: Contestants are compared with the formulas after so many steps.
CHECKED_STEPS = 3

#: |ΔW_k - ΔW_ref| / |ΔW_ref| of these steps at the most, in the 2-norm, and the same for every b_k. Float32 rounding
#: makes up to 10^-4 and the place where scikit-learn adds Adam's ε some 10^-3; another formula, several 10^-1.
AGREEMENT = 0.05


#: Worker threads of BLAS and OpenMP go on spinning for some 10 ms after their work, on cores that the next one needs.
SETTLING_SECONDS = 0.05


@dataclass(frozen=True)
class Settings:
    """How a comparison is made.

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
    rounds: int = 5
    seconds: float = 0.3


def compare(workloads: Sequence[Workload], contestants: Sequence[Contestant], ceiling: Contestant, settings: Settings,
            show: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Check and time all contestants on all workloads.

    Parameters
    ----------
    ceiling : Contestant
        Measures the operations a second of one core in every round.
    show : callable
        Called with a text before everything that takes time; `steps_to_show` says how often at the most.

    Returns
    -------
    results : dict
        What JSON can hold: "settings"; "contestants", what each runs on; "workloads", each with the "seconds" of a step
        by contestant and round, "ceiling" by round, "warm_up" and "disagreement" by contestant, and "failed", the
        reasons of those that were not timed.
    """
    cores = cores_for(settings.threads)
    results: dict[str, Any] = {"settings": asdict(settings) | {"cores": cores},
                               "contestants": {contestant.name: {"peer": contestant.peer, "runs": False}
                                               for contestant in contestants}, "workloads": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        meter = stack.enter_context(Process(ceiling, settings.threads, cores))
        processes: dict[str, Process] = {}
        for contestant in contestants:
            process = stack.enter_context(Process(contestant, settings.threads, cores))
            try:
                show(f"starting {contestant.name}")
                results["contestants"][contestant.name] |= {"runs": True, **process.ask("describe")}
                processes[contestant.name] = process
            except ContestantError as error:
                results["contestants"][contestant.name] |= {"reason": _reason(error, contestant)}
        for workload in workloads:
            results["workloads"].append(_compare_on(workload, processes, meter, settings, folder, show))
        for name, process in processes.items():
            # Once more, when what is loaded late, such as a threading layer, has been loaded. One whose process ended
            # since is as described before, and the workload says where.
            with suppress(ContestantError):
                results["contestants"][name] |= process.ask("describe")
    return results


def steps_to_show(workloads: int, contestants: int, rounds: int) -> int:
    """How often `compare` calls `show` if no contestant fails."""
    return contestants + workloads * contestants * (1 + rounds)


def _reason(error: ContestantError, contestant: Contestant) -> str:
    if error.missing is None:
        return str(error)
    return f"{error.missing} is not installed; install it with: {contestant.install}"


def _compare_on(workload: Workload, processes: dict[str, Process], meter: Process, settings: Settings, folder: Path,
                show: Callable[[str], None]) -> dict[str, Any]:
    """One workload; a contestant that fails or is wrong leaves it, not the comparison."""
    found: dict[str, Any] = {**asdict(workload), "samples": workload.samples, "flops": workload.flops, "ceiling": [],
                             "seconds": {}, "warm_up": {}, "disagreement": {}, "failed": {}}
    problem = problem_of(workload, settings.dtype)
    arrays = folder / "problem.npz"
    np.savez(arrays, X=problem.X, d=problem.d, theta=problem.theta)
    expected = reference_change(problem)
    taking_part: dict[str, Process] = {}
    for name, process in processes.items():
        show(f"{workload.name}: {name} compiles")
        try:
            process.ask("prepare", arrays=str(arrays), widths=problem.widths, activation=problem.activation,
                        loss=problem.loss, batch_size=problem.batch_size, optimizer=problem.optimizer,
                        learning_rate=problem.learning_rate)
            found["warm_up"][name] = process.ask("warm_up", seconds=settings.seconds)
            process.ask("check", steps=CHECKED_STEPS, to=str(folder / "theta.npy"))
        except ContestantError as error:
            found["failed"][name] = _reason(error, process.contestant)
            continue
        change = np.load(folder / "theta.npy") - problem.theta
        disagreement = disagreement_of(change, expected, problem.widths)
        found["disagreement"][name] = disagreement
        if disagreement <= AGREEMENT:  # NaN does not
            taking_part[name], found["seconds"][name] = process, []
        else:
            found["failed"][name] = (f"wrong: in {CHECKED_STEPS} steps its change of a W_k or b_k is off that of the "
                                     f"formulas by {disagreement:.2g} of its norm")
    for number in range(1, settings.rounds + 1):
        try:
            found["ceiling"].append(meter.ask("ceiling", dtype=settings.dtype)["flops_per_second"])
        except ContestantError as error:
            found["failed"]["ceiling"] = str(error)
        for name, process in list(taking_part.items()):
            show(f"{workload.name}: {name}, round {number} of {settings.rounds}")
            if settings.threads > 1:
                time.sleep(SETTLING_SECONDS)
            try:
                found["seconds"][name].append(process.ask("measure")["seconds"])
            except ContestantError as error:
                found["failed"][name] = str(error)
                del taking_part[name], found["seconds"][name]
    return found


def problem_of(workload: Workload, dtype: str) -> Problem:
    """A workload as contestants get it, with initial parameters of an `MLP` and biases that are not all the same."""
    net = MLP(workload.widths, activation=workload.activation, loss=workload.loss, dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    for b in net.biases:
        b[:] = 0.1 * rng.standard_normal(b.size)
    X, d = workload.draw(dtype)
    return Problem(list(workload.widths), workload.activation, workload.loss, workload.batch_size, workload.optimizer,
                   workload.learning_rate, 1, {}, X, d, net.theta)


def reference_change(problem: Problem) -> np.ndarray:
    """θ - θ_0 after `CHECKED_STEPS` by the formulas in float64."""
    batches = len(problem.X) // problem.batch_size
    n = min(CHECKED_STEPS, batches) * problem.batch_size
    d = problem.d[:n] if problem.d.dtype.kind == "i" else problem.d[:n].astype(np.float64)
    exact = problem._replace(X=problem.X[:n].astype(np.float64), d=d, theta=problem.theta.astype(np.float64))
    reference = numpy_formulas.Trainer(exact, numpy_formulas.VARIANTS[0])
    reference.reset()
    reference.train(-(-CHECKED_STEPS // batches))
    return np.asarray(reference.theta() - exact.theta)


def disagreement_of(change: np.ndarray, expected: np.ndarray, widths: Sequence[int]) -> float:
    """The largest |ΔW_k - ΔW_ref| / |ΔW_ref|, or the same of a b_k; infinite where shapes differ, NaN where one is."""
    if change.shape != expected.shape:
        return float("inf")
    sizes = [size for n_in, n_out in pairwise(widths) for size in (n_out * n_in, n_out)]
    parts = [np.split(values, np.cumsum(sizes)[:-1]) for values in (change, expected)]
    return float(np.max([np.linalg.norm(own - reference) / np.linalg.norm(reference)
                         for own, reference in zip(*parts, strict=True)]))
