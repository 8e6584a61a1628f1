"""exp, expm1, log, log1p, tanh and erfcx in compiled loops, against mpmath with 50 digits."""

import math
import re

import mpmath
import numba
import numpy as np
import pytest
from tolerances import DTYPES

from fastbp.compiling.decorators import KERNEL_FASTMATH
from fastbp.formulas import elementary

LARGE = np.geomspace(1e-30, 1e30, 500)
NEAR_ZERO = np.geomspace(1e-30, 1, 700)

#: The reference, and points over the domain where the docstring states an error.
CASES = {
    "exp": (mpmath.exp, lambda lowest, highest: np.concatenate([
        np.linspace(lowest, highest, 2500), np.linspace(-2, 2, 1500), NEAR_ZERO, -NEAR_ZERO])),
    "expm1": (mpmath.expm1, lambda lowest, highest: np.concatenate([
        np.linspace(lowest, 0, 1500), np.linspace(-3, 0, 1500), -LARGE])),
    "log": (mpmath.log, lambda lowest, highest: np.concatenate([
        LARGE, np.linspace(0.4, 3, 2500), 1 + 1e-3 * NEAR_ZERO])),
    "tanh": (mpmath.tanh, lambda lowest, highest: np.concatenate([np.linspace(-10, 10, 2500), NEAR_ZERO, -LARGE])),
    "log1p": (mpmath.log1p, lambda lowest, highest: np.concatenate([np.linspace(0, 1, 2500), NEAR_ZERO])),
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x) if x < 1e10 else 1 / (x * mpmath.sqrt(mpmath.pi)),
              lambda lowest, highest: np.concatenate([np.linspace(0, 12, 2000), LARGE])),
}

#: Multiplication of several numbers at once on x86 and ARM, by dtype.
PACKED = {"float32": r"\bv?(mul|fn?madd\d+)ps\b|\bfm(ul|la)(\.4s\b|\s+v\d+\.4s)",
          "float64": r"\bv?(mul|fn?madd\d+)pd\b|\bfm(ul|la)(\.2d\b|\s+v\d+\.2d)"}


@pytest.fixture(params=DTYPES)
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(scope="module")
def loops():
    """Compiled loops over each function, as kernels contain them."""
    def loop_over(function):
        @numba.njit(error_model="numpy", fastmath=set(KERNEL_FASTMATH))
        def loop(x, out):
            for i in range(x.shape[0]):
                out[i] = function(x[i])
        return loop

    return {name: loop_over(getattr(elementary, name)) for name in CASES}


def evaluate(loop, x, dtype):
    x = np.asarray(x, dtype)
    out = np.empty_like(x)
    loop(x, out)
    return out


@pytest.mark.parametrize("name", CASES)
def test_relative_error_is_below_the_stated_one(name, dtype, loops):
    reference, points = CASES[name]
    x = points(np.log(2 * np.finfo(dtype).tiny) + 0.1, np.log(np.finfo(dtype).max) - 1e-3).astype(dtype)
    out = evaluate(loops[name], x, dtype)
    with mpmath.workdps(50):
        exact = [reference(mpmath.mpf(float(x_i))) for x_i in x]
        errors = [abs(mpmath.mpf(float(h)) - e) / abs(e) for h, e in zip(out, exact, strict=True) if e != 0]
    stated = re.search(r"elative error below (\S+) in float32, (\S+) in float64", getattr(elementary, name).__doc__)
    assert np.isfinite(out).all()
    assert (out[[e == 0 for e in exact]] == 0).all()
    assert max(errors) < float(stated[1 if dtype == np.float32 else 2].rstrip(";."))


@pytest.mark.parametrize(("name", "x", "expected"), [
    ("exp", [0, -np.inf, -1000, np.inf, 1000, np.nan], [1, 0, 0, np.inf, np.inf, np.nan]),
    ("expm1", [0, -np.inf, -1e4, np.nan], [0, -1, -1, np.nan]),
    ("log", [1, 2, np.inf, np.nan], [0, math.log(2), np.inf, np.nan]),
    ("tanh", [0, np.inf, -np.inf, np.nan], [0, 1, -1, np.nan]),
    ("log1p", [0, 1, np.nan], [0, math.log(2), np.nan]),
    ("erfcx", [0, 1e4, np.nan], [1, 1e-4 / math.pi**0.5, np.nan]),
])
def test_ends_of_the_domain_infinity_and_nan(name, x, expected, dtype, loops):
    relative = 1e-6 if dtype == np.float32 else 1e-8
    assert evaluate(loops[name], x, dtype) == pytest.approx(expected, rel=relative, abs=0, nan_ok=True)


@pytest.mark.parametrize("name", CASES)
def test_loops_are_vectorised(name, dtype, loops):
    evaluate(loops[name], np.zeros(1), dtype)
    array = numba.typeof(np.zeros(1, dtype))
    assert re.search(PACKED[dtype.name], loops[name].inspect_asm((array, array)))
