"""Everything in data/pytorch_reference.npz; `make_pytorch_reference.py` describes it and made it."""

from pathlib import Path

import numpy as np
import pytest
from naive import CASES
from tolerances import BACKENDS, STORED, STORED_TRAINING, assert_close, on_backends

from fastbp import MLP, SGD, Adam, AdamW, Nadam, RMSprop, Rprop

with np.load(Path(__file__).parent / "data" / "pytorch_reference.npz") as archive:
    REFERENCE = dict(archive)

DEPTH_WIDTHS = {1: (4, 3), 2: (4, 5, 3), 3: (4, 5, 6, 3), 4: (4, 5, 6, 5, 3)}
GRADIENTS = sorted({key.rpartition("/")[0] for key in REFERENCE if key.startswith(("gradient/", "weighted/"))})

OPTIMIZERS = {
    "sgd_momentum": SGD(0.1, momentum=0.9),
    "sgd_nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "sgd_weight_decay": SGD(0.1, momentum=0.9, weight_decay=0.01),
    "rmsprop": RMSprop(0.01, decay=0.99, epsilon=1e-8),
    "adam": Adam(0.01),
    "adam_weight_decay": Adam(0.01, weight_decay=0.01),
    "adamw": AdamW(0.01, weight_decay=0.01),
    "nadam": Nadam(0.01),
    "rprop": Rprop(0.1),
    "sgd_clipped": SGD(0.5, clip_norm=0.5),
}


def test_the_file_holds_what_is_compared():
    cases = {(case, activation, depth) for _, case, activation, depth in (path.split("/") for path in GRADIENTS)}
    assert len(cases) == len(CASES) * 9 * len(DEPTH_WIDTHS)
    assert {key.split("/")[1] for key in REFERENCE if key.startswith("training/")} == {*OPTIMIZERS, "theta0", "X",
                                                                                       "labels"}


@pytest.mark.parametrize(("path", "backend"), on_backends(
    GRADIENTS, simulated=[path for path in GRADIENTS if path.startswith("weighted/") and path.endswith("/3")]))
def test_gradients(path, backend):
    kind, case, activation, depth = path.split("/")
    loss, output_activation, target = CASES[case]
    net = MLP(DEPTH_WIDTHS[int(depth)], activation=activation, output_activation=output_activation or activation,
              loss=loss, dtype="float64", backend=backend)
    net.theta[:] = REFERENCE[f"depth{depth}/theta"]
    X, d, weights = (REFERENCE[f"depth{depth}/{name}"] for name in ("X", target, "weights"))
    weights = weights if kind == "weighted" else None
    assert_close(net.accumulate_gradient(X, d, weights), REFERENCE[f"{path}/E"], STORED)
    assert_close(net.grad, REFERENCE[f"{path}/grad"], STORED)
    assert_close(net.input_gradient(X, d, weights), REFERENCE[f"{path}/e0"], STORED)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("loss", "target", "prefix"), [("softmax_cross_entropy", "labels", ""),
                                                        ("binary_cross_entropy", "bits", "binary_")])
def test_extreme_logits(loss, target, prefix, backend):
    net = MLP((4, 4), loss=loss, dtype="float64", backend=backend)
    net.weights[0][:], net.biases[0][:] = np.eye(4), 0  # the logits are the inputs
    X, d = REFERENCE["extreme/logits"], REFERENCE[f"extreme/{target}"]
    assert_close(net.loss_value(X, d), REFERENCE[f"extreme/{prefix}E"], STORED)
    assert_close(net.input_gradient(X, d), REFERENCE[f"extreme/{prefix}gradient"], STORED)


@pytest.mark.parametrize(("name", "backend"), on_backends(
    OPTIMIZERS, simulated=["sgd_nesterov", "rmsprop", "adam_weight_decay", "nadam", "rprop", "sgd_clipped"]))
def test_training(name, backend):
    net = MLP([6, 7, 5, 3], activation="tanh", loss="softmax_cross_entropy", dtype="float64", backend=backend)
    net.theta[:] = REFERENCE["training/theta0"]
    history = net.fit(REFERENCE["training/X"], REFERENCE["training/labels"], optimizer=OPTIMIZERS[name], epochs=10,
                      batch_size=40 if name == "rprop" else 16, shuffle=False, progress=False)
    assert_close(history["loss"], REFERENCE[f"training/{name}/losses"], STORED_TRAINING)
    assert_close(net.theta, REFERENCE[f"training/{name}/theta"], STORED_TRAINING)
