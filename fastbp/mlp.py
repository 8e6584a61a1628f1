"""The multilayer perceptron that users make: a network that is trained, and saved in files."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from .derivatives import Derivatives
from .optimizers.full_batch import FullBatch
from .optimizers.optimizer import Optimizer
from .optimizers.updates import OptimizerState
from .storage import read, safetensors, save
from .storage.pytorch import from_sequential, to_sequential
from .tracing.trace import Trace, trace
from .training.fitting import fit
from .training.history import History


class MLP(Derivatives):
    """A multilayer perceptron: a_k = W_k h_{k-1} + b_k, h_k = g_k(a_k) for k = 1 … L, with h_0 = x and y = h_L.

    After `standardize` h_0 = (x - μ) / σ, feature by feature.

    Parameters
    ----------
    widths : sequence of int
        N_0, N_1, …, N_L: the number of inputs, of units in each hidden layer, and of outputs.
    activation : str, Activation, or list of them
        The activation of the hidden layers, or a list g_1 … g_L of all layers: "identity", "logistic", "tanh", "relu",
        "leaky_relu", "elu", "softplus", "silu", "gelu"; "softmax" as the last layer; or an `Activation` of your own.
    output_activation : str or Activation
        The activation of the last layer; ignored when `activation` is a list.
    loss : str or Loss
        "squared_error", E = ½‖y - d‖²; "absolute_error", E = Σ |y - d|; "huber", which goes from the first over into
        the second at |y - d| = 1, or elsewhere as `HuberLoss`; "quantile", the median, or another one as
        `QuantileLoss`; "softmax_cross_entropy" on logits, or "cross_entropy" after a softmax layer, E = -Σ d log p;
        "binary_cross_entropy" on logits; "poisson" on logarithms of means, E = Σ e^y - d y + (d log d - d); or a `Loss`
        of your own.
    dtype : "float32" or "float64"
        Of the parameters and of all computation. Input of any other real dtype is converted to it, float64 to a
        float32 network too; numbers that do not fit are refused.
    seed : int or None
        Of the initial weights, and of the order in which `fit` draws samples. None takes fresh entropy.
    backend : str
        "tiled", on register tiles; "loops", the formulas as they stand; "blas", through NumPy's `dot` (needs SciPy);
        "auto", the fastest of these, which was "tiled" on all workloads of `fastbp compare`; "cuda", on an NVIDIA GPU
        (needs numba-cuda). Then theta and grad are on the device, and so are results for arrays that are there.
    initializer : str
        "glorot", "he", "lecun" or "zeros"; "auto" chooses by the activation of each layer.
    products : "bfloat16" or None
        "bfloat16" rounds W, h and δ to bfloat16, to nearest even, where they enter a product. Of float32 networks, with
        "tiled" and "loops". See Notes.

    Attributes
    ----------
    theta : ndarray (P,)
        All parameters: W_1, b_1, …, W_L, b_L. Yours to read and write in place. With the backend "cuda" an array of
        Numba on the device, which CuPy, PyTorch and JAX take by its ``__cuda_array_interface__``; see `theta_on_host`.
    grad : ndarray (P,)
        The running gradient, laid out like theta.
    feature_mean, feature_scale : ndarray (N_0,) or None
        μ and σ by which X is standardised, after `standardize`; else None.

    Notes
    -----
    **Input** is checked before any kernel runs. Wrong shapes, labels outside the classes, NaN and infinity raise a
    ValueError or TypeError that names the argument, and the network is as it was.

    **Sparse X**: all calls take matrices and arrays of scipy.sparse, CSR as it is, with any dtype of numbers and
    indices. Other formats, entries out of order and entries given twice are converted to CSR in a copy. ``tiled`` goes
    over what is not zero where that is less than a fifth of X, and the results agree with those of a dense X to
    rounding. For `input_gradient` and norms or clipping of single gradients, and with ``loops`` and ``blas``, rows are
    written out a few at a time. ``cuda`` takes no sparse X.

    **bfloat16 products** are other numbers than float32: each factor has 8 binary digits instead of 24. Parameters,
    biases, sums, activations, losses, gradients and the optimizer's state stay float32, and so do files. Results have
    the same bits for any number of threads.

    - ``tiled`` multiplies pairs of factors by one instruction where the processor has it (AVX-512 BF16, which ``fastbp
      doctor`` names). Elsewhere it is slower than float32, and warns of that once; results are the same, but for
      numbers below 1.2e-38, which the instruction takes as 0.
    - A sparse X is written out a few rows at a time.
    - Second derivatives, `LevenbergMarquardt`, ``derivatives`` of `fit`, `fastbp.jit`, ``blas`` and ``cuda`` refuse
      such networks.

    **Memory**: networks of one shape share their workspaces. Those that are idle have at most 64 MiB in all.

    **From compiled code**: a network is a function that your own ``@njit`` functions may call; see `fastbp.jit`.

    **On a GPU**, with ``backend="cuda"``, the network and its calls are the same. It takes an NVIDIA GPU of compute
    capability 7.0 or more, and ``pip install 'fastbp[cuda]'``.

    - Parameters, gradient and optimizer stay on the device. CuPy, PyTorch and JAX take `theta` and `weights` without a
      copy; ``net.theta[:] = …`` writes them, and `theta_on_host` gives a NumPy array.
    - X and d are checked and moved once. Arrays of those libraries on the device are read where they lie, and their
      results stay there. Samples that do not fit go over in chunks, while the GPU works on the chunk before.
    - Training on plain batches takes many steps in one launch, where a tile of samples fits into shared memory with all
      its layers. Other networks, and dropout, clipping and penalties, take a launch for each formula and layer.
    - The order of every sum depends on the network, the batch, and whether the samples fit into free memory. So two
      runs have the same bits; those of the processor differ by rounding.
    - Kernels are compiled in every process, for some seconds.
    - `fit_many`, `fastbp.jit` and the estimators compute on the processor.
    - The kernels are compiled for compute capabilities 7.0 to 9.0, and hold to the same tests as the other backends in
      Numba's simulator. How fast they are has not been measured; ``fastbp compare --backends cuda --peers`` does.

    Examples
    --------
    >>> import numpy as np
    >>> net = MLP([2, 3, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    >>> net.theta.size
    13
    >>> X, d = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[1.0], [0.0]])
    >>> before = net.accumulate_gradient(X, d)
    >>> net.step(0.1)
    >>> net.loss_value(X, d) < before
    True
    """

    def fit(self, X: Any, d: Any = None, *, optimizer: Optimizer | FullBatch | None = None, epochs: int = 10,
            batch_size: int = 128, shuffle: bool = True, replacement: bool = False, sample_weight: Any = None,
            validation_data: tuple[Any, ...] | None = None, metrics: Mapping[str, Callable[..., float]] | None = None,
            callbacks: Sequence[Callable[..., Any]] = (), progress: bool | None = None, seed: int | None = None,
            optimizer_state: OptimizerState | None = None, clip_sample_norm: float | None = None,
            l2_penalty: float = 0.0, weighted_mean: bool = False,
            dropout: float | Sequence[float] | None = None, shuffle_buffer: int = 2**14,
            checkpoint: "str | PathLike[str] | None" = None, checkpoint_every: float | str = 60.0,
            resume: "str | PathLike[str] | bool | None" = None, communicator: Any = None, derivatives: Any = None,
            derivative_weight: float = 1.0) -> History:
        """Train on batches, of arrays or of a stream of chunks; see `fastbp.training.fit`, which this calls."""
        return fit(self, X, d, optimizer=optimizer, epochs=epochs, batch_size=batch_size, shuffle=shuffle,
                   replacement=replacement, sample_weight=sample_weight, validation_data=validation_data,
                   metrics=metrics, callbacks=callbacks, progress=progress, seed=seed,
                   optimizer_state=optimizer_state, clip_sample_norm=clip_sample_norm, l2_penalty=l2_penalty,
                   weighted_mean=weighted_mean, dropout=dropout, shuffle_buffer=shuffle_buffer, checkpoint=checkpoint,
                   checkpoint_every=checkpoint_every, resume=resume, communicator=communicator,
                   derivatives=derivatives, derivative_weight=derivative_weight)

    def trace(self, x: Any, d: Any) -> Trace:
        """Every quantity of one sample's pass forward and back, by its name in the formulas.

        It is computed by the loops of `fastbp.backends.loops`, whatever the network's backend. The running gradient is
        not touched. Of a network that standardises, h_0 is the standardised x, and e_0 = ∂E/∂h_0.

        Parameters
        ----------
        x : array_like (N_0,)
            One sample.
        d : int or array_like (N_L,)
            Its label or target, as for `loss_value`.

        Returns
        -------
        Trace
            ``print(trace)`` shows it, ``trace.plot("trace.png")`` draws it, and ``trace.delta[2]`` is δ_2.

        Raises
        ------
        TypeError, ValueError
            If x or d is not as described.

        Examples
        --------
        >>> net = MLP([2, 2, 1], activation="tanh", loss="squared_error", dtype="float64", initializer="zeros")
        >>> trace = net.trace([1.0, 2.0], [0.5])
        >>> print(trace)
        forward: down                                     back: up
        <BLANKLINE>
        h₀ = x                       2  1 2               e₀ = W₁ᵀ δ₁                  2  0 0
        <BLANKLINE>
        W₁                         2×2  ‖·‖ 0             ∂E/∂W₁ = δ₁ h₀ᵀ            2×2  ‖·‖ 0
        b₁                           2  0 0               ∂E/∂b₁ = δ₁                  2  0 0
        a₁ = W₁ h₀ + b₁              2  0 0               δ₁ = e₁ ⊙ g'(a₁)             2  0 0
        h₁ = tanh(a₁)                2  0 0               e₁ = W₂ᵀ δ₂                  2  0 0
        <BLANKLINE>
        W₂                         1×2  ‖·‖ 0             ∂E/∂W₂ = δ₂ h₁ᵀ            1×2  ‖·‖ 0
        b₂                           1  0                 ∂E/∂b₂ = δ₂                  1  -0.5
        a₂ = W₂ h₁ + b₂              1  0                 δ₂ = e₂ ⊙ g'(a₂)             1  -0.5
        h₂ = identity(a₂) = y        1  0                 e₂ = ∇E by y                 1  -0.5
        <BLANKLINE>
        d                            1  0.5
        E = 0.125, squared_error of y and d
        >>> float(trace.delta[2][0])
        -0.5
        """
        return trace(self, x, d)

    def save(self, path: "str | PathLike[str]") -> None:
        """Write the network to one .npz file; see `fastbp.storage.save`, which this calls."""
        save(self, path)

    def to_torch(self) -> Any:
        """A `torch.nn.Sequential` with the same parameters, bit for bit, which are copied.

        It has a ``Linear`` and an activation module for each layer, and no module for the identity. After `standardize`
        it begins with a `Standardize`, which takes x as it is too. Its outputs are those of `forward` to rounding: for
        the losses with softmax or logistic, the logits that PyTorch's ``CrossEntropyLoss`` and ``BCEWithLogitsLoss``
        take. No numbers of PyTorch's generator are drawn.

        Raises
        ------
        ImportError
            If PyTorch is not installed.
        ValueError
            If an activation is of your own, for which PyTorch has no module; it is named.

        See Also
        --------
        from_torch : The way back.
        """
        return to_sequential(self)


def load(path: "str | PathLike[str]", *, backend: str = "auto", seed: int | None = None) -> MLP:
    """Read a network that `MLP.save` wrote.

    Parameters
    ----------
    path : path
    backend : str
        As for `MLP`; files do not name one.
    seed : int, optional
        Of later training, as for `MLP`.

    Returns
    -------
    MLP
        With a gradient of zero.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is not a network of a known version, it is damaged, or its arrays do not go together or are not finite. A
        file from anywhere can be read: nothing in it is executed, and it takes at most about twice its own size.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> net = MLP([2, 3, 1], loss="squared_error", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(pathlib.Path(folder, "net.npz"))
    ...     again = load(pathlib.Path(folder, "net.npz"))
    >>> bool((again.theta == net.theta).all())
    True
    """
    return read(path, MLP, backend=backend, seed=seed)


def save_safetensors(net: MLP, path: "str | PathLike[str]") -> None:
    """Write a network to a file of safetensors, which other programs read: the extra ``fastbp[safetensors]``.

    Its tensors have the names of PyTorch's state dict of `MLP.to_torch`. What else a network is, is text in the header;
    see `fastbp.storage.safetensors`. The file is replaced as a whole, as by `MLP.save`, in twice the memory of the
    parameters. The format has no checksums: `MLP.save` is the better place to keep a network.

    Parameters
    ----------
    net : MLP
    path : path
        No suffix is added.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    ValueError, OSError
        As for `MLP.save`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> net = MLP([2, 3, 1], loss="squared_error", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors(net, pathlib.Path(folder, "net.safetensors"))
    ...     again = load_safetensors(pathlib.Path(folder, "net.safetensors"))
    >>> again.loss, bool((again.theta == net.theta).all())
    ('squared_error', True)
    """
    safetensors.save(net, path)


def load_safetensors(path: "str | PathLike[str]", *, activation: Any = None, output_activation: Any = "identity",
                     loss: Any = None, backend: str = "auto", seed: int | None = None) -> MLP:
    """Read a network from a file of safetensors, that `save_safetensors` or another program wrote.

    Parameters
    ----------
    path : path
    activation, output_activation, loss : optional
        As for `MLP`, of a file that another program wrote: it has tensors NAME.weight (N_k, N_{k-1}) and NAME.bias
        (N_k,) of the layers, which are taken in the order of their names, 10 after 9. A layer without a bias gets one
        of zeros. A file that fastbp wrote names its own.
    backend, seed
        As for `fastbp.load`.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, its tensors do not go together or are not finite, or activation and loss are missing.
    """
    return safetensors.read(path, MLP, activation=activation, output_activation=output_activation, loss=loss,
                            backend=backend, seed=seed)


def from_torch(model: Any, *, loss: Any = None, backend: str = "auto", seed: int | None = None) -> MLP:
    """A network of a `torch.nn.Sequential`, with the same parameters, bit for bit, which are copied.

    Parameters
    ----------
    model : torch.nn.Sequential
        Of ``Linear``, each followed by one of the activations ``Sigmoid``, ``Tanh``, ``ReLU``, ``LeakyReLU(0.01)``,
        ``ELU``, ``Softplus``, ``SiLU``, ``GELU`` and, after the last, ``Softmax``, or by none; of ``Identity`` and of
        ``Sequential`` of these. It may begin with the `Standardize` of `MLP.to_torch`. A ``Linear`` without a bias gets
        one of zeros. ``Dropout`` is not of a network here: leave it out, and give its rate to `MLP.fit`.
    loss : str or Loss, optional
        As for `MLP`: a Sequential has none. "cross_entropy" after ``Softmax`` if not given, else
        "softmax_cross_entropy", which takes logits as ``CrossEntropyLoss`` does.
    backend, seed
        As for `fastbp.load`.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If the model has another module, which is named with its place, or parameters that are not finite or of other
        dtypes than float32 or float64.
    """
    return from_sequential(model, MLP, loss=loss, backend=backend, seed=seed)
