"""`fastbp doctor`: what fastbp runs on."""

import argparse
import importlib.metadata
import os
import platform
from typing import Any

import llvmlite.binding
import numba
import numpy as np

from .. import __version__
from ..backends import NAMES, backend_named
from ..backends.tiles.host import host, multiplies_bfloat16
from ..compare.gpu import describe_gpu
from ..compiling.cache import cache_folder, may_store
from ..compiling.cleaning import other_caches, size_of
from ..compiling.decorators import kernel, require_compiler
from ..threads import get_num_threads, threading_layer
from .output import as_json

PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "scikit-learn", "pandas", "tqdm", "matplotlib", "numba-cuda")


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp doctor`."""
    parser = commands.add_parser(
        "doctor", help="say what fastbp runs on",
        description="Print versions, threads, the kernel cache, the vector width, whether the processor multiplies "
                    "bfloat16, BLAS and the GPU as they are here, or why there is no GPU.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Print what was found."""
    found = {"fastbp": __version__, "python": platform.python_version(), "platform": platform.platform(),
             **{name: _version(name) for name in PACKAGES},
             "processor": f"{llvmlite.binding.get_host_cpu_name()}, {os.cpu_count()} cores",
             "vectors": str(host()), "bfloat16": _bfloat16(), "threads": get_num_threads(),
             "threading layer": _threading_layer(), "cache": str(cache_folder()), "cached kernels": _cached_kernels(),
             "other caches": _other_caches(), "BLAS": _blas(),
             "GPU": describe_gpu(), "backends": ", ".join(_backends()), "backend 'auto'": backend_named("auto")[0]}
    if options.json:
        print(as_json(found))
    else:
        for name, value in found.items():
            print(f"{name:<16} {value}")
    return "done"


def _bfloat16() -> str:
    """Whether products="bfloat16" is faster than float32 here."""
    return "multiplied by the processor" if multiplies_bfloat16() else (
        "not multiplied by the processor: products in it are computed, and are slower than in float32")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cached_kernels() -> str:
    folder = cache_folder()
    if folder is None:
        return "none, all are compiled in every process"
    kernels, nbytes = size_of(folder)
    return f"{kernels}, {nbytes / 1e6:.1f} MB" + ("" if may_store() else ", only to be read")


def _other_caches() -> str:
    folder = cache_folder()
    others = [] if folder is None else other_caches(folder.parent, folder)
    if not others:
        return "none"
    nbytes = sum(size_of(other)[1] for other in others)
    return (f"{len(others)} of other versions, processors or settings, {nbytes / 1e6:.1f} MB; "
            "`fastbp warmup --clean` removes those not in use")


def _threading_layer() -> str:
    """Known only once a parallel kernel has run; so one does, and its result is looked at."""
    try:
        require_compiler()
    except RuntimeError as error:
        return f"none: {error}"
    x = np.arange(1000.0)
    square_all(x)
    if not np.array_equal(x, np.arange(1000.0) ** 2):
        return "a parallel kernel gave a wrong result"
    return threading_layer()


@kernel(parallel=True)
def square_all(x: Any) -> None:
    """x_i ← x_i², on threads."""
    for i in numba.prange(x.shape[0]):
        x[i] = x[i] * x[i]


def _backends() -> list[str]:
    usable = []
    for name in NAMES[1:]:
        try:
            backend_named(name)
            usable.append(name)
        except (ImportError, RuntimeError):
            continue
    return usable


def _blas() -> str:
    try:
        import scipy.linalg  # loads the BLAS that compiled code uses
        from threadpoolctl import threadpool_info
    except ImportError as error:
        return f"not known: {error.name} is not installed"
    libraries = [f"{info['internal_api']} {info['version']} ({info.get('architecture')}, {info['num_threads']} threads)"
                 for info in threadpool_info() if info["user_api"] == "blas"]
    return f"scipy {scipy.__version__} and numpy use " + ", ".join(sorted(set(libraries)))
