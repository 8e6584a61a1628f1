"""What a kind of cases is, and which outcomes of a case are right."""

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import fastbp

#: The characters of a message at the most. An error of a user's own formula quotes Numba.
MOST_CHARACTERS = 1000

PACKAGE = str(Path(fastbp.__file__).parent)

#: What may not come out of a call, though it is a ValueError or a TypeError too.
NEVER = IndexError, KeyError, AttributeError, UnicodeError, OverflowError


class Kind(Protocol):
    """Cases of one kind."""

    name: str
    seconds: float  # that a case takes at the most

    def prepare(self, folder: Path) -> None:
        """Compile and write what cases need; `folder` is empty, and the kind's own."""

    def case(self, rng: np.random.Generator) -> Any:
        """A case; its `str` tells a reader what is done."""

    def run(self, case: Any) -> str:
        """The outcome in a word; raises `Wrong` for one that is not right."""


class Wrong(Exception):
    """What came out of a case is not right.

    where : by which findings of one fault are counted together.
    """

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what)
        self.where = where or what


class UsersOwn(Exception):
    """What objects of the fuzzer raise: it has to reach who called, or to become a clear error."""


def outcome_of(call: Callable[[], Any], *accepted: type[BaseException]) -> str:
    """How a call ended: "done", or by which error it was refused.

    accepted : errors that are right beside a ValueError and a TypeError of fastbp's own.
    """
    try:
        call()
    except (UsersOwn, fastbp.DivergenceError, *accepted) as error:
        return type(error).__name__
    except (ValueError, TypeError) as error:
        require_clear(error)
        return "refused"
    except Exception as error:
        raise wrong(error) from error
    return "done"


def require_clear(error: Exception) -> None:
    """Refuse errors that are of the wrong class, or have no short message of fastbp's own."""
    if isinstance(error, NEVER) and type(error).__name__ != "NotFittedError":
        raise wrong(error) from error
    message = str(error)
    if not 0 < len(message) <= MOST_CHARACTERS:
        raise wrong(error, "a message that is empty or long") from error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    of_library = not frame.filename.startswith(PACKAGE) and "/fuzzing/" not in frame.filename.replace("\\", "/")
    if "sklearn" not in frame.filename and (of_library or (
            frame.filename.startswith(PACKAGE) and not line.startswith("raise"))):
        raise wrong(error, "not an error of fastbp's own") from error


def wrong(error: BaseException, reason: str = "") -> Wrong:
    """The finding of an error, by the innermost place in the package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PACKAGE)] or frames
    place = f"{own[-1].filename.removeprefix(PACKAGE)}:{own[-1].lineno} in {own[-1].name}"
    text = f"{type(error).__name__}: {str(error)[:300]}"
    return Wrong(f"{reason + ', ' if reason else ''}{text}\n    at {place}",
                 f"{type(error).__name__} at {place} {reason}")
