"""At every bar's close: wait for the frames, ask REST for what is missing, settle, and say how it went.

Also asks again for what was published as pending, and has mute symbols subscribed anew.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from .backfill import BAR, CLOSE_MARGIN_MS
from .bar import COLUMNS
from .clock import Clock
from .grace import Grace
from .writer import BarWriter, State

if TYPE_CHECKING:
    from .fetcher import Fetcher

__all__ = ["Closer", "Completed", "names_of", "summary"]

log = logging.getLogger("bmac_stream.collector")

NAMES_SHOWN: Final = 10
MUTE_BARS: Final = (2, 6, 18, 54)
"""After so many bars of which REST knows trades and no frame was seen, a symbol is subscribed anew."""
FRAME_LATE_MS: Final = 5_000
"""Frames may be so late: at intervals of a second the exchange's own timer is longer than a bar."""
LOOKED_AT: Final = 50
"""Mute symbols looked at per bar: when more are mute, a connection is, and its watchdog sees to that."""
MEND_EVERY_MS: Final = 1_000.0
ASK_AGAIN_MS: Final = 500.0
_TRADES: Final = COLUMNS.index("trade_num")


class Completed(NamedTuple):
    """How a run_time came to be complete.

    g            number of its bar
    run_time     its close, ms UTC
    n_bars       bars that were completed at once, this one last
    n_active     readable symbols
    pending      those of them that it was completed without
    asked        requests for missing bars since the last one
    after_ms     how long after its close, exchange ms
    last_symbol  whose bar came last; "" if it was completed by its deadline
    """

    g: int
    run_time: int
    n_bars: int
    n_active: int
    pending: list[str]
    asked: int
    after_ms: float
    last_symbol: str


def summary(done: Completed, *, brief: bool = False) -> str:
    """A run_time in one line; `brief`: only what follows the number of symbols."""
    text = f", complete after {done.after_ms / 1e3:.2f} s"
    if done.n_bars > 1:
        text += f", {done.n_bars} bars at once"
    if done.asked:
        text += f", {done.asked} by REST"
    if brief:
        return text
    if done.pending:
        text += f", pending: {names_of(done.pending)}"
    return f"{_utc(done.run_time)}, {done.n_active - len(done.pending)}/{done.n_active} symbols ready{text}"


def _log_summary(done: Completed) -> None:
    log.info("%s", summary(done))


class Closer:
    """The deadlines of every close.

    resubscribe   called with symbols whose frames do not come though others' do
    on_pending    called with symbols that a run_time was completed without
    on_completed  told of every completed run_time; by default it is logged
    """

    def __init__(
        self,
        writer: BarWriter,
        fetcher: "Fetcher",
        clock: Clock,
        grace: Grace,
        *,
        resubscribe: Callable[[list[str]], None] = lambda symbols: None,
        on_pending: Callable[[list[str]], None] = lambda symbols: None,
        on_completed: Callable[[Completed], None] = _log_summary,
    ) -> None:
        self.n_completed = 0
        """Run_times completed by this process."""
        self.last_complete_ms = 0.0
        """How long after its close the newest run_time was complete, exchange ms."""
        self.completed = asyncio.Event()
        """Set at every completed run_time."""
        self._writer = writer
        self._fetcher = fetcher
        self._clock = clock
        self._grace = grace
        self._resubscribe = resubscribe
        self._on_pending = on_pending
        self._on_completed = on_completed
        self._mute: dict[str, int] = {}
        self._newest = writer.target - 1
        self._repairs = 0
        self._listening_from = -1  # the first bar of which frames would have been seen from its beginning
        writer.on_complete = self._on_complete

    async def run(self) -> None:
        """Watch every close, and mend what is pending. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._close())
            group.create_task(self._mend())

    async def _close(self) -> None:
        writer, grace = self._writer, self._grace
        while True:
            if not writer.live or self._clock.uncertainty_ms == math.inf:
                # with a clock that nobody has set, bars of the future might be settled, and never come back
                await self._wait(0.2)
                continue
            g = writer.target
            # asked sooner, a quiet symbol's row could not prove itself closed
            proof_ms = min(CLOSE_MARGIN_MS + self._clock.uncertainty_ms + 50, grace.limit_ms / 2)
            patience_ms = max(grace.grace_ms, proof_ms)
            if await self._completed(g, writer.close_ms(g) + patience_ms):
                continue
            # a loop that was held up finds several bars closed: they are settled together
            newest = max(g, self._closed_by(self._clock.now_ms() - patience_ms))
            late = writer.behind(newest)
            budget_ms = grace.settle_ms(len(late), self._fetcher.n_workers) - grace.grace_ms
            now_ms, limit_ms = self._clock.now_ms(), writer.close_ms(newest) + grace.limit_ms
            deadline_ms = now_ms + budget_ms
            if now_ms < limit_ms:  # else the loop was held up, and REST is to have its time all the same
                deadline_ms = min(deadline_ms, limit_ms)
            while (now_ms := self._clock.now_ms()) < deadline_ms:
                for series in late:
                    if series.next_g <= newest:
                        self._fetcher.repair(series.symbol)
                if await self._completed(newest, min(deadline_ms, now_ms + ASK_AGAIN_MS)):
                    break
            else:
                if pending := writer.settle(newest):
                    self._on_pending(pending)

    async def _mend(self) -> None:
        """Ask again for pending bars, for doubtful ones, and for holes that live bars wait behind."""
        while True:
            await asyncio.sleep(max(self._clock.wall_s(MEND_EVERY_MS), 0.05))
            now_g = self._writer.now_g()
            for series in list(self._writer.series.values()):
                if series.state is State.ACTIVE and (
                    series.pending or series.doubtful or series.next_g + 1 < now_g
                ):
                    self._fetcher.repair(series.symbol)

    def _closed_by(self, time_ms: float) -> int:
        """The newest bar that was closed at `time_ms`."""
        first = self._writer.target
        step = self._writer.close_ms(first + 1) - self._writer.close_ms(first)
        return first + int((time_ms - self._writer.close_ms(first)) // step)

    async def _completed(self, g: int, deadline_ms: float) -> bool:
        """Wait until bar g is complete, at most until `deadline_ms`; whether it is."""
        while self._writer.target <= g:
            left_s = self._clock.wall_s(deadline_ms - self._clock.now_ms())
            if left_s <= 0:
                return False
            await self._wait(min(left_s, 1.0))  # the clock may be set meanwhile
        return True

    async def _wait(self, timeout_s: float) -> None:
        self.completed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self.completed.wait()
        except TimeoutError:
            return

    # -------------------------------------------------------------------------------------------- telling

    def _on_complete(self, g: int) -> None:
        writer = self._writer
        n_bars, self._newest = g - self._newest, g
        if self.n_completed == 0:
            n_bars = 1
        self.n_completed += n_bars
        self._grace.bar_over()
        self.last_complete_ms = self._clock.now_ms() - writer.close_ms(g)
        active = [series for series in writer.series.values() if series.state is State.ACTIVE]
        pending = [series.symbol for series in active if g in series.pending]
        asked, self._repairs = self._fetcher.repairs - self._repairs, self._fetcher.repairs
        last = "" if pending else writer.last_symbol
        self._on_completed(
            Completed(g, writer.close_ms(g), n_bars, len(active), pending, asked, self.last_complete_ms, last)
        )
        if self._listening_from < 0:
            self._listening_from = writer.now_g() + 1
        if g >= self._listening_from:
            self._listen_for_mute(g)
        self.completed.set()

    def _listen_for_mute(self, g: int) -> None:
        """Symbols of which no frame came during a bar in which they traded."""
        writer = self._writer
        heard_g = g - FRAME_LATE_MS // (writer.close_ms(g) - writer.close_ms(g - 1))
        quiet = [
            series
            for series in writer.series.values()
            if series.state is State.ACTIVE and series.seen_g < heard_g and g not in series.pending
        ]
        mute = {series.symbol for series in quiet}
        for symbol in [symbol for symbol in self._mute if symbol not in mute]:
            del self._mute[symbol]
        again = []
        for series in quiet[:LOOKED_AT]:
            values, status = writer.store.read(series.slot, g, 1)
            if int(status[0]) == BAR and values[0, _TRADES] > 0:
                self._mute[series.symbol] = n = self._mute.get(series.symbol, 0) + 1
                if n in MUTE_BARS:
                    again.append(series.symbol)
        if again and len(quiet) <= LOOKED_AT:
            log.warning("no frames of %s for some bars: subscribed anew", names_of(again))
            self._resubscribe(again)


def names_of(symbols: Iterable[str]) -> str:
    """The first NAMES_SHOWN names, and how many more there are."""
    names = list(symbols)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return " ".join(names[:NAMES_SHOWN]) + more


def _utc(time_ms: float) -> str:
    return datetime.fromtimestamp(time_ms / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S")
