"""Whether the first row of a table names its columns or is a sample, as far as the table itself tells."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table: its field in the first row, and what is below that."""

    first: str                     # the field as written, "" where it is missing
    number: float | None           # its value where it is a number
    below: str                     # "numbers", "text" where a field is no number, or "nothing" but missing values
    decimals: bool = False         # whether a number below is not whole

    @property
    def text(self) -> bool:
        """Whether the field may be a name; signs such as "?" and "-" rather stand for what is missing."""
        return self.number is None and any(map(str.isalpha, self.first))


def first_row_is_names(columns: Sequence[Column], target: int | None, classes: Mapping[str, int]) -> bool | None:
    """Tell names from a sample.

    Parameters
    ----------
    columns : sequence of Column
    target : int or None
        The index of the column with the targets, where there is one.
    classes : mapping
        How often each text occurs below the first row in the column of the targets; empty where those are numbers.

    Returns
    -------
    bool or None
        None where it cannot be known.

    Examples
    --------
    >>> first_row_is_names([Column("0", 0.0, "numbers"), Column("kind", None, "numbers")], 1, {})
    True
    >>> first_row_is_names([Column("5.1", 5.1, "numbers"), Column("ant", None, "text")], 1, {"ant": 7, "bee": 8})
    False
    >>> first_row_is_names([Column("0", 0.0, "numbers"), Column("kind", None, "text")], 1, {"ant": 7, "bee": 8})
    """
    numbers = [column.number for column in columns if column.number is not None]
    texts = [column for column in columns if column.text]
    class_again = target is not None and columns[target].first in classes
    if any(column.below == "numbers" for column in texts):
        # A damaged field in the first sample is text above numbers, too. Numbers that are names are whole or in order.
        orderly = all(map(float.is_integer, numbers)) or numbers == sorted(set(numbers))
        return True if orderly and not class_again else None
    if texts and not numbers:
        return not class_again
    if class_again:
        return False
    if texts and all(column.below == "nothing" for column in columns):
        return None
    if target is not None and columns[target].below == "text" and (
            columns[target].number is not None or min(classes.values(), default=1) > 1):
        return None  # a class that no other row has, where every other class has several
    return None if _counts_the_columns(columns) or _is_a_scale(columns) else False


def _counts_the_columns(columns: Sequence[Column]) -> bool:
    """0, 1, 2, …, which pandas writes where columns have no names; beside them names of text, and an empty one first
    for an index."""
    begin = 1 if columns[0].first == "" else 0
    counted = [j for j, column in enumerate(columns) if column.number is not None]
    return bool(counted) and all(columns[j].first == str(j - begin) for j in counted)


def _is_a_scale(columns: Sequence[Column]) -> bool:
    """Whole numbers at equal distances, such as years, above numbers that are not all whole."""
    numbers = [column.number for column in columns if column.number is not None]
    steps = {after - before for before, after in pairwise(numbers)}
    return (len(numbers) == len(columns) > 2 and all(map(float.is_integer, numbers)) and len(steps) == 1
            and steps != {0.0} and any(column.decimals for column in columns))
