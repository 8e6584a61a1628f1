"""The formulas as they are read, with the inner loop across memory.

The sum that makes a number of the result is the inner loop. In e = Wᵀ δ it goes down a column of W, in ∂E/∂W down
columns of δ and h, and a = W h + b is written column by column of W too. Row by row as W lies, each step of the inner
loop reads another cache line of 64 bytes, and uses 4 of them. No loop vectorises.
"""

from numba import njit


@njit
def forward(W, b, H, A):
    """a_i = b_i + Σ_j w_ij h_j, a column of W after the other."""
    for s in range(H.shape[0]):
        for i in range(W.shape[0]):
            A[s, i] = b[i]
        for j in range(W.shape[1]):
            for i in range(W.shape[0]):
                A[s, i] += W[i, j] * H[s, j]


@njit
def backward(W, delta, E):
    """e_j = Σ_i w_ij δ_i, the sum down a column of W."""
    for s in range(delta.shape[0]):
        for j in range(W.shape[1]):
            total = W.dtype.type(0)  # a bare 0 would make it a float64
            for i in range(W.shape[0]):
                total += W[i, j] * delta[s, i]
            E[s, j] = total


@njit
def gradient(delta, H, dW):
    """∂E/∂w_ij += Σ_s δ_i h_j, the sum down columns of δ and h."""
    for i in range(dW.shape[0]):
        for j in range(dW.shape[1]):
            for s in range(H.shape[0]):
                dW[i, j] += delta[s, i] * H[s, j]
