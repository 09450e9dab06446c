"""Logarithm, exponential and power without branches and without libm: the same bits on every machine.

libm's results differ from one version and processor to the next, and a call to it keeps a loop from being
vectorised. Each function here says its largest error in ulp (units in the last place of the result), as
measured against extended precision in tests/kernels/test_fmath.py. They are for row functions: they compile
into the loop that calls them. Choices are selects between values that are all computed.

The methods are the classic ones (fdlibm's series for log and exp, Cephes' fraction for atan, Dekker's and
Knuth's exact products and sums); coefficients are theirs.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["atan", "bits", "exp", "high_half", "log", "number", "power", "shift_right", "tanh", "two_sum"]

_F = TypeVar("_F", bound=Callable[..., object])


def _inline(function: _F) -> _F:
    return cast(_F, njit(error_model="numpy", nogil=True, forceinline=True)(function))


def _intrinsic(define: Callable[..., Any]) -> Any:
    """Numba's decorator; its stub shows callers the typing context as the first argument."""
    return intrinsic(define)


# ---- bits ------------------------------------------------------------------------------------------------


@_intrinsic
def bits(context: Any, x: Any) -> Any:
    """The 64 bits of a float64 as an int64."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@_intrinsic
def number(context: Any, word: Any) -> Any:
    """The float64 that has the bits of an int64."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@_intrinsic
def shift_right(context: Any, word: Any, by: Any) -> Any:
    """An int64 shifted to the right, zeros coming in: AVX2 has no other such shift for 64 bits."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], arguments[1])

    return types.int64(types.int64, types.int64), generate


@_inline
def high_half(x: float) -> float:
    """x without the lower 27 bits of its fraction: products of two such halves are exact."""
    return number(bits(x) & -134217728)  # type: ignore[no-any-return]


@_inline
def two_sum(x: float, y: float) -> tuple[float, float]:
    """x + y as a sum and its exact rounding error."""
    s = x + y
    z = s - x
    return s, (x - (s - z)) + (y - z)


@_inline
def _fast_two_sum(x: float, y: float) -> tuple[float, float]:
    """As `two_sum`, for |x| >= |y|."""
    s = x + y
    return s, y - (s - x)


@_inline
def _two_product(x: float, y: float) -> tuple[float, float]:
    """x * y as a product and its rounding error, exact but for the last bits of a product of lower halves."""
    xh, yh = high_half(x), high_half(y)
    xl, yl = x - xh, y - yh
    p = x * y
    return p, ((xh * yh - p) + xh * yl + xl * yh) + xl * yl


# ---- log -------------------------------------------------------------------------------------------------

_SMALLEST_NORMAL: Final = 2.2250738585072014e-308
_TWO_54: Final = 18014398509481984.0
_HALF_SQRT: Final = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)
_ONE_MINUS_HALF_SQRT: Final = 0x3FF0000000000000 - _HALF_SQRT
_FRACTION: Final = 0x000FFFFFFFFFFFFF
_TWO_52_BITS: Final = 0x4330000000000000
_TWO_52_BIASED: Final = 4503599627370496.0 + 1023.0
_LN2_HIGH: Final = 6.93147180369123816490e-01  # 32 bits: products with an exponent are exact
_LN2_LOW: Final = 1.90821492927058770002e-10


@_inline
def _split(x: float) -> tuple[float, float]:
    """A positive finite x as m * 2**k with m in [sqrt(1/2), sqrt(2)); k as a float."""
    small = x < _SMALLEST_NORMAL
    scaled = x * _TWO_54
    word = bits(scaled if small else x) + _ONE_MINUS_HALF_SQRT
    k = number(shift_right(word, 52) | _TWO_52_BITS) - _TWO_52_BIASED
    m = number((word & _FRACTION) + _HALF_SQRT)
    return m, k - (54.0 if small else 0.0)


@_inline
def _log_series(z: float) -> float:
    """(2 * atanh(s) - 2 * s) / s for z = s * s, |s| < 0.1716."""
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    return odd + even


@_inline
def log(x: float) -> float:
    """Natural logarithm, error below 1 ulp. log(0) is -inf, below 0 and NaN give NaN."""
    usual = x > 0.0 and x < np.inf
    m, k = _split(x if usual else 1.0)
    f = m - 1.0
    s = f / (2.0 + f)
    half = 0.5 * f * f
    y = k * _LN2_HIGH - ((half - (s * (half + _log_series(s * s)) + k * _LN2_LOW)) - f)
    edge = -np.inf if x == 0.0 else (x if x > 0.0 else np.nan)
    return y if usual else edge


# ---- exp -------------------------------------------------------------------------------------------------

_LOG2_E: Final = 1.44269504088896338700
_ROUND: Final = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the last bits
_ROUND_BITS: Final = 0x4338000000000000


@_inline
def _scale(y: float, k: int) -> float:
    """y * 2**k, rounded once, for |k| < 1100: in two steps, since 2**k may be no normal number."""
    biased = k + 2046
    first = shift_right(biased, 1)
    return y * number(first << 52) * number((biased - first) << 52)  # type: ignore[no-any-return]


@_inline
def _exp_fraction(r: float) -> float:
    """c with exp(r) = 1 + r + r * c / (2 - c), |r| <= 0.35."""
    t = r * r
    p = 6.61375632143793436117e-05 + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08)
    return r - t * (1.66666666666666019037e-01 + t * (-2.77777777770155933842e-03 + t * p))


@_inline
def exp(x: float) -> float:
    """Exponential, error below 1 ulp (of the smallest number where the result is below 2.3e-308)."""
    inside = -746.0 if x < -746.0 else (x if x < 710.0 else 710.0)  # NaN becomes 710
    rounded = inside * _LOG2_E + _ROUND
    k = rounded - _ROUND
    high = inside - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    c = _exp_fraction(r)
    y = _scale(1.0 - ((low - (r * c) / (2.0 - c)) - high), bits(rounded) - _ROUND_BITS)
    return y if x == x else x


@_inline
def tanh(x: float) -> float:
    """Hyperbolic tangent, error below 3 ulp."""
    a = abs(x)
    a = a if a < 20.0 else 20.0  # the result rounds to 1 from 19.1 on; NaN becomes 20
    # With e = exp(-2a) - 1: tanh(a) = -e / (e + 2). For a power k of two of exp(-2a), e is
    # 2**k * (exp(r) - 1) + (2**k - 1), which cancels nowhere.
    rounded = -2.0 * a * _LOG2_E + _ROUND
    k = rounded - _ROUND
    high = -2.0 * a - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    c = _exp_fraction(r)
    y = high - (low - (r * c) / (2.0 - c))
    two_k = _scale(1.0, bits(rounded) - _ROUND_BITS)
    e = two_k * y + (two_k - 1.0)
    t = -e / (e + 2.0)
    t = t if x > 0.0 else -t
    return t if x == x and x != 0.0 else x


# ---- power -----------------------------------------------------------------------------------------------


@_inline
def _log_pair(x: float) -> tuple[float, float]:
    """Natural logarithm of a positive finite x as a sum of two numbers, relative error about 2**-64."""
    m, k = _split(x)
    f = m - 1.0
    # s = f / (2 + f) in two parts, from the remainder of the division.
    d, d_low = _fast_two_sum(2.0, f)
    s = f / d
    p, p_low = _two_product(s, d)
    s_low = (((f - p) - p_low) - s * d_low) / d
    # 2 * atanh(s) = 2s + 2/3 s**3 + the rest, whose share is below 2e-4: one number is enough for it.
    z, z_low = _two_product(s, s)
    z_low += 2.0 * s * s_low
    cube, cube_low = _two_product(s, z)
    cube_low += s * z_low + s_low * z
    third, third_low = _two_product(cube, 6.66666666666666629659e-01)
    third_low += cube_low * 6.66666666666666629659e-01 + cube * 3.70074341541718826006e-17
    w = z * z
    # The series of 2 * atanh, from s**5 on: no fitted coefficients, since the first two terms are exact.
    rest = 2.0 / 15.0 + z * (2.0 / 17.0 + z * (2.0 / 19.0 + z * (2.0 / 21.0 + z * (2.0 / 23.0))))
    rest = 2.0 / 9.0 + z * (2.0 / 11.0 + z * (2.0 / 13.0 + z * rest))
    rest = s * w * (2.0 / 5.0 + z * (2.0 / 7.0 + z * rest))
    a, a_low = _fast_two_sum(2.0 * s, third)
    a_low += 2.0 * s_low + third_low + rest
    b, b_low = two_sum(k * _LN2_HIGH, a)
    b_low += a_low + k * _LN2_LOW
    return _fast_two_sum(b, b_low)


@_inline
def power(x: float, y: float) -> float:
    """x ** y, error below 1 ulp. As IEEE has it, but that NaN in x or y gives NaN whatever the other is.

    NaN for x < 0 with a y that is no integer; 0 ** -1 is inf, 0 ** 0 is 1, 1 ** inf is 1.
    """
    a = abs(x)
    usual = a > 0.0 and a < np.inf
    log_high, log_low = _log_pair(a if usual else 1.0)
    # Beyond 2**65 every x but 1 has left the range of float64.
    e = 3.6893488147419103e19 if y > 3.6893488147419103e19 else y
    e = e if e > -3.6893488147419103e19 else -3.6893488147419103e19  # NaN too
    p, p_low = _two_product(e, log_high)
    p_low += e * log_low
    outside = p < -746.0 or p > 710.0
    limit = -746.0 if p < 0.0 else 710.0
    p = limit if outside else p
    p_low = 0.0 if outside else p_low
    rounded = p * _LOG2_E + _ROUND
    k = rounded - _ROUND
    high, low = two_sum(p - k * _LN2_HIGH, p_low - k * _LN2_LOW)
    c = _exp_fraction(high)
    # exp(high + low) = exp(high) + low * exp(high), but for low squared.
    fraction = (high * c) / (2.0 - c)
    y_ = _scale(1.0 + (high + (fraction + low * (1.0 + high + fraction))), bits(rounded) - _ROUND_BITS)
    at_edge = 0.0 if (a == 0.0) == (y > 0.0) else np.inf
    y_ = y_ if usual else at_edge
    y_ = 1.0 if a == 1.0 or y == 0.0 else y_
    integer = np.floor(y) == y
    odd = integer and np.floor(0.5 * y) * 2.0 != y
    negative = bits(x) < 0
    y_ = -y_ if negative and odd else y_
    y_ = np.nan if x < 0.0 and x > -np.inf and not integer else y_
    return y_ if x == x and y == y else np.nan


# ---- atan ------------------------------------------------------------------------------------------------


@_inline
def atan(x: float) -> float:
    """Arc tangent in radians, error below 2 ulp."""
    a = abs(x)
    far = a > 2.41421356237309504880  # tan(3/8 pi)
    middle = a > 0.66
    top = -1.0 if far else (a - 1.0 if middle else a)
    bottom = a if far else (a + 1.0 if middle else 1.0)
    r = top / bottom
    base = 1.57079632679489661923 if far else (0.78539816339744830962 if middle else 0.0)
    more = 6.123233995736765886130e-17 if far else (3.061616997868382943065e-17 if middle else 0.0)
    z = r * r
    p = -6.485021904942025371773e1 + z * (
        -1.228866684490136173410e2
        + z
        * (-7.500855792314704667340e1 + z * (-1.615753718733365076637e1 + z * -8.750608600031904122785e-1))
    )
    q = 1.945506571482613964425e2 + z * (
        4.853903996359136964868e2
        + z
        * (4.328810604912902668951e2 + z * (1.650270098316988542046e2 + z * (2.485846490142306297962e1 + z)))
    )
    y = base + (r * (z * p / q) + r + more)
    y = y if x > 0.0 else -y
    return y if x == x and x != 0.0 else x
