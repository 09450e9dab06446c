"""Funding as a store beside the bars': what was expected at every run_time, and what was settled.

    store.funding["BTCUSDT"].column("settled_rate")        see COLUMNS

`{store}.funding` is an ordinary store of the bars' interval and origin, with a slot for every symbol that
/premiumIndex names. The collector reads that once per run_time, behind the bars in time and in weight; a
reading that fails until the patience is over is an ABSENT row, never an older reading. What was settled comes
from /fundingRate: the stored window once, then every settlement as it falls.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

import numpy as np

from shm import Spec, Status, StoreReader, StoreWriter

from .bar import utc_text
from .binance.protocol import FundingRate, PremiumIndex
from .binance.rest import RestClient
from .clock import Clock
from .errors import ApiError, ExchangeError, ShmError, StoreFull
from .funding_columns import FundingColumns
from .quiet import Quiet

__all__ = ["COLUMNS", "COUNTERS", "SUFFIX", "Funding", "funding_spec"]

log = logging.getLogger("bmac_stream.funding")

SUFFIX: Final = ".funding"
"""What the name of a funding store ends with, after that of its bars."""

COLUMNS: Final = ("funding_rate", "next_funding_time", "settled_rate", "mark_price", "index_price")
"""Columns of the store. The row of bar g belongs to its run_time, the bar's end:

funding_rate       lastFundingRate as /premiumIndex had it at that run_time; NaN where it is no number
next_funding_time  when the next settlement is due, ms UTC; NaN where there is none (delivery contracts)
settled_rate       the rate that was settled within the bar (open_time <= its fundingTime < run_time), the
                   sum if there were several; NaN if none was, or it is not known (yet: settled_until_ms)
mark_price, index_price   quote asset, from the same reading as funding_rate

Status BAR: /premiumIndex was read at that run_time and named the symbol. ABSENT: it was not; all but
settled_rate are NaN.
"""
_RATE, _NEXT, _SETTLED, _MARK, _INDEX = range(5)

COUNTERS: Final = ("reads", "misses", "settlements", "settled_until_ms")
"""reads, misses: run_times with and without a reading; settlements: rates written; settled_until_ms: exchange
time up to which every settlement is known."""

DELAY_MS: Final = 1_000.0
"""The first reading comes so long after a run_time: the exchange renews its answer once a second, and bars
that close have the first second for themselves."""
PATIENCE_MS: Final = 60_000.0
"""A reading that has not succeeded so long after the run_time is given up: a wall second at least, half
a bar at most."""
STALE_MS: Final = 60_000
"""A row that the exchange itself last renewed so long before the run_time says nothing of it."""
GONE_READS: Final = 10
"""A symbol that so many readings in a row do not name has ended: its slot is closed."""
SETTLED_MS: Final = 5_000.0
"""A settlement is asked for so long after it was due ..."""
AGAIN_MS: Final = 10_000.0
"""... and again after so long, if the exchange does not list it yet ..."""
GIVE_UP_MS: Final = 600_000.0
"""... until so long after it was due. As long back, the past is asked for again: some are listed late."""
SHORTEST_MS: Final = 3_600_000
"""No funding period is shorter."""
BEFORE_MS: Final = 86_400_000
"""The past is asked for from so long before the window on: its first bars have a rate settled last, too."""
PAGE: Final = 1000
"""Rows of a page of /fundingRate."""
SHARE: Final = 0.95
"""The past leaves this much of our weight to others."""
REOPEN_S: Final = 60.0
CHUNK: Final = 40
"""Symbols, or settlements, that are dealt with before bars have their turn again."""

_BAR, _ABSENT = int(Status.BAR), int(Status.ABSENT)
_T = TypeVar("_T")


def funding_spec(bars: Spec, name: str, max_symbols: int) -> Spec:
    """The funding store of the store `name` with the spec `bars`."""
    return Spec(
        columns=COLUMNS,
        window=bars.window,
        slack=bars.slack,
        max_symbols=max_symbols,
        interval_ms=bars.interval_ms,
        origin_ms=bars.origin_ms,
        source=bars.source,
        meta=json.dumps(json.loads(bars.meta) | {"kind": "funding", "bars": name}),
        forming_cells=0,
        counters=COUNTERS,
    )


class Funding:
    """Keeps the funding store of one collector. All on the collector's event loop.

    name, bars        of the store of the bars
    directory, mode, group   of the store to be made, as those of the bars
    rest, clock       the collector's
    columns           what the bars themselves say of funding, to be told of every settlement
    on_read           told after every reading that came in time
    on_miss           told of every run_time (ms UTC) without a reading
    on_settled        told when a settlement becomes known: (symbol, ms UTC)
    """

    def __init__(
        self,
        name: str,
        bars: Spec,
        rest: RestClient,
        clock: Clock,
        *,
        directory: str,
        mode: int = 0o600,
        group: str | None = None,
        columns: FundingColumns | None = None,
        on_read: Callable[[], None] = lambda: None,
        on_miss: Callable[[int], None] = lambda run_time: None,
        on_settled: Callable[[str, int], None] = lambda symbol, time_ms: None,
    ) -> None:
        self.name = name + SUFFIX
        self.columns = FundingColumns() if columns is None else columns
        self.known = asyncio.Event()
        """Set once the past of the window is known, from the store or from the exchange."""
        self.progress_at = time.monotonic()
        """When the exchange answered last."""
        self.store: StoreWriter | None = None
        """The writer, once the exchange has said which symbols there are."""
        self._bars_name, self._bars = name, bars
        self._rest, self._clock = rest, clock
        self._directory, self._mode, self._group = directory, mode, group
        self._on_read, self._on_miss, self._on_settled = on_read, on_miss, on_settled
        self._step, self._origin, self._window = bars.interval_ms, bars.origin_ms, bars.window
        self._patience_ms = min(max(PATIENCE_MS, 1e3 * clock.rate), self._step / 2)
        self._due: dict[str, int] = {}  # symbol -> settlement that is next, or not listed yet; ms
        self._ahead: dict[tuple[str, int], float] = {}  # settled in bars that are not published yet
        self._sums: dict[tuple[str, int], dict[int, float]] = {}  # settlements of bars that are not whole
        self._gone: dict[str, int] = {}  # symbol -> readings in a row that did not name it
        self._refused: set[str] = set()  # no slot left
        self._quiet = Quiet(log)

    # ------------------------------------------------------------------------------------------- life

    async def run(self) -> None:
        """Until cancelled. May be called again after an error."""
        if self.store is None:
            self.store = await self._open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(self.store))
            group.create_task(self._settle(self.store))

    def heartbeat(self) -> None:
        """Say that the writer lives."""
        if self.store is not None:
            self.store.heartbeat()

    def close(self) -> None:
        """Let go of the store; readers keep what is there."""
        if self.store is not None:
            self.store.close()
            self.store = None

    async def _open(self) -> StoreWriter:
        """The store, with a slot for every symbol there is, up to the bar before the newest one."""
        while True:
            if not self._clock.synced:
                await asyncio.sleep(0.2)
                continue
            rows = await self._patiently("premiumIndex", self._rest.premium_index)
            names = list(dict.fromkeys(row.symbol for row in rows))
            spec = funding_spec(self._bars, self._bars_name, self._slots_for(names))
            try:
                # on a thread: the file's pages are taken and filled
                store = await asyncio.to_thread(
                    StoreWriter.open, self.name, spec,
                    directory=self._directory, mode=self._mode, group=self._group,
                )  # fmt: skip
                break
            except (ShmError, OSError) as error:
                log.error("no funding: %s: %s; tried again in %g s", type(error).__name__, error, REOPEN_S)
            await asyncio.sleep(REOPEN_S)
        try:
            store.set_phase("history")
            await self._begin(store, names)
            self._expect(rows)
            self._recall(store)
        except BaseException:
            store.close()
            raise
        log.info("funding of %d symbols in store %s", len(store.symbols), store.path)
        return store

    def _slots_for(self, names: Sequence[str]) -> int:
        """As many as the store there is has, if all fit; else with room for a quarter more to come."""
        try:
            with StoreReader.attach(self.name, directory=self._directory) as reader:
                known = reader.symbols()
                found = reader.spec.max_symbols
                if reader.n_slots + sum(name not in known for name in names) <= found:
                    return found
        except ShmError:
            pass
        return len(names) * 5 // 4 + 16

    async def _begin(self, store: StoreWriter, names: Sequence[str]) -> None:
        """Give a new store its window of rows, to be filled with what was settled."""
        if store.complete_g >= 0:
            return
        newest = self._newest()
        first = max(0, newest - self._window)
        nothing = np.full((newest - first, len(COLUMNS)), np.nan)
        absent = np.full(len(nothing), _ABSENT, np.uint8)
        for i, name in enumerate(names):
            if name in store.symbols:
                continue  # of a collector that did not come further
            slot = store.add_symbol(name, first)
            store.load(slot, first, nothing, absent)
            store.activate(slot)
            if i % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        await self._fill_up(store, newest)
        if len(nothing):
            store.complete(newest - 1)

    def _recall(self, store: StoreWriter) -> None:
        """Settlements that a store which is taken up holds: each at the beginning of its bar. Longer bars
        hold sums of several, and a short window not the last one of every symbol: there the exchange is asked
        again."""
        if self._step > SHORTEST_MS:
            return
        for name, slot in store.symbols.items():
            end = store.count(slot)
            start = max(store.first_g(slot), end - self._window)
            if start < end:
                rates = store.read(slot, start, end - start)[0][:, _SETTLED]
                for i in np.flatnonzero(np.isfinite(rates)):
                    self.columns.settled(name, self._open_time(start + int(i)), float(rates[i]))

    # ------------------------------------------------------------------------------------ every run_time

    async def _follow(self, store: StoreWriter) -> None:
        """One row for every symbol at every run_time."""
        while True:
            g = max(self._newest(), store.complete_g + 1)
            run_time = self._run_time(g)
            asked = self._clock.now_ms() < run_time + self._patience_ms
            rows = await self._read(run_time) if asked else None
            store.add("misses" if rows is None else "reads")
            if asked and rows is None:
                self._quiet.warning("miss", "no funding rates for run_time %s UTC", utc_text(run_time))
                self._on_miss(run_time)
            await self._fill_up(store, g)
            self._publish(store, g, rows)
            if rows is not None:
                self._on_read()

    async def _read(self, run_time: int) -> list[PremiumIndex] | None:
        """What /premiumIndex says of `run_time`; None if it says nothing in time."""
        clock, governor = self._clock, self._rest.governor
        weight = self._rest.market.weights["premiumIndex"]
        until = run_time + self._patience_ms
        await self._sleep_until(run_time + DELAY_MS)
        pause_s = 0.25
        while (left_ms := until - clock.now_ms()) > 0:
            if governor.blocked_s > 0 or governor.used + weight > governor.capacity:
                await asyncio.sleep(min(0.05, clock.wall_s(left_ms)))  # bars go first
                continue
            try:
                async with asyncio.timeout(clock.wall_s(left_ms)):
                    rows = await self._rest.premium_index()
                if max((row.time_ms for row in rows), default=0) >= run_time:
                    return [row for row in rows if row.time_ms >= run_time - STALE_MS]
            except ExchangeError as error:
                self._quiet.warning("premiumIndex", "premiumIndex: %s: %s", type(error).__name__, error)
            except TimeoutError:
                return None
            await asyncio.sleep(min(pause_s, max(clock.wall_s(until - clock.now_ms()), 0.0)))
            pause_s = min(2 * pause_s, 8.0)
        return None

    async def _fill_up(self, store: StoreWriter, g: int) -> None:
        """Rows of bars before g that nobody read: this process was not there, or was held up."""
        nothing = np.full((self._window, len(COLUMNS)), np.nan)
        absent = np.full(self._window, _ABSENT, np.uint8)
        for i, slot in enumerate(list(store.symbols.values())):
            count = store.count(slot)
            start = max(count, g - self._window)
            if count < g:
                if start > count:
                    store.skip_to(slot, start)
                n = g - start
                store.append_rows(np.full(n, slot), np.arange(start, g), nothing[:n], absent[:n])
                if i % CHUNK == CHUNK - 1:
                    await asyncio.sleep(0)
        for (symbol, number), rate in list(self._ahead.items()):
            if number < g:
                del self._ahead[symbol, number]
                self._write(store, symbol, number, rate)

    def _publish(self, store: StoreWriter, g: int, rows: list[PremiumIndex] | None) -> None:
        found = {row.symbol: row for row in rows or ()}
        for name in found:
            if name not in store.symbols and name not in self._refused:
                self._list(store, name, g)
        names = list(store.symbols)
        slots = np.array([store.symbols[name] for name in names], np.int64)
        values = np.full((len(names), len(COLUMNS)), np.nan)
        status = np.full(len(names), _ABSENT, np.uint8)
        for i, name in enumerate(names):
            if (row := found.get(name)) is not None:
                nothing_due = row.next_funding_ms <= 0
                due = math.nan if nothing_due else float(row.next_funding_ms)
                values[i] = row.last_funding_rate, due, math.nan, row.mark_price, row.index_price
                status[i] = _BAR
            if (rate := self._ahead.pop((name, g), None)) is not None:
                values[i, _SETTLED] = rate
                store.add("settlements")
        values[~np.isfinite(values)] = np.nan
        store.append_rows(slots, np.full(len(names), g), values, status)
        if names:
            store.complete(g)
        if rows is not None:
            self._expect(rows)
            self._forget(store, found)

    def _list(self, store: StoreWriter, name: str, g: int) -> None:
        try:
            store.activate(store.add_symbol(name, g))
        except (StoreFull, ValueError) as error:
            self._refused.add(name)
            log.error("no funding of %s: %s (a restart makes a larger store)", name, error)

    def _expect(self, rows: Iterable[PremiumIndex]) -> None:
        """Note when each symbol's next settlement is due, unless one that was is not known yet."""
        now = self._clock.now_ms()
        for row in rows:
            if row.next_funding_ms > 0:
                self.columns.expected(row.symbol, row.next_funding_ms, now)
                if self._due.get(row.symbol, math.inf) > now:
                    self._due[row.symbol] = row.next_funding_ms

    def _forget(self, store: StoreWriter, found: dict[str, PremiumIndex]) -> None:
        """Close the slots of symbols that have long not been named."""
        missing = {name: self._gone.get(name, 0) + 1 for name in store.symbols if name not in found}
        self._gone = missing
        for name, n in missing.items():
            if n >= GONE_READS:
                store.remove_symbol(store.symbols[name])
                self._due.pop(name, None)

    # -------------------------------------------------------------------------------------- settlements

    async def _settle(self, store: StoreWriter) -> None:
        """What was settled: the window's past, then every settlement when it is due."""
        await self._ask_settled(store, self._clock.now_ms(), None)
        self.known.set()
        store.set_phase("live")
        while True:
            now = self._clock.now_ms()
            due = {name: ms for name, ms in self._due.items() if ms + SETTLED_MS <= now}
            if not due:
                await asyncio.sleep(self._slice_s(SETTLED_MS))
                continue
            newest = await self._ask_settled(store, now, list(due))
            for name, ms in due.items():
                if newest.get(name, 0) >= ms:
                    del self._due[name]  # the next reading names the next one
                elif ms + GIVE_UP_MS < now:
                    self._due.pop(name, None)
                    self._quiet.warning("settled", "%s: the exchange lists no funding at %d", name, ms)
            if any(self._due.get(name) == ms for name, ms in due.items()):
                await asyncio.sleep(max(self._clock.wall_s(AGAIN_MS), 0.01))

    async def _ask_settled(
        self, store: StoreWriter, now_ms: float, names: list[str] | None
    ) -> dict[str, int]:
        """All settlements since those that are known, up to now; the newest of each symbol, ms.

        names  only these, where the exchange must be asked for each symbol; None: all there are
        """
        first = self._open_time(max(self._newest() - self._window, 0)) - BEFORE_MS
        start = max(first, store.counter("settled_until_ms"))
        if not self.known.is_set() and (self._step > SHORTEST_MS or self._window * self._step < BEFORE_MS):
            start = first  # the store alone does not say what was settled last: see _recall
        start -= (start - self._origin) % self._step  # whole bars: their settlements are added up
        end = int(now_ms)
        newest: dict[str, int] = {}
        by_symbol = self._rest.market.units["volume"] == "contracts"  # COIN-M does not answer for all at once
        asked: list[str | None] = [None]
        if by_symbol:
            while not self._due:  # no reading yet: nobody knows which symbols have funding
                await asyncio.sleep(self._slice_s(SETTLED_MS))
            asked = [*(self._due if names is None else names)]
        for symbol in asked:
            self._sums.clear()
            at = max(start, 0)
            while True:
                rows = await self._page(symbol, at, end)
                more = len(rows) >= PAGE
                await self._take(store, rows, newest, more)
                if not more:
                    break
                last = rows[-1].funding_ms
                at = last if last > at else at + 1
                if symbol is None:
                    store.set("settled_until_ms", max(at - 1, store.counter("settled_until_ms")))
        # All were asked, or those that were not had nothing due.
        if not by_symbol or names is None or all(name in names or ms > end for name, ms in self._due.items()):
            until = end - int(GIVE_UP_MS)
            store.set("settled_until_ms", max(until, store.counter("settled_until_ms")))
        return newest

    async def _page(self, symbol: str | None, start: int, end: int) -> list[FundingRate]:
        """A page of settlements, ascending; [] for a symbol that the exchange does not know."""
        governor = self._rest.governor

        async def ask() -> list[FundingRate]:
            weight = self._rest.market.weights["fundingRate"]
            while governor.blocked_s > 0 or governor.used + weight > max(weight, SHARE * governor.capacity):
                await asyncio.sleep(0.1)
            try:
                return await self._rest.funding_rate(symbol, start_ms=start, end_ms=end, limit=PAGE)
            except ApiError as error:
                if error.code == -1121:
                    return []
                raise

        rows = await self._patiently("fundingRate", ask)
        self.progress_at = time.monotonic()
        return sorted((row for row in rows if start <= row.funding_ms <= end), key=lambda row: row.funding_ms)

    async def _take(
        self, store: StoreWriter, rows: list[FundingRate], newest: dict[str, int], more: bool
    ) -> None:
        """Write what a page holds; the last bar of a page that has `more` behind it waits for them."""
        for row in rows:
            if math.isfinite(row.rate):
                self._sums.setdefault((row.symbol, self._number(row.funding_ms)), {})[row.funding_ms] = (
                    row.rate
                )
                newest[row.symbol] = max(row.funding_ms, newest.get(row.symbol, 0))
                if self.columns.settled(row.symbol, row.funding_ms, row.rate):
                    self._on_settled(row.symbol, row.funding_ms)
        end = self._number(rows[-1].funding_ms) if more else math.inf
        for i, key in enumerate([key for key in self._sums if key[1] < end]):
            self._write(store, *key, math.fsum(self._sums.pop(key).values()))
            if i % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)

    def _write(self, store: StoreWriter, symbol: str, g: int, rate: float) -> None:
        """The settled rate of bar g: into its row, or kept until the row is published."""
        slot = store.symbols.get(symbol)
        count = store.complete_g + 1 if slot is None else store.count(slot)
        if g >= count:
            self._ahead[symbol, g] = rate
            return
        if slot is None or g < max(store.first_g(slot), count - self._window):
            return
        values, status = store.read(slot, g, 1)
        if values[0, _SETTLED] != rate:
            values[0, _SETTLED] = rate
            store.correct(slot, g, values[0], int(status[0]))
            store.add("settlements")

    # --------------------------------------------------------------------------------------------- time

    def _newest(self) -> int:
        """Number of the newest bar that is over."""
        return int((self._clock.now_ms() - self._origin) // self._step) - 1

    def _number(self, time_ms: int) -> int:
        return (time_ms - self._origin) // self._step

    def _open_time(self, g: int) -> int:
        return self._origin + g * self._step

    def _run_time(self, g: int) -> int:
        return self._open_time(g + 1)

    def _slice_s(self, ms: float) -> float:
        """Wall seconds of so much exchange time, within what a loop may sleep."""
        return min(max(self._clock.wall_s(ms), 0.01), 1.0)

    async def _sleep_until(self, time_ms: float) -> None:
        while (left_ms := time_ms - self._clock.now_ms()) > 0:
            # in slices: the clock may be set meanwhile
            await asyncio.sleep(min(max(self._clock.wall_s(left_ms), 0.001), 1.0))

    async def _patiently(self, what: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """`call` until it succeeds."""
        pause_s = 0.5
        while True:
            started = time.monotonic()
            try:
                return await call()
            except ExchangeError as error:
                self._quiet.warning(what, "%s: %s: %s", what, type(error).__name__, error)
            await asyncio.sleep(max(pause_s - (time.monotonic() - started), 0.1))
            pause_s = min(2 * pause_s, 30.0)
