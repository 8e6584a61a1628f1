"""`fastbp predict`: what a saved network says of new samples."""

import argparse
import csv
import sys
from typing import Any

from .. import datasets
from ..mlp import load
from .output import as_json
from .scaling import Scaling, predictions
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
                             "if the training data had names too")
    parser.add_argument("--target", metavar="COLUMN", help="a column of the table to leave out, by name or index, such "
                                                           "as the targets; none if not given")
    add_table_options(parser)
    parser.add_argument("--probabilities", action="store_true", help="add a column with the probability of each class")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Predict as the options say."""
    net = load(options.model)
    scaling = Scaling.of_network(net, options.model)
    dataset = datasets.load(options.data, target=options.target, names=scaling.features, with_targets=False,
                            **as_written(options))
    found = predictions(net, scaling, scaling.columns(dataset.X, dataset.features, net.widths[0]))
    classes = scaling.classes
    if options.probabilities and found.probabilities is None:
        raise ValueError("--probabilities: the model predicts quantities, not classes")
    values = [classes[label] for label in found.values] if classes is not None else found.values.tolist()
    if options.json:
        result = {"predictions": values}
        if options.probabilities and found.probabilities is not None:
            result |= {"classes": classes, "probabilities": found.probabilities.tolist()}
        print(as_json(result))
        return "done"
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if options.probabilities and found.probabilities is not None:
        writer.writerow(["prediction", *(classes or ())])
        writer.writerows([value, *row] for value, row in zip(values, found.probabilities.tolist(), strict=True))
    else:
        writer.writerow(["prediction"] if found.values.ndim == 1
                        else [f"prediction {i}" for i in range(found.values.shape[1])])
        writer.writerows(value if isinstance(value, list) else [value] for value in values)
    return "done"
