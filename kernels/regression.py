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
                _pair_anew(at(state, i), stride, p, k, g, 1, at(corr, i), flat)


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
