"""The network: the calls that take samples forward and errors back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import threads
from .backends.contract import FROM_TRANSPOSE, NO_EXTRAS, NO_ORDER, WHOLE, Batch, Extras, Wanted
from .checks.arguments import checked_clip_norm, require_number
from .checks.samples import Samples
from .formulas.sample_gradients import GradientNoise, noise_of
from .optimizers.optimizer import DivergenceError
from .parameters import Parameters

#: The threads that train networks at the moment, by the ids of these. An attribute that comes and goes would make all
#: others of a network slower.
_TRAINERS: dict[int, threading.Thread] = {}


class Network(Parameters):
    """A network's calls forward and back; `MLP`, which users make, adds training and files.

    Parameters and attributes are those of `MLP`.
    """

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
        add, few = self._backend.add_small_gradient, self._few(X, d)
        if add is None or few is None:
            return None
        shelf = self._shelf(WHOLE)
        idle = shelf.take(len(X))
        try:
            E, found = add(self._theta, *few, self._grad, idle.work)
        finally:
            shelf.idle.append(idle)
        return E if found else None

    def _few(self, X: Any, d: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """X and d as calls on a few samples take them, which look at the numbers themselves, and the network ready for
        such a call; or None, where they are not like that."""
        dtype, widths = self._dtype, self._widths
        if (type(X) is not np.ndarray or type(d) is not np.ndarray or X.dtype != dtype or X.ndim != 2
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
            if self._loss.targets not in ("values", "slopes") or d.dtype != dtype or d.size != n * widths[-1]:
                return None
            d = d.reshape(n, widths[-1])
        if not self._is_linked:
            self._link()
        threads.threading_layer()  # started before a kernel that may use it
        return X, d

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

    def require_no_other_training(self) -> None:
        """Refuse a training beside one that goes on in another thread: both would write to the same parameters.

        Raises
        ------
        RuntimeError
            That names the network.
        """
        trainer = _TRAINERS.get(id(self))
        if trainer not in (None, threading.current_thread()) and trainer.is_alive():  # a forked child lacks the thread
            raise RuntimeError(f"this network is being trained in another thread: {self!r}; wait for its end, or train "
                               f"a copy, made by copy.deepcopy before")

    @contextmanager
    def in_training(self) -> Iterator[None]:
        """A context in which other threads cannot train this network; see `require_no_other_training`.

        The thread's own callbacks may.
        """
        this, own = threading.current_thread(), id(self)
        is_outermost = _TRAINERS.get(own) is not this
        try:
            while _TRAINERS.setdefault(own, this) is not this:  # one step of the interpreter: no lock
                self.require_no_other_training()
                _TRAINERS.pop(own, None)
            yield
        finally:
            if is_outermost and _TRAINERS.get(own) is this:
                del _TRAINERS[own]

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
        way = WHOLE if whole_rows or samples.rows is None else self.way_of(samples, n)
        operations, shelf = 6.0 * layout.size * n, self._shelves.get(way) or self._shelf(way)
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
                    if way == FROM_TRANSPOSE:
                        self._backend.keep_transpose(idle.work, True)
        finally:
            if way == FROM_TRANSPOSE:
                self._backend.keep_transpose(idle.work, False)
            shelf.idle.append(idle)
        return E, correct
