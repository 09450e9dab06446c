"""The console lines that BMAC users know, in BMAC's order, each said when the thing has happened.

They are said when the collector was started BMAC's way (`config.bmac_files_wanted`: on a folder with a
config.json); else a collector says one summary a bar. Either way nothing is said for a single frame.

What differs from BMAC, because the work is done differently: history is read in one round of all symbols at
once; groups are listed after the history although they listen before it; the number of symbols ready is said
every second only while some are missing; the summary says how long after its close a run_time was complete.
Times are the exchange's, in the zone of `ready_timezone` (BMAC: Hong Kong).
"""

import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from bmac_stream import __version__
from bmac_stream.alerts.events import alert
from bmac_stream.clock import Clock
from bmac_stream.closing import Completed, names_of, summary
from bmac_stream.config import Config
from bmac_stream.writer import BarWriter, State

__all__ = ["WIDTH", "Console", "divider"]

log = logging.getLogger("bmac_stream.collector")

WIDTH: Final = 72
"""Of a divider, as BMAC's."""
EVERY_MS: Final = 1_000.0
"""Between two counts of the symbols that are ready, exchange time."""
ROUND_EVERY_S: Final = 5.0
"""Between two lines about the history, wall time."""


def divider(text: str, mark: str = "=") -> str:
    """`text` amid a line of marks, WIDTH wide."""
    return f" {text} ".center(WIDTH, mark)


class Console:
    """What a collector says about its work.

    bmac  whether in BMAC's words
    """

    def __init__(self, config: Config) -> None:
        self.bmac = config.bmac_files_wanted
        self._config = config
        self._zone = ZoneInfo(config.ready_timezone)
        self._clock: Clock | None = None
        self._next_round = -math.inf
        self._told_g = -1  # the bar whose divider was said
        self._next_count = 0.0  # exchange ms

    # ----------------------------------------------------------------------------------------- beginning

    def banner(self) -> None:
        """The collector begins."""
        if not self.bmac:
            return
        config = self._config
        now = datetime.now(self._zone).strftime("%Y-%m-%d %H:%M:%S")
        log.info("%s", divider(f"Start Bmac Stream {__version__} {now}"))
        log.info(
            "🔵 interval=%s, type=%s, num_candles=%r, funding_rate=%r, keep_symbols=%r",
            config.interval, config.trade_type, config.num_candles, config.funding_rate, config.keep_symbols,
        )  # fmt: skip
        for what, name in (("Candle", config.trade_type), ("Exchange info", "exginfo")):
            log.info("🔵 %s data dir %s, initializing", what, config.path(f"{name}_{config.interval}"))

    def follow(self, clock: Clock) -> None:
        """From now on times are those of `clock`."""
        self._clock = clock

    def history(self, symbols: Collection[str], weight: int) -> None:
        """The history of these symbols begins to be read; `weight` is used in this minute."""
        if not self.bmac or not symbols:
            return
        log.info("%s", divider(f"Init history round 1 {self._now():%Y-%m-%d %H:%M:%S}", "-"))
        self._server_time("", weight)
        log.info("Symbol range: %s -- %s", min(symbols), max(symbols))
        self._next_round = time.monotonic() + ROUND_EVERY_S

    def reading(self, n_finished: int, n_left: int, weight: int) -> None:
        """So many symbols have their history; may be called often."""
        if not self.bmac or (now := time.monotonic()) < self._next_round:
            return
        self._next_round = now + ROUND_EVERY_S
        self._server_time("", weight)
        log.info("%d finished, %d left", n_finished, n_left)

    def history_over(self, n_finished: int, n_left: int, weight: int) -> None:
        """The history has been read, or what could not be had of it is left."""
        if not self.bmac:
            return
        log.info("%s %d finished, %d left", "🔔" if n_left else "✅", n_finished, n_left)
        self._server_time("✅ History initialized, ", weight)

    def live(self, groups: Mapping[int, int]) -> None:
        """The market is live; sockets that are open, with the number of symbols of each."""
        if self.bmac:
            for group, n_symbols in sorted(groups.items()):
                log.info("Create WS listen group %d, %d symbols", group, n_symbols)

    # --------------------------------------------------------------------------------------- every bar

    def tick(self, writer: BarWriter) -> None:
        """Look whether a bar has closed and what it waits for; called a few times a second."""
        if not self.bmac or not writer.live or self._clock is None:
            return
        now_ms, g = self._clock.now_ms(), writer.target
        # a collector that is far behind says nothing of bars whose time is over
        if not 0 <= now_ms - writer.close_ms(g) < self._config.interval_ms:
            return
        self._begin(g, writer.close_ms(g))
        if now_ms >= self._next_count:
            self._next_count = now_ms + EVERY_MS
            active = sum(one.state is State.ACTIVE for one in writer.series.values())
            late = len(writer.behind(g))
            log.info("%s, %d/%d symbols ready", self._now(), active - late, active)

    def completed(self, done: Completed) -> None:
        """A run_time is complete."""
        if not self.bmac:
            log.info("%s", summary(done))
            return
        self._begin(done.g, done.run_time)
        if done.pending:
            log.info(
                "🔔 Symbols not ready for runtime %s: %s", self._at(done.run_time), names_of(done.pending)
            )
            ready = f"{done.n_active - len(done.pending)}/{done.n_active} symbols ready"
        else:
            ready = "all symbols ready"
        log.info("%s %s, %s%s", "🔔" if done.pending else "✅", self._now(), ready, summary(done, brief=True))
        if done.last_symbol:
            log.info("🔵 Last updated %s %s", done.last_symbol, self._at(done.run_time + done.after_ms))

    def infos_updated(self) -> None:
        """Exchange infos were read."""
        if self.bmac:
            log.info("✅ %s, Exchange infos updated", self._now())

    def funding_updated(self) -> None:
        """Funding fees were read."""
        if self.bmac:
            log.info("✅ %s, Funding fees updated", self._now())

    def changed(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Symbols that are collected from now on, or no longer. Both are told as alerts."""
        if removed:
            text = "Remove not trading symbols {%s}" if self.bmac else "no longer collected: %s"
            log.warning(text, self._list(removed), extra=alert("delisting"))
        if added:
            text = "Add listening new symbols {%s}" if self.bmac else "newly traded: %s"
            log.warning(text, self._list(added), extra=alert("listing"))

    # ------------------------------------------------------------------------------------------ helpers

    def _begin(self, g: int, run_time: int) -> None:
        """The divider above a bar's lines, once."""
        if g == self._told_g:
            return
        self._told_g = g
        self._next_count = 0.0
        config = self._config
        log.info(
            "%s", divider(f"Bmac {config.interval} {config.trade_type} update Runtime={self._at(run_time)}")
        )

    def _server_time(self, what: str, weight: int) -> None:
        log.info("%sServer time: %s, Used weight: %d", what, self._now(), weight)

    def _list(self, names: Sequence[str]) -> str:
        shown = [repr(name) if self.bmac else name for name in names[:20]]
        more = f"{', ' if self.bmac else ' '}and {len(names) - 20} more" if len(names) > 20 else ""
        return (", " if self.bmac else " ").join(shown) + more

    def _now(self) -> datetime:
        """Now, by the exchange's clock; by this machine's before there is one."""
        return self._at(self._clock.now_ms() if self._clock is not None else time.time() * 1e3)

    def _at(self, time_ms: float) -> datetime:
        return datetime.fromtimestamp(time_ms / 1e3, self._zone)
