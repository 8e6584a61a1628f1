"""`Saved`: what was read from a file, of which every value is checked when it is taken."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .messages import shown


class Saved:
    """Values by their names: numbers, texts, arrays, and parts that have values themselves.

    Parameters
    ----------
    values : mapping of str
    origin : str
        What they are of, for messages: a file.
    place : str
        The name of this part in the whole, for messages.

    Examples
    --------
    >>> saved = Saved({"epoch": 3, "optimizer": {"updates": np.array([7])}}, "run.fastbp")
    >>> saved.whole("epoch"), saved.part("optimizer").array("updates", np.int64, (1,))
    (3, array([7]))
    """

    def __init__(self, values: Any, origin: str, place: str = "") -> None:
        self.origin, self._place = origin, place
        if not isinstance(values, Mapping):
            raise self.error(f"{place or 'it'} is no group of values")
        self.values = values

    def error(self, reason: str) -> ValueError:
        """The error of values that do not go together."""
        return ValueError(f"{self.origin}: not a whole checkpoint ({reason})")

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def _name(self, name: str) -> str:
        return f"{self._place}/{name}" if self._place else name

    def part(self, name: str) -> "Saved":
        """The values of a part."""
        return Saved(self.values.get(name), self.origin, self._name(name))

    def array(self, name: str, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
        """An array; None in the shape is for any number."""
        found = self.values.get(name)
        if (not isinstance(found, np.ndarray) or found.dtype != dtype or found.ndim != len(shape)
                or any(expected not in (None, size) for expected, size in zip(shape, found.shape, strict=True))):
            what = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.error(f"expected {self._name(name)} as {np.dtype(dtype)} of shape ({wanted}), found {what}")
        return found

    def finite(self, name: str, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
        """An array without NaN and infinity."""
        found = self.array(name, dtype, shape)
        if not np.isfinite(found).all():
            raise self.error(f"expected finite numbers in {self._name(name)}")
        return found

    def whole(self, name: str, at_least: int = 0, at_most: int = 2**63 - 1) -> int:
        """A whole number."""
        found = self.values.get(name)
        if type(found) is not int or not at_least <= found <= at_most:
            raise self.error(f"expected {self._name(name)} from {at_least} to {at_most}, found {shown(found)}")
        return found

    def number(self, name: str) -> float:
        """A finite number."""
        found: Any = self.values.get(name)
        if type(found) not in (int, float) or not math.isfinite(found):
            raise self.error(f"expected a number {self._name(name)}, found {shown(found)}")
        return float(found)

    def real(self, name: str) -> float:
        """A number, which may be infinite or NaN."""
        found: Any = self.values.get(name)
        if type(found) not in (int, float):
            raise self.error(f"expected a number {self._name(name)}, found {type(found).__name__}")
        return float(found)

    def text(self, name: str) -> str:
        """A text."""
        found = self.values.get(name)
        if not isinstance(found, str):
            raise self.error(f"expected a text {self._name(name)}, found {type(found).__name__}")
        return found

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        found = self.values.get(name)
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise self.error(f"expected texts {self._name(name)}, found {type(found).__name__}")
        return found
