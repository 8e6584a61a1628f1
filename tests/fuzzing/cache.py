"""Damaged files in the kernel cache: a program that trains has to train, whatever lies there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import mutation
from .kind import Wrong
from .values import one_of

PROGRAM = """
import fastbp, numpy as np
net = fastbp.MLP([2, 3, 1], activation="tanh", loss="squared_error", dtype="float64", backend="loops", seed=0)
net.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, batch_size=2, shuffle=False, progress=False)
print(net.theta.tobytes().hex())
"""


class Case(NamedTuple):
    """What is done to which files of a cache, by their places in the order of their names."""

    changes: list[tuple[str, int]]
    seed: int

    def __str__(self) -> str:
        return f"{self.changes}, {self.seed}"


class Cache:
    """Programs that train with a damaged kernel cache."""

    name, seconds = "cache", 300.0

    def prepare(self, folder: Path) -> None:
        self.good, self.damaged = folder / "good", folder / "damaged"
        self.expected = self._trained(self.good)
        self.files = sorted(path.relative_to(self.good) for path in self.good.rglob("*") if path.is_file())

    def _trained(self, cache: Path) -> str:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "FASTBP_COMPILE_PROCESSES": "1"}
        found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment,
                               timeout=250)
        if found.returncode:
            raise Wrong(f"status {found.returncode}: {found.stderr[-1500:]}",
                        (found.stderr.strip().splitlines() or [""])[-1][:100])
        return found.stdout

    def case(self, rng: np.random.Generator) -> Case:
        kinds = ["bytes", "empty", "half", "other", "removed", "folder", "unreadable"]
        return Case([(one_of(rng, kinds), int(rng.integers(len(self.files)))) for _ in range(int(rng.integers(1, 6)))],
                    int(rng.integers(2**31)))

    def run(self, case: Case) -> str:
        shutil.rmtree(self.damaged, ignore_errors=True)
        shutil.copytree(self.good, self.damaged)
        rng = np.random.default_rng(case.seed)
        for change, place in case.changes:
            path = self.damaged / self.files[place]
            if not path.is_file():
                continue
            content = path.read_bytes()
            match change:
                case "bytes":
                    path.write_bytes(mutation.damaged(rng, content))
                case "empty":
                    path.write_bytes(b"")
                case "half":
                    path.write_bytes(content[: len(content) // 2])
                case "other":
                    other = self.good / self.files[int(rng.integers(len(self.files)))]
                    path.write_bytes(other.read_bytes())
                case "removed":
                    path.unlink()
                case "folder":
                    path.unlink()
                    path.mkdir()
                case "unreadable":
                    path.chmod(0)
        if self._trained(self.damaged) != self.expected:
            raise Wrong("other parameters")
        return "done"
