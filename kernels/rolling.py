"""Sums, products and moments of a moving window, updated by what enters and what leaves.

A sliding update is exact but for rounding, and rounding adds up; so each window is recomputed as a whole,
from its bars, (a) at every `window` bars, at a phase of the expression's own, so that no step pays for all;
(b) for a symbol whose squared deviations fell below a hundred-thousandth of their peak since then: what is
left after a bad print of x1000 has gone is mostly rounding. Error of the standard deviation 20 bars after
such a print: 2e-6 with (a) alone, 2e-12 with (b). After window + refresh nothing depends on the first bar.

NaN and +-inf count as missing. A window with fewer than `min_periods` values gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import at, back, kernel, now, own, part, rows
from kernels.elementwise import select, sqrt
from kernels.fmath import two_sum
from kernels.node import Node, Number, Operator, as_node

__all__ = [
    "COUNT",
    "MOMENTS",
    "PRODUCT",
    "SHAPE",
    "SUM",
    "ts_count",
    "ts_kurt",
    "ts_mean",
    "ts_product",
    "ts_skew",
    "ts_std",
    "ts_sum",
    "ts_sum_if",
    "ts_var",
    "ts_zscore",
]

_CANCELLED: Final = 1e-5
"""A moment below this part of its peak has lost five of its sixteen digits."""


# ---- moments: mean and variance --------------------------------------------------------------------------

_COUNT, _PIVOT, _TOTAL, _SQUARE, _PEAK = range(5)  # own rows


@part
def _gone(c: float, s: float, q: float, top: float) -> bool:
    """Whether what is left of c values' squared deviations, times c, is mostly rounding."""
    return c * q - s * s < _CANCELLED * top


@rows
def _slide(
    x: Any,
    old: Any,
    count: Any,
    pivot: Any,
    total: Any,
    square: Any,
    peak: Any,
    out: Any,
    variance: Any,
    n: int,
    least: float,
) -> int:
    """Let x in and old out; how many symbols need a recomputation."""
    cancelled = 0
    for i in range(n):
        # All loads come first: one that hangs on a condition would be a masked load, or no vector at all.
        v, w, c, zero, s, q, top = x[i], old[i], count[i], pivot[i], total[i], square[i], peak[i]
        enters = v - v == 0.0
        leaves = w - w == 0.0
        c += (1.0 if enters else 0.0) - (1.0 if leaves else 0.0)
        # Everything is measured from a value nearby: at 1e9 the mean's own rounding would be 1e-7. The first
        # value after none is its own pivot: alone it varies by nothing, which asks for a recomputation.
        a, b = v - zero if enters else 0.0, w - zero if leaves else 0.0
        left = c > 0.0
        s = s + (a - b) if left else 0.0
        q = q + (a * a - b * b) if left else 0.0
        top = max(top, c * q)
        cancelled += 1 if _gone(c, s, q, top) else 0
        rest = max(c - 1.0, 1.0)
        inverse = 1.0 / (c * rest)  # one division for both quotients
        count[i] = c
        total[i] = s
        square[i] = q
        peak[i] = top
        out[i] = zero + s * (inverse * rest) if c >= least else np.nan
        variance[i] = max(c * q - s * s, 0.0) * inverse if c >= max(least, 2.0) else np.nan
    return cancelled


@rows
def _let_in(x: Any, count: Any, pivot: Any, mean: Any, square: Any, n: int) -> None:
    for i in range(n):
        v, c, zero, m, q = x[i], count[i], pivot[i], mean[i], square[i]
        enters = v - v == 0.0
        zero = v if enters and c == 0.0 else zero
        d = v - zero if enters else 0.0
        count[i] = c + (1.0 if enters else 0.0)
        pivot[i] = zero
        mean[i] = m + d
        square[i] = q + d * d


@rows
def _let_in_4(
    x: Any, y: Any, z: Any, last: Any, count: Any, pivot: Any, mean: Any, square: Any, n: int
) -> None:
    """Four bars at once: most of the time goes to the state's rows."""
    for i in range(n):
        v0, v1, v2, v3 = x[i], y[i], z[i], last[i]
        c, zero, m, q = count[i], pivot[i], mean[i], square[i]
        enters = v0 - v0 == 0.0
        zero = v0 if enters and c == 0.0 else zero
        c += 1.0 if enters else 0.0
        d = v0 - zero if enters else 0.0
        m += d
        q += d * d
        enters = v1 - v1 == 0.0
        zero = v1 if enters and c == 0.0 else zero
        c += 1.0 if enters else 0.0
        d = v1 - zero if enters else 0.0
        m += d
        q += d * d
        enters = v2 - v2 == 0.0
        zero = v2 if enters and c == 0.0 else zero
        c += 1.0 if enters else 0.0
        d = v2 - zero if enters else 0.0
        m += d
        q += d * d
        enters = v3 - v3 == 0.0
        zero = v3 if enters and c == 0.0 else zero
        c += 1.0 if enters else 0.0
        d = v3 - zero if enters else 0.0
        count[i] = c
        pivot[i] = zero
        mean[i] = m + d
        square[i] = q + d * d


@rows
def _settle(
    count: Any, pivot: Any, total: Any, square: Any, peak: Any, out: Any, variance: Any, n: int, least: float
) -> None:
    for i in range(n):
        c, zero, s, q = count[i], pivot[i], total[i], square[i]
        rest = max(c - 1.0, 1.0)
        inverse = 1.0 / (c * rest)
        peak[i] = c * q
        out[i] = zero + s * (inverse * rest) if c >= least else np.nan
        variance[i] = max(c * q - s * s, 0.0) * inverse if c >= max(least, 2.0) else np.nan


@rows
def _zero(x: Any, n: int) -> None:
    for i in range(n):
        x[i] = 0.0


@part
def _moments_anew(state: Any, stride: int, p: Any, g: int, n: int) -> None:
    """The window as a whole, oldest bar first, measured from its first value.

    One pass is enough: the first value's own squared deviation from the mean is part of the sum of all, so
    what cancels is at most as many times the result as there are bars.
    """
    window, least = p[8], float(p[9])
    count, pivot = own(state, stride, p, 3, _COUNT), own(state, stride, p, 3, _PIVOT)
    total, square = own(state, stride, p, 3, _TOTAL), own(state, stride, p, 3, _SQUARE)
    for k in range(5):
        _zero(own(state, stride, p, 3, k), n)
    lag = window - 1
    while lag >= 3:
        x, y = back(state, stride, p, 2, g, lag), back(state, stride, p, 2, g, lag - 1)
        z, last = back(state, stride, p, 2, g, lag - 2), back(state, stride, p, 2, g, lag - 3)
        _let_in_4(x, y, z, last, count, pivot, total, square, n)
        lag -= 4
    while lag >= 0:
        _let_in(back(state, stride, p, 2, g, lag), count, pivot, total, square, n)
        lag -= 1
    peak = own(state, stride, p, 3, _PEAK)
    out, variance = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    _settle(count, pivot, total, square, peak, out, variance, n, least)


@kernel
def moments(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_moments: mean and variance (ddof 1) of the last `window` bars, each symbol alone.

    in      x
    state   5 rows: number of values, a value nearby, sums of the distances from it and of their squares, peak
            of the squared deviations
    out     mean, var: NaN below `min_periods` values (var: below 2 as well); NaN and inf are missing
    refresh exact every `window` bars, and for a symbol at once when its squared deviations collapse
    source  pandas Series.rolling(window, min_periods).mean(), .var(); sums measured from the first value
    """
    window, least = p[8], float(p[9])
    if (g + p[7]) % window == 0:
        _moments_anew(state, stride, p, g, n)
        return
    count, pivot = own(state, stride, p, 3, _COUNT), own(state, stride, p, 3, _PIVOT)
    total, square = own(state, stride, p, 3, _TOTAL), own(state, stride, p, 3, _SQUARE)
    peak = own(state, stride, p, 3, _PEAK)
    x, old = now(state, stride, p, 2, g), back(state, stride, p, 2, g, window)
    out, variance = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    if _slide(x, old, count, pivot, total, square, peak, out, variance, n, least):
        for i in range(n):
            if _gone(count[i], total[i], square[i], peak[i]):
                _moments_anew(at(state, i), stride, p, g, 1)


MOMENTS: Final = Operator(
    "ts_moments",
    moments,
    inputs=("x",),
    outputs=("mean", "var"),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * 5,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: min_periods - 1,
    memory=lambda window, min_periods: 2 * window,
)


def ts_mean(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Mean of the last `window` bars of x; NaN below `min_periods` values (default: all of the window)."""
    return MOMENTS(x, parameters=_window(window, min_periods))[0]


def ts_var(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Variance (ddof 1) of the last `window` bars of x, in the square of its unit."""
    return MOMENTS(x, parameters=_window(window, min_periods))[1]


def ts_std(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Standard deviation (ddof 1) of the last `window` bars of x."""
    return sqrt(ts_var(x, window, min_periods))


# ---- skewness and kurtosis -------------------------------------------------------------------------------

_POWER_1, _POWER_2, _POWER_3, _POWER_4, _POWER_PEAK = range(2, 7)  # own rows, after count and pivot
_SHAPE_CANCELLED: Final = 1e-4
"""Fourth moments lose digits faster: the sums of one refresh to the next are up to `window` times off."""


@part
def _fourth(c: float, s1: float, s2: float, s3: float, s4: float) -> float:
    """The sum of fourth powers of deviations from the mean, from sums of powers of d = x - pivot."""
    m = s1 / c if c > 0.0 else 0.0
    return s4 - m * (4.0 * s3 - m * (6.0 * s2 - 3.0 * m * s1))


@rows
def _sum(x: Any, count: Any, pivot: Any, mean: Any, n: int) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        pivot[i] = x[i] if enters and count[i] == 0.0 else pivot[i]
        count[i] += 1.0 if enters else 0.0
        mean[i] += x[i] - pivot[i] if enters else 0.0


@rows
def _centre(count: Any, pivot: Any, mean: Any, n: int) -> None:
    for i in range(n):
        pivot[i] += mean[i] / count[i] if count[i] > 0.0 else 0.0
        mean[i] = 0.0


@rows
def _shape_slide(
    x: Any, old: Any, count: Any, pivot: Any, p1: Any, p2: Any, p3: Any, p4: Any, peak: Any, n: int
) -> int:
    """Let x in and old out; how many symbols need a recomputation."""
    cancelled = 0
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        leaves = old[i] - old[i] == 0.0
        zero = x[i] if enters and count[i] == 0.0 else pivot[i]
        c = count[i] + ((1.0 if enters else 0.0) - (1.0 if leaves else 0.0))
        a = x[i] - zero if enters else 0.0
        b = old[i] - zero if leaves else 0.0
        a2, b2 = a * a, b * b
        left = c > 0.0
        s1 = p1[i] + (a - b) if left else 0.0
        s2 = p2[i] + (a2 - b2) if left else 0.0
        s3 = p3[i] + (a2 * a - b2 * b) if left else 0.0
        s4 = p4[i] + (a2 * a2 - b2 * b2) if left else 0.0
        top = max(peak[i], s4)
        cancelled += 1 if _fourth(c, s1, s2, s3, s4) < _SHAPE_CANCELLED * top else 0
        count[i] = c
        pivot[i] = zero
        p1[i] = s1
        p2[i] = s2
        p3[i] = s3
        p4[i] = s4
        peak[i] = top
    return cancelled


@rows
def _shape_add(x: Any, pivot: Any, p1: Any, p2: Any, p3: Any, p4: Any, n: int) -> None:
    for i in range(n):
        d = x[i] - pivot[i] if x[i] - x[i] == 0.0 else 0.0
        p1[i] += d
        p2[i] += d * d
        p3[i] += d * d * d
        p4[i] += (d * d) * (d * d)


@rows
def _copy(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i]


@rows
def _shape_publish(
    count: Any, p1: Any, p2: Any, p3: Any, p4: Any, skew: Any, kurt: Any, n: int, least: float
) -> None:
    for i in range(n):
        c = count[i]
        m = p1[i] / c
        m2 = (p2[i] - m * p1[i]) / c
        m3 = (p3[i] - m * (3.0 * p2[i] - 2.0 * m * p1[i])) / c
        m4 = _fourth(c, p1[i], p2[i], p3[i], p4[i]) / c
        s = np.sqrt(c * (c - 1.0)) / (c - 2.0) * (m3 / (m2 * np.sqrt(m2)))
        k = ((c * c - 1.0) * (m4 / (m2 * m2)) - 3.0 * (c - 1.0) * (c - 1.0)) / ((c - 2.0) * (c - 3.0))
        skew[i] = s if c >= max(least, 3.0) and m2 > 0.0 else np.nan
        kurt[i] = k if c >= max(least, 4.0) and m2 > 0.0 else np.nan


@part
def _shape_anew(state: Any, stride: int, p: Any, g: int, n: int) -> None:
    """The window as a whole, oldest bar first: the mean becomes the pivot."""
    window = p[8]
    count, pivot = own(state, stride, p, 3, _COUNT), own(state, stride, p, 3, _PIVOT)
    p1, p2 = own(state, stride, p, 3, _POWER_1), own(state, stride, p, 3, _POWER_2)
    p3, p4 = own(state, stride, p, 3, _POWER_3), own(state, stride, p, 3, _POWER_4)
    for k in range(7):
        _zero(own(state, stride, p, 3, k), n)
    for lag in range(window - 1, -1, -1):
        _sum(back(state, stride, p, 2, g, lag), count, pivot, p1, n)
    _centre(count, pivot, p1, n)
    for lag in range(window - 1, -1, -1):
        _shape_add(back(state, stride, p, 2, g, lag), pivot, p1, p2, p3, p4, n)
    _copy(p4, own(state, stride, p, 3, _POWER_PEAK), n)


@kernel
def shape(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_shape: skewness and excess kurtosis of the last `window` bars, each symbol alone.

    in      x
    state   7 rows: number of values, a value nearby, sums of powers 1 to 4 of the distance from it, the peak
            of the fourth
    out     skew, kurt, corrected for bias: NaN below `min_periods` values (skew: below 3 as well, kurt: 4),
            and where nothing varies; NaN and inf are missing
    refresh exact every `window` bars, and for a symbol at once when its fourth moment falls below 1e-4 of
            the peak: a bad print has gone, or the mean is more than ten deviations away from the pivot
    source  pandas Series.rolling(window, min_periods).skew(), .kurt(), which differ where nothing varies
    """
    window, least = p[8], float(p[9])
    count, pivot = own(state, stride, p, 3, _COUNT), own(state, stride, p, 3, _PIVOT)
    p1, p2 = own(state, stride, p, 3, _POWER_1), own(state, stride, p, 3, _POWER_2)
    p3, p4 = own(state, stride, p, 3, _POWER_3), own(state, stride, p, 3, _POWER_4)
    if (g + p[7]) % window == 0:
        _shape_anew(state, stride, p, g, n)
    else:
        x, old = now(state, stride, p, 2, g), back(state, stride, p, 2, g, window)
        peak = own(state, stride, p, 3, _POWER_PEAK)
        if _shape_slide(x, old, count, pivot, p1, p2, p3, p4, peak, n):
            for i in range(n):
                if _fourth(count[i], p1[i], p2[i], p3[i], p4[i]) < _SHAPE_CANCELLED * peak[i]:
                    _shape_anew(at(state, i), stride, p, g, 1)
    skew, kurt = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    _shape_publish(count, p1, p2, p3, p4, skew, kurt, n, least)


SHAPE: Final = Operator(
    "ts_shape",
    shape,
    inputs=("x",),
    outputs=("skew", "kurt"),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * 7,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: min_periods - 1,
    memory=lambda window, min_periods: 2 * window,
)


def ts_skew(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Skewness of the last `window` bars of x, corrected for bias; no unit; NaN where nothing varies.

    At least 3 values are needed.
    """
    return SHAPE(x, parameters=_window(window, min_periods, 3))[0]


def ts_kurt(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Excess kurtosis (0 for a normal distribution) of the last `window` bars of x, corrected for bias.

    No unit; NaN where nothing varies. At least 4 values are needed.
    """
    return SHAPE(x, parameters=_window(window, min_periods, 4))[1]


# ---- sums ------------------------------------------------------------------------------------------------

_SUM_COUNT, _SUM, _SUM_LOW = range(3)  # own rows


@rows
def _sum_slide(x: Any, old: Any, count: Any, high: Any, low: Any, out: Any, n: int, least: float) -> None:
    for i in range(n):
        v, w, c, s, rest = x[i], old[i], count[i], high[i], low[i]
        enters = v - v == 0.0
        leaves = w - w == 0.0
        c += (1.0 if enters else 0.0) - (1.0 if leaves else 0.0)
        a, a_low = two_sum(s, v if enters else 0.0)
        b, b_low = two_sum(a, -w if leaves else 0.0)
        rest += a_low + b_low
        count[i] = c
        high[i] = b
        low[i] = rest
        out[i] = b + rest if c >= least else np.nan


@rows
def _sum_add(x: Any, count: Any, high: Any, low: Any, n: int) -> None:
    for i in range(n):
        v = x[i]
        enters = v - v == 0.0
        count[i] += 1.0 if enters else 0.0
        s, rest = two_sum(high[i], v if enters else 0.0)
        high[i] = s
        low[i] += rest


@rows
def _sum_add_4(x0: Any, x1: Any, x2: Any, x3: Any, count: Any, high: Any, low: Any, n: int) -> None:
    """Four bars at once: most of the time goes to the state's rows."""
    for i in range(n):
        v0, v1, v2, v3, c, s, rest = x0[i], x1[i], x2[i], x3[i], count[i], high[i], low[i]
        enters = v0 - v0 == 0.0
        c += 1.0 if enters else 0.0
        s, low0 = two_sum(s, v0 if enters else 0.0)
        enters = v1 - v1 == 0.0
        c += 1.0 if enters else 0.0
        s, low1 = two_sum(s, v1 if enters else 0.0)
        enters = v2 - v2 == 0.0
        c += 1.0 if enters else 0.0
        s, low2 = two_sum(s, v2 if enters else 0.0)
        enters = v3 - v3 == 0.0
        c += 1.0 if enters else 0.0
        s, low3 = two_sum(s, v3 if enters else 0.0)
        count[i] = c
        high[i] = s
        low[i] = (((rest + low0) + low1) + low2) + low3


@rows
def _sum_publish(count: Any, high: Any, low: Any, out: Any, n: int, least: float) -> None:
    for i in range(n):
        out[i] = high[i] + low[i] if count[i] >= least else np.nan


@kernel
def sum_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_sum: sum of the last `window` bars, each symbol alone.

    in      x
    state   3 rows: number of values, their sum, and its rounding error: with it a bad print of x1e9 leaves
            nothing behind when it goes, and sums of whole numbers are exact
    out     NaN below `min_periods` values; NaN and inf are missing
    refresh exact every `window` bars
    source  pandas Series.rolling(window, min_periods).sum(); Knuth's exact sum of two
    """
    window, least = p[6], float(p[7])
    count = own(state, stride, p, 2, _SUM_COUNT)
    high, low = own(state, stride, p, 2, _SUM), own(state, stride, p, 2, _SUM_LOW)
    out = now(state, stride, p, 0, g)
    if (g + p[5]) % window == 0:
        for k in range(3):
            _zero(own(state, stride, p, 2, k), n)
        lag = window - 1
        while lag >= 3:
            x0, x1 = back(state, stride, p, 1, g, lag), back(state, stride, p, 1, g, lag - 1)
            x2, x3 = back(state, stride, p, 1, g, lag - 2), back(state, stride, p, 1, g, lag - 3)
            _sum_add_4(x0, x1, x2, x3, count, high, low, n)
            lag -= 4
        while lag >= 0:
            _sum_add(back(state, stride, p, 1, g, lag), count, high, low, n)
            lag -= 1
        _sum_publish(count, high, low, out, n, least)
    else:
        x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, window)
        _sum_slide(x, old, count, high, low, out, n, least)


SUM: Final = Operator(
    "ts_sum",
    sum_kernel,
    inputs=("x",),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * 3,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: min_periods - 1,
    memory=lambda window, min_periods: 2 * window,
)


def ts_sum(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Sum of the last `window` bars of x; NaN below `min_periods` values (default: all of the window)."""
    return SUM(x, parameters=_window(window, min_periods))[0]


def ts_sum_if(x: Number, condition: Number, window: int, min_periods: int | None = None) -> Node:
    """Sum of x over those of the last `window` bars where the condition is true.

    x may be missing where the condition is false. A bar where the condition is NaN, or x is missing though
    it is true, is missing; NaN below `min_periods` bars that are there (default: all of the window).
    """
    return ts_sum(select(condition, x, 0.0), window, min_periods)


# ---- counts ----------------------------------------------------------------------------------------------


@rows
def _count(x: Any, old: Any, known: Any, true: Any, out: Any, n: int, least: float) -> None:
    for i in range(n):
        k = known[i] + ((1.0 if x[i] == x[i] else 0.0) - (1.0 if old[i] == old[i] else 0.0))
        enters = 1.0 if x[i] == x[i] and x[i] != 0.0 else 0.0
        leaves = 1.0 if old[i] == old[i] and old[i] != 0.0 else 0.0
        t = true[i] + (enters - leaves)
        known[i] = k
        true[i] = t
        out[i] = t if k >= least else np.nan


@kernel
def count_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_count: in how many of the last `window` bars the condition is true (neither 0.0 nor NaN).

    in      condition
    state   2 rows: number of bars where it is known, and where it is true; exact, so never refreshed
    out     NaN below `min_periods` bars where the condition is known, that is not NaN
    source  pandas Series.rolling(window, min_periods).sum() of 0.0, 1.0 and NaN
    """
    window, least = p[6], float(p[7])
    x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, window)
    known, true = own(state, stride, p, 2, 0), own(state, stride, p, 2, 1)
    _count(x, old, known, true, now(state, stride, p, 0, g), n, least)


COUNT: Final = Operator(
    "ts_count",
    count_kernel,
    inputs=("condition",),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * 2,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: min_periods - 1,
    memory=lambda window, min_periods: window,
)


def ts_count(condition: Number, window: int, min_periods: int | None = None) -> Node:
    """In how many of the last `window` bars the condition is true (not 0.0).

    NaN where it is known (not NaN) in fewer than `min_periods` of them (default: all of the window).
    """
    return COUNT(condition, parameters=_window(window, min_periods))[0]


# ---- products --------------------------------------------------------------------------------------------


@rows
def _one(x: Any, n: int) -> None:
    for i in range(n):
        x[i] = 1.0


@rows
def _multiply(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] *= x[i] if x[i] - x[i] == 0.0 else np.nan


@kernel
def product_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_product: product of the last `window` bars, each symbol alone.

    in      x
    state   none: the window is multiplied anew at every bar, since dividing by what leaves is inexact, and
            impossible for 0. The cost grows with the window
    out     NaN where one of the bars is missing (NaN or inf)
    source  numpy.prod
    """
    window, out = p[6], now(state, stride, p, 0, g)
    _one(out, n)
    for lag in range(window - 1, -1, -1):
        _multiply(back(state, stride, p, 1, g, lag), out, n)


PRODUCT: Final = Operator(
    "ts_product",
    product_kernel,
    inputs=("x",),
    parameters=("window",),
    history=lambda window: window - 1,
    warm_up=lambda window: window - 1,
)


def ts_product(x: Number, window: int) -> Node:
    """Product of the last `window` bars of x; NaN where one is missing. Cost grows with the window."""
    return PRODUCT(x, parameters=_window(window, None)[:1])[0]


# ---- scores ----------------------------------------------------------------------------------------------


def ts_zscore(x: Number, window: int, min_periods: int | None = None) -> Node:
    """(x - mean) / standard deviation (ddof 1) of the last `window` bars; NaN where nothing varies."""
    return (as_node(x) - ts_mean(x, window, min_periods)) / ts_std(x, window, min_periods)


def _window(window: int, min_periods: int | None, needed: int = 1) -> tuple[int, int]:
    least = window if min_periods is None else min_periods
    whole = isinstance(window, int) and isinstance(least, int) and not isinstance(window, bool)
    if not whole or window < needed or not 1 <= least <= window:
        raise ValueError(
            f"whole numbers 1 <= min_periods <= window and a window of {needed} or more are expected, "
            f"found window {window!r}, min_periods {least!r}"
        )
    return window, max(least, needed)
