"""The one clock: exchange time, from the exchange's /time and this machine's monotonic clock.

Market waits (bar close, grace, weight windows) use exchange time, so that a market replayed at `rate` R
runs R times faster for the collector too. Time-outs of sockets are wall time and do not come here.
The system's wall clock is never read: it may jump, and an exchange's own clock is what bars go by.
"""

import asyncio
import time

__all__ = ["Clock"]


class Clock:
    """Exchange time in ms: an anchor taken at `sync`, plus monotonic time since, times `rate`.

    rate  exchange seconds per wall second: 1.0 live, above 1 for a time-lapse replay.

    Before the first `sync` the clock follows the system's wall clock (`synced` is False).
    Not thread-safe: one event loop owns it.
    """

    def __init__(self, rate: float = 1.0) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, found {rate}")
        self.rate = rate
        self.synced = False
        self.offset_ms = 0.0
        """Exchange time minus the system's wall clock at the last sync, ms (0 before, and for replays)."""
        self.uncertainty_ms = float("inf")
        """Half of the round trip of the sync in force, in exchange ms."""
        self._anchor_ms = time.time() * 1e3
        self._anchor_mono = time.monotonic()

    def now_ms(self) -> float:
        """Exchange time now, ms UTC."""
        return self._anchor_ms + (time.monotonic() - self._anchor_mono) * 1e3 * self.rate

    def sync(self, server_ms: float, sent_mono: float, received_mono: float) -> float:
        """Anchor the clock to a `/time` answer; returns how far it was moved, ms.

        The answer is taken to be of the middle of its round trip [sent_mono, received_mono]
        (time.monotonic(), seconds). An error is at most half of the round trip: `uncertainty_ms`.
        """
        before = self.now_ms()
        now = time.monotonic()
        middle = (sent_mono + received_mono) / 2
        self._anchor_ms = server_ms + (now - middle) * 1e3 * self.rate
        self._anchor_mono = now
        self.uncertainty_ms = (received_mono - sent_mono) / 2 * 1e3 * self.rate
        moved = self._anchor_ms - before if self.synced else 0.0
        self.synced = True
        self.offset_ms = self._anchor_ms - time.time() * 1e3 if self.rate == 1.0 else 0.0
        return moved

    def wall_s(self, exchange_ms: float) -> float:
        """How many wall seconds `exchange_ms` of exchange time last."""
        return exchange_ms / 1e3 / self.rate

    async def sleep_until(self, exchange_ms: float) -> None:
        """Sleep until exchange time `exchange_ms`; returns at once if it is past. Follows re-syncs."""
        while (left := self.wall_s(exchange_ms - self.now_ms())) > 0:
            await asyncio.sleep(min(left, 1.0))
