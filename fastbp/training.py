"""Training: batches, epochs, and what happens between them."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import backends, threads
from .backends import samples_in_a_piece
from .backends.training_loop import DIVERGED, EPOCH, POSITION, REACH, STEP, Plan, Progress, start_progress
from .history import History
from .inputs import Samples, require_whole
from .network import MLP
from .optimizers import SGD, DivergenceError, Optimizer
from .pace import Pace
from .progress_bar import ProgressBar
from .sample_gradients import checked_clip_norm
from .sampling import IN_ORDER, MAX_SAMPLES, WITH_REPLACEMENT, WITHOUT_REPLACEMENT
from .updates import OptimizerSpec, OptimizerState, is_plain_descent


def fit(net: MLP, X: Any, d: Any, *, optimizer: Optimizer | None = None, epochs: int = 10, batch_size: int = 128,
        shuffle: bool = True, replacement: bool = False, sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None, metrics: Mapping[str, Callable[..., float]] | None = None,
        callbacks: Sequence[Callable[..., Any]] = (), progress: bool | None = None, seed: int | None = None,
        optimizer_state: OptimizerState | None = None, clip_sample_norm: float | None = None) -> History:
    """Train a network: for every batch S, θ moves against the mean gradient ∇E(W; S) / |S|.

    Parameters
    ----------
    net : MLP
        Its parameters are trained in place; its running gradient is zero afterwards.
    X : array_like (n, N_0)
        Converted once if it is not a C-contiguous array of the network's dtype; otherwise, memory-mapped or not, it is
        read where it lies.
    d : array_like
        Labels (n,) or targets (n, N_L), as for `MLP.loss_value`.
    optimizer : Optimizer
        SGD(0.1) if not given.
    epochs : int
        How many times the data are gone through.
    batch_size : int
        |S|; the last batch of an epoch has what remains, and its gradient is divided by that.
    shuffle : bool
        Whether every epoch takes the samples in a new order, uniformly without replacement.
    replacement : bool
        Whether the n samples of an epoch are drawn independently instead.
    sample_weight : array_like (n,), optional
        The batch's gradient is Σ w_i ∇L_i / |S|, and the recorded loss Σ w_i L_i / n.
    validation_data : (X, d) or (X, d, sample_weight), optional
        Evaluated after every epoch.
    metrics : mapping of str to callable, optional
        Each function of (d, Y) is evaluated after every epoch on the training data, under its name, and on the
        validation data, under "validation_…"; each data set costs a forward pass.
    callbacks : sequence of callables
        Called after every epoch as callback(net, history); training stops when one returns True. See
        `fastbp.EarlyStopping`.
    progress : bool or None
        A progress bar on a terminal: None shows one if tqdm is installed, True insists, False shows none.
    seed : int, optional
        Of the order of samples; drawn from the network's generator if not given.
    optimizer_state : OptimizerState, optional
        Where an earlier training ended (`History.optimizer_state`), to go on from there; updated in place.
    clip_sample_norm : float, optional
        C, to which every sample's gradient is clipped: the batch's is Σ_s min(1, C / ‖g_s‖) g_s / |S|, g_s = w_s ∇L_s.
        An optimizer's clip_norm clips that sum.

    Returns
    -------
    History
        Also after Ctrl-C, which ends training within 100 ms, with a warning.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; it is named, and the network is as it was.
    DivergenceError
        If a batch's loss or update is not finite; the last finite parameters are in place.

    Examples
    --------
    >>> from fastbp import Adam
    >>> net = MLP([1, 8, 1], activation="tanh", loss="squared_error", seed=0)
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> history = fit(net, X, X**2, optimizer=Adam(0.01), epochs=200, batch_size=16)
    >>> history["loss"][-1] < 0.01 * history["loss"][0]
    True
    """
    run = _Run(net, checked_samples(net, X, d, sample_weight), d, _checked_validation(net, validation_data),
               _checked_metrics(metrics), _checked_callbacks(callbacks))
    epochs = require_whole("epochs", epochs, at_least=1)
    batch_size = require_whole("batch_size", batch_size, at_least=1)
    optimizer = checked_optimizer(optimizer)
    if not isinstance(optimizer_state, OptimizerState | None):
        raise TypeError(f"optimizer_state: expected what History.optimizer_state holds, found {optimizer_state!r}")
    state = optimizer.start(net.theta) if optimizer_state is None else optimizer_state
    optimizer.require_state(state, net.theta)
    if seed is not None:
        require_whole("seed", seed, at_least=0)
    require_finite_parameters(net)
    C = checked_clip_norm("clip_sample_norm", clip_sample_norm)
    plan = make_plan(net, len(run.samples.X), batch_size, shuffle, replacement, seed, C)
    return _train(run, plan, optimizer, state, epochs, progress)


def make_plan(net: MLP, n: int, batch_size: int, shuffle: bool, replacement: bool, seed: int | None,
              clip_norm: float) -> Plan:
    """How a network is to go through n samples; a seed that is not given is drawn from the network's generator."""
    sampling = WITH_REPLACEMENT if replacement else WITHOUT_REPLACEMENT if shuffle else IN_ORDER
    order_seed = (net.draw_seed() if seed is None else seed) % 2**63
    piece = samples_in_a_piece(net.backend_module, net.layout, net.dtype)
    return Plan(min(batch_size, n), piece, sampling, order_seed, clip_norm)


def specialised(work: Any, net: MLP, plan: Plan, spec: OptimizerSpec, steps: int) -> Any:
    """A workspace with what is worth compiling for so many steps of this network, if they are plain descent."""
    plain = is_plain_descent(spec) and plan.clip_norm == 0.0 and net.is_built_in
    return net.backend_module.specialised(work, net.widths, net.activations, net.loss, net.dtype, plan.batch_size,
                                          steps if plain else 0)


def checked_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """The optimizer, or SGD(0.1)."""
    if optimizer is None:
        return SGD(0.1)
    if not isinstance(optimizer, Optimizer) or type(optimizer) is Optimizer:
        raise TypeError(f"optimizer: expected SGD, RMSprop, Adam or AdamW with its settings, found {optimizer!r}")
    return optimizer


def require_finite_parameters(net: MLP) -> None:
    """Refuse a network that training could only leave as it is."""
    if not np.isfinite(net.theta).all():
        raise ValueError("theta: expected finite parameters to train from, found NaN or infinity")


class _Run(NamedTuple):
    """What stays the same from slice to slice."""

    net: MLP
    samples: Samples
    d: Any
    validation: tuple[Samples, Any] | None
    metrics: dict[str, Callable[..., float]]
    callbacks: list[Callable[..., Any]]


def checked_samples(net: MLP, X: Any, d: Any, sample_weight: Any) -> Samples:
    """The samples of a training as kernels take them."""
    samples = net.checked_samples(X, d, sample_weight)
    if len(samples.X) > MAX_SAMPLES:
        raise ValueError(f"X: expected at most {MAX_SAMPLES} samples, found {len(samples.X)}")
    return samples


def _checked_validation(net: MLP, validation_data: tuple[Any, ...] | None) -> tuple[Samples, Any] | None:
    if validation_data is None:
        return None
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError(f"validation_data: expected (X, d) or (X, d, sample_weight), found {type(validation_data)}")
    X, d, weight = (*validation_data, None)[:3]
    try:
        return checked_samples(net, X, d, weight), d
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None


def _checked_metrics(metrics: Mapping[str, Callable[..., float]] | None) -> dict[str, Callable[..., float]]:
    if not isinstance(metrics, Mapping | None):
        raise TypeError(f"metrics: expected a mapping of names to callables, found {metrics!r}")
    for name, metric in (metrics or {}).items():
        if not callable(metric):
            raise TypeError(f"metrics: expected a callable for {name!r}, found {metric!r}")
        if name in ("loss", "accuracy") or name.startswith("validation_"):
            raise ValueError(f"metrics: expected names that the history does not use itself, found {name!r}")
    return dict(metrics or {})


def _checked_callbacks(callbacks: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks: expected a sequence of callables, found {callbacks!r}")
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks: expected callables, found {callback!r}")
    return list(callbacks)


def _train(run: _Run, plan: Plan, optimizer: Optimizer, state: OptimizerState, epochs: int,
           progress_wanted: bool | None) -> History:
    """Slices of compiled training until all epochs are done, a callback stops them, or Ctrl-C."""
    net, n = run.net, len(run.samples.X)
    progress = start_progress(n, epochs, in_order=plan.sampling == IN_ORDER)
    history = History()
    history.optimizer_state = state
    observed = bool(run.validation or run.metrics or run.callbacks)
    spec = optimizer.spec()
    net.zero_grad()
    begin = time.perf_counter()
    pace = Pace(backends.SLICE_SECONDS)
    try:
        _call_if_there(run.callbacks, "start", net)
        with (ProgressBar(progress_wanted, epochs * n, "samples") as bar,
              net.workspace(min(plan.batch_size, plan.piece)) as room):
            work = specialised(room, net, plan, spec, epochs * n // plan.batch_size)
            while history.epochs < epochs and history.stop_reason == "epochs":
                slice_begin = time.perf_counter()
                until = history.epochs + 1 if observed else epochs
                before = samples_done(progress, n)
                with threads.allowed() as count:
                    team, budget = pace.next_slice(count)
                    status = net.backend_module.train(net.theta, net.grad, net.layout, run.samples, plan, spec, state,
                                                      progress, until, budget, work, team)
                pace.learn(team, time.perf_counter() - slice_begin, samples_done(progress, n) - before)
                _record_epochs(run, progress, history)
                if status == DIVERGED:
                    raise divergence(progress, history)
                bar.show(samples_done(progress, n), _text_of(history, epochs))
    except KeyboardInterrupt:
        record_losses(net, n, progress, history)
        history.stop_reason = "interrupted"
        warnings.warn(f"training was interrupted in epoch {history.epochs}; the network and the history so far are "
                      f"usable", RuntimeWarning, stacklevel=4)
    finally:
        net.zero_grad()
        history.samples = samples_done(progress, n)
        history.seconds = time.perf_counter() - begin
    _call_if_there(run.callbacks, "finish", net)
    return history


def _text_of(history: History, epochs: int) -> str:
    """For the progress bar: the epoch that has begun, and the loss of the last one."""
    text = f"epoch {min(history.epochs + 1, epochs)}/{epochs}"
    return f"{text}, loss {history['loss'][-1]:.4g}" if history.epochs else text


def samples_done(progress: Progress, n: int) -> int:
    """How many samples training has gone through."""
    return int(progress.counts[EPOCH]) * n + int(progress.counts[POSITION])


def _record_epochs(run: _Run, progress: Progress, history: History) -> None:
    """Put the epochs completed since the last call into the history, and show the last to validation and callbacks.

    Where there is something to show them to, a slice ends with its epoch, so that the last is the only one.
    """
    before = history.epochs
    record_losses(run.net, len(run.samples.X), progress, history)
    if history.epochs == before:
        return
    net = run.net
    if run.validation is not None:
        validation, d = run.validation
        E, accuracy = net.evaluate_samples(validation)
        history.record("validation_loss", E / len(validation.X))
        if net.loss_record.is_classification:
            history.record("validation_accuracy", accuracy)
        _record_metrics(run.metrics, "validation_", d, net, validation.X, history)
    _record_metrics(run.metrics, "", run.d, net, run.samples.X, history)
    wishes = [callback(net, history) for callback in run.callbacks]
    if any(wish is True for wish in wishes):
        history.stop_reason = "callback"
    net.zero_grad()  # a callback may have used the running gradient,
    progress.sums[REACH] = -1.0  # and written to theta


def record_losses(net: MLP, n: int, progress: Progress, history: History) -> None:
    """Put what compiled code saw of the epochs completed since the last call into the history."""
    for epoch in range(history.epochs, int(progress.counts[EPOCH])):
        history.record("loss", progress.loss[epoch])
        if net.loss_record.is_classification:
            history.record("accuracy", progress.correct[epoch] / n)


def _record_metrics(metrics: Mapping[str, Callable[..., float]], prefix: str, d: Any, net: MLP, X: np.ndarray,
                    history: History) -> None:
    if metrics:
        Y = net.forward(X)
        for name, metric in metrics.items():
            history.record(prefix + name, metric(d, Y))


def divergence(progress: Progress, history: History) -> DivergenceError:
    """What to raise where the compiled loop says DIVERGED."""
    epoch, step = int(progress.counts[EPOCH]), int(progress.counts[STEP])
    reason = "loss" if not math.isfinite(progress.sums[0]) else "update"
    return DivergenceError(
        f"the {reason} is not finite in epoch {epoch}, step {step} (both counted from 0); the last finite parameters "
        f"are in place. Try a smaller learning rate, clip_norm, or standardised inputs", epoch, step, history)


def _call_if_there(callbacks: Sequence[Callable[..., Any]], method: str, net: MLP) -> None:
    for callback in callbacks:
        if hasattr(callback, method):
            getattr(callback, method)(net)
