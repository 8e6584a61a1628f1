"""The base of classifier and regressor: parameters, checked data, a network with scikit-learn's first weights, fit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ..checks.arguments import PRODUCTS, checked_rates
from ..checks.messages import shown
from ..checks.samples import Samples
from ..functions.activations import BY_NAME, Activation
from ..layout import Views
from ..mlp import MLP
from ..training.callbacks import checked_callbacks
from ..training.checkpoints import Checkpoints
from .arguments import (
    NUMBERS,
    as_samples,
    checked_validation_data,
    checked_weights,
    require_sound_arguments,
)
from .checkpoints import resume_network, saved_dtype
from .class_weights import as_places, weights_by_class
from .exporting import to_sklearn
from .lbfgs import minimize_lbfgs
from .levenberg_marquardt import prepared_lm
from .records import reset_records
from .stochastic import prepared_descent

#: checkpoint, checkpoint_every and resume of a call without them.
NO_CHECKPOINTS = (None, 60.0, None)

#: The solvers that take all samples at once.
_WHOLE_BATCHES = ("lbfgs", "lm")

_HIDDEN_ACTIVATIONS = {name for name in BY_NAME if name != "softmax"}


class Perceptron(BaseEstimator, ABC):
    """The base of both estimators."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(_HIDDEN_ACTIVATIONS), Activation, "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "max_grad_norm": [None, Interval(Real, 0, None, closed="neither")],
        "callbacks": ["array-like"],
        "progress": [None, "boolean"],
        "backend": [StrOptions({"auto", "tiled", "loops", "blas"})],
        "standardize": ["boolean"],
        "products": [StrOptions(set(PRODUCTS)), None],
    }

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    warm_start: bool
    random_state: Any
    early_stopping: bool
    backend: str
    standardize: bool
    products: str | None = None
    dropout: Any
    max_grad_norm: float | None
    callbacks: Sequence[Callable[..., Any]]

    #: The fewest samples that have a score.
    _fewest_scored: ClassVar[int] = 1

    # ---- what the two kinds do in their own ways -------------------------------------------------------------------

    @abstractmethod
    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        """X and y as scikit-learn's own estimators take them."""

    @abstractmethod
    def _encoded(self, name: str, y: np.ndarray) -> np.ndarray:
        """Targets as the core takes them: labels (n,), or (n, outputs). Errors have the name of their argument."""

    @abstractmethod
    def _kind(self, y: np.ndarray) -> tuple[int, Any, str]:
        """The number of outputs, the core's loss, and scikit-learn's name of the output activation."""

    @abstractmethod
    def _predicted(self, A: np.ndarray) -> np.ndarray:
        """Predictions from the last layer's sums (n, outputs)."""

    @abstractmethod
    def _score_of(self, A: np.ndarray, samples: Samples) -> float:
        """The score that early stopping watches, from the last layer's sums."""

    def _weights_of_classes(self, d: np.ndarray) -> list[np.ndarray] | None:
        """The weight of every class, from encoded targets; None where all are 1."""
        return None

    @property
    def _loss_scale(self) -> float:
        """The loss that scikit-learn records, over the core's E."""
        return 1.0

    # ---- fitting ---------------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any, Any], incremental: bool,
             checkpointing: tuple[Any, Any, Any] = NO_CHECKPOINTS) -> Any:
        before = dict(self.__dict__)
        try:
            train = self._prepared(X, y, sample_weight, validation, incremental, checkpointing)
        except BaseException as error:  # what was fitted before stays
            self._restore(before)
            if isinstance(error, OverflowError):  # scikit-learn's, and Python's
                raise ValueError(f"expected parameters and numbers that float64 holds, found a larger one "
                                 f"({error})") from None
            raise
        train()
        return self

    def _restore(self, before: dict[str, Any]) -> None:
        """Set all attributes to what they were."""
        self.__dict__.clear()
        self.__dict__.update(before)

    def _prepared(self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any, Any],
                  incremental: bool, checkpointing: tuple[Any, Any, Any]) -> Callable[[], None]:
        """The function that trains, after all checks."""
        hidden = self._hidden_widths()
        checked_callbacks(list(self.callbacks))
        checked_rates(self.dropout, len(hidden) + 1)
        if self.solver in _WHOLE_BATCHES:
            self._require_whole_batches(validation, checkpointing)
        checkpoints = Checkpoints(*checkpointing, type(self).__name__)
        saved = checkpoints.saved
        X_val, y_val, sample_weight_val = validation
        require_sound_arguments(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val,
                                sample_weight_val=sample_weight_val)
        first = saved is not None or not hasattr(self, "net_") or not (self.warm_start or incremental)
        X, y = self._validated(X, y, incremental, reset=first)
        d = self._encoded("y", y)
        self._random_state = check_random_state(self.random_state)
        if saved is not None:
            self._random_state = deepcopy(self._random_state)  # what the user gave stays, where the fit is another
            self._start(X.shape[1], hidden, y, saved_dtype(saved))
            resume_network(self, saved)
        elif first:
            single = X.dtype == np.float32 or self.products is not None
            self._start(X.shape[1], hidden, y, np.float32 if single else np.float64)
            if self.standardize:
                self.net_.standardize(X)
        else:
            self._require_same_network(hidden, y)
        of_classes = self._weights_of_classes(d)
        samples = self._samples(X, d, sample_weight, of_classes, "")
        if self.solver == "lbfgs":
            return partial(minimize_lbfgs, self, samples)
        if self.solver == "lm":
            return prepared_lm(self, X, d, sample_weight, samples)
        return prepared_descent(self, samples, self._validation_samples(*validation, of_classes), incremental,
                                checkpoints)

    def _samples(self, X: Any, d: np.ndarray, sample_weight: Any, of_classes: list[np.ndarray] | None,
                 suffix: str) -> Samples:
        """The samples of a call, as the core takes them.

        suffix : what follows X and y in the names of the arguments.
        """
        name = f"sample_weight{suffix}"
        weight = checked_weights(name, sample_weight, len(d))
        if of_classes is not None:
            name = "class_weight" if weight is None else f"{name} times class_weight"
            weight = weights_by_class(of_classes, as_places(d)) * (1.0 if weight is None else weight)
        return as_samples(X, d, weight, self.net_.dtype, self.n_outputs_, suffix, name, self.net_.standardization)

    def _validate_params(self) -> None:
        for name, value in self.get_params(deep=False).items():
            if isinstance(value, Integral) and abs(int(value)) >= 2**1024:
                raise ValueError(f"{name}: expected a number that float64 holds, found {shown(value)}")
        super()._validate_params()

    def _hidden_widths(self) -> list[int]:
        given = self.hidden_layer_sizes
        widths = list(given) if hasattr(given, "__iter__") else [given]
        if not all(isinstance(width, Integral) and not isinstance(width, bool) and int(width) > 0 for width in widths):
            raise ValueError(f"hidden_layer_sizes must be integers > 0, got {shown(widths)}.")
        return [int(width) for width in widths]

    def _require_whole_batches(self, validation: tuple[Any, Any, Any], checkpointing: tuple[Any, Any, Any]) -> None:
        """Refuse what needs epochs of batches, which "lbfgs" and "lm" have not."""
        solver = f"the solver {self.solver!r}"
        if checkpointing[0] is not None or checkpointing[2] not in (None, False):
            raise ValueError(f"checkpoint and resume: expected neither with {solver}, whose state is not saved; use "
                             f"'adam' or 'sgd'")
        if np.any(self.dropout):
            raise ValueError(f"dropout: expected 0 with {solver}, found {shown(self.dropout)}")
        if self.max_grad_norm is not None:
            raise ValueError(f"max_grad_norm: expected None with {solver}, found {shown(self.max_grad_norm)}")
        if any(given is not None for given in validation):
            raise ValueError(f"X_val, y_val and sample_weight_val: expected None with {solver}, which does not "
                             f"validate; use 'adam' or 'sgd'")

    def _require_same_network(self, hidden: list[int], y: np.ndarray) -> None:
        """Refuse parameters that do not describe the network that training goes on with."""
        net, loss = self.net_, self._kind(y)[1]
        names = [getattr(given, "name", given) for given in self._hidden_activations(len(hidden))]
        for what, found, expected in (("hidden_layer_sizes", hidden, list(net.widths[1:-1])),
                                      ("activation", names, list(net.activations[:-1])),
                                      ("loss", getattr(loss, "name", loss), net.loss)):
            if found != expected:
                raise ValueError(f"{what}: training goes on with a network of {expected}, found {shown(found)}; for a "
                                 f"new one call fit with warm_start=False")
        if self.standardize and net.standardization is None:
            raise ValueError("standardize: training goes on with a network that takes X as it is, found True; for a "
                             "new one call fit with warm_start=False")
        if self.products != net.products:
            raise ValueError(f"products: training goes on with a network of products={net.products!r}, found "
                             f"{self.products!r}; for a new one call fit with warm_start=False")
        self._require_outputs("y", y)

    def _require_outputs(self, name: str, y: np.ndarray) -> None:
        """Refuse targets for another number of outputs than the network has."""
        outputs = self._kind(y)[0]
        if outputs != self.n_outputs_:
            raise ValueError(f"{name}: expected targets for {self.n_outputs_} outputs, as the network has, found "
                             f"{outputs}")

    def _hidden_activations(self, layers: int) -> list[Any]:
        if isinstance(self.activation, str | Activation):
            return [self.activation] * layers
        if len(self.activation) != layers:
            raise ValueError(f"activation: expected one, or one for each of {layers} hidden layers, found "
                             f"{len(self.activation)}")
        return list(self.activation)

    def _start(self, features: int, hidden: list[int], y: np.ndarray, dtype: Any) -> None:
        """Make a new network, with the weights and biases that scikit-learn draws from this random state."""
        outputs, loss, self.out_activation_ = self._kind(y)
        names = self._hidden_activations(len(hidden))
        net = MLP([features, *hidden, outputs], activation=[*names, "identity"], loss=loss, dtype=dtype,
                  seed=0, backend=self.backend, initializer="zeros", products=self.products)
        drawn_for = [*names, names[-1] if names else self.activation]
        for W, b, name in zip(net.weights, net.biases, drawn_for, strict=True):
            bound = np.sqrt((2.0 if name == "logistic" else 6.0) / sum(W.shape))
            W[:] = self._random_state.uniform(-bound, bound, W.shape[::-1]).T
            b[:] = self._random_state.uniform(-bound, bound, len(b))
        self.net_, self.n_outputs_, self.n_layers_ = net, outputs, len(net.widths)
        self.n_iter_, self.t_ = 0, 0
        reset_records(self)

    def _validation_samples(self, X: Any, y: Any, sample_weight: Any,
                            of_classes: list[np.ndarray] | None) -> Samples | None:
        """The validation data that the user gave, as the core takes them; None where there are none."""
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight_val: expected None without X_val and y_val")
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val: expected both or neither")
        X, y = checked_validation_data(self, X, y)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        self._require_outputs("y_val", y)
        samples = self._samples(X, self._encoded("y_val", y), sample_weight, of_classes, "_val")
        weighted = np.count_nonzero(samples.weights) if len(samples.weights) else len(samples.X)
        if self.early_stopping and weighted < self._fewest_scored:
            raise ValueError(f"X_val: expected at least {self._fewest_scored} samples of weight above 0 for the score "
                             f"that early stopping watches, found {weighted}")
        return samples

    def _check_solver(self) -> bool:
        if self.solver in _WHOLE_BATCHES:
            raise AttributeError(f"partial_fit is only available for stochastic optimizers. {self.solver} is not "
                                 f"stochastic.")
        return True

    # ---- what was fitted -------------------------------------------------------------------------------------------

    @property
    def coefs_(self) -> list[np.ndarray]:
        """W_1ᵀ … W_Lᵀ, views (N_{k-1}, N_k) into ``net_.theta``: written in place, they change the network.

        With `standardize` they are of the standardised features.
        """
        return Views(W.T for W in self._fitted_net("coefs_").weights)

    @coefs_.setter
    def coefs_(self, values: Sequence[np.ndarray]) -> None:
        _write("coefs_", values, self.coefs_)

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """b_1 … b_L, views (N_k,) into ``net_.theta``."""
        return self._fitted_net("intercepts_").biases

    @intercepts_.setter
    def intercepts_(self, values: Sequence[np.ndarray]) -> None:
        _write("intercepts_", values, self.intercepts_)

    def _fitted_net(self, attribute: str) -> MLP:
        if "net_" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no {attribute} before it is fitted")
        return self.net_

    def _sums(self, X: Any) -> np.ndarray:
        """a_L for every row of X, which is checked."""
        check_is_fitted(self)
        require_sound_arguments(X=X)
        try:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=NUMBERS, reset=False)
        except OverflowError as error:
            raise ValueError(f"X: expected numbers that float64 holds, found a larger one ({error})") from None
        return self.net_.forward(X)

    def to_sklearn(self) -> Any:
        """The fitted scikit-learn estimator with these parameters and weights.

        It takes the same X. Of a network that standardises, W_1 / σ and b_1 - W_1 μ / σ are its first weights, in
        float64. Where |μ| is much larger than σ, its sums lose the digits that these have in common.

        Raises
        ------
        ValueError
            If a parameter is set that scikit-learn's estimator does not have, or these weights are not finite.
        """
        return to_sklearn(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _write(name: str, values: Sequence[np.ndarray], views: list[np.ndarray]) -> None:
    """Write what a user assigns into the network, if all of it fits."""
    found, expected = [np.shape(part) for part in values], [view.shape for view in views]
    if found != expected:
        raise ValueError(f"{name}: expected arrays of the shapes {shown(expected)}, found {shown(found)}")
    for view, part in zip(views, values, strict=True):
        view[...] = part
