"""Bars into the store: order, bars that wait for an older one, settling, late fills, revisions.

One BarWriter belongs to one event loop and is the only user of its StoreWriter. No socket, no `async`; the
clock is asked only to refuse bars of the future. The rules (DESIGN.md, "Store"):

* a symbol's bars are published one after the other; g+1 waits here until g is a bar, absent or pending;
* history goes into a symbol oldest first while it is invisible; live bars wait here meanwhile;
* a run_time is complete when every readable symbol has settled its bar; readers wake then, and once;
* what comes after that is a correction; an older report never replaces a newer one.
"""

import logging
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shm import Status, StoreWriter

from .backfill import ABSENT, BAR, UNKNOWN, Answer
from .bar import INTERVALS_MS, N_COLUMNS, origin_ms, utc_text
from .binance.protocol import Kline
from .clock import Clock
from .grace import Grace

__all__ = ["MAX_WAITING", "BarWriter", "Counts", "Extra", "Origin", "Series", "State"]

log = logging.getLogger("bmac_stream.writer")

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

MAX_WAITING: Final = 128
"""Closed bars of one symbol that may wait for an older one. Beyond it the oldest go: REST has them too."""

STAMPS: Final = 16
"""How many bars back it is known when each was reported. A power of two."""

PENDING: Final = int(Status.PENDING)
assert (BAR, ABSENT, UNKNOWN) == (Status.BAR, Status.ABSENT, Status.EMPTY), "one numbering of statuses"


class State(IntEnum):
    """What a symbol is to the store."""

    EXPECTED = 0  # no slot yet: its first bar is not known
    LOADING = 1  # history goes in; invisible to readers
    ACTIVE = 2  # readable; every live bar is published at once


class Origin(IntEnum):
    """Where a bar came from."""

    WS = 0
    REST = 1
    SNAPSHOT = 2


class _Waiting(NamedTuple):
    values: tuple[float, ...] | F64
    status: int
    stamp_ms: float
    origin: Origin


class Series:
    """One symbol on its way into the store.

    next_g      number of the bar to publish next
    seen_g      newest bar of which any frame was seen, -1: none
    waiting     closed bars after a hole, by number
    pending     bars published as pending, still to be fetched
    doubtful    published bars which a frame and the store tell differently: REST shall decide
    stamps      when the newest STAMPS bars were reported, ms (exchange time; 0: not known)
    """

    __slots__ = (
        "doubtful",
        "forming_ms",
        "next_g",
        "pending",
        "seen_g",
        "slot",
        "stamps",
        "state",
        "symbol",
        "waiting",
    )

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.slot = -1
        self.state = State.EXPECTED
        self.next_g = -1
        self.seen_g = -1
        self.forming_ms = 0
        self.waiting: dict[int, _Waiting] = {}
        self.pending: set[int] = set()
        self.doubtful: set[int] = set()
        self.stamps = [0.0] * STAMPS


class Counts:
    """What happened, since the last `take`. Names are those of the store's counters."""

    __slots__ = (
        "absent_bars",
        "corrections",
        "duplicate_bars",
        "early_frames",
        "foreign_frames",
        "late_fills",
        "pending_bars",
        "repaired_bars",
        "rest_bars",
        "revised_bars",
        "snapshot_bars",
        "stale_frames",
        "waiting_dropped",
        "ws_bars",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    absent_bars: int  # the exchange itself has none
    corrections: int  # published bars written again, for any reason
    duplicate_bars: int  # the same bar told again
    early_frames: int  # of a bar that cannot be yet, by the clock
    foreign_frames: int  # of a symbol nobody asked for
    late_fills: int  # pending bars that came
    pending_bars: int  # not here when their run_time was completed
    repaired_bars: int  # live bars that REST brought, in time or late
    rest_bars: int  # bars that REST brought, history included
    revised_bars: int  # published bars that the exchange told differently later
    snapshot_bars: int  # bars that a snapshot brought
    stale_frames: int  # older than what is known already
    waiting_dropped: int  # bars that waited for too many
    ws_bars: int  # bars that frames brought

    def take(self) -> dict[str, int]:
        """The counts that are not 0; they are 0 afterwards."""
        found = {name: n for name in self.__slots__ if (n := getattr(self, name))}
        for name in found:
            setattr(self, name, 0)
        return found


class Extra(Protocol):
    """Columns that stand beside the exchange's own in every bar, such as the funding rate.

    They are written with the bar and say what was known then; `BarWriter.renew` brings later knowledge in.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def row(self, symbol: str, close_ms: int) -> tuple[float, ...]:
        """The values for the bar of `symbol` that closes at `close_ms`; NaN: not known."""
        ...

    def rows(self, symbol: str, close_ms: I64) -> F64:
        """The same for many bars: float64[n, len(columns)]."""
        ...


class BarWriter:
    """Brings bars into `store`, in order.

    window       bars of history per symbol that are wanted (older holes are left alone)
    extra        columns of the store after bar.COLUMNS; None: it has none
    grace        learns from the delays of closing frames
    on_complete  called after each completed run_time with its bar's number
    on_early     called when a closed bar of the future came: the clock is wrong, or the frame is
    """

    def __init__(
        self,
        store: StoreWriter,
        interval: str,
        window: int,
        clock: Clock,
        grace: Grace,
        *,
        extra: Extra | None = None,
        on_complete: Callable[[int], None] = lambda g: None,
        on_early: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.extra = extra
        self.window = window
        self.clock = clock
        self.grace = grace
        self.on_complete = on_complete
        self.on_early = on_early
        self.counts = Counts()
        self.series: dict[str, Series] = {}
        self.live = False
        """False: history is being read, no run_time is completed."""
        self.last_symbol = ""
        """Whose bar was the last one in the newest run_time."""
        self._step = INTERVALS_MS[interval]
        self._origin = origin_ms(interval)
        self._early_ms = max(2_000.0, 100.0 * clock.rate)
        width, wanted = len(store.spec.columns), N_COLUMNS + (0 if extra is None else len(extra.columns))
        if width != wanted:
            raise ValueError(f"{store.path} has rows of {width} columns, bars have {wanted}")
        self._feeder = store.feed()
        self._row = self._feeder.row
        self._limit_g = 0  # bars below it are known to have begun
        self._target = store.complete_g + 1  # the bar to complete next
        self._behind = 0  # ACTIVE symbols with next_g <= target

    # ------------------------------------------------------------------------------------- what time it is

    def close_ms(self, g: int) -> int:
        """When bar g closes: its run_time, exchange ms."""
        return self._origin + (g + 1) * self._step

    def now_g(self) -> int:
        """The bar that is forming now, by the clock. All below it are closed."""
        return int((self.clock.now_ms() - self._origin) // self._step)

    # ------------------------------------------------------------------------------------------ symbols

    def resume(self) -> list[str]:
        """Take up the symbols that the store already holds; their names. Pending cells are noted."""
        for symbol, slot in self.store.symbols.items():
            series = self.series[symbol] = Series(symbol)
            series.slot = slot
            series.state = State.ACTIVE
            series.next_g = self.store.count(slot)
            first = max(self.store.first_g(slot), series.next_g - self.window)
            if first < series.next_g:
                _, status = self.store.read(slot, first, series.next_g - first)
                series.pending = {first + int(i) for i in np.flatnonzero(status == PENDING)}
        self._count_behind()
        return list(self.series)

    def expect(self, symbol: str) -> Series:
        """A symbol whose bars are wanted from now on; its frames wait until its history is loaded."""
        return self.series.setdefault(symbol, Series(symbol))

    def remove(self, symbol: str) -> None:
        """The symbol is no longer traded: its slot is closed, what was published stays."""
        series = self.series.pop(symbol)
        if series.slot >= 0:
            self.store.remove_symbol(series.slot)
        if series.state is State.ACTIVE:
            self._count_behind()
            self._complete_if_settled()

    def begin(self, symbol: str, first_g: int) -> None:
        """The symbol's oldest bar is known: give it a slot. StoreFull harms nobody else."""
        series = self.series[symbol]
        assert series.state is State.EXPECTED
        series.slot = self.store.add_symbol(symbol, first_g)
        series.state = State.LOADING
        series.next_g = first_g

    def activate(self, symbol: str) -> bool:
        """Make a loaded symbol readable, with what has waited for it. False if it is behind the panel:
        its missing bars must come first."""
        series = self.series[symbol]
        assert series.state is State.LOADING
        self._load_waiting(series)
        if series.next_g < self._target:
            return False
        self.store.activate(series.slot)
        series.state = State.ACTIVE
        self._behind += series.next_g == self._target
        return True

    def go_live(self) -> None:
        """History is there: complete run_times from now on, beginning with the newest one that is whole."""
        self.live = True
        if not any(series.state is State.ACTIVE for series in self.series.values()):
            self._target = max(self._target, self.now_g())
        self._complete_if_settled()

    # -------------------------------------------------------------------------------------------- frames

    def frame(self, kline: Kline) -> None:
        """Take one checked frame. Never raises for what a frame says; costs a few microseconds."""
        series = self.series.get(kline.symbol)
        if series is None:
            self.counts.foreign_frames += 1
            return
        g = (kline.open_time - self._origin) // self._step
        if g >= self._limit_g:
            self._limit_g = int((self.clock.now_ms() + self._early_ms - self._origin) // self._step) + 1
            if g >= self._limit_g:
                self.counts.early_frames += 1
                self.on_early()
                return
        if kline.is_closed:
            if kline.event_time < kline.close_time:
                # sent before the bar was over: whatever its flag says, this is no closing frame
                self.counts.early_frames += 1
                return
            now_ms = self.clock.now_ms()
            late_ms = now_ms - (kline.close_time + 1)
            if late_ms < -self._early_ms or kline.event_time > now_ms + self._early_ms:
                self.counts.early_frames += 1
                self.on_early()
                return
            if g > series.seen_g or g >= series.next_g - 1:
                self.grace.frame(late_ms)
            if g > series.seen_g:
                series.seen_g = g
            self._take(series, g, kline.values, BAR, float(kline.event_time), Origin.WS)
        elif g >= series.next_g:
            if kline.event_time > kline.close_time + 60_000 + self._early_ms:
                self.counts.early_frames += 1  # taken for true, it would make all that follow it stale
                return
            if kline.event_time < series.forming_ms:
                self.counts.stale_frames += 1
                return
            series.forming_ms = kline.event_time
            if g > series.seen_g:
                series.seen_g = g
            if series.state is State.ACTIVE:
                self._whole(series.symbol, g, kline.values)
                self._feeder.write_forming(series.slot, g)

    # ------------------------------------------------------------------------------------ REST, snapshots

    def answer(
        self,
        symbol: str,
        answer: Answer,
        stamp_ms: float,
        origin: Origin = Origin.REST,
        *,
        final: bool = False,
    ) -> None:
        """Take what REST (or a snapshot) says of consecutive bars.

        stamp_ms  exchange time from which the answer is, at least
        final     it was asked for often enough: what it does not know is published as pending

        A symbol without a slot gets one at the answer's first bar. One that is loading takes the bars from
        its next_g on, holes as pending; the unknown ones at the end are left for later. One that is
        readable takes each bar by the rules of frames.
        """
        series = self.series.get(symbol)
        if series is None:
            return  # delisted meanwhile
        g, values, status = answer
        if series.state is State.EXPECTED:
            bars = np.flatnonzero(status == BAR)
            if not len(bars):
                return
            self.begin(symbol, g + int(bars[0]))
        if series.state is State.LOADING:
            self._load(series, answer, stamp_ms, origin, final=final)
            return
        self._compare(series, answer, stamp_ms, origin)
        known = np.flatnonzero(status != UNKNOWN)
        for i in known[known >= series.next_g - g]:
            row, word = values[i], int(status[i])
            if final:
                self.skip(symbol, g + int(i))
            self._take(series, g + int(i), row, word, stamp_ms, origin)
        if final:
            self.skip(symbol, g + len(status))

    def missing(self, symbol: str, end: int) -> list[int]:
        """Bars below `end` that REST should be asked for: not here, pending, or doubtful. At most `window`
        back from the end."""
        series = self.series[symbol]
        oldest = end - self.window
        if series.next_g < 0:
            return []
        for old in (series.pending, series.doubtful):
            if old and min(old) < oldest:  # left the window: nobody reads it any more
                old.intersection_update([g for g in old if g >= oldest])
        holes = [g for g in range(max(series.next_g, oldest), end) if g not in series.waiting]
        holes += [g for g in series.pending if oldest <= g < end]
        holes += [g for g in series.doubtful if oldest <= g < end]
        return sorted(holes)

    def decided(self, symbol: str, numbers: Iterable[int]) -> None:
        """REST was asked for doubtful bars and has answered: they are settled, whatever it said."""
        if (series := self.series.get(symbol)) is not None:
            series.doubtful.difference_update(numbers)

    # ------------------------------------------------------------------------------------------ settling

    @property
    def target(self) -> int:
        """The bar that is to be completed next."""
        return self._target

    def behind(self, g: int) -> list[Series]:
        """Readable symbols whose bar g is not settled; those without any frame of that bar first."""
        found = [one for one in self.series.values() if one.state is State.ACTIVE and one.next_g <= g]
        found.sort(key=lambda one: one.seen_g >= g)
        return found

    def settle(self, g: int) -> list[str]:
        """Publish what is still missing up to bar g as pending, and complete g. Names of the missing."""
        late = self.behind(g)
        for series in late:
            self._leave(series, g + 1)
        self._count_behind()
        if self._target <= g:
            self._publish(g)
        self._complete_if_settled()
        return [series.symbol for series in late]

    def skip(self, symbol: str, g: int) -> None:
        """Publish what is missing before g as pending: nobody waits for it any more."""
        series = self.series[symbol]
        assert series.state is State.ACTIVE
        if series.next_g < g:
            self._leave(series, g)
            self._count_behind()
            self._complete_if_settled()

    # ------------------------------------------------------------------------------------------- within

    def _take(
        self,
        series: Series,
        g: int,
        values: tuple[float, ...] | F64,
        status: int,
        stamp_ms: float,
        origin: Origin,
    ) -> None:
        """One settled bar of a symbol in any state."""
        if series.state is State.ACTIVE:
            if g == series.next_g:
                self._append(series, g, values, status, stamp_ms, origin)
                if series.waiting:
                    self._drain(series)
                if self._behind == 0:
                    self._complete_if_settled()
                return
            if g < series.next_g:
                self._late(series, g, values, status, stamp_ms, origin)
                return
        elif g < series.next_g:
            self.counts.duplicate_bars += 1
            return
        before = series.waiting.get(g)
        if before is not None:
            # as in `_late`: REST may lose a bar that was once told, and lack one that a frame tells later
            lost = before.status == BAR and status != BAR
            found = before.status != BAR and status == BAR
            if lost or (before.stamp_ms >= stamp_ms and not found):
                self.counts.duplicate_bars += 1
                if before.status == status == BAR and tuple(before.values) != tuple(values):
                    self._doubt(series, g, origin)
                return
        series.waiting[g] = _Waiting(values, status, stamp_ms, origin)
        if len(series.waiting) > MAX_WAITING:
            del series.waiting[min(series.waiting)]
            self.counts.waiting_dropped += 1

    def _append(
        self,
        series: Series,
        g: int,
        values: tuple[float, ...] | F64,
        status: int,
        stamp_ms: float,
        origin: Origin,
    ) -> None:
        self._whole(series.symbol, g, values, status)
        self._feeder.append(series.slot, g, status)
        series.stamps[g & (STAMPS - 1)] = stamp_ms
        series.next_g = g + 1
        if g == self._target:
            self._behind -= 1
            self.last_symbol = series.symbol
        self._counted(status, origin, 1)

    def _whole(self, symbol: str, g: int, values: tuple[float, ...] | F64, status: int = BAR) -> F64:
        """The row of the store: the exchange's columns, and the extra ones, NaN where there is no bar. It is
        the feeder's buffer every time."""
        row = self._row
        row[:N_COLUMNS] = values
        if self.extra is not None:
            row[N_COLUMNS:] = self.extra.row(symbol, self.close_ms(g)) if status == BAR else np.nan
        return row

    def renew(self, symbol: str, since_ms: int) -> int:
        """Write the extra columns of the bars of `symbol` that close after `since_ms` anew, where more is
        known now than when they were written: as corrections. How many there were."""
        series = self.series.get(symbol)
        if series is None or series.state is not State.ACTIVE:
            return 0
        first = (since_ms - self._origin) // self._step
        start = max(first, series.next_g - self.window, self.store.first_g(series.slot))
        if start >= series.next_g:
            return 0
        stored, words = self.store.read(series.slot, start, series.next_g - start)
        assert self.extra is not None
        known = self.extra.rows(symbol, self.close_ms(0) + np.arange(start, series.next_g) * self._step)
        written = stored[:, N_COLUMNS:]
        known = np.where(np.isnan(known), written, known)  # what was known once is not forgotten
        other = ((known != written) & ~np.isnan(known)).any(axis=1) & (words == BAR)
        for i in np.flatnonzero(other):
            row = np.concatenate((stored[i, :N_COLUMNS], known[i]))
            self.store.correct(series.slot, start + int(i), row, BAR)
        self.counts.corrections += int(other.sum())
        return int(other.sum())

    def _drain(self, series: Series) -> None:
        """Publish what has waited, as far as it goes on without a hole."""
        while (bar := series.waiting.pop(series.next_g, None)) is not None:
            self._append(series, series.next_g, bar.values, bar.status, bar.stamp_ms, bar.origin)
        if series.waiting and min(series.waiting) < series.next_g:
            series.waiting = {g: bar for g, bar in series.waiting.items() if g > series.next_g}

    def _leave(self, series: Series, end: int) -> None:
        """Publish everything before `end`: what waits as it is, the rest as pending."""
        while series.next_g < end:
            if series.next_g in series.waiting:
                self._drain(series)
                continue
            self._skip(series, min([end, *(one for one in series.waiting if one > series.next_g)]))
        self._drain(series)

    def _skip(self, series: Series, end: int) -> None:
        """Publish [next_g, end) as pending."""
        start = series.next_g
        self.store.skip_to(series.slot, end)
        wanted = max(start, end - self.window)
        series.pending = {g for g in series.pending if g >= end - self.window}
        series.pending.update(range(wanted, end))
        for g in range(max(start, end - STAMPS), end):
            series.stamps[g & (STAMPS - 1)] = 0.0
        series.next_g = end
        self.counts.pending_bars += end - start

    def _late(
        self,
        series: Series,
        g: int,
        values: tuple[float, ...] | F64,
        status: int,
        stamp_ms: float,
        origin: Origin,
    ) -> None:
        """A bar that is published already is told once more."""
        if g < series.next_g - self.window or g < self.store.first_g(series.slot):
            self.counts.stale_frames += 1
            return
        row = self._whole(series.symbol, g, values, status)
        recent = g >= series.next_g - STAMPS
        at = g & (STAMPS - 1)
        stored, words = self.store.read(series.slot, g, 1)
        word = int(words[0])
        told, was = row[:N_COLUMNS].tobytes(), stored[0, :N_COLUMNS].tobytes()
        if word == status == BAR:  # nor is it here
            np.copyto(row[N_COLUMNS:], stored[0, N_COLUMNS:], where=np.isnan(row[N_COLUMNS:]))
        if word == status and (status != BAR or told == was):
            self.counts.duplicate_bars += 1
            if recent:
                series.stamps[at] = max(series.stamps[at], stamp_ms)
            series.doubtful.discard(g)
            return
        if word == BAR:
            if status != BAR:
                self.counts.stale_frames += 1  # REST lost a bar that it once told: ours stays
                return
            newer = stamp_ms > series.stamps[at] if recent else origin is Origin.REST
            if not newer:
                self.counts.stale_frames += 1
                self._doubt(series, g, origin)
                return
        self.store.correct(series.slot, g, row, status)
        self.counts.corrections += 1
        if recent:
            series.stamps[at] = stamp_ms
        if word == PENDING:
            series.pending.discard(g)
            self.counts.late_fills += status == BAR
            self._counted(status, origin, 1)
        else:
            self.counts.revised_bars += 1
            log.warning(
                "revised: %s run_time %s UTC, by %s: %s -> %s",
                series.symbol, utc_text(self.close_ms(g)), origin.name, _text(stored[0]), _text(row),
            )  # fmt: skip

    def _doubt(self, series: Series, g: int, origin: Origin) -> None:
        """A frame that is older than what we have of bar g says otherwise: REST is to be asked once more."""
        if origin is Origin.WS and len(series.doubtful) < MAX_WAITING:
            series.doubtful.add(g)

    def _compare(self, series: Series, answer: Answer, stamp_ms: float, origin: Origin) -> None:
        """The part of an answer that is published already: fill what is pending, correct what differs."""
        g, values, status = answer
        start = max(g, series.next_g - self.window, self.store.first_g(series.slot))
        end = min(g + len(status), series.next_g)
        if start >= end:
            return
        stored, words = self.store.read(series.slot, start, end - start)
        part, told = values[start - g : end - g], status[start - g : end - g]
        same = (words == told) & ((told != BAR) | (stored[:, :N_COLUMNS] == part).all(axis=1))
        for i in np.flatnonzero(~same & (told != UNKNOWN)):
            self._late(series, start + int(i), part[i], int(told[i]), stamp_ms, origin)

    def _load(
        self, series: Series, answer: Answer, stamp_ms: float, origin: Origin, *, final: bool = False
    ) -> None:
        """Bars of an answer into a symbol that is loading, from its next_g on; unless `final`, the unknown
        ones at its end are left out."""
        g, values, status = answer
        known = np.arange(len(status)) if final else np.flatnonzero(status != UNKNOWN)
        if not len(known):
            return
        start, end = max(g, series.next_g), g + int(known[-1]) + 1
        if start >= end:
            return
        assert start == series.next_g, (
            f"{series.symbol}: history goes on at {start}, expected {series.next_g}"
        )
        part = values[start - g : end - g].copy()
        words = status[start - g : end - g].copy()
        stamps: dict[int, float] = {}
        for one in [one for one in series.waiting if start <= one < end]:
            bar, i = series.waiting.pop(one), one - start
            if bar.status != BAR:
                continue
            if words[i] != BAR or bar.stamp_ms > stamp_ms:  # it is not in this answer, or newer than it
                part[i], words[i], stamps[one] = bar.values, BAR, bar.stamp_ms
            elif tuple(bar.values) != tuple(part[i]):
                self._doubt(series, one, bar.origin)
        holes = np.flatnonzero(words == UNKNOWN)
        words[holes] = PENDING
        if self.extra is not None:
            beside = self.extra.rows(series.symbol, self.close_ms(0) + np.arange(start, end) * self._step)
            beside[words != BAR] = np.nan
            part = np.hstack((part, beside))
        self.store.load(series.slot, start, part, words)
        series.next_g = end
        series.pending.update(start + int(i) for i in holes)
        for one in range(max(start, end - STAMPS), end):
            series.stamps[one & (STAMPS - 1)] = stamps.get(one, stamp_ms)
        n_bars = int(np.count_nonzero(words == BAR))
        self._counted(BAR, origin, n_bars)
        self._counted(ABSENT, origin, len(words) - n_bars - len(holes))
        self.counts.pending_bars += len(holes)

    def _load_waiting(self, series: Series) -> None:
        """Live bars that waited for a symbol's history, as far as they go on without a hole."""
        while (bar := series.waiting.pop(series.next_g, None)) is not None:
            row = np.asarray(bar.values, np.float64).reshape(1, N_COLUMNS)
            self._load(
                series,
                Answer(series.next_g, row, np.array([bar.status], np.uint8)),
                bar.stamp_ms,
                bar.origin,
            )
        series.waiting = {g: bar for g, bar in series.waiting.items() if g > series.next_g}

    def _counted(self, status: int, origin: Origin, n: int) -> None:
        if status == ABSENT:
            self.counts.absent_bars += n
        elif origin is Origin.WS:
            self.counts.ws_bars += n
        elif origin is Origin.REST:
            self.counts.rest_bars += n
            self.counts.repaired_bars += n * self.live
        else:
            self.counts.snapshot_bars += n

    def _count_behind(self) -> None:
        self._behind = sum(
            series.state is State.ACTIVE and series.next_g <= self._target for series in self.series.values()
        )

    def _complete_if_settled(self) -> None:
        """Complete the newest run_time for which every readable symbol is settled."""
        if not self.live or self._behind:
            return
        newest = min(
            (series.next_g for series in self.series.values() if series.state is State.ACTIVE), default=0
        )
        if newest - 1 >= self._target:
            self._publish(newest - 1)

    def _publish(self, g: int) -> None:
        self.store.complete(g)
        self._target = g + 1
        self._count_behind()
        self.on_complete(g)


def _text(values: F64) -> str:
    return "[" + " ".join(f"{value:.10g}" for value in values) + "]"
