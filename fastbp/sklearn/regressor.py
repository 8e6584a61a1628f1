"""The regressor: numbers, and the predictions that follow from a network's last sums."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from ..checks.arrays import numeric_array
from ..checks.messages import shown
from ..checks.samples import Samples
from ..functions.losses import Loss, record_named
from ..training.checkpoints import Path
from .arguments import NUMBERS, require_sound_arguments
from .perceptron import Perceptron


class MLPRegressor(RegressorMixin, Perceptron):
    """Multilayer perceptron for regression: scikit-learn's `MLPRegressor`, trained by fastbp.

    Parameters
    ----------
    loss : str or Loss
        "squared_error", ½ (y - d)²; "poisson", half the Poisson deviance, where the network gives the logarithm of the
        mean and y ≥ 0; and, which scikit-learn lacks, "absolute_error", "huber", "quantile" (the
        median), `fastbp.HuberLoss`, `fastbp.QuantileLoss` or a `fastbp.Loss` of your own.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, dropout, max_grad_norm, callbacks, progress, backend, standardize, \
products
        As for `MLPClassifier`; the score that early stopping watches is R². There is the solver "lm" beside its own,
        `fastbp.LevenbergMarquardt`, for small networks and the losses "squared_error", "huber" and "poisson": tol is
        its min_grad, and max_iter its epochs.

    Attributes
    ----------
    net_ : MLP
        The network; its last layer gives predictions, or for "poisson" their logarithms.
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, \
validation_loss_curve_, stopped_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_, out_activation_
        As for `MLPClassifier`. With several outputs the recorded loss is the mean over them, as in scikit-learn, but
        for "poisson" the sum; the gradient is that of the sum.

    Notes
    -----
    With `warm_start` and in `partial_fit`, hidden_layer_sizes, activation and loss have to stay as they are.

    scikit-learn 1.9 gives its "lbfgs" the gradient of the sum over several outputs with the value of their mean; here
    both are of the sum, and weights differ.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = MLPRegressor("squared_error", (16,), "tanh", solver="lbfgs", alpha=0, random_state=0, max_iter=1000)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.999
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "lm"})],
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile"}), Loss]}

    _fewest_scored = 2  # R² of one is not defined

    def __init__(self, loss: Any = "squared_error", hidden_layer_sizes: Any = (100,), activation: Any = "relu", *,
                 solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto",
                 learning_rate: str = "constant", learning_rate_init: float = 0.001, power_t: float = 0.5,
                 max_iter: int = 200, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
                 verbose: bool = False, warm_start: bool = False, momentum: float = 0.9,
                 nesterovs_momentum: bool = True, early_stopping: bool = False, validation_fraction: float = 0.1,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, n_iter_no_change: int = 10,
                 max_fun: int = 15000, dropout: Any = 0.0, max_grad_norm: float | None = None,
                 callbacks: Sequence[Callable[..., Any]] = (), progress: bool | None = False,
                 backend: str = "auto", standardize: bool = False, products: str | None = None) -> None:
        self.loss, self.hidden_layer_sizes, self.activation = loss, hidden_layer_sizes, activation
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate, self.learning_rate_init, self.power_t = learning_rate, learning_rate_init, power_t
        self.max_iter, self.shuffle, self.random_state, self.tol = max_iter, shuffle, random_state, tol
        self.verbose, self.warm_start, self.momentum = verbose, warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2, self.epsilon = validation_fraction, beta_1, beta_2, epsilon
        self.n_iter_no_change, self.max_fun, self.dropout = n_iter_no_change, max_fun, dropout
        self.max_grad_norm, self.callbacks = max_grad_norm, callbacks
        self.progress, self.backend, self.standardize, self.products = progress, backend, standardize, products

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
            sample_weight_val: Any = None, checkpoint: Path | None = None, checkpoint_every: float | str = 60.0,
            resume: Path | bool | None = None) -> "MLPRegressor":
        """Train on (n, N_0) samples and their numbers; arguments as for `MLPClassifier.fit`, y (n,) or (n, N_L)."""
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False,
                         checkpointing=(checkpoint, checkpoint_every, resume))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
                    sample_weight_val: Any = None) -> "MLPRegressor":
        """One epoch over these samples; arguments as for `MLPClassifier.partial_fit`."""
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True, dtype=NUMBERS,
                             reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _encoded(self, name: str, y: np.ndarray) -> np.ndarray:
        targets = numeric_array(name, y.astype(np.float64) if y.dtype == object else y)
        kind, loss = self._loss_record.targets, self._loss_record.name
        if kind == "classes":
            raise ValueError(f"loss: expected one of numbers, found {shown(loss)}, which is for classes")
        if kind != "values" and targets.min() < 0:
            raise ValueError(f"{name}: expected no negative number for the loss {shown(loss)}, found {targets.min()}")
        if kind == "bits" and targets.max() > 1:
            raise ValueError(f"{name}: expected numbers from 0 to 1 for the loss {shown(loss)}, found {targets.max()}")
        return targets.reshape(len(targets), -1)

    @property
    def _loss_record(self) -> Loss:
        return self.loss if isinstance(self.loss, Loss) else record_named(self.loss)

    def _kind(self, y: np.ndarray) -> tuple[int, Any, str]:
        return y.reshape(len(y), -1).shape[1], self.loss, "exp" if self.loss == "poisson" else "identity"

    @property
    def _loss_scale(self) -> float:
        return 1.0 if self.loss == "poisson" else 1.0 / self.n_outputs_

    def _predicted(self, A: np.ndarray) -> np.ndarray:
        Y = np.exp(A) if self.out_activation_ == "exp" else A
        return Y.ravel() if self.n_outputs_ == 1 else Y

    def _score_of(self, A: np.ndarray, samples: Samples) -> float:
        Y = self._predicted(A)
        weight = samples.weights if len(samples.weights) else None
        if not np.isfinite(Y).all():
            return np.nan
        with np.errstate(over="ignore", invalid="ignore"):  # of a network that diverges
            return float(r2_score(samples.targets, Y, sample_weight=weight))

    def predict(self, X: Any) -> np.ndarray:
        """The predictions for every row of X, (n,), or (n, N_L) where there are several outputs."""
        return self._predicted(self._sums(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions, the mean over several outputs."""
        require_sound_arguments(y=y, sample_weight=sample_weight)
        return float(super().score(X, y, sample_weight))
