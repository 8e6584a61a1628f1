"""What changed: `prange`. Each thread takes a part of the samples, or of the rows of dW, by `blocking`.

Threads write to different rows of A, E and dW. So no sum is shared between them, and each has the bits that one thread
gives it.
"""

from numba import get_num_threads, njit, prange

from . import blocking


@njit(parallel=True)
def forward(W, b, H, A):
    """a = W h + b, each thread for a part of the samples."""
    parts, samples = get_num_threads(), H.shape[0]
    for part in prange(parts):
        begin, end = part * samples // parts, (part + 1) * samples // parts
        blocking.forward(W, b, H[begin:end], A[begin:end])


@njit(parallel=True)
def backward(W, delta, E):
    """e = Wᵀ δ, each thread for a part of the samples."""
    parts, samples = get_num_threads(), delta.shape[0]
    for part in prange(parts):
        begin, end = part * samples // parts, (part + 1) * samples // parts
        blocking.backward(W, delta[begin:end], E[begin:end])


@njit(parallel=True)
def gradient(delta, H, dW):
    """∂E/∂W += Σ δ hᵀ, each thread for a part of the rows of dW."""
    parts, units = get_num_threads(), dW.shape[0]
    for part in prange(parts):
        begin, end = part * units // parts, (part + 1) * units // parts
        blocking.gradient(delta[:, begin:end], H, dW[begin:end])
