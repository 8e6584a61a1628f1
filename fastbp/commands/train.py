"""`fastbp train`: from a data set to a trained network, its test score, its file and its loss curve."""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numba
import numpy as np

from .. import datasets
from ..backends import NAMES as BACKENDS
from ..backends import ON_GPU
from ..checks.arguments import PRODUCTS, require_number, require_whole
from ..compare.pictures import require_drawable
from ..datasets.first_pass import MOST_BYTES, MOST_ROWS
from ..datasets.in_files import opened
from ..distributed import DataParallel
from ..distributed.communicators import Alone
from ..functions.activations import BY_NAME as ACTIVATIONS
from ..functions.losses import LOSSES, record_named
from ..mlp import MLP
from ..optimizers.full_batch import FULL_BATCH, FullBatch, LevenbergMarquardt
from ..optimizers.optimizer import Optimizer
from ..optimizers.settings import OPTIMIZERS
from ..training.callbacks import EarlyStopping
from ..training.checkpoints import checked_interval
from ..training.history import History
from ..training.rank_run import failing_together
from . import cautions
from .output import as_json, require_place
from .scaling import Scaling
from .scores import as_lines, scores_of
from .tables import RULES, add_table_options, as_written
from .termination import heeding_sigterm
from .training_data import TrainingData, of_dataset, of_files, require_apart

#: The batch size where none is given.
BATCH_SIZE = 32

_EPILOG = f"""{RULES}
files of any size:
  A folder of shards, as for fastbp.Shards, has archives with X and y, or files such as X_0.npy and y_0.npy; Parquet
  files, as for fastbp.Parquet, have columns of numbers. They are read in chunks, once for classes, means and
  deviations, and again in every epoch. Each row is held out for test or validation by a draw of its own, from the seed.
  Only these rows are kept in memory: about {MOST_ROWS:,} of each at the most, or {MOST_BYTES >> 20} MB of X.

Inputs and quantities are standardised, in any magnitude that float64 holds. Beside the test score stands that of a
baseline, which always says the commonest class or the mean.

interrupted trainings:
  Ctrl-C and SIGTERM end training; the network is then tested and written as it is. With --checkpoint, everything of the
  training is in a file, also where the process is killed. The same command with --resume goes on from there, and ends
  with the same bits as if it had not been interrupted. --epochs may be another number, of all epochs.

several processes and machines:
  mpiexec -n 4 fastbp train --distributed … trains on four processes of MPI, which all read the same data. The network
  has the same bits for any number of them up to eight. The first alone prints, and writes files.

Warnings, on standard error and in JSON under "warnings": a column that numbers the rows; as many classes as rows; fewer
than {cautions.FEWEST} rows of a class; classes that differ only in how they are written; a class so common that always
saying it is as accurate.

example: Fashion-MNIST, whose files Debian's package dataset-fashion-mnist installs. With one hidden layer of 100 units
the test accuracy is 0.883 to 0.886 (three seeds; the data set's own table has 0.871 for scikit-learn's network of that
shape).
  fastbp train --data /usr/share/datasets/fashion-mnist --batch-size 128 --epochs 30 --learning-rate 0.0005 \\
      --weight-decay 0.0003
"""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults of options, and the epilog as it stands."""


def add_command(commands: Any) -> None:
    """Add the parser of `fastbp train`."""
    parser = commands.add_parser(
        "train", help="train a network on a data set", formatter_class=_Help, epilog=_EPILOG,
        description="Train a network on standardised inputs, test it, and write the model and its loss curve.")
    data = parser.add_argument_group("data")
    data.add_argument("--data", required=True, metavar="SOURCE",
                      help="digits, iris, wine, breast_cancer or diabetes; a .csv or .tsv file; an .npz file with X "
                           "and y; a folder with IDX files of the MNIST family; or, of any size, a folder of .npz or "
                           ".npy shards, a .parquet file or a folder of them")
    data.add_argument("--target", metavar="COLUMN", help="target column of a table or of Parquet files, by name or "
                                                         "index; the last if not given")
    add_table_options(data)
    data.add_argument("--task", choices=datasets.TASKS, default="auto", help="what the targets are")
    data.add_argument("--test-fraction", type=float, default=0.2, help="rows held out for the test, where the source "
                                                                       "does not have its own")
    data.add_argument("--validation-fraction", type=float, default=0.1, help="rows of the rest that only the curves "
                                                                             "and early stopping see")
    net = parser.add_argument_group("network")
    net.add_argument("--layers", type=_widths, default="100", metavar="N[,N…]",
                     help="widths of the hidden layers; 0 for none")
    net.add_argument("--activation", choices=[name for name in ACTIVATIONS if name != "softmax"], default="relu",
                     help="of the hidden layers")
    net.add_argument("--loss", type=_loss, metavar="NAME",
                     help=f"{', '.join(loss.name for loss in LOSSES)}, or as 'huber(0.5)' and 'quantile(0.9)' with "
                          "another parameter; softmax_cross_entropy for classes and squared_error for quantities if "
                          "not given")
    net.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of all computation")
    net.add_argument("--products", choices=PRODUCTS,
                     help="round W, h and δ in products, which some processors then compute faster; other numbers")
    net.add_argument("--backend", choices=BACKENDS, default="auto", help="what computes")
    training = parser.add_argument_group("training")
    training.add_argument("--optimizer", choices=[*OPTIMIZERS, *FULL_BATCH], default="adam",
                          help="how gradients become updates; lm, Levenberg-Marquardt for small networks, and lbfgs "
                               "take all samples in every step")
    training.add_argument("--learning-rate", type=float, help="the optimizer's default if not given")
    training.add_argument("--momentum", type=float, help="of sgd")
    training.add_argument("--weight-decay", type=float,
                          help="of all optimizers but lm and lbfgs; 0.001 if not given")
    training.add_argument("--batch-size", type=int, help=f"samples in a batch; {BATCH_SIZE} if not given")
    training.add_argument("--epochs", type=int, default=100, help="how often the data are gone through")
    training.add_argument("--early-stopping", type=int, metavar="PATIENCE",
                          help="stop after PATIENCE epochs without a better validation loss, and take the best weights")
    training.add_argument("--threads", type=int, help="processor threads; all if not given")
    training.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order of samples")
    training.add_argument("--distributed", action="store_true",
                          help="share the training with all processes that mpiexec has started; needs mpi4py")
    output = parser.add_argument_group("output")
    output.add_argument("--model", type=Path, metavar="FILE", help="where to write the network; NAME.npz if not given")
    output.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the curves; NAME.png if not given")
    output.add_argument("--checkpoint", type=Path, metavar="FILE",
                        help="where to write everything of the training from time to time, in place of what is there")
    output.add_argument("--checkpoint-every", type=_interval, metavar="TIME",
                        help="seconds between two checkpoints, or epochs, as in '5 epochs'; 60 if not given")
    output.add_argument("--resume", action="store_true", help="go on from the file of --checkpoint, if there is one")
    output.add_argument("--json", action="store_true", help="print the results as one JSON object")
    output.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def _widths(text: str) -> list[int]:
    try:
        widths = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, found {text!r}") from None
    if widths == [0]:
        return []
    if min(widths) < 1:
        raise argparse.ArgumentTypeError(f"expected widths of at least 1, found {text!r}")
    return widths


def _loss(text: str) -> str:
    try:
        return record_named(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("loss: ")) from None


def _interval(text: str) -> float | str:
    try:
        every = text if text.strip().endswith(("epoch", "epochs")) else float(text)
        checked_interval(every)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seconds, or a number of epochs such as '5 epochs', found "
                                         f"{text[:80]!r}") from None
    return every


def run(options: argparse.Namespace) -> str:
    """Train as the options say; returns how training ended."""
    ranks = DataParallel() if options.distributed else None
    with heeding_sigterm() as terminated, failing_together(ranks):
        reason = _train(options, terminated, ranks)
    return "terminated" if terminated else reason


def _train(options: argparse.Namespace, terminated: list[int], ranks: DataParallel | None) -> str:
    """Train; returns how training ended.

    terminated : not empty once SIGTERM has come.
    """
    is_first = ranks is None or ranks.communicator.rank == 0
    options.quiet = options.quiet or not is_first
    _require_options(options)
    optimizer = _optimizer(options)
    in_files = opened(options.data, options.target)
    if in_files is None:
        dataset = datasets.load(options.data, target=options.target, task=options.task, **as_written(options))
        model, plot = _places(options, dataset.name)
        data = of_dataset(dataset, options)
    else:
        if isinstance(optimizer, FullBatch):
            raise ValueError(f"--optimizer: {options.optimizer} takes all samples at once, found files that are read "
                             f"in chunks, {options.data}")
        model, plot = _places(options, in_files.name)
        require_apart("--model", model, in_files)
        if options.checkpoint is not None:
            require_apart("--checkpoint", options.checkpoint, in_files)
        _say(options, f"reading {in_files.files.rows} rows for means, classes and the rows that are held out")
        data = of_files(in_files, options)
    loss = options.loss or ("squared_error" if data.classes is None else "softmax_cross_entropy")
    outputs, output_activation = _last_layer(loss, data)
    scaling = Scaling.of(data.quantities, classes=data.classes, features=data.features,
                         counts=record_named(loss).targets == "counts")
    net = MLP([data.test.X.shape[1], *options.layers, outputs], activation=options.activation,
              output_activation=output_activation, loss=loss, dtype=options.dtype, seed=options.seed,
              backend=options.backend, products=options.products)
    net.metadata = scaling.as_metadata()
    _set_threads(options.threads)
    scaling.standardize(net, data.inputs)
    for part in (data.validation, data.test):  # of n training rows none is more than √n deviations from their mean
        if len(part.X):
            scaling.require_inputs(net, part.X)

    def encode(y: np.ndarray) -> np.ndarray:
        return scaling.targets(y, net.dtype)

    given = data.for_fit(encode)
    watched = (data.validation.X, encode(data.validation.y)) if data.rows[1] else None
    if is_first:
        _caution(data.warned)
    compile_seconds = _compile(net, data.test.X, encode(data.test.y), optimizer, options, as_stream=len(given) == 1)
    stops = options.early_stopping and not isinstance(optimizer, LevenbergMarquardt)  # which does so itself
    callbacks = [EarlyStopping(patience=options.early_stopping)] if stops else []
    if options.resume:
        _say(options, f"going on from {options.checkpoint}" if options.checkpoint.exists() else
             f"there is no {options.checkpoint} yet to go on from; training begins anew")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training was interrupted", RuntimeWarning)
        history = net.fit(*given, optimizer=optimizer, epochs=options.epochs, validation_data=watched,
                          callbacks=callbacks, progress=False if options.quiet else None,
                          checkpoint=options.checkpoint, checkpoint_every=options.checkpoint_every or 60.0,
                          resume=options.resume, communicator=ranks, **_batches(options))
    if not is_first:
        return history.stop_reason
    net.save(model)  # before all else: what sent SIGTERM may not wait for long
    scores = scores_of(net, scaling, data.usual, data.test.X, data.test.y)
    _caution(said := cautions.of_scores(scores, data.classes, data.usual))
    if history.epochs:
        history.plot(plot)
    _report(options, net, history, data, scores, data.warned + said,
            {"model": str(model), "plot": str(plot) if history.epochs else None}, compile_seconds)
    if history.stop_reason == "interrupted":
        _say(options, f"{'terminated' if terminated else 'interrupted'} after {history.epochs} epochs; what was "
                      f"trained so far is in {model}"
                      f"{f', and --resume goes on from {options.checkpoint}' if options.checkpoint else ''}")
    return history.stop_reason


def _optimizer(options: argparse.Namespace) -> Optimizer | FullBatch:
    settings = {name: value for name, value in (("learning_rate", options.learning_rate),
                                                ("momentum", options.momentum)) if value is not None}
    if options.momentum is not None and options.optimizer != "sgd":
        raise ValueError(f"--momentum: it is a setting of sgd, found --optimizer {options.optimizer}")
    if options.optimizer not in FULL_BATCH:
        weight_decay = 0.001 if options.weight_decay is None else options.weight_decay
        return OPTIMIZERS[options.optimizer](weight_decay=weight_decay, **settings)
    for name in ("learning_rate", "weight_decay", "batch_size"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')}: it is no setting of {options.optimizer}, which takes all "
                             f"samples in steps of its own length, found {getattr(options, name)}")
    kind = FULL_BATCH[options.optimizer]
    return LevenbergMarquardt(max_fail=options.early_stopping) if kind is LevenbergMarquardt else kind()


def _batches(options: argparse.Namespace) -> dict[str, Any]:
    """What `fit` takes of batches."""
    return {} if options.optimizer in FULL_BATCH else {"batch_size": options.batch_size or BATCH_SIZE}


def _require_options(options: argparse.Namespace) -> None:
    require_whole("--epochs", options.epochs, at_least=1)
    if options.batch_size is not None:
        require_whole("--batch-size", options.batch_size, at_least=1)
    require_whole("--seed", options.seed, at_least=0)
    require_number("--test-fraction", options.test_fraction, above=0.0, below=1.0)
    require_number("--validation-fraction", options.validation_fraction, at_least=0.0, below=1.0)
    if options.early_stopping is not None:
        require_whole("--early-stopping", options.early_stopping, at_least=1)
        if options.validation_fraction == 0.0:
            raise ValueError("--early-stopping: it watches the validation loss, found --validation-fraction 0")
    if options.checkpoint is None:
        if options.resume:
            raise ValueError("--resume: it goes on from the file of --checkpoint, found none")
        if options.checkpoint_every is not None:
            raise ValueError("--checkpoint-every: it is how often the file of --checkpoint is written, found none")


def _places(options: argparse.Namespace, name: str) -> tuple[Path, Path]:
    """The paths of the network and its curves; these, checkpoints and the data all have files of their own."""
    model = Path(f"{name}.npz") if options.model is None else options.model
    plot = Path(f"{name}.png") if options.plot is None else options.plot
    written = [("--model", model), ("--plot", plot)]
    if options.checkpoint is not None:
        written.append(("--checkpoint", options.checkpoint))
    for option, path in written:
        require_place(option, path)
        if path.exists() and not path.is_file():
            raise ValueError(f"{option}: expected a new file or one to write over, found {path}, which is no regular "
                             f"file")
        if path.exists() and os.path.exists(options.data) and path.samefile(options.data):
            raise ValueError(f"{option}: {path} is the data; name another file")
    require_drawable("--plot", plot)
    if os.path.realpath(model) == os.path.realpath(plot):
        raise ValueError(f"--plot: {plot} is the file of the model; name another one")
    if options.checkpoint is not None and os.path.realpath(options.checkpoint) in map(os.path.realpath, (model, plot)):
        raise ValueError(f"--checkpoint: {options.checkpoint} is the file of the model or of the curves; name another "
                         "one")
    return model, plot


def _last_layer(loss: str, data: TrainingData) -> tuple[int, str]:
    """The width and activation of the last layer."""
    kind, classes = record_named(loss).targets, data.classes
    if kind == "bits":
        if classes is None or len(classes) != 2:
            raise ValueError(f"--loss: {loss} needs two classes, found {classes}")
        return 1, "identity"
    if kind != "classes":
        if data.quantities is None:
            raise ValueError(f"--loss: {loss} is for quantities, found classes; use --task regression if the "
                             "targets are numbers")
        if kind == "counts" and data.smallest_target < 0:
            raise ValueError(f"--loss: {loss} is for numbers of at least 0, found {data.smallest_target}")
        return data.quantities.features or 1, "identity"
    if classes is None:
        raise ValueError(f"--loss: {loss} is for classes, found quantities; use --task classification if they are not")
    return len(classes), "softmax" if loss == "cross_entropy" else "identity"


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    try:
        numba.set_num_threads(threads)
    except ValueError as error:
        raise ValueError(f"--threads: {error}") from None
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(threads)  # the threads of BLAS


def _compile(net: MLP, X: np.ndarray, d: np.ndarray, optimizer: Optimizer | FullBatch, options: argparse.Namespace,
             as_stream: bool) -> float:
    """Compile, or load from the cache, every kernel that training needs, so that training is timed alone."""
    begin = time.perf_counter()
    _say(options, "preparing kernels: compiled at the first run, read from disk later")
    batches = _batches(options)
    n = batches.get("batch_size", 1) if net.backend in ON_GPU else 1  # on a GPU kernels are made for a size of batches
    copy = MLP(net.widths, activation=net.activations, loss=net.loss, dtype=net.dtype, backend=net.backend, seed=0,
               products=net.products)
    copy.standardize(mean=net.feature_mean, scale=net.feature_scale)
    few = X[:n], d[:n]
    copy.fit(*([[few]] if as_stream else few), optimizer=optimizer, epochs=1, validation_data=few, progress=False,
             communicator=Alone() if options.distributed else None, **(batches and {"batch_size": n}))
    return time.perf_counter() - begin


def _report(options: argparse.Namespace, net: MLP, history: History, data: TrainingData, scores: dict[str, float],
            warned: list[str], files: dict[str, str | None], compile_seconds: float) -> None:
    rate, rows = history.samples / history.seconds, data.rows
    if options.json:
        print(as_json({
            "data": data.name, "rows": dict(zip(("train", "validation", "test"), rows, strict=True)),
            "widths": net.widths, "activations": net.activations, "loss": net.loss, "dtype": str(net.dtype),
            "products": net.products, "backend": net.backend, "parameters": net.theta.size, **scores,
            "epochs": history.epochs,
            "stop_reason": history.stop_reason, "seconds": history.seconds, "samples_per_second": rate,
            "compile_seconds": compile_seconds, **files, "warnings": warned, "history": history.records}))
        return
    kind = "quantities" if data.classes is None else f"{len(data.classes)} classes"
    lines = [("data", f"{data.name}: {rows[0]} training, {rows[1]} validation and {rows[2]} test rows, {kind}"),
             ("network", f"{'-'.join(map(str, net.widths))}, {options.activation}, {net.loss}, {net.dtype}"
                         f"{'' if net.products is None else f' with {net.products} products'}, backend {net.backend}, "
                         f"{net.theta.size} parameters"),
             *as_lines(scores),
             ("time", f"{history.seconds:.2f} s for {history.epochs} epochs, {rate:,.0f} samples per second"),
             ("model", str(files["model"])), ("curves", str(files["plot"]))]
    for name, text in lines:
        print(f"{name:<14} {text}")


def _caution(sentences: list[str]) -> None:
    """Warn, also of quiet commands, as none of it is progress."""
    for sentence in sentences:
        print(f"fastbp: warning: {sentence}", file=sys.stderr)


def _say(options: argparse.Namespace, message: str) -> None:
    if not options.quiet:
        print(f"fastbp: {message}", file=sys.stderr)
