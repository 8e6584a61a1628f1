"""The classifier: labels, and the classes and probabilities that follow from a network's last sums."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from ..checks.messages import shortened, shown
from ..checks.samples import Samples
from ..training.checkpoints import Path
from .arguments import NUMBERS, require_sound_arguments
from .class_weights import as_places, weights_of_classes
from .perceptron import Perceptron


class MLPClassifier(ClassifierMixin, Perceptron):
    """Multilayer perceptron for classification: scikit-learn's `MLPClassifier`, trained by fastbp.

    The parameters of scikit-learn's estimator [1]_ have its meanings and defaults, and start from the weights that it
    draws from the same random state; with ``shuffle=False`` the weights after each epoch agree to rounding. With
    shuffling, samples are taken in other orders, which are reproducible for any number of threads.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, or int
        N_1 … N_{L-1}.
    activation : str, Activation, or list of them
        Of the hidden layers: "identity", "logistic", "tanh", "relu"; and, which scikit-learn lacks, "leaky_relu",
        "elu", "softplus", "silu", "gelu" and `fastbp.Activation`. A list has one for each hidden layer.
    solver : "adam", "sgd" or "lbfgs"
    alpha : float
        Of the penalty ½ α Σ ‖W_k‖², which is added to the loss of every batch before it is divided by its size.
    batch_size : int or "auto"
        "auto" is min(200, n). Ignored by "lbfgs".
    learning_rate : "constant", "invscaling" or "adaptive"
        Only for "sgd": γ; γ / (t + 1)^power_t after t samples; γ until nothing improves, then a fifth, and so on.
    learning_rate_init : float
        γ.
    power_t : float
    max_iter : int
        Epochs at most; iterations of "lbfgs".
    shuffle : bool
        Whether every epoch takes the samples in a new order, in every call of `partial_fit` and `fit`.
    random_state : int, RandomState or None
        Of the initial weights, the validation split and the orders.
    tol : float
        By how much the loss, or with early stopping the validation score, has to become better to count.
    verbose : bool
        Whether to print every epoch.
    warm_start : bool
        Whether `fit` goes on from the weights of the fit before. The best loss or score starts anew. Of the same data,
        early stopping holds out the same part.
    momentum, nesterovs_momentum : float, bool
        Of "sgd".
    early_stopping : bool
        Whether to watch the score on validation data instead of the training loss, and end with the best weights.
    validation_fraction : float
        The share of the data that is held out for validation, where `fit` is given no validation data.
    beta_1, beta_2, epsilon : float
        Of "adam".
    n_iter_no_change : int or inf
        Epochs without improvement before training ends.
    max_fun : int
        Evaluations of "lbfgs" at most.
    class_weight : dict, "balanced" or None
        Factors of the weights of samples, also of validation data. (scikit-learn lacks this parameter, and all that
        follow.) A dict stands for 1 for classes that it leaves out. "balanced" counts the classes of all of y, and is
        not for `partial_fit`: a part of the data does not show how frequent classes are.
    dropout : float, or list of them
        The probability with which units of all hidden layers, or of each, are left out in training; see
        `fastbp.training.fit`. Not with "lbfgs".
    max_grad_norm : float or None
        The norm to which the gradient of a batch is clipped. Not with "lbfgs".
    callbacks : sequence of callables
        Called after every epoch as callback(net, history); training ends when one returns True. ``start(net)`` and
        ``finish(net)`` of those that have them are called by `fit`. Not by "lbfgs".
    progress : bool or None
        A progress bar on a terminal: None shows one if tqdm is installed.
    backend : str
        Of the network; see `fastbp.MLP`. All but "cuda": an estimator makes many short calls on NumPy arrays.
    standardize : bool
        Whether the network standardises every feature, by the mean and the standard deviation of the X that it is made
        for: all of X in `fit`, also what early stopping holds out, and that of the first `partial_fit`. Weights of
        samples do not count. See `fastbp.MLP.standardize`.
    products : "bfloat16" or None
        Of the network; see `fastbp.MLP`. The network is then of float32, whatever X is.

    Attributes
    ----------
    net_ : MLP
        The network; its last layer gives logits.
    classes_ : ndarray, or list of them
    coefs_, intercepts_ : list of ndarray
        W_kᵀ and b_k, views into ``net_.theta``.
    loss_, best_loss_, loss_curve_ : float, float or None, list of float
        Of the training data, penalty included, as each batch was before its update; with "lbfgs" after each iteration.
        The curve goes on in further calls; the best is that of the last `fit` and of what `partial_fit` added, None
        with early stopping.
    validation_scores_, best_validation_score_ : list of float, float
        With early stopping; else, and after "lbfgs", None. The best is that of the last `fit`, or of the calls of
        `partial_fit` since.
    validation_loss_curve_ : list of float or None
        Of the validation data, without the penalty.
    stopped_ : bool
        Whether the last call ended because nothing had become better for n_iter_no_change epochs, or because training
        diverged and early stopping had best weights.
    n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_, out_activation_
        As in scikit-learn.

    Notes
    -----
    The recorded losses are exact; scikit-learn's are of probabilities clipped to a rounding error away from 0 and 1.
    With `warm_start` and in `partial_fit`, hidden_layer_sizes, activation and loss have to stay as they are.

    Samples of weight 0 are left out with `shuffle`, and where early stopping holds out a part of X; they would only
    make batches and that part smaller. Without shuffling they have their places in the batches, as in scikit-learn.

    scikit-learn's calls differ in three ways. Where random_state is an integer, later calls of `partial_fit` and warm
    starts take the samples in the same order each time. A warm start ends after one epoch where the fit before had
    converged. And its early stopping holds out samples that were trained on before.

    Where y has one class only, its probability is 1, in one column. scikit-learn has two columns then.

    float32 data are trained in float32. A sparse X is never made dense: see `fastbp.MLP`.

    .. [1] https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPClassifier.html

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_wine(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier((16,), learning_rate_init=0.01, random_state=0)).fit(X, y)
    >>> model.score(X, y)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints, "class_weight": [dict, StrOptions({"balanced"}), None]}

    loss = "log_loss"  # not a parameter, in scikit-learn neither

    def __init__(self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, solver: str = "adam",
                 alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
                 momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: int = 10, max_fun: int = 15000, class_weight: Any = None,
                 dropout: Any = 0.0, max_grad_norm: float | None = None, callbacks: Sequence[Callable[..., Any]] = (),
                 progress: bool | None = False, backend: str = "auto", standardize: bool = False,
                 products: str | None = None) -> None:
        self.hidden_layer_sizes, self.activation, self.solver = hidden_layer_sizes, activation, solver
        self.alpha, self.batch_size = alpha, batch_size
        self.learning_rate, self.learning_rate_init = learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.shuffle, self.random_state = power_t, max_iter, shuffle, random_state
        self.tol, self.verbose, self.warm_start, self.momentum = tol, verbose, warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2, self.epsilon = validation_fraction, beta_1, beta_2, epsilon
        self.n_iter_no_change, self.max_fun, self.class_weight = n_iter_no_change, max_fun, class_weight
        self.dropout, self.max_grad_norm, self.callbacks = dropout, max_grad_norm, callbacks
        self.progress, self.backend, self.standardize, self.products = progress, backend, standardize, products

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
            sample_weight_val: Any = None, checkpoint: Path | None = None, checkpoint_every: float | str = 60.0,
            resume: Path | bool | None = None) -> "MLPClassifier":
        """Train on (n, N_0) samples and their classes.

        Parameters
        ----------
        X : array-like or sparse (n, N_0)
        y : array-like (n,), or (n, K) of 0 and 1 for several labels at a time
        sample_weight : array-like (n,), optional
        X_val, y_val, sample_weight_val : optional
            Validation data, evaluated after every epoch. Early stopping watches them instead of a part of X; for R² it
            takes two samples. Not with "lbfgs".
        checkpoint : path, optional
            Where everything of this fit is written from time to time, in place of what is there; see Notes. Not with
            "lbfgs", whose optimizer, SciPy's, has no state that can be saved.
        checkpoint_every : float or str
            Seconds between two checkpoints, or epochs, as "5 epochs".
        resume : path or bool, optional
            The checkpoint of an interrupted fit to go on from; True goes on from that at `checkpoint` if there is one.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described; then the estimator is as it was. Or if training diverges; but where
            early stopping has best weights, they are taken, the records of the epoch are NaN, and a warning says so.
        OSError
            If the first checkpoint cannot be written, or that to go on from cannot be read; the estimator is as it was.

        Notes
        -----
        A fit that goes on from a checkpoint in a new process, with the same parameters and data, ends with the same
        bits in weights and records as if it had not been interrupted, also a warm start, of which the estimator need
        not be there. What was fitted before is replaced. max_iter may be another number, of all epochs, and callbacks,
        progress, verbose and backend others; see `fastbp.MLP.fit`. What else is different is refused.

        Checkpoints belong to one call, and are no parameters: all clones in a grid search would write the same file.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False,
                         checkpointing=(checkpoint, checkpoint_every, resume))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, *, X_val: Any = None,
                    y_val: Any = None, sample_weight_val: Any = None) -> "MLPClassifier":
        """One epoch over these samples, from the weights and the optimizer's state of the call before.

        It has no checkpoints: between two calls the whole estimator may be pickled.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As for `fit`. With early stopping X_val and y_val are needed, and the scores of all calls are watched. When
            they have not become better for n_iter_no_change calls, ``stopped_`` is set and the best weights are taken.
        classes : array-like
            All classes that will come, in the first call.
        """
        require_sound_arguments(y=y, classes=classes)
        if isinstance(self.class_weight, str):
            raise ValueError(f"class_weight: partial_fit takes a dict or None, found {shown(self.class_weight)}; from "
                             f"all labels, sklearn.utils.class_weight.compute_class_weight finds balanced weights")
        before = dict(self.__dict__)
        try:
            if _check_partial_fit_first_call(self, classes):
                several = type_of_target(y).startswith("multilabel")
                self._label_binarizer = LabelBinarizer().fit(y if several else classes)
            return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)
        except BaseException:
            if "net_" not in self.__dict__:  # nothing began: other classes may come with the next call
                self._restore(before)
            raise

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=NUMBERS, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
            return X, y
        if self.warm_start and not incremental and set(unique_labels(y)) != set(self.classes_):
            raise ValueError(f"warm_start can only be used where `y` has the same classes as in the previous call to "
                             f"fit. Previously got {shortened(self.classes_, 160)}, `y` has "
                             f"{shortened(unique_labels(y), 160)}")
        return X, y

    def _weights_of_classes(self, d: np.ndarray) -> list[np.ndarray] | None:
        if self.class_weight is None:
            return None
        return weights_of_classes(self.class_weight, self.classes_, as_places(d))

    def _encoded(self, name: str, y: np.ndarray) -> np.ndarray:
        found = unique_labels(y)
        if len(np.setdiff1d(found, self.classes_, assume_unique=True)):
            raise ValueError(f"`{name}` has classes not in `self.classes_`. `self.classes_` has "
                             f"{shortened(self.classes_, 160)}. '{name}' has {shortened(found, 160)}.")
        if (y.ndim == 2) != self._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError(f"{name}: expected {'(n, K) of 0 and 1' if y.ndim == 1 else 'one class for each sample'}, "
                             f"as before, found shape {y.shape}")
        if self._label_binarizer.y_type_ == "multiclass":
            return np.searchsorted(self.classes_, y)
        bits = self._label_binarizer.transform(y)
        return bits.toarray() if hasattr(bits, "toarray") else bits

    def _kind(self, y: np.ndarray) -> tuple[int, Any, str]:
        kind = self._label_binarizer.y_type_
        if kind == "multiclass":
            return len(self.classes_), "softmax_cross_entropy", "softmax"
        return 1 if kind == "binary" or y.ndim == 1 else y.shape[1], "binary_cross_entropy", "logistic"

    @property
    def _knows_one_class(self) -> bool:
        return self.n_outputs_ == 1 and len(self.classes_) == 1

    def _probabilities(self, A: np.ndarray) -> np.ndarray:
        return softmax(A, axis=1) if self.out_activation_ == "softmax" else expit(A)

    def _predicted(self, A: np.ndarray) -> np.ndarray:
        P = self._probabilities(A)
        return self._label_binarizer.inverse_transform(P.ravel() if self.n_outputs_ == 1 else P)

    def _score_of(self, A: np.ndarray, samples: Samples) -> float:
        if not np.isfinite(A).all():
            return np.nan
        if self._knows_one_class:
            correct = np.ones(len(A), bool)
        elif self.out_activation_ == "softmax":
            correct = A.argmax(axis=1) == samples.labels
        else:
            correct = ((A > 0) == (samples.targets > 0.5)).all(axis=1)
        return float(np.average(correct, weights=samples.weights if len(samples.weights) else None))

    def predict(self, X: Any) -> np.ndarray:
        """The class of every row of X, (n,); or (n, K) of 0 and 1 where several labels may hold."""
        return self._predicted(self._sums(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class, (n, K), in the order of ``classes_``."""
        P = self._probabilities(self._sums(X))
        if self._knows_one_class:
            return np.ones_like(P)
        return np.hstack([1 - P, P]) if self.n_outputs_ == 1 else P

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`, which stays finite where a probability rounds to 0."""
        A = self._sums(X)
        if self.out_activation_ == "softmax":
            return log_softmax(A, axis=1)
        if self._knows_one_class:
            return np.zeros_like(A)
        return np.hstack([log_expit(-A), log_expit(A)]) if self.n_outputs_ == 1 else log_expit(A)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy, the share of samples whose class is predicted; of several labels, all have to be."""
        require_sound_arguments(y=y, sample_weight=sample_weight)
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
