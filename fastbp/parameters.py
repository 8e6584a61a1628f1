"""The parameters of a network: where they lie, how inputs are standardised, and what is saved and copied of it."""

import copy
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .backends import backend_named
from .backends.contract import (
    BY_ENTRIES,
    FROM_TRANSPOSE,
    NO_NORMS,
    WHOLE,
    Wanted,
)
from .backends.linking import standardizing
from .backends.moments import Moments
from .backends.workspaces import Shelf
from .checks.arguments import (
    checked_dtype,
    checked_products,
    checked_widths,
    require_initializer,
    require_whole,
)
from .checks.samples import Samples, no_numbers, no_rows
from .checks.standardization import Standardization, checked_standardization
from .formulas.initializers import drawn_weights
from .functions.activations import Activation, checked_activations
from .functions.losses import Loss, loss_named
from .layout import Views, bias_vector, make_layout, weight_matrix
from .pace import Pace, paces_of
from .streams.sources import is_stream, stream_of

#: Sparse rows of which a larger share is stored are written out. Steps of 1000-100-10 in batches of 128 took 0.57 of
#: that time over the entries at 12 %, and as long as of a dense copy at about 10 %.
MOST_DENSE = 1 / 5


class Parameters:
    """A network's parameters, its backend and the workspaces of its calls; `Network` adds the calls.

    Parameters and attributes are those of `MLP`.
    """

    #: How X is standardised; also of networks that older versions pickled, which do not.
    _standardization: Standardization | None = None

    #: In which numbers W, h and δ enter products; also of networks that older versions pickled.
    _products: str | None = None

    def __init__(self, widths: Sequence[int], *, activation: str | Activation | Sequence[str | Activation] = "relu",
                 output_activation: str | Activation = "identity", loss: str | Loss = "softmax_cross_entropy",
                 dtype: Any = "float32", seed: int | None = None, backend: str = "auto",
                 initializer: str = "auto", products: str | None = None) -> None:
        self._widths = checked_widths(widths)
        self._activations = checked_activations(activation, output_activation, len(self._widths) - 1)
        self._loss = loss_named(loss, self._activations[-1].name, self._widths[-1])
        self._dtype = checked_dtype(dtype)
        self._products = checked_products(products, self._dtype)
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
        self._backend_name, self._backend = backend_named(backend, self._products)
        self._layout, self._is_linked = standardizing(make_layout(self._widths), self._standardization), False
        self._shelves: dict[int, Shelf] = {}
        self._with_linear_loss: Any = None
        self._curvature: Any = None
        self._paces = paces_of(self._backend_name, self._products or self._dtype.name, self._widths)
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
    def activation_records(self) -> tuple[Activation, ...]:
        """The records of g_1 … g_L."""
        return self._activations

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
    def products(self) -> str | None:
        """The numbers to which W, h and δ are rounded in products, None where they are not."""
        return self._products

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
            kind = (self._backend_name, self._products, self._dtype, self._widths, tuple(self._activations), self._loss,
                    way)
            shelf = self._shelves[way] = self._backend.memory.shelves.shelf(kind, self._backend, self._layout,
                                                                            self._dtype, **_given(way))
        return shelf

    def way_of(self, samples: Samples, count: int) -> int:
        """How a call takes X, or a training that takes `count` samples between updates of θ; see `contract.WHOLE`.

        W_1ᵀ is made where columns of X have an entry each on average: to make it takes about as long as it saves then.
        """
        rows = samples.rows
        if rows is None or rows.density >= MOST_DENSE or not self._backend.takes_entries:
            return WHOLE
        return FROM_TRANSPOSE if rows.density * count >= 1.0 else BY_ENTRIES

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
        numbers = str(self._dtype) if self._products is None else f"{self._dtype} with {self._products} products"
        return (f"<{type(self).__name__} {shape}{inputs}, {', '.join(self.activations)}, {self.loss}, {numbers}, "
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
        self._layout = standardizing(self._layout, standardization, self._products)

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

    # ---- for calls and trainings -----------------------------------------------------------------------------------

    def require_writeable(self) -> None:
        """Refuse read-only parameters: compiled code would write to them all the same."""
        if isinstance(self._theta, np.ndarray) and not self._theta.flags.writeable:
            raise ValueError("theta: expected parameters that can be written, found a read-only array")

    def zero_grad(self) -> None:
        """Set the running gradient to zero."""
        self._backend.memory.fill(self._grad, 0.0)

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

    @property
    def generator_state(self) -> dict[str, Any]:
        """The state of that generator, as NumPy gives it."""
        return dict(self._rng.bit_generator.state)

    def draw_from(self, generator: np.random.Generator) -> None:
        """Draw seeds from another generator from now on."""
        self._rng = generator

    def __getstate__(self) -> dict[str, Any]:
        """All attributes but those that `_prepare` sets; None for a gradient of zero, as training leaves it."""
        prepared = ("_backend", "_layout", "_is_linked", "_paces", "_shelves", "_no_results",
                    "_with_linear_loss", "_curvature")
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

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameters":
        """A copy whose vectors are copied once, by `__setstate__`."""
        other = memo[id(self)] = object.__new__(type(self))
        state = self.__getstate__()
        vectors = {name: state.pop(name) for name in ("_theta", "_grad")}
        other.__setstate__(copy.deepcopy(state, memo) | vectors)
        return other


def generator_of(state: Any) -> np.random.Generator:
    """A generator in a state that `Parameters.generator_state` gave.

    Raises
    ------
    ValueError
        If it is none.
    """
    bits = np.random.PCG64()
    try:
        bits.state = state
    except Exception as error:
        raise ValueError(f"expected the state of a PCG64 generator ({error!s:.80})") from None
    return np.random.Generator(bits)


def _given(way: int) -> dict[str, int]:
    """The way in which X is taken, as an argument for backends that have several."""
    return {} if way == WHOLE else {"way": way}


def _require_same(name: str, values: np.ndarray, own: np.ndarray) -> None:
    """Refuse all values but the array itself, which ``net.theta += 1`` assigns after it has changed it in place."""
    if values is not own:
        raise AttributeError(f"{name} cannot be replaced, because weights and kernels refer to it; write in place: "
                             f"net.{name}[:] = …")

