"""Networks as layers of PyTorch and JAX, whose automatic derivatives go through them."""

import naive
import numpy as np
import pytest
from tolerances import assert_close

from fastbp import MLP
from fastbp.examples import layers

WIDTHS, NAMES = (3, 7, 2), ("tanh", "identity")


def drawn():
    inputs = naive.draw_inputs(WIDTHS, 5)
    net = MLP(WIDTHS, activation=list(NAMES), loss="squared_error", dtype="float64")
    net.theta[:] = inputs["theta"]
    return net, inputs["X"], inputs["targets"]


def expected(net, X, e):
    found = [naive.errors_back(net.theta, WIDTHS, NAMES, *naive.forward(net.theta, WIDTHS, NAMES, x), e_s)
             for x, e_s in zip(X, e, strict=True)]
    return sum(grad for grad, _ in found), np.array([e_0 for _, e_0 in found])


def test_torch_layer():
    torch = pytest.importorskip("torch")
    net, X, e = drawn()
    grad, E0 = expected(net, X, e)
    layer, x = layers.torch_layer(net), torch.tensor(X, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    (layer(x) * torch.from_numpy(e)).sum().backward()
    assert_close(layer.theta.grad.numpy(), grad, 1e-13)
    assert_close(x.grad.numpy(), E0, 1e-13)
    assert not net.grad.any()
    before = net.theta.copy()
    torch.optim.SGD(layer.parameters(), lr=0.5).step()
    assert_close(net.theta, before - 0.5 * grad, 1e-13)


def test_torch_layer_whose_theta_changed_meanwhile():
    torch = pytest.importorskip("torch")
    layer = layers.torch_layer(drawn()[0])
    Y = layer(torch.ones((4, 3), dtype=torch.float64))
    with torch.no_grad():
        layer.theta += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        Y.sum().backward()


def test_jax_function():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    net, X, e = drawn()
    theta = net.theta.copy()
    y = layers.jax_function(net)
    Y, (grad, E0) = y(theta, X), jax.jit(jax.grad(lambda theta, X: (y(theta, X) * e).sum(), argnums=(0, 1)))(theta, X)
    assert_close(np.asarray(Y), net.forward(X), 1e-13)
    for found, right in zip((grad, E0), expected(net, X, e), strict=True):
        assert_close(np.asarray(found), right, 1e-13)
