"""The options that say how a table is written, which all commands that read one share."""

import argparse
from typing import Any

from .. import datasets


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
