"""After a divergence all is as after the last step that was finite: θ, the running averages, and their count."""

from dataclasses import replace

import numpy as np
import pytest
from tolerances import BACKENDS, assert_close, on_host

import fastbp
from fastbp import MLP, SGD, Adam, AdamW, Nadam, RMSprop, Rprop

OPTIMIZERS = {
    "SGD": SGD(0.1), "momentum": SGD(0.1, momentum=0.9), "Nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "RMSprop": RMSprop(0.1, weight_decay=0.1), "Adam": Adam(0.1), "AdamW": AdamW(0.1, weight_decay=0.1),
    "Nadam": Nadam(0.1), "Rprop": Rprop(0.1), "Adam, clipped": Adam(0.1, clip_norm=1e6),
    "Rprop, clipped": Rprop(0.1, clip_norm=1e6)}

#: The sample (x, d) with which a step cannot be taken, whatever θ was before.
SPOILT = {"the loss is not finite": (1.0, 1e200), "the gradient is not finite": (1e250, -1e100)}


def network(backend):
    return MLP([1, 1], loss="squared_error", dtype="float64", initializer="zeros", backend=backend)


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("reason", SPOILT)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_kept(backend, optimizer, reason, step):
    """As after a training without the step that cannot be taken, on the backend that is the formulas as they stand."""
    X, d = np.linspace(0.5, 1.5, 4)[:, None], np.linspace(-1, 1, 4)
    X[step], d[step] = SPOILT[reason]
    if reason == "the gradient is not finite":
        X[:step] = 0  # so that w and its averages stay 0, and E of the sample is finite
    fit = {"optimizer": OPTIMIZERS[optimizer], "batch_size": 1, "epochs": 1, "shuffle": False, "seed": 0}
    net, expected = network(backend), network("loops")
    with pytest.raises(fastbp.DivergenceError, match=f"step {step} ") as caught:
        net.fit(X, d, **fit)
    state = caught.value.history.optimizer_state
    kept = OPTIMIZERS[optimizer].start(expected.theta)
    if step:
        kept = expected.fit(X[:step], d[:step], **fit).optimizer_state
    assert_close(net.theta, expected.theta, 1e-14, scale=1.0)
    if kept.averages.size:
        assert_close(state.averages, kept.averages, 1e-14, scale=1.0)
    assert state.updates[0] == kept.updates[0] == step
    assert not on_host(net.grad).any()


#: Optimizers, and numbers x of three samples, of which the second step would make w infinite, by a finite gradient.
TOO_FAR = {"SGD": (SGD(1e10), [1e-9, 1e300, 1]), "momentum": (SGD(1e10, momentum=0.9), [1e-9, 1e300, 1]),
           "RMSprop": (RMSprop(1.2e307), [1e-3, 1e-3, 1]), "Adam": (Adam(1.7e308), [1e-10, 1e-10, 1])}


@pytest.mark.parametrize("clip_norm", [None, 1.7e308], ids=["at once", "by the norm"])
@pytest.mark.parametrize("optimizer", TOO_FAR)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_that_is_too_large_leaves_averages_too(backend, optimizer, clip_norm):
    """Although the gradient is finite, and so are the averages after it."""
    optimizer, x = TOO_FAR[optimizer]
    optimizer = replace(optimizer, clip_norm=clip_norm)
    X, d = np.array(x)[:, None], np.full(3, -1.7e308)  # y stays above it
    fit = {"optimizer": optimizer, "batch_size": 1, "epochs": 1, "shuffle": False}
    net, expected = (MLP([1, 1], loss="absolute_error", dtype="float64", initializer="zeros", backend=backend)
                     for _ in range(2))
    with pytest.raises(fastbp.DivergenceError, match="the update is not finite in epoch 0, step 1 ") as caught:
        net.fit(X, d, **fit)
    kept, state = expected.fit(X[:1], d[:1], **fit).optimizer_state, caught.value.history.optimizer_state
    assert on_host(net.theta).tobytes() == on_host(expected.theta).tobytes()
    assert state.averages.tobytes() == kept.averages.tobytes()
    assert state.updates[0] == kept.updates[0] == 1


@pytest.mark.parametrize("kind", [Adam, RMSprop])
def test_a_step_that_is_too_large_leaves_the_gradient_too(kind):
    """`Optimizer.step` changes nothing at all."""
    optimizer, theta, grad = kind(1.7e308), np.array([1.0, -1.7e308]), np.array([0.5, 0.5])
    state = optimizer.start(theta)
    before = theta.copy()
    with pytest.raises(fastbp.DivergenceError, match="theta is left as it was"):
        optimizer.step(theta, grad, state)
    assert theta.tolist() == before.tolist()
    assert grad.tolist() == [0.5, 0.5]
    assert not state.averages.any()
    assert state.updates[0] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_goes_on_from_what_is_kept(backend):
    """The averages and their count are those of the steps before, whose order the next training takes up."""
    X, d = np.linspace(0.5, 1.5, 4)[:, None], np.linspace(-1, 1, 4)
    spoilt = np.where(np.arange(4) == 3, 1e200, d)
    fit = {"optimizer": Adam(0.1), "batch_size": 1, "epochs": 1, "shuffle": False, "seed": 0}
    net, expected = network(backend), network("loops")
    with pytest.raises(fastbp.DivergenceError) as caught:
        net.fit(X, spoilt, **fit)
    net.fit(X[3:], d[3:], optimizer_state=caught.value.history.optimizer_state, **fit)
    expected.fit(X, d, **fit)
    assert_close(net.theta, expected.theta, 1e-13)
