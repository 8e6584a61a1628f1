"""A library's products: np.dot in compiled code calls the BLAS that SciPy brings along.

It has its own register tile for each kind of processor, in assembly, and copies blocks of both matrices into the order
in which that tile reads them. What is added to a product, or done with it, is another pass over memory.
"""

import numpy as np
from numba import njit


@njit
def forward(W, b, H, A):
    """A = H Wᵀ, and b added to each row."""
    np.dot(H, W.T, A)
    for s in range(A.shape[0]):
        for i in range(A.shape[1]):
            A[s, i] += b[i]


@njit
def backward(W, delta, E):
    """E = Δ W."""
    np.dot(delta, W, E)


@njit
def gradient(delta, H, dW):
    """∂E/∂W += Δᵀ H."""
    product = np.dot(delta.T, H)
    for i in range(dW.shape[0]):
        for j in range(dW.shape[1]):
            dW[i, j] += product[i, j]
