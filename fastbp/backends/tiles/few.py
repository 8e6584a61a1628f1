"""Calls on a few samples, whose X and d are looked at in compiled code: that takes a fraction of a call to NumPy."""

from typing import Any

from ...compiling.addresses import address_in_memory, pointer
from ...compiling.decorators import inlined
from ...formulas.elementary import is_finite
from .job import begin_call


@inlined
def begin_few(job: Any, theta: Any, X: Any, d: Any) -> Any:
    """Begin a call on all samples of X and d; how many of their numbers kernels may not have.

    d : labels (n,) int64, or targets (n, N_L).
    """
    begin_call(job, address_in_memory(theta), address_in_memory(X))
    n, wrong, x, given = X.shape[0], 0, pointer(X, 0), pointer(d, 0)
    for p in range(n * job.inputs):
        wrong += not is_finite(x[p])
    if d.ndim == 1:
        job.labels = address_in_memory(d)
        for s in range(n):
            wrong += not 0 <= given[s] < job.outputs
    else:
        job.targets = address_in_memory(d)
        for p in range(n * job.outputs):
            wrong += not is_finite(given[p])
    return wrong
