"""A network in one .npz file, without pickle."""

import json
import math
import os
import stat
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .checks.arguments import checked_widths
from .checks.standardization import Standardization, checked_standardization
from .functions.activations import checked_activations
from .functions.losses import loss_named
from .network import Network

#: The kind of network that is read.
Net = TypeVar("Net", bound=Network)

FORMAT = "fastbp network"

#: Files of networks that standardise X are of another version, which fastbp refuses where it does not know of that.
PLAIN, STANDARDIZING = VERSIONS = (1, 2)


def save(net: Network, path: "str | PathLike[str]") -> None:
    """Write the network to one .npz file: its shape, names, parameters, how it standardises X, and metadata.

    The file is written in the same folder under another name, and then renamed, so that a crash never leaves half a
    file. The new file has the permissions of one that it replaces. Of a link, the file that it points to is replaced.

    Parameters
    ----------
    net : Network
    path : path
        No suffix is added.

    Raises
    ------
    ValueError
        If a parameter is not finite, the metadata is not what JSON holds, or there is a device or a pipe at the path,
        which would be replaced.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    existing = path.stat() if path.exists() else None
    if existing is not None and not (stat.S_ISREG(existing.st_mode) or stat.S_ISDIR(existing.st_mode)):
        raise ValueError(f"path: expected a file or nothing at {path}, found a device, a pipe or the like")
    theta = net.theta_on_host()
    if not all(np.isfinite(part).all() for part in np.split(theta, range(_PART, theta.size, _PART))):
        raise ValueError("theta: expected finite parameters, found NaN or infinity; the file would be refused by load")
    if not isinstance(net.metadata, dict):
        raise ValueError(f"metadata: expected a dict, found {net.metadata!r}")
    try:
        metadata = json.dumps(net.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata: expected what JSON can hold ({error})") from None
    numbers: dict[str, Any] = {}
    if net.standardization is not None:
        numbers = {"feature_mean": net.standardization.mean, "feature_scale": net.standardization.scale}
    target = path.resolve()
    temporary = target.with_name(f".{target.name[:32]}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, format=FORMAT, version=STANDARDIZING if numbers else PLAIN,
                     widths=np.array(net.widths, np.int64), activations=np.array(net.activations), loss=net.loss,
                     theta=theta, metadata=metadata, **numbers)
            file.flush()
            os.fsync(file.fileno())
        if existing is not None:
            os.chmod(temporary, stat.S_IMODE(existing.st_mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: "str | PathLike[str]", make: Callable[..., Net], *, backend: str, seed: int | None) -> Net:
    """The network in a file; see `fastbp.load`.

    theta is read part by part into the network, so that no other memory of its size is needed.

    make : the kind of network, which takes the arguments of `Network`.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not a fastbp network, which is an archive of arrays (.npz)")
        file.seek(0)
        with _reading(path):
            archive = np.load(file, allow_pickle=False)
            content = {name: archive[name] for name in archive.files if name != "theta"}
            theta = _Vector(archive.zip, "theta.npy") if "theta" in archive.files else None
        if str(content.get("format")) != FORMAT:
            raise ValueError(f"{path}: not a fastbp network, its 'format' is {content.get('format')}")
        version = _integers(path, content, "version", ndim=0)
        if version not in VERSIONS:
            raise ValueError(f"{path}: written in version {version}; this fastbp reads versions {PLAIN} to "
                             f"{STANDARDIZING}")
        widths = _integers(path, content, "widths", ndim=1).tolist()
        if theta is None or len(theta.shape) != 1 or theta.dtype not in (np.float32, np.float64):
            raise ValueError(f"{path}: not a fastbp network, expected theta as a vector of float32 or float64, found "
                             f"{None if theta is None else (theta.dtype, theta.shape)}")
        try:
            metadata = json.loads(str(content["metadata"]))
            if not isinstance(metadata, dict):
                raise ValueError(f"its metadata is {metadata!r}")
            size = sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
            if theta.shape != (size,):
                raise ValueError(f"{theta.shape[0]} parameters for widths {widths}, which have {size}")
            names, loss = [str(name) for name in content["activations"]], str(content["loss"])
            # `make` checks these too: an error here is of the file, an error there of an argument.
            checked_widths(widths)
            loss_named(loss, checked_activations(names, "identity", len(widths) - 1)[-1].name, widths[-1])
            theta.require_size()
            standardization = _standardization(content, widths[0]) if version == STANDARDIZING else None
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a whole network ({error})") from None
        net = make(widths, activation=names, loss=loss, dtype=theta.dtype, seed=seed, backend=backend,
                   initializer="zeros")
        finite, begin = True, 0
        with _reading(path):
            for part in theta.parts():
                finite = finite and bool(np.isfinite(part).all())
                net.backend_module.memory.write(net.theta[begin : begin + part.size], part)
                begin += part.size
    if not finite:
        raise ValueError(f"{path}: theta holds NaN or infinity")
    net.metadata = metadata
    if standardization is not None:
        net.standardize(mean=standardization.mean, scale=standardization.scale)
    return net


def _standardization(content: dict[str, np.ndarray], features: int) -> Standardization:
    """How a network standardises X; both arrays have to be (features,) float64."""
    mean, scale = content["feature_mean"], content["feature_scale"]
    for array in (mean, scale):
        if array.dtype != np.float64 or array.shape != (features,):
            raise ValueError(f"expected feature_mean and feature_scale as {features} float64, found {array.dtype} of "
                             f"shape {array.shape}")
    return checked_standardization(mean, scale, features)


@contextmanager
def _reading(path: Any) -> Iterator[None]:
    """A context that raises a ValueError for the errors of damaged archives, from zipfile, zlib, struct and NumPy."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: not a fastbp network ({error})") from None


class _Vector:
    """An array in an archive of NumPy, read part by part, so that it is never in memory as a whole."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._bytes, self._stream = archive.getinfo(name).file_size, archive.open(name)
        read_header = _HEADERS[np.lib.format.read_magic(self._stream)]
        self.shape, _, self.dtype = read_header(self._stream)

    def require_size(self) -> None:
        """Refuse an array that has other bytes than its shape says, before memory is allocated for it."""
        found, expected = self._bytes - self._stream.tell(), math.prod(self.shape) * self.dtype.itemsize
        if found != expected:
            raise ValueError(f"its theta has {found} bytes and not {expected}")

    def parts(self) -> Iterator[np.ndarray]:
        """All numbers in order, in parts; the archive compares its checksum after the last."""
        left = math.prod(self.shape) * self.dtype.itemsize
        while left > 0:
            data = self._stream.read(min(left, _PART * self.dtype.itemsize))
            left -= len(data)
            if not data:
                raise ValueError(f"theta is cut off {left} bytes before its end")
            yield np.frombuffer(data, self.dtype)
        if self._stream.read(1):
            raise ValueError("theta goes on after its last number")


#: The numbers of a part.
_PART = 2**18

#: The functions that read the header of an array, by the version of NumPy's format.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _integers(path: Any, content: dict[str, np.ndarray], name: str, *, ndim: int) -> np.ndarray:
    array = content.get(name)
    if array is None or array.dtype.kind not in "iu" or array.ndim != ndim:
        raise ValueError(f"{path}: not a fastbp network, its {name!r} is {array}")
    return array
