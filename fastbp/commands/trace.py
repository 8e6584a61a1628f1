"""`fastbp trace`: every quantity of one sample's pass through a saved network, as text and as a picture."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import datasets
from ..checks.arguments import require_whole
from ..checks.messages import listed, shown
from ..mlp import load
from .scaling import Scaling
from .tables import RULES, add_table_options, as_written


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp trace`."""
    parser = commands.add_parser(
        "trace", help="look inside one pass forward and back", formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=RULES,
        description="Print every quantity of one sample's pass through a network: h_k and a_k on the way forward, e_k, "
                    "δ_k and gradients on the way back, with shapes, and norms or values.")
    parser.add_argument("model", metavar="MODEL", help="a network that 'fastbp train' wrote")
    parser.add_argument("--data", required=True, metavar="SOURCE",
                        help="as for 'fastbp train', with targets: a name, a table or an archive")
    parser.add_argument("--target", metavar="COLUMN", help="the column of the targets, by name or index")
    add_table_options(parser)
    parser.add_argument("--row", type=int, default=0, metavar="N", help="which sample, from 0 on (default: 0)")
    parser.add_argument("--plot", nargs="?", type=Path, const=Path("trace.png"), metavar="FILE",
                        help="draw the network too, with what goes forward and what comes back (trace.png)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Trace as the options say."""
    row = require_whole("--row", options.row, at_least=0)
    net = load(options.model)
    scaling = Scaling.of_network(net, options.model)
    data = datasets.load(options.data, target=options.target, names=scaling.features, **as_written(options),
                         task="regression" if scaling.classes is None else "classification")
    if row >= len(data.X):
        raise ValueError(f"--row: expected one of the {len(data.X)} rows, counted from 0, found {row}")
    X = scaling.columns(data.X[row : row + 1], data.features, net.widths[0])
    scaling.require_inputs(net, X)
    trace = net.trace(X[0], _target(data, row, scaling, net.dtype))
    print(trace)
    if options.plot is not None:
        trace.plot(options.plot)
    return "done"


def _target(data: datasets.Dataset, row: int, scaling: Scaling, dtype: np.dtype) -> Any:
    """The target of a row, as the network takes it."""
    assert data.y is not None
    if scaling.classes is None:
        return scaling.targets(data.y[row : row + 1], dtype)[0]
    assert data.classes is not None
    name = data.classes[data.y[row]]
    if name not in scaling.classes:
        raise ValueError(f"--data: row {row} is of the class {shown(name)}; the model knows {listed(scaling.classes)}")
    return scaling.classes.index(name)
