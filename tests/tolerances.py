"""What the tests run over, and how closely results agree: the only place with tolerances of networks."""

import numpy as np

from fastbp.backends import NAMES

DTYPES = ["float32", "float64"]
CPU_BACKENDS = [name for name in NAMES if name not in ("auto", "cuda")]

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


def assert_close(actual, expected, relative, scale=None):
    """|actual - expected| <= relative · scale everywhere; the scale is the largest |expected| if not given."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape
    scale = np.abs(expected).max() if scale is None else scale
    error = np.abs(actual - expected).max()
    assert error <= relative * scale, f"error {error:.3g} beyond {relative:g} of {scale:.3g}"  # NaN fails
