"""Checkpoints: a training as values in one archive.

Numbers, texts and None are in the member "values", as JSON. Every array has a member of its own, whose name is its path
in the values, such as "training/theta". Floating-point numbers that are not finite, which JSON lacks, are arrays of
shape (), and so are NumPy's scalars.

| member | what |
|---|---|
| format, version | "fastbp checkpoint", and its version |
| kind | what trains: "training", "trainings", or the name of an estimator |
| values | JSON |
| … | arrays |
"""

import json
import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from ..checks.messages import shown
from ..checks.saved import Saved
from .archive import opened, write_archive
from .reading import Archive
from .writing import replacing

FORMAT, VERSION = "fastbp checkpoint", 1

#: The members that are not arrays of the values.
_OTHERS = ("format", "version", "kind", "values", "digest")

#: The characters of JSON that are read at the most.
_LONGEST_VALUES = 2**28


def write_checkpoint(path: "str | PathLike[str]", kind: str, values: Mapping[str, Any]) -> None:
    """Write values to a file, which is replaced as a whole.

    Parameters
    ----------
    path : path
    kind : str
    values : mapping
        Of names without "/" to numbers, texts, None, arrays of real numbers, and lists and mappings of these; arrays in
        lists excepted.

    Raises
    ------
    TypeError, ValueError
        If a value is something else; nothing is written then.
    OSError
        If the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = _without_arrays(values, "", arrays)
    text = json.dumps(plain, allow_nan=False)
    with replacing(path) as file:
        write_archive(file, {"format": FORMAT, "version": VERSION, "kind": kind, "values": text} | arrays)


def _without_arrays(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON has it; arrays go to `arrays` by their places."""
    if isinstance(value, Mapping):
        named = {}
        for name, part in value.items():
            if not isinstance(name, str) or "/" in name or not name:
                raise TypeError(f"{place or 'values'}: expected names without '/' as keys, found {shown(name)}")
            found = _without_arrays(part, f"{place}/{name}" if place else name, arrays)
            if not isinstance(found, np.ndarray):
                named[name] = found
        return named
    if isinstance(value, np.ndarray | np.number) or (isinstance(value, float) and not math.isfinite(value)):
        if place in _OTHERS or np.asarray(value).dtype.kind not in "iuf":
            raise TypeError(f"{place}: expected real numbers in arrays, found {np.asarray(value).dtype}")
        arrays[place] = np.asarray(value)
        return arrays[place]
    if isinstance(value, list | tuple):
        listed = [_without_arrays(part, f"{place}/{p}", {}) for p, part in enumerate(value)]
        if any(isinstance(part, np.ndarray) for part in listed):
            raise TypeError(f"{place}: expected finite numbers and texts in a list, found an array or NaN")
        return listed
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place}: expected numbers, texts, None, arrays, lists and dicts of these, found "
                    f"{type(value).__name__}")


def read_checkpoint(path: "str | PathLike[str]", kind: str) -> Saved:
    """The values in a file.

    Raises
    ------
    ValueError
        If it is no whole checkpoint, or one of another kind or version.
    OSError
        If it cannot be read.
    """
    with opened(path, FORMAT) as archive:
        version = archive.integer("version")
        if version != VERSION:
            raise ValueError(f"{path}: written in version {version} of checkpoints; this fastbp reads version "
                             f"{VERSION}")
        found = archive.text("kind", most=100)
        if found != kind:
            raise ValueError(f"{path}: a checkpoint of {shown(found)}, expected one of {kind!r}")
        values = archive.json("values", most=_LONGEST_VALUES)
        saved = Saved(values, str(path))
        for name in archive.names:
            if name not in _OTHERS:
                _put(saved, name, _array(archive, name))
    return saved


def _array(archive: Archive, name: str) -> Any:
    """An array, or the number in one of shape ()."""
    array = archive.array(name, dtype=archive.dtype_of(name).newbyteorder("="), shape=archive.shape_of(name))
    return array if array.ndim else array[()].item()


def _put(saved: Saved, name: str, value: Any) -> None:
    """Put a value at its place."""
    *parts, last = name.split("/")
    values: Any = saved.values
    for part in parts:
        values = values.get(part)
        if not isinstance(values, dict):
            raise saved.error(f"there is no group for {name[:80]}")
    if last in values:
        raise saved.error(f"{name[:80]} is there twice")
    values[last] = value
