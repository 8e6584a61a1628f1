"""One layer's three products in steps, from the formula to the register tile: read the files in this order.

=================  =========================================================================
`wrong_order`      the formulas as they are read, with strides through memory
`unit_stride`      the inner loop along memory
`accumulators`     sums that vectorise, and numbers that are loaded once for four products
`blocking`         rows of W that stay in the cache for all samples
`parallel`         `blocking` on threads
`register_tile`    4 × 4 numbers in registers, each used four times
=================  =========================================================================

Behind them come the tile of `fastbp.backends.tiled`, which is written in LLVM code, and `np_dot`, which calls a BLAS.
`fastbp compare --steps` times all of them, and asv_bench/LOOPS_AND_BLAS.md walks through them.

Each file needs Numba alone, and at most the file before it that it changes, and has

    forward(W, b, H, A)      a = W h + b of every sample
    backward(W, delta, E)    e = Wᵀ δ of every sample
    gradient(delta, H, dW)   ∂E/∂W += Σ δ hᵀ over the samples

W, dW : (N, M); b : (N,)
H, E : (S, M), a row for each sample
A, delta : (S, N)

Indices: s sample, i unit of the layer, j unit before it. All arrays lie row by row, in one dtype.

`one_version.py` repeats a product, or makes training steps of them, for `fastbp compare --steps`.
"""
