"""JSON as files hold it: numbers are finite, and levels are few enough for every reader."""

import json
import math
import re
from typing import Any

#: The most lists and dicts in each other. Python's own limit depends on who calls it.
DEEPEST = 100

#: Text in quotation marks, and brackets, of JSON. Without backtracking, for which long text would take much memory.
_BRACKETS = re.compile(r'"(?:[^"\\]+|\\.)*+"|[\[\]{}]', re.DOTALL)


def json_text(name: str, value: Any) -> str:
    """JSON that `Archive.json` reads.

    Raises
    ------
    ValueError
        If JSON cannot hold the value, or it has more than `DEEPEST` levels; named.

    Examples
    --------
    >>> json_text("metadata", {"classes": ["a", "b"]})
    '{"classes": ["a", "b"]}'
    """
    try:
        text = json.dumps(value, allow_nan=False)
        _require_shallow(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected what JSON can hold ({shortened(str(error))})") from None
    return text


def finite_json(text: str) -> Any:
    """What JSON says.

    Raises
    ------
    ValueError
        If it is none, has a number that is not finite, or more than `DEEPEST` levels.
    """
    _require_shallow(text)
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _require_shallow(text: str) -> None:
    """Refuse JSON of too many levels."""
    level = 0
    for found in _BRACKETS.finditer(text):
        level += (found[0] in "[{") - (found[0] in "]}") if len(found[0]) == 1 else 0
        if level > DEEPEST:
            raise ValueError(f"more than {DEEPEST} lists and dicts in each other")


def _finite(text: str) -> float:
    """A number of JSON, which has to be finite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shortened(text)}, which is not finite")
    return number


def shortened(text: str, most: int = 80) -> str:
    """The beginning of a text, for an error message."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
