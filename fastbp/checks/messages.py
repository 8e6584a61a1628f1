"""Values in error messages, which stay short whatever a user passed in."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

#: The characters of a value in a message, and of a text by others, at the most.
MOST_CHARACTERS, MOST_OF_TEXT = 80, 400

#: Integers of more bits are shown by their number of bits, because Python refuses to write long ones down; arrays of
#: more numbers by their dtype and shape.
_MOST_BITS, _MOST_NUMBERS = 256, 6


def shown(value: Any, most: int = MOST_CHARACTERS) -> str:
    """A value on one line, in at most `most` characters; for paths, whose ends tell most, MOST_OF_TEXT.

    The text of a large value is never made as a whole. A value that cannot be written down is shown by its type.

    Examples
    --------
    >>> shown("tanh"), shown([1, 2.5]), shown(10**1000)
    ("'tanh'", '[1, 2.5]', 'a number of 3322 bits')
    >>> len(shown("x" * 10**6)), len(shown([["x"] * 1000] * 1000))
    (80, 80)
    """
    try:
        text = _text(value, 0)
    except Exception:
        text = f"<{type(value).__name__}>"
    return shortened(text, most)


def listed(names: Iterable[Any]) -> str:
    """Names one after another, which need not be all.

    Examples
    --------
    >>> listed(["a", "b"]), listed(map(str, range(100)))[-12:]
    ("'a', 'b'", "18', '19', …")
    """
    first = list(islice(names, 21))
    return shortened(", ".join(map(shown, first[:20]))) + (", …" if len(first) > 20 else "")


def shortened(text: Any, most: int = MOST_OF_TEXT) -> str:
    """A text, such as the message of another's error, on one line in at most `most` characters.

    Examples
    --------
    >>> shortened("first\\nsecond"), shortened("a long text", 6)
    ('first second', 'a lon…')
    """
    text = " ".join(map(str.strip, str(text)[: 4 * most].splitlines()))
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(value: Any, depth: int) -> str:
    """The beginning of a value's text, of some hundred characters; what is nested deeper than that is left out."""
    kind = type(value)
    if isinstance(value, str | bytes | bytearray):
        return repr(value[: MOST_OF_TEXT + 1])
    if isinstance(value, np.ndarray) and (depth or value.size > _MOST_NUMBERS or value.dtype.kind not in "biufc"):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, dict) and kind.__repr__ is dict.__repr__:
        return _listed("{}", (f"{_text(name, depth + 1)}: {_text(part, depth + 1)}" for name, part in value.items()),
                       depth)
    for builtin, brackets in ((list, "[]"), (tuple, "()"), (set, "{}")):
        if isinstance(value, builtin) and kind.__repr__ is builtin.__repr__ and value:
            return _listed(brackets, (_text(part, depth + 1) for part in value), depth,
                           "," if builtin is tuple and len(value) == 1 else "")
    return repr(value)


def _listed(brackets: str, parts: Any, depth: int, ending: str = "") -> str:
    """The first parts of a collection, in brackets."""
    if depth > 2:
        return f"{brackets[0]}…{brackets[1]}"
    listed = list(islice(parts, 21))
    return f"{brackets[0]}{', '.join(listed[:20])}{', …' if len(listed) > 20 else ending}{brackets[1]}"
