"""The options that say how a table is written, which all commands that read one share."""

import argparse
from typing import Any

from .. import datasets

#: How all commands read a table, for their help.
RULES = """tables:
  The first row is names if it alone has text in a column of numbers, or has no number, or has the names of the model's
  features. It is a sample if it has numbers where the others have them. Where it may be either, as with the numbers
  0, 1, 2, ... that pandas writes for columns without names, the command refuses, until --header says it.
  Fields are separated by commas, in a .tsv file by tabs, and decimals are marked by points. Where others fit, such as
  those of Excel in many countries, the message names them: --delimiter ';' --decimal ','.
  Classes are the text of their fields: 007 is not 7, and 1.0 is not 1.
  The empty field, and words such as NA, None and nan, stand for a missing value, which is refused.
  Blank lines, spaces around fields, delimiters at the ends of all rows, a byte order mark, and lines before the table
  that begin with # do not count.
"""


def add_table_options(parser: Any) -> None:
    """Add them to a parser or to a group of one."""
    parser.add_argument("--header", choices=datasets.HEADERS, default="auto",
                        help="whether a table begins with names; auto refuses what may be either")
    parser.add_argument("--delimiter", metavar="CHARACTER", default=argparse.SUPPRESS,
                        help="what separates the fields of a table, such as ';' or tab; the tab in a .tsv file and the "
                             "comma in a .csv file if not given")
    parser.add_argument("--decimal", choices=datasets.DECIMALS, default=".", metavar="MARK",
                        help="what marks the decimals in a table, '.' or ','")
    parser.add_argument("--na-values", type=_words, metavar="WORD[,WORD…]", default=",".join(datasets.MISSING),
                        help="what stands for a missing value in a table beside the empty field; '' for nothing, so "
                             "that classes may be called NA or None")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def as_written(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `datasets.load` that the options give."""
    return {"header": options.header, "delimiter": getattr(options, "delimiter", None), "decimal": options.decimal,
            "na_values": options.na_values}
