"""A network in one .npz file, without pickle."""

import json
import os
import stat
import uuid
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .network import MLP

FORMAT = "fastbp network"
VERSION = 1


def save(net: MLP, path: "str | PathLike[str]") -> None:
    """Write the network to one .npz file: its shape, names, parameters and metadata.

    The file is written beside its place under another name and then renamed, so that a crash never leaves half a file.
    A file that is there already keeps its permissions; of a link, the file that it points to is replaced.

    Parameters
    ----------
    net : MLP
    path : path
        Taken as it is; no suffix is added.

    Raises
    ------
    ValueError
        If a parameter is not finite, the metadata is not what JSON holds, or there is a device or a pipe at the path,
        which would be replaced.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    there = path.stat() if path.exists() else None
    if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode)):
        raise ValueError(f"path: expected a file or nothing at {path}, found a device, a pipe or the like")
    theta = net.theta_on_host()
    if not np.isfinite(theta).all():
        raise ValueError("theta: expected finite parameters, found NaN or infinity; the file would be refused by load")
    if not isinstance(net.metadata, dict):
        raise ValueError(f"metadata: expected a dict, found {net.metadata!r}")
    try:
        metadata = json.dumps(net.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata: expected what JSON can hold ({error})") from None
    target = path.resolve()
    temporary = target.with_name(f".{target.name[:32]}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, format=FORMAT, version=VERSION, widths=np.array(net.widths, np.int64),
                     activations=np.array(net.activations), loss=net.loss, theta=theta, metadata=metadata)
            file.flush()
            os.fsync(file.fileno())
        if there is not None:
            os.chmod(temporary, stat.S_IMODE(there.st_mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: "str | PathLike[str]", *, backend: str = "auto", seed: int | None = None) -> MLP:
    """Read a network that `MLP.save` wrote.

    Parameters
    ----------
    path : path
    backend : str
        As for `MLP`; files do not name one.
    seed : int, optional
        Of later training, as for `MLP`.

    Returns
    -------
    MLP
        With a gradient of zero.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a network of a known version, or its arrays do not go together or are not finite.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> net = MLP([2, 3, 1], loss="squared_error", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(pathlib.Path(folder, "net.npz"))
    ...     again = load(pathlib.Path(folder, "net.npz"))
    >>> bool((again.theta == net.theta).all())
    True
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not a fastbp network, which is an archive of arrays (.npz)")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                content = {name: archive[name] for name in archive.files}
        except Exception as error:  # what damaged archives raise has many types, from zipfile, zlib, struct and numpy
            raise ValueError(f"{path}: not a fastbp network ({error})") from None
    if str(content.get("format")) != FORMAT:
        raise ValueError(f"{path}: not a fastbp network, its 'format' is {content.get('format')}")
    version = _integers(path, content, "version", ndim=0)
    if version != VERSION:
        raise ValueError(f"{path}: written in version {version}; this fastbp reads version {VERSION}")
    widths = _integers(path, content, "widths", ndim=1)
    theta = content.get("theta")
    if theta is None or theta.ndim != 1 or theta.dtype not in (np.float32, np.float64):
        raise ValueError(f"{path}: expected theta as a vector of float32 or float64, found "
                         f"{None if theta is None else (theta.dtype, theta.shape)}")
    try:
        metadata = json.loads(str(content["metadata"]))
        if not isinstance(metadata, dict):
            raise ValueError(f"its metadata is {metadata!r}")
        size = sum((n_in + 1) * n_out for n_in, n_out in zip(widths.tolist()[:-1], widths.tolist()[1:], strict=True))
        if theta.size != size:
            raise ValueError(f"{theta.size} parameters for widths {widths.tolist()}, which have {size}")
        shape: dict[str, Any] = {"widths": widths.tolist(), "loss": str(content["loss"]), "dtype": theta.dtype,
                                 "activation": [str(name) for name in content["activations"]], "initializer": "zeros"}
        MLP(**shape)  # an error here is the file's, one below that of an argument
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a whole network ({error})") from None
    if not np.isfinite(theta).all():
        raise ValueError(f"{path}: theta holds NaN or infinity")
    net = MLP(**shape, seed=seed, backend=backend)
    net.backend_module.memory.write(net.theta, theta)
    net.metadata = metadata
    return net


def _integers(path: Any, content: dict[str, np.ndarray], name: str, *, ndim: int) -> np.ndarray:
    array = content.get(name)
    if array is None or array.dtype.kind not in "iu" or array.ndim != ndim:
        raise ValueError(f"{path}: not a fastbp network, its {name!r} is {array}")
    return array
