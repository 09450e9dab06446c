"""A series on time: the straight line through a moving window, and what comes from the same pass.

Sums, refresh and what counts as constant: see `deviations`; time runs from the middle of the window. NaN and
+-inf count as missing. A window with fewer than `min_periods` values gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import at, back, kernel, now, own, part, rows
from kernels.deviations import ROUNDING, gone, window_and_least, zero
from kernels.node import Node, Number, Operator

__all__ = [
    "TREND",
    "ts_forecast",
    "ts_intercept",
    "ts_residual",
    "ts_rsquare",
    "ts_slope",
    "ts_trend_mean",
    "ts_trend_var",
]

# Own rows: number of values, a value nearby, the sums of the distances from there and of their squares, the
# peak of the squared deviations; the sums of time t, of t * t, of t * distance, where t runs from
# -(window - 1) / 2 at the oldest bar to +(window - 1) / 2 at the newest: halves, so that sums of t and of
# t * t are exact.
_N, _PIVOT, _SUM, _SQUARE, _PEAK, _T, _TT, _TX = range(8)
_TREND_ROWS: Final = 8


@part
def _line(
    v: float,
    c: float,
    zero: float,
    s: float,
    q: float,
    t: float,
    tt: float,
    tx: float,
    least: float,
    end: float,
) -> tuple[float, float, float, float, float, float]:
    """The outcomes, from the sums; v is the present value."""
    rest = max(c - 1.0, 1.0)
    inverse = 1.0 / (c * rest)  # one division for all quotients by the number of values
    share = inverse * rest
    middle, near = t * share, s * share
    level, mean = zero + near, c * zero + s
    # All three times c, which none of their quotients needs.
    times, product, square = c * tt - t * t, c * tx - t * s, c * q - s * s
    enough = c >= least
    varies = square > ROUNDING * (mean * mean)
    # Rounding may have left a little in the product of a constant; its slope is 0.
    b = (product / times if varies else 0.0) if enough else np.nan
    r = b * (product / square)
    e = ((v - zero) - near) - b * (end - middle)
    return (
        b,
        level - b * (middle + end + 1.0),
        min(r, 1.0) if enough & varies else np.nan,
        e if e - e == 0.0 else np.nan,
        level if enough else np.nan,
        max(square, 0.0) * inverse if enough else np.nan,
    )


@rows
def _slide_trend(
    x: Any,
    old: Any,
    count: Any,
    pivot: Any,
    total: Any,
    squares: Any,
    peak: Any,
    times: Any,
    time_squares: Any,
    products: Any,
    slope: Any,
    intercept: Any,
    rsquare: Any,
    residual: Any,
    mean: Any,
    variance: Any,
    n: int,
    least: float,
    end: float,
) -> int:
    """Let old out, make all others one bar older, let x in; how many symbols need a recomputation."""
    cancelled = 0
    for i in range(n):
        v, w, c, zero, s, q, top = x[i], old[i], count[i], pivot[i], total[i], squares[i], peak[i]
        t, tt, tx = times[i], time_squares[i], products[i]
        enters = v - v == 0.0
        leaves = w - w == 0.0
        comes, goes = 1.0 if enters else 0.0, 1.0 if leaves else 0.0
        # The first value after none is its own pivot: alone it varies by nothing, which asks for the whole.
        a, b = v - zero if enters else 0.0, w - zero if leaves else 0.0
        stay = c - goes
        c = stay + comes
        left = c > 0.0
        tx = (tx + end * b) - (s - b) + end * a if left else 0.0
        s = s + (a - b) if left else 0.0
        q = q + (a * a - b * b) if left else 0.0
        t += goes * end
        tt = tt - goes * (end * end) - 2.0 * t + stay + comes * (end * end)
        t = t - stay + comes * end
        top = max(top, c * q)
        cancelled += 1 if gone(c, s, q, top) else 0
        count[i] = c
        total[i] = s
        squares[i] = q
        peak[i] = top
        times[i] = t
        time_squares[i] = tt
        products[i] = tx
        found = _line(v, c, zero, s, q, t, tt, tx, least, end)
        slope[i] = found[0]
        intercept[i] = found[1]
        rsquare[i] = found[2]
        residual[i] = found[3]
        mean[i] = found[4]
        variance[i] = found[5]
    return cancelled


@part
def _take(
    v: float, time: float, c: float, zero: float, s: float, q: float, t: float, tt: float, tx: float
) -> tuple[float, float, float, float, float, float, float]:
    """The sums of a window with one bar more, at its time."""
    enters = v - v == 0.0
    zero = v if enters & (c == 0.0) else zero
    comes, d = 1.0 if enters else 0.0, v - zero if enters else 0.0
    return c + comes, zero, s + d, q + d * d, t + comes * time, tt + comes * (time * time), tx + time * d


@rows
def _take_1(
    x: Any,
    count: Any,
    pivot: Any,
    total: Any,
    squares: Any,
    times: Any,
    time_squares: Any,
    products: Any,
    n: int,
    time: float,
) -> None:
    for i in range(n):
        c, zero, s, q = count[i], pivot[i], total[i], squares[i]
        t, tt, tx = times[i], time_squares[i], products[i]
        c, zero, s, q, t, tt, tx = _take(x[i], time, c, zero, s, q, t, tt, tx)
        count[i] = c
        pivot[i] = zero
        total[i] = s
        squares[i] = q
        times[i] = t
        time_squares[i] = tt
        products[i] = tx


@rows
def _take_4(
    x0: Any,
    x1: Any,
    x2: Any,
    x3: Any,
    count: Any,
    pivot: Any,
    total: Any,
    squares: Any,
    times: Any,
    time_squares: Any,
    products: Any,
    n: int,
    time: float,
) -> None:
    """Four bars at once, the first at `time`."""
    for i in range(n):
        c, zero, s, q = count[i], pivot[i], total[i], squares[i]
        t, tt, tx = times[i], time_squares[i], products[i]
        c, zero, s, q, t, tt, tx = _take(x0[i], time, c, zero, s, q, t, tt, tx)
        c, zero, s, q, t, tt, tx = _take(x1[i], time + 1.0, c, zero, s, q, t, tt, tx)
        c, zero, s, q, t, tt, tx = _take(x2[i], time + 2.0, c, zero, s, q, t, tt, tx)
        c, zero, s, q, t, tt, tx = _take(x3[i], time + 3.0, c, zero, s, q, t, tt, tx)
        count[i] = c
        pivot[i] = zero
        total[i] = s
        squares[i] = q
        times[i] = t
        time_squares[i] = tt
        products[i] = tx


@rows
def _settle_trend(
    x: Any,
    count: Any,
    pivot: Any,
    total: Any,
    squares: Any,
    peak: Any,
    times: Any,
    time_squares: Any,
    products: Any,
    slope: Any,
    intercept: Any,
    rsquare: Any,
    residual: Any,
    mean: Any,
    variance: Any,
    n: int,
    least: float,
    end: float,
) -> None:
    for i in range(n):
        c, zero, s, q, t, tt, tx = (
            count[i], pivot[i], total[i], squares[i], times[i], time_squares[i], products[i]
        )  # fmt: skip
        peak[i] = c * q
        found = _line(x[i], c, zero, s, q, t, tt, tx, least, end)
        slope[i] = found[0]
        intercept[i] = found[1]
        rsquare[i] = found[2]
        residual[i] = found[3]
        mean[i] = found[4]
        variance[i] = found[5]


@part
def _trend_anew(state: Any, stride: int, p: Any, g: int, n: int) -> None:
    """The window as a whole, oldest bar first, measured from its first value."""
    window, least = p[16], max(float(p[17]), 2.0)
    end = 0.5 * float(window - 1)
    count, pivot = own(state, stride, p, 7, _N), own(state, stride, p, 7, _PIVOT)
    total, squares = own(state, stride, p, 7, _SUM), own(state, stride, p, 7, _SQUARE)
    t, tt, tx = own(state, stride, p, 7, _T), own(state, stride, p, 7, _TT), own(state, stride, p, 7, _TX)
    for row in range(_TREND_ROWS):
        zero(own(state, stride, p, 7, row), n)
    lag = window - 1
    while lag >= 3:
        x0, x1 = back(state, stride, p, 6, g, lag), back(state, stride, p, 6, g, lag - 1)
        x2, x3 = back(state, stride, p, 6, g, lag - 2), back(state, stride, p, 6, g, lag - 3)
        _take_4(x0, x1, x2, x3, count, pivot, total, squares, t, tt, tx, n, end - float(lag))
        lag -= 4
    while lag >= 0:
        x0 = back(state, stride, p, 6, g, lag)
        _take_1(x0, count, pivot, total, squares, t, tt, tx, n, end - float(lag))
        lag -= 1
    _settle_trend(
        now(state, stride, p, 6, g),
        count,
        pivot,
        total,
        squares,
        own(state, stride, p, 7, _PEAK),
        t,
        tt,
        tx,
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        now(state, stride, p, 3, g),
        now(state, stride, p, 4, g),
        now(state, stride, p, 5, g),
        n,
        least,
        end,
    )


@kernel
def trend(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_trend: the straight line x = intercept + slope t of least squares over the last `window` bars.

    t is the place in the window: 1 at the oldest bar, `window` at the newest; a missing bar leaves its place
    empty.

    in      x
    state   8 rows: number of values, a value nearby, sums of the distances from it and of their squares, the
            peak of the squared deviations, and the sums of t, t * t, t * distance, with t from the middle of
            the window
    out     slope, intercept, rsquare, residual (of the present bar), mean, var (ddof 1): NaN below
            `min_periods` values and below 2; where the standard deviation of x is 1e-15 of its mean or less,
            slope is 0 and rsquare NaN; residual: NaN where the present x is missing
    refresh exact every `window` bars, and for a symbol at once when its squared deviations collapse
    source  scipy.stats.linregress on each window; sums measured from the first value
    """
    window, least = p[16], max(float(p[17]), 2.0)
    if (g + p[15]) % window == 0:
        _trend_anew(state, stride, p, g, n)
        return
    count, peak = own(state, stride, p, 7, _N), own(state, stride, p, 7, _PEAK)
    total, squares = own(state, stride, p, 7, _SUM), own(state, stride, p, 7, _SQUARE)
    cancelled = _slide_trend(
        now(state, stride, p, 6, g),
        back(state, stride, p, 6, g, window),
        count,
        own(state, stride, p, 7, _PIVOT),
        total,
        squares,
        peak,
        own(state, stride, p, 7, _T),
        own(state, stride, p, 7, _TT),
        own(state, stride, p, 7, _TX),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        now(state, stride, p, 3, g),
        now(state, stride, p, 4, g),
        now(state, stride, p, 5, g),
        n,
        least,
        0.5 * float(window - 1),
    )
    if cancelled:
        for i in range(n):
            if gone(count[i], total[i], squares[i], peak[i]):
                _trend_anew(at(state, i), stride, p, g, 1)


TREND: Final = Operator(
    "ts_trend",
    trend,
    inputs=("x",),
    outputs=("slope", "intercept", "rsquare", "residual", "mean", "var"),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * _TREND_ROWS,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: max(min_periods, 2) - 1,
    memory=lambda window, min_periods: 2 * window,
)


def ts_slope(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Slope of x on time over the last `window` bars, in units of x per bar; 0.0 where x does not vary.

    NaN below `min_periods` values (default: all of the window); missing bars keep their place in time.
    """
    return TREND(x, parameters=window_and_least(window, min_periods))[0]


def ts_intercept(x: Number, window: int, min_periods: int | None = None) -> Node:
    """The line of x on time over the last `window` bars at one bar before the oldest; NaN as `ts_slope`."""
    return TREND(x, parameters=window_and_least(window, min_periods))[1]


def ts_rsquare(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Part of x's variance that the line on time explains over the last `window` bars, 0 to 1.

    NaN where `ts_slope` is, and where x does not vary.
    """
    return TREND(x, parameters=window_and_least(window, min_periods))[2]


def ts_residual(x: Number, window: int, min_periods: int | None = None) -> Node:
    """The present x less its value on the line of x on time over the last `window` bars, in units of x.

    NaN where `ts_slope` is, and where the present x is missing.
    """
    return TREND(x, parameters=window_and_least(window, min_periods))[3]


def ts_trend_mean(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Mean of the last `window` bars of x, from the same pass as `ts_slope`; NaN where that is.

    As `rolling.ts_mean` but for rounding, and cheaper where a plan has the line on time of the same window.
    """
    return TREND(x, parameters=window_and_least(window, min_periods))[4]


def ts_trend_var(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Variance (ddof 1) of the last `window` bars of x, from the same pass as `ts_slope`; NaN where that is.

    As `rolling.ts_var` but for rounding, and cheaper where a plan has the line on time of the same window.
    """
    return TREND(x, parameters=window_and_least(window, min_periods))[5]


def ts_forecast(x: Number, window: int, ahead: int = 1, min_periods: int | None = None) -> Node:
    """The line of x on time over the last `window` bars, `ahead` bars after the present one.

    0 is the present bar's place on the line (TA-Lib LINEARREG), 1 the next one's (TSF). NaN where `ts_slope`
    is.
    """
    return ts_intercept(x, window, min_periods) + ts_slope(x, window, min_periods) * float(window + ahead)
