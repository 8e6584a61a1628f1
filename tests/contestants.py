"""Contestants that tests make up, each a file of its own."""

import os
from dataclasses import replace

from fastbp.compare.contestants import Contestant, backend_contestant

CEILING = 2e9


def contestant_in(folder, name, text, **settings):
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return Contestant(name, path, **settings)


def without_scipy(folder):
    """The backend blas where SciPy is not installed."""
    (folder / "scipy").mkdir()
    (folder / "scipy" / "__init__.py").write_text("raise ModuleNotFoundError('no SciPy', name='scipy')\n")
    own = backend_contestant("blas")
    path = os.pathsep.join([str(folder), own.environment["PYTHONPATH"]])
    return replace(own, environment={"PYTHONPATH": path})


def ceiling_in(folder):
    return contestant_in(folder, "ceiling", f"def fma_ceiling(dtype):\n    return {CEILING}\n")
