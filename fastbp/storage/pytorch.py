"""Networks of PyTorch: a `torch.nn.Sequential` of layers and activations, with the same bits in the parameters.

A layer of fastbp is a ``Linear`` and the module of its activation, of which the identity has none. A network that
standardises X begins with a `Standardize`. PyTorch is imported when it is used, and not before.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..network import Network
from .json_text import shortened
from .layers import parameters_of, write_parameters

#: The module of each activation, with the settings that make it the same function. PyTorch's softplus is a line from a
#: threshold on, which makes no difference above 36 in float64, and none in float32 above 16.
MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "logistic": ("Sigmoid", {}), "tanh": ("Tanh", {}), "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}), "elu": ("ELU", {"alpha": 1.0}),
    "softplus": ("Softplus", {"beta": 1.0, "threshold": 40.0}), "silu": ("SiLU", {}),
    "gelu": ("GELU", {"approximate": "none"}), "softmax": ("Softmax", {"dim": -1})}

#: The activation of each module, and the values that its settings may have.
_ACTIVATIONS: dict[str, tuple[str, dict[str, Callable[[Any], bool]]]] = {
    module: (name, {setting: functools.partial(lambda expected, found: bool(found == expected), value)
                    for setting, value in settings.items()})
    for name, (module, settings) in MODULES.items()}
_ACTIVATIONS["Softplus"][1]["threshold"] = lambda found: bool(found >= 20.0)
_ACTIVATIONS["Softmax"][1]["dim"] = lambda found: found in (-1, 1)


def to_sequential(net: Network) -> Any:
    """The network as a module of PyTorch; see `MLP.to_torch`."""
    torch = _torch()
    for k, name in enumerate(net.activations, 1):
        if name != "identity" and name not in MODULES:
            raise ValueError(f"activation of layer {k}: expected one that PyTorch has, found {shortened(name)!r} of "
                             f"your own")
    modules = [] if net.standardization is None else [standardize_class()(net.feature_mean, net.feature_scale)]
    dtype = getattr(torch, net.dtype.name)
    for name, (W, b) in zip(net.activations, parameters_of(net), strict=True):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, *W.shape[::-1], dtype=dtype)  # which draws no numbers
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
            linear.bias.copy_(torch.from_numpy(b))
        modules.append(linear)
        if name != "identity":
            module, settings = MODULES[name]
            modules.append(getattr(torch.nn, module)(**settings))
    return torch.nn.Sequential(*modules)


def from_sequential(model: Any, make: Callable[..., Any], *, loss: Any, backend: str, seed: int | None) -> Any:
    """A network of a module of PyTorch; see `fastbp.from_torch`.

    make : the kind of network, which takes the arguments of `Network`.
    """
    torch = _torch()
    if not isinstance(model, torch.nn.Sequential):
        raise TypeError(f"model: expected a torch.nn.Sequential, found {type(model).__name__}")
    layers: list[tuple[str, Any]] = []
    activations: list[str] = []
    standardize = None
    for place, module in _modules(model, torch):
        kind = type(module).__name__
        if module._forward_hooks or module._forward_pre_hooks:
            raise ValueError(f"model: expected modules without hooks, found some at {place!r}, {kind}")
        if type(module) is standardize_class() and standardize is None and not layers:
            standardize = module
        elif type(module) is torch.nn.Linear:
            layers.append((place, module))
            activations.append("identity")
        elif type(module) is getattr(torch.nn, kind, None) and kind in _ACTIVATIONS:
            if not layers or activations[-1] != "identity":
                raise ValueError(f"model: expected an activation after a Linear, found {kind} at {place!r}")
            activations[-1] = _activation_of(place, module)
        else:
            raise ValueError(f"model: expected Linear and its activations, found {kind} at {place!r}"
                             f"{_ADVICE.get(kind, '')}")
    if not layers:
        raise ValueError("model: expected at least one Linear, found none")
    parameters = [_parameters(place, module) for place, module in layers]
    dtype = parameters[0][0].dtype
    for (place, module), (before, other) in zip(layers[1:], itertools.pairwise(parameters), strict=True):
        if other[0].dtype != dtype or module.in_features != len(before[1]):
            raise ValueError(f"model: expected a Linear of {len(before[1])} inputs in {dtype}, as what is before it, "
                             f"found one of {module.in_features} in {other[0].dtype} at {place!r}")
    if loss is None:
        loss = "cross_entropy" if activations[-1] == "softmax" else "softmax_cross_entropy"
    net = make([parameters[0][0].shape[1], *(len(b) for _, b in parameters)], activation=activations, loss=loss,
               dtype=dtype, seed=seed, backend=backend, initializer="zeros")
    write_parameters(net, parameters)
    if standardize is not None:
        net.standardize(mean=standardize.mean.cpu().numpy(), scale=standardize.scale.cpu().numpy())
    return net


#: What to do about modules that networks often have.
_ADVICE = {
    "Dropout": "; leave it out, and give its rate to fit(…, dropout=…)",
    "LogSoftmax": "; leave it out: the loss 'softmax_cross_entropy' includes it",
    "Flatten": "; leave it out, and give rows: X.reshape(len(X), -1)",
    "BatchNorm1d": "; fold it into the Linear before it, as torch.nn.utils.fusion does",
}


def _modules(model: Any, torch: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The modules of a Sequential, those of a Sequential in it too, and their names; without `Identity`."""
    for name, module in model.named_children():
        if type(module) is torch.nn.Sequential:
            yield from _modules(module, torch, f"{prefix}{name}.")
        elif type(module) is not torch.nn.Identity:
            yield f"{prefix}{name}", module


def _activation_of(place: str, module: Any) -> str:
    """The activation that a module computes."""
    kind = type(module).__name__
    name, settings = _ACTIVATIONS[kind]
    for setting, fits in settings.items():
        if not fits(getattr(module, setting)):
            expected = MODULES[name][1][setting]
            raise ValueError(f"model: expected {kind} with {setting}={expected!r}, found "
                             f"{shortened(repr(getattr(module, setting)))} at {place!r}")
    return name


def _parameters(place: str, module: Any) -> tuple[np.ndarray, np.ndarray]:
    """W and b of a Linear; zeros where it has no bias."""
    arrays: list[np.ndarray] = []
    for name in ("weight", "bias"):
        tensor = getattr(module, name)
        if tensor is None:
            arrays.append(np.zeros(len(arrays[0]), arrays[0].dtype))
            continue
        if str(tensor.dtype) not in ("torch.float32", "torch.float64"):
            raise ValueError(f"model: expected parameters in float32 or float64, found {tensor.dtype} at {place!r}; "
                             f"model.float() converts them")
        arrays.append(tensor.detach().cpu().contiguous().numpy())
        if not np.isfinite(arrays[-1]).all():
            raise ValueError(f"model: expected finite parameters, found NaN or infinity in the {name} at {place!r}")
    return arrays[0], arrays[1]


@functools.cache
def standardize_class() -> Any:
    """The class `Standardize`, made when PyTorch is there."""
    torch = _torch()
    module: Any = torch.nn.Module

    class Standardize(module):
        """h_0 = (x - μ) / σ of every feature, in float64, and rounded once to the dtype of x.

        Parameters
        ----------
        mean, scale : array_like (N_0,)
            μ and σ, which are buffers in float64.
        """

        def __init__(self, mean: Any, scale: Any) -> None:
            super().__init__()
            for name, values in (("mean", mean), ("scale", scale)):
                self.register_buffer(name, torch.tensor(np.array(values, np.float64)))

        def forward(self, x: Any) -> Any:
            """The standardised rows of x (…, N_0), by the formula of `checks.standardization`."""
            z = (x.double() * 0.5 - self.mean * 0.5) * (2.0 / self.scale)
            return z.to(x.dtype if x.is_floating_point() else torch.get_default_dtype())

        def extra_repr(self) -> str:
            return f"{len(self.mean)} features"

    Standardize.__module__, Standardize.__qualname__ = __name__, "Standardize"  # by which pickles find it
    return Standardize


def __getattr__(name: str) -> Any:
    if name == "Standardize":
        return standardize_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError("networks of PyTorch need torch: pip install torch") from error
    return torch
