"""What compiled code depends on: the source, the packages that compile it, the processor, and Numba's settings."""

import functools
import hashlib
import os
import pkgutil
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np

from .processor import target_features

_config: Any = numba.config

#: Settings of Numba that do not change the code of the processor. Those of GPUs do not either.
_WITHOUT_EFFECT = frozenset({
    "CACHE_DIR", "CACHE_LOCATOR_CLASSES", "COLOR_SCHEME", "DEVELOPER_MODE", "DISABLE_JIT",
    "DISABLE_PERFORMANCE_WARNINGS", "FULL_TRACEBACKS", "GDB_BINARY", "NUMBA_DEFAULT_NUM_THREADS", "NUMBA_NUM_THREADS",
    "SHOW_HELP", "THREADING_LAYER", "THREADING_LAYER_PRIORITY"})

_PACKAGE: Any = sys.modules[__name__.partition(".")[0]]


class Source(NamedTuple):
    """The code of a package, as it was when it was looked at."""

    digest: str | None                        # None where nothing tells what the code is
    stamps: tuple[tuple[str, int, int], ...]  # (path, time of the last change in ns, size) of the files that hold it


@functools.cache
def package_source() -> Source:
    """The code of fastbp, looked at before the first kernel is defined.

    A file that changes afterwards has another stamp.
    """
    return source_of(_PACKAGE.__spec__)


def package_digest() -> str | None:
    """A digest of all code of fastbp, or None where nothing tells what it is."""
    return package_source().digest


def source_of(spec: Any) -> Source:
    """The code of a package by its `ModuleSpec`: in a folder, in an archive, or wherever its loader finds it.

    In a folder it is the bytes of all source files, and of bytecode that has no source beside it. Elsewhere it is
    what the modules' loaders give: their source, or else their code.
    """
    folder = spec.submodule_search_locations[0]
    stamps = stamps_of(folder)
    digest = hashlib.sha256()
    try:
        if Path(folder).is_dir() and stamps:
            for path, _, _ in stamps:
                with open(path, "rb", buffering=0) as file:
                    digest.update(path[len(folder):].encode() + b"\0" + file.read())
        else:
            modules = dict(_modules(spec.name, folder, spec.loader))
            if len(modules) == 1:  # it is not known which others there are
                return Source(None, stamps)
            for name, loader in sorted(modules.items(), key=lambda module: module[0]):
                source = loader.get_source(name)
                text = _code_as_bytes(loader.get_code(name)) if source is None else source.encode()
                digest.update(name.encode() + b"\0" + text)
    except (AttributeError, ImportError, OSError):
        return Source(None, stamps)
    return Source(digest.hexdigest(), stamps)


def stamps_of(folder: str) -> tuple[tuple[str, int, int], ...]:
    """The stamps of a package's files, or of the archive that it lies in."""
    if not Path(folder).is_dir():
        archives = [path for path in Path(folder).parents if path.is_file()]
        return tuple(_stamp(str(path), path.stat()) for path in archives)
    found, folders = [], [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.endswith((".py", ".pyc")):
                    found.append(_stamp(entry.path, entry.stat()))
                elif entry.name != "__pycache__" and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return tuple(sorted(found))


def _stamp(path: str, state: os.stat_result) -> tuple[str, int, int]:
    return path, state.st_mtime_ns, state.st_size


def _modules(package: str, folder: str, loader: Any) -> Iterator[tuple[str, Any]]:
    """(name, loader) of a package and of all modules in it; none of them is imported."""
    yield package, loader
    finder: Any
    for finder, name, is_package in pkgutil.iter_modules([folder], f"{package}."):
        # An archive's finder is a loader too, and would compile a module to find it.
        loader = finder if hasattr(finder, "get_source") else finder.find_spec(name).loader
        if is_package:
            yield from _modules(name, os.path.join(folder, name.rpartition(".")[2]), loader)
        else:
            yield name, loader


def _code_as_bytes(code: CodeType) -> bytes:
    """A digest of code that is the same in every process, which what `marshal` writes is not."""
    constants = [_code_as_bytes(value) if isinstance(value, CodeType) else
                 sorted(map(repr, value)) if isinstance(value, frozenset) else value for value in code.co_consts]
    names = code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return hashlib.sha256(repr((code.co_code, code.co_exceptiontable, names, constants)).encode()).digest()


@functools.cache
def _counted() -> tuple[str, ...]:
    """The names of Numba's settings that may change code."""
    return tuple(sorted(name for name in vars(_config) if name.isupper() and not name.startswith("_")
                        and "CUDA" not in name and name not in _WITHOUT_EFFECT))


def settings() -> tuple[str, ...]:
    """Numba's settings that may change code, as they are now."""
    return tuple(map(repr, map(vars(_config).get, _counted())))


class Identity(NamedTuple):
    """What compiled code depends on."""

    name: str  # a digest of it
    settings: tuple[str, ...]


@functools.cache
def identity() -> Identity | None:
    """What this process's kernels depend on, or None where nothing tells what the code is."""
    source = package_digest()
    if source is None:
        return None
    now = settings()
    python = sys.implementation.cache_tag, sys.version_info[:], getattr(sys, "abiflags", ""), sys.flags.optimize
    packages = numba.__version__, llvmlite.__version__, llvmlite.binding.llvm_version_info, np.__version__
    target = (platform.machine(), llvmlite.binding.get_process_triple(), llvmlite.binding.get_host_cpu_name(),
              sorted(target_features()))
    whole = repr((source, python, packages, target, dict(zip(_counted(), now, strict=True))))
    return Identity(hashlib.sha256(whole.encode()).hexdigest()[:32], now)


def settings_are_unchanged() -> bool:
    """Whether what is compiled now is compiled with the settings of the `identity`."""
    known = identity()
    return known is not None and settings() == known.settings


def source_is_unchanged() -> bool:
    """Whether the package's files are as they were when the `identity` was taken."""
    try:
        return stamps_of(_PACKAGE.__path__[0]) == package_source().stamps
    except OSError:
        return False
