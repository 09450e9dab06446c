"""What many indicators are made of: one pass each where elementwise operators would take up to twelve."""

from typing import Any, Final

import numpy as np

from kernels.abi import back, kernel, now, own, rows
from kernels.node import FOREVER, Node, Number, Operator

__all__ = [
    "DIRECTIONAL",
    "RATIO",
    "RELATIVE_CHANGE",
    "RISES_FALLS",
    "SHARE",
    "TRUE_RANGE",
    "WHERE_KNOWN",
    "directional_movement",
    "ratio",
    "relative_change",
    "rises_falls",
    "share",
    "true_range",
    "where_known",
]


@rows
def _ratio(x: Any, y: Any, out: Any, n: int, empty: float) -> None:
    for i in range(n):
        known = x[i] == x[i]
        out[i] = x[i] / y[i] if y[i] != 0.0 else (empty if known else np.nan)


@kernel
def ratio_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ratio: x / y; a number of its own where y is 0.

    in      x, y
    state   none
    out     NaN where x or y is NaN
    """
    _ratio(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n, f[0])


RATIO: Final = Operator("ratio", ratio_kernel, ("x", "y"), parameters=("empty",))


def ratio(x: Number, y: Number, empty: float = 0.0) -> Node:
    """x / y, or `empty` where y is 0; NaN where one of them is."""
    return RATIO(x, y, parameters=(float(empty),))[0]


@rows
def _share(x: Any, y: Any, out: Any, n: int, scale: float) -> None:
    for i in range(n):
        whole = x[i] + y[i]
        part = x[i] / whole
        out[i] = scale * (part if whole != 0.0 else 0.0)


@kernel
def share_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """share: scale * (x / (x + y)); 0 where x + y is 0.

    in      x, y
    state   none
    out     NaN where x or y is NaN
    """
    _share(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n, f[0])


SHARE: Final = Operator("share", share_kernel, ("x", "y"), parameters=("scale",))


def share(x: Number, y: Number, scale: float = 1.0) -> Node:
    """What x is of x + y, times `scale`; 0 where both are 0, NaN where one of them is."""
    return SHARE(x, y, parameters=(float(scale),))[0]


@rows
def _relative_change(x: Any, old: Any, out: Any, n: int, scale: float) -> None:
    for i in range(n):
        change = x[i] - old[i]
        part = change / old[i]
        none = 0.0 if change == change else np.nan
        out[i] = scale * (part if old[i] != 0.0 else none)


@kernel
def relative_change_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """relative_change: scale * ((x - x d bars ago) / x d bars ago); 0 where that was 0.

    in      x
    state   none; reads x d bars ago
    out     NaN where either is NaN
    source  TA_ROC, TA_ROCP of TA-Lib
    """
    old = back(state, stride, p, 1, g, p[6])
    _relative_change(now(state, stride, p, 1, g), old, now(state, stride, p, 0, g), n, f[0])


RELATIVE_CHANGE: Final = Operator(
    "relative_change",
    relative_change_kernel,
    inputs=("x",),
    parameters=("d", "scale"),
    history=lambda d, scale: d,
    warm_up=lambda d, scale: d,
)


def relative_change(x: Number, d: int, scale: float = 1.0) -> Node:
    """Change of x over d bars as a part of what it was then, times `scale`; 0 where that was 0, unlike
    `shift.pct_change`. ValueError for d below 1."""
    if d < 1:
        raise ValueError(f"relative_change looks at least one bar back, found {d}")
    return RELATIVE_CHANGE(x, parameters=(int(d), float(scale)))[0]


@rows
def _where_known(x: Any, other: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] if other[i] == other[i] else np.nan


@kernel
def where_known_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """where_known: x where another series has a value.

    in      x, other
    state   none
    out     NaN where other is NaN
    """
    _where_known(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


WHERE_KNOWN: Final = Operator("where_known", where_known_kernel, ("x", "other"))


def where_known(x: Number, other: Number) -> Node:
    """x where `other` has a value, else NaN."""
    return WHERE_KNOWN(x, other)[0]


@rows
def _true_range(high: Any, low: Any, before: Any, out: Any, n: int) -> None:
    for i in range(n):
        h, l, c = high[i], low[i], before[i]  # noqa: E741  # high, low, close
        r = max(h - l, max(abs(h - c), abs(l - c)))
        out[i] = r if h == h and l == l and c == c else np.nan


@kernel
def true_range_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """true_range: the greatest of high - low, |high - close before|, |low - close before|.

    in      high, low, close
    state   none; reads close one bar ago
    out     NaN where one of the three is NaN
    source  TA_TRANGE of TA-Lib; J. Welles Wilder, New Concepts in Technical Trading Systems, 1978
    """
    high, low = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    _true_range(high, low, back(state, stride, p, 3, g, 1), now(state, stride, p, 0, g), n)


TRUE_RANGE: Final = Operator(
    "true_range",
    true_range_kernel,
    inputs=("high", "low", "close"),
    history=lambda: (0, 0, 1),
    warm_up=lambda: 1,
)


def true_range(high: Number, low: Number, close: Number) -> Node:
    """The greatest of high - low and the distances of both from the close of the bar before."""
    return TRUE_RANGE(high, low, close)[0]


@rows
def _directional(high: Any, low: Any, old_high: Any, old_low: Any, plus: Any, minus: Any, n: int) -> None:
    for i in range(n):
        rise, fall = high[i] - old_high[i], old_low[i] - low[i]
        known = rise == rise and fall == fall
        up = rise if rise > fall and rise > 0.0 else 0.0
        down = fall if fall > rise and fall > 0.0 else 0.0
        plus[i] = up if known else np.nan
        minus[i] = down if known else np.nan


@kernel
def directional_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """directional_movement: rise of the high and fall of the low since the bar before, the greater alone.

    in      high, low
    state   none; reads both one bar ago
    out     plus, minus: 0.0 for the lesser, for both where they are equal or below 0; NaN where a price is
    source  TA_PLUS_DM, TA_MINUS_DM of TA-Lib for one bar; Wilder, 1978
    """
    high, low = now(state, stride, p, 2, g), now(state, stride, p, 3, g)
    old_high, old_low = back(state, stride, p, 2, g, 1), back(state, stride, p, 3, g, 1)
    plus, minus = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    _directional(high, low, old_high, old_low, plus, minus, n)


DIRECTIONAL: Final = Operator(
    "directional_movement",
    directional_kernel,
    inputs=("high", "low"),
    outputs=("plus", "minus"),
    history=lambda: 1,
    warm_up=lambda: 1,
)


def directional_movement(high: Number, low: Number) -> tuple[Node, Node]:
    """(plus, minus): rise of the high and fall of the low since the bar before; the lesser of them is 0."""
    plus, minus = DIRECTIONAL(high, low)
    return plus, minus


@rows
def _rises_falls(
    x: Any, old: Any, rise: Any, fall: Any, count: Any, out: Any, out_fall: Any, n: int, length: float
) -> None:
    alpha = 1.0 / length
    for i in range(n):
        d = x[i] - old[i]
        there = d - d == 0.0
        up, down = max(d, 0.0), max(-d, 0.0)
        c = count[i] + (1.0 if there else 0.0)
        # While it begins, sums; at the last of the first changes, their mean; then Wilder's step.
        begins = c <= length
        part = alpha if c == length else 1.0
        r = (rise[i] + up) * part if begins else rise[i] + alpha * (up - rise[i])
        w = (fall[i] + down) * part if begins else fall[i] + alpha * (down - fall[i])
        rise[i] = r if there else rise[i]
        fall[i] = w if there else fall[i]
        count[i] = min(c, length + 1.0) if there else count[i]
        out[i] = rise[i] if c >= length else np.nan
        out_fall[i] = fall[i] if c >= length else np.nan


@kernel
def rises_falls_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """rises_falls: Wilder's means (alpha 1 / n) of one-bar rises and falls, begun at means of the first n.

    in      x
    state   3 rows: both means (before they begin: sums), the number of changes; reads x one bar ago
    out     rise, fall, both 0 or more; at a missing change the last ones
    refresh none: rounding fades as old values do
    source  TA_RSI of TA-Lib; Wilder, 1978
    """
    x, old = now(state, stride, p, 2, g), back(state, stride, p, 2, g, 1)
    rise, fall = own(state, stride, p, 3, 0), own(state, stride, p, 3, 1)
    out, out_fall = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    _rises_falls(x, old, rise, fall, own(state, stride, p, 3, 2), out, out_fall, n, float(p[8]))


RISES_FALLS: Final = Operator(
    "rises_falls",
    rises_falls_kernel,
    inputs=("x",),
    outputs=("rise", "fall"),
    parameters=("n",),
    rows=lambda n: (0.0, 0.0, 0.0),
    history=lambda n: 1,
    warm_up=lambda n: n,
    memory=lambda n: FOREVER,
)


def rises_falls(x: Number, n: int) -> tuple[Node, Node]:
    """(rise, fall): Wilder's means over n of the one-bar rises and falls of x, begun as TA-Lib's RSI.

    A change from or to a missing bar is missing: the means hold.
    """
    if n < 1:
        raise ValueError(f"a length of at least 1 is expected, found {n}")
    rise, fall = RISES_FALLS(x, parameters=(int(n),))
    return rise, fall
