"""What stands in for CuPy where there is no GPU: its functions as the comparison calls them, on NumPy's.

Its arrays do not mix with NumPy's, as on a GPU: a function that gets one of each raises.
"""

import types

import numpy

synchronised = 0


class Array(numpy.ndarray):
    """An array of the device."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **settings):
        both = (*inputs, *(out or ()))
        if any(type(values) is numpy.ndarray for values in both):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        plain = [values.view(numpy.ndarray) if isinstance(values, Array) else values for values in inputs]
        if out is not None:
            settings["out"] = tuple(values.view(numpy.ndarray) for values in out)
        found = getattr(ufunc, method)(*plain, **settings)
        return out[0] if out is not None else found.view(Array) if isinstance(found, numpy.ndarray) else found

    def take(self, indices, axis=None):
        if type(indices) is not Array:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        return super().take(indices.view(numpy.ndarray), axis)

    def __array__(self, *arguments, **settings):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")


def asarray(values):
    """To the device."""
    return numpy.array(values).view(Array)


def asnumpy(values):
    """Back from it."""
    return values.view(numpy.ndarray).copy()


class Device:
    """With its queue of work."""

    def synchronize(self):
        global synchronised
        synchronised += 1


def no_gpu():
    raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


array = asarray
exp, matmul, maximum, split, sqrt, tanh = (
    getattr(numpy, name) for name in ("exp", "matmul", "maximum", "split", "sqrt", "tanh"))
ones_like, zeros_like = numpy.ones_like, numpy.zeros_like
random = types.SimpleNamespace(permutation=lambda n: asarray(numpy.random.default_rng().permutation(n)))
runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, runtimeGetVersion=lambda: 12090,
                                getDeviceProperties=lambda number: {"name": b"a fake"})
cuda = types.SimpleNamespace(Device=Device, runtime=runtime)
__version__ = "1.2"
