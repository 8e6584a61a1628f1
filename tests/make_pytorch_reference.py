"""Compute the PyTorch values that the tests compare against.

    python tests/make_pytorch_reference.py

rewrites ``tests/data/pytorch_reference.npz``. It needs only torch and numpy; the tests read the stored file and need
no torch. The cases are those of ``naive.py``. All inputs are drawn from seeded NumPy generators; another version of
PyTorch may change the last bits.

Parameters are one flat vector theta = (W_1, b_1, ..., W_L, b_L), each W_k of shape (N_k, N_{k-1}) in row-major order.
E is a sum over samples, every gradient comes from autograd. Labels are int64, everything else float64. The keys:

==================================================  ==============================================================
``depth<L>/{theta,X,labels,targets,bits,counts,     inputs shared by all cases with L layers
weights}``
``gradient/<case>/<activation>/<L>/{E,grad,e0}``    E, dE/dtheta (P,) and dE/dX (n, N_0)
``weighted/<case>/<activation>/2/{E,grad,e0}``      the same for E = sum_i weights_i E_i
``training/{theta0,X,labels}``                      inputs shared by all training runs
``training/<name>/{losses,theta}``                  mean loss in each epoch, parameters at the end
``extreme/{logits,labels,E,gradient}``              softmax cross-entropy at huge logits, dE/dlogits
``extreme/{bits,binary_E,binary_gradient}``         binary cross-entropy at the same logits
==================================================  ==============================================================

One layer has no hidden activation: there only the case ``squared_error_output`` depends on the activation.
"""

import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from naive import CASES

torch.set_default_dtype(torch.float64)  # NAdam keeps the product of its μ in that

OUTPUT_FILE = Path(__file__).parent / "data" / "pytorch_reference.npz"

HIDDEN_ACTIVATIONS = {
    "identity": lambda a: a,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda a: F.leaky_relu(a, negative_slope=0.01),
    "elu": lambda a: F.elu(a, alpha=1.0),
    "softplus": lambda a: F.softplus(a, beta=1.0),
    "silu": F.silu,
    "gelu": lambda a: F.gelu(a, approximate="none"),
}
ACTIVATIONS = HIDDEN_ACTIVATIONS | {"softmax": lambda a: torch.softmax(a, dim=1)}

# Each loss maps the network's output y (n, K) and its target to one value per sample (n,).
LOSSES = {
    "squared_error": lambda y, d: 0.5 * ((y - d) ** 2).sum(dim=1),
    "cross_entropy": lambda y, d: -(F.one_hot(d, y.shape[1]) * torch.log(y)).sum(dim=1),
    "softmax_cross_entropy": lambda y, d: F.cross_entropy(y, d, reduction="none"),
    "binary_cross_entropy": lambda y, d: F.binary_cross_entropy_with_logits(y, d, reduction="none").sum(dim=1),
    "absolute_error": lambda y, d: F.l1_loss(y, d, reduction="none").sum(dim=1),
    "huber": lambda y, d: F.huber_loss(y, d, reduction="none").sum(dim=1),
    "huber(0.5)": lambda y, d: F.huber_loss(y, d, reduction="none", delta=0.5).sum(dim=1),
    "quantile": lambda y, d: torch.maximum(0.5 * (d - y), -0.5 * (d - y)).sum(dim=1),
    "quantile(0.9)": lambda y, d: torch.maximum(0.9 * (d - y), -0.1 * (d - y)).sum(dim=1),
    "poisson": lambda y, d: (F.poisson_nll_loss(y, d, log_input=True, reduction="none")
                             + torch.xlogy(d, d) - d).sum(dim=1),
}

DEPTH_WIDTHS = {1: [4, 3], 2: [4, 5, 3], 3: [4, 5, 6, 3], 4: [4, 5, 6, 5, 3]}
WEIGHTED_DEPTH = 2

# name: (optimizer over a list of parameters, largest gradient norm, samples in a batch if not BATCH_SIZE)
OPTIMIZERS = {
    "sgd_momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), np.inf),
    "sgd_nesterov": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), np.inf),
    "sgd_weight_decay": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), np.inf),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.99, eps=1e-8), np.inf),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01), np.inf),
    "adam_weight_decay": (lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01), np.inf),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01), np.inf),
    "nadam": (lambda p: torch.optim.NAdam(p, lr=0.01), np.inf),
    "rprop": (lambda p: torch.optim.Rprop(p, lr=0.1), np.inf, 40),
    "sgd_clipped": (lambda p: torch.optim.SGD(p, lr=0.5), 0.5),
}
TRAINING_WIDTHS = [6, 7, 5, 3]
EPOCHS, BATCH_SIZE = 10, 16

EXTREME_INPUTS = {
    "logits": np.array(
        [
            [1e4, -1e4, 0.0, 1.0],  # the label has all the probability
            [1e4, -1e4, 0.0, 1.0],  # the label has none of it
            [1e4, 1e4, 1e4, 1e4],  # uniform
            [-1e4, -1e4, -1e4, -1e4],
            [1e4, 1e4 - 1.0, -1e4, 1e4 + 0.5],  # decided by small differences
        ]
    ),
    "labels": np.array([0, 1, 2, 3, 1], dtype=np.int64),
    "bits": np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0]], dtype=np.float64),
}


def parameter_count(widths):
    return sum(n_out * (n_in + 1) for n_in, n_out in pairwise(widths))


def forward(theta, X, widths, activations):
    """Return y (n, N_L) for flat parameters theta (P,), samples X (n, N_0) and L names of activations."""
    h, start = X, 0
    for (n_in, n_out), name in zip(pairwise(widths), activations, strict=True):
        W, b = theta[start : start + n_out * (n_in + 1)].split([n_out * n_in, n_out])
        h = ACTIVATIONS[name](F.linear(h, W.reshape(n_out, n_in), b))
        start += n_out * (n_in + 1)
    return h


def draw_inputs(widths, n=5):
    """Draw parameters, samples and one target of every kind for a network of these widths."""
    # With this seed every class and both bits of every output occur, relu leaves every sample a gradient, and no
    # pre-activation of the piecewise activations lies within 0.002 of the kink, so finite differences hold as well.
    rng = np.random.default_rng([232, *widths])
    return {
        "theta": 0.7 * rng.standard_normal(parameter_count(widths)),
        "X": rng.standard_normal((n, widths[0])),
        "labels": rng.integers(0, widths[-1], n, dtype=np.int64),
        "targets": rng.standard_normal((n, widths[-1])),
        "bits": rng.integers(0, 2, (n, widths[-1])).astype(np.float64),
        "weights": rng.uniform(0.2, 2.0, n),
        "counts": rng.poisson(2.0, (n, widths[-1])).astype(np.float64),
    }


def gradients(inputs, widths, case, activation, weights):
    """Return E, dE/dtheta and dE/dX for E = sum_i weights_i E_i."""
    loss, output_activation, target = CASES[case]
    theta = torch.tensor(inputs["theta"], requires_grad=True)
    X = torch.tensor(inputs["X"], requires_grad=True)
    y = forward(theta, X, widths, [activation] * (len(widths) - 2) + [output_activation or activation])
    E = (torch.from_numpy(weights) * LOSSES[loss](y, torch.from_numpy(inputs[target]))).sum()
    grad, e0 = torch.autograd.grad(E, (theta, X))
    return {"E": E.detach().numpy(), "grad": grad.numpy(), "e0": e0.numpy()}


def gradient_values():
    """Every loss case with every activation at every depth, and the weighted ones at one depth."""
    values = {}
    for depth, widths in DEPTH_WIDTHS.items():
        inputs = draw_inputs(widths)
        values |= under(f"depth{depth}", inputs)
        ones = np.ones_like(inputs["weights"])
        for case in CASES:
            for activation in HIDDEN_ACTIVATIONS:
                path = f"{case}/{activation}/{depth}"
                values |= under(f"gradient/{path}", gradients(inputs, widths, case, activation, ones))
                if depth == WEIGHTED_DEPTH:
                    weighted = gradients(inputs, widths, case, activation, inputs["weights"])
                    values |= under(f"weighted/{path}", weighted)
    return values


def train(inputs, make_optimizer, max_norm, batch_size=BATCH_SIZE):
    """Train on consecutive batches, stepping on each batch's mean gradient.

    Returns losses (EPOCHS,), the mean over all samples of the loss just before the update that used the sample, and
    the final theta (P,).
    """
    theta = torch.tensor(inputs["theta0"], requires_grad=True)
    X, labels = torch.from_numpy(inputs["X"]), torch.from_numpy(inputs["labels"])
    optimizer = make_optimizer([theta])
    losses = np.zeros(EPOCHS)
    for epoch in range(EPOCHS):
        for X_batch, d_batch in zip(X.split(batch_size), labels.split(batch_size), strict=True):
            optimizer.zero_grad()
            y = forward(theta, X_batch, TRAINING_WIDTHS, ["tanh", "tanh", "identity"])
            sample_losses = LOSSES["softmax_cross_entropy"](y, d_batch)
            sample_losses.mean().backward()
            # torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6; this is the exact rule.
            theta.grad *= min(1.0, max_norm / theta.grad.norm().item())
            optimizer.step()
            losses[epoch] += sample_losses.sum().item() / len(X)
    return {"losses": losses, "theta": theta.detach().numpy()}


def training_values(n=40):
    """One run per optimizer, all from the same parameters and on the same samples."""
    rng = np.random.default_rng([233, *TRAINING_WIDTHS])
    X = rng.standard_normal((n, TRAINING_WIDTHS[0]))
    # A linear rule decides the labels: the loss falls, so the optimizers' curves move apart.
    labels = np.argmax(X @ rng.standard_normal((TRAINING_WIDTHS[0], TRAINING_WIDTHS[-1])), axis=1).astype(np.int64)
    theta0 = 0.7 * rng.standard_normal(parameter_count(TRAINING_WIDTHS))
    inputs = {"theta0": theta0, "X": X, "labels": labels}
    values = under("training", inputs)
    for name, settings in OPTIMIZERS.items():
        values |= under(f"training/{name}", train(inputs, *settings))
    return values


def extreme_values():
    """Both losses on logits where exp overflows or underflows unless the formula guards it."""
    values = under("extreme", EXTREME_INPUTS)
    for prefix, loss, target in [("", "softmax_cross_entropy", "labels"), ("binary_", "binary_cross_entropy", "bits")]:
        logits = torch.tensor(EXTREME_INPUTS["logits"], requires_grad=True)
        E = LOSSES[loss](logits, torch.from_numpy(EXTREME_INPUTS[target])).sum()
        E.backward()
        values[f"extreme/{prefix}E"] = E.detach().numpy()
        values[f"extreme/{prefix}gradient"] = logits.grad.numpy()
    return values


def under(path, arrays):
    """Return the same arrays with keys path/name."""
    return {f"{path}/{name}": array for name, array in arrays.items()}


if __name__ == "__main__":
    reference = gradient_values() | training_values() | extreme_values()
    OUTPUT_FILE.parent.mkdir(exist_ok=True)
    # np.savez_compressed would reserve 20 bytes of 64-bit sizes for each of these many small arrays.
    with zipfile.ZipFile(OUTPUT_FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in reference.items():
            with archive.open(f"{key}.npy", "w") as entry:
                np.save(entry, array, allow_pickle=False)
    print(f"{OUTPUT_FILE.name}: {len(reference)} arrays, {OUTPUT_FILE.stat().st_size} bytes")
