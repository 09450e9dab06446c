"""Straight lines through a moving window: of one series on another, and of a series on time.

Sums are measured from a pivot near the values, time from the middle of the window, and both are updated by
what enters and what leaves. As in `rolling`, rounding is cleared away by an exact recomputation of the window
(a) at every `window` bars, at a phase of the expression's own, and (b) for a symbol whose squared deviations
fell below a hundred-thousandth of their peak since then.

A variance that rounding alone could have made is none: a standard deviation of 1e-15 of the mean or less (a
few units in the last place) counts as zero, and what would be divided by it is NaN. After (b) the variance of
a window of equal values is exactly zero, so long constants need no other care.

NaN and +-inf count as missing; a bar of two series counts only where both are there. A window with fewer than
`min_periods` such bars gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import at, back, kernel, now, own, part, rows
from kernels.node import Node, Number, Operator

__all__ = [
    "COMOMENTS",
    "REGRESSION",
    "TREND",
    "ts_alpha",
    "ts_beta",
    "ts_beta_residual",
    "ts_beta_rsquare",
    "ts_corr",
    "ts_cov",
    "ts_forecast",
    "ts_intercept",
    "ts_residual",
    "ts_rsquare",
    "ts_slope",
]

_CANCELLED: Final = 1e-5
"""A moment below this part of its peak has lost five of its sixteen digits."""
_ROUNDING: Final = 1e-30
"""A variance up to this part of the squared mean counts as zero."""


@rows
def _zero(x: Any, n: int) -> None:
    for i in range(n):
        x[i] = 0.0


# ---- two series ------------------------------------------------------------------------------------------

# Own rows: number of bars, a value nearby and the mean from there of each series, the three sums of products
# of deviations from the means, and the peaks of the two squared ones.
_COUNT, _PIVOT_X, _PIVOT_Y, _MEAN_X, _MEAN_Y, _XX, _YY, _XY, _PEAK_X, _PEAK_Y = range(10)
_PAIR_ROWS: Final = 10


@rows
def _slide_pair(
    x: Any,
    y: Any,
    old_x: Any,
    old_y: Any,
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    mean_x: Any,
    mean_y: Any,
    xx: Any,
    yy: Any,
    xy: Any,
    peak_x: Any,
    peak_y: Any,
    n: int,
) -> int:
    """Let (x, y) in and (old_x, old_y) out; how many symbols need a recomputation."""
    cancelled = 0
    for i in range(n):
        # 0 * v is 0 only for a finite v.
        enters = x[i] * 0.0 + y[i] * 0.0 == 0.0
        leaves = old_x[i] * 0.0 + old_y[i] * 0.0 == 0.0
        first = enters and count[i] == 0.0
        zero_x = x[i] if first else pivot_x[i]
        zero_y = y[i] if first else pivot_y[i]
        c = count[i] + ((1.0 if enters else 0.0) - (1.0 if leaves else 0.0))
        share = 1.0 / c if c > 0.0 else 0.0
        ax, ay = x[i] - zero_x, y[i] - zero_y
        bx, by = old_x[i] - zero_x, old_y[i] - zero_y
        dax = ax - mean_x[i] if enters else 0.0
        day = ay - mean_y[i] if enters else 0.0
        dbx = bx - mean_x[i] if leaves else 0.0
        dby = by - mean_y[i] if leaves else 0.0
        new_x = mean_x[i] + (dax - dbx) * share if c > 0.0 else 0.0
        new_y = mean_y[i] + (day - dby) * share if c > 0.0 else 0.0
        eax = ax - new_x if enters else 0.0
        eay = ay - new_y if enters else 0.0
        ebx = bx - new_x if leaves else 0.0
        eby = by - new_y if leaves else 0.0
        qx = xx[i] + (dax * eax - dbx * ebx) if c > 0.0 else 0.0
        qy = yy[i] + (day * eay - dby * eby) if c > 0.0 else 0.0
        qxy = xy[i] + (dax * eay - dbx * eby) if c > 0.0 else 0.0
        top_x, top_y = max(peak_x[i], qx), max(peak_y[i], qy)
        cancelled += 1 if qx < _CANCELLED * top_x or qy < _CANCELLED * top_y else 0
        count[i] = c
        pivot_x[i] = zero_x
        pivot_y[i] = zero_y
        mean_x[i] = new_x
        mean_y[i] = new_y
        xx[i] = qx
        yy[i] = qy
        xy[i] = qxy
        peak_x[i] = top_x
        peak_y[i] = top_y
    return cancelled


@rows
def _sum_pair(
    x: Any, y: Any, count: Any, pivot_x: Any, pivot_y: Any, mean_x: Any, mean_y: Any, n: int
) -> None:
    for i in range(n):
        enters = x[i] * 0.0 + y[i] * 0.0 == 0.0
        first = enters and count[i] == 0.0
        zero_x = x[i] if first else pivot_x[i]
        zero_y = y[i] if first else pivot_y[i]
        pivot_x[i] = zero_x
        pivot_y[i] = zero_y
        count[i] += 1.0 if enters else 0.0
        mean_x[i] += x[i] - zero_x if enters else 0.0
        mean_y[i] += y[i] - zero_y if enters else 0.0


@rows
def _centre_pair(count: Any, pivot_x: Any, pivot_y: Any, mean_x: Any, mean_y: Any, n: int) -> None:
    for i in range(n):
        pivot_x[i] += mean_x[i] / count[i] if count[i] > 0.0 else 0.0
        pivot_y[i] += mean_y[i] / count[i] if count[i] > 0.0 else 0.0
        mean_x[i] = 0.0
        mean_y[i] = 0.0


@rows
def _multiply_pair(
    x: Any,
    y: Any,
    pivot_x: Any,
    pivot_y: Any,
    mean_x: Any,
    mean_y: Any,
    xx: Any,
    yy: Any,
    xy: Any,
    n: int,
) -> None:
    for i in range(n):
        enters = x[i] * 0.0 + y[i] * 0.0 == 0.0
        dx = x[i] - pivot_x[i] if enters else 0.0
        dy = y[i] - pivot_y[i] if enters else 0.0
        mean_x[i] += dx
        mean_y[i] += dy
        xx[i] += dx * dx
        yy[i] += dy * dy
        xy[i] += dx * dy


@rows
def _settle_pair(
    count: Any, mean_x: Any, mean_y: Any, xx: Any, yy: Any, xy: Any, peak_x: Any, peak_y: Any, n: int
) -> None:
    """The pivots are the means but for their rounding: what is left of the first moments corrects."""
    for i in range(n):
        mx = mean_x[i] / count[i] if count[i] > 0.0 else 0.0
        my = mean_y[i] / count[i] if count[i] > 0.0 else 0.0
        xy[i] -= mean_x[i] * my
        xx[i] = max(xx[i] - mean_x[i] * mx, 0.0)
        yy[i] = max(yy[i] - mean_y[i] * my, 0.0)
        mean_x[i] = mx
        mean_y[i] = my
        peak_x[i] = xx[i]
        peak_y[i] = yy[i]


@part
def _pair_anew(state: Any, stride: int, p: Any, k: int, g: int, n: int) -> None:
    """The window of series k and k + 1, the last ones, as a whole, oldest bar first."""
    s = k + 2
    window = p[2 * s + 2]
    count = own(state, stride, p, s, _COUNT)
    pivot_x, pivot_y = own(state, stride, p, s, _PIVOT_X), own(state, stride, p, s, _PIVOT_Y)
    mean_x, mean_y = own(state, stride, p, s, _MEAN_X), own(state, stride, p, s, _MEAN_Y)
    xx, yy, xy = own(state, stride, p, s, _XX), own(state, stride, p, s, _YY), own(state, stride, p, s, _XY)
    for row in range(_PAIR_ROWS):
        _zero(own(state, stride, p, s, row), n)
    for lag in range(window - 1, -1, -1):
        x, y = back(state, stride, p, k, g, lag), back(state, stride, p, k + 1, g, lag)
        _sum_pair(x, y, count, pivot_x, pivot_y, mean_x, mean_y, n)
    _centre_pair(count, pivot_x, pivot_y, mean_x, mean_y, n)
    for lag in range(window - 1, -1, -1):
        x, y = back(state, stride, p, k, g, lag), back(state, stride, p, k + 1, g, lag)
        _multiply_pair(x, y, pivot_x, pivot_y, mean_x, mean_y, xx, yy, xy, n)
    peak_x, peak_y = own(state, stride, p, s, _PEAK_X), own(state, stride, p, s, _PEAK_Y)
    _settle_pair(count, mean_x, mean_y, xx, yy, xy, peak_x, peak_y, n)


@part
def _pair(state: Any, stride: int, p: Any, k: int, g: int, n: int) -> None:
    """Bring the own rows to bar g. Series k and k + 1 are the inputs, the last ones."""
    s = k + 2
    window = p[2 * s + 2]
    if (g + p[2 * s + 1]) % window == 0:
        _pair_anew(state, stride, p, k, g, n)
        return
    xx, yy = own(state, stride, p, s, _XX), own(state, stride, p, s, _YY)
    peak_x, peak_y = own(state, stride, p, s, _PEAK_X), own(state, stride, p, s, _PEAK_Y)
    cancelled = _slide_pair(
        now(state, stride, p, k, g),
        now(state, stride, p, k + 1, g),
        back(state, stride, p, k, g, window),
        back(state, stride, p, k + 1, g, window),
        own(state, stride, p, s, _COUNT),
        own(state, stride, p, s, _PIVOT_X),
        own(state, stride, p, s, _PIVOT_Y),
        own(state, stride, p, s, _MEAN_X),
        own(state, stride, p, s, _MEAN_Y),
        xx,
        yy,
        own(state, stride, p, s, _XY),
        peak_x,
        peak_y,
        n,
    )
    if cancelled:
        for i in range(n):
            if xx[i] < _CANCELLED * peak_x[i] or yy[i] < _CANCELLED * peak_y[i]:
                _pair_anew(at(state, i), stride, p, k, g, 1)


@rows
def _correlate(
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    mean_x: Any,
    mean_y: Any,
    xx: Any,
    yy: Any,
    xy: Any,
    cov: Any,
    corr: Any,
    n: int,
    least: float,
) -> None:
    for i in range(n):
        c = count[i]
        enough = c >= max(least, 2.0)
        cov[i] = xy[i] / (c - 1.0) if enough else np.nan
        mx, my = pivot_x[i] + mean_x[i], pivot_y[i] + mean_y[i]
        varies = (xx[i] > c * (_ROUNDING * (mx * mx))) and (yy[i] > c * (_ROUNDING * (my * my)))
        # Two roots: the product of two tiny variances could be too small for a float.
        r = xy[i] / (np.sqrt(xx[i]) * np.sqrt(yy[i]))
        r = 1.0 if r > 1.0 else r
        r = -1.0 if r < -1.0 else r
        corr[i] = r if enough and varies else np.nan


@kernel
def comoments(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_comoments: covariance (ddof 1) and correlation of x and y over the last `window` bars.

    in      x, y
    state   10 rows: number of bars, a value nearby and the mean from there of x and of y, three sums of
            products of deviations, peaks of the two squared ones
    out     cov, corr (within [-1, 1]): NaN below `min_periods` bars that have both, and below 2; corr: NaN
            where the standard deviation of x or y is 1e-15 of its mean or less
    refresh exact every `window` bars, and for a symbol at once when a squared deviation collapses
    source  pandas Series.rolling(window, min_periods).cov(), .corr(); Welford's update for a pair that
            enters and leaves; corrected two-pass for the refresh
    """
    _pair(state, stride, p, 2, g, n)
    _correlate(
        own(state, stride, p, 4, _COUNT),
        own(state, stride, p, 4, _PIVOT_X),
        own(state, stride, p, 4, _PIVOT_Y),
        own(state, stride, p, 4, _MEAN_X),
        own(state, stride, p, 4, _MEAN_Y),
        own(state, stride, p, 4, _XX),
        own(state, stride, p, 4, _YY),
        own(state, stride, p, 4, _XY),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        n,
        float(p[11]),
    )


@rows
def _fit(
    x: Any,
    y: Any,
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    mean_x: Any,
    mean_y: Any,
    xx: Any,
    yy: Any,
    xy: Any,
    beta: Any,
    alpha: Any,
    rsquare: Any,
    residual: Any,
    n: int,
    least: float,
) -> None:
    for i in range(n):
        c = count[i]
        mx, my = pivot_x[i] + mean_x[i], pivot_y[i] + mean_y[i]
        known = c >= max(least, 2.0) and xx[i] > c * (_ROUNDING * (mx * mx))
        varies = yy[i] > c * (_ROUNDING * (my * my))
        b = xy[i] / xx[i] if known else np.nan
        r = (xy[i] / xx[i]) * (xy[i] / yy[i])
        beta[i] = b
        alpha[i] = my - b * mx
        rsquare[i] = min(r, 1.0) if known and varies else np.nan
        e = ((y[i] - pivot_y[i]) - mean_y[i]) - b * ((x[i] - pivot_x[i]) - mean_x[i])
        residual[i] = e if e - e == 0.0 else np.nan


@kernel
def regression(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_regression: the straight line y = alpha + beta x of least squares over the last `window` bars.

    in      x, y
    state   10 rows, as of ts_comoments
    out     beta, alpha, rsquare, residual (of the present bar): NaN below `min_periods` bars that have both,
            below 2, and where the standard deviation of x is 1e-15 of its mean or less; rsquare: of y as
            well; residual: NaN where the present x or y is missing
    refresh exact every `window` bars, and for a symbol at once when a squared deviation collapses
    source  scipy.stats.linregress on each window; Welford's update; corrected two-pass for the refresh
    """
    _pair(state, stride, p, 4, g, n)
    _fit(
        now(state, stride, p, 4, g),
        now(state, stride, p, 5, g),
        own(state, stride, p, 6, _COUNT),
        own(state, stride, p, 6, _PIVOT_X),
        own(state, stride, p, 6, _PIVOT_Y),
        own(state, stride, p, 6, _MEAN_X),
        own(state, stride, p, 6, _MEAN_Y),
        own(state, stride, p, 6, _XX),
        own(state, stride, p, 6, _YY),
        own(state, stride, p, 6, _XY),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        now(state, stride, p, 3, g),
        n,
        float(p[15]),
    )


COMOMENTS: Final = Operator(
    "ts_comoments",
    comoments,
    inputs=("x", "y"),
    outputs=("cov", "corr"),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * _PAIR_ROWS,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: max(min_periods, 2) - 1,
    memory=lambda window, min_periods: 2 * window,
)

REGRESSION: Final = Operator(
    "ts_regression",
    regression,
    inputs=("x", "y"),
    outputs=("beta", "alpha", "rsquare", "residual"),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * _PAIR_ROWS,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: max(min_periods, 2) - 1,
    memory=lambda window, min_periods: 2 * window,
)


# ---- a series on time ------------------------------------------------------------------------------------

# Own rows: number of values, a value nearby, mean and squared deviations from there, their peak; the sum of
# times t, of t * t, of t * (x - pivot), where t runs from -(window - 1) / 2 at the oldest bar to
# +(window - 1) / 2 at the newest: halves, so that sums of t and of t * t are exact.
_N, _PIVOT, _MEAN, _SQUARE, _PEAK, _T, _TT, _TX = range(8)
_TREND_ROWS: Final = 8


@rows
def _slide_trend(
    x: Any,
    old: Any,
    count: Any,
    pivot: Any,
    mean: Any,
    square: Any,
    peak: Any,
    t: Any,
    tt: Any,
    tx: Any,
    n: int,
    end: float,
) -> int:
    """Let old out, make all others one bar older, let x in; how many symbols need a recomputation."""
    cancelled = 0
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        leaves = old[i] - old[i] == 0.0
        zero = x[i] if enters and count[i] == 0.0 else pivot[i]
        comes, goes = 1.0 if enters else 0.0, 1.0 if leaves else 0.0
        m = mean[i]
        stay = count[i] - goes
        c = stay + comes
        a = x[i] - zero if enters else 0.0
        b = old[i] - zero if leaves else 0.0
        da = a - m if enters else 0.0
        db = b - m if leaves else 0.0
        new = m + (da - db) / c if c > 0.0 else 0.0
        q = square[i] + (da * (a - new if enters else 0.0) - db * (b - new if leaves else 0.0))
        q = q if c > 0.0 else 0.0
        st = t[i] + goes * end
        stt = tt[i] - goes * (end * end)
        stx = tx[i] + end * b
        stx += end * a - (count[i] * m - b)
        top = max(peak[i], q)
        cancelled += 1 if q < _CANCELLED * top else 0
        count[i] = c
        pivot[i] = zero
        mean[i] = new
        square[i] = q
        peak[i] = top
        tt[i] = stt - 2.0 * st + stay + comes * (end * end)
        t[i] = st - stay + comes * end
        tx[i] = stx if c > 0.0 else 0.0
    return cancelled


@rows
def _sum_trend(x: Any, count: Any, pivot: Any, mean: Any, n: int) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        zero = x[i] if enters and count[i] == 0.0 else pivot[i]
        pivot[i] = zero
        count[i] += 1.0 if enters else 0.0
        mean[i] += x[i] - zero if enters else 0.0


@rows
def _centre_trend(count: Any, pivot: Any, mean: Any, n: int) -> None:
    for i in range(n):
        pivot[i] += mean[i] / count[i] if count[i] > 0.0 else 0.0
        mean[i] = 0.0


@rows
def _multiply_trend(
    x: Any, pivot: Any, mean: Any, square: Any, t: Any, tt: Any, tx: Any, n: int, time: float
) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        d = x[i] - pivot[i] if enters else 0.0
        mean[i] += d
        square[i] += d * d
        t[i] += time if enters else 0.0
        tt[i] += time * time if enters else 0.0
        tx[i] += time * d


@rows
def _settle_trend(count: Any, mean: Any, square: Any, peak: Any, n: int) -> None:
    for i in range(n):
        m = mean[i] / count[i] if count[i] > 0.0 else 0.0
        square[i] = max(square[i] - mean[i] * m, 0.0)
        mean[i] = m
        peak[i] = square[i]


@part
def _trend_anew(state: Any, stride: int, p: Any, g: int, n: int) -> None:
    """The window as a whole, oldest bar first."""
    window = p[12]
    count, pivot = own(state, stride, p, 5, _N), own(state, stride, p, 5, _PIVOT)
    mean, square = own(state, stride, p, 5, _MEAN), own(state, stride, p, 5, _SQUARE)
    t, tt, tx = own(state, stride, p, 5, _T), own(state, stride, p, 5, _TT), own(state, stride, p, 5, _TX)
    for row in range(_TREND_ROWS):
        _zero(own(state, stride, p, 5, row), n)
    for lag in range(window - 1, -1, -1):
        _sum_trend(back(state, stride, p, 4, g, lag), count, pivot, mean, n)
    _centre_trend(count, pivot, mean, n)
    for lag in range(window - 1, -1, -1):
        time = 0.5 * float(window - 1) - float(lag)
        _multiply_trend(back(state, stride, p, 4, g, lag), pivot, mean, square, t, tt, tx, n, time)
    _settle_trend(count, mean, square, own(state, stride, p, 5, _PEAK), n)


@rows
def _fit_trend(
    x: Any,
    count: Any,
    pivot: Any,
    mean: Any,
    square: Any,
    t: Any,
    tt: Any,
    tx: Any,
    slope: Any,
    intercept: Any,
    rsquare: Any,
    residual: Any,
    n: int,
    least: float,
    end: float,
) -> None:
    for i in range(n):
        c = count[i]
        enough = c >= max(least, 2.0)
        middle = t[i] / c
        level = pivot[i] + mean[i]
        times = tt[i] - t[i] * middle
        product = tx[i] - t[i] * mean[i]
        varies = square[i] > c * (_ROUNDING * (level * level))
        # Rounding may have left a little in the product of a constant; its slope is 0.
        b = (product / times if varies else 0.0) if enough else np.nan
        slope[i] = b
        intercept[i] = level - b * (middle + end + 1.0)
        r = (product / times) * (product / square[i])
        rsquare[i] = min(r, 1.0) if enough and varies else np.nan
        e = ((x[i] - pivot[i]) - mean[i]) - b * (end - middle)
        residual[i] = e if e - e == 0.0 else np.nan


@kernel
def trend(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_trend: the straight line x = intercept + slope t of least squares over the last `window` bars.

    t is the place in the window: 1 at the oldest bar, `window` at the newest; a missing bar leaves its place
    empty.

    in      x
    state   8 rows: number of values, a value nearby, mean and squared deviations from there, their peak, and
            the sums of t, t * t, t * x, with t from the middle of the window and x from the value nearby
    out     slope, intercept, rsquare, residual (of the present bar): NaN below `min_periods` values and below
            2; where the standard deviation of x is 1e-15 of its mean or less, slope is 0 and rsquare NaN;
            residual: NaN where the present x is missing
    refresh exact every `window` bars, and for a symbol at once when its squared deviations collapse
    source  scipy.stats.linregress on each window; Welford's update; corrected two-pass for the refresh
    """
    window, least = p[12], float(p[13])
    end = 0.5 * float(window - 1)
    count, pivot = own(state, stride, p, 5, _N), own(state, stride, p, 5, _PIVOT)
    mean, square = own(state, stride, p, 5, _MEAN), own(state, stride, p, 5, _SQUARE)
    t, tt, tx = own(state, stride, p, 5, _T), own(state, stride, p, 5, _TT), own(state, stride, p, 5, _TX)
    x = now(state, stride, p, 4, g)
    if (g + p[11]) % window == 0:
        _trend_anew(state, stride, p, g, n)
    else:
        old, peak = back(state, stride, p, 4, g, window), own(state, stride, p, 5, _PEAK)
        if _slide_trend(x, old, count, pivot, mean, square, peak, t, tt, tx, n, end):
            for i in range(n):
                if square[i] < _CANCELLED * peak[i]:
                    _trend_anew(at(state, i), stride, p, g, 1)
    _fit_trend(
        x,
        count,
        pivot,
        mean,
        square,
        t,
        tt,
        tx,
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        now(state, stride, p, 3, g),
        n,
        least,
        end,
    )


TREND: Final = Operator(
    "ts_trend",
    trend,
    inputs=("x",),
    outputs=("slope", "intercept", "rsquare", "residual"),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0,) * _TREND_ROWS,
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: max(min_periods, 2) - 1,
    memory=lambda window, min_periods: 2 * window,
)


# ---- public ----------------------------------------------------------------------------------------------


def ts_cov(x: Number, y: Number, window: int, min_periods: int | None = None) -> Node:
    """Covariance (ddof 1) of x and y over the last `window` bars, in the product of their units.

    NaN below `min_periods` bars that have both (default: all of the window).
    """
    return COMOMENTS(x, y, parameters=_window(window, min_periods))[0]


def ts_corr(x: Number, y: Number, window: int, min_periods: int | None = None) -> Node:
    """Correlation (Pearson) of x and y over the last `window` bars, within [-1, 1].

    NaN below `min_periods` bars that have both (default: all of the window), and where x or y does not vary.
    """
    return COMOMENTS(x, y, parameters=_window(window, min_periods))[1]


def ts_beta(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """Slope of y on x over the last `window` bars, in units of y per unit of x.

    NaN below `min_periods` bars that have both (default: all of the window), and where x does not vary.
    """
    return REGRESSION(x, y, parameters=_window(window, min_periods))[0]


def ts_alpha(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """Intercept of y on x over the last `window` bars, in units of y; NaN where `ts_beta` is."""
    return REGRESSION(x, y, parameters=_window(window, min_periods))[1]


def ts_beta_rsquare(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """Part of y's variance that x explains over the last `window` bars, 0 to 1.

    NaN where `ts_beta` is, and where y does not vary.
    """
    return REGRESSION(x, y, parameters=_window(window, min_periods))[2]


def ts_beta_residual(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """The present y less its value on the line of y on x over the last `window` bars, in units of y.

    NaN where `ts_beta` is, and where the present x or y is missing.
    """
    return REGRESSION(x, y, parameters=_window(window, min_periods))[3]


def ts_slope(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Slope of x on time over the last `window` bars, in units of x per bar; 0.0 where x does not vary.

    NaN below `min_periods` values (default: all of the window); missing bars keep their place in time.
    """
    return TREND(x, parameters=_window(window, min_periods))[0]


def ts_intercept(x: Number, window: int, min_periods: int | None = None) -> Node:
    """The line of x on time over the last `window` bars at one bar before the oldest; NaN as `ts_slope`."""
    return TREND(x, parameters=_window(window, min_periods))[1]


def ts_rsquare(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Part of x's variance that the line on time explains over the last `window` bars, 0 to 1.

    NaN where `ts_slope` is, and where x does not vary.
    """
    return TREND(x, parameters=_window(window, min_periods))[2]


def ts_residual(x: Number, window: int, min_periods: int | None = None) -> Node:
    """The present x less its value on the line of x on time over the last `window` bars, in units of x.

    NaN where `ts_slope` is, and where the present x is missing.
    """
    return TREND(x, parameters=_window(window, min_periods))[3]


def ts_forecast(x: Number, window: int, ahead: int = 1, min_periods: int | None = None) -> Node:
    """The line of x on time over the last `window` bars, `ahead` bars after the present one.

    0 is the present bar's place on the line (TA-Lib LINEARREG), 1 the next one's (TSF). NaN where `ts_slope`
    is.
    """
    return ts_intercept(x, window, min_periods) + ts_slope(x, window, min_periods) * float(window + ahead)


def _window(window: int, min_periods: int | None) -> tuple[int, int]:
    least = window if min_periods is None else min_periods
    whole = isinstance(window, int) and isinstance(least, int) and not isinstance(window, bool)
    if not whole or window < 2 or not 1 <= least <= window:
        raise ValueError(
            f"whole numbers 1 <= min_periods <= window and a window of 2 or more are expected, found "
            f"window {window!r}, min_periods {least!r}"
        )
    return window, least
