"""What the tests run over, and how closely results agree: the only place with tolerances of networks."""

import os

import numpy as np
import pytest

from fastbp.backends import NAMES, backend_named

DTYPES = ["float32", "float64"]
CPU_BACKENDS = [name for name in NAMES if name not in ("auto", "cuda")]

#: Whether the backend "cuda" runs in Numba's simulator of a GPU, which takes 10 ms for each launch.
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def _cuda_runs():
    """On a GPU, or in Numba's simulator of one: with NUMBA_ENABLE_CUDASIM=1."""
    try:
        return backend_named("cuda")[0] == "cuda"
    except (ImportError, RuntimeError):
        return False


#: "cuda" where it runs. In the simulator numbers are NumPy's, which warn where theirs on a GPU are infinite or NaN.
CUDA_MARKS = [pytest.mark.cuda, pytest.mark.filterwarnings("ignore::RuntimeWarning")]
CUDA = [pytest.param("cuda", marks=CUDA_MARKS)] if _cuda_runs() else []

#: All that run here.
BACKENDS = [*CPU_BACKENDS, *CUDA]


def on_backends(cases, simulated, on_processor=CPU_BACKENDS):
    """(*case, backend) of every case and backend; in the simulator, of smaller or fewer cases."""
    def rows(cases):
        return [case if isinstance(case, tuple) else (case,) for case in cases]

    return [*(pytest.param(*case, backend) for case in rows(cases) for backend in on_processor),
            *(pytest.param(*case, *cuda.values, marks=cuda.marks) for case in rows(simulated if SIMULATED else cases)
              for cuda in CUDA)]


#: Dtypes of X that the short run leaves out where it takes others of the same kinds.
ALIKE = ("int8", "int32", "uint16", "uint32", "uint64")


def others_in_full(params):
    """Parameters of which those with a dtype of ALIKE are only in the full run; the dtype comes first."""
    params = [given if hasattr(given, "values") else pytest.param(given) for given in params]
    return [pytest.param(*given.values, marks=[*given.marks, pytest.mark.full]) if given.values[0] in ALIKE else given
            for given in params]


def in_orders(params, orders):
    """(order, *values) of parameters whose last value is the backend; in the simulator, of the first order alone."""
    params = [given if hasattr(given, "values") else pytest.param(*given) for given in params]
    return [pytest.param(order, *given.values, marks=given.marks) for given in params for order in orders
            if not (SIMULATED and given.values[-1] == "cuda" and order != next(iter(orders)))]


#: E and gradients of up to about a thousand samples, summed in another order or computed in float64.
ROUNDING = {"float32": 1e-5, "float64": 1e-13}

#: Central differences of E in float64 with h = 1e-5.
CENTRAL_DIFFERENCES = 1e-6

#: Float64 results of another program: one gradient, and thirty updates.
STORED, STORED_TRAINING = 1e-13, 1e-12

#: One activation or loss, in units of the dtype's epsilon.
FORMULA_EPSILONS = 4
DERIVATIVE_EPSILONS = 20
LOSS_EPSILONS = 8


def on_host(array):
    """A NumPy array of what may lie on a device."""
    return array.copy_to_host() if hasattr(array, "copy_to_host") else np.asarray(array)


def assert_close(actual, expected, relative, scale=None):
    """|actual - expected| <= relative · scale everywhere; the scale is the largest |expected| if not given."""
    actual, expected = on_host(actual).astype(float), on_host(expected).astype(float)
    assert actual.shape == expected.shape
    scale = np.abs(expected).max() if scale is None else scale
    error = np.abs(actual - expected).max()
    assert error <= relative * scale, f"error {error:.3g} beyond {relative:g} of {scale:.3g}"  # NaN fails
