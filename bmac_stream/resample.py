"""Longer bars from shorter ones: which bars make one, and what they make. Pure: no store, no process.

`python -m bmac_stream.resample CFG` keeps the stores that a config's `resample` asks for: see
bmac_stream.resample_process.

A bar of n base bars has the open of the first one that had a trade, the close of the last, the highest high,
the lowest low, and the sums of the rest. What else is promised (docs/decisions/0068-resampled-bars.md):

* A base bar that the exchange does not have (absent) adds nothing. One without a trade gives its price only
  if none of the others had one: a longer bar is made of trades.
* If one base bar is not known (pending), the longer bar is pending, not half of itself.
* All absent: absent.
* Columns beside the exchange's own (funding) say what is the case at a bar's end: they are the last one's.
* The exchange's sums are sums of decimals, and so are these wherever float64 tells the decimals apart. That
  is the case below 2**53 units of the last digit; then they equal the exchange's own longer bars to the bit.
  Beyond, they are sums with compensation, at most 2 units in the last place from the exact one.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from bmac_stream.bar import COLUMNS, N_COLUMNS, made_interval_ms
from shm import Status

__all__ = ["Grid", "fold", "fold_slots", "grid_of"]

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

_SUMS: Final = COLUMNS.index("volume")
_TRADES: Final = COLUMNS.index("trade_num")
assert COLUMNS[:_SUMS] == ("open", "high", "low", "close"), "fold has the prices first"

_BAR: Final = int(Status.BAR)
_ABSENT: Final = int(Status.ABSENT)
_PENDING: Final = int(Status.PENDING)

_DIGITS: Final = 8
"""Binance writes no number with more digits after the point."""
_EXACT: Final = 2.0**53


class Grid(NamedTuple):
    """How numbers of longer bars and of base bars belong together.

    interval_ms, origin_ms  of the longer bars: bar g opens at origin_ms + g * interval_ms
    n                       base bars in a longer one
    shift                   number of the first base bar of bar 0
    """

    interval_ms: int
    origin_ms: int
    n: int
    shift: int

    def first(self, g: int) -> int:
        """Number of the first base bar of bar g; of bar g + 1: the base bar after its last."""
        return self.shift + g * self.n

    def holding(self, base_g: int) -> int:
        """Number of the bar that base bar `base_g` belongs to."""
        return (base_g - self.shift) // self.n


def grid_of(base_interval_ms: int, base_origin_ms: int, interval: str, offset_min: int = 0) -> Grid:
    """The grid of bars of `interval` (of bar.made_interval_ms) made of base bars of this length and origin.
    The day's first one begins `offset_min` minutes after midnight UTC. ValueError says why there is none."""
    length = made_interval_ms(interval, base_interval_ms)
    if not 0 <= offset_min * 60_000 < length:
        raise ValueError(
            f"an offset of {interval} is 0 to {length // 60_000 - 1} minutes, found {offset_min}"
        )
    origin = offset_min * 60_000  # lengths divide a day, and the epoch was a midnight
    shift, rest = divmod(origin - base_origin_ms, base_interval_ms)
    if rest:
        raise ValueError(
            f"an offset of {offset_min} minutes is not a whole number of bars of"
            f" {base_interval_ms / 60_000:g} minutes"
        )
    return Grid(length, origin, length // base_interval_ms, shift)


def fold(rows: F64, n: int, *, lead: int = 0, partly: bool = False) -> tuple[F64, U8]:
    """Consecutive longer bars made of base bars: (values float64[m, n_columns], status uint8[m]).

    rows    float64[n_columns + 1, k]: base bars, oldest first, status in the last row; the first columns are
            the exchange's.
            A view of a store is good enough
    n       base bars in a longer one; k is m * n - lead
    lead    so many base bars before `rows` are certain not to exist: the symbol began within the first bar
    partly  a bar that is not over, or of which some are pending, is made of what is known: for forming bars.
            Then k may be anything
    NaN in every value where the status is not BAR.
    """
    m = -(-(rows.shape[1] + lead) // n)
    assert rows.shape[0] > N_COLUMNS and 0 <= lead < n
    assert partly or (rows.shape[1] + lead) % n == 0, "whole bars only"
    values = np.full((m, rows.shape[0] - 1), np.nan)
    status = np.empty(m, np.uint8)
    _fold(rows, n, lead, partly, values, status)
    return values, status


def fold_slots(data: F64, slots: npt.NDArray[np.int64], at: int, n: int) -> tuple[F64, U8]:
    """`fold` of the same n base bars of many slots: (values float64[m, n_columns], status uint8[m]).

    data   float64[n_slots, ..., cells]: a store's; the bars are its cells at ... at + n - 1
    slots  int64[m]
    """
    values = np.full((len(slots), data.shape[1] - 1), np.nan)
    status = np.empty(len(slots), np.uint8)
    _fold_slots(data, slots, at, n, values, status)
    return values, status


@njit(cache=True, nogil=True, error_model="numpy")
def _fold(rows: Any, n: int, lead: int, partly: bool, values: Any, status: Any) -> None:
    columns, k = rows.shape[0] - 1, rows.shape[1]
    for i in range(len(values)):
        low, high = max(0, i * n - lead), min(k, (i + 1) * n - lead)
        bars = pending = 0
        for j in range(low, high):
            bars += rows[columns, j] == _BAR
            pending += rows[columns, j] == _PENDING
        if pending and not partly:
            status[i] = _PENDING
            continue
        status[i] = _BAR if bars else _ABSENT
        if not bars:
            continue
        traded = False
        began = False
        for j in range(low, high):
            if rows[columns, j] != _BAR:
                continue
            trades = rows[_TRADES, j] > 0.0
            if not began or (trades and not traded):
                for c in range(_SUMS):
                    values[i, c] = rows[c, j]
                began = True
            elif trades:
                values[i, 1] = max(values[i, 1], rows[1, j])
                values[i, 2] = min(values[i, 2], rows[2, j])
            if trades or not traded:
                values[i, 3] = rows[3, j]
            traded = traded or trades
        for c in range(_SUMS, N_COLUMNS):
            values[i, c] = _sum(rows, c, low, high)
        for c in range(N_COLUMNS, columns):
            for j in range(low, high):
                if rows[columns, j] == _BAR:
                    values[i, c] = rows[c, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(rows: Any, c: int, low: int, high: int) -> float:
    """The sum of the bars' values in column c: of their decimals, if float64 tells them apart."""
    status = rows.shape[0] - 1
    total, rest = 0.0, 0.0
    for j in range(low, high):
        if rows[status, j] != _BAR:
            continue
        x = rows[c, j]
        t = total + x  # Neumaier: what the addition loses is kept apart
        if abs(total) >= abs(x):
            rest += (total - t) + x
        else:
            rest += (x - t) + total
        total = t
    total += rest
    scale, digits = 1.0, 0
    while digits < _DIGITS and abs(total) * scale * 10.0 < _EXACT:
        scale *= 10.0
        digits += 1
    if not abs(total) * scale < _EXACT:  # too large, or not a number
        return total
    units = 0
    for j in range(low, high):
        if rows[status, j] != _BAR:
            continue
        x = rows[c, j]
        whole = np.rint(x * scale)
        if whole / scale != x:  # it has more digits than that
            return total
        units += int(whole)
    return units / scale


@njit(cache=True, nogil=True, error_model="numpy")
def _fold_slots(data: Any, slots: Any, at: int, n: int, values: Any, status: Any) -> None:
    for i in range(len(slots)):
        _fold(data[slots[i], :, at : at + n], n, 0, False, values[i : i + 1], status[i : i + 1])


if __name__ == "__main__":
    from bmac_stream.resample_process import command_line

    command_line()
