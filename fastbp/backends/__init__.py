"""The backends: one contract, several ways to compute it.

A backend is a module with the functions of `Backend`. All arrays are checked before they come here; a backend
allocates nothing but its workspace, raises nothing, and gives E as a sum over samples.
"""

from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np

from ..inputs import Samples
from ..layout import Layout


class Backend(Protocol):
    """The contract: what `loops.py` does sample by sample, whatever the schedule."""

    #: Floating-point operations per second of a training step, at the least, to an order of magnitude.
    FLOPS: float

    def workspace(self, layout: Layout, dtype: np.dtype, samples: int) -> Any:
        """The memory for calls with up to that many samples; bounded, however many they are."""

    def propagate(self, theta: Any, layout: Layout, samples: Samples, order: Any, start: int, stop: int, grad: Any,
                  Y: Any, E0: Any, work: Any) -> tuple[float, int]:
        """Take the samples order[start:stop] forward, evaluate their loss, and take their errors back. Compiled.

        Parameters
        ----------
        theta : (P,)
        layout : Layout
        samples : Samples
            Without labels and targets there is no loss, and nothing goes back.
        order : (n,) int64, or (0,) for the samples start … stop - 1 themselves
        grad : (P,), or (0,) where it is not wanted
            ∇E is added, every coordinate in the order of the samples, so that a range may be cut in two.
        Y : (n, N_L), or (0, N_L) where it is not wanted
            y = h_L of each sample, in the sample's own row.
        E0 : (n, N_0), or (0, N_0) where it is not wanted
            e_0 = ∇_x E of each sample, in the sample's own row.
        work : from `workspace`

        Returns
        -------
        E : float
            The sum of the samples' weighted losses.
        correct : int
            How many are classified correctly.
        """

    def train(self, theta: Any, grad: Any, layout: Layout, samples: Samples, plan: Any, optimizer: Any, state: Any,
              progress: Any, until_epoch: int, budget: int, work: Any) -> int:
        """Run the loop over batches and epochs for about `budget` samples; made by `training_loop`. Compiled."""


#: Compiled code is asked for slices of about this many seconds; half of what Ctrl-C may take.
SLICE_SECONDS = 0.05

#: Operations of a sample that do not depend on the network, to an order of magnitude.
SAMPLE_OVERHEAD = 1000.0


def samples_in_a_piece(backend: Backend, layout: Layout) -> int:
    """How many samples a call may take between two chances to interrupt it: half a slice at the backend's `FLOPS`.

    A function of the backend and the network alone, so that results do not depend on the time.
    """
    operations = 6.0 * layout.size + SAMPLE_OVERHEAD  # three products of two operations for each parameter
    return max(1, int(backend.FLOPS * SLICE_SECONDS / 2 / operations))


NAMES = ("auto", "loops", "blas")


def backend_named(name: str) -> tuple[str, Backend]:
    """The backend of that name, and the name of what "auto" stands for.

    Raises
    ------
    TypeError, ValueError
        If there is no backend of that name.
    ImportError
        If it needs a package that is not installed.
    """
    if not isinstance(name, str):
        raise TypeError(f"backend: expected one of {', '.join(NAMES)}, found {name!r}")
    if name not in NAMES:
        raise ValueError(f"backend: unknown backend {name!r}; expected one of {', '.join(NAMES)}")
    module: ModuleType
    if name == "blas":
        from . import blas as module
    else:
        name = "loops"
        from . import loops as module
    return name, cast(Backend, module)
