"""REST at work: history pages and repairs by a few workers, repairs first, never beyond the weight.

The fetcher asks; what an answer means is said by backfill.py, and where it goes by writer.py. A request that
fails is asked again later, for ever, with a growing pause.
"""

import asyncio
import heapq
import itertools
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from .backfill import (
    ABSENT,
    BAR,
    DENIAL_APART_MS,
    DENIALS,
    OVERLAP,
    UNKNOWN,
    Answer,
    Page,
    cover,
    judge,
    pages,
)
from .bar import INTERVALS_MS, origin_ms, utc_text
from .binance.rest import RestClient
from .clock import Clock
from .errors import ApiError, ExchangeError, RateLimited, StoreFull
from .grace import Grace
from .quiet import Quiet
from .writer import BarWriter, Series, State

__all__ = ["Fetcher"]

log = logging.getLogger("bmac_stream.rest")

HISTORY_SHARE: Final = 0.95
"""History leaves this much of our weight untouched: a closing bar must not wait for the next minute."""

AGAIN_MS: Final = (120_000.0, 900_000.0)
"""Bars that are absent by such answers alone are asked for again after so long, exchange ms (and up to the
first of these more): an exchange that has trouble may lack for minutes what it has later."""

FIRST_PAUSE_MS: Final = 1_000.0
LONGEST_PAUSE_MS: Final = 300_000.0
"""Between two requests for a bar that the exchange does not give: exchange ms, doubling."""
FRESH_SHARE: Final = 30
"""A bar that has just closed is at first left alone for this part of the pause of those before it."""

NO_CLOCK_MS: Final = 365 * 86_400_000.0
"""How wrong a clock may be that nobody has set: rows are then closed by later rows alone, none is absent."""

FAILED_PAUSE_S: Final = 0.2
LONGEST_FAILED_PAUSE_S: Final = 30.0
"""After a request that failed: wall seconds, doubling, jittered."""


@dataclass(slots=True, eq=False)
class _History:
    symbol: str
    cursor: int  # next bar to ask for, while the symbol has no bar yet
    failures: int = 0
    again: int = 0  # how often the end of the history was asked for again
    stuck: int = 0  # how often a page in a row brought nothing
    behind: int = 0  # how often the panel was ahead at the end of the history
    begun: bool = False  # a page was read
    not_before: float = 0.0  # monotonic seconds


class _Pause(NamedTuple):
    """Bars that the exchange did not give are left alone for a while.

    until_ms   exchange time
    length_ms  of this pause; the next one is twice as long
    end        it is for bars below this one
    """

    until_ms: float
    length_ms: float
    end: int


_NO_PAUSE: Final = _Pause(0.0, 0.0, 0)


@dataclass(slots=True)
class _Pauses:
    """Of one symbol. A bar that never comes must not hold up those that close meanwhile, nor make the wait of
    one that is merely late as long as its own.

    fresh   for the bars that were lacking last
    old     for those before them
    failed  after errors, which say nothing of any bar
    """

    old: _Pause = _NO_PAUSE
    fresh: _Pause = _NO_PAUSE
    failed: _Pause = _NO_PAUSE

    def holds(self, g: int, now_ms: float) -> bool:
        """Whether bar g is not to be asked for now."""
        if g < self.failed.end and now_ms < self.failed.until_ms:
            return True
        pause = self.old if g < self.old.end else self.fresh
        return g < pause.end and now_ms < pause.until_ms

    def answered(self, asked: Iterable[int], missing: list[int], now_ms: float, now_g: int) -> None:
        """`asked` were asked for, bars below now_g; `missing` are those that still lack."""
        self.failed = _NO_PAUSE
        left = set(asked).intersection(missing)
        first = self.old.end  # of the fresh ones
        if not any(g < first for g in missing):
            self.old = _NO_PAUSE
        elif any(g < first for g in left):
            self.old = _longer(self.old, now_ms)
        end = max(first, self.fresh.end)
        if not any(first <= g < end for g in missing):
            self.fresh = _NO_PAUSE
        elif any(first <= g < end for g in left):
            self.fresh = _longer(self.fresh, now_ms)
        if any(g >= end for g in left):
            old, fresh = self.old, self.fresh
            if fresh.end:
                self.old = _Pause(
                    max(old.until_ms, fresh.until_ms), max(old.length_ms, fresh.length_ms), fresh.end
                )
            # where bars do not come for minutes, so may those of all symbols: fewer tries for each
            length_ms = max(FIRST_PAUSE_MS, self.old.length_ms / FRESH_SHARE)
            self.fresh = _Pause(now_ms + length_ms, length_ms, now_g)

    def erred(self, now_ms: float, rate: float, now_g: int) -> None:
        """Bars below now_g could not be asked for."""
        length_ms = 2 * self.failed.length_ms or FAILED_PAUSE_S * 1e3 * rate
        length_ms = min(length_ms, LONGEST_FAILED_PAUSE_S * 1e3 * rate)
        self.failed = _Pause(now_ms + length_ms * random.uniform(0.5, 1.0), length_ms, now_g)


def _longer(pause: _Pause, now_ms: float) -> _Pause:
    length_ms = min(2 * pause.length_ms, LONGEST_PAUSE_MS)
    return pause._replace(until_ms=now_ms + length_ms, length_ms=length_ms)


class Fetcher:
    """The workers that ask REST.

    n_workers    requests at the same time
    on_resolved  called with a symbol whose history has been read (or cannot be had)
    on_refused   called with a symbol for which the store has no slot
    """

    def __init__(
        self,
        rest: RestClient,
        writer: BarWriter,
        interval: str,
        clock: Clock,
        grace: Grace,
        *,
        n_workers: int,
        on_resolved: Callable[[str], None] = lambda symbol: None,
        on_refused: Callable[[str], None] = lambda symbol: None,
    ) -> None:
        self.requests = 0
        """klines requests sent, history included."""
        self.repairs = 0
        """klines requests sent for live bars."""
        self.overtaken = 0
        """Of these, those whose bars had all come as frames by the time of the answer: asked for too soon."""
        self.errors: Counter[str] = Counter()
        self.bugs = 0
        """Errors that nobody expected; logged with where they came from."""
        self.progress_at = time.monotonic()
        """When a history page last came, monotonic seconds."""
        self._rest = rest
        self._writer = writer
        self._interval = interval
        self._step = INTERVALS_MS[interval]
        self._origin = origin_ms(interval)
        self._clock = clock
        self._grace = grace
        self._n_workers = n_workers
        self._on_resolved = on_resolved
        self._on_refused = on_refused
        self._page_limit = rest.market.page_rows(interval)
        self._wake = asyncio.Event()
        self._history: deque[_History] = deque()
        self._repairs: deque[str] = deque()
        self._repairing: set[str] = set()
        self._loading: set[str] = set()
        self._pauses: dict[str, _Pauses] = {}
        # symbol -> bar -> (answers in a row that lacked it, exchange ms of the last that counted); a window
        # of bars at most
        self._denied: dict[str, dict[int, tuple[int, float]]] = {}
        # bars that are absent, though no later row was ever beside their place: (when they are to be asked
        # for again, exchange ms; whose) -> bar -> how often that has been done; and a heap of those keys
        self._unproven: dict[tuple[float, Series], dict[int, int]] = {}
        self._due: list[tuple[float, int, Series]] = []
        self._numbers = itertools.count()
        self._quiet = Quiet(log)

    # -------------------------------------------------------------------------------------------- asking

    @property
    def n_workers(self) -> int:
        """Requests at the same time."""
        return self._n_workers

    def load(self, symbol: str, onboard_ms: int = 0) -> None:
        """Read the history of a symbol (or what it lacks of it), then make it readable."""
        if symbol in self._loading:
            return
        self._loading.add(symbol)
        self._doubt_recent(symbol)
        first = max(0, (onboard_ms - self._origin) // self._step)
        self._history.append(_History(symbol, first))
        self._wake.set()

    def repair(self, symbol: str) -> bool:
        """Ask for what a symbol lacks, before any history. False if that is being done, or was done so
        lately without success that it must wait."""
        if symbol in self._loading or symbol in self._repairing:
            return False
        if symbol in self._pauses and not self._wanted(symbol, self._writer.now_g()):
            return False
        self._repairing.add(symbol)
        self._repairs.append(symbol)
        self._wake.set()
        return True

    def forget(self, symbol: str) -> None:
        """The symbol is gone."""
        self._history = deque(job for job in self._history if job.symbol != symbol)
        self._loading.discard(symbol)
        self._pauses.pop(symbol, None)
        self._denied.pop(symbol, None)

    # ------------------------------------------------------------------------------------------- working

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._n_workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            if self._repairs:
                symbol = self._repairs.popleft()
                try:
                    await self._repair(symbol)
                except Exception:  # a bug must not end the worker
                    self._bug(symbol)
            elif (series := self._next_unproven()) is not None:
                try:
                    await self._ask_again(*series)
                except Exception:
                    self._bug(series[0].symbol)
            elif (job := self._next_history()) is not None:
                try:
                    await self._read_history(job)
                except Exception:
                    self._bug(job.symbol)
                    job.not_before = time.monotonic() + LONGEST_FAILED_PAUSE_S
                    self._history.append(job)
            else:
                self._wake.clear()
                timeout_s = 0.1 if self._history else 0.5 if self._unproven else None
                try:
                    # not wait_for: on Python 3.11 it swallows a cancellation that comes with the event
                    async with asyncio.timeout(timeout_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _next_history(self) -> _History | None:
        """The first page that may be asked for now; None if there is none, or not enough weight."""
        if not self._history or self._clock.uncertainty_ms == math.inf:
            return None  # without the time nobody knows which bars are history
        governor = self._rest.governor
        weight = self._rest.market.kline_weight(self._page_limit)
        if governor.blocked_s > 0 or governor.used + weight > max(weight, HISTORY_SHARE * governor.capacity):
            return None
        now = time.monotonic()
        for _ in range(len(self._history)):
            job = self._history.popleft()
            if job.not_before <= now:
                return job
            self._history.append(job)
        return None

    async def _read_history(self, job: _History) -> None:
        """One page of a symbol's history; the next one is asked for next."""
        writer = self._writer
        series = writer.series.get(job.symbol)
        if series is None:
            return
        now_g = writer.now_g()
        oldest = now_g - writer.window
        if series.state is State.EXPECTED:
            start = job.cursor = max(job.cursor, oldest)
        else:
            if series.state is State.ACTIVE and series.next_g < oldest:
                writer.skip(job.symbol, oldest)
            start = series.next_g
            if not any(g not in series.waiting for g in range(start, now_g)):
                self._finish(job, series)
                return
        begin = start
        if series.state is State.ACTIVE and not job.begun:
            begin = max(start - OVERLAP, oldest, writer.store.first_g(series.slot))
        # the forming bar proves the one before
        page = pages(begin, max(now_g, start) + 1, self._page_limit)[0]
        try:
            answer, sent_ms = await self._ask(job.symbol, page)
        except ExchangeError as error:
            if writer.series.get(job.symbol) is series:  # else it has another job by now
                self._failed(job, error)
            return
        except asyncio.CancelledError:
            self._history.appendleft(job)
            raise
        job.failures, job.begun = 0, True
        self.progress_at = time.monotonic()
        if writer.series.get(job.symbol) is not series:
            return  # delisted meanwhile
        try:
            # a page of which nothing can be used time and again must not be asked for for ever
            writer.answer(job.symbol, answer, sent_ms, final=job.stuck >= DENIALS)
        except StoreFull as error:
            log.error("%s is not collected: %s (raise store.max_symbols)", job.symbol, error)
            self._on_refused(job.symbol)
            self._resolved(job.symbol)
            return
        denied = self._denied.get(job.symbol, {})
        if series.state is State.EXPECTED and any(page.g <= g < page.g + page.n for g in denied):
            await self._seek(job, series, page, now_g)
            return
        job.cursor = page.g + page.n
        if page.g + page.n > now_g:
            behind = series.state is not State.EXPECTED and writer.missing(job.symbol, now_g - 1)
            if behind and job.again < DENIALS:
                job.again += 1  # a page without its newest rows: not the last word
                self._put_back(job, denied=any(page.g <= g for g in denied))
                return
            self._finish(job, series)
        elif series.state is State.EXPECTED or series.next_g > start:
            job.stuck = 0
            self._history.appendleft(job)
            self._wake.set()
        else:
            job.stuck += 1
            self._put_back(job)

    def _put_back(self, job: _History, denied: bool = False) -> None:
        """To be asked for again, in a moment; after a denial, when the next one counts."""
        pause_s = DENIAL_APART_MS / 1e3 / self._clock.rate if denied else 0.0
        job.not_before = time.monotonic() + max(pause_s, FAILED_PAUSE_S * 0.25)
        self._history.append(job)

    async def _seek(self, job: _History, series: Series, page: Page, now_g: int) -> None:
        """A page of a symbol without bars came empty: go on where its oldest bar is, if it has one.

        What is skipped here is lost, since a symbol's bars begin with the first that is read. So a row after
        the page proves it empty, one within makes it be asked for until it comes, and none at all counts as
        an answer that lacks the page, of which DENIALS are believed.
        """
        symbol, end = job.symbol, page.g + page.n
        first: int | None = None
        if self._rest.market.name != "coinm":  # which would give the newest row, and knows the day of listing
            self.requests += 1
            bad: list[tuple[int, str]] = []
            try:
                rows = await self._rest.klines(
                    symbol,
                    self._interval,
                    start_ms=self._origin + page.g * self._step,
                    end_ms=self._origin + now_g * self._step,
                    limit=1,
                    bad=bad,
                )
            except ExchangeError as error:
                if self._writer.series.get(symbol) is series:
                    self._failed(job, error)
                return
            except asyncio.CancelledError:
                self._history.appendleft(job)
                raise
            if self._writer.series.get(symbol) is not series:
                return  # delisted meanwhile
            times = [*rows.open_time.tolist(), *(time_ms for time_ms, _ in bad)]
            first = min(((time_ms - self._origin) // self._step for time_ms in times), default=None)
        if first is None:
            self._put_back(job, denied=True)
            return
        self._denied.pop(symbol, None)
        if first >= end:
            job.cursor, job.stuck = first, 0
            self._history.appendleft(job)
            return
        job.stuck += 1
        pause_s = min(FAILED_PAUSE_S * 2**job.stuck, LONGEST_FAILED_PAUSE_S)
        job.not_before = time.monotonic() + pause_s * random.uniform(0.5, 1.0)
        self._history.append(job)
        self._quiet.warning(
            "empty_page", "klines of %s: an empty page, though there is a bar at %s UTC: asked for again",
            symbol, utc_text(self._origin + first * self._step),
        )  # fmt: skip
        if job.stuck >= DENIALS:
            self._on_resolved(symbol)  # nobody waits for it any longer

    def _finish(self, job: _History, series: Series) -> None:
        """All pages were read: the symbol becomes readable, unless the panel is ahead of it."""
        if series.state is State.LOADING and not self._writer.activate(job.symbol):
            job.not_before = time.monotonic() + min(0.2 * 1.5**job.behind, 5.0)
            job.behind = min(job.behind + 1, 10)
            self._history.append(job)
            return
        self._resolved(job.symbol)

    def _resolved(self, symbol: str) -> None:
        self._loading.discard(symbol)
        self._on_resolved(symbol)

    def _wanted(self, symbol: str, end: int) -> list[int]:
        """Bars below `end` that a symbol lacks and that may be asked for now."""
        missing = self._writer.missing(symbol, end)
        if (pauses := self._pauses.get(symbol)) is None:
            return missing
        now_ms = self._clock.now_ms()
        return [g for g in missing if not pauses.holds(g, now_ms)]

    async def _repair(self, symbol: str) -> None:
        """All that a symbol lacks, in as few requests as that takes."""
        writer = self._writer
        now_g, series = writer.now_g(), writer.series.get(symbol)
        try:
            if series is None:
                return
            wanted = self._wanted(symbol, now_g)
            doubtful = series.doubtful.intersection(wanted)
            price = self._rest.market.kline_weight
            for page in cover(wanted, self._page_limit, price):
                more = page.n + 1
                if page.g + page.n == now_g and more <= self._page_limit and price(more) == price(page.n):
                    page = page._replace(n=more)  # the row that proves the newest one closed
                self.repairs += 1
                answer, sent_ms = await self._ask(symbol, page)
                if writer.series.get(symbol) is not series:
                    return  # delisted meanwhile, or listed anew: then its history comes first
                asked_for = set(wanted).intersection(range(page.g, page.g + page.n))
                self.overtaken += asked_for.isdisjoint(writer.missing(symbol, now_g))
                writer.answer(symbol, answer, sent_ms)
                told = (page.g + np.flatnonzero(answer.status != UNKNOWN)).tolist()
                writer.decided(symbol, doubtful.intersection(told))
            if missing := writer.missing(symbol, now_g):
                pauses = self._pauses.setdefault(symbol, _Pauses())
                pauses.answered(wanted, missing, self._clock.now_ms(), now_g)
            else:
                self._pauses.pop(symbol, None)
        except ExchangeError as error:
            self._note(symbol, error)
            if writer.series.get(symbol) is series:  # else it is gone, and nothing of it may stay
                pauses = self._pauses.setdefault(symbol, _Pauses())
                pauses.erred(self._clock.now_ms(), self._clock.rate, now_g)
        finally:
            self._repairing.discard(symbol)

    def _next_unproven(self) -> tuple[Series, dict[int, int]] | None:
        """Doubtful absent bars that are due to be asked for; None: none, or no weight to spare."""
        governor = self._rest.governor
        if not self._due or governor.blocked_s > 0 or governor.used > HISTORY_SHARE * governor.capacity:
            return None
        if self._due[0][0] > self._clock.now_ms():
            return None
        due_ms, _, series = heapq.heappop(self._due)
        return series, self._unproven.pop((due_ms, series))

    async def _ask_again(self, series: Series, bars: dict[int, int]) -> None:
        """What is absent by the exchange's word: if it has it now, a correction brings it in."""
        writer = self._writer
        if series.state is State.EXPECTED:
            return  # no bar of it is published, absent or not
        owed = bars
        try:
            if series.state is State.LOADING:
                return  # published bars can be corrected when readers see them
            for page in cover(bars, self._page_limit, self._rest.market.kline_weight):
                if writer.series.get(series.symbol) is not series:
                    break  # delisted, or listed anew
                answer, sent_ms = await self._ask(series.symbol, page, rows_only=True)
                if writer.series.get(series.symbol) is series:
                    writer.answer(series.symbol, answer, sent_ms)
                    for g in (page.g + np.flatnonzero(answer.status == BAR)).tolist():
                        bars.pop(g, None)
            owed = {g: n + 1 for g, n in bars.items() if n + 1 < len(AGAIN_MS)}
        except ExchangeError as error:
            self._note(series.symbol, error)
        finally:  # however it ended, nothing waits for ever
            if writer.series.get(series.symbol) is series:
                self._ask_later(series, owed)

    def _ask_later(self, series: Series, bars: dict[int, int]) -> None:
        """Have bars (-> how often they were) asked for again, with others of that series that are due soon:
        in a halt every bar is doubtful, and a request for each, of all symbols, would leave no weight."""
        now_ms = self._clock.now_ms()
        for g, n in bars.items():
            due_ms = math.ceil((now_ms + AGAIN_MS[n]) / AGAIN_MS[0]) * AGAIN_MS[0]
            if (due_ms, series) not in self._unproven:
                self._unproven[due_ms, series] = {}
                heapq.heappush(self._due, (due_ms, next(self._numbers), series))
            self._unproven[due_ms, series][g] = n

    def _doubt_recent(self, symbol: str) -> None:
        """Absent bars at the end of what a former process left: it may have owed a second look at them."""
        writer, series = self._writer, self._writer.series.get(symbol)
        if series is None or series.state is not State.ACTIVE:
            return
        n = int(sum(AGAIN_MS)) // self._step + 2
        first = max(series.next_g - min(n, writer.window), writer.store.first_g(series.slot))
        if first < series.next_g:
            _, status = writer.store.read(series.slot, first, series.next_g - first)
            if len(absent := np.flatnonzero(status == ABSENT)):
                self._ask_later(series, dict.fromkeys((first + absent).tolist(), 0))

    async def _ask(self, symbol: str, page: Page, *, rows_only: bool = False) -> tuple[Answer, float]:
        """One request; the answer, judged, and the exchange time from which it is at least.

        rows_only  what it lacks is unknown, and counts for nothing
        """
        sent_ms, started = self._clock.now_ms(), time.monotonic()
        self.requests += 1
        bad: list[tuple[int, str]] = []
        moments = [started, math.nan]
        rows = await self._rest.klines(
            symbol,
            self._interval,
            start_ms=self._origin + page.g * self._step,
            end_ms=self._origin + (page.g + page.n - 1) * self._step,
            limit=page.n,
            bad=bad,
            moments=moments,
        )
        # what it waited for weight says nothing of the exchange, and its answer is younger by that
        sent_ms += (moments[0] - started) * 1e3 * self._clock.rate
        self._grace.rest((time.monotonic() - moments[0]) * 1e3 * self._clock.rate)
        if bad:
            self.errors["bad_rows"] += len(bad)
            self._quiet.warning("bad_rows", "klines of %s: row %d breaks the rule %r", symbol, *bad[0])
        answer = judge(
            page,
            (rows.open_time - self._origin) // self._step,
            rows.values,
            sent_ms=sent_ms,
            uncertainty_ms=min(self._clock.uncertainty_ms, NO_CLOCK_MS),
            origin_ms=self._origin,
            interval_ms=self._step,
            spoiled=np.array([(time_ms - self._origin) // self._step for time_ms, _ in bad], np.int64),
        )
        if rows_only:
            answer.status[answer.status == ABSENT] = UNKNOWN
        else:
            newest_ms = int(rows.open_time[-1]) if len(rows.open_time) else -1
            self._confirm(symbol, answer, newest_ms, sent_ms)
        return answer, sent_ms

    def _confirm(self, symbol: str, answer: Answer, newest_ms: int, sent_ms: float) -> None:
        """Bars that an answer lacks at its end, where no later row proves that it is whole, are absent only
        when DENIALS answers, DENIAL_APART_MS apart, lack them: a page that was cut short, or a moment's
        trouble, must not become a hole for ever."""
        newest = (newest_ms - self._origin) // self._step
        before = self._denied.pop(symbol, {})
        asked = range(answer.g, answer.g + len(answer.status))
        oldest = self._writer.now_g() - self._writer.window
        denied = {g: one for g, one in before.items() if g not in asked and g >= oldest}
        believed: set[int] = set()
        for i in np.flatnonzero(answer.status == ABSENT).tolist():
            g = answer.g + i
            if g <= newest:
                continue
            n, at_ms = before.get(g, (0, -math.inf))
            if sent_ms >= at_ms + DENIAL_APART_MS:
                n, at_ms = n + 1, sent_ms
            if n < DENIALS:
                answer.status[i] = UNKNOWN
                denied[g] = n, at_ms
            else:
                believed.add(g)
        if denied:
            self._denied[symbol] = denied
        if believed and (series := self._writer.series.get(symbol)) is not None:
            self._ask_later(series, dict.fromkeys(believed, 0))
            first, last = (utc_text(self._writer.close_ms(g)) for g in (min(believed), max(believed)))
            self._quiet.warning(
                "absent", "%s: absent by the exchange's word, to be asked for again: %d run_times,"
                " %s to %s UTC", symbol, len(believed), first, last,
            )  # fmt: skip

    def _failed(self, job: _History, error: ExchangeError) -> None:
        self._note(job.symbol, error)
        if not isinstance(error, RateLimited):  # that one is the governor's to wait for
            pause = min(FAILED_PAUSE_S * 2**job.failures, LONGEST_FAILED_PAUSE_S)
            job.not_before = time.monotonic() + pause * random.uniform(0.5, 1.0)
            job.failures = min(job.failures + 1, 10)
        if isinstance(error, ApiError) and error.code == -1121:
            job.not_before = time.monotonic() + LONGEST_FAILED_PAUSE_S
            self._on_resolved(job.symbol)  # the exchange does not know it: nobody waits for it
        self._history.append(job)

    def _bug(self, symbol: str) -> None:
        self.bugs += 1
        self._quiet.exception("bug", "unexpected error with an answer for %s", symbol)

    def _note(self, symbol: str, error: ExchangeError) -> None:
        kind = type(error).__name__
        self.errors[kind] += 1
        self._quiet.warning(kind, "REST, klines of %s: %s: %s", symbol, kind, error)
