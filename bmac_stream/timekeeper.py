"""Keeps the clock at the exchange's time: /time now and then, a jump told and weighed before it is believed.

Frames carry the exchange's time too. When /time suddenly says something that the frames contradict, the
frames are believed: bars go by them.
"""

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final

from .clock import Clock
from .errors import ExchangeError
from .quiet import Quiet

if TYPE_CHECKING:
    from .binance.rest import RestClient

__all__ = ["Timekeeper"]

log = logging.getLogger("bmac_stream.clock")

JUMP_MS: Final = 1_000.0
"""A sync that moves the clock by more than this is a jump, and told."""
LEAST_PAUSE_S: Final = 5.0
"""Between two syncs, wall seconds, however fast the exchange's time runs and however great the doubts."""
WORSE: Final = 3.0
"""A sync that knows so many times less than the one before does not replace it, unless they contradict."""
DRIFT_MS: Final = 20.0
"""What this machine's clock may lose in the time between two syncs."""
FRAME_EARLY_MS: Final = 500.0
FRAME_LATE_MS: Final = 5_000.0
"""A frame that is earlier or later by a clock which was never synced proves that clock wrong."""
FRAME_AGE_S: Final = 10.0
"""How long what a frame said of the time is remembered, wall seconds."""


class Timekeeper:
    """Syncs `clock` by `rest` every `every_s` exchange seconds.

    jumps  how often the clock was moved by more than JUMP_MS (scaled by the rate), or refused to be
    """

    def __init__(self, rest: "RestClient", clock: Clock, every_s: float) -> None:
        self.jumps = 0
        self._rest = rest
        self._clock = clock
        self._pause_s = max(clock.wall_s(every_s * 1e3), LEAST_PAUSE_S)
        self._jump_ms = JUMP_MS * max(1.0, clock.rate / 10)
        self._frame_ms = math.nan
        self._frame_mono = -math.inf
        self._soon = asyncio.Event()
        self._quiet = Quiet(log)

    def heard(self, event_ms: float) -> None:
        """A frame just came that the exchange sent at `event_ms`. Before the first sync it sets the clock,
        unless this machine's own fits."""
        self._frame_ms, self._frame_mono = event_ms, time.monotonic()
        clock = self._clock
        if clock.synced:
            return
        off_ms = event_ms - clock.now_ms()
        # of a replay's time this machine's own clock knows nothing
        if clock.rate != 1.0 or not -FRAME_LATE_MS <= off_ms <= FRAME_EARLY_MS:
            clock.sync(event_ms, self._frame_mono, self._frame_mono)
            clock.synced = False
        clock.uncertainty_ms = 10_000.0

    def doubt(self) -> None:
        """Something does not fit: sync soon."""
        self._soon.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LEAST_PAUSE_S)
            pause_s = self._pause_s - LEAST_PAUSE_S if self._clock.synced else 0.0
            try:
                async with asyncio.timeout(pause_s):
                    await self._soon.wait()
                await asyncio.sleep(0.5)  # doubts come in crowds
            except TimeoutError:
                pass
            self._soon.clear()
            try:
                await self.sync()
            except ExchangeError as error:
                self._quiet.warning("sync", "/time: %s: %s", type(error).__name__, error)

    async def sync(self) -> float:
        """Set the clock by the quickest of three answers, unless that would be a jump which the frames
        contradict; returns by how much it moved, ms. Raises what the REST client raises."""
        clock = self._clock
        first, uncertainty_ms = not clock.synced, clock.uncertainty_ms
        moved = await self._rest.sync_clock(3)
        now = time.monotonic()  # nothing else has run since the clock was set
        if (
            not first
            and abs(moved) <= clock.uncertainty_ms
            and clock.uncertainty_ms > WORSE * uncertainty_ms + 50
        ):
            # slow answers that say nothing new: the clock is better than they are
            clock.sync(clock.now_ms() - moved, now, now)
            clock.uncertainty_ms = uncertainty_ms + DRIFT_MS
            return 0.0
        if first or abs(moved) <= self._jump_ms + clock.uncertainty_ms:
            return moved
        self.jumps += 1
        if now - self._frame_mono < FRAME_AGE_S:
            by_frames = self._frame_ms + (now - self._frame_mono) * 1e3 * clock.rate
            after, before = clock.now_ms(), clock.now_ms() - moved
            if abs(before - by_frames) + self._jump_ms < abs(after - by_frames):
                clock.sync(before, now, now)
                clock.uncertainty_ms = uncertainty_ms
                self._quiet.error(
                    "refused",
                    "clock: /time is %+.0f ms off, but frames go on as before: it is not believed",
                    moved,
                )
                return 0.0
        log.error("clock: jumped by %+.0f ms; the exchange's time is followed", moved)
        return moved
