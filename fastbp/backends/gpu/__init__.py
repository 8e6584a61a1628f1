"""What the CUDA backend is made of.

`driver` finds the GPU, `device` compiles formulas for it, `memory` keeps arrays there and `feed` brings those that do
not fit. `products` and `panels` are the kernels for one layer, `propagation` launches them for a network, `updates` has
the optimizers, `fused` whole steps in one launch, cut as `shape` says, and `training` the loop over batches and epochs,
from which `interrupts` keeps Ctrl-C away.

The sizes of tiles, slabs and parts in these modules come from counting instructions, registers and bytes; none of them
has been tuned on a GPU.
"""
