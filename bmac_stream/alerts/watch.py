"""When silence, late symbols and bans are worth a message. Pure: events and time in, alerts out.

A symbol is stale when it was not ready in so many run_times in a row as last STALE_S at least (3 at 1m, 1
from 3m on); the market is stale when half of it is not ready in one run_time, when the collector has been
catching up for CATCH_UP_S, and when nothing was heard of it for SILENT_S.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final

from bmac_stream.alerts.events import Bar, Beat

__all__ = ["CATCH_UP_S", "SILENT_S", "STALE_S", "Watch", "bars_until_stale"]

STALE_S: Final = 180.0
CATCH_UP_S: Final = 30.0
SILENT_S: Final = 10.0
MARKET_SHARE: Final = 0.5
NAMES_SHOWN: Final = 10
MAX_WATCHED: Final = 2_000
"""Symbols that are watched at once; there are not so many in any market."""


def bars_until_stale(interval_ms: int) -> int:
    """In how many run_times in a row a symbol must be missing to be told."""
    return max(1, math.ceil(STALE_S * 1e3 / interval_ms))


class Watch:
    """Remembers what was told, so that it is told once, and that it is over.

    interval_ms  length of a bar
    """

    def __init__(self, interval_ms: int, now: float) -> None:
        self._patience = bars_until_stale(interval_ms)
        self._missing: dict[str, int] = {}  # symbol -> run_times in a row
        self._told: set[str] = set()  # stale symbols
        self._market = False
        self._heard = now
        self._silent = False
        self._phase = ""
        self._behind_since = math.inf
        self._behind = False
        self._blocked = ""

    def bar(self, bar: Bar) -> Iterator[tuple[str, str]]:
        """Kinds and texts of alerts after a completed run_time."""
        if bar.active and bar.n_pending >= max(2, MARKET_SHARE * bar.active):
            if not self._market:
                self._market = True
                yield (
                    "stale",
                    f"market not ready: {bar.n_pending} of {bar.active} symbols were not ready in time",
                )
        elif self._market:
            self._market = False
            yield "recovery", f"market ready again: {bar.active - bar.n_pending} of {bar.active} symbols"
        pending = set(bar.pending)
        whole = bar.n_pending <= len(pending)  # else names are missing, and nobody is called ready
        back = [name for name in self._missing if name not in pending] if whole else []
        for name in back:
            del self._missing[name]
        for name in bar.pending:
            if name in self._missing or len(self._missing) < MAX_WATCHED:
                self._missing[name] = self._missing.get(name, 0) + 1
        stale = [name for name, n in self._missing.items() if n >= self._patience and name not in self._told]
        again = [name for name in back if name in self._told]
        self._told -= set(again)
        if stale and not self._market:
            self._told |= set(stale)
            times = f"{self._patience} run_times" if self._patience > 1 else "a run_time"
            yield "stale", f"not ready for {times}: {_names(stale)}"
        if again:
            yield "recovery", f"ready again: {_names(again)}"

    def gone(self, symbols: Iterable[str]) -> None:
        """These are no longer collected: they are neither late nor ready again."""
        for symbol in symbols:
            self._missing.pop(symbol, None)
            self._told.discard(symbol)

    def beat(self, beat: Beat, now: float) -> Iterator[tuple[str, str]]:
        """Alerts after a sign of life."""
        if self._silent:
            self._silent = False
            yield "recovery", f"the collector lives again after {now - self._heard:.0f} s"
        self._heard = now
        blocked = ("ban" if beat.banned else "limit") if beat.blocked_s > 0 else ""
        if blocked and blocked != self._blocked:
            what = "banned (HTTP 418)" if beat.banned else "told to wait (HTTP 429)"
            yield "ban", f"the exchange has {what} this address: no REST for {beat.blocked_s:.0f} s"
        elif self._blocked and not blocked:
            yield "recovery", "the exchange answers REST again"
        self._blocked = blocked
        if beat.phase == "live" and self._phase not in ("live", "catching up"):
            yield "start", "live"
        self._phase = beat.phase
        if beat.phase != "catching up":
            if self._behind:
                yield "recovery", "the collector has caught up"
            self._behind, self._behind_since = False, math.inf
        elif self._behind_since == math.inf:
            self._behind_since = now
        if beat.dropped:
            yield "lost", f"{beat.dropped} alerts were lost on their way: there were too many"

    def tick(self, now: float) -> Iterator[tuple[str, str]]:
        """Alerts because of what did not happen. To be asked every second or so."""
        if now - self._behind_since > CATCH_UP_S and not self._behind:
            self._behind = True
            yield "stale", f"the market's bars are late: catching up for {now - self._behind_since:.0f} s"
        if now - self._heard > SILENT_S and not self._silent:
            self._silent = True
            yield "stale", f"no sign of life from the collector for {now - self._heard:.0f} s"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return " ".join(names[:NAMES_SHOWN]) + more
