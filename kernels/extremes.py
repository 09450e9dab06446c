"""Highest and lowest value of a moving window, and where it stands, at a cost that does not grow with it.

Time is cut into blocks of `window` bars, at a phase of the expression's own. A window is then the end of the
last block and the beginning of this one: the highest of the beginning is kept as it grows, the highest of
every end of a block is computed once, when the block is over (van Herk 1992, Gil and Werman 1993). Nothing is
rounded, so nothing is to be refreshed.

NaN and +-inf count as missing. A window with fewer than `min_periods` values gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import back, kernel, now, own, part, rows
from kernels.node import Node, Number, Operator

__all__ = ["HIGHEST", "LOWEST", "ts_argmax", "ts_argmin", "ts_max", "ts_min", "ts_range_position"]

# Own rows: the ends of the last block that begin at positions 1 to `window` (the last one is empty) lie
# behind these, first their tops, then where those stand.
_COUNT, _TOP, _PLACE, _ENDS = range(4)


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
def _extreme(state: Any, stride: int, p: Any, g: int, n: int, sign: float) -> None:
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


@kernel
def highest(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_highest: the highest value of the last `window` bars, and where it stands.

    in      x
    state   3 rows: number of values, the highest of this block so far, its place in the block; `window` rows
            each for the highest of every end of the last block and its place
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
    return (0.0, -np.inf, 0.0) + (-np.inf,) * window + (0.0,) * window


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
