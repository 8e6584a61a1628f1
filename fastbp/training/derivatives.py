"""Training on derivatives: J = ∂y/∂x has targets as y has; see `backends.double_backprop`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..backends import double_backprop as loops
from ..backends.double_backprop import Derivatives, slopes_of
from ..backends.tiles import double_backprop as tiles
from ..checks.arguments import require_number
from ..checks.arrays import kernel_array
from ..checks.samples import Samples
from ..derivatives import part_of
from ..network import Network
from ..optimizers.optimizer import Optimizer
from .session import Session


def checked_derivatives(net: Network, derivatives: Any, weight: float, n: int) -> Derivatives:
    """The arguments `derivatives` and `derivative_weight` of `fit`, for n samples.

    Raises
    ------
    TypeError, ValueError
        If they are not finite numbers of the right shape, or the network has no second derivatives.
    """
    D, _ = kernel_array("derivatives", derivatives, net.dtype, ndim=3)
    expected = n, net.widths[-1], net.widths[0]
    if D.shape != expected:
        raise ValueError(f"derivatives: expected shape {expected}, a row of ∂y_i/∂x for every output of every sample, "
                         f"found {D.shape}")
    weight = require_number("derivative_weight", weight, at_least=0.0)
    return Derivatives(D, weight, slopes_of(net.standardization, net.widths[0], net.dtype))


class DerivativeSession(Session):
    """A training whose E has w ½ λ ‖J - D‖² of every sample.

    Parameters are those of `Session`, and the derivatives.
    """

    def __init__(self, net: Any, samples: Samples, plan: Any, optimizer: Optimizer, state: Any, epochs: int,
                 derivatives: Derivatives) -> None:
        self._derivatives = derivatives
        self._module: Any = tiles if net.backend == "tiled" else loops
        self._linked = net.linked_curvature()
        super().__init__(net, samples, plan, optimizer, state, epochs)
        self._train = self._module.train

    def choose_way(self, samples: Samples) -> None:
        """Choose how kernels take X, and parts of which a training hears Ctrl-C in time."""
        super().choose_way(samples)
        self.plan = self.plan._replace(chunk=part_of(self.plan.chunk, 1 + self.net.widths[0]))

    def _compile(self, optimizer: Optimizer) -> None:
        """Do nothing: the loop is compiled when it is first called."""

    @contextmanager
    def workspace(self) -> Iterator[Any]:
        """The workspace for slices."""
        net, plan = self.net, self.plan
        samples = min(plan.batch_size, plan.chunk)
        with net.in_training(), net.workspace(samples, self.way) as work:
            yield self._module.workspace(self._linked, net.dtype, samples, self._derivatives, work)
