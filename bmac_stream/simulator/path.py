"""What happens inside a base bar: the steps by which its trades arrive.

A bar says only open, high, low, close and totals. `make_steps` invents a path between them: always the
same one for the same bar (counter-based random numbers from `key` and the bar's time), starting at the
open, touching high and low, ending on exactly the bar's values. It is synthetic, also for recorded bars.
`steps_of_trades` gives the real path where trades were recorded. Either way forming bars, 1s bars and
pushes follow from `Steps` alone.

Sums are kept in whole units (10**-decimals), which float64 holds exactly up to 2**53, and divided once on
the way out, so every value is the float64 of its decimal text.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from bmac_stream.simulator.market import F64, I64

__all__ = ["MAX_STEPS", "Steps", "forming", "make_steps", "second_rows", "steps_of_trades"]

MAX_STEPS: Final = 240
"""Steps of a synthetic bar at most: one per push in a minute. A step holds one trade or more."""

_FAR: Final = 2**62  # time of a step that does not exist
_NEVER: Final = -1


class Steps(NamedTuple):
    """Trades of one base bar for each of m instruments, cumulative, padded to k steps.

    size   int64[m], steps that exist
    time   int64[m, k], ms, ascending; those that do not exist lie far in the future
    price  float64[m, k], price of the step's last trade, in units (times 10**price decimals)
    high, low  float64[m, k], units, since the bar's open
    total  float64[m, k, 5], sums since the bar's open: volume, quote volume, trades, taker volume,
           taker quote volume, in units
    """

    size: I64
    time: I64
    price: F64
    high: F64
    low: F64
    total: F64


@njit(cache=True, nogil=True)
def _mix(x: np.uint64) -> np.uint64:
    # splitmix64's finaliser; Steele, Lea, Flood 2014
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _uniform(key: np.uint64, i: int) -> float:
    h = _mix(key + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15))
    return float(h >> np.uint64(11)) * 1.1102230246251565e-16  # 2**-53


@njit(cache=True, nogil=True)
def _fill(
    values: F64,
    open_ms: I64,
    keys: np.ndarray,
    scales: F64,
    base_ms: int,
    count: I64,
    time: I64,
    price: F64,
    high: F64,
    low: F64,
    total: F64,
) -> None:
    """Rows are instruments. scales: float64[m, 4]: price, volume, quote, tick (price units per tick)."""
    limit = time.shape[1]
    for s in range(values.shape[0]):
        for k in range(limit):
            time[s, k] = _FAR
        count[s] = 0
        n = values[s, 6]
        if not n > 0.0:  # no trade, or no such bar (NaN)
            continue
        ps, vs, qs, tick = scales[s, 0], scales[s, 1], scales[s, 2], scales[s, 3]
        o, h = np.rint(values[s, 0] * ps), np.rint(values[s, 1] * ps)
        lo, c = np.rint(values[s, 2] * ps), np.rint(values[s, 3] * ps)
        v, q = np.rint(values[s, 4] * vs), np.rint(values[s, 5] * qs)
        tv, tq = np.rint(values[s, 7] * vs), np.rint(values[s, 8] * qs)
        steps = int(min(n, float(limit)))
        if steps == 1 and o != c:  # an odd recording: one trade, two prices
            steps = 2
        count[s] = steps
        key = _mix(keys[s] ^ _mix(np.uint64(open_ms[s])))
        # way points: open at 0, two extremes between, close at the end
        first, second = 0, steps - 1
        low_first = (_uniform(key, 1) < 0.7) == (c >= o)
        if steps >= 4:
            first = 1 + int(_uniform(key, 2) * 0.6 * (steps - 3))
            second = first + 1 + int(_uniform(key, 3) * (steps - 2 - first))
        elif steps == 3:
            first = second = 1
        a, b = (lo, h) if low_first else (h, lo)
        if steps == 3:  # room for one extreme: the one that open and close do not reach
            a = h if h > max(o, c) else lo
            b = a
        # volume of each step by random weights, in whole units, at least one where there are enough
        weight = 0.0
        for k in range(steps):
            u = _uniform(key, 16 + 4 * k)
            weight += 0.1 + u * u * u * 6.0
        spare = v - steps if v >= steps else v
        floor = 1.0 if v >= steps else 0.0
        done, paid, taken = 0.0, 0.0, 0.0
        for k in range(steps):
            time[s, k] = open_ms[s] + int((k + _uniform(key, 17 + 4 * k)) * base_ms / steps)
            if k == 0:
                p = o
            elif k == steps - 1:
                p = c
            elif k == first:
                p = a
            elif k == second:
                p = b
            else:
                if k < first:
                    p = o + (a - o) * k / first
                elif k < second:
                    p = a + (b - a) * (k - first) / (second - first)
                else:
                    p = b + (c - b) * (k - second) / (steps - 1 - second)
                p += (h - lo) * 0.25 * (_uniform(key, 18 + 4 * k) - 0.5)
                p = min(max(lo + np.rint((p - lo) / tick) * tick, lo), h)
            price[s, k] = p
            high[s, k] = p if k == 0 else max(p, high[s, k - 1])
            low[s, k] = p if k == 0 else min(p, low[s, k - 1])
            u = _uniform(key, 16 + 4 * k)
            done += 0.1 + u * u * u * 6.0
            volume = floor * (k + 1) + np.floor(spare * min(done / weight, 1.0))
            taker = np.floor(tv * (volume / v)) if v > 0.0 else 0.0
            before = total[s, k - 1, 0] if k else 0.0
            before_taker = total[s, k - 1, 3] if k else 0.0
            paid += p * (volume - before)
            taken += p * (taker - before_taker)
            total[s, k, 0] = volume
            total[s, k, 1] = paid
            total[s, k, 2] = max(k + 1 + np.floor((n - steps) * (k + 1) / steps), 1.0)
            total[s, k, 3] = taker
            total[s, k, 4] = taken
        # quote sums in proportion to price * volume, so that they end on the bar's own
        for k in range(steps):
            quote = np.rint(q * (total[s, k, 1] / paid)) if paid > 0.0 else 0.0
            taker_quote = np.rint(tq * (total[s, k, 4] / taken)) if taken > 0.0 else 0.0
            total[s, k, 1] = min(quote, q)
            total[s, k, 4] = min(taker_quote, tq, total[s, k, 1])
        end = steps - 1
        high[s, end], low[s, end] = h, lo
        total[s, end, 0], total[s, end, 1], total[s, end, 2] = v, q, n
        total[s, end, 3], total[s, end, 4] = tv, tq


def make_steps(values: F64, open_ms: I64, keys: np.ndarray, scales: F64, base_ms: int) -> Steps:
    """The synthetic path of one base bar of each of m instruments.

    values   float64[m, 9], final values; NaN rows (no such bar) and rows without trades have no steps
    open_ms  int64[m]
    keys     uint64[m], one random number per instrument
    scales   float64[m, 4]: 10**price decimals, 10**volume decimals, 10**quote decimals, tick in units
    base_ms  length of the bars
    The first step has price open (if the bar has more than one trade), the last step is the bar.
    """
    m = len(values)
    busiest = np.nanmax(values[:, 6]) if m and not np.isnan(values[:, 6]).all() else 0.0
    k = max(2, int(min(busiest, MAX_STEPS)))
    steps = Steps(
        np.empty(m, np.int64),
        np.empty((m, k), np.int64),
        np.empty((m, k)),
        np.empty((m, k)),
        np.empty((m, k)),
        np.empty((m, k, 5)),
    )
    _fill(values, open_ms, keys, scales, base_ms, *steps)
    return steps


def steps_of_trades(
    trade_ms: I64, price: F64, quantity: F64, quote: F64, buyer_is_maker: np.ndarray
) -> Steps:
    """The real path of one bar of one instrument: its trades in order, in units. m is 1."""
    n = len(trade_ms)
    taker = np.where(buyer_is_maker, 0.0, 1.0)
    columns = [quantity, quote, np.ones(n), quantity * taker, quote * taker]
    if n == 0:
        empty = np.zeros((1, 1))
        return Steps(np.zeros(1, np.int64), np.full((1, 1), _FAR), empty, empty, empty, np.zeros((1, 1, 5)))
    total = np.cumsum(np.stack(columns, axis=1), axis=0)
    return Steps(
        np.array([n]),
        trade_ms[None, :].astype(np.int64),
        price[None, :],
        np.maximum.accumulate(price)[None, :],
        np.minimum.accumulate(price)[None, :],
        total[None, :, :],
    )


@njit(cache=True, nogil=True)
def _last_step(time: I64, s: int, count: int, now_ms: int) -> int:
    """Number of steps with time <= now_ms."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if time[s, middle] <= now_ms:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _forming(
    count: I64,
    time: I64,
    price: F64,
    high: F64,
    low: F64,
    total: F64,
    since_ms: int,
    now_ms: int,
    out: F64,
    last_ms: I64,
    changed: np.ndarray,
) -> None:
    for s in range(len(count)):
        k = _last_step(time, s, count[s], now_ms)
        changed[s] = k > 0 and time[s, k - 1] > since_ms
        last_ms[s] = time[s, k - 1] if k else _NEVER
        if k == 0:
            for j in range(9):
                out[s, j] = 0.0
            continue
        out[s, 0], out[s, 1], out[s, 2], out[s, 3] = (
            price[s, 0],
            high[s, k - 1],
            low[s, k - 1],
            price[s, k - 1],
        )
        for j in range(5):
            out[s, 4 + j] = total[s, k - 1, j]


def forming(steps: Steps, since_ms: int, now_ms: int) -> tuple[F64, I64, np.ndarray]:
    """The bars at now_ms, of trades with time <= now_ms.

    Returns (float64[m, 9] in UNITS, zeros before the first trade; int64[m] time of the last trade counted,
    -1 if none; bool[m] whether a trade fell into (since_ms, now_ms]).
    """
    m = len(steps.size)
    out, last, changed = np.empty((m, 9)), np.empty(m, np.int64), np.empty(m, np.bool_)
    _forming(*steps, since_ms, now_ms, out, last, changed)
    return out, last, changed


@njit(cache=True, nogil=True)
def _seconds(
    count: int,
    time: I64,
    price: F64,
    total: F64,
    open_ms: int,
    n_bars: int,
    now_ms: int,
    out: F64,
    first: I64,
) -> None:
    """Adds the steps of instrument 0 up to now_ms to second bars; out: float64[n_bars, 9] of units."""
    for k in range(count):
        if time[0, k] > now_ms:
            break
        bar = (time[0, k] - open_ms) // 1000
        if bar < 0 or bar >= n_bars:
            continue
        p = price[0, k]
        if out[bar, 6] == 0.0:
            out[bar, 0] = out[bar, 1] = out[bar, 2] = p
            first[bar] = int(total[0, k - 1, 2]) if k else 0
        out[bar, 1] = max(out[bar, 1], p)
        out[bar, 2] = min(out[bar, 2], p)
        out[bar, 3] = p
        for j in range(5):
            out[bar, 4 + j] += total[0, k, j] - (total[0, k - 1, j] if k else 0.0)


def second_rows(steps: Steps, open_ms: int, now_ms: int, base_ms: int = 60_000) -> tuple[F64, I64]:
    """1s bars of one instrument's base bar (m is 1), of trades with time <= now_ms.

    Returns (float64[base_ms / 1000, 9] in UNITS, all zero where there was no trade; int64: number of
    trades of the base bar before each second's first, 0 where there was none).
    """
    n = base_ms // 1000
    out, first = np.zeros((n, 9)), np.zeros(n, np.int64)
    _seconds(int(steps.size[0]), steps.time, steps.price, steps.total, open_ms, n, now_ms, out, first)
    return out, first
