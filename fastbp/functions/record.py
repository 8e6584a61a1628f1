"""`Record`: what activations and losses have in common."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from ..checks.messages import shown


class Record:
    """An activation or a loss: a name, its formulas, and whether fastbp or a user made it.

    There is one object for each, and copies are the same object, so that its kernels are compiled once.
    """

    by_name: ClassVar[dict[str, Any]]  # all records of the kind that have a name now

    name: str
    symbol: str                    # its part in the names of compiled functions
    given: tuple[Any, ...] | None  # what a user's own was made of

    @property
    def is_cached(self) -> bool:
        """Whether its compiled code may be cached on disk."""
        return self.given is None

    def __str__(self) -> str:
        return self.symbol

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def register(self) -> None:
        """Make a user's record known by its name, and to unpickling."""
        self.by_name[self.name] = self
        _MADE[type(self), self.given] = self


#: Users' records by the arguments that made them, for unpickling.
_MADE: dict[Any, Any] = {}


def restored(kind: type[Record], *given: Any) -> Any:
    """The record of a pickle: that made of equal arguments in this process, or a new one.

    A name that another record has stays with that one.
    """
    before = kind.by_name.get(given[0])
    record = _MADE.get((kind, given))
    if record is None:
        record = kind(*given)
    kind.by_name[given[0]] = record if before is None else before
    return record


def require_new_name(kind: str, name: Any, built_in: Iterable[str]) -> None:
    """Refuse what is not a name, or one that fastbp uses itself."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected the name of the {kind}, found {shown(name)}")
    if not name.strip() or name in built_in:
        raise ValueError(f"name: expected a name that is not empty and none of {', '.join(built_in)}, found "
                         f"{shown(name)}")
