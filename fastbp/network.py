"""The network: parameters, and the calls that take samples forward and errors back."""

import copy
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from . import threads
from .backends import backend_named
from .backends.contract import (
    BY_ENTRIES,
    FROM_TRANSPOSE,
    NO_EXTRAS,
    NO_NORMS,
    NO_ORDER,
    WHOLE,
    Batch,
    Extras,
    Wanted,
)
from .backends.linking import standardizing
from .backends.moments import Moments
from .backends.workspaces import Shelf
from .checks.arguments import (
    checked_clip_norm,
    checked_dtype,
    checked_widths,
    require_initializer,
    require_number,
    require_whole,
)
from .checks.arrays import Samples, no_numbers, no_rows
from .checks.standardization import Standardization, checked_standardization
from .formulas.initializers import drawn_weights
from .formulas.sample_gradients import GradientNoise, noise_of
from .functions.activations import Activation, checked_activations
from .functions.losses import Loss, loss_named
from .layout import Views, bias_vector, make_layout, weight_matrix
from .optimizers.optimizer import DivergenceError
from .pace import Pace, paces_of
from .streams.sources import is_stream, stream_of

#: Sparse rows of which a larger share is stored are written out: a step of 1000-100-10 in batches of 128 takes as long
#: then as over the entries. (Of a dense copy it took as long at half of that share.)
MOST_DENSE = 1 / 8


class Network:
    """A network's parameters, and its calls forward and back; `MLP`, which users make, adds training and files.

    Parameters and attributes are those of `MLP`.
    """

    #: How X is standardised; also of networks that older versions pickled, which do not.
    _standardization: Standardization | None = None

    def __init__(self, widths: Sequence[int], *, activation: str | Activation | Sequence[str | Activation] = "relu",
                 output_activation: str | Activation = "identity", loss: str | Loss = "softmax_cross_entropy",
                 dtype: Any = "float32", seed: int | None = None, backend: str = "auto",
                 initializer: str = "auto") -> None:
        self._widths = checked_widths(widths)
        self._activations = checked_activations(activation, output_activation, len(self._widths) - 1)
        self._loss = loss_named(loss, self._activations[-1].name, self._widths[-1])
        self._dtype = checked_dtype(dtype)
        require_initializer(initializer)
        if seed is not None:
            require_whole("seed", seed, at_least=0)
        self._rng = np.random.default_rng(seed)
        self._prepare(backend)
        memory = self._backend.memory
        self._theta, self._grad = (memory.zero_vector(self._layout.size, self._dtype) for _ in range(2))
        for k, g in enumerate(self._activations, 1):
            chosen, begin = g.initializer if initializer == "auto" else initializer, int(self._layout.weights[k])
            for drawn in drawn_weights(chosen, self._rng, self._widths[k - 1], self._widths[k]):
                memory.write(self._theta[begin : begin + drawn.size], drawn.astype(self._dtype))
                begin += drawn.size
        #: Anything that JSON can hold, saved with the network.
        self.metadata: dict[str, Any] = {}

    def _prepare(self, backend: str) -> None:
        """Set what is not pickled: the backend, the layout, the paces, and arrays for results that are not wanted."""
        self._backend_name, self._backend = backend_named(backend)
        self._layout, self._is_linked = standardizing(make_layout(self._widths), self._standardization), False
        self._shelves: dict[int, Shelf] = {}
        self._paces = paces_of(self._backend_name, self._dtype.name, self._widths)
        self._no_results = Wanted(no_numbers(self._dtype), no_rows(self._dtype, self._widths[-1]),
                                  no_rows(self._dtype, self._widths[0]), NO_NORMS)

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def widths(self) -> tuple[int, ...]:
        """N_0 … N_L."""
        return self._widths

    @property
    def activations(self) -> tuple[str, ...]:
        """The names of g_1 … g_L."""
        return tuple(g.name for g in self._activations)

    @property
    def is_built_in(self) -> bool:
        """Whether all its activations and its loss are fastbp's own."""
        return self._loss.is_cached and all(g.is_cached for g in self._activations)

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return self._loss.name

    @property
    def loss_record(self) -> Loss:
        """The record of the loss: which targets it takes, and whether it classifies."""
        return self._loss

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the parameters and of all computation."""
        return self._dtype

    @property
    def backend(self) -> str:
        """The name of the backend that computes: for "auto", the one that it stands for."""
        return self._backend_name

    @property
    def layout(self) -> Any:
        """The shape as data: where each layer lies in theta, and the addresses of its compiled functions."""
        if not self._is_linked:  # nothing is compiled before it is needed
            self._link()
        return self._layout

    @property
    def sizes(self) -> Any:
        """The layout, whose functions may not be compiled yet."""
        return self._layout

    def chunk(self, way: int = WHOLE) -> int:
        """The number of samples that the backend takes at a time."""
        return (self._shelf(way).chunk if self._is_linked
                else self._backend.chunk(self._layout, self._dtype, **_given(way)))

    def pieces(self, rule: Any) -> Any:
        """What a training by an optimizer's rule compiles; see `Backend.pieces`."""
        return self._backend.pieces(self._layout, self._activations, self._loss, self._dtype, rule)

    def _link(self) -> None:
        """Compile the functions that the layout refers to."""
        self._layout = self._backend.linked(self._layout, self._activations, self._loss, self._dtype)
        self._is_linked = True

    def _shelf(self, way: int) -> Shelf:
        """The shelf of the workspaces for calls that take X in this way; see `contract.WHOLE`."""
        shelf = self._shelves.get(way)
        if shelf is None:
            kind = self._backend_name, self._dtype, self._widths, tuple(self._activations), self._loss, way
            shelf = self._shelves[way] = self._backend.memory.shelves.shelf(kind, self._backend, self._layout,
                                                                            self._dtype, **_given(way))
        return shelf

    def way_of(self, samples: Samples, count: int) -> int:
        """How a call takes X, or a training that takes `count` samples between updates of θ; see `contract.WHOLE`.

        W_1ᵀ is made where columns of X have half an entry each on average: to make it takes as long as it saves then.
        """
        rows = samples.rows
        if rows is None or rows.density >= MOST_DENSE or not self._backend.takes_entries:
            return WHOLE
        return FROM_TRANSPOSE if rows.density * count >= 0.5 else BY_ENTRIES

    @property
    def theta(self) -> np.ndarray:
        """All parameters, (P,); write in place, ``net.theta[:] = …`` or, where it is NumPy's, ``net.theta -= …``."""
        return self._theta

    @theta.setter
    def theta(self, values: np.ndarray) -> None:
        _require_same("theta", values, self._theta)

    def theta_on_host(self) -> np.ndarray:
        """theta as a NumPy array: itself, or a copy of what is on the device."""
        return self._backend.memory.to_host(self._theta)

    @property
    def grad(self) -> np.ndarray:
        """The running gradient, (P,), laid out like theta; write in place, ``net.grad[:] = …`` or, where it is NumPy's,
        ``net.grad /= …``."""
        return self._grad

    @grad.setter
    def grad(self, values: np.ndarray) -> None:
        _require_same("grad", values, self._grad)

    @property
    def weights(self) -> list[np.ndarray]:
        """W_1 … W_L, views (N_k, N_{k-1}) into theta; weights[k-1] is W_k, and ``weights[k-1] = …`` writes into it."""
        return self._views(weight_matrix, self._theta)

    @property
    def biases(self) -> list[np.ndarray]:
        """b_1 … b_L, views (N_k,) into theta."""
        return self._views(bias_vector, self._theta)

    @property
    def weight_gradients(self) -> list[np.ndarray]:
        """∂E/∂W_1 … ∂E/∂W_L, views (N_k, N_{k-1}) into grad."""
        return self._views(weight_matrix, self._grad)

    @property
    def bias_gradients(self) -> list[np.ndarray]:
        """∂E/∂b_1 … ∂E/∂b_L, views (N_k,) into grad."""
        return self._views(bias_vector, self._grad)

    def _views(self, view: Callable[..., np.ndarray], values: np.ndarray) -> list[np.ndarray]:
        return Views(view(values, self._layout, k) for k in range(1, self._layout.depth + 1))

    def __repr__(self) -> str:
        shape = "-".join(map(str, self._widths))
        inputs = "" if self._standardization is None else " of standardised inputs"
        return (f"<{type(self).__name__} {shape}{inputs}, {', '.join(self.activations)}, {self.loss}, {self._dtype}, "
                f"{self._layout.size} parameters, backend {self.backend!r}>")

    # ---- standardised inputs ---------------------------------------------------------------------------------------

    def standardize(self, X: Any = None, *, mean: Any = None, scale: Any = None) -> None:
        """From now on take h_0 = (x - μ) / σ of every feature, so that all calls take x as it is.

        μ and σ belong to the network: they are saved and copied with it, and gradients and Jacobians with respect to x
        count them in. X of the calls is standardised while it is read, in float64, and rounded once to the network's
        dtype; it is not copied. Numbers have to be finite in that dtype when they are standardised. Parameters stay as
        they are.

        Parameters
        ----------
        X : array_like or sparse matrix (n, N_0), or stream, optional
            Samples, or a stream of chunks as `fit` takes it. μ is their mean, and σ the standard deviation
            √(Σ (x - μ)² / n), 1 where a feature is constant. They are read once, as they lie, in float64. Sparse rows
            have no zeros where μ is not 0, and are then written out a few at a time; a standardisation by ``mean=0.0,
            scale=net.feature_scale`` keeps them.
        mean, scale : array_like (N_0,) or float, optional
            μ and σ instead of X; one number is for all features.

        Raises
        ------
        TypeError, ValueError
            If X is not a finite, non-empty array of that shape, or a feature's deviation is too small for float64 to
            hold all its digits; if mean and scale are not finite numbers, or a scale is not above 0; or if there are
            neither X nor both of these, or all. The network is then as it was.

        See Also
        --------
        unstandardize : Take x as it is again.

        Examples
        --------
        >>> from fastbp import MLP
        >>> net = MLP([2, 3, 1], loss="squared_error", seed=0)
        >>> X = np.array([[1.0, 1e9], [2.0, 1e9 + 1], [3.0, 1e9 + 2]])
        >>> net.standardize(X)
        >>> net.feature_mean.tolist(), net.feature_scale.round(3).tolist()
        ([2.0, 1000000001.0], [0.816, 0.816])
        >>> net.standardize(mean=0.0, scale=255.0)
        >>> net.feature_scale.tolist()
        [255.0, 255.0]
        """
        if X is None:
            chosen = checked_standardization(mean, scale, self._widths[0])
        elif mean is not None or scale is not None:
            raise TypeError("standardize: expected X, or mean and scale, found both")
        else:
            moments = Moments(self._widths[0])
            if is_stream(X):
                for chunk in stream_of(X, 1).chunks(None):
                    for part in chunk.parts:
                        moments.add(part.X, f"{chunk.name}: X")
            else:
                moments.add(X)
            chosen = Standardization(*moments.mean_and_scale())
        self._set_standardization(chosen)

    def unstandardize(self) -> None:
        """Take x as it is from now on: h_0 = x. Parameters stay as they are."""
        self._set_standardization(None)

    def _set_standardization(self, standardization: Standardization | None) -> None:
        self._standardization = standardization
        self._layout = standardizing(self._layout, standardization)

    @property
    def standardization(self) -> Standardization | None:
        """How X is standardised, None where it is taken as it is."""
        return self._standardization

    @property
    def feature_mean(self) -> np.ndarray | None:
        """μ of every feature, (N_0,) float64 and read-only; None where X is not standardised. See `standardize`."""
        return None if self._standardization is None else self._standardization.mean

    @property
    def feature_scale(self) -> np.ndarray | None:
        """σ of every feature, (N_0,) float64 and read-only; None where X is not standardised."""
        return None if self._standardization is None else self._standardization.scale

    # ---- forward and back ------------------------------------------------------------------------------------------

    def forward(self, X: Any) -> np.ndarray:
        """y = h_L for every row of X.

        Parameters
        ----------
        X : array_like or sparse matrix (n, N_0)
            Real numbers of any dtype, converted to the network's; all finite. See `MLP` for sparse ones.

        Returns
        -------
        Y : ndarray (n, N_L)

        Raises
        ------
        TypeError, ValueError
            If X is not a finite, non-empty array of that shape.
        """
        return self._outputs(self.checked_inputs(X), X)

    def forward_samples(self, samples: Samples) -> np.ndarray:
        """y = h_L of samples that were checked before; see `forward`."""
        inputs = samples._replace(**{name: getattr(samples, name)[:0] for name in ("labels", "targets", "weights")})
        return self._outputs(inputs, samples.X)

    def _outputs(self, samples: Samples, given: Any) -> np.ndarray:
        """y = h_L of samples without targets, as an array of the kind that `given` is."""
        Y: np.ndarray = self._backend.memory.empty((len(samples.X), self._widths[-1]), self._dtype, given)
        self._in_slices(1, self._predict, samples, Y)
        return Y

    def loss_value(self, X: Any, d: Any, sample_weight: Any = None) -> float:
        """E = Σ_i w_i L(y^i; d^i), the sum over the samples.

        Parameters
        ----------
        X : array_like or sparse matrix (n, N_0)
        d : array_like
            For the losses with softmax: integer labels (n,) from 0 to N_L - 1, or rows (n, N_L) that sum to 1. For
            "binary_cross_entropy": (n, N_L) numbers from 0 to 1. For "poisson": (n, N_L) numbers of at least 0. For
            the others: (n, N_L) numbers. With one output, (n,) will do.
        sample_weight : array_like (n,), optional
            w_i, not negative; 1 if not given.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; it is named.
        """
        return self._in_slices(1, self._propagate, self.checked_samples(X, d, sample_weight), self._no_results)[0]

    def evaluate(self, X: Any, d: Any, sample_weight: Any = None) -> tuple[float, float]:
        """E, and the share of the samples that is classified correctly.

        Parameters are those of `loss_value`, and so is what it raises. The share is NaN for losses that do not
        classify. A sample is correct when its largest output is that of its class, or for "binary_cross_entropy" when
        every output is on the right side of 0.
        """
        return self.evaluate_samples(self.checked_samples(X, d, sample_weight))

    def evaluate_samples(self, samples: Samples) -> tuple[float, float]:
        """E and the share of correct samples, of samples that were checked before; see `evaluate`."""
        E, correct = self._in_slices(1, self._propagate, samples, self._no_results)
        return E, correct / len(samples.X) if self._loss.is_classification else float("nan")

    def require_writeable(self) -> None:
        """Refuse read-only parameters: compiled code would write to them all the same."""
        if isinstance(self._theta, np.ndarray) and not self._theta.flags.writeable:
            raise ValueError("theta: expected parameters that can be written, found a read-only array")

    def zero_grad(self) -> None:
        """Set the running gradient to zero."""
        self._backend.memory.fill(self._grad, 0.0)

    def accumulate_gradient(self, X: Any, d: Any, sample_weight: Any = None, *,
                            clip_norm: float | None = None) -> float:
        """Add ∇E to the running gradient, sample after sample.

        Two calls on the two halves of a batch equal one call on both. X, d and sample_weight are those of `loss_value`,
        and so is what it raises; the gradient is then as it was. Ctrl-C ends a long call within 100 ms, and leaves the
        samples that were added until then.

        Parameters
        ----------
        clip_norm : float, optional
            The norm C to which every sample's gradient is clipped before it is added: Σ_s min(1, C / ‖g_s‖) g_s with
            g_s = w_s ∇L_s. (An optimizer's own clip_norm clips the gradient of a whole batch.)

        Returns
        -------
        E : float
            Σ_s w_s L_s, whether gradients are clipped or not.
        """
        if sample_weight is None and clip_norm is None and self._standardization is None:
            E = self._accumulate_few(X, d)
            if E is not None:
                return E
        C = checked_clip_norm("clip_norm", clip_norm)
        extras = Extras(C, 0, 0, 0) if C else NO_EXTRAS
        samples = self.checked_samples(X, d, sample_weight)
        return self._in_slices(3, self._propagate, samples, self._for_gradient(), extras, whole_rows=C > 0.0)[0]

    def _accumulate_few(self, X: Any, d: Any) -> float | None:
        """`accumulate_gradient` of a few samples, checked and computed in one compiled call.

        None if it has to be done in another way, or refused: if there are many samples, or arrays are not as kernels
        take them.
        """
        add, dtype, widths = self._backend.add_small_gradient, self._dtype, self._widths
        if (add is None or type(X) is not np.ndarray or type(d) is not np.ndarray or X.dtype != dtype or X.ndim != 2
                or not X.flags.carray or not d.flags.carray):
            return None
        n, shape = len(X), d.shape
        operations = 6 * self._layout.size * n
        if X.shape[1] != widths[0] or not 0 < operations < threads.SMALL_CALL or d.ndim not in (1, 2) or shape[0] != n:
            return None
        if len(shape) == 1 and self._loss.targets == "classes":
            if d.dtype != np.int64:
                return None
        else:
            if self._loss.targets != "values" or d.dtype != dtype or d.size != n * widths[-1]:
                return None
            d = d.reshape(n, widths[-1])
        if not self._is_linked:
            self._link()
        threads.threading_layer()  # started before a kernel that may use it
        shelf = self._shelf(WHOLE)
        idle = shelf.take(n)
        try:
            E, found = add(self._theta, X, d, self._grad, idle.work)
        finally:
            shelf.idle.append(idle)
        return E if found else None

    def accumulate_samples(self, samples: Samples) -> float:
        """Add ∇E of samples that were checked before to the running gradient, and return E."""
        return self._in_slices(3, self._propagate, samples, self._for_gradient())[0]

    def _for_gradient(self) -> Wanted:
        """The running gradient."""
        _, no_Y, no_E0, no_norms = self._no_results
        return Wanted(self._grad, no_Y, no_E0, no_norms)

    def gradient_norms(self, X: Any, d: Any, sample_weight: Any = None) -> np.ndarray:
        """‖g_s‖ of every sample's gradient g_s = w_s ∇L_s, (n,) float64.

        The pass forward and back gives ‖g_s‖² = Σ_k ‖δ_k‖² (‖h_{k-1}‖² + 1) [1]_. No gradient is stored, and the
        running gradient is not touched. Parameters are those of `loss_value`, and so is what it raises.

        .. [1] Goodfellow, "Efficient per-example gradient computations", 2015.

        Examples
        --------
        >>> from fastbp import MLP
        >>> net = MLP([2, 3, 1], loss="squared_error", dtype="float64", seed=0)
        >>> X, d = np.array([[0.5, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0])
        >>> E = net.accumulate_gradient(X[:1], d[:1])
        >>> bool(np.isclose(net.gradient_norms(X, d)[0], np.linalg.norm(net.grad)))
        True
        """
        norms, _ = self._norms_and_gradient(self.checked_samples(X, d, sample_weight))
        return self._backend.memory.result(norms, X)

    def gradient_noise(self, X: Any, d: Any, sample_weight: Any = None) -> GradientNoise:
        """How the gradients g_s = w_s ∇L_s of n ≥ 2 samples vary around their mean.

        The running gradient is not touched. Parameters are those of `loss_value`, and so is what it raises.

        Returns
        -------
        mean_squared_norm : float
            ‖ḡ‖² of the mean gradient ḡ = Σ_s g_s / n.
        variance : float
            tr Σ = Σ_s ‖g_s - ḡ‖² / (n - 1).
        noise_scale : float
            tr Σ / |G|² with |G|² = ‖ḡ‖² - tr Σ / n [1]_. Batches much smaller than that are mostly noise, and much
            larger ones waste samples. It is infinite where the estimate of |G|² is not positive: then n is too small to
            tell. It and the variance are NaN where a gradient is not finite.

        .. [1] McCandlish, Kaplan, Amodei et al., "An empirical model of large-batch training", 2018, appendix A.
        """
        samples = self.checked_samples(X, d, sample_weight)
        if len(samples.X) < 2:
            raise ValueError("X: expected at least 2 samples, of whose gradients a variance can be told, found 1")
        return noise_of(*map(self._backend.memory.to_host, self._norms_and_gradient(samples)))

    def _norms_and_gradient(self, samples: Samples) -> tuple[Any, Any]:
        """‖g_s‖ of every sample, and Σ_s g_s."""
        memory = self._backend.memory
        norms = memory.zeros(len(samples.X), np.dtype(np.float64))
        total = memory.zeros(self._layout.size, self._dtype)
        self._in_slices(3, self._propagate, samples, self._no_results._replace(grad=total, norms=norms),
                        whole_rows=True)
        return norms, total

    def input_gradient(self, X: Any, d: Any, sample_weight: Any = None) -> np.ndarray:
        """e_0 = ∇_x E, a row (N_0,) for every sample; of a network that standardises, with respect to x as it is given.

        The running gradient is not touched. Parameters are those of `loss_value`, and so is what it raises.
        """
        samples = self.checked_samples(X, d, sample_weight)
        E0: np.ndarray = self._backend.memory.empty(samples.X.shape, self._dtype, X)
        no_grad, no_Y, _, no_norms = self._no_results
        self._in_slices(2, self._propagate, samples, Wanted(no_grad, no_Y, E0, no_norms), whole_rows=True)
        if self._standardization is not None:
            self._backend.memory.multiply_columns(E0, self._standardization.slope)
        return E0

    def step(self, learning_rate: float) -> None:
        """W ← W - γ ∂E/∂W for all parameters, then the running gradient is set to zero.

        The gradient is the sum over the samples since it was last zero. For a step against their mean gradient, divide
        the learning rate by their number.

        Raises
        ------
        TypeError, ValueError
            If the learning rate is not a finite number, at least 0.
        DivergenceError
            If the step is not finite; theta is left as it was.
        """
        rate = require_number("learning_rate", learning_rate, at_least=0.0)
        self.require_writeable()
        if not self._backend.memory.descend(self._theta, self._grad, rate):
            raise DivergenceError("the gradient is not finite; theta is left as it was. zero_grad() and a smaller "
                                  "learning rate, or clipping, start again")

    def checked_samples(self, X: Any, d: Any, sample_weight: Any) -> Samples:
        """The samples of a call, as kernels take them; raises what `loss_value` does."""
        return self._backend.memory.as_samples(X, d, sample_weight, self._dtype, self._widths[0], self._widths[-1],
                                               self._loss.targets, self._standardization)

    def checked_inputs(self, X: Any) -> Samples:
        """Samples without targets, as kernels take them; raises what `forward` does."""
        return self._backend.memory.as_inputs(X, self._dtype, self._widths[0], self._widths[-1], self._standardization)

    def _propagate(self, start: int, stop: int, E: float, work: Any, threads: int, samples: Samples, wanted: Wanted,
                   extras: Extras = NO_EXTRAS) -> tuple[float, int]:
        return self._backend.propagate(self._theta, self._layout, Batch(samples, NO_ORDER, start, stop), E, wanted,
                                       extras, work, threads)

    def _predict(self, start: int, stop: int, E: float, work: Any, threads: int, samples: Samples,
                 Y: Any) -> tuple[float, int]:
        self._backend.predict(self._theta, self._layout, samples, Y, start, stop, work, threads)
        return E, 0

    def _in_slices(self, passes: int, call: Callable[..., tuple[float, int]], samples: Samples,
                   *given: Any, whole_rows: bool = False) -> tuple[float, int]:
        """E and correct samples of ``call(start, stop, E, work, threads, samples, *given)`` over all samples.

        It is called for slices, between which Ctrl-C may end it.

        passes : 1 forward, 2 with errors, 3 with gradients.
        whole_rows : whether the results, e_0 or norms, need rows of X with their zeros.
        """
        n, layout = len(samples.X), self.layout
        way = WHOLE if whole_rows else self.way_of(samples, n)
        operations, shelf = 6.0 * layout.size * n, self._shelf(way)
        idle = shelf.take(n)
        try:
            with threads.allowed(operations if self._backend.parallel else 0.0) as count:
                if operations < threads.SMALL_CALL:  # too short to look at the clock
                    return call(0, n, 0.0, idle.work, count, samples, *given)
                E, correct, start, chunk = 0.0, 0, 0, shelf.chunk
                pace = self.pace(("call", passes, way), passes)
                while start < n:
                    begin, (team, budget) = time.perf_counter(), pace.next_slice(count)
                    stop = min(start + max(1, budget // chunk) * chunk, n)
                    E, more = call(start, stop, E, idle.work, team, samples, *given)
                    pace.learn(team, time.perf_counter() - begin, stop - start)
                    start, correct = stop, correct + more
        finally:
            shelf.idle.append(idle)
        return E, correct

    def pace(self, call: Hashable, passes: float) -> Pace:
        """The pace of one kind of calls on networks of this shape.

        passes : through the network, of which a gradient takes three.
        """
        return self._paces.of(call, passes)

    def workspace(self, samples: int, way: int = WHOLE) -> AbstractContextManager[Any]:
        """A workspace for kernel calls that take X in this way, which no other thread has meanwhile."""
        if not self._is_linked:
            self._link()
        return self._shelf(way).workspace(samples)

    @property
    def backend_module(self) -> Any:
        """The module that has the backend's functions; see `Backend`."""
        return self._backend

    def draw_seed(self) -> int:
        """A seed for the next `fit`, from the network's own generator."""
        return int(self._rng.integers(2**63))

    def __getstate__(self) -> dict[str, Any]:
        """All attributes but those that `_prepare` sets; None for a gradient of zero, as training leaves it."""
        prepared = ("_backend", "_layout", "_is_linked", "_paces", "_shelves", "_no_results")
        state = {name: value for name, value in self.__dict__.items() if name not in prepared}
        theta, grad = map(self._backend.memory.to_host, (self._theta, self._grad))
        return state | {"_theta": theta, "_grad": grad if grad.any() else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare(self._backend_name)
        memory = self._backend.memory
        self._theta = memory.vector(self._theta)
        self._grad = (memory.zero_vector(self._layout.size, self._dtype) if self._grad is None
                      else memory.vector(self._grad))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        """A copy whose vectors are copied once, by `__setstate__`."""
        other = memo[id(self)] = object.__new__(type(self))
        state = self.__getstate__()
        vectors = {name: state.pop(name) for name in ("_theta", "_grad")}
        other.__setstate__(copy.deepcopy(state, memo) | vectors)
        return other


def _given(way: int) -> dict[str, int]:
    """The way in which X is taken, as an argument for backends that have several."""
    return {} if way == WHOLE else {"way": way}


def _require_same(name: str, values: np.ndarray, own: np.ndarray) -> None:
    """Refuse all values but the array itself, which ``net.theta += 1`` assigns after it has changed it in place."""
    if values is not own:
        raise AttributeError(f"{name} cannot be replaced, because weights and kernels refer to it; write in place: "
                             f"net.{name}[:] = …")
