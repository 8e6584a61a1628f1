"""A network as a layer of PyTorch's or JAX's: what goes in and comes out is theirs, and so is the loss.

`torch_layer` makes a `torch.nn.Module` whose parameter is theta itself, in the same memory: an optimizer of PyTorch's
that steps on it trains the network. `jax_function` makes a function of (theta, X) that `jax.grad` and `jax.jit` take.
Both take errors back by `MLP.backward`.

    layer = torch_layer(fastbp.MLP([3, 64, 2], seed=0))
    model = torch.nn.Sequential(torch.nn.Linear(10, 3), layer)

PyTorch and JAX are imported where they are used.
"""

from typing import Any

import numpy as np

import fastbp


def errors_back(net: fastbp.MLP, X: np.ndarray, dE_dY: np.ndarray, *, by_x: bool) -> tuple[np.ndarray, Any]:
    """∂E/∂θ alone, and ∂E/∂x where it is wanted; the running gradient is zero before and after."""
    net.zero_grad()
    E0 = net.backward(X, dE_dY, input_gradient=by_x)
    grad = net.grad.copy()
    net.zero_grad()
    return grad, E0


def torch_layer(net: fastbp.MLP) -> Any:
    """A `torch.nn.Module` that computes y = h_L of the network, for tensors (n, N_0) of its dtype on the processor."""
    import torch

    class Outputs(torch.autograd.Function):
        """y(theta, x), which calls the network."""

        @staticmethod
        def forward(ctx: Any, theta: Any, x: Any) -> Any:
            ctx.save_for_backward(theta, x)  # PyTorch refuses to go back where theta was changed since
            return torch.from_numpy(net.forward(x.detach().numpy()))

        @staticmethod
        def backward(ctx: Any, dE_dy: Any) -> Any:
            _, x = ctx.saved_tensors
            by_x = ctx.needs_input_grad[1]
            grad, E0 = errors_back(net, x.detach().numpy(), dE_dy.numpy(), by_x=by_x)
            return torch.from_numpy(grad), torch.from_numpy(E0) if by_x else None

    class Layer(torch.nn.Module):
        """The network as a module; its parameter is theta."""

        def __init__(self) -> None:
            super().__init__()
            self.theta = torch.nn.Parameter(torch.from_numpy(net.theta))

        def forward(self, x: Any) -> Any:
            return Outputs.apply(self.theta, x)

    return Layer()


def jax_function(net: fastbp.MLP) -> Any:
    """The function y(theta, X) of the network, for arrays of its dtype; it writes theta into the network."""
    import jax

    def outputs(theta: Any, X: Any) -> np.ndarray:
        net.theta[:] = theta
        return net.forward(np.asarray(X))

    def products(theta: Any, X: Any, dE_dY: Any) -> tuple[np.ndarray, np.ndarray]:
        net.theta[:] = theta
        return errors_back(net, np.asarray(X), np.asarray(dE_dY), by_x=True)

    @jax.custom_vjp
    def y(theta: Any, X: Any) -> Any:
        return jax.pure_callback(outputs, jax.ShapeDtypeStruct((X.shape[0], net.widths[-1]), net.dtype), theta, X)

    def forward(theta: Any, X: Any) -> tuple[Any, tuple[Any, Any]]:
        return y(theta, X), (theta, X)

    def backward(kept: tuple[Any, Any], dE_dY: Any) -> Any:
        shapes = tuple(jax.ShapeDtypeStruct(array.shape, net.dtype) for array in kept)
        return jax.pure_callback(products, shapes, *kept, dE_dY)

    y.defvjp(forward, backward)
    return y
