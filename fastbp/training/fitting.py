"""`fit`: batches, epochs, and what is called between epochs."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.training_loop import DIVERGED, RUNNING
from ..checks.arguments import checked_clip_norm, checked_rates, require_flag, require_number, require_whole
from ..checks.arrays import largest_magnitude
from ..checks.messages import shown
from ..checks.samples import Samples, total_weight
from ..checks.saved import Saved
from ..checks.sparse_rows import CsrRows
from ..compiling.interrupts import held_back
from ..derivatives import Derivatives
from ..formulas.sampling import MAX_SAMPLES
from ..network import Network
from ..optimizers.optimizer import Optimizer
from ..optimizers.settings import SGD, names_of_optimizers
from ..optimizers.updates import OptimizerState
from ..streams.sources import stream_of
from .callbacks import ask_to_stop, checked_callbacks, finish_all, has_state, restore_all, start_all, states_of
from .checkpoints import (
    Checkpoints,
    Path,
    data_values,
    network_values,
    optimizer_values,
    require_fitting,
    restored_generator,
    stream_values,
)
from .derivatives import DerivativeSession, checked_derivatives
from .history import History
from .progress_bar import ProgressBar
from .session import Session, make_plan
from .streaming import FAILED, StreamSession


def fit(net: Network, X: Any, d: Any = None, *, optimizer: Optimizer | None = None, epochs: int = 10,
        batch_size: int = 128, shuffle: bool = True, replacement: bool = False, sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None, metrics: Mapping[str, Callable[..., float]] | None = None,
        callbacks: Sequence[Callable[..., Any]] = (), progress: bool | None = None, seed: int | None = None,
        optimizer_state: OptimizerState | None = None, clip_sample_norm: float | None = None, l2_penalty: float = 0.0,
        weighted_mean: bool = False, dropout: float | Sequence[float] | None = None, shuffle_buffer: int = 2**14,
        checkpoint: Path | None = None, checkpoint_every: float | str = 60.0,
        resume: Path | bool | None = None, derivatives: Any = None, derivative_weight: float = 1.0) -> History:
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
    optimizer : Optimizer
        SGD(0.1) if not given.
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
    derivatives : array_like (n, N_L, N_0), optional
        Targets D of J = ∂y/∂x, J_ij = ∂y_i/∂x_j, such as forces or slopes that were measured. To the E of every batch
        ½ λ Σ_s w_s ‖J_s - D_s‖² is added [2]_, and its gradient is exact: one more pass forward and back for every
        input. y is what `forward` returns; of a network that standardises, x is as it is given. Recorded losses of the
        training have this term, those of validation do not. An activation with kinks, such as relu, has no derivatives
        to train beyond its slopes. Not with a stream, a sparse X, dropout, clip_sample_norm, checkpoints, the backend
        "cuda", and activations and losses of your own.
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
    epochs = require_whole("epochs", epochs, at_least=1)
    stream = stream_of(X, epochs) if d is None else None
    run = _Run(net, None if stream else training_samples(net, X, d, sample_weight), d,
               _checked_validation(net, validation_data), _checked_metrics(metrics), checked_callbacks(callbacks),
               require_flag("weighted_mean", weighted_mean))
    batch_size = require_whole("batch_size", batch_size, at_least=1)
    shuffle, replacement = require_flag("shuffle", shuffle), require_flag("replacement", replacement)
    shuffle_buffer = require_whole("shuffle_buffer", shuffle_buffer, at_least=1)
    if stream:
        _require_for_stream(run, replacement, sample_weight)
    progress = None if progress is None else require_flag("progress", progress)
    optimizer = checked_optimizer(optimizer)
    if not isinstance(optimizer_state, OptimizerState | None):
        raise TypeError(f"optimizer_state: expected what History.optimizer_state holds, found {shown(optimizer_state)}")
    state = optimizer.checked_state(net.theta, optimizer_state)
    if seed is not None:
        require_whole("seed", seed, at_least=0)
    require_trainable(net)
    C = checked_clip_norm("clip_sample_norm", clip_sample_norm)
    alpha = require_number("l2_penalty", l2_penalty, at_least=0.0)
    checkpoints = Checkpoints(checkpoint, checkpoint_every, resume, "training")
    if checkpoints.are_wanted:
        run.identity = _identity(
            run, stream, optimizer, batch_size=batch_size, shuffle=shuffle, replacement=replacement,
            clip_sample_norm=C, l2_penalty=alpha, weighted_mean=run.weighted_mean, metrics=list(run.metrics),
            dropout=checked_rates(dropout, len(net.widths) - 1).tolist(),
            shuffle_buffer=shuffle_buffer if stream else None)
    if checkpoints.saved is not None:
        if optimizer_state is not None:
            raise ValueError("optimizer_state: expected none with resume, which has its own, found one")
        seed = require_fitting(checkpoints.saved, run.identity, seed)
    if derivatives is not None:
        _require_for_derivatives(net, run.samples, checkpoint, resume, C, dropout)
        assert run.samples is not None
        slopes = checked_derivatives(net, derivatives, derivative_weight, len(run.samples.X))
    plan = make_plan(net, run.samples, batch_size, shuffle=shuffle, replacement=replacement, seed=seed, clip_norm=C,
                     penalty=alpha, by_weight=run.weighted_mean, loss_share=run.loss_share, dropout=dropout)
    session: Session
    if run.samples and derivatives is not None:
        session = DerivativeSession(net, run.samples, plan, optimizer, state, epochs, slopes)
    elif run.samples:
        session = Session(net, run.samples, plan, optimizer, state, epochs)
    else:
        assert stream is not None
        session = StreamSession(net, stream, shuffle_buffer if shuffle else 0, plan, optimizer, state, epochs)
    try:
        return _train(run, session, progress, checkpoints)
    finally:
        session.close()


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


def _identity(run: "_Run", stream: Any, optimizer: Optimizer, **settings: Any) -> dict[str, Any]:
    """What a training is, so that only the same one goes on from its checkpoints."""
    to_host = run.net.backend_module.memory.to_host
    data = data_values(run.samples, to_host) if run.samples else stream_values(stream)
    return {"network": network_values(run.net), "optimizer": optimizer_values(optimizer), "settings": settings,
            "data": data, "validation_data": run.validation and data_values(run.validation[0], to_host)}


@dataclass
class _Run:
    """The checked arguments of a call of `fit`."""

    net: Network
    samples: Samples | None  # None for a stream
    d: Any
    validation: tuple[Samples, Any] | None
    metrics: dict[str, Callable[..., float]]
    callbacks: list[Callable[..., Any]]
    weighted_mean: bool
    identity: dict[str, Any] = field(default_factory=dict)  # for checkpoints

    def values(self, session: Session) -> dict[str, Any]:
        """The whole training, for a checkpoint; an epoch that not all callbacks have seen is to be recorded again."""
        epochs = session.epochs_shown if self.is_observed else session.history.epochs
        return self.identity | {
            "seed": session.plan.seed, "generator": self.net.generator_state,
            "history": session.history.state(epochs), "training": session.values(epochs),
            "callbacks": states_of(self.callbacks)}

    def begin(self, session: Session, saved: Saved | None) -> None:
        """Begin anew, or go on from a checkpoint: in that case the network is changed last."""
        if saved is None:
            start_all(self.callbacks, self.net, session.history)
            return
        history = session.history
        generator = restored_generator(saved)
        history.restore(saved.part("history"))
        restore_all(self.callbacks, saved.part("callbacks"), history)
        session.resume(saved.part("training"))
        self.net.draw_from(generator)
        session.epochs_recorded = session.epochs_shown = history.epochs
        if history.stop_reason in ("interrupted", "failed"):
            history.stop_reason = "epochs"
        start_all([callback for callback in self.callbacks if not has_state(callback)], self.net, history)

    @property
    def is_observed(self) -> bool:
        """Whether validation, metrics or callbacks take the network after every epoch."""
        return bool(self.validation or self.metrics or self.callbacks)

    @cached_property
    def validation_divisor(self) -> float:
        """n, or Σ w with `weighted_mean`, of the validation data."""
        assert self.validation is not None
        return self.divisor_of(self.validation[0])

    @property
    def loss_share(self) -> float:
        """n over the divisor of the training samples; 1 of a stream, whose epochs are divided when they end."""
        return 1.0 if self.samples is None else len(self.samples.X) / self.divisor_of(self.samples)

    def divisor_of(self, samples: Samples) -> float:
        """n, or Σ w with `weighted_mean`: the sum of the losses over this is recorded."""
        n = len(samples.X)
        if not self.weighted_mean:
            return float(n)
        return total_weight(self.net.backend_module.memory.to_host(samples.weights), n)


def training_samples(net: Network, X: Any, d: Any, sample_weight: Any) -> Samples:
    """The samples of a training, as kernels take them, with labels of their own."""
    samples = net.checked_samples(X, d, sample_weight)
    if len(samples.X) > MAX_SAMPLES:
        raise ValueError(f"X: expected at most {MAX_SAMPLES} samples, found {len(samples.X)}")
    if isinstance(samples.labels, np.ndarray):  # a callback might write others: unchecked indices
        samples = samples._replace(labels=samples.labels.copy())
    return samples


def _require_for_stream(run: _Run, replacement: bool, sample_weight: Any) -> None:
    """Refuse what takes all samples at once."""
    if replacement:
        raise ValueError("replacement: expected False for a stream, whose samples come once in an epoch, found True")
    if sample_weight is not None:
        raise ValueError("sample_weight: expected none for a stream, whose chunks are (X, d, weight), found weights")
    if run.metrics and run.validation is None:
        raise ValueError("metrics: expected validation_data too, because with a stream they are evaluated on these "
                         "alone, found none")


def _require_for_derivatives(net: Network, samples: Samples | None, checkpoint: Any, resume: Any, clip_norm: float,
                             dropout: Any) -> None:
    """Refuse what does not go with training on derivatives."""
    found = {"a stream": samples is None, "checkpoint": checkpoint is not None, "resume": resume not in (None, False),
             "clip_sample_norm": clip_norm > 0.0, "dropout": dropout is not None and bool(np.any(dropout)),
             "a sparse X": samples is not None and isinstance(samples.X, CsrRows)}
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
    for name, metric in (metrics or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"metrics: expected names as keys, found {shown(name)}")
        if not callable(metric):
            raise TypeError(f"metrics: expected a callable for {shown(name)}, found {shown(metric)}")
        if name in ("loss", "accuracy") or name.startswith("validation_"):
            raise ValueError(f"metrics: expected names that the history does not use itself, found {shown(name)}")
    return dict(metrics or {})


def _train(run: _Run, session: Session, progress_wanted: bool | None, checkpoints: Checkpoints) -> History:
    """The history after slices of compiled training, until all epochs are done, a callback stops them, or Ctrl-C."""
    net, history, epochs = run.net, session.history, session.epochs
    run.begin(session, checkpoints.saved)
    status = RUNNING

    def values() -> dict[str, Any]:
        return run.values(session)

    try:
        with (ProgressBar(progress_wanted, session.samples_in_all, "samples") as bar,
              session.workspace() as work):
            checkpoints.begin(values, session.epochs_done)
            _record_epochs(run, session)  # one that was done already
            while history.epochs < epochs and history.stop_reason == "epochs" and status not in (DIVERGED, FAILED):
                status = session.advance(work, history.epochs + 1 if run.is_observed else epochs)
                _record_epochs(run, session)
                bar.show(session.samples_done, _text_of(history, epochs), session.samples_in_all)
                if checkpoints.is_due(session.epochs_done) and status not in (DIVERGED, FAILED):
                    checkpoints.write(values, session.epochs_done)
        if status != DIVERGED:
            checkpoints.write(values, session.epochs_done)
    except KeyboardInterrupt:
        with held_back():  # once is enough: what was trained is kept, however often Ctrl-C is pressed
            _end_early(run, session, checkpoints, "interrupted")
        warnings.warn(f"training was interrupted in epoch {history.epochs}; the network and the history so far are "
                      f"usable", RuntimeWarning, stacklevel=4)
    except BaseException:
        _end_early(run, session, checkpoints, "failed")
        raise
    finally:
        session.finish()
    failure = session.failure(status)
    finish_all(run.callbacks, net)
    if failure is not None:
        raise failure
    return history


def _end_early(run: _Run, session: Session, checkpoints: Checkpoints, reason: str) -> None:
    """Leave whole epochs in the history, and write a checkpoint."""
    session.record()
    if run.is_observed:
        session.history.keep(session.epochs_recorded)
    session.history.stop_reason = reason
    checkpoints.write(lambda: run.values(session), session.epochs_done)


def _text_of(history: History, epochs: int) -> str:
    """The text of the progress bar: the present epoch, and the loss of the one before."""
    text = f"epoch {min(history.epochs + 1, epochs)}/{epochs}"
    return f"{text}, loss {history['loss'][-1]:.4g}" if history.epochs else text


def _record_epochs(run: _Run, session: Session) -> None:
    """Record the epochs completed since the last call, with validation and metrics after the last, and call callbacks.

    Where there are any of these, a slice ends with its epoch, so that it has completed one epoch at most.
    """
    net, history = run.net, session.history
    session.record()
    if history.epochs == session.epochs_recorded or not run.is_observed:
        return
    if run.validation is not None:
        validation, d = run.validation
        E, accuracy = net.evaluate_samples(validation)
        history.record("validation_loss", E / run.validation_divisor)
        if net.loss_record.is_classification:
            history.record("validation_accuracy", accuracy)
        _record_metrics(run.metrics, "validation_", d, net, validation, history)
    if run.samples is not None:
        _record_metrics(run.metrics, "", run.d, net, run.samples, history)
    session.epochs_recorded = history.epochs
    if run.callbacks:
        session.write_state()
    if ask_to_stop(run.callbacks, net, history):
        history.stop_reason = "callback"
    session.epochs_shown = history.epochs
    session.theta_may_have_changed()


def _record_metrics(metrics: Mapping[str, Callable[..., float]], prefix: str, d: Any, net: Network, samples: Samples,
                    history: History) -> None:
    """Record each metric of (d, Y), under its name after the prefix."""
    if metrics:
        Y = net.backend_module.memory.result(net.forward_samples(samples), d)  # as d is, on the device or not
        for name, metric in metrics.items():
            history.record(prefix + name, _require_scalar(name, metric(d, Y)))


def _require_scalar(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"metrics: expected a number from {shown(name)}, found {shown(value)}") from None
