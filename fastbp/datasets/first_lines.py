"""The first lines of a table: comments, the first row, and whether the delimiter fits."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..checks.messages import shown
from .sources import open_binary

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_LINES = 50  # that are read to find what separates their fields
_WRITTEN = {"\\t": "\t", "tab": "\t", "space": " "}


class Beginning(NamedTuple):
    """The first row of a table, after comments."""

    fields: list[str]
    text: str           # as it stands in the file
    end: int            # the number of lines up to its end


def delimiter_of(path: Path, given: str | None, decimal: str) -> str:
    """The delimiter as given, or by the name of the file.

    Raises
    ------
    ValueError
        If it is not one character that can separate, or marks the decimals too.
    """
    delimiter = ("\t" if ".tsv" in path.name.lower() else ",") if given is None else _WRITTEN.get(given, given)
    if len(delimiter) != 1 or delimiter.isalnum() or delimiter in "\"'\r\n\0+-." or not delimiter.isascii():
        raise ValueError(f"delimiter is {shown(given)}, expected one character such as ';', or 'tab' (--delimiter)")
    if decimal == delimiter:
        raise ValueError(f"decimal and delimiter are both {shown(decimal)} for {path}: pass --delimiter ';' or what "
                         "else separates its fields")
    return delimiter


def require_separated(path: Path, lines: Sequence[str], delimiter: str) -> None:
    """Refuse a delimiter where another one fits the first lines of the table better.

    Another one does if it gives each row the same number of fields, and this one does not, or leaves them whole, or
    finds fewer numbers.

    Raises
    ------
    ValueError
        Which names the other one, and the decimal comma where fields have it.
    """
    rows = _rows(lines, delimiter)
    widths = sorted({len(row) for row in rows})
    whole = widths == [1]
    for other in (";", "\t", ",", "|", " ") if whole else (";", "\t", ",", "|"):
        others = _rows(lines, other)
        count = {len(row) for row in others}
        if (other == delimiter or len(count) != 1 or count == {1}
                or (len(widths) == 1 and not whole and _numbers(rows) >= _numbers(others))):
            continue
        comma = other != "," and any(DECIMAL_COMMA.fullmatch(field) for row in others for field in row)
        written = "tab" if other == "\t" else other
        found = (f"the one column {shown(rows[0][0])}" if whole else f"rows of {widths[0]} fields" if len(widths) == 1
                 else f"rows of {widths[0]} to {widths[-1]} fields")
        raise ValueError(f"{path} has {found} with the delimiter {delimiter!r}, and {count.pop()} columns with "
                         f"{other!r}: pass --delimiter {written!r}" + (" and --decimal ','" if comma else "")
                         + (f", or --delimiter {delimiter!r} if it is right" if widths[1:] == [] and not whole else ""))


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    return [[field.strip() for field in row] for row in rows if any(row)]


def _numbers(rows: list[list[str]]) -> float:
    """The share of numbers among the fields."""
    fields = [field for row in rows for field in row]
    return sum(NUMBER.fullmatch(field) is not None for field in fields) / len(fields)


def open_text(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", newline="")


def first_lines(path: Path) -> list[str]:
    """Some lines of the table, without comments before it and without a row that they do not end."""
    with open_text(path) as lines:
        found = list(itertools.islice((line for line in lines if line.strip()), _LINES))
    if any("\0" in line for line in found):
        raise csv.Error("it has zero bytes")
    if len(found) == _LINES and sum(line.count('"') for line in found) % 2:
        return []
    plain = list(itertools.dropwhile(lambda line: line.startswith("#") or _is_for_excel(line), found))
    return plain if len(plain) > 1 else found


def beginning(path: Path, delimiter: str) -> Beginning:
    """The first row that is not blank.

    Rows before it that begin with # are comments, if they have not as many fields as the first that does not.
    """
    taken: list[str] = []

    def kept(lines: io.TextIOWrapper) -> Iterator[str]:
        while line := lines.readline():
            taken.append(line)
            yield line

    marked: list[Beginning] = []
    with open_text(path) as lines:
        rows = csv.reader(kept(lines), delimiter=delimiter, skipinitialspace=True)
        end = 0
        for row in rows:
            begin, end = end, rows.line_num
            if not any(field.strip() for field in row) or (begin == 0 and _is_for_excel(taken[0])):
                continue
            found = Beginning(row, "".join(taken[begin:end]), end)
            if not row[0].startswith("#"):
                names, ends = found, row[-1].strip() == ""
                while marked and len(marked[-1].fields) in (len(row), len(row) - ends):
                    names = _uncommented(marked.pop())
                return names
            marked.append(found)
    return marked[0] if marked else Beginning([], "", 0)


def _is_for_excel(line: str) -> bool:
    """Whether a first line tells Excel the delimiter, such as "sep=;"."""
    return re.fullmatch("sep=.", line.strip(), re.IGNORECASE) is not None


def _uncommented(row: Beginning) -> Beginning:
    """A row of names as np.savetxt writes it; "#" alone is a name."""
    first = row.fields[0].lstrip("#").strip()
    return row._replace(fields=[first, *row.fields[1:]]) if first else row
