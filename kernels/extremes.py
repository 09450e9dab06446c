"""Highest and lowest value of a moving window, and where it stands.

From 21 to 64 bars the extreme and its place are all that is kept. A bar that exceeds it takes its place; when
it leaves the window, the window is searched, which for prices is one bar in 1.8 * sqrt(window): for the
symbols whose extreme has left, or for all at once where these are many. 3 rows, and no bar is dearer than a
search.

For other windows the cost does not grow with the window: time is cut into blocks of `window` bars, at a phase
of the expression's own. A window is then the end of the last block and the beginning of this one: the highest
of the beginning is kept as it grows, the highest of every end of a block is computed once, when the block is
over (van Herk 1992, Gil and Werman 1993).

Nothing is rounded, so nothing is to be refreshed, and both ways give the same bits.

NaN and +-inf count as missing. A window with fewer than `min_periods` values gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import at, back, kernel, now, own, part, rows
from kernels.node import Node, Number, Operator

__all__ = ["HIGHEST", "LOWEST", "ts_argmax", "ts_argmin", "ts_max", "ts_min", "ts_range_position"]

_SHORT: Final = 20
"""Up to here the ends of a block are few rows, and for many symbols cheaper than a search: 2 against 5 us."""
_SEARCHED: Final = 64
"""The longest window that is searched when its extreme leaves: 3 rows instead of 2 * window + 3 to copy in a
peek and to keep in the cache."""

# Own rows. For other windows, the ends of the last block that begin at positions 1 to `window` (the last one
# is empty) lie behind these, first their tops, then where those stand.
_COUNT, _TOP, _PLACE, _ENDS = range(4)


# ---- windows that are searched ---------------------------------------------------------------------------


@rows
def _step(
    x: Any,
    old: Any,
    count: Any,
    top: Any,
    place: Any,
    out: Any,
    where: Any,
    n: int,
    sign: float,
    newest: bool,
    window: float,
    least: float,
) -> int:
    """Let x in and old out; how many symbols have lost their highest."""
    lost = 0
    for i in range(n):
        v, w, c, t, k = x[i], old[i], count[i], top[i], place[i]
        enters = v - v == 0.0
        c += (1.0 if enters else 0.0) - (1.0 if w - w == 0.0 else 0.0)
        v = sign * v if enters else -np.inf
        higher = (v >= t) if newest else (v > t)
        t = v if higher else t
        k = window if higher else max(k - 1.0, 0.0)
        k = k if t > -np.inf else 0.0
        lost += 1 if k == 0.0 and t > -np.inf else 0
        count[i] = c
        top[i] = t
        place[i] = k
        out[i] = sign * t if c >= least else np.nan
        where[i] = k if c >= least else np.nan
    return lost


@rows
def _nothing(top: Any, place: Any, n: int) -> None:
    for i in range(n):
        top[i] = -np.inf
        place[i] = 0.0


@rows
def _look(x: Any, top: Any, place: Any, n: int, sign: float, newest: bool, position: float) -> None:
    for i in range(n):
        v, t, k = sign * x[i], top[i], place[i]
        v = v if v < np.inf else -np.inf  # NaN as well
        higher = (v >= t) if newest else (v > t)
        top[i] = v if higher else t
        place[i] = position if higher else k


@rows
def _look_4(
    x: Any,
    y: Any,
    z: Any,
    last: Any,
    top: Any,
    place: Any,
    n: int,
    sign: float,
    newest: bool,
    position: float,
) -> None:
    """As `_look`, four bars from `position` on."""
    for i in range(n):
        v0, v1, v2, v3 = sign * x[i], sign * y[i], sign * z[i], sign * last[i]
        t, k = top[i], place[i]
        v0 = v0 if v0 < np.inf else -np.inf
        v1 = v1 if v1 < np.inf else -np.inf
        v2 = v2 if v2 < np.inf else -np.inf
        v3 = v3 if v3 < np.inf else -np.inf
        higher = (v0 >= t) if newest else (v0 > t)
        t = v0 if higher else t
        k = position if higher else k
        higher = (v1 >= t) if newest else (v1 > t)
        t = v1 if higher else t
        k = position + 1.0 if higher else k
        higher = (v2 >= t) if newest else (v2 > t)
        t = v2 if higher else t
        k = position + 2.0 if higher else k
        higher = (v3 >= t) if newest else (v3 > t)
        t = v3 if higher else t
        k = position + 3.0 if higher else k
        top[i] = t
        place[i] = k


@rows
def _publish(
    count: Any, top: Any, place: Any, out: Any, where: Any, n: int, sign: float, least: float
) -> None:
    for i in range(n):
        c, t, k = count[i], top[i], place[i]
        k = k if t > -np.inf else 0.0
        place[i] = k
        out[i] = sign * t if c >= least else np.nan
        where[i] = k if c >= least else np.nan


@part
def _search(state: Any, stride: int, p: Any, g: int, n: int, sign: float) -> None:
    """The highest of the window and its place, anew, for all symbols."""
    window, newest = p[8], p[10] != 0
    top, place = own(state, stride, p, 3, _TOP), own(state, stride, p, 3, _PLACE)
    _nothing(top, place, n)
    lag = window - 1
    while lag >= 3:
        x, y = back(state, stride, p, 2, g, lag), back(state, stride, p, 2, g, lag - 1)
        z, last = back(state, stride, p, 2, g, lag - 2), back(state, stride, p, 2, g, lag - 3)
        _look_4(x, y, z, last, top, place, n, sign, newest, float(window - lag))
        lag -= 4
    while lag >= 0:
        _look(back(state, stride, p, 2, g, lag), top, place, n, sign, newest, float(window - lag))
        lag -= 1


@part
def _greater(x: float, y: float) -> float:
    """The greater one of x, if that is no NaN nor inf, and y."""
    x = x if x < np.inf else -np.inf
    return x if x > y else y


@part
def _search_one(state: Any, stride: int, p: Any, g: int, sign: float) -> None:
    """As `_search` for one symbol: first the highest, by four at once, then where it stands."""
    window, newest = p[8], p[10] != 0
    a = b = c = d = -np.inf
    lag = window - 1
    while lag >= 3:
        a = _greater(sign * back(state, stride, p, 2, g, lag)[0], a)
        b = _greater(sign * back(state, stride, p, 2, g, lag - 1)[0], b)
        c = _greater(sign * back(state, stride, p, 2, g, lag - 2)[0], c)
        d = _greater(sign * back(state, stride, p, 2, g, lag - 3)[0], d)
        lag -= 4
    while lag >= 0:
        a = _greater(sign * back(state, stride, p, 2, g, lag)[0], a)
        lag -= 1
    t = _greater(_greater(a, b), _greater(c, d))
    own(state, stride, p, 3, _TOP)[0] = t
    own(state, stride, p, 3, _PLACE)[0] = 0.0
    if t == -np.inf:
        return
    lag, step = (0, 1) if newest else (window - 1, -1)
    v = sign * back(state, stride, p, 2, g, lag)[0]
    while v != t:
        lag += step
        v = sign * back(state, stride, p, 2, g, lag)[0]
    own(state, stride, p, 3, _TOP)[0] = v  # of 0.0 and -0.0 the one that stands there
    own(state, stride, p, 3, _PLACE)[0] = float(window - lag)


@part
def _searched(state: Any, stride: int, p: Any, g: int, n: int, sign: float) -> None:
    window, least, newest = p[8], float(p[9]), p[10] != 0
    count = own(state, stride, p, 3, _COUNT)
    top, place = own(state, stride, p, 3, _TOP), own(state, stride, p, 3, _PLACE)
    x, old = now(state, stride, p, 2, g), back(state, stride, p, 2, g, window)
    out, where = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    lost = _step(x, old, count, top, place, out, where, n, sign, newest, float(window), least)
    if lost == 0:
        return
    # One alone costs 70 ns at 30 bars, mostly branches taken for the other one; all together cost by the bar.
    if n >= 8 and lost * (400 + 2 * window) > n * window:
        _search(state, stride, p, g, n, sign)
    else:
        for i in range(n):
            if place[i] == 0.0 and top[i] > -np.inf:
                _search_one(at(state, i), stride, p, g, sign)
    _publish(count, top, place, out, where, n, sign, least)


# ---- longer windows --------------------------------------------------------------------------------------


@rows
def _merge(
    x: Any,
    old: Any,
    count: Any,
    top: Any,
    place: Any,
    end_top: Any,
    end_place: Any,
    out: Any,
    where: Any,
    n: int,
    sign: float,
    newest: bool,
    position: float,
    window: float,
    least: float,
) -> None:
    """Let x into the beginning of the block; the higher one of beginning and end."""
    begins = position == 0.0
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        c = count[i] + ((1.0 if enters else 0.0) - (1.0 if old[i] - old[i] == 0.0 else 0.0))
        v = sign * x[i] if enters else -np.inf
        t = -np.inf if begins else top[i]
        higher = (v >= t) if newest else (v > t)
        t = v if higher else t
        k = position if higher else place[i]
        count[i] = c
        top[i] = t
        place[i] = k
        end = end_top[i]
        later = (t >= end) if newest else (t > end)
        out[i] = sign * (t if later else end) if c >= least else np.nan
        where[i] = ((k + window if later else end_place[i]) - position) if c >= least else np.nan


@rows
def _grow(
    x: Any, top: Any, place: Any, out: Any, where: Any, n: int, sign: float, newest: bool, position: float
) -> None:
    """An end of the block that is longer by x, which is older than all of it."""
    for i in range(n):
        v = sign * x[i] if x[i] - x[i] == 0.0 else -np.inf
        higher = (v > top[i]) if newest else (v >= top[i])
        out[i] = v if higher else top[i]
        where[i] = position if higher else place[i]


@part
def _by_blocks(state: Any, stride: int, p: Any, g: int, n: int, sign: float) -> None:
    window, least, newest = p[8], float(p[9]), p[10] != 0
    position = (g + p[7]) % window
    top, place = own(state, stride, p, 3, _TOP), own(state, stride, p, 3, _PLACE)
    _merge(
        now(state, stride, p, 2, g),
        back(state, stride, p, 2, g, window),
        own(state, stride, p, 3, _COUNT),
        top,
        place,
        own(state, stride, p, 3, _ENDS + position),
        own(state, stride, p, 3, _ENDS + window + position),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        n,
        sign,
        newest,
        float(position),
        float(window),
        least,
    )
    if position == window - 1:
        for k in range(window - 1, 0, -1):
            _grow(
                back(state, stride, p, 2, g, window - 1 - k),
                own(state, stride, p, 3, _ENDS + k),
                own(state, stride, p, 3, _ENDS + window + k),
                own(state, stride, p, 3, _ENDS + k - 1),
                own(state, stride, p, 3, _ENDS + window + k - 1),
                n,
                sign,
                newest,
                float(k),
            )


# ---- operators -------------------------------------------------------------------------------------------


@part
def _extreme(state: Any, stride: int, p: Any, g: int, n: int, sign: float) -> None:
    if _SHORT < p[8] <= _SEARCHED:
        _searched(state, stride, p, g, n, sign)
    else:
        _by_blocks(state, stride, p, g, n, sign)


@kernel
def highest(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_highest: the highest value of the last `window` bars, and where it stands.

    in      x
    state   3 rows: number of values, the highest and its place. Above 64 bars: of this block so far, and
            `window` rows each for the highest of every end of the last block and its place
    out     max, argmax (1.0 the oldest bar of the window ... `window` the newest; missing bars have a place):
            NaN below `min_periods` values; NaN and inf are missing
    refresh not needed: nothing is rounded
    tie     the oldest of equals, as np.argmax; with `newest` the newest
    source  pandas Series.rolling(window, min_periods).max(); van Herk (1992), Gil and Werman (1993)
    """
    _extreme(state, stride, p, g, n, 1.0)


@kernel
def lowest(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_lowest: the lowest value of the last `window` bars, and where it stands.

    in      x
    state   as of ts_highest, of -x
    out     min, argmin (1.0 the oldest bar of the window ... `window` the newest; missing bars have a place):
            NaN below `min_periods` values; NaN and inf are missing
    refresh not needed: nothing is rounded
    tie     the oldest of equals, as np.argmin; with `newest` the newest
    source  pandas Series.rolling(window, min_periods).min(); van Herk (1992), Gil and Werman (1993)
    """
    _extreme(state, stride, p, g, n, -1.0)


def _rows(window: int, min_periods: int, newest: int) -> tuple[float, ...]:
    ends = 0 if _SHORT < window <= _SEARCHED else window
    return (0.0, -np.inf, 0.0) + (-np.inf,) * ends + (0.0,) * ends


HIGHEST: Final = Operator(
    "ts_highest",
    highest,
    inputs=("x",),
    outputs=("max", "argmax"),
    parameters=("window", "min_periods", "newest"),
    rows=_rows,
    history=lambda window, min_periods, newest: window,
    warm_up=lambda window, min_periods, newest: min_periods - 1,
    memory=lambda window, min_periods, newest: window - 1,
)

LOWEST: Final = Operator(
    "ts_lowest",
    lowest,
    inputs=("x",),
    outputs=("min", "argmin"),
    parameters=("window", "min_periods", "newest"),
    rows=_rows,
    history=lambda window, min_periods, newest: window,
    warm_up=lambda window, min_periods, newest: min_periods - 1,
    memory=lambda window, min_periods, newest: window - 1,
)


def ts_max(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Highest value of the last `window` bars of x; NaN below `min_periods` values (default: all of them)."""
    return HIGHEST(x, parameters=_window(window, min_periods, False))[0]


def ts_min(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Lowest value of the last `window` bars of x; NaN below `min_periods` values (default: all of them)."""
    return LOWEST(x, parameters=_window(window, min_periods, False))[0]


def ts_argmax(x: Number, window: int, min_periods: int | None = None, *, newest: bool = False) -> Node:
    """Place of the highest value in the last `window` bars of x: 1.0 the oldest bar ... `window` the newest.

    Of equals the oldest, as np.argmax; with `newest` the newest, as KunQuant. NaN below `min_periods` values
    (default: all of them); a missing bar has a place, but is never the highest.
    """
    return HIGHEST(x, parameters=_window(window, min_periods, newest))[1]


def ts_argmin(x: Number, window: int, min_periods: int | None = None, *, newest: bool = False) -> Node:
    """Place of the lowest value in the last `window` bars of x: 1.0 the oldest bar ... `window` the newest.

    Of equals the oldest, as np.argmin; with `newest` the newest, as KunQuant. NaN below `min_periods` values
    (default: all of them); a missing bar has a place, but is never the lowest.
    """
    return LOWEST(x, parameters=_window(window, min_periods, newest))[1]


def ts_range_position(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Where x stands between lowest and highest of its last `window` bars: 0.0 at the lowest, 1.0 at the
    highest; NaN where both are equal, where x is missing, and below `min_periods` values."""
    low = ts_min(x, window, min_periods)
    return (x - low) / (ts_max(x, window, min_periods) - low)


def _window(window: int, min_periods: int | None, newest: bool) -> tuple[int, int, int]:
    least = window if min_periods is None else min_periods
    whole = isinstance(window, int) and isinstance(least, int) and not isinstance(window, bool)
    if not whole or window < 1 or not 1 <= least <= window:
        raise ValueError(
            f"whole numbers 1 <= min_periods <= window are expected, found window {window!r}, "
            f"min_periods {least!r}"
        )
    return window, least, int(newest)
