"""`fastbp predict`: what a saved network says of new samples."""

import argparse
import csv
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import datasets
from ..datasets.in_files import checked_parts, opened
from ..mlp import load
from .output import as_json
from .scaling import Predictions, Scaling, predictions
from .tables import RULES, add_table_options, as_written


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp predict`."""
    parser = commands.add_parser(
        "predict", help="predict with a trained network", formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=RULES,
        description="Print one prediction a line, as CSV: the class or the quantities of every row of the data.")
    parser.add_argument("model", metavar="MODEL", help="a network that 'fastbp train' wrote")
    parser.add_argument("--data", required=True, metavar="SOURCE",
                        help="as for 'fastbp train', without targets; columns are found by their names, in any order, "
                             "if the training data had names too; files of any size are read and predicted in chunks, "
                             "and where one cannot be used, what was predicted before is printed")
    parser.add_argument("--target", metavar="COLUMN", help="a column of a table or of Parquet files to leave out, by "
                                                           "name or index, such as the targets; none if not given")
    add_table_options(parser)
    parser.add_argument("--probabilities", action="store_true", help="add a column with the probability of each class")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Predict as the options say, of data in files chunk after chunk."""
    net = load(options.model)
    scaling = Scaling.of_network(net, options.model)
    if options.probabilities and scaling.classes is None:
        raise ValueError("--probabilities: the model predicts quantities, not classes")
    features, parts = _inputs(options, scaling)
    found = (predictions(net, scaling, scaling.columns(X, features, net.widths[0])) for X in parts)
    if options.json:
        _print_json(found, scaling.classes, options.probabilities)
    else:
        _print_csv(found, scaling.classes, options.probabilities, net.widths[-1])
    return "done"


def _inputs(options: argparse.Namespace, scaling: Scaling) -> tuple[list[str] | None, Iterator[np.ndarray]]:
    """The names of the features, where the data have them, and the features of some rows after others."""
    data = opened(options.data, options.target, with_targets=False)
    if data is not None:
        return data.features, (part.X for part in checked_parts(data))
    dataset = datasets.load(options.data, target=options.target, names=scaling.features, with_targets=False,
                            **as_written(options))
    return dataset.features, iter([dataset.X])


def _values(found: Predictions, classes: list[Any] | None) -> list[Any]:
    """The names of classes, or the quantities."""
    return found.values.tolist() if classes is None else [classes[label] for label in found.values]


def _print_json(parts: Iterator[Predictions], classes: list[Any] | None, with_probabilities: bool) -> None:
    values: list[Any] = []
    probabilities: list[list[float]] = []
    for found in parts:
        values += _values(found, classes)
        if with_probabilities and found.probabilities is not None:
            probabilities += found.probabilities.tolist()
    print(as_json({"predictions": values} | (
        {"classes": classes, "probabilities": probabilities} if with_probabilities else {})))


def _print_csv(parts: Iterator[Predictions], classes: list[Any] | None, with_probabilities: bool, outputs: int) -> None:
    """Nothing is printed before the first predictions are there."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, found in enumerate(parts):
        if number == 0:
            several = [f"prediction {i}" for i in range(outputs)] if classes is None and outputs > 1 else ["prediction"]
            writer.writerow([*several, *(classes or ())] if with_probabilities else several)
        values = _values(found, classes)
        if with_probabilities and found.probabilities is not None:
            writer.writerows([value, *row] for value, row in zip(values, found.probabilities.tolist(), strict=True))
        else:
            writer.writerows(value if isinstance(value, list) else [value] for value in values)
