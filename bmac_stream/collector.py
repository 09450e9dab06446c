"""The collector: the one process that writes a store. Streams first, then history, then every bar's close.

    python -m bmac_stream.collector CFG [--seconds S] [--bars N] [--strict]

CFG is a config file or a folder holding config.json. Ends with status 0 on SIGTERM or SIGINT (a second one
ends at once), after `--seconds` or `--bars`; 2: bad config, or the exchange lists no symbol that it asks for;
3: another collector writes this store; 1: it could not begin for another reason, or its store's file was
removed. Else it never gives up: what fails is tried again, for ever.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # in vain while hundreds of modules are read, of which all stay: a tenth of the start

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from shm import SlotState, Spec, StoreReader, StoreWriter
from shm.segment import group_number, segment_path

from . import funding_columns, snapshot
from .alerts.feed import Feed
from .backfill import UNKNOWN, Answer
from .bar import COLUMNS, N_COLUMNS, origin_ms
from .binance.protocol import Kline, SymbolInfo
from .binance.weights import Governor
from .children import Children, commands
from .clock import Clock
from .closing import Closer
from .config import Config, Hosts, load_config, mask_url, secrets_of, stream_urls
from .console import Console
from .embedded import EmbeddedExchange
from .errors import BmacError, ConfigError, ExchangeError, ShmError, SnapshotError, WriterLocked
from .grace import Grace
from .progress import Progress
from .quiet import Quiet
from .tables import ExchangeInfoTable
from .timekeeper import Timekeeper
from .universe import Universe, changes, choose, is_delivered, slots_low
from .writer import F64, I64, PENDING, BarWriter, Counts, Extra, Origin, State

if TYPE_CHECKING:
    from .binance.websocket import StreamEvent
    from .closing import Completed
    from .funding import Funding

__all__ = ["COUNTERS", "Collector", "main", "spec_of"]

log = logging.getLogger("bmac_stream.collector")

HEARTBEAT_S: Final = 0.25
GIVE_UP_HISTORY_S: Final = 60.0
"""Without any page for so long (a ban, no network), live bars go on without the rest of the history."""
FUNDING_S: Final = 20.0
"""How long history waits for an answer about funding rates."""
RENEWED_BARS: Final = 16
"""A settlement that becomes known late is brought into so many bars at most."""
FIRST_TRIES_S: Final = 5.0
"""A restarted collector whose REST is silent or banned for so long goes on with its store's symbols."""
STABLE_S: Final = 60.0
"""A task that ran for so long before a bug ended it is started again soon, whatever happened before."""
END_S: Final = 8.0
"""What a clean end may take; then processes are killed."""
LOOK_SOON_MS: Final = 60_000.0
"""Between two readings of exchangeInfo at least, when symbols are missing: exchange ms."""
CONFIRM_S: Final = 1.0
"""A delisting is believed when a second exchangeInfo, this much later, says so too."""

CATCHING_UP: Final = "catching up"
"""The phase of a collector that was held up, until it is live again."""
BEHIND_S: Final = 1.0
"""A collector is catching up when this has passed since even the next bar should be complete, wall time."""

HALT_SYMBOLS: Final = 5
HALT_SHARE: Final = 0.2
"""When more symbols than both say stop trading at once, the market is halted, not delisted; so it is when
all stop, more than one, and are listed still."""

_COUNTED: Final = tuple(Counts.__slots__)
_GAUGES: Final = (
    "ws_frames", "bad_frames", "bad_bodies", "reconnects", "rollovers", "stalls", "rest_requests",
    "rest_weight", "rest_errors", "repair_requests", "repairs_overtaken", "clock_jumps", "listings",
    "delistings", "snapshots", "store_full", "bugs",
)  # fmt: skip
_NOW: Final = ("weight_used_1m", "last_complete_ms", "grace_ms", "loop_lag_ms")
COUNTERS: Final = (*_COUNTED, *_GAUGES, *_NOW)
"""Names of the store's counters: what happened (writer.Counts and the edges), and how it is now
(weight_used_1m; last_complete_ms, grace_ms: exchange ms; loop_lag_ms: wall ms)."""

_T = TypeVar("_T")
_Read = tuple[snapshot.Snapshot | None, list[SnapshotError]]
"""What `snapshot.load_latest` gives."""


def spec_of(config: Config, source: str) -> Spec:
    """The store that a config asks for."""
    meta = {
        "trade_type": config.trade_type,
        "market": config.market.name,
        "interval": config.interval,
    }
    return Spec(
        columns=(*COLUMNS, *(funding_columns.COLUMNS if config.funding_rate else ())),
        window=config.num_candles,
        slack=config.store.slack,
        max_symbols=config.max_symbols,
        interval_ms=config.interval_ms,
        origin_ms=origin_ms(config.interval),
        source=source,
        meta=json.dumps(meta),
        counters=COUNTERS,
    )


class Collector:
    """One run of the collector.

    seconds  end by itself after so many wall seconds; 0: not
    bars     end by itself after so many completed run_times; 0: not
    """

    def __init__(self, config: Config, *, seconds: float = 0.0, bars: int = 0) -> None:
        self.config = config
        self.seconds, self.bars = seconds, bars
        self.stopping = asyncio.Event()
        self.embedded: EmbeddedExchange | None = None
        self.children: Children | None = None
        self.funding: Funding | None = None
        self._reading: asyncio.Future[_Read] | None = None  # of a snapshot, begun early
        self.alerts = Feed(config)
        self.console = Console(config)
        self.symbols: dict[str, int] = {}  # wanted now -> listed at, ms
        self._infos: tuple[SymbolInfo, ...] = ()  # as exchangeInfo last said
        self._infos_ms = 0.0  # when that was, exchange time
        self._refused: set[str] = set()  # no room in the store
        self._unresolved: set[str] = set()  # history is being read
        self._empty: set[str] = set()  # resolved, but the exchange had no bar yet
        self._lost: set[int] = set()  # groups of streams that are to speak again
        self._told: dict[str, int] = {}  # gauges as last written
        self._bugs = 0
        self._n = dict.fromkeys(_GAUGES, 0)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._look_soon = asyncio.Event()
        self._quiet = Quiet(log)
        self._heard_ms = 0
        self._odd = 0  # frames of another time than the clock's
        self._slots_free = -1
        self._phase = ""
        self._notifying = False  # readers that wait for single symbols are to be told
        self._status = 0

    # ----------------------------------------------------------------------------------------- the whole

    async def run(self) -> int:
        """Collect until told to stop; the exit status."""
        config = self.config
        self.console.banner()
        self.alerts.start()
        stop = asyncio.create_task(self.stopping.wait())
        try:
            finding = asyncio.create_task(self._find_exchange())
            await asyncio.wait({finding, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not finding.done():
                finding.cancel()
                await self._end_children()
                return 0
            rest_url, urls, source = finding.result()
            opening = asyncio.get_running_loop().run_in_executor(None, self._open_store, source)
            try:
                await self._build(opening, source, rest_url, urls)
            except BaseException:
                (await opening).close()  # if it is that which failed, it says so once more
                raise
            store = opening.result()
        except (ShmError, BmacError, OSError) as error:
            self.alerts.tell("error", f"the collector could not begin: {type(error).__name__}: {error}")
            await self._end_children()
            print(f"collector: {type(error).__name__}: {error}", file=sys.stderr)
            return 3 if isinstance(error, WriterLocked) else 1
        try:
            self._spawn("heartbeat", self._beat)
            if (embedded := self.embedded) is not None:
                self._spawn("embedded", lambda: embedded.keep(self.clock.now_ms))
            log.info(
                "collector of %s %s from %s, %d bars, store %s (%s)",
                config.trade_type, config.interval, source, config.num_candles, store.path,
                "new" if store.created else f"taken up, bars up to {self._text(store.complete_g)}",
            )  # fmt: skip
            self.alerts.tell("start", f"collector of {config.trade_type} {config.interval} from {source}")
            if self.seconds:
                self._spawn("seconds", self._stop_later)
            work = asyncio.create_task(self._work())
            done, _ = await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            status = work.result() if work in done else self._status
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return status
        finally:
            stop.cancel()
            await self._end(store)

    async def _work(self) -> int:
        """From the first request to the last; returns only when there is nothing to collect."""
        await self._patiently("clock", self.keeper.sync)
        universe = await self._patiently("exchangeInfo", lambda: self._ask_universe(nearest=True))
        if universe is not None:
            for problem in universe.problems:
                log.error("%s", problem)
            if not universe.symbols and not universe.stopped:
                log.error("no symbol of %s to collect", self.config.trade_type)
                print("collector: there is no symbol to collect (see above)", file=sys.stderr)
                return 2
        resumed = self.writer.resume()
        if universe is None:
            universe = Universe(dict.fromkeys(resumed, 0), [])
            log.warning("REST does not answer: going on with the %d symbols of the store", len(resumed))
        elif not universe.symbols:
            universe = await self._outlast_halt(universe, resumed)
        if self.clock.synced and self.store.complete_g >= self.writer.now_g():
            log.error(
                "the store holds bars up to %s, the exchange's time is only %s: nothing new until then",
                self._text(self.store.complete_g), self._text(self.writer.now_g() - 1),
            )  # fmt: skip
        self._spawn("streams", self.streams.run)
        self._spawn("clock", self.keeper.run)
        self._spawn("requests", self.fetcher.run)
        self._spawn("closing", self.closer.run)
        self._set_phase("history")
        self.symbols = dict.fromkeys(resumed, 0)
        if self.funding is not None:
            await self._begin_funding(self.funding)
        await self._load_snapshot(universe)
        self.console.history(universe.symbols, self.governor.used)
        await self._apply(universe, first=True)
        self._start_children()
        self._spawn("universe", self._watch_universe)
        await self._read_history()
        self.console.live({one.group: one.symbols for one in self.streams.stats.connections})
        self.writer.go_live()
        self._set_phase("live")
        self._check_slots()
        log.info("live: %d symbols", sum(s.state is State.ACTIVE for s in self.writer.series.values()))
        await self._count_bars()
        return 0

    # ------------------------------------------------------------------------------------------ beginning

    async def _outlast_halt(self, universe: Universe, resumed: list[str]) -> Universe:
        """None that is asked for trades now: go on with what the store holds, else wait for the first one."""
        log.warning(
            "none of %d symbols of %s trades now: %s",
            len(universe.stopped), self.config.trade_type,
            "going on with the store's" if resumed else "waiting for one that does",
        )  # fmt: skip
        while not resumed and not universe.symbols:
            await asyncio.sleep(max(self.clock.wall_s(LOOK_SOON_MS), 1.0))
            universe = await self._patiently("exchangeInfo", self._ask_universe) or universe
        return universe

    async def _begin_funding(self, funding: "Funding") -> None:
        """History is written with its funding rates, so these come first, as long as they come."""
        self._spawn("funding", funding.run)
        funding.progress_at = time.monotonic()
        while not funding.known.is_set():
            await asyncio.sleep(0.02)
            if time.monotonic() - funding.progress_at > FUNDING_S:
                log.error("no funding rates for %g s: history has none of them beside its bars", FUNDING_S)
                break
        for symbol in self.writer.series:  # bars of the streams that closed meanwhile
            self._on_settled(symbol, 0)

    def _on_settled(self, symbol: str, time_ms: int) -> None:
        """A settlement is known: bars that closed after it and do not show it yet are corrected, but recent
        ones only, since whoever warmed up from history would have to begin anew."""
        recent = self.writer.close_ms(self.writer.now_g() - RENEWED_BARS)
        self.writer.renew(symbol, max(time_ms, recent))

    async def _find_exchange(self) -> tuple[str | None, tuple[str, ...], str]:
        """(REST host, stream URLs, source) of the exchange; the embedded one is started."""
        config = self.config
        if isinstance(config.exchange, Hosts):
            assert config.source is not None
            return config.exchange.rest, stream_urls(config.market, config.exchange.stream), config.source
        if config.exchange == "binance":
            return None, config.market.stream_urls, "binance"
        self.embedded = EmbeddedExchange(config, _end_of_store(config))
        ready = await self.embedded.start()
        log.warning(
            "embedded exchange, not real data: %s at %g times real time", ready.source, config.embedded.rate
        )
        return ready.rest, stream_urls(config.market, ready.stream), ready.source

    def _open_store(self, source: str) -> StoreWriter:
        config = self.config
        return StoreWriter.open(
            config.store_name,
            spec_of(config, source),
            directory=config.store.directory,
            mode=int(config.store.mode, 8),
            group=config.store.group,
        )

    async def _build(
        self, opening: asyncio.Future[StoreWriter], source: str, rest_url: str | None, urls: tuple[str, ...]
    ) -> None:
        """Everything that works on the store, wired together."""
        config = self.config
        if config.snapshot.enabled and not segment_path(config.store_name, config.store.directory).exists():
            spec = spec_of(config, source)
            self._reading = asyncio.get_running_loop().run_in_executor(None, self._read_snapshot, spec)
        # The way to the exchange is half a second of imports. Meanwhile, on another processor, a new store's
        # memory is taken and the snapshot read: docs/decisions/0070-a-quick-start.md.
        from .binance.rest import RestClient
        from .binance.websocket import KlineStreams
        from .fetcher import Fetcher
        from .funding import Funding

        store = self.store = await opening
        mode, group = int(config.store.mode, 8), config.store.group
        self.table = ExchangeInfoTable(store, mode, group_number(mode, group))
        self.clock = clock = Clock(config.rate)
        self.console.follow(clock)
        self.grace = Grace(config.candle_close_timeout_sec * 1e3, config.rate)
        extra = funding_columns.FundingColumns() if config.funding_rate else None
        self.writer = BarWriter(
            store,
            config.interval,
            config.num_candles,
            clock,
            self.grace,
            extra=extra,
            on_early=lambda: self.keeper.doubt(),
        )
        self.governor = Governor(
            config.market.weight_limit,
            config.weight_share,
            clock,
            state_file=self._state_file(rest_url),
            name=rest_url or config.market.weight_pool,
        )
        proxy = None if self.embedded is not None else config.proxy
        ca_file = None if config.ca_file is None else config.path(config.ca_file)
        self.rest = RestClient(
            config.market,
            rest_url,
            clock,
            self.governor,
            timeout_s=config.http_timeout_sec,
            proxy=proxy,
            ca_file=ca_file,
            max_connections=config.num_rest_fetchers + 2,
        )
        if extra is not None:
            self.funding = Funding(
                config.store_name,
                store.spec,
                self.rest,
                clock,
                directory=config.store.directory,
                mode=mode,
                group=group,
                columns=extra,
                on_read=self.console.funding_updated,
                on_settled=self._on_settled,
            )
        self.keeper = Timekeeper(self.rest, clock, config.clock_sync_every_sec)
        self.fetcher = Fetcher(
            self.rest,
            self.writer,
            config.interval,
            clock,
            self.grace,
            n_workers=config.num_rest_fetchers,
            on_resolved=self._on_resolved,
            on_refused=self._on_refused,
        )
        self.streams = KlineStreams(
            config.market,
            urls,
            config.interval,
            clock,
            self._on_kline,
            proxy=proxy,
            ca_file=ca_file,
            groups=config.num_socket_listeners,
            first_frame_timeout_s=config.first_frame_timeout_sec,
            silence_timeout_s=config.silence_timeout_sec,
            on_event=self._on_stream,
        )
        self.closer = Closer(
            self.writer,
            self.fetcher,
            clock,
            self.grace,
            resubscribe=self.streams.resubscribe,
            on_pending=lambda symbols: self._look_soon.set(),
            on_completed=self._on_completed,
        )
        if not gc.isenabled():  # since the program began: what was made so far is here to stay
            gc.freeze()
            gc.enable()

    def _state_file(self, rest_url: str | None) -> Any:
        """Where a ban survives a restart. The embedded exchange's end with it."""
        if self.embedded is not None:
            return None
        folder = self.config.path(self.config.snapshot.directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.error("%s: %s: a ban will not survive a restart", folder, error.strerror)
            return None
        return folder / f"weight-{self.config.market.weight_pool}.json"

    def _read_snapshot(self, spec: Spec, now_ms: float | None = None) -> _Read:
        directory = self.config.path(self.config.snapshot.directory)
        return snapshot.load_latest(directory, self.config.store_name, spec, now_ms=now_ms)

    async def _newest_snapshot(self) -> _Read:
        """The newest usable snapshot, and why newer ones were not used."""
        reading, self._reading = self._reading, None
        now_ms, problems = self.clock.now_ms(), list[SnapshotError]()
        if reading is not None:
            found, problems = await reading
            if found is None or found.meta.close_ms <= now_ms:
                return found, problems
            # It was read before the time was known, and is of the future; an older one may do.
        found, more = await asyncio.to_thread(self._read_snapshot, self.store.spec, now_ms)
        return found, problems + more

    async def _load_snapshot(self, universe: Universe) -> None:
        """Bars of the newest usable snapshot, for symbols that the store does not hold yet."""
        config = self.config
        wanted = [symbol for symbol in universe.symbols if symbol not in self.writer.series]
        if not config.snapshot.enabled or not wanted or not self.clock.synced:
            return
        started = time.monotonic()
        try:
            found, problems = await self._newest_snapshot()
        except Exception:  # whatever a file holds, REST has the bars
            self._bug("snapshot")
            return
        for problem in problems:
            log.error("snapshot not used: %s", problem)
        if found is None:
            return
        now_g, window = self.writer.now_g(), found.meta.window
        oldest, n_symbols, n_cut = now_g - config.num_candles, 0, 0
        for symbol in wanted:
            if symbol not in found:
                continue
            rows = found[symbol]
            if len(rows.status) >= window < config.num_candles:
                n_cut += 1  # by that window: what is before its bars could never be put in again
                continue
            start = max(0, oldest - rows.g0)
            if start >= len(rows.status):
                continue
            status = np.where(rows.status == PENDING, UNKNOWN, rows.status)[start:].astype(np.uint8)
            self.writer.expect(symbol)
            try:
                values = np.ascontiguousarray(rows.values[:, start:].T)
                answer = Answer(rows.g0 + start, values[:, :N_COLUMNS], status)
                with self._beside(answer.g, values[:, N_COLUMNS:]):
                    self.writer.answer(symbol, answer, 0.0, Origin.SNAPSHOT)
                # readable at once, up to the snapshot, as after any restart; REST brings what came since
                if self.writer.series[symbol].state is State.LOADING and self.writer.activate(symbol):
                    self.symbols[symbol] = universe.symbols[symbol]
            except ShmError as error:
                self._quiet.error("snapshot", "snapshot of %s: %s", symbol, error)
                continue
            except Exception:  # REST has these bars too
                self._bug("snapshot")
                continue
            n_symbols += 1
        if n_cut:
            log.warning(
                "snapshot %s has %d bars a symbol, %d are wanted: REST is asked for all of %d symbols",
                found.path.name, window, config.num_candles, n_cut,
            )  # fmt: skip
        log.info("snapshot %s: %d symbols in %.2f s", found.path.name, n_symbols, time.monotonic() - started)

    @contextlib.contextmanager
    def _beside(self, g: int, values: F64) -> Iterator[None]:
        """Meanwhile, the writer takes what bars have beside the exchange's columns from `values`, too: those
        of bars g, g + 1, ... in a snapshot."""
        extra = self.writer.extra
        if extra is None or self.funding is None:
            yield
            return
        first_ms, step = self.writer.close_ms(g), self.config.interval_ms
        self.writer.extra = _Beside(extra, values, first_ms, step, self.funding.known.is_set())
        try:
            yield
        finally:
            self.writer.extra = extra

    async def _read_history(self) -> None:
        """Wait until every symbol has its history, or until REST has been silent for long."""
        self.fetcher.progress_at = time.monotonic()
        n_symbols = len(self._unresolved)
        with Progress(n_symbols, self.config.market.weight_limit, lines=not self.console.bmac) as progress:
            while self._unresolved:
                n_left = len(self._unresolved)
                progress.show(n_left, self.governor.used, self.fetcher.requests)
                self.console.reading(len(self.symbols) - n_left, n_left, self.governor.used)
                await asyncio.sleep(0.05 if len(self._unresolved) < 20 else 0.2)
                if time.monotonic() - self.fetcher.progress_at > GIVE_UP_HISTORY_S:
                    if self.governor.blocked_s == 0 and self.governor.used > 0.5 * self.governor.capacity:
                        continue  # only waiting for the next minute's weight
                    log.error("no history for %.0f s: live without the rest of it", GIVE_UP_HISTORY_S)
                    break
        n_left = len(self._unresolved)
        self.console.history_over(len(self.symbols) - n_left, n_left, self.governor.used)

    # --------------------------------------------------------------------------------------------- symbols

    async def _ask_universe(self, *, nearest: bool = False) -> Universe:
        info = await self.rest.exchange_info()
        self._infos, self._infos_ms = info.symbols, self.clock.now_ms()
        for entry in info.rejected[:5]:
            self._quiet.warning("rejected", "exchangeInfo: an entry cannot be used: %s", entry)
        config = self.config
        return choose(info.symbols, config.trade, config.keep_symbols, config.symbols, nearest=nearest)

    async def _apply(self, universe: Universe, first: bool = False) -> None:
        """Collect exactly these symbols: subscribe, read history, close the slots of those that are gone.

        first  at the start: read what the store's own symbols lack, too
        """
        wanted = {name: at for name, at in universe.symbols.items() if name not in self._refused}
        change = changes(list(self.symbols), list(wanted))
        keep = self.config.keep_symbols
        stopped = {name for name in change.removed if keep is None or name in keep} - universe.left_out
        stopped = {name for name in stopped if not is_delivered(name, self.clock.now_ms())}
        halted = set[str]()
        if len(stopped) > max(HALT_SYMBOLS, HALT_SHARE * len(self.symbols)):
            halted = stopped
        elif not universe.symbols and len(stopped & universe.stopped) > 1:
            halted = stopped & universe.stopped
        if halted:
            # slots are never used twice, so a maintenance must not look like the end of the market
            self._quiet.error(
                "halt", "%d of %d symbols do not trade: taken for a halt, not for delistings",
                len(halted), len(self.symbols),
            )  # fmt: skip
            change = change._replace(removed=[name for name in change.removed if name not in halted])
        if change.removed:
            await asyncio.sleep(CONFIRM_S)
            try:
                again = await self._ask_universe()
            except ExchangeError as error:
                log.warning("exchangeInfo: %s: delistings wait", error)
                change = change._replace(removed=[])
            else:
                gone = [name for name in change.removed if name not in again.symbols]
                change = change._replace(removed=gone)
        self.alerts.gone(change.removed)  # before a run_time is complete for want of them
        for name in change.removed:
            self.symbols.pop(name, None)
            self._unresolved.discard(name)
            self._empty.discard(name)
            self.fetcher.forget(name)
            if name in self.writer.series:
                self.writer.remove(name)
            self._n["delistings"] += 1
        for name in change.added:
            self.symbols[name] = wanted[name]
            self.writer.expect(name)
            self._n["listings"] += not first
        self.console.changed([] if first else change.added, change.removed)
        self.streams.set_symbols(self.symbols)
        for name in list(self.symbols) if first else change.added:
            self._unresolved.add(name)
            self.fetcher.load(name, self.symbols[name])
        await self._write_table()

    async def _write_table(self) -> None:
        """Exchange info of what is collected, beside the store: on a thread, for it takes milliseconds."""
        if not self._infos:
            return
        try:
            await asyncio.to_thread(self.table.write, self._infos, frozenset(self.symbols), self._infos_ms)
        except OSError as error:
            self._quiet.error("table", "exchange info is not written: %s", error)

    async def _watch_universe(self) -> None:
        """Listings and delistings: now and then, and soon when a symbol's bar does not come."""
        pause_s = max(self.clock.wall_s(self.config.exchange_info_every_sec * 1e3), 1.0)
        least_s = min(max(self.clock.wall_s(LOOK_SOON_MS), 1.0), pause_s)
        while True:
            self._look_soon.clear()
            await asyncio.sleep(least_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((pause_s - least_s) * random.uniform(0.9, 1.0)):
                    await self._look_soon.wait()
            self._check_slots()
            try:
                await self._apply(await self._ask_universe())
                self.console.infos_updated()
                for name in self._empty & self.symbols.keys():  # should its stream be mute, REST tells
                    self._load_empty(name)
            except ExchangeError as error:
                self._quiet.warning("universe", "exchangeInfo: %s: %s", type(error).__name__, error)

    def _check_slots(self) -> None:
        capacity = self.store.spec.max_symbols
        taken = bisect_left(range(capacity), True, key=lambda k: self.store.slot_state(k) is SlotState.FREE)
        if slots_low(capacity - taken, capacity) and capacity - taken != self._slots_free:
            log.warning(
                "%d of %d slots are free, and delisted symbols keep theirs: raise store.max_symbols "
                "(a new store is made then)", capacity - taken, capacity,
            )  # fmt: skip
        self._slots_free = capacity - taken

    def _on_resolved(self, symbol: str) -> None:
        self._unresolved.discard(symbol)
        series = self.writer.series.get(symbol)
        if series is not None and series.state is State.EXPECTED and symbol not in self._refused:
            self._empty.add(symbol)

    def _load_empty(self, symbol: str) -> None:
        """Ask again for a symbol of which the exchange had no bar."""
        self._empty.discard(symbol)
        self.fetcher.load(symbol, self.symbols.get(symbol, 0))

    def _on_refused(self, symbol: str) -> None:
        self._refused.add(symbol)
        self._n["store_full"] += 1
        self.symbols.pop(symbol, None)
        self.writer.series.pop(symbol, None)
        self.streams.set_symbols(self.symbols)

    # ---------------------------------------------------------------------------------------------- events

    def _on_completed(self, done: "Completed") -> None:
        try:
            self.console.completed(done)
            self.alerts.bar(done.run_time, done.n_active, done.pending)
        except Exception:  # words must not hold up bars
            self._bug("console")

    def _on_kline(self, kline: Kline) -> None:
        try:
            self.writer.frame(kline)
        except Exception:  # a bug must not end the streams
            self._bug("frame")
        self._heard_ms = kline.event_time
        if kline.is_closed and not self._notifying:
            self._notifying = True  # once, after all frames that came with this one
            asyncio.get_running_loop().call_soon(self._notify)

    def _notify(self) -> None:
        self._notifying = False
        self.store.notify()

    def _on_stream(self, event: "StreamEvent") -> None:
        if event.kind == "lost":
            self._lost.add(event.group)
            log.warning("stream %d lost (%d symbols): %s", event.group, len(event.symbols), event.detail)
        elif event.kind in ("failed", "refused"):
            self._quiet.warning(
                f"{event.kind} {event.group}", "stream %d %s: %s", event.group, event.kind, event.detail
            )
        elif event.kind == "speaking" and event.group in self._lost:
            self._lost.discard(event.group)
            dark_s = (self.clock.now_ms() - (event.dark_since_ms or self.clock.now_ms())) / 1e3
            log.warning("stream %d speaks again after %.1f s", event.group, dark_s)
        else:
            log.debug("stream %d %s: %s", event.group, event.kind, event.detail)

    def _bug(self, where: str) -> None:
        self._bugs += 1
        self._quiet.exception(f"bug {where}", "unexpected error in %s", where)

    # ------------------------------------------------------------------------------------------- life

    async def _beat(self) -> None:
        """The heartbeat, from the loop itself: when that stands still, readers shall see it."""
        due = time.monotonic()
        while True:
            lag_s = time.monotonic() - due
            self.store.heartbeat()
            if self.funding is not None:
                self.funding.heartbeat()
            try:
                self._look_around(lag_s)
            except Exception:  # whatever it is, the collector lives
                self._bug("heartbeat")
            due = time.monotonic() + HEARTBEAT_S
            await asyncio.sleep(HEARTBEAT_S)

    def _look_around(self, lag_s: float) -> None:
        """What is looked at with every heartbeat."""
        if self.store.removed and not self.stopping.is_set():
            log.error(
                "%s was removed: no reader can find it. Ending, so that a supervisor starts anew "
                "(systemd: RemoveIPC=no)",
                self.store.path,
            )
            self._status = 1
            self.stopping.set()
        self._write_counters(lag_s)
        series = self.writer.series
        for name in [name for name in self._empty if name in series and series[name].waiting]:
            self._load_empty(name)  # its first bar closed
        odd = self.streams.stats.bad_frames["future"] + self.streams.stats.bad_frames["stale"]
        if odd != self._odd:
            self._odd = odd
            self.keeper.doubt()  # the clock may be wrong (a machine that slept), not the frames
        if self._heard_ms:
            self.keeper.heard(self._heard_ms)
            self._heard_ms = 0
        if self._phase in ("live", CATCHING_UP):
            self._set_phase(CATCHING_UP if self._is_behind() else "live")
        complete = self.writer.close_ms(self.store.complete_g) if self.store.complete_g >= 0 else 0
        self.alerts.beat(self._phase, complete, self.governor.blocked_s, self.governor.is_banned)
        self.console.tick(self.writer)

    def _is_behind(self) -> bool:
        """Whether bars that should long be complete are not: this process was held up."""
        writer = self.writer
        due_ms = writer.close_ms(writer.target + 1) + self.grace.limit_ms
        return self.clock.synced and self.clock.wall_s(self.clock.now_ms() - due_ms) > BEHIND_S

    def _set_phase(self, phase: str) -> None:
        if phase != self._phase:
            self.store.set_phase(phase)
            self._phase = phase

    def _write_counters(self, lag_s: float) -> None:
        store = self.store
        for name, n in self.writer.counts.take().items():
            store.add(name, n)
        streams, rest = self.streams.stats, self.rest.stats
        bad_bodies = sum(n for kind, n in rest.errors.items() if kind not in ("network", "api")
                         and not kind.startswith("http_"))  # fmt: skip
        self._n.update(
            ws_frames=streams.frames,
            bad_frames=sum(streams.bad_frames.values()),
            bad_bodies=bad_bodies + sum(rest.bad_rows.values()),
            reconnects=streams.reconnects,
            rollovers=streams.rollovers,
            stalls=streams.stalls,
            rest_requests=rest.requests,
            rest_weight=rest.weight,
            rest_errors=sum(rest.errors.values()),
            repair_requests=self.fetcher.repairs,
            repairs_overtaken=self.fetcher.overtaken,
            clock_jumps=self.keeper.jumps,
            bugs=self._bugs + self.fetcher.bugs,
        )
        for name, n in self._n.items():
            if n != self._told.get(name, 0):
                store.add(name, n - self._told.get(name, 0))
                self._told[name] = n
        store.set("weight_used_1m", self.governor.used_by_all)
        store.set("last_complete_ms", round(self.closer.last_complete_ms))
        store.set("grace_ms", round(self.grace.grace_ms))
        store.set("loop_lag_ms", round(lag_s * 1e3))

    async def _patiently(self, what: str, call: Callable[[], Awaitable[_T]]) -> _T | None:
        """`call` until it succeeds. None if REST stays silent and the store can go on without."""
        pause_s, since = 0.25, time.monotonic()
        while True:
            try:
                waited_s = time.monotonic() - since
                if self.store.symbols and max(self.governor.blocked_s, waited_s) > FIRST_TRIES_S:
                    return None
                return await call()
            except ExchangeError as error:
                self._quiet.warning(what, "%s: %s: %s", what, type(error).__name__, error)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, 30.0)

    def _spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A task that is started again, after a pause, if a bug ends it."""

        async def supervise() -> None:
            pause_s = 0.2
            while True:
                started = time.monotonic()
                try:
                    await work()
                    return
                except Exception:
                    self._bug(name)
                if time.monotonic() - started > STABLE_S:
                    pause_s = 0.2
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 30.0)

        task = asyncio.create_task(supervise(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_later(self) -> None:
        await asyncio.sleep(self.seconds)
        self.stopping.set()

    async def _count_bars(self) -> None:
        while not self.bars or self.closer.n_completed < self.bars:
            await self.closer.completed.wait()
            await asyncio.sleep(0.001)
        self.stopping.set()

    # --------------------------------------------------------------------------------------- children

    def _start_children(self) -> None:
        children = self.children = Children(commands(self.config), self._on_child_line)
        for name in children.all:
            self._spawn(name, lambda name=name: children.keep(name))  # type: ignore[misc]

    def _on_child_line(self, name: str, line: str) -> None:
        self._n["snapshots"] += name == "recorder"

    async def _end_children(self, left_s: float = END_S) -> None:
        embedded = [] if self.embedded is None else [self.embedded.stop(1.0)]  # it has nothing to save
        await asyncio.gather(self.alerts.end(left_s), *embedded)

    async def _end(self, store: StoreWriter) -> None:
        """The clean end: last snapshot, sockets closed, store closed."""
        started = time.monotonic()
        beat = [task for task in self._tasks if task.get_name() == "heartbeat"]
        with contextlib.suppress(ShmError):
            self._set_phase("stopping")
        others = [task for task in self._tasks if task not in beat]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=2.0)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await self.rest.close()
        for task in beat:
            task.cancel()
        with contextlib.suppress(ShmError):
            self._write_counters(0.0)
        store.close()
        if self.funding is not None:
            self.funding.close()
        if self.children is not None:
            # they see that the store is closed, write their last and end
            await self.children.end(END_S - (time.monotonic() - started))
        self.alerts.tell("stop", "the collector ends in order" if self._status == 0 else "the collector ends")
        await self._end_children(max(1.0, END_S - (time.monotonic() - started)))
        log.info("ended after %.1f s", time.monotonic() - started)

    def kill_children(self) -> None:
        """For the second signal: nothing is left behind."""
        if self.children is not None:
            self.children.kill()
        self.alerts.kill()
        if self.embedded is not None:
            self.embedded.kill()

    def _text(self, g: int) -> str:
        if g < 0:
            return "none"
        at = origin_ms(self.config.interval) + (g + 1) * self.config.interval_ms
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at / 1e3))


class _Beside:
    """The columns beside the bars of one symbol of a snapshot: a `writer.Extra`.

    extra     what is known of them now
    values    float64[n, n_columns]: what they were in the snapshot
    first_ms  when the first of these bars closes, ms UTC; the others follow every `step` ms
    known     whether `extra` knows all there is. If not, the snapshot goes first: of what was settled last
              half the story tells something wrong
    """

    def __init__(self, extra: Extra, values: F64, first_ms: int, step: int, known: bool) -> None:
        self.columns = extra.columns
        self._extra, self._values, self._known = extra, values, known
        self._first_ms, self._step = first_ms, step

    def row(self, symbol: str, close_ms: int) -> tuple[float, ...]:
        """As the writer asks for live bars, which no snapshot holds."""
        return self._extra.row(symbol, close_ms)

    def rows(self, symbol: str, close_ms: I64) -> F64:
        """The columns of the snapshot's bars that close at `close_ms`."""
        told = self._extra.rows(symbol, close_ms)
        kept = self._values[(close_ms - self._first_ms) // self._step]
        first, second = (told, kept) if self._known else (kept, told)
        return np.where(np.isnan(first), second, first)


def _end_of_store(config: Config) -> int | None:
    """Exchange time of the newest complete bar that the embedded exchange's store holds; None: nothing."""
    try:
        with StoreReader.attach(config.store_name, directory=config.store.directory) as reader:
            if not reader.spec.source.startswith("embedded:") or reader.complete_g < 0:
                return None
            return reader.spec.origin_ms + (reader.complete_g + 1) * reader.spec.interval_ms
    except ShmError:
        return None


class _Redact(logging.Formatter):
    """Hides the config's secrets in whatever is logged, tracebacks included."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _set_up_log(config: Config) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Redact(secrets_of(config)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("INFO")
    if (level := os.environ.get("BMAC_LOG", "INFO").upper()) in logging.getLevelNamesMapping():
        root.setLevel(level)
    else:
        log.warning("BMAC_LOG is no log level; there are %s", " ".join(logging.getLevelNamesMapping()))
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


async def _run(collector: Collector) -> int:
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if collector.stopping.is_set():
            collector.kill_children()
            os._exit(128 + number)
        log.info("%s: ending", signal.Signals(number).name)
        collector.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return await collector.run()


def main(cfg: str, seconds: float = 0.0, bars: int = 0, strict: bool = False) -> None:
    """Collect the bars that the config at CFG asks for.

    cfg      a config file, or a folder holding config.json
    seconds  end by itself after so many seconds; 0: not
    bars     end by itself after so many bars; 0: not
    strict   unknown keys in the config are errors
    """
    try:
        config, warnings = load_config(str(cfg), strict)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        raise SystemExit(2) from None
    _set_up_log(config)
    for warning in warnings:
        log.warning("%s", warning)
    if config.proxy:
        log.info("proxy %s", config.proxy if config.proxy == "env" else mask_url(config.proxy))
    gc.disable()  # until everything is imported and built: it would find nothing
    status = asyncio.run(_run(Collector(config, seconds=seconds, bars=bars)))
    raise SystemExit(status)


if __name__ == "__main__":
    from bmac_stream.as_command import as_command

    as_command(main)
