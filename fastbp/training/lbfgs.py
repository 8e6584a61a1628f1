"""L-BFGS over all samples: SciPy's optimizer, and E with its gradient in compiled passes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.training_loop import DIVERGED, RUNNING
from ..checks.samples import Samples
from ..network import Network
from ..optimizers.full_batch import LBFGS
from .full_batch import FullBatchSession, scipy_module


class Objective:
    """(E + ½ α Σ_k ‖W_k‖²) / divisor of a network and its samples, and the gradient, as functions of θ.

    Attributes
    ----------
    E, penalty : float
        Both terms, not divided, of the θ that was evaluated last; the network has that θ.
    """

    def __init__(self, net: Network, samples: Samples, alpha: float, divisor: float) -> None:
        self.net, self.samples, self.alpha, self.divisor = net, samples, alpha, divisor
        self.E = self.penalty = 0.0

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The value, and the gradient (P,) in float64."""
        net = self.net
        squares = 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # the search may try points where E or ∇E is not finite
            net.theta[:] = theta
            net.zero_grad()
            E = net.accumulate_samples(self.samples)
            for W, dW in zip(net.weights, net.weight_gradients, strict=True):
                squares += float(np.vdot(W, W))
                dW += self.alpha * W
        self.E, self.penalty = E, 0.5 * self.alpha * squares
        return self.value, net.grad.astype(np.float64) / self.divisor

    @property
    def value(self) -> float:
        """The value of the θ that was evaluated last."""
        return (self.E + self.penalty) / self.divisor


def minimize(objective: Objective, settings: LBFGS, iterations: int,
             after_iteration: Callable[[np.ndarray], None]) -> Any:
    """SciPy's result of at most so many iterations from the network's θ, which then has the best θ.

    after_iteration : called with θ; the objective was evaluated there last.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    """
    optimize = scipy_module("optimize", "LBFGS")
    result = optimize.minimize(
        objective, objective.net.theta.astype(np.float64), method="L-BFGS-B", jac=True, callback=after_iteration,
        options={"maxcor": settings.corrections, "gtol": settings.gtol, "ftol": settings.ftol,
                 "maxfun": settings.max_evaluations, "maxls": settings.max_line_search, "maxiter": iterations})
    objective(result.x)
    objective.net.zero_grad()
    return result


class _Stop(Exception):
    """A callback ends training."""


class LBFGSSession(FullBatchSession):
    """One training; see `FullBatchSession`. `advance` goes through all epochs.

    Parameters
    ----------
    net : MLP
    samples : Samples
    optimizer : LBFGS
    epochs : int
    penalty, divisor : float
        As for `LevenbergMarquardtSession`.
    """

    def __init__(self, net: Network, samples: Samples, optimizer: LBFGS, epochs: int, penalty: float,
                 divisor: float) -> None:
        scipy_module("optimize", "LBFGS")
        super().__init__(net, len(samples.X), epochs)
        self.optimizer, self._objective = optimizer, Objective(net, samples, penalty, divisor)
        self._theta = net.theta.copy()  # after the last epoch
        self._loss = np.nan             # before the present one
        self._accuracy = np.nan

    def _evaluate(self) -> None:
        """Note loss and accuracy of the θ that was evaluated last, which the next epoch begins with."""
        self._loss = self._objective.value
        if self.net.loss_record.is_classification:
            self._accuracy = self.net.evaluate_samples(self._objective.samples)[1]

    def _end_iteration(self, theta: np.ndarray) -> None:
        self._count_epoch(theta)
        self._evaluate()
        self.end_epoch()
        if self.history.stop_reason != "epochs":
            raise _Stop

    def _count_epoch(self, theta: np.ndarray, reason: str = "epochs") -> None:
        self.net.theta[:] = theta
        self._theta = self.net.theta.copy()
        records = {"loss": self._loss}
        if self.net.loss_record.is_classification:
            records["accuracy"] = self._accuracy
        self._end(records, reason)

    def advance(self, work: Any, until: int) -> int:
        """All epochs."""
        self._objective(self._theta)
        self._evaluate()
        if self.diverged(self._loss):
            return DIVERGED
        try:
            result = minimize(self._objective, self.optimizer, self.epochs, self._end_iteration)
        except _Stop:
            return RUNNING
        reason = {0: "converged", 1: "max_evaluations"}.get(int(result.status), "line_search")
        if not self.epochs_done:  # the gradient is as small as is asked for
            self._count_epoch(self._theta, reason)
        elif self.epochs_done < self.epochs:
            self.history.stop_reason = reason
        return RUNNING

    def finish(self) -> None:
        """Put the parameters of the last epoch in place, and complete the history."""
        self.net.theta[:] = self._theta
        super().finish()
