"""What has been since the first bar, or since an event: sums, extremes, streaks, drawdowns.

NaN and +-inf count as missing and leave what is remembered as it was. As in pandas' `cumsum` and its like,
the result at a missing bar is NaN, except where the operator's text says that the last one stands.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import back, kernel, now, own, part, rows
from kernels.node import FOREVER, Node, Number, Operator

__all__ = [
    "BARS_SINCE",
    "CUM_COUNT",
    "CUM_MAX",
    "CUM_MIN",
    "CUM_PRODUCT",
    "CUM_SUM",
    "DRAWDOWN",
    "MAX_DRAWDOWN",
    "STREAK",
    "TS_FILL",
    "VALUE_WHEN",
    "bars_since",
    "cum_count",
    "cum_max",
    "cum_min",
    "cum_product",
    "cum_sum",
    "drawdown",
    "streak",
    "ts_fill",
    "ts_max_drawdown",
    "value_when",
]


@rows
def _cum_sum(x: Any, reset: Any, total: Any, rest: Any, out: Any, n: int) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        anew = reset[i] == reset[i] and reset[i] != 0.0
        s = 0.0 if anew else total[i]
        c = 0.0 if anew else rest[i]
        v = x[i] if there else 0.0
        t = s + v
        # What the addition lost, whichever of the two is the greater (Neumaier).
        lost = (s - t) + v if abs(s) >= abs(v) else (v - t) + s
        total[i] = t
        rest[i] = c + lost
        out[i] = t + (c + lost) if there else np.nan


@kernel
def cum_sum_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cum_sum: the sum of x since the first bar or the last one where `reset` was true, that bar included.

    in      x, reset (NaN: not true)
    state   2 rows: the sum, and what its additions lost
    out     NaN where x is missing; a reset counts there as well
    refresh none: Neumaier's compensation keeps the sum exact to its last digits
    source  pandas Series.cumsum()
    """
    x, reset = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    _cum_sum(
        x, reset, own(state, stride, p, 3, 0), own(state, stride, p, 3, 1), now(state, stride, p, 0, g), n
    )


CUM_SUM: Final = Operator(
    "cum_sum", cum_sum_kernel, ("x", "reset"), rows=lambda: (0.0, 0.0), memory=lambda: FOREVER
)


def cum_sum(x: Number, reset: Number = 0.0) -> Node:
    """Sum of x since the symbol's first bar, in its unit; NaN where x is missing.

    reset  a condition: where it is true the sum starts again with that bar (a session's first bar, say)
    """
    return CUM_SUM(x, reset)[0]


@rows
def _cum_max(x: Any, top: Any, out: Any, n: int) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        t = max(top[i], x[i] if there else -np.inf)
        top[i] = t
        out[i] = t if there else np.nan


@kernel
def cum_max_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cum_max: the greatest x since the first bar.

    in      x
    state   1 row: the greatest
    out     NaN where x is missing
    source  pandas Series.cummax()
    """
    _cum_max(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


CUM_MAX: Final = Operator("cum_max", cum_max_kernel, ("x",), rows=lambda: (-np.inf,), memory=lambda: FOREVER)


def cum_max(x: Number) -> Node:
    """The greatest x since the symbol's first bar; NaN where x is missing."""
    return CUM_MAX(x)[0]


@rows
def _cum_min(x: Any, bottom: Any, out: Any, n: int) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        t = min(bottom[i], x[i] if there else np.inf)
        bottom[i] = t
        out[i] = t if there else np.nan


@kernel
def cum_min_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cum_min: the least x since the first bar.

    in      x
    state   1 row: the least
    out     NaN where x is missing
    source  pandas Series.cummin()
    """
    _cum_min(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


CUM_MIN: Final = Operator("cum_min", cum_min_kernel, ("x",), rows=lambda: (np.inf,), memory=lambda: FOREVER)


def cum_min(x: Number) -> Node:
    """The least x since the symbol's first bar; NaN where x is missing."""
    return CUM_MIN(x)[0]


@rows
def _cum_count(x: Any, count: Any, out: Any, n: int) -> None:
    for i in range(n):
        c = count[i] + (1.0 if x[i] - x[i] == 0.0 else 0.0)
        count[i] = c
        out[i] = c


@kernel
def cum_count_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cum_count: how many values x has had.

    in      x
    state   1 row: the number
    out     never NaN: 0.0 before the first value, at a missing bar the last number
    source  pandas Series.expanding().count()
    """
    _cum_count(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


CUM_COUNT: Final = Operator(
    "cum_count", cum_count_kernel, ("x",), rows=lambda: (0.0,), memory=lambda: FOREVER
)


def cum_count(x: Number) -> Node:
    """How many values x has had since the symbol's first bar: 0.0 before, never NaN."""
    return CUM_COUNT(x)[0]


@rows
def _cum_product(x: Any, product: Any, out: Any, n: int) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        v = product[i] * (x[i] if there else 1.0)
        product[i] = v
        out[i] = v if there else np.nan


@kernel
def cum_product_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cum_product: the product of x since the first bar.

    in      x
    state   1 row: the product
    out     NaN where x is missing; beyond 1.8e308 inf, below 5e-324 0.0, for good
    refresh none: each bar costs half an ulp, a million bars some 1e-13
    source  pandas Series.cumprod()
    """
    _cum_product(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


CUM_PRODUCT: Final = Operator(
    "cum_product", cum_product_kernel, ("x",), rows=lambda: (1.0,), memory=lambda: FOREVER
)


def cum_product(x: Number) -> Node:
    """Product of x since the symbol's first bar, such as of 1 + return; NaN where x is missing."""
    return CUM_PRODUCT(x)[0]


@rows
def _streak(condition: Any, length: Any, out: Any, n: int) -> None:
    for i in range(n):
        known = condition[i] == condition[i]
        c = length[i] + 1.0 if known and condition[i] != 0.0 else 0.0
        length[i] = c
        out[i] = c if known else np.nan


@kernel
def streak_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """streak: how many bars in a row, up to this one, the condition has been true.

    in      condition
    state   1 row: the number
    out     0.0 where it is false; NaN where it is NaN, which ends the streak
    source  BARSLASTCOUNT of Chinese charting software
    """
    _streak(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


STREAK: Final = Operator("streak", streak_kernel, ("condition",), rows=lambda: (0.0,), memory=lambda: FOREVER)


def streak(condition: Number) -> Node:
    """Bars in a row, this one included, in which the condition is true; NaN ends a streak and is NaN."""
    return STREAK(condition)[0]


@rows
def _bars_since(condition: Any, bars: Any, out: Any, n: int) -> None:
    for i in range(n):
        true = condition[i] == condition[i] and condition[i] != 0.0
        b = 0.0 if true else bars[i] + 1.0
        bars[i] = b
        out[i] = b


@kernel
def bars_since_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """bars_since: how many bars ago the condition was true for the last time.

    in      condition (NaN: not true)
    state   1 row: the number
    out     0.0 where it is true now; NaN before the first time; missing bars are counted
    source  BARSLAST of Chinese charting software, ta.barssince of TradingView
    """
    _bars_since(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


BARS_SINCE: Final = Operator(
    "bars_since", bars_since_kernel, ("condition",), rows=lambda: (np.nan,), memory=lambda: FOREVER
)


def bars_since(condition: Number) -> Node:
    """Bars since the condition was true: 0.0 now, NaN before the first time. NaN counts as not true."""
    return BARS_SINCE(condition)[0]


@rows
def _fill(x: Any, last: Any, out: Any, n: int) -> None:
    for i in range(n):
        v = x[i] if x[i] - x[i] == 0.0 else last[i]
        last[i] = v
        out[i] = v


@kernel
def fill_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_fill: the last value of x, carried over missing bars.

    in      x
    state   1 row: the last value
    out     NaN before the first value
    source  pandas Series.ffill()
    """
    _fill(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


TS_FILL: Final = Operator("ts_fill", fill_kernel, ("x",), rows=lambda: (np.nan,), memory=lambda: FOREVER)


def ts_fill(x: Number) -> Node:
    """x, or where it is missing its last value; NaN before the first."""
    return TS_FILL(x)[0]


@rows
def _value_when(condition: Any, x: Any, last: Any, out: Any, n: int) -> None:
    for i in range(n):
        true = condition[i] == condition[i] and condition[i] != 0.0
        new, old = x[i], last[i]  # loaded whatever the condition: else the loop is not vectorised
        v = new if true else old
        last[i] = v
        out[i] = v


@kernel
def value_when_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """value_when: x as it was when the condition was true for the last time.

    in      condition (NaN: not true), x
    state   1 row: the value
    out     x as it was, NaN and inf too; NaN before the first time
    source  ta.valuewhen(condition, x, 0) of TradingView
    """
    condition, x = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    _value_when(condition, x, own(state, stride, p, 3, 0), now(state, stride, p, 0, g), n)


VALUE_WHEN: Final = Operator(
    "value_when", value_when_kernel, ("condition", "x"), rows=lambda: (np.nan,), memory=lambda: FOREVER
)


def value_when(condition: Number, x: Number) -> Node:
    """x at the last bar where the condition was true, this one included; NaN before the first."""
    return VALUE_WHEN(condition, x)[0]


@rows
def _drawdown(x: Any, top: Any, out: Any, n: int) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        t = max(top[i], x[i] if there else -np.inf)
        top[i] = t
        out[i] = x[i] / t - 1.0 if there and t > 0.0 else np.nan


@kernel
def drawdown_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """drawdown: x over its greatest value since the first bar, less 1.

    in      x, a price or a net value
    state   1 row: the greatest
    out     0.0 at a new high, else negative; NaN where x is missing or was never above 0
    source  x / x.cummax() - 1 in pandas
    """
    _drawdown(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n)


DRAWDOWN: Final = Operator(
    "drawdown", drawdown_kernel, ("x",), rows=lambda: (-np.inf,), memory=lambda: FOREVER
)


def drawdown(x: Number) -> Node:
    """Fall of x from its greatest value so far: x / cum_max(x) - 1, a fraction, at most 0."""
    return DRAWDOWN(x)[0]


# ---- the deepest fall within a window ---------------------------------------------------------------------
#
# Of a run of bars one keeps its top, its bottom and its worst x[j] / x[i] with i <= j; two runs side by side
# give those of both. Time is cut into blocks of `window` bars. At the beginning of a block these three are
# worked out for the last 1, 2, ... window - 1 bars of the block before; within a block they grow bar by bar.
# So each window is an end of the last block and a beginning of this one: no scan of the window at each bar,
# and no rounding but that of one division, so that it forgets to the bit.

_RUN, _TOP, _BOTTOM, _WORST, _ENDS = range(5)  # own rows; from _ENDS on three for each length of an end


@rows
def _lead(x: Any, top: Any, bottom: Any, worst: Any, tops: Any, bottoms: Any, worsts: Any, n: int) -> None:
    """Put a bar before the run (top, bottom, worst): the longer one is (tops, bottoms, worsts)."""
    for i in range(n):
        there = x[i] - x[i] == 0.0
        ratio = bottom[i] / x[i] if there else 1.0
        worsts[i] = min(worst[i], ratio)
        tops[i] = max(top[i], x[i] if there else -np.inf)
        bottoms[i] = min(bottom[i], x[i] if there else np.inf)


@rows
def _begin(run: Any, top: Any, bottom: Any, worst: Any, n: int) -> None:
    for i in range(n):
        top[i] = -np.inf
        bottom[i] = np.inf
        worst[i] = 1.0


@rows
def _follow(x: Any, run: Any, top: Any, bottom: Any, worst: Any, n: int) -> None:
    """Put a bar behind the run, and count the bars since one was missing or not above 0."""
    for i in range(n):
        there = x[i] - x[i] == 0.0
        t = max(top[i], x[i] if there else -np.inf)
        worst[i] = min(worst[i], x[i] / t if there else 1.0)
        bottom[i] = min(bottom[i], x[i] if there else np.inf)
        top[i] = t
        run[i] = run[i] + 1.0 if there and x[i] > 0.0 else 0.0


@rows
def _join(tops: Any, worsts: Any, run: Any, bottom: Any, worst: Any, out: Any, n: int, window: float) -> None:
    for i in range(n):
        w = min(min(worsts[i], worst[i]), bottom[i] / tops[i])
        out[i] = w - 1.0 if run[i] >= window else np.nan


@rows
def _alone(run: Any, worst: Any, out: Any, n: int, window: float) -> None:
    for i in range(n):
        out[i] = worst[i] - 1.0 if run[i] >= window else np.nan


@kernel
def max_drawdown_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_max_drawdown: the deepest fall from a bar to a later one of the last `window` bars.

    in      x, a price or a net value
    state   4 rows: bars since the last missing one, and top, bottom, worst ratio of the block begun;
            3 rows for each length of an end of the block before
    out     at most 0.0; NaN where a bar of the window is missing or not above 0
    refresh nothing to refresh: comparisons and one division
    source  min over i <= j of x[j] / x[i] - 1
    """
    window = p[6]
    x, out = now(state, stride, p, 1, g), now(state, stride, p, 0, g)
    run, top = own(state, stride, p, 2, _RUN), own(state, stride, p, 2, _TOP)
    bottom, worst = own(state, stride, p, 2, _BOTTOM), own(state, stride, p, 2, _WORST)
    at = (g + p[5]) % window
    if at == 0:
        _ends_anew(state, stride, p, g, n)
        _begin(run, top, bottom, worst, n)
    _follow(x, run, top, bottom, worst, n)
    if at == window - 1:
        _alone(run, worst, out, n, float(window))
    else:
        end = _ENDS + 3 * (window - 2 - at)  # the end of window - 1 - at bars
        tops, worsts = own(state, stride, p, 2, end), own(state, stride, p, 2, end + 2)
        _join(tops, worsts, run, bottom, worst, out, n, float(window))


@part
def _ends_anew(state: Any, stride: int, p: Any, g: int, n: int) -> None:
    """The ends of 1, 2, ... window - 1 bars of the block that is over, the shortest first."""
    # The block's own rows serve as the run of no bars: the new block begins behind this.
    run, top = own(state, stride, p, 2, _RUN), own(state, stride, p, 2, _TOP)
    bottom, worst = own(state, stride, p, 2, _BOTTOM), own(state, stride, p, 2, _WORST)
    _begin(run, top, bottom, worst, n)
    for k in range(p[6] - 1):
        end = _ENDS + 3 * k
        tops, bottoms = own(state, stride, p, 2, end), own(state, stride, p, 2, end + 1)
        worsts = own(state, stride, p, 2, end + 2)
        _lead(back(state, stride, p, 1, g, k + 1), top, bottom, worst, tops, bottoms, worsts, n)
        top, bottom, worst = tops, bottoms, worsts


MAX_DRAWDOWN: Final = Operator(
    "ts_max_drawdown",
    max_drawdown_kernel,
    inputs=("x",),
    parameters=("window",),
    rows=lambda window: (0.0,) + (-np.inf, np.inf, 1.0) * window,
    history=lambda window: window - 1,
    warm_up=lambda window: window - 1,
)


def ts_max_drawdown(x: Number, window: int) -> Node:
    """Deepest fall within the last `window` bars: the least x[j] / x[i] - 1 with i <= j, at most 0.

    NaN where a bar of the window is missing or not above 0.
    """
    if window < 1:
        raise ValueError(f"a window of at least 1 is expected, found {window}")
    return MAX_DRAWDOWN(x, parameters=(int(window),))[0]
