"""What a backend computes for one layer: the three products, and what is around them in every call.

One layer from N_0 to N_1 with the identity and squared error, called as users call it; so the checks of the input are
in the time too.

    forward                A = X Wᵀ + b
    input_gradient         A, E, and e_0 = δ W
    accumulate_gradient    A, E, and ∂E/∂W += δᵀ X, ∂E/∂b += Σ δ
"""

from functools import partial

import numpy as np

import fastbp

from .repeating import WALL_TIME, Repeated, Timed, use_threads

#: N_0, N_1 and the number of samples.
LAYERS = {"32-32, 256 samples": (32, 32, 256),
          "784-128, 128 samples": (784, 128, 128),
          "1024-1024, 256 samples": (1024, 1024, 256)}


def draw(layer: str, backend: str, dtype: str) -> tuple[fastbp.MLP, np.ndarray, np.ndarray]:
    """The network of one layer, X and the targets."""
    inputs, outputs, samples = LAYERS[layer]
    rng = np.random.default_rng(0)
    net = fastbp.MLP([inputs, outputs], activation=["identity"], loss="squared_error", dtype=dtype, seed=0,
                     backend=backend)
    return net, rng.standard_normal((samples, inputs)).astype(dtype), \
        rng.standard_normal((samples, outputs)).astype(dtype)


class Layer(Timed):
    """The three calls on one thread."""

    params = (["forward", "input_gradient", "accumulate_gradient"], ["tiled", "loops", "blas"], list(LAYERS),
              ["float32", "float64"])
    param_names = ("call", "backend", "layer", "dtype")

    def setup(self, call: str, backend: str, layer: str, dtype: str) -> None:
        use_threads(1)
        net, X, d = draw(layer, backend, dtype)
        self.calls = Repeated(partial(net.forward, X) if call == "forward" else partial(getattr(net, call), X, d))

    def time_call(self, call: str, backend: str, layer: str, dtype: str) -> None:
        self.calls()


class LayerOnThreads(Timed):
    """The gradient on one thread and on two; layers with too little work for two are not among them."""

    params = (["tiled", "loops"], [layer for layer in LAYERS if not layer.startswith("32-")], [1, 2])
    param_names = ("backend", "layer", "threads")

    def setup(self, backend: str, layer: str, threads: int) -> None:
        use_threads(threads)
        net, X, d = draw(layer, backend, "float32")
        self.calls = Repeated(partial(net.accumulate_gradient, X, d), clock=WALL_TIME)

    def time_accumulate_gradient(self, backend: str, layer: str, threads: int) -> None:
        self.calls()
