"""The three products by the kernels of each backend, on matrices in its own layout, over and over.

Each file is what that backend does in a layer N_0 → N_1 with all its samples, and nothing around it; its `Products` has
reset(), repeat(times) and result(). A backend whose package is missing cannot be imported here either.
"""
