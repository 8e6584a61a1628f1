"""Who is timed, in what environment, and the parent's side of the line protocol."""

import ast
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

from ..backends import ON_GPU

WORKERS = Path(__file__).with_name("workers")

#: The largest disagreement of a contestant that rounds the factors of its products, where others keep to
#: `Row.agreement`. In steps by SGD, factors of TF32, rounded or cut off to 10 bits, made up to 0.03 (`big`; emulated
#: by NumPy), and those of bfloat16, of 7 bits, 0.08 (PyTorch 2.13 on AVX-512): where a relu's sum is near 0, its unit
#: gets another sign. In steps by Adam, which at first are as long for a gradient near 0 as for any, they made up to
#: 0.19 and 0.31 (`higgs`). Parameters that do not change make 1.
AGREEMENTS = {"TF32": 0.3, "bfloat16": 0.5}

#: Variables that in the user's shell would make two contestants one: both NumPys, or those that round and do not.
NOT_THE_SHELLS = ("OPENBLAS_CORETYPE", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
                  "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


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
    device : "cpu" or "gpu"
        What it computes on. One on a GPU is not bound to cores: PyTorch calls it from threads of its own.
    rounds_to : "TF32", "bfloat16" or ""
        What its products round their factors to, if they do. It computes other numbers, so that it is never the fastest
        peer.
    threads : int
        Its number of threads where it has one of its own; 0 for that of the comparison.
    """

    name: str
    module: Path
    python: str = sys.executable
    peer: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    install: str = ""
    blas: str = ""
    device: str = "cpu"
    rounds_to: str = ""
    threads: int = 0


    def about(self, threads: int) -> dict[str, Any]:
        """The contestant for JSON, before it has run in a comparison on a number of threads."""
        text = ast.get_docstring(ast.parse(self.module.read_text(encoding="utf-8"))) or ""
        return {"peer": self.peer, "device": self.device, "runs": False, "rounds_to": self.rounds_to,
                "threads": self.threads or threads, "install": self.install,
                "how": text.split("\n\n")[0].replace("\n", " "),
                "environment": {name: value for name, value in self.environment.items() if name != "PYTHONPATH"}}


def backend_contestant(backend: str, *, products: bool = False) -> Contestant:
    """`MLP.fit` with a backend, or the backend's own kernels for the three products."""
    package = f"'fastbp[{backend}]'" if backend in ("blas", "cuda") else "fastbp"
    return Contestant(f"fastbp {backend}", WORKERS / ("fastbp_products.py" if products else "fastbp_fit.py"),
                      options={"backend": backend}, environment=own_package(), install=f"pip install {package}",
                      blas="scipy" if backend == "blas" else "", device="gpu" if backend in ON_GPU else "cpu")


def bfloat16_contestant() -> Contestant:
    """`MLP.fit` with bfloat16 products: other numbers."""
    return Contestant("fastbp bfloat16", WORKERS / "fastbp_fit.py",
                      options={"backend": "tiled", "products": "bfloat16"}, environment=own_package(),
                      rounds_to="bfloat16")


def ceiling_contestant() -> Contestant:
    """The contestant that measures the ceiling of one core."""
    return Contestant("ceiling", WORKERS / "ceiling.py", environment=own_package())


def gpu_ceiling_contestant() -> Contestant:
    """The contestant that measures the ceiling of all multiprocessors of the GPU."""
    return Contestant("gpu ceiling", WORKERS / "gpu_ceiling.py", environment=own_package(), device="gpu",
                      install="pip install 'fastbp[cuda]'")


def own_package() -> dict[str, str]:
    """A process started anywhere imports this very fastbp."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def peers(python: str, avx512: bool, dtype: str, *, products: bool = False) -> list[Contestant]:
    """The other libraries, installed or not, in an interpreter of theirs; for products, those that have products.

    NumPy takes part twice where there is AVX-512: its OpenBLAS does not know every processor and then takes slower
    kernels than the processor allows. There PyTorch takes part in bfloat16 too, if the others compute in float32; with
    AVX2 alone a layer took 17 times as long in bfloat16 as in float32 (PyTorch 2.13). FANN is no Python package: fann2
    is built against its library.
    """
    def peer(name: str, file: str, packages: str, blas: str = "", rounds_to: str = "",
             **environment: str) -> Contestant:
        return Contestant(name, WORKERS / file, python, True, environment=environment, blas=blas, rounds_to=rounds_to,
                          install=f"{Path(python).name} -m pip install {packages}")

    def on_keras(backend: str, **environment: str) -> Contestant:
        return peer(f"keras {backend}", "keras_fit.py", f"keras {backend}", KERAS_BACKEND=backend, **environment)

    numpy_file = "numpy_products.py" if products else "numpy_formulas.py"
    numpys = [peer("numpy", numpy_file, "numpy", "numpy")]
    if avx512:
        numpys.append(peer("numpy skylakex", numpy_file, "numpy", "numpy", OPENBLAS_CORETYPE="SKYLAKEX"))
    if products:
        return [peer("jax", "jax_products.py", "jax", JAX_PLATFORMS="cpu"),
                peer("torch", "pytorch_products.py", "torch numpy"), *numpys]
    in_bfloat16 = [peer("torch bfloat16", "pytorch_bfloat16.py", "torch numpy", rounds_to="bfloat16")]
    return [peer("jax", "jax_jit.py", "jax", JAX_PLATFORMS="cpu"),
            peer("torch", "pytorch_eager.py", "torch numpy"),
            peer("torch compiled", "pytorch_compiled.py", "torch numpy"),
            *(in_bfloat16 if avx512 and dtype == "float32" else []),
            peer("skorch", "skorch_fit.py", "skorch torch"),
            on_keras("jax", JAX_PLATFORMS="cpu"), on_keras("torch"),
            peer("scikit-learn", "scikit_learn.py", "scikit-learn", "numpy"),
            peer("fann", "fann_train.py", "fann2"), *numpys]


def gpu_peers(python: str, dtype: str) -> list[Contestant]:
    """The other libraries on a GPU, installed or not; for float32 each a second time with TF32."""
    def peer(name: str, file: str, packages: str, tf32: bool, **options: Any) -> Contestant:
        return Contestant(f"{name} TF32" if tf32 else name, WORKERS / file, python, True,
                          options={**options, "tf32": tf32}, environment={"CUPY_TF32": str(int(tf32))},
                          install=f"{Path(python).name} -m pip install {packages}", device="gpu",
                          rounds_to="TF32" if tf32 else "")

    torch = "--force-reinstall torch numpy"  # one without CUDA may be there, and has to go
    return [contestant for tf32 in ((False, True) if dtype == "float32" else (False,)) for contestant in (
        peer("cupy", "numpy_formulas.py", "'cupy-cuda12x[ctk]'", tf32, arrays="cupy"),
        peer("torch cuda", "pytorch_eager.py", torch, tf32, device="cuda"),
        peer("torch cuda compiled", "pytorch_compiled.py", torch, tf32, device="cuda"),
        peer("torch cuda graphs", "pytorch_graphs.py", torch, tf32, device="cuda"))]


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
        self.contestant, self.threads = contestant, threads
        start = {"module": str(contestant.module), "threads": threads, "cores": cores,
                 "options": dict(contestant.options)}
        environment = {name: value for name, value in os.environ.items() if name not in NOT_THE_SHELLS}
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
