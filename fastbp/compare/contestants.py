"""Who is timed, in what environment, and the parent's side of the line protocol."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

WORKERS = Path(__file__).with_name("workers")


@dataclass(frozen=True)
class Contestant:
    """One way to train, run in a process of its own.

    Parameters
    ----------
    name : str
        In tables.
    module : Path
        The file that trains; see `fastbp.compare.workers`.
    python : str
        The interpreter.
    peer : bool
        Whether fastbp is compared with it.
    options : mapping
        What `module` is to know besides the problem.
    environment : mapping
        Variables beside those that set the number of threads.
    install : str
        The command that installs what it needs.
    blas : str
        The package through whose BLAS it computes, if it does.
    """

    name: str
    module: Path
    python: str = sys.executable
    peer: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    install: str = ""
    blas: str = ""


def backend_contestant(backend: str, *, products: bool = False) -> Contestant:
    """`MLP.fit` with a backend, or the backend's own kernels for the three products."""
    return Contestant(f"fastbp {backend}", WORKERS / ("fastbp_products.py" if products else "fastbp_fit.py"),
                      options={"backend": backend}, environment=own_package(), install="pip install 'fastbp[blas]'",
                      blas="scipy" if backend == "blas" else "")


def ceiling_contestant() -> Contestant:
    """What measures the ceiling of one core."""
    return Contestant("ceiling", WORKERS / "ceiling.py", environment=own_package())


def own_package() -> dict[str, str]:
    """A process started anywhere imports this very fastbp."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def peers(python: str, avx512: bool, *, products: bool = False) -> list[Contestant]:
    """The other libraries, installed or not, in an interpreter of theirs; for products, those that have products.

    NumPy takes part twice where there is AVX-512: its OpenBLAS does not know every processor and then takes slower
    kernels than the processor allows.
    """
    def peer(name: str, file: str, packages: str, blas: str = "", **environment: str) -> Contestant:
        return Contestant(name, WORKERS / file, python, True, environment=environment, blas=blas,
                          install=f"{Path(python).name} -m pip install {packages}")

    numpy_file = "numpy_products.py" if products else "numpy_formulas.py"
    numpys = [peer("numpy", numpy_file, "numpy", "numpy")]
    if avx512:
        numpys.append(peer("numpy skylakex", numpy_file, "numpy", "numpy", OPENBLAS_CORETYPE="SKYLAKEX"))
    if products:
        return [peer("jax", "jax_products.py", "jax", JAX_PLATFORMS="cpu"),
                peer("torch", "pytorch_products.py", "torch numpy"), *numpys]
    return [peer("jax", "jax_jit.py", "jax", JAX_PLATFORMS="cpu"),
            peer("torch", "pytorch_eager.py", "torch numpy"),
            peer("torch compiled", "pytorch_compiled.py", "torch numpy"),
            peer("scikit-learn", "scikit_learn.py", "scikit-learn", "numpy"), *numpys]


def thread_environment(threads: int) -> dict[str, str]:
    """The variables that set the number of threads; XLA takes one for each core it may use unless told to take one."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    found = dict.fromkeys(names, str(threads))
    if threads == 1:
        found["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return found


def cores_for(threads: int) -> list[int]:
    """As many of the processors this process may use, no two on one core while there are others; [] where the system
    does not bind processes to them.

    Raises
    ------
    ValueError
        If there are not that many processors.
    """
    binds = hasattr(os, "sched_getaffinity")
    free = sorted(os.sched_getaffinity(0)) if binds else list(range(os.cpu_count() or 1))
    if threads > len(free):
        raise ValueError(f"--threads: expected at most the {len(free)} processors there are, found {threads}")
    if not binds:
        return []
    firsts: list[int] = []
    seconds: list[int] = []
    seen: set[str] = set()
    for cpu in free:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text() if siblings.exists() else str(cpu)
        (seconds if core in seen else firsts).append(cpu)
        seen.add(core)
    return (firsts + seconds)[:threads]


class ContestantError(Exception):
    """A contestant cannot go on; `missing` names the package it lacks, if that is why."""

    def __init__(self, message: str, missing: str | None = None) -> None:
        super().__init__(message)
        self.missing = missing


class Process:
    """A contestant's process, and requests to it."""

    def __init__(self, contestant: Contestant, threads: int, cores: list[int]) -> None:
        self.contestant = contestant
        start = {"module": str(contestant.module), "threads": threads, "cores": cores,
                 "options": dict(contestant.options)}
        # OPENBLAS_CORETYPE in the user's shell would make the two NumPys one.
        environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [contestant.python, str(WORKERS / "worker.py"), json.dumps(start)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._messages, encoding="utf-8",
            env=environment | thread_environment(threads) | dict(contestant.environment),
            start_new_session=True)  # so that Ctrl-C is for the parent alone, which then ends its children

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises
        ------
        ContestantError
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContestantError(f"its process ended: {self._last_message()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContestantError(answer["error"], answer.get("missing"))
        return answer

    def _last_message(self) -> str:
        self._process.wait(timeout=10)
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._messages):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # a request that was not read
                    continue
