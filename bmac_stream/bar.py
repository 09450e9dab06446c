"""A bar: its columns, its interval, and the number it has on the interval's grid.

Bars are numbered: `open_time = origin_ms(interval) + g * interval_ms`, so that all symbols share one
phase and a bar's place in every ring follows from its time alone.

Binance's intervals are INTERVALS_MS. Bars that are made here of shorter ones may have other lengths, too:
`made_interval_ms`.
"""

import re
from datetime import UTC, datetime
from typing import Final

__all__ = [
    "COLUMNS",
    "INTERVALS_MS",
    "N_COLUMNS",
    "bar_number",
    "floor_open_time",
    "interval_ms",
    "interval_name",
    "length_ms",
    "made_interval_ms",
    "open_time",
    "origin_ms",
    "utc_text",
]

COLUMNS: Final = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trade_num",
    "taker_buy_base_asset_volume",
    "taker_buy_quote_asset_volume",
)
"""BMAC's column names, in BMAC's order; float64 each. On coin-margined markets `volume` and
`taker_buy_base_asset_volume` are in contracts, `quote_volume` and `taker_buy_quote_asset_volume` in the
base asset, as BMAC has them."""

N_COLUMNS: Final = len(COLUMNS)

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

INTERVALS_MS: Final = {
    "1s": 1_000,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
}
"""Every interval that is supported, in milliseconds. 1M is not: months have no fixed length."""

_MONDAY: Final = 4 * _DAY  # 1970-01-05 00:00 UTC; Binance's weeks open on Monday, the epoch was a Thursday


def interval_ms(interval: str) -> int:
    """Length of `interval` in ms. KeyError if it is not one of INTERVALS_MS."""
    return INTERVALS_MS[interval]


def length_ms(interval: str) -> int | None:
    """Length in ms of a Binance interval, or of any whole number of minutes or hours ("45m", "3h"); None if
    it is neither."""
    if interval in INTERVALS_MS:
        return INTERVALS_MS[interval]
    if found := re.fullmatch(r"([1-9][0-9]{0,4})([mh])", interval):
        return int(found[1]) * (_HOUR if found[2] == "h" else _MINUTE)
    return None


def interval_name(ms: int) -> str:
    """The one name of a length: Binance's if it has one, else in hours, minutes or ms ("3h", "90m", "250ms").
    `length_ms` of it is the length again, but for odd ms."""
    for name, length in INTERVALS_MS.items():
        if length == ms:
            return name
    for unit, name in ((_HOUR, "h"), (_MINUTE, "m")):
        if ms > 0 and ms % unit == 0:
            return f"{ms // unit}{name}"
    return f"{ms}ms"


def made_interval_ms(interval: str, base_ms: int) -> int:
    """Length in ms of bars of `interval` that are made of bars of `base_ms`.

    They are whole numbers, 2 at least, of those, and divide a day evenly, so that every day has the same
    ones. ValueError says what is wrong, and names the nearest that there are.
    """
    ms = length_ms(interval)
    if ms is None:
        raise ValueError(
            f"{interval[:40]!r} is no interval: a number of minutes or hours that divides a day,"
            " such as 10m, 90m, 6h or 1d"
        )
    there_are = [n * base_ms for n in range(2, _DAY // base_ms + 1) if _DAY % (n * base_ms) == 0]
    there_are = [one for one in there_are if one % _MINUTE == 0]
    if ms in there_are:
        return ms
    nearest = [*(one for one in there_are if one < ms)][-1:] + [*(one for one in there_are if one > ms)][:1]
    base = interval_name(base_ms)
    if ms % base_ms or ms <= base_ms:
        why = f"must be a multiple of {base}, found {interval}"
    elif ms > _DAY:
        why = f"must be at most 1d, found {interval}"
    else:
        why = f"must divide a day evenly, {interval} does not"
    names = " and ".join(map(interval_name, nearest))
    raise ValueError(f"{why}; nearest: {names}" if names else f"{why}; none can be made of {base}")


def origin_ms(interval: str) -> int:
    """The open_time of bar number 0, int64 ms UTC: the epoch, or its first Monday for weeks."""
    return _MONDAY if interval == "1w" else 0


def bar_number(open_time_ms: int, interval: str) -> int:
    """The number of the bar that opens at `open_time_ms`. ValueError if that is not on the grid."""
    g, rest = divmod(open_time_ms - origin_ms(interval), INTERVALS_MS[interval])
    if rest:
        raise ValueError(f"open_time {open_time_ms} is {rest} ms off the grid of {interval}")
    return g


def open_time(g: int, interval: str) -> int:
    """The open_time of bar number g, int64 ms UTC."""
    return origin_ms(interval) + g * INTERVALS_MS[interval]


def floor_open_time(time_ms: float, interval: str) -> int:
    """The open_time of the bar that `time_ms` falls into: its left edge, inclusive."""
    step = INTERVALS_MS[interval]
    return int((time_ms - origin_ms(interval)) // step) * step + origin_ms(interval)


def utc_text(time_ms: float) -> str:
    """A moment (ms UTC) for people: "2026-01-31 23:59:00", UTC."""
    return datetime.fromtimestamp(time_ms / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S")
