"""Training by `LevenbergMarquardt`: damped Gauss–Newton steps, with μ as MATLAB's trainlm has it, α and β as trainbr.

Hagan and Menhaj, "Training feedforward networks with the Marquardt algorithm", 1994; Foresee and Hagan, "Gauss-Newton
approximation to Bayesian learning", 1997.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..backends.training_loop import DIVERGED, RUNNING
from ..checks.saved import Saved
from ..compiling.interrupts import held_back
from ..functions.losses import LOSSES
from ..network import Network
from ..optimizers.full_batch import LevenbergMarquardt
from .callbacks import EarlyStopping
from .full_batch import FullBatchSession, scipy_module
from .history import History
from .least_squares import LeastSquares, Point

#: μ does not become smaller than this, as in trainlm.
LEAST_MU = 1e-20

#: α / β to begin with, and the share of β E + ½ α ‖θ‖² by which it becomes less in a step near its minimum. trainbr
#: estimates α and β after every step, from the first one on. From small first weights this led to θ = 0 in 11 of 12
#: trainings on 41 to 120 noisy samples of a sine; with these two, 24 of 24 found the sine.
FIRST_ALPHA, NEAR = 0.001, 0.001

#: Up to this P a trial computes products with E. One more matrix is kept for them.
FEW_PARAMETERS = 256


class MaxFail(EarlyStopping):
    """`EarlyStopping` by the validation loss, as `max_fail` describes it."""

    def __init__(self, max_fail: int) -> None:
        super().__init__(patience=max_fail)

    def __call__(self, net: Network, history: History) -> bool:
        if super().__call__(net, history):
            history.stop_reason = "max_fail"
        return False


def require_least_squares(net: Network, optimizer: LevenbergMarquardt, penalty: float) -> None:
    """Refuse networks without a Gauss–Newton form, or with products in other numbers, or too large, and two penalties.

    Raises
    ------
    ValueError
    """
    if net.products is not None:
        raise ValueError(f"products: LevenbergMarquardt does not compute with {net.products} products, found a network "
                         f"of these; use one with products=None")
    if net.loss_record.curvature is None:
        known = ", ".join(loss.name for loss in LOSSES if loss.curvature is not None)
        raise ValueError(f"optimizer: LevenbergMarquardt needs a loss with a Gauss-Newton form, one of {known}; found "
                         f"a network with the loss {net.loss!r}")
    if optimizer.bayesian and net.loss != "squared_error":
        raise ValueError(f"optimizer: LevenbergMarquardt(bayesian=True) is for the loss 'squared_error', found "
                         f"{net.loss!r}")
    if optimizer.bayesian and penalty > 0.0:
        raise ValueError(f"l2_penalty: expected 0 with LevenbergMarquardt(bayesian=True), which chooses its own, found "
                         f"{penalty:g}")
    P = net.sizes.size
    if optimizer.max_bytes < 16 * P * P:
        raise ValueError(f"optimizer: LevenbergMarquardt needs two matrices of P × P numbers of 8 bytes, which for "
                         f"P = {P} parameters are {16 * P * P:,} bytes; expected at most max_bytes = "
                         f"{optimizer.max_bytes:,}. Use a smaller network, or LBFGS")


class Levels(NamedTuple):
    """The factors of E and of ½ ‖θ‖² in what is minimised, and γ."""

    beta: float
    alpha: float
    gamma: float


class LevenbergMarquardtSession(FullBatchSession):
    """One training; see `FullBatchSession`.

    Parameters
    ----------
    net : MLP
    X, d, sample_weight
        As for `MLP.fit`.
    optimizer : LevenbergMarquardt
    epochs : int
    penalty : float
        α of `l2_penalty`.
    divisor : float
        n, or Σ w: recorded losses and the norm of the gradient are divided by it.
    """

    def __init__(self, net: Network, X: Any, d: Any, sample_weight: Any, optimizer: LevenbergMarquardt, epochs: int,
                 penalty: float, divisor: float) -> None:
        require_least_squares(net, optimizer, penalty)
        self._linalg = scipy_module("linalg", "LevenbergMarquardt")
        self._problem = LeastSquares(net, X, d, sample_weight)
        super().__init__(net, self._problem.n, epochs)
        self.optimizer, self.divisor = optimizer, divisor
        theta = net.theta.astype(np.float64)
        self._decay = penalty * self._problem.weights_of(theta)  # of each parameter, beside α
        self._is_penalised = penalty > 0.0
        self.mu, self._point = optimizer.mu, Point(theta, math.nan, math.nan, None)
        self._levels = Levels(1.0, 0.0, float(theta.size))
        self._is_begun = False

    @contextmanager
    def workspace(self) -> Iterator[None]:
        """That of `FullBatchSession`, with E of the first parameters."""
        with super().workspace():
            if not self._is_begun:
                self._point, self._is_begun = self._problem.at(self._point.theta), True
                if self.optimizer.bayesian:
                    self._levels = self._first_levels(self._point)
            yield

    def _first_levels(self, point: Point) -> Levels:
        """β with γ = P, but at most N / 2, so that it is above 0; and a small α: see FIRST_ALPHA."""
        levels = self._levels_for(min(float(point.theta.size), 0.5 * self._problem.residuals), point, 1.0)
        return levels._replace(alpha=FIRST_ALPHA * levels.beta)

    def _levels_for(self, gamma: float, point: Point, beta: float) -> Levels:
        """α = γ / ‖θ‖² and β = (N - γ) / 2E; 1, or β as given, where that is no number above 0."""
        squares, free = _squares(point.theta), self._problem.residuals - gamma
        return Levels(free / (2.0 * point.E) if free > 0.0 and point.E > 0.0 else beta,
                      gamma / squares if squares > 0.0 else 1.0, gamma)

    def _next_levels(self, JJ: np.ndarray, point: Point) -> Levels:
        """α and β after a step, by the JᵀJ before it; far from a minimum as they are.

        γ = Σ_i β λ_i / (β λ_i + α).
        """
        before = self._objective(self._point)
        if before - self._objective(point) > NEAR * before:
            return self._levels
        beta, alpha, _ = self._levels
        curvatures = beta * np.maximum(self._linalg.eigvalsh(JJ, lower=True, check_finite=False), 0.0)
        return self._levels_for(float(np.sum(curvatures / (curvatures + alpha))), point, beta)

    def _penalty(self, theta: np.ndarray) -> float:
        """½ α Σ_k ‖W_k‖² of l2_penalty."""
        return 0.5 * _squares(np.sqrt(self._decay) * theta) if self._is_penalised else 0.0

    def _objective(self, point: Point) -> float:
        """β E + ½ α ‖θ‖², plus the penalty."""
        beta, alpha, _ = self._levels
        squares = 0.0 if alpha == 0.0 else _squares(point.theta)
        return beta * point.E + 0.5 * alpha * squares + self._penalty(point.theta)

    def advance(self, work: Any, until: int) -> int:
        """One epoch: a step that makes the objective less, or none."""
        optimizer, beta, mu = self.optimizer, self._levels.beta, self.mu
        if self.diverged(self._objective(self._point)):
            return DIVERGED
        if self._point.products is None:
            self._point = self._point._replace(products=self._problem.with_products(self._point.theta).products)
        point = self._point
        assert point.products is not None
        (JJ, Jr), objective = point.products, self._objective(point)
        decay = self._levels.alpha + self._decay
        gradient = beta * Jr + decay * point.theta
        with np.errstate(over="ignore"):
            norm = float(np.linalg.norm(gradient))
        if norm <= optimizer.min_grad * self.divisor:
            self._accept(point, mu, mu, self._levels, "min_grad")
            return RUNNING
        while mu <= optimizer.mu_max:
            step = self._step(beta * JJ, decay + mu, gradient)
            if step is not None and self._fits(point.theta + step):
                found = self._tried(point.theta + step, again=mu > self.mu)
                if self._objective(found) < objective:
                    levels = self._next_levels(JJ, found) if optimizer.bayesian else self._levels
                    self._accept(found, mu, max(mu * optimizer.mu_dec, LEAST_MU), levels)
                    return RUNNING
            mu *= optimizer.mu_inc
        self._accept(point, mu, mu, self._levels, "mu_max")
        return RUNNING

    def _tried(self, theta: np.ndarray, again: bool) -> Point:
        """The E of a trial.

        again : whether a trial with a smaller μ has failed. The next mostly succeeds: in small networks, whose products
            take little longer than E, the next epoch's are computed with it.
        """
        early = again and theta.size <= FEW_PARAMETERS
        return self._problem.with_products(theta) if early else self._problem.at(theta)

    def _step(self, A: np.ndarray, damping: np.ndarray, gradient: np.ndarray) -> np.ndarray | None:
        """δ with (A + diag(damping)) δ = -gradient; None where the matrix is not positive definite.

        A : (P, P), written to; the numbers above its diagonal do not matter.
        """
        A.flat[:: len(A) + 1] += damping
        # Cholesky's factorisation. LAPACK sees the transpose of a matrix whose rows lie one after another.
        _, step, info = self._linalg.lapack.dposv(A.T, -gradient, lower=0, overwrite_a=1)
        return step if info == 0 else None

    def _fits(self, theta: np.ndarray) -> bool:
        """Whether parameters are finite in the network's dtype."""
        with np.errstate(over="ignore"):
            return bool(np.isfinite(theta.astype(self.net.dtype)).all())

    def _accept(self, found: Point, mu: float, next_mu: float, levels: Levels, reason: str = "epochs") -> None:
        """End an epoch at the parameters that it found."""
        before = self._point
        records = {"loss": (before.E + self._penalty(before.theta)) / self.divisor}
        if self.net.loss_record.is_classification:
            records["accuracy"] = before.accuracy
        records["mu"] = mu
        if self.optimizer.bayesian:
            records |= {"effective_parameters": levels.gamma, "alpha": levels.alpha, "beta": levels.beta}
        with held_back():  # Ctrl-C finds the epoch done, or not begun
            self.net.theta[:] = found.theta
            self._point, self.mu, self._levels = found, next_mu, levels
            self._end(records, reason)

    def theta_may_have_changed(self) -> None:
        """Go on from other parameters, where callbacks have changed them."""
        super().theta_may_have_changed()
        if not np.array_equal(self.net.theta, self._point.theta.astype(self.net.dtype)):
            self._point = self._problem.at(self.net.theta.astype(np.float64))

    def values(self, epochs: int | None = None) -> dict[str, Any]:
        """All of the training but its history; see `Session.values`."""
        return {"epoch": self.epochs_done, "theta": self._point.theta, "E": self._point.E,
                "accuracy": self._point.accuracy, "mu": self.mu, "names": list(self._last),
                "last": np.array(list(self._last.values())), "reason": self._reason, **self._levels._asdict()}

    def resume(self, saved: Saved) -> None:
        """Go on from `values`; the history is restored already.

        Raises
        ------
        ValueError
            If they do not go together; the network is then as it was.
        """
        epoch, names = saved.whole("epoch", at_most=self.epochs), saved.texts("names")
        if not 0 <= epoch - self.history.epochs <= 1:
            raise saved.error(f"{epoch} epochs do not go with {self.history.epochs} recorded ones")
        theta = saved.finite("theta", np.float64, self._point.theta.shape)
        E, accuracy = saved.number("E"), saved.real("accuracy")
        last, reason = saved.array("last", np.float64, (len(names),)), saved.text("reason")
        mu, levels = saved.number("mu"), Levels(*(saved.number(name) for name in Levels._fields))
        if not self._fits(theta):
            raise saved.error(f"theta is not finite in {self.net.dtype}")
        self._point, self.mu, self._levels = Point(theta, E, accuracy, None), mu, levels
        self._is_begun = True
        self._last, self._reason, self.epochs_done = dict(zip(names, last.tolist(), strict=True)), reason, epoch
        self.net.theta[:] = theta
        self._begin -= self.history.seconds


def _squares(theta: np.ndarray) -> float:
    """‖θ‖², infinite where it is beyond float64."""
    with np.errstate(over="ignore"):
        return float(theta @ theta)
