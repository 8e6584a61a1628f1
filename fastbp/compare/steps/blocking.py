"""What changed: all samples go over some rows of W, or of dW, before the next rows have their turn.

`accumulators` reads all of W for every sample, and all of dW for every four. Where that is more than a cache holds, it
comes from the next one, each time. ROWS rows of W stay where they are for all samples.
"""

from numba import njit

from . import accumulators

ROWS = 16


@njit
def forward(W, b, H, A):
    """a_i = b_i + Σ_j w_ij h_j, for ROWS units at a time."""
    for i in range(0, W.shape[0], ROWS):
        accumulators.forward(W[i : i + ROWS], b[i : i + ROWS], H, A[:, i : i + ROWS])


@njit
def backward(W, delta, E):
    """e_j = Σ_i w_ij δ_i, of ROWS units at a time."""
    E[:] = 0
    for i in range(0, W.shape[0], ROWS):
        accumulators.add_errors(W[i : i + ROWS], delta[:, i : i + ROWS], E)


@njit
def gradient(delta, H, dW):
    """∂E/∂w_ij += Σ_s δ_i h_j, for ROWS units at a time."""
    for i in range(0, dW.shape[0], ROWS):
        accumulators.gradient(delta[:, i : i + ROWS], H, dW[i : i + ROWS])
