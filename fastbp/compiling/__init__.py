"""How Python becomes kernels: the only room with names that Numba and llvmlite keep to themselves."""
