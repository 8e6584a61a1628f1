"""The register tile: the machine under the `tiled` backend, and the only place with explicit vectors.

`host` says how wide this processor's vectors are and how many rows of a tile its registers hold. Pieces in LLVM code,
compiled once for a dtype and called by address: `product`, the tile that computes all three products of
backpropagation, and `lane_gradient`, another one of δ hᵀ for small networks; `row_products`, the same for single
samples; `transpose`, samples into panels and back; `sums` and `magnitude`. Built on them, in Numba: `panels` and
`gradients`, the two phases; `rows`, both for a few samples; `phases`, their entries; `online`, one-sample steps for
constant widths. `job` is what they are all given, and `ceiling` measures what the processor could do at most.

A *panel* holds one vector of samples (`lanes` of them), unit after unit: element (i, s) of a layer lies at
``i * lanes + s``. So one vector load takes one unit of all its samples, and every function of single units vectorises.
"""
