"""How Python is compiled into kernels: the only package that uses private names of Numba and llvmlite."""
