"""Networks in files of safetensors: the tensors by PyTorch's names, all else as text in the header.

| tensor | dtype | shape | what it is |
|---|---|---|---|
| `P.weight` | F32 or F64 | (N_k, N_{k-1}) | W_k; P is the place of the layer in `MLP.to_torch`, activations counted |
| `P.bias` | as all weights | (N_k,) | b_k |
| `0.mean`, `0.scale` | F64 | (N_0,) | μ and σ of a network that standardises X, whose layers begin at 1 |

| metadata | what it is |
|---|---|
| `format`, `version` | "fastbp network"; "1", or "2" of a network that names its products |
| `activations` | JSON list of the names of g_1 … g_L |
| `loss` | its name |
| `metadata` | JSON of a dict |
| `products` | the numbers in which W, h and δ enter products, "bfloat16"; in version 2 only |

So ``net.to_torch().load_state_dict(safetensors.torch.load_file(path))`` reads the same file. Files of other programs
lack the metadata. The format has no checksums; those of `networks.py` have.
"""

import json
import re
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any

import numpy as np

from ..checks.arguments import checked_products, checked_widths
from ..checks.standardization import checked_standardization
from ..functions.activations import checked_activations
from ..functions.losses import loss_named
from ..network import Network
from .archive import require_file
from .json_text import finite_json, shortened
from .layers import parameters_of, places_of_layers, write_parameters
from .networks import FORMAT, LONGEST_METADATA, LONGEST_NAME, MOST_LAYERS, Net, checked_content, of_the_file
from .writing import replacing

PLAIN, NAMING_PRODUCTS = VERSIONS = ("1", "2")

#: The tensors that are not those of layers.
_MEAN, _SCALE = "0.mean", "0.scale"

#: The dtypes of tensors that networks have.
_DTYPES = {"F32": np.dtype(np.float32), "F64": np.dtype(np.float64)}


def save(net: Network, path: "str | PathLike[str]") -> None:
    """Write the network to a file of safetensors; see `fastbp.save_safetensors`."""
    library = _library()
    _, metadata = checked_content(net)
    tensors: dict[str, np.ndarray] = {}
    for place, (W, b) in zip(places_of_layers(net), parameters_of(net), strict=True):
        tensors |= {f"{place}.weight": W, f"{place}.bias": b}
    if net.standardization is not None:
        tensors |= {_MEAN: net.standardization.mean, _SCALE: net.standardization.scale}
    said = {"format": FORMAT, "version": PLAIN, "activations": json.dumps(net.activations), "loss": net.loss,
            "metadata": metadata}
    if net.products is not None:
        said |= {"version": NAMING_PRODUCTS, "products": net.products}
    with replacing(path) as file:
        file.write(library.numpy.save(tensors, said))


def read(path: "str | PathLike[str]", make: Callable[..., Net], *, activation: Any, output_activation: Any, loss: Any,
         backend: str, seed: int | None) -> Net:
    """The network in a file of safetensors; see `fastbp.load_safetensors`.

    make : the kind of network, which takes the arguments of `Network`.
    """
    library = _library()
    require_file(path)
    with of_the_file(path, library.SafetensorError):
        opened = library.safe_open(str(path), framework="numpy")
    with opened as file:
        said = file.metadata() or {}
        is_ours = said.get("format") == FORMAT
        if is_ours and not (activation is None and loss is None):
            raise ValueError(f"{path}: expected no activation and no loss, which the file says, found some")
        if not is_ours and (activation is None or loss is None):
            raise ValueError(f"{path}: not written by fastbp, so that it does not name activations and loss; give "
                             f"activation= and loss= as for MLP")
        with of_the_file(path):
            tensors = {name: _described(name, file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
            layers, widths, dtype = _layers(tensors)
            metadata: dict[str, Any] = {}
            products = said.get("products") if is_ours and said.get("version") == NAMING_PRODUCTS else None
            if is_ours:
                activation, loss, metadata = _what_it_says(said, len(layers))
                loss_named(loss, checked_activations(activation, "identity", len(layers))[-1].name, widths[-1])
                checked_products(products, dtype)
            standardization = None if _MEAN not in tensors else checked_standardization(
                file.get_tensor(_MEAN), file.get_tensor(_SCALE), widths[0])
        net = make(widths, activation=activation, output_activation=output_activation, loss=loss, dtype=dtype,
                   seed=seed, backend=backend, initializer="zeros", products=products)

        def parameters() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for layer, outputs in zip(layers, widths[1:], strict=True):
                W, name = file.get_tensor(f"{layer}.weight"), f"{layer}.bias"
                b = file.get_tensor(name) if name in tensors else np.zeros(outputs, dtype)
                if not (np.isfinite(W).all() and np.isfinite(b).all()):
                    raise ValueError(f"{path}: {layer}: expected finite parameters, found NaN or infinity")
                yield W, b

        write_parameters(net, parameters())
    net.metadata = metadata
    if standardization is not None:
        net.standardize(mean=standardization.mean, scale=standardization.scale)
    return net


def _described(name: str, tensor: Any) -> tuple[Any, tuple[int, ...]]:
    """The dtype and shape of a tensor, which has to be one of a network."""
    if len(name) > LONGEST_NAME or not (name.endswith((".weight", ".bias")) or name in (_MEAN, _SCALE)):
        raise ValueError(f"expected tensors NAME.weight and NAME.bias, found {shortened(name)!r}")
    dtype, shape = tensor.get_dtype(), tuple(tensor.get_shape())
    if dtype not in _DTYPES:
        raise ValueError(f"{shortened(name)}: expected F32 or F64, found {dtype}")
    return _DTYPES[dtype], shape


def _layers(tensors: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> tuple[list[str], list[int], np.dtype]:
    """The names of the layers in their order, the widths, and the dtype of all parameters."""
    left = dict(tensors)
    for name, other in ((_MEAN, _SCALE), (_SCALE, _MEAN)):
        if name in left and (other not in tensors or left.pop(name)[0] != np.float64):
            raise ValueError(f"expected {_MEAN} and {_SCALE} in F64, found another")
    layers = sorted((name.removesuffix(".weight") for name in left if name.endswith(".weight")), key=_numbered)
    if not 0 < len(layers) <= MOST_LAYERS:
        raise ValueError(f"expected 1 to {MOST_LAYERS} tensors NAME.weight, found {len(layers)}")
    dtype, first = left[f"{layers[0]}.weight"]
    widths = list(first[-1:])
    for layer in layers:
        found, shape = left.pop(f"{layer}.weight")
        bias = left.pop(f"{layer}.bias", (dtype, shape[:1]))
        if len(shape) != 2 or shape[1:] != (widths[-1],) or found != dtype or bias != (dtype, shape[:1]):
            raise ValueError(f"{shortened(layer)}: expected a weight (N, {widths[-1] if widths else 'any'}) and a bias "
                             f"(N,) in {dtype}, found {found} of shape {shape} and {bias[0]} of shape {bias[1]}")
        widths.append(shape[0])
    if left:
        raise ValueError(f"expected a weight beside every bias, found {shortened(next(iter(left)))!r} alone")
    checked_widths(widths)
    return layers, widths, dtype


def _numbered(name: str) -> list[Any]:
    """A key by which layer 10 comes after layer 9."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"([0-9]+)", name))]


def _what_it_says(said: dict[str, str], depth: int) -> tuple[list[str], str, dict[str, Any]]:
    """Activations, loss and metadata, of a file that fastbp wrote."""
    version = said.get("version")
    if version not in VERSIONS:
        raise ValueError(f"expected version {' or '.join(VERSIONS)}, found {shortened(str(version))}")
    for name, most in (("activations", depth * (12 * LONGEST_NAME + 4)), ("loss", LONGEST_NAME),
                       ("metadata", LONGEST_METADATA),
                       *((("products", LONGEST_NAME),) if version == NAMING_PRODUCTS else ())):
        if name not in said or len(said[name]) > most:
            raise ValueError(f"{name}: expected text of at most {most} characters in the header, found "
                             f"{len(said[name]) if name in said else 'none'}")
    activations, metadata = finite_json(said["activations"]), finite_json(said["metadata"])
    if not isinstance(activations, list) or not isinstance(metadata, dict):
        raise ValueError("expected a list of activations and a dict of metadata, found others")
    return activations, said["loss"], metadata


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("files of safetensors need it: pip install 'fastbp[safetensors]'") from error
    return safetensors
