"""Derivatives beyond the gradient of the loss: errors back from any ∂E/∂y, and Jacobians."""

from typing import Any, Literal, overload

import numpy as np

from .backends import curvature as loops
from .backends.contract import WHOLE
from .backends.tiles import curvature as tiles
from .checks.arguments import require_flag
from .checks.arrays import kernel_array
from .checks.samples import Samples
from .functions.losses import LINEAR
from .functions.second import require_second_derivatives
from .network import Network

#: Parts of chunks have a multiple of these samples, which are whole panels on every processor.
PART = 64


def part_of(chunk: int, passes: int) -> int:
    """The samples of a part of a chunk that takes as long in a number of passes as a chunk in one."""
    return max(chunk // passes // PART * PART, min(chunk, PART))


class Derivatives(Network):
    """A network's derivatives beyond the gradient of its loss; `MLP`, which users make, adds training and files.

    Parameters and attributes are those of `MLP`.
    """

    @overload
    def backward(self, X: Any, dE_dY: Any, *, input_gradient: Literal[False] = False) -> None: ...

    @overload
    def backward(self, X: Any, dE_dY: Any, *, input_gradient: Literal[True]) -> np.ndarray: ...

    @overload
    def backward(self, X: Any, dE_dY: Any, *, input_gradient: bool) -> np.ndarray | None: ...

    def backward(self, X: Any, dE_dY: Any, *, input_gradient: bool = False) -> np.ndarray | None:
        """Add ∂E/∂θ to the running gradient, from the ∂E/∂y of an E of your own.

        For losses over a whole batch, policies, and networks that are a part of something larger. It is backpropagation
        from e_L = ∂E/∂y [1]_: the product of dE_dY with the Jacobian ∂y/∂θ. Samples are added one after another, as by
        `accumulate_gradient`, and the network's own loss has no part in it.

        y is what `forward` returns, of any network: logits where the loss includes the softmax or the logistic
        function, logarithms of means for "poisson", and probabilities after a softmax layer.

        A call takes the samples forward once more. Nothing is kept of a `forward` before: that would save a fourth of
        the operations of both calls, and take 2 n Σ_k N_k numbers of memory.

        Parameters
        ----------
        X : array_like or sparse matrix (n, N_0)
            As `forward` takes it.
        dE_dY : array_like (n, N_L)
            ∂E/∂y of each sample; finite. With one output, (n,) will do.
        input_gradient : bool
            Whether to return e_0.

        Returns
        -------
        e_0 : ndarray (n, N_0) or None
            ∂E/∂x of each sample where it is wanted; of a network that standardises, with respect to x as it is given.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; it is named, and the gradient is as it was.

        References
        ----------
        .. [1] Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986.

        Examples
        --------
        A loss over all pairs of a batch, E = ½ Σ_s Σ_t ‖y_s - y_t‖²:

        >>> from fastbp import MLP
        >>> net = MLP([2, 3, 2], activation="tanh", dtype="float64", seed=0)
        >>> X = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
        >>> Y = net.forward(X)
        >>> e_0 = net.backward(X, 2 * (len(Y) * Y - Y.sum(axis=0)), input_gradient=True)
        >>> e_0.shape, bool(net.grad.any())
        ((3, 2), True)
        """
        same = self._with_linear_loss
        if (input_gradient is False and same is not None and self._standardization is None
                and same._standardization is None and same._accumulate_few(X, dE_dY) is not None):
            return None
        if require_flag("input_gradient", input_gradient):
            E0: np.ndarray = self._errors_back(X, dE_dY, self._grad)
            return E0
        self._linear().accumulate_gradient(X, dE_dY)
        return None

    def input_jacobian(self, X: Any) -> np.ndarray:
        """J_sij = ∂y_i/∂x_j of every sample s, (n, N_L, N_0).

        Rows of J are the e_0 of the unit vectors e_L. ``tiled`` takes all of them back after one pass forward, or, of
        networks with fewer inputs than outputs, takes the unit vectors of inputs forward; other backends take a pass
        for each output. The running gradient is not touched. y is what `forward` returns; of a
        network that standardises, x is as it is given.

        Parameters
        ----------
        X : array_like or sparse matrix (n, N_0)
            As `forward` takes it.

        Returns
        -------
        J : ndarray (n, N_L, N_0)

        Raises
        ------
        TypeError, ValueError
            If X is not a finite, non-empty array of that shape.

        Examples
        --------
        >>> from fastbp import MLP
        >>> net = MLP([3, 2], activation="identity", dtype="float64", seed=0)
        >>> J = net.input_jacobian(np.zeros((4, 3)))
        >>> J.shape, bool((J == net.weights[0]).all())
        ((4, 2, 3), True)
        """
        samples = self.checked_inputs(X)
        memory, widths = self._backend.memory, self._widths
        J: np.ndarray = np.empty((len(samples.X), widths[-1], widths[0]), self._dtype)
        write_jacobian = self._backend.input_jacobian
        if write_jacobian is None:
            for i, unit in enumerate(np.eye(widths[-1], dtype=self._dtype)):
                e_L = np.repeat(unit[None], len(J), axis=0)
                J[:, i] = memory.to_host(self._errors_back(X, e_L, self._no_results.grad))
            return J

        passes = 1 + min(widths[0], widths[-1])
        chunk = self.chunk()
        part = part_of(chunk, passes)  # after which Ctrl-C is heard

        def write(start: int, stop: int, E: float, work: Any, threads: int, samples: Samples) -> tuple[float, int]:
            for begin in range(start, stop, chunk):
                end = min(begin + chunk, stop)
                for first in range(begin, end, part):
                    write_jacobian(self._theta, self._layout, samples, J, first, min(first + part, end), work, threads)
            return E, 0

        self._in_slices(passes, write, samples, whole_rows=True)
        if self._standardization is not None:
            memory.multiply_columns(J.reshape(-1, widths[0]), self._standardization.slope)
        return J

    def hessian_vector(self, X: Any, d: Any, v: Any, sample_weight: Any = None) -> np.ndarray:
        """∇²E v: the Hessian of E over theta times a vector, without the Hessian.

        It is the derivative of ∇E along v, by Pearlmutter's R operator [1]_: one more pass forward and back. It is
        exact for smooth activations and losses. Those with kinks, such as relu and the absolute error, count as if
        there were none: their curvature is 0 elsewhere. Samples are added one after another, with the same bits for any
        number of threads. The running gradient is not touched.

        Parameters
        ----------
        X, d, sample_weight
            Those of `loss_value`.
        v : array_like (P,)
            A direction, laid out like theta.

        Returns
        -------
        product : ndarray (P,)
            Of the network's dtype. E is a sum over samples, and so is ∇²E.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; if an activation or the loss is your own, whose second derivative is
            not known; or with the backend "cuda".

        References
        ----------
        .. [1] Pearlmutter, "Fast exact multiplication by the Hessian", 1994.

        Examples
        --------
        >>> from fastbp import MLP
        >>> net = MLP([2, 3, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
        >>> X, d = np.array([[0.5, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0])
        >>> u, v = np.eye(13)[[3, 8]]
        >>> bool(np.isclose(u @ net.hessian_vector(X, d, v), v @ net.hessian_vector(X, d, u)))
        True
        """
        return self._curvature_product(X, d, v, sample_weight, gauss_newton=False)

    def gauss_newton_vector(self, X: Any, d: Any, v: Any, sample_weight: Any = None) -> np.ndarray:
        """Σ_s w_s J_sᵀ ∇²_y L_s J_s v with J_s = ∂y/∂θ: the Gauss–Newton matrix times a vector [1]_.

        It is ∇²E without the curvature of the network. Where the loss is convex in y it has no negative eigenvalues. y
        is what `forward` returns.

        Parameters, results and errors are those of `hessian_vector`.

        References
        ----------
        .. [1] Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.

        Examples
        --------
        >>> from fastbp import MLP
        >>> net = MLP([2, 3, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
        >>> X, d, v = np.array([[0.5, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0]), np.linspace(-1, 1, 13)
        >>> bool(v @ net.gauss_newton_vector(X, d, v) > 0)
        True
        """
        return self._curvature_product(X, d, v, sample_weight, gauss_newton=True)

    def _curvature_product(self, X: Any, d: Any, v: Any, sample_weight: Any, *, gauss_newton: bool) -> np.ndarray:
        """`hessian_vector`, or `gauss_newton_vector`."""
        self.require_second_derivatives()
        if sample_weight is None and self._standardization is None:
            product = self._product_of_few(X, d, v, gauss_newton)
            if product is not None:
                return product
        samples = self.checked_samples(X, d, sample_weight)
        direction, _ = kernel_array("v", v, self._dtype, ndim=1)
        if len(direction) != self._layout.size:
            raise ValueError(f"v: expected {self._layout.size} numbers, as theta has, found {len(direction)}")
        curvature, shelf, module = self._curvature or self._make_curvature()
        add_curvature, product = module.add_curvature, np.zeros(self._layout.size, self._dtype)

        def add(start: int, stop: int, E: float, work: Any, threads: int, samples: Samples) -> tuple[float, int]:
            add_curvature(self._theta, direction, curvature, samples, gauss_newton, product, start, stop, work, own,
                          threads)
            return E, 0

        with shelf.workspace(len(samples.X)) as own:
            self._in_slices(6, add, samples, whole_rows=True)
        return product

    def _product_of_few(self, X: Any, d: Any, v: Any, gauss_newton: bool) -> np.ndarray | None:
        """`_curvature_product` of a few samples in one compiled call, or None as from `_accumulate_few`."""
        size, few = self._layout.size, self._few(X, d)
        if (few is None or type(v) is not np.ndarray or v.dtype != self._dtype or v.shape != (size,)
                or not v.flags.carray):
            return None
        curvature, own_shelf, module = self._curvature or self._make_curvature()
        if module.add_few is None:
            return None
        shelf, product = self._shelf(WHOLE), np.zeros(size, self._dtype)
        idle, own = shelf.take(len(X)), own_shelf.take(len(X))
        try:
            found = module.add_few(self._theta, v, *few, curvature, gauss_newton, product, idle.work, own.work)
        finally:
            shelf.idle.append(idle)
            own_shelf.idle.append(own)
        return product if found else None

    def require_second_derivatives(self) -> None:
        """Refuse networks of which second derivatives are not known, or not on their backend or of their products.

        Raises
        ------
        ValueError
            That names what lacks them.
        """
        if self._backend_name == "cuda":
            raise ValueError("backend 'cuda' has no second derivatives; use a network with backend='tiled'")
        if self._products is not None:
            raise ValueError(f"products: second derivatives are not computed with {self._products} products, found a "
                             f"network of these; use one with products=None")
        require_second_derivatives(self._activations, self._loss)

    def linked_curvature(self) -> Any:
        """The compiled second derivatives of the network."""
        return (self._curvature or self._make_curvature())[0]

    def _make_curvature(self) -> Any:
        """The compiled second derivatives, the shelf of their workspaces, and the module of what adds a product."""
        module: Any = tiles if self._backend_name == "tiled" else loops
        linked = module.linked_curvature(self.layout, self._activations, self._loss, self._dtype)
        kind = "curvature", self._backend_name, self._dtype, self._widths, tuple(self._activations), self._loss
        shelf = self._backend.memory.shelves.shelf(kind, module, linked.layout, self._dtype)
        self._curvature = linked, shelf, module
        return self._curvature

    def _errors_back(self, X: Any, dE_dY: Any, grad: Any) -> Any:
        """e_0 = ∂E/∂x from ∂E/∂y; adds ∂E/∂θ to `grad`, where that is not empty."""
        same, memory = self._linear(), self._backend.memory
        samples = same.checked_samples(X, dE_dY, None)
        E0 = memory.empty(samples.X.shape, self._dtype, X)
        same._in_slices(3, same._propagate, samples, self._no_results._replace(grad=grad, E0=E0), whole_rows=True)
        if self._standardization is not None:
            memory.multiply_columns(E0, self._standardization.slope)
        return E0

    def _linear(self) -> Any:
        """This network with the loss Σ d·y, whose ∇_y is any d; of the same arrays of parameters and gradient."""
        same = self._with_linear_loss
        if same is None or same._standardization is not self._standardization:
            same = object.__new__(type(self))
            same.__dict__.update(self.__dict__)
            same._loss = LINEAR
            same._prepare(self._backend_name)
            self._with_linear_loss = same
        return same
