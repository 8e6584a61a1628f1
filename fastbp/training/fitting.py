"""`fit`: batches, epochs, and what is called between epochs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks.arguments import checked_clip_norm, checked_rates, require_flag, require_number, require_whole
from ..checks.arrays import largest_magnitude
from ..checks.messages import shown
from ..checks.samples import Samples
from ..checks.sparse_rows import CsrRows
from ..derivatives import Derivatives
from ..distributed.settings import DataParallel, data_parallel
from ..formulas.sampling import MAX_SAMPLES
from ..network import Network
from ..optimizers.full_batch import LBFGS, FullBatch, LevenbergMarquardt
from ..optimizers.optimizer import Optimizer
from ..optimizers.settings import SGD, names_of_optimizers
from ..optimizers.updates import OptimizerState
from ..streams.sources import stream_of
from .callbacks import checked_callbacks
from .checkpoints import Path, require_fitting
from .derivatives import DerivativeSession, checked_derivatives
from .full_batch import FullBatchSession, require_full_batch
from .history import History
from .lbfgs import LBFGSSession
from .levenberg_marquardt import LevenbergMarquardtSession, MaxFail
from .rank_run import RankRun, failing_together
from .run import Run
from .session import Session, make_plan
from .streaming import no_samples


def fit(net: Network, X: Any, d: Any = None, *, optimizer: Optimizer | FullBatch | None = None, epochs: int = 10,
        batch_size: int = 128, shuffle: bool = True, replacement: bool = False, sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None, metrics: Mapping[str, Callable[..., float]] | None = None,
        callbacks: Sequence[Callable[..., Any]] = (), progress: bool | None = None, seed: int | None = None,
        optimizer_state: OptimizerState | None = None, clip_sample_norm: float | None = None, l2_penalty: float = 0.0,
        weighted_mean: bool = False, dropout: float | Sequence[float] | None = None, shuffle_buffer: int = 2**14,
        checkpoint: Path | None = None, checkpoint_every: float | str = 60.0,
        resume: Path | bool | None = None, communicator: Any = None, derivatives: Any = None,
        derivative_weight: float = 1.0) -> History:
    """Train a network: for every batch S, θ moves against the mean gradient ∇E(W; S) / |S|.

    Because of the division by |S|, a learning rate does not depend on the batch size. The first training of a kind
    compiles its kernels, in a second process too unless the environment variable FASTBP_COMPILE_PROCESSES is 1.

    Parameters
    ----------
    net : MLP
        Its parameters are trained in place; its running gradient is zero afterwards.
    X : array_like or sparse matrix (n, N_0)
        Real numbers of any dtype and in any order in memory, memory-mapped or not. They are read where they lie, and
        converted to the network's dtype a few rows at a time. Of a sparse matrix of SciPy, the first layer goes over
        what is not zero; other formats than CSR are converted to it. Or, without d, a stream; see Notes.
    d : array_like
        Labels (n,) or targets (n, N_L), as for `MLP.loss_value`; not given for a stream.
    optimizer : Optimizer, LevenbergMarquardt or LBFGS
        SGD(0.1) if not given. The last two take all samples in every step: an epoch is one step, and arguments that
        say something of batches or their order are refused.
    epochs : int
        The number of passes over the data.
    batch_size : int
        |S|; the last batch of an epoch has what remains, and its gradient is divided by that.
    shuffle : bool
        Whether every epoch takes the samples in a new order, uniformly without replacement; of a stream, see Notes.
    replacement : bool
        Whether the n samples of an epoch are drawn independently instead; not of a stream.
    sample_weight : array_like (n,), optional
        The batch's gradient is Σ w_i ∇L_i / |S|, and the recorded loss Σ w_i L_i / n; see `weighted_mean`. Those of a
        stream come in its chunks.
    validation_data : (X, d) or (X, d, sample_weight), optional
        Evaluated after every epoch.
    metrics : mapping of str to callable, optional
        Each function of (d, Y) is evaluated after every epoch on the training data, under its name, and on the
        validation data, under "validation_…"; each data set costs a forward pass. With a stream, on the validation
        data alone.
    callbacks : sequence of callables
        Called after every epoch as callback(net, history); training stops when one returns True. See
        `fastbp.EarlyStopping`.
    progress : bool or None
        A progress bar on a terminal: None shows one if tqdm is installed, True insists, False shows none.
    seed : int, optional
        Of the order of samples, and of dropout; drawn from the network's generator if not given.
    optimizer_state : OptimizerState, optional
        Where an earlier training ended (`History.optimizer_state`), to go on from there; updated in place.
    clip_sample_norm : float, optional
        The norm C to which every sample's gradient g_s = w_s ∇L_s is clipped. The batch's gradient is then
        Σ_s min(1, C / ‖g_s‖) g_s / |S|. An optimizer's clip_norm clips that sum.
    l2_penalty : float
        α: to the E of every batch ½ α Σ_k ‖W_k‖² is added, before its gradient is divided by |S|; biases are free. (An
        optimizer's weight_decay is of all parameters, and does not depend on |S|.)
    weighted_mean : bool
        Whether a batch's gradient is divided by Σ w_i instead of |S|, as scikit-learn does, and recorded losses are
        Σ w_i L_i / Σ w_i, of all samples. Small batches whose weights differ much then have gradients that are not
        those of the whole set on average.
    dropout : float or sequence of L-1 floats, optional
        p from 0 to below 1, of all hidden layers or of h_1 … h_{L-1}. In every epoch each sample's hidden units are
        left out with that probability, h_k ← m ⊙ h_k / (1 - p) with m_i = 0 or 1 [1]_. A sample that is drawn more than
        once in an epoch has the same mask each time. The recorded loss is that with units left out; validation,
        metrics, and the network after training use all units. Masks come from `seed`.
    shuffle_buffer : int
        How many rows of a stream are shuffled together.
    checkpoint : path, optional
        Where everything of the training is written from time to time, in place of what is there; see Notes.
    checkpoint_every : float or str
        Seconds between two checkpoints, or epochs, as "5 epochs".
    resume : path or bool, optional
        The checkpoint of an interrupted training to go on from; True goes on from that at `checkpoint` if there is one.
    communicator : mpi4py.MPI.Comm, Communicator or DataParallel, optional
        Of the ranks that share this training; see Notes.
    derivatives : array_like (n, N_L, N_0), optional
        Targets D of J = ∂y/∂x, J_ij = ∂y_i/∂x_j, such as forces or slopes that were measured. To the E of every batch
        ½ λ Σ_s w_s ‖J_s - D_s‖² is added [2]_, and its gradient is exact: one more pass forward and back for every
        input. y is what `forward` returns; of a network that standardises, x is as it is given. Recorded losses of the
        training have this term, those of validation do not. An activation with kinks, such as relu, has no derivatives
        to train beyond its slopes. Not with a stream, a sparse X, dropout, clip_sample_norm, checkpoints, ranks,
        optimizers of full batches, the backend "cuda", and activations and losses of your own.
    derivative_weight : float
        λ.

    Returns
    -------
    History
        Also after Ctrl-C, which ends training with a warning, within 100 ms, or the time of 256 samples where these
        take longer.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; it is named, and the network is as it was.
    DivergenceError
        If a batch's loss or update is not finite; the last finite parameters are in place.

    Notes
    -----
    **A stream** stands in place of X and d for data that do not fit into memory. It gives chunks (X, d) or
    (X, d, weight), anew for every epoch, of arrays or of sparse matrices as X may be. It is one of these:

    - a path to a folder of `.npz` or `.npy` shards, as for `fastbp.Shards`, or to a `.parquet` file or a folder of
      them, as for `fastbp.Parquet`; or one of these two objects;
    - a function that is called for every epoch, and returns an iterable of chunks, such as a generator function;
    - a sequence of chunks, of which every epoch takes each chunk once, or another iterable. An iterator gives its
      chunks once, and will do for ``epochs=1``.

    Batches are those of all rows of an epoch one after another, whatever the sizes of chunks: each has `batch_size`
    rows, also across chunks, and the last one of the epoch has what remains. With ``shuffle=False`` training has the
    bits of the same rows in memory; losses that are recorded with `weighted_mean` may differ by rounding. (For 2^18
    steps of one sample and more, tiny networks get a kernel of their own, which rounds in another way, if it is known
    beforehand how many rows there are: in memory and of files.)

    With shuffling, every epoch takes the chunks of a sequence, a folder or a file in a new order, uniformly; those of
    functions and iterables come as they come. Then `shuffle_buffer` rows at a time, rounded down to whole batches, and
    one batch at least, are put in a uniformly random order, and trained on.

    A thread reads the next rows while training goes on, up to two blocks ahead: of some megabytes, or of
    `shuffle_buffer` rows. So it may ask for chunks that are not trained on. A chunk is copied before the next is asked
    for, which may use the same memory.

    Where the stream raises an exception, or a chunk is not as it has to be, the whole batches before it are trained on.
    Then training ends as by Ctrl-C, with the stop_reason "failed" in the history that callbacks have, and the exception
    is raised. A source that is giving a chunk when training ends is closed when it has given it; `fit` waits up to ten
    seconds for that, and not after Ctrl-C.

    **A checkpoint** is one file with the parameters, the optimizer's state, the generator of seeds, the place in the
    epoch, the history, and the states of callbacks that have one; see `fastbp.training.callbacks`. One is written
    before the first batch, then between two batches or parts of one, at the end, and where training ends early. A
    training that goes on from it in a new process, with the same arguments, ends with the same bits as if it had not
    been interrupted, wherever it was. The network has to have the same shape and functions; its parameters are
    replaced. `epochs` may be another number, of all epochs. What else is different is refused: settings, and data by
    their shapes, their dtypes, and a digest of some rows. On another backend training goes on with the rounding of that
    one. Functions are known by their names alone: metrics, and custom activations and losses. Callbacks without a state
    are not compared.

    A stream begins the epoch anew, and has to give the same chunks as before: those that were trained on are read and
    skipped. A checkpoint that cannot be written later, on a full disk for example, is warned of, and training goes on.
    After training was ended by a callback there is nothing to go on with: the history is returned.

    **On several ranks**, processes of MPI that all call `fit`, each batch is shared, and each rank takes the same step:
    see `fastbp.distributed.DataParallel`, also for ranks that have rows of their own. Parameters, the optimizer's state
    and the generator of seeds are those of rank 0 at the beginning, and the same everywhere at the end. Rank 0 alone
    calls metrics and callbacks, shows progress, and reads and writes checkpoints, from which any number of ranks may go
    on; only `validation_data` may be given to all ranks, or to rank 0. What all have to agree on is compared before the
    first step. Ctrl-C on one rank ends all of them after the same batch. A rank that fails ends the others with a
    `fastbp.distributed.RankError`.

    References
    ----------
    .. [1] Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
       networks from overfitting", 2014.
    .. [2] Czarnecki, Osindero, Jaderberg, Swirszcz and Pascanu, "Sobolev training for neural networks", 2017.

    Examples
    --------
    >>> from fastbp import MLP, Adam
    >>> net = MLP([1, 8, 1], activation="tanh", loss="squared_error", seed=0)
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> history = fit(net, X, X**2, optimizer=Adam(0.01), epochs=200, batch_size=16)
    >>> history["loss"][-1] < 0.01 * history["loss"][0]
    True
    """
    chosen = None if communicator is None else data_parallel(communicator)
    with failing_together(chosen):
        epochs = require_whole("epochs", epochs, at_least=1)
        stream = stream_of(X, epochs) if d is None else None
        samples = None if stream else _own_samples(net, X, d, sample_weight, chosen)
        given = (net, samples, d,
                 _checked_validation(net, validation_data), _checked_metrics(metrics), checked_callbacks(callbacks),
                 require_flag("weighted_mean", weighted_mean))
        run = Run(*given) if chosen is None else RankRun(*given, ranks=chosen)
        batch_size = require_whole("batch_size", batch_size, at_least=1)
        shuffle, replacement = require_flag("shuffle", shuffle), require_flag("replacement", replacement)
        shuffle_buffer = require_whole("shuffle_buffer", shuffle_buffer, at_least=1)
        if stream:
            _require_for_stream(run, replacement, sample_weight)
        progress = None if progress is None else require_flag("progress", progress)
        if isinstance(optimizer, FullBatch):
            require_full_batch(optimizer, net, run.samples, {
                "batch_size": batch_size, "shuffle": shuffle, "replacement": replacement, "seed": seed,
                "optimizer_state": optimizer_state, "clip_sample_norm": clip_sample_norm, "dropout": dropout,
                "shuffle_buffer": shuffle_buffer, "communicator": communicator},
                saves=checkpoint is not None or resume not in (None, False))
            batch_size = MAX_SAMPLES
        else:
            optimizer = checked_optimizer(optimizer)
        if not isinstance(optimizer_state, OptimizerState | None):
            raise TypeError(f"optimizer_state: expected what History.optimizer_state holds, found "
                            f"{shown(optimizer_state)}")
        state = None if isinstance(optimizer, FullBatch) else optimizer.checked_state(net.theta, optimizer_state)
        if seed is not None:
            require_whole("seed", seed, at_least=0)
        require_trainable(net)
        C = checked_clip_norm("clip_sample_norm", clip_sample_norm)
        alpha = require_number("l2_penalty", l2_penalty, at_least=0.0)
        if derivatives is not None:
            _require_for_derivatives(net, run.samples, C, {
                "checkpoint": checkpoint, "resume": resume or None, "communicator": communicator,
                "dropout": dropout if checked_rates(dropout, len(net.widths) - 1).any() else None,
                f"optimizer {type(optimizer).__name__}": optimizer if isinstance(optimizer, FullBatch) else None})
            assert run.samples is not None
            slopes = checked_derivatives(net, derivatives, derivative_weight, len(run.samples.X))
        elif derivative_weight != 1.0:
            raise ValueError(f"derivative_weight: expected derivatives too, of which it is the weight, found "
                             f"{shown(derivative_weight)} alone")
        checkpoints = run.checkpoints(checkpoint, checkpoint_every, resume)
        if checkpoints.are_wanted or chosen is not None:
            run.identify(
                stream, optimizer, batch_size=batch_size, shuffle=shuffle, replacement=replacement,
                clip_sample_norm=C, l2_penalty=alpha, weighted_mean=run.weighted_mean, metrics=list(run.metrics),
                dropout=checked_rates(dropout, len(net.widths) - 1).tolist(),
                shuffle_buffer=shuffle_buffer if stream else None)
        if state is not None:
            run.agree(state, epochs=epochs, seed=seed)
        if checkpoints.saved is not None:
            if optimizer_state is not None:
                raise ValueError("optimizer_state: expected none with resume, which has its own, found one")
            seed = require_fitting(checkpoints.saved, run.identity, seed)
        session: Session | FullBatchSession
        if isinstance(optimizer, FullBatch):
            session = _full_batch_session(run, X, sample_weight, optimizer, epochs, alpha)
        else:
            assert state is not None
            plan = make_plan(net, run.samples, batch_size, shuffle=shuffle, replacement=replacement, seed=seed,
                             clip_norm=C, penalty=alpha, by_weight=run.weighted_mean, loss_share=run.loss_share,
                             dropout=dropout, rows=run.rows)
            if derivatives is not None:
                assert run.samples is not None
                session = DerivativeSession(net, run.samples, plan, optimizer, state, epochs, slopes)
            else:
                session = run.make_session(stream, shuffle_buffer if shuffle else 0, plan, optimizer, state, epochs)
        try:
            return run.train(session, progress, checkpoints)
        finally:
            session.close()


def _full_batch_session(run: Run, X: Any, sample_weight: Any, optimizer: FullBatch, epochs: int,
                        penalty: float) -> FullBatchSession:
    """The session of a training on all samples at once."""
    assert run.samples is not None
    divisor = run.divisor_of(run.samples.weights, len(run.samples.X))
    if isinstance(optimizer, LBFGS):
        return LBFGSSession(run.net, run.samples, optimizer, epochs, penalty, divisor)
    assert isinstance(optimizer, LevenbergMarquardt)
    if run.validation and optimizer.max_fail:
        run.callbacks.insert(0, MaxFail(optimizer.max_fail))
    return LevenbergMarquardtSession(run.net, X, run.d, sample_weight, optimizer, epochs, penalty, divisor)


def checked_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """The optimizer, or SGD(0.1)."""
    if optimizer is None:
        return SGD(0.1)
    if not isinstance(optimizer, Optimizer) or type(optimizer) is Optimizer:
        raise TypeError(f"optimizer: expected {names_of_optimizers()} with its settings, found {shown(optimizer)}")
    return optimizer


def require_trainable(net: Network) -> None:
    """Refuse parameters that are read-only or not finite."""
    net.require_writeable()
    if not math.isfinite(largest_magnitude(net.theta_on_host())):
        raise ValueError("theta: expected finite parameters to train from, found NaN or infinity")


def _own_samples(net: Network, X: Any, d: Any, sample_weight: Any, ranks: DataParallel | None) -> Samples:
    """The samples of this process, of which one of several ranks may have none."""
    if ranks is not None and ranks.shards and getattr(X, "shape", None) == (0, net.widths[0]):
        return no_samples(net)
    return training_samples(net, X, d, sample_weight)


def training_samples(net: Network, X: Any, d: Any, sample_weight: Any) -> Samples:
    """The samples of a training, as kernels take them, with labels of their own."""
    samples = net.checked_samples(X, d, sample_weight)
    if len(samples.X) > MAX_SAMPLES:
        raise ValueError(f"X: expected at most {MAX_SAMPLES} samples, found {len(samples.X)}")
    if isinstance(samples.labels, np.ndarray):  # a callback might write others: unchecked indices
        samples = samples._replace(labels=samples.labels.copy())
    return samples


def _require_for_stream(run: Run, replacement: bool, sample_weight: Any) -> None:
    """Refuse what takes all samples at once."""
    if replacement:
        raise ValueError("replacement: expected False for a stream, whose samples come once in an epoch, found True")
    if sample_weight is not None:
        raise ValueError("sample_weight: expected none for a stream, whose chunks are (X, d, weight), found weights")
    if run.metrics and run.validation is None:
        raise ValueError("metrics: expected validation_data too, because with a stream they are evaluated on these "
                         "alone, found none")


def _require_for_derivatives(net: Network, samples: Samples | None, clip_norm: float, given: dict[str, Any]) -> None:
    """Refuse what does not go with training on derivatives.

    given : arguments that have to be None.
    """
    found = {"a stream": samples is None, "clip_sample_norm": clip_norm > 0.0,
             "a sparse X": samples is not None and isinstance(samples.X, CsrRows),
             **{name: value is not None for name, value in given.items()}}
    for name, is_given in found.items():
        if is_given:
            raise ValueError(f"derivatives: expected none with {name}, found both")
    if not isinstance(net, Derivatives):
        raise TypeError(f"derivatives: expected an MLP to train, found {shown(net)}")
    net.require_second_derivatives()


def _checked_validation(net: Network, validation_data: tuple[Any, ...] | None) -> tuple[Samples, Any] | None:
    if validation_data is None:
        return None
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError(f"validation_data: expected (X, d) or (X, d, sample_weight), found {shown(validation_data)}")
    X, d, weight = (*validation_data, None)[:3]
    try:
        return training_samples(net, X, d, weight), d
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError  # theirs may take other arguments
        raise kind(f"validation_data: {error}") from None


def _checked_metrics(metrics: Mapping[str, Callable[..., float]] | None) -> dict[str, Callable[..., float]]:
    if not isinstance(metrics, Mapping | None):
        raise TypeError(f"metrics: expected a mapping of names to callables, found {shown(metrics)}")
    given = {} if metrics is None else dict(metrics)
    for name, metric in given.items():
        if not isinstance(name, str):
            raise TypeError(f"metrics: expected names as keys, found {shown(name)}")
        if not callable(metric):
            raise TypeError(f"metrics: expected a callable for {shown(name)}, found {shown(metric)}")
        if name in ("loss", "accuracy") or name.startswith("validation_"):
            raise ValueError(f"metrics: expected names that the history does not use itself, found {shown(name)}")
    return given
