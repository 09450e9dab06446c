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
    "CORRELATION",
    "COVARIANCE",
    "REGRESSION",
    "SHORT_CORRELATION",
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
    "ts_trend_mean",
    "ts_trend_var",
]

_CANCELLED: Final = 1e-5
"""A moment below this part of its peak has lost five of its sixteen digits."""
_ROUNDING: Final = 1e-30
"""A variance up to this part of the squared mean counts as zero."""
_SHORT: Final = 8
"""Windows up to here are computed anew at every bar."""


@rows
def _zero(x: Any, n: int) -> None:
    for i in range(n):
        x[i] = 0.0


# ---- two series ------------------------------------------------------------------------------------------

# Own rows: number of bars, a value nearby of each series, the sums of the distances from there, of their
# squares and products, and the peaks of the two squared ones. No means: n bars' sum of squared deviations,
# times n, is n * (sum of squares) - (sum)**2, and none of the outcomes needs it without the n.
_COUNT, _PIVOT_X, _PIVOT_Y, _X, _Y, _XX, _YY, _XY, _PEAK_X, _PEAK_Y = range(10)
_PAIR_ROWS: Final = 10


@part
def _gone(c: float, s: float, q: float, top: float) -> bool:
    """Whether what is left of the squared deviations is mostly rounding."""
    return c * q - s * s < _CANCELLED * top


@part
def _correlation(
    c: float, zx: float, zy: float, sx: float, sy: float, xx: float, yy: float, xy: float, flat: float
) -> float:
    """Of c bars, from their sums; `flat` where one does not vary."""
    qx, qy, qxy = c * xx - sx * sx, c * yy - sy * sy, c * xy - sx * sy
    mx, my = c * zx + sx, c * zy + sy
    r = qxy / np.sqrt(qx * qy)
    r = 1.0 if r > 1.0 else r
    r = -1.0 if r < -1.0 else r
    return r if (qx > _ROUNDING * (mx * mx)) & (qy > _ROUNDING * (my * my)) else flat


@rows
def _slide_pair(
    x: Any,
    y: Any,
    old_x: Any,
    old_y: Any,
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    sum_x: Any,
    sum_y: Any,
    sum_xx: Any,
    sum_yy: Any,
    sum_xy: Any,
    peak_x: Any,
    peak_y: Any,
    corr: Any,
    n: int,
    least: float,
    flat: float,
) -> int:
    """Let (x, y) in and (old_x, old_y) out; how many symbols need a recomputation."""
    cancelled = 0
    for i in range(n):
        v, w, old_v, old_w = x[i], y[i], old_x[i], old_y[i]
        c, zx, zy, sx, sy = count[i], pivot_x[i], pivot_y[i], sum_x[i], sum_y[i]
        xx, yy, xy, top_x, top_y = sum_xx[i], sum_yy[i], sum_xy[i], peak_x[i], peak_y[i]
        # 0 * v is 0 only for a finite v.
        enters = v * 0.0 + w * 0.0 == 0.0
        leaves = old_v * 0.0 + old_w * 0.0 == 0.0
        c += (1.0 if enters else 0.0) - (1.0 if leaves else 0.0)
        # The first value after none is its own pivot: alone it varies by nothing, which asks for the whole.
        ax, ay = v - zx if enters else 0.0, w - zy if enters else 0.0
        bx, by = old_v - zx if leaves else 0.0, old_w - zy if leaves else 0.0
        left = c > 0.0
        sx = sx + (ax - bx) if left else 0.0
        sy = sy + (ay - by) if left else 0.0
        xx = xx + (ax * ax - bx * bx) if left else 0.0
        yy = yy + (ay * ay - by * by) if left else 0.0
        xy = xy + (ax * ay - bx * by) if left else 0.0
        top_x, top_y = max(top_x, c * xx), max(top_y, c * yy)
        cancelled += 1 if _gone(c, sx, xx, top_x) | _gone(c, sy, yy, top_y) else 0
        count[i] = c
        sum_x[i] = sx
        sum_y[i] = sy
        sum_xx[i] = xx
        sum_yy[i] = yy
        sum_xy[i] = xy
        peak_x[i] = top_x
        peak_y[i] = top_y
        r = _correlation(c, zx, zy, sx, sy, xx, yy, xy, flat)
        corr[i] = r if c >= least else np.nan
    return cancelled


@part
def _let_in(
    v: float,
    w: float,
    c: float,
    zx: float,
    zy: float,
    sx: float,
    sy: float,
    xx: float,
    yy: float,
    xy: float,
) -> tuple[float, float, float, float, float, float, float, float]:
    """The sums of a window with one bar more."""
    enters = v * 0.0 + w * 0.0 == 0.0
    first = enters & (c == 0.0)
    zx, zy = v if first else zx, w if first else zy
    dx, dy = v - zx if enters else 0.0, w - zy if enters else 0.0
    c += 1.0 if enters else 0.0
    return c, zx, zy, sx + dx, sy + dy, xx + dx * dx, yy + dy * dy, xy + dx * dy


@rows
def _let_in_1(
    x: Any,
    y: Any,
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    sum_x: Any,
    sum_y: Any,
    sum_xx: Any,
    sum_yy: Any,
    sum_xy: Any,
    n: int,
) -> None:
    for i in range(n):
        c, zx, zy, sx, sy = count[i], pivot_x[i], pivot_y[i], sum_x[i], sum_y[i]
        xx, yy, xy = sum_xx[i], sum_yy[i], sum_xy[i]
        c, zx, zy, sx, sy, xx, yy, xy = _let_in(x[i], y[i], c, zx, zy, sx, sy, xx, yy, xy)
        count[i] = c
        pivot_x[i] = zx
        pivot_y[i] = zy
        sum_x[i] = sx
        sum_y[i] = sy
        sum_xx[i] = xx
        sum_yy[i] = yy
        sum_xy[i] = xy


@rows
def _let_in_4(
    x0: Any,
    x1: Any,
    x2: Any,
    x3: Any,
    y0: Any,
    y1: Any,
    y2: Any,
    y3: Any,
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    sum_x: Any,
    sum_y: Any,
    sum_xx: Any,
    sum_yy: Any,
    sum_xy: Any,
    n: int,
) -> None:
    """Four bars at once: most of the time goes to the state's rows."""
    for i in range(n):
        c, zx, zy, sx, sy = count[i], pivot_x[i], pivot_y[i], sum_x[i], sum_y[i]
        xx, yy, xy = sum_xx[i], sum_yy[i], sum_xy[i]
        c, zx, zy, sx, sy, xx, yy, xy = _let_in(x0[i], y0[i], c, zx, zy, sx, sy, xx, yy, xy)
        c, zx, zy, sx, sy, xx, yy, xy = _let_in(x1[i], y1[i], c, zx, zy, sx, sy, xx, yy, xy)
        c, zx, zy, sx, sy, xx, yy, xy = _let_in(x2[i], y2[i], c, zx, zy, sx, sy, xx, yy, xy)
        c, zx, zy, sx, sy, xx, yy, xy = _let_in(x3[i], y3[i], c, zx, zy, sx, sy, xx, yy, xy)
        count[i] = c
        pivot_x[i] = zx
        pivot_y[i] = zy
        sum_x[i] = sx
        sum_y[i] = sy
        sum_xx[i] = xx
        sum_yy[i] = yy
        sum_xy[i] = xy


@rows
def _settle_pair(
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    sum_x: Any,
    sum_y: Any,
    sum_xx: Any,
    sum_yy: Any,
    sum_xy: Any,
    peak_x: Any,
    peak_y: Any,
    corr: Any,
    n: int,
    least: float,
    flat: float,
) -> None:
    for i in range(n):
        c, sx, sy, xx, yy = count[i], sum_x[i], sum_y[i], sum_xx[i], sum_yy[i]
        peak_x[i] = c * xx
        peak_y[i] = c * yy
        r = _correlation(c, pivot_x[i], pivot_y[i], sx, sy, xx, yy, sum_xy[i], flat)
        corr[i] = r if c >= least else np.nan


@part
def _pair_anew(state: Any, stride: int, p: Any, k: int, g: int, n: int, corr: Any, flat: float) -> None:
    """The window of series k and k + 1, the last ones, as a whole, oldest bar first.

    Measured from its first bar, of which the deviation from the mean is part of the result: what cancels is
    at most as many times the result as there are bars.
    """
    s = k + 2
    window = p[2 * s + 2]
    count = own(state, stride, p, s, _COUNT)
    pivot_x, pivot_y = own(state, stride, p, s, _PIVOT_X), own(state, stride, p, s, _PIVOT_Y)
    sx, sy = own(state, stride, p, s, _X), own(state, stride, p, s, _Y)
    xx, yy, xy = own(state, stride, p, s, _XX), own(state, stride, p, s, _YY), own(state, stride, p, s, _XY)
    for row in range(_PAIR_ROWS - 2):
        _zero(own(state, stride, p, s, row), n)
    lag = window - 1
    while lag >= 3:
        _let_in_4(
            back(state, stride, p, k, g, lag),
            back(state, stride, p, k, g, lag - 1),
            back(state, stride, p, k, g, lag - 2),
            back(state, stride, p, k, g, lag - 3),
            back(state, stride, p, k + 1, g, lag),
            back(state, stride, p, k + 1, g, lag - 1),
            back(state, stride, p, k + 1, g, lag - 2),
            back(state, stride, p, k + 1, g, lag - 3),
            count,
            pivot_x,
            pivot_y,
            sx,
            sy,
            xx,
            yy,
            xy,
            n,
        )
        lag -= 4
    while lag >= 0:
        x, y = back(state, stride, p, k, g, lag), back(state, stride, p, k + 1, g, lag)
        _let_in_1(x, y, count, pivot_x, pivot_y, sx, sy, xx, yy, xy, n)
        lag -= 1
    peak_x, peak_y = own(state, stride, p, s, _PEAK_X), own(state, stride, p, s, _PEAK_Y)
    least = max(float(p[2 * s + 3]), 2.0)
    _settle_pair(count, pivot_x, pivot_y, sx, sy, xx, yy, xy, peak_x, peak_y, corr, n, least, flat)


@part
def _symbol_anew(state: Any, stride: int, p: Any, k: int, g: int, corr: Any, flat: float) -> None:
    """`_pair_anew` of one symbol, its sums in registers: windows over ranks ask for it often."""
    s = k + 2
    window, least = p[2 * s + 2], max(float(p[2 * s + 3]), 2.0)
    c, zx, zy, sx, sy, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for lag in range(window - 1, -1, -1):
        v, w = back(state, stride, p, k, g, lag)[0], back(state, stride, p, k + 1, g, lag)[0]
        c, zx, zy, sx, sy, xx, yy, xy = _let_in(v, w, c, zx, zy, sx, sy, xx, yy, xy)
    own(state, stride, p, s, _COUNT)[0] = c
    own(state, stride, p, s, _PIVOT_X)[0] = zx
    own(state, stride, p, s, _PIVOT_Y)[0] = zy
    own(state, stride, p, s, _X)[0] = sx
    own(state, stride, p, s, _Y)[0] = sy
    own(state, stride, p, s, _XX)[0] = xx
    own(state, stride, p, s, _YY)[0] = yy
    own(state, stride, p, s, _XY)[0] = xy
    own(state, stride, p, s, _PEAK_X)[0] = c * xx
    own(state, stride, p, s, _PEAK_Y)[0] = c * yy
    corr[0] = _correlation(c, zx, zy, sx, sy, xx, yy, xy, flat) if c >= least else np.nan


@part
def _pair(state: Any, stride: int, p: Any, k: int, g: int, n: int, flat: float) -> None:
    """Bring the own rows to bar g; output 0 becomes the correlation. The inputs are series k and k + 1."""
    s = k + 2
    window = p[2 * s + 2]
    corr = now(state, stride, p, 0, g)
    if (g + p[2 * s + 1]) % window == 0:
        _pair_anew(state, stride, p, k, g, n, corr, flat)
        return
    count = own(state, stride, p, s, _COUNT)
    sx, sy = own(state, stride, p, s, _X), own(state, stride, p, s, _Y)
    xx, yy = own(state, stride, p, s, _XX), own(state, stride, p, s, _YY)
    peak_x, peak_y = own(state, stride, p, s, _PEAK_X), own(state, stride, p, s, _PEAK_Y)
    cancelled = _slide_pair(
        now(state, stride, p, k, g),
        now(state, stride, p, k + 1, g),
        back(state, stride, p, k, g, window),
        back(state, stride, p, k + 1, g, window),
        count,
        own(state, stride, p, s, _PIVOT_X),
        own(state, stride, p, s, _PIVOT_Y),
        sx,
        sy,
        xx,
        yy,
        own(state, stride, p, s, _XY),
        peak_x,
        peak_y,
        corr,
        n,
        max(float(p[2 * s + 3]), 2.0),
        flat,
    )
    if cancelled:
        for i in range(n):
            if _gone(count[i], sx[i], xx[i], peak_x[i]) or _gone(count[i], sy[i], yy[i], peak_y[i]):
                _symbol_anew(at(state, i), stride, p, k, g, at(corr, i), flat)


@kernel
def correlation(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_correlation: Pearson's correlation of x and y over the last `window` bars.

    in      x, y
    state   10 rows: number of bars, a value nearby of x and of y, sums of the distances from there, of their
            squares and products, peaks of the two squared ones
    out     within [-1, 1]: NaN below `min_periods` bars that have both, and below 2; where the standard
            deviation of x or y is 1e-15 of its mean or less: 0 if `zero` is 1, else NaN
    refresh exact every `window` bars, and for a symbol at once when a squared deviation collapses
    source  pandas Series.rolling(window, min_periods).corr(); sums measured from the first value
    """
    _pair(state, stride, p, 1, g, n, 0.0 if p[10] else np.nan)


@rows
def _covary(count: Any, sum_x: Any, sum_y: Any, sum_xy: Any, cov: Any, n: int, least: float) -> None:
    for i in range(n):
        c, q = count[i], count[i] * sum_xy[i] - sum_x[i] * sum_y[i]
        cov[i] = q / (c * (c - 1.0)) if c >= least else np.nan


@kernel
def covariance(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_covariance: covariance (ddof 1) of x and y over the last `window` bars.

    in      x, y
    state   10 rows, as of ts_correlation
    out     NaN below `min_periods` bars that have both, and below 2
    refresh exact every `window` bars, and for a symbol at once when a squared deviation collapses
    source  pandas Series.rolling(window, min_periods).cov(); sums measured from the first value
    """
    _pair(state, stride, p, 1, g, n, np.nan)
    _covary(
        own(state, stride, p, 3, _COUNT),
        own(state, stride, p, 3, _X),
        own(state, stride, p, 3, _Y),
        own(state, stride, p, 3, _XY),
        now(state, stride, p, 0, g),
        n,
        max(float(p[9]), 2.0),
    )


@rows
def _fit(
    x: Any,
    y: Any,
    count: Any,
    pivot_x: Any,
    pivot_y: Any,
    sum_x: Any,
    sum_y: Any,
    sum_xx: Any,
    sum_yy: Any,
    sum_xy: Any,
    beta: Any,
    alpha: Any,
    rsquare: Any,
    residual: Any,
    n: int,
    least: float,
) -> None:
    for i in range(n):
        c, zx, zy, sx, sy = count[i], pivot_x[i], pivot_y[i], sum_x[i], sum_y[i]
        qx, qy, qxy = c * sum_xx[i] - sx * sx, c * sum_yy[i] - sy * sy, c * sum_xy[i] - sx * sy
        ex, ey = sx / c, sy / c
        mx, my = zx + ex, zy + ey
        known = (c >= least) & (qx > (c * c) * (_ROUNDING * (mx * mx)))
        varies = qy > (c * c) * (_ROUNDING * (my * my))
        b = qxy / qx if known else np.nan
        r = (qxy / qx) * (qxy / qy)
        e = ((y[i] - zy) - ey) - b * ((x[i] - zx) - ex)
        beta[i] = b
        alpha[i] = my - b * mx
        rsquare[i] = min(r, 1.0) if known & varies else np.nan
        residual[i] = e if e - e == 0.0 else np.nan


@kernel
def regression(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_regression: the straight line y = alpha + beta x of least squares over the last `window` bars.

    in      x, y
    state   10 rows, as of ts_correlation
    out     beta, alpha, rsquare, residual (of the present bar): NaN below `min_periods` bars that have both,
            below 2, and where the standard deviation of x is 1e-15 of its mean or less; rsquare: of y as
            well; residual: NaN where the present x or y is missing
    refresh exact every `window` bars, and for a symbol at once when a squared deviation collapses
    source  scipy.stats.linregress on each window; sums measured from the first value
    """
    _pair(state, stride, p, 4, g, n, np.nan)
    _fit(
        now(state, stride, p, 4, g),
        now(state, stride, p, 5, g),
        own(state, stride, p, 6, _COUNT),
        own(state, stride, p, 6, _PIVOT_X),
        own(state, stride, p, 6, _PIVOT_Y),
        own(state, stride, p, 6, _X),
        own(state, stride, p, 6, _Y),
        own(state, stride, p, 6, _XX),
        own(state, stride, p, 6, _YY),
        own(state, stride, p, 6, _XY),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        now(state, stride, p, 3, g),
        n,
        max(float(p[15]), 2.0),
    )


@part
def _further(
    v: float, w: float, zx: float, zy: float, sx: float, sy: float, xx: float, yy: float, xy: float
) -> tuple[float, float, float, float, float]:
    """The sums of a window that misses nothing with one bar more."""
    dx, dy = v - zx, w - zy
    return sx + dx, sy + dy, xx + dx * dx, yy + dy * dy, xy + dx * dy


@part
def _whole_correlation(
    c: float, zx: float, zy: float, sx: float, sy: float, xx: float, yy: float, xy: float, flat: float
) -> float:
    """Of c bars that were taken as they are: a missing one made one of the sums NaN or infinite."""
    r = _correlation(c, zx, zy, sx, sy, xx, yy, xy, flat)
    return r if (xx + yy) * 0.0 == 0.0 else np.nan


@rows
def _correlate_4(
    x0: Any,
    x1: Any,
    x2: Any,
    x3: Any,
    y0: Any,
    y1: Any,
    y2: Any,
    y3: Any,
    out: Any,
    n: int,
    c: float,
    flat: float,
) -> None:
    for i in range(n):
        zx, zy = x0[i], y0[i]
        s, t, xx, yy, xy = _further(x1[i], y1[i], zx, zy, 0.0, 0.0, 0.0, 0.0, 0.0)
        s, t, xx, yy, xy = _further(x2[i], y2[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x3[i], y3[i], zx, zy, s, t, xx, yy, xy)
        out[i] = _whole_correlation(c, zx, zy, s, t, xx, yy, xy, flat)


@rows
def _correlate_6(
    x0: Any,
    x1: Any,
    x2: Any,
    x3: Any,
    x4: Any,
    x5: Any,
    y0: Any,
    y1: Any,
    y2: Any,
    y3: Any,
    y4: Any,
    y5: Any,
    out: Any,
    n: int,
    c: float,
    flat: float,
) -> None:
    for i in range(n):
        zx, zy = x0[i], y0[i]
        s, t, xx, yy, xy = _further(x1[i], y1[i], zx, zy, 0.0, 0.0, 0.0, 0.0, 0.0)
        s, t, xx, yy, xy = _further(x2[i], y2[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x3[i], y3[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x4[i], y4[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x5[i], y5[i], zx, zy, s, t, xx, yy, xy)
        out[i] = _whole_correlation(c, zx, zy, s, t, xx, yy, xy, flat)


@rows
def _correlate_8(
    x0: Any,
    x1: Any,
    x2: Any,
    x3: Any,
    x4: Any,
    x5: Any,
    x6: Any,
    x7: Any,
    y0: Any,
    y1: Any,
    y2: Any,
    y3: Any,
    y4: Any,
    y5: Any,
    y6: Any,
    y7: Any,
    out: Any,
    n: int,
    c: float,
    flat: float,
) -> None:
    for i in range(n):
        zx, zy = x0[i], y0[i]
        s, t, xx, yy, xy = _further(x1[i], y1[i], zx, zy, 0.0, 0.0, 0.0, 0.0, 0.0)
        s, t, xx, yy, xy = _further(x2[i], y2[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x3[i], y3[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x4[i], y4[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x5[i], y5[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x6[i], y6[i], zx, zy, s, t, xx, yy, xy)
        s, t, xx, yy, xy = _further(x7[i], y7[i], zx, zy, s, t, xx, yy, xy)
        out[i] = _whole_correlation(c, zx, zy, s, t, xx, yy, xy, flat)


@kernel
def short_correlation(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_short_correlation: ts_correlation of a window of 8 bars or less, all of them needed.

    in      x, y
    state   none: so short a window costs less anew than updated, and a window over ranks that stand still
            would ask for its recomputation every few bars
    out     as of ts_correlation, with `min_periods` = `window`
    source  pandas Series.rolling(window).corr(); sums measured from the oldest bar
    """
    # Lags beyond the window become the oldest bar, whose distance from itself is 0.
    window, oldest = p[8], p[8] - 1
    out, c, flat = now(state, stride, p, 0, g), float(window), 0.0 if p[9] else np.nan
    if window <= 4:
        _correlate_4(
            back(state, stride, p, 1, g, oldest),
            back(state, stride, p, 1, g, min(2, oldest)),
            back(state, stride, p, 1, g, min(1, oldest)),
            back(state, stride, p, 1, g, 0),
            back(state, stride, p, 2, g, oldest),
            back(state, stride, p, 2, g, min(2, oldest)),
            back(state, stride, p, 2, g, min(1, oldest)),
            back(state, stride, p, 2, g, 0),
            out,
            n,
            c,
            flat,
        )
    elif window <= 6:
        _correlate_6(
            back(state, stride, p, 1, g, oldest),
            back(state, stride, p, 1, g, min(4, oldest)),
            back(state, stride, p, 1, g, min(3, oldest)),
            back(state, stride, p, 1, g, min(2, oldest)),
            back(state, stride, p, 1, g, min(1, oldest)),
            back(state, stride, p, 1, g, 0),
            back(state, stride, p, 2, g, oldest),
            back(state, stride, p, 2, g, min(4, oldest)),
            back(state, stride, p, 2, g, min(3, oldest)),
            back(state, stride, p, 2, g, min(2, oldest)),
            back(state, stride, p, 2, g, min(1, oldest)),
            back(state, stride, p, 2, g, 0),
            out,
            n,
            c,
            flat,
        )
    else:
        _correlate_8(
            back(state, stride, p, 1, g, oldest),
            back(state, stride, p, 1, g, min(6, oldest)),
            back(state, stride, p, 1, g, min(5, oldest)),
            back(state, stride, p, 1, g, min(4, oldest)),
            back(state, stride, p, 1, g, min(3, oldest)),
            back(state, stride, p, 1, g, min(2, oldest)),
            back(state, stride, p, 1, g, min(1, oldest)),
            back(state, stride, p, 1, g, 0),
            back(state, stride, p, 2, g, oldest),
            back(state, stride, p, 2, g, min(6, oldest)),
            back(state, stride, p, 2, g, min(5, oldest)),
            back(state, stride, p, 2, g, min(4, oldest)),
            back(state, stride, p, 2, g, min(3, oldest)),
            back(state, stride, p, 2, g, min(2, oldest)),
            back(state, stride, p, 2, g, min(1, oldest)),
            back(state, stride, p, 2, g, 0),
            out,
            n,
            c,
            flat,
        )


CORRELATION: Final = Operator(
    "ts_correlation",
    correlation,
    inputs=("x", "y"),
    parameters=("window", "min_periods", "zero"),
    rows=lambda window, min_periods, zero: (0.0,) * _PAIR_ROWS,
    history=lambda window, min_periods, zero: window,
    warm_up=lambda window, min_periods, zero: max(min_periods, 2) - 1,
    memory=lambda window, min_periods, zero: 2 * window,
)

SHORT_CORRELATION: Final = Operator(
    "ts_short_correlation",
    short_correlation,
    inputs=("x", "y"),
    parameters=("window", "zero"),
    history=lambda window, zero: window - 1,
    warm_up=lambda window, zero: window - 1,
)

COVARIANCE: Final = Operator(
    "ts_covariance",
    covariance,
    inputs=("x", "y"),
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
    varies = square > _ROUNDING * (mean * mean)
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
        cancelled += 1 if _gone(c, s, q, top) else 0
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
        _zero(own(state, stride, p, 7, row), n)
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
            if _gone(count[i], total[i], squares[i], peak[i]):
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


# ---- public ----------------------------------------------------------------------------------------------


def ts_cov(x: Number, y: Number, window: int, min_periods: int | None = None) -> Node:
    """Covariance (ddof 1) of x and y over the last `window` bars, in the product of their units.

    NaN below `min_periods` bars that have both (default: all of the window).
    """
    return COVARIANCE(x, y, parameters=_window(window, min_periods))[0]


def ts_corr(
    x: Number, y: Number, window: int, min_periods: int | None = None, *, flat_is_zero: bool = False
) -> Node:
    """Correlation (Pearson) of x and y over the last `window` bars, within [-1, 1].

    NaN below `min_periods` bars that have both (default: all of the window). Where x or y does not vary:
    0.0 if `flat_is_zero`, else NaN.
    """
    window, least = _window(window, min_periods)
    if least == window <= _SHORT:
        return SHORT_CORRELATION(x, y, parameters=(window, int(flat_is_zero)))[0]
    return CORRELATION(x, y, parameters=(window, least, int(flat_is_zero)))[0]


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


def ts_trend_mean(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Mean of the last `window` bars of x, from the same pass as `ts_slope`; NaN where that is.

    As `rolling.ts_mean` but for rounding, and cheaper where a plan has the line on time of the same window.
    """
    return TREND(x, parameters=_window(window, min_periods))[4]


def ts_trend_var(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Variance (ddof 1) of the last `window` bars of x, from the same pass as `ts_slope`; NaN where that is.

    As `rolling.ts_var` but for rounding, and cheaper where a plan has the line on time of the same window.
    """
    return TREND(x, parameters=_window(window, min_periods))[5]


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
