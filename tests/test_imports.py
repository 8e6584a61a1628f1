"""Imports point one way: from a package to those above it in the list of CONTRIBUTING.md, in functions too."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastbp"
PACKAGES = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


def imported_by(name, source=None):
    """The modules of the package that a module imports, wherever it does."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if source is None else source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "fastbp")
        elif isinstance(node, ast.ImportFrom):
            origin = [*package[: len(package) - node.level + 1], node.module] if node.level else [node.module]
            whole = ".".join(part for part in origin if part)
            if whole.split(".")[0] == "fastbp":
                yield from (f"{whole}.{alias.name}" if f"{whole}.{alias.name}" in MODULES else whole
                            for alias in node.names)


def place_of(name):
    """The place of a module's package in the list; of fastbp itself, the last place of what it imports."""
    if name == "fastbp":
        return max(map(place_of, imported_by("fastbp")))
    return PACKAGES.index(name.split(".")[1])


def upward(name, source=None):
    """What a module imports although it stands below."""
    return [other for other in imported_by(name, source) if place_of(other) > place_of(name)]


def test_the_list_has_every_package():
    assert sorted(PACKAGES) == sorted({path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
                                   - {"__init__", "__main__"})


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"fastbp", "fastbp.__main__"}))
def test_no_module_imports_upwards(name):
    assert not upward(name)
    assert name.rpartition(".")[0] not in imported_by(name)  # its own __init__, which may import it


def test_an_import_upwards_is_seen():
    assert upward("fastbp.network", "def fit():\n    from .training.fitting import fit") == ["fastbp.training.fitting"]
    assert upward("fastbp.formulas.losses", "from ..checks import arguments") == ["fastbp.checks.arguments"]
    assert upward("fastbp.layout", "import fastbp.network") == ["fastbp.network"]
    assert upward("fastbp.formulas.losses", "from .. import MLP") == ["fastbp"]


def test_no_circle_within_a_package():
    """Modules can be put into an order in which each imports only those before it."""
    left = {name: {other for other in imported_by(name) if other != name} for name in MODULES
            if name not in ("fastbp", "fastbp.__main__")}
    while left:
        free = [name for name, others in left.items() if not others & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]
