"""Optimizers that take all samples at once: settings; `training/` runs them."""

from dataclasses import dataclass
from typing import ClassVar

from ..checks.arguments import require_flag, require_number, require_whole


@dataclass(frozen=True)
class FullBatch:
    """The base class: an optimizer of `fit` whose epoch is one step by all samples. It needs SciPy (extra ``blas``)."""

    #: Its name in the command.
    name: ClassVar[str]


@dataclass(frozen=True)
class LevenbergMarquardt(FullBatch):
    """Levenberg–Marquardt, for small regression networks: (JᵀJ + μI) δ = -Jᵀr;  θ ← θ + δ where E becomes less [1]_.

    r are the residuals √w (y - d) of all outputs of all samples, and J = ∂r/∂θ. After a step μ ← μ · mu_dec. Where E
    would not become less, μ ← μ · mu_inc, and δ is computed anew. An epoch of `fit` is one step, or a search for one
    that ends with μ above mu_max. Its schedule is that of MATLAB's trainlm.

    Parameters
    ----------
    mu, mu_inc, mu_dec : float
        μ of the first step, and its factors.
    mu_max : float
        The μ above which training ends: ``stop_reason`` "mu_max".
    min_grad : float
        The norm of the mean gradient ∇E / n at which training ends: "min_grad". The last epoch takes no step then.
    max_fail : int or None
        With validation data, the number of epochs in a row without a lower validation loss at which training ends:
        "max_fail". The weights of the lowest one are put in place at the end, whatever ends it. None does neither.
    bayesian : bool
        Whether α and β are chosen by the data [2]_ [3]_, as in MATLAB's trainbr: the least of β E + ½ α ‖θ‖² is looked
        for, by (β JᵀJ + (μ + α) I) δ = -β Jᵀr - α θ. After a step near the minimum α = γ / ‖θ‖² and β = (N - γ) / 2E,
        with N residuals and γ = Σ_i β λ_i / (β λ_i + α) effective parameters, where λ_i are the eigenvalues of JᵀJ. It
        is for squared error alone. (trainbr has no ½ in E and ‖θ‖², and estimates α and β after every step.)
    max_bytes : int
        The most memory of the two matrices of P × P numbers of 8 bytes; 4 GiB are enough for 16,383 parameters.

    Notes
    -----
    **Losses**: "squared_error"; and, as generalised Gauss–Newton steps with J = √(w c) ∂y/∂θ and Jᵀr = ∇E, "huber" with
    c = min(1, δ/|y - d|), "poisson" with c = e^y, and "binary_cross_entropy" with c = p (1 - p).

    **Numbers** are float64, of a float32 network too: its θ is the rounded one of a copy in float64, after each epoch.
    Recorded losses are of that copy, validation and metrics of the network itself. J is not kept: it takes the memory
    of some rows. E, JᵀJ and Jᵀr have the same bits for any number of threads of fastbp. SciPy's Cholesky factorisation,
    of P³/3 operations, has threads of its own, on which its last bits may depend, and Ctrl-C waits for its end.

    **The history** has "mu" of every epoch beside its loss, which is that before the step, and with `bayesian`
    "effective_parameters", "alpha" and "beta" after it.

    .. [1] Hagan and Menhaj, "Training feedforward networks with the Marquardt algorithm", 1994.
    .. [2] MacKay, "Bayesian interpolation", 1992.
    .. [3] Foresee and Hagan, "Gauss-Newton approximation to Bayesian learning", 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import MLP, LevenbergMarquardt
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> net = MLP([1, 6, 1], activation="tanh", loss="squared_error", dtype="float64", seed=1)
    >>> history = net.fit(X, np.sin(2 * X), optimizer=LevenbergMarquardt(), epochs=100)
    >>> 2 * net.loss_value(X, np.sin(2 * X)) / 200 < 1e-6
    True
    """

    name = "lm"

    mu: float = 0.001
    mu_inc: float = 10.0
    mu_dec: float = 0.1
    mu_max: float = 1e10
    min_grad: float = 1e-7
    max_fail: int | None = 6
    bayesian: bool = False
    max_bytes: int = 2**32

    def __post_init__(self) -> None:
        mu = require_number("mu", self.mu, above=0.0)
        require_number("mu_inc", self.mu_inc, above=1.0)
        require_number("mu_dec", self.mu_dec, above=0.0, at_most=1.0)
        require_number("mu_max", self.mu_max, at_least=mu)
        require_number("min_grad", self.min_grad, at_least=0.0)
        if self.max_fail is not None:
            require_whole("max_fail", self.max_fail, at_least=1)
        require_flag("bayesian", self.bayesian)
        require_whole("max_bytes", self.max_bytes, at_least=1)


@dataclass(frozen=True)
class LBFGS(FullBatch):
    """L-BFGS-B of SciPy on E / n, with the gradient over all samples in compiled passes [1]_.

    An epoch of `fit` is one iteration: a direction from the last steps and gradients, and a search along it.

    Parameters
    ----------
    corrections : int
        The number of steps of which the curvature is kept.
    gtol : float
        The largest |∂E/∂θ| / n at which training ends: ``stop_reason`` "converged".
    ftol : float
        Likewise the change of E / n in an iteration, over the larger of the E / n and 1.
    max_evaluations : int
        The number of gradients at which training ends: "max_evaluations".
    max_line_search : int
        The most gradients of one search. Where none finds a lower E, training ends: "line_search".

    Notes
    -----
    The network computes in its own dtype, SciPy in float64. Callbacks may read θ, but not change it. There are no
    checkpoints, as SciPy's optimizer has no state that can be saved.

    .. [1] Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization", 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import LBFGS, MLP
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> net = MLP([1, 8, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    >>> history = net.fit(X, X**2, optimizer=LBFGS(gtol=1e-4), epochs=500)
    >>> history.stop_reason
    'converged'
    """

    name = "lbfgs"

    corrections: int = 10
    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09
    max_evaluations: int = 15000
    max_line_search: int = 20

    def __post_init__(self) -> None:
        require_whole("corrections", self.corrections, at_least=1)
        require_number("gtol", self.gtol, at_least=0.0)
        require_number("ftol", self.ftol, at_least=0.0)
        require_whole("max_evaluations", self.max_evaluations, at_least=1)
        require_whole("max_line_search", self.max_line_search, at_least=1)


#: All of them by their names in the command.
FULL_BATCH: dict[str, type[FullBatch]] = {kind.name: kind for kind in (LevenbergMarquardt, LBFGS)}
