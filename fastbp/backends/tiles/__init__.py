"""The kernels of the `tiled` backend, and the only modules with explicit vectors of the processor.

`host` says how wide this processor's vectors are, and how many rows of a tile its registers hold.

Some functions are compiled once for a dtype and called by address. With loops in LLVM code, made of `vectors`:

- `product`: the register tile, which computes all three products of backpropagation;
- `lane_gradient`: another tile of δ hᵀ, for small networks;
- `row_products`: the three products for single samples;
- `pair_product`, and the tile of `product`, on pairs of bfloat16: `pairs` says what these are, `rounding` makes them;
- `transpose`: samples into panels, and back;
- `sums`: Σ_s δ of single units; `clipping`: norms of samples' gradients, and δ scaled to a norm.

With loops compiled by Numba: `magnitude`, the largest magnitude in a panel; `outcomes`, E of every sample;
`updates`, the update of a block of parameters while its gradient is in cache; `phases`, the entry points of the
phases.

The phases: `panels` takes groups of panels forward and back, `pair_phases` with bfloat16 factors, and `gradients` sums
up ∂E/∂W. `rows` has both for a few
samples, and `online` one-sample steps for constant widths. `crew` shares the chunks of large batches among threads.
`workspace` allocates the memory of all of them, `job` lists the arguments that they share, and `ceiling` measures the
most that the processor could do.

A *panel* holds one vector of samples (`lanes` of them), unit after unit: element (i, s) of a layer lies at
``i * lanes + s``. So one vector load takes one unit of all its samples, and every function of single units vectorises.
"""
