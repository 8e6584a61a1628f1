"""One training of one network, slice after slice of compiled code: what `fit`, `fit_many` and the estimators share."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import threads
from ..backends.contract import WHOLE
from ..backends.training_loop import (
    BATCH_E,
    CORRECT,
    DIVERGED,
    EPOCH,
    POSITION,
    STALE,
    STEP,
    Limits,
    Plan,
    Training,
    is_plain_descent,
    start_progress,
)
from ..checks.arguments import checked_rates
from ..checks.samples import Samples
from ..checks.saved import Saved
from ..compiling.addresses import address_of
from ..compiling.side_by_side import compile_side_by_side
from ..formulas.dropout import drop_panel
from ..formulas.sampling import IN_ORDER, MAX_SAMPLES, WITH_REPLACEMENT, WITHOUT_REPLACEMENT, draw_order
from ..network import Network
from ..optimizers.optimizer import DivergenceError, Optimizer
from ..optimizers.updates import OptimizerState
from .history import History

#: The records of at most this many epochs wait in compiled code until Python takes them over.
MOST_EPOCHS = 2**16


def make_plan(net: Network, samples: Samples | None, batch_size: int, *, shuffle: bool, replacement: bool = False,
              seed: int | None = None, clip_norm: float = 0.0, penalty: float = 0.0, by_weight: bool = False,
              loss_scale: float = 1.0, loss_share: float = 0.0, tolerance: float = 0.0, patience: int = 0,
              dropout: float | Sequence[float] | None = None, rows: int | None = None) -> Plan:
    """The plan of a training on these samples; if None, on blocks of samples in the order in which they come.

    rows : the number of samples, where these are only some of them.

    Raises what `checked_rates` does. After that, a seed that is not given is drawn from the network's generator.
    """
    rates = checked_rates(dropout, len(net.widths) - 1)
    by_address = len(rates) > 0 and net.layout.has_addresses
    drop_address = address_of(drop_panel, net.dtype.name, net.layout.lanes) if by_address else 0
    sampling = WITH_REPLACEMENT if replacement else WITHOUT_REPLACEMENT if shuffle and samples is not None else IN_ORDER
    order_seed = (net.draw_seed() if seed is None else int(seed)) % 2**63
    n = MAX_SAMPLES if samples is None else len(samples.X) if rows is None else rows
    size = min(batch_size, n)
    return Plan(size, net.chunk(), sampling, order_seed, clip_norm, penalty, by_weight, loss_scale, loss_share,
                tolerance, patience, drop_address, rates, samples is None)


def _way_of(net: Network, samples: Samples, batch_size: int, clip_norm: float) -> int:
    """How training takes X: norms of single gradients need whole rows. See `contract.WHOLE`."""
    return net.way_of(samples, batch_size) if clip_norm == 0.0 else WHOLE


#: The kinds of trainings whose kernels were compiled, or looked for in the cache.
_COMPILED: set[Any] = set()


class Session:
    """One training: how far it has come, and what it has recorded.

    Parameters
    ----------
    net : MLP
    samples : Samples
        Checked, as all arguments.
    plan : Plan
    optimizer : Optimizer
    state : OptimizerState
        The state that the optimizer starts from, from `Optimizer.checked_state`; updated in place.
    epochs : int
        The number of epochs in all.
    history : History, optional
        The history to record in; a new one if not given.
    """

    #: What compiled loop it runs.
    loop = "train"


    def __init__(self, net: Network, samples: Samples, plan: Plan, optimizer: Optimizer, state: OptimizerState,
                 epochs: int, history: History | None = None) -> None:
        net.require_no_other_training()
        self.net, self.samples, self.plan, self.epochs = net, samples, plan, epochs
        self._train = net.backend_module.train
        self.optimizer = optimizer
        self.seen = net.backend_module.memory.for_kernels(samples)
        self.state = net.backend_module.memory.with_state(state)
        self.progress = start_progress(self.rows, min(epochs, MOST_EPOCHS), len(state.averages),
                                       in_order=plan.sampling == IN_ORDER)
        self._compile(optimizer)
        self.spec = optimizer.spec(net.dtype)
        self.history = History() if history is None else history
        self.history.optimizer_state = state
        self.epochs_recorded = 0  # with validation and metrics
        self.epochs_shown = 0     # to all callbacks too
        self.choose_way(samples)
        self._begin = time.perf_counter()
        net.zero_grad()

    def values(self, epochs: int | None = None) -> dict[str, Any]:
        """All of the training but its history, from which `resume` goes on with the same bits.

        Arrays are those in use, not copies.

        epochs : of the history that goes with it, if not all.
        """
        net, progress, memory = self.net, self.progress, self.net.backend_module.memory
        self.write_state()
        kept, counts = self.history.optimizer_state, progress.counts
        unrecorded = np.arange(self.history.epochs if epochs is None else epochs, self.epochs_done) % len(progress.loss)
        within_batch = self.rows_done % self.plan.batch_size != 0
        return {"epoch": self.epochs_done, "rows": self.rows_done, "step": int(counts[STEP]),
                "correct": int(counts[CORRECT]), "stale": int(counts[STALE]), "sums": progress.sums,
                "theta": net.theta_on_host(), "updates": kept.updates, "averages": kept.averages,
                "grad": memory.to_host(net.grad) if within_batch else None,
                # Of an epoch whose validation or callbacks did not come to their end.
                "unrecorded_loss": progress.loss[unrecorded], "unrecorded_correct": progress.correct[unrecorded]}

    def checked(self, saved: Saved) -> dict[str, Any]:
        """The values of `values`; the history is restored already.

        Raises
        ------
        ValueError
            If they do not go together.
        """
        net, progress, kept = self.net, self.progress, self.history.optimizer_state
        size = len(net.theta_on_host())
        theta, averages = saved.finite("theta", net.dtype, (size,)), saved.array("averages", net.dtype,
                                                                                 kept.averages.shape)
        updates, sums = saved.array("updates", np.int64, (1,)), saved.array("sums", np.float64, progress.sums.shape)
        grad = saved.finite("grad", net.dtype, (size,)) if "grad" in saved else None
        epoch, rows = saved.whole("epoch", at_most=self.epochs), saved.whole("rows")
        counts = np.array([epoch, *(saved.whole(name) for name in ("step", "correct", "stale"))])
        waiting = epoch - self.history.epochs
        if not 0 <= waiting <= len(progress.loss):
            raise saved.error(f"{epoch} epochs do not go with {self.history.epochs} recorded ones")
        losses = [saved.array(f"unrecorded_{name}", dtype, (waiting,))
                  for name, dtype in (("loss", np.float64), ("correct", np.int64))]
        try:
            self.optimizer.checked_state(theta, OptimizerState(updates, averages))
        except ValueError as error:
            raise saved.error(str(error)) from None
        return {"epoch": epoch, "rows": rows, "counts": counts, "sums": sums, "losses": losses, "theta": theta,
                "updates": updates, "averages": averages, "grad": grad}

    def resume(self, saved: Saved) -> None:
        """Go on from `values`; the history is restored already.

        Raises
        ------
        ValueError
            If they do not go together; the network is then as it was.
        """
        values, net, progress, kept = self.checked(saved), self.net, self.progress, self.history.optimizer_state
        memory, epoch = net.backend_module.memory, values["epoch"]
        self._go_to(saved, epoch, values["rows"])
        progress.counts[[EPOCH, STEP, CORRECT, STALE]] = values["counts"]
        progress.sums[:] = values["sums"]
        places = np.arange(self.history.epochs, epoch) % len(progress.loss)
        progress.loss[places], progress.correct[places] = values["losses"]
        kept.updates[:], kept.averages[:] = values["updates"], values["averages"]
        self.state = memory.with_state(kept)
        memory.write(net.theta, values["theta"])
        if values["grad"] is not None:
            memory.write(net.grad, values["grad"])
        self._begin = time.perf_counter() - self.history.seconds

    def _go_to(self, saved: Saved, epoch: int, rows: int) -> None:
        """Go to a place of an epoch."""
        if rows >= self.rows:
            raise saved.error(f"{rows} of {self.rows} samples of an epoch")
        self.progress.counts[POSITION] = rows
        if rows:  # otherwise the epoch's order is drawn when it begins
            draw_order(self.progress.order, self.plan.sampling, self.plan.seed, epoch)

    def choose_way(self, samples: Samples) -> None:
        """Choose how kernels take X, by the samples that come."""
        self.way = _way_of(self.net, samples, self.plan.batch_size, self.plan.clip_norm)
        self.plan = self.plan._replace(chunk=self.net.chunk(self.way))
        self.pace = self.net.pace(("training", self.plan.batch_size.bit_length(), self.way), passes=3)

    def _compile(self, optimizer: Optimizer) -> None:
        """Compile what a first training calls, in two processes where that is faster; once for each kind of trainings.

        Otherwise each kernel is compiled when it is called.
        """
        net = self.net
        kind = self.loop, net.backend, net.products, net.dtype, net.activations, net.loss, optimizer.rule
        if kind in _COMPILED or not net.is_built_in:
            return
        pieces = net.pieces(optimizer.rule)
        if pieces:
            compile_side_by_side(pieces, lambda: self._take_no_step(optimizer))
        _COMPILED.add(kind)  # unless Ctrl-C has ended it

    def _take_no_step(self, optimizer: Optimizer) -> None:
        """Compile the loop over batches, by a call that takes no step."""
        threads.threading_layer()  # started before a kernel that may use it
        net = self.net
        training = Training(self.plan, optimizer.spec(None), self.state, self.progress)
        self._train(net.theta, net.grad, net.sizes, self.seen, training, Limits(0, 0), np.zeros(1, np.int64), 1)

    @property
    def rows(self) -> int:
        """The number of samples in an epoch, or in the block of one."""
        return len(self.samples.X)

    @property
    def samples_done(self) -> int:
        """The number of samples it has gone through."""
        counts = self.progress.counts
        return int(counts[EPOCH]) * self.rows + int(counts[POSITION])

    @property
    def rows_done(self) -> int:
        """The number of samples of the present epoch that it has gone through."""
        return int(self.progress.counts[POSITION])

    @property
    def samples_in_all(self) -> int | None:
        """The number of samples of all epochs, where it is known."""
        return self.epochs * self.rows

    @property
    def samples_of_epoch(self) -> int:
        """The number of samples of the epochs that were completed last."""
        return self.rows

    @property
    def epochs_done(self) -> int:
        """The number of epochs it has completed."""
        return int(self.progress.counts[EPOCH])

    @contextmanager
    def workspace(self) -> Iterator[Any]:
        """A workspace for slices."""
        with self.net.in_training(), self.net.workspace(self.rows_at_once, self.way) as work:
            yield self._specialised(work)

    @property
    def rows_at_once(self) -> int:
        """The most samples of a call of the backend."""
        return self.plan.batch_size

    def _specialised(self, work: Any) -> Any:
        """The workspace with kernels for this very network, if its plain steps are enough to pay for them."""
        net, plan = self.net, self.plan
        descends = is_plain_descent(self.spec, plan)
        plain = descends and plan.clip_norm == 0.0 and not len(plan.rates) and net.is_built_in
        steps = (self.samples_in_all or 0) // plan.batch_size if plain else 0
        return net.backend_module.specialised(work, self.spec, net.widths, net.activations, net.loss, net.dtype,
                                              plan.batch_size, steps, descends)

    def advance(self, work: Any, until: int) -> int:
        """The status of `train` after one slice, on as many threads as pay, which ends after epoch `until` at most."""
        with threads.allowed(math.inf if self.net.backend_module.parallel else 0.0) as count:
            return self.advance_on(count, work, until)

    def advance_on(self, count: int, work: Any, until: int) -> int:
        """The status of `train` after one slice, on at most `count` threads."""
        net, begin, before = self.net, time.perf_counter(), self.samples_done
        until = min(until, self.history.epochs + len(self.progress.loss))  # no more fit into the records
        team, budget = self.pace.next_slice(count)
        training = Training(self.plan, self.spec, self.state, self.progress)
        status = self._train(net.theta, net.grad, net.layout, self.seen, training, Limits(until, budget), work, team)
        self.pace.learn(team, time.perf_counter() - begin, self.samples_done - before)
        return int(status)

    def record(self) -> None:
        """Append losses and accuracies of the epochs completed since the last call to the history."""
        columns = {"loss": self.progress.loss}
        if self.net.loss_record.is_classification:
            columns["accuracy"] = self.progress.correct / self.samples_of_epoch
        for name, values in columns.items():
            new = np.arange(len(self.history.records.get(name, ())), self.epochs_done)
            self.history.extend(name, values[new % len(values)])
        self._count()

    def _count(self) -> None:
        self.history.samples = self.samples_done
        self.history.seconds = time.perf_counter() - self._begin

    def theta_may_have_changed(self) -> None:
        """Reset what other code may have changed: the running gradient, and the bound on |θ|."""
        self.net.zero_grad()
        self.progress.bounds[0] = -1.0

    def write_state(self) -> None:
        """Update the optimizer's state in the history from the one in use, which may be on a device."""
        if self.history.optimizer_state is not None:
            self.net.backend_module.memory.write_state(self.state, self.history.optimizer_state)

    @property
    def is_whole(self) -> bool:
        """Whether all of its state is here; ranks may have some of it each."""
        return True

    def close(self) -> None:
        """End what goes on beside the training."""

    def finish(self) -> None:
        """Set the running gradient to zero, and complete the history."""
        self.write_state()
        self.net.zero_grad()
        self._count()

    def failure(self, status: int) -> BaseException | None:
        """The error for a status with which training ends, which is also written to the history."""
        return self._divergence() if status == DIVERGED else None

    def _divergence(self) -> DivergenceError:
        self.history.stop_reason = "diverged"
        epoch, step = self.epochs_done, int(self.progress.counts[STEP])
        reason = "loss" if not math.isfinite(self.progress.sums[BATCH_E]) else "update"
        return DivergenceError(
            f"the {reason} is not finite in epoch {epoch}, step {step} (both counted from 0); the last finite "
            f"parameters are in place. Try a smaller learning rate, clip_norm, or standardised inputs", epoch, step,
            self.history)
