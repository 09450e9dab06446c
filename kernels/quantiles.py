"""Order in a moving window: ranks, quantiles, medians, deviations from the middle.

Quantiles keep the window sorted, one row for each place. A bar takes one value out and puts one in: a single
pass over the rows, the same instructions for every symbol, so all symbols go side by side (0.2 to 0.3 ns for
each row and symbol). Missing values stand at the end as +inf. Rank and mean deviation read the window as it
is and remember nothing between bars. So the cost of all operators here grows with the window: it is meant for
tens to hundreds of bars; at a thousand, one quantile of 512 symbols is in the hundreds of microseconds.

NaN and +-inf count as missing. Nothing adds up from bar to bar, so nothing needs a refresh.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import at, back, kernel, now, own, part, rows
from kernels.node import Node, Number, Operator

__all__ = [
    "MEAN_DEVIATION",
    "MEDIAN_DEVIATION",
    "ORDER",
    "QUANTILES",
    "RANK",
    "ts_mad",
    "ts_median",
    "ts_median_deviation",
    "ts_order",
    "ts_quantile",
    "ts_rank",
]


@rows
def _fill(x: Any, value: float, n: int) -> None:
    for i in range(n):
        x[i] = value


# ---- a sorted window -------------------------------------------------------------------------------------

# Own rows: number of values; what enters, what leaves and the carried value of one pass; then the window in
# order and, behind it, a row that is always +inf.
_COUNT, _NEW, _OLD, _CARRY, _SORTED = range(5)


def _sorted_rows(window: int) -> tuple[float, ...]:
    return (0.0, 0.0, 0.0, 0.0) + (np.inf,) * (window + 1)


@rows
def _exchange(x: Any, leaving: Any, count: Any, new: Any, old: Any, carry: Any, n: int) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        leaves = leaving[i] - leaving[i] == 0.0
        count[i] += (1.0 if enters else 0.0) - (1.0 if leaves else 0.0)
        # -0.0 becomes 0.0: of equals any one may go, and which of two zeros is left must not matter.
        new[i] = x[i] + 0.0 if enters else np.inf
        old[i] = leaving[i] if leaves else np.inf
        carry[i] = -np.inf


@rows
def _place(new: Any, old: Any, carry: Any, a: Any, b: Any, n: int) -> None:
    """One row: without `old` it holds its own value or the next one's; then `new` pushes the rest up."""
    for i in range(n):
        v, w = new[i], old[i]
        below = carry[i]
        r = a[i] if a[i] < w else b[i]
        up = below if below > v else v
        a[i] = r if r < up else up
        carry[i] = r


@rows
def _place_four(new: Any, old: Any, carry: Any, a: Any, b: Any, c: Any, d: Any, e: Any, n: int) -> None:
    """As `_place`, four rows at once: a third of the loads and stores."""
    for i in range(n):
        v, w = new[i], old[i]
        below = carry[i]
        ra = a[i] if a[i] < w else b[i]
        rb = b[i] if b[i] < w else c[i]
        rc = c[i] if c[i] < w else d[i]
        rd = d[i] if d[i] < w else e[i]
        ua = below if below > v else v
        ub = ra if ra > v else v
        uc = rb if rb > v else v
        ud = rc if rc > v else v
        a[i] = ra if ra < ua else ua
        b[i] = rb if rb < ub else ub
        c[i] = rc if rc < uc else uc
        d[i] = rd if rd < ud else ud
        carry[i] = rd


@rows
def _place_and_count(new: Any, old: Any, carry: Any, places: Any, a: Any, b: Any, n: int) -> None:
    """As `_place`; how many are below `new`, and how many up to it."""
    for i in range(n):
        v, w = new[i], old[i]
        below = carry[i]
        r = a[i] if a[i] < w else b[i]
        up = below if below > v else v
        s = r if r < up else up
        a[i] = s
        carry[i] = r
        places[i] += (1.0 if s < v else 0.0) + (1.0 if s <= v else 0.0)


@rows
def _place_and_count_four(
    new: Any, old: Any, carry: Any, places: Any, a: Any, b: Any, c: Any, d: Any, e: Any, n: int
) -> None:
    """As `_place_and_count`, four rows at once."""
    for i in range(n):
        v, w = new[i], old[i]
        below = carry[i]
        ra = a[i] if a[i] < w else b[i]
        rb = b[i] if b[i] < w else c[i]
        rc = c[i] if c[i] < w else d[i]
        rd = d[i] if d[i] < w else e[i]
        ua = below if below > v else v
        ub = ra if ra > v else v
        uc = rb if rb > v else v
        ud = rc if rc > v else v
        sa = ra if ra < ua else ua
        sb = rb if rb < ub else ub
        sc = rc if rc < uc else uc
        sd = rd if rd < ud else ud
        a[i] = sa
        b[i] = sb
        c[i] = sc
        d[i] = sd
        carry[i] = rd
        less = (1.0 if sa < v else 0.0) + (1.0 if sb < v else 0.0)
        less += (1.0 if sc < v else 0.0) + (1.0 if sd < v else 0.0)
        up_to = (1.0 if sa <= v else 0.0) + (1.0 if sb <= v else 0.0)
        up_to += (1.0 if sc <= v else 0.0) + (1.0 if sd <= v else 0.0)
        places[i] += less + up_to


@part
def _sort_and_count(state: Any, stride: int, p: Any, k: int, g: int, n: int, places: Any) -> None:
    """As `_sort`; `places` becomes the number of values below the newest one plus that of those up to it."""
    s = k + 1
    window = p[2 * s + 2]
    new, old = own(state, stride, p, s, _NEW), own(state, stride, p, s, _OLD)
    carry = own(state, stride, p, s, _CARRY)
    x, leaving = now(state, stride, p, k, g), back(state, stride, p, k, g, window)
    _exchange(x, leaving, own(state, stride, p, s, _COUNT), new, old, carry, n)
    _fill(places, 0.0, n)
    row = _SORTED
    end = _SORTED + window
    while row + 4 <= end:
        a = own(state, stride, p, s, row)
        b, c, d, e = at(a, stride), at(a, 2 * stride), at(a, 3 * stride), at(a, 4 * stride)
        _place_and_count_four(new, old, carry, places, a, b, c, d, e, n)
        row += 4
    while row < end:
        a = own(state, stride, p, s, row)
        _place_and_count(new, old, carry, places, a, at(a, stride), n)
        row += 1


@part
def _sort(state: Any, stride: int, p: Any, k: int, g: int, n: int) -> None:
    """Bring the sorted window of series k, the last one, to bar g."""
    s = k + 1
    window = p[2 * s + 2]
    new, old = own(state, stride, p, s, _NEW), own(state, stride, p, s, _OLD)
    carry = own(state, stride, p, s, _CARRY)
    x, leaving = now(state, stride, p, k, g), back(state, stride, p, k, g, window)
    _exchange(x, leaving, own(state, stride, p, s, _COUNT), new, old, carry, n)
    row = _SORTED
    end = _SORTED + window
    while row + 4 <= end:
        a = own(state, stride, p, s, row)
        b, c, d, e = at(a, stride), at(a, 2 * stride), at(a, 3 * stride), at(a, 4 * stride)
        _place_four(new, old, carry, a, b, c, d, e, n)
        row += 4
    while row < end:
        a = own(state, stride, p, s, row)
        _place(new, old, carry, a, at(a, stride), n)
        row += 1


@rows
def _between(count: Any, a: Any, b: Any, out: Any, n: int, least: float, part: float) -> None:
    for i in range(n):
        out[i] = a[i] + (b[i] - a[i]) * part if count[i] >= least else np.nan


@part
def _interpolate(
    count: Any, sorted_window: Any, stride: int, out: Any, n: int, window: int, least: int, q: float
) -> None:
    """The q-quantile of each symbol's values: linear between the two places around q * (count - 1)."""
    if least == window:
        place = q * float(window - 1)
        low = int(place)
        high = min(low + 1, window - 1)
        a, b = at(sorted_window, low * stride), at(sorted_window, high * stride)
        if low == high:
            b = at(sorted_window, max(low - 1, 0) * stride)  # part is 0; a row that is not a's own
        _between(count, a, b, out, n, float(least), place - float(low))
        return
    for i in range(n):
        c = count[i]
        if c < float(least):
            out[i] = np.nan
            continue
        place = q * (c - 1.0)
        low = int(place)
        high = min(low + 1, int(c) - 1)
        a = sorted_window[low * stride + i]
        out[i] = a + (sorted_window[high * stride + i] - a) * (place - float(low))


@kernel
def quantiles(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_quantiles: two quantiles of the last `window` bars.

    in      x
    state   5 rows and one for each bar of the window: number of values, three for the work, the window
            sorted (missing ones as +inf, last), +inf
    out     low, high: the values at the places q * (count - 1), linear between neighbours; NaN below
            `min_periods` values; NaN and inf are missing; -0.0 counts as 0.0
    refresh not needed: nothing is rounded
    source  pandas Series.rolling(window, min_periods).quantile(q)
    """
    window, least = p[8], p[9]
    _sort(state, stride, p, 2, g, n)
    count, first = own(state, stride, p, 3, _COUNT), own(state, stride, p, 3, _SORTED)
    _interpolate(count, first, stride, now(state, stride, p, 0, g), n, window, least, f[0])
    _interpolate(count, first, stride, now(state, stride, p, 1, g), n, window, least, f[1])


QUANTILES: Final = Operator(
    "ts_quantiles",
    quantiles,
    inputs=("x",),
    outputs=("low", "high"),
    parameters=("window", "min_periods", "q_low", "q_high"),
    rows=lambda window, min_periods, q_low, q_high: _sorted_rows(window),
    history=lambda window, min_periods, q_low, q_high: window,
    warm_up=lambda window, min_periods, q_low, q_high: min_periods - 1,
    memory=lambda window, min_periods, q_low, q_high: window - 1,
)


@rows
def _rate_places(x: Any, count: Any, places: Any, n: int, least: float) -> None:
    """The rank of x in the place of twice its place."""
    for i in range(n):
        place = 0.5 * (places[i] + 1.0)
        places[i] = place / count[i] if count[i] >= least and x[i] - x[i] == 0.0 else np.nan


@kernel
def order(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_order: two quantiles of the last `window` bars, and the rank of the present one among them.

    in      x
    state   as ts_quantiles
    out     low, high: as ts_quantiles; rank: as ts_rank, to the bit
    refresh not needed: nothing is rounded
    tie     equals share the average of their places
    source  pandas Series.rolling(window, min_periods).quantile(q), .rank(pct=True)
    """
    window, least = p[10], p[11]
    places = now(state, stride, p, 2, g)
    _sort_and_count(state, stride, p, 3, g, n, places)
    count, first = own(state, stride, p, 4, _COUNT), own(state, stride, p, 4, _SORTED)
    _rate_places(now(state, stride, p, 3, g), count, places, n, float(least))
    _interpolate(count, first, stride, now(state, stride, p, 0, g), n, window, least, f[0])
    _interpolate(count, first, stride, now(state, stride, p, 1, g), n, window, least, f[1])


ORDER: Final = Operator(
    "ts_order",
    order,
    inputs=("x",),
    outputs=("low", "high", "rank"),
    parameters=("window", "min_periods", "q_low", "q_high"),
    rows=lambda window, min_periods, q_low, q_high: _sorted_rows(window),
    history=lambda window, min_periods, q_low, q_high: window,
    warm_up=lambda window, min_periods, q_low, q_high: min_periods - 1,
    memory=lambda window, min_periods, q_low, q_high: window - 1,
)


@rows
def _nearest(middle: Any, a: Any, b: Any, out: Any, n: int) -> None:
    """How far one must go from the middle to have the values from a to b, if that is less than before."""
    for i in range(n):
        down, up = middle[i] - a[i], b[i] - middle[i]
        d = down if down > up else up
        out[i] = out[i] if out[i] < d else d


@rows
def _average(count: Any, x: Any, y: Any, out: Any, n: int, least: float) -> None:
    for i in range(n):
        out[i] = 0.5 * (x[i] + y[i]) if count[i] >= least else np.nan


@kernel
def median_deviation(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_median_deviation: median distance of the last `window` bars from their median.

    in      x
    state   5 rows and one for each bar of the window, as ts_quantiles
    out     NaN unless all of the window is there; NaN and inf are missing
    refresh not needed: nothing adds up
    source  scipy.stats.median_abs_deviation on each window. Within the k-th least distance of the median lie
            k neighbours of the sorted window: it is the least, over such runs, of how far their ends are
    """
    window = p[6]
    _sort(state, stride, p, 1, g, n)
    count, first = own(state, stride, p, 2, _COUNT), own(state, stride, p, 2, _SORTED)
    out, middle = now(state, stride, p, 0, g), own(state, stride, p, 2, _CARRY)
    below, above = own(state, stride, p, 2, _NEW), own(state, stride, p, 2, _OLD)
    # Each of the two middle places: one and the same where the window is odd.
    lower, upper = (window - 1) // 2, window // 2
    _interpolate(count, first, stride, middle, n, window, window, 0.5)
    _fill(below, np.inf, n)
    _fill(above, np.inf, n)
    for k in range(window - lower):
        _nearest(middle, at(first, k * stride), at(first, (k + lower) * stride), below, n)
    for k in range(window - upper):
        _nearest(middle, at(first, k * stride), at(first, (k + upper) * stride), above, n)
    _average(count, below, above, out, n, float(window))


MEDIAN_DEVIATION: Final = Operator(
    "ts_median_deviation",
    median_deviation,
    inputs=("x",),
    parameters=("window",),
    rows=_sorted_rows,
    history=lambda window: window,
    warm_up=lambda window: window - 1,
    memory=lambda window: window - 1,
)


# ---- rank ------------------------------------------------------------------------------------------------

_VALUES, _LOWEST, _PLACES = range(3)  # own rows: number of values, of -inf, twice the place of x


@rows
def _count(x: Any, old: Any, values: Any, lowest: Any, places: Any, n: int) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        leaves = old[i] - old[i] == 0.0
        values[i] += (1.0 if enters else 0.0) - (1.0 if leaves else 0.0)
        lowest[i] += (1.0 if x[i] == -np.inf else 0.0) - (1.0 if old[i] == -np.inf else 0.0)
        places[i] = 0.0


@rows
def _compare(x: Any, a: Any, places: Any, n: int) -> None:
    for i in range(n):
        v = x[i]
        places[i] += (1.0 if a[i] < v else 0.0) + (1.0 if a[i] <= v else 0.0)


@rows
def _compare_four(x: Any, a: Any, b: Any, c: Any, d: Any, places: Any, n: int) -> None:
    for i in range(n):
        v = x[i]
        less = (1.0 if a[i] < v else 0.0) + (1.0 if b[i] < v else 0.0)
        less += (1.0 if c[i] < v else 0.0) + (1.0 if d[i] < v else 0.0)
        up_to = (1.0 if a[i] <= v else 0.0) + (1.0 if b[i] <= v else 0.0)
        up_to += (1.0 if c[i] <= v else 0.0) + (1.0 if d[i] <= v else 0.0)
        places[i] += less + up_to


@rows
def _rate(x: Any, values: Any, lowest: Any, places: Any, out: Any, n: int, least: float) -> None:
    for i in range(n):
        place = 0.5 * ((places[i] - 2.0 * lowest[i]) + 1.0)
        out[i] = place / values[i] if values[i] >= least and x[i] - x[i] == 0.0 else np.nan


@kernel
def rank(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_rank: place of the present value among those of the last `window` bars, as a part of their number.

    in      x
    state   3 rows: number of values, number of -inf (which all comparisons count), one for the work
    out     (how many are less + (how many are equal + 1) / 2) / number of values, so (0, 1]; NaN below
            `min_periods` values and where x is missing; NaN and inf are missing
    refresh not needed: nothing is rounded
    tie     equals share the average of their places
    source  pandas Series.rolling(window, min_periods).rank(pct=True)
    """
    window, least = p[6], float(p[7])
    values, lowest = own(state, stride, p, 2, _VALUES), own(state, stride, p, 2, _LOWEST)
    places, x = own(state, stride, p, 2, _PLACES), now(state, stride, p, 1, g)
    _count(x, back(state, stride, p, 1, g, window), values, lowest, places, n)
    lag = 0
    while lag + 4 <= window:
        a, b = back(state, stride, p, 1, g, lag), back(state, stride, p, 1, g, lag + 1)
        c, d = back(state, stride, p, 1, g, lag + 2), back(state, stride, p, 1, g, lag + 3)
        _compare_four(x, a, b, c, d, places, n)
        lag += 4
    while lag < window:
        _compare(x, back(state, stride, p, 1, g, lag), places, n)
        lag += 1
    _rate(x, values, lowest, places, now(state, stride, p, 0, g), n, least)


RANK: Final = Operator(
    "ts_rank",
    rank,
    inputs=("x",),
    parameters=("window", "min_periods"),
    rows=lambda window, min_periods: (0.0, 0.0, 0.0),
    history=lambda window, min_periods: window,
    warm_up=lambda window, min_periods: min_periods - 1,
    memory=lambda window, min_periods: window - 1,
)


# ---- mean deviation --------------------------------------------------------------------------------------

_SUM, _DISTANCE = range(2)  # own rows, for the work of one bar


@rows
def _add(x: Any, pivot: Any, total: Any, n: int) -> None:
    for i in range(n):
        total[i] += x[i] - pivot[i]


@rows
def _part(x: Any, n: int, window: float) -> None:
    for i in range(n):
        x[i] = x[i] / window


@rows
def _away(x: Any, pivot: Any, mean: Any, distance: Any, n: int) -> None:
    for i in range(n):
        distance[i] += abs((x[i] - pivot[i]) - mean[i])


@rows
def _mean_distance(distance: Any, out: Any, n: int, window: float) -> None:
    for i in range(n):
        out[i] = distance[i] / window


@kernel
def mean_deviation(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_mad: mean distance of the last `window` bars from their mean.

    in      x
    state   2 rows for the work of one bar, nothing to remember
    out     NaN unless all of the window is there; NaN and inf are missing
    refresh not needed: two passes over the window at every bar, measured from the present x
    source  the mean deviation of TA-Lib's CCI; numpy.mean(abs(x - mean(x))) on each window
    """
    window = p[6]
    total, distance = own(state, stride, p, 2, _SUM), own(state, stride, p, 2, _DISTANCE)
    x = now(state, stride, p, 1, g)
    _fill(total, 0.0, n)
    _fill(distance, 0.0, n)
    # A missing bar makes the total NaN or inf, and then its own distance, so the outcome, NaN.
    for lag in range(window - 1, -1, -1):
        _add(back(state, stride, p, 1, g, lag), x, total, n)
    _part(total, n, float(window))
    for lag in range(window - 1, -1, -1):
        _away(back(state, stride, p, 1, g, lag), x, total, distance, n)
    _mean_distance(distance, now(state, stride, p, 0, g), n, float(window))


MEAN_DEVIATION: Final = Operator(
    "ts_mad",
    mean_deviation,
    inputs=("x",),
    parameters=("window",),
    rows=lambda window: (0.0, 0.0),
    history=lambda window: max(window - 1, 1),
    warm_up=lambda window: window - 1,
)


# ---- public ----------------------------------------------------------------------------------------------


def ts_rank(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Place of x among its last `window` bars as a part of their number, (0, 1]: 1.0 is the highest.

    Equals share the average of their places, as pandas' rank(pct=True). NaN below `min_periods` values
    (default: all of the window), and where x is missing.
    """
    return RANK(x, parameters=_window(window, min_periods))[0]


def ts_quantile(x: Number, window: int, q: float, min_periods: int | None = None) -> Node:
    """The q-quantile (0 <= q <= 1) of the last `window` bars of x, linear between neighbours; in x's unit.

    NaN below `min_periods` values (default: all of the window). The quantiles q and 1 - q of one window are
    one pass: asking for both costs hardly more than for one.
    """
    low, high = _pair(q)
    made = QUANTILES(x, parameters=(*_window(window, min_periods), low, high))
    return made[0] if q == low else made[1]


def ts_order(x: Number, window: int, q: float, min_periods: int | None = None) -> tuple[Node, Node, Node]:
    """(ts_quantile q, ts_quantile 1 - q, ts_rank) of one window, with their bits and in one pass: who has the
    window sorted need not read it again for the rank."""
    low, high = _pair(q)
    made = ORDER(x, parameters=(*_window(window, min_periods), low, high))
    return made[0 if q == low else 1], made[1 if q == low else 0], made[2]


def ts_median(x: Number, window: int, min_periods: int | None = None) -> Node:
    """Median of the last `window` bars of x; NaN below `min_periods` values (default: all of the window)."""
    return ts_quantile(x, window, 0.5, min_periods)


def ts_mad(x: Number, window: int) -> Node:
    """Mean distance of the last `window` bars of x from their mean, as in TA-Lib's CCI; in x's unit.

    NaN unless all of the window is there.
    """
    return MEAN_DEVIATION(x, parameters=(_window(window, None)[0],))[0]


def ts_median_deviation(x: Number, window: int) -> Node:
    """Median distance of the last `window` bars of x from their median, unscaled; in x's unit.

    NaN unless all of the window is there.
    """
    return MEDIAN_DEVIATION(x, parameters=(_window(window, None)[0],))[0]


def _pair(q: float) -> tuple[float, float]:
    """q and 1 - q, the lower one first."""
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile lies between 0 and 1, found {q!r}")
    # 1 - 0.8 is 0.19999999999999996: what was meant by a person has few digits.
    low, high = sorted((float(q), round(1.0 - q, 12)))
    return low, high


def _window(window: int, min_periods: int | None) -> tuple[int, int]:
    least = window if min_periods is None else min_periods
    whole = isinstance(window, int) and isinstance(least, int) and not isinstance(window, bool)
    if not whole or not 1 <= least <= window:
        raise ValueError(
            f"whole numbers 1 <= min_periods <= window are expected, found window {window!r}, "
            f"min_periods {least!r}"
        )
    return window, least
