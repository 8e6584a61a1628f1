"""Damaged files of data: for the command, which tells of them in one line, and for streams."""

import contextlib
import gzip
import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd

import fastbp
from fastbp.__main__ import BAD_INPUT, DIVERGED, main
from fastbp.streams import files, parquet, shards

from . import mutation, values
from .kind import MOST_CHARACTERS, Wrong, outcome_of, wrong
from .values import one_of

N = 40
TRAIN = ["train", "--epochs", "1", "--layers", "2", "--quiet", "--backend", "loops"]


class Case(NamedTuple):
    """Files in a folder, and the options with which the command reads them."""

    source: str
    contents: dict[str, bytes]
    options: list[str]

    def __str__(self) -> str:
        shown = {name: content if len(content) < 150 else f"{len(content)} bytes" for name,
                 content in self.contents.items()}
        return f"{self.source} {' '.join(self.options)}: {shown}"


def _table(rng: np.random.Generator) -> str:
    """A table of text, of which some fields are odd."""
    separator = one_of(rng, [",", ",", ";", "\t"])
    rows = [[f"{value:.3g}" for value in rng.normal(size=3)] + [str(one_of(rng, ["a", "b", "1", "2"]))]
            for _ in range(N)]
    if rng.random() < 0.7:
        rows.insert(0, ["x", "y", "z", "kind"])
    for _ in range(int(rng.integers(4))):
        row = rows[int(rng.integers(len(rows)))]
        row[int(rng.integers(len(row)))] = one_of(rng, [
            "", "nan", "inf", "-inf", "1e400", "1e-400", "0x10", "1_000", "1,5", '"', '"a', '"a""b"', "'", "#", "\0",
            "é", "\ufeff", " ",
            "9" * 400, "1" * 20, "True", "None", "?", "x" * 5000, "\r", "a\nb", '"a\nb"', "1e", "--1", "+.5", "=1+1",
            "𝟙", "1j", "-0"])
    if rng.random() < 0.1:
        rows[int(rng.integers(len(rows)))] += ["1"] * int(rng.integers(1, 4))
    if rng.random() < 0.1:
        rows[int(rng.integers(len(rows)))].pop()
    text = one_of(rng, ["\n", "\n", "\r\n", "\r"]).join(separator.join(row) for row in rows)
    return one_of(rng, ["", "", "", "# a comment\n", "sep=;\n", "\n\n", '"', "\ufeff"]) + text


def _arrays(rng: np.random.Generator) -> dict[str, bytes]:
    """X and targets, as members of an archive or as files."""
    n = N if rng.random() < 0.8 else int(rng.integers(0, 5))
    made: dict[str, Any] = {"X": rng.normal(size=(n, 3)), "y": rng.integers(0, 2, n)}
    for name in list(made):
        if rng.random() < 0.3:
            made[name] = values.odd_array(rng, one_of(rng, [made[name].shape, (n, 2), (n,), (), (n, 2, 2), (0, 3)]))
    contents = {name: mutation.npy(array) if isinstance(array, np.ndarray) else mutation.npy(np.zeros(3))
                for name, array in made.items()}
    for name in list(contents):
        match int(rng.integers(12)):
            case 0:
                contents[name] = mutation.odd_npy(rng)
            case 1:
                contents[name] = mutation.damaged(rng, contents[name])
            case 2:
                contents[one_of(rng, ["d", "y", "weight", "Z"])] = contents.pop(name)
            case 3:
                contents["weight"] = mutation.npy(np.ones(n))
    return contents


def _idx(rng: np.random.Generator) -> dict[str, bytes]:
    """The files of a set such as MNIST."""
    made = {}
    for part, count in (("train", 20), ("t10k", 5)):
        for kind, shape in (("images-idx3", (count, 2, 2)), ("labels-idx1", (count,))):
            array = rng.integers(0, 3, shape).astype(np.uint8)
            made[f"{part}-{kind}-ubyte"] = bytes((0, 0, 8, len(shape))) + b"".join(
                size.to_bytes(4, "big") for size in shape) + array.tobytes()
    for name in list(made):
        if rng.random() < 0.3:
            made[name] = mutation.damaged(rng, made[name])
        if rng.random() < 0.3:
            packed = gzip.compress(made.pop(name))
            made[f"{name}.gz"] = mutation.damaged(rng, packed) if rng.random() < 0.3 else packed
    return made


def _parquet(rng: np.random.Generator) -> bytes:
    """A file of Parquet with columns of several types."""
    columns: dict[str, Any] = {name: rng.normal(size=N) for name in "ab"} | {"label": rng.integers(0, 2, N)}
    if rng.random() < 0.3:
        columns[one_of(rng, ["a", "c", "label"])] = one_of(rng, [
            ["x"] * N, [None] * N, [1.0, None] * (N // 2), [[1, 2]] * N, rng.integers(0, 2, N).astype(bool),
            [2**63 - 1] * N,
            pd.Series(["a", "b"] * (N // 2), dtype="category"), pd.Series([1, None] * (N // 2), dtype="Int64"),
            np.full(N, np.nan), np.full(N, np.float32(1e38)), pd.date_range("2020", periods=N), [{"a": 1}] * N])
    file = io.BytesIO()
    pd.DataFrame(columns).to_parquet(file, index=bool(rng.random() < 0.1), compression=one_of(rng, [None, "snappy",
                                                                                                    "gzip", "zstd"]),
                                     row_group_size=one_of(rng, [None, 7]))
    return mutation.damaged(rng, file.getvalue()) if rng.random() < 0.6 else file.getvalue()


def drawn(rng: np.random.Generator) -> tuple[str, dict[str, bytes]]:
    """A source and its files."""
    match int(rng.integers(9)):
        case 0 | 1:
            name = one_of(rng, ["data.csv", "data.csv", "data.tsv", "data.csv.gz"])
            content = _table(rng).encode(one_of(rng, ["utf-8"] * 20 + ["utf-16", "utf-8-sig"]), "replace")
            content = mutation.damaged(rng, content) if rng.random() < 0.3 else content
            content = gzip.compress(content) if name.endswith("gz") else content
            return name, {name: mutation.damaged(rng, content) if rng.random() < 0.2 else content}
        case 2 | 3:
            content = mutation.archive(rng, {f"{name}.npy": content for name, content in _arrays(rng).items()})
            return "data.npz", {"data.npz": mutation.damaged(rng, content) if rng.random() < 0.3 else content}
        case 4:
            return "data", {f"data/{name}_0.npy": content for name, content in _arrays(rng).items()}
        case 5:
            contents = {}
            for place in range(int(rng.integers(1, 3))):
                content = mutation.archive(rng, {f"{name}.npy": content for name, content in _arrays(rng).items()})
                contents[f"data/part-{place}.npz"] = mutation.damaged(rng, content) if rng.random() < 0.3 else content
            return "data", contents
        case 6:
            return "data", {f"data/{name}": content for name, content in _idx(rng).items()}
        case 7:
            return "data.parquet", {"data.parquet": _parquet(rng)}
        case _:
            return "data", {f"data/{place}.parquet": _parquet(rng) for place in range(int(rng.integers(1, 3)))}


class Data:
    """`fastbp predict` and `fastbp train` on damaged files: status 0, or 3 and one line on standard error."""

    name, seconds = "data", 200.0

    def prepare(self, folder: Path) -> None:
        self.folder = folder
        np.savez(folder / "data.npz", X=np.random.default_rng(0).normal(size=(N, 3)), y=np.arange(N) % 2)
        self._run([*TRAIN, "--data", str(folder / "data.npz"), "--model", str(folder / "model.npz")])

    def case(self, rng: np.random.Generator) -> Case:
        source, contents = drawn(rng)
        options = ["predict", "model.npz"] if rng.random() < 0.4 else [*TRAIN, "--model", "found.npz"]
        if rng.random() < 0.2 and ("sv" in source or "parquet" in source):
            options += ["--target", one_of(rng, ["kind", "0", "-1", "7", "label", ""])]
        if rng.random() < 0.2 and source.startswith("data."):
            options += one_of(rng, [["--header", "yes"], ["--header", "no"], ["--delimiter", ";"], ["--decimal", ","],
                                    ["--na-values", ""]])
        if options[0] == "train" and rng.random() < 0.2:
            options += ["--task", one_of(rng, ["classification", "regression"])]
        return Case(source, contents, options)

    def run(self, case: Case) -> str:
        models = {name: str(self.folder / name) for name in ("model.npz", "found.npz")}
        options = [models.get(option, option) for option in case.options]
        with _files(self.folder, case.contents):
            status, said = self._run([*options, "--data", str(self.folder / case.source)])
        lines = [line for line in said.splitlines() if not line.startswith("fastbp: warning")]
        if status == 2 and not case.options[-1]:
            return "usage"
        if status not in (0, BAD_INPUT, DIVERGED):
            raise Wrong(f"status {status}: {said[:500]}", f"status {status}")
        if status and (len(lines) != 1 or len(lines[0]) > MOST_CHARACTERS):
            raise Wrong(f"expected one short line, found {len(lines)} lines, {len(said)} characters: {said[:500]}",
                        f"{len(lines)} lines")
        if not status and lines:
            raise Wrong(f"printed though it went well: {said[:500]}", "printed")
        if status and "not enough memory" in said:
            raise Wrong(f"memory: {said[:500]}", "memory")
        return "done" if status == 0 else "refused"

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        out, errors = io.StringIO(), io.StringIO()
        with (contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), warnings.catch_warnings(),
              mock.patch.object(fastbp.History, "plot")):  # which takes most of the time of a short command
            try:
                return main(arguments), errors.getvalue()
            except SystemExit as error:
                return int(error.code or 0), errors.getvalue()
            except Exception as error:
                raise wrong(error, "a traceback") from error


class Shards:
    """`fastbp.Shards`, `fastbp.Parquet` and training on them, with damaged files."""

    name, seconds = "shards", 200.0

    def prepare(self, folder: Path) -> None:
        self.folder = folder
        self._net().fit([(np.ones((4, 3)), np.zeros(4, int))], epochs=1, progress=False)

    def _net(self, features: int = 3) -> Any:
        return fastbp.MLP([features, 2, 2], activation="tanh", backend="loops", seed=0)

    def case(self, rng: np.random.Generator) -> Case:
        while True:
            source, contents = drawn(rng)
            if not any(name.endswith(("csv", "tsv", "gz", "ubyte")) for name in contents):
                return Case(source, contents, [])

    def run(self, case: Case) -> str:
        with _files(self.folder, case.contents):
            net, before = self._net(), self._net().theta
            source: list[Any] = []
            kind = fastbp.Parquet if "parquet" in next(iter(case.contents)) else fastbp.Shards
            word = outcome_of(lambda: source.append(kind(self.folder / case.source)), FileNotFoundError)
            for opened in source:
                outcome_of(lambda opened=opened: [None for _ in opened])
                word = outcome_of(lambda opened=opened: net.fit(opened, epochs=1, batch_size=8, shuffle=False,
                                                                    progress=False))
                if not np.isfinite(net.theta).all():
                    raise Wrong("theta is not finite")
                outcome_of(lambda opened=opened: net.standardize(opened))
            if not source and not np.array_equal(net.theta, before):
                raise Wrong("files that were refused changed the network")
        return word


@contextlib.contextmanager
def _files(folder: Path, contents: dict[str, bytes]) -> Any:
    """Files in a folder for as long as a case lasts, which are read in chunks of a few rows."""
    with contextlib.ExitStack() as changed:
        for module in (files, shards, parquet):
            changed.enter_context(mock.patch.object(module, "CHUNK_BYTES", 200))
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        try:
            yield
        finally:
            for name in contents:
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (folder / "data").rmdir()
