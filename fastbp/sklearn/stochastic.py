"""Training with the solvers "sgd" and "adam": stochastic descent with scikit-learn's rules for stopping.

The rules are those of scikit-learn 1.9, `sklearn/neural_network/_multilayer_perceptron.py` and
`_stochastic_optimizers.py`. The epochs run in compiled code, which returns to Python only where something needs it.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..backends.training_loop import BEST, DIVERGED, RUNNING, STALE
from ..checks.messages import shown
from ..checks.samples import Samples, total_weight
from ..checks.saved import Saved
from ..optimizers.optimizer import Optimizer
from ..optimizers.settings import SGD, Adam
from ..optimizers.updates import OptimizerState
from ..training.callbacks import ask_to_stop, finish_all, has_state, restore_all, start_all, states_of
from ..training.checkpoints import Checkpoints, require_same
from ..training.progress_bar import ProgressBar
from ..training.session import Session, make_plan
from .checkpoints import estimator_values, identity, restore_generator, restore_records, restore_split
from .records import NON_FINITE, begin_records, noted_records, put_back_records
from .validation_split import hold_out, of_positive_weight

#: The learning rate below which "adaptive" stops, and the divisor by which it makes the rate smaller.
LOWEST_RATE, RATE_DIVISOR = 1e-6, 5.0

_STEADIER = "a smaller learning_rate_init, a max_grad_norm, or standardised X"


class _Descent:
    """One call of fit or partial_fit with the solver "sgd" or "adam".

    own : what the call is, for checkpoints.
    """

    def __init__(self, estimator: Any, samples: Samples, validation: Samples | None, incremental: bool,
                 checkpoints: Checkpoints, own: dict[str, Any]) -> None:
        self.estimator, self.validation, self.incremental = estimator, validation, incremental
        self.checkpoints, self.own = checkpoints, own
        net, n, saved = estimator.net_, len(samples.X), checkpoints.saved
        if not incremental or not self.goes_on_with(estimator._optimizer_state):
            if saved is None:  # else there is one already
                estimator._rate = float(estimator.learning_rate_init)
            estimator._optimizer_state = self.optimizer().start(net.theta)
        else:
            previous = OptimizerState(*(_in_memory(array) for array in estimator._optimizer_state))
            estimator._optimizer_state = self.optimizer().checked_state(net.theta, previous)
        if estimator._best_theta is not None:
            estimator._best_theta = _in_memory(estimator._best_theta)
        waits = estimator.n_iter_no_change
        self.waits = int(min(waits, 2**62))
        drops = bool(np.any(estimator.dropout))
        if saved is not None:
            seed = saved.whole("seed")
        else:
            seed = int(estimator._random_state.randint(2**31 - 1)) if estimator.shuffle or drops else 0
            seed += int(estimator.t_)  # so that later calls draw other orders and masks, from any random_state
        plan = make_plan(net, samples, _batch_size(estimator.batch_size, n), shuffle=estimator.shuffle, seed=seed,
                         penalty=float(estimator.alpha), by_weight=len(samples.weights) > 0,
                         loss_scale=estimator._loss_scale, tolerance=float(estimator.tol),
                         patience=0 if estimator.early_stopping else self.waits,
                         dropout=estimator.dropout if drops else None)
        self.epochs = 1 if incremental else int(estimator.max_iter)
        self.session = Session(net, samples, plan, self.optimizer(), estimator._optimizer_state, self.epochs)
        if not estimator.early_stopping:
            self.session.progress.sums[BEST] = estimator.best_loss_
        self.session.progress.counts[STALE] = estimator._no_improvement_count
        if validation is not None and estimator.validation_loss_curve_ is None:
            estimator.validation_loss_curve_ = []
        self.by_rate = estimator.solver == "sgd" and estimator.learning_rate == "invscaling"
        self.looks = self.by_rate or bool(validation or estimator.verbose or len(estimator.callbacks))
        if saved is not None:
            self.resume(saved)
        epochs = self.session.history.epochs
        self.losses_before, self.t_before = len(estimator.loss_curve_) - epochs, estimator.t_ - epochs * n
        self.note(self.session.epochs_recorded)
        if not incremental:
            self.begin(saved)

    def resume(self, saved: Saved) -> None:
        """Go on from a checkpoint, whose records the estimator has already."""
        estimator, session, epochs = self.estimator, self.session, saved.part("training").whole("epoch")
        if epochs > self.epochs:
            raise ValueError(f"max_iter: expected at least the {epochs} epochs of the checkpoint {saved.origin}, found "
                             f"{self.epochs}")
        session.history.restore(saved.part("history"))
        recorded = session.history.epochs
        if len(estimator.loss_curve_) < recorded or estimator.t_ < recorded * len(session.samples.X):
            raise saved.error(f"its records are of fewer than {recorded} epochs")
        session.epochs_recorded = saved.whole("epochs_recorded", at_most=recorded)
        restore_all(estimator.callbacks, saved.part("callbacks"), session.history)
        session.resume(saved.part("training"))
        restore_generator(estimator, saved)
        estimator.n_iter_ = recorded

    def begin(self, saved: Saved | None) -> None:
        """Call the callbacks that begin anew, and write the first checkpoint."""
        start_all([callback for callback in self.estimator.callbacks if saved is None or not has_state(callback)],
                  self.estimator.net_, self.session.history)
        self.checkpoints.begin(self.values, self.session.epochs_done)

    def values(self) -> dict[str, Any]:
        """All of the fit, for a checkpoint."""
        session = self.session
        return self.own | estimator_values(self.estimator) | {
            "seed": session.plan.seed, "history": session.history.state(), "epochs_recorded": session.epochs_recorded,
            "training": session.values(), "callbacks": states_of(self.estimator.callbacks)}

    def goes_on_with(self, state: Any) -> bool:
        """Whether a state fits the optimizer that the parameters name now, and this network."""
        return state is not None and state.averages.shape == self.optimizer().averages_shape(self.estimator.net_.theta)

    def optimizer(self) -> Optimizer:
        """The core's optimizer at the present learning rate."""
        given = self.estimator
        dtype = given.net_.dtype
        for name in ("beta_1", "beta_2", "epsilon") if given.solver == "adam" else ("momentum",):
            value = getattr(given, name)
            if value != 0 and dtype.type(value) == 0:
                raise ValueError(f"{name}: expected 0 or a number that {dtype} holds, found {shown(value)}")
        if given.solver == "adam":
            return Adam(given._rate, given.beta_1, given.beta_2, given.epsilon, epsilon_hat=True,
                        clip_norm=given.max_grad_norm)
        return SGD(given._rate, given.momentum, given.nesterovs_momentum and given.momentum > 0,
                   clip_norm=given.max_grad_norm)

    def set_rate(self, rate: float, stale: int) -> None:
        """Go on with another learning rate, after so many epochs without progress.

        scikit-learn's velocity contains the learning rate, and stays as it is with a new rate. The core's does not
        contain it, and is scaled here.
        """
        estimator, averages = self.estimator, self.estimator._optimizer_state.averages
        counts, factor = self.session.progress.counts, self.estimator._rate / rate
        # Python looks for Ctrl-C where something is called: it finds all three as they were, or as they are to be.
        averages *= factor
        estimator._rate = rate
        counts[STALE] = self.stale = stale
        self.session.spec = self.optimizer().spec(estimator.net_.dtype)

    def run(self) -> None:
        """Train epoch after epoch, until one of the rules, max_iter or Ctrl-C ends it."""
        estimator, session, net = self.estimator, self.session, self.estimator.net_
        goes_on, status = True, RUNNING
        try:
            with (ProgressBar(estimator.progress, self.epochs, "epochs") as bar,
                  session.workspace() as work):
                goes_on = self.end_epochs()  # those of a checkpoint
                while goes_on and session.epochs_done < self.epochs and status != DIVERGED:
                    status = session.advance(work, session.epochs_done + 1 if self.looks else self.epochs)
                    if session.epochs_done > session.epochs_recorded:
                        goes_on = self.end_epochs()
                        bar.show(session.epochs_done, f"loss {session.history['loss'][-1]:.4g}")
                    if status != DIVERGED and self.checkpoints.is_due(session.epochs_done):
                        self.checkpoints.write(self.values, session.epochs_done)
            if status != DIVERGED:
                self.checkpoints.write(self.values, session.epochs_done)
        except KeyboardInterrupt:
            self.end_early()
            warnings.warn("Training interrupted by user.", stacklevel=5)
            goes_on = False
        except BaseException:
            self.end_early()
            raise
        finally:
            session.finish()
            estimator._no_improvement_count = int(session.progress.counts[STALE])
        best = estimator._best_theta if estimator.early_stopping else None
        if status == DIVERGED and best is not None:
            self.record_divergence()
        elif status != DIVERGED and goes_on and not self.incremental:
            warnings.warn(f"Stochastic Optimizer: Maximum iterations ({self.epochs}) reached and the optimization "
                          f"hasn't converged yet.", ConvergenceWarning, stacklevel=5)
        if best is not None and (estimator.stopped_ or not self.incremental):
            net.theta[:] = best
        if not self.incremental:
            finish_all(estimator.callbacks, net)
        if status == DIVERGED and best is None:
            raise ValueError(f"{NON_FINITE} Training diverged in epoch {session.epochs_done + 1}: try {_STEADIER}.")

    def record_divergence(self) -> None:
        """Record the epoch that diverged, as scikit-learn does where early stopping has best weights."""
        estimator = self.estimator
        for curve in (estimator.loss_curve_, estimator.validation_loss_curve_, estimator.validation_scores_):
            curve.append(np.nan)
        estimator.loss_, estimator.stopped_ = np.nan, True
        estimator.n_iter_ += 1
        estimator.t_ += len(self.session.samples.X)
        estimator._optimizer_state = None  # its averages diverged too
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = nan\nValidation score: nan")
        warnings.warn(f"Training diverged in epoch {estimator.n_iter_}; the weights of the best validation score, "
                      f"{estimator.best_validation_score_:g}, are kept; try {_STEADIER}", ConvergenceWarning,
                      stacklevel=6)

    def record(self) -> None:
        """Put the epochs completed since the last call into the estimator's records."""
        estimator, session = self.estimator, self.session
        session.record()
        history = session.history
        if history.epochs == 0:
            return
        # Ctrl-C may have come between these lines: each takes what the history has, whatever it took before.
        estimator.loss_curve_ += history["loss"][len(estimator.loss_curve_) - self.losses_before :]
        estimator.loss_ = estimator.loss_curve_[-1]
        estimator.n_iter_ = history.epochs
        estimator.t_ = self.t_before + history.epochs * len(session.samples.X)
        if not estimator.early_stopping:
            estimator.best_loss_ = float(session.progress.sums[BEST])

    def note(self, epochs: int) -> None:
        """Note what is recorded, which is all of so many epochs."""
        noted, stale, session = noted_records(self.estimator), int(self.session.progress.counts[STALE]), self.session
        self.noted, self.stale, session.epochs_recorded = noted, stale, epochs  # as in `set_rate`

    def end_early(self) -> None:
        """Leave whole epochs in the records, and write a checkpoint."""
        session = self.session
        if self.validation is None:
            self.record()
        else:
            session.record()
            session.history.keep(session.epochs_recorded)
            put_back_records(self.estimator, self.noted)
            if self.estimator.early_stopping:  # else compiled code counts
                session.progress.counts[STALE] = self.stale
        self.checkpoints.write(self.values, session.epochs_done)

    def end_epochs(self) -> bool:
        """Whether to go on after the epochs that were completed, of which the last is validated and shown to callbacks.

        After an interruption it may be called again, for the same epochs.
        """
        estimator, session, net = self.estimator, self.session, self.estimator.net_
        history = session.history
        self.record()
        if not history.epochs:  # of this call
            return True
        if history.epochs > session.epochs_recorded:
            if estimator.verbose:
                print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
            if self.validation is not None:
                self.validate(self.validation)
            if ask_to_stop(estimator.callbacks, net, history):
                history.stop_reason = "callback"
            if self.validation is not None or len(estimator.callbacks):
                session.theta_may_have_changed()
            self.note(history.epochs)
        if self.by_rate:
            self.set_rate(float(estimator.learning_rate_init) / (estimator.t_ + 1) ** estimator.power_t, self.stale)
        if history.stop_reason == "callback":
            return False
        estimator.stopped_ = self.is_stalled() and not self.takes_smaller_steps()
        return not estimator.stopped_

    def validate(self, samples: Samples) -> None:
        """Record the loss of the validation data; with early stopping, their score, and the best weights."""
        estimator, session, net = self.estimator, self.session, self.estimator.net_
        E = net.evaluate_samples(samples)[0]
        divisor = total_weight(samples.weights, len(samples.X))
        estimator.validation_loss_curve_.append(estimator._loss_scale * E / divisor)
        session.history.record("validation_loss", estimator.validation_loss_curve_[-1])
        if not estimator.early_stopping:
            return
        score = estimator._score_of(net.forward_samples(samples), samples)
        estimator.validation_scores_.append(score)
        session.history.record("validation_score", score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        stale = session.progress.counts
        better = score >= estimator.best_validation_score_ + estimator.tol  # NaN is not
        stale[STALE] = 0 if better else stale[STALE] + 1
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best_theta = net.theta.copy()

    def is_stalled(self) -> bool:
        """Whether nothing has become better for too long."""
        return bool(self.session.progress.counts[STALE] > self.waits)

    def takes_smaller_steps(self) -> bool:
        """Whether "adaptive" goes on with a smaller learning rate after training has stalled."""
        estimator = self.estimator
        what = "Validation score" if estimator.early_stopping else "Training loss"
        text = f"{what} did not improve more than tol={estimator.tol:f} for {self.waits} consecutive epochs."
        adapts = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        if not adapts or estimator._rate <= LOWEST_RATE:
            if estimator.verbose:
                print(f"{text} {'Learning rate too small. ' if adapts else ''}Stopping.")
            return False
        rate = estimator._rate / RATE_DIVISOR
        if estimator.verbose:
            print(f"{text} Setting learning rate to {rate:f}")
        self.set_rate(rate, 0)
        return True


def prepared_descent(estimator: Any, samples: Samples, validation: Samples | None, incremental: bool,
                     checkpoints: Checkpoints) -> Callable[[], None]:
    """The function that fits the network of an estimator with "sgd" or "adam"."""
    saved, own = checkpoints.saved, identity(estimator, samples, validation) if checkpoints.are_wanted else {}
    if saved is not None:
        require_same(saved, own)
        restore_split(estimator, saved)
    if estimator.early_stopping and validation is None:
        if incremental:
            raise ValueError("partial_fit does not support early_stopping=True without X_val and y_val")
        samples, validation = hold_out(estimator, samples)
    elif estimator.shuffle:
        samples = of_positive_weight(samples)
    estimator.n_iter_, estimator.stopped_ = 0, False
    begin_records(estimator, incremental)
    if saved is not None:
        restore_records(estimator, saved.part("records"))
    return _Descent(estimator, samples, validation, incremental, checkpoints, own).run


def _in_memory(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of one that joblib has mapped from a file, which is read-only or would be written to."""
    return np.array(array) if isinstance(array, np.memmap) or not array.flags.writeable else array


def _batch_size(given: Any, n: int) -> int:
    if given == "auto":
        return min(200, n)
    if given > n:
        warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                      stacklevel=8)
    return int(min(given, n))
