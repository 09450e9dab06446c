"""BmacKit's clock: Hong Kong time as BMAC has it, and the run_times of an interval.

    run_time = next_run_time("5m")               2026-11-22 20:05:00+08:00
    await sleep_until_run_time(run_time)

Times are this machine's own, as BMAC's were: a strategy that follows a store may as well `await` the
store's run_times, which go by the exchange's clock.

Where BMAC was wrong: it put every interval on a grid from Hong Kong's midnight, which is Binance's for
intervals that divide eight hours only. 6h, 12h, 1d, 3d and 1w are here on the grid in UTC on which Binance
closes them.
"""

import asyncio
import logging
import operator
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, SupportsIndex

__all__ = [
    "HONG_KONG",
    "async_sleep_until_run_time",
    "convert_interval_to_timedelta",
    "next_run_time",
    "now_time",
    "run_time_ms",
    "sleep_until_run_time",
]

log = logging.getLogger("bmac_stream.bmac_kit")

HONG_KONG: Final = timezone(timedelta(hours=8), "Asia/Hong_Kong")
"""BMAC's zone. It has had no daylight saving since 1979."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_UNITS_MS: Final = {
    "s": 1_000,
    "m": 60_000,
    "T": 60_000,
    "h": 3_600_000,
    "H": 3_600_000,
    "d": 86_400_000,
    "D": 86_400_000,
    "w": 604_800_000,
    "W": 604_800_000,
}
_MONDAY_MS: Final = 4 * 86_400_000  # Binance's weeks open on Monday; 1970-01-01 was a Thursday
_zone_said = False
_POLL_S: Final = 0.001
_CLOSE_S: Final = 0.02  # a sleep may end so late; what is left is slept in small steps


def now_time() -> datetime:
    """Now, in Hong Kong time with its zone."""
    return datetime.now(HONG_KONG)


def convert_interval_to_timedelta(interval: str) -> timedelta:
    """Length of "1m", "30T", "4h", "1H", "1d", "1w" (s, m or T, h or H, d, w). ValueError for anything else:
    months have no fixed length."""
    return timedelta(milliseconds=_grid(interval)[0])


def next_run_time(interval: str, *, offset_minutes: int = 0) -> datetime:
    """The next boundary of `interval`, strictly later than now, in Hong Kong time.

    The newest boundary there was is `next_run_time(interval) - convert_interval_to_timedelta(interval)`.
    offset_minutes  for bars that begin so many minutes past the grid (resampled stores)
    """
    step, origin = _grid(interval)
    origin += offset_minutes * 60_000
    now = run_time_ms(now_time())
    return (_EPOCH + ((now - origin) // step * step + step + origin) * _MS).astimezone(HONG_KONG)


async def async_sleep_until_run_time(run_time: datetime) -> None:
    """Sleep until `run_time` by this machine's clock; at once if it is past. To be awaited."""
    until_s = (_with_zone(run_time) - _EPOCH) / timedelta(seconds=1)
    while (left_s := until_s - time.time()) > 0:
        # never long: the clock may be set meanwhile
        await asyncio.sleep(min(left_s - _CLOSE_S, 1.0) if left_s > 2 * _CLOSE_S else _POLL_S)


sleep_until_run_time = async_sleep_until_run_time
"""The same, under the name in BmacKit's sample: it is awaited there too."""


def run_time_ms(run_time: datetime | SupportsIndex) -> int:
    """A run_time as int64 ms UTC. A time without a zone is Hong Kong's, which is said once; an int, numpy's
    too, is ms UTC already."""
    if not isinstance(run_time, datetime):
        return operator.index(run_time)
    if run_time.tzinfo is None:
        _say_zone(str(run_time), str(_with_zone(run_time).astimezone(UTC)))
    return (_with_zone(run_time) - _EPOCH) // _MS


def _say_zone(said: str, meant: str) -> None:
    """Once in a process. Of another zone it is a bar of hours ago, which BMAC's readers never found."""
    global _zone_said
    if not _zone_said:
        _zone_said = True
        log.warning("run_time %s has no zone: it is taken for Hong Kong's, that is %s", said, meant)


def _with_zone(run_time: datetime) -> datetime:
    return run_time.replace(tzinfo=HONG_KONG) if run_time.tzinfo is None else run_time


def _grid(interval: str) -> tuple[int, int]:
    """(length, origin) of an interval, ms."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smThHdDwW])", interval)
    if found is None:
        raise ValueError(
            f"an interval is a number and one of s, m (or T), h (or H), d, w, as '5m'; found {interval!r}"
        )
    unit = found[2]
    return int(found[1]) * _UNITS_MS[unit], _MONDAY_MS if unit in "wW" else 0
