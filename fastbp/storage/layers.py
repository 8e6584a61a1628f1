"""A network's parameters layer by layer, and the names by which PyTorch knows them."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from ..layout import bias_vector, weight_matrix
from ..network import Network


def places_of_layers(net: Network) -> list[int]:
    """The places of the ``Linear`` modules of a network's layers in its ``Sequential``; see `MLP.to_torch`.

    Examples
    --------
    >>> places_of_layers(Network([3, 4, 5, 2], activation=["tanh", "identity", "identity"]))
    [0, 2, 3]
    """
    lengths = [1 + (name != "identity") for name in net.activations]
    return list(itertools.accumulate(lengths[:-1], initial=int(net.standardization is not None)))


def parameters_of(net: Network) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """W_k (N_k, N_{k-1}) and b_k (N_k,) of all layers, in the processor's memory."""
    theta = net.theta_on_host()
    for k in range(1, net.sizes.depth + 1):
        yield weight_matrix(theta, net.sizes, k), bias_vector(theta, net.sizes, k)


def write_parameters(net: Network, parameters: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write W_k and b_k of all layers, of the network's dtype, into theta."""
    begin = 0
    for values in itertools.chain.from_iterable(parameters):
        net.backend_module.memory.write(net.theta[begin : begin + values.size], values.reshape(-1))
        begin += values.size
