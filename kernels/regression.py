"""Two series through a moving window: covariance, correlation, and the straight line of one on the other.

Sums, refresh and what counts as constant: see `deviations`. NaN and +-inf count as missing; a bar counts only
where both series are there. A window with fewer than `min_periods` such bars gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels import short_correlation
from kernels.abi import at, back, kernel, now, own, part, rows
from kernels.deviations import ROUNDING, correlation_of, gone, window_and_least, zero
from kernels.node import Node, Number, Operator

__all__ = [
    "CORRELATION",
    "COVARIANCE",
    "REGRESSION",
    "ts_alpha",
    "ts_beta",
    "ts_beta_residual",
    "ts_beta_rsquare",
    "ts_corr",
    "ts_cov",
]

# Own rows: number of bars, a value nearby of each series, the sums of the distances from there, of their
# squares and products, and the peaks of the two squared ones. No means: n bars' sum of squared deviations,
# times n, is n * (sum of squares) - (sum)**2, and none of the outcomes needs it without the n.
_COUNT, _PIVOT_X, _PIVOT_Y, _X, _Y, _XX, _YY, _XY, _PEAK_X, _PEAK_Y = range(10)
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
        cancelled += 1 if gone(c, sx, xx, top_x) | gone(c, sy, yy, top_y) else 0
        count[i] = c
        sum_x[i] = sx
        sum_y[i] = sy
        sum_xx[i] = xx
        sum_yy[i] = yy
        sum_xy[i] = xy
        peak_x[i] = top_x
        peak_y[i] = top_y
        r = correlation_of(c, zx, zy, sx, sy, xx, yy, xy, flat)
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
        r = correlation_of(c, pivot_x[i], pivot_y[i], sx, sy, xx, yy, sum_xy[i], flat)
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
        zero(own(state, stride, p, s, row), n)
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
    corr[0] = correlation_of(c, zx, zy, sx, sy, xx, yy, xy, flat) if c >= least else np.nan


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
            if gone(count[i], sx[i], xx[i], peak_x[i]) or gone(count[i], sy[i], yy[i], peak_y[i]):
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
        known = (c >= least) & (qx > (c * c) * (ROUNDING * (mx * mx)))
        varies = qy > (c * c) * (ROUNDING * (my * my))
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


def ts_cov(x: Number, y: Number, window: int, min_periods: int | None = None) -> Node:
    """Covariance (ddof 1) of x and y over the last `window` bars, in the product of their units.

    NaN below `min_periods` bars that have both (default: all of the window).
    """
    return COVARIANCE(x, y, parameters=window_and_least(window, min_periods))[0]


def ts_corr(
    x: Number, y: Number, window: int, min_periods: int | None = None, *, flat_is_zero: bool = False
) -> Node:
    """Correlation (Pearson) of x and y over the last `window` bars, within [-1, 1].

    NaN below `min_periods` bars that have both (default: all of the window). Where x or y does not vary:
    0.0 if `flat_is_zero`, else NaN.
    """
    window, least = window_and_least(window, min_periods)
    if least == window <= short_correlation.LONGEST:
        return short_correlation.SHORT_CORRELATION(x, y, parameters=(window, int(flat_is_zero)))[0]
    return CORRELATION(x, y, parameters=(window, least, int(flat_is_zero)))[0]


def ts_beta(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """Slope of y on x over the last `window` bars, in units of y per unit of x.

    NaN below `min_periods` bars that have both (default: all of the window), and where x does not vary.
    """
    return REGRESSION(x, y, parameters=window_and_least(window, min_periods))[0]


def ts_alpha(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """Intercept of y on x over the last `window` bars, in units of y; NaN where `ts_beta` is."""
    return REGRESSION(x, y, parameters=window_and_least(window, min_periods))[1]


def ts_beta_rsquare(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """Part of y's variance that x explains over the last `window` bars, 0 to 1.

    NaN where `ts_beta` is, and where y does not vary.
    """
    return REGRESSION(x, y, parameters=window_and_least(window, min_periods))[2]


def ts_beta_residual(y: Number, x: Number, window: int, min_periods: int | None = None) -> Node:
    """The present y less its value on the line of y on x over the last `window` bars, in units of y.

    NaN where `ts_beta` is, and where the present x or y is missing.
    """
    return REGRESSION(x, y, parameters=window_and_least(window, min_periods))[3]
