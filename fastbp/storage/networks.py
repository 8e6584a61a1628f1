"""Networks in files: an archive without pickle, which `numpy.load` opens too.

| member | dtype | shape | what it is |
|---|---|---|---|
| `format` | text | () | "fastbp network" |
| `version` | int64 | () | 1, 2 if the network standardises X, or 3 if it names its products; older releases refuse it |
| `widths` | int64 | (L+1,) | N_0 … N_L |
| `activations` | text | (L,) | the names of g_1 … g_L |
| `loss` | text | () | its name, which holds its parameter |
| `theta` | float32 or float64 | (P,) | W_1, b_1, …, W_L, b_L, each W_k in rows (N_k, N_{k-1}); all finite |
| `metadata` | text | () | JSON of a dict |
| `feature_mean`, `feature_scale` | float64 | (N_0,) | μ and σ; in version 2, and in version 3 if X is standardised |
| `products` | text | () | the numbers in which W, h and δ enter products, "bfloat16"; in version 3 only |
| `digest` | text | () | see `archive.py`; not in files of older releases, and not read by them |

Text is NumPy's, of 4 bytes a character, and numbers are little-endian. Other members are ignored.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from os import PathLike
from typing import Any, TypeVar

import numpy as np

from ..checks.arguments import checked_products, checked_widths
from ..checks.standardization import Standardization, checked_standardization
from ..functions.activations import checked_activations
from ..functions.losses import loss_named
from ..network import Network
from .archive import opened, write_archive
from .json_text import json_text, shortened
from .reading import Archive
from .writing import replacing

#: The kind of network that is read.
Net = TypeVar("Net", bound=Network)

FORMAT = "fastbp network"

#: What is said of other files of fastbp.
_OF_OTHERS = {"fastbp checkpoint": ": what wrote it goes on from it with resume=, or with 'fastbp train --resume', and "
                                   "then has a network to save"}

#: Files of networks that standardise X, or that name their products, are of other versions, which fastbp refuses where
#: it does not know of that.
PLAIN, STANDARDIZING, NAMING_PRODUCTS = VERSIONS = (1, 2, 3)

#: What a file may hold at the most: layers, characters of a name, characters of metadata. Whoever opens a file knows
#: by that how much memory it can take.
MOST_LAYERS, LONGEST_NAME, LONGEST_METADATA = 2**16, 1000, 2**24

#: The numbers of a part.
_PART = 2**18


def save(net: Network, path: "str | PathLike[str]") -> None:
    """Write the network to one .npz file: its shape, names, parameters, how it standardises X, and metadata.

    The file is written in the same folder under another name, and then renamed, so that a crash never leaves half a
    file. The new file has the permissions of one that it replaces. Of a link, the file that it points to is replaced.
    See `fastbp.storage.writing.replacing`.

    Parameters
    ----------
    net : Network
    path : path
        No suffix is added.

    Raises
    ------
    ValueError
        If a parameter is not finite, the metadata is not what JSON holds, there is more of something than files may
        hold, or there is a device or a pipe at the path, which would be replaced.
    OSError
        If the file cannot be written.
    """
    members = _members(net)
    with replacing(path) as file:
        write_archive(file, members)


def _members(net: Network) -> dict[str, Any]:
    """What a file of the network holds."""
    theta, metadata = checked_content(net)
    numbers: dict[str, Any] = {}
    if net.standardization is not None:
        numbers = {"feature_mean": net.standardization.mean, "feature_scale": net.standardization.scale}
    version = STANDARDIZING if numbers else PLAIN
    if net.products is not None:
        version, numbers = NAMING_PRODUCTS, numbers | {"products": net.products}
    return {"format": FORMAT, "version": version, "widths": np.array(net.widths, np.int64),
            "activations": list(net.activations), "loss": net.loss, "theta": theta, "metadata": metadata, **numbers}


def checked_content(net: Network) -> tuple[np.ndarray, str]:
    """theta in the processor's memory, and the JSON of the metadata, of a network that a file can hold.

    Raises
    ------
    ValueError
        If a file cannot hold it; what is wrong is named.
    """
    theta = net.theta_on_host()
    if not all(np.isfinite(part).all() for part in np.split(theta, range(_PART, theta.size, _PART))):
        raise ValueError("theta: expected finite parameters, found NaN or infinity; the file would be refused by load")
    if not isinstance(net.metadata, dict):
        raise ValueError(f"metadata: expected a dict, found {shortened(repr(net.metadata))}")
    metadata = json_text("metadata", net.metadata)
    if len(metadata) > LONGEST_METADATA:
        raise ValueError(f"metadata: expected at most {LONGEST_METADATA} characters of JSON, found {len(metadata)}")
    if len(net.activations) > MOST_LAYERS:
        raise ValueError(f"widths: expected at most {MOST_LAYERS} layers in a file, found {len(net.activations)}")
    for name in (*net.activations, net.loss):
        if len(name) > LONGEST_NAME:
            raise ValueError(f"name: expected at most {LONGEST_NAME} characters, found {len(name)}: {shortened(name)}")
    return theta, metadata


def read(path: "str | PathLike[str]", make: Callable[..., Net], *, backend: str, seed: int | None) -> Net:
    """The network in a file; see `fastbp.load`.

    theta is read part by part into the network, so that no other memory of its size is needed.

    make : the kind of network, which takes the arguments of `Network`.
    """
    with opened(path, FORMAT, _OF_OTHERS) as archive:
        version = archive.integer("version")
        if version not in VERSIONS:
            raise ValueError(f"{path}: written in version {version}; this fastbp reads versions {PLAIN} to "
                             f"{NAMING_PRODUCTS}")
        widths = archive.array("widths", dtype=np.int64, shape=(None,), most=MOST_LAYERS + 1).tolist()
        with of_the_file(path):  # `make` checks these too: an error there is of an argument
            checked_widths(widths)
        names = archive.texts("activations", count=len(widths) - 1, most=LONGEST_NAME)
        loss = archive.text("loss", most=LONGEST_NAME)
        metadata = archive.json("metadata", most=LONGEST_METADATA)
        if not isinstance(metadata, dict):
            raise archive.error("metadata", f"expected a dict, found {shortened(repr(metadata))}")
        dtype, shape = archive.dtype_of("theta"), archive.shape_of("theta")
        if dtype not in (np.float32, np.float64) or len(shape) != 1:
            raise archive.error("theta", f"expected a vector of float32 or float64, found {dtype} of shape {shape}")
        with of_the_file(path):
            loss_named(loss, checked_activations(names, "identity", len(widths) - 1)[-1].name, widths[-1])
        size = sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
        if shape != (size,):
            raise archive.error("theta", f"expected {size} parameters for widths {shortened(str(widths))}, found "
                                f"{shape[0]}")
        standardizes = version == STANDARDIZING or (version == NAMING_PRODUCTS and "feature_mean" in archive)
        standardization = _standardization(archive, path, widths[0]) if standardizes else None
        products: dict[str, str | None] = {}
        if version == NAMING_PRODUCTS:
            with of_the_file(path):
                products = {"products": checked_products(archive.text("products", most=LONGEST_NAME), dtype)}
        net = make(widths, activation=names, loss=loss, dtype=dtype, seed=seed, backend=backend, initializer="zeros",
                   **products)
        finite, begin = True, 0
        for part in archive.parts("theta", dtype=dtype, shape=shape):
            finite = finite and bool(np.isfinite(part).all())
            net.backend_module.memory.write(net.theta[begin : begin + part.size], part)
            begin += part.size
        if not finite:
            raise archive.error("theta", "expected finite parameters, found NaN or infinity")
    net.metadata = metadata
    if standardization is not None:
        net.standardize(mean=standardization.mean, scale=standardization.scale)
    return net


def _standardization(archive: Archive, path: Any, features: int) -> Standardization:
    """How a network standardises X."""
    mean, scale = (archive.array(name, dtype=np.float64, shape=(features,)) for name in ("feature_mean",
                                                                                        "feature_scale"))
    with of_the_file(path):
        return checked_standardization(mean, scale, features)


@contextmanager
def of_the_file(path: Any, *errors: Any) -> Iterator[None]:
    """A context in which what checks of arguments refuse, and other errors, are the fault of the file."""
    try:
        yield
    except tuple([TypeError, ValueError, *errors]) as error:
        raise ValueError(f"{path}: not a whole network ({shortened(str(error), 200)})") from None
