"""Whether a long history is whole and right: its files, its gaps, and a sample of it asked of the exchange.

Found are, by name (`Fault.kind`):

    unfinished  a process was killed while it changed the data set; the next change finishes what it began
    damaged     a file is cut, flipped, or not in order; foreign: it is of another version, source or place
    stray       a parquet file that is none of ours: readers of the folder take its rows for bars
    bad_bar     a bar that no exchange says: not low <= open, close <= high, not finite, a negative amount
    gap         bars that are neither there nor known to be absent
    differs     a bar that the exchange says otherwise when it is asked; extra: one that it says it has not
    not_absent  bars that are noted as absent, and the exchange has them: looked for on demand only
    unasked     the exchange could not be asked

A gap is a hole between a symbol's first and last bar; where the exchange can be asked, also what lies between
the data set's first bar (or the symbol's listing) and the symbol's first bar, and, for a symbol that trades,
between its last bar and the data set's last.

Bars that are absent are so by the exchange's word alone: it was asked, and lacked them. A data set does not
keep whether a later bar stood in that answer. They are no gap, and are reported apart (`Report.absent`).

With `repair`, damaged files are set aside, bars that are missing are fetched, those that the exchange has
none of are noted as absent, and bars that differ are corrected, visibly (bmac_stream.archive).
"""

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from bmac_stream.archive import DataSet
from bmac_stream.archive_file import REST, Rows
from bmac_stream.backfill import (
    ABSENT,
    BAR,
    CLOSE_MARGIN_MS,
    DENIAL_APART_MS,
    DENIALS,
    Answer,
    Page,
    cover,
    judge,
    spans,
)
from bmac_stream.bar import COLUMNS, INTERVALS_MS, N_COLUMNS, origin_ms, utc_text
from bmac_stream.binance.markets import MARKETS, TRADE_TYPES
from bmac_stream.binance.rest import RestClient, retry
from bmac_stream.binance.weights import Governor
from bmac_stream.clock import Clock
from bmac_stream.config import Config, Hosts
from bmac_stream.embedded import EmbeddedExchange
from bmac_stream.errors import (
    ApiError,
    ExchangeError,
    HistoryDamaged,
    HistoryError,
    HistoryForeign,
)

__all__ = ["Absent", "Exchange", "Fault", "Report", "connect", "verify"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Span = tuple[int, int]

PAGE: Final = 99
"""Bars of one comparison: what a request of the least weight brings."""
ATTEMPTS: Final = 4
SHARE: Final = 0.5
"""Of the exchange's weight: a collector on the same address needs the rest."""


class Fault(msgspec.Struct, kw_only=True):
    """One thing that is wrong. Times are open times, ms UTC: bars of [first, end).

    repaired  it is so no longer
    """

    kind: str
    text: str
    file: str = ""
    symbol: str = ""
    first: int = 0
    end: int = 0
    repaired: bool = False


class Absent(msgspec.Struct, kw_only=True):
    """Consecutive bars that are absent by the exchange's word. Open times, ms UTC: bars of [first, end)."""

    symbol: str
    n: int
    first: int
    end: int


class Report(msgspec.Struct, kw_only=True):
    """What was found. n_compared: bars that the exchange was asked for; absent, n_absent of them: those that
    it has none of, by its word."""

    data_set: str
    source: str = ""
    n_files: int = 0
    n_symbols: int = 0
    n_bars: int = 0
    n_absent: int = 0
    n_corrected: int = 0
    n_compared: int = 0
    first: int = 0
    end: int = 0
    faults: list[Fault] = []
    notes: list[str] = []
    absent: list[Absent] = []

    @property
    def clean(self) -> bool:
        """Nothing is wrong (any more)."""
        return all(fault.repaired for fault in self.faults)


# ---- the exchange


class Exchange:
    """REST of the exchange that a data set is of. source: what its data says it is from."""

    def __init__(self, rest: RestClient, clock: Clock, source: str) -> None:
        self.rest, self.clock, self.source = rest, clock, source

    async def ask(self, symbol: str, interval: str, page: Page) -> tuple[F64, npt.NDArray[np.uint8]]:
        """(values float64 [9, n], backfill's status uint8 [n]) of a page's bars. ExchangeError.

        What an answer lacks at its end, where no later row proves that it is whole, is absent only if DENIALS
        answers, DENIAL_APART_MS apart, lack it.
        """
        for n in range(DENIALS):
            if n:
                await asyncio.sleep(DENIAL_APART_MS / 1e3 / self.clock.rate)
            answer, newest = await self._ask(symbol, interval, page)
            if not (np.flatnonzero(answer.status == ABSENT) + page.g > newest).any():
                break
        return answer.values.T, answer.status

    async def _ask(self, symbol: str, interval: str, page: Page) -> tuple[Answer, int]:
        """The answer to one request, and the newest bar in it; -1: none."""
        interval_ms, origin = INTERVALS_MS[interval], origin_ms(interval)
        bad: list[tuple[int, str]] = []
        sent_ms = self.clock.now_ms()
        rows = await retry(
            lambda: self.rest.klines(
                symbol,
                interval,
                start_ms=origin + page.g * interval_ms,
                end_ms=origin + (page.g + page.n - 1) * interval_ms,
                limit=page.n,
                bad=bad,
            ),
            attempts=ATTEMPTS,
        )
        numbers = (rows.open_time - origin) // interval_ms
        answer = judge(
            page,
            numbers,
            rows.values,
            sent_ms=sent_ms,
            uncertainty_ms=self.clock.uncertainty_ms,
            origin_ms=origin,
            interval_ms=interval_ms,
            spoiled=np.array([(time - origin) // interval_ms for time, _ in bad], np.int64),
        )
        return answer, int(numbers[-1]) if len(numbers) else -1


@asynccontextmanager
async def connect(
    config: Config | None, trade_type: str, not_before_ms: int | None = None
) -> AsyncIterator[Exchange]:
    """The exchange of a collector's config, its clock set; None: Binance itself, direct.

    An embedded exchange is started, at `not_before_ms` or later, and ended. ExchangeError, BmacError.
    """
    market = MARKETS[TRADE_TYPES[trade_type].market]
    rate, url, source, embedded = 1.0, None, "binance", None
    timeout_s, share, proxy, ca_file = 10.0, SHARE, None, None
    if config is not None:
        rate, timeout_s, share = config.rate, config.http_timeout_sec, min(SHARE, config.weight_share)
        ca_file = None if config.ca_file is None else config.path(config.ca_file)
        if isinstance(config.exchange, Hosts):
            url, source, proxy = config.exchange.rest, config.source or "", config.proxy
        elif config.exchange == "embedded":
            embedded = EmbeddedExchange(config, not_before_ms)
        else:
            proxy = config.proxy
    try:
        if embedded is not None:
            ready = await embedded.start()
            url, source = ready.rest, ready.source
        clock = Clock(rate)
        governor = Governor(market.weight_limit, share, clock, name=market.weight_pool)
        async with RestClient(
            market, url, clock, governor, timeout_s=timeout_s, proxy=proxy, ca_file=ca_file
        ) as rest:
            await retry(rest.sync_clock, attempts=ATTEMPTS)
            yield Exchange(rest, clock, source)
    finally:
        if embedded is not None:
            await embedded.stop()


# ---- what is there


class _Coverage:
    """Which bars of which symbol are there or known to be absent, as spans of bar numbers."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Span]] = defaultdict(list)

    def add(self, symbol: str, numbers: I64) -> None:
        """Ascending, later than what was added before."""
        if len(numbers) == 0:
            return
        found = self.spans[symbol]
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            g, end = int(run[0]), int(run[-1]) + 1
            if found and found[-1][1] >= g:
                found[-1] = found[-1][0], end
            else:
                found.append((g, end))

    def holes(self, symbol: str, begin: int, end: int) -> list[Span]:
        """What of [begin, end) is not covered."""
        found, at = [], begin
        for g, stop in self.spans.get(symbol, ()):
            if min(g, end) > at:
                found.append((at, min(g, end)))
            at = max(at, stop)
        if end > at:
            found.append((at, end))
        return found


class _Verifier:
    """One run over one data set."""

    def __init__(self, data: DataSet, report: Report, sample: int, seed: int | None) -> None:
        self.data, self.report = data, report
        self.coverage = _Coverage()
        self.first_g = 0
        self.end_g = 0
        self.damaged: dict[int, Path] = {}
        self._promised: dict[str, list[Span]] = defaultdict(list)  # what damaged files said they hold
        self._unknown: set[int] = set()  # starts of those that do not even say that
        self._n_pages = math.ceil(sample / PAGE) if sample else 0
        self._random = random.Random(seed)
        self._seen = 0
        self.chosen: list[tuple[int, str]] = []
        """(start of a file, symbol) whose bars are compared."""
        self.wrong: dict[tuple[int, str], list[int]] = {}
        """(start, symbol) -> numbers of bars that must be asked for again."""

    def g_of(self, time_ms: int) -> int:
        """The bar that opens at `time_ms`, or the next."""
        return -((origin_ms(self.data.interval) - time_ms) // self.data.interval_ms)

    def time_of(self, g: int) -> int:
        """open_time of bar g."""
        return origin_ms(self.data.interval) + g * self.data.interval_ms

    def fault(self, kind: str, text: str, **more: Any) -> Fault:
        """Note one."""
        made = Fault(kind=kind, text=text, **more)
        self.report.faults.append(made)
        return made

    # ---- files

    def files(self) -> None:
        """Read every file, whole."""
        data, report = self.data, self.report
        if (data.journal / "commit.json").exists():
            self.fault("unfinished", "a change of the data set was not finished", file=str(data.journal))
        found, absent = data.look(), _Coverage()
        for path in found.foreign:
            if path.suffix == ".parquet":
                self.fault("stray", f"{path}: not a file of this data set", file=str(path))
            else:
                report.notes.append(f"{path} is not a file of this data set; left alone")
        for start, path in found.files.items():
            report.n_files += 1
            bars: dict[str, I64] = {}
            promised: tuple[tuple[str, int, int, int], ...] = ()
            try:
                with data.open(start, path) as file:
                    promised = file.meta.symbols
                    if data.source is None:
                        data.source = file.meta.source
                    for rows in file:
                        self._rows(start, path, rows)
                        bars[rows.symbol] = rows.open_time
                    holes = {symbol: file.meta.absent_times(symbol) for symbol in file.meta.absent}
            except HistoryDamaged as error:
                self.damaged[start] = path
                self.fault("damaged", str(error), file=str(path), first=start, end=start + data.span_ms)
                for symbol, _, first, last in promised:
                    self._promised[symbol].append((self.g_of(first), self.g_of(last) + 1))
                if not promised:
                    self._unknown.add(start)
                continue
            except HistoryForeign as error:
                self.fault("foreign", str(error), file=str(path), first=start, end=start + data.span_ms)
                continue
            except HistoryError as error:
                self.fault("damaged", str(error), file=str(path), first=start, end=start + data.span_ms)
                continue
            for symbol in {*bars, *holes}:
                nothing = np.empty(0, np.int64)
                times = np.union1d(bars.get(symbol, nothing), holes.get(symbol, nothing))
                report.n_absent += len(holes.get(symbol, nothing))
                absent.add(symbol, (holes.get(symbol, nothing) - self.time_of(0)) // data.interval_ms)
                self.coverage.add(symbol, (times - self.time_of(0)) // data.interval_ms)
        every = [*self.coverage.spans.values(), *self._promised.values()]
        self.first_g = min((g for one in every for g, _ in one), default=0)
        self.end_g = max((end for one in every for _, end in one), default=0)
        report.source = data.source or ""
        report.absent = [
            Absent(symbol=symbol, n=end - g, first=self.time_of(g), end=self.time_of(end))
            for symbol, known in sorted(absent.spans.items())
            for g, end in known
        ]
        report.n_symbols = len(self.coverage.spans)
        if every:
            report.first, report.end = self.time_of(self.first_g), self.time_of(self.end_g)

    def _rows(self, start: int, path: Path, rows: Rows) -> None:
        self.report.n_bars += len(rows.open_time)
        self.report.n_corrected += int((rows.n_corrections > 0).sum())
        o, h, low, c, *amounts = rows.values
        right = (low > 0) & (low <= o) & (o <= h) & (low <= c) & (c <= h)
        right &= np.isfinite(rows.values).all(axis=0) & (np.array(amounts) >= 0).all(axis=0)
        if not right.all():
            wrong = rows.open_time[~right]
            self.fault(
                "bad_bar",
                f"{path}: {len(wrong)} bars of {rows.symbol} cannot be, the first opens at"
                f" {utc_text(wrong[0])} UTC",
                file=str(path),
                symbol=rows.symbol,
                first=int(wrong[0]),
                end=int(wrong[-1]) + self.data.interval_ms,
            )
            self.wrong[start, rows.symbol] = ((wrong - self.time_of(0)) // self.data.interval_ms).tolist()
        # a fair choice of what is compared, without knowing how much there is
        self._seen += 1
        if len(self.chosen) < self._n_pages:
            self.chosen.append((start, rows.symbol))
        elif self._n_pages and (at := self._random.randrange(self._seen)) < self._n_pages:
            self.chosen[at] = start, rows.symbol

    # ---- gaps

    def gaps(self, limits: dict[str, Span]) -> dict[str, list[Span]]:
        """Symbol -> bars that are not there, within `limits` or the symbol's own first and last bar."""
        found: dict[str, list[Span]] = {}
        for symbol in sorted({*self.coverage.spans, *self._promised}):
            known = [*self.coverage.spans.get(symbol, ()), *self._promised.get(symbol, ())]
            if symbol in limits:
                known.append(limits[symbol])
            begin, end = min(g for g, _ in known), max(end for _, end in known)
            holes = self.coverage.holes(symbol, begin, end)
            if holes:
                found[symbol] = holes
        return found

    async def limits(self, exchange: Exchange) -> dict[str, Span]:
        """Symbol -> the bars it should have, by its listing and by whether it trades. ExchangeError."""
        info = {
            one.symbol: one for one in (await retry(exchange.rest.exchange_info, attempts=ATTEMPTS)).symbols
        }
        begin_all, end_all = self.first_g, self.end_g
        for start in self._unknown:  # all that may have been in there
            # a bar that has just closed is not missing yet: no answer is its last word (backfill.judge)
            settled_ms = exchange.clock.now_ms() - exchange.clock.uncertainty_ms - CLOSE_MARGIN_MS
            begin_all = min(begin_all, self.g_of(start))
            end_all = max(end_all, min(self.g_of(start + self.data.span_ms), self.g_of(int(settled_ms)) - 1))
        found: dict[str, Span] = {}
        for symbol, known in self.coverage.spans.items():
            begin, end = known[0][0], known[-1][1]
            one = info.get(symbol)
            if begin > begin_all:
                begin = await self._listed(exchange, symbol, one.onboard_ms if one else 0, begin_all, begin)
            if one is not None and one.status == "TRADING":
                end = max(end, end_all)
            found[symbol] = begin, end
        return found

    async def _listed(
        self, exchange: Exchange, symbol: str, onboard_ms: int, begin_all: int, begin: int
    ) -> int:
        """The first bar that a symbol should have, from `begin_all` on; at most `begin`, its first here."""
        if onboard_ms > 0:
            return min(begin, max(begin_all, self.g_of(onboard_ms)))
        if exchange.rest.market.name == "coinm":
            return begin  # it would give the newest bars of a long time, not the oldest
        try:
            rows = await retry(
                lambda: exchange.rest.klines(
                    symbol,
                    self.data.interval,
                    start_ms=self.time_of(begin_all),
                    end_ms=self.time_of(begin - 1),
                    limit=1,
                    bad=[],
                ),
                attempts=ATTEMPTS,
            )
        except ApiError:
            return begin  # it is no longer known there
        return self.g_of(int(rows.open_time[0])) if len(rows.open_time) else begin

    # ---- the exchange's word

    async def compare(self, exchange: Exchange, repair: bool) -> None:
        """Ask for what was chosen, and for the bars that cannot be."""
        for start, symbol in sorted({*self.chosen, *self.wrong}):
            await self._compare_one(exchange, start, symbol, repair)

    async def _compare_one(self, exchange: Exchange, start: int, symbol: str, repair: bool) -> None:
        data = self.data
        with data.open(start) as file:
            ours = next(iter(file.only(frozenset((symbol,)))), None)
        if ours is None:
            return
        numbers = (ours.open_time - self.time_of(0)) // data.interval_ms
        size = min(PAGE, exchange.rest.market.page_rows(data.interval))
        wanted: set[int] = set(self.wrong.get((start, symbol), ()))
        if (start, symbol) in self.chosen:
            begin = int(numbers[self._random.randrange(len(numbers))])
            begin = max(int(numbers[0]), min(begin, int(numbers[-1]) + 1 - size))
            wanted |= set(numbers[(numbers >= begin) & (numbers < begin + size)].tolist())
        right: list[tuple[int, F64]] = []
        faults: list[Fault] = []
        for page in cover(wanted, size, exchange.rest.market.kline_weight):
            try:
                values, status = await exchange.ask(symbol, data.interval, page)
            except ApiError as error:
                self.report.notes.append(f"{symbol} could not be compared: {error}")
                return
            for i, g in enumerate(range(page.g, page.g + page.n)):
                at = int(np.searchsorted(numbers, g))
                if at == len(numbers) or numbers[at] != g or g not in wanted:
                    continue
                self.report.n_compared += 1
                when = f"{utc_text(self.time_of(g))} UTC (open_time)"
                where: dict[str, Any] = {
                    "file": str(data.path_of(start)),
                    "symbol": symbol,
                    "first": self.time_of(g),
                    "end": self.time_of(g + 1),
                }
                if status[i] == BAR and (values[:, i] != ours.values[:, at]).any():
                    text = f"{symbol} {when}: {_said(ours.values[:, at], values[:, i])}"
                    faults.append(self.fault("differs", text, **where))
                    right.append((g, values[:, i]))
                elif status[i] == ABSENT:
                    self.fault("extra", f"{symbol} {when}: the exchange has no such bar", **where)
        if repair and right:
            times = np.array([self.time_of(g) for g, _ in right], np.int64)
            rows = Rows.fresh(symbol, times, np.column_stack([v for _, v in right]), REST)
            with data.change(REST, "verify") as change:
                change.update(start, lambda: [rows])
                change.commit()
            for fault in faults:
                fault.repaired = True
            mended = {g for g, _ in right}
            for fault in self.report.faults:
                if fault.kind == "bad_bar" and (fault.symbol, fault.file) == (symbol, faults[0].file):
                    fault.repaired = mended >= set(self.wrong.get((start, symbol), ()))

    def _by_file(self, wanted: dict[str, list[Span]]) -> list[tuple[int, dict[str, list[int]]]]:
        """Bars by the file that they lie in: (its start, symbol -> numbers), ascending."""
        by_start: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for symbol, found in sorted(wanted.items()):
            for begin, end in found:
                at = begin
                while at < end:
                    start = self.data.start_of(self.time_of(at))
                    stop = max(at + 1, min(end, self.g_of(start + self.data.span_ms)))
                    by_start[start][symbol] += range(at, stop)
                    at = stop
        return sorted(by_start.items())

    async def ask_again(self, exchange: Exchange, repair: bool) -> None:
        """Ask for what is noted as absent; what the exchange has now is a fault, or is brought in."""
        noted: dict[str, list[Span]] = defaultdict(list)
        for one in self.report.absent:
            noted[one.symbol].append((self.g_of(one.first), self.g_of(one.end)))
        for start, wanted in self._by_file(noted):
            rows: list[Rows] = []
            faults: list[Fault] = []
            for symbol, numbers in wanted.items():
                try:
                    found, _ = await self._fetch(exchange, symbol, numbers)
                except ApiError as error:
                    self.report.notes.append(f"{symbol} could not be asked for: {error}")
                    continue
                if not len(found.open_time):
                    continue
                rows.append(found)
                first, last = int(found.open_time[0]), int(found.open_time[-1])
                text = f"{symbol}: {len(found.open_time)} bars that are noted as absent are there,"
                text += f" {utc_text(first)} to {utc_text(last)} UTC (open_time)"
                end, file = last + self.data.interval_ms, str(self.data.path_of(start))
                faults.append(self.fault("not_absent", text, symbol=symbol, file=file, first=first, end=end))
            if repair and rows:
                with self.data.change(REST, "verify") as change:
                    change.update(start, lambda rows=rows: rows)  # type: ignore[misc]
                    change.commit()
                for fault in faults:
                    fault.repaired = True

    async def fill(self, exchange: Exchange, holes: dict[str, list[Span]]) -> None:
        """Fetch what is missing, file by file; what the exchange has none of is noted as absent."""
        for start, wanted in self._by_file(holes):
            rows: list[Rows] = []
            absent: dict[str, I64] = {}
            for symbol, numbers in wanted.items():
                try:
                    got = await self._fetch(exchange, symbol, numbers)
                except ApiError as error:
                    self.report.notes.append(f"{symbol} could not be asked for: {error}")
                    continue
                rows.append(got[0])
                absent[symbol] = got[1]
            with self.data.change(REST, "verify") as change:
                change.update(start, lambda rows=rows: rows, absent)  # type: ignore[misc]
                change.commit()
            for one in rows:
                self._cover_again(one.symbol, np.union1d(one.open_time, absent[one.symbol]))

    async def _fetch(self, exchange: Exchange, symbol: str, numbers: Sequence[int]) -> tuple[Rows, I64]:
        market = exchange.rest.market
        times: list[int] = []
        values: list[F64] = []
        absent: list[int] = []
        missing = set(numbers)
        for page in cover(numbers, market.page_rows(self.data.interval), market.kline_weight):
            found, status = await exchange.ask(symbol, self.data.interval, page)
            for i, g in enumerate(range(page.g, page.g + page.n)):
                if g in missing and status[i] == BAR:
                    times.append(self.time_of(g))
                    values.append(found[:, i])
                elif g in missing and status[i] == ABSENT:
                    absent.append(self.time_of(g))
        made = np.column_stack(values) if values else np.empty((N_COLUMNS, 0))
        return Rows.fresh(symbol, np.array(times, np.int64), made, REST), np.array(absent, np.int64)

    def _cover_again(self, symbol: str, times: I64) -> None:
        numbers = ((times - self.time_of(0)) // self.data.interval_ms).tolist()
        known = self.coverage.spans[symbol]
        merged: list[Span] = []
        for g, end in sorted([*known, *spans(numbers)]):
            if merged and merged[-1][1] >= g:
                merged[-1] = merged[-1][0], max(merged[-1][1], end)
            else:
                merged.append((g, end))
        self.coverage.spans[symbol] = merged


# ---- all of it


async def verify(
    data: DataSet,
    *,
    config: Config | None = None,
    ask: bool = True,
    sample: int = 2000,
    inner: bool = False,
    absent: bool = False,
    repair: bool = False,
    seed: int | None = None,
) -> Report:
    """Look at a whole data set; see the top of this module for what is found.

    config  of the collector whose exchange is asked; None: Binance, if the data set is from there
    ask     False: no exchange is asked for anything; then nothing but damage is repaired either
    sample  bars that are compared, about; 0: none
    inner   gaps are only looked for between a symbol's own first and last bar (data sets of imports whose
            symbols begin and end where the files did)
    absent  ask again for bars that are noted as absent
    repair  put right what can be
    seed    of the choice of bars
    """
    report = Report(data_set=str(data.folder), faults=[], notes=[])
    run = _Verifier(data, report, sample, seed)
    await asyncio.to_thread(run.files)
    if repair:
        _repair_files(run)
    if ask and config is None and data.source != "binance":
        report.notes.append(f"no exchange was asked: the bars are of {data.source!r}, give the config")
        ask = False
    if absent and not ask and report.absent:
        report.notes.append("bars that are noted as absent were not asked for again: no exchange was asked")
    limits: dict[str, Span] = {}
    unread = {f.first for f in report.faults if f.kind in ("damaged", "foreign") and not f.repaired}
    if not ask:
        _note_gaps(run, run.gaps(limits), unread)
        return report
    try:
        async with connect(config, data.trade_type, report.end or None) as exchange:
            if exchange.source != data.source:
                raise HistoryForeign(
                    f"{data.folder}: its bars are of {data.source!r}, the exchange is {exchange.source!r}"
                )
            if not inner:
                limits = await run.limits(exchange)
            holes = run.gaps(limits)
            faults = _note_gaps(run, holes, unread)
            if repair and holes:
                await run.fill(exchange, holes)
                left = run.gaps(limits)
                for symbol, fault in faults:
                    begin, end = run.g_of(fault.first), run.g_of(fault.end)
                    fault.repaired = not any(g < end and stop > begin for g, stop in left.get(symbol, ()))
            if absent:
                await run.ask_again(exchange, repair)
            await run.compare(exchange, repair)
    except ExchangeError as error:
        if not any(fault.kind == "gap" for fault in report.faults):
            _note_gaps(run, run.gaps({}), unread)
        run.fault("unasked", f"the exchange could not be asked: {type(error).__name__}: {error}")
    return report


def _repair_files(run: _Verifier) -> None:
    """Finish what was begun, and set damaged files aside."""
    with run.data.change(REST, "verify"):
        for fault in run.report.faults:
            if fault.kind == "unfinished":
                fault.repaired = True
            elif fault.kind == "damaged" and (path := run.damaged.get(fault.first)) is not None:
                fault.text += f" (set aside as {run.data.set_aside(fault.first, path)})"
                fault.repaired = True


def _note_gaps(
    run: _Verifier, holes: dict[str, list[Span]], unread: Iterable[int] = ()
) -> list[tuple[str, Fault]]:
    """unread: starts of files that are there and could not be read."""
    found = []
    for symbol, missing in holes.items():
        for begin, end in missing:
            first, stop = run.time_of(begin), run.time_of(end)
            if any(start <= first and stop <= start + run.data.span_ms for start in unread):
                continue  # that is said already
            text = f"{symbol}: {end - begin} bars are missing, {utc_text(first)} to"
            text += f" {utc_text(run.time_of(end - 1))} UTC (open_time)"
            found.append((symbol, run.fault("gap", text, symbol=symbol, first=first, end=stop)))
    return found


def _said(ours: Iterable[float], theirs: Iterable[float]) -> str:
    return ", ".join(
        f"{name} is {a:.15g}, the exchange says {b:.15g}"
        for name, a, b in zip(COLUMNS, ours, theirs, strict=True)
        if a != b
    )
