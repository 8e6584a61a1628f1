"""The kernels of the `cuda` backend, and the Python that launches them.

`driver` finds the GPU, and `device` compiles formulas for it. `memory` holds arrays on it, and `feed` copies samples
that do not fit, in chunks. `products` and `panels` are the kernels for one layer, and `propagation` launches them for a
network. `updates` has the optimizers. `fused` takes whole steps in one launch, in the tiles of `shape`. `training` is
the loop over batches and epochs, with the memory of `steps`; `graphs` repeats its launches.

A step in one launch has two barriers of all blocks. One by layers has 4 L + 5 kernels for L layers, and one more for
each product that is split, in one launch of a graph. Launches of whole steps go over 1, 2, 4 … epochs, each with two
copies to the device. What came of a slice is read at its end, by two copies and one wait.

An update reads and writes 48 bytes for a parameter in float32 with Adam, 24 with plain descent. The sizes of tiles,
slabs and parts in these modules come from counting instructions, registers and bytes, which `tests/gpu_kernels.py`
prints; none of them has been tuned on a GPU.
"""
