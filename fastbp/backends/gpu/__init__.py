"""The kernels of the `cuda` backend, and the Python that launches them.

`driver` finds the GPU, and `device` compiles formulas for it. `memory` holds arrays on it, and `feed` copies samples
that do not fit, in chunks. `products` and `panels` are the kernels for one layer, and `propagation` launches them for a
network. `updates` has the optimizers. `fused` takes whole steps in one launch, in the tiles of `shape`. `training` is
the loop over batches and epochs, during which Ctrl-C is held back.

The sizes of tiles, slabs and parts in these modules come from counting instructions, registers and bytes; none of them
has been tuned on a GPU.
"""
