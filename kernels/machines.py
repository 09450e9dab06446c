"""State machines: indicators that turn from one side to the other and remember where they stand.

A bar where an input is missing leaves the machine as it was, and gives NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import kernel, now, own, rows
from kernels.cumulative import ts_fill
from kernels.elementwise import absolute, maximum
from kernels.exponential import rma
from kernels.node import FOREVER, Node, Number, Operator
from kernels.shift import delay

__all__ = ["DIRECTED_SUM", "SAR", "SUPERTREND", "directed_sum", "sar", "supertrend"]


# ---- parabolic stop and reverse ---------------------------------------------------------------------------

_SEEN, _LONG, _STOP, _EXTREME, _PACE, _HIGH, _LOW = range(7)  # own rows


@rows
def _sar(
    high: Any, low: Any, seen: Any, long: Any, stop: Any, extreme: Any, pace: Any, last_high: Any,
    last_low: Any, out: Any, n: int, step: float, most: float,
) -> None:  # fmt: skip
    for i in range(n):
        h, l = high[i], low[i]  # noqa: E741  # high and low
        ph, pl = last_high[i], last_low[i]
        there = h - h == 0.0 and l - l == 0.0
        second = seen[i] == 1.0
        # It begins at the second bar, downwards if the first directional movement is downwards.
        fall, rise = pl - l, h - ph
        up = (0.0 if fall > 0.0 and fall > rise else 1.0) if second else long[i]
        upward = up != 0.0
        # A falling market is a rising one upside down: s turns prices so that the stop is always below.
        s = 1.0 if upward else -1.0
        far, near = (h, l) if upward else (-l, -h)  # far: where the trend goes to
        before_near = pl if upward else -ph
        at = before_near if second else s * stop[i]
        top = far if second else s * extreme[i]
        a = step if second else pace[i]
        # At the second bar TA-Lib takes that bar for the one before as well.
        p_near = near if second else before_near
        p_far = far if second else (ph if upward else -pl)
        turns = near <= at
        # Turned: the stop jumps to the extreme, not within the last two bars, and the other side begins.
        jumped = max(max(top, p_far), far)
        next_turned = max(max(jumped + step * (near - jumped), p_far), far)
        # Not turned: a new extreme quickens the pace; the stop may not enter the last two bars.
        higher = far > top
        top_kept = far if higher else top
        a_kept = min(a + step, most) if higher else a
        next_kept = min(min(at + a_kept * (top_kept - at), p_near), near)
        begun = there and seen[i] >= 1.0
        out[i] = s * (jumped if turns else at) if begun else np.nan
        stop[i] = s * (next_turned if turns else next_kept) if begun else stop[i]
        extreme[i] = s * (near if turns else top_kept) if begun else extreme[i]
        pace[i] = (step if turns else a_kept) if begun else pace[i]
        long[i] = (1.0 - up if turns else up) if begun else long[i]
        seen[i] = min(seen[i] + 1.0, 2.0) if there else seen[i]
        last_high[i] = h if there else ph
        last_low[i] = l if there else pl


@kernel
def sar_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """sar: parabolic stop and reverse.

    in      high, low
    state   7 rows: bars seen (up to 2), side, stop, extreme, acceleration, the last high and low
    out     the stop for this bar, from the second bar on; NaN where high or low is missing
    source  TA_SAR of TA-Lib; J. Welles Wilder, New Concepts in Technical Trading Systems, 1978
    """
    high, low = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    seen, long = own(state, stride, p, 3, _SEEN), own(state, stride, p, 3, _LONG)
    stop, extreme = own(state, stride, p, 3, _STOP), own(state, stride, p, 3, _EXTREME)
    pace, out = own(state, stride, p, 3, _PACE), now(state, stride, p, 0, g)
    last_high, last_low = own(state, stride, p, 3, _HIGH), own(state, stride, p, 3, _LOW)
    _sar(high, low, seen, long, stop, extreme, pace, last_high, last_low, out, n, f[0], f[1])


SAR: Final = Operator(
    "sar",
    sar_kernel,
    inputs=("high", "low"),
    parameters=("step", "max_step"),
    rows=lambda step, max_step: (0.0,) * 7,
    warm_up=lambda step, max_step: 1,
    memory=lambda step, max_step: FOREVER,
)


def sar(high: Number, low: Number, step: float = 0.02, max_step: float = 0.2) -> Node:
    """Parabolic stop and reverse, a price: below a rising market, above a falling one. As TA-Lib's SAR.

    step, max_step  what each new extreme adds to the acceleration, and its limit; a step above the limit is
                    the limit
    """
    if not (step >= 0.0 and max_step >= 0.0):
        raise ValueError(f"steps of at least 0 are expected, found {step}, {max_step}")
    return SAR(high, low, parameters=(float(min(step, max_step)), float(max_step)))[0]


# ---- SuperTrend -------------------------------------------------------------------------------------------


@rows
def _supertrend(
    middle: Any, reach: Any, close: Any, side: Any, upper: Any, lower: Any, last: Any, out: Any,
    direction: Any, n: int,
) -> None:  # fmt: skip
    for i in range(n):
        c, m, r = close[i], middle[i], reach[i]
        there = c - c == 0.0 and m - m == 0.0 and r - r == 0.0
        above, below, before = upper[i], lower[i], last[i]
        # A band only comes nearer, until a close has been beyond it. All comparisons with the NaN of the
        # first bar are false, and take the band as it is.
        u = above if m + r >= above and before <= above else m + r
        d = below if m - r <= below and before >= below else m - r
        was_up = side[i] == 1.0
        up = (c >= d or above != above) if was_up else c > u
        line = d if up else u
        out[i] = line if there else np.nan
        direction[i] = (1.0 if up else -1.0) if there else np.nan
        side[i] = (1.0 if up else -1.0) if there else side[i]
        upper[i] = u if there else above
        lower[i] = d if there else below
        last[i] = c if there else before


@kernel
def supertrend_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """supertrend: a stop that follows the market at a distance and changes sides when a close crosses it.

    in      middle (of the bar), reach (factor * average true range), close
    state   4 rows: side, upper band, lower band, the last close
    out     line, direction (1.0 up: the line lies below, -1.0 down); NaN where an input is missing
    source  TA_SUPERTREND of TA-Lib. ta.supertrend of TradingView is the same but for the direction's sign
            and for its beginning, which is downwards
    """
    middle, reach = now(state, stride, p, 2, g), now(state, stride, p, 3, g)
    close, side = now(state, stride, p, 4, g), own(state, stride, p, 5, 0)
    upper, lower, last = own(state, stride, p, 5, 1), own(state, stride, p, 5, 2), own(state, stride, p, 5, 3)
    out, direction = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    _supertrend(middle, reach, close, side, upper, lower, last, out, direction, n)


SUPERTREND: Final = Operator(
    "supertrend",
    supertrend_kernel,
    inputs=("middle", "reach", "close"),
    outputs=("line", "direction"),
    rows=lambda: (1.0, np.nan, np.nan, np.nan),
    memory=lambda: FOREVER,
)


def supertrend(
    high: Number, low: Number, close: Number, window: int = 10, factor: float = 3.0
) -> tuple[Node, Node]:
    """SuperTrend: (line, direction). The line is a price; the direction is 1.0 above it, -1.0 below.

    Bands of `factor` average true ranges around (high + low) / 2. The average is Wilder's, begun at the mean
    of the first `window` true ranges, which begin with the second bar; the direction begins upwards. All as
    TA-Lib's SUPERTREND.
    """
    before = delay(ts_fill(close), 1)
    true_range = maximum(maximum(high - low, absolute(high - before)), absolute(low - before))
    reach = float(factor) * rma(true_range, window, seed="mean")
    line, direction = SUPERTREND((high + low) * 0.5, reach, close)
    return line, direction


# ---- sums that follow a direction -------------------------------------------------------------------------


@rows
def _directed_sum(x: Any, weight: Any, last: Any, total: Any, rest: Any, out: Any, n: int) -> None:
    for i in range(n):
        v, w, before = x[i], weight[i], last[i]
        there = v - v == 0.0 and w - w == 0.0
        falls = -w if v < before else 0.0
        signed = falls if v <= before else w  # before the first value: w
        signed = signed if there else 0.0
        s = total[i]
        t = s + signed
        # What the addition lost, whichever of the two is the greater (Neumaier).
        lost = rest[i] + ((s - t) + signed if abs(s) >= abs(signed) else (signed - t) + s)
        total[i] = t
        rest[i] = lost
        out[i] = t + lost if there else np.nan
        last[i] = v if there else before


@kernel
def directed_sum_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """directed_sum: the sum of `weight`, counted up where x rises, down where it falls.

    in      x, weight
    state   3 rows: the last x, the sum, and what its additions lost
    out     begins with the first bar's weight; NaN where x or weight is missing
    refresh none: Neumaier's compensation keeps the sum exact to its last digits
    source  TA_OBV of TA-Lib; Joseph Granville, 1963
    """
    x, weight = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    last, total = own(state, stride, p, 3, 0), own(state, stride, p, 3, 1)
    _directed_sum(x, weight, last, total, own(state, stride, p, 3, 2), now(state, stride, p, 0, g), n)


DIRECTED_SUM: Final = Operator(
    "directed_sum",
    directed_sum_kernel,
    inputs=("x", "weight"),
    rows=lambda: (np.nan, 0.0, 0.0),
    memory=lambda: FOREVER,
)


def directed_sum(x: Number, weight: Number) -> Node:
    """Sum of weight since the first bar, + where x rises, - where it falls, such as on-balance volume.

    In the unit of weight. It begins with the first bar's weight; x is compared with its last value there was.
    """
    return DIRECTED_SUM(x, weight)[0]
