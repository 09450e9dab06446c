"""The correlation of two series over a window of a few bars, computed anew at every bar."""

from typing import Any, Final

import numpy as np

from kernels.abi import back, kernel, now, part, rows
from kernels.deviations import correlation_of
from kernels.node import Operator

__all__ = ["LONGEST", "SHORT_CORRELATION"]

LONGEST: Final = 8
"""Windows up to here are computed anew at every bar."""


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
    r = correlation_of(c, zx, zy, sx, sy, xx, yy, xy, flat)
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


SHORT_CORRELATION: Final = Operator(
    "ts_short_correlation",
    short_correlation,
    inputs=("x", "y"),
    parameters=("window", "zero"),
    history=lambda window, zero: window - 1,
    warm_up=lambda window, zero: window - 1,
)
