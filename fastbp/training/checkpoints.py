"""Checkpoints: when a training writes one, and whether one fits the training that is to go on from it."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from os import PathLike, fspath
from typing import Any

import numpy as np

from ..checks.arguments import require_number
from ..checks.messages import MOST_CHARACTERS, shortened, shown
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..checks.sparse_rows import CsrRows
from ..network import Network
from ..optimizers.full_batch import FullBatch
from ..optimizers.optimizer import Optimizer
from ..parameters import generator_of
from ..schedules import as_schedule
from ..storage.checkpoints import read_checkpoint, write_checkpoint
from ..streams.sources import Stream

#: The rows of which a checkpoint has a digest.
SAMPLED_ROWS = 64

#: Where a checkpoint lies.
Path = str | PathLike[str]


class Checkpoints:
    """Where a training writes its checkpoints, how often, and the one that it goes on from.

    Parameters
    ----------
    path : path or None
        None for no checkpoints.
    every : float or str
        Seconds, or a number of epochs as in "5 epochs".
    resume : path or bool, optional
        The checkpoint to go on from; True for that at `path`, where there is one.
    kind : str
        What trains: checkpoints of another kind are refused.

    Attributes
    ----------
    saved : Saved or None
        The checkpoint to go on from.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the checkpoint is no whole one.
    FileNotFoundError
        If there is none at a path.
    """

    def __init__(self, path: Path | None, every: float | str, resume: Path | bool | None, kind: str) -> None:
        self._path = None if path is None else _checked_path("checkpoint", path)
        self._seconds, self._epochs = checked_interval(every)
        self._kind = kind
        self.saved: Saved | None = None
        is_flag = isinstance(resume, bool | np.bool_)
        if is_flag and resume and path is None:
            raise ValueError("resume: expected the path of a checkpoint, or checkpoint= with it, found True alone")
        if resume is not None and (resume or not is_flag):
            try:
                chosen = path if is_flag else resume
                self.saved = read_checkpoint(_checked_path("resume", chosen), kind)
            except FileNotFoundError:
                if not is_flag:
                    raise
        self._written, self._epochs_then = 0.0, 0

    @property
    def are_wanted(self) -> bool:
        """Whether there is anything to write or to go on from."""
        return self._path is not None or self.saved is not None

    def is_due(self, epochs: int) -> bool:
        """Whether the time has come to write, with so many epochs done."""
        if self._path is None:
            return False
        if self._epochs:
            return epochs >= self._epochs_then + self._epochs
        return time.monotonic() >= self._written + self._seconds

    def begin(self, values: Callable[[], Mapping[str, Any]], epochs: int) -> None:
        """Write the first checkpoint, before training: a place that cannot be written is found out then.

        Raises
        ------
        OSError
        """
        path, self._path = self._path, None  # if that fails, no other is tried
        if path is not None:
            write_checkpoint(path, self._kind, values())
            self._note(epochs)
        self._path = path

    def write(self, values: Callable[[], Mapping[str, Any]], epochs: int) -> None:
        """Write a checkpoint of these values.

        Warns
        -----
        RuntimeWarning
            If it cannot be written. The one before is left, training goes on, and the next is tried in its time.
        """
        if self._path is None:
            return
        self._note(epochs)
        try:
            write_checkpoint(self._path, self._kind, values())
        except (OSError, MemoryError) as error:
            warnings.warn(f"fastbp could not write a checkpoint, and goes on with training: {error}", RuntimeWarning,
                          stacklevel=2)

    def _note(self, epochs: int) -> None:
        self._written, self._epochs_then = time.monotonic(), epochs


def _checked_path(name: str, path: Any) -> str:
    """A path as text."""
    try:
        given = fspath(path)
    except TypeError:
        raise TypeError(f"{name}: expected a path, found {type(path).__name__}") from None
    if not isinstance(given, str):
        raise TypeError(f"{name}: expected a path as text, found {type(given).__name__}")
    return given


def checked_interval(every: Any) -> tuple[float, int]:
    """The seconds and the epochs between two checkpoints, of which one is 0.

    Raises
    ------
    TypeError, ValueError
        If it is neither a number of seconds nor one of epochs, as in "5 epochs".
    """
    if not isinstance(every, str):
        return require_number("checkpoint_every", every, above=0.0), 0
    number, _, unit = every.strip().partition(" ")
    if unit.strip() not in ("epoch", "epochs") or not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ValueError(f"checkpoint_every: expected seconds, or a number of epochs such as '5 epochs', found "
                         f"{shown(every)}")
    return 0.0, int(number)


def network_values(net: Network) -> dict[str, Any]:
    """What a network has to be to go on with a checkpoint."""
    standardization = None
    if net.standardization is not None:
        digest = hashlib.sha256(net.standardization.mean.tobytes() + net.standardization.scale.tobytes())
        standardization = digest.hexdigest()
    return {"widths": list(net.widths), "activations": list(net.activations), "loss": net.loss,
            "dtype": net.dtype.name, "standardization": standardization, "products": net.products}


def optimizer_values(optimizer: Optimizer | FullBatch) -> dict[str, Any]:
    """What compiled code sees of an optimizer, or the settings of one of full batches."""
    if isinstance(optimizer, FullBatch):
        return {"rule": optimizer.name, "settings": asdict(optimizer)}
    return {"rule": optimizer.rule.name, "settings": optimizer._settings(),
            "schedule": as_schedule(optimizer.learning_rate).spec().tolist(),
            "clip_norm": float(optimizer.clip_norm or 0.0)}


def data_values(samples: Samples, to_host: Callable[[Any], np.ndarray], targets: str = "d") -> dict[str, Any]:
    """Shapes and dtypes of samples, and a digest of some of their rows.

    targets : the name of the argument, for messages.
    """
    n = len(samples.X)
    X = samples.X if isinstance(samples.X, CsrRows) else to_host(samples.X)
    return values_of_rows(n, rows_of_samples(samples, X.__getitem__, sampled_rows(n), to_host), targets)


def sampled_rows(n: int) -> np.ndarray:
    """The numbers of those of n rows of which there is a digest."""
    return np.linspace(0, n - 1, min(n, SAMPLED_ROWS)).astype(np.int64)


def rows_of_samples(samples: Samples, rows_at: Callable[[np.ndarray], Any], chosen: np.ndarray,
                    to_host: Callable[[Any], np.ndarray] = np.asarray) -> list[Any]:
    """X, labels or targets, and weights of some rows; without weights, none of them.

    rows_at : gives rows of X by their numbers.
    """
    d = samples.labels if len(samples.labels) else samples.targets
    return [rows_at(chosen), *(to_host(part)[chosen] for part in (d, samples.weights) if len(part))]


def values_of_rows(n: int, parts: list[Any], targets: str = "d") -> dict[str, Any]:
    """`data_values` of n samples, by `rows_of_samples` of those that `sampled_rows` chooses."""
    X, d, *weights = parts
    digest = hashlib.sha256()
    for part in parts:
        arrays = (part.values, part.columns, part.indptr) if isinstance(part, CsrRows) else (part,)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
    return {"X": f"{n} × {X.shape[1]} {X.dtype}{' sparse' if isinstance(X, CsrRows) else ''}",
            targets: f"{' × '.join(map(str, (n, *d.shape[1:])))} {d.dtype}", "sample_weight": bool(weights),
            "rows": digest.hexdigest()}


def stream_values(stream: Stream) -> dict[str, Any]:
    """What is known of a stream before it is read."""
    names = stream.names
    return {"X": "a stream" if stream.rows is None else f"{stream.rows} rows in {len(names)} chunks",
            "names of chunks": hashlib.sha256("\0".join(names).encode()).hexdigest() if names else None}


def require_fitting(saved: Saved, present: Mapping[str, Any], seed: int | None) -> int:
    """The seed of a checkpoint, which has to be of the present training, and of the seed if there is one.

    Raises
    ------
    ValueError
    """
    require_same(saved, present)
    expected = saved.whole("seed")
    if seed is not None and seed % 2**63 != expected:
        raise ValueError(f"seed: expected {expected} as in the checkpoint {saved.origin}, or none, found {seed}")
    return expected


def restored_generator(saved: Saved) -> np.random.Generator:
    """The generator of a checkpoint, from which a network draws seeds.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return generator_of(saved.part("generator").values)
    except ValueError as error:
        raise saved.error(str(error)) from None


def require_same(saved: Saved, present: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another training.

    present : what the training is, in parts; see `network_values` and the others.

    Raises
    ------
    ValueError
        It names what is different.
    """
    for part, expected in present.items():
        if expected is None or part not in saved:
            if (expected is None) == (part not in saved):
                continue
            raise ValueError(f"{part}: expected {'none' if expected is not None else 'some'} as in the checkpoint "
                             f"{saved.origin}, found {'some' if expected is not None else 'none'}")
        found = saved.part(part).values
        for name, value in expected.items():
            before, now = map(_as_json, (found.get(name), value))
            if before != now:
                raise ValueError(f"{_named(part, name)}: expected {shortened(before, MOST_CHARACTERS)} as in the "
                                 f"checkpoint {saved.origin}, found {shortened(now, MOST_CHARACTERS)}")


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=shown)


def _named(part: str, name: str) -> str:
    """A value in the words of `fit`."""
    if name == "rows":
        return f"{'X' if part == 'data' else part}: the digest of {SAMPLED_ROWS} rows, with targets and weights"
    return name if part in ("data", "settings", "network") else f"{part}: {name}"


