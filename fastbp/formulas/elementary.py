"""Elementary functions that LLVM vectorises: exp, expm1, log, log1p, tanh and erfcx; and a test for finiteness.

The C library's functions are calls, one element at a time, and Numba's vector library is not available with pip.
These are straight-line code, about 0.3 ns per element in float32, for float32 and float64. Each docstring states
the largest error over the domain; `tests/test_elementary.py` holds them to it, against mpmath.

Coefficients are Chebyshev interpolants, computed with 60 digits and rounded; those of float32 have fewer terms.
Range reduction for exp and expm1 follows Cody & Waite, "Software Manual for the Elementary Functions" (1980):
x = n ln 2 + r with |r| <= ln(2)/2. The scaled complementary error function is interpolated in t = (x - 3)/(x + 3),
after Shepherd & Laframboise, Mathematics of Computation 36 (1981).
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from ..compiling.decorators import OVERLOAD, formula


def _constants(T: Any, *values: float) -> tuple[Any, ...]:
    return tuple(T(value) for value in values)


# (e^r - 1 - r) / r^2 on |r| <= ln(2)/2
_EXPM1_32 = _constants(np.float32, 0.5, 0.16666576666119928, 0.04166655421298415, 0.008363232883682618,
                        0.0013926250831497611)
_EXPM1_64 = _constants(np.float64, 0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326084,
                        0.0013888888888883711, 0.0001984126987500228, 2.480158732567746e-05,
                        2.755725517000089e-06, 2.755727347871858e-07, 2.5105312729622103e-08,
                        2.09147553258932e-09)

# tanh x = x p(x^2) / q(x^2) on |x| <= 7.9053, with the coefficients of the library Eigen
_TANH_NUMERATOR_32 = _constants(np.float32, 4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05,
                                5.12229709037114e-08, -8.60467152213735e-11, 2.00018790482477e-13,
                                -2.76076847742355e-16)
_TANH_DENOMINATOR_32 = _constants(np.float32, 4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04,
                                  1.19825839466702e-06)

# (2 artanh(z) - 2 z) / z^3 in z^2, on 0 <= z <= 1/3
_ARTANH_32 = _constants(np.float32, 0.66666667323975, 0.3999970507900865, 0.28592426074668265, 0.21705427072838565,
                        0.23230255606896358)
_ARTANH_64 = _constants(np.float64, 0.6666666666666666, 0.40000000000014724, 0.28571428567071666, 0.22222222721178223,
                        0.18181789247591537, 0.15385575355515838, 0.13314057480122862, 0.1200189752070377,
                        0.08796527026674059, 0.16172973765164872)

# (1 + 2 x) erfcx(x) in t = (x - 3) / (x + 3), on -1 <= t <= 1
_ERFCX_32 = _constants(np.float32, 1.2530080582697296, -0.13562021387623402, -0.04756225170643757, 0.12962717489066664,
                        -0.11927451860620696, 0.0684107595220041, -0.023765692173267204, 0.002284952149043377,
                        0.00187749464838414, -0.0005131594359951843, -9.351062915344479e-05)
_ERFCX_64 = _constants(np.float64, 1.2530080582697296, -0.1356211061245812, -0.04756229435341897, 0.12964515870276264,
                        -0.11927366341681594, 0.06830802734392144, -0.02377051489066227, 0.002529391816799666,
                        0.0018886900908332638, -0.0007798322772742815, -0.00010515828085453058,
                        0.0001250993743593005, 4.944031214416707e-06, -2.0100627664873327e-05,
                        -7.186149386535406e-07, 3.472520281044436e-06, 3.3649033834601224e-07,
                        -6.16770950664871e-07, -1.2038713815608276e-07, 1.0195717484030894e-07,
                        2.777906109771476e-08, -1.3361953807475004e-08, -3.1695919392405667e-09,
                        9.948821952819134e-10)


@formula
def exp(x):
    """e^x. Relative error below 2e-7 in float32, 4e-16 in float64; 0 below 2^-125 (2^-1021), inf above the range."""
    T = type(x)
    smallest, largest = _exp_range(x)
    clamped = smallest if x < smallest else (largest if x > largest else x)  # NaN stays NaN
    n, r = _reduce(clamped)
    result = (T(1.0) + _expm1_reduced(r)) * _power_of_two(n - T(1.0)) * T(2.0)
    return T(0.0) if x < smallest else result


@formula
def expm1(x):
    """e^x - 1 for x <= 0. Relative error below 3e-7 in float32, 5e-16 in float64."""
    T = type(x)
    smallest = _exp_range(x)[0]
    n, r = _reduce(smallest if x < smallest else x)
    scale = _power_of_two(n)
    return scale * _expm1_reduced(r) + (scale - T(1.0))


@formula
def tanh(x):
    """tanh x. Relative error below 5e-7 in float32, 7e-16 in float64.

    In float32 a rational function of x on |x| < 7.9, where tanh is not yet rounded to 1: half the latency of an
    exponential. In float64 t / (2 + t) with t = e^(-2|x|) - 1, odd.
    """
    return _tanh(x)


@formula
def log1p(u):
    """log(1 + u) for 0 <= u <= 1. Relative error below 3e-7 in float32, 5e-16 in float64.

    log(1 + u) = 2 artanh(z) with z = u / (2 + u) <= 1/3.
    """
    T = type(u)
    z = u / (T(2.0) + u)
    # Where the higher terms are below rounding they would be subnormal numbers, which cost 20 ns each.
    c = z if z > T(1e-9) else T(0.0)
    return T(2.0) * z + c * c * c * _artanh_polynomial(c * c)


@formula
def log(x):
    """log x for normal x > 0. Relative error below 3e-7 in float32, 5e-16 in float64; infinity and NaN stay.

    x = 2^n m with m from √½ to √2, and log m = 2 artanh(z) with z = (m - 1) / (m + 1).
    """
    n, m = _split(x)
    T = type(x)
    z = (m - T(1.0)) / (m + T(1.0))
    high, low = _log_two(x)
    result = n * high + (n * low + (T(2.0) * z + z * z * z * _artanh_polynomial(z * z)))
    return result if x <= largest_number(x) else x


@formula
def erfcx(x):
    """exp(x^2) erfc(x) for x >= 0. Relative error below 5e-7 in float32, 7e-16 in float64."""
    T = type(x)
    t = (x - T(3.0)) / (x + T(3.0))
    return _erfcx_polynomial(t) / (T(1.0) + T(2.0) * x)


@formula
def is_finite(x):
    """Whether x is neither NaN nor infinite, also where x is computed under fast-math.

    math.isfinite asks whether x - x is 0; for x = a - b in a kernel that may reassociate, LLVM finds that it always is.
    """
    return abs(x) <= largest_number(x)


@formula
def _reduce(x):
    """n and r of x = n ln 2 + r, |r| <= ln(2)/2; ln 2 in two parts, of which n times the first is exact."""
    T = type(x)
    n = np.floor(x * T(1.4426950408889634) + T(0.5))
    high, low = _log_two(x)
    return n, (x - n * high) - n * low


@formula
def _expm1_reduced(r):
    """e^r - 1 for |r| <= ln(2)/2."""
    return r + r * r * _expm1_polynomial(r)


@formula
def _cubic(x, c0, c1, c2, c3):
    """c0 + x (c1 + x (c2 + x c3)). Polynomials nest it: a loop over coefficients is not always unrolled by LLVM, and
    then the loop over elements does not vectorise (20 ns per element instead of 0.7)."""
    return c0 + x * (c1 + x * (c2 + x * c3))


# What differs between the dtypes is chosen while compiling, by the overloads of these functions.


def _tanh(x):
    """tanh x by the way that suits the dtype."""
    raise TypeError("runs in compiled code only")


@overload(_tanh, jit_options=OVERLOAD)
def _tanh_overload(x):
    T = np.float32
    if x == types.float32:
        p, q = _TANH_NUMERATOR_32, _TANH_DENOMINATOR_32

        def tanh(x):
            largest = T(7.90531110763549805)
            c = largest if x > largest else (-largest if x < -largest else x)  # NaN stays NaN
            y = c * c
            numerator = c * _cubic(y, p[0], p[1], p[2], _cubic(y, p[3], p[4], p[5], p[6]))
            return numerator / _cubic(y, q[0], q[1], q[2], q[3])
    else:
        def tanh(x):
            t = expm1(-2.0 * abs(x))
            h = t / (2.0 + t)
            return h if x < 0.0 else 0.0 - h
    return tanh


def _expm1_polynomial(r):
    """(e^r - 1 - r) / r^2 for |r| <= ln(2)/2."""
    raise TypeError("runs in compiled code only")


@overload(_expm1_polynomial, jit_options=OVERLOAD)
def _expm1_polynomial_overload(r):
    if r == types.float32:
        c = _EXPM1_32
        return lambda r: _cubic(r, c[0], c[1], c[2], c[3] + r * c[4])
    c = _EXPM1_64
    return lambda r: _cubic(r, c[0], c[1], c[2], _cubic(r, c[3], c[4], c[5], _cubic(
        r, c[6], c[7], c[8], c[9] + r * c[10])))


def _artanh_polynomial(y):
    """(2 artanh(z) - 2 z) / z^3 in y = z^2, for 0 <= z <= 1/3."""
    raise TypeError("runs in compiled code only")


@overload(_artanh_polynomial, jit_options=OVERLOAD)
def _artanh_polynomial_overload(y):
    if y == types.float32:
        c = _ARTANH_32
        return lambda y: _cubic(y, c[0], c[1], c[2], c[3] + y * c[4])
    c = _ARTANH_64
    return lambda y: _cubic(y, c[0], c[1], c[2], _cubic(y, c[3], c[4], c[5], _cubic(y, c[6], c[7], c[8], c[9])))


def _erfcx_polynomial(t):
    """(1 + 2 x) erfcx(x) in t = (x - 3) / (x + 3), for -1 <= t <= 1."""
    raise TypeError("runs in compiled code only")


@overload(_erfcx_polynomial, jit_options=OVERLOAD)
def _erfcx_polynomial_overload(t):
    if t == types.float32:
        c = _ERFCX_32
        return lambda t: _cubic(t, c[0], c[1], c[2], _cubic(t, c[3], c[4], c[5], _cubic(
            t, c[6], c[7], c[8], c[9] + t * c[10])))
    c = _ERFCX_64
    return lambda t: _cubic(t, c[0], c[1], c[2], _cubic(t, c[3], c[4], c[5], _cubic(
        t, c[6], c[7], c[8], _cubic(t, c[9], c[10], c[11], _cubic(t, c[12], c[13], c[14], _cubic(
            t, c[15], c[16], c[17], _cubic(t, c[18], c[19], c[20], c[21] + t * (c[22] + t * c[23]))))))))


def _exp_range(x):
    """The smallest argument whose e^x is above 2^-125 (2^-1021), and one whose e^x is above the largest number."""
    raise TypeError("runs in compiled code only")


@overload(_exp_range, jit_options=OVERLOAD)
def _exp_range_overload(x):
    bounds = (np.float32(-86.64), np.float32(88.8)) if x == types.float32 else (-707.7, 709.9)
    return lambda x: bounds


def largest_number(x):
    """The largest number of x's dtype."""
    raise TypeError("runs in compiled code only")


@overload(largest_number, jit_options=OVERLOAD)
def largest_number_overload(x):
    largest = np.finfo(np.float32).max if x == types.float32 else float(np.finfo(np.float64).max)
    return lambda x: largest


def _log_two(x):
    """ln 2 as a sum of two numbers, the first with trailing zero bits."""
    raise TypeError("runs in compiled code only")


@overload(_log_two, jit_options=OVERLOAD)
def _log_two_overload(x):
    if x == types.float32:
        parts = np.float32(0.693359375), np.float32(-2.12194440e-4)
    else:
        parts = 6.93147180369123816490e-01, 1.90821492927058770002e-10
    return lambda x: parts


def _power_of_two(n):
    """2^n for a whole n within the exponents of normal numbers, by writing the exponent's bits."""
    raise TypeError("runs in compiled code only")


@overload(_power_of_two, jit_options=OVERLOAD)
def _power_of_two_overload(n):
    if n == types.float32:
        return lambda n: np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return lambda n: np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)


def _split(x):
    """n and m of x = 2^n m with √½ <= m < √2 for a normal x > 0, from its bits."""
    raise TypeError("runs in compiled code only")


@overload(_split, jit_options=OVERLOAD)
def _split_overload(x):
    if x == types.float32:
        def split(x):
            bits = np.float32(x).view(np.int32)
            n = np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23)
            return np.float32(n), np.int32(bits - np.int32(n << np.int32(23))).view(np.float32)
    else:
        def split(x):
            bits = np.float64(x).view(np.int64)
            n = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)
            return np.float64(n), np.int64(bits - (n << np.int64(52))).view(np.float64)
    return split
