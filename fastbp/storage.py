"""A network in one .npz file, without pickle."""

import json
import os
import tempfile
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

    Parameters
    ----------
    net : MLP
    path : path
        Taken as it is; no suffix is added.

    Raises
    ------
    ValueError
        If a parameter is not finite, or the metadata is not what JSON holds.
    """
    path = Path(path)
    if not np.isfinite(net.theta).all():
        raise ValueError("theta: expected finite parameters, found NaN or infinity; the file would be refused by load")
    if not isinstance(net.metadata, dict):
        raise ValueError(f"metadata: expected a dict, found {net.metadata!r}")
    try:
        metadata = json.dumps(net.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata: expected what JSON can hold ({error})") from None
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, format=FORMAT, version=VERSION, widths=np.array(net.widths, np.int64),
                     activations=np.array(net.activations), loss=net.loss, theta=net.theta, metadata=metadata)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
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
    net.theta[:] = theta
    net.metadata = metadata
    return net


def _integers(path: Any, content: dict[str, np.ndarray], name: str, *, ndim: int) -> np.ndarray:
    array = content.get(name)
    if array is None or array.dtype.kind not in "iu" or array.ndim != ndim:
        raise ValueError(f"{path}: not a fastbp network, its {name!r} is {array}")
    return array
