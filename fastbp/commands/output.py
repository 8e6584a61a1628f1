"""The output of commands: JSON that every reader takes, and files whose paths are checked before the work."""

import json
import math
import os
from pathlib import Path
from typing import Any


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON by its standard, which has neither NaN nor infinity: null stands for numbers that are not finite.

    Examples
    --------
    >>> as_json({"loss": [0.5, float("inf")]})
    '{"loss": [0.5, null]}'
    """
    return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def require_place(option: str, path: Path) -> None:
    """Refuse a path that cannot be written to, before hours of work.

    Raises
    ------
    ValueError
        If it is a folder, or may not be written, or there is no folder to write it into.
    """
    if path.is_dir():
        raise ValueError(f"{option}: expected the name of a file, found the folder {path}")
    folder = Path(os.path.realpath(path)).parent  # where a link leads
    if not path.exists() and not folder.is_dir():
        raise ValueError(f"{option}: there is no folder {folder if path.is_symlink() else path.parent} to write "
                         f"{path.name} into")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"{option}: {path} may not be written")
