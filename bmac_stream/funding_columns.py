"""Two columns of every bar, with `"funding_rate": true`: the rate settled last, and the next settlement.

funding_rate       the rate settled last strictly before the bar's close, a fraction per funding period;
                   NaN: none is known (a delivery contract)
next_funding_time  when the first settlement at or after the bar's close is due, ms UTC, a whole minute (it is
                   listed as some ms later); NaN: none is known

Both had been made public when the bar closed, in history as live, so that a factor made of them knows nothing
of the future. What the exchange expects a rate to become is in the store `Store.funding`.
"""

from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["COLUMNS", "FundingColumns"]

COLUMNS: Final = ("funding_rate", "next_funding_time")

MINUTE_MS: Final = 60_000
_KEPT: Final = 20_000
"""Settlements of one symbol that are remembered: 2 years of hourly ones."""


class FundingColumns:
    """What is known of settlements; a `writer.Extra`."""

    columns = COLUMNS

    def __init__(self) -> None:
        self._times: dict[str, list[int]] = {}
        self._rates: dict[str, list[float]] = {}
        self._dues: dict[str, list[int]] = {}  # settled or expected, whole minutes

    def settled(self, symbol: str, time_ms: int, rate: float) -> bool:
        """A settlement became known, in any order. Whether it is news."""
        times, rates = self._times.setdefault(symbol, []), self._rates.setdefault(symbol, [])
        i = bisect_left(times, time_ms)
        if i < len(times) and times[i] == time_ms:
            known, rates[i] = rates[i], rate
            return known != rate
        times.insert(i, time_ms)
        rates.insert(i, rate)
        self._due(symbol, time_ms)
        del times[:-_KEPT], rates[:-_KEPT]
        return True

    def expected(self, symbol: str, time_ms: int, now_ms: float) -> None:
        """When the next settlement is due, by what the exchange says at `now_ms`."""
        dues = self._dues.get(symbol, [])
        del dues[bisect_right(dues, now_ms) :]  # what it said before of the time to come
        self._due(symbol, time_ms)

    def _due(self, symbol: str, time_ms: int) -> None:
        dues, due = self._dues.setdefault(symbol, []), time_ms // MINUTE_MS * MINUTE_MS
        i = bisect_left(dues, due)
        if i == len(dues) or dues[i] != due:
            dues.insert(i, due)
        del dues[:-_KEPT]

    def row(self, symbol: str, close_ms: int) -> tuple[float, float]:
        """(funding_rate, next_funding_time) of the bar that closes at `close_ms`."""
        i = bisect_left(self._times.get(symbol, ()), close_ms)
        dues = self._dues.get(symbol, ())
        k = bisect_left(dues, close_ms)
        return self._rates[symbol][i - 1] if i else np.nan, float(dues[k]) if k < len(dues) else np.nan

    def rows(self, symbol: str, close_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The same for many bars: float64[n, 2]."""
        times = np.array(self._times.get(symbol, []), np.int64)
        dues = np.array(self._dues.get(symbol, []), np.int64)
        rate = np.array([np.nan, *self._rates.get(symbol, [])])[np.searchsorted(times, close_ms)]
        due = np.append(dues.astype(np.float64), np.nan)[np.searchsorted(dues, close_ms)]
        return np.column_stack((rate, due))
