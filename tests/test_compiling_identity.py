"""What kernels on disk belong to: any other code, package, processor or setting has another cache."""

import compileall
import importlib.machinery
import marshal
import os
import py_compile
import shutil
import sys
import zipfile
from pathlib import Path

import llvmlite
import numba
import numpy as np
import pytest

import fastbp
from fastbp.compiling import identity

#: With constants of all kinds.
FORMULA = 'def f(x):\n    def g(y):\n        return y in {"a", "b"}\n    return 0.01 * x, g(x), (1, "é", None)\n'


def written(folder, formula=FORMULA):
    """A package with a module in a package of its own; importing them would fail."""
    for path, text in [("__init__.py", ""), ("part/__init__.py", "import nothing_of_this_name"),
                       ("part/formula.py", formula), ("other.py", "")]:
        (folder / "own" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "own" / path).write_text(text, encoding="utf-8")
    return folder


def as_bytecode(folder, formula=FORMULA):
    written(folder, formula)
    assert compileall.compile_dir(folder, quiet=2, legacy=True, stripdir=folder,
                                  invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for path in folder.rglob("*.py"):
        path.unlink()
    return folder


def zipped(make):
    def archive_of(folder, formula=FORMULA):
        make(folder / "files", formula)
        archive = folder / "program.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in (folder / "files").rglob("*.py*"):
                file.write(path, path.relative_to(folder / "files"))
        shutil.rmtree(folder / "files")
        return archive

    return archive_of


class Frozen:
    """An import system that has code in memory and nothing else, like that of a program in one file."""

    def __init__(self, formula=FORMULA, lists=True):
        self.modules = {"own": "", "own.part": "import nothing_of_this_name", "own.part.formula": formula}
        self.lists = lists

    def find_spec(self, name, target=None):
        spec = importlib.machinery.ModuleSpec(name, self, is_package=name in ("own", "own.part"))
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(f"frozen/{name.replace('.', '/')}")
        return spec

    def get_source(self, name):
        return None

    def get_code(self, name):
        return marshal.loads(marshal.dumps(compile(self.modules[name], "<frozen>", "exec")))

    def iter_modules(self, prefix):
        return [(name, name == "own.part") for name in self.modules
                if self.lists and name.startswith(prefix) and "." not in name[len(prefix):]]

    def source(self, monkeypatch):
        """What `identity.source_of` makes of the package."""
        def hook(path):
            if not path.startswith("frozen/"):
                raise ImportError
            return self

        with monkeypatch.context() as patched:
            patched.setattr(sys, "path_hooks", [hook])
            patched.setattr(sys, "path_importer_cache", {})
            return identity.source_of(self.find_spec("own"))


def source_in(place):
    """The code of the package in a folder or an archive."""
    sys.path_importer_cache.clear()
    return identity.source_of(importlib.machinery.PathFinder.find_spec("own", [str(place)]))


KINDS = {"folder": written, "bytecode": as_bytecode, "zip": zipped(written), "zip of bytecode": zipped(as_bytecode)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_known_by_its_code(kind, tmp_path):
    """Wherever it lies, with or without its source; a change is seen, and nothing imported."""
    same, edited = FORMULA, FORMULA.replace("0.01", "0.02")
    places = [KINDS[kind](tmp_path / name, formula) for name, formula in [("a", same), ("b", same), ("c", edited)]]
    sources = [source_in(place) for place in places]
    assert sources[0].digest is not None
    assert sources[0].digest == sources[1].digest == source_in(places[0]).digest != sources[2].digest

    assert sources[0].stamps == source_in(places[0]).stamps
    held = [Path(path) for path, _, _ in sources[0].stamps]
    assert held == ([places[0]] if "zip" in kind else sorted(places[0].rglob("*.py*")))
    os.utime(held[-1], ns=(0, held[-1].stat().st_mtime_ns + 1))
    assert sources[0].stamps != source_in(places[0]).stamps
    assert sources[0].digest == source_in(places[0]).digest


def test_code_in_memory_is_known_too(monkeypatch):
    source = Frozen().source(monkeypatch)
    assert source.digest is not None
    assert source == Frozen().source(monkeypatch) != Frozen(FORMULA.replace("0.01", "0.02")).source(monkeypatch)


def test_an_import_system_that_tells_nothing(monkeypatch):
    assert Frozen(lists=False).source(monkeypatch) == (None, ())
    monkeypatch.delattr(Frozen, "get_code")
    assert Frozen().source(monkeypatch) == (None, ())


def test_the_digest_is_that_of_the_package():
    spec = importlib.machinery.PathFinder.find_spec("fastbp", [str(Path(fastbp.__file__).parents[1])])
    assert identity.package_digest() == identity.source_of(spec).digest
    assert identity.source_is_unchanged()


@pytest.fixture
def name():
    """The name of the identity as it is now."""
    def now():
        identity._counted.cache_clear()
        return identity.identity.__wrapped__().name

    yield now
    identity._counted.cache_clear()


@pytest.mark.parametrize(("of", "attribute", "value"), [
    (numba, "__version__", "0.1"), (llvmlite, "__version__", "0.1"), (np, "__version__", "0.1"),
    (llvmlite.binding, "get_process_triple", lambda: "none"), (llvmlite.binding, "get_host_cpu_name", lambda: "i8008"),
    (identity, "target_features", lambda: {"mmx"}), (identity, "package_digest", lambda: "0"),
    *((numba.config, setting, value) for setting, value in [
        ("OPT", 0), ("DEBUGINFO_DEFAULT", 1), ("BOUNDSCHECK", 1), ("CPU_NAME", "generic"), ("CPU_FEATURES", "+sse2"),
        ("LOOP_VECTORIZE", 0), ("SLP_VECTORIZE", 1), ("ENABLE_AVX", 0), ("USING_SVML", None),
        ("LLVM_REFPRUNE_PASS", 0), ("A_LATER_RELEASE", 1)])], ids=str)
def test_what_changes_code_is_part_of_the_identity(of, attribute, value, name, monkeypatch):
    usual = name()
    monkeypatch.setattr(of, attribute, value, raising=False)
    assert name() != usual


@pytest.mark.parametrize(("setting", "value"), [
    ("NUMBA_NUM_THREADS", 77), ("NUMBA_DEFAULT_NUM_THREADS", 77), ("CACHE_DIR", "/x"), ("THREADING_LAYER", "omp"),
    ("CUDA_LOG_LEVEL", "DEBUG"), ("ENABLE_CUDASIM", 1)])
def test_what_changes_no_code_is_no_part_of_it(setting, value, name, monkeypatch):
    usual = name()
    monkeypatch.setattr(numba.config, setting, value)
    assert name() == usual


def test_without_a_digest_there_is_no_identity(monkeypatch):
    monkeypatch.setattr(identity, "package_digest", lambda: None)
    assert identity.identity.__wrapped__() is None
