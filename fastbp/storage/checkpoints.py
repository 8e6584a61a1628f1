"""Checkpoints: a training as values in one archive.

Values are numbers, texts and None, arrays, and groups of values under names. An array's name is its path in the values,
such as "training/theta". Large arrays have members of that name, small ones lie one after another in one member: an
archive of thousands of networks has few members. Floating-point numbers that are not finite, which JSON lacks, are
arrays of shape (), and so are NumPy's scalars.

| member | dtype | shape | what |
|---|---|---|---|
| `format`, `version` | text, int64 | () | "fastbp checkpoint", and its version |
| `kind` | text | () | what trains: "training", "trainings", or the name of an estimator |
| `values` | text | () | JSON of all values but arrays |
| `small` | uint8 | (bytes,) | the numbers of small arrays |
| `places` | text | () | JSON: of each small array its dtype, its shape, and where it begins in `small` |
| … | any numbers | any | an array |
"""

import itertools
import math
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from ..checks.messages import shown
from ..checks.saved import Saved
from .archive import opened, write_archive
from .json_text import json_text
from .reading import Archive
from .writing import replacing

FORMAT, VERSION = "fastbp checkpoint", 1

#: The members that are not arrays of the values.
_OTHERS = ("format", "version", "kind", "values", "small", "places", "digest")

#: The bytes of a small array at the most, and the characters of JSON that are read.
SMALL, _LONGEST_VALUES = 2**16, 2**28


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
        If a value is something else, or there are more of them than a file may have; nothing is written then.
    OSError
        If the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = _without_arrays(values, "", arrays)
    small = {place: array for place, array in arrays.items() if array.nbytes <= SMALL}
    large = {place: array for place, array in arrays.items() if array.nbytes > SMALL}
    begins = itertools.accumulate((array.nbytes for array in small.values()), initial=0)
    places = {place: [array.dtype.newbyteorder("<").str, array.shape, begin]
              for (place, array), begin in zip(small.items(), begins, strict=False)}
    members = {"format": FORMAT, "version": VERSION, "kind": kind, "values": json_text("values", plain),
               "small": np.frombuffer(b"".join(map(_bytes_of, small.values())), np.uint8),
               "places": json_text("values", places)}
    with replacing(path) as file:
        write_archive(file, members | large)


def _bytes_of(array: np.ndarray) -> bytes:
    """The numbers of an array, in the order of bytes that files have."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


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
        small = archive.array("small", dtype=np.uint8, shape=(None,))
        places = Saved(archive.json("places", most=_LONGEST_VALUES), str(path))
        for name in places.values:
            _put(saved, name, _small_array(places, name, small))
        for name in archive.names:
            if name not in _OTHERS:
                _put(saved, name, _array(archive, name))
    return saved


def _small_array(places: Saved, name: str, small: np.ndarray) -> Any:
    """An array among the small ones."""
    match places.values[name]:
        case [str(code), list(shape), int(begin)] if (
                re.fullmatch(r"<[iuf][248]|\|[iu]1", code) and all(type(n) is int and 0 <= n < 2**48 for n in shape)):
            size = math.prod(shape) * int(code[2])
            if len(shape) <= 16 and 0 <= begin <= len(small) - size:
                dtype = np.dtype(code).newbyteorder("=")
                return _value_of(small[begin : begin + size].view(code).astype(dtype).reshape(shape))
    raise places.error(f"{shown(name)} is at no place among small arrays")


def _array(archive: Archive, name: str) -> Any:
    """An array, or the number in one of shape ()."""
    return _value_of(archive.array(name, dtype=archive.dtype_of(name).newbyteorder("="),
                                   shape=archive.shape_of(name)))


def _value_of(array: np.ndarray) -> Any:
    """The array, or the number in one of shape ()."""
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
