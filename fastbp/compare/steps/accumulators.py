"""What changed: sums may be added in another order, and four terms are added before a number is stored.

`forward` is the loop of `unit_stride`. The decorator allows LLVM to reassociate its sum ("reassoc"): it keeps partial
sums, with AVX-512 64 of them in four vectors, and adds them up at the end. It may also contract a product and a sum to
one instruction.

In `backward` and `gradient` the sum lies in memory: each product loads and stores a number of E or dW. Four rows at a
time need that once for four products.
"""

from numba import njit

FASTMATH = {"reassoc", "contract"}


@njit(fastmath=FASTMATH)
def forward(W, b, H, A):
    """a_i = b_i + Σ_j w_ij h_j, the sum in the lanes of vectors."""
    for s in range(H.shape[0]):
        for i in range(W.shape[0]):
            total = b[i]
            for j in range(W.shape[1]):
                total += W[i, j] * H[s, j]
            A[s, i] = total


@njit(fastmath=FASTMATH)
def backward(W, delta, E):
    """e_j = Σ_i w_ij δ_i."""
    E[:] = 0
    add_errors(W, delta, E)


@njit(fastmath=FASTMATH)
def add_errors(W, delta, E):
    """e_j += Σ_i w_ij δ_i, four rows of W at a time, and one by one what is left."""
    fours = W.shape[0] // 4 * 4
    for s in range(delta.shape[0]):
        for i in range(0, fours, 4):
            d0, d1, d2, d3 = delta[s, i], delta[s, i + 1], delta[s, i + 2], delta[s, i + 3]
            for j in range(W.shape[1]):
                E[s, j] += W[i, j] * d0 + W[i + 1, j] * d1 + W[i + 2, j] * d2 + W[i + 3, j] * d3
        for i in range(fours, W.shape[0]):
            for j in range(W.shape[1]):
                E[s, j] += W[i, j] * delta[s, i]


@njit(fastmath=FASTMATH)
def gradient(delta, H, dW):
    """∂E/∂W += Σ_s δ hᵀ, four samples at a time, and one by one what is left."""
    fours = H.shape[0] // 4 * 4
    for s in range(0, fours, 4):
        for i in range(dW.shape[0]):
            d0, d1, d2, d3 = delta[s, i], delta[s + 1, i], delta[s + 2, i], delta[s + 3, i]
            for j in range(dW.shape[1]):
                dW[i, j] += d0 * H[s, j] + d1 * H[s + 1, j] + d2 * H[s + 2, j] + d3 * H[s + 3, j]
    for s in range(fours, H.shape[0]):
        for i in range(dW.shape[0]):
            for j in range(dW.shape[1]):
                dW[i, j] += delta[s, i] * H[s, j]
