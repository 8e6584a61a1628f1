"""What changed: 4 × 4 numbers are in registers, so that each number that is loaded is used four times.

In `forward` they are sums, 16 vectors of partial ones: eight loads for sixteen multiply-adds. In the other products
they are factors, and four rows of the result take four products each: eight loads and four stores for sixteen.
"""

from numba import njit

from . import accumulators

FASTMATH = {"reassoc", "contract"}

#: Terms of a sum whose rows of W or H stay in the cache for all rows of the result.
TERMS = 32


@njit(fastmath=FASTMATH)
def forward(W, b, H, A):
    """a_i = b_i + Σ_j w_ij h_j, four units of four samples at a time, and by `accumulators` what is left."""
    units, samples = W.shape[0] // 4 * 4, H.shape[0] // 4 * 4
    for i in range(0, units, 4):
        for s in range(0, samples, 4):
            sum_tile(W, b, H, A, i, s)
    accumulators.forward(W[units:], b[units:], H, A[:, units:])
    accumulators.forward(W[:units], b[:units], H[samples:], A[samples:, :units])


@njit(fastmath=FASTMATH)
def sum_tile(W, b, H, A, i, s):
    """a_i … a_{i+3} of the samples s … s+3."""
    t00 = t01 = t02 = t03 = b[i]
    t10 = t11 = t12 = t13 = b[i + 1]
    t20 = t21 = t22 = t23 = b[i + 2]
    t30 = t31 = t32 = t33 = b[i + 3]
    for j in range(W.shape[1]):
        w0, w1, w2, w3 = W[i, j], W[i + 1, j], W[i + 2, j], W[i + 3, j]
        h0, h1, h2, h3 = H[s, j], H[s + 1, j], H[s + 2, j], H[s + 3, j]
        t00, t01, t02, t03 = t00 + w0 * h0, t01 + w0 * h1, t02 + w0 * h2, t03 + w0 * h3
        t10, t11, t12, t13 = t10 + w1 * h0, t11 + w1 * h1, t12 + w1 * h2, t13 + w1 * h3
        t20, t21, t22, t23 = t20 + w2 * h0, t21 + w2 * h1, t22 + w2 * h2, t23 + w2 * h3
        t30, t31, t32, t33 = t30 + w3 * h0, t31 + w3 * h1, t32 + w3 * h2, t33 + w3 * h3
    A[s, i], A[s, i + 1], A[s, i + 2], A[s, i + 3] = t00, t10, t20, t30
    A[s + 1, i], A[s + 1, i + 1], A[s + 1, i + 2], A[s + 1, i + 3] = t01, t11, t21, t31
    A[s + 2, i], A[s + 2, i + 1], A[s + 2, i + 2], A[s + 2, i + 3] = t02, t12, t22, t32
    A[s + 3, i], A[s + 3, i + 1], A[s + 3, i + 2], A[s + 3, i + 3] = t03, t13, t23, t33


@njit(fastmath=FASTMATH)
def backward(W, delta, E):
    """e_j = Σ_i δ_i w_ij."""
    E[:] = 0
    add_products(delta, W, E)


@njit(fastmath=FASTMATH)
def gradient(delta, H, dW):
    """∂E/∂w_ij += Σ_s δ_i h_j."""
    add_products(delta.T, H, dW)


@njit(fastmath=FASTMATH)
def add_products(F, B, C):
    """c_rj += Σ_t f_rt b_tj, four terms of four rows at a time, and one by one what is left."""
    rows, terms = C.shape[0] // 4 * 4, B.shape[0] // 4 * 4
    for first in range(0, terms, TERMS):
        for r in range(0, rows, 4):
            for t in range(first, min(first + TERMS, terms), 4):
                factor_tile(F, B, C, r, t)
    for r in range(C.shape[0]):
        for t in range(terms if r < rows else 0, B.shape[0]):
            for j in range(C.shape[1]):
                C[r, j] += F[r, t] * B[t, j]


@njit(fastmath=FASTMATH)
def factor_tile(F, B, C, r, t):
    """The rows r … r+3 of C, with the terms t … t+3."""
    f00, f01, f02, f03 = F[r, t], F[r, t + 1], F[r, t + 2], F[r, t + 3]
    f10, f11, f12, f13 = F[r + 1, t], F[r + 1, t + 1], F[r + 1, t + 2], F[r + 1, t + 3]
    f20, f21, f22, f23 = F[r + 2, t], F[r + 2, t + 1], F[r + 2, t + 2], F[r + 2, t + 3]
    f30, f31, f32, f33 = F[r + 3, t], F[r + 3, t + 1], F[r + 3, t + 2], F[r + 3, t + 3]
    for j in range(C.shape[1]):
        b0, b1, b2, b3 = B[t, j], B[t + 1, j], B[t + 2, j], B[t + 3, j]
        C[r, j] += f00 * b0 + f01 * b1 + f02 * b2 + f03 * b3
        C[r + 1, j] += f10 * b0 + f11 * b1 + f12 * b2 + f13 * b3
        C[r + 2, j] += f20 * b0 + f21 * b1 + f22 * b2 + f23 * b3
        C[r + 3, j] += f30 * b0 + f31 * b1 + f32 * b2 + f33 * b3
