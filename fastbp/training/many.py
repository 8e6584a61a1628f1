"""Many networks at once: every thread trains one network after another, each as `fit` does alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from ..backends.memory import HOST
from ..checks.arguments import checked_clip_norm, checked_rates, require_flag, require_whole
from ..checks.messages import shown
from ..checks.samples import Samples
from ..checks.sparse_rows import is_sparse
from ..network import Network
from ..optimizers.optimizer import Optimizer
from .checkpoints import Checkpoints, Path, data_values, network_values, optimizer_values, require_fitting
from .fitting import checked_optimizer, require_trainable, training_samples
from .history import History
from .progress_bar import ProgressBar
from .snapshots import saved_networks
from .trainers import Task, Trainer
from .workers import TrainerOnWorkers


def fit_many(nets: Sequence[Network], X: Any, d: Any, *,
             optimizer: Optimizer | Sequence[Optimizer | None] | None = None, epochs: int = 10, batch_size: int = 128,
             shuffle: bool = True, replacement: bool = False, sample_weight: Any = None,
             seeds: Sequence[int | None] | None = None, progress: bool | None = None,
             clip_sample_norm: float | None = None, dropout: float | Sequence[float] | None = None,
             checkpoint: Path | None = None, checkpoint_every: float | str = 60.0,
             resume: Path | bool | None = None, executor: Executor | None = None) -> list[History]:
    """Train networks side by side, one per thread at a time: ensembles, sweeps, one model for each of many things.

    Each has the bits that `MLP.fit` gives it alone. A network that diverges keeps its last finite parameters and does
    not disturb the others.

    Parameters
    ----------
    nets : sequence of MLP
        All different objects; they may differ in everything. On the processor: one with the backend "cuda" has the
        whole GPU to itself in `MLP.fit`.
    X : array_like or sparse matrix (n, N_0), or list of them
        Samples for all networks, or a list with an array for each network.
    d : array_like, or list of arrays
        Labels (n,) or targets (n, N_L) as for `MLP.fit`, for all networks, or a list with an array for each.
    optimizer : Optimizer or list of them
        For all networks, or one for each; SGD(0.1) if not given or None.
    epochs, batch_size, shuffle, replacement
        As for `MLP.fit`.
    sample_weight : array_like (n,), or list of arrays, optional
        For all networks, or a list with an array or None for each.
    seeds : sequence of int, optional
        Of the order of samples, one for each network; drawn from its generator if not given or None.
    progress : bool or None
        A progress bar that counts networks, as for `MLP.fit`.
    clip_sample_norm : float, optional
    dropout : float or sequence of floats, optional
        As for `MLP.fit`, for all networks.
    checkpoint, checkpoint_every, resume
        As for `MLP.fit`. One file has all networks: those that are done, those that are being trained, and those that
        wait. Epochs are counted on average over the networks.
    executor : concurrent.futures.Executor, optional
        Whose workers train in place of threads, one network at a time each, on one thread: a ``ProcessPoolExecutor``, a
        pool of loky or of mpi4py, Dask's ``client.get_executor()``. It stays open. Networks go to it in small groups.
        Arrays that several networks share are mapped by workers from a file, their own or one of a temporary folder;
        where a worker does not find it, they are sent to it. Checkpoints are written here, of networks that are done.
        Networks and optimizers have to be such that they can be pickled. A program that starts processes needs its
        ``if __name__ == "__main__":``.

    Returns
    -------
    histories : list of History
        In the order of the networks, also after Ctrl-C, however often it is pressed. ``stop_reason`` is "epochs",
        "diverged", or after Ctrl-C "interrupted"; ``seconds`` is the network's own time.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; it is named, with the place of the network, and all networks are as they
        were.
    RuntimeError
        If a network is being trained in another thread.
    WorkerError
        If networks were not trained because a worker has failed; it names them. The others are trained. Where the
        executor is broken then, as a ``ProcessPoolExecutor`` is, that is all it had left.
    OSError
        If samples cannot be written to the temporary folder, before any network is trained.

    Warns
    -----
    RuntimeWarning
        If networks diverged, or training was interrupted.

    Examples
    --------
    >>> from fastbp import MLP, Adam
    >>> nets = [MLP([1, 16, 1], activation="tanh", loss="squared_error", seed=seed) for seed in range(8)]
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> histories = fit_many(nets, X, np.sin(3 * X), optimizer=Adam(0.01), epochs=200, batch_size=16)
    >>> max(history["loss"][-1] for history in histories) < 0.01
    True
    >>> from concurrent.futures import ThreadPoolExecutor  # as any other executor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     histories = fit_many(nets, X, np.sin(3 * X), epochs=2, executor=executor)
    >>> [history.epochs for history in histories]
    [2, 2, 2, 2, 2, 2, 2, 2]
    """
    nets = _checked_nets(nets)
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"executor: expected a concurrent.futures.Executor, found {shown(executor)}")
    epochs = require_whole("epochs", epochs, at_least=1)
    batch_size = require_whole("batch_size", batch_size, at_least=1)
    shuffle, replacement = require_flag("shuffle", shuffle), require_flag("replacement", replacement)
    progress = None if progress is None else require_flag("progress", progress)
    clip_norm = checked_clip_norm("clip_sample_norm", clip_sample_norm)
    optimizers = _for_each("optimizer", optimizer, len(nets), lambda element: True)
    order_seeds = [None] * len(nets) if seeds is None else _one_each("seeds", seeds, len(nets))
    given = [_for_each(name, value, len(nets), _is_data)
             for name, value in (("X", X), ("d", d), ("sample_weight", sample_weight))]
    checkpoints = Checkpoints(checkpoint, checkpoint_every, resume, "trainings")
    saved = None if checkpoints.saved is None else saved_networks(checkpoints.saved, len(nets))
    settings = {"batch_size": batch_size, "shuffle": shuffle, "replacement": replacement,
                "clip_sample_norm": clip_norm}
    seen: dict[tuple[Any, ...], Samples] = {}
    data: dict[tuple[Any, ...], dict[str, Any]] = {}
    tasks = []
    for place, net in enumerate(nets):
        X_p, d_p, weight_p = (values[place] for values in given)
        key = (id(X_p), id(d_p), id(weight_p), net.dtype, net.widths[0], net.widths[-1], net.loss,
               net.standardization and net.standardization.key)
        try:
            if net.backend_module.memory is not HOST:
                raise ValueError(f"expected a backend that runs on the processor, found {net.backend!r}; train it with "
                                 f"fit")
            if key not in seen:  # what several networks share is checked and converted once
                seen[key] = training_samples(net, X_p, d_p, weight_p)
            chosen = checked_optimizer(optimizers[place])
            chosen.require_settings(net.dtype)
            require_trainable(net)
            rates, seed, identity = checked_rates(dropout, len(net.widths) - 1), order_seeds[place], {}
            if seed is not None:
                require_whole("seeds", seed, at_least=0)
            if checkpoints.are_wanted:
                if key not in data:
                    data[key] = data_values(seen[key], np.asarray)
                identity = {"network": network_values(net), "optimizer": optimizer_values(chosen), "data": data[key],
                            "settings": settings | {"dropout": rates.tolist()}}
            net.require_no_other_training()
            if saved is not None:
                seed = require_fitting(saved[place], identity, seed)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError  # theirs may take other arguments
            raise kind(f"nets[{place}]: {error}") from None
        tasks.append(Task(net, seen[key], chosen, seed, identity))
    given_settings = {"batch_size": batch_size, "shuffle": shuffle, "replacement": replacement, "clip_norm": clip_norm,
                      "dropout": dropout}
    trainer = (Trainer(tasks, epochs, given_settings, checkpoints, saved) if executor is None else
               TrainerOnWorkers(tasks, epochs, given_settings, checkpoints, saved, executor=executor))
    with ProgressBar(progress, len(tasks), "networks") as bar:
        trainer.run(bar)
    return trainer.histories


def _checked_nets(nets: Sequence[Network]) -> list[Network]:
    if not isinstance(nets, Sequence) or not all(isinstance(net, Network) for net in nets):
        raise TypeError(f"nets: expected a sequence of MLP, found {shown(nets)}")
    if not nets:
        raise ValueError("nets: expected at least one network, found none")
    if len({id(net) for net in nets}) < len(nets):
        raise ValueError("nets: expected different networks, found one of them more than once")
    return list(nets)


def _is_data(element: Any) -> bool:
    """Whether an element of a list is data of one network: an array, a data frame, a sparse matrix, or nothing."""
    return element is None or (not isinstance(element, type) and len(getattr(element, "shape", ())) > 0)


def _for_each(name: str, value: Any, count: int, is_one: Callable[[Any], bool]) -> list[Any]:
    """One value for each network: those of a list or tuple of which an element is one, else the same for all."""
    if isinstance(value, list | tuple) and any(map(is_one, value)):
        return _one_each(name, value, count)
    return [value] * count


def _one_each(name: str, values: Any, count: int) -> list[Any]:
    """The values as a list, if there is one for each network."""
    if not np.iterable(values) or is_sparse(values):
        raise TypeError(f"{name}: expected one for each of the {count} networks, found {shown(values)}")
    listed = list(values)
    if len(listed) != count:
        raise ValueError(f"{name}: expected one for each of the {count} networks, found {len(listed)}")
    return listed
